"""How well numbers are predicted: by order (Spearman) and by size (R²).

For targets such as spend in the next window.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Num

from clickprint.metrics.compare import weighted_sums


def constant(truth: Num[np.ndarray, "U T"]) -> Bool[np.ndarray, "T"]:
    """The columns whose true values are all equal: there is nothing to explain."""
    return (truth == truth[:1]).all(axis=0)


def ranks(values: Num[np.ndarray, "U"]) -> Float64[np.ndarray, "U"]:
    """1 for the lowest; equal values share the average rank."""
    ordered = np.sort(values)
    return (
        np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1
    ) / 2


def spearman(
    truth: Num[np.ndarray, "U"],
    prediction: Num[np.ndarray, "U"],
    weights: Float32[np.ndarray, "R U"],
) -> Float64[np.ndarray, "R"]:
    """The correlation of ranks, in each resample; NaN where either side is constant there.

    The ranks are those among all users, also in a resample: a first-order shortcut that spares R
    sorts.
    """
    a, b = ranks(truth), ranks(prediction)
    # Within ±½: the sums lose no digits.
    a, b = (a / len(a) - (len(a) + 1) / (2 * len(a)), b / len(b) - (len(b) + 1) / (2 * len(b)))
    sums = weighted_sums(np.stack([np.ones(len(a)), a, b, a * a, b * b, a * b], axis=1), weights)
    _, ma, mb, aa, bb, ab = (sums / np.maximum(sums[:, :1], 1)).T
    both = _spread(aa, ma) * _spread(bb, mb)
    return np.where(both > 0, (ab - ma * mb) / np.sqrt(np.where(both > 0, both, 1)), np.nan)


def r2(
    truth: Num[np.ndarray, "U"],
    prediction: Num[np.ndarray, "U"],
    weights: Float32[np.ndarray, "R U"],
) -> Float64[np.ndarray, "R"]:
    """1 − squared error / variance in each resample, exact; NaN where the truth is constant.

    Below 0 when worse than the mean.
    """
    y, p = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    around = y - y.mean()
    sums = weighted_sums(
        np.stack([np.ones(len(y)), (y - p) ** 2, around, around**2], axis=1), weights
    )
    _, error, middle, square = (sums / np.maximum(sums[:, :1], 1)).T
    spread = _spread(square, middle)
    return np.where(spread > 0, 1.0 - error / np.where(spread > 0, spread, 1), np.nan)


def _spread(
    square: Float64[np.ndarray, "R"], middle: Float64[np.ndarray, "R"]
) -> Float64[np.ndarray, "R"]:
    """Mean square less squared mean; what rounding leaves of a constant is 0."""
    found = square - middle**2
    return np.where(found > 1e-12 * square, found, 0.0)
