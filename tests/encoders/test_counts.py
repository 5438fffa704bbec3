"""The organisers' aggregated features.

Equal to theirs on the reference case, and to a slow twin on anything.
"""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.time import DAY
from clickprint.data.adapters import challenge
from clickprint.data.engine import DuckDB
from clickprint.data.features import active, price_edges
from clickprint.data.log import EventLog
from clickprint.data.split import past_of, split
from clickprint.encoders.counts import Counts
from clickprint.testing.worlds import BUY, SEARCH, START, VIEW, memory_log, random_log


def ranking(values: np.ndarray) -> list[tuple[int, int]]:
    """(value, count), the most frequent first, then the smaller value."""
    counted = Counter(v for v in values.tolist() if v != NONE)
    return sorted(counted.items(), key=lambda vc: (-vc[1], vc[0]))


def grouped(users: np.ndarray, rows: dict[str, np.ndarray], kept: np.ndarray) -> np.ndarray:
    """How many of the kept rows each user has."""
    mine = kept & np.isin(rows["user"], users)
    return np.bincount(np.searchsorted(users, rows["user"][mine]), minlength=len(users))


def slow_twin(
    past, days: tuple[int, ...], top: int, columns: dict[int, tuple[str, ...]]
) -> np.ndarray:
    """The features of every kind but searches, column by column, from the rows."""
    rows = past.log.rows(["user", "time", "kind", "item", "url", "category", "price_bucket"])
    out = []
    for kind, picked in columns.items():
        mine = rows["kind"] == kind
        out.append(grouped(past.users, rows, mine))
        wanted = mine & np.isin(rows["user"], past.users)
        tops = {c: [v for v, _ in ranking(rows[c][wanted])[:top]] for c in picked}
        last = rows["time"][mine].max(initial=0)
        for d in days:
            late = mine & (rows["time"] >= last - d * DAY)
            out += [
                grouped(past.users, rows, late & (rows[c] == v)) for c in picked for v in tops[c]
            ]
    return np.array(out).T


def test_the_reference_case_is_the_organisers(golden, tmp_path):
    with DuckDB() as engine:
        dataset = challenge.read(golden / "log", tmp_path / "log", engine=engine)
        past = split(EventLog.open(dataset, engine), users=dataset.population).past
        fitted = Counts().fit(past)
        profiles = fitted.encode(past)
        assert len(past.users) == 1952
        users = active(past)
        rows = past.log.rows(["user", "time", "kind", "item", "url", "category", "price"])
        kinds = {k.name: code for code, k in enumerate(past.log.manifest.kinds)}
    wanted_users, wanted = (
        np.load(golden / "expected" / "client_ids.npy"),
        np.load(golden / "expected" / "embeddings.npy"),
    )
    assert len(users) == 1919
    assert np.array_equal(users, np.sort(wanted_users))
    found = profiles.of(wanted_users)
    assert found.shape == wanted.shape == (1919, 320)
    assert not profiles.of(np.setdiff1d(past.users, users)).any()
    assert [w for _, w in profiles.blocks] == [91, 91, 91, 31, 16]

    same = (found == wanted).all(0)
    at, free = 0, 0
    order = np.argsort(wanted_users)
    for block in fitted.blocks:
        at += 0 if block.codes else 1
        for d in () if block.codes else fitted.days:
            for column, values in block.tops:
                mine = (rows["kind"] == kinds[block.kind]) & np.isin(rows["user"], past.users)
                ranked = ranking(rows[column][mine])
                tied = {n for (_, n), (_, m) in pairwise(ranked) if n == m}
                counts = dict(ranked)
                late = mine & (rows["time"] >= rows["time"][mine].max() - d * DAY)
                for i, value in enumerate(values):
                    if not same[
                        at + i
                    ]:  # then it ties, and theirs is the column of a value that ties with it
                        assert counts[value] in tied, f"{block.kind} {d}d {column} {value}"
                        rivals = [v for v, n in ranked if n == counts[value]]
                        columns = [
                            grouped(users, rows, late & (rows[column] == v)) for v in rivals
                        ]
                        assert any(np.array_equal(c, wanted[order, at + i]) for c in columns), (
                            f"{block.kind} {d}d {column} {value}"
                        )
                        free += 1
                at += len(values)
        at += 16 if block.codes else 0
    assert at == 320
    assert same.sum() == 320 - free
    assert free < 40


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_slow_twin(seed):
    with DuckDB(threads=2) as engine:
        log = random_log(engine, np.random.default_rng(seed), users=15, events=400)
        users = log.users()[
            1:
        ]  # one user's events count for windows, not for the most frequent values
        past = past_of(log, START + 30 * DAY, np.append(users, 999_999))
        fitted = Counts(days=(2, 9), top=4).fit(past)
        found = fitted.encode(past)
        things = ("item", "category", "price_bucket")
        wanted = slow_twin(past, (2, 9), 4, {0: things, 1: things, 2: things, 3: ("url",)})
        width = wanted.shape[1]
        assert np.array_equal(found.vectors[:, :width], wanted.astype(np.float16))
        assert found.vectors.shape[1] == width + 16 == len(fitted.names)
        assert not found.vectors[-1].any()
        rows = past.log.rows(["user", "query"], roles=(Role.SEARCH,))
        texts = engine.table(f"SELECT * FROM {log.texts['query']}").to_pydict()
        codes = {
            i: np.array(t.strip("[]").split(), float)
            for i, t in zip(texts["id"], texts["text"], strict=True)
        }
        for row, user in enumerate(past.users):
            asked = [codes[q] for q in rows["query"][rows["user"] == user].tolist()]
            means = np.mean(asked, 0) if asked else np.zeros(16)
            assert np.array_equal(found.vectors[row, width:], means.astype(np.float16))


