"""Equal-count bins and their calibration error, by hand and against a slow twin."""

from itertools import pairwise

import numpy as np
import pytest

from clickprint.metrics.calibration import Bin, equal_count_bins, expected_calibration_error


def test_bins_by_hand() -> None:
    predicted = np.array([0.9, 0.1, 0.2, 0.7])
    happened = np.array([True, False, True, False])
    assert equal_count_bins(predicted, happened, 2) == [
        Bin(2, pytest.approx(0.15), 0.5),
        Bin(2, pytest.approx(0.8), 0.5),
    ]


def test_fewer_cases_than_bins_give_a_bin_each() -> None:
    found = equal_count_bins(np.array([0.2, 0.9]), np.array([False, True]))
    assert found == [Bin(1, 0.2, 0.0), Bin(1, 0.9, 1.0)]
    assert expected_calibration_error(found) == pytest.approx((0.2 + 0.1) / 2)


def test_without_a_case_nothing_is_off() -> None:
    assert equal_count_bins(np.zeros(0), np.zeros(0, bool)) == []
    assert expected_calibration_error([]) == 0.0
    assert expected_calibration_error([Bin(1, 0.25, 1.0)]) == 0.75


def test_the_error_weighs_bins_by_their_cases() -> None:
    draw = np.random.default_rng(0)
    predicted = draw.random(103)
    happened = draw.random(103) < predicted
    bins = equal_count_bins(predicted, happened)
    assert [b.size for b in bins] == [11] * 3 + [10] * 7
    order = np.argsort(predicted)
    edges = np.cumsum([0, *(b.size for b in bins)])
    slow = 0.0
    for start, stop in pairwise(edges):
        rows = order[start:stop]
        slow += abs(predicted[rows].sum() - happened[rows].sum())
    assert expected_calibration_error(bins) == pytest.approx(slow / 103)
