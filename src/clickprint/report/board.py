"""A board of profiles as pictures, tables, a section of a page, and on the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from clickprint.core.text import EMPTY, figure, short
from clickprint.metrics.compare import Estimate, Gap
from clickprint.report import terminal
from clickprint.report.figure import (
    COLOURS,
    PAPER,
    SHAPES,
    SOFT,
    Bar,
    Row,
    bar_rows,
    blank,
    caption,
    dashed_line,
    gap_colour,
    grid_lines,
    interval_rows,
    name_axis,
    panels,
    score_axis,
    whisker,
    zero_line,
)
from clickprint.report.page import Block, Heading, Note, Section, Words, pictures
from clickprint.report.table import Cell, Grid, estimate_cell, estimate_cells
from clickprint.tasks.board import Board, Floor, HeldOut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOTTO = "One log → one profile per shopper → every prediction a shop needs"


# -- on the terminal -------------------------------------------------------------------------


def show(
    board: Board, *, notes: Sequence[str] = (), words: bool = True, console: Console | None = None
) -> None:
    """Print the board; `notes` are footnotes, and `words` switches the verdicts off."""
    blocks: list[Block] = [Heading(f"{board.probe} probe"), *grids(board)]
    if words:
        blocks += [Heading("in words"), Words(board.verdicts())]
    half = ["± is half of an interval."] if board.resamples else []
    terminal.show([*blocks, Note("\n".join([*_footnotes(board), *half, *notes]))], console)


# -- tables ----------------------------------------------------------------------------------


def grids(board: Board) -> list[Grid]:
    """Counted tasks with their sum and places, other tasks, live scores, and the ablation."""
    others = [t for t in board.tasks if t not in board.counted]
    dead = [t for t in board.tasks if board.about(t).degenerate]
    hidden = ["hidden tasks"] if board.hidden else []
    titles = {
        "scores": [*_tasks(board, board.counted), *_totals(board)],
        " and ".join(["other tasks"] * bool(others) + hidden): [
            *_tasks(board, others),
            *_hidden(board),
        ],
        "over live labels only": list(_tasks(board, dead, live=True)),
    }
    names = [Cell(p, tone="dim" if p == board.control else "") for p in board.order]
    found = []
    for title, columns in titles.items():
        if columns:
            live = "live labels" if title == "over live labels only" else "dead labels"
            heads, cells, foot = zip(*columns, strict=True)
            rows = [[n, *row] for n, row in zip(names, zip(*cells, strict=True), strict=True)]
            dead_or_live = any(f not in ("", EMPTY) for f in foot)
            last = (live, *foot) if dead_or_live else ()
            found.append(Grid(title, ("profile", *heads), rows, foot=last))
    return [*found, *control_grids(board), *ablation_grids(board)]


Column = tuple[str, list[Cell], str]  # head, cells, foot


def _tasks(board: Board, tasks: Sequence[str], *, live: bool = False) -> Iterator[Column]:
    for task in tasks:
        about = board.about(task)
        dead = about.labels - about.degenerate if live else about.degenerate
        foot = f"{dead}/{about.labels}" if about.degenerate else EMPTY if about.labels > 1 else ""
        found = [(board.live if live else board.score)(p, task) for p in board.order]
        yield task, estimate_cells(found), foot


def _totals(board: Board) -> Iterator[Column]:
    if board.counted:
        places = board.standings()
        yield (
            f"sum of {len(board.counted)}",
            estimate_cells([board.total(s.profile) for s in places]),
            "",
        )
        yield "Borda", [Cell(f"{s.points:g}") for s in places], ""
        bounds = [f"{s.low:g}–{s.high:g}" if s.low != s.high else f"{s.low:g}" for s in places]
        known = [b if np.isfinite(s.low) else "" for b, s in zip(bounds, places, strict=True)]
        yield "place", [Cell(f"{s.place:g}", b) for b, s in zip(known, places, strict=True)], ""


def _hidden(board: Board) -> Iterator[Column]:
    spreads = [s for p in board.order if (s := board.spread(p)) is not None]
    if spreads:
        means = estimate_cells([s.mean for s in spreads])
        yield f"hidden: mean of {len(board.hidden)}", means, ""
        yield "sd", [Cell(figure(s.deviation, 3)) for s in spreads], ""
        quartiles = [(s.lower, s.median, s.upper) for s in spreads]
        yield "quartiles", [Cell(" ".join(figure(v, 3) for v in q)) for q in quartiles], ""


def control_grids(board: Board) -> list[Grid]:
    """What is left of each score beyond its width: on other users, and above random vectors.

    Pale where it is not shown.
    """
    if not (board.controlled and board.counted):
        return []
    tasks, heads = [*board.counted, None], (*board.counted, f"sum of {len(board.counted)}")

    def held_out(profile: str) -> list[Estimate]:
        row = HeldOut(profile)
        return [board.score(row, t) if t else board.total(row) for t in tasks]

    columns = [estimate_cells(list(c)) for c in zip(*map(held_out, board.order), strict=True)]
    others = [
        [p, *cells] for p, cells in zip(board.order, zip(*columns, strict=True), strict=True)
    ]
    own = [p for p in board.order if p != board.control]
    above = [[p, *(_gap_cell(board.gap(p, Floor(p), t)) for t in tasks)] for p in own]
    return [
        Grid(
            "on users that the probe did not learn from (live labels)", ("profile", *heads), others
        ),
        *(
            [Grid("above random vectors of the same width", ("profile", *heads), above)]
            if own
            else []
        ),
    ]


def _gap_cell(gap: Gap) -> Cell:
    return estimate_cell(gap, sign=True, tone="best" if gap.shown else "dim")


def ablation_grids(board: Board) -> list[Grid]:
    """The change of each score when a block is left out; pale where it is not shown."""
    rows = [
        [str(c.row), *map(_gap_cell, c.tasks.values()), _gap_cell(c.total)] for c in board.costs()
    ]
    heads = ("left out", *board.counted, f"sum of {len(board.counted)}")
    return [Grid("one block left out", heads, rows)] if rows else []


def _footnotes(board: Board) -> Iterator[str]:
    yield (
        f"Intervals are 95 % over users, {board.resamples} shared resamples."
        if board.resamples
        else "No resamples were made."
    )
    if any(board.about(t).degenerate for t in board.tasks):
        yield (
            "A dead label has no positive, or no negative, in the validation window; the challenge"
            " counts it 0, the live score leaves it out."
        )
    if board.controlled:
        yield (
            "A probe that scores the users it learned from rewards width: random vectors of 2,048"
            " columns are above chance. So each profile is also compared with random vectors of"
            " its own width, and scored on one half of the users by a probe that learned from the"
            " other half."
        )
    elif board.probe == "official":
        yield (
            "The official probe scores the users it learned from, which rewards width; with"
            " `official_controls = true` it is also asked with random vectors of the same width"
            " and with other users, as the quick probe is."
        )
    if board.tasks != board.counted:
        yield f"In the sum and the Borda count: {', '.join(board.counted) or 'nothing'}."
    yield (
        "Borda: in each task the best of N profiles gets N − 1 points; equal scores share. bold ="
        " best of its column."
    )
    if board.hidden:
        yield (
            "Hidden tasks are generated; no recipe sees them. They are not in the sum and not in"
            " the Borda count."
        )
    if board.ablation:
        yield (
            "left out: the paired difference to the whole profile; below 0 the block helps, pale ="
            " not shown."
        )


# -- a section of a page ---------------------------------------------------------------------


def section(board: Board, id: str, heading: str) -> Section:
    """All about a board: pictures, tables, and what was asked."""
    makers = {n: (head, partial(of, board)) for n, (head, of) in BOARD_PICTURES.items()}
    asked = [
        (t, s.about, f"{s.users:,}", str(s.labels), str(s.degenerate))
        for t in board.tasks
        for s in [board.about(t)]
    ]
    heads = ("task", "what is asked", "users", "labels", "degenerate")
    return Section(
        id,
        heading,
        [
            *pictures(makers, id),
            *grids(board),
            *(Note(said) for said in _footnotes(board)),
            Grid("The questions", heads, asked, align="llr"),
        ],
    )


# -- pictures --------------------------------------------------------------------------------


def _looks(board: Board) -> dict[str, tuple[str, str]]:
    """A colour and a shape for each profile, the same in every picture; the control is grey."""
    free = [p for p in board.profiles if p != board.control]
    found = {p: (COLOURS[i % 7], SHAPES[i % len(SHAPES)]) for i, p in enumerate(free)}
    return {**found, board.control: (COLOURS[7], "o")}


def ranks(board: Board) -> "Figure | None":
    """Borda points, and beside them the final place with its interval."""
    standings, looks = board.standings(), _looks(board)
    if not standings:
        return None
    from matplotlib.ticker import MaxNLocator

    drawn = blank(0.75 + 0.27 * len(standings))
    left, right = drawn.subplots(1, 2, width_ratios=[3, 2], sharey=True)
    most = max((len(standings) - 1) * len(board.counted), 1)
    rows = [Bar(s.profile, s.points, f"{s.points:g}", looks[s.profile][0]) for s in standings]
    _places_panel(right, board, size=6.0)
    bar_rows(left, rows, alpha=0.85)
    left.set_xlim(0, most * 1.06)
    left.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    left.set_xlabel(f"Borda points over {len(board.counted)} tasks (at most {most})")
    right.tick_params(labelleft=False)
    right.set_xlabel("place" + (", bar = 95 % interval" if board.resamples else ""))
    return drawn


def _places_panel(ax: "Axes", board: Board, *, wide: float = 2.2, size: float = 7.0) -> None:
    standings, looks = board.standings(), _looks(board)
    rows = [Row(s.profile, s.estimate, *looks[s.profile]) for s in standings]
    interval_rows(ax, rows, wide=wide, size=size)
    ax.set_xlim(0.5, len(standings) + 0.5)
    ax.set_xticks(range(1, len(standings) + 1))


def scores(board: Board) -> "Figure | None":
    """A panel a task: each profile's score with its interval, and the reference's line.

    The score over live labels is hollow where some labels are degenerate.
    """
    if not board.tasks:
        return None
    drawn, axes = panels(len(board.tasks), 3, 0.85 + 0.235 * len(board.profiles))
    for i, (task, ax) in enumerate(zip(board.tasks, axes, strict=True)):
        _score_panel(ax, board, task, names=i % 3 == 0)
    caption(drawn, _score_label(board))
    return drawn


def _score_panel(ax: "Axes", board: Board, task: str, *, names: bool) -> None:
    order, looks, about = board.order, _looks(board), board.about(task)
    if board.reference in board.scores:
        dashed_line(ax, board.score(board.reference, task).value, looks[board.reference][0])
    rows = [Row(p, board.score(p, task), *looks[p]) for p in order]
    interval_rows(ax, rows, names=names)
    if about.degenerate and about.labels > 1:
        for y, profile in enumerate(order):
            (colour, shape), live = looks[profile], board.live(profile, task)
            whisker(ax, y, live, colour, wide=1.0)
            hollow: dict[str, Any] = {"markersize": 5.5, "markerfacecolor": PAPER}
            ax.plot([live.value], [y], shape, color=colour, **hollow)
    said = f"{about.users:,} users"
    if about.labels > 1:
        said = f"{about.labels - about.degenerate} of {about.labels} labels live"
    ax.set_title(short(task, 28), pad=17)
    place: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
    }
    ax.annotate(said, (0, 1), (0, 5), color=SOFT, fontsize=7.5, **place)


def _score_label(board: Board) -> str:
    abouts = [board.about(t) for t in board.tasks]
    bounds = ", bar = 95 % interval over users" if board.resamples else ""
    live = any(0 < s.degenerate < s.labels for s in abouts)
    hollow = ", hollow = over live labels only" if live else ""
    line = f", dashed = {short(board.reference)}" if board.reference in board.scores else ""
    return f"score ({board.probe} probe){bounds}{hollow}{line}"


def gaps(board: Board) -> "Figure | None":
    """A panel a task: each profile's paired difference to the reference."""
    order = [p for p in board.order if p not in (board.reference, board.control)]
    if board.reference not in board.scores or not order or not board.counted:
        return None
    looks = _looks(board)

    def rows(task: str | None) -> list[Row]:
        found = [board.gap(p, board.reference, task) for p in order]
        return [
            Row(p, g, *looks[p], hollow=not g.shown) for p, g in zip(order, found, strict=True)
        ]

    bounds = " and 95 % interval" if board.resamples else ""
    return _gap_panels(
        board,
        rows,
        0.7 + 0.25 * len(order),
        f"paired difference to {short(board.reference)}{bounds}; hollow = not shown",
    )


