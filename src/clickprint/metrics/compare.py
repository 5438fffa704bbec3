"""Whether a difference is more than luck: intervals, paired differences and Borda counts.

All of them rest on resamples of the users that everything compared shares.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Num, Shaped

from clickprint.core.rng import GOLDEN, RNG, mix
from clickprint.core.text import figure
from clickprint.metrics.labels import degenerate

_ROWS = 16_384  # users at a time: memory stays in tens of megabytes
_LABELS = 16  # labels at a time: three columns each, for all users
_LEVEL = 95.0


class Estimate(NamedTuple):
    """A number and its 95 % interval, which holds it; NaN bounds without resamples."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(value: float, replicates: Float[np.ndarray, "R"]) -> "Estimate":
        """A number with the interval of its value in each resample.

        Of a few users the resamples may all lie on one side of it: the interval then ends at it.
        """
        low, high = intervals(replicates) if len(replicates) else (np.nan, np.nan)
        return Estimate(float(value), *_holding(value, float(low), float(high)))

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def text(self, digits: int = 4, *, sign: bool = False) -> str:
        """`.7123 [.7001, .7240]`; without brackets where there is no interval."""
        return _text(self.value, self.low, self.high, digits, sign)


class Gap(NamedTuple):
    """A paired difference a − b, its 95 % interval, and the share of resamples with a above b."""

    value: float
    low: float
    high: float
    share: float

    @staticmethod
    def of(
        a: float,
        b: float,
        a_replicates: Float[np.ndarray, "R"],
        b_replicates: Float[np.ndarray, "R"],
    ) -> "Gap":
        """How much `a` is above `b`; replicates at one place must be of the same resample.

        The interval holds the difference, as that of Estimate holds its value.
        """
        value, (low, high, share) = float(a - b), difference(a_replicates, b_replicates)
        return Gap(value, *_holding(value, low, high), share)

    @property
    def shown(self) -> int:
        """1: a is above b, −1: below, 0: neither (the interval holds 0, or there is none)."""
        return int(self.low > 0) - int(self.high < 0)

    def reversed(self) -> "Gap":
        """The difference b − a."""
        return Gap(-self.value, -self.high, -self.low, 1 - self.share)

    def text(self, digits: int = 3, *, sign: bool = True) -> str:
        """`+.083 [.061, .104]`; without brackets where there is no interval."""
        return _text(self.value, self.low, self.high, digits, sign)


def _holding(value: float, low: float, high: float) -> tuple[float, float]:
    """The bounds, moved so far that the value is between them; NaN stays NaN."""
    return float(np.minimum(low, value)), float(np.maximum(high, value))


def _text(value: float, low: float, high: float, digits: int, sign: bool) -> str:
    bounds = f" [{figure(low, digits)}, {figure(high, digits)}]" if np.isfinite(low) else ""
    return figure(value, digits, sign=sign) + bounds


def by_chance(differences: int) -> str:
    """What so many 95 % intervals of differences mean, in words; empty for none."""
    if not differences:
        return ""
    most = figure(differences * (100 - _LEVEL) / 100, 1)
    if differences == 1:
        return "The interval is for one comparison"
    return (
        f"Each interval is for one comparison: of the {differences:,} differences here, {most} are"
        " expected to be shown where there is none"
    )


class Line(NamedTuple):
    """One row of a comparison: what was compared, of which type, and how good it is."""

    name: str
    type: str
    estimate: Estimate


class Pair(NamedTuple):
    """A paired difference of two rows of a comparison."""

    one: str
    other: str
    gap: Gap


