"""What all recommenders of this package share: requests a block at a time, and the best items."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, Num
from scipy import sparse

from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.lookup import among, pair_keys, pairs_of_keys, positions
from clickprint.core.options import Between, OneOf
from clickprint.core.past import Past
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import Allowed, Recommender
from clickprint.core.requests import Requests
from clickprint.core.time import DAY, Time
from clickprint.nn.topk import top
from clickprint.recommenders.pairs import Pairs

EVENTS = 1 << 21  # in a block, unless one user has more
DENSE = 0.25  # share of numbers in a sparse matrix from which a dense one is searched faster
CELLS = 1 << 24  # numbers of users × items, or of users × users, that are in memory at once
Positive = Annotated[int | float, Between(0, 1_000_000_000, low_open=True)]
Roles = tuple[Annotated[str, OneOf(*Role)], ...]
Scores: TypeAlias = Num[np.ndarray, "B V"] | sparse.csr_matrix


class Deterministic:
    """A recipe of something that recommends and draws nothing at random."""

    __slots__ = ()
    recommends: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    @property
    def needs_log(self) -> bool:
        """Whether it asks the past for its log, which a leave-one-out protocol hides."""
        return False


class ReadsLog(Deterministic):
    """Such a recipe that always asks for the log."""

    __slots__ = ()

    @property
    def needs_log(self) -> bool:
        return True


def asked(
    past: Past, fitted: Recommender, users: Int64[np.ndarray, "B"] | None = None
) -> Requests:
    """The requests of a past's users, or of these, with the fields that `fitted` reads."""
    histories = past.histories(fitted.fields)
    return Requests(histories if users is None else histories.of(users))


# -- blocks ---------------------------------------------------------------------------------------


def blocks(histories: Histories, events: int | None = None) -> Iterator[Histories]:
    """The histories in runs of users of about so many events; at least one user each."""
    return (histories.take(rows) for rows in _runs(histories, events))


def request_blocks(
    requests: Requests, users: int | None = None
) -> Iterator[tuple[Int64[np.ndarray, "N"], Requests]]:
    """The requests in such runs, or in runs of so many users, and the row of each."""
    rows = np.arange(len(requests))
    if users is None:
        runs = _runs(requests.histories, None)
    else:
        runs = (rows[at : at + users] for at in range(0, len(rows), users))
    return ((some, requests.take(some)) for some in runs)


def _runs(histories: Histories, events: int | None) -> Iterator[Int64[np.ndarray, "N"]]:
    start = 0
    while start < len(histories):
        edge = histories.starts[start] + (events or EVENTS)
        stop = int(np.searchsorted(histories.starts, edge, side="right")) - 1
        stop = min(max(stop, start + 1), len(histories))
        yield np.arange(start, stop)
        start = stop


# -- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counted:
    """Which events count: those about an item, of these codes of kinds (None: of any kind)."""

    codes: tuple[int, ...] | None = None

    @staticmethod
    def of(past: Past, roles: Roles) -> "Counted":
        """Those with one of these roles; without a role all, and the log is not asked."""
        return Counted(past.log.manifest.codes(*map(Role, roles)) if roles else None)

    @property
    def fields(self) -> tuple[str, ...]:
        return ("item", "time") if self.codes is None else ("item", "time", "kind")

    def __call__(self, events: Histories) -> Bool[np.ndarray, "L"]:
        about = np.asarray(events.fields["item"]) != NONE
        return about if self.codes is None else about & np.isin(events.fields["kind"], self.codes)


def session_field(past: Past) -> tuple[str, ...]:
    """The field that tells baskets apart, where the log has one; else a day is a basket."""
    return ("session",) if "session" in past.log.manifest.columns else ()


def known_items(histories: Histories) -> Int64[np.ndarray, "V"]:
    """The items that the histories hold, sorted."""
    parts = [np.unique(events.fields["item"]) for events in blocks(histories)]
    items = np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
    return items[items != NONE]


def end_of(histories: Histories) -> Time:
    """The cutoff of histories, or else the time of their newest event."""
    if histories.cutoff is not None:
        return histories.cutoff
    return int(np.max(histories.fields["time"], initial=0))


def asked_at(requests: Requests, now: Time) -> Time | Int64[np.ndarray, "L"]:
    """When the user of each event asks; `now` where neither requests nor histories say it."""
    if requests.time is not None:
        return np.repeat(requests.time, requests.histories.lengths)
    return now if requests.histories.cutoff is None else requests.histories.cutoff


def ages(requests: Requests, now: Time) -> Float64[np.ndarray, "L"]:
    """How many days each event lies before its user asks."""
    return (asked_at(requests, now) - np.asarray(requests.histories.fields["time"])) / DAY


def rows_of(events: Histories) -> Int64[np.ndarray, "L"]:
    """The row of each event's user."""
    return np.repeat(np.arange(len(events)), events.lengths)


