"""Novelty and diversity: known answers, and the protocol's sentences written out in torch."""

import numpy as np
import pytest
import torch

from clickprint.metrics.beyond_accuracy import (
    diversity,
    diversity_of_users,
    novelty,
    novelty_of_users,
)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return torch.sigmoid(torch.from_numpy(logits.astype(np.float32))).numpy()


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(-3, 2, size=(300, 40)).astype(np.float32)


def test_diversity_as_the_protocol_says(logits: np.ndarray) -> None:
    p = torch.from_numpy(sigmoid(logits))
    p = p / p.sum(dim=1, keepdim=True)
    wanted = (-(p * torch.log2(p + 1e-9)).sum(dim=1)).mean() / np.log2(40)
    assert diversity(sigmoid(logits)) == pytest.approx(float(wanted), abs=1e-6)


def test_novelty_as_the_protocol_says(logits: np.ndarray) -> None:
    popularity = np.random.default_rng(1).random(40)
    logits = logits - 3  # small probabilities, so that the hundredth power leaves digits
    p = torch.from_numpy(sigmoid(logits))
    share = torch.from_numpy(popularity / np.sort(popularity)[-10:].sum())
    top = p.topk(10, dim=1)
    wanted = (1 - (top.values * share[top.indices]).sum(dim=1).mean()) ** 100
    assert float(wanted) > 1e-4
    assert novelty(sigmoid(logits), popularity) == pytest.approx(float(wanted), rel=1e-4)


def test_pieces_change_nothing(logits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    p, popularity = sigmoid(logits), np.arange(40.0)
    whole = novelty_of_users(p, popularity), diversity_of_users(p)
    monkeypatch.setattr("clickprint.metrics.beyond_accuracy._ROWS", 7)
    np.testing.assert_allclose(novelty_of_users(p, popularity), whole[0], rtol=1e-12)
    np.testing.assert_allclose(diversity_of_users(p), whole[1], rtol=1e-12)


def test_constant_logits_are_as_diverse_as_can_be() -> None:
    assert diversity(sigmoid(np.full((5, 64), -4.0))) == pytest.approx(1, abs=1e-6)


def test_one_certain_label_is_not_diverse() -> None:
    logits = np.full((5, 64), -60.0)
    logits[:, 3] = 5
    assert diversity(sigmoid(logits)) == pytest.approx(0, abs=1e-6)


def test_nothing_predicted_counts_as_flat() -> None:
    assert diversity(np.zeros((3, 8), np.float32)) == pytest.approx(1, abs=1e-6)
    assert diversity(np.full((3, 1), 0.2, np.float32)) == 1


def test_unpopular_predictions_are_novel() -> None:
    """All ten highest labels have no popularity, though others have."""
    popularity = np.array([0.0] * 10 + [1.0] * 5)
    p = np.array([[0.9] * 10 + [0.8] * 5], np.float32)
    assert novelty(p, popularity) == 1
    assert novelty(p, np.zeros(15)) == 1


def test_popular_predictions_are_not_novel() -> None:
    p = np.array([[1.0] * 10 + [0.0] * 5], np.float32)
    assert novelty(p, np.array([1.0] * 10 + [0.0] * 5)) == pytest.approx(0, abs=1e-9)


def test_fewer_labels_than_ten() -> None:
    assert novelty_of_users(
        np.array([[0.5, 0.1]], np.float32), np.array([3.0, 1.0])
    ) == pytest.approx([0.5 * 0.75 + 0.1 * 0.25])


def test_ties_at_the_edge_take_the_first_labels() -> None:
    """Two places, three labels at .5 behind one at .9: labels 3 and then 0."""
    p = np.array([[0.5, 0.5, 0.5, 0.9]], np.float32)
    assert novelty_of_users(p, np.array([1.0, 10.0, 100.0, 1000.0]), top=2) == pytest.approx(
        [(0.5 * 1 + 0.9 * 1000) / 1100]
    )
