"""What a user had before: by how often and how lately, and what still lies in the basket."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
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
    FittedPairs,
    Positive,
    ReadsLog,
    Roles,
    ages,
    asked_at,
    baskets_of,
    counts_of,
    end_of,
    ends_of,
    known_items,
    pairs_of,
    rows_of,
    session_field,
    sums,
)
from clickprint.recommenders.pairs import Pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class History(Deterministic):
    """A user's own items, by how many events the user had with them.

    - `roles`: which events count; without one every event about an item does.
    - `half_life`: days in which an event comes to count half; 0 counts all alike (personal
      frequency), the newer item first where two are equal.
    - `last`: only events of the user's last so many baskets (sessions, or days where the log has
      none); 0 takes all.
    """

    roles: Roles = (Role.BUY,)
    half_life: Annotated[int | float, Between(0, 36_500)] = 0.0
    last: Annotated[int, Between(0, 1_000_000)] = 0

    def __post_init__(self) -> None:
        check(self)

    @property
    def needs_log(self) -> bool:
        return bool(self.roles or self.last)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedPairs:
        """Only learns which items there are."""
        counted = Counted.of(past, self.roles)
        fields = counted.fields + (session_field(past) if self.last else ())
        asked = past.histories(fields)
        score = partial(self._score, counted, end_of(asked))
        return FittedPairs(known_items(asked), fields, score)

    def _score(
        self, counted: Counted, now: Time, requests: Requests
    ) -> tuple[Pairs, Float64[np.ndarray, "P"]]:
        events = requests.histories
        keep = counted(events)
        if self.last:
            keep &= newest_baskets(events, keep) < self.last
        pairs, order, first = pairs_of(events, keep)
        age = ages(requests, now)[order]
        if self.half_life:
            return pairs, sums(0.5 ** (age / self.half_life), first)
        newest = np.minimum.reduceat(age, first) if len(first) else np.zeros(0)
        return pairs, counts_of(first, order) + 0.5 / (1 + newest)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenBaskets(ReadsLog):
    """What was put into the basket and neither bought nor taken out since, the newest first.

    - `days`: how long before the user asks an event may lie.

    A removal that is about no item emptied the basket.
    """

    days: Positive = 30

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedPairs:
        """Only learns which items there are."""
        counted = Counted.of(past, (Role.CART, Role.REMOVE, Role.BUY))
        cart, remove = (past.log.manifest.codes(r) for r in (Role.CART, Role.REMOVE))
        asked = past.histories(counted.fields)
        score = partial(self._score, counted, cart, remove, end_of(asked))
        return FittedPairs(known_items(asked), counted.fields, score)

    def _score(
        self,
        counted: Counted,
        cart: tuple[int, ...],
        remove: tuple[int, ...],
        now: Time,
        requests: Requests,
    ) -> tuple[Pairs, Float64[np.ndarray, "P"]]:
        events = requests.histories
        item, kind, time = (np.asarray(events.fields[f]) for f in ("item", "kind", "time"))
        oldest = asked_at(requests, now) - self.days * DAY
        keep = counted(events) & (time > oldest)
        at, row = np.arange(events.events), rows_of(events)
        empty = np.isin(kind, remove) & (item == NONE)
        emptied = np.full(len(events), -1)
        emptied[row[empty]] = at[empty]  # of several, the last one stays
        keep &= at > emptied[row]
        pairs, order, first = pairs_of(events, keep)
        newest = order[ends_of(first, order)]
        still = np.isin(kind[newest], cart)
        return pairs.where(still), 1 / (1 + ages(requests, now)[newest][still])


def newest_baskets(events: Histories, keep: Bool[np.ndarray, "L"]) -> Int64[np.ndarray, "L"]:
    """How many of its user's baskets with a kept event are newer than the one of each event."""
    at = np.flatnonzero(keep)
    row, number, begins = baskets_of(events, at)
    out = np.zeros(len(keep), np.int64)
    out[at] = begins[row + 1] - 1 - number
    return out