def ablation(board: Board) -> "Figure | None":
    """What a joined profile loses on each task, and in the sum, when a block is left out."""
    costs = board.costs()
    if not costs:
        return None
    many = len({c.row.profile for c in costs}) > 1

    def rows(task: str | None) -> list[Row]:
        found = [c.tasks[task] if task else c.total for c in costs]
        names = [f"{c.row.profile}: " * many + f"− {c.row.block}" for c in costs]
        return [_shown(n, g) for n, g in zip(names, found, strict=True)]

    said = "change of the score without the block: left of zero the block helps, grey = not shown"
    return _gap_panels(board, rows, 0.7 + 0.28 * len(costs), said)


def _shown(name: str, gap: Gap) -> Row:
    return Row(name, gap, gap_colour(gap), hollow=not gap.shown)


def _gap_panels(
    board: Board, rows: Callable[[str | None], Sequence[Row]], height: float, said: str
) -> "Figure":
    """A panel for each counted task and one for their sum."""
    drawn, axes = panels(len(board.counted) + 1, 4, height)
    for i, (task, ax) in enumerate(zip([*board.counted, None], axes, strict=True)):
        zero_line(ax)
        interval_rows(ax, rows(task), names=i % 4 == 0, margin=0.1)
        ax.set_title(short(task) if task else f"sum of {len(board.counted)}")
    caption(drawn, said)
    return drawn


