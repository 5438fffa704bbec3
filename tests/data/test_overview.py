"""The numbers of an overview: by hand, and that they add up."""

from dataclasses import replace

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.time import DAY, HOUR
from clickprint.data.engine import DuckDB
from clickprint.data.overview import Overview, overview
from clickprint.data.split import split
from clickprint.testing.worlds import START, memory_log, random_log


@pytest.fixture(scope="module")
def seen() -> Overview:
    with DuckDB(threads=1) as engine:
        log = random_log(
            engine, np.random.default_rng(0), users=60, events=3_000, days=70, tick=HOUR, items=80
        )
        return overview(log, split(log))


class TestOverview:
    def test_by_hand(self):
        with DuckDB(threads=1) as engine:
            log = memory_log(
                engine,
                #     Sat 00:00          01:30       Mon 02:00          Mon 23:59:59   before 1970
                time=[
                    START,
                    START + HOUR + HOUR // 2,
                    START + 2 * DAY + 2 * HOUR,
                    START + 3 * DAY - 1,
                    -1,
                ],
                user=[1, 1, 2, 3, 1],
                kind=[0, 3, 0, 4, 0],
                item=[10, NONE, 11, NONE, 10],
                catalogue={
                    "item": [10, 12, 12],
                    "category": [5, 6, 6],
                    "price_bucket": [NONE, 1, 1],
                    "known_from": [NONE, 0, 5],
                },
                attributes=None,
            )
            found = overview(log)
        assert (
            found.events,
            found.users,
            found.items,
            found.catalogue,
            found.unlisted,
            found.asked,
        ) == (5, 3, 2, 2, 1, 0)
        assert [(k.name, k.events, k.users, k.items) for k in found.kinds] == [
            ("buy", 3, 2, 2),
            ("cart", 0, 0, 0),
            ("remove", 0, 0, 0),
            ("view", 1, 1, 0),
            ("search", 1, 1, 0),
        ]
        assert [(a.name, a.type, a.items, a.values) for a in found.attributes] == [
            ("category", "category", 2, 2),
            ("price_bucket", "price_bucket", 1, 1),
        ]
        assert found.days == (-DAY, START, START + 2 * DAY)
        assert found.by_day[0] == (1, 1, 1)
        assert found.by_day[3] == (0, 1, 0)
        hours = {h: n for h, n in enumerate(found.by_hour) if n}
        assert sum(hours.values()) == 5
        assert hours[((START // DAY + 3) % 7) * 24] == 1  # 1970-01-01 was a Thursday
        assert hours[2 * 24 + 23] == 1  # Wednesday 1969-12-31, its last hour
        assert found.per_user == ((1, 3), (3, 1))
        assert found.per_item == ((1, 2), (2, 1))
        assert found.spans == ()

    def test_spans_add_up(self, seen):
        past, train, valid = seen.spans
        assert (past.end, train.end) == (train.start, valid.start)
        assert past.events + train.events + valid.events <= seen.events
        assert past.users == seen.asked  # everyone asked was seen before the cutoff
        assert sum(map(sum, seen.by_day)) == sum(seen.by_hour) == seen.events

    def test_a_log_in_order_form_has_no_days(self):
        with DuckDB(threads=1) as engine:
            log = memory_log(
                engine, time=[0, 1, 2], user=[1, 1, 2], kind=[0, 0, 0], item=[1, 2, 3], clock=False
            )
            found = overview(log)
        assert (found.days, found.by_hour, found.events, found.per_user) == (
            (),
            (),
            3,
            ((1, 2), (2, 1)),
        )

    def test_long_curves_are_thinned_but_keep_their_ends(self):
        with DuckDB(threads=1) as engine:
            n = np.arange(1, 201)
            users = np.repeat(n, n)
            found = overview(
                memory_log(
                    engine,
                    time=np.arange(len(users)),
                    user=users,
                    kind=np.zeros(len(users), int),
                    item=users,
                )
            )
        assert len(found.per_user) <= 120
        assert (found.per_user[0], found.per_user[-1]) == ((1, 200), (200, 1))
        assert all(have == 201 - n for n, have in found.per_user)

    def test_json_round_trip(self, seen):
        assert Overview.from_json(seen.to_json()) == seen

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", "null", '{"kinds": 3}', '{"kinds": [{"name": 1}]}']
    )
    def test_a_damaged_file_is_named(self, text):
        with pytest.raises(DataError, match=r"here\.json"):
            Overview.from_json(text, "here.json")

    def test_the_funnel_follows_the_roles(self, seen):
        from clickprint.data.overview import funnel

        shuffled = replace(seen, kinds=tuple(reversed(seen.kinds)))
        assert [k.role for k in funnel(shuffled)] == ["view", "search", "cart", "remove", "buy"]
        assert Kind("x", Role.BUY).role is Role.BUY
