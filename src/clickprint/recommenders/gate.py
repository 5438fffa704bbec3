"""Whether a new model becomes the champion.

It must keep the guard-rails and find more of what the same buyers bought, beyond luck: more than
the present champion, or than the best rival where there is no champion yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.options import Between, check, plain
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.text import figure
from clickprint.core.time import parse
from clickprint.data.split import LogPast
from clickprint.metrics.compare import Gap, resampled_mean
from clickprint.recommenders.funnel import FittedNext, candidates
from clickprint.recommenders.pairs import Bought, Pairs

# Who is drawn in which resample: the same for every model.
RESAMPLED = RNG(0).child("next gate").integer()


class Rail(NamedTuple):
    """A guard-rail: an option of Gate and a number of a validation; at least, or at most."""

    name: str
    about: str
    at_least: bool

    def keeps(self, found: float, limit: float) -> bool:
        return found >= limit if self.at_least else found <= limit


RAILS = (
    Rail("coverage", "share of the known items that lists show", True),
    Rail("calibration_error", "calibration error of the purchase propensity", False),
    Rail("seconds", "seconds for the lists of 1,000 users", False),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model is promoted, and every reason against it.

    `gap`: its recall less the other's; None where a comparison would be unfair.
    """

    reasons: tuple[str, ...] = ()
    gap: Gap | None = None

    @property
    def promoted(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Rivalry:
    """The recall of each of the same buyers by what a model must beat.

    `unfair`: why the two may not be compared; there is no recall then.
    """

    other: Float64[np.ndarray, "B"]
    name: str = "the champion"
    unfair: str = ""

    @staticmethod
    def refused(why: str) -> "Rivalry":
        return Rivalry(np.zeros(0), unfair=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a model must keep to become the champion, beside a recall that is shown to be higher.

    - `resamples`: of the paired bootstrap; with fewer than 100 an interval says nothing.
    - `coverage`: the least share of known items that lists show.
    - `calibration_error`: the most that purchase propensities may be off.
    - `seconds`: the most time for the lists of 1,000 users.
    """

    resamples: Annotated[int, Between(100, 100_000)] = 1_000
    coverage: Annotated[float, Between(0, 1_000_000_000)] = 0.01
    calibration_error: Annotated[float, Between(0, 1_000_000_000)] = 0.05
    seconds: Annotated[float, Between(0, 1_000_000_000)] = 60.0

    def __post_init__(self) -> None:
        check(self)

    def rails(self, found: Mapping[str, float]) -> list[tuple[Rail, float, float, bool]]:
        """Each guard-rail with what was found, its limit, and whether it is kept."""
        both = [(rail, found[rail.name], getattr(self, rail.name)) for rail in RAILS]
        return [(rail, value, limit, rail.keeps(value, limit)) for rail, value, limit in both]

    def verdict(
        self,
        found: Mapping[str, float],
        buyers: Int64[np.ndarray, "B"],
        recall: Float64[np.ndarray, "B"],
        rivalry: Rivalry,
    ) -> Verdict:
        """`found`: a number for each guard-rail."""
        reasons = [
            f"{rail.name}: found {value:.4g}, {'below' if rail.at_least else 'above'} the limit of"
            f" {limit:g} ({rail.about})"
            for rail, value, limit, kept in self.rails(found)
            if not kept
        ]
        if rivalry.unfair:
            return Verdict((*reasons, rivalry.unfair))
        both = recall, rivalry.other
        one, other = (resampled_mean(v, buyers, self.resamples, RESAMPLED) for v in both)
        means = [float(v.mean()) if len(v) else float("nan") for v in both]
        gap = Gap.of(means[0], means[1], one, other)
        if gap.shown < 1:
            verb = "is below" if gap.shown < 0 else "is not shown to be above"
            told = f"{figure(means[0])} against {figure(means[1])}"
            reasons.append(f"recall {verb} that of {rivalry.name}: {gap.text(4)} ({told})")
        return Verdict(tuple(reasons), gap)

    def to_json(self, found: Mapping[str, float], verdict: Verdict) -> dict[str, Any]:
        """A verdict with every guard-rail."""
        return {
            "promoted": verdict.promoted,
            "reasons": list(verdict.reasons),
            "rails": [
                {"name": rail.name, "found": value, "limit": limit, "kept": kept}
                for rail, value, limit, kept in self.rails(found)
            ],
            "gap": verdict.gap and verdict.gap._asdict(),
        }


def rivalry(
    champion: FittedNext,
    about: Mapping[str, Any],
    ours: FittedNext,
    past: LogPast,
    pairs: Pairs,
    bought: Bought,
    *,
    log: str,
    rng: RNG,
    progress: Progress = silent,
) -> Rivalry:
    """What a champion's lists, of its own candidates, find for each buyer after `past`.

    - `about`: the `log` that the champion was trained on, and `until` when.
    - `pairs`: the candidates of `ours`; `rng` is what they were drawn with.
    """
    theirs, recipe = champion.recipe, ours.recipe
    unfair = ""
    if about["log"] != log:
        unfair = (
            f"the champion is of the log {about['log']}; give this model another name in [track]"
            " model"
        )
    elif (theirs.days, theirs.list_length) != (recipe.days, recipe.list_length):
        unfair = (
            f"the champion predicts {theirs.list_length} items in {theirs.days} days, this model"
            f" {recipe.list_length} in {recipe.days}"
        )
    elif parse(about["until"]) > past.cutoff:
        unfair = f"the champion was trained until {about['until']}, in the validation window"
    if unfair:
        return Rivalry.refused(unfair)
    if theirs.seed != recipe.seed or plain(theirs.retrievers) != plain(recipe.retrievers):
        own = replace(rng, seed=theirs.seed)
        pairs = candidates(past, theirs, rng=own, progress=progress)
    chosen = champion.plan(past, pairs, progress=progress).chosen(recipe.max_users)
    return Rivalry(bought.recall(chosen, recipe.list_length))
