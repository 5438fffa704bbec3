"""What models scored on one question: means over seeds, intervals, paired gaps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.rng import RNG
from clickprint.metrics import compare
from clickprint.metrics.compare import Estimate, Gap
from clickprint.tasks.protocols import RESAMPLED
from clickprint.tasks.ranking import RESAMPLES, RankingScore

Type = Literal["network", "baseline"]
# Each model is scored twice: whether items of a user's own history may be recommended.
FORMS: Mapping[str, bool] = {"exclude_seen": False, "include_seen": True}
USERS = 16_384  # users whose values are in memory at a time
# Which seeds are drawn in which resample: others for each model, the same in both forms.
SEEDS = RNG(0).child("rank seeds")


@dataclass(frozen=True, eq=False)
class SeedScore:
    """One model and seed: what is told of it, and each metric of each user in both forms."""

    about: Mapping[str, Any]
    users: Int64[np.ndarray, "U"]
    values: Mapping[str, Float64[np.ndarray, "M U"]]  # form → metric × user
    seconds: float  # of the fit; NaN where nothing was fitted, or nothing is known

    def score(self, form: str) -> RankingScore:
        """The score as tasks.ranking.score gave it."""
        names, lists = self.about["metrics"], self.about["lists"][form]
        return RankingScore(
            self.users,
            {m: np.asarray(v) for m, v in zip(names, self.values[form], strict=True)},
            {k: float("nan") if v is None else v for k, v in lists.items()},
            RESAMPLED,
        )


@dataclass(frozen=True, eq=False)
class ModelScores:
    """A model of the table and its scores, one a seed."""

    name: str
    recommender: str
    seeds: tuple[SeedScore, ...]

    @property
    def type(self) -> Type:
        """A network has parameters and epochs; everything else is a baseline."""
        return "baseline" if self.parameters is None else "network"

    @property
    def stochastic(self) -> bool:
        """Whether it has a seed at all."""
        return self.seeds[0].about["seed"] is not None

    def each(self, form: str, metric: str) -> list[float]:
        """The mean over users, a number a seed."""
        return [s.about["means"][form][metric] for s in self.seeds]

    def mean(self, form: str, metric: str) -> float:
        """The mean over seeds of the means over users."""
        return float(np.mean(self.each(form, metric)))

    def learned(self, form: str, metric: str) -> tuple[float, float]:
        """The mean of what learned without the validation's items, and of what learned with them.

        NaN where it was not asked.
        """
        found = []
        for seed in self.seeds:
            mean, refit = seed.about["means"][form][metric], seed.about.get("refit", True)
            before = seed.about.get("without", {}).get(form, {}).get(metric, np.nan)
            found.append((before, mean) if refit else (mean, np.nan))
        without, with_ = np.mean(found, axis=0).tolist()
        return without, with_

    def deviation(self, form: str, metric: str) -> float:
        """The standard deviation of the seeds' means (n − 1); NaN for one seed."""
        found = self.each(form, metric)
        return float(np.std(found, ddof=1)) if len(found) > 1 else float("nan")

    def lists(self, form: str, key: str) -> float:
        """What lists are like, the mean over seeds; NaN where it is not known."""
        found = [s.about["lists"][form].get(key) for s in self.seeds]
        return float(np.mean([np.nan if v is None else v for v in found]))

    @property
    def parameters(self) -> int | None:
        found = self.seeds[0].about["parameters"]
        return None if found is None else sum(found.values())

    @property
    def epochs(self) -> list[int]:
        """The epochs whose state was kept, a number a seed; empty for a baseline."""
        return [s.about["best_epoch"] for s in self.seeds if "best_epoch" in s.about]

    @property
    def cut_short(self) -> bool:
        """Whether the best epoch of a seed is the last it was trained for."""
        each = [s.about for s in self.seeds if s.about.get("curve")]
        return any(about["best_epoch"] == about["epochs"] for about in each)

    @property
    def seconds(self) -> float:
        """The mean seconds of a seed's fit."""
        return float(np.mean([s.seconds for s in self.seeds]))


