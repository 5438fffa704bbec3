"""iALS: users and values as vectors whose products tell who had what.

By alternating least squares, solved by the library implicit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from scipy import sparse

from clickprint.core.errors import ConfigError
from clickprint.core.histories import Histories
from clickprint.core.lookup import positions
from clickprint.core.options import check
from clickprint.core.past import Past
from clickprint.core.profiles import Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.recommender import ItemVectors
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.encoders import interactions, state
from clickprint.encoders.interactions import WEIGHTS, EventWeights, RanksItems, Roles
from clickprint.encoders.ranges import Count, Days, Positive, Weights, Width


@dataclass(frozen=True, kw_only=True, slots=True)
class ALS:
    """Minimises Σ c (p − x·y)² + regularization (Σ|x|² + Σ|y|²) over all users and values.

    p = 1 and c = 1 + alpha · (sum of weights) where the user had the value, p = 0 and c = 1 where
    not. Hu, Koren & Volinsky, ICDM 2008; each step is solved exactly (Cholesky).

    - `column`: what users have: items, an attribute of theirs, or another column of events
      (category, url, price_bucket, query).
    - `weights`: role → what one event counts; a role that is not named counts nothing. Empty:
      every event counts 1, and no log is needed.
    - `half_life`: in days, an event counts half as much that long before the cutoff; 0 is none.
    - `min_count`: values with fewer events that count are not learned.

    The library's own alpha multiplies counts and leaves out the 1 of the paper; here c is the
    paper's.
    """

    width: Width = 64
    column: str = "item"
    weights: Weights = field(default_factory=lambda: dict(WEIGHTS))
    alpha: Positive = 1
    regularization: Positive = 1
    iterations: Count = 15
    half_life: Days = 0
    min_count: Count = 1

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
    ) -> "FittedALS":
        """Solves for the vectors; `session` has nothing for it.

        Raises ConfigError for a column that the log does not have or that holds numbers, DataError
        where no event counts.
        """
        histories = past.histories(interactions.fields(self))
        weighing = interactions.weights_at_fit(self, past, histories)
        values = interactions.learned(histories, self, weighing, "als")
        now = int(weighing.now)
        empty = np.zeros((len(values), self.width), np.float32)
        fitted = _class(self)(self, values, empty, weighing.roles, now)
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
        found = state.read(folder, "als", FittedALS)
        return state.as_class(found, _class(found.recipe))


@dataclass(frozen=True, slots=True)
class FittedALS:
    """The values' vectors, from which a user's is solved for when it is asked for.

    `roles`: of each kind of event at fit; None where they do not count. `now`: the end of what was
    learned.
    """

    recipe: ALS
    values: Int64[np.ndarray, "V"]
    vectors: Float32[np.ndarray, "V D"]
    roles: Roles
    now: int

    @property
    def fields(self) -> tuple[str, ...]:
        """What histories must have."""
        return interactions.fields(self.recipe)

    def encode(self, past: Past) -> Profiles:
        """The users' vectors, as the last step of `fit` would make them.

        Zeros for a user without anything that was learned.
        """
        histories = past.histories(self.fields).of(past.users)
        roles = interactions.roles_of(self.recipe, past)
        vectors = replace(self, roles=roles).user_vectors(Requests(histories))
        return Profiles(past.users, to_float16(vectors))

    def user_vectors(self, requests: Requests) -> Float32[np.ndarray, "B D"]:
        """A vector for each request, of the events before it."""
        histories, weighing = requests.histories, interactions.weights_of(self, requests)
        out = np.zeros((len(histories), self.recipe.width), np.float32)
        with solver(self.recipe) as model:
            model.item_factors = self.vectors
            for start in range(0, len(histories), interactions.USERS):
                rows = np.arange(start, min(start + interactions.USERS, len(histories)))
                some = self.confidences(histories.take(rows), weighing.take(rows))
                out[rows] = model.recalculate_user(np.arange(len(rows)), some)
        return out

    def confidences(self, histories: Histories, weighing: EventWeights) -> sparse.csr_matrix:
        """c of each user and value, where it is not 1."""
        counts = interactions.matrix(
            histories,
            lambda some: positions(self.values, some.fields[self.recipe.column]),
            len(self.values),
            weighing,
        )
        counts.data = 1 + np.float32(self.recipe.alpha) * counts.data
        return counts

    def save(self, folder: Path) -> None:
        state.write(folder, "als", self)

    def problems(self) -> Iterator[tuple[str, str]]:
        """See encoders.state.Agrees."""
        yield from interactions.fitted_problems(self)


@dataclass(frozen=True, slots=True)
class FittedItemALS(FittedALS, RanksItems):
    """Fitted on items, so that it ranks them by the product with a user's vector."""

    def item_vectors(self) -> ItemVectors:
        return ItemVectors(self.values, self.vectors)


def _class(recipe: ALS) -> type[FittedALS]:
    return FittedItemALS if recipe.recommends else FittedALS


@contextmanager
def solver(recipe: ALS) -> Iterator[Any]:
    """The library's model while its BLAS has one thread.

    Rows are solved side by side, so more threads only get in each other's way; the library's own
    change no byte, since each row is solved alone. Raises ConfigError where a row has no solution,
    and without the library.
    """
    try:
        from implicit.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as fault:
        raise ConfigError(
            f"als needs the library implicit, which is not here ({fault});"
            " pip install 'clickprint[als]'"
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
                "als: a user's or value's vector cannot be solved for;"
                f" raise regularization ({recipe.regularization})"
            ) from None
