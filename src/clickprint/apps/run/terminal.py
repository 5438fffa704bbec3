"""A board on the terminal: tables that fit 100 columns, what they show in words, and what they rest on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from clickprint.tasks.board import Board, Estimate, Gap, figure

COLUMNS = 100
NAME = 18  # letters of a profile's name
HEAD = 11  # letters of a line of a column's head


def show(
    board: Board, *, notes: Sequence[str] = (), words: bool = True, console: Console | None = None
) -> None:
    """Prints the board (on standard output by default), in colour where that is a terminal.

    `notes` are footnotes of the caller's: the split, the seed, the data. `words` switches the verdicts off.
    """
    console = console or Console(highlight=False)
    if console.width > COLUMNS or not console.is_terminal:
        console.width = COLUMNS
    console.print(rendered(board, notes=notes, words=words, width=console.width))


def rendered(
    board: Board, *, notes: Sequence[str] = (), words: bool = True, width: int = COLUMNS
) -> Group:
    """The board as things that rich can draw, tables no wider than `width`."""
    parts: list[RenderableType] = [
        Text(f"{board.probe} probe", style="bold"),
        *_tables(board, width),
    ]
    if board.ablation:
        parts += _ablation(board, width)
    if words:
        listed = Table.grid(padding=(0, 1, 0, 0))
        for verdict in board.verdicts():
            listed.add_row("•", Text(_clean(verdict)))
        parts += [Text("in words", style="bold"), listed, Text()]
    parts.append(Text(_clean("\n".join(_footnotes(board, notes))), style="dim"))
    return Group(*parts)


def _order(board: Board) -> list[str]:
    return [s.profile for s in board.standings()] or list(board.profiles)


def _clean(text: str) -> str:
    """Without what could steer a terminal: names come from others' files."""
    return "".join(c for c in text if c == "\n" or c.isprintable())


def _short(name: str, most: int = NAME) -> str:
    name = _clean(name).replace("\n", " ")
    return name if len(name) <= most else name[: most - 1] + "…"


def _head(task: str) -> Text:
    """A task's name on as few lines as fit: `propensity_new_sku` → propensity / new_sku."""
    lines: list[str] = []
    for word in _clean(task).split("_"):
        if lines and len(lines[-1]) + 1 + len(word) <= HEAD:
            lines[-1] += "_" + word
        else:
            lines.append(word[:HEAD])
    return Text("\n".join(lines).replace("propensity\n", "prop.\n"))


def _cells(found: Sequence[Estimate]) -> list[Text]:
    """Each score, and below it half the width of its interval; the best is bold."""
    best = _best([f.value for f in found])
    cells = [Text(figure(f.value), style="bold" if f.value == best else "") for f in found]
    for cell, f in zip(cells, found, strict=True):
        if np.isfinite(f.low):
            cell.append("\n±" + figure((f.high - f.low) / 2), style="not bold dim")
    return cells


