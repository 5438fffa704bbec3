"""Whom to show a list: a place is worth the propensity to buy times the list's expected recall."""

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.recommenders.pairs import Pairs, match


def expected(
    propensities: Float64[np.ndarray, "P"],
    pairs: Pairs,
    lists: Recommendations,
    size: Float64[np.ndarray, "U"],
) -> Float64[np.ndarray, "U"]:
    """The recall that each list is expected to have if its user buys; 0 for an empty list.

    It is the sum of the propensities of its items, over the number of items that the user would
    buy, and at most 1.

    - `propensities`: of each pair, given that its user buys.
    - `lists`: of the pairs' users, in order, and of candidates alone.
    - `size`: how many items each user would buy, taken as at least 1.

    Raises DataError.
    """
    if not np.array_equal(lists.users, pairs.users) or len(size) != len(pairs.users):
        raise DataError(
            "lists",
            f"found lists of {len(lists.users)} users and {len(size)} sizes,"
            f" expected those of the {len(pairs.users)} users of the pairs",
        )
    row, place = np.nonzero(lists.items != NONE)
    at = match(pairs, row, lists.items[row, place])
    if (at < 0).any():
        raise DataError("lists", "a list holds an item that is none of its user's candidates")
    hits = np.bincount(row, propensities[at] if len(at) else None, len(pairs.users))
    return np.clip(hits / np.maximum(size, 1), 0, 1)


def choose(
    propensity: Float64[np.ndarray, "U"], expected: Float64[np.ndarray, "_"] | None, limit: int
) -> Int64[np.ndarray, "N"]:
    """The rows of the `limit` best users by propensity × expected recall, best first.

    Without `expected` by propensity alone. Equal ones: the smaller row first. Raises ConfigError
    for a negative limit, and DataError.
    """
    if limit < 0:
        raise ConfigError(f"limit: found {limit}, expected 0 or more users")
    if expected is not None and len(expected) != len(propensity):
        raise DataError(
            "users", f"{len(propensity)} propensities and {len(expected)} expected recalls"
        )
    worth = propensity if expected is None else propensity * expected
    if np.isnan(worth).any():
        raise DataError("users", f"{int(np.isnan(worth).sum())} propensities are no number")
    return np.argsort(-worth, kind="stable")[:limit].astype(np.int64)
