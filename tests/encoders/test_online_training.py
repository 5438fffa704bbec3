"""Training by day.

Each day in its turn, its targets only, the next day scored before it is learned, and a killed run
goes on.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.ragged import starts_of
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.split import HistoriesPast
from clickprint.encoders import load
from clickprint.encoders.gru4rec import GRU4Rec
from clickprint.encoders.online_training import DayRows, fit_by_day, score_day
from clickprint.encoders.sequence import HistorySpec
from clickprint.nn.train import Training

RECIPE = GRU4Rec(
    width=16, history=HistorySpec(length=8), training=Training(batch=16, lr=0.02), dropout=0.0
)
ITEMS = 10


def drifting(users: int = 32, days: int = 12, a_day: int = 3, every: int = 6) -> Histories:
    """Everyone has items on every day.

    The next item is so many further on a circle, and that number changes every so many days.
    """
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(days), a_day)
    steps = np.array([1, 3, 7, 9])[day // every]
    item = (rng.integers(0, ITEMS, users)[:, None] + np.cumsum(steps)) % ITEMS
    time = day * DAY + np.tile(np.arange(a_day), days) * DAY // 24 + 500 * DAY
    return Histories(
        np.arange(users) * 5,
        starts_of(np.full(users, len(day))),
        {"item": item.ravel().astype(np.int64), "time": np.tile(time, users)},
    )


def test_learning_each_day_beats_a_model_that_stands_still() -> None:
    histories = drifting()
    fitted, days = fit_by_day(RECIPE, HistoriesPast(histories), rng=RNG(0), passes=4, k=3)
    assert [d.day for d in days] == [(500 + n) * DAY for n in range(1, 12)]
    assert [d.users for d in days] == [32] * 11
    before = histories.where(histories.fields["time"] < 506 * DAY)
    frozen, _ = fit_by_day(RECIPE, HistoriesPast(before), rng=RNG(0), passes=4, k=3)
    still = [score_day(frozen, histories, d.day, k=3).ndcg for d in days]
    moving = [d.ndcg for d in days]
    assert moving[4] > 0.9, "the first rule is learned on its days"
    assert np.mean(moving[7:]) > np.mean(still[7:]) + 0.4, (
        "the second rule is learned by who goes on"
    )
    assert moving[5] < 0.4, "the day of the change is scored before it is learned"
    assert fitted.curve is not None
    assert fitted.curve.epoch == 12


def test_a_day_is_scored_by_the_model_of_the_days_before() -> None:
    """By the definition, user by user.

    And nothing of the day itself or later has touched the model.
    """
    histories = drifting(users=20, days=5, every=9)
    _, days = fit_by_day(RECIPE, HistoriesPast(histories), rng=RNG(3), k=4)
    ends = histories.where(histories.fields["time"] < 503 * DAY)
    early, scores = fit_by_day(RECIPE, HistoriesPast(ends), rng=RNG(3), k=4)
    assert scores == days[:2]
    total = 0.0
    for r in range(20):
        own = list(zip(histories.ragged("item")[r], histories.ragged("time")[r], strict=True))
        first = next(i for i, t in own if t >= 503 * DAY)
        given = np.array([i for i, t in own if t < 503 * DAY])
        one = Histories(
            np.array([1]),
            np.array([0, len(given)]),
            {"item": given, "time": np.arange(len(given))},
        )
        found = early.recommend(Requests(one), 4).items[0].tolist()
        total += 1 / np.log2(2 + found.index(first)) if first in found else 0
    assert days[2].ndcg == pytest.approx(total / 20, abs=1e-6)


def test_rows_of_days_hold_every_target_of_the_day_once() -> None:
    rng = np.random.default_rng(1)
    lengths = np.array([0, 1, 7, 2, 12, 0, 5])
    starts = starts_of(lengths)
    item = rng.integers(0, 5, starts[-1])
    item[rng.random(len(item)) < 0.3] = NONE
    time = np.concatenate([np.sort(rng.integers(-3, 3, n)) for n in lengths]) * DAY + 5
    events = Histories(np.arange(7), starts, {"item": item, "time": time})
    rows = DayRows.of(events)
    numbers = {"item": np.where(item == NONE, 0, item + 1)}
    for length in (3, 50):
        for day in range(-3, 3):
            found, weights = [], 0
            for (given, wanted), weight in rows.parts(numbers, starts, length, 2)(
                np.flatnonzero(rows.day == day)
            ):
                weights += weight
                for b in range(len(given.lengths)):
                    for at in torch.nonzero(wanted.fields["item"][b]).ravel().tolist():
                        seen = given.fields["item"][b, : at + 1].tolist()
                        found.append((seen[-3:], int(wanted.fields["item"][b, at])))
            expected = []
            for u in range(7):
                mine = range(starts[u], starts[u + 1])
                of_day = [
                    p for p in mine if time[p] // DAY == day and item[p] != NONE and p > starts[u]
                ]
                newest = max((p for p in mine if time[p] // DAY == day), default=0)
                for p in of_day:
                    if p > newest - length:
                        first = max(starts[u], newest - length)
                        expected.append(
                            (
                                numbers["item"][max(first, p - 3) : p].tolist(),
                                int(numbers["item"][p]),
                            )
                        )
            assert sorted(found) == sorted(expected), (length, day)
            assert weights == len(expected)


class Killed(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 7, 9])
def test_it_is_saved_daily_and_goes_on_to_the_same_bytes(steps: int, tmp_path: Path) -> None:
    histories = drifting(users=20, days=5)
    fitted, days = fit_by_day(RECIPE, HistoriesPast(histories), rng=RNG(0), k=3)
    left = [steps]

    def progress(stage: str, done: int, total: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    with pytest.raises(Killed):
        fit_by_day(
            RECIPE, HistoriesPast(histories), rng=RNG(0), folder=tmp_path, k=3, progress=progress
        )
    learned = steps // 2  # two batches a day
    assert (tmp_path / "fitted").exists() == (learned > 0)
    if learned:
        ends = histories.where(histories.fields["time"] < (500 + learned) * DAY)
        partly, _ = fit_by_day(RECIPE, HistoriesPast(ends), rng=RNG(0), k=3)
        kept = load(tmp_path / "fitted")
        assert np.array_equal(
            kept.user_vectors(Requests(ends)), partly.user_vectors(Requests(ends))
        )
    again, found = fit_by_day(RECIPE, HistoriesPast(histories), rng=RNG(0), folder=tmp_path, k=3)
    assert found == days
    assert np.array_equal(
        again.user_vectors(Requests(histories)), fitted.user_vectors(Requests(histories))
    )
    assert np.array_equal(
        load(tmp_path / "fitted").user_vectors(Requests(histories)),
        fitted.user_vectors(Requests(histories)),
    )


def test_what_cannot_be_learned_is_said() -> None:
    alone = Histories(
        np.array([1, 2]), np.array([0, 1, 1]), {"item": np.array([3]), "time": np.array([4])}
    )
    nobody = Histories(
        np.zeros(0, np.int64),
        np.zeros(1, np.int64),
        {"item": np.zeros(0, np.int64), "time": np.zeros(0, np.int64)},
    )
    for histories in (alone, nobody):
        with pytest.raises(DataError, match="nothing to learn day by day"):
            fit_by_day(RECIPE, HistoriesPast(histories), rng=RNG(0))
    with pytest.raises(ConfigError, match="passes: found 0"):
        fit_by_day(RECIPE, HistoriesPast(drifting()), rng=RNG(0), passes=0)
    fitted, _ = fit_by_day(RECIPE, HistoriesPast(drifting(users=4, days=2)), rng=RNG(0))
    nothing = score_day(fitted, drifting(users=4, days=2), 900 * DAY)
    assert (nothing.users, nothing.ndcg) == (0, 0.0)
