"""Ranking metrics against their definitions, one user at a time; ties, empties and repeats."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.ids import NONE
from clickprint.metrics import ranking

LISTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 9), max_size=4, unique=True),
        st.lists(st.integers(0, 9), max_size=5, unique=True),
    ),
    min_size=1,
    max_size=5,
)


def arrays(users: list[tuple[list[int], list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lists = np.array([found + [NONE] * (4 - len(found)) for found, _ in users], np.int64)
    starts = np.cumsum([0, *(len(r) for _, r in users)]).astype(np.int64)
    return lists, starts, np.array([i for _, r in users for i in r], np.int64)


@given(LISTS, st.integers(1, 6))
def test_list_metrics(users: list[tuple[list[int], list[int]]], k: int) -> None:
    lists, starts, relevant = arrays(users)
    hit, many = ranking.hits(lists, starts, relevant), np.diff(starts)
    found = {f.__name__: f(hit, many, k) for f in (ranking.recall, ranking.ndcg, ranking.mrr)}
    for u, (listed, wanted) in enumerate(users):
        good = [i in wanted for i in listed][:k]
        if not wanted:
            assert all(np.isnan(v[u]) for v in found.values())
            continue
        assert found["recall"][u] == pytest.approx(sum(good) / len(wanted))
        gain = sum(1 / math.log2(p + 2) for p, g in enumerate(good) if g)
        assert found["ndcg"][u] == pytest.approx(
            gain / sum(1 / math.log2(p + 2) for p in range(min(k, len(wanted))))
        )
        assert found["mrr"][u] == pytest.approx(1 / (good.index(True) + 1) if any(good) else 0)


def test_an_item_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="more than once"):
        ranking.hits(np.array([[3, 3]]), np.array([0, 1]), np.array([3]))
    twice_nothing = np.array([[NONE, NONE]])
    assert not ranking.hits(twice_nothing, np.array([0, 1]), np.array([3])).any()
    assert not ranking.hits(np.array([[1]]), np.array([0, 0]), np.array([], np.int64)).any()


def test_coverage() -> None:
    assert ranking.coverage(np.array([[1, 2], [2, NONE]]), 8) == 0.25
    assert ranking.coverage(np.array([[NONE]]), 8) == ranking.coverage(np.array([[1]]), 0) == 0


def test_novelty() -> None:
    items, share = np.array([1, 2, 5]), np.array([0.5, 0.125, 0.0])
    found = ranking.novelty(np.array([[1, 2], [5, NONE], [9, 1], [NONE, NONE]]), items, share)
    assert found[:3].tolist() == [2.0, 3.0, 2.0]
    assert np.isnan(found[3])
    nothing = np.array([], np.int64), np.array([])
    assert ranking.novelty(np.array([[1]]), *nothing).tolist() == [0.0]


@given(
    st.lists(
        st.lists(st.integers(0, 9), unique=True, max_size=5).map(
            lambda r: [*r, *[NONE] * (5 - len(r))]
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.sampled_from([NONE, 7, 8]), min_size=6, max_size=6),
)
def test_category_diversity_is_that_of_pairs(lists: list[list[int]], category: list[int]) -> None:
    items, of = np.array([0, 2, 3, 5, 8, 9]), np.array(category, np.int64)
    found = ranking.category_diversity(np.array(lists, np.int64), items, of)
    known = dict(zip(items.tolist(), category, strict=True))
    for row, value in zip(lists, found, strict=True):
        pairs = list(combinations([known[i] for i in row if known.get(i, NONE) != NONE], 2))
        assert (
            value == pytest.approx(np.mean([a != b for a, b in pairs]))
            if pairs
            else np.isnan(value)
        )


def test_no_category_at_all() -> None:
    none = np.zeros(0, np.int64)
    assert np.isnan(ranking.category_diversity(np.array([[1, 2]]), none, none)).all()
