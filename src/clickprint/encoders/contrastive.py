"""A contrastive two-tower: a user's events up to a cut against the events in the days after it.

Source: the first place of RecSys Challenge 2025 (team rec2: "Toward Universal User
Representations"; spec/universal-profiles.md 1.8, 1.9).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from clickprint.core.errors import DataError
from clickprint.core.histories import Histories
from clickprint.core.options import Between
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY
from clickprint.encoders import sequence
from clickprint.encoders.ranges import Count, HorizonDays, Inside, Layers, Share
from clickprint.encoders.sequence import (
    SECOND,
    FittedSequence,
    HistorySpec,
    SequenceEncoder,
    undivided,
)
from clickprint.metrics.labels import auroc
from clickprint.nn.contrastive import Part, TwoTowers, TwoTowersLoss
from clickprint.nn.next_item import TIME, Batch
from clickprint.nn.train import Parts, Rows, Training

GAP = "gap"
MOST = 2_000  # held-out users: each is ranked among all of them
ROWS = 256  # pairs at a time when they are measured
LEAST = 8  # held-out users with a future; with fewer there is no metric: all epochs are trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrastive(SequenceEncoder):
    """A user's past before a cut should be found by their future among other users' futures.

    - `horizon_days`: how long a future is.
    - `cuts`, `every_days`: how many moments, and how far apart. The last one is `horizon_days`
      before the cutoff, so that nothing at or after the cutoff is read.
    - `pairs`: so many of all (user, cut) an epoch, drawn anew.
    - `held_out`: with patience, the share of users who are not trained on. Training stops when
      they are no longer found better: such training is soon at its best, later states make worse
      profiles.

    Differs from the source: both towers have one structure; AdamW; no weights that make the users
    look like those who are evaluated.
    """

    name: ClassVar[str] = "contrastive"
    layers: Layers = 2
    heads: Layers = 4
    inner: Inside = 128
    dropout: Share = 0.1
    horizon_days: HorizonDays = 14
    cuts: Count = 8
    every_days: HorizonDays = 7
    pairs: Count = 12_800
    held_out: Annotated[float, Between(0, 1, low_open=True, high_open=True)] = 0.1
    history: HistorySpec = HistorySpec(
        length=128, all_events=True, fields=("kind", "hour", "weekday", "gap")
    )
    loss: TwoTowersLoss = TwoTowersLoss()
    training: Training = Training(epochs=40, batch=256, patience=4, clip=1.0)

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from undivided(self.width, self.heads, pairs=True)
        if "age" in self.history.fields:
            yield (
                "history.fields",
                "the towers count time from each cut anyway, leave the field age out",
            )

    def model(self, sizes: Mapping[str, int]) -> TwoTowers:
        return TwoTowers(
            sizes,
            self.width,
            self.history.length,
            layers=self.layers,
            heads=self.heads,
            inner=self.inner,
            dropout=self.dropout,
            length_buckets=self.length_buckets,
        )

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedSequence:
        """Trains on pairs of all users but those held out.

        Raises DataError where the past is too short, or too few users have a future to be told
        apart by.
        """
        histories = past.histories(sequence.wanted(self.history))
        events = sequence.chosen(self.history, histories)
        pairs = Pairs.of(events, cut_times(past.cutoff, self), self.horizon_days * DAY // SECOND)
        out = hold_out(pairs, self, rng.child("held out")) if len(pairs) else None
        trained = pairs if out is None else pairs.only(~out)
        refuse(trained, self)
        if out is not None and session.metric is None:
            newest = pairs.only(out & (pairs.cuts == pairs.cuts.max()))
            session = replace(session, metric=metric_on(newest, events, self))
        return sequence.train_network(
            self,
            histories,
            lambda fields, _: (
                trained.epochs(self.pairs, rng),
                trained.batches(fields, self.history.length),
            ),
            rng=rng,
            progress=progress,
            session=session,
        )


def cut_times(cutoff: int, recipe: Contrastive) -> Int64[np.ndarray, "C"]:
    """The cuts in seconds, the newest first; each with its horizon before the cutoff."""
    newest = cutoff // SECOND - recipe.horizon_days * DAY // SECOND
    return newest - np.arange(recipe.cuts) * (recipe.every_days * DAY // SECOND)


@dataclass(frozen=True, slots=True)
class Pairs:
    """(user, cut) of everyone with an event before the cut; times in seconds.

    The past of pair p is events first[p] … at[p] − 1 of the flat arrays, its future
    at[p] … end[p] − 1, which may be nothing. `users`: their rows in the histories.
    """

    users: Int64[np.ndarray, "P"]
    cuts: Int64[np.ndarray, "P"]
    first: Int64[np.ndarray, "P"]
    at: Int64[np.ndarray, "P"]
    end: Int64[np.ndarray, "P"]

    @staticmethod
    def of(events: Histories, cuts: Int64[np.ndarray, "C"], horizon: int) -> "Pairs":
        """All pairs of these histories, cut by cut; an event at a cut is after it."""
        found = []
        for cut in cuts:
            at, end = (
                _place(events.fields[TIME], events.starts, int(t) * SECOND)
                for t in (cut, cut + horizon)
            )
            rows = np.flatnonzero(at > events.starts[:-1])
            found.append((rows, np.full(len(rows), cut), events.starts[rows], at[rows], end[rows]))
        return Pairs(
            *(np.concatenate(parts).astype(np.int64) for parts in zip(*found, strict=True))
        )

    def __len__(self) -> int:
        return len(self.users)

    @property
    def active(self) -> Bool[np.ndarray, "P"]:
        """Who has a future."""
        return self.end > self.at

    def only(self, some: Bool[np.ndarray, "P"] | Int64[np.ndarray, "B"]) -> "Pairs":
        """These pairs, in this order."""
        return Pairs(*(getattr(self, name)[some] for name in Pairs.__slots__))

    def epochs(self, many: int, rng: RNG) -> Rows:
        """`many` pairs an epoch (all where there are fewer), drawn anew and without one twice."""

        def rows(epoch: int) -> Int64[np.ndarray, "N"]:
            return rng.child(f"epoch {epoch}").generator().permutation(len(self))[:many]

        return rows

    def batches(self, fields: Mapping[str, np.ndarray], length: int) -> Parts:
        """For `train`: a batch whole, because its users are each other's negatives."""

        def parts(chosen: Int64[np.ndarray, "B"]) -> Iterator[tuple[Part, int]]:
            yield self.only(chosen).part(fields, length), len(chosen)

        return parts

    def part(self, fields: Mapping[str, np.ndarray], length: int) -> Part:
        """The newest `length` events of each past, the oldest of each future, the users' rows.

        Time is counted from the cut, both ways. The gap before a future's first event is taken
        away: it tells how long ago the past ended, so past and future could be matched by it
        alone.
        """
        keep, ahead = (
            np.minimum(self.at - self.first, length),
            np.minimum(self.end - self.at, length),
        )
        past, future = Batch.of(fields, self.at - keep, keep), Batch.of(fields, self.at, ahead)
        cuts = torch.from_numpy(self.cuts)[:, None]
        before = _with(past, TIME, (cuts - past.fields[TIME]).clamp(min=0))
        after = _with(future, TIME, (future.fields[TIME] - cuts).clamp(min=0))
        if GAP in fields and ahead.any():
            gaps = after.fields[GAP].clone()
            gaps[:, 0] = 0
            after = _with(after, GAP, gaps)
        return before, after, torch.from_numpy(self.users)


