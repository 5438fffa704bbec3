"""What a recipe hands to its training: its loss, its settings, and what it is measured by."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clickprint.core.histories import Histories
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.data.split import HistoriesPast
from clickprint.encoders import sequence
from clickprint.encoders.sasrec import SASRec
from clickprint.nn.next_item import ITEM, NextItemLoss
from clickprint.nn.train import LearningCurve, Training

USERS, EVENTS, HOUR = 12, 5, 3_600_000_000


def histories() -> Histories:
    """Everyone's items are their own, and their last is as no other: 100 · user + place."""
    item = (100 * np.arange(1, USERS + 1)[:, None] + np.arange(EVENTS)).ravel()
    starts = np.arange(0, USERS * EVENTS + 1, EVENTS)
    return Histories(np.arange(USERS), starts, {"item": item, "time": np.arange(len(item)) * HOUR})


class Seen:
    """What `train` was called with."""

    loss: NextItemLoss
    training: Training
    metric: Callable[[Any], float] | None
    learned: set[int]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()

    def train(network: Any, rows: Any, parts: Any, loss: Any, training: Any, **more: Any) -> Any:
        found.loss, found.training, found.metric = loss, training, more["metric"]
        batches = [part for part, _ in parts(rows(0))]
        both = [batch.fields[ITEM] for pair in batches for batch in pair]
        found.learned = {int(i) for numbers in both for i in numbers.unique()} - {0}
        return LearningCurve(done=True)

    monkeypatch.setattr(sequence, "train", train)
    return found


def test_loss_and_settings_are_the_recipes(seen: Seen) -> None:
    loss = NextItemLoss(name="sampled", negatives=3)
    training = Training(epochs=7, lr=0.02)
    SASRec(width=4, loss=loss, training=training).fit(HistoriesPast(histories()), rng=RNG(0))
    assert seen.loss is loss
    assert seen.training is training
    assert seen.metric is None
    assert len(seen.learned) == USERS * EVENTS


def test_with_patience_it_is_measured_by_what_it_never_learns(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each user's last item, asked at its time from what came before; the item is unknown."""
    asked: list[tuple[Requests, Any]] = []

    def metric(requests: Requests, held: Any, **more: Any) -> Callable[[Any], float]:
        asked.append((requests, held))
        return lambda fitted: 0.5

    monkeypatch.setattr(sequence, "last_item_metric", metric)
    SASRec(width=4, training=Training(patience=2)).fit(HistoriesPast(histories()), rng=RNG(0))
    ((requests, held),) = asked
    last = histories().fields["item"].reshape(USERS, EVENTS)[:, -1]
    assert held.values.tolist() == last.tolist()
    assert requests.histories.lengths.tolist() == [EVENTS - 1] * USERS
    assert requests.times.tolist() == [(EVENTS * u + EVENTS - 1) * HOUR for u in range(USERS)]
    assert len(seen.learned) == USERS * (EVENTS - 1)
    assert seen.metric is not None
    assert seen.metric(None) == 0.5


def test_the_sessions_metric_is_taken_and_nothing_held_out(seen: Seen) -> None:
    recipe = SASRec(width=4, training=Training(patience=2))
    session = Session(metric=lambda fitted: fitted.network.width)
    recipe.fit(HistoriesPast(histories()), rng=RNG(0), session=session)
    assert len(seen.learned) == USERS * EVENTS
    assert seen.metric is not None
    assert seen.metric(None) == 4
