"""Ranked items: who is asked, what is right, and scores that a count by hand gives too."""

import math

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.data.engine import DuckDB
from clickprint.metrics import compare
from clickprint.tasks import ranking
from clickprint.testing.worlds import BUY, START, VIEW, memory_log


def some() -> Histories:
    item = np.array([1, NONE, 2, 3, 7, 4, 5, 4, NONE])
    return Histories(
        np.array([10, 20, 30, 40]), np.array([0, 4, 5, 5, 9]), {"item": item, "time": np.arange(9)}
    )


@pytest.mark.parametrize(
    ("back", "users", "given", "wanted"),
    [(0, [10, 40], [[1, 2], [4, 5]], [3, 4]), (1, [10, 40], [[1], [4]], [2, 5]), (2, [], [], [])],
)
def test_leave_one_out(back: int, users: list, given: list, wanted: list) -> None:
    found = ranking.leave_one_out(some(), back=back)
    assert found.users.tolist() == users
    ragged = found.given.ragged("item")
    assert [ragged[i].tolist() for i in range(len(users))] == given
    assert found.relevant.values.tolist() == wanted
    assert found.relevant.lengths.tolist() == [1] * len(users)


def test_in_window() -> None:
    rows = [
        (1, BUY, 5, 1),
        (1, BUY, 5, 2),
        (1, BUY, 6, 2),
        (2, VIEW, 5, 2),
        (3, BUY, 5, 9),
        (4, BUY, NONE, 2),
        (9, BUY, 5, 2),
        (2, BUY, 8, 3),
    ]
    user, kind, item, day = map(np.array, zip(*rows, strict=True))
    given = Histories(
        np.array([1, 2, 3, 4]), np.array([0, 2, 2, 2, 2]), {"item": np.array([5, 6])}
    )
    with DuckDB(threads=1) as engine:
        log = memory_log(engine, time=START + day * DAY, user=user, kind=kind, item=item)
        found = ranking.in_window(given, log, Window(START + DAY, START + 5 * DAY))
    assert found.users.tolist() == [1, 2], (
        "3 bought later, 4 bought nothing that is an item, of 9 nothing is known"
    )
    assert [found.relevant[i].tolist() for i in range(2)] == [[5, 6], [8]]
    assert found.given.lengths.tolist() == [2, 0]


def lists() -> Recommendations:
    items = np.array([[4, 3, 9], [7, 8, 9], [3, 9, 1]])
    return Recommendations(np.array([40, 20, 10]), items, np.tile(np.float32([3, 2, 1]), (3, 1)))


def test_score() -> None:
    test = ranking.leave_one_out(some())
    found = ranking.score(
        lists(), test, ks=(1, 3), rng=RNG(0), items=np.array([1, 2, 3, 4, 5, 7, 8, 9])
    )
    assert found.users.tolist() == [10, 40]
    assert (
        found.mean("recall@1")
        == found.mean("recall@3")
        == found.mean("mrr@3")
        == found.mean("ndcg@3")
        == 1
    )
    assert found.lists["coverage"] == 4 / 8
    # 1, 2, 4 and 5 were had by one of two users each; 3 and 9 by nobody, so they are as rare.
    assert found.lists["novelty"] == 1
    worse = Recommendations(lists().users, lists().items[:, ::-1].copy(), lists().scores)
    other = ranking.score(
        worse, test, ks=(1, 3), rng=RNG(0), items=np.array([1, 2, 3, 4, 5, 7, 8, 9])
    )
    assert other.mean("recall@1") == 0
    assert other.mean("ndcg@3") == pytest.approx(0.5)
    assert other.mean("mrr@3") == pytest.approx(1 / 3)
    assert gap(found, other, "mrr@3").share == 1
    assert compare.intervals(found.replicates("mrr@3")) == (1, 1)


def test_without_a_catalogue_coverage_is_of_what_was_had_or_given() -> None:
    test = ranking.leave_one_out(
        some()
    )  # 1, 2 and 4, 5 were had; the lists give 3, 4 and what nobody had, too
    found = ranking.score(lists(), test, ks=(3,), rng=RNG(0))
    given = set(lists().items[[2, 0]].ravel().tolist()) - {NONE}
    assert given - {1, 2, 4, 5}
    assert found.lists["coverage"] == len(given) / len(given | {1, 2, 4, 5})


def test_category_diversity_is_of_the_categories_given() -> None:
    items, category = np.array([1, 3, 4, 9]), np.array([7, 7, 8, 8])
    found = ranking.score(
        lists(), ranking.leave_one_out(some()), ks=(3,), rng=RNG(0), items=items, category=category
    )
    assert found.lists["category_diversity"] == pytest.approx(2 / 3)


def gap(one: ranking.RankingScore, other: ranking.RankingScore, metric: str) -> compare.Difference:
    return compare.difference(one.replicates(metric), other.replicates(metric))


def test_intervals_are_of_users_and_pairs_are_shared() -> None:
    random = np.random.default_rng(0)
    users = np.arange(400)
    item = random.integers(0, 6, 800)
    histories = Histories(users, np.arange(0, 801, 2), {"item": item})
    test = ranking.leave_one_out(histories)

    def shown(order: list[int]) -> ranking.RankingScore:
        return ranking.score(
            Recommendations(users, np.tile(order, (400, 1)), np.zeros((400, 3), np.float32)),
            test,
            ks=(1, 3),
            rng=RNG(4),
            items=np.arange(6),
        )

    one, same, other = shown([0, 1, 2]), shown([0, 1, 2]), shown([1, 0, 2])
    p = one.mean("recall@3")
    low, high = compare.intervals(one.replicates("recall@3"))
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(p * (1 - p) / 400), rel=0.15)
    assert low < p < high
    assert gap(one, same, "ndcg@3") == (0, 0, 0.5)
    assert gap(one, other, "recall@3") == (0, 0, 0.5), "the same three items in another order"
    first = gap(one, other, "recall@1")
    assert first.low < 0 < first.high


def test_what_is_refused() -> None:
    test = ranking.leave_one_out(some())
    missing = Recommendations(np.array([40]), np.array([[1, 2, 3]]), np.zeros((1, 3), np.float32))
    with pytest.raises(DataError, match=r"1 of 2 users.*\b10$"):
        ranking.score(missing, test, ks=(3,), rng=RNG(0))
    with pytest.raises(DataError, match=r"\b3 items.*\b4$"):
        ranking.score(lists(), test, ks=(4,), rng=RNG(0), items=np.arange(20))


def test_nobody_is_asked() -> None:
    nobody = ranking.leave_one_out(
        Histories(np.array([1]), np.array([0, 1]), {"item": np.array([3])})
    )
    found = ranking.score(lists(), nobody, ks=(3,), rng=RNG(0), items=np.arange(3))
    assert len(found.users) == 0
