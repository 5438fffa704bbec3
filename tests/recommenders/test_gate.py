"""Promotion: the guard-rails, and a recall that is shown to be above the champion's."""

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.recommenders.gate import RAILS, Gate, Rivalry

GATE = Gate(resamples=200, coverage=0.1, calibration_error=0.2, seconds=60.0)
GOOD = {"coverage": 0.5, "calibration_error": 0.01, "seconds": 1.0}
USERS = np.arange(400)
LOW = np.random.default_rng(0).random(400) * 0.5


def test_better_and_within_the_rails_is_promoted() -> None:
    found = GATE.verdict(GOOD, USERS, LOW + 0.1, Rivalry(LOW))
    assert (found.promoted, found.reasons) == (True, ())
    assert found.gap is not None
    assert found.gap.value == pytest.approx(0.1)


@pytest.mark.parametrize(("new", "shown"), [(LOW, 0), (LOW[::-1].copy(), 0), (LOW - 0.1, -1)])
def test_what_is_not_shown_to_be_better_is_not_promoted(new: np.ndarray, shown: int) -> None:
    found = GATE.verdict(GOOD, USERS, new, Rivalry(LOW))
    assert found.gap is not None
    assert (found.promoted, found.gap.shown, len(found.reasons)) == (False, shown, 1)


@pytest.mark.parametrize(
    ("name", "value"), [("coverage", 0.01), ("calibration_error", 0.3), ("seconds", 61.0)]
)
def test_each_guard_rail_stops_a_better_model(name: str, value: float) -> None:
    assert name in {rail.name for rail in RAILS}
    found = GATE.verdict(GOOD | {name: value}, USERS, LOW + 0.1, Rivalry(LOW))
    assert not found.promoted
    (reason,) = found.reasons
    assert reason.startswith(f"{name}: found {value:g}")
    assert [
        kept for rail, _, _, kept in GATE.rails(GOOD | {name: value}) if rail.name == name
    ] == [False]


def test_a_value_at_the_limit_is_kept() -> None:
    limits = {rail.name: getattr(GATE, rail.name) for rail in RAILS}
    assert GATE.verdict(limits, USERS, LOW + 0.1, Rivalry(LOW)).promoted


def test_an_unfair_comparison_is_not_made_and_nobody_bought_nothing() -> None:
    found = GATE.verdict(GOOD, USERS, LOW + 0.1, Rivalry.refused("it knows the window"))
    nobody = GATE.verdict(GOOD, USERS[:0], LOW[:0], Rivalry(LOW[:0]))
    assert (nobody.promoted, len(nobody.reasons)) == (False, 1)
    assert (found.promoted, found.reasons, found.gap) == (False, ("it knows the window",), None)


def test_ranges_of_the_options() -> None:
    for name, value in (("resamples", 99), ("coverage", -0.1), ("seconds", -1.0)):
        with pytest.raises(ConfigError, match=name):
            Gate(**{name: value})
