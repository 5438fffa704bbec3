"""Slides drawn directly: the same pages as a PPTX (python-pptx) and as a PDF (matplotlib). No office suite is needed."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clickprint.apps.rank.table import Grid
from clickprint.core.errors import ConfigError
from clickprint.report.figure import GRID, INK, SOFT, Drawn, _printable, _style

WIDE, HIGH = 13.333, 7.5  # inches
MARGIN, TOP, FOOT = 0.6, 1.25, 0.45
LETTERS, LINES = 112, 15  # of a slide's body
ROWS, COLUMNS, FIT = 16, 8, 120  # of a table; letters of a row
ACCENT = "#0072b2"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the presentation: what it says, in order lines, tables, pictures with what they show."""

    id: str
    heading: str
    lines: Sequence[str] = ()
    tables: Sequence[Grid] = ()
    pictures: Sequence[tuple[str, Drawn]] = field(default=())


@dataclass(frozen=True, slots=True)
class Slide:
    """A heading and one of: lines, a table, a picture."""

    heading: str
    lines: Sequence[str] = ()
    table: Grid | None = None
    picture: bytes = b""


def slides(title: str, said: Sequence[str], parts: Sequence[Part]) -> Iterator[Slide]:
    """A first page, and each part on as many as it needs."""
    yield Slide(title, said)
    for n, part in enumerate(parts, 1):
        head = f"{n} · {part.heading}"
        page: list[str] = []
        used = 0
        for line in part.lines:
            need = len(textwrap.wrap(line, LETTERS)) or 1
            if page and used + need > LINES:
                yield Slide(head, page)
                page, used = [], 0
            page.append(line)
            used += need
        if page:
            yield Slide(head, page)
        for table in part.tables:
            for start in range(0, max(len(table.rows), 1), ROWS):
                rows = [row[:COLUMNS] for row in table.rows[start : start + ROWS]]
                yield Slide(head, table=Grid(table.title, table.heads[:COLUMNS], rows))
        for caption, drawn in part.pictures:
            yield Slide(f"{head}: {caption}", picture=drawn.png)


def _clean(text: str, most: int = 0) -> str:
    text = _printable(text).replace("\n", " ")
    return text if not most or len(text) <= most else text[: most - 1] + "…"


def _cells(table: Grid) -> tuple[list[list[str]], list[int]]:
    """The heads and the rows, and each column's width in letters; the longest texts are cut where a row would not fit."""
    cells = [
        [_clean(h) for h in table.heads],
        *([_clean(" ".join(p for p in cell if p)) for cell in row] for row in table.rows),
    ]
    wide = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
    most = next((m for m in range(max(wide), 8, -1) if sum(min(w, m) for w in wide) <= FIT), 8)
    return [[_clean(text, most - 2) for text in row] for row in cells], [
        min(w, most) for w in wide
    ]


# -- PPTX -------------------------------------------------------------------------------------------------------------------------


def pptx(pages: Sequence[Slide], file: Path) -> None:
    """Raises ConfigError where python-pptx is not installed."""
    try:
        from pptx import Presentation
        from pptx.util import Inches
    except ImportError:
        raise ConfigError("slides need python-pptx; pip install 'clickprint[recommend]'") from None
    made: Any = Presentation()
    made.slide_width, made.slide_height = Inches(WIDE), Inches(HIGH)
    for number, page in enumerate(pages, 1):
        slide = made.slides.add_slide(made.slide_layouts[6])  # blank
        _text(
            slide, [_clean(page.heading)], MARGIN, 0.35, WIDE - 2 * MARGIN, 0.8, size=26, bold=True
        )
        _text(slide, [str(number)], WIDE - 1.2, HIGH - FOOT, 0.6, 0.3, size=10, colour=SOFT)
        if page.lines:
            size = 22 if number == 1 else 15
            _text(
                slide,
                [_clean(line) for line in page.lines],
                MARGIN,
                TOP,
                WIDE - 2 * MARGIN,
                HIGH - TOP - FOOT,
                size=size,
            )
        if page.table is not None:
            _table(slide, page.table)
        if page.picture:
            _picture(slide, page.picture)
    made.save(str(file))


def _text(
    slide: Any,
    lines: Sequence[str],
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    size: int,
    bold: bool = False,
    colour: str = INK,
) -> None:
    from pptx.dml.color import RGBColor
    from pptx.util import Inches, Pt

    frame = slide.shapes.add_textbox(
        Inches(left), Inches(top), Inches(width), Inches(height)
    ).text_frame
    frame.word_wrap = True
    for n, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if n == 0 else frame.add_paragraph()
        paragraph.text = line
        paragraph.space_after = Pt(6)
        paragraph.font.size, paragraph.font.bold = Pt(size), bold
        paragraph.font.color.rgb = RGBColor.from_string(colour.removeprefix("#"))


