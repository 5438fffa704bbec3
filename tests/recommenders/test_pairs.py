"""Pairs, their union and what was bought, each against its definition in plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import DataError
from clickprint.core.ids import NONE
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.time import DAY
from clickprint.recommenders.pairs import Bought, Pairs, fill, union
from clickprint.recommenders.windows import rolling

LISTS = st.lists(st.lists(st.integers(-3, 9), max_size=5, unique=True), min_size=1, max_size=6)


def lists_of(rows: list[list[int]], width: int = 5, first: int = 10) -> Recommendations:
    items = np.full((len(rows), width), NONE, np.int64)
    scores = np.full((len(rows), width), -np.inf, np.float32)
    for i, row in enumerate(rows):
        items[i, : len(row)], scores[i, : len(row)] = row, -np.arange(len(row), dtype=np.float32)
    return Recommendations(np.arange(len(rows), dtype=np.int64) * 3 + first, items, scores)


def bought_of(rows: dict[int, list[int]]) -> Bought:
    users = sorted(u for u in rows if rows[u])
    values = [i for u in users for i in sorted(set(rows[u]))]
    lengths = np.array([len(set(rows[u])) for u in users], np.int64)
    return Bought(
        np.array(users, np.int64), Ragged(starts_of(lengths), np.array(values, np.int64))
    )


def plain(lists: Recommendations) -> dict[int, list[int]]:
    return {
        int(u): [int(i) for i in row if i != NONE]
        for u, row in zip(lists.users, lists.items, strict=True)
    }


@settings(max_examples=60, deadline=None)
@given(LISTS, st.data())
def test_a_union_is_each_pair_once_with_its_rank_in_each_source(
    one: list[list[int]], data: st.DataObject
) -> None:
    two = [data.draw(st.lists(st.integers(-3, 9), max_size=5, unique=True)) for _ in one]
    a, b = lists_of(one), lists_of(two)
    pairs = union({"a": a, "b": b})
    found = list(zip(pairs.users[pairs.rows].tolist(), pairs.items.tolist(), strict=True))
    wanted = sorted(
        {(u, i) for lists in (plain(a), plain(b)) for u, row in lists.items() for i in row}
    )
    assert found == wanted
    for name, lists in (("a", plain(a)), ("b", plain(b))):
        ranks = [lists[u].index(i) + 1 if i in lists[u] else None for u, i in wanted]
        assert [None if np.isnan(r) else int(r) for r in pairs.columns[f"{name}_rank"]] == ranks
        assert [None if np.isnan(s) else int(s) for s in pairs.columns[f"{name}_score"]] == [
            None if r is None else 1 - r for r in ranks
        ]


@settings(max_examples=60, deadline=None)
@given(LISTS, st.data())
def test_the_top_is_by_score_then_item(rows: list[list[int]], data: st.DataObject) -> None:
    pairs = union({"a": lists_of(rows)})
    scores = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(pairs), max_size=len(pairs))),
        np.float64,
    )
    found = plain(pairs.top(scores, 3))
    for u, user in enumerate(pairs.users):
        own = range(pairs.starts[u], pairs.starts[u + 1])
        assert found[int(user)] == [
            int(pairs.items[p])
            for p in sorted(own, key=lambda p: (-scores[p], pairs.items[p]))[:3]
        ]


@settings(max_examples=60, deadline=None)
@given(LISTS, st.lists(st.integers(-3, 20), max_size=12, unique=True), st.integers(1, 6))
def test_lists_are_filled_with_what_is_popular(
    rows: list[list[int]], popular: list[int], k: int
) -> None:
    found = plain(fill(lists_of(rows), np.array(popular, np.int64), k))
    for user, row in plain(lists_of(rows)).items():
        own = row[:k]
        assert found[user] == (own + [p for p in popular[:k] if p not in own])[:k]


@settings(max_examples=60, deadline=None)
@given(
    LISTS,
    st.dictionaries(st.integers(8, 26), st.lists(st.integers(-3, 12), max_size=4), max_size=8),
    st.integers(1, 5),
)
def test_recall_is_of_all_buyers(rows: list[list[int]], had: dict[int, list[int]], k: int) -> None:
    lists, truth = lists_of(rows), bought_of(had)
    shown = plain(lists)
    wanted = [
        len(set(had[u]) & set(shown.get(u, [])[:k])) / len(set(had[u]))
        for u in sorted(had)
        if had[u]
    ]
    assert truth.recall(lists, k).tolist() == wanted
    backwards = Recommendations(
        lists.users[::-1].copy(), lists.items[::-1].copy(), lists.scores[::-1].copy()
    )
    assert truth.recall(backwards, k).tolist() == wanted
    pairs = union({"a": lists})
    ceiling = [
        len(set(had[u]) & set(shown.get(u, []))) / len(set(had[u])) for u in sorted(had) if had[u]
    ]
    assert truth.found(pairs).tolist() == ceiling
    labels = [
        int(i) in had.get(int(u), [])
        for u, i in zip(pairs.users[pairs.rows], pairs.items, strict=True)
    ]
    assert truth.of(pairs).tolist() == labels


def test_some_users_and_some_pairs() -> None:
    pairs = union({"a": lists_of([[1, 2], [], [3], [1, 5]])})
    some = pairs.take(np.array([0, 3]))
    assert (some.users.tolist(), some.starts.tolist(), some.items.tolist()) == (
        [10, 19],
        [0, 2, 4],
        [1, 2, 1, 5],
    )
    kept = pairs.where(pairs.items > 1)
    assert (kept.starts.tolist(), kept.items.tolist()) == ([0, 1, 1, 2, 3], [2, 3, 5])
    assert kept.also({"one": np.ones(3)}).matrix(["one", "a_rank"]).tolist() == [
        [1, 2],
        [1, 1],
        [1, 2],
    ]
    assert kept.matrix([]).shape == (3, 0)


@pytest.mark.parametrize(
    ("users", "starts", "items", "columns", "message"),
    [
        ([2, 1], [0, 0, 0], [], {}, "sorted"),
        ([1], [0], [], {}, "do not cut"),
        ([1], [0, 2], [5], {}, "do not cut"),
        ([1], [0, 2], [5, 5], {}, "rise"),
        ([1, 2], [0, 0, 2], [6, 5], {}, "rise"),
        ([1], [0, 1], [5], {"a": np.zeros(2, np.float32)}, "2 values of 1 pairs"),
    ],
)
def test_what_is_no_set_of_pairs(
    users: list, starts: list, items: list, columns: dict, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Pairs(
            np.array(users, np.int64),
            np.array(starts, np.int64),
            np.array(items, np.int64),
            columns,
        )


def test_sources_of_other_users() -> None:
    with pytest.raises(DataError, match="b is of other users"):
        union({"a": lists_of([[1]]), "b": lists_of([[1]], first=11)})


def test_windows_end_with_the_log() -> None:
    end = 20 * DAY + 5
    found = rolling(0, end, days=3, count=3)
    assert [(w.start, w.end) for w in found] == [
        (12 * DAY, 15 * DAY),
        (15 * DAY, 18 * DAY),
        (18 * DAY, 21 * DAY),
    ]
    assert [w.start // DAY for w in rolling(0, end, days=3, count=3, gap=1)] == [16, 17, 18]
    with pytest.raises(DataError, match="ask for fewer"):
        rolling(0, end, days=3, count=7)
