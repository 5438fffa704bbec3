"""The cut: the challenge's rule to the day, and for any horizon."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.time import DAY, SECOND, Window, midnight, parse
from clickprint.data.adapters import challenge
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.split import past_of, split, windows
from clickprint.testing.worlds import BUY, START, VIEW, memory_log, random_log


@pytest.fixture(scope="module")
def engine():
    with DuckDB(threads=1) as engine:
        yield engine


def test_the_reference_case_is_cut_where_the_organisers_cut_it(golden, tmp_path):
    with DuckDB() as engine:
        dataset = challenge.read(golden / "log", tmp_path / "log", engine=engine)
        log = EventLog.open(dataset, engine)
        past, train, valid = split(log, users=dataset.population)
        assert train == Window(parse("2022-08-21"), parse("2022-09-04"))
        assert valid == Window(parse("2022-09-04"), parse("2022-09-17 22:54:32") + 1)
        assert past.cutoff == train.start
        bought = [
            len(log.rows(["user"], roles=(Role.BUY,), window=w)["user"]) for w in (train, valid)
        ]
        assert bought == [736, 701]
        assert past.log.span()[1] < train.start
        assert np.array_equal(
            past.users, np.unique(np.load(golden / "log" / "input" / "relevant_clients.npy"))
        )


@given(st.integers(parse("1990-01-01"), parse("2060-01-01")), st.integers(1, 400))
def test_windows_touch_are_of_the_horizon_and_hold_the_end(end, horizon):
    train, valid = windows(end, horizon)
    assert train.start == midnight(train.start)
    assert train.end == valid.start == train.start + horizon * DAY
    assert valid.end == end + 1  # the last purchase counts, nothing after it does
    # The validation window is h calendar days, the last one cut at the end.
    assert midnight(end) - valid.start == (horizon - 1) * DAY
    if horizon == 14:
        assert train.start == midnight(end - 27 * DAY)


@settings(max_examples=30, deadline=None)
@given(
    days=st.lists(st.integers(0, 40 * 4), min_size=1, max_size=30).map(sorted),
    horizon=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_past_and_windows_share_the_log_out(engine, days, horizon, seed):
    """Every event up to the last purchase is in exactly one of past, train, valid or between
    nothing; ties at a cutoff are after it.
    """
    rng = np.random.default_rng(seed)
    time = START + np.array(days) * DAY // 4
    kind = np.where(rng.random(len(time)) < 0.5, BUY, VIEW)
    kind[rng.integers(len(time))] = BUY
    log = memory_log(engine, time=time, user=rng.integers(0, 5, len(time)), kind=kind)
    end = int(time[kind == BUY].max())
    start = midnight(end - (2 * horizon - 1) * DAY)
    if (time < start).sum() == 0:
        with pytest.raises(DataError, match="too short"):
            split(log, horizon_days=horizon)
        return
    past, train, valid = split(log, horizon_days=horizon)
    counts = [
        len(past.log.rows(["user"])["user"]),
        *(len(log.rows(["user"], window=w)["user"]) for w in (train, valid)),
    ]
    middle = start + horizon * DAY
    assert counts == [
        (time < start).sum(),
        ((time >= start) & (time < middle)).sum(),
        ((time >= middle) & (time <= end)).sum(),
    ]
    assert np.array_equal(past.users, past.log.users())


def test_an_event_at_the_cutoff_is_after_it(engine):
    log = memory_log(engine, time=[START - 1, START, START + 1], user=[1, 2, 3], kind=[BUY] * 3)
    past = past_of(log, START)
    assert past.users.tolist() == [1]
    assert past.log.rows(["time"])["time"].tolist() == [START - 1]
    assert past.log.users(window=Window(START - DAY, START + DAY)).tolist() == [1]


def test_users_asked_for_are_sorted_and_once(engine):
    log = memory_log(engine, time=[START], user=[1], kind=[BUY])
    assert past_of(log, START + 1, np.array([9, 1, 9])).users.tolist() == [1, 9]


def test_another_anchor(engine):
    log = memory_log(
        engine, time=START + DAY * np.array([0, 30, 50]), user=[1, 1, 1], kind=[VIEW, BUY, VIEW]
    )
    assert split(log, horizon_days=5).valid.end == START + 30 * DAY + 1
    assert split(log, horizon_days=5, anchor=Role.VIEW).valid.end == START + 50 * DAY + 1


def test_an_earlier_cut_of_a_past(engine):
    log = random_log(engine, np.random.default_rng(0))
    past = past_of(log, START + 20 * DAY)
    earlier = past.at(START + 10 * DAY)
    assert earlier.cutoff == START + 10 * DAY
    assert earlier.users is past.users
    assert earlier.log.span()[1] < START + 10 * DAY
    assert past.at(past.cutoff).log.span() == past.log.span()
    with pytest.raises(ConfigError, match=r"2022-01-28 00:00:00.* 2022-01-29 00:00:00"):
        past.at(START + 21 * DAY)
    with pytest.raises(ConfigError, match="cut earlier"):
        past.log.before(START + 21 * DAY)


def test_a_log_of_orders_is_refused(engine):
    log = memory_log(engine, time=[1, 2], user=[1, 1], kind=[BUY, BUY], clock=False)
    for ask in (
        lambda: split(log),
        lambda: past_of(log, 2),
        lambda: log.rows(["user"], window=Window(0, SECOND)),
    ):
        with pytest.raises(ConfigError, match="`time: order`"):
            ask()


def test_a_last_day_far_from_all_others_is_a_wrong_date(engine):
    """One purchase of the year 2199 would leave both windows empty."""
    days = np.array([0, 20, 40, 41])
    for far, fits in ((parse("2199-12-31") - START, False), (41 * DAY + 80 * DAY, True)):
        time = START + np.append(days * DAY, far)
        log = memory_log(engine, time=time, user=[1] * 5, kind=[VIEW] * 4 + [BUY])
        if fits:
            assert split(log).valid.end == START + far + 1
            continue
        with pytest.raises(DataError, match=r"2199-12-31, has 1 events.* 2022-"):
            split(log)


def test_what_cannot_be_split(engine):
    log = memory_log(engine, time=[START], user=[1], kind=[VIEW])
    with pytest.raises(DataError, match="no event has the role buy"):
        split(log)
    with pytest.raises(ConfigError, match=r"horizon_days: .*\b0\b.*\b1\b"):
        split(log, horizon_days=0)
    with pytest.raises(ConfigError, match=r"horizon_days: found 1000000000"):
        split(log, horizon_days=1_000_000_000)
    with pytest.raises(
        DataError,
        match=(
            "nothing happened before 2021-12-12 00:00:00; the log is too short for windows of 14"
            " days"
        ),
    ):
        # A population of its own is no past either.
        split(memory_log(engine, time=[START], user=[1], kind=[BUY]), users=np.array([1, 2]))
    with pytest.raises(DataError, match="no event has the role buy"):
        split(random_log(engine, np.random.default_rng(0), events=0))
