"""Pasts that are cut by no time: histories that are there, and all events but the last ones."""

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.past import Past
from clickprint.data.engine import DuckDB
from clickprint.data.split import HistoriesPast, LeaveOneOutPast, drop_last
from clickprint.testing.worlds import START, memory_log


def test_the_last_events_are_dropped_and_a_first_one_stays() -> None:
    item = np.arange(6)
    histories = Histories(np.arange(4), np.array([0, 3, 4, 4, 6]), {"item": item})
    assert drop_last(histories, 0).fields["item"].tolist() == item.tolist()
    assert drop_last(histories, 1).fields["item"].tolist() == [0, 1, 3, 4]
    found = drop_last(histories, 2)
    assert found.fields["item"].tolist() == [0, 3, 4]
    assert found.starts.tolist() == [0, 1, 2, 2, 3]
    assert drop_last(histories, 9).lengths.tolist() == [1, 1, 0, 1]


def test_leave_one_out_learns_from_items_before_the_last() -> None:
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            user=[2, 2, 2, 2, 5, 7],
            time=[START + n for n in range(6)],
            kind=[0] * 6,
            item=[30, 10, NONE, 20, 40, NONE],
        )
        past = LeaveOneOutPast(log, 1)
        assert isinstance(past, Past)
        assert past.users.tolist() == [2, 5, 7]
        whole, learned = past.whole(("item", "time")), past.histories(("time", "item"))
        assert whole.users.tolist() == learned.users.tolist() == [2, 5, 7]
        assert whole.fields["item"].tolist() == [30, 10, 20, 40], "events about no item are gone"
        assert learned.fields["item"].tolist() == [30, 10, 40], "the only event stays"
        assert set(learned.fields) == {"item", "time"}
        assert learned.cutoff is None
        assert past.whole(("time",)) is past.whole(("item", "time")), "built once"
        for ask in (lambda: past.log, lambda: past.cutoff, lambda: past.at(START)):
            with pytest.raises(ConfigError):
                ask()


def test_histories_that_are_there_are_a_past() -> None:
    fields = {"item": np.arange(3), "kind": np.zeros(3, np.int16)}
    histories = Histories(np.array([9, 4]), np.array([0, 2, 3]), fields, cutoff=77)
    past = HistoriesPast(histories)
    assert isinstance(past, Past)
    assert past.users.tolist() == [9, 4]
    assert past.cutoff == 77
    assert list(past.histories(("item", "item")).fields) == ["item"]
    with pytest.raises(ConfigError, match="colour"):
        past.histories(("colour",))
    uncut = HistoriesPast(Histories(histories.users, histories.starts, fields))
    for ask in (
        lambda: past.log,
        lambda: past.catalogue,
        lambda: past.at(3),
        lambda: uncut.cutoff,
    ):
        with pytest.raises(ConfigError):
            ask()