def _best(values: Sequence[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return max(known, default=float("nan"))


class _Column(NamedTuple):
    head: Text
    cells: Sequence[Text]
    foot: str = ""

    @property
    def width(self) -> int:
        return max(
            len(line)
            for text in (self.head, *self.cells, Text(self.foot))
            for line in text.plain.split("\n")
        )


def _draw(
    title: str,
    names: Sequence[str],
    columns: Sequence[_Column],
    *,
    width: int,
    foot: str = "",
    dim: str = "",
) -> list[RenderableType]:
    """As many tables as the width asks for, each with the names in front; `foot` names the last row, `dim` the row that is pale."""
    wide = max(len(n) for n in [*names, foot, "profile"])
    chunks: list[list[_Column]] = []
    room = 0
    for column in columns:
        if not chunks or column.width + 2 > room:
            chunks.append([])
            room = width - wide - 3
        chunks[-1].append(column)
        room -= column.width + 2
    out: list[RenderableType] = []
    for chunk in chunks:
        table = Table(
            box=SIMPLE_HEAD,
            title=title,
            title_justify="left",
            title_style="bold",
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        table.add_column("profile", no_wrap=True)
        for column in chunk:
            table.add_column(column.head, justify="right", no_wrap=True)
        for row, name in enumerate(names):
            table.add_row(
                Text(name, style="dim" if name == dim else ""), *(c.cells[row] for c in chunk)
            )
        if foot and any(c.foot not in ("", "–") for c in chunk):
            table.add_section()
            table.add_row(Text(foot, style="dim"), *(Text(c.foot, style="dim") for c in chunk))
        out.append(table)
        title = ""
    return out


def _tables(board: Board, width: int) -> list[RenderableType]:
    """Profiles down, tasks across: the counted tasks and what they add up to; the other tasks and the hidden ones; the live scores."""
    order = _order(board)
    names, dim = [_short(p) for p in order], _short(board.control)
    first = [_scored(board, order, t) for t in board.counted]
    if board.counted:
        places = {s.profile: s for s in board.standings()}
        first.append(
            _Column(Text(f"sum of\n{len(board.counted)}"), _cells([board.total(p) for p in order]))
        )
        first.append(_Column(Text("Borda"), [Text(f"{places[p].points:g}") for p in order]))
        first.append(_Column(Text("place"), [_placed(*places[p][2:]) for p in order]))
    second = [_scored(board, order, t) for t in board.tasks if t not in board.counted]
    titles = ["other tasks"] if second else []
    if board.hidden:
        titles.append("hidden tasks")
        spreads = [s for p in order if (s := board.spread(p)) is not None]
        best = _best([s.mean.value for s in spreads])
        cells = [
            Text(figure(s.mean.value), style="bold" if s.mean.value == best else "")
            for s in spreads
        ]
        for cell, s in zip(cells, spreads, strict=True):
            cell.append("\nsd " + figure(s.deviation, 3), style="not bold dim")
        second.append(_Column(Text(f"hidden:\nmean of {len(board.hidden)}"), cells))
    third = [_scored(board, order, t, live=True) for t in board.tasks if board.about(t).degenerate]
    return [
        *_draw("scores", names, first, foot="dead labels", dim=dim, width=width),
        *_draw(" and ".join(titles), names, second, foot="dead labels", dim=dim, width=width),
        *_draw("over live labels only", names, third, foot="live labels", dim=dim, width=width),
    ]


def _scored(board: Board, order: Sequence[str], task: str, *, live: bool = False) -> _Column:
    about = board.about(task)
    count = about.labels - about.degenerate if live else about.degenerate
    found = [board.live(p, task) if live else board.score(p, task) for p in order]
    return _Column(
        _head(task),
        _cells(found),
        f"{count}/{about.labels}" if about.degenerate else "–" if about.labels > 1 else "",
    )


def _placed(place: float, low: float, high: float) -> Text:
    text = Text(f"{place:g}")
    if np.isfinite(low):
        text.append(f"\n{low:g}–{high:g}" if low != high else f"\n{low:g}", style="dim")
    return text


def _ablation(board: Board, width: int) -> list[RenderableType]:
    """The change of each score when a block is left out; bold where it is shown."""
    costs = board.costs()

    def column(head: Text, found: Sequence[Gap]) -> _Column:
        return _Column(
            head,
            [Text(figure(g.value, sign=True), style="bold" if g.shown else "dim") for g in found],
        )

    columns = [column(_head(t), [by_task[t] for *_, by_task in costs]) for t in board.counted]
    columns.append(
        column(Text(f"sum of\n{len(board.counted)}"), [total for _, _, total, _ in costs])
    )
    return _draw(
        "left out",
        [_short(f"{whole} without {block}", 28) for whole, block, *_ in costs],
        columns,
        width=width,
    )


def _footnotes(board: Board, notes: Sequence[str]) -> list[str]:
    said = [
        f"± is half of the 95 % interval over users, {board.resamples} shared resamples."
        if board.resamples
        else "No resamples were made."
    ]
    if any(board.about(t).degenerate for t in board.tasks):
        said.append(
            "A dead label has no positive, or no negative, in the validation window; the challenge counts it 0."
        )
    if board.tasks != board.counted:
        said.append(f"In the sum and the Borda count: {', '.join(board.counted) or 'nothing'}.")
    said.append(
        "Borda: in each task the best of N profiles gets N − 1 points; equal scores share. bold = best of its column."
    )
    if board.hidden:
        said.append(
            "Hidden tasks are generated; no recipe sees them. They are not in the sum and not in the Borda count."
        )
    if board.ablation:
        said.append(
            "left out: the paired difference to the whole profile; below 0 the block helps, dim = not shown."
        )
    return [*said, *notes]
