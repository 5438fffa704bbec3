"""Finding ids in sorted arrays, and one number for a pair of ids: the only place that does either."""

import numpy as np
from jaxtyping import Bool, Int64, Shaped


def positions(
    known: Shaped[np.ndarray, "V"], values: Shaped[np.ndarray, "..."]
) -> Int64[np.ndarray, "..."]:
    """The position of each value in `known` (sorted, each once), −1 where it is not there."""
    if not len(known):
        return np.full(values.shape, -1, np.int64)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[place] == values, place, -1)


def positions_in_any_order(
    known: Shaped[np.ndarray, "V"], values: Shaped[np.ndarray, "..."]
) -> Int64[np.ndarray, "..."]:
    """The same for `known` in any order; of equal ones the first."""
    if (known[1:] >= known[:-1]).all():
        return positions(known, values)
    order = np.argsort(known, kind="stable")
    place = positions(known[order], values)
    return np.where(place < 0, -1, order[place])


def among(
    known: Shaped[np.ndarray, "V"], values: Shaped[np.ndarray, "..."]
) -> Bool[np.ndarray, "..."]:
    """Whether each value is in `known` (sorted, each once)."""
    return positions(known, values) >= 0


def pair_keys(
    first: Int64[np.ndarray, "N"], second: Int64[np.ndarray, "N"], size: int
) -> Int64[np.ndarray, "N"]:
    """One number a pair of positions, in the order of (first, second); every `second` is below
    `size`.
    """
    return first * np.int64(max(size, 1)) + second


def pairs_of_keys(
    keys: Int64[np.ndarray, "N"], size: int
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
    """The pairs that `pair_keys` made these numbers of."""
    return keys // max(size, 1), keys % max(size, 1)
