"""Training by day, as a shop does it: each day is scored before it is learned, in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories, items_only
from clickprint.core.ids import NONE
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommender import Recommender
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY, Time
from clickprint.encoders import sequence
from clickprint.encoders.sequence import FittedNextItem, NextItemEncoder, chosen
from clickprint.metrics import ranking
from clickprint.nn.next_item import ITEM, TIME, Batch, by_length
from clickprint.nn.train import Parts, Rows, by_day, processes


@dataclass(frozen=True, slots=True)
class ScoredDay:
    """How high the first item of a day stood, by what was known before it.

    For the `users` who had an item before and on that day.
    """

    day: Time  # its midnight, UTC
    users: int
    ndcg: float  # at k, the mean; 0 without users


def fit_by_day(
    recipe: NextItemEncoder,
    past: Past,
    *,
    rng: RNG,
    folder: Path | None = None,
    k: int = 10,
    include_seen: bool = True,
    passes: int = 1,
    progress: Progress = silent,
    session: Session = ALONE,
) -> tuple[FittedNextItem, list[ScoredDay]]:
    """Learns the days (UTC) in order; the last model, and the score of each day but the first.

    A user's row of a day is their newest `length` + 1 events up to its end, and what happens on
    the day is predicted. A day is scored by the model of the days before it. All items of the
    past can be ranked from the first day on; a vector is random until its item occurs.

    - `folder`: folder/fitted is the model after each day, while the next is learned, and below
      folder/checkpoint is what a killed run goes on from to the same bytes.
    - `k`, `include_seen`: how a day is scored.
    - `passes`: how often a day's shuffled users are learned.

    `training.epochs`, `patience`, `every` and `keep` have no effect here; warm-up and decay run
    over the days. Raises DataError where no item comes after another one, ConfigError for less
    than one pass.
    """
    if passes < 1:
        raise ConfigError(f"passes: found {passes}, expected at least 1")
    if recipe.history.basket_targets:
        raise ConfigError("history.basket_targets: days are learned event by event, leave it out")
    histories = past.histories(sequence.wanted(recipe.history))
    rows = DayRows.of(chosen(recipe.history, histories))
    if not len(rows.day):
        raise DataError(
            recipe.name,
            "no history has an item after another event, so there is nothing to learn day by day",
        )
    orders = [by_day(rows.day, rng.child(f"pass {turn}"))[0] for turn in range(passes)]
    days = np.unique(rows.day)
    now = 0

    def in_order(epoch: int) -> Int64[np.ndarray, "N"]:
        nonlocal now
        now = epoch
        return np.concatenate([order(epoch) for order in orders])

    def examples(
        fields: Mapping[str, np.ndarray], starts: Int64[np.ndarray, "U1"]
    ) -> tuple[Rows, Parts]:
        return in_order, rows.parts(fields, starts, recipe.history.length, recipe.length_buckets)

    def metric(fitted: FittedNextItem) -> float:
        if folder is not None and not processes()[0]:
            fitted.save(folder / "fitted")
        if now + 1 == len(days):
            return 0.0  # no day follows; left out below
        day = int(days[now + 1]) * DAY
        return score_day(fitted, histories, day, k=k, include_seen=include_seen).ndcg

    made = replace(
        recipe,
        training=replace(recipe.training, epochs=len(days), patience=0, every=1, keep="last"),
    )
    key = ""
    if folder is not None:
        key = f"{recipe.name} by day, {passes} passes, {k} {include_seen} {made} {rng}"
        key = f"{key} {histories.digest()}"
    fitted = sequence.train_network(
        made,
        histories,
        examples,
        rng=rng,
        progress=progress,
        session=replace(
            session, metric=metric, key=key, checkpoints=folder and folder / "checkpoint"
        ),
    )
    assert isinstance(fitted, FittedNextItem)
    assert fitted.curve is not None
    found = [value for _, value in fitted.curve.metrics[:-1]]
    users = [len(_first_items(histories, int(day) * DAY)[0]) for day in days[1:]]
    return fitted, [
        ScoredDay(int(day) * DAY, many, score)
        for day, many, score in zip(days[1:], users, found, strict=True)
    ]


def score_day(
    fitted: Recommender,
    histories: Histories,
    day: Time,
    *,
    k: int = 10,
    include_seen: bool = True,
) -> ScoredDay:
    """Ranks each user's first item of the day that starts at `day`, by the events before it."""
    rows, items = _first_items(histories, day)
    if not len(rows):
        return ScoredDay(day, 0, 0.0)
    whole = histories.take(rows)
    asked = Requests(whole.where(whole.fields[TIME] < day))
    lists = fitted.recommend(asked, k, include_seen=include_seen)
    hit = ranking.hits(lists.items, np.arange(len(rows) + 1), items)
    ndcg = ranking.ndcg(hit, np.ones(len(rows), np.int64), k)
    return ScoredDay(day, len(rows), float(np.mean(ndcg)))


