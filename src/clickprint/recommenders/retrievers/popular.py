"""What many buy: everywhere, or in the groups of items that a user likes."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import spans, starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.recommenders.blocks import each_block, pairs_of, with_roles
from clickprint.recommenders.pairs import Pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class Popular:
    """The items with the most events of these roles, the same for everybody; an event counts half `half_life` days before the cutoff."""

    roles: tuple[str, ...] = ("buy",)
    half_life: int | float = 7.0

    def __post_init__(self) -> None:
        if not self.half_life > 0:
            raise ConfigError(f"half_life: found {self.half_life}, expected days above 0")

    def fit(
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "FittedPopular":
        return FittedPopular(*counted(past, self.roles, self.half_life))

    def best(self, past: Past) -> Int64[np.ndarray, "V"]:
        """All items, the most popular first; equal ones: the smaller first."""
        items, weight = counted(past, self.roles, self.half_life)
        return items[np.lexsort((items, -weight))]


@dataclass(frozen=True, slots=True)
class FittedPopular:
    items: Int64[np.ndarray, "V"]
    weight: Float64[np.ndarray, "V"]

    def retrieve(self, past: Past, k: int) -> Recommendations:
        order = np.lexsort((self.items, -self.weight))[:k]
        items, scores = np.full(k, NONE, np.int64), np.full(k, -np.inf, np.float32)
        items[: len(order)], scores[: len(order)] = self.items[order], self.weight[order]
        return Recommendations(
            past.users, np.tile(items, (len(past.users), 1)), np.tile(scores, (len(past.users), 1))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PopularIn:
    """The most popular items of the groups (`by`: an attribute of the catalogue, such as category or shop) that a user had events in.

    A group's weight for a user is the decayed share of his events in it; an item's score is that times its share of the group. Each group
    gives its `each` most popular items.
    """

    by: str = "category"
    roles: tuple[str, ...] = ("buy",)
    touched: tuple[str, ...] = ()  # which events say what a user likes; none: all
    half_life: int | float = 14.0
    taste_half_life: int | float = 30.0
    each: int = 30
    groups: int = 10

    def fit(
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "FittedPopularIn":
        """Raises ConfigError where the log has no such attribute."""
        if self.by not in past.log.manifest.attributes:
            known = ", ".join(past.log.manifest.attributes) or "none"
            raise ConfigError(
                f"by: found {self.by!r}, expected an attribute of the catalogue ({known})"
            )
        rows = past.log.rows(
            ("item", "time", self.by), roles=tuple(map(Role, self.roles)), ordered=False
        )
        there = (rows["item"] != NONE) & (rows[self.by] != NONE)
        item, group = rows["item"][there], rows[self.by][there]
        weight = decayed(past, rows["time"][there], self.half_life)
        both, place = np.unique(np.stack([group, item]), axis=1, return_inverse=True)
        total = np.bincount(place.ravel(), weight, both.shape[1])
        order = np.lexsort((both[1], -total, both[0]))
        groups, counts = np.unique(both[0], return_counts=True)
        starts = starts_of(counts)
        turn = np.arange(len(order)) - np.repeat(starts[:-1], counts)
        share = total[order] / np.repeat(
            np.add.reduceat(total[order], starts[:-1]) if len(counts) else np.zeros(0), counts
        )
        kept = turn < self.each
        return FittedPopularIn(
            self,
            groups,
            starts_of(np.minimum(counts, self.each)),
            both[1][order][kept],
            share[kept],
        )


@dataclass(frozen=True, slots=True)
class FittedPopularIn:
    """The best items of each group and their shares."""

    source: PopularIn
    groups: Int64[np.ndarray, "G"]
    starts: Int64[np.ndarray, "G1"]
    items: Int64[np.ndarray, "N"]
    shares: Float64[np.ndarray, "N"] = field(repr=False)

    def retrieve(self, past: Past, k: int) -> Recommendations:
        source = self.source

        def score(events: Histories) -> tuple[Pairs, Float64[np.ndarray, "P"]]:
            keep = with_roles(past, events, source.touched) & (events.fields[source.by] != NONE)
            # The user's groups are pairs of user and group.
            of = Histories(
                events.users, events.starts, {**events.fields, "item": events.fields[source.by]}
            )
            liked, order, first = pairs_of(of, keep)
            age = (past.cutoff - np.asarray(events.fields["time"])[order]) / DAY
            taste = (
                np.add.reduceat(0.5 ** (age / source.taste_half_life), first)
                if len(first)
                else np.zeros(0)
            )
            best = np.lexsort((liked.items, -taste, liked.rows))
            turn = np.arange(len(best)) - liked.starts[liked.rows[best]]
            some = np.zeros(len(best), bool)
            some[best[turn < source.groups]] = True
            at = np.minimum(
                np.searchsorted(self.groups, liked.items), max(len(self.groups) - 1, 0)
            )
            some &= self.groups[at] == liked.items if len(self.groups) else False
            at, row, taste = at[some], liked.rows[some], taste[some]
            lengths = np.diff(self.starts)[at]
            _, places = spans(self.starts[:-1][at], lengths)
            row, value = np.repeat(row, lengths), np.repeat(taste, lengths) * self.shares[places]
            item = self.items[places]
            # An item is in one group, so a pair stands here once.
            order = np.lexsort((item, row))
            starts = np.searchsorted(row[order], np.arange(len(events) + 1)).astype(np.int64)
            return Pairs(events.users, starts, item[order]), value[order]

        return each_block(past, (source.by,), k, score)


def counted(
    past: Past, roles: tuple[str, ...], half_life: int | float
) -> tuple[Int64[np.ndarray, "V"], Float64[np.ndarray, "V"]]:
    """Items, sorted, and their decayed numbers of events."""
    rows = past.log.rows(("item", "time"), roles=tuple(map(Role, roles)), ordered=False)
    there = rows["item"] != NONE
    items, place = np.unique(rows["item"][there], return_inverse=True)
    return items, np.bincount(
        place.ravel(), decayed(past, rows["time"][there], half_life), len(items)
    ).astype(np.float64)


def decayed(
    past: Past, time: Int64[np.ndarray, "L"], half_life: int | float
) -> Float64[np.ndarray, "L"]:
    """What an event counts, in whole parts of 2⁻³⁰: such numbers add up the same in any order, and that of rows is open."""
    return np.round(0.5 ** ((past.cutoff - time) / DAY / half_life) * 2**30) / 2**30
