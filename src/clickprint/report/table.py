"""A table of texts that a terminal, a Markdown file, a page and a slide show alike."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from clickprint.core.text import figure, printable
from clickprint.metrics.compare import Estimate, Gap

Tone = Literal["", "best", "dim"]


class Cell(NamedTuple):
    """A text with a second, paler part.

    `brief` stands for `small` on the terminal, where there is little room; `link` is the id of
    something on the same page.
    """

    text: str
    small: str = ""
    tone: Tone = ""
    brief: str | None = None
    link: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: a title, heads, and rows of cells.

    - `rows`: a cell may be a plain text, or a text and its paler part.
    - `align`: a letter for each column, l or r; the last one holds for all that follow.
    - `foot`: a last row about the columns.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    align: str = field(default="lr", kw_only=True)
    foot: Sequence[str] = field(default=(), kw_only=True)

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, every cell a Cell."""
        return [[Cell(c) if isinstance(c, str) else Cell(*c) for c in row] for row in self.rows]

    def left(self, column: int) -> bool:
        """Whether a column is aligned to the left."""
        return self.align[min(column, len(self.align) - 1)] == "l"

    def part(self, columns: slice, rows: slice = slice(None)) -> "Grid":
        """Some columns and rows; the first column is always among them."""

        def some(row: Sequence[Any]) -> list[Any]:
            return [*row[:1], *row[1:][columns]]

        sides = some(["l" if self.left(c) else "r" for c in range(len(self.heads))])
        return Grid(
            self.title,
            some(self.heads),
            [some(row) for row in self.rows[rows]],
            align="".join(sides),
            foot=some(self.foot) if self.foot else (),
        )

    def texts(self) -> list[list[str]]:
        """The rows as plain texts, both parts of a cell in one."""
        return [[printable(" ".join(p for p in c[:2] if p)) for c in row] for row in self.cells]

    def to_markdown(self) -> str:
        """A bold title and a Markdown table."""
        rule = ["---" if self.left(c) else "---:" for c in range(len(self.heads))]
        body = [[text.replace("|", "\\|") for text in row] for row in self.texts()]
        body += [list(self.foot)] if self.foot else []
        lines = [f"| {' | '.join(row)} |" for row in (list(self.heads), rule, *body)]
        return printable(f"**{self.title}**\n\n" * bool(self.title) + "\n".join(lines))


def estimate_cell(
    found: Estimate | Gap, digits: int = 4, *, sign: bool = False, tone: Tone = ""
) -> Cell:
    """A number and its interval; the terminal shows half the interval's width."""
    if not math.isfinite(found.low):
        return Cell(figure(found.value, digits, sign=sign), tone=tone)
    return Cell(
        figure(found.value, digits, sign=sign),
        f"[{figure(found.low, digits)}, {figure(found.high, digits)}]",
        tone,
        f"±{figure((found.high - found.low) / 2, digits)}",
    )


def estimate_cells(found: Sequence[Estimate]) -> list[Cell]:
    """A column of numbers with their intervals; the best is marked."""
    top = best(f.value for f in found)
    return [estimate_cell(f, tone="best" if f.value == top else "") for f in found]


def best(values: Iterable[float]) -> float:
    """The highest finite value; NaN where there is none."""
    return max((v for v in values if math.isfinite(v)), default=math.nan)
