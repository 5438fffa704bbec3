"""Pictures of a log before anything is learned from it: time, kinds, activity, sizes."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clickprint.core.text import NAME, count, short
from clickprint.core.time import DAY, SECOND, show
from clickprint.data.overview import Overview, funnel
from clickprint.report.figure import (
    COLOURS,
    INK,
    SOFT,
    Bar,
    bar_rows,
    blank,
    count_axis,
    date_axis,
    grid_lines,
    heatmap,
    log_axis,
    percent_axis,
)
from clickprint.report.page import Block, Picture, Words, pictures
from clickprint.report.table import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
BY_WEEK = 500 * DAY  # a longer log is shown by week
USES = ("profiles are made from it", "probes learn from it", "scores")  # of a split's parts


def _date(time: int) -> float:
    """Days since 1970: what matplotlib counts dates in."""
    return time / DAY


def _colours(found: Overview) -> dict[str, str]:
    return {k.name: COLOURS[i % len(COLOURS)] for i, k in enumerate(funnel(found))}


def timeline(found: Overview) -> "Figure | None":
    """The split: the past, the window that probes learn from, and the window that counts."""
    if not found.spans:
        return None
    drawn = blank(1.75)
    ax = drawn.subplots()
    colours = (COLOURS[0], COLOURS[4], COLOURS[1])
    for span, colour, use in zip(found.spans, colours, USES, strict=True):
        ax.barh(
            0,
            _date(span.end) - _date(span.start),
            left=_date(span.start),
            height=0.9,
            color=colour,
            linewidth=0,
            alpha=0.85,
            label=f"{short(span.name)}: {use}",
        )
    cuts = [s.start for s in found.spans[1:]] + [found.spans[-1].end]
    # Like stairs, because the windows can be narrow.
    for time, up in zip(cuts, (0.6, 1.2, 1.8), strict=True):
        ax.annotate(
            datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%d"),
            (_date(time), up),
            (-3, 0),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            annotation_clip=False,
        )
        ax.plot([_date(time)] * 2, [-0.45, up + 0.5], color=INK, linewidth=1)
    ax.set_ylim(-0.5, 2.4)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    date_axis(ax, _date(found.spans[0].start), _date(found.spans[-1].end))
    ax.tick_params(length=0)
    drawn.legend(loc="outside upper left", ncols=3, handlelength=0.9, columnspacing=1.4)
    return drawn


def days(found: Overview) -> "Figure | None":
    """Events a day, stacked by kind, with the split's windows behind them; a long log by week."""
    if not found.days:
        return None
    wide = 7 if found.days[-1] - found.days[0] > BY_WEEK else 1
    start = np.array(found.days) // DAY
    place = (start - start[0]) // wide
    bins = int(place[-1]) + 1
    edges = start[0] + np.arange(bins + 1) * wide
    drawn = blank(2.9)
    ax = drawn.subplots()
    below = np.zeros(bins)
    layers = []
    colours, codes = _colours(found), {k.name: i for i, k in enumerate(found.kinds)}
    for kind in reversed(funnel(found)):
        by_day = np.array(found.by_day[codes[kind.name]], np.float64)
        below = below + np.bincount(place, by_day, bins)
        layers.append((below, kind.name))
    # The tallest first: each covers the part below it, which halves the picture's text.
    for height, name in reversed(layers):
        ax.stairs(height, edges, fill=True, color=colours[name], linewidth=0, label=short(name))
    for span in found.spans[1:]:
        ax.axvspan(
            _date(span.start),
            _date(span.end),
            color=SOFT,
            alpha=0.15 if span.name.startswith("train") else 0.32,
            linewidth=0,
            zorder=0,
            label=short(span.name),
        )
    ax.set_ylim(0, below.max() * 1.06)
    date_axis(ax, _date(found.days[0]), _date(found.days[-1] + wide * DAY))
    count_axis(ax.yaxis)
    grid_lines(ax, "y")
    ax.set_ylabel("events a week" if wide == 7 else "events a day")
    columns = min(len(ax.get_legend_handles_labels()[1]), 7)
    drawn.legend(loc="outside upper left", ncols=columns, handlelength=0.9, columnspacing=1.4)
    return drawn


def kinds(found: Overview) -> "Figure | None":
    """The kinds of event in funnel order: how many, and what share of the users ever did it."""
    rows, colours = funnel(found), _colours(found)
    if not rows:
        return None
    names = [k.name if k.name == k.role else f"{short(k.name, NAME - 9)} ({k.role})" for k in rows]
    shares = [k.users / max(found.users, 1) for k in rows]
    drawn = blank(0.75 + 0.3 * len(rows))
    left, right = drawn.subplots(1, 2, width_ratios=[3, 2], sharey=True)
    named = [(n, colours[k.name], k) for n, k in zip(names, rows, strict=True)]
    bar_rows(left, [Bar(n, k.events, count(k.events), c) for n, c, k in named], log=True)
    text = [f"{100 * share:.3g} %" for share in shares]
    beside = zip(named, shares, text, strict=True)
    bar_rows(right, [Bar(n, s, t, c) for (n, c, _), s, t in beside], alpha=0.6)
    percent_axis(right.xaxis)
    left.set_xlabel("events (logarithmic)")
    right.set_xlim(0, 1.18)
    right.set_xticks([0, 0.5, 1])
    right.tick_params(labelleft=False)
    right.set_xlabel("share of all users who ever did it")
    return drawn