def resample_weights(
    users: Int64[np.ndarray, "U"], resamples: int, seed: int
) -> Float32[np.ndarray, "R U"]:
    """How often each user is drawn in each resample: Poisson(1), the bootstrap of a large crowd.

    A weight depends on (seed, resample, user id) alone, so all that is scored, in any order and
    in any run, shares resample r. Each is 16 bits of a splitmix64 stream put through the inverse
    Poisson distribution: probabilities are exact to 2^-16.
    """
    table = _poisson_table()
    weights = np.empty((resamples, len(users)), np.float32)
    base = mix(np.array([seed & _WORD], np.uint64) + GOLDEN)
    for start in range(0, len(users), _ROWS):
        rows = slice(start, start + _ROWS)
        state = mix(users[rows].astype(np.uint64) ^ base)
        for first in range(0, resamples, 4):  # four resamples from one number of 64 bits
            bits = mix(state + np.uint64((first // 4 + 1) * int(GOLDEN) & _WORD))
            for r in range(first, min(first + 4, resamples)):
                weights[r, rows] = table[
                    ((bits >> np.uint64(16 * (r - first))) & np.uint64(0xFFFF)).astype(np.intp)
                ]
    return weights


_WORD = 2**64 - 1


def _poisson_table() -> Float32[np.ndarray, "65536"]:
    """The Poisson(1) quantile at the middle of each of 65,536 equal steps."""
    below = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(20)])
    return np.searchsorted(below, (np.arange(65_536) + 0.5) / 65_536).astype(np.float32)


def weighted_sums(
    columns: Num[np.ndarray, "U C"], weights: Float32[np.ndarray, "R U"]
) -> Float64[np.ndarray, "R C"]:
    """The weighted sum of each column in each resample, in float64, users in turn."""
    sums = np.zeros((len(weights), columns.shape[1]))
    for start in range(0, len(columns), _ROWS):
        rows = slice(start, start + _ROWS)
        sums += weights[:, rows].astype(np.float64) @ columns[rows]
    return sums


def weighted_mean(
    values: Num[np.ndarray, "U"], weights: Float32[np.ndarray, "R U"]
) -> Float64[np.ndarray, "R"]:
    """The mean over users in each resample; NaN where a resample drew nobody."""
    total, number = weighted_sums(np.stack([values, np.ones(len(values))], axis=1), weights).T
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def resampled_mean(
    values: Num[np.ndarray, "U"], users: Int64[np.ndarray, "U"], resamples: int, seed: int
) -> Float64[np.ndarray, "R"]:
    """`weighted_mean` with `resample_weights`, in memory that does not grow with the users."""
    sums = np.zeros((resamples, 2))
    for start in range(0, len(users), _ROWS):
        rows = slice(start, start + _ROWS)
        columns = np.stack([values[rows], np.ones(len(users[rows]))], axis=1)
        sums += weighted_sums(columns, resample_weights(users[rows], resamples, seed))
    return np.where(sums[:, 1] > 0, sums[:, 0] / np.maximum(sums[:, 1], 1), np.nan)


def resampled_auroc(
    truth: Shaped[np.ndarray, "U T"],
    score: Float[np.ndarray, "U T"],
    weights: Float32[np.ndarray, "R U"],
    *,
    live: bool = False,
) -> Float64[np.ndarray, "R"]:
    """`labels.macro_auroc` in each resample, at bounded cost: one sort a label for all resamples.

    First order: let a_i be the share of negatives below positive i, and b_j the share of
    positives above negative j (ties half). A label's replicate is A + mean of (a − A) over the
    drawn positives + mean of (b − A) over the drawn negatives. What that leaves out is of the
    order 1 / √(positives × negatives). A class that a resample leaves empty says nothing, so the
    label keeps A there: a label counts 0, or is left out when `live`, where everyone's answers
    are degenerate, and only there, as in the estimate. NaN where nobody was drawn, and with
    `live` where no label is left. Source: DeLong et al. 1988 for the two shares.
    """
    alive = np.flatnonzero(~degenerate(truth))
    drawn = weights.sum(axis=1, dtype=np.float64)
    total = np.zeros(len(weights))
    for first in range(0, len(alive), _LABELS):
        block = alive[first : first + _LABELS]
        flip = np.zeros(len(block), bool)
        area = np.empty(len(block))
        # Deviations of the rarer class, of the other, and who is of the rarer.
        parts = np.zeros((3, len(block), len(truth)), np.float32)
        for n, t in enumerate(block):
            positive = np.asarray(truth[:, t], bool)
            flip[n] = 2 * np.count_nonzero(positive) > len(positive)
            rare = ~positive if flip[n] else positive
            area[n] = _deviations(rare, np.ascontiguousarray(score[:, t]), parts[:, n])
        sums = (
            (weights @ parts.reshape(-1, len(truth)).T)
            .astype(np.float64)
            .reshape(len(weights), 3, len(block))
        )
        number = sums[:, 2]
        others = drawn[:, None] - number
        value = area + sums[:, 0] / np.maximum(number, 1) + sums[:, 1] / np.maximum(others, 1)
        total += np.where(flip, 1 - value, value).sum(axis=1)
    count = len(alive) if live else truth.shape[1]
    # The bound is the mean's: a bound of each label would pull the mean of rare ones down.
    return np.where((drawn > 0) & (count > 0), np.clip(total / max(count, 1), 0, 1), np.nan)


def _deviations(
    rare: Bool[np.ndarray, "U"], score: Float[np.ndarray, "U"], out: Float32[np.ndarray, "3 U"]
) -> float:
    """The probability A that one of `rare` scores above one of the others.

    `out` gets how far each user's own share is from it.
    """
    values, others = score[rare], score[~rare]
    order = np.argsort(values)
    ordered, count = values[order], len(values)
    left = np.searchsorted(ordered, others, "left")
    right = left.copy()
    tied = np.flatnonzero(ordered[np.minimum(left, count - 1)] == others)
    # They are few: a second search of all is not needed.
    right[tied] = np.searchsorted(ordered, others[tied], "right")
    # The other way round without sorting the many: other j is below the k-th of the few where
    # right_j ≤ k, and not above it where left_j ≤ k.
    below = np.empty(count)
    below[order] = np.cumsum(
        np.bincount(left, minlength=count + 1) + np.bincount(right, minlength=count + 1)
    )[:count] / (2 * len(others))
    area = float(below.mean())
    out[0, rare] = below - area
    out[1, ~rare] = (1 - area) - (left + right) / (2 * count)
    out[2] = rare
    return area


def intervals(
    replicates: Float[np.ndarray, "*S R"],
) -> tuple[Float64[np.ndarray, "*S"], Float64[np.ndarray, "*S"]]:
    """The 2.5th and the 97.5th percentile over resamples.

    Resamples without a value (NaN) are left out; NaN where none has one.
    """
    tail = (100 - _LEVEL) / 2
    known = np.sum(~np.isnan(replicates), axis=-1)
    safe = np.where(known[..., None] > 0, replicates, 0.0)
    low, high = np.nanpercentile(safe, [tail, 100 - tail], axis=-1)
    return np.where(known > 0, low, np.nan), np.where(known > 0, high, np.nan)


class Difference(NamedTuple):
    """How much a is above b: the 95 % interval, and the share of resamples with a above b.

    Equal values count half.
    """

    low: float
    high: float
    share: float


def difference(a: Float[np.ndarray, "R"], b: Float[np.ndarray, "R"]) -> Difference:
    """The paired difference; a[r] and b[r] must be of the same resample.

    Resamples where one is NaN are left out; NaN where that is all of them.
    """
    gap = np.asarray(a - b, np.float64)
    gap = gap[~np.isnan(gap)]
    low, high = intervals(gap) if len(gap) else (np.nan, np.nan)
    return Difference(
        float(low),
        float(high),
        float(np.mean((gap > 0) + (gap == 0) / 2)) if len(gap) else float("nan"),
    )


def places(scores: Float[np.ndarray, "P *S"]) -> Int64[np.ndarray, "P *S"]:
    """The place of each profile, 1 for the highest; equal scores share the better place.

    NaN is below every number.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    return np.stack([1 + (known > mine).sum(axis=0) for mine in known])


def borda(
    scores: Float[np.ndarray, "P K *R"],
) -> tuple[Float64[np.ndarray, "P *R"], Int64[np.ndarray, "P *R"]]:
    """Points and final places of P profiles over K tasks: a task gives P − place points.

    The sum of points decides. Equal scores share the average of their points; equal sums share
    the better place (the challenge leaves both open). NaN is below every number. Source: its
    README, "N − rank" per task.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    below = [(known < mine) + ((known == mine) / 2) for mine in known]
    points = (np.stack([b.sum(axis=0) for b in below]) - 0.5).sum(axis=1)  # not with oneself
    return points, places(points)


def place_intervals(
    place: Int64[np.ndarray, "P"], replicates: Float[np.ndarray, "P K R"]
) -> tuple[Int64[np.ndarray, "P"], Int64[np.ndarray, "P"]]:
    """The 95 % interval of each profile's final `place`, in whole places.

    The whole board is made again in every resample; the bounds are places that occurred there,
    and hold `place`.
    """
    made, tail = borda(replicates)[1], (100 - _LEVEL) / 2
    low = np.percentile(made, tail, axis=-1, method="lower")
    high = np.percentile(made, 100 - tail, axis=-1, method="higher")
    return np.minimum(low, place), np.maximum(high, place)


def over_seeds(replicates: Float[np.ndarray, "S R"], rng: RNG) -> Float64[np.ndarray, "R"]:
    """The mean over S seeds in each resample, in which seeds are drawn as well as users.

    Deviations of drawn seeds are scaled by √(S / (S − 1)), without which few seeds would seem to
    agree too well. One seed does not say how seeds differ: its replicates are as they were.
    """
    seeds, resamples = replicates.shape
    mean: np.ndarray = replicates.mean(axis=0)
    if seeds == 1:
        return mean
    share = rng.generator().multinomial(seeds, np.full(seeds, 1 / seeds), resamples).T / seeds
    return mean + math.sqrt(seeds / (seeds - 1)) * ((share * replicates).sum(axis=0) - mean)
