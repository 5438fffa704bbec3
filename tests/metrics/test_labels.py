"""AUROC against pairs counted one by one, and against torchmetrics, whose numbers the challenge's
are.
"""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.classification import binary_auroc, multilabel_auroc

from clickprint.metrics.labels import auroc, degenerate, macro_auroc


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return torch.sigmoid(torch.from_numpy(logits.astype(np.float32))).numpy()


def by_pairs(truth: np.ndarray, score: np.ndarray) -> float:
    """The slow twin: every pair."""
    gap = score[truth][:, None] - score[~truth][None, :]
    return float(((gap > 0) + (gap == 0) / 2).mean()) if gap.size else 0.0


# Whole logits make ties, ±120 saturates a float32 sigmoid at 0 and 1.
logits = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.integers(-120, 120).map(lambda x: x / 4),
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    found = draw(logits)
    return draw(hnp.arrays(bool, found.shape)), sigmoid(found)


@given(questions())
def test_equals_every_pair(question: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = question
    assert auroc(truth[:, 0], score[:, 0]) == pytest.approx(
        by_pairs(truth[:, 0], score[:, 0]), abs=1e-12
    )


@settings(max_examples=60)
@given(questions())
def test_equals_torchmetrics(question: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = question
    wanted, given_ = torch.from_numpy(truth.astype(np.int64)), torch.from_numpy(score)
    with warnings.catch_warnings():
        # Torchmetrics warns of degenerate labels, which are wanted here.
        warnings.simplefilter("ignore")
        one = float(binary_auroc(given_[:, 0], wanted[:, 0]))
        many = (
            float(multilabel_auroc(given_, wanted, num_labels=truth.shape[1]))
            if truth.shape[1] > 1
            else one
        )
    assert auroc(truth[:, 0], score[:, 0]) == pytest.approx(one, abs=1e-6)
    assert macro_auroc(truth, score) == pytest.approx(many, abs=1e-6)


def test_saturated_sigmoids_are_ties() -> None:
    """Logits 20 and 30 are both 1 in float32: the challenge cannot tell them apart, and neither
    may we.
    """
    truth, raw = np.array([True, False, False]), np.array([30.0, 20.0, -1.0])
    assert auroc(truth, raw) == 1.0
    assert auroc(truth, sigmoid(raw)) == 0.75


def test_large_and_sparse_equals_torchmetrics() -> None:
    generator = np.random.default_rng(3)
    score = np.round(sigmoid(generator.normal(size=(5_000, 6))), 3)
    truth = generator.random((5_000, 6)) < np.array([0.001, 0.01, 0.3, 0.5, 0.9, 0.999])
    found = multilabel_auroc(
        torch.from_numpy(score),
        torch.from_numpy(truth.astype(np.int64)),
        num_labels=6,
        average=None,
    )
    assert [auroc(truth[:, t], score[:, t]) for t in range(6)] == pytest.approx(
        found.tolist(), abs=1e-6
    )


def test_degenerate_labels() -> None:
    truth = np.array([[0, 1, 1], [0, 1, 0], [0, 1, 0]], bool)
    score = np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.5], [0.2, 0.2, 0.1]], np.float32)
    assert degenerate(truth).tolist() == [True, True, False]
    assert macro_auroc(truth, score) == pytest.approx(1 / 3)
    assert macro_auroc(truth, score, live=True) == 1.0
    assert macro_auroc(truth[:, :2], score[:, :2]) == 0.0
    assert np.isnan(macro_auroc(truth[:, :2], score[:, :2], live=True))


@given(questions(), st.randoms(use_true_random=False))
def test_order_of_users_changes_nothing(
    question: tuple[np.ndarray, np.ndarray], random: object
) -> None:
    truth, score = question
    order = list(range(len(truth)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert macro_auroc(truth[order], score[order]) == macro_auroc(truth, score)


@given(questions())
def test_turned_around(question: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = question
    live = ~degenerate(truth)
    assert macro_auroc(~truth, score) == pytest.approx(
        live.mean() - macro_auroc(truth, score), abs=1e-12
    )
