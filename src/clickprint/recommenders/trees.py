"""Boosted trees by LightGBM: the options that ranker and propensity share, and models as texts."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clickprint.core.errors import ConfigError, DataError, first_line
from clickprint.core.files import whole
from clickprint.core.options import Between, check
from clickprint.core.rng import RNG

MODEL, ABOUT = "model.txt", "about.json"
BLOCK = 1 << 18  # rows that are scored at a time
Made = TypeVar("Made")
Fraction = Annotated[float, Between(0, 1, low_open=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trees:
    """Options of a model of boosted trees, in LightGBM's sense.

    - `trees`, `leaves`: how many trees, and how many leaves each.
    - `lr`: the learning rate.
    - `min_leaf`: the fewest rows in a leaf.
    - `column_fraction`, `row_fraction`: the share of features and of rows that a tree sees.
    - `l2`: how much large values of leaves cost.
    - `threads`: LightGBM's; the model does not depend on them.
    """

    trees: Annotated[int, Between(1, 100_000)] = 200
    leaves: Annotated[int, Between(2, 131_072)] = 31
    lr: Fraction = 0.05
    min_leaf: Annotated[int, Between(1, 1_000_000_000)] = 50
    column_fraction: Fraction = 0.7
    row_fraction: Fraction = 0.8
    l2: Annotated[float, Between(0, 1_000_000_000)] = 1.0
    threads: Annotated[int, Between(1, 1_024)] = 1

    def __post_init__(self) -> None:
        check(self)

    def params(self, objective: str, rng: RNG) -> dict[str, Any]:
        """LightGBM's names for them, and what two runs need to be the same."""
        return {
            "objective": objective,
            "num_leaves": self.leaves,
            "learning_rate": self.lr,
            "min_data_in_leaf": self.min_leaf,
            "feature_fraction": self.column_fraction,
            "bagging_fraction": self.row_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.l2,
            "num_threads": self.threads,
            "seed": rng.child("trees").integer() % 2**31,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "max_bin": 127,
        }


@dataclass(frozen=True, slots=True)
class Boosted:
    """Trees as LightGBM writes them, and their features in order."""

    names: list[str]
    model: str = field(repr=False)

    @staticmethod
    def fit(
        recipe: Trees,
        objective: str,
        matrix: Float32[np.ndarray, "N F"],
        truth: Bool[np.ndarray, "N"],
        names: list[str],
        *,
        rng: RNG,
        groups: Int64[np.ndarray, "G"] | None = None,
        **more: Any,
    ) -> "Boosted":
        """Raises ConfigError where LightGBM is not installed, or refuses."""
        params = recipe.params(objective, rng) | more
        shared = {n: params[n] for n in ("max_bin", "verbosity", "num_threads")}
        with _refusals() as lightgbm:
            data = lightgbm.Dataset(
                matrix,
                np.asarray(truth, np.float32),
                group=groups,
                feature_name=names,
                free_raw_data=True,
                params=shared,
            )
            found = lightgbm.train(params, data, recipe.trees)
            return Boosted(names, found.model_to_string(num_iteration=-1))

    def __call__(
        self, columns: Mapping[str, Float32[np.ndarray, "_"]], where: str, **options: Any
    ) -> Float64[np.ndarray, "N"]:
        """The trees' answer for each row, some rows at a time. Raises DataError for no column."""
        if missing := [n for n in self.names if n not in columns]:
            raise DataError(
                where, [f"no column {n!r}, which the trees learned with" for n in missing]
            )
        size, parts = len(columns[self.names[0]]), [np.zeros(0)]
        with _refusals() as lightgbm:
            booster = lightgbm.Booster(model_str=self.model)
            for start in range(0, size, BLOCK):
                some = np.stack([columns[n][start : start + BLOCK] for n in self.names], 1)
                parts.append(np.asarray(booster.predict(some, **options), np.float64))
        return np.concatenate(parts)

    @property
    def importance(self) -> dict[str, float]:
        """Each feature's share of the gain, together 1; the most useful first."""
        gain = _lightgbm().Booster(model_str=self.model).feature_importance("gain")
        order = np.argsort(-gain, kind="stable")
        return {self.names[n]: float(gain[n] / max(gain.sum(), 1e-30)) for n in order}

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """A folder with the model as text and the rest as JSON, whole or not at all."""
        with whole(Path(folder)) as part:
            part.mkdir(parents=True)
            (part / MODEL).write_text(self.model, "utf-8")
            text = json.dumps({"format": 1, "names": self.names, **about}, indent=1)
            (part / ABOUT).write_text(text + "\n", "utf-8")

    @staticmethod
    def load(folder: Path | str, made: Callable[["Boosted", Mapping[str, Any]], Made]) -> Made:
        """What `made` makes of the trees and the rest that `save` wrote. Raises DataError."""
        folder = Path(folder)
        try:
            about = json.loads((folder / ABOUT).read_text("utf-8"))
            if about["format"] != 1:
                raise ValueError(f"format {about['format']}, expected 1")
            trees = Boosted(list(about["names"]), (folder / MODEL).read_text("utf-8"))
            found = made(trees, about)
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise DataError(
                str(folder), [f"no trained trees ({fault!r}); train them again"]
            ) from None
        lightgbm = _lightgbm()
        try:
            names = lightgbm.Booster(model_str=trees.model).feature_name()
        except (lightgbm.basic.LightGBMError, ValueError, KeyError) as fault:
            message = str(fault).splitlines()[0]
            raise DataError(
                str(folder), [f"not a model of LightGBM ({message}); train it again"]
            ) from None
        if names != trees.names:
            raise DataError(
                str(folder), [f"{MODEL} and {ABOUT} name different columns; train it again"]
            )
        return found


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise ConfigError("ranking needs LightGBM; pip install 'clickprint[recommend]'") from None
    return lightgbm


@contextmanager
def _refusals() -> Iterator[Any]:
    """LightGBM, whose own errors are a ConfigError in the block."""
    lightgbm = _lightgbm()
    try:
        yield lightgbm
    except lightgbm.basic.LightGBMError as fault:
        said = first_line(fault)
        raise ConfigError(
            f"LightGBM says: {said}; see the options of the ranker and of the propensity"
        ) from None


def shared_names(
    examples: Sequence[tuple[Mapping[str, np.ndarray], np.ndarray]], nobody: str
) -> list[str]:
    """The columns that all windows share, of (columns, labels) each.

    Raises DataError, also where no label is true: `nobody` says what that means.
    """
    if not examples:
        raise DataError("examples", ["no window to learn from"])
    names = list(examples[0][0])
    faults = [
        f"window {n} has other columns than the first"
        for n, (columns, _) in enumerate(examples)
        if list(columns) != names
    ]
    faults += [
        f"window {n}, {name}: {len(values)} values of {len(labels)} labels"
        for n, (columns, labels) in enumerate(examples)
        for name, values in columns.items()
        if len(values) != len(labels)
    ]
    if not faults and not any(labels.any() for _, labels in examples):
        faults = [nobody]
    if faults:
        raise DataError("examples", faults)
    return names
