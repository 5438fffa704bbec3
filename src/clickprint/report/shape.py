"""Pictures of an audited log: how popular items are, how long users pause, who comes back."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clickprint.core.text import count
from clickprint.core.time import DAY, SECOND
from clickprint.data.audit.log import Shape
from clickprint.report.figure import (
    COLOURS,
    Bar,
    blank,
    columns,
    heatmap,
    log_axis,
    percent_axis,
)
from clickprint.report.page import Picture, pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COHORTS = 40  # rows of the retention picture: of more weeks, neighbours are added up


def popularity(shape: Shape) -> "Figure | None":
    """The share of all events that the most frequent items make, by their rank."""
    if not shape.popularity:
        return None
    rank, share = np.array(shape.popularity, np.float64).T
    drawn = blank(2.6)
    ax = drawn.subplots()
    ax.plot(rank, share, "-", color=COLOURS[1], linewidth=2)
    ax.fill_between(rank, share, color=COLOURS[1], alpha=0.12, linewidth=0)
    if rank[-1] > 1:
        ax.set_xscale("log")
        log_axis(ax.xaxis, rank[0], rank[-1])
    half = int(np.searchsorted(share, 0.5))
    ax.plot([rank[half]], [share[half]], "o", color=COLOURS[1], markersize=5)
    title = f"{count(rank[half])} of {count(rank[-1])} items make half of all events"
    ax.set_title(title, fontsize=9)
    ax.set_ylim(0, 1.02)
    percent_axis(ax.yaxis)
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
    colours = [COLOURS[1], *[COLOURS[0]] * (len(shape.gaps) - 1)]
    bars = [
        Bar(said, n / total, count(n) if n else "", colour)
        for (said, n), colour in zip(shape.gaps, colours, strict=True)
    ]
    xlabel = "pause between a user's neighbouring events, up to (the first bar: ties)"
    return columns(bars, xlabel, "share of all pauses")


def retention(shape: Shape) -> "Figure | None":
    """Of the users who first came in a week, the share that comes again so many weeks later."""
    if len(shape.weeks) < 2:
        return None
    table = np.array(shape.retention, np.float64)
    starts = np.arange(0, len(table), -(-len(table) // COHORTS))
    table = np.add.reduceat(table, starts, axis=0)
    # A cohort's last weeks lie after the log's end: nothing is known of them. The calendar has
    # weeks without a newcomer too.
    first = ((np.array(shape.weeks) - shape.weeks[0]) // (7 * DAY))[starts]
    week = first[:, None] + np.arange(table.shape[1])[None, :]
    shown = table / np.maximum(table[:, :1], 1)
    shown[week > week[table > 0].max()] = np.nan
    later = shown[:, 1:]
    top = float(np.nanmax(later)) if np.isfinite(later).any() else 1.0
    days = [
        datetime.fromtimestamp(shape.weeks[s] // SECOND, UTC).strftime("%Y-%m-%d") for s in starts
    ]
    every = max(1, len(shown) // 8)
    return heatmap(
        shown,
        f"weeks later; strongest after week 0 = {100 * top:.3g} % came back",
        ylabel="week of the first event",
        yticks=(range(0, len(shown), every), days[::every]),
        top=top,
        height=0.9 + 0.13 * max(len(shown), 8),
    )


SHAPE_PICTURES: Mapping[str, tuple[str, "Callable[[Shape], Figure | None]"]] = {
    "popularity": ("Popularity", popularity),
    "gaps": ("Pauses", gaps),
    "retention": ("Who comes back", retention),
}


def shape_pictures(shape: Shape, of: str) -> list[Picture]:
    """All pictures of a log's shape; `of` is the log's name."""
    makers = {n: (head, partial(draw, shape)) for n, (head, draw) in SHAPE_PICTURES.items()}
    return pictures(makers, of)
