"""Times are whole microseconds; windows are half-open."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError
from clickprint.core.time import DAY, HOUR, SECOND, Window, midnight, parse, show

TIMES = st.integers(parse("0001-01-02"), parse("9999-12-30"))


@given(TIMES)
def test_parse_undoes_show_to_the_second(time):
    assert parse(show(time)) == time - time % SECOND


@given(TIMES)
def test_midnight_is_the_start_of_the_day(time):
    assert midnight(time) <= time < midnight(time) + DAY
    assert show(midnight(time)).endswith("00:00:00")
    assert show(midnight(time))[:10] == show(time)[:10]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1970-01-01", 0),
        ("1970-01-02 00:00:00.000001", DAY + 1),
        ("1970-01-01T02:00+02:00", 0),
        ("1969-12-31 23:59:59", -SECOND),
        ("2022-09-17 22:54:32", 1_663_455_272 * SECOND),
        ("1970-01-01T01:00:00Z", HOUR),
    ],
)
def test_texts(text, time):
    assert parse(text) == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2022-13-01",
        "2022-02-30",
        "17/09/2022",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_texts_that_name_no_time(text):
    with pytest.raises(ConfigError, match=re.escape(f"found {text!r}, ")):
        parse(text)


@given(TIMES, st.integers(1, 1000 * DAY), st.floats(0.01, 2000))
def test_first_days(start, length, days):
    window = Window(start, start + length)
    part = window.first(days)
    assert part.start == start
    assert part.end == min(window.end, start + round(days * DAY))


@pytest.mark.parametrize("length", [0, -1])
def test_an_empty_window_is_refused(length):
    with pytest.raises(ConfigError, match=r"window.*1970-01-02 00:00:00 to 1970-01-0"):
        Window(DAY, DAY + length)


def test_a_window_in_words():
    assert str(Window(0, DAY)) == "1970-01-01 00:00:00 ≤ t < 1970-01-02 00:00:00"
    assert Window(0, 5) < Window(1, 2)
