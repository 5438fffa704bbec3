"""The power law: found again, and its uncertainty by hand."""

import numpy as np
import pytest
from scipy import stats

from clickprint.metrics.power_law import power_law


def test_a_law_is_found_again() -> None:
    x = [10.0, 100.0, 1000.0, 1e5]
    law = power_law(x, [3 * v**-0.25 for v in x])
    assert law is not None
    assert (law.factor, law.exponent, law.points) == (pytest.approx(3), pytest.approx(-0.25), 4)
    assert law.shown
    assert law.high - law.low < 1e-6
    assert law(np.array([1e4])) == pytest.approx(0.3)


def test_the_uncertainty_of_a_law_by_hand() -> None:
    x, y = np.array([1.0, 2, 4, 8, 16]), np.array([1.0, 1.5, 1.4, 2.0, 1.9])
    a, b = np.log(x), np.log(y)
    slope = ((a - a.mean()) * (b - b.mean())).sum() / ((a - a.mean()) ** 2).sum()
    left = b - b.mean() - slope * (a - a.mean())
    error = np.sqrt((left**2).sum() / 3 / ((a - a.mean()) ** 2).sum())
    law = power_law(x.tolist(), y.tolist())
    assert law is not None
    assert law.exponent == pytest.approx(slope)
    # t of 3 degrees, 97.5 %
    assert law.high - law.exponent == pytest.approx(3.182446 * error, rel=1e-5)
    assert law.exponent - law.low == pytest.approx(stats.t.ppf(0.975, 3) * error)
    flat = power_law([1.0, 2.0, 4.0, 8.0], [1.0, 1.2, 0.9, 1.0])
    assert flat is not None
    assert not flat.shown


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0]),
        ([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, float("nan")]),
    ],
)
def test_no_law(x: list[float], y: list[float]) -> None:
    assert power_law(x, y) is None
