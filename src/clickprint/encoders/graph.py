"""TwHIN-like vectors of the graph between users and items: an edge for each pair and role.

The edges have no order, and no time but what fades.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float32, Int64
from scipy import sparse

from clickprint.core.histories import Histories
from clickprint.core.lookup import positions
from clickprint.core.options import Between, check
from clickprint.core.past import Past
from clickprint.core.profiles import Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.recommender import ItemVectors
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.encoders import interactions, state
from clickprint.encoders.interactions import WEIGHTS, EventWeights, RanksItems, Roles
from clickprint.encoders.ranges import Count, Days, Weights, Width
from clickprint.nn.device import device
from clickprint.nn.graph import Edges, Graph, edge_loss
from clickprint.nn.train import Training, shuffled, train

ANY = "any"  # the one relation where nothing says what an event's kind means


@dataclass(frozen=True, kw_only=True, slots=True)
class TwHIN:
    """σ(cos(user, item + relation) / temperature) is how likely an edge is.

    An edge is a user, an item and a role with weight; it counts the sum of its events' weights,
    however often they happened. The other edges of a batch are its negatives.

    - `column`, `weights`, `half_life`, `min_count`: as in ALS. With empty `weights` all edges are
      of one relation.

    Source: El-Kishky et al., KDD 2022, as the RecSys Challenge 2025's fourth team used it
    (spec/universal-profiles.md 1.8); item vectors are free here, theirs came from a sequence
    model. Differs from both in what a user's profile is: see FittedTwHIN.
    """

    width: Width = 64
    column: str = "item"
    weights: Weights = field(default_factory=lambda: dict(WEIGHTS))
    temperature: Annotated[float, Between(0, 1_000, low_open=True)] = 0.1
    half_life: Days = 0
    min_count: Count = 1
    training: Training = Training(epochs=10, batch=1024, lr=0.01, betas=(0.9, 0.999))

    def __post_init__(self) -> None:
        check(self, interactions.problems(self.weights))

    @property
    def recommends(self) -> bool:
        return self.column == "item"

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def needs_log(self) -> bool:
        """Whether the fit reads the log: which role an event's kind has."""
        return bool(self.weights)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedTwHIN":
        """Trains the vectors for all epochs.

        Raises ConfigError for a column that the log does not have or that holds numbers, DataError
        where no event counts.
        """
        histories = past.histories(interactions.fields(self))
        weighing = interactions.weights_at_fit(self, past, histories)
        there = weighing.roles or ()
        relations = tuple(r for r, w in self.weights.items() if w > 0 and r in there) or (ANY,)
        values = interactions.learned(histories, self, weighing, "twhin")
        edges = edges_of(histories, self, values, relations, weighing)
        left = np.repeat(np.arange(edges.shape[0]), np.diff(edges.indptr))
        right, relation = np.divmod(edges.indices.astype(np.int64), len(relations))
        weight = edges.data / edges.data.mean()
        with torch.random.fork_rng():
            torch.manual_seed(rng.child("start").integer() & 0x7FFF_FFFF_FFFF_FFFF)
            model = Graph(
                len(histories),
                len(values),
                len(relations),
                self.width,
                temperature=self.temperature,
            ).to(device(session.accelerator))
        where = model.left.weight.device

        def parts(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[Edges, int]]:
            picked = (torch.from_numpy(a[rows]).to(where) for a in (left, right, relation, weight))
            yield Edges(*picked), len(rows)

        key = session.key
        if session.checkpoints is not None and not key:
            key = f"twhin {self} {histories.digest()} {relations} {rng}"
        train(
            model,
            shuffled(len(left), rng),
            parts,
            edge_loss,
            self.training,
            rng=rng,
            progress=progress,
            checkpoint=session.checkpoint(key),
            key=key,
        )
        items, moves = (t.weight.detach().cpu().numpy() for t in (model.right, model.relation))
        fitted = _class(self)(
            self,
            relations,
            values,
            items,
            moves,
            np.zeros(self.width, np.float32),
            weighing.roles,
            int(weighing.now),
        )
        everyone = sparse.csr_matrix(
            (np.ones(len(right), np.float32), edges.indices, [0, len(right)]), (1, edges.shape[1])
        )
        return replace(fitted, middle=fitted.sums(everyone)[0] / len(right))

    @staticmethod
    def load(folder: Path) -> "FittedTwHIN":
        """What FittedTwHIN.save wrote. Raises DataError."""
        found = state.read(folder, "twhin", FittedTwHIN)
        return state.as_class(found, _class(found.recipe))


