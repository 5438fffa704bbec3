import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.time import DAY, Window
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.tasks import populations
from clickprint.tasks.task import Population
from clickprint.testing.worlds import BUY, START, VIEW, memory_log

WINDOW = Window(START + 30 * DAY, START + 44 * DAY)


@pytest.fixture
def log() -> EventLog:
    """User 1 bought long ago, 2 yesterday, 3 only views (often), 4 comes on the window's first
    microsecond, 5 a microsecond earlier.
    """
    rows = [
        (1, 2.0, BUY, 0),
        (2, 29.0, BUY, 1),
        (2, 3.0, BUY, 0),
        *[(3, 10.0 + d, VIEW, 2) for d in range(5)],
        (4, 30.0, BUY, 0),
        (1, 31.0, VIEW, 1),
    ]
    with DuckDB(threads=1) as engine:
        yield memory_log(
            engine,
            time=[START + round(d * DAY) for _, d, _, _ in rows] + [WINDOW.start - 1],
            user=[u for u, *_ in rows] + [5],
            kind=[k for *_, k, _ in rows] + [VIEW],
            item=[i for *_, i in rows] + [0],
            catalogue={"item": [0, 1, 2], "category": [7, 7, 8]},
        )


@pytest.mark.parametrize(
    ("population", "expected"),
    [
        (populations.everyone(), [1, 2, 3, 5]),
        (populations.everyone(np.array([9, 1])), [1, 9]),
        (populations.buyers(), [1, 2]),
        (populations.buyers(days=7), [2]),
        (populations.active_in(7), [2, 5]),
        (populations.active_in(None, Role.VIEW), [3, 5]),
        (populations.active_in(20.0, Role.VIEW, Role.BUY), [2, 3, 5]),
        (
            populations.active_in(1),
            [2, 5],
        ),  # the window's length before it: the first moment counts
        (populations.lapsed(14), [1, 3]),
        (populations.lapsed(14, Role.BUY), [1]),
        (populations.as_active_as(0.5, 1), [2, 3]),
        (populations.as_active_as(0, 0.5), [1, 5]),
        (populations.as_active_as(0, 1), [1, 2, 3, 5]),
        (populations.as_active_as(0.5, 1, Role.CART), []),
        (populations.touched("category", 7), [1, 2, 5]),
        (populations.touched("item", 0, Role.BUY), [1, 2]),
        (populations.touched("item", 0, Role.BUY, days=27), [2]),
    ],
)
def test_who_is_asked(log: EventLog, population: Population, expected: list[int]) -> None:
    found = population(log, WINDOW)
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_the_halves_are_a_partition(log: EventLog) -> None:
    light, heavy = (
        populations.as_active_as(0, 0.5)(log, WINDOW),
        populations.as_active_as(0.5, 1)(log, WINDOW),
    )
    assert sorted([*light.tolist(), *heavy.tolist()]) == [1, 2, 3, 5]


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than 0"):
        populations.active_in(0)
    with pytest.raises(ConfigError, match="low < high"):
        populations.as_active_as(0.5, 0.5)