def baskets_of(
    events: Histories, at: Int64[np.ndarray, "N"]
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"], Int64[np.ndarray, "U1"]]:
    """Of the events at these places the user's row and the number of the basket.

    Baskets (sessions, or days where there are none) are numbered through; the third are each
    user's first one, and one more. A session that comes back is another basket.
    """
    row = np.searchsorted(events.starts, at, side="right") - 1
    known = events.fields.get("session")
    basket = np.asarray(events.fields["time"])[at] // DAY if known is None else known[at]
    new = np.append(True, (row[1:] != row[:-1]) | (basket[1:] != basket[:-1]))[: len(at)]
    begins = np.searchsorted(row[new], np.arange(len(events) + 1))
    return row, np.cumsum(new) - 1, begins


def newest_items(
    requests: Requests, counted: Counted, items: Int64[np.ndarray, "V"], length: int, now: Time
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"], Float64[np.ndarray, "N"]]:
    """Of each user's newest `length` events that count and are about known items: the row, the
    place of the item, and the age in days.
    """
    events = requests.histories
    place = positions(items, np.asarray(events.fields["item"]))
    kept = np.flatnonzero(counted(events) & (place >= 0))
    row = rows_of(events)[kept]
    newer = np.searchsorted(row, row, side="right") - 1 - np.arange(len(row))
    kept, row = kept[newer < length], row[newer < length]
    return row, place[kept], ages(requests, now)[kept]


def pairs_of(
    events: Histories, keep: Bool[np.ndarray, "L"]
) -> tuple[Pairs, Int64[np.ndarray, "N"], Int64[np.ndarray, "P"]]:
    """Each user's items among the kept events, and two arrays for ufunc.reduceat.

    The first is the order that puts the events of a pair together, oldest first; the second is
    where each pair starts in it: ufunc.reduceat(values[order], first).
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
    # Histories of requests may come in any order of users; pairs only need the rows here.
    return Pairs(np.arange(len(events)), starts.astype(np.int64), item[first]), at[order], first


def counts_of(
    first: Int64[np.ndarray, "P"], order: Int64[np.ndarray, "N"]
) -> Int64[np.ndarray, "P"]:
    """How many events each pair has."""
    return np.diff(np.append(first, len(order)))


def ends_of(
    first: Int64[np.ndarray, "P"], order: Int64[np.ndarray, "N"]
) -> Int64[np.ndarray, "P"]:
    """The place in `order` of each pair's newest event."""
    return first + counts_of(first, order) - 1


def sums(values: Num[np.ndarray, "N"], first: Int64[np.ndarray, "P"]) -> Float64[np.ndarray, "P"]:
    """The sum of each run of values; `first` is where they start."""
    return np.add.reduceat(values, first) if len(first) else np.zeros(0)


# -- the best -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the items (sorted) each request may be given.

    `had`: (request, item) pairs that may not be given again; `allowed`: a mask of the items for
    everyone, or a row a request.
    """

    items: Int64[np.ndarray, "V"]
    size: int  # requests
    had: Int64[np.ndarray, "N"] | None = None  # sorted keys
    allowed: Allowed = None

    @staticmethod
    def of(
        items: Int64[np.ndarray, "V"],
        requests: Requests,
        include_seen: bool,
        allowed: Allowed,
        rows: Int64[np.ndarray, "N"] | None = None,
    ) -> "Choice":
        """For these requests; `rows` of `allowed` are theirs."""
        had = None
        if not include_seen:
            place = positions(items, np.asarray(requests.histories.fields["item"]))
            row = rows_of(requests.histories)[place >= 0]
            had = np.unique(pair_keys(row, place[place >= 0], len(items)))
        if allowed is not None and allowed.ndim == 2 and rows is not None:
            allowed = allowed[rows]
        return Choice(items, len(requests), had, allowed)

    @property
    def everything(self) -> bool:
        return self.had is None and self.allowed is None

    def take(self, rows: Int64[np.ndarray, "N"]) -> "Choice":
        """For these of the requests, in rising order."""
        had, allowed = self.had, self.allowed
        if had is not None:
            row, place = pairs_of_keys(had, len(self.items))
            row = positions(rows, row)
            had = pair_keys(row[row >= 0], place[row >= 0], len(self.items))
        if allowed is not None and allowed.ndim == 2:
            allowed = allowed[rows]
        return Choice(self.items, len(rows), had, allowed)

    def open(
        self, row: Int64[np.ndarray, "N"], place: Int64[np.ndarray, "N"]
    ) -> Bool[np.ndarray, "N"]:
        """Whether the request at `row` may be given the item at `place`."""
        keep = np.ones(len(row), bool)
        if self.allowed is not None:
            keep &= self.allowed[place] if self.allowed.ndim == 1 else self.allowed[row, place]
        if self.had is not None:
            keep &= ~among(self.had, pair_keys(row, place, len(self.items)))
        return keep

    def closed(self, start: int, stop: int) -> Bool[np.ndarray, "B V"]:
        """What the requests from `start` to before `stop` may not be given, as a dense mask."""
        size = len(self.items)
        mask = np.zeros((stop - start, size), bool)
        if self.allowed is not None:
            mask |= ~(self.allowed if self.allowed.ndim == 1 else self.allowed[start:stop])
        if self.had is not None:
            low, high = np.searchsorted(self.had, [start * size, stop * size])
            mask.ravel()[self.had[low:high] - start * size] = True
        return mask


def together(
    users: Int64[np.ndarray, "U"], found: Sequence[Recommendations], k: int
) -> Recommendations:
    """Lists of runs of users as one."""
    none = np.full((0, k), NONE, np.int64), np.full((0, k), -np.inf, np.float32)
    return Recommendations(
        users,
        np.concatenate([none[0], *(f.items for f in found)]),
        np.concatenate([none[1], *(f.scores for f in found)]),
    )


def best(
    choice: Choice,
    score: Callable[[slice], Scores],
    k: int,
    *,
    wide: int = 0,
    above: float = 0.0,
) -> Recommendations:
    """The k highest scores of each row, of those above `above`; rows stand for users.

    Equal scores (as float32): the smaller item first.

    - `score` is asked for so many rows at a time that their scores of all items, and `wide`
      numbers a row of its own, fit into CELLS. It may answer with a sparse matrix: what is not in
      it is no candidate, whatever `above` is.
    """
    items, size = choice.items, min(k, len(choice.items))
    many = max(CELLS // max(len(items), wide, 1), 1)
    found = []
    for at in range(0, choice.size, many):
        stop = min(at + many, choice.size)
        scores: Any = score(slice(at, stop))
        if sparse.issparse(scores) and above >= 0 and scores.nnz > DENSE * np.prod(scores.shape):
            scores = scores.toarray()
        users = np.arange(at, stop)
        if sparse.issparse(scores):
            scores.sort_indices()
            value = scores.data.astype(np.float32)
            pairs = Pairs(users, scores.indptr.astype(np.int64), items[scores.indices])
            keep = value > above
            if not choice.everything:
                keep[keep] = choice.open(pairs.rows[keep] + at, scores.indices[keep])
            found.append(pairs.where(keep).top(value[keep], size))
            continue
        padded = np.full((len(users), len(items) + 1), -np.inf, np.float32)
        padded[:, 1:] = scores
        if not choice.everything:
            padded[:, 1:][choice.closed(at, stop)] = -np.inf
        padded[padded <= above] = -np.inf
        place, value = top(torch.from_numpy(padded), size)
        found.append(Recommendations(users, np.append(NONE, items)[place], value))
    return together(np.arange(choice.size), found, size)


@dataclass(frozen=True, slots=True)
class FittedPairs:
    """A fitted thing that scores a few items of each user.

    `score` makes pairs of a block of requests, whose rows stand for the users, and their scores.
    """

    items: Int64[np.ndarray, "V"]
    fields: tuple[str, ...]
    score: Callable[[Requests], tuple[Pairs, Num[np.ndarray, "P"]]]

    def recommend(
        self,
        requests: Requests,
        k: int,
        *,
        include_seen: bool = True,
        allowed: Allowed = None,
    ) -> Recommendations:
        """See core.recommender.Recommender."""
        found, size = [], min(k, len(self.items))
        for rows, some in request_blocks(requests):
            pairs, scores = self.score(some)
            place = positions(self.items, pairs.items)
            keep = place >= 0
            choice = Choice.of(self.items, some, include_seen, allowed, rows)
            keep[keep] = choice.open(pairs.rows[keep], place[keep])
            found.append(pairs.where(keep).top(scores[keep], size))
        return together(requests.users, found, size)


@dataclass(frozen=True, slots=True)
class FittedRows:
    """A fitted thing that scores all items of each user.

    - `scorer`: makes of a block of requests what scores some of its rows, dense or sparse.
    - `wide`, `above`: see `best`.
    - `alike`: every user has the same scores.
    """

    items: Int64[np.ndarray, "V"]
    fields: tuple[str, ...]
    scorer: Callable[[Requests], Callable[[slice], Scores]]
    wide: int = 0
    above: float = 0.0
    alike: bool = False

    def recommend(
        self,
        requests: Requests,
        k: int,
        *,
        include_seen: bool = True,
        allowed: Allowed = None,
    ) -> Recommendations:
        """See core.recommender.Recommender."""
        everyone = include_seen and (allowed is None or allowed.ndim == 1)
        if self.alike and everyone and len(requests) > 1:
            one = self.recommend(requests.take(np.zeros(1, np.int64)), k, allowed=allowed)
            rows = np.zeros(len(requests), np.int64)
            return Recommendations(requests.users, one.items[rows], one.scores[rows])
        found = [
            best(
                Choice.of(self.items, some, include_seen, allowed, rows),
                self.scorer(some),
                k,
                wide=self.wide,
                above=self.above,
            )
            for rows, some in request_blocks(requests)
        ]
        return together(requests.users, found, min(k, len(self.items)))


def keep_best(matrix: sparse.csr_matrix, many: int) -> sparse.csr_matrix:
    """The `many` largest values of each row; equal ones: the smaller column first."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    order = order[np.arange(len(order)) - matrix.indptr[rows[order]] < many]
    pairs = rows[order], matrix.indices[order]
    return sparse.csr_matrix((matrix.data[order], pairs), matrix.shape)
