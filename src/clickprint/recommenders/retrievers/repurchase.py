"""Buying again: how likely a user's item is bought within the next days, by how often he had it and how far he is in its cycle."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.histories import Histories
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.recommenders.blocks import blocks, each_block, pairs_of, with_roles
from clickprint.recommenders.pairs import Pairs

TIMES = np.array([2, 3, 4, 6, 10, 20])  # edges of how often the pair was bought
TURNS = np.arange(-5.0, 3.5, 0.5)  # edges of log2(days since the last time / cycle)
AGES = np.array([1.0, 2, 4, 7, 14, 28, 56, 112])  # edges of days since the last time
RATES = 5  # classes of items by how often they are bought again
PRIOR = 20.0  # pairs that a cell is drawn towards the mean of its row with


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """The chance that a pair is bought within `days` days, read from a table that was counted at earlier cutoffs.

    The cycle of a pair is the mean of log gaps between its purchases (by day), drawn to that of the item, which is drawn to that of its
    category (where the log has the attribute `by`) and of all. The table has a cell for how often, for days since the last time over the
    cycle, for those days, and for the item's class by its rate of repeats; it is counted at `cuts` cutoffs, each `days` before the next.
    """

    days: int = 3
    by: str = "category"
    cuts: int = 4

    def __post_init__(self) -> None:
        if self.days < 1 or self.cuts < 1:
            raise ConfigError(
                f"days and cuts: found {self.days} and {self.cuts}, expected at least 1"
            )

    def fit(
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "FittedAgain":
        cycles = Cycles.of(past, self.by)
        cells = np.zeros((2, len(TIMES) + 1, len(TURNS) + 1, len(AGES) + 1, RATES))
        fields = ("item", "time", "kind", *cycles.fields)
        for cut in range(1, self.cuts + 1):
            at = past.cutoff - cut * self.days * DAY
            progress("buying again", cut - 1, self.cuts)
            for events in blocks(past.histories(fields)):
                bought = with_roles(past, events, ("buy",))
                time = np.asarray(events.fields["time"])
                pairs, cell = cycles.cells(events, bought & (time < at), at)
                if not len(pairs):
                    continue
                later, *_ = pairs_of(events, bought & (time >= at) & (time < at + self.days * DAY))
                hit = _in(pairs, later)
                for n, weight in enumerate((None, hit)):
                    np.add.at(cells[n], cell, 1 if weight is None else weight)
        seen, hits = cells
        mean = hits.sum() / max(seen.sum(), 1)
        rough = (hits.sum((1, 2)) + PRIOR * mean) / (
            seen.sum((1, 2)) + PRIOR
        )  # by how often and class
        propensity = (hits + PRIOR * rough[:, None, None, :]) / (seen + PRIOR)
        return FittedAgain(cycles, propensity)


@dataclass(frozen=True, slots=True)
class Cycles:
    """Of each item bought before: its mean log2 gap in days, and its class by the rate of repeats."""

    by: str
    items: Int64[np.ndarray, "V"]
    gap: Float64[np.ndarray, "V"]
    rate: Int64[np.ndarray, "V"]
    fields: tuple[str, ...] = field(default=())

    @staticmethod
    def of(past: Past, by: str) -> "Cycles":
        """Counted over all purchases before the cutoff."""
        fields = (by,) if by in past.log.manifest.attributes else ()
        parts = []
        for events in blocks(past.histories(("item", "time", "kind", *fields))):
            _, order, first = pairs_of(events, with_roles(past, events, ("buy",)))
            day = np.asarray(events.fields["time"])[order] // DAY
            same = np.ones(len(order), bool)
            same[first] = False
            same[same] = np.diff(day, prepend=-1)[same] > 0  # once a day
            item = np.asarray(events.fields["item"])[order]
            group = (
                np.asarray(events.fields[by])[order] if fields else np.zeros(len(order), np.int64)
            )
            parts.append(
                (
                    item,
                    np.where(same, np.log2(np.maximum(np.diff(day, prepend=0), 1)), 0.0),
                    same,
                    group,
                )
            )
        item, gap, same, group = (
            (np.concatenate(p) for p in zip(*parts, strict=True))
            if parts
            else (np.zeros(0, np.int64),) * 4
        )
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
        return Cycles(by, items, mean, np.searchsorted(edges, rate), fields)

    def cells(
        self, events: Histories, keep: np.ndarray, at: int
    ) -> tuple[Pairs, tuple[np.ndarray, ...]]:
        """The pairs of the kept events, and the cell of each in the table, as at the time `at`."""
        pairs, order, first = pairs_of(events, keep)
        if not len(pairs):
            return pairs, tuple(np.zeros(0, np.int64) for _ in range(4))
        day = np.asarray(events.fields["time"])[order] // DAY
        times = np.add.reduceat(
            np.append(1, np.diff(day) > 0) | np.isin(np.arange(len(day)), first), first
        )
        last, start = np.maximum.reduceat(day, first), np.minimum.reduceat(day, first)
        place = np.minimum(np.searchsorted(self.items, pairs.items), len(self.items) - 1)
        own = np.log2(np.maximum(last - start, 1) / np.maximum(times - 1, 1))
        gap = (np.where(times > 1, own * (times - 1), 0) + 2 * self.gap[place]) / (
            np.maximum(times - 1, 0) + 2
        )
        days = np.maximum(at / DAY - last, 0.5)
        cell = (
            np.searchsorted(TIMES, times, side="right"),
            np.searchsorted(TURNS, np.log2(days) - gap),
            np.searchsorted(AGES, days),
        )
        return pairs, (*cell, self.rate[place])


@dataclass(frozen=True, slots=True)
class FittedAgain:
    """The cycles and the table of chances."""

    cycles: Cycles
    propensity: Float64[np.ndarray, "T C A R"]

    def retrieve(self, past: Past, k: int) -> Recommendations:
        def score(events: Histories) -> tuple[Pairs, Float64[np.ndarray, "P"]]:
            keep = with_roles(past, events, ("buy",)) & np.isin(
                events.fields["item"], self.cycles.items
            )
            pairs, cell = self.cycles.cells(events, keep, past.cutoff)
            return pairs, self.propensity[cell]

        return each_block(past, self.cycles.fields, k, score)


def _in(pairs: Pairs, others: Pairs) -> np.ndarray:
    """Which pairs are also among others, of the same users."""
    known = np.unique(np.concatenate([pairs.items, others.items]))
    one = pairs.rows * len(known) + np.searchsorted(known, pairs.items)
    two = others.rows * len(known) + np.searchsorted(known, others.items)
    return np.isin(one, two, assume_unique=True)