def hidden(board: Board) -> "Figure | None":
    """Every hidden task a dot: how profiles do on questions that no recipe saw."""
    if not board.hidden:
        return None
    drawn = blank(0.8 + 0.42 * len(board.profiles))
    ax = drawn.subplots()
    _hidden_panel(ax, board)
    ax.set_xlabel(
        f"score on {len(board.hidden)} hidden tasks ({board.probe} probe); box = quartiles, line ="
        " median, diamond = mean"
    )
    return drawn


def _hidden_panel(ax: "Axes", board: Board) -> None:
    spreads = {p: s for p in board.profiles if (s := board.spread(p)) is not None}
    known = {p: s.mean.value if np.isfinite(s.mean.value) else -np.inf for p, s in spreads.items()}
    order, looks = sorted(spreads, key=lambda p: -known[p]), _looks(board)
    for y, profile in enumerate(order):
        colour, spread = looks[profile][0], spreads[profile]
        values = np.array([board.scores[profile][t].score for t in board.hidden])
        box = spread.upper - spread.lower
        shade: dict[str, Any] = {"color": colour, "alpha": 0.18, "linewidth": 0}
        ax.barh(y, box, left=spread.lower, height=0.56, **shade)
        ax.plot([spread.median] * 2, [y - 0.28, y + 0.28], color=colour, linewidth=2)
        # Golden steps: spread evenly, and the same every time.
        place = values.argsort(kind="stable").argsort(kind="stable")
        jitter = (place * 0.618034 % 1 - 0.5) * 0.5
        dots: dict[str, Any] = {"markersize": 5, "alpha": 0.75, "markeredgewidth": 0}
        ax.plot(values, y + jitter, ".", color=colour, **dots)
        edge: dict[str, Any] = {"markersize": 6, "markeredgecolor": colour, "markeredgewidth": 1.6}
        ax.plot([spread.mean.value], [y], "D", color=PAPER, **edge)
    name_axis(ax, order)
    grid_lines(ax)
    score_axis(ax.xaxis)


