"""How a log is asked: by column, role and time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.past import Table
from clickprint.core.time import DAY, Window
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog, empty_events
from clickprint.testing.worlds import (
    BUY,
    CART,
    SEARCH,
    START,
    VIEW,
    memory_log,
    random_arrays,
    random_log,
)


@pytest.fixture(scope="module")
def engine():
    with DuckDB(threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def log(engine) -> EventLog:
    return random_log(engine, np.random.default_rng(0), events=500)


def test_a_log_is_a_table(log):
    assert isinstance(log, Table)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_rows_are_in_the_one_order_whatever_the_files_order(engine, seed):
    arrays = random_arrays(np.random.default_rng(seed), events=60)
    columns = ["user", "time", "kind", "item", "session", "query", "url"]
    keys = [arrays[c] for c in ["session", "query", "url", "price"]]
    order = np.lexsort(
        [
            np.nan_to_num(keys[3], nan=-np.inf),
            keys[2],
            keys[1],
            keys[0],
            *(arrays[c] for c in ["item", "kind", "time", "user"]),
        ]
    )
    found = memory_log(engine, **arrays).rows(columns)
    for column in columns:
        assert np.array_equal(found[column], arrays[column][order]), column


def test_nothing_is_a_number_of_its_own(engine):
    log = memory_log(
        engine,
        time=[START, START + 1],
        user=[1, 1],
        kind=[SEARCH, BUY],
        item=[NONE, 99],
        price=[np.nan, 2.5],
        catalogue={"item": [1], "category": [3], "weight": [1.5]},
        attributes={"category": AttributeType.CATEGORY, "weight": AttributeType.NUMBER},
    )
    rows = log.rows(["item", "price", "category", "weight"])
    assert rows["item"].tolist() == [NONE, 99]
    assert rows["item"].dtype == rows["category"].dtype == np.int64
    assert rows["category"].tolist() == [NONE, NONE]  # an item that the catalogue does not know
    assert np.isnan(rows["price"][0])
    assert rows["price"][1] == 2.5
    assert np.isnan(rows["weight"]).all()


def test_roles_and_windows(log):
    window = Window(START + 3 * DAY, START + 9 * DAY)
    rows = log.rows(["user", "kind", "time"])
    mine = (
        np.isin(rows["kind"], [BUY, CART])
        & (rows["time"] >= window.start)
        & (rows["time"] < window.end)
    )
    found = log.rows(["user", "kind", "time", "user"], roles=(Role.CART, Role.BUY), window=window)
    assert list(found) == ["user", "kind", "time"]
    for column, values in found.items():
        assert np.array_equal(values, rows[column][mine])
    assert np.array_equal(
        log.users(roles=(Role.CART, Role.BUY), window=window), np.unique(rows["user"][mine])
    )
    unordered = log.rows(["time"], roles=(Role.CART, Role.BUY), window=window, ordered=False)[
        "time"
    ]
    assert np.array_equal(np.sort(unordered), np.sort(found["time"]))
    assert log.span(roles=(Role.VIEW,)) == (
        rows["time"][rows["kind"] == VIEW].min(),
        rows["time"][rows["kind"] == VIEW].max(),
    )


def test_a_role_that_no_kind_has_gives_nothing(log):
    assert len(log.rows(["user"], roles=(Role.LIKE,))["user"]) == 0
    assert len(log.rows(["user"], roles=())["user"]) == 0
    assert len(log.users(roles=(Role.LIKE,))) == 0
    assert log.span(roles=(Role.LIKE,)) is None


@pytest.mark.parametrize("column", ["colour", "quantity", "known_from", "", 'user" --'])
def test_columns_that_are_not_there_are_named(log, column):
    with pytest.raises(
        ConfigError,
        match=(
            r"has no column .* to read by row; it has time, user, kind, item, session, query, url,"
            r" price, category"
        ),
    ):
        log.rows(["user", column])


def test_texts_are_not_read_by_row(engine):
    log = memory_log(
        engine,
        time=[1],
        user=[1],
        kind=[0],
        catalogue={"item": [1], "name": ["x"]},
        attributes={"name": AttributeType.TEXT},
    )
    assert log.catalogue.table.column("name").to_pylist() == ["x"]
    with pytest.raises(ConfigError, match="has no column 'name'"):
        log.rows(["name"])


def test_the_catalogue_is_as_it_was_known(engine):
    known = {
        "item": [1, 1, 2, 3],
        "known_from": [NONE, START + DAY, START, START + 5 * DAY],
        "category": [10, 11, 20, 30],
    }
    log = memory_log(
        engine,
        time=START + np.arange(3),
        user=[1, 1, 1],
        kind=[BUY] * 3,
        item=[1, 2, 3],
        catalogue=known,
    )

    def at(past):
        table = past.catalogue.table
        return dict(
            zip(
                table.column("item").to_pylist(), table.column("category").to_pylist(), strict=True
            )
        )

    assert at(log) == {1: 11, 2: 20, 3: 30}
    assert at(log.before(START + 5 * DAY)) == {
        1: 11,
        2: 20,
    }  # known from the cutoff on is not known before it
    assert at(log.before(START + DAY)) == {1: 10, 2: 20}
    assert at(log.before(START)) == {1: 10}
    assert at(log.before(START + 5 * DAY).before(START + DAY)) == {1: 10, 2: 20}
    assert log.before(START + DAY).rows(["category"])["category"].tolist() == [10, 20, NONE]
    assert log.rows(["category"], window=Window(START, START + DAY))["category"].tolist() == [
        10,
        20,
        NONE,
    ]
    assert log.rows(["category"])["category"].tolist() == [11, 20, 30]


def test_an_empty_log(engine):
    log = random_log(engine, np.random.default_rng(0), users=0)
    assert log.users().dtype == np.int64
    assert len(log.users()) == 0
    assert log.span() is None
    assert all(len(v) == 0 for v in log.rows(["user", "price", "category"]).values())
    table = engine.table(empty_events(log.manifest))
    assert table.num_rows == 0
    assert table.column_names == [
        "time",
        "user",
        "kind",
        "item",
        "session",
        "query",
        "url",
        "price",
    ]


def test_names_with_quotes_are_only_names(engine):
    odd = 'a"; DROP TABLE x; --'
    log = memory_log(
        engine,
        time=[START],
        user=[1],
        kind=[0],
        item=[5],
        kinds=(Kind("it's", Role.BUY),),
        catalogue={"item": [5], odd: [7]},
        attributes={odd: AttributeType.CATEGORY},
    )
    assert log.rows([odd])[odd].tolist() == [7]
