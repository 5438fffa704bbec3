"""Slides and pictures of next purchase: what is long is told apart all the same."""

from pathlib import Path

import pytest

from clickprint.apps.next import figures
from clickprint.apps.next.figures import Line, Pair
from clickprint.apps.next.slides import FIT, Part, _cells, pdf, pptx, slides
from clickprint.apps.rank.table import Grid
from clickprint.report.figure import draw
from clickprint.tasks.board import Estimate, Gap

pytest.importorskip("pptx")
LONG = "3,000 users by chance × recall finds more than 3,000 users by chance alone"
ALONE, WORTH = (f"3,000 users by {n}" for n in ("chance alone", "chance × recall"))


def table(
    *rows: tuple[str, ...], heads: tuple[str, ...] = ("hypothesis", "verdict", "difference")
) -> Grid:
    return Grid("a table", heads, [[(text, "") for text in row] for row in rows])


def test_a_long_text_is_whole_where_its_row_has_room(tmp_path: Path) -> None:
    from pptx import Presentation

    pages = list(
        slides(
            "title",
            ["said"],
            [Part("a", "Part", tables=[table((LONG, "not shown", "+.0020 [−.0025, .0061]"))])],
        )
    )
    pptx(pages, tmp_path / "s.pptx")
    pdf(pages, tmp_path / "s.pdf")
    (shape,) = (s for s in Presentation(str(tmp_path / "s.pptx")).slides[1].shapes if s.has_table)
    assert [c.text for c in shape.table.rows[1].cells] == [
        LONG,
        "not shown",
        "+.0020 [−.0025, .0061]",
    ]
    widths = [c.width for c in shape.table.columns]
    assert widths[0] > 2 * widths[1]
    assert (tmp_path / "s.pdf").read_bytes().startswith(b"%PDF")


def test_a_row_that_does_not_fit_loses_the_ends_of_its_longest_texts() -> None:
    cells, wide = _cells(table(("x" * 400, "y" * 300, "z"), ("a", "b", "c")))
    assert sum(wide) <= FIT
    assert [cells[1][c][-1] for c in range(3)] == ["…", "…", "z"]
    assert cells[0] == ["hypothesis", "verdict", "difference"]
    assert cells[2] == ["a", "b", "c"]
    many = tuple("w" * 100 for _ in range(8))
    assert sum(_cells(table(many, heads=many))[1]) <= FIT


def test_a_table_without_rows_has_its_heads() -> None:
    assert _cells(table())[0] == [["hypothesis", "verdict", "difference"]]


def svg(make) -> str:
    drawn = draw(make, "a picture")
    assert drawn is not None
    return drawn.svg


def test_lines_that_differ_at_their_ends_are_told_apart() -> None:
    lines = [
        Line(n, "choice", Estimate(0.2 + k / 10, 0.1, 0.5)) for k, n in enumerate((ALONE, WORTH))
    ]
    ax = figures.against(lines).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "3,000: chance × recall",
        "3,000: chance alone",
    ]
    ax = figures.differences([Pair(WORTH, ALONE, Gap(0.1, 0.0, 0.2, 0.9))]).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "3,000: chance × recall − 3,000: chance alone"
    ]


def test_numbers_of_candidates_are_read_as_numbers() -> None:
    curves = {
        "own": [(10, 2.1, 0.2), (25, 6.0, 0.3)],
        "union": [(10, 20.0, 0.4), (100, 74.0, 0.5)],
    }
    drawn = figures.ceilings(curves)
    drawn.canvas.draw()
    told = [t.get_text() for t in drawn.axes[0].get_xticklabels()]
    assert {"5", "10", "20"} <= set(told)
    assert "mathdefault" not in svg(lambda: figures.ceilings(curves))
