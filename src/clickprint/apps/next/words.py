"""What a comparison of next purchase says in words, and what its contenders are called."""

from collections.abc import Mapping, Sequence
from typing import Any

from clickprint.core.text import figure
from clickprint.recommenders.evaluate import RANKER, Hypothesis, lines_of, pairs_of
from clickprint.report.figure import COLOURS

# A contender's type → what it is called, and its colour.
TYPES = {
    "baseline": ("naive baseline", COLOURS[7]),
    "next-basket": ("next-basket method", COLOURS[4]),
    "retriever": ("retriever alone", COLOURS[5]),
    "ranker": ("ranker, everyone gets a list", COLOURS[0]),
    "chosen": ("ranker, the chosen users alone", COLOURS[2]),
    "ceiling": ("ceiling: all candidates", COLOURS[3]),
}
XLABEL = "mean recall over all buyers"
VERBS = {1: "is better than", 0: "is not shown to differ from", -1: "is worse than"}


def best_words(found: Mapping[str, Any]) -> str:
    """The ranker beside the best naive baseline."""
    lines, best = lines_of(found), found["best_baseline"]
    ranker, baseline = lines[RANKER.label].estimate, lines[best].estimate
    gap = next(p.gap for p in pairs_of(found) if (p.one, p.other) == (RANKER.label, best))
    times = figure(ranker.value / baseline.value, 2) if baseline.value else "–"
    return (
        f"ranker {ranker.text(4)}; best baseline, {best}, {baseline.text(4)}: {times} times,"
        f" difference {gap.text(4)}"
    )


def verdict_words(hypotheses: Sequence[Hypothesis]) -> list[str]:
    """What is shown of the ranker beside its rivals, and of the two ways to choose users."""
    rivals = [h for h in hypotheses if h.one == RANKER and h.other.type != "retriever"]
    behind = [h.other.label for h in rivals if h.gap.shown < 1]
    ahead = "the ranker is ahead of every baseline and next-basket method"
    return [
        f"the ranker is not shown to be ahead of {', '.join(behind)}" if behind else ahead,
        *(
            f"choosing {h.one.label} {VERBS[h.gap.shown]} choosing by propensity alone:"
            f" {h.gap.text(4)}"
            for h in hypotheses
            if h.other.by == "propensity"
        ),
    ]
