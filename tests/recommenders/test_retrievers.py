"""Every retriever gives what its definition says, event by event in plain Python."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from clickprint.core.errors import ConfigError
from clickprint.core.ids import NONE
from clickprint.core.options import OptionsError
from clickprint.core.recommender import Recommends
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import LogPast, past_of
from clickprint.recommenders import blocks
from clickprint.recommenders.baselines import Popularity
from clickprint.recommenders.funnel import POPULAR, most_popular
from clickprint.recommenders.retrievers import baskets
from clickprint.recommenders.retrievers.baskets import TIFUKNN, UPCF
from clickprint.recommenders.retrievers.covisits import CoVisits
from clickprint.recommenders.retrievers.history import History, OpenBaskets
from clickprint.recommenders.retrievers.popular import PopularIn
from clickprint.recommenders.retrievers.repurchase import Repurchase
from clickprint.testing.encoders import at_rows
from clickprint.testing.funnel import ask
from clickprint.testing.worlds import BUY, CART, REMOVE, SEARCH, START, memory_log, random_arrays

CUTOFF = START + 30 * DAY
RETRIEVERS: dict[str, Recommends] = {
    "own": History(),
    "own, decayed": History(roles=("buy", "cart"), half_life=5),
    "own, last baskets": History(last=2),
    "own, all": History(roles=()),
    "open baskets": OpenBaskets(),
    "again": Repurchase(),
    "popular": POPULAR,
    "popular in": PopularIn(),
    "tifu-knn": TIFUKNN(neighbours=3, groups=2),
    "up-cf": UPCF(baskets=3),
    "co-visits": CoVisits(first=("buy", "cart"), then=("buy",), days=10, after=3, length=4),
}
every = pytest.mark.parametrize("recipe", RETRIEVERS.values(), ids=RETRIEVERS)


def lists(past: LogPast, recipe: Recommends, k: int = 8) -> dict[int, list[int]]:
    found = ask(recipe, past, k)
    assert np.array_equal(found.users, past.users)
    return {
        int(u): [int(i) for i in row if i != NONE]
        for u, row in zip(found.users, found.items, strict=True)
    }


def events_of(past: LogPast) -> dict[int, list[tuple[int, int, int]]]:
    """user → (time, kind, item) in order, events about an item only."""
    rows = past.log.rows(("user", "time", "kind", "item"))
    out: dict[int, list[tuple[int, int, int]]] = {int(u): [] for u in past.users}
    for user, time, kind, item in zip(
        rows["user"], rows["time"], rows["kind"], rows["item"], strict=True
    ):
        if item != NONE and int(user) in out:
            out[int(user)].append((int(time), int(kind), int(item)))
    return out


def ranked(scores: dict[int, float], k: int = 8) -> list[int]:
    return sorted(scores, key=lambda i: (-np.float32(scores[i]), i))[:k]


# -- promises -------------------------------------------------------------------------------------
@every
def test_the_future_changes_nothing(recipe: Recommends, arrays: dict[str, Any]) -> None:
    users = np.unique(arrays["user"])
    before = at_rows(arrays, np.flatnonzero(arrays["time"] < CUTOFF))
    with DuckDB(threads=1) as engine:
        whole, cut = (past_of(memory_log(engine, **a), CUTOFF, users) for a in (arrays, before))
        found, wanted = (ask(recipe, p, 8) for p in (whole, cut))
    assert np.array_equal(found.items, wanted.items)
    assert np.array_equal(found.scores, wanted.scores)


@every
def test_users_a_block_at_a_time(
    recipe: Recommends, past: LogPast, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ask(recipe, past, 8)
    monkeypatch.setattr(blocks, "EVENTS", 1)
    found = ask(recipe, past, 8)
    assert np.array_equal(found.items, wanted.items)
    assert np.allclose(found.scores, wanted.scores, equal_nan=True)


@every
def test_nobody_and_nothing(recipe: Recommends, log: Any) -> None:
    past = past_of(log, CUTOFF)
    strangers = past_of(log, CUTOFF, np.array([999_999]))
    found = ask(recipe, past, 3, who=strangers)
    assert found.items.shape == (1, 3)
    if not isinstance(recipe, Popularity):
        assert (found.items == NONE).all()
    with DuckDB(threads=1) as engine:
        empty = past_of(
            memory_log(engine, **random_arrays(np.random.default_rng(0), events=0)),
            CUTOFF,
            np.array([1, 2]),
        )
        assert (ask(recipe, empty, 3).items == NONE).all()


@every
def test_more_than_there_is(recipe: Recommends, past: LogPast) -> None:
    some, all_of = lists(past, recipe, 3), lists(past, recipe, 500)
    assert all(all_of[u][:3] == some[u] for u in some)


# -- definitions ----------------------------------------------------------------------------------
def test_own_by_frequency_then_the_newer(past: LogPast) -> None:
    for user, row in lists(past, History()).items():
        scores: dict[int, float] = {}
        for time, kind, item in events_of(past)[user]:
            if kind == BUY:
                scores[item] = (
                    np.floor(scores.get(item, 0)) + 1 + 0.5 / (1 + (CUTOFF - time) / DAY)
                )
        assert row == ranked(scores)


def test_own_decayed(past: LogPast) -> None:
    for user, row in lists(past, History(roles=("buy", "cart"), half_life=5)).items():
        scores: dict[int, float] = {}
        for time, kind, item in events_of(past)[user]:
            if kind in (BUY, CART):
                scores[item] = scores.get(item, 0) + 0.5 ** ((CUTOFF - time) / DAY / 5)
        assert row == ranked(scores)


def test_the_last_baskets_are_sessions_or_days(past: LogPast, arrays: dict[str, Any]) -> None:
    rows = past.log.rows(("user", "kind", "item", "session", "time"))
    days = {k: v for k, v in arrays.items() if k != "session"}
    with DuckDB(threads=1) as engine:
        for basket, found in (
            (rows["session"], lists(past, History(last=1))),
            (
                rows["time"] // DAY,
                lists(past_of(memory_log(engine, **days), CUTOFF), History(last=1)),
            ),
        ):
            for user, row in found.items():
                own = [
                    (basket[i], rows["item"][i])
                    for i in np.flatnonzero((rows["user"] == user) & (rows["kind"] == BUY))
                ]
                # events of one basket need not be neighbours: the last run of one is meant
                last = [
                    item
                    for n, (b, item) in enumerate(own)
                    if all(x == own[-1][0] for x, _ in own[n:])
                ]
                assert set(row) == {int(i) for i in last}


def test_open_baskets(past: LogPast) -> None:
    for user, row in lists(past, OpenBaskets(days=20)).items():
        last: dict[int, tuple[int, int]] = {}
        for time, kind, item in events_of(past)[user]:
            if kind in (BUY, CART, REMOVE) and time > CUTOFF - 20 * DAY:
                last[item] = (kind, time)
        assert row == ranked(
            {i: 1 / (1 + (CUTOFF - t) / DAY) for i, (k, t) in last.items() if k == CART}
        )


def test_an_emptied_basket_is_not_open() -> None:
    """clearB of the Stokman shop removes no item. Equal times are in the order of kinds."""
    rows = [
        (1, 1, CART, 7), (1, 2, REMOVE, NONE), (1, 3, CART, 8),
        (2, 1, CART, 7), (2, 2, REMOVE, 9), (2, 3, SEARCH, NONE),
        (3, 1, CART, 7), (3, 2, REMOVE, NONE), (3, 3, CART, 7), (3, 4, CART, 9),
        (4, 1, CART, 7), (4, 2, REMOVE, NONE), (4, 3, REMOVE, NONE),
        (5, 1, CART, 7), (5, 1, REMOVE, NONE), (5, 1, CART, 8),
    ]  # fmt: skip
    user, day, kind, item = zip(*rows, strict=True)
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine, time=[START + d * DAY for d in day], user=user, kind=kind, item=item
        )
        found = lists(past_of(log, START + 5 * DAY), OpenBaskets())
    assert found == {1: [8], 2: [7], 3: [9, 7], 4: [], 5: []}


def test_popular(past: LogPast) -> None:
    weight: dict[int, float] = {}
    for events in events_of(past).values():
        for time, kind, item in events:
            if kind == BUY:
                weight[item] = weight.get(item, 0) + 0.5 ** ((CUTOFF - time) / DAY / 7)
    assert all(row == ranked(weight) for row in lists(past, POPULAR).values())
    assert most_popular(past).tolist()[:8] == ranked(weight)


def test_popular_in_the_categories_that_a_user_likes(
    past: LogPast, arrays: dict[str, Any]
) -> None:
    category = dict(
        zip(
            arrays["catalogue"]["item"].tolist(),
            arrays["catalogue"]["category"].tolist(),
            strict=True,
        )
    )
    events = events_of(past)
    weight: dict[int, float] = {}
    for own in events.values():
        for time, kind, item in own:
            if kind == BUY and item in category:
                weight[item] = weight.get(item, 0) + 0.5 ** ((CUTOFF - time) / DAY / 14)
    total = {
        c: sum(w for i, w in weight.items() if category[i] == c) for c in set(category.values())
    }
    for user, row in lists(past, PopularIn(each=3, groups=2)).items():
        taste: dict[int, float] = {}
        for time, _, item in events[user]:
            if item in category:
                taste[category[item]] = taste.get(category[item], 0) + 0.5 ** (
                    (CUTOFF - time) / DAY / 30
                )
        scores = {}
        for c in sorted(taste, key=lambda c: (-taste[c], c))[:2]:
            for item in ranked({i: w for i, w in weight.items() if category[i] == c}, 3):
                scores[item] = taste[c] * weight[item] / total[c]
        assert row == ranked(scores)


def baskets_of(past: LogPast) -> dict[int, list[set[int]]]:
    """user → their baskets, oldest first: runs of purchases of one session."""
    rows = past.log.rows(("user", "kind", "item", "session"))
    out: dict[int, list[set[int]]] = {int(u): [] for u in past.users}
    before: dict[int, int] = {}
    for user, kind, item, session in zip(
        *(rows[c].tolist() for c in ("user", "kind", "item", "session")), strict=True
    ):
        if kind == BUY and item != NONE:
            if before.get(user) != session:
                out[user].append(set())
            before[user] = session
            out[user][-1].add(item)
    return out


def test_tifu_knn(past: LogPast) -> None:
    recipe = TIFUKNN(neighbours=3, groups=2, basket_decay=0.8, group_decay=0.6, own=0.7)
    vectors: dict[int, dict[int, float]] = {}
    for user, trips in baskets_of(past).items():
        own: dict[int, float] = {}
        newest = trips[::-1]
        size = math.ceil(len(trips) / 2) if trips else 1
        groups = [newest[i : i + size] for i in range(0, len(newest), size)]
        for g, group in enumerate(groups):
            for b, basket in enumerate(group):
                for item in basket:
                    own[item] = own.get(item, 0) + 0.8**b / len(group) * 0.6**g / len(groups)
        vectors[user] = own

    def distance(a: dict[int, float], b: dict[int, float]) -> float:
        return round(sum((a.get(i, 0) - b.get(i, 0)) ** 2 for i in {*a, *b}), 9)

    for user, row in lists(past, recipe).items():
        own = vectors[user]
        others = [v for u, v in vectors.items() if u != user and v and own]
        near = sorted(others, key=lambda v: distance(own, v))[:3]
        scores = {
            i: 0.7 * own.get(i, 0) + 0.3 * sum(v.get(i, 0) for v in near) / max(len(near), 1)
            for i in {*own, *(i for v in near for i in v)}
        }
        best = sorted(scores.values(), reverse=True)[: len(row)]
        assert np.allclose([scores[i] for i in row], best, atol=1e-6)


def test_who_bought_just_the_same_is_the_nearest() -> None:
    """One of them is the user, the others are neighbours."""
    bought = sparse.csr_matrix(np.array([[1.0, 0, 0], [1.0, 0, 0], [1.0, 0.5, 0], [0, 0, 1.0]]))
    recipe = TIFUKNN(neighbours=1, own=0.5)
    assert recipe.score(bought, bought).toarray().tolist() == [
        [1, 0, 0],
        [1, 0, 0],
        [1, 0.25, 0],
        [0.5, 0, 0.5],
    ]


@pytest.mark.parametrize("pool", [50_000, 3])
def test_up_cf(past: LogPast, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of users who are not among those who bought last: their own baskets count."""
    monkeypatch.setattr(baskets, "POOL", pool)
    bought = {u: [t for t, kind, _ in e if kind == BUY] for u, e in events_of(past).items()}
    last = sorted((-max(times), user) for user, times in bought.items() if times)
    pool_users = {user for _, user in last[:pool]}
    pops = {
        user: {i: sum(i in b for b in trips[-3:]) / len(trips[-3:]) for b in trips[-3:] for i in b}
        for user, trips in baskets_of(past).items()
    }
    for user, row in lists(past, UPCF(baskets=3, alpha=0.25, locality=2)).items():
        own, scores = pops[user], dict(pops[user])
        others = [pops[other] for other in pool_users]
        if own in others:  # is taken to be the user
            others.remove(own)
        for other in others:
            both = len({*own} & {*other})
            if both:
                like = (both / (len(own) ** 0.25 * len(other) ** 0.75)) ** 2
                for item, pop in other.items():
                    scores[item] = scores.get(item, 0) + like * pop
        best = sorted(scores.values(), reverse=True)[: len(row)]
        assert len(row) == min(len(scores), 8)
        assert np.allclose([scores[i] for i in row], best, rtol=1e-5)


