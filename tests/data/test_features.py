"""The texts of the features: the portable subset, the same bytes whatever the threads, and the
numbers that come out.
"""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.time import DAY
from clickprint.data import features
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.testing.worlds import (
    BUY,
    KINDS,
    SEARCH,
    START,
    memory_log,
    random_arrays,
    random_log,
)

WORDS = (
    "QUALIFY|INTERVAL|GROUP BY"
    " ALL|EXCLUDE|LIST|STRUCT|UNNEST|PIVOT|ILIKE|APPROX_\\w+|HASH|ANY_VALUE|DATE_TRUNC|EPOCH\\w*"
)
NOT_PORTABLE = re.compile(rf"\b({WORDS})\b|\bFIRST\s*\(|//|::|\[\d")


@pytest.fixture(scope="module")
def engine():
    with DuckDB(threads=2) as engine:
        yield engine


@pytest.fixture(scope="module")
def log(engine) -> EventLog:
    return random_log(engine, np.random.default_rng(0))


def test_every_text_is_explained_and_portable(engine, log):
    users = log.users()
    edges = engine.keep("SELECT CAST(0 AS SMALLINT) AS kind, CAST(0 AS BIGINT) AS e0")
    weights = engine.keep("SELECT CAST(0 AS BIGINT) AS hour, CAST(1 AS BIGINT) AS a")
    with features.tables(log, users, (1.0, 2.0)) as t, features.query_codes(log) as codes:
        hours = engine.keep(features.hours_sql(t, spend=True))
        columns = features.value_columns(log)
        texts = [
            features.lasts_sql(log),
            features.prices_sql(log),
            features.totals_sql(t),
            *(features.tops_sql(t, c, 3) for c in columns),
            *(features.presence_sql(t, t.value(c)) for c in columns),
            *(features.windows_sql(t, c, [1, 2], edges, 1, 0) for c in columns),
            features.codes_sql(log.texts["query"]),
            features.code_sums_sql(t, codes),
            features.hours_sql(t, spend=False),
            features.rhythm_sql(hours, weights, ["a"], ["a"]),
            features.gaps_sql(hours, "kind"),
            features.active_hours_sql(hours),
            features.sessions_sql(t),
            *(features.variety_sql(t, c) for c in columns),
            features.funnel_sql(t),
            features.price_sql(t, own=True),
            features.price_sql(t, own=False),
            *(features.taste_sql(t, c, [0, 1], [1, 2], weights, ["a"]) for c in columns),
        ]
        for text in texts:
            assert "physical_plan" in engine.explain(text)
            assert not NOT_PORTABLE.search(text.upper()), text
            assert engine.table(text).num_rows >= 0
    made = {name for name in vars(features) if name.endswith("_sql")} - {"bucket_sql"}
    assert len(made) == 17, "a new text must be explained here"


def test_nothing_is_left_in_the_engine(engine, log):
    before = engine.one("SELECT COUNT(*) FROM duckdb_tables()")
    with features.tables(log, log.users()), features.query_codes(log):
        pass
    with pytest.raises(ZeroDivisionError), features.tables(log, log.users()):
        raise ZeroDivisionError
    assert engine.one("SELECT COUNT(*) FROM duckdb_tables()") == before


@settings(max_examples=50, deadline=None)
@given(
    edges=st.lists(st.floats(-1e6, 1e6), unique=True, max_size=40).map(sorted),
    values=st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=20),
)
def test_buckets_are_found_by_bisection(engine, edges, values):
    values = [*values, *edges]  # a value at an edge is above it
    rows = " UNION ALL ".join(
        f"SELECT {i} AS i, CAST({v!r} AS DOUBLE) AS v" for i, v in enumerate(values)
    )
    found = engine.arrays(
        f"SELECT {features.bucket_sql('v', edges)} AS b FROM ({rows}) AS r ORDER BY i"
    )["b"]
    assert found.tolist() == np.searchsorted(edges, values, "right").tolist()


