"""Purchase propensity: the probability that a user buys in the window after a cutoff."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from clickprint.core.errors import DataError
from clickprint.core.files import whole
from clickprint.core.options import AtLeast
from clickprint.core.rng import RNG
from clickprint.recommenders.trees import Fraction, Trees, boost, importance, opened, read_model

MODEL, ABOUT = "model.txt", "propensity.json"
LEAST = 1e-6  # propensities stay that far from 0 and 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Propensity(Trees):
    """LightGBM's log loss over columns of users, a row a user and window."""

    trees: Annotated[int, AtLeast(1)] = 150
    leaves: Annotated[int, AtLeast(2)] = 15
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
        names = _checked(examples)
        booster = boost(
            np.concatenate([np.stack([c[n] for n in names], 1) for c, _ in examples]),
            np.concatenate([y for _, y in examples]),
            names,
            params=self.params("binary", rng),
            trees=self.trees,
        )
        return FittedPropensity(
            names, booster.model_to_string(num_iteration=-1), recipe=asdict(self)
        )


@dataclass(frozen=True, slots=True)
class FittedPropensity:
    """Trees as LightGBM writes them, their features, and the line that calibrates log odds."""

    names: list[str]
    model: str = field(repr=False)
    slope: float = 1.0
    shift: float = 0.0
    recipe: dict[str, Any] = field(default_factory=dict, repr=False)

    def of(self, columns: Mapping[str, Float32[np.ndarray, "_"]]) -> Float64[np.ndarray, "U"]:
        """Raises DataError where a feature is missing."""
        return expit(self.slope * self._odds(columns) + self.shift)

    def _odds(self, columns: Mapping[str, Float32[np.ndarray, "_"]]) -> Float64[np.ndarray, "U"]:
        if missing := [n for n in self.names if n not in columns]:
            raise DataError(
                "users", [f"no column {n!r}, which the trees learned with" for n in missing]
            )
        matrix = np.stack([columns[n] for n in self.names], 1)
        if not len(matrix):
            return np.zeros(0)
        found = np.asarray(
            opened(self.model).predict(
                matrix, raw_score=True, num_threads=self.recipe.get("threads", 1)
            ),
            np.float64,
        )
        return found

    def calibrated(
        self, columns: Mapping[str, Float32[np.ndarray, "_"]], bought: Bool[np.ndarray, "U"]
    ) -> "FittedPropensity":
        """The same, calibrated on users of a window that it did not learn from. Order stays."""
        slope, shift = platt(self._odds(columns), bought)
        return replace(self, slope=slope, shift=shift)

    @property
    def importance(self) -> dict[str, float]:
        """How much each column lowered the loss, all together 1; the most useful first."""
        return importance(self.model, self.names)

    def save(self, folder: Path) -> None:
        """A folder with the model as text and the rest as JSON, whole or not at all."""
        with whole(Path(folder)) as part:
            part.mkdir(parents=True)
            (part / MODEL).write_text(self.model, "utf-8")
            about = {
                "format": 1,
                "names": self.names,
                "slope": self.slope,
                "shift": self.shift,
                "recipe": self.recipe,
            }
            (part / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")

    @staticmethod
    def load(folder: Path | str) -> "FittedPropensity":
        """What `save` wrote: the same propensities. Raises DataError."""
        folder = Path(folder)
        try:
            about = json.loads((folder / ABOUT).read_text("utf-8"))
            model = (folder / MODEL).read_text("utf-8")
            found = FittedPropensity(
                list(about["names"]),
                model,
                float(about["slope"]),
                float(about["shift"]),
                dict(about["recipe"]),
            )
            if about["format"] != 1:
                raise ValueError(f"format {about['format']}, expected 1")
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise DataError(
                str(folder), [f"no propensity model ({fault!r}); train it again"]
            ) from None
        if read_model(model, str(folder)).feature_name() != found.names:
            raise DataError(
                str(folder), [f"{MODEL} and {ABOUT} name different columns; train it again"]
            )
        return found


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


def _checked(examples: Sequence[tuple[Mapping[str, np.ndarray], np.ndarray]]) -> list[str]:
    if not examples:
        raise DataError("examples", ["no window to learn from"])
    names = list(examples[0][0])
    faults = [
        f"window {n} has other columns than the first"
        for n, (c, _) in enumerate(examples)
        if list(c) != names
    ]
    faults += [
        f"window {n}, {name}: {len(v)} values of {len(y)} users"
        for n, (c, y) in enumerate(examples)
        for name, v in c.items()
        if len(v) != len(y)
    ]
    if not faults and not any(y.any() for _, y in examples):
        faults = ["nobody bought; take more windows"]
    if faults:
        raise DataError("examples", faults)
    return names
