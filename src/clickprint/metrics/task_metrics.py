"""Metrics as values that a task can hold: called for a number, resampled for an interval.

They fit `tasks.task.Metric`. Of several labels or columns every metric but novelty and diversity
is the mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from clickprint.metrics import values
from clickprint.metrics.beyond_accuracy import (
    POWER,
    TOP,
    diversity,
    diversity_of_users,
    novelty,
    novelty_of_users,
)
from clickprint.metrics.compare import resampled_auroc, weighted_mean
from clickprint.metrics.labels import macro_auroc

Truth = Shaped[np.ndarray, "U T"]
Prediction = Float32[np.ndarray, "U T"]
Weights = Float32[np.ndarray, "R U"]


@dataclass(frozen=True, slots=True)
class MacroAUROC:
    """The mean area over labels.

    A label without a positive or a negative counts 0, or is left out when `live`. In resamples
    first order.
    """

    def __call__(self, truth: Truth, prediction: Prediction, *, live: bool = False) -> float:
        return macro_auroc(truth, prediction, live=live)

    def resample(
        self, truth: Truth, prediction: Prediction, weights: Weights, *, live: bool = False
    ) -> Float64[np.ndarray, "R"]:
        return resampled_auroc(truth, prediction, weights, live=live)


@dataclass(frozen=True, slots=True)
class AUROC:
    """The area of one label.

    Raises ValueError where there are several: that would be MacroAUROC.
    """

    def __call__(self, truth: Truth, prediction: Prediction, *, live: bool = False) -> float:
        return macro_auroc(_one(truth), prediction, live=live)

    def resample(
        self, truth: Truth, prediction: Prediction, weights: Weights, *, live: bool = False
    ) -> Float64[np.ndarray, "R"]:
        return resampled_auroc(_one(truth), prediction, weights, live=live)


@dataclass(frozen=True, slots=True)
class Novelty:
    """`beyond.novelty`, whose `popularity` stands in the order of the labels.

    Needs no truth: `live` changes nothing.
    """

    popularity: tuple[float, ...]
    top: int = TOP

    def __call__(self, truth: Truth, prediction: Prediction, *, live: bool = False) -> float:
        return novelty(prediction, self._popularity(prediction), top=self.top)

    def resample(
        self, truth: Truth, prediction: Prediction, weights: Weights, *, live: bool = False
    ) -> Float64[np.ndarray, "R"]:
        return (
            1
            - weighted_mean(
                novelty_of_users(prediction, self._popularity(prediction), top=self.top), weights
            )
        ) ** POWER

    def _popularity(self, prediction: Prediction) -> Float64[np.ndarray, "T"]:
        if len(self.popularity) != prediction.shape[1]:
            raise ValueError(
                f"novelty knows the popularity of {len(self.popularity)} labels, but"
                f" {prediction.shape[1]} were predicted"
            )
        return np.array(self.popularity, np.float64)


@dataclass(frozen=True, slots=True)
class Diversity:
    """`beyond.diversity`. Needs no truth: `live` changes nothing."""

    def __call__(self, truth: Truth, prediction: Prediction, *, live: bool = False) -> float:
        return diversity(prediction)

    def resample(
        self, truth: Truth, prediction: Prediction, weights: Weights, *, live: bool = False
    ) -> Float64[np.ndarray, "R"]:
        return weighted_mean(diversity_of_users(prediction), weights)


@dataclass(frozen=True, slots=True)
class Spearman:
    """The mean rank correlation of columns.

    A column whose truth is constant counts 0, or is left out when `live`. In resamples first
    order.
    """

    def __call__(self, truth: Truth, prediction: Prediction, *, live: bool = False) -> float:
        return _everyone(self, truth, prediction, live)

    def resample(
        self, truth: Truth, prediction: Prediction, weights: Weights, *, live: bool = False
    ) -> Float64[np.ndarray, "R"]:
        return _mean_of_columns(values.spearman, truth, prediction, weights, live)


@dataclass(frozen=True, slots=True)
class R2:
    """The mean explained variance over columns.

    A column whose truth is constant counts 0, or is left out when `live`. Spend is heavy tailed: a
    task should ask for its logarithm, or a few users decide.
    """

    def __call__(self, truth: Truth, prediction: Prediction, *, live: bool = False) -> float:
        return _everyone(self, truth, prediction, live)

    def resample(
        self, truth: Truth, prediction: Prediction, weights: Weights, *, live: bool = False
    ) -> Float64[np.ndarray, "R"]:
        return _mean_of_columns(values.r2, truth, prediction, weights, live)


def _one(truth: Truth) -> Truth:
    if truth.shape[1] != 1:
        raise ValueError(f"AUROC is of one label, found {truth.shape[1]}; use MacroAUROC")
    return truth


def _everyone(metric: Spearman | R2, truth: Truth, prediction: Prediction, live: bool) -> float:
    return float(
        metric.resample(truth, prediction, np.ones((1, len(truth)), np.float32), live=live)[0]
    )


def _mean_of_columns(
    measure: Callable[..., Float64[np.ndarray, "R"]],
    truth: Truth,
    prediction: Prediction,
    weights: Weights,
    live: bool,
) -> Float64[np.ndarray, "R"]:
    dead = values.constant(truth)
    everyone = np.ones((1, len(truth)), np.float32)
    total = np.zeros(len(weights))
    for t in np.flatnonzero(~dead):
        found, own = (measure(truth[:, t], prediction[:, t], w) for w in (weights, everyone))
        # Where a resample leaves nothing to explain, the column keeps its value among all users;
        # that is 0 where everyone was predicted the same.
        total += np.where(np.isnan(found), np.nan_to_num(own), found)
    count = int((~dead).sum()) if live else len(dead)
    return total / count if count else np.full(len(weights), np.nan)
