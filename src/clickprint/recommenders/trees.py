"""Boosted trees by LightGBM: the options that a ranker and the users' chances share, and the library's models as texts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.rng import RNG


@dataclass(frozen=True, kw_only=True, slots=True)
class Trees:
    """Options of a model of boosted trees, in LightGBM's sense."""

    trees: int = 200
    leaves: int = 31
    rate: float = 0.05
    least: int = 50  # rows in a leaf
    columns: float = 0.7  # share of the features that a tree may use
    rows: float = 0.8  # share of the rows that a tree sees
    penalty: float = 1.0  # on the squares of the leaves' values
    threads: int = 1

    def __post_init__(self) -> None:
        if faults := self.faults():
            raise ConfigError("; ".join(faults))

    def faults(self) -> list[str]:
        """What is wrong with the options, one sentence each."""
        faults = [
            f"{n}: found {getattr(self, n)}, expected at least 1"
            for n in ("trees", "least", "threads")
            if getattr(self, n) < 1
        ]
        faults += [] if self.leaves >= 2 else [f"leaves: found {self.leaves}, expected at least 2"]
        shares = [n for n in ("rate", "columns", "rows") if not 0 < getattr(self, n) <= 1]
        faults += [f"{n}: found {getattr(self, n)}, expected above 0, at most 1" for n in shares]
        return faults + (
            [] if self.penalty >= 0 else [f"penalty: found {self.penalty}, expected 0 or more"]
        )

    def params(self, objective: str, rng: RNG) -> dict[str, Any]:
        """LightGBM's names for them, and what two runs need to be the same."""
        return {
            "objective": objective,
            "num_leaves": self.leaves,
            "learning_rate": self.rate,
            "min_data_in_leaf": self.least,
            "feature_fraction": self.columns,
            "bagging_fraction": self.rows,
            "bagging_freq": 1,
            "lambda_l2": self.penalty,
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
