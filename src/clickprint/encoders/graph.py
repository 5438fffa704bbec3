"""TwHIN-like vectors of the graph between users and items: an edge for each pair and role, no order, no time but what fades."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from scipy import sparse

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.past import Past
from clickprint.core.profiles import MAX_WIDTH, Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.encoders import interactions, of_options, state
from clickprint.encoders.interactions import WEIGHTS, EventWeights
from clickprint.encoders.sequence import number
from clickprint.nn.device import device
from clickprint.nn.graph import Edges, Graph, edge_loss
from clickprint.nn.train import Training, shuffled, train

ANY = "any"  # the one relation where nothing says what an event's kind means


@dataclass(frozen=True, kw_only=True, slots=True)
class TwHIN:
    """σ(cos(user, item + relation) / temperature) is how likely an edge is; the other edges of a batch are its negatives.

    An edge is a user, an item and a role with weight; it counts the sum of its events' weights (`weights`: role → what one event counts,
    `half_life` in days, 0 for none), however often. `column`, `least`: as in `als`.
    Source: El-Kishky et al., KDD 2022, as the RecSys Challenge 2025's fourth team used it (spec/universal-profiles.md 1.8); item vectors
    are free here, theirs came from a sequence model. Differs from both in what a user's profile is: see FittedTwHIN.
    """

    width: int = 64
    column: str = "item"
    weights: Mapping[str, int | float] = field(default_factory=lambda: dict(WEIGHTS))
    temperature: float = 0.1
    half_life: int | float = 0
    least: int = 1
    training: Training = Training(epochs=10, batch=1024, lr=0.01, betas=(0.9, 0.999))

    def __post_init__(self) -> None:
        wrong = EventWeights.faults(self.weights, self.half_life)
        wrong += (
            [f"width: found {self.width}, expected 1 to {MAX_WIDTH}"]
            if not 1 <= self.width <= MAX_WIDTH
            else []
        )
        wrong += [f"least: found {self.least}, expected at least 1"] if self.least < 1 else []
        wrong += (
            [f"temperature: found {self.temperature}, expected a number above 0"]
            if not 0 < self.temperature < float("inf")
            else []
        )
        if wrong:
            raise ConfigError("; ".join(wrong))

    def fit(self, past: Past, *, rng: RNG, progress: Progress = silent) -> "FittedTwHIN":
        """Raises ConfigError for a column that the log does not have or that holds numbers, DataError where no event counts."""
        there = {k.role for k in past.log.manifest.kinds}
        relations = tuple(r for r, w in self.weights.items() if w > 0 and r in there)
        histories = past.histories(interactions.fields(self.column, self.half_life))
        return self._fit(
            histories,
            EventWeights.in_past(self.weights, self.half_life, past),
            relations or (ANY,),
            rng,
            progress,
        )

    def fit_histories(
        self, histories: Histories, *, rng: RNG = RNG(), progress: Progress = silent
    ) -> "FittedTwHIN":  # noqa: B008
        """From histories alone, where every event counts 1 and all edges are of one relation."""
        return self._fit(
            histories, EventWeights.in_histories(self.half_life, histories), (ANY,), rng, progress
        )

    def _fit(
        self,
        histories: Histories,
        weighing: EventWeights,
        relations: tuple[str, ...],
        rng: RNG,
        progress: Progress,
    ) -> "FittedTwHIN":
        values = interactions.learned(histories, self.column, weighing, self.least, "twhin")
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
            ).to(device())
        where = model.left.weight.device

        def parts(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[Edges, int]]:
            picked = (torch.from_numpy(a[rows]).to(where) for a in (left, right, relation, weight))
            yield Edges(*picked), len(rows)

        key = f"twhin {self} {histories.digest()} {relations} {rng}"
        train(
            model,
            shuffled(len(left), rng),
            parts,
            edge_loss,
            self.training,
            rng=rng,
            progress=progress,
            key=key,
        )
        items, moves = (t.weight.detach().cpu().numpy() for t in (model.right, model.relation))
        fitted = FittedTwHIN(
            self, relations, values, items, moves, np.zeros(self.width, np.float32), weighing.now
        )
        everyone = sparse.csr_matrix(
            (np.ones(len(right), np.float32), edges.indices, [0, len(right)]), (1, edges.shape[1])
        )
        return FittedTwHIN(
            self,
            relations,
            values,
            items,
            moves,
            fitted.sums(everyone)[0] / len(right),
            weighing.now,
        )

    @staticmethod
    def load(folder: Path) -> "FittedTwHIN":
        """What FittedTwHIN.save wrote. Raises DataError."""
        raw = state.read(folder, "twhin")
        values, items, moves, middle = (
            state.array(folder, n) for n in ("values", "items", "moves", "middle")
        )
        try:
            recipe, relations, now = (
                of_options(TwHIN, raw["options"]),
                tuple(map(str, raw["relations"])),
                int(raw["now"]),
            )
        except (KeyError, TypeError, ValueError, ConfigError) as fault:
            raise DataError(
                str(folder), [f"not a fitted `twhin` ({fault}); fit and save it again"]
            ) from None
        shapes = {
            "items": (len(values), recipe.width),
            "moves": (len(relations), recipe.width),
            "middle": (recipe.width,),
        }
        faults = ["values are no ids"] if values.dtype != np.int64 or values.ndim != 1 else []
        for name, found in (("items", items), ("moves", moves), ("middle", middle)):
            if (
                found.dtype != np.float32
                or found.shape != shapes[name]
                or not np.isfinite(found).all()
            ):
                faults.append(
                    f"{name}: found {found.dtype} {found.shape}, expected finite float32 {shapes[name]}"
                )
        if faults:
            raise DataError(str(folder), [f"{fault}; fit and save it again" for fault in faults])
        return FittedTwHIN(recipe, relations, values, items, moves, middle, now)


@dataclass(frozen=True, slots=True)
class FittedTwHIN:
    """Vectors of values and relations, and the mean of where all edges point to.

    The vectors that users had in training are not kept. A user's profile is the sum, by weight, of the ways from that mean to where his own
    edges point to: the first step that gradient descent on the loss takes from zero (× 2 · temperature). So users who were not there at
    `fit` have one like all others, and one with ten events more has it at once. TwHIN's own users have a row of a table, and new ones none.
    """

    recipe: TwHIN
    relations: tuple[str, ...]
    values: Int64[np.ndarray, "V"]
    items: Float32[np.ndarray, "V D"]
    moves: Float32[np.ndarray, "R D"]
    middle: Float32[np.ndarray, "D"]
    now: int

    def encode(self, past: Past) -> Profiles:
        """Where a user's edges lead him, and by its length how many there are; zeros for who has no edge to what was learned."""
        histories = past.histories(
            interactions.fields(self.recipe.column, self.recipe.half_life)
        ).of(past.users)
        return Profiles(
            past.users,
            to_float16(
                self._towards(
                    histories,
                    EventWeights.in_past(self.recipe.weights, self.recipe.half_life, past),
                )
            ),
        )

    def states(self, histories: Histories) -> Float32[np.ndarray, "U D"]:
        """A vector for each of `histories.users`; every event counts 1, less by its age at their cutoff, or else at the time of `fit`.

        All edges are of the relation that weighs most.
        """
        now = self.now if histories.cutoff is None else histories.cutoff
        return self._towards(histories, EventWeights({}, self.recipe.half_life, None, now))

    def recommend(self, histories: Histories, k: int, *, seen: bool = True) -> Recommendations:
        """The k items that an edge of the heaviest relation is most likely to. `seen`: items of the history may be given again.

        In-batch negatives are drawn as often as they are had, so a score says how much more likely than for anybody, not how likely.
        Raises ConfigError where something else than items was learned.
        """
        if self.recipe.column != "item":
            raise ConfigError(
                f"twhin: column {self.recipe.column!r} was learned, so there are no items to rank"
            )
        ends = unit(self.items + self.moves[heaviest(self.recipe, self.relations)])
        return interactions.ranked(
            histories, self.states(histories), self.values, ends, k, seen=seen
        )

    def sums(self, edges: sparse.csr_matrix) -> Float32[np.ndarray, "U D"]:
        """Where each row's edges point to, by weight and added up; zeros for a row without one."""
        out = np.zeros((edges.shape[0], self.recipe.width), np.float32)
        relation = edges.indices % len(self.relations)
        for r in range(len(self.relations)):  # one table of ends at a time
            ends = unit(self.items + self.moves[r])
            data = np.where(relation == r, edges.data, np.float32(0))
            shape = edges.shape[0], len(self.values)
            out += (
                sparse.csr_matrix(
                    (data, edges.indices // len(self.relations), edges.indptr), shape
                )
                @ ends
            )
        return out

    def _towards(self, histories: Histories, weighing: EventWeights) -> Float32[np.ndarray, "U D"]:
        out = np.zeros((len(histories), self.recipe.width), np.float32)
        for start in range(0, len(histories), interactions.USERS):
            rows = np.arange(start, min(start + interactions.USERS, len(histories)))
            edges = edges_of(
                histories.take(rows), self.recipe, self.values, self.relations, weighing
            )
            out[rows] = self.sums(edges) - np.asarray(edges.sum(1), np.float32) * self.middle
        return out

    def save(self, folder: Path) -> None:
        options = {f.name: getattr(self.recipe, f.name) for f in dataclass_fields(TwHIN)}
        training = {
            f.name: getattr(self.recipe.training, f.name) for f in dataclass_fields(Training)
        }
        raw = {
            "options": {**options, "weights": dict(self.recipe.weights), "training": training},
            "relations": self.relations,
            "now": self.now,
        }
        state.write(
            folder,
            "twhin",
            raw,
            {
                "values": self.values,
                "items": self.items,
                "moves": self.moves,
                "middle": self.middle,
            },
        )


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
    """A row a user, a column a value and relation (value · R + relation), and what the edge counts."""
    known = {r: i for i, r in enumerate(relations)}
    of_kind = np.array([known.get(k.role, -1) for k in weighing.kinds or ()], np.int64)

    def places(some: Histories) -> Int64[np.ndarray, "L"]:
        relation = (
            heaviest(recipe, relations) if weighing.kinds is None else of_kind[some.fields["kind"]]
        )
        place = number(values, some.fields[recipe.column]) - 1
        return np.where((place < 0) | (relation < 0), -1, place * len(relations) + relation)

    return interactions.matrix(histories, places, len(values) * len(relations), weighing)


def heaviest(recipe: TwHIN, relations: tuple[str, ...]) -> int:
    return int(np.argmax([recipe.weights.get(r, 0) for r in relations]))
