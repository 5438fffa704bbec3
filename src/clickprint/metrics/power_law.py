"""A power law through a few points, and how sure its exponent is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy import stats

FEWEST = 4  # points: a line through fewer says nothing about its own error


class PowerLaw(NamedTuple):
    """y = factor · x^exponent, and the 95 % interval of the exponent."""

    factor: float
    exponent: float
    low: float
    high: float
    points: int

    @property
    def shown(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def __call__(self, x: Float64[np.ndarray, "N"]) -> Float64[np.ndarray, "N"]:
        return self.factor * x**self.exponent


def power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """The power law through these points, by least squares in logarithms.

    None where there are fewer than FEWEST different x, or a value is not above 0. The interval is
    Student's t with points − 2 degrees of freedom, of how the points scatter about the line. It
    says nothing about x outside of the points.
    """
    points = np.array([x, y], np.float64)
    if len(set(x)) < FEWEST or not (np.isfinite(points) & (points > 0)).all():
        return None
    at, value = np.log(points)
    found = stats.linregress(at, value)
    half = float(stats.t.ppf(0.975, len(at) - 2) * found.stderr)
    slope = float(found.slope)
    return PowerLaw(float(np.exp(found.intercept)), slope, slope - half, slope + half, len(at))
