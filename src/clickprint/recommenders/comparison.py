"""Contenders compared over the buyers of several windows: intervals, hypotheses, words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from clickprint.core.errors import DataError
from clickprint.core.text import figure, number
from clickprint.metrics.compare import (
    Estimate,
    Gap,
    Line,
    Pair,
    by_chance,
    resample_weights,
    weighted_mean,
)
from clickprint.recommenders.evaluate import RANKER, Contender, Scores
from clickprint.report.figure import COLOURS

RESAMPLES = 1_000
BLOCK = 100  # resamples whose weights are in memory at once
METRIC = "mean recall over all buyers"
# A contender's type → what it is called, and its colour.
TYPES = {
    "baseline": ("naive baseline", COLOURS[7]),
    "next-basket": ("next-basket method", COLOURS[4]),
    "retriever": ("retriever alone", COLOURS[5]),
    "ranker": ("ranker, everyone gets a list", COLOURS[0]),
    "chosen": ("ranker, the chosen users alone", COLOURS[2]),
    "ceiling": ("ceiling: all candidates", COLOURS[3]),
}
RIVALS = ("baseline", "next-basket", "retriever")  # what the ranker has to beat
VERBS = {1: "is better than", 0: "is not shown to differ from", -1: "is worse than"}


class Hypothesis(NamedTuple):
    """A paired difference: `one` less `other`."""

    one: Contender
    other: Contender
    gap: Gap


@dataclass(frozen=True, slots=True)
class Comparison:
    """The contenders that all windows have; every buyer of every window counts the same.

    Users and windows are both resampled (Poisson weights, multiplied: Owen & Eckles 2012), so that
    a user who bought in several windows, and a window that was easy, are drawn as one. All
    contenders share the resamples, so differences are paired.
    """

    scores: Sequence[Scores]
    replicates: Mapping[Contender, Float64[np.ndarray, "R"]]

    @staticmethod
    def of(scores: Sequence[Scores], *, resamples: int = RESAMPLES, seed: int = 0) -> "Comparison":
        """Raises DataError without a window or with a user twice in one."""
        if not scores:
            raise DataError("scores", ["no window"])
        if twice := [n for n, s in enumerate(scores) if len(np.unique(s.users)) < len(s.users)]:
            raise DataError("scores", [f"window {n} has a user twice" for n in twice])
        names = [c for c in scores[0].values if all(c in s.values for s in scores)]
        scores = [replace(s, values={c: s.values[c] for c in names}) for s in scores]
        window = np.repeat(np.arange(len(scores)), [len(s.users) for s in scores])
        known, place = np.unique(np.concatenate([s.users for s in scores]), return_inverse=True)
        by_window = resample_weights(np.arange(len(scores)), resamples, seed + 1)
        by_user = resample_weights(known, resamples, seed)
        parts: dict[Contender, list[np.ndarray]] = {c: [] for c in names}
        whole = {c: np.concatenate([s.values[c] for s in scores]) for c in names}
        for start in range(0, resamples, BLOCK):
            some = slice(start, start + BLOCK)
            weights = by_user[some][:, place] * by_window[some][:, window]
            for c in names:
                parts[c].append(weighted_mean(whole[c], weights))
        return Comparison(scores, {c: np.concatenate(p) for c, p in parts.items()})

    def mean(self, contender: Contender) -> float:
        """NaN without a buyer."""
        values = np.concatenate([s.values[contender] for s in self.scores])
        return float(values.mean()) if len(values) else float("nan")

    def windows(self, contender: Contender) -> list[float]:
        """The mean of each window."""
        found = [s.values[contender] for s in self.scores]
        return [float(v.mean()) if len(v) else float("nan") for v in found]

    def estimates(self) -> dict[Contender, Estimate]:
        """The mean over buyers of each contender, with its 95 % interval."""
        return {c: Estimate.of(self.mean(c), r) for c, r in self.replicates.items()}

    def gap(self, one: Contender, other: Contender) -> Gap:
        """How much more `one` finds than `other`."""
        means = self.mean(one), self.mean(other)
        return Gap.of(*means, self.replicates[one], self.replicates[other])

    def hypotheses(self, users: int) -> list[Hypothesis]:
        """The differences that are tested.

        - the ranker over each rival and each retriever
        - the choice of `users` users over each rival
        - choosing by propensity × recall over choosing by propensity alone, at each limit
        """
        best = Contender("chosen", users=users, by="product")
        rivals = [c for c in self.replicates if c.type in RIVALS and c.type != "retriever"]
        retrievers = [c for c in self.replicates if c.type == "retriever"]
        asked = [(RANKER, c) for c in (*rivals, *retrievers)] + [(best, c) for c in rivals]
        asked += [(c, replace(c, by="propensity")) for c in self.replicates if c.by == "product"]
        return [Hypothesis(one, other, self.gap(other, one).reversed()) for one, other in asked]

    def best_rival(self) -> Contender:
        """The rival of any kind with the highest mean; of equal ones the first."""
        return max((c for c in self.replicates if c.type in RIVALS), key=self.mean)

    def to_json(self, users: int) -> dict[str, Any]:
        """Every contender's recall, the hypotheses about `users` users, and the best rival."""
        return {
            "lines": [
                {"label": c.label, **asdict(c), **e._asdict()} for c, e in self.estimates().items()
            ],
            "hypotheses": [
                {"one": h.one.label, "other": h.other.label, **h.gap._asdict()}
                for h in self.hypotheses(users)
            ],
            "best_rival": self.best_rival().label,
        }

    def metrics(self) -> dict[str, float]:
        """The few numbers that runs are compared by."""
        chosen = [c for c in self.replicates if c.type == "chosen"]
        return {
            "recall": self.mean(RANKER),
            "recall_best_rival": self.mean(self.best_rival()),
            "recall_ceiling": self.mean(Contender("ceiling", "union")),
            **{f"recall_{_count(c)}_users_by_{c.by}": self.mean(c) for c in chosen},
        }

    def rows(self) -> list[dict[str, Any]]:
        """Each contender's recall, the difference to the ranker, and the mean of each window."""
        return [
            {
                "label": c.label,
                **asdict(c),
                **estimate._asdict(),
                **{f"gap_{key}": value for key, value in self.gap(c, RANKER)._asdict().items()},
                **{f"window {n}": mean for n, mean in enumerate(self.windows(c), 1)},
            }
            for c, estimate in self.estimates().items()
        ]


