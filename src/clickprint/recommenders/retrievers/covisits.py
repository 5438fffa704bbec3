"""Co-visitation: items that the same users had soon after one another."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from jaxtyping import Int64
from scipy import sparse

from clickprint.core.events import Role
from clickprint.core.options import Between, check
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY, Time
from clickprint.recommenders.blocks import (
    Counted,
    Deterministic,
    FittedRows,
    Positive,
    Roles,
    blocks,
    end_of,
    keep_best,
    known_items,
    newest_items,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CoVisits(Deterministic):
    """Items that followed the user's newest items, more where they followed sooner.

    - `first`, `then`: roles of an event and of what followed it; without one every event counts.
    - `days`, `after`: how many days later, and how many of a user's events later, at most.
    - `both_ways`: what came before counts too.
    - `neighbours`: how many followers an item keeps.
    - `length`: how many of the user's newest items with a role of `first` are asked.
    - `half_life`: days in which such an item comes to count half.

    A pair counts 1 / (1 + days between), over the square root of both items' numbers of events.
    Source: the winners of OTTO (2022) and H&M (2022).
    """

    first: Roles = (Role.BUY,)
    then: Roles = (Role.BUY,)
    days: Positive = 14
    after: Annotated[int, Between(1, 1_000_000)] = 30
    neighbours: Annotated[int, Between(1, 1_000_000)] = 40
    length: Annotated[int, Between(1, 1_000_000)] = 50
    half_life: Positive = 14
    both_ways: bool = True

    def __post_init__(self) -> None:
        check(self)

    @property
    def needs_log(self) -> bool:
        return bool(self.first or self.then)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedRows:
        one, two = Counted.of(past, self.first), Counted.of(past, self.then)
        fields = one.fields if len(one.fields) > len(two.fields) else two.fields
        asked = past.histories(fields)
        items = known_items(asked)
        total = sparse.csr_matrix((len(items), len(items)), dtype=np.float32)
        counts = np.zeros(len(items))
        done = 0
        for events in blocks(asked):
            progress("co-visits", done, len(asked))
            done += len(events)
            early_ok, late_ok = one(events), two(events)
            at = np.flatnonzero(early_ok | late_ok)
            early_ok, late_ok = early_ok[at], late_ok[at]
            row = np.searchsorted(events.starts, at, side="right") - 1
            item = np.searchsorted(items, np.asarray(events.fields["item"])[at])
            time = np.asarray(events.fields["time"])[at] / DAY
            counts += np.bincount(item, minlength=len(items))
            for lag in range(1, min(self.after, max(len(at) - 1, 0)) + 1):
                some = (
                    (row[lag:] == row[:-lag])
                    & (time[lag:] - time[:-lag] <= self.days)
                    & (item[lag:] != item[:-lag])
                )
                early, late = np.flatnonzero(some), np.flatnonzero(some) + lag
                # Whole numbers add up the same in any order.
                weight = np.round(2**16 / (1 + time[late] - time[early]))
                for a, b in ((early, late), (late, early)) if self.both_ways else ((early, late),):
                    ok = early_ok[a] & late_ok[b]
                    total = total + sparse.csr_matrix(
                        (weight[ok], (item[a[ok]], item[b[ok]])), total.shape
                    )
        rows = np.repeat(np.arange(len(items)), np.diff(total.indptr))
        total.data = (
            total.data / 2**16 / np.sqrt(np.maximum(counts[rows] * counts[total.indices], 1))
        )
        near = keep_best(total, self.neighbours)
        scorer = partial(self._scorer, one, items, end_of(asked), near)
        return FittedRows(items, one.fields, scorer)

    def _scorer(
        self,
        counted: Counted,
        items: Int64[np.ndarray, "V"],
        now: Time,
        near: sparse.csr_matrix,
        requests: Requests,
    ) -> Callable[[slice], sparse.csr_matrix]:
        row, place, age = newest_items(requests, counted, items, self.length, now)
        weight = 0.5 ** (age / self.half_life)
        users = sparse.csr_matrix((weight, (row, place)), (len(requests), len(items)))
        return lambda some: (users[some] @ near).tocsr()
