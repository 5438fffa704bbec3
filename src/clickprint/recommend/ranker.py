"""The order of candidates: gradient-boosted trees that learned it on earlier windows, and the chance that a candidate is bought."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import whole
from clickprint.core.rng import RNG
from clickprint.recommend.pairs import Pairs

MODEL, ABOUT = "model.txt", "ranker.json"
BLOCK = 1 << 18  # pairs scored at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranker:
    """LambdaMART (Burges 2010) as LightGBM has it, or `binary`: each pair's chance by itself.

    A group is one user's candidates in one window; `negatives` of them that were not bought are kept, drawn by the seed (0: all).
    """

    objective: str = "lambdarank"
    trees: int = 200
    leaves: int = 31
    rate: float = 0.05
    least: int = 50  # pairs in a leaf
    columns: float = 0.7  # share of the features that a tree may use
    rows: float = 0.8  # share of the pairs that a tree sees
    penalty: float = 1.0
    negatives: int = 0
    truncation: int = 30  # places whose order counts
    threads: int = 1

    def __post_init__(self) -> None:
        faults = [
            f"{n}: found {getattr(self, n)}, expected at least 1"
            for n in ("trees", "least", "truncation", "threads")
            if getattr(self, n) < 1
        ]
        faults += [] if self.leaves >= 2 else [f"leaves: found {self.leaves}, expected at least 2"]
        faults += (
            []
            if self.objective in ("lambdarank", "binary")
            else [f"objective: found {self.objective!r}, expected 'lambdarank' or 'binary'"]
        )
        faults += [
            f"{n}: found {getattr(self, n)}, expected above 0, at most 1"
            for n in ("rate", "columns", "rows")
            if not 0 < getattr(self, n) <= 1
        ]
        faults += [f"{n}: found {getattr(self, n)}, expected 0 or more" for n in ("negatives", "penalty") if getattr(self, n) < 0]
        if faults:
            raise ConfigError("; ".join(faults))

    def fit(self, examples: list[tuple[Pairs, Bool[np.ndarray, "_"]]], *, rng: RNG) -> "FittedRanker":
        """From (candidates, whether each was bought), one a window. Users who bought none of theirs teach nothing and are left out.

        Raises DataError where no candidate was bought, or windows have other columns.
        """
        names = check(examples)
        parts = [_sampled(p, y, self.negatives, rng.child("negatives").child(str(n))) for n, (p, y) in enumerate(examples)]
        booster = boost(
            np.concatenate([p.matrix(names) for p, _ in parts]),
            np.concatenate([y for _, y in parts]),
            names,
            groups=np.concatenate([p.lengths for p, _ in parts]) if self.objective == "lambdarank" else None,
            params=self.params(rng),
            trees=self.trees,
        )
        return FittedRanker(names, booster.model_to_string(num_iteration=-1), recipe=asdict(self))

    def params(self, rng: RNG) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "num_leaves": self.leaves,
            "learning_rate": self.rate,
            "min_data_in_leaf": self.least,
            "feature_fraction": self.columns,
            "bagging_fraction": self.rows,
            "bagging_freq": 1,
            "lambda_l2": self.penalty,
            "num_threads": self.threads,
            **({"lambdarank_truncation_level": self.truncation, "bagging_by_query": True} if self.objective == "lambdarank" else {}),
            **steady(rng),
        }


@dataclass(frozen=True, slots=True)
class FittedRanker:
    """Trees as LightGBM writes them, the names of their features in order, and steps from a score to a chance."""

    names: list[str]
    model: str = field(repr=False)
    steps: "Steps | None" = None
    recipe: dict[str, Any] = field(default_factory=dict, repr=False)

    def score(self, pairs: Pairs, *, threads: int = 1) -> Float64[np.ndarray, "P"]:
        """Higher is better; comparable within a user. Raises DataError where the pairs lack a feature."""
        if missing := [n for n in self.names if n not in pairs.columns]:
            raise DataError("candidates", [f"no feature {n!r}, which the ranker learned with" for n in missing])
        booster = opened(self.model)
        parts = []
        for start in range(0, len(pairs), BLOCK):
            some = np.stack([pairs.columns[n][start : start + BLOCK] for n in self.names], 1)
            parts.append(booster.predict(some, num_threads=threads))
        return np.concatenate(parts) if parts else np.zeros(0)

    def chance(self, scores: Float64[np.ndarray, "P"]) -> Float64[np.ndarray, "P"]:
        """The chance that a pair of this score is bought, given that its user buys. Raises ConfigError before `calibrated`."""
        if self.steps is None:
            raise ConfigError("this ranker has no chances yet; calibrate it on a window that it did not learn from")
        return self.steps(scores)

    def calibrated(self, scores: Float64[np.ndarray, "P"], bought: Bool[np.ndarray, "P"]) -> "FittedRanker":
        """The same with chances that fit these pairs, which should be of buyers in a window later than those that it learned from."""
        return FittedRanker(self.names, self.model, Steps.of(scores, bought), self.recipe)

    @property
    def importance(self) -> dict[str, float]:
        """How much each feature lowered the loss, all together 1; the most useful first."""
        return importance(self.model, self.names)

    def save(self, folder: Path) -> None:
        """A folder with the model as text and the rest as JSON, whole or not at all."""
        with whole(Path(folder)) as part:
            part.mkdir(parents=True)
            (part / MODEL).write_text(self.model, "utf-8")
            about = {"format": 1, "names": self.names, "steps": self.steps and self.steps.json(), "recipe": self.recipe}
            (part / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")

    @staticmethod
    def load(folder: Path | str) -> "FittedRanker":
        """What `save` wrote: the same scores. Raises DataError."""
        folder = Path(folder)
        try:
            about = json.loads((folder / ABOUT).read_text("utf-8"))
            model = (folder / MODEL).read_text("utf-8")
            found = FittedRanker(list(about["names"]), model, about["steps"] and Steps.from_json(about["steps"]), dict(about["recipe"]))
            if about["format"] != 1:
                raise ValueError(f"format {about['format']}, expected 1")
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise DataError(str(folder), [f"not a ranker ({fault!r}); train it again"]) from None
        trees = read_model(model, str(folder))
        if trees.feature_name() != found.names:
            raise DataError(str(folder), [f"{MODEL} and {ABOUT} name different features; train it again"])
        return found


@dataclass(frozen=True, slots=True)
class Steps:
    """A rising curve through points: isotonic regression, straight between the middles of its steps, flat outside."""

    at: Float64[np.ndarray, "N"]
    value: Float64[np.ndarray, "N"]

    def __call__(self, scores: Float64[np.ndarray, "P"]) -> Float64[np.ndarray, "P"]:
        return np.interp(scores, self.at, self.value)

    @staticmethod
    def of(scores: Float64[np.ndarray, "P"], truth: Bool[np.ndarray, "P"] | Float64[np.ndarray, "P"]) -> "Steps":
        """Raises DataError where there is nothing to fit."""
        from scipy.optimize import isotonic_regression

        if not len(scores):
            raise DataError("calibration", ["nothing to calibrate on"])
        at, place = np.unique(scores, return_inverse=True)
        weight = np.bincount(place).astype(np.float64)
        fit = isotonic_regression(np.bincount(place, np.asarray(truth, np.float64)) / weight, weights=weight)
        starts = np.asarray(fit.blocks[:-1], np.int64)
        middle = np.add.reduceat(at * weight, starts) / np.add.reduceat(weight, starts)
        return Steps(middle, np.clip(np.asarray(fit.x)[starts], 0, 1))

    def json(self) -> dict[str, list[float]]:
        return {"at": self.at.tolist(), "value": self.value.tolist()}

    @staticmethod
    def from_json(found: dict[str, list[float]]) -> "Steps":
        return Steps(np.array(found["at"], np.float64), np.array(found["value"], np.float64))


# ------------------------------------------------------------------------------------------------------------ LightGBM
def steady(rng: RNG) -> dict[str, Any]:
    """Options without which two runs differ."""
    return {"seed": rng.child("trees").integer() % 2**31, "deterministic": True, "force_row_wise": True, "verbosity": -1, "max_bin": 127}


def boost(
    matrix: np.ndarray, truth: np.ndarray, names: list[str], *, params: dict[str, Any], trees: int, groups: np.ndarray | None = None
) -> Any:
    """A booster. Raises ConfigError where LightGBM is not installed."""
    lightgbm = _lightgbm()
    data = lightgbm.Dataset(
        matrix,
        np.asarray(truth, np.float32),
        group=groups,
        feature_name=names,
        free_raw_data=True,
        params={"max_bin": params["max_bin"], "verbosity": -1, "num_threads": params["num_threads"]},
    )
    return lightgbm.train(params, data, trees)


def importance(model: str, names: list[str]) -> dict[str, float]:
    """Each feature's share of the gain; the largest first."""
    gain = opened(model).feature_importance("gain")
    order = np.argsort(-gain, kind="stable")
    return {names[n]: float(gain[n] / max(gain.sum(), 1e-30)) for n in order}