def test_co_visits(past: LogPast) -> None:
    counts: dict[int, int] = {}
    together: dict[tuple[int, int], float] = {}
    events = {u: [e for e in own if e[1] in (BUY, CART)] for u, own in events_of(past).items()}
    for own in events.values():
        for n, (time, kind, item) in enumerate(own):
            counts[item] = counts.get(item, 0) + 1
            for later, what, other in own[n + 1 : n + 4]:
                days = (later - time) / DAY
                if other != item and days <= 10:
                    weight = round(2**16 / (1 + days)) / 2**16
                    if what == BUY:
                        together[item, other] = together.get((item, other), 0) + weight
                    if kind == BUY:
                        together[other, item] = together.get((other, item), 0) + weight
    for user, row in lists(past, RETRIEVERS["co-visits"]).items():
        scores: dict[int, float] = {}
        for time, _, item in events[user][-4:]:
            for (one, two), weight in together.items():
                if one == item:
                    recent = 0.5 ** ((CUTOFF - time) / DAY / 14)
                    scores[two] = scores.get(two, 0) + recent * weight / math.sqrt(
                        counts[one] * counts[two]
                    )
        best = sorted(scores.values(), reverse=True)[: len(row)]
        assert len(row) == min(len(scores), 8)
        assert np.allclose([scores[i] for i in row], best, rtol=1e-4)


