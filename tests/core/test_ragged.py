"""Ragged rows against lists of lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.ragged import Ragged, spans, starts_of

ROWS = st.lists(st.lists(st.integers(-9, 9), max_size=6), max_size=8)


def ragged(rows: list[list[int]]) -> Ragged:
    return Ragged(
        starts_of(np.array([len(r) for r in rows], np.int64)),
        np.array([v for r in rows for v in r], np.int64),
    )


def lists(found: Ragged) -> list[list[int]]:
    assert found.starts[0] == 0
    assert found.starts[-1] == len(found.values)
    return [found[row].tolist() for row in range(len(found))]


@given(rows=ROWS)
def test_rows_and_lengths(rows: list[list[int]]) -> None:
    found = ragged(rows)
    assert lists(found) == rows
    assert found.lengths.tolist() == [len(r) for r in rows]


@given(rows=ROWS, data=st.data())
def test_take(rows: list[list[int]], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10)) if rows else []
    assert lists(ragged(rows).take(np.array(wanted, np.int64))) == [rows[i] for i in wanted]


@given(rows=ROWS, n=st.integers(0, 7))
def test_last(rows: list[list[int]], n: int) -> None:
    assert lists(ragged(rows).last(n)) == [r[len(r) - min(n, len(r)) :] for r in rows]


@given(rows=ROWS, start=st.integers(-10, 10), stop=st.integers(-10, 10))
def test_slice(rows: list[list[int]], start: int, stop: int) -> None:
    assert lists(ragged(rows).slice(start, stop)) == rows[start:stop]


def test_what_follows_one_another_is_not_copied() -> None:
    found = ragged([[1], [2, 3], [], [4]])
    assert np.shares_memory(found.take(np.array([1, 2, 3])).values, found.values)
    assert np.shares_memory(found.slice(1, 3).values, found.values)
    assert not np.shares_memory(found.take(np.array([1, 0])).values, found.values)
    assert spans(np.array([3, 7]), np.array([2, 0]))[1] == slice(3, 5)


def test_values_may_have_more_axes() -> None:
    found = Ragged(np.array([0, 2, 3]), np.arange(12).reshape(3, 4))
    assert found.take(np.array([1, 0]))[0].tolist() == [[8, 9, 10, 11]]


def test_a_row_that_is_not_there() -> None:
    found = ragged([[1], [2]])
    assert found[-1].tolist() == [2]
    with pytest.raises(IndexError, match="row 2 of 2"):
        found[2]
