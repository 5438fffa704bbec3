"""The two protocols: what is learned from, who is asked, and shares of the users."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.options import OptionsError, read
from clickprint.core.past import Past
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.split import drop_last
from clickprint.recommenders.baselines import OwnItems
from clickprint.tasks import ranking
from clickprint.tasks.protocols import RESAMPLED, PastShare, RankingPart, nested, question
from clickprint.testing.worlds import BUY, START, VIEW, memory_log

LEFT_OUT = RankingPart(protocol="leave-one-out", ks=(1, 2), metric="recall@2")
WINDOW = RankingPart(protocol="window", horizon_days=7, ks=(1, 2), metric="recall@2")


def of(rows: list[list[int]]) -> Histories:
    item = np.array([i for r in rows for i in r], np.int64)
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    fields = {"item": item, "time": np.arange(len(item))}
    return Histories(np.arange(len(rows)), starts, fields)


def log_of(engine: DuckDB, rows: list[tuple[int, int, int, int]], **more: Any) -> EventLog:
    """(user, day, kind, item), and a catalogue whose second category attribute counts."""
    user, day, kind, item = map(np.array, zip(*rows, strict=True))
    catalogue = {"item": [5, 6, 7], "brand": [1, 1, 1], "category": [10, NONE, 20]}
    types = dict.fromkeys(("brand", "category"), AttributeType.CATEGORY)
    return memory_log(
        engine,
        time=START + day * DAY,
        user=user,
        kind=kind,
        item=item,
        catalogue=catalogue,
        attributes=types,
        **more,
    )


# The last purchase is on day 27, so validation is 14 ≤ day < 21 and the test 21 ≤ day.
EVENTS = [
    (1, 1, BUY, 5),
    (1, 2, BUY, 6),
    (1, 15, BUY, 6),
    (1, 17, VIEW, 7),  # only looked at: not right
    (1, 22, BUY, 7),
    (2, 5, VIEW, NONE),
    (2, 15, BUY, 6),
    (2, 27, BUY, 5),
    (3, 2, BUY, 5),
    (3, 20, VIEW, 5),  # nobody asks them
]


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"ks": ()}, "ks"),
        ({"ks": (0, 1)}, "ks[0]"),
        ({"ks": (5, 5)}, "ks"),
        ({"protocol": "split"}, "protocol"),
        ({"protocol": "window", "horizon_days": 0}, "horizon_days"),
        ({"protocol": "window", "roles": ()}, "roles"),
        ({"protocol": "window", "roles": ["bought"]}, "roles[0]"),
        ({"metric": "f1@10"}, "metric"),
        ({"ks": (5,)}, "metric"),
        ({"horizon_days": 3}, "horizon_days"),
        ({"roles": ["view"]}, "roles"),
    ],
)
def test_a_fault_names_its_key(options: dict[str, Any], path: str) -> None:
    with pytest.raises(OptionsError) as caught:
        read(RankingPart, {"protocol": "leave-one-out", **options})
    assert [fault.path for fault in caught.value.faults] == [path]


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=5), min_size=1, max_size=6),
    st.sampled_from([1, 2]),
)
def test_nothing_that_is_asked_is_learned(rows: list[list[int]], last: int) -> None:
    """Of n events the last is the test, the one before it validation where that leaves some."""
    found = drop_last(of(rows), last)
    kept = [found.ragged("item")[u].tolist() for u in range(len(rows))]
    for row, some in zip(rows, kept, strict=True):
        asked = {1: 1, 2: 1 if len(row) == 2 else 2}[last] if len(row) > 1 else 0
        assert some == row[: len(row) - asked]
    for back in range(last):  # nobody's asked event is among those that are left
        test = ranking.leave_one_out(of(rows), back=back)
        for user, length in zip(test.users, test.given.lengths, strict=True):
            assert len(kept[user]) <= length


def test_leave_one_out_by_hand() -> None:
    with DuckDB(threads=1) as engine:
        log = log_of(engine, EVENTS)
        validation, test = (question(log, LEFT_OUT, s) for s in ("validation", "test"))
        learned = validation.past.histories(("item",)).ragged("item")
        assert [learned[u].tolist() for u in range(3)] == [[5, 6, 6], [6], [5]]
        assert validation.test.users.tolist() == [1]
        assert validation.test.relevant.values.tolist() == [7]
        assert validation.items.tolist() == [5, 6]
        assert validation.category is not None
        assert validation.category.tolist() == [10, NONE]
        assert test.test.users.tolist() == [1, 2, 3]
        assert test.test.relevant.values.tolist() == [7, 5, 5]
        assert test.items.tolist() == [5, 6, 7]
        requests = test.requests(("item", "kind"))
        assert requests.histories.fields["kind"].tolist() == [BUY, BUY, BUY, VIEW, BUY, BUY]
        assert requests is test.requests(("item", "kind"))
        assert requests.times.tolist() == [START + day * DAY for day in (22, 27, 20)]
        assert validation.requests(("item",)).times.tolist() == [START + 17 * DAY]
        with pytest.raises(ConfigError):
            _ = test.past.log


def test_windows_by_hand() -> None:
    with DuckDB(threads=1) as engine:
        log = log_of(engine, EVENTS)
        validation, test = (question(log, WINDOW, s) for s in ("validation", "test"))
        assert validation.past.cutoff == START + 14 * DAY
        assert validation.test.users.tolist() == [1, 2]
        assert [validation.test.relevant[u].tolist() for u in range(2)] == [[6], [6]]
        assert validation.empty == 1  # user 2 did nothing with an item before
        assert validation.items.tolist() == [5, 6]
        assert test.past.cutoff == START + 21 * DAY
        assert test.test.users.tolist() == [1, 2]
        assert test.test.relevant.values.tolist() == [7, 5]
        requests = validation.requests(("item", "kind"))
        assert requests.histories.lengths.tolist() == [2, 1]
        assert requests.times.tolist() == [START + 14 * DAY] * 2


@pytest.mark.parametrize("part", [LEFT_OUT, WINDOW])
def test_a_score_is_that_of_the_lists(part: RankingPart) -> None:
    with DuckDB(threads=1) as engine:
        asked = question(log_of(engine, EVENTS), part, "test")
        fitted = OwnItems().fit(asked.past, rng=RNG(0))
        requests = asked.requests(fitted.fields)
        for seen in (False, True):
            lists = fitted.recommend(requests, 2, include_seen=seen)
            wanted = ranking.score(
                lists,
                asked.test,
                ks=(1, 2),
                rng=RESAMPLED,
                items=asked.items,
                category=asked.category,
            )
            found = asked.score(fitted, include_seen=seen)
            for metric, values in wanted.values.items():
                np.testing.assert_array_equal(found.values[metric], values)
            np.testing.assert_equal(found.lists, wanted.lists)
        assert asked.metric(fitted) == asked.score(fitted, include_seen=False).mean("recall@2")


def test_nobody_or_nothing_to_ask() -> None:
    with DuckDB(threads=1) as engine:
        few = log_of(engine, [(1, 1, BUY, 5), (1, 2, BUY, 6), (2, 2, BUY, 5)])
        with pytest.raises(DataError, match="validation"):
            question(few, LEFT_OUT, "validation")
        with pytest.raises(DataError, match="nothing happened before"):
            question(few, WINDOW, "validation")
        with pytest.raises(ConfigError, match="clock"):
            question(log_of(engine, EVENTS, clock=False), WINDOW, "validation")


def test_shares_of_users_are_nested() -> None:
    users = np.random.default_rng(0).permutation(1000)[:101].astype(np.int64)
    shares = [nested(users, f, RNG(3)) for f in (0.001, 0.1, 0.5, 1.0)]
    assert [int(s.sum()) for s in shares] == [1, 10, 50, 101]
    assert all((more | fewer == more).all() for fewer, more in pairwise(shares))
    # Who is in a share depends on their ids, not on their order.
    order = np.argsort(users)
    assert (nested(users[order], 0.5, RNG(3)) == shares[2][order]).all()
    assert (nested(users, 0.5, RNG(4)) != shares[2]).any()


def test_a_share_of_a_past_has_the_histories_of_its_users() -> None:
    with DuckDB(threads=1) as engine:
        whole = question(log_of(engine, EVENTS), WINDOW, "test").past
        past = PastShare(whole, np.array([1, 3]))
        assert isinstance(past, Past)
        assert past.cutoff == whole.cutoff
        assert past.histories(("item",)).lengths.tolist() == [4, 2]
        assert past.histories(("item",)) is past.histories(("item",))
        assert past.at(START + 2 * DAY).histories(("item",)).lengths.tolist() == [1, 0]
        with pytest.raises(ConfigError):
            _ = past.log
