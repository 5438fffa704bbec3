"""Items near to a user's vector: of what the catalogue says of his items, or of an encoder that has users and items in one space."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeKind
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.texts import item_vectors
from clickprint.encoders import encoder
from clickprint.recommenders.blocks import best, blocks, together, with_roles
from clickprint.recommenders.pairs import Pairs
from clickprint.recommenders.retrievers.sentences import sentence_vectors

USERS = 65_536  # whose vectors are single precision at once
MANY = 200_000  # items from which `auto` searches a graph instead of all
LINKS, BUILD, LOOK = (
    32,
    80,
    4,
)  # of the graph: links a node; how many are looked at while it is built, and how many times k when asked
SEARCHES = ("auto", "exact", "hnsw")


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest:
    """Items whose vector is near (cosine) to those of the user's newest `length` items with these roles; one counts half as much
    `half_life` days before the cutoff.

    The vectors are those that the source brings (the Stokman shop's title vectors), or else latent semantic ones of `width` axes of the
    catalogue's texts and categories as known at the cutoff (data.texts). `sentences`, the folder or the name of a model for the library
    sentence-transformers, makes them of the catalogue's texts instead.
    """

    roles: tuple[str, ...] = ("view", "cart", "like", "buy")
    length: int = 20
    half_life: int | float = 14.0
    width: int = 64
    search: str = "auto"
    sentences: str = ""

    def __post_init__(self) -> None:
        wrong = [r for r in self.roles if r not in list(Role)]
        faults = (
            [f"roles: found {', '.join(wrong)}, expected some of {', '.join(Role)}"]
            if wrong
            else []
        )
        faults += [
            f"{n}: found {getattr(self, n)}, expected at least 1"
            for n in ("length", "width")
            if getattr(self, n) < 1
        ]
        faults += (
            []
            if self.half_life > 0
            else [f"half_life: found {self.half_life}, expected days above 0"]
        )
        _refuse([*faults, *_search(self.search)])

    def fit(
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "FittedNearest":
        """Raises ConfigError where there are neither vectors nor texts nor categories, or no texts for a sentence encoder."""
        catalogue = past.catalogue
        given = getattr(past.log, "item_vectors", None)  # only logs of files bring any
        if self.sentences:
            items, vectors = sentence_vectors(catalogue, self.sentences)
        elif given is not None:
            items, vectors = given
            listed = catalogue.table.column("item").to_numpy()
            had = [
                np.unique(events.fields["item"]) for events in blocks(past.histories(("item",)))
            ]
            there = np.isin(
                items, np.concatenate([listed, *had])
            )  # what is not known yet is no candidate
            items, vectors = (
                np.asarray(items)[there].astype(np.int64),
                np.asarray(vectors, np.float32)[there],
            )
        elif any(
            kind in (AttributeKind.TEXT, AttributeKind.CATEGORY)
            for kind in catalogue.attributes.values()
        ):
            items, vectors = item_vectors(catalogue, self.width)
        else:
            raise ConfigError(
                "nearest: this log brings no item vectors, and its catalogue neither texts nor categories; leave the source out"
            )
        vectors = np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        some = norm[:, 0] > 1e-6  # of the others nothing is said
        return FittedNearest(self, items[some], (vectors[some] / norm[some]).astype(np.float32))


@dataclass(frozen=True, slots=True)
class FittedNearest:
    """Items and their directions."""

    source: Nearest
    items: Int64[np.ndarray, "V"]
    vectors: Float32[np.ndarray, "V D"] = field(repr=False)

    def retrieve(self, past: Past, k: int) -> Recommendations:
        s, found = self.source, []
        search = Search.of(self.items, self.vectors, s.search)
        for events in blocks(past.histories(("item", "time", "kind"))):
            keep = with_roles(past, events, s.roles) & np.isin(events.fields["item"], self.items)
            newest = events.where(keep).last(s.length)
            row = np.repeat(np.arange(len(newest)), newest.lengths)
            weight = 0.5 ** ((past.cutoff - np.asarray(newest.fields["time"])) / DAY / s.half_life)
            weight = np.maximum(weight, 1e-30)  # the oldest still point somewhere
            states = np.zeros((len(newest), self.vectors.shape[1]))
            np.add.at(
                states,
                row,
                weight[:, None] * self.vectors[np.searchsorted(self.items, newest.fields["item"])],
            )
            norm = np.linalg.norm(states, axis=1, keepdims=True)
            found.append(
                search(
                    events.users, (states / np.where(norm > 0, norm, np.inf)).astype(np.float32), k
                )
            )
        return together(past.users, found, k)


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Items of the largest product with the user's profile, of an encoder that is fitted at each cutoff: `encoder` names one that ranks
    items by vectors (als, sasrec, hstu, gru4rec, mamba4rec, transformer++), `options` are its own.
    """

    encoder: str = "als"
    options: Mapping[str, Any] = field(default_factory=dict)
    search: str = "auto"

    def __post_init__(self) -> None:
        faults = _search(self.search)
        try:
            encoder(self.encoder, **self.options)
        except ConfigError as fault:
            faults.append(str(fault))
        _refuse(faults)

    def fit(
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "FittedEncoded":
        """Raises ConfigError for an encoder that has no vectors of items."""
        fitted = encoder(self.encoder, **self.options).fit(
            past, rng=rng or RNG(0), progress=progress
        )
        if not hasattr(fitted, "item_vectors"):
            raise ConfigError(
                f"encoder: {self.encoder!r} has no vectors of items; take als, sasrec, hstu, gru4rec, mamba4rec or transformer++"
            )
        return FittedEncoded(self, fitted)


@dataclass(frozen=True, slots=True)
class FittedEncoded:
    """The fitted encoder."""

    source: Encoded
    fitted: Any

    def retrieve(self, past: Past, k: int) -> Recommendations:
        items, vectors = self.fitted.item_vectors()
        search = Search.of(items, vectors, self.source.search)
        profiles = self.fitted.encode(past)
        found = []
        for start in range(0, len(profiles.users), USERS):
            some = slice(start, start + USERS)
            found.append(
                search(profiles.users[some], profiles.vectors[some].astype(np.float32), k)
            )
        return together(past.users, found, k)


@dataclass(frozen=True, slots=True)
class Search:
    """The items of the largest products with a vector. `exact` looks at all; `hnsw` walks a graph of near ones (Malkov & Yashunin 2018, by
    the library faiss, built by one thread so that it is the same each time), and orders what it found by exact products.
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
        self, users: Int64[np.ndarray, "U"], states: Float32[np.ndarray, "U D"], k: int
    ) -> Recommendations:
        """Nothing for a user whose vector is 0. Equal products: the smaller item first."""
        asked = np.flatnonzero(np.any(states != 0, axis=1) & np.all(np.isfinite(states), axis=1))
        items, scores = (
            np.full((len(users), k), NONE, np.int64),
            np.full((len(users), k), -np.inf, np.float32),
        )
        lists = (
            self._graph(users[asked], states[asked], k)
            if self.graph is not None
            else self._exact(users[asked], states[asked], k)
        )
        items[asked], scores[asked] = lists.items, lists.scores
        return Recommendations(users, items, scores)

    def _exact(
        self, users: Int64[np.ndarray, "U"], states: Float32[np.ndarray, "U D"], k: int
    ) -> Recommendations:
        def score(some: slice) -> Float32[np.ndarray, "B V"]:
            return states[some] @ self.vectors.T

        return best(users, score, self.items, k, above=-np.inf)

    def _graph(
        self, users: Int64[np.ndarray, "U"], states: Float32[np.ndarray, "U D"], k: int
    ) -> Recommendations:
        self.graph.hnsw.efSearch = LOOK * k
        _, place = self.graph.search(np.ascontiguousarray(states), min(k, len(self.items)))
        row, column = np.nonzero(place >= 0)
        place = place[row, column]
        order = np.lexsort((self.items[place], row))
        row, place = row[order], place[order]
        scores = np.einsum(
            "pd,pd->p", states[row].astype(np.float64), self.vectors[place].astype(np.float64)
        )
        starts = np.searchsorted(row, np.arange(len(users) + 1)).astype(np.int64)
        return Pairs(users, starts, self.items[place]).top(scores.astype(np.float32), k)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ConfigError(
            "search by a graph needs faiss; pip install 'clickprint[ann]', or search = \"exact\""
        ) from None
    return faiss


def _search(search: str) -> list[str]:
    return (
        []
        if search in SEARCHES
        else [f"search: found {search!r}, expected one of {', '.join(SEARCHES)}"]
    )


def _refuse(faults: list[str]) -> None:
    if faults:
        raise ConfigError("; ".join(faults))
