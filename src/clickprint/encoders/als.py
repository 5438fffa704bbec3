"""iALS: users and values as vectors whose products tell who had what, by alternating least squares (the library implicit)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from scipy import sparse

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.past import Past
from clickprint.core.profiles import MAX_WIDTH, Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.encoders import interactions, state
from clickprint.encoders.interactions import WEIGHTS, EventWeights
from clickprint.encoders.sequence import number


@dataclass(frozen=True, kw_only=True, slots=True)
class ALS:
    """Minimises Σ c (p − x·y)² + regularization (Σ|x|² + Σ|y|²) over all pairs: p = 1 and c = 1 + alpha · (sum of weights) where the user
    had the value, p = 0 and c = 1 where not. Hu, Koren & Volinsky, ICDM 2008; each step is solved exactly (Cholesky).

    `column`: what users have, items or an attribute of theirs or another column of events (category, url, price_bucket, query).
    `weights`: role → what one event counts; a role that is not named counts nothing. `half_life`: in days, an event counts half as much
    that long before the cutoff; 0 is none. `least`: values with fewer events that count are not learned.
    The library's own alpha multiplies counts and leaves out the 1 of the paper; here c is the paper's.
    """

    width: int = 64
    column: str = "item"
    weights: Mapping[str, int | float] = field(default_factory=lambda: dict(WEIGHTS))
    alpha: int | float = 1
    regularization: int | float = 1
    iterations: int = 15
    half_life: int | float = 0
    least: int = 1

    def __post_init__(self) -> None:
        wrong = EventWeights.faults(self.weights, self.half_life)
        wrong += (
            [f"width: found {self.width}, expected 1 to {MAX_WIDTH}"]
            if not 1 <= self.width <= MAX_WIDTH
            else []
        )
        wrong += [
            f"{n}: found {getattr(self, n)}, expected at least 1"
            for n in ("iterations", "least")
            if getattr(self, n) < 1
        ]
        wrong += [
            f"{n}: found {getattr(self, n)}, expected a number above 0"
            for n in ("alpha", "regularization")
            if not 0 < getattr(self, n) < float("inf")
        ]
        if wrong:
            raise ConfigError("; ".join(wrong))

    def fit(self, past: Past, *, rng: RNG, progress: Progress = silent) -> "FittedALS":
        """Raises ConfigError for a column that the log does not have or that holds numbers, DataError where no event counts."""
        histories = past.histories(interactions.fields(self.column, self.half_life))
        return self._fit(
            histories, EventWeights.in_past(self.weights, self.half_life, past), rng, progress
        )

    def fit_histories(
        self, histories: Histories, *, rng: RNG = RNG(), progress: Progress = silent
    ) -> "FittedALS":  # noqa: B008
        """From histories alone, where every event counts 1."""
        return self._fit(
            histories, EventWeights.in_histories(self.half_life, histories), rng, progress
        )

    def _fit(
        self, histories: Histories, weighing: EventWeights, rng: RNG, progress: Progress
    ) -> "FittedALS":
        values = interactions.learned(histories, self.column, weighing, self.least, "als")
        fitted = FittedALS(
            self, values, np.zeros((len(values), self.width), np.float32), weighing.now
        )
        with solver(self) as model:
            model.random_state = rng.child("start").generator()
            progress("als", 0, self.iterations)
            model.fit(
                fitted.confidences(histories, weighing),
                show_progress=False,
                callback=lambda done, _seconds, _loss: progress("als", done + 1, self.iterations),
            )
        return replace(fitted, vectors=np.ascontiguousarray(model.item_factors, np.float32))

    @staticmethod
    def load(folder: Path) -> "FittedALS":
        """What FittedALS.save wrote. Raises DataError."""
        raw = state.read(folder, "als")
        values, vectors = state.array(folder, "values"), state.array(folder, "vectors")
        try:
            recipe, now = ALS(**raw["options"]), int(raw["now"])
        except (KeyError, TypeError, ValueError, ConfigError) as fault:
            raise DataError(
                str(folder), [f"not a fitted `als` ({fault}); fit and save it again"]
            ) from None
        if (
            values.dtype != np.int64
            or vectors.dtype != np.float32
            or vectors.shape != (len(values), recipe.width)
        ):
            raise DataError(
                str(folder),
                [
                    f"found {len(values)} values and vectors {vectors.shape} of {vectors.dtype}; fit and save it again"
                ],
            )
        if not np.isfinite(vectors).all():
            raise DataError(
                str(folder), ["found vectors with no numbers in them; fit and save it again"]
            )
        return FittedALS(recipe, values, vectors, now)


@dataclass(frozen=True, slots=True)
class FittedALS:
    """The values' vectors. A user's is solved for when it is asked for, from his own events and these vectors alone."""

    recipe: ALS
    values: Int64[np.ndarray, "V"]
    vectors: Float32[np.ndarray, "V D"]
    now: int

    def encode(self, past: Past) -> Profiles:
        """The users' vectors, as the last step of `fit` would make them; zeros for who has nothing that was learned."""
        histories = past.histories(
            interactions.fields(self.recipe.column, self.recipe.half_life)
        ).of(past.users)
        weighing = EventWeights.in_past(self.recipe.weights, self.recipe.half_life, past)
        return Profiles(past.users, to_float16(self._solved(histories, weighing)))

    def states(self, histories: Histories) -> Float32[np.ndarray, "U D"]:
        """A vector for each of `histories.users`; every event counts 1, less by its age at their cutoff, or else at the time of `fit`."""
        now = self.now if histories.cutoff is None else histories.cutoff
        return self._solved(histories, EventWeights({}, self.recipe.half_life, None, now))

    def recommend(self, histories: Histories, k: int, *, seen: bool = True) -> Recommendations:
        """The k best items of each user, of the whole catalogue that was learned. `seen`: items of the history may be given again.

        Raises ConfigError where something else than items was learned.
        """
        if self.recipe.column != "item":
            raise ConfigError(
                f"als: column {self.recipe.column!r} was learned, so there are no items to rank"
            )
        return interactions.ranked(
            histories, self.states(histories), self.values, self.vectors, k, seen=seen
        )

    def item_vectors(self) -> tuple[Int64[np.ndarray, "V"], Float32[np.ndarray, "V D"]]:
        """Items, sorted, and the vectors whose products with a profile rank them. Raises ConfigError where no items were learned."""
        if self.recipe.column != "item":
            raise ConfigError(
                f"als: column {self.recipe.column!r} was learned, so there are no items to rank"
            )
        return self.values, self.vectors

    def confidences(self, histories: Histories, weighing: EventWeights) -> sparse.csr_matrix:
        """c of each user and value, where it is not 1."""
        counts = interactions.matrix(
            histories,
            lambda some: number(self.values, some.fields[self.recipe.column]) - 1,
            len(self.values),
            weighing,
        )
        counts.data = 1 + np.float32(self.recipe.alpha) * counts.data
        return counts

    def _solved(self, histories: Histories, weighing: EventWeights) -> Float32[np.ndarray, "U D"]:
        out = np.zeros((len(histories), self.recipe.width), np.float32)
        with solver(self.recipe) as model:
            model.item_factors = self.vectors
            for start in range(0, len(histories), interactions.USERS):
                rows = np.arange(start, min(start + interactions.USERS, len(histories)))
                some = self.confidences(histories.take(rows), weighing)
                out[rows] = model.recalculate_user(np.arange(len(rows)), some)
        return out

    def save(self, folder: Path) -> None:
        options = {f.name: getattr(self.recipe, f.name) for f in dataclass_fields(ALS)} | {
            "weights": dict(self.recipe.weights)
        }
        state.write(
            folder,
            "als",
            {"options": options, "now": self.now},
            {"values": self.values, "vectors": self.vectors},
        )


@contextmanager
def solver(recipe: ALS) -> Iterator[Any]:
    """The library's model while its BLAS has one thread (rows are solved side by side; more only get in each other's way).

    Its own threads change no byte: each row is solved alone. Raises ConfigError where a row has no solution, and without the library.
    """
    try:
        from implicit.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as fault:
        raise ConfigError(
            f"als needs the library implicit, which is not here ({fault}); pip install 'clickprint[als]'"
        ) from None
    with threadpool_limits(1, "blas"):
        options = {
            "factors": recipe.width,
            "regularization": recipe.regularization,
            "iterations": recipe.iterations,
        }
        try:
            yield AlternatingLeastSquares(**options, use_cg=False, use_gpu=False)
        except ValueError as fault:
            if "regularization" not in str(fault):
                raise
            raise ConfigError(
                f"als: a user's or value's vector cannot be solved for; raise regularization ({recipe.regularization})"
            ) from None
