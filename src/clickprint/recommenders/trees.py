"""Boosted trees by LightGBM: the options that ranker and propensity share, and models as texts."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.options import AtLeast, Between, check
from clickprint.core.rng import RNG

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

    trees: Annotated[int, AtLeast(1)] = 200
    leaves: Annotated[int, AtLeast(2)] = 31
    lr: Fraction = 0.05
    min_leaf: Annotated[int, AtLeast(1)] = 50
    column_fraction: Fraction = 0.7
    row_fraction: Fraction = 0.8
    l2: Annotated[float, AtLeast(0)] = 1.0
    threads: Annotated[int, AtLeast(1)] = 1

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


def boost(
    matrix: np.ndarray,
    truth: np.ndarray,
    names: list[str],
    *,
    params: dict[str, Any],
    trees: int,
    groups: np.ndarray | None = None,
) -> Any:
    """A booster. Raises ConfigError where LightGBM is not installed."""
    lightgbm = _lightgbm()
    data = lightgbm.Dataset(
        matrix,
        np.asarray(truth, np.float32),
        group=groups,
        feature_name=names,
        free_raw_data=True,
        params={
            "max_bin": params["max_bin"],
            "verbosity": -1,
            "num_threads": params["num_threads"],
        },
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
        raise DataError(
            where, [f"not a model of LightGBM ({str(fault).splitlines()[0]}); train it again"]
        ) from None


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise ConfigError("ranking needs LightGBM; pip install 'clickprint[recommend]'") from None
    return lightgbm