def test_layout_is_the_fits_and_kinds_go_by_name():
    with DuckDB(threads=1) as engine:
        rng = np.random.default_rng(0)
        log = random_log(engine, rng)
        fitted = Counts(top=2).fit(past_of(log, START + 30 * DAY))
        turned = (Kind("search", Role.SEARCH), Kind("buy", Role.BUY), Kind("wish", Role.LIKE))
        other = memory_log(
            engine, time=[START, START], user=[1, 1], kind=[1, 2], item=[3, 3], kinds=turned
        )
        found = fitted.encode(past_of(other, START + DAY))
    assert found.vectors.shape[1] == len(fitted.names)
    assert found.vectors[0, 0] == 1  # the one buy
    assert found.vectors.astype(float).sum() == 1 + 3 * (3 in dict(fitted.blocks[0].tops)["item"])


def test_other_logs_get_the_same_form():
    kinds = (
        Kind("seen", Role.EXPOSE),
        Kind("look", Role.VIEW),
        Kind("ask", Role.SEARCH),
        Kind("order", Role.BUY),
    )
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            kinds=kinds,
            time=[START, START + 1, START + 2, START + 3, START + 4],
            user=[5, 5, 5, 6, 6],
            kind=[3, 1, 2, 3, 0],
            item=[10, 11, NONE, 12, 10],
            price=[2.5, np.nan, np.nan, 4.0, np.nan],
            query=[NONE, NONE, 77, NONE, NONE],
        )
        past = past_of(log, START + DAY)
        fitted = Counts(days=(1,), top=2).fit(past)
        found = fitted.encode(past)
    assert fitted.names == (
        *("order", "order 1d item 10", "order 1d item 12", "order 1d price 0", "order 1d price 1"),
        *("look", "look 1d item 11", "ask", "ask 1d query 77", "seen", "seen 1d item 10"),
    )
    assert found.vectors.tolist() == [
        [1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 0],
        [1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 1],
    ]
    assert found.blocks == (("order", 5), ("look", 2), ("ask", 2), ("seen", 2))


def test_counts_beyond_float16_saturate():
    n = 70_000
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            time=np.full(n, START),
            user=np.full(n, 1),
            kind=np.full(n, BUY),
            item=np.full(n, 4),
        )
        past = past_of(log, START + DAY)
        assert Counts().fit(past).encode(past).vectors[0].tolist() == [
            65504.0,
            65504.0,
            65504.0,
            65504.0,
            0,
            0,
            0,
            0,
        ]


def test_a_window_holds_its_edge_and_ends_with_the_kinds_last_event():
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            time=[START, START + DAY - 1, START + DAY, START + 2 * DAY, START + 9 * DAY],
            user=[1, 1, 1, 2, 1],
            kind=[BUY, BUY, BUY, BUY, SEARCH],
            item=[7, 7, 7, 7, NONE],
        )
        past = past_of(log, START + 10 * DAY, np.array([1]))
        fitted = Counts(days=(1, 30), top=1).fit(past)
        assert (
            dict(zip(fitted.names, fitted.encode(past).vectors[0].tolist(), strict=True))[
                "buy 1d item 7"
            ]
            == 1
        )
        assert (
            dict(zip(fitted.names, fitted.encode(past).vectors[0].tolist(), strict=True))[
                "buy 30d item 7"
            ]
            == 3
        )


def test_event_prices_are_cut_at_their_quantiles():
    prices = np.repeat([1.0, 2.0, 3.0, 4.0], [50, 25, 15, 10])
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            time=np.full(100, START),
            user=np.arange(100),
            kind=np.full(100, BUY),
            price=prices,
        )
        assert price_edges(log, 4) == (
            2.0,
        )  # the 25th, 50th and 75th of the hundred are 1, 1 and 2
        assert price_edges(log, 10) == (2.0, 3.0)
        assert (
            price_edges(random_log(engine, np.random.default_rng(0))) == ()
        )  # the catalogue has buckets


@pytest.mark.parametrize(
    "options", [{"days": ()}, {"days": (0,)}, {"days": (7, 7)}, {"top": 0}, {"top": -1}]
)
def test_options_that_cannot_be(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Counts(**options)


def test_too_many_columns_are_refused():
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            time=np.full(3000, START),
            user=np.arange(3000),
            kind=np.full(3000, VIEW),
            url=np.arange(3000),
        )
        with pytest.raises(ConfigError, match="9005 columns"):
            Counts(top=3000).fit(past_of(log, START + DAY))
