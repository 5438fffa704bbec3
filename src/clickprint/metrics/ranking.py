"""How good ranked lists are, one number a user, so that users can be resampled and compared.

A list holds items, best first; a place without an item holds NONE (core.ids). Metrics are of
items: two items that share a code, a title or a score are still two. Every function gives NaN for
a user who has nothing relevant: such a user cannot be judged.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clickprint.core.ids import NONE
from clickprint.core.lookup import among, pair_keys, positions


def hits(
    lists: Int64[np.ndarray, "U K"],
    starts: Int64[np.ndarray, "U1"],
    relevant: Int64[np.ndarray, "R"],
) -> Bool[np.ndarray, "U K"]:
    """Where a list holds a relevant item.

    User u's relevant items are relevant[starts[u]:starts[u + 1]], in any order, each once. Raises
    ValueError for a list with an item twice, which would count one hit many times.
    """
    users = np.arange(len(lists))
    ordered = np.sort(lists, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NONE)).any():
        raise ValueError("a list holds an item more than once")
    known = np.unique(relevant)
    owner = np.repeat(users, np.diff(starts))
    truth = np.unique(pair_keys(owner, positions(known, relevant), len(known)))
    item = positions(known, lists)
    asked = pair_keys(np.broadcast_to(users[:, None], item.shape), item, len(known))
    return among(truth, asked) & (item >= 0) & (lists != NONE)


def recall(
    hit: Bool[np.ndarray, "U K"], relevant: Int64[np.ndarray, "U"], k: int
) -> Float64[np.ndarray, "U"]:
    """The share of a user's relevant items that are in the first k; with one, the hit rate.

    `relevant` is how many a user has.
    """
    return _of(hit[:, :k].sum(1), relevant)


def ndcg(
    hit: Bool[np.ndarray, "U K"], relevant: Int64[np.ndarray, "U"], k: int
) -> Float64[np.ndarray, "U"]:
    """Σ 1/log2(rank + 2) over the hits in the first k, of the most that so many could reach."""
    gains = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(relevant, k)]
    return _of(hit[:, :k] @ gains[: hit.shape[1]], best)


def mrr(
    hit: Bool[np.ndarray, "U K"], relevant: Int64[np.ndarray, "U"], k: int
) -> Float64[np.ndarray, "U"]:
    """One over the place of the first hit in the first k; zero without one."""
    first = hit[:, :k].argmax(1) + 1
    return _of(np.where(hit[:, :k].any(1), 1 / first, 0.0), (relevant > 0).astype(np.int64))


def coverage(lists: Int64[np.ndarray, "U K"], items: int) -> float:
    """The share of a catalogue of `items` that is in any list."""
    return float((np.unique(lists[lists != NONE])).size / items) if items else 0.0


def novelty(
    lists: Int64[np.ndarray, "U K"], items: Int64[np.ndarray, "V"], share: Float64[np.ndarray, "V"]
) -> Float64[np.ndarray, "U"]:
    """The mean self-information of a list: −log2 of the share of users who had the item.

    `items` is sorted. An item that is not there, or had by nobody, counts as the rarest that
    somebody had. An empty list gives NaN.
    """
    least = share[share > 0].min() if (share > 0).any() else 1.0
    at = positions(items, lists)
    found = np.where(at >= 0, share[at] if len(items) else 0.0, 0.0)
    bits = -np.log2(np.maximum(found, least))
    there = lists != NONE
    return _of((bits * there).sum(1), there.sum(1))


def category_diversity(
    lists: Int64[np.ndarray, "U K"],
    items: Int64[np.ndarray, "V"],
    category: Int64[np.ndarray, "V"],
) -> Float64[np.ndarray, "U"]:
    """The share of pairs of a list's items that are of different categories.

    This is the mean of 1 − cosine over the pairs, by one-hot categories. Items without a category
    (NONE) take no part; a list with fewer than two others gives NaN.
    """
    at = positions(items, lists)
    found = np.where(at >= 0, category[at] if len(items) else NONE, NONE)
    there = found != NONE
    pairs = there.sum(1) * (there.sum(1) - 1) / 2
    alike = np.zeros(len(lists))
    for step in range(1, lists.shape[1]):
        alike += ((found[:, step:] == found[:, :-step]) & there[:, step:]).sum(1)
    return 1 - _of(alike, pairs)


def _of(part: np.ndarray, whole: np.ndarray) -> Float64[np.ndarray, "U"]:
    out = np.full(len(whole), np.nan)
    np.divide(part, whole, out=out, where=np.asarray(whole) > 0)
    return out
