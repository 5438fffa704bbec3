"""Slides: what is long is whole where there is room, and cut where there is none."""

from pathlib import Path

import pytest

from clickprint.report.page import Section, Words
from clickprint.report.slides import pdf, pptx, slides
from clickprint.report.table import Grid

pytest.importorskip("pptx")
HEADS = ("hypothesis", "verdict", "difference")
LONG = "3,000 users by propensity × recall finds more than 3,000 users by propensity alone"


def cells(
    tmp_path: Path, *rows: tuple[str, ...], heads: tuple[str, ...] = HEADS
) -> list[list[str]]:
    """What the slide of a table shows, and its PDF is drawn, too."""
    from pptx import Presentation

    pages = slides("title", ["said"], [Section("a", "Part", [Grid("a table", heads, rows)])])
    pptx(pages, tmp_path / "s.pptx")
    pdf(pages, tmp_path / "s.pdf")
    assert (tmp_path / "s.pdf").read_bytes().startswith(b"%PDF")
    (shape,) = (s for s in Presentation(str(tmp_path / "s.pptx")).slides[1].shapes if s.has_table)
    return [[cell.text for cell in row.cells] for row in shape.table.rows]


def test_a_long_text_is_whole_where_its_row_has_room(tmp_path: Path) -> None:
    row = (LONG, "not shown", "+.0020 [−.0025, .0061]")
    assert cells(tmp_path, row) == [list(HEADS), list(row)]


def test_a_row_that_does_not_fit_loses_the_ends_of_its_longest_texts(tmp_path: Path) -> None:
    found = cells(tmp_path, ("x" * 400, "y" * 300, "z"), ("a", "b", "c"))
    assert [text[-1] for text in found[1]] == ["…", "…", "z"]
    assert (found[0], found[2]) == (list(HEADS), ["a", "b", "c"])
    many = tuple("w" * 100 for _ in range(8))
    assert all(len(text) < 30 for row in cells(tmp_path, many, heads=many) for text in row)


def test_a_table_without_rows_has_its_heads(tmp_path: Path) -> None:
    assert cells(tmp_path) == [list(HEADS)]


def test_long_lines_take_as_many_slides_as_they_need() -> None:
    pages = slides("title", [], [Section("a", "Part", [Words([f"{n} " * 60 for n in range(30)])])])
    assert len(pages) > 2
    assert [line for page in pages for line in page.lines] == [f"{n} " * 60 for n in range(30)]
