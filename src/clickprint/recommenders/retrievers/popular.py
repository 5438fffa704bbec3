"""What many buy in the groups of items that a user likes."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.lookup import positions
from clickprint.core.options import Between, check
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import spans, starts_of
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY, Time
from clickprint.recommenders.blocks import (
    Counted,
    FittedPairs,
    Positive,
    ReadsLog,
    Roles,
    ages,
    pairs_of,
    sums,
)
from clickprint.recommenders.pairs import Pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class PopularIn(ReadsLog):
    """The most popular items of the groups that a user had events in.

    - `by`: the attribute of the catalogue that groups items, such as category or shop.
    - `roles`, `half_life`: which events make an item popular, and the days in which one comes to
      count half.
    - `touched`, `taste_half_life`: the same for a user's liking of a group; no role means all.
    - `groups`: how many of a user's groups are asked, `each`: how many items each gives.

    An item's score is the user's liking of its group times its share of the group.
    """

    by: str = "category"
    roles: Roles = (Role.BUY,)
    touched: Roles = ()
    half_life: Positive = 14.0
    taste_half_life: Positive = 30.0
    each: Annotated[int, Between(1, 1_000_000)] = 30
    groups: Annotated[int, Between(1, 1_000_000)] = 10

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedPairs:
        """Raises ConfigError where the log has no such attribute."""
        if self.by not in past.log.manifest.attributes:
            known = ", ".join(past.log.manifest.attributes) or "none"
            raise ConfigError(
                f"by: found {self.by!r}, expected an attribute of the catalogue ({known})"
            )
        rows = past.log.rows(
            ("item", "time", self.by), roles=tuple(map(Role, self.roles)) or None, ordered=False
        )
        there = (rows["item"] != NONE) & (rows[self.by] != NONE)
        item, group = rows["item"][there], rows[self.by][there]
        # Whole parts of 2⁻³⁰ add up the same in any order, and that of rows is open.
        age = (past.cutoff - rows["time"][there]) / DAY
        weight = np.round(0.5 ** (age / self.half_life) * 2**30) / 2**30
        both, place = np.unique(np.stack([group, item]), axis=1, return_inverse=True)
        total = np.bincount(place.ravel(), weight, both.shape[1])
        order = np.lexsort((both[1], -total, both[0]))
        names, counts = np.unique(both[0], return_counts=True)
        starts = starts_of(counts)
        turn = np.arange(len(order)) - np.repeat(starts[:-1], counts)
        share = total[order] / np.repeat(sums(total[order], starts[:-1]), counts)
        kept = turn < self.each
        listed = both[1][order][kept]
        groups = Groups(names, starts_of(np.minimum(counts, self.each)), listed, share[kept])
        counted = Counted.of(past, self.touched)
        score = partial(self._score, counted, past.cutoff, groups)
        return FittedPairs(np.unique(listed), (*counted.fields, self.by), score)

    def _score(
        self, counted: Counted, now: Time, groups: "Groups", requests: Requests
    ) -> tuple[Pairs, Float64[np.ndarray, "P"]]:
        events = requests.histories
        group = np.asarray(events.fields[self.by])
        keep = counted(events) & (group != NONE)
        # The user's groups are pairs of user and group.
        liked, order, first = pairs_of(replace(events, fields={"item": group}), keep)
        taste = sums(0.5 ** (ages(requests, now)[order] / self.taste_half_life), first)
        best = np.lexsort((liked.items, -taste, liked.rows))
        turn = np.arange(len(best)) - liked.starts[liked.rows[best]]
        some = np.zeros(len(best), bool)
        some[best[turn < self.groups]] = True
        at = positions(groups.names, liked.items)
        some &= at >= 0
        at, row, taste = at[some], liked.rows[some], taste[some]
        lengths = np.diff(groups.starts)[at]
        _, places = spans(groups.starts[:-1][at], lengths)
        row, value = np.repeat(row, lengths), np.repeat(taste, lengths) * groups.shares[places]
        item = groups.items[places]
        # An item is in one group, so a pair stands here once.
        order = np.lexsort((item, row))
        starts = np.searchsorted(row[order], np.arange(len(events) + 1)).astype(np.int64)
        return Pairs(np.arange(len(events)), starts, item[order]), value[order]


class Groups(NamedTuple):
    """The best items of each group, and their shares of it."""

    names: Int64[np.ndarray, "G"]
    starts: Int64[np.ndarray, "G1"]
    items: Int64[np.ndarray, "N"]
    shares: Float64[np.ndarray, "N"]