def test_what_is_due_comes_before_what_was_just_bought() -> None:
    """Everybody buys item 1 each week and item 2 each day; item 3 once, long ago."""
    rows = [
        (u, START + d * DAY, i)
        for u in range(30)
        for d in range(70)
        for i in (1, 2, 3)
        if i == 2 or (i == 1 and d % 7 == u % 7) or d == 0 == i - 3
    ]
    user, time, item = (np.array(c) for c in zip(*rows, strict=True))
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine, user=user, time=time, item=item, kind=np.zeros(len(user), np.int64)
        )
        past = past_of(log, START + 63 * DAY)
        found = ask(Repurchase(days=1), past, 3)
    scores = {
        int(u): dict(zip(i.tolist(), s.tolist(), strict=True))
        for u, i, s in zip(found.users, found.items, found.scores, strict=True)
    }
    for u, own in scores.items():
        due = u % 7 == 0
        assert own[2] > 0.8
        assert (own[1] > 0.5) == due
        assert own[3] < 0.2


# -- bad options ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: History(roles=("sell",)), ["roles[0]"]),
        (lambda: History(half_life=-1.0, last=-1), ["half_life", "last"]),
        (lambda: OpenBaskets(days=0), ["days"]),
        (lambda: Repurchase(days=0), ["days"]),
        (lambda: TIFUKNN(groups=0, own=1.5), ["groups", "own"]),
        (lambda: UPCF(baskets=0, locality=0), ["baskets", "locality"]),
        (lambda: CoVisits(then=("sell",), after=0), ["then[0]", "after"]),
        (lambda: PopularIn(half_life=0, groups=0), ["half_life", "groups"]),
    ],
)
def test_wrong_options_are_told_at_once(make: Any, wrong: list[str]) -> None:
    with pytest.raises(OptionsError) as fault:
        make()
    assert [f.path for f in fault.value.faults] == wrong


