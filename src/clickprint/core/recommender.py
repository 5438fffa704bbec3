"""The promises of everything that recommends or ranks.

Encoders, baselines, next-basket methods, retrievers, generators and rankers keep them. What a
fitted thing can do is asked by these protocols, never by its class or its name.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64

from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session

# Which items may be recommended, to everybody or to each request; None: all of them.
Allowed = Bool[np.ndarray, "V"] | Bool[np.ndarray, "B V"] | None


@runtime_checkable
class Recommender(Protocol):
    """A fitted thing that recommends items. It reads requests and nothing else."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the histories of a request must have."""
        ...

    @property
    def items(self) -> Int64[np.ndarray, "V"]:
        """What it may recommend: sorted, each once."""
        ...

    def recommend(
        self,
        requests: Requests,
        k: int,
        *,
        include_seen: bool = True,
        allowed: Allowed = None,
    ) -> Recommendations:
        """The k best items for each request, best first; equal scores: the smaller item first.

        - `include_seen`: whether items of the user's own history may be recommended.
        - `allowed`: which of `items` may be recommended, to everyone or to each request; None
          means all of them.

        A list is shorter where fewer items are left.
        """
        ...


@runtime_checkable
class Ranker(Protocol):
    """A fitted thing that orders the candidates of a request."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the histories of a request must have."""
        ...

    def rank(self, requests: Requests) -> Ragged:
        """A score for each of `requests.candidates`, higher is better.

        Raises DataError without candidates.
        """
        ...


class ItemVectors(NamedTuple):
    """Items, sorted, and a vector for each; products with a user's vector rank them."""

    items: Int64[np.ndarray, "V"]
    vectors: Float32[np.ndarray, "V D"]


@runtime_checkable
class HasItemVectors(Protocol):
    """A fitted thing that compares users and items by vectors, as an index of neighbours asks."""

    def item_vectors(self) -> ItemVectors: ...


@runtime_checkable
class Recommends(Protocol):
    """A recipe whose fitted form is a Recommender.

    A baseline, a retriever, a next-basket method, an encoder of next items.
    """

    @property
    def recommends(self) -> bool:
        """Whether what it learns ranks items; False for an encoder that was given another loss."""
        ...

    @property
    def stochastic(self) -> bool:
        """Whether seeds differ."""
        ...

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> Recommender: ...
