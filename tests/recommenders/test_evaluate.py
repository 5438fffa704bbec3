"""Recall by hand, ceilings, limits; intervals against a slow twin; leaks are found."""

import numpy as np
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.metrics.compare import resample_weights
from clickprint.recommenders import evaluate
from clickprint.recommenders.evaluate import Scores, audit, made_by, score, shown, table
from clickprint.recommenders.funnel import Plan, NextPurchase
from clickprint.recommenders.pairs import Bought, Pairs
from clickprint.recommenders.windows import bought, rolling
from clickprint.testing.worlds import START

CUTOFF = START + 30 * DAY
NAN = np.nan
RECIPE = NextPurchase(products=2, users=1, sources={"own": {"k": 3}, "popular": {"k": 3}})
TRUTH = Bought(
    np.array([1, 2, 9]), Ragged(np.array([0, 2, 3, 4]), np.array([10, 11, 12, 10]))
)  # 9 is not known
PAIRS = Pairs(
    np.array([1, 2, 3]),
    np.array([0, 3, 5, 6]),
    np.array([10, 12, 13, 11, 12, 10]),
    {
        "own_rank": np.array([2, 1, NAN, 1, NAN, NAN], np.float32),
        "popular_rank": np.array([1, NAN, 2, NAN, 3, 1], np.float32),
        "own_score": np.ones(6, np.float32),
    },
)


def plan() -> Plan:
    lists = Recommendations(
        PAIRS.users, np.array([[10, 11], [12, 13], [10, NONE]]), np.zeros((3, 2), np.float32)
    )
    return Plan(lists, np.array([0.5, 0.6, 0.4]), np.array([1.0, 0.5, 0.1]))


def test_recall_of_every_line_by_hand() -> None:
    found = score(
        0,
        TRUTH,
        PAIRS,
        np.array([13, 10]),
        RECIPE,
        plan=plan(),
        lists={"bar": plan().lists},
        depths=(1, 2),
        shares=(1.0,),
    )
    assert found.users.tolist() == [1, 2, 9]
    values = {n: v.tolist() for n, v in found.values.items()}
    assert values["source/own"] == [0.5, 0, 0]  # 12, 10 of {10, 11}; 11, 13 of {12}
    assert values["source/popular"] == [0.5, 1, 0]
    assert values["ceiling/own"] == [0.5, 0, 0]
    assert values["ceiling/popular"] == [0.5, 1, 0]
    assert values["ceiling/union"] == [0.5, 1, 0]
    assert values["ceiling/union@1"] == [
        0.5,
        0,
        0,
    ]  # 10 is popular's first; 12 of user 2 only its third
    assert values["ceiling/union@2"] == [0.5, 0, 0]
    assert values["ranker"] == values["bar/bar"] == [1, 1, 0]
    assert values["product@1"] == [1, 0, 0]  # .5 × 1 before .6 × .5
    assert values["propensity@1"] == [0, 1, 0]
    assert values["product@3"] == values["propensity@3"] == [1, 1, 0]


def test_scores_know_their_buyers() -> None:
    with pytest.raises(DataError, match="a: 1 values of 2 buyers"):
        Scores(0, np.array([1, 2]), {"a": np.zeros(1)})


def test_what_the_bars_show_is_full_and_of_the_users_asked(past: LogPast) -> None:
    users = past.users[1:4]
    lists = shown(past, users, 3, rng=RNG(0))
    assert {"popularity", "last basket", "personal frequency", "TIFU-KNN", "UP-CF"} <= set(lists)
    for found in lists.values():
        assert np.array_equal(found.users, users)
        assert (found.items != NONE).all()
        assert all(len(set(row)) == 3 for row in found.items.tolist())


# ------------------------------------------------------------------------------------------------------------ several windows
def slow(scores: list[Scores], name: str, resamples: int, seed: int) -> np.ndarray:
    """Each resample by itself: a buyer counts what his user and his window were drawn."""
    out = []
    users = sorted({int(u) for s in scores for u in s.users})
    by_user = resample_weights(np.array(users), resamples, seed)
    by_window = resample_weights(np.arange(len(scores)), resamples, seed + 1)
    for r in range(resamples):
        top = bottom = 0.0
        for w, s in enumerate(scores):
            for user, value in zip(s.users.tolist(), s.values[name].tolist(), strict=True):
                weight = float(by_user[r, users.index(user)]) * float(by_window[r, w])
                top, bottom = top + weight * value, bottom + weight
        out.append(top / bottom if bottom else np.nan)
    return np.array(out)


def test_intervals_are_over_users_and_windows() -> None:
    draw = np.random.default_rng(0)
    scores = [
        Scores(
            w,
            np.sort(draw.choice(12, 7, replace=False)),
            {n: draw.random(7) for n in ("bar", "model", *(["odd"] if w else []))},
        )
        for w in range(4)
    ]
    lines = {x.name: x for x in table(scores, against="bar", resamples=130, seed=5)}
    assert list(lines) == ["bar", "model"]  # not every window has the other
    baseline, model = (slow(scores, n, 130, 5) for n in ("bar", "model"))
    whole = np.concatenate([s.values["model"] for s in scores])
    line = lines["model"]
    assert line.mean == pytest.approx(whole.mean())
    assert line.windows == pytest.approx([s.values["model"].mean() for s in scores])
    assert (line.low, line.high) == pytest.approx(np.nanpercentile(model, [2.5, 97.5]), abs=1e-9)
    assert (line.more_low, line.more_high) == pytest.approx(
        np.nanpercentile(model - baseline, [2.5, 97.5]), abs=1e-9
    )
    assert (lines["bar"].more, lines["bar"].more_low, lines["bar"].more_high) == (0, 0, 0)


def test_tables_that_cannot_be_made() -> None:
    one = Scores(0, np.array([1, 1]), {"a": np.zeros(2)})
    with pytest.raises(DataError, match="no window"):
        table([], against="a")
    with pytest.raises(ConfigError, match="found 'b', expected one of a"):
        table([one], against="b")
    with pytest.raises(DataError, match="window 0 has a user twice"):
        table([one], against="a")


# ------------------------------------------------------------------------------------------------------------ windows
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


# ------------------------------------------------------------------------------------------------------------ leaks
SMALL = NextPurchase(
    sources={"own": {"k": 5}, "again": {"k": 5}, "co-visits": {"k": 5}, "popular": {"k": 5}},
    profiles={"counts": {"width": 2}},
)


def test_the_recipe_knows_nothing_of_the_future(log: EventLog) -> None:
    cutoff = START + 15 * DAY
    assert len(past_of(log, cutoff).users)
    assert audit(log, cutoff, made_by(SMALL, cutoff, rng=RNG(0))) == []


def test_a_planted_leak_is_named(log: EventLog) -> None:
    cutoff = START + 15 * DAY
    honest = made_by(SMALL, cutoff, rng=RNG(0))

    def leaking(of: EventLog) -> evaluate.Made:
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

    def leaking(of: EventLog) -> evaluate.Made:
        pairs, users = honest(of)
        later = of.rows(("item", "time"))
        new = int(later["item"][later["time"].argmax()])
        return Pairs(
            pairs.users, np.arange(len(pairs.users) + 1), np.full(len(pairs.users), new)
        ), users

    assert audit(log, cutoff, leaking) == ["candidates"]