def epochs(board: Board) -> "Figure | None":
    """A panel a task: the official probe's score after each epoch."""
    tasks = [t for t in board.tasks if any(row[t].epochs for row in board.scores.values())]
    if not tasks:
        return None
    looks = _looks(board)
    drawn, axes = panels(len(tasks), 3, 1.75)
    for i, (task, ax) in enumerate(zip(tasks, axes, strict=True)):
        for profile in board.profiles:
            (colour, shape), found = looks[profile], board.scores[profile][task]
            line = [e.get("score", np.nan) for e in found.epochs]
            steps = range(1, len(line) + 1)
            hollow: dict[str, Any] = {
                "markersize": 5,
                "markerfacecolor": PAPER,
                "label": short(profile),
            }
            ax.plot(steps, line, "-" + shape, color=colour, **hollow)
            if 0 <= found.best_epoch < len(line):
                kept = found.best_epoch
                ax.plot([kept + 1], [line[kept]], shape, color=colour, markersize=6)
        ax.set_title(short(task, 28))
        ax.grid(True, axis="y")
        ax.tick_params(length=0)
        longest = max(len(row[task].epochs) for row in board.scores.values())
        ax.set_xticks(range(1, longest + 1))
        ax.margins(x=0.12, y=0.15)
        score_axis(ax.yaxis)
        if i % 3 == 0:
            ax.set_ylabel("score")
    caption(drawn, "epoch of the official probe; filled = the epoch that counts")
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6))
    return drawn


