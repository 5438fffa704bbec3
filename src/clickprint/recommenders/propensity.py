"""Purchase propensity: the probability that a user buys in the window after a cutoff."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from clickprint.core.errors import DataError
from clickprint.core.options import Between, plain
from clickprint.core.rng import RNG
from clickprint.recommenders.trees import Boosted, Fraction, Trees, option_problems, shared_names

LEAST = 1e-6  # propensities stay that far from 0 and 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Propensity(Trees):
    """LightGBM's log loss over columns of users, a row a user and window."""

    trees: Annotated[int, Between(1, 100_000)] = 150
    leaves: Annotated[int, Between(2, 131_072)] = 15
    lr: Fraction = 0.04

    def fit(
        self,
        examples: Sequence[tuple[Mapping[str, Float32[np.ndarray, "_"]], Bool[np.ndarray, "_"]]],
        *,
        rng: RNG,
    ) -> "FittedPropensity":
        """From (columns, who bought), one a window.

        Raises DataError where nobody bought, or windows have other columns.
        """
        names = shared_names(examples, "nobody bought; take more windows")
        matrix = np.concatenate([np.stack([c[n] for n in names], 1) for c, _ in examples])
        truth = np.concatenate([y for _, y in examples])
        trees = Boosted.fit(self, "binary", matrix, truth, names, rng=rng)
        return FittedPropensity(trees, recipe=plain(self))


@dataclass(frozen=True, slots=True)
class FittedPropensity:
    """The trees, and the line that calibrates their log odds."""

    trees: Boosted
    slope: float = 1.0
    shift: float = 0.0
    recipe: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def of(self, columns: Mapping[str, Float32[np.ndarray, "_"]]) -> Float64[np.ndarray, "U"]:
        """Raises DataError where a feature is missing."""
        return expit(self.slope * self._odds(columns) + self.shift)

    def _odds(self, columns: Mapping[str, Float32[np.ndarray, "_"]]) -> Float64[np.ndarray, "U"]:
        threads = self.recipe.get("threads", 1)
        return self.trees(columns, "users", raw_score=True, num_threads=threads)

    def calibrated(
        self, columns: Mapping[str, Float32[np.ndarray, "_"]], bought: Bool[np.ndarray, "U"]
    ) -> "FittedPropensity":
        """The same, calibrated on users of a window that it did not learn from. Order stays."""
        slope, shift = platt(self._odds(columns), bought)
        return replace(self, slope=slope, shift=shift)

    def save(self, folder: Path) -> None:
        """A folder, whole or not at all."""
        self.trees.save(folder, "propensity", self)

    def problems(self) -> Iterator[tuple[str, str]]:
        """See encoders.state.Agrees."""
        yield from option_problems(Propensity, self.recipe)

    @staticmethod
    def load(folder: Path | str) -> "FittedPropensity":
        """What `save` wrote: the same propensities. Raises DataError."""
        return Boosted.load(folder, "propensity", FittedPropensity)


def expit(odds: Float64[np.ndarray, "N"]) -> Float64[np.ndarray, "N"]:
    return np.clip(1 / (1 + np.exp(-np.clip(odds, -700, 700))), LEAST, 1 - LEAST)


def platt(odds: Float64[np.ndarray, "N"], truth: Bool[np.ndarray, "N"]) -> tuple[float, float]:
    """The slope and shift of log odds with the least log loss, by Newton's steps.

    A slope that would turn the order round is 0.01 instead. Raises DataError without a value.
    Source: Platt 1999, with the smoothed targets.
    """
    if not len(odds):
        raise DataError("calibration", ["nothing to calibrate on"])
    yes = float(truth.sum())
    no = len(truth) - yes
    target = np.where(truth, (yes + 1) / (yes + 2), 1 / (no + 2))
    mean, spread = float(odds.mean()), float(odds.std()) or 1.0
    x = np.stack([(odds - mean) / spread, np.ones(len(odds))], 1)
    w = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        curve = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2)
        step = np.linalg.solve(curve, x.T @ (p - target))
        w = w - np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    slope = max(w[0] / spread, 0.01)
    return float(slope), float(w[1] - slope * mean)