def test_a_bucket_of_nothing_is_nothing(engine):
    assert engine.one(f"SELECT {features.bucket_sql('CAST(NULL AS DOUBLE)', [1.0])}") == (None,)


@pytest.mark.parametrize(
    "text",
    ["[1 2 3]", "", "[]", "abc", "[1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 x]", "[" + "1 " * 17 + "]"],
)
def test_queries_that_are_no_codes_are_counted(engine, text):
    log = memory_log(
        engine,
        time=[START, START],
        user=[1, 1],
        kind=[SEARCH, SEARCH],
        query=[1, 2],
        texts={"query": {1: text, 2: "[" + " ".join("12345678") + "  1 2 3 4 5 6 7  8 ]"}},
        codes=True,
    )
    with (
        pytest.raises(DataError, match=r"\b1 of 2 query texts.*\b16\b"),
        features.query_codes(log),
    ):
        pass


def test_codes_without_their_texts_are_an_error(engine):
    log = memory_log(engine, time=[START], user=[1], kind=[SEARCH], query=[1], codes=True)
    with pytest.raises(DataError, match=r"query\.parquet is missing"), features.query_codes(log):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "[1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]",
        "1,2, 3,4,5,6,7,8,9,10,11,12,13,14,15,16",
        " [ 1   2  3 4 5 6 7 8 9 10     11 12 13 14 15 16 ] ",
    ],
)
def test_codes_are_read_however_they_are_spaced(engine, text):
    log = memory_log(
        engine,
        time=[START],
        user=[1],
        kind=[SEARCH],
        query=[1],
        texts={"query": {1: text}},
        codes=True,
    )
    with features.query_codes(log) as codes:
        assert engine.one(f"SELECT * FROM {codes}")[1:17] == tuple(range(1, 17))


def test_roll_up_by_hour_holds_every_event_and_all_money(engine):
    hour = DAY // 24
    log = memory_log(
        engine,
        time=[START, START + hour - 1, START + hour, START],
        user=[1, 1, 1, 2],
        kind=[BUY] * 4,
        price=[1.25, 2.0, np.nan, 1e300],
        quantity=[2.0, np.nan, 3.0, 1.0],
    )
    with features.tables(log, np.array([1, 2])) as t:
        found = engine.arrays(
            f"SELECT * FROM ({features.hours_sql(t, spend=True)}) AS h ORDER BY place, hour"
        )
    assert found["hour"].tolist() == [START, START + hour, START]
    assert found["n"].tolist() == [2, 1, 1]
    assert found["money"].tolist() == [45_000, 0, features.LARGEST_AMOUNT * features.SCALE]


def test_funnel_counts_items_that_went_on(engine):
    view, cart, buy = 3, 1, 0
    steps = [
        (1, view, 7),
        (1, cart, 7),
        (1, buy, 7),
        (1, view, 8),
        (1, view, 8),
        (1, cart, 9),
        (2, buy, 7),
    ]
    user, kind, item = zip(*steps, strict=True)
    log = memory_log(engine, time=[START] * len(steps), user=user, kind=kind, item=item)
    with features.tables(log, np.array([1, 2])) as t:
        found = engine.arrays(f"SELECT * FROM ({features.funnel_sql(t)}) AS f ORDER BY place")
    assert {k: v.tolist() for k, v in found.items() if k != "place"} == {
        "viewed_viewed": [2, 0],
        "viewed_carted": [1, 0],
        "viewed_bought": [1, 0],
        "carted_carted": [2, 0],
        "carted_bought": [1, 0],
        "bought_bought": [1, 1],
    }