@dataclass(frozen=True, slots=True)
class FittedTwHIN:
    """Vectors of values and relations, and the mean of where all edges point to (`middle`).

    The vectors that users had in training are not kept. A user's profile is the sum, by weight, of
    the ways from that mean to where their own edges point to: the first step that gradient descent
    on the loss takes from zero (× 2 · temperature). So users who were not there at `fit` have one
    like all others, and one with ten events more has it at once. TwHIN's own users have a row of a
    table, and new ones none. `roles`, `now`: as in FittedALS.
    """

    recipe: TwHIN
    relations: tuple[str, ...]
    values: Int64[np.ndarray, "V"]
    vectors: Float32[np.ndarray, "V D"]
    moves: Float32[np.ndarray, "R D"]
    middle: Float32[np.ndarray, "D"]
    roles: Roles
    now: int

    @property
    def fields(self) -> tuple[str, ...]:
        """What histories must have."""
        return interactions.fields(self.recipe)

    def encode(self, past: Past) -> Profiles:
        """Where a user's edges lead, and by its length how many there are.

        Zeros for a user without an edge to what was learned.
        """
        histories = past.histories(self.fields).of(past.users)
        roles = interactions.roles_of(self.recipe, past)
        vectors = replace(self, roles=roles).user_vectors(Requests(histories))
        return Profiles(past.users, to_float16(vectors))

    def user_vectors(self, requests: Requests) -> Float32[np.ndarray, "B D"]:
        """A vector for each request, of the events before it."""
        histories, weighing = requests.histories, interactions.weights_of(self, requests)
        out = np.zeros((len(histories), self.recipe.width), np.float32)
        for start in range(0, len(histories), interactions.USERS):
            rows = np.arange(start, min(start + interactions.USERS, len(histories)))
            edges = edges_of(
                histories.take(rows),
                self.recipe,
                self.values,
                self.relations,
                weighing.take(rows),
            )
            out[rows] = self.sums(edges) - np.asarray(edges.sum(1), np.float32) * self.middle
        return out

    def sums(self, edges: sparse.csr_matrix) -> Float32[np.ndarray, "U D"]:
        """Where each row's edges point to, by weight and added up; zeros for a row without one."""
        out = np.zeros((edges.shape[0], self.recipe.width), np.float32)
        relation = edges.indices % len(self.relations)
        for r in range(len(self.relations)):  # one table of ends at a time
            ends = unit(self.vectors + self.moves[r])
            data = np.where(relation == r, edges.data, np.float32(0))
            shape = edges.shape[0], len(self.values)
            out += (
                sparse.csr_matrix(
                    (data, edges.indices // len(self.relations), edges.indptr), shape
                )
                @ ends
            )
        return out

    def save(self, folder: Path) -> None:
        state.write(folder, "twhin", self)

    def problems(self) -> Iterator[tuple[str, str]]:
        """See encoders.state.Agrees."""
        yield from interactions.fitted_problems(self)
        if len(self.moves) != len(self.relations):
            yield "moves", f"found {len(self.moves)}, expected one of {len(self.relations)}"


@dataclass(frozen=True, slots=True)
class FittedItemTwHIN(FittedTwHIN, RanksItems):
    """Fitted on items, so that it ranks them.

    In-batch negatives are drawn as often as they are had, so a score says how much more likely an
    edge is than for anybody, not how likely.
    """

    def item_vectors(self) -> ItemVectors:
        """Where edges of the heaviest relation point to."""
        heavy = heaviest(self.recipe, self.relations)
        return ItemVectors(self.values, unit(self.vectors + self.moves[heavy]))


def _class(recipe: TwHIN) -> type[FittedTwHIN]:
    return FittedItemTwHIN if recipe.recommends else FittedTwHIN


def unit(vectors: Float32[np.ndarray, "N D"]) -> Float32[np.ndarray, "N D"]:
    """Each row's direction; zeros for (nearly) none."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-6)


def edges_of(
    histories: Histories,
    recipe: TwHIN,
    values: Int64[np.ndarray, "V"],
    relations: tuple[str, ...],
    weighing: EventWeights,
) -> sparse.csr_matrix:
    """A row a user, a column a value and relation (value · R + relation): what the edge counts."""
    known = {r: i for i, r in enumerate(relations)}
    of_kind = np.array([known.get(role, -1) for role in weighing.roles or ()], np.int64)

    def places(some: Histories) -> Int64[np.ndarray, "L"]:
        relation = 0 if weighing.roles is None else of_kind[some.fields["kind"]]
        place = positions(values, some.fields[recipe.column])
        return np.where((place < 0) | (relation < 0), -1, place * len(relations) + relation)

    return interactions.matrix(histories, places, len(values) * len(relations), weighing)


def heaviest(recipe: TwHIN, relations: tuple[str, ...]) -> int:
    """The place of the relation that weighs most."""
    return int(np.argmax([recipe.weights.get(r, 0) for r in relations]))
