"""What ranks all items without a network: the baselines that every model has to beat.

Fitting them counts; nothing is drawn at random. They read a user's items and times, and rank every
item of the histories that they were fitted on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy import sparse

from clickprint.core.errors import ConfigError
from clickprint.core.histories import Histories, items_only
from clickprint.core.ids import NONE
from clickprint.core.lookup import positions
from clickprint.core.options import Above, AtLeast, Between, OneOf, check
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY
from clickprint.nn.topk import CELLS, top
from clickprint.recommenders.blocks import (
    Allowed,
    Counted,
    Deterministic,
    Roles,
    blocks,
    end_of,
    keep_best,
    known_items,
    rows_of,
)

FIELDS = ("item", "time")
NOBODY = Histories(
    np.zeros(1, np.int64), np.zeros(2, np.int64), {f: np.zeros(0, np.int64) for f in FIELDS}
)
LARGEST = 40_000  # items that EASE takes: its square holds 6.4 GB, four times that while fitted


@dataclass(frozen=True, slots=True)
class FittedBaseline:
    """Known items (number i + 1 is items[i]), and what scores them for some histories.

    - `scores` gives one column an item, column 0 nobody's.
    - `same`: the scores are the same for everybody.
    """

    items: Int64[np.ndarray, "V"]
    scores: Callable[[Histories, Int64[np.ndarray, "L"]], Float[np.ndarray, "U V1"]]
    same: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        return FIELDS

    def recommend(
        self,
        requests: Requests,
        k: int,
        *,
        include_seen: bool = True,
        allowed: Allowed = None,
    ) -> Recommendations:
        """See core.recommender.Recommender."""
        if self.same and include_seen and (allowed is None or allowed.ndim == 1):
            one = self._ranked(NOBODY, k, True, allowed)
            rows = np.zeros(len(requests), np.int64)
            return Recommendations(requests.users, one.items[rows], one.scores[rows])
        return self._ranked(items_only(requests.histories), k, include_seen, allowed)

    @property
    def best(self) -> Int64[np.ndarray, "V"]:
        """All items in the order in which a user without a history is shown them."""
        return self._ranked(NOBODY, len(self.items), True, None).items[0]

    def _ranked(
        self, events: Histories, k: int, include_seen: bool, allowed: Allowed
    ) -> Recommendations:
        shape = len(events), min(k, len(self.items))
        found, scores = np.full(shape, NONE, np.int64), np.full(shape, -np.inf, np.float32)
        names = np.append(NONE, self.items)
        many = max(CELLS // max(len(self.items), 1), 1)
        for start in range(0, len(events), many):
            rows = slice(start, start + many)
            some = events.take(np.arange(len(events))[rows])
            numbers = _numbers(self.items, some)
            given, value = top(
                torch.from_numpy(np.ascontiguousarray(self.scores(some, numbers), np.float32)),
                shape[1],
                None if include_seen else Ragged(some.starts, numbers),
                allowed[rows] if allowed is not None and allowed.ndim == 2 else allowed,
            )
            found[rows], scores[rows] = names[given], value
        return Recommendations(events.users, found, scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class Popularity(Deterministic):
    """The items with the most events, the same for everybody.

    - `roles`: what counts; without one every event about an item does.
    - `half_life`: days in which an event comes to count half, back from the cutoff (or from the
      newest event, where there is none); 0 counts all alike.
    """

    roles: Roles = ()
    half_life: Annotated[int | float, Between(0, 36_500)] = 0

    def __post_init__(self) -> None:
        check(self)

    @property
    def needs_log(self) -> bool:
        return bool(self.roles)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedBaseline:
        counted = Counted.of(past, self.roles)
        asked = past.histories(counted.fields)
        items, now = known_items(asked), end_of(asked)
        total, had = np.zeros(len(items)), np.zeros(len(items), bool)
        for events in blocks(asked):
            keep = counted(events)
            weights = None
            if self.half_life:
                age = (now - np.asarray(events.fields["time"])[keep]) / DAY
                # Whole parts of 2⁻³⁰ add up the same in any order.
                weights = np.round(0.5 ** (age / self.half_life) * 2**30) / 2**30
            place = positions(items, np.asarray(events.fields["item"])[keep])
            total += np.bincount(place, weights, len(items))
            had[place] = True
        row = np.append(np.float32(0), total[had].astype(np.float32))
        return FittedBaseline(items[had], lambda some, _: np.tile(row, (len(some), 1)), same=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnItems(Deterministic):
    """A user's own items, then the popular ones: personal frequency of next-basket work.

    - `by`: "frequency" (how often the user had them) or "recency" (how lately).

    Where seen items may not be given this is popularity. It is not retrievers.history.History,
    which gives own items alone and orders equally frequent ones by recency, not by popularity.
    """

    by: Annotated[str, OneOf("frequency", "recency")] = "frequency"

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedBaseline:
        events = items_only(past.histories(FIELDS))
        items = known_items(events)
        counts = np.bincount(_numbers(items, events), None, len(items) + 1).astype(np.float64)
        # Below any own item, which counts 1 or more.
        rest = counts / (2 * max(counts.max(initial=0), 1))

        def scores(some: Histories, numbers: Int64[np.ndarray, "L"]) -> Float[np.ndarray, "U V1"]:
            out = np.tile(rest, (len(some), 1))
            row = rows_of(some)
            if self.by == "frequency":
                np.add.at(out, (row, numbers), 1)
            else:
                place = np.arange(some.events) - np.repeat(some.starts[:-1], some.lengths)
                np.maximum.at(out, (row, numbers), 1.0 + place)
            return out

        return FittedBaseline(items, scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemKNN(Deterministic):
    """Each item's nearest others by the cosine of who had them; a user's score sums over theirs.

    - `neighbours`: how many others an item keeps.
    - `shrink`: added to the denominator, so that rare items are less alike.

    An item counts once a user. Source: Sarwar et al. 2001; the shrink of Koren & Bell.
    """

    neighbours: Annotated[int, AtLeast(1)] = 100
    shrink: Annotated[int | float, AtLeast(0)] = 10

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedBaseline:
        items, had = _had(past.histories(FIELDS))
        alone = np.asarray(had.sum(0), np.float32).ravel()
        # An item has at most so many pairs. Items are taken in parts, so that one user's million
        # items are no square in memory.
        pairs = np.minimum(had.T @ np.diff(had.indptr), len(alone)).astype(np.int64)
        block = np.cumsum(pairs) // CELLS
        parts = []
        for some in np.split(np.arange(len(alone)), np.flatnonzero(np.diff(block)) + 1):
            together = (had[:, some].T @ had).tocsr()
            rows = some[np.repeat(np.arange(len(some)), np.diff(together.indptr))]
            together.data = together.data / (
                np.sqrt(alone[rows] * alone[together.indices]) + self.shrink
            )
            together.data[rows == together.indices] = 0
            together.eliminate_zeros()
            parts.append(keep_best(together, self.neighbours))
        near = sparse.vstack(parts, "csr")
        return FittedBaseline(
            items,
            lambda some, numbers: (_user_items(some, numbers, near.shape[0]) @ near).toarray(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EASE(Deterministic):
    """The linear model item ← items with a zero diagonal, in closed form. Steck, WWW 2019.

    - `l2`: how much large weights cost.

    It holds V × V numbers, and refuses a catalogue of more than 40,000 items.
    """

    l2: Annotated[int | float, Above(0)] = 250

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedBaseline:
        items, had = _had(past.histories(FIELDS))
        if len(items) > LARGEST:
            raise ConfigError(
                f"ease holds a square of items: found {len(items):,}, expected at most {LARGEST:,}"
            )
        gram = torch.from_numpy((had.T @ had).toarray()[1:, 1:].astype(np.float32))
        gram.diagonal().add_(self.l2)
        gram = torch.linalg.cholesky(gram)
        weights = torch.cholesky_inverse(gram)
        del gram
        weights.div_(-weights.diagonal().clone())
        weights.diagonal().zero_()
        full = np.zeros((len(items) + 1, len(items) + 1), np.float32)
        full[1:, 1:] = weights.numpy()
        return FittedBaseline(
            items, lambda some, numbers: _user_items(some, numbers, len(full)) @ full
        )


def _numbers(items: Int64[np.ndarray, "V"], events: Histories) -> Int64[np.ndarray, "L"]:
    """1 … V for known items, 0 for others."""
    return positions(items, np.asarray(events.fields["item"])) + 1


def _had(histories: Histories) -> tuple[Int64[np.ndarray, "V"], sparse.csr_matrix]:
    """Items, and who had which (1, however often); column 0 is empty."""
    events = items_only(histories)
    items = known_items(events)
    return items, _user_items(events, _numbers(items, events), len(items) + 1)


def _user_items(some: Histories, numbers: Int64[np.ndarray, "L"], width: int) -> sparse.csr_matrix:
    found = sparse.csr_matrix(
        (np.ones(len(numbers), np.float32), numbers, some.starts), (len(some), width)
    )
    found.sum_duplicates()
    found.data[:] = 1
    if width:
        known = np.append(0, np.ones(width - 1, np.float32))
        found = found.multiply(sparse.csr_matrix(known)).tocsr()
    return found