def test_sessions_gaps_and_variety(engine):
    log = memory_log(
        engine,
        time=START + DAY * np.array([0, 0, 2, 5, 5]),
        user=[1] * 5,
        kind=[BUY, BUY, BUY, BUY, SEARCH],
        item=[4, 4, 5, 4, 6],
        session=[1, 1, 2, 3, 3],
    )
    with features.tables(log, np.array([1])) as t:
        hours = engine.keep(features.hours_sql(t, spend=False))
        assert engine.one(features.sessions_sql(t)) == (0, 3)
        assert engine.one(
            f"SELECT days, total, squares FROM ({features.gaps_sql(hours, 'kind')}) AS g WHERE"
            f" kind = {BUY}"
        ) == (3, 5, 13.0)
        assert engine.one(f"SELECT days FROM ({features.gaps_sql(hours, '0')}) AS g") == (3,)
        assert engine.one(features.active_hours_sql(hours)) == (0, 3)
        n, distinct, most, again, nlogn = engine.one(
            "SELECT n, distinct_values, most, again, nlogn FROM"
            f" ({features.variety_sql(t, 'item')}) AS v WHERE kind = {BUY}"
        )
    assert (n, distinct, most, again) == (4, 2, 3, 1)
    assert nlogn == pytest.approx(3 * np.log(3) * features.SCALE, abs=1)


def test_an_event_without_a_price_has_no_share_in_the_prices(engine):
    log = memory_log(
        engine,
        time=[START] * 3,
        user=[1] * 3,
        kind=[BUY, BUY, SEARCH],
        price=[2.5, np.nan, np.nan],
    )
    with features.tables(log, np.array([1])) as t:
        assert engine.one(features.price_sql(t, own=True)) == (
            0,
            BUY,
            1,
            25_000.0,
            625_000_000.0,
            25_000,
            25_000,
        )


def test_tops_break_ties_by_the_smaller_value(engine):
    log = memory_log(
        engine,
        time=[START] * 7,
        user=[1, 1, 1, 1, 1, 1, 2],
        kind=[BUY] * 7,
        item=[9, 9, 3, 3, 5, -1, 5],
    )
    with features.tables(log, np.array([1])) as t:
        assert features.tops(t, "item", 3) == {BUY: (3, 9, -1)}
        assert features.tops_of(t, "item", [BUY, SEARCH], 2) == (3, 9)
        assert features.tops_of(t, "item", [], 2) == ()


def test_the_order_of_blocks_is_the_organisers(log):
    assert [KINDS[code].name for code in features.kind_order(log)] == [
        "buy",
        "cart",
        "remove",
        "view",
        "search",
    ]
    assert set(features.ORDER) == set(Role)


def test_who_did_anything(engine, log):
    past = past_of(log, START + DAY, np.append(log.users(), 10**12))
    assert features.active(past).tolist() == log.before(START + DAY).users().tolist()


def test_a_past_of_another_make_is_refused(log):
    class Other:
        cutoff, users, log, catalogue = START, np.zeros(0, np.int64), Rows(), object()

        def histories(self, fields): ...

        def at(self, earlier): ...

    with pytest.raises(ConfigError, match="need an EventLog, found Rows"):
        features.log_of(Other())


class Rows:
    """A Table without an engine."""

    manifest = None

    def rows(self, columns, *, roles=None, window=None, ordered=True): ...

    def users(self, *, roles=None, window=None): ...


def test_files_in_any_order_and_threads_give_the_same_bytes():
    arrays = random_arrays(np.random.default_rng(1), users=40, events=3_000)
    arrays["price"] = np.random.default_rng(2).random(3_000) * 100
    answers = []
    for threads, order in ((1, slice(None)), (2, slice(None, None, -1))):
        with DuckDB(threads=threads) as engine:
            log = memory_log(
                engine,
                **{n: v[order] if isinstance(v, np.ndarray) else v for n, v in arrays.items()},
            )
            with features.tables(log, log.users()) as t:
                answers.append(
                    engine.arrays(
                        f"SELECT * FROM ({features.price_sql(t, own=True)}) AS p ORDER BY place,"
                        " kind"
                    )
                )
    for column, values in answers[0].items():
        assert values.tobytes() == answers[1][column].tobytes(), column