def opened(model: str) -> Any:
    return _lightgbm().Booster(model_str=model)


def read_model(model: str, where: str) -> Any:
    """The booster that a text describes. Raises DataError."""
    lightgbm = _lightgbm()
    try:
        return lightgbm.Booster(model_str=model)
    except (lightgbm.basic.LightGBMError, ValueError, KeyError) as fault:
        raise DataError(where, [f"not a model of LightGBM ({str(fault).splitlines()[0]}); train it again"]) from None


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise ConfigError("ranking needs LightGBM; pip install 'clickprint[recommend]'") from None
    return lightgbm


def check(examples: list[tuple[Pairs, Bool[np.ndarray, "_"]]]) -> list[str]:
    """The names of the features that all windows share. Raises DataError."""
    if not examples:
        raise DataError("examples", ["no window to learn from"])
    names = list(examples[0][0].columns)
    faults = [f"window {n} has other columns than the first" for n, (p, _) in enumerate(examples) if list(p.columns) != names]
    faults += [f"window {n}: {len(y)} labels of {len(p)} pairs" for n, (p, y) in enumerate(examples) if len(y) != len(p)]
    if not faults and not any(y.any() for _, y in examples):
        faults = ["no candidate was bought; take more windows or more candidates"]
    if faults:
        raise DataError("examples", faults)
    return names


def _sampled(pairs: Pairs, bought: np.ndarray, negatives: int, rng: RNG) -> tuple[Pairs, np.ndarray]:
    """The users who bought one of their candidates, with so many that they did not buy."""
    rows = pairs.rows
    useful = np.bincount(rows, bought, len(pairs.users)) > 0
    keep = useful[rows]
    if negatives:
        draw = np.where(bought, -1.0, rng.generator().random(len(pairs)))
        order = np.lexsort((draw, rows))
        turn = np.empty(len(order), np.int64)
        turn[order] = np.arange(len(order)) - pairs.starts[rows[order]]
        keep &= bought | (turn - np.bincount(rows, bought, len(pairs.users)).astype(np.int64)[rows] < negatives)
    kept = pairs.where(keep)
    return kept.take(np.flatnonzero(useful)), bought[keep]
