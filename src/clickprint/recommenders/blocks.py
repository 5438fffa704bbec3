"""Users a block at a time: what needs memory for events needs it for a block of them only."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Num
from scipy import sparse

from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import Catalogue
from clickprint.core.past import Past, Table
from clickprint.core.ragged import starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.time import Time
from clickprint.recommenders.pairs import Pairs

EVENTS = 1 << 21  # in a block, unless one user has more
DENSE = 0.25  # share of the numbers of a sparse matrix above which picking the highest is faster in a dense one
CELLS = 1 << 24  # numbers of users × items, or of users × users, that are in memory at once


def blocks(histories: Histories, events: int = EVENTS) -> Iterator[Histories]:
    """The histories in runs of users of about so many events; at least one user each."""
    start = 0
    while start < len(histories):
        stop = (
            int(np.searchsorted(histories.starts, histories.starts[start] + events, side="right"))
            - 1
        )
        stop = min(max(stop, start + 1), len(histories))
        yield histories.take(np.arange(start, stop))
        start = stop


@dataclass(frozen=True, slots=True)
class PastSubset:
    """A past whose questions are about some of its users (sorted) only; its log is everybody's."""

    past: Past
    users: Int64[np.ndarray, "B"]

    @property
    def cutoff(self) -> Time:
        return self.past.cutoff

    @property
    def log(self) -> Table:
        return self.past.log

    @property
    def catalogue(self) -> Catalogue:
        return self.past.catalogue

    def histories(self, fields: Collection[str]) -> Histories:
        """Needs memory for their events."""
        return self.past.histories(fields).of(self.users)

    def at(self, earlier: Time) -> "PastSubset":
        return PastSubset(self.past.at(earlier), self.users)


def each_block(
    past: Past,
    fields: Sequence[str],
    k: int,
    score: Callable[[Histories], tuple[Pairs, Num[np.ndarray, "P"]]],
) -> Recommendations:
    """The k best of the pairs that `score` makes of each block of histories."""
    asked = past.histories(("item", "time", "kind", *fields))
    return together(
        past.users, [pairs.top(scores, k) for pairs, scores in map(score, blocks(asked))], k
    )


def together(
    users: Int64[np.ndarray, "U"], found: Sequence[Recommendations], k: int
) -> Recommendations:
    """Lists of runs of users as one; nobody's where there is none."""
    if not found:
        return Recommendations(
            users,
            np.full((len(users), k), NONE, np.int64),
            np.full((len(users), k), -np.inf, np.float32),
        )
    return Recommendations(
        users, np.concatenate([f.items for f in found]), np.concatenate([f.scores for f in found])
    )


def best(
    users: Int64[np.ndarray, "U"],
    score: Callable[[slice], Num[np.ndarray, "B V"] | sparse.csr_matrix],
    items: Int64[np.ndarray, "V"],
    k: int,
    *,
    wide: int = 0,
    above: float = 0.0,
) -> Recommendations:
    """The k highest scores of each row, of those above `above`; equal ones (as float32): the smaller item first.

    `score` is asked for so many rows at a time that their scores of all items, and `wide` numbers a row of its own, are few enough. It may
    answer with a sparse matrix: what does not stand in it is no candidate, whatever `above` is.
    """
    many = max(CELLS // max(len(items), wide, 1), 1)
    found = []
    for at in range(0, len(users), many):
        scores: Any = score(slice(at, at + many))
        if sparse.issparse(scores) and above >= 0 and scores.nnz > DENSE * np.prod(scores.shape):
            scores = scores.toarray()
        asked = users[at : at + many]
        if sparse.issparse(scores):
            scores.sort_indices()
            value = scores.data.astype(np.float32)
            pairs = Pairs(asked, scores.indptr.astype(np.int64), items[scores.indices])
            found.append(pairs.where(keep := value > above).top(value[keep], k))
            continue
        scores = scores.astype(np.float32, copy=False)
        edge = (
            np.partition(scores, -k, axis=1)[:, -k, None]
            if k < len(items)
            else np.zeros((len(scores), 1), np.float32)
        )
        keep = (scores >= edge) & (scores > above)
        found.append(
            Pairs(asked, starts_of(keep.sum(1)), items[np.nonzero(keep)[1]]).top(scores[keep], k)
        )
    return together(users, found, k)


def with_roles(
    past: Past, events: Histories, roles: Sequence[Role | str]
) -> Bool[np.ndarray, "L"]:
    """Which events are about an item and have one of these roles (all, where none is named)."""
    about = events.fields["item"] != NONE
    return (
        about & np.isin(events.fields["kind"], past.log.manifest.codes(*map(Role, roles)))
        if roles
        else about
    )


def pairs_of(
    events: Histories, keep: Bool[np.ndarray, "L"]
) -> tuple[Pairs, Int64[np.ndarray, "N"], Int64[np.ndarray, "P"]]:
    """Each user's items among the kept events, and what ufunc.reduceat(values[order], first) needs: the order that puts the events of a
    pair together, oldest first, and where each pair starts in it.
    """
    at = np.flatnonzero(keep)
    row = np.searchsorted(events.starts, at, side="right") - 1
    item = np.asarray(events.fields["item"])[at]
    order = np.lexsort((at, item, row))
    row, item = row[order], item[order]
    first = np.flatnonzero(
        np.append(True, (row[1:] != row[:-1]) | (item[1:] != item[:-1]))[: len(at)]
    )
    starts = np.searchsorted(row[first], np.arange(len(events) + 1))
    return Pairs(events.users, starts.astype(np.int64), item[first]), at[order], first
