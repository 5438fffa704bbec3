"""Buying again: how likely a user's item is bought within the next days.

It asks how often the user bought the item, and how far they are in its cycle.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.lookup import among, positions
from clickprint.core.options import Between, check
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY, Time
from clickprint.recommenders.blocks import (
    Counted,
    FittedPairs,
    ReadsLog,
    asked_at,
    blocks,
    end_of,
    pairs_of,
)
from clickprint.recommenders.pairs import Pairs, match

TIMES = np.array([2, 3, 4, 6, 10, 20])  # edges of how often the pair was bought
TURNS = np.arange(-5.0, 3.5, 0.5)  # edges of log2(days since the last time / cycle)
AGES = np.array([1.0, 2, 4, 7, 14, 28, 56, 112])  # edges of days since the last time
RATES = 5  # classes of items by how often they are bought again
PRIOR = 20.0  # pairs that a cell is drawn towards the mean of its row with


@dataclass(frozen=True, kw_only=True, slots=True)
class Repurchase(ReadsLog):
    """The propensity that a pair is bought again, read from a table counted at earlier cutoffs.

    - `days`: how many days ahead is asked.
    - `by`: the attribute of the catalogue that groups items, where the log has it.
    - `cuts`: how many earlier cutoffs, each `days` before the next, the table is counted at.

    The cycle of a pair is the mean of log gaps between its purchases (by day), drawn towards that
    of the item, which is drawn towards that of its group and of all. The table has a cell for how
    often, for days since the last time over the cycle, for those days, and for the item's class by
    its rate of repeats.
    """

    days: Annotated[int, Between(1, 36_500)] = 3
    by: str = "category"
    cuts: Annotated[int, Between(1, 1_000)] = 4

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedPairs:
        counted = Counted.of(past, (Role.BUY,))
        by = (self.by,) if self.by in past.log.manifest.attributes else ()
        asked = past.histories((*counted.fields, *by))
        cycles, now = Cycles.of(asked, counted, by), end_of(asked)
        cells = np.zeros((2, len(TIMES) + 1, len(TURNS) + 1, len(AGES) + 1, RATES))
        for cut in range(1, self.cuts + 1):
            at = now - cut * self.days * DAY
            progress("buying again", cut - 1, self.cuts)
            for events in blocks(asked):
                bought = counted(events)
                time = np.asarray(events.fields["time"])
                pairs, cell = cycles.cells(events, bought & (time < at), at)
                if not len(pairs):
                    continue
                later, *_ = pairs_of(events, bought & (time >= at) & (time < at + self.days * DAY))
                np.add.at(cells[0], cell, 1)
                np.add.at(cells[1], cell, match(later, pairs.rows, pairs.items) >= 0)
        seen, hits = cells
        mean = hits.sum() / max(seen.sum(), 1)
        # By how often and class alone.
        rough = (hits.sum((1, 2)) + PRIOR * mean) / (seen.sum((1, 2)) + PRIOR)
        propensity = (hits + PRIOR * rough[:, None, None, :]) / (seen + PRIOR)

        def score(requests: Requests) -> tuple[Pairs, Float64[np.ndarray, "P"]]:
            events = requests.histories
            keep = counted(events) & among(cycles.items, np.asarray(events.fields["item"]))
            pairs, cell = cycles.cells(events, keep, asked_at(requests, now))
            return pairs, propensity[cell]

        return FittedPairs(cycles.items, counted.fields, score)


@dataclass(frozen=True, slots=True)
class Cycles:
    """Of each item bought before: its mean log2 gap in days, and its class by rate of repeats."""

    items: Int64[np.ndarray, "V"]
    gap: Float64[np.ndarray, "V"]
    rate: Int64[np.ndarray, "V"]

    @staticmethod
    def of(asked: Histories, counted: Counted, by: tuple[str, ...]) -> "Cycles":
        """Counted over all purchases of the histories; `by` is the field that groups, if any."""
        none = np.zeros(0, np.int64)
        parts = [(none, np.zeros(0), np.zeros(0, bool), none)]
        for events in blocks(asked):
            _, order, first = pairs_of(events, counted(events))
            day = np.asarray(events.fields["time"])[order] // DAY
            same = np.ones(len(order), bool)
            same[first] = False
            same[same] = np.diff(day, prepend=-1)[same] > 0  # once a day
            gap = np.where(same, np.log2(np.maximum(np.diff(day, prepend=0), 1)), 0.0)
            group = np.zeros(len(order), np.int64)
            for name in by:
                group = np.asarray(events.fields[name])[order]
            parts.append((np.asarray(events.fields["item"])[order], gap, same, group))
        item, gap, same, group = (np.concatenate(p) for p in zip(*parts, strict=True))
        items, place = np.unique(item, return_inverse=True)
        groups, of_item = np.unique(group, return_inverse=True)
        counts = np.bincount(place, same, len(items))
        total = np.bincount(place, gap, len(items))
        belongs = np.zeros(len(items), np.int64)
        belongs[place] = of_item
        everywhere = total.sum() / max(counts.sum(), 1)
        in_group = (np.bincount(belongs, total, len(groups)) + 10 * everywhere) / (
            np.bincount(belongs, counts, len(groups)) + 10
        )
        mean = (total + 5 * in_group[belongs]) / (counts + 5) if len(items) else np.zeros(0)
        all_of = np.bincount(place, minlength=len(items))
        rate = (counts + 5 * counts.sum() / max(len(item), 1)) / (all_of + 5)
        edges = (
            np.quantile(rate, np.arange(1, RATES) / RATES) if len(rate) else np.zeros(RATES - 1)
        )
        return Cycles(items, mean, np.searchsorted(edges, rate))

    def cells(
        self, events: Histories, keep: Bool[np.ndarray, "L"], at: Time | Int64[np.ndarray, "L"]
    ) -> tuple[Pairs, tuple[Int64[np.ndarray, "P"], ...]]:
        """The pairs of the kept events, and the cell of each in the table, as at the time `at`."""
        pairs, order, first = pairs_of(events, keep)
        if not len(pairs):
            return pairs, tuple(np.zeros(0, np.int64) for _ in range(4))
        day = np.asarray(events.fields["time"])[order] // DAY
        times = np.add.reduceat(
            np.append(1, np.diff(day) > 0) | np.isin(np.arange(len(day)), first), first
        )
        last, start = np.maximum.reduceat(day, first), np.minimum.reduceat(day, first)
        place = np.maximum(positions(self.items, pairs.items), 0)
        own = np.log2(np.maximum(last - start, 1) / np.maximum(times - 1, 1))
        gap = (np.where(times > 1, own * (times - 1), 0) + 2 * self.gap[place]) / (
            np.maximum(times - 1, 0) + 2
        )
        now = at[order][first] if isinstance(at, np.ndarray) else at
        days = np.maximum(now / DAY - last, 0.5)
        cell = (
            np.searchsorted(TIMES, times, side="right"),
            np.searchsorted(TURNS, np.log2(days) - gap),
            np.searchsorted(AGES, days),
        )
        return pairs, (*cell, self.rate[place])
