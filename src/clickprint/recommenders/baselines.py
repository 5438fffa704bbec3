"""What ranks all items without a network: the baselines that every model has to beat.

Fitting them counts; nothing is drawn at random. They read a user's items and times, and rank every
item of the histories that they were fitted on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from scipy import sparse

from clickprint.core.histories import Histories, items_only
from clickprint.core.lookup import among, pair_keys, pairs_of_keys, positions
from clickprint.core.options import Between, OneOf, check
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY
from clickprint.nn.topk import CELLS
from clickprint.recommenders.blocks import (
    Counted,
    Deterministic,
    FittedRows,
    Roles,
    blocks,
    end_of,
    keep_best,
    known_items,
    rows_of,
)

FIELDS = ("item", "time")


def _ranks_all(items: Int64[np.ndarray, "V"], scorer: Any, *, alike: bool = False) -> FittedRows:
    return FittedRows(items, FIELDS, scorer, above=-np.inf, alike=alike)


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
    ) -> FittedRows:
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
        row = total[had].astype(np.float32)
        return _ranks_all(items[had], lambda _: lambda some: row[None], alike=True)


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
    ) -> FittedRows:
        histories = past.histories(FIELDS)
        items = known_items(histories)
        _, place = _events(items, histories)
        counts = np.bincount(place, minlength=len(items)).astype(np.float64)
        # Below any own item, which counts 1 or more.
        rest = counts / (2 * max(counts.max(initial=0), 1))

        def scorer(requests: Requests) -> Callable[[slice], Float64[np.ndarray, "B V"]]:
            events = items_only(requests.histories)
            row, place = _events(items, events)
            turn = np.arange(events.events) - np.repeat(events.starts[:-1], events.lengths)
            turn = 1.0 + turn[among(items, np.asarray(events.fields["item"]))]

            def scores(some: slice) -> Float64[np.ndarray, "B V"]:
                out = np.tile(rest, (some.stop - some.start, 1))
                here = slice(*np.searchsorted(row, (some.start, some.stop)))
                at = row[here] - some.start, place[here]
                if self.by == "frequency":
                    np.add.at(out, at, 1)
                else:
                    np.maximum.at(out, at, turn[here])
                return out

            return scores

        return _ranks_all(items, scorer)


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemKNN(Deterministic):
    """Each item's nearest others by the cosine of who had them; a user's score sums over theirs.

    - `neighbours`: how many others an item keeps.
    - `shrink`: added to the denominator, so that rare items are less alike.

    An item counts once a user. Source: Sarwar et al. 2001; the shrink as Ferrari Dacrema et al.
    2019 have it. Bell & Koren's is another: n / (n + shrink) as a factor, n the users of both.
    """

    neighbours: Annotated[int, Between(1, 1_000_000)] = 100
    shrink: Annotated[int | float, Between(0, 1_000_000_000)] = 10

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedRows:
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
        return _by_items(items, lambda users: (users @ near).toarray())


@dataclass(frozen=True, kw_only=True, slots=True)
class EASE(Deterministic):
    """The linear model item ← items with a zero diagonal, in closed form. Steck, WWW 2019.

    - `l2`: how much large weights cost.
    - `items`: how many items are ranked, those that most users had (equal numbers: the smaller
      item). It holds the square of that: 1.6 GB for 20,000, four times as much while fitted.
    """

    l2: Annotated[int | float, Between(0, 1_000_000_000, low_open=True)] = 250
    items: Annotated[int, Between(1, 40_000)] = 20_000

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedRows:
        items, had = _had(past.histories(FIELDS))
        if len(items) > self.items:
            order = np.argsort(-np.asarray(had.sum(0)).ravel(), kind="stable")
            kept = np.sort(order[: self.items])
            items, had = items[kept], had[:, kept]
        gram = torch.from_numpy((had.T @ had).toarray().astype(np.float32))
        gram.diagonal().add_(self.l2)
        gram = torch.linalg.cholesky(gram)
        weights = torch.cholesky_inverse(gram)
        del gram
        weights.div_(-weights.diagonal().clone())
        weights.diagonal().zero_()
        return _by_items(items, lambda users: users @ weights.numpy())


def _events(
    items: Int64[np.ndarray, "V"], histories: Histories
) -> tuple[Int64[np.ndarray, "L"], Int64[np.ndarray, "L"]]:
    """Of each event about a known item the row of its user and the place of the item."""
    place = positions(items, np.asarray(histories.fields["item"]))
    return rows_of(histories)[place >= 0], place[place >= 0]


def _had(
    histories: Histories, items: Int64[np.ndarray, "V"] | None = None
) -> tuple[Int64[np.ndarray, "V"], sparse.csr_matrix]:
    """The items (None: those of the histories), and who had which: 1, however often."""
    items = known_items(histories) if items is None else items
    row, place = _events(items, histories)
    # The last item first: the order of sums that published numbers have.
    size = len(items)
    row, place = pairs_of_keys(np.unique(pair_keys(row, size - 1 - place, size)), size)
    starts = np.searchsorted(row, np.arange(len(histories) + 1))
    shape = len(histories), size
    return items, sparse.csr_matrix((np.ones(len(row)), size - 1 - place, starts), shape)


def _by_items(
    items: Int64[np.ndarray, "V"],
    score: Callable[[sparse.csr_matrix], Float32[np.ndarray, "B V"]],
) -> FittedRows:
    """What scores users by the items that they had."""

    def scorer(requests: Requests) -> Callable[[slice], Float32[np.ndarray, "B V"]]:
        _, users = _had(requests.histories, items)
        return lambda some: score(users[some])

    return _ranks_all(items, scorer)
