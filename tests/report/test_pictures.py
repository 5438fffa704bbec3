"""Pictures: the same bytes for the same input, and nothing where there is nothing to show."""

import re
from dataclasses import replace
from xml.dom import minidom

import numpy as np
import pytest
from some_board import board, row

from clickprint.core.time import DAY
from clickprint.data.audit.log import Shape
from clickprint.data.engine import DuckDB
from clickprint.data.overview import overview
from clickprint.metrics.compare import Estimate, Gap
from clickprint.report import board as boards
from clickprint.report import log, shape
from clickprint.report.figure import (
    Bar,
    Row,
    bars,
    columns,
    curves,
    draw,
    gap_colour,
    heatmap,
    intervals,
    standalone,
)
from clickprint.tasks.board import Board
from clickprint.testing.worlds import START, random_log


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


class TestPictures:
    def test_the_users_settings_of_matplotlib_do_not_count(self):
        import matplotlib

        plain = draw(lambda: boards.ranks(board()), "a")
        with matplotlib.rc_context(
            {"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}
        ):
            assert draw(lambda: boards.ranks(board()), "a") == plain
            assert matplotlib.rcParams["font.size"] == 30

    def test_pyplot_stays_out(self):
        import subprocess
        import sys

        code = (
            "import sys, clickprint.report.boards\n"
            "import clickprint.report.slides, clickprint.report.shape\n"
            "print([m for m in ('matplotlib', 'jinja2', 'pptx') if m in sys.modules])"
        )
        assert (
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout.strip()
            == "[]"
        )

    def test_nothing_to_show_is_no_picture(self, seen):
        lone = Board.of({"counts": row("a", 0.5)})
        for picture in (boards.gaps, boards.hidden, boards.ablation, boards.epochs):
            assert draw(lambda picture=picture: picture(lone), "a") is None
        with DuckDB(threads=1) as engine:
            empty = overview(random_log(engine, np.random.default_rng(0), events=0))
        for picture in (log.timeline, log.days, log.kinds, log.activity, log.week):
            assert draw(lambda picture=picture: picture(empty), "a") is None
        assert draw(lambda: log.sizes(empty), "a") is not None

    @pytest.mark.parametrize(
        "options", [{"hidden": 4}, {"tasks": {"churn": (1, 0)}}, {"resamples": 0}]
    )
    def test_the_cover(self, options):
        drawn = draw(lambda: boards.cover(board(**options), "a line"), "a")
        assert drawn is not None
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn.svg)
        assert {
            "a line",
            "churn",
            "place, by Borda count",
            "one block left out: sum",
            "joined − decay",
        } <= set(texts)
        assert ("4 hidden tasks" in texts) == ("hidden" in options)
        assert (
            draw(lambda: boards.cover(Board.of({"a": row("a", 0.5, tasks={}, hidden=2)})), "a")
            is None
        )

    def test_a_log_of_years_is_shown_by_week(self, seen):
        days = tuple(START + d * DAY for d in range(0, 900, 3))
        long = replace(seen, days=days, by_day=tuple(tuple(1 for _ in days) for _ in seen.kinds))
        drawn = draw(lambda: log.days(long), "a")
        assert drawn is not None
        assert "events a week" in drawn.svg
        assert len(drawn.svg) < 60_000


class TestGeneric:
    """What products draw by one call."""

    def test_intervals(self):
        gaps = [Gap(0.1, 0.05, 0.2, 1.0), Gap(-0.1, -0.2, 0.1, 0.2), Gap(-0.2, -0.3, -0.1, 0)]
        rows = [Row(f"row {n}", g, gap_colour(g), label="a") for n, g in enumerate(gaps)]
        assert len({r.colour for r in rows}) == 3
        drawn = draw(lambda: intervals(rows, "below", zero=True), "x")
        assert drawn is not None
        assert {"row 0", "row 1", "row 2", "below", "a"} <= set(texts(drawn.svg))
        bare = [Row("b", Estimate(0.5, np.nan, np.nan), each=[0.4, 0.6])]
        assert draw(lambda: intervals(bare, "below", dashed=0.5), "x") is not None
        assert intervals([], "below") is None

    def test_bars_columns_and_curves(self):
        rows = [Bar("one", 0.5, "50 %"), Bar("two", 0.25, "25 %", soft=True)]
        for picture in (bars(rows, "x"), bars(rows, "x", log=True), columns(rows, "x", "y")):
            drawn = draw(lambda p=picture: p, "x")
            assert drawn is not None
            assert {"one", "two", "50 %", "25 %", "x"} <= set(texts(drawn.svg))
        lines = {"a": ([1, 10], [0.1, 0.2]), "all": ([1, 100], [0.1, 0.3])}
        drawn = draw(lambda: curves(lines, "x", "y", log=True, strong="all"), "x")
        assert drawn is not None
        assert {"a", "all", "x", "y"} <= set(texts(drawn.svg))
        assert [bars([], "x"), columns([], "x", "y"), curves({}, "x", "y")] == [None] * 3

    def test_a_heatmap_leaves_unknown_cells_blank(self):
        values = np.array([[1.0, 0.5], [1.0, np.nan]])
        drawn = heatmap(values, "x", yticks=([0, 1], ["a", "b"]), top=1.0)
        cells = drawn.axes[0].collections[0].get_array()
        assert np.ma.getmaskarray(cells).tolist() == [[False, False], [False, True]]
        assert [t.get_text() for t in drawn.axes[0].get_yticklabels()] == ["a", "b"]

    def test_a_picture_as_a_file_of_its_own(self):
        drawn = draw(lambda: bars([Bar("one", 1, "1")], "x"), "x")
        assert drawn is not None
        alone = standalone(drawn.svg)
        minidom.parseString(alone)
        assert "xmlns=" in alone
        assert "var(--" not in alone
        assert "currentColor" not in alone

    def test_the_shape_of_a_log(self):
        whole = Shape(
            gaps=(("0 s", 2), ("1 d", 6)),
            popularity=((1, 0.4), (10, 1.0)),
            weeks=(0, 7 * DAY, 14 * DAY),
            retention=((4, 2, 1), (3, 1, 0), (2, 0, 0)),
        )
        found = shape.shape_pictures(whole, "a log")
        assert [p.name for p in found] == ["popularity", "gaps", "retention"]
        assert any("50 % came back" in t for t in texts(found[2].drawn.svg))
        assert shape.shape_pictures(Shape((), (), (), ()), "a log") == []
