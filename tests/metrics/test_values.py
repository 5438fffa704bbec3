"""Marks of predicted numbers, against scipy-free twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.metrics.task_metrics import R2, Spearman
from clickprint.metrics.values import constant, ranks


def one(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_ranks_share_the_average(values: list[int]) -> None:
    slow = [1 + sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values]
    assert ranks(np.array(values)).tolist() == slow


def test_order_alone_decides_spearman() -> None:
    truth = one([0, 1, 5, 1_000])
    assert Spearman()(truth, np.exp(truth / 1_000).astype(np.float32)) == pytest.approx(1)
    assert Spearman()(truth, -truth) == pytest.approx(-1)
    assert Spearman()(truth, one([1, 1, 1, 1])) == 0
    assert Spearman()(one([1, 2, 2, 4]), one([1, 2, 4, 2])) == pytest.approx(
        float(np.corrcoef([1, 2.5, 2.5, 4], [1, 2.5, 4, 2.5])[0, 1])
    )


def test_r2() -> None:
    truth = one([1, 2, 3])
    assert R2()(truth, truth) == pytest.approx(1)
    assert R2()(truth, one([2, 2, 2])) == pytest.approx(0)
    assert R2()(truth, one([3, 2, 1])) == pytest.approx(-3)


def test_a_far_middle_loses_no_digits() -> None:
    truth = np.random.default_rng(0).normal(size=(1_000, 1)) + 1e6
    assert R2()(truth, (truth + 0.5).astype(np.float32)) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("mark", [R2(), Spearman()])
def test_constant_truth(mark: R2 | Spearman) -> None:
    truth = np.array([[1, 5], [2, 5], [3, 5]], np.float32)
    assert constant(truth).tolist() == [False, True]
    assert mark(truth, truth) == pytest.approx(0.5)
    assert mark(truth, truth, live=True) == pytest.approx(1)
    assert mark(truth[:, 1:], truth[:, 1:]) == 0
    assert np.isnan(mark(truth[:, 1:], truth[:, 1:], live=True))


def test_r2_of_a_resample_is_that_of_the_repeated_users() -> None:
    generator = np.random.default_rng(5)
    truth = generator.normal(size=(50, 2))
    prediction = (truth + generator.normal(size=(50, 2))).astype(np.float32)
    weights = generator.poisson(1, size=(9, 50)).astype(np.float32)
    again = [
        R2()(np.repeat(truth, w, axis=0), np.repeat(prediction, w, axis=0))
        for w in weights.astype(int)
    ]
    np.testing.assert_allclose(R2().resample(truth, prediction, weights), again, rtol=1e-9)


def test_spearman_of_a_resample_is_near_that_of_the_repeated_users() -> None:
    generator = np.random.default_rng(6)
    truth = generator.normal(size=(2_000, 1))
    prediction = (truth + generator.normal(size=(2_000, 1))).astype(np.float32)
    weights = generator.poisson(1, size=(20, 2_000)).astype(np.float32)
    again = [
        Spearman()(np.repeat(truth, w, axis=0), np.repeat(prediction, w, axis=0))
        for w in weights.astype(int)
    ]
    np.testing.assert_allclose(Spearman().resample(truth, prediction, weights), again, atol=0.004)


@pytest.mark.parametrize("mark", [R2(), Spearman()])
def test_a_resample_of_one_value_says_nothing(mark: R2 | Spearman) -> None:
    """A column keeps its value there; one that was predicted the same for all has 0."""
    truth, weights = one([1, 2, 3]), np.array([[2, 0, 0], [0, 0, 0]], np.float32)
    assert mark.resample(truth, truth, weights) == pytest.approx([1, 1])
    assert mark.resample(truth, one([2, 2, 2]), weights) == pytest.approx([0, 0])
