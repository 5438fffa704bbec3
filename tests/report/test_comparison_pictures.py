"""Tables and pictures of a comparison: what is long is told apart all the same."""

import numpy as np

from clickprint.metrics.calibration import equal_count_bins
from clickprint.metrics.compare import Estimate, Gap, Line, Pair
from clickprint.report.comparison import (
    calibration_picture,
    ceilings_picture,
    lines_grid,
    lines_picture,
    pairs_grid,
    pairs_picture,
    shares_picture,
    trials_picture,
)
from clickprint.report.figure import draw

ALONE, WORTH = (f"3,000 users by propensity {n}" for n in ("alone", "× recall"))
TYPES = {"chosen": ("the chosen users alone", "#009e73")}
LINES = [Line(n, "chosen", Estimate(0.2 + k / 10, 0.1, 0.5)) for k, n in enumerate((ALONE, WORTH))]
PAIRS = [Pair(WORTH, ALONE, Gap(0.1, 0.02, 0.2, 0.9))]
CURVES = {"own": [(10, 2.1, 0.2), (25, 6.0, 0.3)], "union": [(10, 20.0, 0.4), (100, 74.0, 0.5)]}


def test_tables_have_the_best_first_and_intervals() -> None:
    grid = lines_grid("recall", "recall", LINES, TYPES)
    assert [row[0].text for row in grid.cells] == [WORTH, ALONE]
    assert grid.cells[0][2].text == LINES[1].estimate.text(4)
    assert [c.text for c in pairs_grid(PAIRS).cells[0]] == [WORTH, ALONE, PAIRS[0].gap.text(4)]


def test_names_that_differ_at_their_ends_are_told_apart() -> None:
    ax = lines_picture(LINES, TYPES, "recall", dashed=ALONE).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "3,000: propensity × recall",
        "3,000: propensity alone",
    ]
    ax = pairs_picture(PAIRS, "recall").axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "3,000: propensity × recall − 3,000: propensity alone"
    ]


def test_shares_of_users_are_short_too() -> None:
    line = Line("10 % of users by propensity alone", "chosen", Estimate(0.1, 0.0, 0.2))
    ax = lines_picture([line], TYPES, "recall", dashed="").axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["10 %: propensity alone"]


def test_numbers_of_candidates_are_read_as_numbers() -> None:
    drawn = ceilings_picture(CURVES)
    drawn.canvas.draw()
    told = [t.get_text() for t in drawn.axes[0].get_xticklabels()]
    assert {"5", "10", "20"} <= set(told)
    picture = draw(lambda: ceilings_picture(CURVES), "a picture")
    assert picture is not None
    assert "mathdefault" not in picture.svg


def test_the_other_pictures_are_drawn_and_nothing_is_none() -> None:
    propensity = np.random.default_rng(0).random(50)
    bins = equal_count_bins(propensity, propensity > 0.5)
    for picture in (
        lambda: calibration_picture(bins, "propensity"),
        lambda: shares_picture({"a": 0.7, "b": 0.3, "c": 0.0}, "share"),
        lambda: trials_picture([0.1, 0.3, 0.2], "recall"),
    ):
        assert draw(picture, "a picture") is not None
    for nothing in (
        calibration_picture([], "propensity"),
        shares_picture({}, "share"),
        trials_picture([], "recall"),
        lines_picture([], TYPES, "recall", dashed=""),
        pairs_picture([], "recall"),
        ceilings_picture({}),
    ):
        assert nothing is None
