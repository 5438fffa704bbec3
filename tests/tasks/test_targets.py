"""Every target against a slow twin that walks over users and events in Python."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.past import Table
from clickprint.core.time import DAY, Window
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.tasks import targets
from clickprint.tasks.rows import Rows
from clickprint.tasks.task import Target
from clickprint.testing.worlds import BUY, CART, START, VIEW, memory_log

WINDOW = Window(START + 2 * DAY, START + 12 * DAY)
CATALOGUE = {"item": np.arange(9), "category": np.arange(9) % 4, "price_bucket": np.arange(9) % 3}


def a_log(engine: Engine, rng: np.random.Generator, events: int = 150) -> EventLog:
    n = events
    return memory_log(
        engine,
        time=START + rng.integers(0, 16, n) * DAY,  # many on the very edges of the window
        user=rng.integers(0, 12, n) * 3,
        kind=rng.choice([BUY, CART, VIEW], n),
        item=np.where(
            rng.random(n) < 0.1, NONE, rng.integers(0, 11, n)
        ),  # 9 and 10 are in no catalogue
        url=np.where(rng.random(n) < 0.5, NONE, rng.integers(0, 5, n)),
        price=np.where(rng.random(n) < 0.1, np.nan, rng.integers(-2, 30, n) * 0.1),
        quantity=np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 4, n)),
        catalogue=CATALOGUE,
    )


Event = dict[str, float]


def slow(
    table: Table,
    users: np.ndarray,
    answer: Callable[[list[Event]], list],
    roles: tuple[Role, ...],
    days: float | None,
) -> np.ndarray:
    columns = ("time", "user", "item", "url", "price", "quantity", "category", "price_bucket")
    end = WINDOW.end if days is None else min(WINDOW.end, WINDOW.start + round(days * DAY))
    rows = table.rows(columns, roles=roles or None)
    events = [
        dict(zip(columns, values, strict=True))
        for values in zip(*(rows[c].tolist() for c in columns), strict=True)
    ]
    inside = [e for e in events if WINDOW.start <= e["time"] < end]
    return np.array([answer([e for e in inside if e["user"] == u]) for u in users.tolist()])


def money(events: list[Event]) -> float:
    priced = [e for e in events if not np.isnan(e["price"])]
    return sum(e["price"] * (1.0 if np.isnan(e["quantity"]) else e["quantity"]) for e in priced)


def bucket(price: float, edges: list[float]) -> int | None:
    return None if np.isnan(price) else sum(price >= e for e in edges)


EDGES = [0.0, 0.5, 1.2]
CASES: dict[str, tuple[Target, Callable[[list[Event]], list], tuple[Role, ...], float | None]] = {
    "stays away": (targets.stays_away(Role.BUY), lambda es: [not es], (Role.BUY,), None),
    "comes back": (targets.comes_back(), lambda es: [bool(es)], (), None),
    "comes back soon": (
        targets.comes_back(Role.CART, Role.VIEW, days=3),
        lambda es: [bool(es)],
        (Role.CART, Role.VIEW),
        3,
    ),
    "half a day": (targets.comes_back(days=0.5), lambda es: [bool(es)], (), 0.5),
    "longer than the window": (
        targets.comes_back(Role.BUY, days=99),
        lambda es: [bool(es)],
        (Role.BUY,),
        99,
    ),
    "counts": (targets.count_at_least(3, Role.BUY), lambda es: [len(es) >= 3], (Role.BUY,), None),
    "activity": (
        targets.activity(Role.VIEW, days=5),
        lambda es: [np.float32(np.log1p(len(es)))],
        (Role.VIEW,),
        5,
    ),
    "variety": (
        targets.variety_at_least(2, "url", Role.VIEW),
        lambda es: [len({e["url"] for e in es} - {NONE}) >= 2],
        (Role.VIEW,),
        None,
    ),
    "items": (
        targets.buys_any("item", [10, 3, 77]),
        lambda es: [any(e["item"] == v for e in es) for v in (10, 3, 77)],
        (Role.BUY,),
        None,
    ),
    "categories": (
        targets.buys_any("category", np.array([2, 0]), (Role.BUY, Role.CART), days=6),
        lambda es: [any(e["category"] == v for e in es) for v in (2, 0)],
        (Role.BUY, Role.CART),
        6,
    ),
    "urls of any event": (
        targets.buys_any("url", [1, 4], ()),
        lambda es: [any(e["url"] == v for e in es) for v in (1, 4)],
        (),
        None,
    ),
    "price buckets": (
        targets.buys_price(EDGES, [3, 0]),
        lambda es: [any(bucket(e["price"], EDGES) == v for e in es) for v in (3, 0)],
        (Role.BUY,),
        None,
    ),
    "all price buckets": (
        targets.buys_price(EDGES),
        lambda es: [any(bucket(e["price"], EDGES) == v for e in es) for v in range(4)],
        (Role.BUY,),
        None,
    ),
    "spend": (
        targets.spend(),
        lambda es: [np.float32(np.log1p(max(round(money(es), 9), 0)))],
        (Role.BUY,),
        None,
    ),
    "spends": (
        targets.spends_at_least(1.5, days=8),
        lambda es: [round(money(es), 9) >= 1.5],
        (Role.BUY,),
        8,
    ),
}


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1_000), events=st.sampled_from([0, 1, 150]))
def test_each_target_is_its_slow_twin(case: str, seed: int, events: int) -> None:
    target, answer, roles, days = CASES[case]
    rng = np.random.default_rng(seed)
    with DuckDB(threads=1) as engine:
        log = a_log(engine, rng, events)
        # Two that nobody saw; user 33 is not asked.
        users = rng.permutation(np.append(np.arange(11) * 3, [1, -5]))
        found = target(log, WINDOW, users)
        expected = slow(log, users, answer, roles, days)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(target(Rows(log), WINDOW, users), found)
        assert target(log, WINDOW, users[:0]).shape == (0, found.shape[1])


def test_sums_of_money_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    prices = rng.random(500) * 100
    found = []
    with DuckDB(threads=1) as engine:
        for _ in range(5):
            rng.shuffle(prices)
            n = len(prices)
            log = memory_log(
                engine,
                time=np.full(n, WINDOW.start),
                user=np.zeros(n),
                kind=np.full(n, BUY),
                price=prices,
            )
            found.append(targets.spend()(log, WINDOW, np.array([0])).tobytes())
    assert len(set(found)) == 1


def test_a_price_bucket_of_the_catalogue_is_no_money() -> None:
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            time=[WINDOW.start],
            user=[1],
            kind=[BUY],
            item=[0],
            catalogue={"item": [0], "category": [0], "price_bucket": [0]},
        )
        for target in (targets.spend(), targets.spends_at_least(1), targets.buys_price([1.0])):
            with pytest.raises(ConfigError, match="have no price"):
                target(log, WINDOW, np.array([1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: targets.count_at_least(0), "at least 1"),
        (lambda: targets.variety_at_least(0, "item"), "at least 1"),
        (lambda: targets.buys_any("item", []), "list of whole numbers"),
        (lambda: targets.buys_any("item", np.array([[1]])), "list of whole numbers"),
        (lambda: targets.buys_any("item", np.array([1.5])), "list of whole numbers"),
        (lambda: targets.buys_any("item", [1, 2, 1]), "stands twice"),
        (lambda: targets.buys_any("item", [NONE]), "no value"),
        (lambda: targets.buys_price([1.0, 1.0]), "must rise"),
        (lambda: targets.buys_price([float("nan")]), "must rise"),
        (lambda: targets.buys_price([1.0], [0, 0]), "stands twice"),
        (lambda: targets.spends_at_least(0), "above 0"),
    ],
)
def test_what_cannot_be_asked(make: Callable[[], Target], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_unknown_column_is_named() -> None:
    with DuckDB(threads=1) as engine, pytest.raises(ConfigError, match="colour"):
        targets.buys_any("colour", [1])(
            a_log(engine, np.random.default_rng(0)), WINDOW, np.array([3])
        )


class Counting:
    """A table that counts how often it is read."""

    def __init__(self, log: EventLog) -> None:
        self.log, self.reads, self.manifest = log, 0, log.manifest

    def rows(self, *given: object, **named: object) -> dict[str, np.ndarray]:
        self.reads += 1
        return self.log.rows(*given, **named)  # type: ignore[arg-type]

    def users(self, **named: object) -> np.ndarray:
        self.reads += 1
        return self.log.users(**named)  # type: ignore[arg-type]


def test_rows_reads_a_window_of_purchases_once() -> None:
    with DuckDB(threads=1) as engine:
        table = Counting(a_log(engine, np.random.default_rng(0)))
        rows = Rows(table)
        users = np.arange(11) * 3
        for target, _, roles, _ in CASES.values():
            if roles == (Role.BUY,):
                target(rows, WINDOW, users)
        assert table.reads == 1
        targets.comes_back(Role.VIEW)(rows, WINDOW, users)
        targets.activity(Role.VIEW, days=3)(rows, WINDOW, users)
        assert table.reads == 2
        assert "item" not in rows._rows[frozenset({Role.VIEW}), WINDOW, False], (
            "views are many: no more of them than was asked for"
        )
        targets.buys_any("url", [1], (Role.VIEW,))(rows, WINDOW, users)
        targets.buys_any("category", [1], (Role.VIEW,))(rows, WINDOW, users)
        assert table.reads == 3
        assert rows.users(roles=(Role.BUY,)) is rows.users(roles=[Role.BUY])
        assert table.reads == 4


def test_rows_gives_what_the_table_gives_and_lets_nobody_change_it() -> None:
    with DuckDB(threads=1) as engine:
        log = a_log(engine, np.random.default_rng(4))
        rows = Rows(log)
        for columns in (
            ("time",),
            ("user", "item"),
            ("item", "price"),
            ("category", "url", "kind"),
        ):
            found, expected = rows.rows(columns, window=WINDOW), log.rows(columns, window=WINDOW)
            assert list(found) == list(columns)
            for column in columns:
                np.testing.assert_array_equal(found[column], expected[column])
        with pytest.raises(ValueError, match="read-only"):
            found["kind"][0] = 3
        with pytest.raises(ValueError, match="read-only"):
            rows.users()[0] = 3


def test_a_log_without_a_clock_refuses_windows() -> None:
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine, time=[0, 1, 2], user=[1, 1, 2], kind=[BUY] * 3, item=[1, 2, 3], clock=False
        )
        for target in (targets.stays_away(Role.BUY), targets.buys_any("item", [1])):
            with pytest.raises(ConfigError, match="needs a clock"):
                target(Rows(log), WINDOW, np.array([1]))
