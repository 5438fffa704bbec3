"""Pictures of next purchase, from what a validation or an evaluation wrote: recall against the bars, ceilings, importance, calibration."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clickprint.report.figure import (
    COLOURS,
    PAPER,
    SOFT,
    _blank,
    _grid,
    _log_axis,
    _scores_axis,
    _short,
    _whisker,
)
from clickprint.tasks.board import Estimate, Gap

if TYPE_CHECKING:  # matplotlib takes half a second: imported where a figure is made
    from matplotlib.figure import Figure

MOST = 20  # features of a picture
# What a line of the table is, and its colour.
KINDS: Mapping[str, tuple[str, str]] = {
    "bar": ("naive bar", COLOURS[7]),
    "next-basket": ("next-basket method", COLOURS[4]),
    "source": ("source alone", COLOURS[5]),
    "ranker": ("ranker, everybody gets a list", COLOURS[0]),
    "choice": ("ranker, the chosen users alone", COLOURS[2]),
    "ceiling": ("ceiling: all candidates", COLOURS[3]),
}


class Line(NamedTuple):
    """One way to make lists, and the mean recall over all buyers that it reaches."""

    name: str
    kind: str
    found: Estimate


class Pair(NamedTuple):
    """A paired difference of two lines."""

    one: str
    other: str
    gap: Gap


def against(lines: Sequence[Line], dashed: str = "") -> "Figure | None":
    """Recall of each line with its interval, the best first; a dashed line at `dashed`."""
    rows = sorted(lines, key=lambda x: -x.found.value)
    if not rows:
        return None
    drawn = _blank(1.0 + 0.26 * len(rows))
    ax = drawn.subplots()
    for line in rows:
        if line.name == dashed:
            ax.axvline(line.found.value, color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
    told: set[str] = set()
    for y, line in enumerate(rows):
        said, colour = KINDS[line.kind]
        _whisker(ax, y, line.found, colour)
        ax.plot(
            [line.found.value],
            [y],
            "o",
            color=colour,
            markersize=5.5,
            label=None if line.kind in told else said,
        )
        told.add(line.kind)
    ax.set_yticks(range(len(rows)), [_told(line.name) for line in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    _scores_axis(ax.xaxis)
    _grid(ax)
    ax.margins(x=0.08)
    drawn.legend(loc="outside upper left", ncols=3, handletextpad=0.2)
    ax.set_xlabel(
        "mean recall over all buyers; band = 95 % interval"
        + (f", dashed = {_told(dashed)}" if dashed else "")
    )
    return drawn


def differences(pairs: Sequence[Pair]) -> "Figure | None":
    """Each paired difference with its interval; hollow where it is not shown."""
    if not pairs:
        return None
    drawn = _blank(0.8 + 0.27 * len(pairs))
    ax = drawn.subplots()
    ax.axvline(0, color=SOFT, linewidth=1)
    for y, (_, _, gap) in enumerate(pairs):
        colour = COLOURS[2] if gap.shown >= 0 else COLOURS[1]
        _whisker(ax, y, gap, colour)
        ax.plot(
            [gap.value],
            [y],
            "o",
            color=colour,
            markersize=5.5,
            markerfacecolor=colour if gap.shown else PAPER,
        )
    ax.set_yticks(range(len(pairs)), [f"{_told(p.one)} − {_told(p.other)}" for p in pairs])
    ax.set_ylim(len(pairs) - 0.4, -0.6)
    _scores_axis(ax.xaxis)
    _grid(ax)
    ax.margins(x=0.1)
    ax.set_xlabel("paired difference of recall, 95 % interval; hollow = not shown")
    return drawn


def ceilings(curves: Mapping[str, Sequence[Sequence[int | float]]]) -> "Figure | None":
    """Recall of the candidates against how many a user has: each source's first k, and the union's."""
    if not curves:
        return None
    drawn = _blank(3.6)
    ax = drawn.subplots()
    for n, (name, points) in enumerate(curves.items()):
        _, size, found = np.array(points).T
        union = name == "union"
        colour = COLOURS[3] if union else COLOURS[[0, 1, 2, 4, 5, 6, 7][n % 7]]
        ax.plot(
            size,
            found,
            "-o",
            color=colour,
            markersize=4 if union else 3,
            linewidth=2.4 if union else 1.2,
            label=_short(name),
        )
    if all(p[1] > 0 for points in curves.values() for p in points):
        ax.set_xscale("log")
        sizes = [p[1] for points in curves.values() for p in points]
        _log_axis(ax.xaxis, min(sizes), max(sizes))
    _scores_axis(ax.yaxis)
    _grid(ax, "both")
    ax.set_xlabel("candidates a user, the mean (logarithmic)")
    ax.set_ylabel("share of what was bought")
    drawn.legend(loc="outside right upper")
    return drawn


def importance(found: Mapping[str, float], said: str) -> "Figure | None":
    """The most useful features, each with its share."""
    rows = [(n, v) for n, v in found.items() if v > 0][:MOST]
    if not rows:
        return None
    drawn = _blank(0.75 + 0.22 * len(rows))
    ax = drawn.subplots()
    for y, (_, share) in enumerate(rows):
        ax.barh(y, share, height=0.62, color=COLOURS[0], linewidth=0)
        ax.annotate(
            f"{100 * share:.3g} %",
            (share, y),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=SOFT,
        )
    ax.set_yticks(range(len(rows)), [_short(n, 34) for n, _ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    _scores_axis(ax.xaxis)
    _grid(ax)
    ax.margins(x=0.1)
    ax.set_xlabel(said)
    return drawn


def calibration(bins: Sequence[Mapping[str, int | float]]) -> "Figure | None":
    """Chances against what happened: each point as many users; on the line chances are right."""
    if not bins:
        return None
    drawn = _blank(4.2)
    ax = drawn.subplots()
    propensity, bought = (np.array([b[k] for b in bins]) for k in ("propensity", "bought"))
    most = max(propensity.max(), bought.max(), 1e-6) * 1.08
    ax.plot([0, most], [0, most], color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
    spread = 1.96 * np.sqrt(bought * (1 - bought) / np.array([b["users"] for b in bins]))
    ax.vlines(
        propensity,
        np.maximum(bought - spread, 0),
        bought + spread,
        color=COLOURS[0],
        alpha=0.55,
        linewidth=2.2,
    )
    ax.plot(propensity, bought, "o", color=COLOURS[0], markersize=5)
    ax.set_aspect("equal")
    for axis in (ax.xaxis, ax.yaxis):
        _scores_axis(axis)
    _grid(ax, "both")
    ax.set_xlabel("chance to buy in the window, as predicted")
    ax.set_ylabel("share who bought; bar = 95 % interval")
    return drawn


def history(values: Sequence[float]) -> "Figure | None":
    """Recall of each trial of the search, and the best so far."""
    if not values:
        return None
    drawn = _blank(2.8)
    ax = drawn.subplots()
    at = np.arange(1, len(values) + 1)
    ax.plot(at, values, "o", color=COLOURS[5], markersize=4, label="a trial")
    ax.step(
        at, np.maximum.accumulate(values), where="post", color=COLOURS[0], label="the best so far"
    )
    _scores_axis(ax.yaxis)
    _grid(ax, "both")
    ax.set_xlabel("trial; the first one is what the parameters say")
    ax.set_ylabel("recall")
    drawn.legend(loc="outside upper left", ncols=2)
    return drawn


def _told(name: str) -> str:
    """A line's name where there is little room: `3,000: chance × recall`."""
    return _short(name.replace(" users by ", ": "), 30)


def lines_of(raw: Sequence[Mapping[str, Any]]) -> list[Line]:
    """From JSON, whose null is NaN."""
    return [
        Line(r["name"], r["kind"], Estimate(*(_number(r[k]) for k in ("value", "low", "high"))))
        for r in raw
    ]


def pairs_of(raw: Sequence[Mapping[str, Any]]) -> list[Pair]:
    return [
        Pair(
            r["one"], r["other"], Gap(*(_number(r[k]) for k in ("value", "low", "high", "share")))
        )
        for r in raw
    ]


def _number(found: float | None) -> float:
    return float("nan") if found is None else float(found)
