"""What the challenge rewards beside accuracy.

Predictions that are not of the popular (novelty), and not all of one label (diversity). Both are
means over users; the values a user (`..._of_users`) are public so that resamples can weigh them.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float64

TOP = 10
POWER = 100  # of novelty: popular predictions of a few users already cost much
_ROWS = 65_536


def novelty_of_users(
    prediction: Float[np.ndarray, "U T"], popularity: Float64[np.ndarray, "T"], *, top: int = TOP
) -> Float64[np.ndarray, "U"]:
    """Each user's sum of probability × popularity over the `top` highest probabilities.

    Popularity is a share of the `top` largest popularities. All labels count where there are fewer
    than `top`. Of equal probabilities at the edge the labels with the lower index are taken (the
    organisers leave it open). 0 for everyone where no label has any popularity.
    """
    labels = prediction.shape[1]
    edge = max(labels - top, 0)
    largest = np.sort(popularity)[edge:].sum()
    share = (popularity / largest if largest > 0 else np.zeros(labels)).astype(np.float64)
    found = np.empty(len(prediction))
    for rows, p in _chunks(prediction):
        if edge:
            threshold = np.partition(p, edge, axis=1)[:, edge, None]
            above, equal = p > threshold, p == threshold
            room = top - above.sum(axis=1, keepdims=True)
            p = np.where(above | (equal & (np.cumsum(equal, axis=1) <= room)), p, 0)
        found[rows] = p @ share
    return found


def novelty(
    prediction: Float[np.ndarray, "U T"], popularity: Float64[np.ndarray, "T"], *, top: int = TOP
) -> float:
    """1 where nothing popular is predicted, near 0 where everybody is promised the most popular.

    Probabilities, not logits.

    Source: spec/challenge-protocol.md, "Metrics".
    """
    return float((1 - novelty_of_users(prediction, popularity, top=top).mean()) ** POWER)


def diversity_of_users(prediction: Float[np.ndarray, "U T"]) -> Float64[np.ndarray, "U"]:
    """Each user's entropy of the probabilities, made to sum to 1, as a share of log2(labels).

    Differs from the source where that divides by zero: one label, or a user whose probabilities
    are all 0, counts as flat (1).
    """
    labels = prediction.shape[1]
    found = np.ones(len(prediction))
    if labels == 1:
        return found
    for rows, p in _chunks(prediction):
        total = p.sum(axis=1, keepdims=True)
        flat = total == 0
        p = np.where(flat, np.float32(1 / labels), p / np.where(flat, 1, total))
        found[rows] = -(p * np.log2(p + np.float32(1e-9))).sum(axis=1) / np.log2(labels)
    return found


def diversity(prediction: Float[np.ndarray, "U T"]) -> float:
    """1 for flat predictions, near 0 where all of a user's probability is on one label.

    Probabilities, not logits.

    Source: spec/challenge-protocol.md, "Metrics".
    """
    return float(diversity_of_users(prediction).mean())


def _chunks(
    prediction: Float[np.ndarray, "U T"],
) -> Iterator[tuple[slice, Float[np.ndarray, "C T"]]]:
    """Rows in float32, in pieces: a million users by a hundred labels need not be there twice."""
    for start in range(0, len(prediction), _ROWS):
        rows = slice(start, min(start + _ROWS, len(prediction)))
        yield rows, np.asarray(prediction[rows], np.float32)