def _with(batch: Batch, name: str, values: torch.Tensor) -> Batch:
    return Batch({**batch.fields, name: values}, batch.lengths)


def _place(
    time: Int64[np.ndarray, "L"], starts: Int64[np.ndarray, "U1"], moment: int
) -> Int64[np.ndarray, "U"]:
    """The place of each user's first event at or after `moment`, or where their events end.

    By a binary search of all users at once.
    """
    low, high = starts[:-1].copy(), starts[1:].copy()
    while (open_ := low < high).any():
        middle = np.where(open_, (low + high) // 2, 0)
        earlier = open_ & (time[middle] < moment)
        low = np.where(earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low


def refuse(pairs: Pairs, recipe: Contrastive) -> None:
    """Raises DataError where nothing can be learned from these pairs."""
    days = recipe.horizon_days
    if not len(pairs):
        raise DataError(
            Contrastive.name,
            f"no user has an event more than {days} days before the cutoff, so no past can be set"
            " against a future; take a longer log or lower horizon_days",
        )
    if len(np.unique(pairs.users[pairs.active])) < 2:
        raise DataError(
            Contrastive.name,
            f"fewer than two users have events both before a cut and in the {days} days after it,"
            " so there is nothing to tell apart; raise cuts or horizon_days",
        )


def hold_out(pairs: Pairs, recipe: Contrastive, rng: RNG) -> Bool[np.ndarray, "P"] | None:
    """Which pairs are of users who are not trained on.

    None without patience, or where too few of them have a future to measure by.
    """
    last = pairs.cuts == pairs.cuts.max()
    everyone = np.unique(pairs.users[last])
    some = rng.generator().permutation(everyone)[
        : min(round(len(everyone) * recipe.held_out), MOST)
    ]
    out = np.isin(pairs.users, some)
    return out if recipe.training.patience and (out & last & pairs.active).sum() >= LEAST else None


def metric_on(
    pairs: Pairs, events: Histories, recipe: Contrastive
) -> Callable[[FittedSequence], float]:
    """How often users' own futures fit their pasts better than others', plus an AUROC.

    That is of being active after the cut; 2 is the most. `pairs` are of one cut. A share of all
    pairs, not MRR: that hangs on the few who come first, and jumps from epoch to epoch where only
    some dozens of users have a future.
    """
    held = events.take(pairs.users)
    asked = Pairs.of(held, pairs.cuts[:1], recipe.horizon_days * DAY // SECOND)
    some = np.flatnonzero(asked.active)

    def metric(fitted: FittedSequence) -> float:
        left, right, logit = vectors(fitted, asked, held)
        scores = left[some] @ right[some].T
        return share_below(scores) + auroc(asked.active, logit)

    return metric


def vectors(
    fitted: FittedSequence, pairs: Pairs, events: Histories
) -> Sequence[Float32[np.ndarray, "P ..."]]:
    """What the towers say of each pair: past, future (unit vectors), logit of a future."""
    fields = {**fitted.numbers(events), TIME: events.fields[TIME] // SECOND}
    where, found = next(fitted.network.parameters()).device, []
    for start in range(0, len(pairs), ROWS):
        past, future, _ = pairs.only(np.arange(start, min(start + ROWS, len(pairs)))).part(
            fields, fitted.network.length
        )
        with torch.no_grad():
            found.append(
                [
                    each.float().cpu().numpy()
                    for each in fitted.network(past.to(where), future.to(where))
                ]
            )
    return [np.concatenate(each) for each in zip(*found, strict=True)]


def share_below(scores: Float32[np.ndarray, "P P"]) -> float:
    """The share of a row's other columns below its own, the mean over rows; a tie is half."""
    own = scores.diagonal()[:, None]
    below, level = (scores < own).sum(), (scores == own).sum() - len(scores)
    return float((below + level / 2) / (len(scores) * (len(scores) - 1)))
