"""Finding ids in arrays, and one number for a pair of positions. No other module does either."""

import numpy as np
from jaxtyping import Bool, Int64, Shaped


def positions(
    known: Shaped[np.ndarray, "V"], values: Shaped[np.ndarray, "..."]
) -> Int64[np.ndarray, "..."]:
    """The position of each value in `known` (sorted, each once), −1 where it is not there."""
    if not len(known):
        return np.full(values.shape, -1, np.int64)
    nearest = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[nearest] == values, nearest, -1)


def positions_in_any_order(
    known: Shaped[np.ndarray, "V"], values: Shaped[np.ndarray, "..."]
) -> Int64[np.ndarray, "..."]:
    """The position of each value in `known`, in any order; of equal ones the first; else −1."""
    if (known[1:] >= known[:-1]).all():
        return positions(known, values)
    order = np.argsort(known, kind="stable")
    position = positions(known[order], values)
    return np.where(position < 0, -1, order[position])


def among(
    known: Shaped[np.ndarray, "V"], values: Shaped[np.ndarray, "..."]
) -> Bool[np.ndarray, "..."]:
    """Whether each value is in `known` (sorted, each once)."""
    return positions(known, values) >= 0


def pair_keys(
    first: Int64[np.ndarray, "..."], second: Int64[np.ndarray, "..."], size: int
) -> Int64[np.ndarray, "..."]:
    """One number for each pair of positions, in the order of (first, second).

    Every `second` is from 0 to below `size`, and `first` times `size` fits in int64.
    """
    return first * np.int64(max(size, 1)) + second


def pairs_of_keys(
    keys: Int64[np.ndarray, "N"], size: int
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
    """The pairs that `pair_keys` made these numbers of."""
    return keys // max(size, 1), keys % max(size, 1)
