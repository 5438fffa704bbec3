"""Items near to a user's vector: of the texts of their items, or of an encoder's space."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.options import Between, OneOf, check
from clickprint.core.past import Past
from clickprint.core.profiles import to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import HasItemVectors, Recommends
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.data.texts import item_vectors
from clickprint.encoders import encoder
from clickprint.recommenders.blocks import (
    Allowed,
    Choice,
    Counted,
    Positive,
    ReadsLog,
    Roles,
    best,
    blocks,
    end_of,
    newest_items,
    request_blocks,
    together,
)
from clickprint.recommenders.pairs import Pairs
from clickprint.recommenders.retrievers.sentences import sentence_vectors

USERS = 65_536  # as encoders read them, so that vectors are those of profiles to the byte
MANY = 200_000  # items from which `auto` searches a graph instead of all
LINKS, BUILD = 32, 80  # of the graph: links a node, how many are looked at while it is built
LOOK = 4  # times k that are looked at when it is asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest(ReadsLog):
    """Items whose vector is near (by cosine) to those of the user's newest items.

    - `roles`: which events count; without one all.
    - `length`: how many of the newest are taken.
    - `half_life`: days in which one comes to count half.
    - `sentences`: the folder or name of a model for the library sentence-transformers, which makes
      the vectors of the catalogue's texts; empty: the source's own vectors (Stokman's titles), or
      else latent semantic ones of texts and categories as known at the cutoff (data.texts).
    - `width`: axes of the latent semantic vectors.
    - `search`: "exact", "hnsw" (a graph, by faiss), or "auto": a graph from 200,000 items.
    """

    roles: Roles = (Role.VIEW, Role.CART, Role.LIKE, Role.BUY)
    length: Annotated[int, Between(1, 100_000)] = 20
    half_life: Positive = 14.0
    width: Annotated[int, Between(1, 65_536)] = 64
    search: Annotated[str, OneOf("auto", "exact", "hnsw")] = "auto"
    sentences: str = ""

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedSearch":
        """Raises ConfigError without vectors, texts or categories to make them of."""
        counted = Counted.of(past, self.roles)
        now = end_of(past.histories(counted.fields))
        items, vectors = self._vectors(past)
        vectors = np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        some = norm[:, 0] > 1e-6  # of the others nothing is said
        items, vectors = items[some], (vectors[some] / norm[some]).astype(np.float32)

        def states(requests: Requests) -> Float32[np.ndarray, "B D"]:
            row, place, age = newest_items(requests, counted, items, self.length, now)
            # The oldest still point somewhere.
            weight = np.maximum(0.5 ** (age / self.half_life), 1e-30)
            sums = np.zeros((len(requests), vectors.shape[1]))
            np.add.at(sums, row, weight[:, None] * vectors[place])
            norm = np.linalg.norm(sums, axis=1, keepdims=True)
            return (sums / np.where(norm > 0, norm, np.inf)).astype(np.float32)

        return FittedSearch(Search.of(items, vectors, self.search), counted.fields, states)

    def _vectors(self, past: Past) -> tuple[Int64[np.ndarray, "V"], Float32[np.ndarray, "V D"]]:
        catalogue = past.catalogue
        if self.sentences:
            return sentence_vectors(catalogue, self.sentences)
        given = getattr(past.log, "item_vectors", None)  # only logs of files bring any
        if given is not None:
            items, vectors = given
            listed = catalogue.table.column("item").to_numpy()
            had = [np.unique(some.fields["item"]) for some in blocks(past.histories(("item",)))]
            # What is not known yet is no candidate.
            there = np.isin(items, np.concatenate([listed, *had]))
            return np.asarray(items)[there].astype(np.int64), np.asarray(vectors, np.float32)[
                there
            ]
        if {AttributeType.TEXT, AttributeType.CATEGORY} & {*catalogue.attributes.values()}:
            return item_vectors(catalogue, self.width)
        raise ConfigError(
            "nearest: this log brings no item vectors, and its catalogue neither texts nor"
            " categories; leave the retriever out"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Items of the largest product with the user's profile, of an encoder fitted at each cutoff.

    - `encoder`: a name of ENCODERS whose fitted form has vectors of items.
    - `options`: its own options.
    - `search`: as of Nearest.
    """

    encoder: str = "als"
    options: Mapping[str, Any] = field(default_factory=dict)
    search: Annotated[str, OneOf("auto", "exact", "hnsw")] = "auto"

    def __post_init__(self) -> None:
        check(self, self._problems())

    def _problems(self) -> Iterator[tuple[str, str]]:
        try:
            self._encoder()
        except ConfigError as fault:
            yield "options", str(fault)

    def _encoder(self) -> Any:
        return encoder(self.encoder, **self.options)

    recommends: ClassVar[bool] = True
    needs_log: ClassVar[bool] = True

    @property
    def stochastic(self) -> bool:
        made = self._encoder()
        return isinstance(made, Recommends) and made.stochastic

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedSearch":
        """Raises ConfigError for an encoder that has no vectors of items."""
        fitted = self._encoder().fit(past, rng=rng, progress=progress, session=session)
        if not isinstance(fitted, OneSpace):
            raise ConfigError(
                f"encoder: {self.encoder!r} has no vectors of items; take one that ranks items"
            )
        search = Search.of(*fitted.item_vectors(), self.search)

        def states(requests: Requests) -> Float32[np.ndarray, "B D"]:
            # As of a profile, which holds half precision.
            return to_float16(fitted.user_vectors(requests)).astype(np.float32)

        return FittedSearch(search, fitted.fields, states, USERS)


@runtime_checkable
class OneSpace(HasItemVectors, Protocol):
    """A fitted encoder that has users and items in one space."""

    @property
    def fields(self) -> tuple[str, ...]: ...

    def user_vectors(self, requests: Requests) -> Float32[np.ndarray, "B D"]: ...


@dataclass(frozen=True, slots=True)
class FittedSearch:
    """A fitted thing that searches items by a vector of each user; nothing for zeros.

    `users`: how many are in memory at once; None: as many as have a block of events.
    """

    search: "Search"
    fields: tuple[str, ...]
    states: Callable[[Requests], Float32[np.ndarray, "B D"]]
    users: int | None = None

    @property
    def items(self) -> Int64[np.ndarray, "V"]:
        return self.search.items

    def recommend(
        self,
        requests: Requests,
        k: int,
        *,
        include_seen: bool = True,
        allowed: Allowed = None,
    ) -> Recommendations:
        """See core.recommender.Recommender."""
        found = [
            self.search(
                Choice.of(self.items, some, include_seen, allowed, rows), self.states(some), k
            )
            for rows, some in request_blocks(requests, self.users)
        ]
        return together(requests.users, found, min(k, len(self.items)))


@dataclass(frozen=True, slots=True)
class Search:
    """The items of the largest products with a vector.

    - "exact" looks at all.
    - "hnsw" walks a graph of near ones (Malkov & Yashunin 2018, by the library faiss, built by one
      thread so that it is the same each time), and orders what it found by exact products.
    """

    items: Int64[np.ndarray, "V"]
    vectors: Float32[np.ndarray, "V D"]
    graph: Any = None

    @staticmethod
    def of(
        items: Int64[np.ndarray, "V"], vectors: Float32[np.ndarray, "V D"], how: str
    ) -> "Search":
        """Raises ConfigError where faiss is asked for and missing."""
        if how == "exact" or (how == "auto" and len(items) < MANY) or not len(items):
            return Search(items, vectors)
        faiss = _faiss()
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            graph = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction = BUILD
            graph.add(np.ascontiguousarray(vectors))
        finally:
            faiss.omp_set_num_threads(threads)
        return Search(items, vectors, graph)

    def __call__(
        self, choice: Choice, states: Float32[np.ndarray, "U D"], k: int
    ) -> Recommendations:
        """The k best of each row, which stands for the user; nothing for a vector of zeros.

        Equal products: the smaller item first. Where items are left out all others are looked at.
        """
        size = min(k, len(self.items))
        asked = np.flatnonzero(np.any(states != 0, axis=1) & np.all(np.isfinite(states), axis=1))
        items = np.full((len(states), size), NONE, np.int64)
        scores = np.full((len(states), size), -np.inf, np.float32)
        if self.graph is not None and choice.everything:
            lists = self._graph(states[asked], k)
        else:
            some = choice.take(asked)
            lists = best(some, lambda rows: states[asked][rows] @ self.vectors.T, k, above=-np.inf)
        items[asked], scores[asked] = lists.items, lists.scores
        return Recommendations(np.arange(len(states)), items, scores)

    def _graph(self, states: Float32[np.ndarray, "U D"], k: int) -> Recommendations:
        size = min(k, len(self.items))
        self.graph.hnsw.efSearch = LOOK * k
        _, place = self.graph.search(np.ascontiguousarray(states), size)
        row, column = np.nonzero(place >= 0)
        place = place[row, column]
        order = np.lexsort((self.items[place], row))
        row, place = row[order], place[order]
        scores = np.einsum(
            "pd,pd->p", states[row].astype(np.float64), self.vectors[place].astype(np.float64)
        )
        users = np.arange(len(states))
        starts = np.searchsorted(row, np.arange(len(states) + 1)).astype(np.int64)
        return Pairs(users, starts, self.items[place]).top(scores.astype(np.float32), size)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ConfigError(
            "search by a graph needs faiss; pip install 'clickprint[ann]', or search = \"exact\""
        ) from None
    return faiss
