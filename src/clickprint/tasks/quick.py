"""The quick probe: one ridge regression for all labels, in numpy, in seconds.

Not the organisers' probe; never on one board with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float16, Float32, Float64, Shaped

from clickprint.core.progress import Progress, silent
from clickprint.tasks.task import Loss

# Times the number of users; from strong to weak, so that a tie takes the stronger.
PENALTIES = 10.0 ** np.arange(3, -4.5, -0.5)
# Standard deviations: beyond them a column says no more (a rare value of few users would steer
# every label).
BOUND = 3.0
JUDGES = 16_384  # users, evenly spread, on whom penalties are compared
_ROWS = (
    8_192  # users at a time: what is between the vectors and the sums stays in tens of megabytes
)


@dataclass(frozen=True, slots=True)
class Design:
    """What the fits of many targets over the same vectors share. See `design`.

    Standardised columns, and their Gram matrix taken apart.
    """

    vectors: Float16[np.ndarray, "U D"] = field(repr=False)
    centre: Float32[np.ndarray, "D"] = field(repr=False)
    weight: Float32[np.ndarray, "D"] = field(repr=False)
    middle: Float64[np.ndarray, "D"] = field(repr=False)  # what is left of the mean after bounding
    values: Float64[np.ndarray, "D"] = field(repr=False)
    directions: Float64[np.ndarray, "D D"] = field(repr=False)

    def rows(self, start: int, stop: int, step: int = 1) -> Float32[np.ndarray, "B D"]:
        """Standardised columns of some users."""
        return self.standard(self.vectors[start:stop:step])

    def standard(self, vectors: Float16[np.ndarray, "B D"]) -> Float32[np.ndarray, "B D"]:
        """The columns of any users, standardised as these users' are."""
        return _standard(vectors, self.centre, self.weight) - self.middle.astype(np.float32)

    def fit_predict(
        self,
        target: Shaped[np.ndarray, "U T"],
        *,
        loss: Loss,
        others: Float16[np.ndarray, "B D"] | None = None,
        name: str = "quick probe",
        progress: Progress = silent,
    ) -> Float32[np.ndarray, "_ T"]:
        """See `fit_predict`; `others` are predicted instead of those that are learned from."""
        users, asked = len(self.vectors), self.vectors if others is None else others
        if len(target) != users or not target.shape[1]:
            raise ValueError(
                f"found {users} users and a target {target.shape}, expected as many rows and a"
                " label"
            )
        done, mean = 0, np.zeros(target.shape[1])
        for start in range(0, users, _ROWS):
            mean += target[start : start + _ROWS].sum(axis=0, dtype=np.float64) / users
        moment = np.zeros((len(self.values), target.shape[1]))
        for start in range(0, users, _ROWS):
            x = self.rows(start, start + _ROWS)
            moment += x.T @ (target[start : start + _ROWS] - mean).astype(np.float32)
            progress(name, done := done + len(x), users + len(asked))
        turned = self.directions.T @ moment
        penalty = self._penalty(target, turned, mean)
        slope = (self.directions @ (turned / (self.values[:, None] + penalty))).astype(np.float32)
        prediction = np.empty((len(asked), target.shape[1]), np.float32)
        for start in range(0, len(asked), _ROWS):
            x = self.standard(asked[start : start + _ROWS])
            prediction[start : start + _ROWS] = x @ slope + mean.astype(np.float32)
            progress(name, done := done + len(x), users + len(asked))
        return prediction if loss.name == "mse" else _probabilities(prediction, mean)

    def _penalty(
        self,
        target: Shaped[np.ndarray, "U T"],
        turned: Float64[np.ndarray, "D T"],
        mean: Float64[np.ndarray, "T"],
    ) -> Float64[np.ndarray, "T"]:
        """Each label's penalty with the least squared leave-one-out error (exact, no refit).

        A user's own row is left out of the fit. The intercept's share of a row, 1 / U, is part of
        it. Source: Allen 1974 (PRESS).
        """
        users = len(self.vectors)
        step = -(-users // JUDGES)
        errors = np.zeros((len(PENALTIES), target.shape[1]))
        for start in range(0, users, step * _ROWS):
            stop = min(start + step * _ROWS, users)
            x = self.rows(start, stop, step) @ self.directions.astype(np.float32)
            y = (target[start:stop:step] - mean).astype(np.float32)
            for n, penalty in enumerate(PENALTIES * users):
                own = x**2 @ (1 / (self.values + penalty)).astype(np.float32) + np.float32(
                    1 / users
                )
                miss = y - x @ (turned / (self.values[:, None] + penalty)).astype(np.float32)
                errors[n] += ((miss / np.maximum(1 - own, 1e-6)[:, None]) ** 2).sum(
                    axis=0, dtype=np.float64
                )
        return np.take(PENALTIES, errors.argmin(axis=0)) * users


def design(
    vectors: Float16[np.ndarray, "U D"], *, name: str = "quick probe", progress: Progress = silent
) -> Design:
    """Columns as signed log(1 + |x|), standardised over all users, bounded at ±`BOUND`.

    Constant ones are 0. `vectors` may be a memory map. Costs U · D² and one eigendecomposition of
    D × D.
    """
    users, columns = vectors.shape
    if not users:
        raise ValueError("found no users, expected at least one")
    done, mean, spread = 0, np.zeros(columns), np.zeros(columns)
    for start, raw in _chunks(
        vectors
    ):  # mean and sum of squared deviations, merged chunk by chunk (Chan, Golub and LeVeque 1979)
        x = _log(raw).astype(np.float64)
        here, share = x.mean(axis=0), len(x) / (start + len(x))
        spread += ((x - here) ** 2).sum(axis=0) + (here - mean) ** 2 * start * share
        mean += (here - mean) * share
        progress(name, done := done + len(x), 2 * users)
    deviation = np.sqrt(spread / users)
    live = deviation > 1e-6 * (1 + np.abs(mean))
    centre, weight = (
        mean.astype(np.float32),
        np.where(live, 1 / np.where(live, deviation, 1), 0).astype(np.float32),
    )
    gram, total = np.zeros((columns, columns)), np.zeros(columns)
    for _, raw in _chunks(vectors):
        x = _standard(raw, centre, weight)
        gram += x.T @ x
        total += x.sum(axis=0, dtype=np.float64)
        progress(name, done := done + len(x), 2 * users)
    values, directions = np.linalg.eigh(gram - np.outer(total, total / users))
    return Design(vectors, centre, weight, total / users, np.maximum(values, 0), directions)


def fit_predict(
    vectors: Float16[np.ndarray, "U D"],
    target: Shaped[np.ndarray, "U T"],
    *,
    loss: Loss,
    name: str = "quick probe",
    progress: Progress = silent,
) -> Float32[np.ndarray, "U T"]:
    """Fits `target` linearly in the columns that `design` makes, and predicts the same users.

    Each label has, of `PENALTIES`, the one with the least leave-one-out error on the target that
    is given, the train window's. More columns than users are fine. For `mse` the prediction is the
    regression's; for `bce` it is squeezed into (0, 1) in its own order, its mean at most the
    label's share of positives: a straight line does not know its bounds, and cutting there would
    tie half of the users. Deterministic for one machine and thread count.
    """
    return design(vectors, name=name, progress=progress).fit_predict(
        target, loss=loss, name=name, progress=progress
    )


def _chunks(
    vectors: Float16[np.ndarray, "U D"],
) -> Iterator[tuple[int, Float16[np.ndarray, "B D"]]]:
    for start in range(0, len(vectors), _ROWS):
        yield start, vectors[start : start + _ROWS]


def _log(raw: Float16[np.ndarray, "B D"]) -> Float32[np.ndarray, "B D"]:
    x = raw.astype(np.float32)
    return np.copysign(np.log1p(np.abs(x)), x)


def _standard(
    raw: Float16[np.ndarray, "B D"],
    centre: Float32[np.ndarray, "D"],
    weight: Float32[np.ndarray, "D"],
) -> Float32[np.ndarray, "B D"]:
    x = (_log(raw) - centre) * weight
    return np.clip(x, -BOUND, BOUND, out=x)


def _probabilities(
    prediction: Float32[np.ndarray, "U T"], mean: Float64[np.ndarray, "T"]
) -> Float32[np.ndarray, "U T"]:
    """Predictions of a straight line squeezed into (0, 1), in their order. In place.

    p = g(x) / (g(x) + g(1 − x)) with g(x) = (x + √(x² + s²)) / 2: x itself well inside (0, 1),
    never 0 or 1, and always rising. s is half the label's variance. Where that lifts a label's
    mean above its share of positives it is scaled down to it.
    """
    s2 = np.maximum(mean * (1 - mean) / 2, 1e-6).astype(np.float32) ** 2
    total = np.zeros(len(mean))
    for start in range(0, len(prediction), _ROWS):
        x = prediction[start : start + _ROWS]
        low, high = _ramp(x, s2), _ramp(1 - x, s2)
        x[:] = low / (low + high)
        total += x.sum(axis=0, dtype=np.float64)
    prediction *= np.minimum(1, np.maximum(mean, 1e-6) / (total / len(prediction))).astype(
        np.float32
    )
    return np.clip(prediction, 1e-12, 1 - 1e-6, out=prediction)


def _ramp(
    x: Float32[np.ndarray, "B T"], s2: Float32[np.ndarray, "T"]
) -> Float32[np.ndarray, "B T"]:
    """(x + √(x² + s²)) / 2, written so that a very negative x keeps its digits."""
    root = np.sqrt(x * x + s2)
    return np.where(x > 0, (x + root) / 2, s2 / (2 * (root - np.minimum(x, 0))))