def _table(slide: Any, table: Grid) -> None:
    from pptx.util import Inches, Pt

    _text(slide, [_clean(table.title)], MARGIN, 1.05, WIDE - 2 * MARGIN, 0.3, size=13, colour=SOFT)
    cells, wide = _cells(table)
    shape = slide.shapes.add_table(
        len(cells),
        len(table.heads),
        Inches(MARGIN),
        Inches(1.5),
        Inches(WIDE - 2 * MARGIN),
        Inches(0.3 * len(cells)),
    )
    for column, letters in zip(shape.table.columns, wide, strict=True):
        column.width = int(Inches(WIDE - 2 * MARGIN) * letters / sum(wide))
    for r, row in enumerate(cells):
        for c, text in enumerate(row):
            cell = shape.table.cell(r, c)
            cell.text = text
            cell.margin_top = cell.margin_bottom = Inches(0.02)
            for paragraph in cell.text_frame.paragraphs:
                paragraph.font.size = Pt(11)


def _picture(slide: Any, png: bytes) -> None:
    from pptx.util import Inches

    box = WIDE - 2 * MARGIN, HIGH - TOP - FOOT
    placed = slide.shapes.add_picture(io.BytesIO(png), Inches(MARGIN), Inches(TOP))
    scale = min(Inches(box[0]) / placed.width, Inches(box[1]) / placed.height)
    placed.width, placed.height = int(placed.width * scale), int(placed.height * scale)
    placed.left = int((Inches(WIDE) - placed.width) / 2)


# -- PDF --------------------------------------------------------------------------------------------------------------------------


def pdf(pages: Sequence[Slide], file: Path) -> None:
    """The same pages; equal input, equal bytes."""
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    with (
        _style("slides"),
        PdfPages(
            file, metadata={"CreationDate": None, "Creator": "clickprint", "Producer": None}
        ) as book,
    ):
        for number, page in enumerate(pages, 1):
            drawn = Figure(figsize=(WIDE, HIGH), facecolor="white")
            drawn.text(
                MARGIN / WIDE,
                1 - 0.75 / HIGH,
                _clean(page.heading, 90),
                fontsize=22,
                fontweight="bold",
                color=INK,
            )
            drawn.text(
                1 - MARGIN / WIDE, FOOT / HIGH / 2, str(number), fontsize=9, color=SOFT, ha="right"
            )
            if page.lines:
                size = 18 if number == 1 else 13
                wrapped = [
                    textwrap.fill(_clean(line), LETTERS if number > 1 else 80)
                    for line in page.lines
                ]
                text = "\n".join(wrapped)
                drawn.text(
                    MARGIN / WIDE,
                    1 - TOP / HIGH,
                    text,
                    fontsize=size,
                    color=INK,
                    va="top",
                    linespacing=1.55,
                )
            if page.table is not None:
                _pdf_table(drawn, page.table)
            if page.picture:
                _pdf_picture(drawn, page.picture)
            book.savefig(drawn)


def _pdf_table(drawn: Any, table: Grid) -> None:
    drawn.text(MARGIN / WIDE, 1 - 1.2 / HIGH, _clean(table.title), fontsize=12, color=SOFT)
    (heads, *cells), wide = _cells(table)
    height = min(0.34 * (len(cells) + 1), HIGH - 1.45 - FOOT)
    ax = drawn.add_axes(
        (MARGIN / WIDE, 1 - (1.4 + height) / HIGH, 1 - 2 * MARGIN / WIDE, height / HIGH)
    )
    ax.axis("off")
    shown = ax.table(
        cellText=cells or [[""] * len(heads)],
        colLabels=heads,
        colWidths=[w / sum(wide) for w in wide],
        cellLoc="left",
        bbox=(0, 0, 1, 1),
    )
    shown.auto_set_font_size(False)
    shown.set_fontsize(min(11, 11 * 112 / max(sum(wide), 112)))
    for (row, _), cell in shown.get_celld().items():
        cell.set_edgecolor(GRID)
        cell.set_linewidth(0.6)
        if row == 0:
            cell.set_text_props(fontweight="bold", color=ACCENT)


def _pdf_picture(drawn: Any, png: bytes) -> None:
    from matplotlib.image import imread

    image = imread(io.BytesIO(png))
    box = WIDE - 2 * MARGIN, HIGH - TOP - FOOT
    scale = min(box[0] / image.shape[1], box[1] / image.shape[0])
    wide, high = image.shape[1] * scale, image.shape[0] * scale
    ax = drawn.add_axes(
        ((WIDE - wide) / 2 / WIDE, (HIGH - TOP - high) / HIGH, wide / WIDE, high / HIGH)
    )
    ax.axis("off")
    ax.imshow(image, interpolation="bilinear", aspect="auto")