BOARD_PICTURES: Mapping[str, tuple[str, "Callable[[Board], Figure | None]"]] = {
    "ranks": ("Places", ranks),
    "scores": ("Each task", scores),
    "gaps": ("Difference to the reference", gaps),
    "epochs": ("Learning of the probe", epochs),
    "hidden": ("Hidden tasks: generalisation measured, not fit", hidden),
    "ablation": ("One block left out", ablation),
}


def cover(board: Board, line: str = "") -> "Figure | None":
    """A whole board as one picture, for a README or a slide; `line` stands below the title."""
    if not board.counted:
        return None
    count, costs = len(board.counted), board.costs()
    columns = min(3, count)
    rows = -(-count // columns)
    drawn = blank(1.5 + rows * max(1.0 + 0.2 * len(board.profiles), 1.75), 12.4)
    drawn.set_layout_engine("constrained", w_pad=0.09, h_pad=0.09)
    drawn.suptitle(MOTTO, x=0.012, ha="left", fontsize=15, fontweight="bold")
    left, right = drawn.subfigures(1, 2, squeeze=False, width_ratios=[2.15, 1]).ravel()
    axes = left.subplots(rows, columns, squeeze=False).ravel()
    for i, (task, ax) in enumerate(zip(board.counted, axes, strict=False)):
        _score_panel(ax, board, task, names=i % columns == 0)
    caption(left, _score_label(board))
    left.suptitle(line, x=0.018, ha="left", fontsize=10, color=SOFT)
    many = len(board.profiles)
    parts: list[tuple[str, float, Callable[..., None]]] = [
        ("place, by Borda count", many, partial(_places_panel, wide=4.0))
    ]
    if board.hidden:
        parts.append((f"{len(board.hidden)} hidden tasks", 1.6 * many, _hidden_panel))
    if costs:
        parts.append(("one block left out: sum", max(len(costs), 2), _costs_panel))
    heights = [height for _, height, _ in parts]
    beside = right.subplots(len(parts), 1, squeeze=False, height_ratios=heights).ravel()
    for ax, (title, _, panel) in zip(beside, parts, strict=True):
        panel(ax, board)
        ax.set_title(title)
    right.suptitle(" ", fontsize=10)
    return drawn


def _costs_panel(ax: "Axes", board: Board) -> None:
    zero_line(ax)
    rows = [_shown(f"{c.row.profile} − {c.row.block}", c.total) for c in board.costs()]
    interval_rows(ax, rows, margin=0.1)