@dataclass(frozen=True, eq=False)
class RankingTable:
    """What was scored in one stage, in the recipe's order.

    Models are compared by `metric`, on lists with or without items of the history as
    `include_seen` says. `seeds` is how many the recipe has; `other_code` names the scores that
    other code made, and `tested` says how often the test items were scored. Raises DataError where
    models were asked about different users.
    """

    name: str
    stage: str
    metric: str
    include_seen: bool
    models: tuple[ModelScores, ...]
    seeds: int = 1
    other_code: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        first = self.first.users
        if any(not np.array_equal(s.users, first) for model in self.models for s in model.seeds):
            raise DataError(
                self.name,
                "models were asked about other users; remove the folder's units of other data and"
                " call again",
            )

    @property
    def first(self) -> SeedScore:
        return self.models[0].seeds[0]

    @property
    def form(self) -> str:
        return "include_seen" if self.include_seen else "exclude_seen"

    @property
    def forms(self) -> list[str]:
        """The form that decides, then the other one."""
        return sorted(FORMS, key=lambda f: f != self.form)

    @property
    def metrics(self) -> list[str]:
        return list(self.first.about["metrics"])

    def model(self, name: str) -> ModelScores:
        """A model by its name. Raises ConfigError."""
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(m.name for m in self.models)
        raise ConfigError(f"found no model {name!r} in the table, expected one of {known}")

    def best(self, type: Type, form: str = "") -> ModelScores | None:
        """The best network or baseline, the first of equal ones; None where there is none."""
        found = [m for m in self.models if m.type == type]
        return max(found, key=lambda m: m.mean(form or self.form, self.metric), default=None)

    def ordered(self, form: str = "") -> list[ModelScores]:
        """The best first; equal ones in the recipe's order."""
        return sorted(self.models, key=lambda m: -m.mean(form or self.form, self.metric))

    @cached_property
    def _replicates(self) -> dict[tuple[str, str], Float64[np.ndarray, "M R"]]:
        """(model, form) → the mean over seeds and users in each resample of users and seeds.

        It is RankingScore.replicates for all at once: nobody who is asked lacks an item that is
        right, so no value is NaN. Memory holds USERS users' values at a time.
        """
        users, keys = self.first.users, [(m, f) for m in self.models for f in FORMS]
        each = [(s, f) for m, f in keys for s in m.seeds]
        sums = np.zeros((RESAMPLES, len(each) * len(self.metrics) + 1))
        for start in range(0, len(users), USERS):
            rows = slice(start, start + USERS)
            weights = compare.resample_weights(
                users[rows], RESAMPLES, RESAMPLED.child("users").integer()
            )
            columns = [s.values[f][:, rows] for s, f in each]
            ones = np.ones((1, len(users[rows])))
            sums += compare.weighted_sums(np.concatenate([*columns, ones]).T, weights)
        number = sums[:, -1:]
        means = np.where(number > 0, sums[:, :-1] / np.maximum(number, 1), np.nan).T
        parts = iter(np.split(means, len(each)))
        found = {}
        for m, f in keys:
            seeds = np.stack([next(parts) for _ in m.seeds], axis=1)
            drawn = SEEDS.child(m.name)
            found[m.name, f] = np.stack([compare.over_seeds(one, drawn) for one in seeds])
        return found

    def replicates(self, model: ModelScores, form: str, metric: str) -> Float64[np.ndarray, "R"]:
        """The model's mean over seeds in each resample of users and seeds."""
        found: np.ndarray = self._replicates[model.name, form][self.metrics.index(metric)]
        return found

    def estimate(self, model: ModelScores, form: str, metric: str) -> Estimate:
        """The mean over seeds, and its 95 % interval over users and seeds."""
        return Estimate.of(model.mean(form, metric), self.replicates(model, form, metric))

    def gap(self, one: ModelScores, other: ModelScores, form: str = "", metric: str = "") -> Gap:
        """How much `one` is above `other` on the same users, each the mean over its seeds."""
        form, metric = form or self.form, metric or self.metric
        return Gap.of(
            one.mean(form, metric),
            other.mean(form, metric),
            self.replicates(one, form, metric),
            self.replicates(other, form, metric),
        )
