"""How good ranked lists are, one number a user, so that users can be resampled and compared in pairs.

A list holds items, best first; a place without an item holds NONE (core.ids). Metrics are of items: two items that share a code, a title
or a score are still two. Every function gives NaN for a user who has nothing relevant: such a user cannot be judged.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from clickprint.core.ids import NONE

CELLS = 1 << 24  # numbers that are in memory at once


def target_ranks(
    scores: Shaped[np.ndarray, "B V"],
    targets: Int64[np.ndarray, "B"],
    left_out: Bool[np.ndarray, "B V"] | None = None,
) -> Int64[np.ndarray, "B"]:
    """The place of each row's target (a column number) when all columns are ranked by score: 0 is the best.

    Ties: the smaller column first, so a model that gives everything one score has no better ranks than chance order by column. A column
    that is `left_out` (a seen item) is not ranked, the target always is. A NaN score ranks below every number; a NaN target is last.
    """
    rows = np.arange(len(targets))
    clean = np.where(np.isnan(scores), -np.inf, scores)
    own = clean[rows, targets][:, None]
    better = (clean > own) | ((clean == own) & (np.arange(scores.shape[1]) < targets[:, None]))
    if np.isnan(scores[rows, targets]).any():
        better |= np.isnan(scores[rows, targets])[:, None]
    if left_out is not None:
        better &= ~left_out
    better[rows, targets] = False
    return better.sum(1, dtype=np.int64)


def hits(
    lists: Int64[np.ndarray, "U K"],
    starts: Int64[np.ndarray, "U1"],
    relevant: Int64[np.ndarray, "R"],
) -> Bool[np.ndarray, "U K"]:
    """Where a list holds a relevant item. User u's relevant items are relevant[starts[u]:starts[u + 1]], in any order, each once.

    Raises ValueError for a list with an item twice, which would count one hit many times.
    """
    users, length = lists.shape
    place = np.sort(lists, axis=1)
    if ((place[:, 1:] == place[:, :-1]) & (place[:, 1:] != NONE)).any():
        raise ValueError("a list holds an item more than once")
    # One number a (user, item): items become their rank among all that occur.
    known = np.unique(np.concatenate([lists.ravel(), relevant]))
    own = np.repeat(np.arange(users), np.diff(starts))
    truth = np.unique(own * len(known) + np.searchsorted(known, relevant))
    asked = (np.arange(users)[:, None] * len(known) + np.searchsorted(known, lists)).ravel()
    at = np.minimum(np.searchsorted(truth, asked), max(len(truth) - 1, 0))
    found = truth[at] == asked if len(truth) else np.zeros(users * length, bool)
    return found.reshape(users, length) & (lists != NONE)


def recall(
    hit: Bool[np.ndarray, "U K"], relevant: Int64[np.ndarray, "U"], k: int
) -> Float64[np.ndarray, "U"]:
    """The share of a user's relevant items that are in the first k; `relevant` is how many there are. (With one target: hit rate.)"""
    return _of(hit[:, :k].sum(1), relevant)


def ndcg(
    hit: Bool[np.ndarray, "U K"], relevant: Int64[np.ndarray, "U"], k: int
) -> Float64[np.ndarray, "U"]:
    """Σ 1/log2(place + 1) over the hits in the first k, of the most that so many relevant items could reach in k places."""
    gains = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(relevant, k)]
    return _of(hit[:, :k] @ gains[: hit.shape[1]], best)


def mrr(
    hit: Bool[np.ndarray, "U K"], relevant: Int64[np.ndarray, "U"], k: int
) -> Float64[np.ndarray, "U"]:
    """One over the place of the first hit in the first k; zero without one."""
    first = hit[:, :k].argmax(1) + 1
    return _of(np.where(hit[:, :k].any(1), 1 / first, 0.0), (relevant > 0).astype(np.int64))


def of_ranks(ranks: Int64[np.ndarray, "U"], k: int) -> Bool[np.ndarray, "U K"]:
    """The hits of lists whose one relevant item stands at these places (see target_ranks)."""
    return ranks[:, None] == np.arange(k)


def coverage(lists: Int64[np.ndarray, "U K"], items: int) -> float:
    """The share of a catalogue of `items` that is in any list."""
    return float((np.unique(lists[lists != NONE])).size / items) if items else 0.0


def surprise(
    lists: Int64[np.ndarray, "U K"], items: Int64[np.ndarray, "V"], share: Float64[np.ndarray, "V"]
) -> Float64[np.ndarray, "U"]:
    """The mean of −log2(share of users who had the item) over a list. `items` is sorted; an item that is not there, or had by nobody,
    counts as the rarest that somebody had. An empty list gives NaN."""
    least = share[share > 0].min() if (share > 0).any() else 1.0
    at = np.minimum(np.searchsorted(items, lists), max(len(items) - 1, 0))
    known = items[at] == lists if len(items) else np.zeros(lists.shape, bool)
    found = np.where(known, share[at] if len(items) else 0.0, 0.0)
    bits = -np.log2(np.maximum(found, least))
    there = lists != NONE
    return _of((bits * there).sum(1), there.sum(1))


def spread(
    lists: Int64[np.ndarray, "U K"],
    items: Int64[np.ndarray, "V"],
    vectors: Float64[np.ndarray, "V D"],
) -> Float64[np.ndarray, "U"]:
    """Intra-list diversity: the mean of 1 − cosine over all pairs of a list's items that have a vector; NaN with fewer than two. One
    that is all zeros is like no other. Holds about CELLS numbers at a time."""
    vectors = np.asarray(vectors, np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    out = np.full(len(lists), np.nan)
    many = max(CELLS // max(lists.shape[1] * vectors.shape[1], 1), 1)
    for start in range(0, len(lists) if len(items) else 0, many):
        some = lists[start : start + many]
        at = np.minimum(np.searchsorted(items, some), len(items) - 1)
        there = items[at] == some
        chosen = unit[at] * there[..., None]
        # Σ over pairs of ⟨a, b⟩ = (|Σ a|² − Σ |a|²) / 2.
        count = there.sum(1)
        pairs = count * (count - 1) / 2
        alike = ((chosen.sum(1) ** 2).sum(1) - (chosen**2).sum((1, 2))) / 2
        out[start : start + many] = _of(pairs - alike, pairs)
    return out


def _of(part: np.ndarray, whole: np.ndarray) -> Float64[np.ndarray, "U"]:
    out = np.full(len(whole), np.nan)
    np.divide(part, whole, out=out, where=np.asarray(whole) > 0)
    return out
