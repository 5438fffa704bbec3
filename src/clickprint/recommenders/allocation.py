"""Who is shown a list: a place is worth the chance that a user buys times the recall that his list would have."""

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.recommenders.pairs import Pairs


def expected(
    propensities: Float64[np.ndarray, "P"],
    pairs: Pairs,
    lists: Recommendations,
    size: Float64[np.ndarray, "U"],
) -> Float64[np.ndarray, "U"]:
    """The recall that each list is expected to have if its user buys: the chances of its items over the items he would buy.

    `propensities`: of each pair, given that its user buys; `size`: how many items each would buy, taken as at least 1. At most 1; 0 for an
    empty list. `lists` are of the pairs' users, in order, and hold candidates alone. Raises DataError.
    """
    if not np.array_equal(lists.users, pairs.users) or len(size) != len(pairs.users):
        raise DataError(
            "lists",
            [
                f"{len(lists.users)} users and {len(size)} sizes, expected those of the {len(pairs.users)} users' pairs"
            ],
        )
    row, place = np.nonzero(lists.items != NONE)
    known, wanted = np.unique(pairs.items), lists.items[row, place]
    keys = pairs.rows * len(known) + np.searchsorted(known, pairs.items)
    asked = row * len(known) + np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
    at = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    if len(at) and (
        not len(keys) or (keys[at] != asked).any() or (known[asked % len(known)] != wanted).any()
    ):
        raise DataError("lists", ["a list holds an item that is none of its user's candidates"])
    hits = np.bincount(row, propensities[at] if len(at) else None, len(pairs.users))
    return np.clip(hits / np.maximum(size, 1), 0, 1)


def choose(
    propensity: Float64[np.ndarray, "U"], expected: Float64[np.ndarray, "_"] | None, limit: int
) -> Int64[np.ndarray, "N"]:
    """The rows of the `limit` users (or all, if there are fewer) whose chance × expected recall is highest, best first; without
    `expected`, by the chance alone. Equal ones: the smaller row (users are sorted) first. Raises ConfigError, DataError.
    """
    if limit < 0:
        raise ConfigError(f"limit: found {limit}, expected 0 or more users")
    if expected is not None and len(expected) != len(propensity):
        raise DataError(
            "users", [f"{len(propensity)} propensities and {len(expected)} expected recalls"]
        )
    worth = propensity if expected is None else propensity * expected
    if np.isnan(worth).any():
        raise DataError("users", [f"{int(np.isnan(worth).sum())} propensities are no number"])
    return np.argsort(-worth, kind="stable")[:limit].astype(np.int64)
