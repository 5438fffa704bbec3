"""The order of candidates, by boosted trees that learned it on earlier windows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
from jaxtyping import Bool, Float64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.options import Between, OneOf, plain
from clickprint.core.rng import RNG
from clickprint.recommenders.pairs import Pairs
from clickprint.recommenders.trees import Boosted, Trees, option_problems, shared_names


@dataclass(frozen=True, kw_only=True, slots=True)
class LambdaMART(Trees):
    """LightGBM's ranking trees (Burges 2010). A group is one user's candidates in one window.

    - `objective`: "lambdarank", or "binary": each pair's probability by itself.
    - `negatives`: how many candidates that were not bought a user keeps, sampled; 0: all.
    - `truncation`: places of a list whose order counts.
    """

    objective: Annotated[str, OneOf("lambdarank", "binary")] = "lambdarank"
    negatives: Annotated[int, Between(0, 1_000_000)] = 0
    truncation: Annotated[int, Between(1, 10_000)] = 30

    def fit(
        self, examples: list[tuple[Pairs, Bool[np.ndarray, "_"]]], *, rng: RNG
    ) -> "FittedLambdaMART":
        """From (candidates, whether each was bought), one a window.

        Users who bought none of their candidates teach nothing and are left out. Raises DataError
        where no candidate was bought, or windows have other columns.
        """
        nothing = "no candidate was bought; take more windows or more candidates"
        names = shared_names([(p.columns, y) for p, y in examples], nothing)
        parts = [
            _sampled(p, y, self.negatives, rng.child("negatives").child(str(n)))
            for n, (p, y) in enumerate(examples)
        ]
        matrix = np.concatenate([p.matrix(names) for p, _ in parts])
        truth = np.concatenate([y for _, y in parts])
        more: dict[str, Any] = {}
        if self.objective == "lambdarank":
            more = {"lambdarank_truncation_level": self.truncation, "bagging_by_query": True}
            more["groups"] = np.concatenate([p.lengths for p, _ in parts])
        trees = Boosted.fit(self, self.objective, matrix, truth, names, rng=rng, **more)
        return FittedLambdaMART(trees, recipe=plain(self))


@dataclass(frozen=True, slots=True)
class FittedLambdaMART:
    """The trees, and a curve from a score to a propensity."""

    trees: Boosted
    curve: Optional["IsotonicCurve"] = None
    recipe: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def score(self, pairs: Pairs, *, threads: int = 1) -> Float64[np.ndarray, "P"]:
        """Higher is better; comparable within a user. Raises DataError for a missing feature."""
        return self.trees(pairs.columns, "candidates", num_threads=threads)

    def propensity(self, scores: Float64[np.ndarray, "P"]) -> Float64[np.ndarray, "P"]:
        """The probability that a pair of this score is bought, given that its user buys.

        Raises ConfigError before `calibrated`.
        """
        if self.curve is None:
            raise ConfigError(
                "this ranker is not calibrated; calibrate it on a window that it did not train on"
            )
        return self.curve(scores)

    def calibrated(
        self, scores: Float64[np.ndarray, "P"], bought: Bool[np.ndarray, "P"]
    ) -> "FittedLambdaMART":
        """The same, calibrated on pairs of the buyers of a window after those it trained on."""
        return replace(self, curve=IsotonicCurve.of(scores, bought))

    def save(self, folder: Path) -> None:
        """A folder, whole or not at all."""
        self.trees.save(folder, "ranker", self)

    def problems(self) -> Iterator[tuple[str, str]]:
        """See encoders.state.Agrees."""
        yield from option_problems(LambdaMART, self.recipe)
        if self.curve is not None and not self.curve.rises():
            yield "curve", "does not rise within 0 and 1"

    @staticmethod
    def load(folder: Path | str) -> "FittedLambdaMART":
        """What `save` wrote: the same scores. Raises DataError."""
        return Boosted.load(folder, "ranker", FittedLambdaMART)


@dataclass(frozen=True, slots=True)
class IsotonicCurve:
    """A rising curve, by isotonic regression: straight between its points, flat outside."""

    at: Float64[np.ndarray, "N"]
    value: Float64[np.ndarray, "N"]

    def __call__(self, scores: Float64[np.ndarray, "P"]) -> Float64[np.ndarray, "P"]:
        return np.interp(scores, self.at, self.value)

    @staticmethod
    def of(
        scores: Float64[np.ndarray, "P"], truth: Bool[np.ndarray, "P"] | Float64[np.ndarray, "P"]
    ) -> "IsotonicCurve":
        """Raises DataError where there is nothing to fit."""
        from scipy.optimize import isotonic_regression

        if not len(scores):
            raise DataError("calibration", ["nothing to calibrate on"])
        at, place = np.unique(scores, return_inverse=True)
        weight = np.bincount(place).astype(np.float64)
        fit = isotonic_regression(
            np.bincount(place, np.asarray(truth, np.float64)) / weight, weights=weight
        )
        starts = np.asarray(fit.blocks[:-1], np.int64)
        middle = np.add.reduceat(at * weight, starts) / np.add.reduceat(weight, starts)
        return IsotonicCurve(middle, np.clip(np.asarray(fit.x)[starts], 0, 1))

    def rises(self) -> bool:
        """Whether it has points, from left to right, that rise within 0 and 1."""
        value = self.value
        rising = bool((np.diff(self.at) > 0).all() and (np.diff(value) >= 0).all())
        return len(value) > 0 and rising and bool(value[0] >= 0 and value[-1] <= 1)


def _sampled(
    pairs: Pairs, bought: np.ndarray, negatives: int, rng: RNG
) -> tuple[Pairs, np.ndarray]:
    """The users who bought one of their candidates, with so many that they did not buy."""
    rows = pairs.rows
    useful = np.bincount(rows, bought, len(pairs.users)) > 0
    keep = useful[rows]
    if negatives:
        draw = np.where(bought, -1.0, rng.generator().random(len(pairs)))
        order = np.lexsort((draw, rows))
        turn = np.empty(len(order), np.int64)
        turn[order] = np.arange(len(order)) - pairs.starts[rows[order]]
        keep &= bought | (
            turn - np.bincount(rows, bought, len(pairs.users)).astype(np.int64)[rows] < negatives
        )
    kept = pairs.where(keep)
    return kept.take(np.flatnonzero(useful)), bought[keep]
