"""Co-visitation: items that the same users had soon after one another."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Int64
from scipy import sparse

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.recommenders.blocks import best, blocks, together, with_roles


@dataclass(frozen=True, kw_only=True, slots=True)
class CoVisits:
    """Items that followed the user's items, weighed by how near in time, for his newest `length` items.

    Counted: each event with a role of `first` and each of the `after` next events of the same user, at most `days` later, with a role of
    `then` and about another item; one such pair counts 1 / (1 + days between), over the square root of both items' numbers of events. An
    item keeps its `neighbours` best. A user's score: the sum over his newest items with a role of `first`, each half as much `half_life`
    days before the cutoff. `both_ways`: what came before counts too. Source: the winners of OTTO (2022), H&M (2022).
    """

    first: tuple[str, ...] = ("buy",)
    then: tuple[str, ...] = ("buy",)
    days: int | float = 14
    after: int = 30
    neighbours: int = 40
    length: int = 50
    half_life: int | float = 14
    both_ways: bool = True

    def __post_init__(self) -> None:
        wrong = [r for r in (*self.first, *self.then) if r not in list(Role)]
        faults = (
            [f"roles: found {', '.join(wrong)}, expected some of {', '.join(Role)}"]
            if wrong
            else []
        )
        faults += [
            f"{n}: found {getattr(self, n)}, expected a number above 0"
            for n in ("days", "after", "neighbours", "length", "half_life")
            if not getattr(self, n) > 0
        ]
        if faults:
            raise ConfigError("; ".join(faults))

    def fit(
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "FittedCoVisits":
        asked = past.histories(("item", "time", "kind"))
        items = np.unique(
            np.concatenate(
                [
                    np.zeros(0, np.int64),
                    *(np.unique(e.fields["item"][with_roles(past, e, ())]) for e in blocks(asked)),
                ]
            )
        )
        total = sparse.csr_matrix((len(items), len(items)), dtype=np.float32)
        counts = np.zeros(len(items))
        done = 0
        for events in blocks(asked):
            progress("co-visits", done, len(asked))
            done += len(events)
            at = np.flatnonzero(with_roles(past, events, (*self.first, *self.then)))
            row = np.searchsorted(events.starts, at, side="right") - 1
            item = np.searchsorted(items, np.asarray(events.fields["item"])[at])
            time = np.asarray(events.fields["time"])[at] / DAY
            one, two = (
                np.isin(events.fields["kind"][at], past.log.manifest.codes(*map(Role, r)))
                for r in (self.first, self.then)
            )
            counts += np.bincount(item, minlength=len(items))
            for lag in range(1, min(self.after, max(len(at) - 1, 0)) + 1):
                some = (
                    (row[lag:] == row[:-lag])
                    & (time[lag:] - time[:-lag] <= self.days)
                    & (item[lag:] != item[:-lag])
                )
                early, late = np.flatnonzero(some), np.flatnonzero(some) + lag
                weight = np.round(
                    2**16 / (1 + time[late] - time[early])
                )  # whole numbers add up the same in any order
                for a, b in ((early, late), (late, early)) if self.both_ways else ((early, late),):
                    ok = one[a] & two[b]
                    total = total + sparse.csr_matrix(
                        (weight[ok], (item[a[ok]], item[b[ok]])), total.shape
                    )
        rows = np.repeat(np.arange(len(items)), np.diff(total.indptr))
        value = total.data / 2**16 / np.sqrt(np.maximum(counts[rows] * counts[total.indices], 1))
        order = np.lexsort((total.indices, -value, rows))
        order = order[np.arange(len(order)) - total.indptr[rows[order]] < self.neighbours]
        near = sparse.csr_matrix((value[order], (rows[order], total.indices[order])), total.shape)
        return FittedCoVisits(self, items, near)


@dataclass(frozen=True, slots=True)
class FittedCoVisits:
    """Each item's neighbours."""

    source: CoVisits
    items: Int64[np.ndarray, "V"]
    near: sparse.csr_matrix = field(repr=False)

    def retrieve(self, past: Past, k: int) -> Recommendations:
        s = self.source

        found = []
        for events in blocks(past.histories(("item", "time", "kind"))):
            keep = with_roles(past, events, s.first) & np.isin(events.fields["item"], self.items)
            newest = events.where(keep).last(s.length)
            row = np.repeat(np.arange(len(newest)), newest.lengths)
            place = np.searchsorted(self.items, newest.fields["item"])
            weight = 0.5 ** ((past.cutoff - np.asarray(newest.fields["time"])) / DAY / s.half_life)
            users = sparse.csr_matrix((weight, (row, place)), (len(newest), len(self.items)))
            found.append(best(events.users, partial(self._of, users), self.items, k))
        return together(past.users, found, k)

    def _of(self, users: sparse.csr_matrix, some: slice) -> sparse.csr_matrix:
        return (users[some] @ self.near).tocsr()
