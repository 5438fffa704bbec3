"""Requests: who asks for recommendations, from which history, when, and on which page."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Int64, Shaped

from clickprint.core.errors import DataError
from clickprint.core.histories import Histories
from clickprint.core.ragged import Ragged


@dataclass(frozen=True, slots=True)
class Requests:
    """B users who ask for items, and what is known of the page that each will see.

    - `histories`: what each user did before; row b is request b.
    - `time`: when each asks, microseconds since 1970 UTC; None means the cutoff of the histories.
    - `context`: facts about the coming page (scenario, city, device, store, query, …), a row a
      request; a name that is absent is unknown.
    - `candidates`: the items to be ranked for each request, where they are given.

    Raises DataError where a part does not have a row a request.
    """

    histories: Histories
    time: Int64[np.ndarray, "B"] | None = None
    context: Mapping[str, Shaped[np.ndarray, "B ..."]] = field(default_factory=dict)
    candidates: Ragged | None = None

    def __post_init__(self) -> None:
        sizes = {f"context.{name}": len(values) for name, values in self.context.items()}
        sizes |= {} if self.time is None else {"time": len(self.time)}
        sizes |= {} if self.candidates is None else {"candidates": len(self.candidates)}
        if faults := [
            f"{name}: found {size} rows, expected {len(self)}, one a request"
            for name, size in sizes.items()
            if size != len(self)
        ]:
            raise DataError("requests", faults)

    def __len__(self) -> int:
        return len(self.histories)

    @property
    def users(self) -> Int64[np.ndarray, "B"]:
        return self.histories.users

    @property
    def times(self) -> Int64[np.ndarray, "B"]:
        """When each user asks: `time`, or else the cutoff.

        Raises DataError where neither is known.
        """
        if self.time is not None:
            return self.time
        if self.histories.cutoff is None:
            raise DataError("requests", "no time, and histories that were not cut")
        return np.full(len(self), self.histories.cutoff, np.int64)

    def take(self, rows: Int64[np.ndarray, "N"]) -> "Requests":
        """These requests, in this order."""
        return replace(
            self,
            histories=self.histories.take(rows),
            time=None if self.time is None else self.time[rows],
            context={name: values[rows] for name, values in self.context.items()},
            candidates=None if self.candidates is None else self.candidates.take(rows),
        )
