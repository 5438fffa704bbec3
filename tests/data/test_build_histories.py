"""Histories from logs: against Python lists, and what must never be in memory at once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.time import DAY
from clickprint.data import histories, parts
from clickprint.data.codes import PLACES
from clickprint.data.engine import DuckDB
from clickprint.data.histories import build, default_fields, rows_sql
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.testing.worlds import BUY, START, VIEW, memory_log, random_arrays, random_log

FIELDS = ("time", "kind", "item", "session", "query", "url", "price", "category", "price_bucket")


@pytest.fixture(scope="module")
def engine():
    with DuckDB(threads=1) as engine:
        yield engine


def slow(arrays: dict, cutoff: int, fields: tuple[str, ...]) -> dict[int, list[tuple]]:
    """user → events, each a tuple of fields: one by one, with Python's own sort."""
    catalogue = arrays["catalogue"]
    known = {
        int(i): row
        for i, *row in zip(
            catalogue["item"], catalogue["category"], catalogue["price_bucket"], strict=True
        )
    }
    columns = ["time", "kind", "item", "session", "query", "url", "price"]
    found: dict[int, list[dict]] = {}
    for i, user in enumerate(arrays["user"]):
        if arrays["time"][i] < cutoff:
            event = {c: arrays[c][i].item() for c in columns}
            event["category"], event["price_bucket"] = (
                int(v) for v in known.get(event["item"], (NONE, NONE))
            )
            found.setdefault(int(user), []).append(event)
    for events in found.values():
        events.sort(key=lambda e: [-np.inf if e[c] != e[c] else e[c] for c in columns])
    return {
        user: [tuple("none" if e[f] != e[f] else e[f] for f in fields) for e in found[user]]
        for user in sorted(found)
    }


def plain(found: Histories) -> dict[int, list[tuple]]:
    ragged = [found.ragged(f) for f in found.fields]
    return {
        int(user): [
            tuple("none" if v != v else v for v in e)
            for e in zip(*(r[i].tolist() for r in ragged), strict=True)
        ]
        for i, user in enumerate(found.users)
    }


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    events=st.integers(0, 150),
    users=st.integers(1, 6),
    cut=st.integers(1, 41),
    piece=st.sampled_from([1, 7, 50, 1_000_000]),
    fields=st.lists(st.sampled_from(FIELDS), min_size=1, unique=True).map(tuple),
)
def test_against_lists(
    engine, tmp_path_factory, monkeypatch, seed, events, users, cut, piece, fields
) -> None:
    monkeypatch.setattr(histories, "ROWS", piece)
    arrays = random_arrays(np.random.default_rng(seed), events=events, users=users, tick=DAY * 4)
    cutoff = START + cut * DAY
    found = build(
        memory_log(engine, **arrays).before(cutoff), tmp_path_factory.mktemp("h") / "h", fields
    )
    expected = slow(arrays, cutoff, fields)
    assert plain(found) == expected
    assert found.users.tolist() == list(expected)
    assert found.cutoff == cutoff


def test_types_and_cutoff(engine, tmp_path: Path) -> None:
    log = random_log(engine, np.random.default_rng(3))
    found = build(log, tmp_path / "h", FIELDS)
    kinds = {f: str(v.dtype) for f, v in found.fields.items()}
    assert kinds == {f: {"kind": "int16", "price": "float64"}.get(f, "int64") for f in FIELDS}
    assert found.cutoff is None
    assert found.events == 200
    assert (found.ragged("category").values == NONE).any()


def test_users_who_were_asked_for(engine, tmp_path: Path) -> None:
    log = random_log(engine, np.random.default_rng(4))
    everyone = build(log, tmp_path / "all", ("time", "item"))
    users = np.array([-999, int(everyone.users[1]), int(everyone.users[4]), 10**12])
    found = build(log, tmp_path / "some", ("time", "item"), users=users)
    assert found.users.tolist() == users.tolist()
    assert plain(found) == plain(everyone.of(users))
    assert found.lengths[[0, 3]].tolist() == [0, 0]


