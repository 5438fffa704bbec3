"""Boosted trees by LightGBM: the options that ranker and propensity share, and models as texts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clickprint.core.errors import ConfigError, DataError, first_line
from clickprint.core.forms import reading
from clickprint.core.options import Between, Faults, check
from clickprint.core.rng import RNG
from clickprint.encoders import state

MODEL = "model.txt"
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

    def save(self, folder: Path | str, name: str, fitted: Any) -> None:
        """Writes the folder of a fitted thing that has these `trees`: whole or not at all.

        The model is a text beside the other fields. `name`: what is fitted.
        """
        told = {f.name: getattr(fitted, f.name) for f in fields(fitted) if f.name != "trees"}

        def write_model(path: Path) -> None:
            path.write_text(self.model, "utf-8")

        state.write(Path(folder), name, told, {MODEL: write_model})

    @staticmethod
    def load(folder: Path | str, name: str, form: type[Made]) -> Made:
        """What `save` wrote, as a `form`. Raises DataError."""
        return state.read(Path(folder), name, form, files={"trees": Boosted.read})

    @staticmethod
    def read(folder: Path) -> "Boosted":
        """The trees in a folder, once it is known that they are whole. Raises DataError."""
        with reading(folder / MODEL, state.AGAIN):
            model = (folder / MODEL).read_bytes().decode("utf-8")
            check_model(model)
            lightgbm = _lightgbm()
            try:
                return Boosted(lightgbm.Booster(model_str=model).feature_name(), model)
            except lightgbm.basic.LightGBMError as fault:
                raise ValueError(f"no model of LightGBM ({first_line(fault)})") from None


def check_model(text: str) -> None:
    """Raises ValueError where a text is no whole model of LightGBM with numbers alone.

    LightGBM itself ends the process, or reads what is not its own, where a model was cut.
    """
    trees, whole_, _ = text.partition("\nend of trees")
    head, *parts = re.split(r"\nTree=\d+\n", trees)
    told = dict(re.findall(r"^(\w+)=(.*)$", head, re.MULTILINE))
    sizes, first = told.get("tree_sizes", "").split(), text.find("Tree=0")
    spans = text.find("end of trees") - first
    if not text.startswith("tree\n") or not whole_ or not parts or sum(map(int, sizes)) != spans:
        raise ValueError("no whole model of LightGBM")
    features = len(told["feature_names"].split())
    one = told["num_class"] == told["num_tree_per_iteration"] == "1"
    if not one or int(told["max_feature_idx"]) != features - 1 or len(parts) != len(sizes):
        raise ValueError(
            f"a model of LightGBM with other trees or columns than it says ({features})"
        )
    for number, part in enumerate(parts):
        if not _whole_tree(dict(re.findall(r"^(\w+)=(.*)$", part, re.MULTILINE)), features):
            raise ValueError(f"tree {number} of the model does not add up")


def _whole_tree(told: Mapping[str, str], features: int) -> bool:
    """Whether each leaf and each inner node but the first is the child of one node before it."""
    leaves = int(told["num_leaves"])
    of, left, right, kinds = (
        np.array(told[n].split(), np.int64)
        for n in ("split_feature", "left_child", "right_child", "decision_type")
    )
    cuts, values = (np.array(told[n].split(), np.float64) for n in ("threshold", "leaf_value"))
    lengths = {len(v) for v in (of, left, right, kinds, cuts)}
    if lengths != {leaves - 1} or len(values) != leaves or not 1 <= leaves <= 1 << 17:
        return False
    children, at = np.concatenate([left, right]), np.tile(np.arange(leaves - 1), 2)
    every = np.concatenate([np.arange(-leaves, 0), np.arange(1, leaves - 1)])
    return bool(
        (leaves == 1 or np.array_equal(np.sort(children), every))
        and ((children < 0) | (children > at)).all()
        and ((of >= 0) & (of < features)).all()
        and not np.isnan(cuts).any()
        and np.isfinite(values).all()
        and told.get("num_cat") == told.get("is_linear") == "0"
    )


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


def option_problems(form: Any, recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the options that a fitted thing was trained with."""
    faults = Faults()
    faults.read(form, recipe, "recipe")
    yield from faults


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