def activity(found: Overview) -> "Figure | None":
    """How uneven users and items are: the share of them with at least n events."""
    if not found.per_user:
        return None
    drawn = blank(2.7)
    left, right = drawn.subplots(1, 2, sharey=True)
    _at_least(left, found.per_user, "users", COLOURS[0])
    _at_least(right, found.per_item, "items", COLOURS[1])
    left.set_ylabel("share of all")
    return drawn


def _at_least(ax: "Axes", curve: tuple[tuple[int, int], ...], what: str, colour: str) -> None:
    ax.set_xlabel(f"events of one {what[:-1]}, at least")
    ax.grid(True, which="major")
    ax.tick_params(length=0, which="both")
    if not curve:
        ax.text(0.5, 0.5, f"no {what}", transform=ax.transAxes, ha="center", color=SOFT)
        return
    n, have = np.array(curve, np.float64).T
    ax.loglog(n, have / have[0], "-", color=colour, linewidth=2)
    half = n[have >= have[0] / 2].max()
    ax.plot([half], [have[n == half][0] / have[0]], "o", color=colour, markersize=5)
    title = f"{count(have[0])} {what}: half of them have at least {count(half)}"
    ax.set_title(title, fontsize=9)
    log_axis(ax.xaxis, n[0], n[-1])
    percent_axis(ax.yaxis)


def sizes(found: Overview) -> "Figure | None":
    """How many users and items there are, and how many values each attribute takes."""
    plain = {
        "users": found.users,
        "items with events": found.items,
        "items in the catalogue": found.catalogue,
    }
    rows = [Bar(name, n, count(n)) for name, n in plain.items()]
    for a in found.attributes:
        share = 100 * a.items / max(found.catalogue, 1)
        note = f"{a.type.replace('_', ' ')}, {share:.3g} % of the catalogue"
        name = f"values of {short(a.name, NAME - 10)}"
        rows.append(Bar(name, a.values, f"{count(a.values)} · {note}", COLOURS[5], soft=True))
    drawn = blank(0.7 + 0.27 * len(rows))
    ax = drawn.subplots()
    bar_rows(ax, rows, log=True, room=1.35)
    ax.set_xlabel("how many (logarithmic)")
    return drawn


def week(found: Overview) -> "Figure | None":
    """When events happen: hour of the day across, day of the week down, by the log's clock."""
    if not sum(found.by_hour):
        return None
    table = np.array(found.by_hour, np.float64).reshape(7, 24)
    day, hour = divmod(int(table.argmax()), 24)
    most = f"{DAYS[day]} {hour} to {hour + 1} h, {count(table.max())} events"
    return heatmap(
        table,
        f"hour of the day, by the log's clock; strongest = {most}",
        xticks=(range(0, 24, 3), [str(h) for h in range(0, 24, 3)]),
        yticks=(range(7), DAYS),
    )


LOG_PICTURES: Mapping[str, tuple[str, "Callable[[Overview], Figure | None]"]] = {
    "timeline": ("The split", timeline),
    "days": ("Events over time", days),
    "kinds": ("Kinds of event", kinds),
    "activity": ("How uneven users and items are", activity),
    "sizes": ("Sizes", sizes),
    "week": ("Through the week", week),
}


def log_pictures(found: Overview, names: Iterable[str] = LOG_PICTURES) -> list[Picture]:
    """Pictures of a log, by their names in LOG_PICTURES."""
    makers = {n: (LOG_PICTURES[n][0], partial(LOG_PICTURES[n][1], found)) for n in names}
    return pictures(makers, found.name)


def log_blocks(found: Overview) -> list[Block]:
    """All about a log: its pictures, the parts of the split, rows that could not be read."""
    blocks: list[Block] = [*log_pictures(found)]
    if found.spans:
        heads = ("part of the split", "from", "until before", "events", "users with events")
        rows = [
            (s.name, show(s.start), show(s.end), f"{s.events:,}", f"{s.users:,}")
            for s in found.spans
        ]
        blocks.append(Grid("The split", heads, rows, align="lllr"))
    if found.rejected:
        rejected = [(reason, f"{n:,}") for reason, n in sorted(found.rejected.items())]
        blocks.append(Grid("Rows that could not be read", ("reason", "rows"), rejected))
    return blocks


def log_summary(found: Overview) -> list[Block]:
    """How much of everything a log has, by kind of event, and what its catalogue says."""
    days = [show(day)[:10] for day in found.days]
    span = f", from {days[0]} to {days[-1]}" if days else ""
    words = [
        f"{found.name}: {found.events:,} events of {found.users:,} users and {found.items:,}"
        f" items{span}.",
        f"The catalogue knows {found.catalogue:,} items; {found.unlisted:,} items have events and"
        " no row in it.",
    ]
    words += [
        f"{k.name} ({k.role}): {k.events:,} events by {k.users:,} users about {k.items:,} items"
        for k in funnel(found)
    ]
    heads = ("attribute", "type", "items that have it", "values")
    rows = [
        (a.name, a.type.replace("_", " "), f"{a.items:,}", f"{a.values:,}")
        for a in found.attributes
    ]
    grid = Grid("What the catalogue says of items", heads, rows, align="llr")
    return [Words(words), *([grid] if rows else [])]