def lines_of(found: Mapping[str, Any]) -> dict[str, Line]:
    """Label → contender, of what `to_json` gave."""
    return {
        x["label"]: Line(x["label"], x["type"], Estimate(*_numbers(x, Estimate._fields)))
        for x in found["lines"]
    }


def pairs_of(found: Mapping[str, Any]) -> list[Pair]:
    """The hypotheses, of what `to_json` gave."""
    return [
        Pair(x["one"], x["other"], Gap(*_numbers(x, Gap._fields))) for x in found["hypotheses"]
    ]


def _count(chosen: Contender) -> str:
    """`3000`, `10pct`; MLflow takes no other signs."""
    if chosen.share is None:
        return str(chosen.users)
    return f"{100 * chosen.share:g}pct".replace(".", "_")


def best_words(found: Mapping[str, Any]) -> str:
    """The ranker beside the best of all its rivals: baselines, next-basket methods, retrievers."""
    lines, best = lines_of(found), found["best_rival"]
    ranker, rival = lines[RANKER.label].estimate, lines[best].estimate
    gap = next(p.gap for p in pairs_of(found) if (p.one, p.other) == (RANKER.label, best))
    times = figure(ranker.value / rival.value, 2) if rival.value else "–"
    return (
        f"ranker {ranker.text(4)}; best rival, {best}, {rival.text(4)}: {times} times,"
        f" difference {gap.text(4)}"
    )


def verdict_words(hypotheses: Sequence[Hypothesis]) -> list[str]:
    """What is shown of the ranker beside its rivals, and of the two ways to choose users."""
    rivals = [h for h in hypotheses if h.one == RANKER]
    behind = [h.other.label for h in rivals if h.gap.shown < 1]
    ahead = "the ranker is ahead of every baseline, next-basket method and retriever alone"
    return [
        f"the ranker is not shown to be ahead of {', '.join(behind)}" if behind else ahead,
        *(
            f"choosing {h.one.label} {VERBS[h.gap.shown]} choosing by propensity alone:"
            f" {h.gap.text(4)}"
            for h in hypotheses
            if h.other.by == "propensity"
        ),
        by_chance(len(hypotheses)),
    ]


def _numbers(found: Mapping[str, Any], keys: Sequence[str]) -> list[float]:
    return [number(found[key]) for key in keys]
