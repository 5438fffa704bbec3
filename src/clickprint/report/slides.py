"""Slides of a report: the same pages as a PPTX file and as a PDF file.

They are drawn directly, by python-pptx and matplotlib; no office suite is needed.
"""

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickprint.core.errors import ConfigError
from clickprint.core.text import printable, short
from clickprint.report.figure import COLOURS, GRID, INK, SOFT, style
from clickprint.report.page import Code, Heading, Note, Picture, Section, Words
from clickprint.report.table import Grid

WIDE, HIGH = 13.333, 7.5  # inches
MARGIN, TOP, FOOT = 0.6, 1.25, 0.45
LETTERS, LINES = 112, 15  # of a slide's body
ROWS, COLUMNS, FIT = 16, 8, 120  # of a table; letters of a row


@dataclass(frozen=True, slots=True)
class Slide:
    """A heading and one of: lines, a table, a picture."""

    heading: str
    lines: Sequence[str] = ()
    table: Grid | None = None
    picture: bytes = b""


def slides(title: str, lead: Sequence[str], sections: Sequence[Section]) -> list[Slide]:
    """A first slide, and each section on as many as its blocks need."""
    found = [Slide(title, lead)]
    for section in sections:
        for block in section.blocks:
            match block:
                case Words(lines):
                    found += _lines(section.heading, lines)
                case Note(text) | Heading(text) | Code(text, _):
                    found += _lines(section.heading, text.splitlines())
                case Picture(_, heading, drawn):
                    found.append(Slide(f"{section.heading}: {heading}", picture=drawn.png))
                case Grid():
                    for start in range(0, max(len(block.rows), 1), ROWS):
                        part = block.part(slice(COLUMNS - 1), slice(start, start + ROWS))
                        found.append(Slide(section.heading, table=part))
    return found


def _lines(heading: str, lines: Sequence[str]) -> Iterator[Slide]:
    """As many slides as the lines need."""
    page: list[str] = []
    used = 0
    for line in lines:
        need = len(textwrap.wrap(line, LETTERS)) or 1
        if page and used + need > LINES:
            yield Slide(heading, page)
            page, used = [], 0
        page.append(line)
        used += need
    if page:
        yield Slide(heading, page)


def _cells(table: Grid) -> tuple[list[list[str]], list[int]]:
    """Heads and rows as texts, and each column's width in letters.

    The longest texts are cut where a row would not fit.
    """
    rows = [
        [printable(t).replace("\n", " ") for t in row] for row in (table.heads, *table.texts())
    ]
    wide = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    most = next((m for m in range(max(wide), 8, -1) if sum(min(w, m) for w in wide) <= FIT), 8)
    return [[short(t, most - 2) for t in row] for row in rows], [min(w, most) for w in wide]


def _line(text: str) -> str:
    return printable(text).replace("\n", " ")


# -- PPTX ------------------------------------------------------------------------------------


def pptx(pages: Sequence[Slide], file: Path) -> None:
    """Write the slides as a PPTX file. Raises ConfigError where python-pptx is not installed."""
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
            slide, [_line(page.heading)], MARGIN, 0.35, WIDE - 2 * MARGIN, 0.8, size=26, bold=True
        )
        _text(slide, [str(number)], WIDE - 1.2, HIGH - FOOT, 0.6, 0.3, size=10, colour=SOFT)
        if page.lines:
            size = 22 if number == 1 else 15
            _text(
                slide,
                [_line(line) for line in page.lines],
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

    _text(slide, [_line(table.title)], MARGIN, 1.05, WIDE - 2 * MARGIN, 0.3, size=13, colour=SOFT)
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


# -- PDF -------------------------------------------------------------------------------------


def pdf(pages: Sequence[Slide], file: Path) -> None:
    """Write the slides as a PDF file; equal input gives equal bytes."""
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    with (
        style("slides"),
        PdfPages(
            file, metadata={"CreationDate": None, "Creator": "clickprint", "Producer": None}
        ) as book,
    ):
        for number, page in enumerate(pages, 1):
            drawn = Figure(figsize=(WIDE, HIGH), facecolor="white")
            drawn.text(
                MARGIN / WIDE,
                1 - 0.75 / HIGH,
                short(page.heading, 90),
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
                    textwrap.fill(_line(line), LETTERS if number > 1 else 80)
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
    drawn.text(MARGIN / WIDE, 1 - 1.2 / HIGH, _line(table.title), fontsize=12, color=SOFT)
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
            cell.set_text_props(fontweight="bold", color=COLOURS[0])


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
