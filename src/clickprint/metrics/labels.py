"""AUROC, exact, of one label and of many."""

import numpy as np
from jaxtyping import Bool, Num, Shaped


def degenerate(truth: Shaped[np.ndarray, "U T"]) -> Bool[np.ndarray, "T"]:
    """The labels without a positive, or without a negative: nothing can be ranked there."""
    positives = np.count_nonzero(truth, axis=0)
    return (positives == 0) | (positives == len(truth))


def auroc(truth: Shaped[np.ndarray, "U"], score: Num[np.ndarray, "U"]) -> float:
    """The share of (positive, negative) pairs that `score` puts in the right order; a tie is half.

    0 where there is no positive or no negative, as torchmetrics has it. Ties are between the
    values given: the challenge ranks float32 sigmoids, so logits that saturate there must come as
    sigmoids. One sort of the scores, one search of the rarer class.
    """
    positive = np.asarray(truth, bool)
    count = np.count_nonzero(positive)
    if not 0 < count < len(positive):
        return 0.0
    rare = positive if 2 * count <= len(positive) else ~positive
    share = _share_below(np.sort(score), np.sort(score[rare]))
    return float(share) if rare is positive else 1.0 - float(share)


def macro_auroc(
    truth: Shaped[np.ndarray, "U T"], score: Num[np.ndarray, "U T"], *, live: bool = False
) -> float:
    """The mean of `auroc` over labels, column by column.

    A degenerate label counts 0 (the challenge), or is left out when `live`.

    With `live`, NaN where every label is degenerate.
    """
    dead = degenerate(truth)
    if live and dead.all():
        return float("nan")
    values = [
        0.0 if dead[t] else auroc(truth[:, t], np.ascontiguousarray(score[:, t]))
        for t in range(truth.shape[1])
        if not (live and dead[t])
    ]
    return float(np.mean(values))


def _share_below(everyone: Num[np.ndarray, "U"], some: Num[np.ndarray, "P"]) -> np.float64:
    """The share of pairs (one of `some`, one of the others) whose first is the higher.

    `everyone` holds `some` too; both are sorted. Exact sums.
    """
    twice = (
        np.searchsorted(everyone, some, "left").sum()
        + np.searchsorted(everyone, some, "right").sum()
    )
    pairs = len(some) * (len(everyone) - len(some))
    # The pairs inside `some`, either way and with itself, are len² halves.
    return np.float64(int(twice) - len(some) ** 2) / (2 * pairs)
