"""Pictures of an audit that a report has not: how popular items are, how long users pause, who comes back."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from clickprint.core.time import SECOND
from clickprint.data.audit.log import Shape
from clickprint.report.figure import COLOURS, INK, SOFT, _blank, _count, _grid, _log_axis, _percent

if TYPE_CHECKING:  # matplotlib takes half a second: imported where a figure is made
    from matplotlib.figure import Figure

COHORTS = 40  # rows of the retention picture: of more weeks, neighbours are added up


def popularity(shape: Shape) -> "Figure | None":
    """The share of all events about items that the most frequent items make, rank logarithmic."""
    if not shape.popularity:
        return None
    rank, share = np.array(shape.popularity, np.float64).T
    drawn = _blank(2.6)
    ax = drawn.subplots()
    ax.plot(rank, share, "-", color=COLOURS[1], linewidth=2)
    ax.fill_between(rank, share, color=COLOURS[1], alpha=0.12, linewidth=0)
    if rank[-1] > 1:
        ax.set_xscale("log")
        _log_axis(ax.xaxis, rank[0], rank[-1])
    half = int(np.searchsorted(share, 0.5))
    ax.plot([rank[half]], [share[half]], "o", color=COLOURS[1], markersize=5)
    ax.set_title(
        f"{_count(rank[half])} of {_count(rank[-1])} items make half of all events", fontsize=9
    )
    ax.set_ylim(0, 1.02)
    _percent(ax.yaxis)
    ax.grid(True)
    ax.tick_params(length=0, which="both")
    ax.set_xlabel("rank of the item, the most frequent first (logarithmic)")
    ax.set_ylabel("share of events up to it")
    return drawn


def gaps(shape: Shape) -> "Figure | None":
    """How long users pause between two events."""
    total = sum(n for _, n in shape.gaps)
    if not total:
        return None
    drawn = _blank(2.6)
    ax = drawn.subplots()
    counts = np.array([n for _, n in shape.gaps], np.float64)
    ax.bar(
        range(len(counts)),
        counts / total,
        width=0.8,
        color=[COLOURS[1], *[COLOURS[0]] * (len(counts) - 1)],
        linewidth=0,
    )
    for x, n in enumerate(counts):
        if n:
            ax.text(x, n / total + 0.006, _count(n), ha="center", fontsize=7.5, color=SOFT)
    ax.set_xticks(range(len(counts)), [said for said, _ in shape.gaps])
    ax.tick_params(axis="x", labelsize=7.5)
    _percent(ax.yaxis)
    _grid(ax, "y")
    ax.set_xlabel("pause between a user's neighbouring events, up to (the first bar: ties)")
    ax.set_ylabel("share of all pauses")
    return drawn


def retention(shape: Shape) -> "Figure | None":
    """Of the users who first came in a week, the share that does something so many weeks later."""
    if len(shape.weeks) < 2:
        return None
    from matplotlib.colors import LinearSegmentedColormap

    table = np.array(shape.retention, np.float64)
    wide = -(-len(table) // COHORTS)
    starts = np.arange(0, len(table), wide)
    table = np.add.reduceat(table, starts, axis=0)
    # A cohort's last weeks lie after the log's end: nothing is known of them. The calendar has weeks without a newcomer too.
    weeks = (np.array(shape.weeks) - shape.weeks[0]) // (7 * 86_400 * SECOND)
    last = (weeks[starts][:, None] + np.arange(table.shape[1])[None, :])[table > 0].max()
    shown = table / np.maximum(table[:, :1], 1)
    first = weeks[starts]
    shown[first[:, None] + np.arange(table.shape[1])[None, :] > last] = np.nan
    drawn = _blank(0.9 + 0.13 * max(len(shown), 8))
    ax = drawn.subplots()
    shades = LinearSegmentedColormap.from_list(
        "shades", [(0, 0.447, 0.698, 0.03), (0, 0.447, 0.698, 1.0)]
    )
    top = (
        np.nanmax(shown[:, 1:]) if shown.shape[1] > 1 and np.isfinite(shown[:, 1:]).any() else 1.0
    )
    ax.pcolormesh(
        np.arange(shown.shape[1] + 1) - 0.5,
        np.arange(len(shown) + 1) - 0.5,
        np.ma.masked_invalid(shown),
        cmap=shades,
        vmin=0,
        vmax=top or 1.0,
    )
    ax.invert_yaxis()
    every = max(1, len(shown) // 8)
    days = [
        datetime.fromtimestamp(shape.weeks[s] // SECOND, UTC).strftime("%Y-%m-%d") for s in starts
    ]
    ax.set_yticks(range(0, len(shown), every), days[::every])
    ax.tick_params(length=0, labelcolor=INK)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_ylabel("week of the first event")
    ax.set_xlabel(f"weeks later; strongest after week 0 = {100 * top:.3g} % came back")
    return drawn


PICTURES: Mapping[str, tuple[str, Callable[[Shape], "Figure | None"]]] = {
    "popularity": ("Popularity", popularity),
    "gaps": ("Pauses", gaps),
    "retention": ("Who comes back", retention),
}
