"""What a trained network of next items tells: the operations of its training, shares of items."""

from dataclasses import replace

import numpy as np
import pytest

from clickprint.core.histories import Histories
from clickprint.core.ragged import Ragged
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.data.split import HistoriesPast
from clickprint.encoders.hstu import HSTU
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import FittedNextItem, HistorySpec
from clickprint.nn.next_item import NextItemLoss
from clickprint.nn.train import Training
from clickprint.tasks.ranking import leave_one_out

ITEMS = 12


def ring(users: int = 30) -> Histories:
    """Items that follow one another in a ring, four to seven a user."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 8, users)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    firsts = rng.integers(0, ITEMS, users)
    rows = [(f + np.arange(n)) % ITEMS for f, n in zip(firsts, lengths, strict=True)]
    items = np.concatenate(rows)
    fields = {"item": items, "time": np.arange(len(items))}
    return Histories(np.arange(users) * 3, starts, fields, fingerprint="ring")


def fit(recipe: SASRec | HSTU, histories: Histories, seed: int) -> FittedNextItem:
    fitted = recipe.fit(HistoriesPast(histories), rng=RNG(seed))
    assert isinstance(fitted, FittedNextItem)
    return fitted


def test_flops_of_a_training_are_three_passes_of_every_batch() -> None:
    some = ring()
    model = SASRec(
        width=4,
        history=HistorySpec(length=5),
        training=Training(epochs=3, batch=30),
        length_buckets=1,
    )
    longest, asked = 5, int((np.minimum(some.lengths, 6) - 1).sum())
    forward = 30 * longest * (12 * 4 * 4) + 4 * 30 * longest * longest * 4 + 2 * asked * ITEMS * 4
    assert fit(model, some, 1).training_flops(some, rng=RNG(1)) == 3 * forward * 3
    # Batches of five: their shapes are about equal, so the whole costs about the same, although
    # only 20 of 30 histories are counted.
    small = fit(replace(model, training=Training(epochs=3, batch=5)), some, 1)
    assert small.training_flops(some, rng=RNG(1)) == pytest.approx(3 * forward * 3, rel=0.1)


def test_shares_of_held_out_items_by_hand() -> None:
    some = ring()
    model = HSTU(
        width=4,
        layers=1,
        training=Training(epochs=1, batch=30),
        loss=NextItemLoss(name="sampled", negatives=3, temperature=0.5),
    )
    fitted = fit(model, some.take(np.arange(3)), 0)  # three users do not know every item
    test = leave_one_out(some)
    requests = Requests(test.given)
    found = fitted.log_shares(requests, test.relevant)
    known = fitted.items.tolist()
    lists = fitted.recommend(requests, len(known))
    assert 0 < len(known) < ITEMS
    for u, item in enumerate(test.relevant.values.tolist()):
        if item not in known:
            assert np.isnan(found[u])
            continue
        logits = lists.scores[u].astype(np.float64) / 0.5
        at = lists.items[u].tolist().index(item)
        assert found[u] == pytest.approx(np.log(np.exp(logits).sum()) - logits[at], abs=1e-5)
    assert np.isnan(found).any()
    # Several right items: the mean over those that were learned, and nobody else's.
    pairs = Ragged(np.arange(0, 2 * len(some) + 1, 2), np.repeat(test.relevant.values, 2))
    pairs.values[1::2] = known[0]
    both = fitted.log_shares(requests, pairs)
    first = fitted.log_shares(requests, Ragged(test.relevant.starts, np.full(len(some), known[0])))
    assert both == pytest.approx(np.where(np.isnan(found), first, (found + first) / 2), abs=1e-9)
