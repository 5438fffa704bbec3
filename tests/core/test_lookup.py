"""Lookups against loops over every pair: sorted or not, empty, absent and extreme ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.ids import NONE
from clickprint.core.lookup import (
    among,
    pair_keys,
    pairs_of_keys,
    positions,
    positions_in_any_order,
)

IDS = st.integers(-4, 4) | st.sampled_from([NONE, NONE + 1, 2**63 - 1])
SOME = st.lists(IDS, max_size=12)


def array(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def slow(known: list[int], values: list[int]) -> list[int]:
    return [known.index(v) if v in known else -1 for v in values]


@given(SOME, SOME)
def test_positions_in_sorted_ids(known: list[int], values: list[int]) -> None:
    known = sorted(set(known))
    assert positions(array(known), array(values)).tolist() == slow(known, values)
    assert among(array(known), array(values)).tolist() == [v in known for v in values]


@given(SOME, SOME)
def test_positions_in_ids_of_any_order_are_the_first(known: list[int], values: list[int]) -> None:
    assert positions_in_any_order(array(known), array(values)).tolist() == slow(known, values)


@given(st.lists(st.lists(IDS, min_size=3, max_size=3), max_size=4), st.sets(IDS))
def test_tables_of_ids_keep_their_shape(rows: list[list[int]], known: set[int]) -> None:
    table, ids = array(rows).reshape(-1, 3), sorted(known)
    expected = [slow(ids, row) for row in rows]
    assert positions(array(ids), table).tolist() == expected
    assert among(array(ids), table).shape == table.shape


@pytest.mark.parametrize("find", [positions, positions_in_any_order])
def test_nothing_is_known_or_asked(find) -> None:
    assert find(array([]), array([1, NONE])).tolist() == [-1, -1]
    assert find(array([1, 2]), array([])).dtype == np.int64
    assert find(np.array(["a", "c"]), np.array(["b", "c"])).tolist() == [-1, 1]


PAIRS = st.integers(1, 50).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.lists(st.tuples(st.integers(-20, 10**12), st.integers(0, size - 1)), max_size=10),
    )
)


@given(PAIRS)
def test_keys_are_pairs_in_their_order(given_: tuple[int, list[tuple[int, int]]]) -> None:
    size, pairs = given_
    first, second = array([a for a, _ in pairs]), array([b for _, b in pairs])
    keys = pair_keys(first, second, size)
    back = pairs_of_keys(keys, size)
    assert list(zip(*(b.tolist() for b in back), strict=True)) == pairs
    assert [pairs[i] for i in np.argsort(keys, kind="stable")] == sorted(pairs)


def test_keys_of_no_pairs() -> None:
    assert pair_keys(array([]), array([]), 0).dtype == np.int64
    assert [b.tolist() for b in pairs_of_keys(array([]), 0)] == [[], []]
