"""Users of one person: who belongs together by what was known at the cutoff, and the history that
they have then.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.links import MOST, linked, people
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.testing.worlds import START, memory_log

Links = list[tuple[int, int, int]]


def of(engine: Engine, links: Links | None, **events: list[int]) -> EventLog:
    log = memory_log(engine, **(events or {"time": [START], "user": [1], "kind": [0]}))
    if links is None:
        return log
    columns = zip(*links, strict=True) if links else ([], [], [])
    table = pa.table(
        {
            n: pa.array(list(c), pa.int64())
            for n, c in zip(("user", "person", "known_from"), columns, strict=True)
        }
    )
    return replace(log, links=engine.keep(table))


def by_hand(links: Links) -> list[tuple[int, int]]:
    """Sets that share a person are put together until none does."""
    groups: list[tuple[set[int], set[int]]] = []
    for user, person, _ in links:
        touching = [g for g in groups if user in g[0] or person in g[1]]
        groups = [g for g in groups if g not in touching]
        groups.append(
            ({user}.union(*(g[0] for g in touching)), {person}.union(*(g[1] for g in touching)))
        )
    return sorted(
        (u, v) for users, _ in groups if 2 <= len(users) <= MOST for u in users for v in users
    )


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), st.just(0)), max_size=60))
def test_who_belongs_together(links: Links) -> None:
    with DuckDB(threads=1) as engine:
        assert list(map(tuple, people(of(engine, links)).tolist())) == by_hand(links)


def test_more_users_than_a_person_has_are_not_joined() -> None:
    with DuckDB(threads=1) as engine:
        for many, found in ((MOST, MOST**2), (MOST + 1, 0)):
            assert len(people(of(engine, [(u, 7, 0) for u in range(many)]))) == found


def test_the_history_of_all_by_what_was_known() -> None:
    """Users 1 and 3 are seen to be one on day 4, 3 and 5 on day 6; 2 is by himself."""
    days, users, items = (
        [1, 1, 2, 3, 4, 5, 6, 7],
        [1, 2, 3, 1, 3, 5, 5, 1],
        [10, 20, 30, 11, 31, 50, 51, 12],
    )
    links = [(1, 100, 1), (2, 200, 1), (3, 300, 2), (3, 100, 4), (5, 300, 6)]
    with DuckDB(threads=1) as engine:
        log = of(
            engine,
            [(u, p, START + d * DAY) for u, p, d in links],
            time=[START + d * DAY for d in days],
            user=users,
            kind=[0] * 8,
            item=items,
        )

        def found(day: float) -> dict[int, list[int]]:
            past = linked(past_of(log, START + int(day * DAY)))
            histories = past.histories(("item", "time"))
            assert (
                np.diff(histories.fields["time"])[
                    np.diff(np.repeat(histories.users, histories.lengths)) == 0
                ]
                >= 0
            ).all()
            return {int(u): histories.ragged("item")[n].tolist() for n, u in enumerate(past.users)}

        assert found(4) == {
            1: [10, 11],
            2: [20],
            3: [30],
        }  # an event at the cutoff is after it, and so is what it tells
        assert found(4.5) == {1: [10, 30, 11, 31], 2: [20], 3: [10, 30, 11, 31]}
        assert found(6.5) == {
            1: [10, 30, 11, 31, 50, 51],
            2: [20],
            3: [10, 30, 11, 31, 50, 51],
            5: [10, 30, 11, 31, 50, 51],
        }
        late = linked(past_of(log, START + 8 * DAY))
        early = late.at(START + int(4.5 * DAY))
        assert early.histories(("item",)).of(np.array([1])).fields["item"].tolist() == [
            10,
            30,
            11,
            31,
        ]
        assert early.cutoff == START + int(4.5 * DAY)
        assert (
            linked(past_of(log.before(START + 5 * DAY), START + int(4.5 * DAY)))
            .histories(("item",))
            .events
            == 9
        )
        # What is learned from everybody sees each event once.
        assert late.past.histories(("item",)).events == 8
        assert sorted(late.log.rows(["item"])["item"].tolist()) == sorted(
            [20] + 3 * [i for i in items if i != 20]
        )


def test_equal_times_are_in_the_order_of_every_history() -> None:
    with DuckDB(threads=1) as engine:
        log = of(
            engine,
            [(1, 9, 0), (2, 9, 0)],
            time=[START] * 4,
            user=[2, 1, 2, 1],
            kind=[1, 1, 0, 0],
            item=[4, 3, 2, 5],
        )
        histories = linked(past_of(log, START + DAY)).histories(("item", "kind"))
        assert histories.fields["item"].tolist() == [2, 5, 3, 4] * 2


def test_a_log_that_does_not_say(engine: Engine) -> None:
    log = of(engine, None)
    with pytest.raises(ConfigError, match=rf"^{log.manifest.name} .*`linked`"):
        linked(past_of(log, START + DAY))


def test_no_link_is_no_change(engine: Engine) -> None:
    if not isinstance(engine, DuckDB):
        pytest.skip("histories on this machine need duckdb")
    past = linked(past_of(of(engine, []), START + DAY))
    assert past.histories(("time",)).events == past.past.histories(("time",)).events == 1