def test_a_log_without_events(engine, tmp_path: Path) -> None:
    log = random_log(engine, np.random.default_rng(0), events=0)
    found = build(log, tmp_path / "h", ("time", "kind", "category"))
    assert (len(found), found.events) == (0, 0)
    assert build(log, tmp_path / "h", ("time",), users=np.array([3])).lengths.tolist() == [0]


def test_one_user_with_very_many_events(engine, tmp_path: Path, monkeypatch) -> None:
    """In pieces of 1,000, between two users with few; half of the events tie in time."""
    monkeypatch.setattr(histories, "ROWS", 1_000)
    n = 50_000
    rng = np.random.default_rng(1)
    time = START + rng.integers(0, n // 2, n)
    item = rng.integers(0, 10**9, n)
    events = {"time": [START, START + 5], "user": [6, 8], "kind": [VIEW, VIEW], "item": [1, 2]}
    many = {"time": time, "user": np.full(n, 7), "kind": np.full(n, BUY), "item": item}
    log = memory_log(engine, **{c: np.append(many[c], few) for c, few in events.items()})
    found = build(log, tmp_path / "h", ("time", "item"))
    assert found.lengths.tolist() == [1, n, 1]
    order = np.lexsort((item, time))
    assert np.array_equal(found.ragged("time")[1], time[order])
    assert np.array_equal(found.ragged("item")[1], item[order])


def test_attributes_are_as_they_were_known_at_the_cutoff(engine, tmp_path: Path) -> None:
    log = memory_log(
        engine,
        time=[START, START + DAY],
        user=[1, 1],
        kind=[BUY, BUY],
        item=[5, 6],
        catalogue={
            "item": [5, 5, 6],
            "known_from": [START - 9, START + 2 * DAY, START + 2 * DAY],
            "weight": [1.5, 9.0, 7.0],
        },
        attributes={"weight": AttributeType.NUMBER},
    )
    assert build(log, tmp_path / "whole", ("weight",)).fields["weight"].tolist() == [9.0, 7.0]
    early = build(log.before(START + 2 * DAY), tmp_path / "early", ("weight",)).fields["weight"]
    assert early[0] == 1.5
    assert np.isnan(early[1])


@pytest.mark.parametrize("piece", [7, 1_000_000])
@pytest.mark.parametrize("spread", [1, 10**9])
def test_code_vectors_of_items_and_searches(
    engine, tmp_path: Path, monkeypatch, piece: int, spread: int
) -> None:
    """Against a look-up event by event: what an item is called (ids near each other and far
    apart), and what was searched for.
    """
    monkeypatch.setattr(histories, "ROWS", piece)
    arrays = random_arrays(np.random.default_rng(5))
    names = {
        int(i): [int(i), 7, 3][: 1 + i % 3] if i % 4 else [] for i in arrays["catalogue"]["item"]
    }
    arrays["item"] = np.where(arrays["item"] == NONE, NONE, arrays["item"] * spread)
    arrays["catalogue"] = {
        "item": np.array(list(names)) * spread,
        "name": [str(v) if v else None for v in names.values()],
    }
    log = memory_log(engine, **arrays, attributes={"name": AttributeType.CODES})
    found = build(log, tmp_path / "h", ("item", "name", "query", "query_codes", "time"))
    assert found.fields["name"].shape == (found.events, 3)
    assert found.fields["query_codes"].shape == (found.events, 16)
    texts = {q: [int(w) for w in t[1:-1].split()] for q, t in arrays["texts"]["query"].items()}
    for item, name, query, words in zip(
        *(found.fields[f].tolist() for f in ("item", "name", "query", "query_codes")), strict=True
    ):
        said = names.get(item // spread, []) if item != NONE else []
        assert name == [w * PLACES + i for i, w in enumerate(said)] + [-1] * (3 - len(said))
        assert words == (
            [w * PLACES + i for i, w in enumerate(texts[query])] if query != NONE else [-1] * 16
        )
    assert (found.fields["query_codes"] >= 0).any()
    again = Histories.open(tmp_path / "h")
    assert again.digest() == found.digest()
    assert again.take(np.array([2, 0])).fields["name"].tolist() == [
        *again.ragged("name")[2].tolist(),
        *again.ragged("name")[0].tolist(),
    ]
    with pytest.raises(ConfigError, match=r"^fields of histories: name .*code vectors"):
        parts.histories(log, tmp_path / "shards", ("item", "name"), shards=2)


def test_code_vectors_that_are_none(engine, tmp_path: Path) -> None:
    arrays = random_arrays(np.random.default_rng(5))
    log = memory_log(
        engine, **{**arrays, "texts": {"query": dict.fromkeys(range(20), "red lamp")}}
    )
    with pytest.raises(DataError, match=r"random: query.*20 of 20 code vectors.*'red lamp'"):
        build(log, tmp_path / "h", ("query_codes",))
    with pytest.raises(ConfigError, match="found query_codes"):
        build(memory_log(engine, **{**arrays, "codes": False}), tmp_path / "h", ("query_codes",))
    assert not (tmp_path / "h").exists()
    empty = build(
        random_log(engine, np.random.default_rng(0), events=0),
        tmp_path / "h",
        ("time", "query_codes"),
    )
    assert empty.fields["query_codes"].shape == (0, 16)


def test_only_what_can_be_seen_is_sorted(engine) -> None:
    log = random_log(engine, np.random.default_rng(0))
    few, many = rows_sql(log, ("time", "category")), rows_sql(log, ("query",))
    assert "session" not in few
    assert "session" in many
    assert "url" not in many


def test_fields_that_are_none(engine, tmp_path: Path) -> None:
    log = random_log(engine, np.random.default_rng(0))
    for fields in (("time", "colour"), ()):
        with pytest.raises(
            ConfigError,
            match=(
                r"fields of histories: found (colour|none), expected some of user, time, kind,"
                r" item"
            ),
        ):
            build(log, tmp_path / "h", fields)
    odd = memory_log(
        engine,
        time=[0],
        user=[1],
        kind=[0],
        catalogue={"item": [1], "starts": [2]},
        attributes={"starts": AttributeType.CATEGORY},
    )
    with pytest.raises(ConfigError, match=r"^fields of histories: 'starts' .*file"):
        build(odd, tmp_path / "h", ("starts",))
    assert not (tmp_path / "h").exists()


def test_what_fails_leaves_nothing_and_the_engine_goes_on(
    engine, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(histories, "ROWS", 10)
    log = random_log(engine, np.random.default_rng(0))

    class Stop(Exception):
        pass

    def progress(stage: str, done: int, total: int) -> None:
        if done > 50:
            raise Stop

    with pytest.raises(Stop):
        build(log, tmp_path / "h", ("time",), users=log.users(), progress=progress)
    assert list(tmp_path.iterdir()) == []
    assert build(log, tmp_path / "h", ("time",)).events == 200


def test_progress(engine, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    build(
        random_log(engine, np.random.default_rng(0)),
        tmp_path / "h",
        ("time",),
        progress=lambda *now: said.append(now),
    )
    assert said[0] == ("histories", 0, 200)
    assert said[-1] == ("histories", 200, 200)


def test_default_fields(engine) -> None:
    # Fmt: skip.
    assert default_fields(random_log(engine, np.random.default_rng(0))) == (
        "time",
        "kind",
        "item",
        "url",
        "query",
        "category",
        "price_bucket",
    )
    assert default_fields(memory_log(engine, time=[0], user=[1], kind=[0])) == (
        "time",
        "kind",
        "item",
    )


def test_a_past_remembers_its_histories(engine) -> None:
    log: EventLog = random_log(engine, np.random.default_rng(5))
    past = past_of(log, START + 20 * DAY, np.array([-20, -13, 5_000]))
    found = past.histories(("item", "time"))
    assert found.users.tolist() == [-20, -13, 5_000]
    assert found.cutoff == past.cutoff
    assert (found.ragged("time").values < past.cutoff).all()
    assert past.histories(["item", "time"]).fields["item"] is found.fields["item"]
    assert past.histories(("time",)).events == found.events
    earlier = past.at(START + 5 * DAY).histories(("item", "time"))
    assert earlier.events < found.events
    assert (earlier.ragged("time").values < START + 5 * DAY).all()
