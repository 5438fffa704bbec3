"""Who had what, how much: a log as a sparse matrix, user × value, for encoders without order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from scipy import sparse

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.lookup import positions
from clickprint.core.past import Past
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import Allowed, ItemVectors
from clickprint.core.requests import Requests
from clickprint.core.time import DAY, Time
from clickprint.encoders.sequence import known_values
from clickprint.nn.topk import best

USERS = 65_536  # at a time
# What an event of a role counts. What is not named counts nothing: what was only shown, taken out
# again or sent back was not chosen.
WEIGHTS: Mapping[str, int | float] = MappingProxyType(
    {"click": 1, "view": 1, "search": 1, "like": 1, "cart": 1, "buy": 3, "other": 1}
)
Roles = tuple[Role, ...] | None  # of each kind of a log; None: they are not asked for


@dataclass(frozen=True, slots=True)
class EventWeights:
    """What an event counts: by its kind's role, and by how long before `now` it was.

    - `weights`: role → what one event counts.
    - `half_life`: in days, an event counts half as much that long before; 0 is none.
    - `roles`: of each kind; None: every event counts 1, whatever its kind.
    - `now`: a moment, or one for each history.
    """

    weights: Mapping[str, int | float]
    half_life: int | float
    roles: Roles
    now: Time | Int64[np.ndarray, "U"]

    @property
    def by_kind(self) -> Float64[np.ndarray, "K"]:
        return np.array([self.weights.get(r, 0) for r in self.roles or ()], np.float64)

    def of(self, histories: Histories) -> Float64[np.ndarray, "L"]:
        """What each event counts; one after now counts like one of now."""
        worth = np.ones(histories.events)
        if self.roles is not None:
            worth = self.by_kind[histories.fields["kind"]]
        if self.half_life:
            now = np.asarray(self.now)
            now = np.repeat(now, histories.lengths) if now.ndim else now
            ago = np.maximum(now - histories.fields["time"], 0)
            worth = worth * 0.5 ** (ago / (self.half_life * DAY))
        return worth

    def take(self, rows: Int64[np.ndarray, "N"]) -> "EventWeights":
        """For these histories alone."""
        now = np.asarray(self.now)
        return replace(self, now=now[rows]) if now.ndim else self


def problems(weights: Mapping[str, int | float]) -> Iterator[tuple[str, str]]:
    """What is wrong with weights of roles that are right one by one."""
    if weights and not any(weights.values()):
        yield "weights", "none is above 0, so nothing would count"


def fitted_problems(fitted: Any) -> Iterator[tuple[str, str]]:
    """What does not fit together in a fitted encoder of interactions (encoders.state.Agrees)."""
    known = fitted.values
    if (known[1:] <= known[:-1]).any() or (known == NONE).any():
        yield "values", "not sorted, twice the same, or one is nothing"
    if (width := fitted.vectors.shape[1]) != fitted.recipe.width:
        yield "vectors", f"found {width} columns, expected {fitted.recipe.width}"
    if bool(fitted.recipe.weights) != (fitted.roles is not None):
        yield "roles", "expected some where the recipe has weights, and none where not"


def fields(recipe: Any) -> tuple[str, ...]:
    """The fields of histories that an encoder of interactions reads."""
    return (
        recipe.column,
        *(("kind",) if recipe.weights else ()),
        *(("time",) if recipe.half_life else ()),
    )


def roles_of(recipe: Any, past: Past) -> Roles:
    """The roles of the log's kinds; None where every event counts 1, so that no log is needed."""
    return tuple(k.role for k in past.log.manifest.kinds) if recipe.weights else None


def weights_at_fit(recipe: Any, past: Past, histories: Histories) -> EventWeights:
    """Now is the histories' cutoff, or else the time of their last event."""
    now = histories.cutoff
    if now is None:
        now = int(histories.fields["time"].max(initial=0)) if recipe.half_life else 0
    return EventWeights(recipe.weights, recipe.half_life, roles_of(recipe, past), now)


def learned(
    histories: Histories, recipe: Any, weighing: EventWeights, where: str
) -> Int64[np.ndarray, "V"]:
    """The column's values with enough events that count, sorted.

    Raises ConfigError for a column of numbers, DataError where no value has enough.
    """
    values = histories.ragged(recipe.column).values
    if values.dtype.kind != "i":
        raise ConfigError(
            f"{where}: column {recipe.column!r} holds numbers, expected ids, categories or buckets"
        )
    if weighing.roles is not None:
        values = values[(weighing.by_kind > 0)[histories.fields["kind"]]]
    known = known_values(values.astype(np.int64), recipe.min_count)
    if not len(known):
        raise DataError(
            where,
            f"no value of {recipe.column!r} has {recipe.min_count} or more events that count,"
            " so there is nothing to learn",
        )
    return known


def matrix(
    histories: Histories,
    places: Callable[[Histories], Int64[np.ndarray, "L"]],
    width: int,
    weighing: EventWeights,
) -> sparse.csr_matrix:
    """Row u, column i: the sum of what the user's events of place i count, float32.

    No entry where that is 0; a place below 0 is none. A row depends on its own user's events
    alone. Memory: the pairs, and the events of USERS users.
    """

    def part(some: Histories, weighing: EventWeights) -> sparse.csr_matrix:
        place, worth = places(some), weighing.of(some)
        counts = (place >= 0) & (worth > 0)
        row = np.repeat(np.arange(len(some)), some.lengths)[counts]
        found = (
            sparse.coo_matrix((worth[counts], (row, place[counts])), (len(some), width))
            .tocsr()
            .astype(np.float32)
        )
        found.eliminate_zeros()  # what is halved a thousand times is no number above 0 any more
        return found

    made = [
        part(histories.take(rows), weighing.take(rows))
        for start in range(0, len(histories), USERS)
        for rows in (np.arange(start, min(start + USERS, len(histories))),)
    ]
    return sparse.vstack(made, "csr") if made else sparse.csr_matrix((0, width), dtype=np.float32)


class RanksItems:
    """What a fitted encoder of interactions adds where the column that it learned is items.

    It has `user_vectors` and `item_vectors`.
    """

    __slots__ = ()

    def user_vectors(self, requests: Requests) -> Float32[np.ndarray, "B D"]:
        raise NotImplementedError

    def item_vectors(self) -> ItemVectors:
        """The vectors whose products with a user's rank the items."""
        raise NotImplementedError

    @property
    def items(self) -> Int64[np.ndarray, "V"]:
        """The items that were learned."""
        return self.item_vectors().items

    def recommend(
        self,
        requests: Requests,
        k: int,
        *,
        include_seen: bool = True,
        allowed: Allowed = None,
    ) -> Recommendations:
        """The k items of the largest product with each user's vector; see core.recommender."""
        items, vectors = self.item_vectors()
        histories = requests.histories
        had = Ragged(histories.starts, positions(items, histories.fields["item"]) + 1)
        found, scores = best(
            torch.from_numpy(self.user_vectors(requests)),
            torch.from_numpy(np.pad(vectors, ((1, 0), (0, 0)))),
            k,
            None if include_seen else had,
            allowed,
        )
        return Recommendations(requests.users, np.append(NONE, items)[found], scores)


def weights_of(fitted: Any, requests: Requests) -> EventWeights:
    """What events of requests count: by the roles known at fit, until each asks.

    Where neither the requests nor their histories say when, until the time of `fit`.
    """
    now: Any = fitted.now
    if requests.time is not None:
        now = requests.time
    elif requests.histories.cutoff is not None:
        now = requests.histories.cutoff
    return EventWeights(fitted.recipe.weights, fitted.recipe.half_life, fitted.roles, now)