def _first_items(
    histories: Histories, day: Time
) -> tuple[Int64[np.ndarray, "B"], Int64[np.ndarray, "B"]]:
    """Rows of users with an item on this day and an event before it, and their first item."""
    events = items_only(histories)
    time = events.fields[TIME]
    places = np.flatnonzero((time >= day) & (time < day + DAY))
    rows, first = np.unique(np.searchsorted(events.starts, places, "right") - 1, return_index=True)
    places = places[first]
    some = places > events.starts[rows]
    return rows[some], events.fields[ITEM][places[some]]


@dataclass(frozen=True, slots=True)
class DayRows:
    """What a user did on one day, for all users and days where an item can be predicted.

    Events first … end − 1, counted over all users.
    """

    day: Int64[np.ndarray, "N"]
    user: Int64[np.ndarray, "N"]
    first: Int64[np.ndarray, "N"]
    end: Int64[np.ndarray, "N"]

    @staticmethod
    def of(events: Histories) -> "DayRows":
        """The days of these events, user after user.

        Days without an item that has an event before it are left out.
        """
        day, row = events.fields[TIME] // DAY, np.repeat(np.arange(len(events)), events.lengths)
        new = np.ones(events.events, bool)
        new[1:] = (day[1:] != day[:-1]) | (row[1:] != row[:-1])
        first = np.flatnonzero(new)
        end = np.append(first[1:], events.events).astype(np.int64)
        if not len(first):
            return DayRows(*(np.zeros(0, np.int64) for _ in range(4)))
        asked = np.append(0, np.cumsum(events.fields[ITEM] != NONE))
        # A user's very first event has none before it.
        after = np.maximum(first, events.starts[row[first]] + 1)
        some = (after < end) & (asked[end] > asked[np.minimum(after, end)])
        return DayRows(day[first[some]], row[first[some]], first[some], end[some])

    def parts(
        self,
        fields: Mapping[str, np.ndarray],
        starts: Int64[np.ndarray, "U1"],
        length: int,
        buckets: int,
    ) -> Parts:
        """As nn.next_item.shifted, but a row is a user's day, and only that day is wanted."""
        begin = np.maximum(starts[self.user], self.end - length - 1)
        keep = self.end - begin  # 2 or more: the day has an event with one before it
        wanted = {ITEM: fields[ITEM]}

        def parts(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[tuple[Batch, Batch], int]]:
            for some in by_length(rows, keep, buckets):
                at, lengths = begin[some], keep[some] - 1
                target = Batch.of(wanted, at + 1, lengths)
                place = (
                    torch.arange(target.fields[ITEM].shape[1]) + torch.from_numpy(at + 1)[:, None]
                )
                of_day = place >= torch.from_numpy(self.first[some])[:, None]
                today = torch.where(of_day, target.fields[ITEM], 0)
                given = Batch.of(fields, at, lengths)
                yield (given, Batch({ITEM: today}, target.lengths)), int((today > 0).sum())

        return parts
