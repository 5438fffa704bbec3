"""Recall by hand, ceilings, limits; intervals against a slow twin; leaks are found."""

from pathlib import Path

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.recommenders.evaluate import (
    RANKER,
    Contender,
    Depth,
    Scores,
    ceilings,
    score,
    shown,
)
from clickprint.recommenders.funnel import NextPurchase, Plan
from clickprint.recommenders.pairs import Bought, Pairs
from clickprint.recommenders.windows import bought, rolling
from clickprint.testing.funnel import Made, audit, made_by
from clickprint.testing.worlds import START

CUTOFF = START + 30 * DAY
NAN = np.nan
RECIPE = NextPurchase(
    list_length=2,
    max_users=1,
    retrievers={"history": {"k": 3}, "popular": {"retriever": "popularity", "k": 3}},
)
TRUTH = Bought(
    np.array([1, 2, 9]), Ragged(np.array([0, 2, 3, 4]), np.array([10, 11, 12, 10]))
)  # 9 is not known
PAIRS = Pairs(
    np.array([1, 2, 3]),
    np.array([0, 3, 5, 6]),
    np.array([10, 12, 13, 11, 12, 10]),
    {
        "history_rank": np.array([2, 1, NAN, 1, NAN, NAN], np.float32),
        "popular_rank": np.array([1, NAN, 2, NAN, 3, 1], np.float32),
        "history_score": np.ones(6, np.float32),
    },
)


def plan() -> Plan:
    lists = Recommendations(
        PAIRS.users, np.array([[10, 11], [12, 13], [10, NONE]]), np.zeros((3, 2), np.float32)
    )
    return Plan(lists, np.array([0.5, 0.6, 0.4]), np.array([1.0, 0.5, 0.1]))


def test_recall_of_every_contender_by_hand() -> None:
    rival = Contender("baseline", "rival")
    found = score(
        0,
        TRUTH,
        PAIRS,
        np.array([13, 10]),
        RECIPE,
        plan=plan(),
        lists={rival: plan().lists},
        depths=(1, 2),
        shares=(1.0,),
    )
    assert found.users.tolist() == [1, 2, 9]
    assert {c: v.tolist() for c, v in found.values.items()} == {
        rival: [1, 1, 0],
        Contender("retriever", "history"): [0.5, 0, 0],  # 12, 10 of {10, 11}; 11, 13 of {12}
        Contender("ceiling", "history"): [0.5, 0, 0],
        Contender("retriever", "popular"): [0.5, 1, 0],
        Contender("ceiling", "popular"): [0.5, 1, 0],
        # 10 is popular's first; 12 of user 2 only its third
        Contender("ceiling", "union", depth=1): [0.5, 0, 0],
        Contender("ceiling", "union", depth=2): [0.5, 0, 0],
        Contender("ceiling", "union"): [0.5, 1, 0],
        RANKER: [1, 1, 0],
        Contender("chosen", users=1, by="product"): [1, 0, 0],  # .5 × 1 before .6 × .5
        Contender("chosen", users=1, by="propensity"): [0, 1, 0],
        Contender("chosen", share=1.0, by="product"): [1, 1, 0],
        Contender("chosen", share=1.0, by="propensity"): [1, 1, 0],
    }


def test_a_ceiling_is_never_below_its_source() -> None:
    """Lists that are too short are filled with popular items, and so are ceilings."""
    draw = np.random.default_rng(0)
    known = draw.random((30, 8)) < 0.15
    rows, items = np.nonzero(known)
    rank = np.array([1 + (known[r, :i]).sum() for r, i in zip(rows, items, strict=True)])
    starts = np.append(0, known.sum(1).cumsum())
    columns = {"history_rank": rank.astype(np.float32), "popular_rank": np.full(len(rank), NAN)}
    pairs = Pairs(np.arange(30), starts, items).also(columns)
    truth = Bought(np.arange(30), Ragged(np.arange(31) * 2, draw.permuted(
        np.tile(np.arange(8), (30, 1)), axis=1)[:, :2].ravel()))  # fmt: skip
    popular = draw.permutation(8)
    values = score(0, truth, pairs, popular, RECIPE).values
    source, ceiling = (values[Contender(t, "history")] for t in ("retriever", "ceiling"))
    assert (source <= ceiling).all()
    assert (source > truth.found(pairs)).any()  # what a popular item found
    enough = known.sum(1) >= RECIPE.list_length
    assert ceiling[enough].tolist() == truth.found(pairs)[enough].tolist()


def test_ceilings_of_each_retriever_and_of_the_union() -> None:
    found = ceilings(PAIRS, TRUTH, RECIPE)
    assert found["history"] == [Depth(2, pytest.approx(3 / 3), pytest.approx(0.5 / 3))]
    assert found["union"] == [Depth(3, pytest.approx(6 / 3), pytest.approx(1.5 / 3))]


