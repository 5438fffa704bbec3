"""Who had what, how much: a log as a sparse matrix, user × value, for encoders that know no order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from scipy import sparse

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.past import Past
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.time import DAY, Time
from clickprint.encoders.sequence import known_values, number
from clickprint.nn.next_item import best

USERS = 65_536  # at a time
# What an event of a role counts. What is not named counts nothing: what was only shown, taken out again or sent back was not chosen.
WEIGHTS: Mapping[str, int | float] = MappingProxyType(
    {"click": 1, "view": 1, "search": 1, "like": 1, "cart": 1, "buy": 3, "other": 1}
)


@dataclass(frozen=True, slots=True)
class EventWeights:
    """What an event counts: by its kind's role (`kinds` of the log; None: every event counts 1), and by how long before `now` it was.

    With a half-life (days) an event counts half as much that long before; 0 is none.
    """

    weights: Mapping[str, int | float]
    half_life: int | float
    kinds: tuple[Kind, ...] | None
    now: Time

    @staticmethod
    def faults(weights: Mapping[str, int | float], half_life: int | float) -> list[str]:
        """What is wrong with these options of an encoder, a sentence each."""
        roles = [r.value for r in Role]
        wrong = [
            f"weights: found the role {r!r}, expected some of {', '.join(roles)}"
            for r in weights
            if r not in roles
        ]
        wrong += [
            f"weights.{r}: found {w}, expected 0 to 1,000,000"
            for r, w in weights.items()
            if not 0 <= w <= 1_000_000
        ]
        wrong += (
            ["weights: none is above 0, so nothing would count"]
            if not wrong and not any(weights.values())
            else []
        )
        wrong += (
            [f"half_life: found {half_life}, expected a number of days, 0 for none"]
            if not 0 <= half_life < 36_500
            else []
        )
        return wrong

    @staticmethod
    def in_past(
        weights: Mapping[str, int | float], half_life: int | float, past: Past
    ) -> "EventWeights":
        return EventWeights(weights, half_life, past.log.manifest.kinds, past.cutoff)

    @staticmethod
    def in_histories(half_life: int | float, histories: Histories) -> "EventWeights":
        """Histories do not say what their kinds mean. Now is their cutoff, or else the time of their last event."""
        last = int(histories.fields["time"].max(initial=0)) if "time" in histories.fields else 0
        return EventWeights(
            {}, half_life, None, last if histories.cutoff is None else histories.cutoff
        )

    @property
    def by_kind(self) -> Float64[np.ndarray, "K"]:
        return np.array([self.weights.get(k.role, 0) for k in self.kinds or ()], np.float64)

    def of(self, some: Histories) -> Float64[np.ndarray, "L"]:
        """What each event counts; one after now counts like one of now."""
        worth = np.ones(some.events) if self.kinds is None else self.by_kind[some.fields["kind"]]
        if self.half_life:
            worth = worth * 0.5 ** (
                np.maximum(self.now - some.fields["time"], 0) / (self.half_life * DAY)
            )
        return worth


def fields(column: str, half_life: int | float) -> tuple[str, ...]:
    """The fields of a past's histories that are needed."""
    return (column, "kind", "time") if half_life else (column, "kind")


def learned(
    histories: Histories, column: str, weighing: EventWeights, least: int, where: str
) -> Int64[np.ndarray, "V"]:
    """A column's values with at least so many events that count, sorted. Raises ConfigError for a column of numbers, DataError for none."""
    values = histories.ragged(column).values
    if values.dtype.kind != "i":
        raise ConfigError(
            f"{where}: column {column!r} holds numbers, expected ids, categories or buckets"
        )
    if weighing.kinds is not None:
        values = values[(weighing.by_kind > 0)[histories.fields["kind"]]]
    known = known_values(values.astype(np.int64), least)
    if not len(known):
        raise DataError(
            where,
            [
                f"no value of {column!r} has {least} or more events that count, so there is nothing to learn"
            ],
        )
    return known


def matrix(
    histories: Histories,
    places: Callable[[Histories], Int64[np.ndarray, "L"]],
    width: int,
    weighing: EventWeights,
) -> sparse.csr_matrix:
    """Row u, column i: the sum of what the user's events of place i count, float32; no entry where that is 0. A place below 0 is none.

    A row depends on its own user's events alone. Memory: the pairs, and the events of USERS users.
    """

    def part(some: Histories) -> sparse.csr_matrix:
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
        part(histories.take(np.arange(start, min(start + USERS, len(histories)))))
        for start in range(0, len(histories), USERS)
    ]
    return sparse.vstack(made, "csr") if made else sparse.csr_matrix((0, width), dtype=np.float32)


def ranked(
    histories: Histories,
    states: Float32[np.ndarray, "U D"],
    items: Int64[np.ndarray, "V"],
    vectors: Float32[np.ndarray, "V D"],
    k: int,
    *,
    seen: bool,
) -> Recommendations:
    """The k items of the largest product with each user's vector; equal ones: the smaller id. `seen`: items of the history may be given."""
    had = Ragged(histories.starts, number(items, histories.fields["item"]))
    found, scores = best(
        torch.from_numpy(states),
        torch.from_numpy(np.pad(vectors, ((1, 0), (0, 0)))),
        k,
        None if seen else had,
    )
    return Recommendations(histories.users, np.append(NONE, items)[found], scores)