def test_an_attribute_that_the_log_lacks(past: LogPast) -> None:
    with pytest.raises(ConfigError, match="category"):
        PopularIn(by="colour").fit(past, rng=RNG(0))


@pytest.mark.parametrize("dense", [0.0, 0.25, 1.0])
@given(data=st.data())
def test_the_best_of_a_sparse_matrix_are_those_of_the_same_dense_one(
    dense: float, data: st.DataObject
) -> None:
    users, items, k = (
        data.draw(st.integers(0, 6)),
        data.draw(st.integers(1, 9)),
        data.draw(st.integers(1, 12)),
    )
    cells = st.lists(
        st.sampled_from([-1.0, 0.0, 0.0, 0.5, 0.5 + 1e-12, 2.0]),
        min_size=users * items,
        max_size=users * items,
    )
    matrix = np.array(data.draw(cells)).reshape(users, items)
    names = np.arange(items) * 3 + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "DENSE", dense)
        patch.setattr(blocks, "CELLS", data.draw(st.sampled_from([1, 20, 1000])))
        choice = blocks.Choice(names, users)
        one = blocks.best(choice, lambda some: matrix[some], k)
        other = blocks.best(choice, lambda some: sparse.csr_matrix(matrix[some]), k)
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.scores, other.scores)
    for row, scores in enumerate(matrix.astype(np.float32)):  # and both are what sorting gives
        good = sorted((i for i in range(items) if scores[i] > 0), key=lambda i: (-scores[i], i))[
            :k
        ]
        assert one.items[row][: len(good)].tolist() == names[good].tolist()
        assert (one.items[row][len(good) :] == NONE).all()