def test_labels_tell_contenders_apart() -> None:
    told = [
        RANKER,
        Contender("retriever", "history"),
        Contender("ceiling", "history"),
        Contender("ceiling", "union"),
        Contender("ceiling", "union", depth=10),
        Contender("baseline", "popularity"),
        *(
            Contender("chosen", users=users, share=share, by=by)
            for users, share in ((3_000, None), (None, 0.1), (1, None), (None, 1.0))
            for by in ("product", "propensity")
        ),
    ]
    assert len({c.label for c in told}) == len(told)


def test_scores_know_their_buyers_and_come_back_from_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 values of 2 buyers"):
        Scores(0, np.array([1, 2]), {RANKER: np.zeros(1)})
    chosen = Contender("chosen", share=0.1, by="product")
    whole = Scores(7, np.array([1, 2]), {RANKER: np.array([0.5, 1.0]), chosen: np.zeros(2)})
    whole.save(tmp_path / "scores.parquet")
    found = Scores.load(tmp_path / "scores.parquet")
    assert (found.start, found.users.tolist()) == (7, [1, 2])
    assert {c: v.tolist() for c, v in found.values.items()} == {RANKER: [0.5, 1], chosen: [0, 0]}
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"scores\.parquet"):
        Scores.load(tmp_path / "scores.parquet")


def test_what_rivals_show_is_full_and_of_the_users_asked(past: LogPast) -> None:
    users = past.users[1:4]
    lists = shown(past, users, 3, rng=RNG(0))
    assert {"popularity", "last basket", "personal frequency", "TIFU-KNN", "UP-CF"} <= {
        rival.name for rival in lists
    }
    for found in lists.values():
        assert np.array_equal(found.users, users)
        assert (found.items != NONE).all()
        assert all(len(set(row)) == 3 for row in found.items.tolist())


# -- windows --------------------------------------------------------------------------------------
def test_windows_roll_to_the_last_event() -> None:
    end = START + 20 * DAY + 5
    assert rolling(START, end, days=3, count=2) == [
        Window(START + 15 * DAY, START + 18 * DAY), Window(START + 18 * DAY, START + 21 * DAY),
    ]  # fmt: skip
    assert [w.start for w in rolling(START, end, days=3, count=2, gap=7)] == [
        START + 11 * DAY,
        START + 18 * DAY,
    ]
    with pytest.raises(DataError, match="ask for fewer"):
        rolling(START, end, days=3, count=7)


def test_what_was_bought_in_a_window(log: EventLog, arrays: dict) -> None:
    window = Window(START + 5 * DAY, START + 20 * DAY)
    found = bought(log, window)
    buy = log.manifest.codes(Role.BUY)
    wanted: dict[int, set[int]] = {}
    for user, time, kind, item in zip(
        *(np.asarray(arrays[n]).tolist() for n in ("user", "time", "kind", "item")), strict=True
    ):
        if kind in buy and window.start <= time < window.end and item != NONE:
            wanted.setdefault(user, set()).add(item)
    assert found.users.tolist() == sorted(wanted)
    assert [set(found.items[n].tolist()) for n in range(len(found.users))] == [
        wanted[u] for u in sorted(wanted)
    ]


# -- leaks ----------------------------------------------------------------------------------------
SMALL = NextPurchase(
    retrievers={n: {"k": 5} for n in ("history", "repurchase", "co-visits", "popularity")},
    profiles={"counts": {"components": 2}},
)


def test_the_recipe_knows_nothing_of_the_future(log: EventLog) -> None:
    cutoff = START + 15 * DAY
    assert len(past_of(log, cutoff).users)
    assert audit(log, cutoff, made_by(SMALL, cutoff, rng=RNG(0))) == []


def test_a_planted_leak_is_named(log: EventLog) -> None:
    cutoff = START + 15 * DAY
    honest = made_by(SMALL, cutoff, rng=RNG(0))

    def leaking(of: EventLog) -> Made:
        pairs, users = honest(of)
        size = np.float32(len(of.rows(("user",))["user"]))  # the whole log's, not the past's
        leak = {"item_popularity_tomorrow": np.full(len(pairs), size, np.float32)}
        return pairs.also(leak), {
            **users,
            "user_buys_tomorrow": np.full(len(pairs.users), size, np.float32),
        }

    assert audit(log, cutoff, leaking) == [
        "pair/item_popularity_tomorrow",
        "user/user_buys_tomorrow",
    ]


def test_a_source_that_looks_ahead_is_named(log: EventLog) -> None:
    cutoff = START + 15 * DAY
    honest = made_by(SMALL, cutoff, rng=RNG(0))

    def leaking(of: EventLog) -> Made:
        pairs, users = honest(of)
        later = of.rows(("item", "time"))
        new = int(later["item"][later["time"].argmax()])
        return Pairs(
            pairs.users, np.arange(len(pairs.users) + 1), np.full(len(pairs.users), new)
        ), users

    assert audit(log, cutoff, leaking) == ["candidates"]
