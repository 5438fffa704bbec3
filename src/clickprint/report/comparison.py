"""Tables and pictures of a comparison: contenders with intervals, paired differences, ceilings."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clickprint.core.text import short
from clickprint.metrics.calibration import Bin
from clickprint.metrics.compare import Line, Pair
from clickprint.report.figure import (
    COLOURS,
    SOFT,
    Bar,
    Row,
    bars,
    blank,
    curves,
    gap_colour,
    grid_lines,
    intervals,
    score_axis,
)
from clickprint.report.table import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEATURES = 20  # of a picture
LETTERS = 34  # of a name in a picture
Types = Mapping[str, tuple[str, str]]  # a line's type → what it is called, and its colour


def lines_grid(title: str, metric: str, lines: Sequence[Line], types: Types) -> Grid:
    """Each line with its interval, the best first."""
    order = sorted(lines, key=lambda x: -x.estimate.value)
    rows = [(x.name, types[x.type][0], x.estimate.text(4)) for x in order]
    return Grid(title, ("lists", "type", f"{metric} [95 %]"), rows, align="llr")


def pairs_grid(pairs: Sequence[Pair]) -> Grid:
    """Paired differences."""
    rows = [(p.one, p.other, p.gap.text(4)) for p in pairs]
    heads = ("one", "less the other", "difference [95 %]")
    return Grid("paired differences", heads, rows, align="llr")


def lines_picture(
    lines: Sequence[Line], types: Types, xlabel: str, *, dashed: str
) -> "Figure | None":
    """Each line with its interval, the best first; a dashed line at the one called `dashed`."""
    rows = [
        Row(_named(x.name), x.estimate, types[x.type][1], label=types[x.type][0])
        for x in sorted(lines, key=lambda x: -x.estimate.value)
    ]
    at = {x.name: x.estimate.value for x in lines}.get(dashed)
    told = f"{xlabel}; band = 95 % interval, dashed = {_named(dashed)}"
    return intervals(rows, told, dashed=at, most=LETTERS)


def pairs_picture(pairs: Sequence[Pair], metric: str) -> "Figure | None":
    """Each paired difference with its interval; hollow where it is not shown."""
    rows = [
        Row(f"{_named(one)} − {_named(other)}", gap, gap_colour(gap), hollow=not gap.shown)
        for one, other, gap in pairs
    ]
    xlabel = f"paired difference of {metric}, 95 % interval; hollow = not shown"
    return intervals(rows, xlabel, zero=True, most=2 * LETTERS + 3)


def _named(name: str) -> str:
    """A name where there is little room: `3,000: propensity × recall`."""
    return short(re.sub(r"( of)? users by ", ": ", name), LETTERS)


def ceilings_picture(found: Mapping[str, Sequence[Sequence[int | float]]]) -> "Figure | None":
    """Recall of candidates by their number: name → (k, candidates of a user, recall) at each k."""
    lines = {name: ([d[1] for d in ds], [d[2] for d in ds]) for name, ds in found.items()}
    log = all(d[1] > 0 for depths in found.values() for d in depths)
    xlabel = "candidates of a user, the mean" + (" (logarithmic)" if log else "")
    return curves(lines, xlabel, "share of what was bought", log=log, strong="union")


def shares_picture(shares: Mapping[str, float], xlabel: str) -> "Figure | None":
    """The largest shares, such as of features in a model's gain."""
    rows = [Bar(n, v, f"{100 * v:.3g} %") for n, v in shares.items() if v > 0]
    return bars(rows[:FEATURES], xlabel, most=LETTERS)


def calibration_picture(bins: Sequence[Bin], what: str) -> "Figure | None":
    """Predicted probabilities beside what happened; on the dashed line they are right."""
    if not bins:
        return None
    drawn = blank(4.2)
    ax = drawn.subplots()
    size, predicted, observed = np.array(bins).T
    most = max(predicted.max(), observed.max(), 1e-6) * 1.08
    ax.plot([0, most], [0, most], color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
    half = 1.96 * np.sqrt(observed * (1 - observed) / size)
    low, high = np.maximum(observed - half, 0), observed + half
    ax.vlines(predicted, low, high, color=COLOURS[0], alpha=0.55, linewidth=2.2)
    ax.plot(predicted, observed, "o", color=COLOURS[0], markersize=5)
    ax.set_aspect("equal")
    score_axis(ax.xaxis)
    score_axis(ax.yaxis)
    grid_lines(ax, "both")
    ax.set_xlabel(f"{what}, as predicted")
    ax.set_ylabel("share of users for whom it happened; bar = 95 % interval")
    return drawn


def trials_picture(values: Sequence[float], metric: str) -> "Figure | None":
    """The metric of each trial of a search, and the best so far."""
    if not values:
        return None
    drawn = blank(2.8)
    ax = drawn.subplots()
    at, best = np.arange(1, len(values) + 1), np.maximum.accumulate(values)
    ax.plot(at, values, "o", color=COLOURS[5], markersize=4, label="a trial")
    ax.step(at, best, where="post", color=COLOURS[0], label="the best so far")
    score_axis(ax.yaxis)
    grid_lines(ax, "both")
    ax.set_xlabel("trial; the first has the options as they were")
    ax.set_ylabel(metric)
    drawn.legend(loc="outside upper left", ncols=2)
    return drawn
