"""Calibration: whether what is predicted with probability p happens in a share p of the cases."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64


class Bin(NamedTuple):
    """Cases of about the same predicted probability."""

    size: int
    predicted: float
    """The mean predicted probability."""
    observed: float
    """The share in which it happened."""


def equal_count_bins(
    predicted: Float64[np.ndarray, "N"], happened: Bool[np.ndarray, "N"], count: int = 10
) -> list[Bin]:
    """Cases in `count` bins of as many cases each, the lowest probability first.

    Equal probabilities keep their order; with fewer cases than bins a bin has one case.
    """
    order = np.argsort(predicted, kind="stable")
    parts = [rows for rows in np.array_split(order, count) if len(rows)]
    return [
        Bin(len(rows), float(predicted[rows].mean()), float(happened[rows].mean()))
        for rows in parts
    ]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean over cases of |predicted − observed| of their bin; 0 without a case.

    Source: Naeini et al. 2015, here with equal-count bins.
    """
    total = sum(b.size for b in bins)
    return sum(b.size * abs(b.predicted - b.observed) for b in bins) / max(total, 1)
