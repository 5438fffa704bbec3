"""What ranks items without a network: the bars that every model has to beat. Each is fitted on histories and recommends from histories.

A bar's name stands in BARS and its module is imported when asked for. Fitting those of this file counts; nothing is drawn at random.
Scores are of the whole catalogue that was in the histories.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy import sparse

from clickprint.core.errors import ConfigError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.encoders import of_options
from clickprint.encoders.sequence import items_only, known_values, number
from clickprint.nn.topk import CELLS, top

LARGEST = 40_000  # items whose square of numbers EASE may hold: 6.4 GB, and about four times that while it is fitted
# A bar has fit(histories, watch=…); one that draws at random has fit_histories(histories, rng=…, watch=…) instead.
BASELINES = {
    "popularity": "clickprint.recommenders.baselines:Popularity",
    "own-items": "clickprint.recommenders.baselines:OwnItems",
    "item-knn": "clickprint.recommenders.baselines:ItemKNN",
    "ease": "clickprint.recommenders.baselines:EASE",
    "als": "clickprint.encoders.als:ALS",
    "twhin": "clickprint.encoders.graph:TwHIN",
}


@runtime_checkable
class Ranks(Protocol):
    """What ranks the items it learned, for any histories: a fitted bar, or a fitted next-item network."""

    def recommend(self, histories: Histories, k: int, *, seen: bool = True) -> Recommendations: ...


def baseline(name: str, options: Mapping[str, Any]) -> Any:
    """The bar of this name with these options, given as TOML has them. Raises ConfigError."""
    return of_options(baseline_class(name), options)


def baseline_class(name: str) -> Any:
    """The frozen dataclass of this name. Raises ConfigError for one that is not known."""
    if name not in BASELINES:
        raise ConfigError(
            f"found no baseline {name!r}, expected one of {', '.join(sorted(BASELINES))}"
        )
    module, _, attribute = BASELINES[name].partition(":")
    return getattr(import_module(module), attribute)


def drawn(kind: Any) -> bool:
    """Whether a bar (or its class) draws at random, so that seeds differ."""
    return hasattr(kind, "fit_histories")


def fit_baseline(
    made: Any, histories: Histories, *, rng: RNG, progress: Progress = silent
) -> Ranks:
    """The bar fitted on histories, in which every event counts."""
    fitted: Ranks = (
        made.fit_histories(histories, rng=rng, progress=progress)
        if drawn(made)
        else made.fit(histories, progress=progress)
    )
    return fitted


@dataclass(frozen=True, slots=True)
class FittedBaseline:
    """Known items (number i + 1 is items[i]) and the scores of some histories' users: one column an item, column 0 nobody's."""

    items: Int64[np.ndarray, "V"]
    scores: Callable[[Histories, Int64[np.ndarray, "L"]], Float[np.ndarray, "U V1"]]

    def recommend(self, histories: Histories, k: int, *, seen: bool = True) -> Recommendations:
        """The k best items of each user. `seen`: items of the history may be given again."""
        events = items_only(histories)
        size = min(k, len(self.items))
        found, scores = (
            np.full((len(events), size), NONE, np.int64),
            np.full((len(events), size), -np.inf, np.float32),
        )
        names = np.append(NONE, self.items)
        many = max(CELLS // max(len(self.items), 1), 1)
        for start in range(0, len(events), many):
            rows = slice(start, start + many)
            some = events.take(np.arange(len(events))[rows])
            numbers = number(self.items, some.fields["item"])
            given, value = top(
                torch.from_numpy(np.ascontiguousarray(self.scores(some, numbers), np.float32)),
                size,
                None if seen else Ragged(some.starts, numbers),
            )
            found[rows], scores[rows] = names[given], value
        return Recommendations(events.users, found, scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class Popularity:
    """How often each item was had, by anybody; with `half_life` (days) an event counts half as much that long before the last one."""

    half_life: int | float = 0

    def __post_init__(self) -> None:
        if not 0 <= self.half_life < 36_500:
            raise ConfigError(
                f"half_life: found {self.half_life}, expected a number of days, 0 for none"
            )

    def fit(self, histories: Histories, *, progress: Progress = silent) -> FittedBaseline:
        items, counts = _counted(histories, self.half_life)
        return FittedBaseline(
            items, lambda some, _: np.broadcast_to(counts, (len(some), len(counts)))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnItems:
    """A user's own items, by how often ("frequency") or how lately ("recency") he had them, then the popular ones.

    The last basket and personal frequency of next-basket work. Where seen items may not be given this is popularity.
    """

    by: str = "frequency"

    def __post_init__(self) -> None:
        if self.by not in ("frequency", "recency"):
            raise ConfigError(f"by: found {self.by!r}, expected 'frequency' or 'recency'")

    def fit(self, histories: Histories, *, progress: Progress = silent) -> FittedBaseline:
        items, counts = _counted(histories, 0)
        rest = counts / (
            2 * max(counts.max(initial=0), 1)
        )  # below any own item, which counts 1 or more

        def scores(some: Histories, numbers: Int64[np.ndarray, "L"]) -> Float[np.ndarray, "U V1"]:
            out = np.tile(rest, (len(some), 1))
            row = np.repeat(np.arange(len(some)), some.lengths)
            if self.by == "frequency":
                np.add.at(out, (row, numbers), 1)
            else:
                place = np.arange(some.events) - np.repeat(some.starts[:-1], some.lengths)
                np.maximum.at(out, (row, numbers), 1.0 + place)
            return out

        return FittedBaseline(items, scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemKNN:
    """Each item's nearest others by the cosine of who had them, over shrink; a user's score is the sum over his items.

    Who had an item twice had it once. Source: Sarwar et al. 2001; the shrink of Koren & Bell.
    """

    neighbours: int = 100
    shrink: int | float = 10

    def __post_init__(self) -> None:
        faults = (
            [f"neighbours: found {self.neighbours}, expected at least 1"]
            if self.neighbours < 1
            else []
        )
        faults += (
            [f"shrink: found {self.shrink}, expected a number from 0"]
            if not 0 <= self.shrink < float("inf")
            else []
        )
        if faults:
            raise ConfigError("; ".join(faults))

    def fit(self, histories: Histories, *, progress: Progress = silent) -> FittedBaseline:
        items, had = _had(histories)
        alone = np.asarray(had.sum(0), np.float32).ravel()
        # At most so many pairs an item has; so many items at a time that one user's million items are no square in memory.
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
            parts.append(_keep(together, self.neighbours))
        near = sparse.vstack(parts, "csr")
        return FittedBaseline(
            items,
            lambda some, numbers: (_user_items(some, numbers, near.shape[0]) @ near).toarray(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EASE:
    """The linear model item ← items with a zero diagonal, in closed form. Steck, WWW 2019. Holds V × V numbers; refuses too many items."""

    penalty: int | float = 250

    def __post_init__(self) -> None:
        if not 0 < self.penalty < float("inf"):
            raise ConfigError(f"penalty: found {self.penalty}, expected a number above 0")

    def fit(self, histories: Histories, *, progress: Progress = silent) -> FittedBaseline:
        items, had = _had(histories)
        if len(items) > LARGEST:
            raise ConfigError(
                f"EASE holds a square of items: found {len(items):,}, expected at most {LARGEST:,}; raise history.least"
            )
        gram = torch.from_numpy((had.T @ had).toarray()[1:, 1:].astype(np.float32))
        gram.diagonal().add_(self.penalty)
        gram = torch.linalg.cholesky(gram)
        weights = torch.cholesky_inverse(gram)
        del gram
        weights.div_(-weights.diagonal().clone())
        weights.diagonal().zero_()
        full = np.zeros((len(items) + 1, len(items) + 1), np.float32)
        full[1:, 1:] = weights.numpy()
        return FittedBaseline(
            items, lambda some, numbers: _user_items(some, numbers, len(full)) @ full
        )


def _counted(
    histories: Histories, half_life: int | float
) -> tuple[Int64[np.ndarray, "V"], Float[np.ndarray, "V1"]]:
    events = items_only(histories)
    items = known_values(events.fields["item"])
    weights = None
    if half_life:
        time = events.fields["time"]
        weights = 0.5 ** ((time.max(initial=0) - time) / (half_life * DAY))
    return items, np.bincount(
        number(items, events.fields["item"]), weights, len(items) + 1
    ).astype(np.float64)


def _had(histories: Histories) -> tuple[Int64[np.ndarray, "V"], sparse.csr_matrix]:
    """Items, and who had which (1, however often); column 0 is empty."""
    events = items_only(histories)
    items = known_values(events.fields["item"])
    return items, _user_items(events, number(items, events.fields["item"]), len(items) + 1)


def _user_items(some: Histories, numbers: Int64[np.ndarray, "L"], width: int) -> sparse.csr_matrix:
    found = sparse.csr_matrix(
        (np.ones(len(numbers), np.float32), numbers, some.starts), (len(some), width)
    )
    found.sum_duplicates()
    found.data[:] = 1
    if width:
        found = found.multiply(
            sparse.csr_matrix(np.append(0, np.ones(width - 1, np.float32)))
        ).tocsr()
    return found


def _keep(matrix: sparse.csr_matrix, many: int) -> sparse.csr_matrix:
    """The `many` largest of each row; equal ones: the smaller column first."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    turn = np.arange(len(order)) - matrix.indptr[rows[order]]
    kept = order[turn < many]
    return sparse.csr_matrix((matrix.data[kept], (rows[kept], matrix.indices[kept])), matrix.shape)
