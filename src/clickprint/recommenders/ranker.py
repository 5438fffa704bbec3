"""The order of candidates, by boosted trees that learned it on earlier windows."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Bool, Float64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import whole
from clickprint.core.options import AtLeast, OneOf
from clickprint.core.rng import RNG
from clickprint.recommenders.pairs import Pairs
from clickprint.recommenders.trees import Trees, boost, importance, opened, read_model

MODEL, ABOUT = "model.txt", "ranker.json"
BLOCK = 1 << 18  # pairs scored at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class LambdaMART(Trees):
    """LightGBM's ranking trees (Burges 2010). A group is one user's candidates in one window.

    - `objective`: "lambdarank", or "binary": each pair's probability by itself.
    - `negatives`: how many candidates that were not bought a user keeps, drawn by the seed; 0: all.
    - `truncation`: places of a list whose order counts.
    """

    objective: Annotated[str, OneOf("lambdarank", "binary")] = "lambdarank"
    negatives: Annotated[int, AtLeast(0)] = 0
    truncation: Annotated[int, AtLeast(1)] = 30

    def fit(
        self, examples: list[tuple[Pairs, Bool[np.ndarray, "_"]]], *, rng: RNG
    ) -> "FittedLambdaMART":
        """From (candidates, whether each was bought), one a window.

        Users who bought none of their candidates teach nothing and are left out. Raises DataError
        where no candidate was bought, or windows have other columns.
        """
        names = check_examples(examples)
        parts = [
            _sampled(p, y, self.negatives, rng.child("negatives").child(str(n)))
            for n, (p, y) in enumerate(examples)
        ]
        more = (
            {"lambdarank_truncation_level": self.truncation, "bagging_by_query": True}
            if self.objective == "lambdarank"
            else {}
        )
        booster = boost(
            np.concatenate([p.matrix(names) for p, _ in parts]),
            np.concatenate([y for _, y in parts]),
            names,
            groups=np.concatenate([p.lengths for p, _ in parts])
            if self.objective == "lambdarank"
            else None,
            params=self.params(self.objective, rng) | more,
            trees=self.trees,
        )
        return FittedLambdaMART(
            names, booster.model_to_string(num_iteration=-1), recipe=asdict(self)
        )


@dataclass(frozen=True, slots=True)
class FittedLambdaMART:
    """Trees as LightGBM writes them, their features in order, and a curve from score to propensity."""

    names: list[str]
    model: str = field(repr=False)
    curve: "IsotonicCurve | None" = None
    recipe: dict[str, Any] = field(default_factory=dict, repr=False)

    def score(self, pairs: Pairs, *, threads: int = 1) -> Float64[np.ndarray, "P"]:
        """Higher is better; comparable within a user. Raises DataError where the pairs lack a feature."""
        if missing := [n for n in self.names if n not in pairs.columns]:
            raise DataError(
                "candidates", [f"no feature {n!r}, which the ranker learned with" for n in missing]
            )
        booster = opened(self.model)
        parts = []
        for start in range(0, len(pairs), BLOCK):
            some = np.stack([pairs.columns[n][start : start + BLOCK] for n in self.names], 1)
            parts.append(booster.predict(some, num_threads=threads))
        return np.concatenate(parts) if parts else np.zeros(0)

    def propensity(self, scores: Float64[np.ndarray, "P"]) -> Float64[np.ndarray, "P"]:
        """The probability that a pair of this score is bought, given that its user buys.

        Raises ConfigError before `calibrated`.
        """
        if self.curve is None:
            raise ConfigError(
                "this ranker is not calibrated; calibrate it on a window that it did not learn from"
            )
        return self.curve(scores)

    def calibrated(
        self, scores: Float64[np.ndarray, "P"], bought: Bool[np.ndarray, "P"]
    ) -> "FittedLambdaMART":
        """The same, calibrated on pairs of the buyers of a later window than those it learned from."""
        return FittedLambdaMART(
            self.names, self.model, IsotonicCurve.of(scores, bought), self.recipe
        )

    @property
    def importance(self) -> dict[str, float]:
        """How much each feature lowered the loss, all together 1; the most useful first."""
        return importance(self.model, self.names)

    def save(self, folder: Path) -> None:
        """A folder with the model as text and the rest as JSON, whole or not at all."""
        with whole(Path(folder)) as part:
            part.mkdir(parents=True)
            (part / MODEL).write_text(self.model, "utf-8")
            about = {
                "format": 1,
                "names": self.names,
                "curve": self.curve and self.curve.json(),
                "recipe": self.recipe,
            }
            (part / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")

    @staticmethod
    def load(folder: Path | str) -> "FittedLambdaMART":
        """What `save` wrote: the same scores. Raises DataError."""
        folder = Path(folder)
        try:
            about = json.loads((folder / ABOUT).read_text("utf-8"))
            model = (folder / MODEL).read_text("utf-8")
            found = FittedLambdaMART(
                list(about["names"]),
                model,
                about["curve"] and IsotonicCurve.from_json(about["curve"]),
                dict(about["recipe"]),
            )
            if about["format"] != 1:
                raise ValueError(f"format {about['format']}, expected 1")
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise DataError(str(folder), [f"not a ranker ({fault!r}); train it again"]) from None
        trees = read_model(model, str(folder))
        if trees.feature_name() != found.names:
            raise DataError(
                str(folder), [f"{MODEL} and {ABOUT} name different features; train it again"]
            )
        return found


@dataclass(frozen=True, slots=True)
class IsotonicCurve:
    """A rising curve by isotonic regression: straight between the middles of steps, flat outside."""

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

    def json(self) -> dict[str, list[float]]:
        return {"at": self.at.tolist(), "value": self.value.tolist()}

    @staticmethod
    def from_json(found: dict[str, list[float]]) -> "IsotonicCurve":
        return IsotonicCurve(
            np.array(found["at"], np.float64), np.array(found["value"], np.float64)
        )


def check_examples(examples: list[tuple[Pairs, Bool[np.ndarray, "_"]]]) -> list[str]:
    """The names of the features that all windows share. Raises DataError."""
    if not examples:
        raise DataError("examples", ["no window to learn from"])
    names = list(examples[0][0].columns)
    faults = [
        f"window {n} has other columns than the first"
        for n, (p, _) in enumerate(examples)
        if list(p.columns) != names
    ]
    faults += [
        f"window {n}: {len(y)} labels of {len(p)} pairs"
        for n, (p, y) in enumerate(examples)
        if len(y) != len(p)
    ]
    if not faults and not any(y.any() for _, y in examples):
        faults = ["no candidate was bought; take more windows or more candidates"]
    if faults:
        raise DataError("examples", faults)
    return names


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
