"""Training windows before a validation window: how many, where they start, and their file."""

import pytest

from clickprint.core.errors import DataError
from clickprint.core.time import DAY, HOUR, Window
from clickprint.recommenders.windows import Windows
from clickprint.testing.worlds import START

VALID = Window(START + 20 * DAY, START + 23 * DAY)


def days(found: Windows) -> list[int]:
    return [(w.start - START) // DAY for w in found.train]


@pytest.mark.parametrize(
    ("count", "stride_days", "history_days", "starts"),
    [
        (2, 0, 0, [14, 17]),
        (2, 7, 0, [10, 17]),
        (3, 1, 0, [15, 16, 17]),  # windows may overlap
        (9, 3, 8, [8, 11, 14, 17]),  # no more have enough before them
    ],
)
def test_where_training_windows_start(
    count: int, stride_days: int, history_days: int, starts: list[int]
) -> None:
    found = Windows.before(
        VALID, START + HOUR, count=count, stride_days=stride_days, history_days=history_days
    )
    assert days(found) == starts
    assert all(w.end - w.start == 3 * DAY and w.end <= VALID.start for w in found.train)
    assert (found.valid, found.cutoff, found.asked) == (VALID, VALID.end, count)
    assert found.starts == (*(START + d * DAY for d in starts), VALID.start, VALID.end)


def test_a_log_that_is_too_short() -> None:
    with pytest.raises(DataError, match="history_days"):
        Windows.before(VALID, START, count=2, history_days=18)


def test_the_file_of_windows() -> None:
    whole = Windows.before(VALID, START, count=2)
    assert Windows.from_json(whole.to_json()) == whole
    for text in ("", "{}", '{"train": [["x", "y"]], "valid": 1, "asked": 2}', "[1"):
        with pytest.raises(DataError, match=r"windows\.json"):
            Windows.from_json(text)
