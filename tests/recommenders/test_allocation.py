"""Who is shown a list: cases counted by hand, and every order against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.recommenders.allocation import choose, expected
from clickprint.recommenders.pairs import Pairs

PAIRS = Pairs(np.array([3, 5, 9]), np.array([0, 2, 2, 5]), np.array([10, 20, 10, 30, 40]))
CHANCES = np.array([0.5, 0.25, 0.75, 0.5, 0.25])


def lists(*rows: list[int]) -> Recommendations:
    items = np.full((len(rows), 2), NONE, np.int64)
    for n, row in enumerate(rows):
        items[n, : len(row)] = row
    return Recommendations(
        PAIRS.users[: len(rows)], items, np.where(items == NONE, -np.inf, 0).astype(np.float32)
    )


def test_expected_recall_by_hand() -> None:
    found = expected(CHANCES, PAIRS, lists([10], [], [40, 10]), np.array([1.0, 1.0, 4.0]))
    assert found.tolist() == [0.5, 0.0, 0.25]
    assert expected(
        CHANCES, PAIRS, lists([10, 20], [], [10, 30]), np.array([0.1, 0.0, 1.0])
    ).tolist() == [0.75, 0.0, 1.0]  # size ≥ 1, ≤ 1


def test_lists_must_be_of_candidates() -> None:
    one = np.ones(3)
    with pytest.raises(DataError, match="none of its user's candidates"):
        expected(CHANCES, PAIRS, lists([30], [], [10]), one)
    with pytest.raises(DataError, match="none of its user's candidates"):
        expected(CHANCES, PAIRS, lists([10], [99], []), one)
    with pytest.raises(DataError, match="2 users and 3 sizes"):
        expected(CHANCES, PAIRS, lists([10], []), one)
    nobody = Pairs(np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64))
    assert expected(np.zeros(0), nobody, lists(), np.zeros(0)).tolist() == []
    empty = Pairs(PAIRS.users, np.zeros(4, np.int64), np.zeros(0, np.int64))
    assert expected(np.zeros(0), empty, lists([], [], []), one).tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="none of its user's"):
        expected(np.zeros(0), empty, lists([1], [], []), one)


def test_the_choice_by_hand() -> None:
    propensity, recall = np.array([0.9, 0.5, 0.6, 0.5]), np.array([0.1, 0.4, 0.4, 0.4])
    assert choose(propensity, None, 2).tolist() == [0, 2]
    assert choose(propensity, recall, 3).tolist() == [
        2,
        1,
        3,
    ]  # .09, .2, .24, .2: equal ones in the order of users
    assert choose(propensity, recall, 99).tolist() == [2, 1, 3, 0]  # more than there are
    assert choose(propensity, recall, 0).tolist() == []
    assert choose(np.zeros(0), np.zeros(0), 5).tolist() == []
    assert choose(np.zeros(3), np.ones(3), 2).tolist() == [0, 1]  # nobody buys


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12), st.integers(0, 14))
def test_the_choice_against_plain_python(rows: list[tuple[int, int]], limit: int) -> None:
    propensity, recall = (np.array([r[n] / 4 for r in rows]) for n in (0, 1))
    wanted = sorted(range(len(rows)), key=lambda r: (-rows[r][0] * rows[r][1], r))[:limit]
    assert choose(propensity, recall, limit).tolist() == wanted
    # no other set of so many users is worth more
    worth = np.sort(propensity * recall)[::-1]
    assert (propensity * recall)[choose(propensity, recall, limit)].sum() == pytest.approx(
        worth[:limit].sum()
    )


def test_what_cannot_be_chosen_from() -> None:
    with pytest.raises(ConfigError, match="found -1"):
        choose(np.ones(2), None, -1)
    with pytest.raises(DataError, match="2 propensities and 3 expected"):
        choose(np.ones(2), np.ones(3), 1)
    with pytest.raises(DataError, match="1 propensities are no number"):
        choose(np.array([1.0, np.nan]), None, 1)
