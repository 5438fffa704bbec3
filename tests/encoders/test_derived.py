"""Fields that are made of others: each against what its line says, event by event."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.ragged import starts_of
from clickprint.core.time import DAY
from clickprint.encoders.derived import DERIVED, columns, derive

HOUR = 3_600_000_000


def histories(
    lengths: list[int], times: list[int], prices: list[float], cutoff: int | None = None
) -> Histories:
    starts = starts_of(np.array(lengths, np.int64))
    fields = {"time": np.array(times, np.int64), "price": np.array(prices, np.float64)}
    return Histories(np.arange(len(lengths)), starts, fields, cutoff)


def one_hour(events: Histories, _user: range, e: int) -> int:
    return moment(events, e).hour


def one_weekday(events: Histories, _user: range, e: int) -> int:
    return moment(events, e).weekday()


def one_gap(events: Histories, user: range, e: int) -> int:
    time = events.fields["time"].tolist()
    return NONE if e == user.start else math.floor(math.log2(1 + (time[e] - time[e - 1]) / HOUR))


def one_age(events: Histories, _user: range, e: int) -> int:
    assert events.cutoff is not None
    return math.floor(2 * math.log2(1 + (events.cutoff - int(events.fields["time"][e])) / DAY))


def one_price_band(events: Histories, _user: range, e: int) -> int:
    price = float(events.fields["price"][e])
    return math.floor(4 * math.log2(price)) if math.isfinite(price) and price > 0 else NONE


def moment(events: Histories, e: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(events.fields["time"][e]))


SLOW: dict[str, Callable[[Histories, range, int], int]] = {
    "hour": one_hour,
    "weekday": one_weekday,
    "gap": one_gap,
    "age": one_age,
    "price_band": one_price_band,
}
PRICES = [np.nan, np.inf, -np.inf, 0.0, -0.0, -3.5, 5e-324, 1e-9, 0.49, 1.0, 1.99, 2.0, 1e300]


def test_every_derived_field_has_a_slow_twin() -> None:
    assert SLOW.keys() == DERIVED.keys()


@pytest.mark.parametrize("field", SLOW)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_each_event_is_what_it_says(field: str, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 4), max_size=6))
    gaps = st.one_of(
        st.integers(0, 3),
        st.sampled_from([HOUR - 1, HOUR, 3 * HOUR, DAY]),
        st.integers(0, 400 * DAY),
    )
    times: list[int] = []
    for n in lengths:
        steps = data.draw(st.lists(gaps, min_size=n, max_size=n))
        times += (
            data.draw(st.integers(-(10**15), 2 * 10**15)) + np.cumsum(steps, dtype=np.int64)
        ).tolist()
    prices = data.draw(
        st.lists(
            st.sampled_from(PRICES) | st.floats(1e-6, 1e6),
            min_size=len(times),
            max_size=len(times),
        )
    )
    events = histories(
        lengths, times, prices, cutoff=max(times, default=0) + data.draw(st.integers(0, 40 * DAY))
    )
    found = derive(events, [field]).fields[field]
    wanted = [
        SLOW[field](events, range(a, b), e)
        for a, b in zip(events.starts[:-1], events.starts[1:], strict=True)
        for e in range(a, b)
    ]
    assert found.dtype == np.int64
    assert found.tolist() == wanted


def test_some_by_hand() -> None:
    monday = int(datetime(2026, 11, 23, 6, 59, tzinfo=UTC).timestamp()) * 1_000_000
    prices = [1.0, np.nan, 0.0, -2.0, 0.5, np.inf]
    events = histories(
        [0, 3, 0, 3, 0],
        [monday, monday + HOUR, monday + DAY, monday, monday, monday + 7 * DAY],
        prices,
    )
    made = derive(events, ["hour", "weekday", "gap", "price_band"]).fields
    assert made["hour"].tolist() == [6, 7, 6, 6, 6, 6]
    assert made["weekday"].tolist() == [0, 0, 1, 0, 0, 0]
    assert made["gap"].tolist() == [NONE, 1, 4, NONE, 0, 7], (
        "log2 of 2, 24, 1 and 169 hours; none before anyone's first event"
    )
    assert made["price_band"].tolist() == [0, NONE, NONE, NONE, -4, NONE]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_without_events_there_are_no_values(lengths: list[int]) -> None:
    empty = derive(histories(lengths, [], [], cutoff=0), list(DERIVED))
    assert all(len(empty.fields[f]) == 0 for f in DERIVED)
    assert len(empty) == len(lengths)


def test_times_that_go_back_have_no_gap() -> None:
    """Histories are in order; should one not be, no logarithm of a negative number is taken."""
    assert derive(histories([2], [5 * HOUR, 0], [1, 1]), ["gap"]).fields["gap"].tolist() == [
        NONE,
        0,
    ]


def test_an_age_needs_a_cutoff_and_is_never_negative() -> None:
    with pytest.raises(ConfigError, match=r"^age: .*no cutoff"):
        derive(histories([1], [0], [1]), ["age"])
    assert derive(histories([2], [0, 9 * DAY], [1, 1], cutoff=3 * DAY), ["age"]).fields[
        "age"
    ].tolist() == [4, 0]


def test_other_fields_and_the_cutoff_stay() -> None:
    events = histories([1, 1], [0, DAY], [2.0, 3.0], cutoff=2 * DAY)
    made = derive(events, ["hour", "price"])
    assert set(made.fields) == {"time", "price", "hour"}
    assert made.fields["price"] is events.fields["price"]
    assert made.cutoff == events.cutoff
    assert derive(events, ["price"]) is events, "nothing to make"


def test_columns_that_are_needed_once_each() -> None:
    assert columns(("hour", "kind", "gap", "price_band", "weekday", "category")) == (
        "time",
        "kind",
        "price",
        "category",
    )
    assert columns(()) == ()
