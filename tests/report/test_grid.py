"""One table of texts, its parts and its Markdown."""

import numpy as np

from clickprint.metrics.compare import Estimate, Gap
from clickprint.report.table import Cell, Grid, best, estimate_cell, estimate_cells

GRID = Grid("t", ("name", "n", "m"), [("a|b", ("1", "±2"), Cell("3", "[2, 4]", "best"))])


def test_markdown() -> None:
    lines = GRID.to_markdown().splitlines()
    assert lines[0] == "**t**"
    assert lines[2:] == [
        "| name | n | m |",
        "| --- | ---: | ---: |",
        "| a\\|b | 1 ±2 | 3 [2, 4] |",
    ]


def test_cells_are_cells() -> None:
    assert GRID.cells == [[Cell("a|b"), Cell("1", "±2"), Cell("3", "[2, 4]", "best")]]
    assert [GRID.left(c) for c in range(3)] == [True, False, False]


def test_a_part_keeps_the_first_column_and_the_sides() -> None:
    grid = Grid("t", "abcd", ["1234", "5678"], align="lrlr", foot="wxyz")
    part = grid.part(slice(1, 3), slice(1, 2))
    assert ("".join(part.heads), part.texts(), part.align, part.foot) == (
        "acd",
        [["5", "7", "8"]],
        "llr",
        ["w", "y", "z"],
    )


def test_estimates() -> None:
    cells = estimate_cells([Estimate(0.5, 0.4, 0.7), Estimate(0.6, np.nan, np.nan)])
    assert cells == [Cell(".5000", "[.4000, .7000]", "", "±.1500"), Cell(".6000", tone="best")]
    assert estimate_cell(Gap(-0.1, -0.2, 0.0, 0.0), 2, sign=True)[:2] == ("−.10", "[−.20, .00]")
    assert best([1.0, np.nan, 3.0, np.inf]) == 3.0
    assert np.isnan(best([]))
