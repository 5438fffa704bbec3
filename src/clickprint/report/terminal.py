"""Tables and words on the terminal, at most 100 columns wide, in colour where it has colours."""

import re
from collections.abc import Iterable
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from clickprint.core.text import EMPTY, printable, short
from clickprint.report.page import Block, Code, Heading, Note, Picture, Words
from clickprint.report.table import Cell, Grid

COLUMNS = 100
NAME = 28  # letters of a row's name
HEAD = 11  # letters of a line of a column's head
TEXT = 40  # letters from which a column of texts is wrapped
STYLES = {"": "", "best": "bold", "dim": "dim"}


def show(blocks: Iterable[Block | RenderableType], console: Console | None = None) -> None:
    """Print blocks of a report one below the other; pictures are left out.

    `console` is standard output by default; it prints no wider than COLUMNS.
    """
    console = console or Console(highlight=False)
    if console.width > COLUMNS or not console.is_terminal:
        console.width = COLUMNS
    console.print(rendered(blocks, console.width))


def rendered(blocks: Iterable[Block | RenderableType], width: int = COLUMNS) -> Group:
    """The blocks as things that rich can draw, tables no wider than `width`."""
    parts: list[RenderableType] = []
    for block in blocks:
        match block:
            case Grid():
                parts += tables(block, width)
            case Words(lines):
                listed = Table.grid(padding=(0, 1, 0, 0))
                for line in lines:
                    listed.add_row("•", Text(printable(line)))
                parts += [listed]
            case Note(text):
                parts.append(Text(printable(text), style="dim"))
            case Heading(text):
                parts.append(Text(printable(text), style="bold"))
            case Code(text, _):
                parts.append(Text(printable(text)))
            case Picture():
                continue
            case _:
                parts.append(block)
    return Group(*parts)


def tables(grid: Grid, width: int = COLUMNS) -> list[Table]:
    """As many tables as the width asks for, each with the first column in front."""
    if not grid.heads:
        return []
    heads = [broken(h) for h in grid.heads]
    cells = [[_cell(c, name=n == 0) for n, c in enumerate(row)] for row in grid.cells]
    foot = [Text(printable(f), style="dim") for f in grid.foot]
    rows = [heads, *cells, *([foot] if foot else [])]
    widths = [max(_width(row[c]) for row in rows) for c in range(len(heads))]
    wraps = {c for c in range(1, len(heads)) if grid.left(c) and widths[c] > TEXT}
    widths = [TEXT if c in wraps else w for c, w in enumerate(widths)]
    room, parts = 0, list[list[int]]()
    for column in range(1, len(heads)):
        if not parts or widths[column] + 2 > room:
            parts.append([])
            room = width - widths[0] - 3
        parts[-1].append(column)
        room -= widths[column] + 2
    made = []
    for n, part in enumerate(parts or [[]]):
        table = Table(
            box=SIMPLE_HEAD,
            title=printable(grid.title) if grid.title and n == 0 else None,
            title_justify="left",
            title_style="bold",
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for column in (0, *part):
            side: Literal["left", "right"] = "left" if grid.left(column) else "right"
            fits = column not in wraps and widths[0] + widths[column] + 3 <= width
            table.add_column(heads[column], justify=side, no_wrap=fits)
        for row in cells:
            table.add_row(*(row[c] for c in (0, *part)))
        if any(foot[c].plain not in ("", EMPTY) for c in part if foot):
            table.add_section()
            table.add_row(*(foot[c] for c in (0, *part)))
        made.append(table)
    return made


def broken(head: str, most: int = HEAD) -> Text:
    """A head on as few lines as fit: `propensity_new_sku` → prop. / new_sku."""
    lines: list[str] = []
    for word in re.split(r"(?<=[_ ])|(?=@)", printable(head).replace("\n", " ")):
        if lines and len(lines[-1]) + len(word.rstrip("_ ")) <= most:
            lines[-1] += word
        else:
            lines.append(word)
    text = "\n".join(line.rstrip("_ ") for line in lines)
    return Text(text.replace("propensity\n", "prop.\n"))


def _cell(cell: Cell, *, name: bool) -> Text:
    text = Text(short(cell.text, NAME) if name else printable(cell.text), style=STYLES[cell.tone])
    small = cell.small if cell.brief is None else cell.brief
    if small:
        text.append("\n" + printable(small), style="not bold dim")
    return text


def _width(text: Text) -> int:
    return max(len(line) for line in text.plain.split("\n"))
