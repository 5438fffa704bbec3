"""Each sort of fault is planted once and found by its name; what is clean gives none."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.profiles import Profiles
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, HOUR, SECOND, parse
from clickprint.data.adapters import challenge, reader
from clickprint.data.audit.files import audit_complete, open_files
from clickprint.data.audit.finding import Finding, share
from clickprint.data.audit.log import _neighbours, audit_log
from clickprint.data.audit.profiles import _auroc, _mid_ranks, audit_profiles, log_attributes
from clickprint.data.audit.split import audit_last, audit_parts, of_last, of_time
from clickprint.data.engine import DuckDB, open_engine
from clickprint.data.log import EventLog
from clickprint.data.split import split
from clickprint.data.store import gather
from clickprint.data.synthetic import shop_of, write_challenge
from clickprint.encoders import encoder
from clickprint.metrics.labels import auroc

START = parse("2024-01-01")
KINDS = (Kind("view", Role.VIEW), Kind("cart", Role.CART), Kind("buy", Role.BUY))
DAYS, USERS, ITEMS = 84, 60, 30
Rows = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDB]:
    with DuckDB(memory="300MB", threads=1) as found:
        yield found


def clean(seed: int = 0, users: int = USERS) -> Rows:
    """Every day some users, one event at a time; no two events of a user at one time, every item
    again and again.
    """
    rng = np.random.default_rng(seed)
    n = users * DAYS
    time = (
        START
        + np.repeat(np.arange(DAYS), users) * DAY
        + rng.permutation(n) % 70_000 * SECOND
        + 6 * HOUR
    )
    user = np.tile(np.arange(1, users + 1), DAYS)
    return {
        "time": time,
        "user": user,
        "kind": rng.integers(0, 3, n),
        "item": rng.integers(1, ITEMS + 1, n),
        "session": np.arange(n),
    }


def add(rows: Rows, **more: np.ndarray | int) -> Rows:
    n = max(np.size(v) for v in more.values())
    more = {"session": 1_000_000 + np.arange(n), **more}
    return {c: np.concatenate([rows[c], np.broadcast_to(more[c], n)]) for c in rows}


def stored(
    folder: Path,
    engine: DuckDB,
    rows: Rows,
    *,
    catalogue: pa.Table | None = None,
    time: str = "clock",
    rejected: dict[str, int] | None = None,
) -> EventLog:
    table = engine.keep(pa.table({**rows, "kind": rows["kind"].astype(np.int16)}))
    if catalogue is None:
        items = np.arange(1, ITEMS + 1)
        catalogue = pa.table({"item": items, "category": items % 5})
    gather(
        folder,
        engine=engine,
        name="planted",
        kinds=(*KINDS, Kind("search", Role.SEARCH)) if rejected else KINDS,
        columns=("session",),
        selects=[f"SELECT * FROM {table}"],
        catalogue=catalogue,
        attributes=(
            {"category": AttributeType.CATEGORY} if "category" in catalogue.column_names else {}
        ),
        time=time,
        rejected=rejected,
        unread={"no price": 10**6} if rejected else None,
    )
    return EventLog.open(Dataset.open(folder), engine)


def named(found: list[Finding]) -> dict[str, Finding]:
    return {f.name: f for f in found}


def audited(folder: Path, engine: DuckDB, rows: Rows, **options: object) -> dict[str, Finding]:
    # Type: ignore[arg-type].
    return named(audit_log(stored(folder / "log", engine, rows, **options))[0])


# -- the log --------------------------------------------------------------------------------------


def test_a_clean_log_has_nothing_to_say(tmp_path: Path, engine: DuckDB) -> None:
    assert audited(tmp_path, engine, clean()) == {}


def twice(rows: Rows) -> Rows:
    some = np.flatnonzero(rows["kind"] == 2)[:12]
    return {c: np.concatenate([v, v[some]]) for c, v in rows.items()}


def twice_but_session(rows: Rows) -> Rows:
    some = np.flatnonzero(rows["kind"] == 1)[:9]
    return {c: np.concatenate([v, v[some] + (c == "session") * 100_000]) for c, v in rows.items()}


def tied(rows: Rows) -> Rows:
    return add(
        rows,
        time=np.repeat(rows["time"][:1000], 1),
        user=rows["user"][:1000],
        kind=rows["kind"][:1000],
        item=rows["item"][:1000] % ITEMS + 1,
    )


def fast(rows: Rows) -> Rows:
    minute = START + 40 * DAY
    return add(
        rows,
        time=minute + np.arange(400) * SECOND,
        user=5,
        kind=0,
        item=1 + np.arange(400) % ITEMS,
    )


def awake(rows: Rows) -> Rows:
    return add(
        rows,
        time=START + 30 * DAY + np.arange(72) * HOUR + np.arange(72) ** 2 % 977 * SECOND,
        user=6,
        kind=0,
        item=3,
    )


def periodic(rows: Rows) -> Rows:
    # Every 10 minutes, 10 hours a day: neither fast nor sleepless.
    time = np.concatenate(
        [START + d * DAY + 7 * HOUR + np.arange(60) * 600 * SECOND for d in range(20)]
    )
    return add(
        {c: v[rows["user"] != 7] for c, v in rows.items()},
        time=time,
        user=7,
        kind=0,
        item=1 + np.arange(len(time)) % ITEMS,
    )


def heavy(rows: Rows) -> Rows:
    time = START + np.arange(DAYS * 500) * (DAY // 500)
    spread = clean(users=400)
    rng = np.random.default_rng(3)
    keep = rng.random(len(time)) < 0.9
    return add(
        spread,
        time=time[keep] + rng.integers(0, 60, keep.sum()) * SECOND,
        user=10_000,
        kind=0,
        item=1 + np.arange(keep.sum()) % ITEMS,
    )


def long_session(rows: Rows) -> Rows:
    return rows | {"session": np.where(rows["user"] <= 8, 1, rows["session"])}


def hole(rows: Rows) -> Rows:
    day = (rows["time"] - START) // DAY
    return {c: v[(day < 30) | (day >= 35)] for c, v in rows.items()}


def midnight_buys(rows: Rows) -> Rows:
    return rows | {"time": np.where(rows["kind"] == 2, rows["time"] // DAY * DAY, rows["time"])}


def midnight_all(rows: Rows) -> Rows:
    return rows | {"time": rows["time"] // DAY * DAY}


def unlisted(rows: Rows) -> Rows:
    return rows | {"item": np.where(np.arange(len(rows["item"])) % 20 == 0, 999, rows["item"])}


def unrepeated(rows: Rows) -> Rows:
    keys = np.stack([rows["user"], rows["kind"], rows["item"]], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    return {c: v[np.sort(first)] for c, v in rows.items()}


@pytest.mark.parametrize(
    ("plant", "name", "severity", "numbers"),
    [
        (twice, "duplicates", "warning", {"events": 12, "kinds": {"buy": 12}}),
        (
            twice_but_session,
            "near-duplicates",
            "note",
            {"events": 9, "kinds": {"cart": 9}, "columns": ["session"]},
        ),
        (
            tied,
            "ties",
            "warning",
            {"tied": 1000, "resolved": {"kind": 0, "item": 1000, "rest": 0, "equal": 0}},
        ),
        (fast, "bots-fast", "warning", {"users": 1, "ids": [5], "most": 60}),
        (awake, "bots-awake", "warning", {"users": 1, "ids": [6], "most": 24}),
        (periodic, "bots-periodic", "warning", {"users": 1, "ids": [7], "most": 600 * SECOND}),
        (heavy, "bots-heavy", "warning", {"users": 1, "ids": [10_000]}),
        (long_session, "sessions-long", "warning", {"sessions": 1, "ids": [1], "most": 8 * DAYS}),
        (hole, "gap-days", "warning", {"days": 5, "longest": 5, "longest_from": "2024-01-31"}),
        (midnight_buys, "midnight", "warning", {}),
        (midnight_all, "midnight", "note", {}),
        (
            unlisted,
            "unlisted-items",
            "warning",
            {"items": 1, "of": ITEMS + 1, "events": USERS * DAYS // 20},
        ),
        (unrepeated, "no-repeats", "warning", {}),
    ],
    ids=lambda v: v.__name__ if callable(v) else None,
)
def test_a_planted_fault_of_the_log_is_found(
    plant: Callable[[Rows], Rows],
    name: str,
    severity: str,
    numbers: dict[str, object],
    tmp_path: Path,
    engine: DuckDB,
) -> None:
    found = audited(tmp_path, engine, plant(clean()))
    assert found[name].severity == severity
    assert {k: found[name].numbers[k] for k in numbers} == numbers
    # Nothing else is blamed, but what the same rows also are.
    also = {
        "fast": {"bots-periodic"},
        "heavy": {"bots-awake"},
        "midnight_all": {"ties"},
        "midnight_buys": {"ties"},
        "twice": {"ties"},
        "twice_but_session": {"ties"},
    }
    assert set(found) - {name} <= also.get(plant.__name__, set()), found


def test_items_bought_before_they_are_known_and_rejected_rows_and_unseen_kinds(
    tmp_path: Path, engine: DuckDB
) -> None:
    items = np.arange(1, ITEMS + 1)
    known = pa.array(
        [START + 40 * DAY if i == 4 else None if i % 2 else START for i in items.tolist()],
        pa.int64(),
    )
    rows = clean()
    found = audited(
        tmp_path,
        engine,
        rows,
        catalogue=pa.table({"item": items, "known_from": known, "category": items % 5}),
        rejected={"no time": 3},
    )
    before = int(
        ((rows["item"] == 4) & (rows["kind"] == 2) & (rows["time"] < START + 40 * DAY)).sum()
    )
    assert before > 10
    assert found["bought-before-known"].numbers == {"events": before, "items": 1}
    assert found["rejected"].numbers == {"no time": 3}
    assert found["rejected"].severity == "note"
    assert found["unread"].numbers == {"no price": 10**6}
    assert found["unread"].severity == "warning"
    assert found["unseen-kinds"].numbers == {"kinds": ["search"]}


def test_a_clock_ahead_of_its_file(tmp_path: Path, engine: DuckDB) -> None:
    log = stored(tmp_path / "log", engine, clean())
    last = log.span()
    assert last is not None
    assert "future" not in named(audit_log(log, written=last[1])[0])
    found = named(audit_log(log, written=last[1] - DAY)[0])["future"]
    assert found.severity == "warning"
    assert found.numbers["events"] >= USERS


def test_a_log_without_catalogue_is_told_so(tmp_path: Path, engine: DuckDB) -> None:
    found = audited(
        tmp_path, engine, clean(), catalogue=pa.table({"item": pa.array([], pa.int64())})
    )
    assert set(found) == {"no-catalogue"}


def test_an_empty_log_and_one_event(tmp_path: Path, engine: DuckDB) -> None:
    one = {c: v[:1] for c, v in clean().items()}
    found, shape = audit_log(stored(tmp_path / "one", engine, one))
    assert {f.name for f in found} == {"unseen-kinds"}
    assert shape.popularity == ((1, 1.0),)
    log = EventLog.open(Dataset.open(tmp_path / "one"), engine)
    found, shape = audit_log(
        replace(log, events=engine.view(f"SELECT * FROM {log.events} WHERE 1 = 0"))
    )
    assert [f.name for f in found] == ["empty"]
    assert shape.gaps == ()


def test_a_log_in_order_form_needs_no_clock(tmp_path: Path, engine: DuckDB) -> None:
    rows = clean()
    log = stored(
        tmp_path / "log",
        engine,
        rows | {"time": np.argsort(np.argsort(rows["time"]))},
        time="order",
    )
    found, shape = audit_log(log)
    assert found == []
    assert shape.retention == ()
    parts = of_last(log)
    assert not [
        f
        for f in audit_parts(parts, made_elsewhere=False)[0] + audit_last(parts, clock=False)
        if f.severity != "note"
    ]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(*(st.integers(0, n) for n in (3, 2, 2, 2, 1))), min_size=1, max_size=40))
def test_ties_equal_a_loop_over_pairs(
    engine: DuckDB, rows: list[tuple[int, int, int, int, int]]
) -> None:
    columns = dict(
        zip(
            ("time", "user", "kind", "item", "session"),
            (np.array(c, np.int64) for c in zip(*rows, strict=True)),
            strict=True,
        )
    )
    events = engine.keep(pa.table({**columns, "kind": columns["kind"].astype(np.int16)}))
    log = EventLog(
        engine, Manifest(name="drawn", kinds=KINDS, columns=("session",)), events, "none"
    )
    found = named(_neighbours(log, len(rows))[0])
    engine.drop(events)
    expected: Counter[str] = Counter()
    by_user: dict[int, list[tuple[int, int, int, int]]] = {}
    for time, user, kind, item, session in rows:
        by_user.setdefault(user, []).append((time, kind, item, session))
    pairs = 0
    for some in by_user.values():
        some.sort()
        for a, b in pairwise(some):
            pairs += 1
            if a[0] == b[0]:
                expected[
                    (
                        "kind"
                        if a[1] != b[1]
                        else "item"
                        if a[2] != b[2]
                        else "rest"
                        if a[3] != b[3]
                        else "equal"
                    )
                ] += 1
    if expected:
        assert found["ties"].numbers["resolved"] == {
            k: expected[k] for k in ("kind", "item", "rest", "equal")
        }
        assert found["ties"].numbers["pairs"] == pairs
    else:
        assert "ties" not in found


def test_the_pictures_numbers_equal_numpy(tmp_path: Path, engine: DuckDB) -> None:
    rows = clean()
    _, shape = audit_log(stored(tmp_path / "log", engine, rows))
    counts = np.sort(np.bincount(rows["item"])[1:])[::-1]
    curve = dict(shape.popularity)
    assert curve[1] == pytest.approx(counts[0] / counts.sum())
    assert curve[ITEMS] == 1.0
    assert sum(n for _, n in shape.gaps) == len(rows["time"]) - USERS
    assert sum(map(sum, shape.retention)) == len(
        np.unique(np.stack([rows["user"], (rows["time"] - START) // (7 * DAY)]), axis=1).T
    )


@pytest.mark.spark
def test_spark_finds_the_same(tmp_path: Path, engine: DuckDB) -> None:
    """Every text of the log's and the split's audit is one that both engines understand."""
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    stored(tmp_path / "log", engine, twice(clean(users=12)))
    answers = []
    with open_engine("spark", master="local[2]", memory="1500MB") as spark:
        for each in (engine, spark):
            log = EventLog.open(Dataset.open(tmp_path / "log"), each)
            answers.append(
                (
                    audit_log(log),
                    audit_parts(of_time(log, split(log), "time:14"), made_elsewhere=True),
                )
            )
    assert answers[0] == answers[1]


# -- a split of our own ---------------------------------------------------------------------------


def test_a_clean_split_by_time(tmp_path: Path, engine: DuckDB) -> None:
    log = stored(tmp_path / "log", engine, clean())
    found, prints = audit_parts(of_time(log, split(log), "time:14"), made_elsewhere=True)
    assert {f.name for f in found} == {
        "sizes",
        "cold-users",
        "cold-items",
        "degenerate-churn",
    }  # all sixty buy in every window
    assert not [f for f in found if f.severity == "leak"]
    assert set(prints) == {"past", "train", "valid", "population", "split"}


def test_cold_users_and_items_and_degenerate_labels(tmp_path: Path, engine: DuckDB) -> None:
    rows = clean()
    late = np.flatnonzero(rows["time"] >= START + 70 * DAY)
    train = np.flatnonzero((rows["time"] >= START + 56 * DAY) & (rows["time"] < START + 70 * DAY))
    rows["user"][late[:30]] = 1_000 + np.arange(30)
    gone = rows["item"] == 9
    gone[: train[0]] = False
    gone[train] = False
    rows["item"][gone] = 8  # item 9 is bought in the train window and not after
    rows["item"][late[5]] = 777
    log = stored(tmp_path / "log", engine, rows)
    found, _ = audit_parts(of_time(log, split(log), "time:14"), made_elsewhere=False)
    by = named(found)
    assert by["cold-users"].numbers["valid_cold"] == 30
    assert by["cold-users"].numbers["valid_only"] == 30
    assert by["cold-items"].numbers["valid_cold"] == 1
    dead = next(
        f
        for f in found
        if f.name == "degenerate-labels" and f.numbers["task"] == "propensity_item"
    )
    assert dead.numbers["none_positive"] == 1
    assert dead.numbers["labels"] == ITEMS
    assert dead.numbers["score_charged"] == pytest.approx(0.8 / ITEMS)


def test_the_fingerprint_knows_no_order_and_every_row(tmp_path: Path, engine: DuckDB) -> None:
    rows = clean()
    mixed = {c: v[np.random.default_rng(1).permutation(len(v))] for c, v in rows.items()}
    changed = rows | {"session": rows["session"] + (np.arange(len(rows["session"])) == 17)}
    prints = []
    for place, each in enumerate((rows, mixed, changed)):
        log = stored(tmp_path / str(place), engine, each)
        prints.append(audit_parts(of_time(log, split(log), "time:14"), made_elsewhere=False)[1])
    assert prints[0] == prints[1]
    assert prints[0]["past"] != prints[2]["past"]
    assert {k for k in prints[0] if prints[0][k] != prints[2][k]} == {"past", "split"}
    week = of_time(
        stored(tmp_path / "week", engine, rows),
        split(EventLog.open(Dataset.open(tmp_path / "week"), engine), horizon_days=7),
        "time:7",
    )
    assert audit_parts(week, made_elsewhere=False)[1]["split"] != prints[0]["split"]


def test_leave_one_out(tmp_path: Path, engine: DuckDB) -> None:
    """Three users: one ends with an item seen before, one with a tie, one has too few events."""
    events = [
        (1, 1, 5),
        (2, 1, 6),
        (3, 1, 7),
        (4, 1, 5),
        (1, 2, 1),
        (2, 2, 2),
        (3, 2, 3),
        (3, 2, 4),
        (1, 3, 1),
        (2, 3, 2),
    ]
    time, user, item = (np.array(c) for c in zip(*events, strict=True))
    log = stored(
        tmp_path / "log",
        engine,
        {
            "time": START + time * DAY,
            "user": user,
            "kind": time * 0,
            "item": item,
            "session": time,
        },
    )
    parts = of_last(log)
    found, _ = audit_parts(parts, made_elsewhere=False)
    assert named(found)["sizes"].numbers == {"past": 4, "train": 2, "valid": 2}
    last = named(audit_last(parts, clock=True))
    assert last["repeated-target"].numbers == {"users": 1, "of": 2, "part": "valid"}
    assert last["tied-target"].numbers == {"users": 1, "of": 2}
    assert "histories-after-targets" not in last


# -- the challenge's directory --------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, engine: DuckDB) -> Path:
    folder = tmp_path_factory.mktemp("challenge") / "data"
    write_challenge(folder, shop_of(users=300, items=160, categories=6, days=60, rate=3.0, seed=2))
    challenge.split(folder, engine)
    return folder


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def look(folder: Path, engine: DuckDB) -> list[Finding]:
    parts, found = open_files(folder, engine, folder)
    return (
        found
        + audit_parts(parts, made_elsewhere=True)[0]
        + audit_complete(parts, challenge.open_raw(folder, engine, unsplit=True))
    )


def leaks(found: list[Finding]) -> set[str]:
    return {f.name for f in found if f.severity == "leak"}


def test_a_clean_directory_has_no_leak_and_the_fingerprint_of_our_own_past(
    data: Path, engine: DuckDB
) -> None:
    found = look(data, engine)
    assert {f.name for f in found} <= {
        "sizes",
        "cold-users",
        "cold-items",
        "degenerate-labels",
        "labels-not-in-train",
        "popularity",
    }
    assert not leaks(found)
    assert {f.numbers["matches"] for f in found if f.name == "popularity"} == {"train"}
    log = challenge.open_raw(data, engine, unsplit=True)
    ours = of_time(log, split(log, users=challenge.relevant_clients(data)), "time:14")
    theirs, _ = open_files(data, engine, data)
    a, b = (audit_parts(p, made_elsewhere=False)[1] for p in (ours, theirs))
    assert a["past"] == b["past"]
    assert a["population"] == b["population"]
    assert ours.bounds == theirs.bounds


def edit(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def late_visits(data: Path) -> None:
    visits = pq.read_table(data / "page_visit.parquet")
    moment = pc.strptime(visits.column("timestamp"), "%Y-%m-%d %H:%M:%S", "us")
    visits = visits.set_column(1, "timestamp", moment)
    edit(
        data / "input" / "page_visit.parquet",
        lambda t: pa.concat_tables([t, visits.slice(len(visits) - 5).cast(t.schema)]),
    )


def windows_overlap(data: Path) -> None:
    valid = pq.read_table(data / "target" / "validation_target.parquet")
    edit(
        data / "target" / "train_target.parquet",
        lambda t: pa.concat_tables([t, valid.slice(0, 3)]),
    )


def answers_in_the_past(data: Path) -> None:
    train = pq.read_table(data / "target" / "train_target.parquet")
    edit(
        data / "input" / "product_buy.parquet",
        lambda t: pa.concat_tables([t, train.slice(0, 4).select(t.column_names).cast(t.schema)]),
    )


def past_in_the_answers(data: Path) -> None:
    bought = pq.read_table(data / "input" / "product_buy.parquet").slice(0, 2)
    known = pq.read_table(data / "product_properties.parquet")
    joined = bought.join(known, "sku")
    edit(
        data / "target" / "train_target.parquet",
        lambda t: pa.concat_tables([t, joined.select(t.column_names).cast(t.schema)]),
    )


def labels_of_the_future(data: Path) -> None:
    """Skus that nobody bought before the validation window, as a list of new skus chosen there
    would have.
    """
    target = data / "target"
    valid = pq.read_table(target / "validation_target.parquet")
    edit(
        data / "input" / "product_buy.parquet",
        lambda t: t.filter(pc.not_equal(t.column("sku"), valid.column("sku")[0])),
    )
    edit(
        target / "train_target.parquet",
        lambda t: t.filter(pc.not_equal(t.column("sku"), valid.column("sku")[0])),
    )
    if valid.column("sku")[0].as_py() not in np.load(target / "propensity_new_sku.npy"):
        listed = np.load(target / "propensity_new_sku.npy")
        listed[0] = valid.column("sku")[0].as_py()
        np.save(target / "propensity_new_sku.npy", listed)


def best_of_the_future(data: Path) -> None:
    """The ten most bought of the validation window, all of them live before."""
    values, counts = np.unique(
        pq.read_table(data / "target" / "validation_target.parquet").column("sku").to_numpy(),
        return_counts=True,
    )
    best = np.argsort(-counts, kind="stable")[:10]
    np.save(data / "target" / "propensity_sku.npy", values[best])
    np.save(data / "target" / "popularity_propensity_sku.npy", np.ones(10) / 10)


def popularity_of(*parts: str) -> Callable[[Path], None]:
    def plant(data: Path) -> None:
        bought = np.concatenate([pq.read_table(data / p).column("sku").to_numpy() for p in parts])
        labels = np.load(data / "target" / "propensity_sku.npy")
        np.save(
            data / "target" / "popularity_propensity_sku.npy",
            np.array([(bought == v).sum() for v in labels]) / len(bought),
        )

    plant.__name__ = "popularity_of_" + "_".join(Path(p).stem for p in parts)
    return plant


def active_of_the_future(data: Path) -> None:
    past = pq.read_table(data / "input" / "product_buy.parquet").column("client_id").to_numpy()
    valid = (
        pq.read_table(data / "target" / "validation_target.parquet").column("client_id").to_numpy()
    )
    new = np.setdiff1d(valid, past)
    assert len(new)
    np.save(
        data / "target" / "active_clients.npy",
        np.append(np.load(data / "target" / "active_clients.npy"), new),
    )


TRAIN, VALID, PAST = (
    "target/train_target.parquet",
    "target/validation_target.parquet",
    "input/product_buy.parquet",
)


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        (late_visits, {"input-after-cutoff"}),
        (windows_overlap, {"windows-overlap"}),
        (answers_in_the_past, {"input-after-cutoff", "target-in-history"}),
        (past_in_the_answers, {"target-before-cutoff", "target-in-history"}),
        (labels_of_the_future, {"labels-from-future"}),
        (best_of_the_future, {"labels-from-future"}),
        (popularity_of(VALID), {"popularity-from-future"}),
        (popularity_of(PAST, TRAIN, VALID), {"popularity-from-future"}),
        (active_of_the_future, {"active-from-future"}),
        (popularity_of(PAST), set()),
        (popularity_of(PAST, TRAIN), set()),
    ],
    ids=lambda v: v.__name__ if callable(v) else None,
)
def test_a_planted_leak_of_a_directory_is_found(
    plant: Callable[[Path], None], names: set[str], data: Path, engine: DuckDB
) -> None:
    plant(data)
    assert leaks(look(data, engine)) == names


def test_the_counts_of_planted_leaks(data: Path, engine: DuckDB) -> None:
    late_visits(data)
    windows_overlap(data)
    found = {(f.name, f.numbers.get("part")): f for f in look(data, engine)}
    assert found["input-after-cutoff", None].numbers["events"] == 5
    assert found["windows-overlap", "train"].numbers["rows"] == 3
    missing = found["not-the-log", None].numbers
    assert (missing["past_missing"], missing["train_missing"], missing["valid_missing"]) == (
        -5,
        -3,
        0,
    )


def test_another_rule_is_told_and_no_leak(data: Path, engine: DuckDB) -> None:
    """Windows of a week, cut by somebody else: input before, both windows whole."""
    log = challenge.open_raw(data, engine, unsplit=True)
    made = split(log, horizon_days=7)
    known = pq.read_table(data / "product_properties.parquet")
    for file in challenge.FILES:
        table = pq.read_table(data / f"{file}.parquet")
        moment = pc.strptime(table.column("timestamp"), "%Y-%m-%d %H:%M:%S", "us")
        micros = moment.cast(pa.int64()).to_numpy()
        table = table.set_column(1, "timestamp", moment)
        pq.write_table(
            table.filter(pa.array(micros < made.train.start)), data / "input" / f"{file}.parquet"
        )
        if file == "product_buy":
            for label, w in (("train", made.train), ("validation", made.valid)):
                part = table.filter(pa.array((micros >= w.start) & (micros < w.end))).join(
                    known, "sku"
                )
                pq.write_table(part, data / "target" / f"{label}_target.parquet")
    found = [
        f
        for f in look(data, engine)
        if f.name not in ("popularity-from-future", "labels-from-future", "active-from-future")
    ]
    assert named(found)["other-rule"].severity == "warning"
    assert not leaks(found)


def test_attributes_known_too_late(data: Path, tmp_path: Path, engine: DuckDB) -> None:
    parts, _ = open_files(data, engine, data)
    assert parts.bounds is not None
    some = engine.arrays(
        f"SELECT item FROM {parts.past} WHERE item IS NOT NULL GROUP BY item ORDER BY item LIMIT 3"
    )["item"]
    known = engine.keep(pa.table({"item": some, "known_from": np.full(3, parts.bounds[0] + 1)}))
    found = audit_parts(replace(parts, known=known), made_elsewhere=True)[0]
    assert leaks(found) == {"known-late"}
    assert named(found)["known-late"].numbers["items"] == 3
    early = engine.keep(pa.table({"item": some, "known_from": np.full(3, parts.bounds[0] - 1)}))
    assert not leaks(audit_parts(replace(parts, known=early), made_elsewhere=True)[0])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: cut_short(d / TRAIN), "train_target.parquet: not a whole Parquet file"),
        (lambda d: (d / VALID).write_bytes(b""), "validation_target.parquet: the file is empty"),
        (lambda d: (d / VALID).unlink(), "validation_target.parquet: not found"),
        (
            lambda d: edit(d / TRAIN, lambda t: t.drop_columns(["timestamp"])),
            "no column 'timestamp'",
        ),
        (
            lambda d: edit(
                d / TRAIN, lambda t: t.set_column(0, "client_id", pa.array(["x"] * len(t)))
            ),
            "column client_id holds string",
        ),
        (lambda d: (d / "input" / "page_visit.parquet").unlink(), "page_visit.parquet: not found"),
        (
            lambda d: cut_short(d / "input" / "product_buy.parquet"),
            "product_buy.parquet: not a whole Parquet file",
        ),
        (lambda d: (d / "target" / "active_clients.npy").write_bytes(b"no"), "active_clients.npy"),
        (
            lambda d: np.save(d / "target" / "propensity_sku.npy", np.array([1, 1, 2])),
            "3 labels and popularity_propensity_sku.npy",
        ),
        (
            lambda d: np.save(d / "target" / "propensity_price.npy", np.array(["a"])),
            "expected whole numbers",
        ),
        (
            lambda d: edit(
                d / TRAIN, lambda t: t.set_column(1, "timestamp", pa.array(["soon"] * len(t)))
            ),
            "DuckDB says",
        ),
        (lambda d: shutil.rmtree(d / "target") or shutil.rmtree(d / "input"), "no split is here"),
    ],
)
def test_corrupt_directories_are_refused(
    spoil: Callable[[Path], object], message: str, data: Path, engine: DuckDB
) -> None:
    spoil(data)
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        look(data, engine)


def test_no_folder_is_no_split(tmp_path: Path, engine: DuckDB) -> None:
    with pytest.raises(DataError, match="not found"):
        open_files(tmp_path / "nowhere", engine, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"/file: .*file.*folder"):
        open_files(tmp_path / "file", engine, tmp_path)


# -- RecBole --------------------------------------------------------------------------------------

HEAD = "user_id:token\titem_id:token\ttimestamp:float\n"


def inter(folder: Path, rows: dict[str, list[tuple[str, str, float]]], head: str = HEAD) -> Path:
    folder.mkdir(exist_ok=True)
    for part, some in rows.items():
        (folder / f"shop.{part}.inter").write_text(
            head + "".join("\t".join(map(str, r[: head.count(":")])) + "\n" for r in some)
        )
    return folder


def sequences(users: int = 40, each: int = 6) -> dict[str, list[tuple[str, str, float]]]:
    """Leave-one-out by user; all users share one clock."""
    out: dict[str, list[tuple[str, str, float]]] = {"train": [], "valid": [], "test": []}
    for u in range(users):
        for i in range(each):
            part = "test" if i == each - 1 else "valid" if i == each - 2 else "train"
            out[part].append((f"u{u}", f"i{(u * 7 + i * 3) % 50}", 1.5e9 + i * 1000.0 + u))
    return out


def of_recbole(folder: Path, engine: DuckDB, tmp_path: Path) -> list[Finding]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    parts, found = open_files(folder, engine, scratch)
    return found + audit_parts(parts, made_elsewhere=True)[0]


def test_recbole_files(tmp_path: Path, engine: DuckDB) -> None:
    clean_ = of_recbole(inter(tmp_path / "clean", sequences()), engine, tmp_path)
    assert {f.name for f in clean_} == {"sizes", "cold-users", "cold-items"}
    assert named(clean_)["sizes"].numbers == {"past": 160, "train": 40, "valid": 40}

    mixed = sequences()
    # As a random split does.
    mixed["train"][0], mixed["test"][0] = (mixed["test"][0], mixed["train"][0])
    found = of_recbole(inter(tmp_path / "mixed", mixed), engine, tmp_path)
    assert leaks(found) == {"future-in-history"}
    assert {
        (f.numbers["later"], f.numbers["part"], f.numbers["users"])
        for f in found
        if f.severity == "leak"
    } >= {("train", "test", 1)}

    copied = sequences()
    copied["train"].append(copied["test"][3])
    assert "target-in-history" in leaks(
        of_recbole(inter(tmp_path / "copied", copied), engine, tmp_path)
    )

    tie = sequences()
    tie["test"] = [(u, i, t - 1000.0) for u, i, t in tie["test"]]
    found = of_recbole(inter(tmp_path / "tie", tie), engine, tmp_path)
    assert named(found)["tied-target"].numbers["users"] == 40
    assert not leaks(found)

    shifted = sequences()
    shifted = {
        p: [(u, i, t + (0 if int(u[1:]) % 2 else 1e6)) for u, i, t in rows]
        for p, rows in shifted.items()
    }
    late = named(of_recbole(inter(tmp_path / "late", shifted), engine, tmp_path))[
        "histories-after-targets"
    ]
    assert (late.severity, late.numbers["events"], late.numbers["of"]) == ("warning", 80, 160)

    undated = of_recbole(
        inter(tmp_path / "undated", sequences(), "user_id:token\titem_id:token\n"),
        engine,
        tmp_path,
    )
    assert named(undated)["no-times"].severity == "warning"
    assert not leaks(undated)


def test_corrupt_recbole_files(tmp_path: Path, engine: DuckDB) -> None:
    folder = inter(tmp_path / "one", sequences())
    (folder / "shop.test.inter").unlink()
    (folder / "shop.valid.inter").write_text("")
    with pytest.raises(
        DataError, match=r"(?s)shop\.valid\.inter: [^\n]*empty\b.*shop\.test\.inter: not found"
    ):
        of_recbole(folder, engine, tmp_path)
    folder = inter(tmp_path / "two", sequences(), "user:token\titem_id:token\ttimestamp:float\n")
    with pytest.raises(DataError, match="no column user_id:token"):
        of_recbole(folder, engine, tmp_path)
    folder = inter(tmp_path / "three", sequences())
    shutil.copyfile(folder / "shop.test.inter", folder / "other.test.inter")
    with pytest.raises(DataError, match="2 data sets"):
        of_recbole(folder, engine, tmp_path)
    folder = inter(tmp_path / "four", sequences())
    with (folder / "shop.train.inter").open("a") as file:
        file.write("u1\ti1\tsoon\nu1\n\ti2\t1.5e9\n")
    found = named(of_recbole(folder, engine, tmp_path))["rejected"]
    assert found.numbers == {"columns": 1, "values": 2}


# -- profiles -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, engine: DuckDB) -> EventLog:
    folder = tmp_path_factory.mktemp("shop") / "log"
    return EventLog.open(
        reader("synthetic")(folder, users=600, items=20, categories=4, days=60, rate=3.0), engine
    )


def profile_leaks(
    tmp_path: Path, log: EventLog, users: np.ndarray, vectors: np.ndarray
) -> dict[str, Finding]:
    folder = tmp_path / "profiles"
    folder.mkdir(exist_ok=True)
    np.save(folder / "client_ids.npy", users)
    np.save(folder / "embeddings.npy", vectors)
    made = split(log)
    return named(audit_profiles(folder, log, (made.train, made.valid), log_attributes(log)))


def test_honest_profiles_are_not_blamed(tmp_path: Path, shop: EventLog) -> None:
    past = split(shop).past
    profiles = encoder("counts", days=(14,), top=5).fit(past, rng=RNG(0)).encode(past)
    found = profile_leaks(tmp_path, shop, profiles.users, profiles.vectors)
    assert set(found) <= {"constant-columns"}


def test_leaks_planted_in_a_column(tmp_path: Path, shop: EventLog) -> None:
    made = split(shop)
    users, rng = made.past.users, np.random.default_rng(0)
    vectors = rng.normal(size=(len(users), 6)).astype(np.float16)
    for column, window in ((1, made.train), (4, made.valid)):
        rows = shop.rows(("user",), roles=(Role.BUY,), window=window, ordered=False)["user"]
        vectors[:, column] = np.isin(users, rows) * -3.0 + rng.normal(scale=0.1, size=len(users))
    # The days before the cutoff, exactly: a feature as good as a feature of the past can be.
    before = shop.rows(
        ("user",),
        roles=(Role.BUY,),
        window=type(made.train)(made.train.start - 14 * DAY, made.train.start),
        ordered=False,
    )["user"]
    vectors[:, 5] = np.isin(users, before)
    found = profile_leaks(tmp_path, shop, users, vectors)
    assert found["label-leak"].severity == "leak"
    assert found["label-leak"].numbers["columns"] == [1, 4]
    assert {
        (r["column"], r["window"])
        for r in found["label-leak"].numbers["found"]
        if r["target"] == "who buys"
    } == {
        (1, "train window"),
        (4, "validation window"),
    }
    half = vectors.copy()
    half[:, [1, 4]] = half[:, [1, 4]] + rng.normal(scale=1.2, size=(len(users), 2))
    found = profile_leaks(tmp_path, shop, users, half)
    assert "label-leak" not in found
    assert found["label-leak-suspected"].severity == "warning"
    assert found["label-leak-suspected"].numbers["columns"] == [1, 4]


def test_an_item_of_the_future_in_a_column(tmp_path: Path, shop: EventLog) -> None:
    made = split(shop)
    rows = shop.rows(("user", "item"), roles=(Role.BUY,), window=made.valid, ordered=False)
    values, counts = np.unique(rows["item"], return_counts=True)
    best = values[counts.argmax()]
    users = made.past.users
    vectors = np.random.default_rng(0).normal(size=(len(users), 3)).astype(np.float16)
    vectors[:, 2] = np.isin(users, rows["user"][rows["item"] == best])
    assert vectors[:, 2].sum() >= 20
    found = profile_leaks(tmp_path, shop, users, vectors)["label-leak"]
    assert found.numbers["columns"] == [2]
    assert f"who buys item {best}" in found.said


def test_columns_that_say_nothing(tmp_path: Path, shop: EventLog) -> None:
    rng = np.random.default_rng(0)
    users = rng.permutation(split(shop).past.users)
    vectors = rng.normal(size=(len(users), 5)).astype(np.float16)
    vectors[:, 0] = 4
    vectors[:, 1] = np.argsort(np.argsort(users))
    vectors[:, 2] = -np.arange(len(users))
    vectors[3, 3], vectors[5, 3] = np.nan, np.inf
    found = profile_leaks(tmp_path, shop, users, vectors)
    assert found["constant-columns"].numbers == {"columns": [0], "count": 1}
    assert found["id-column"].numbers["columns"] == [1]
    assert found["order-column"].numbers["columns"] == [2]
    assert found["not-finite"].numbers == {"nan": 1, "infinite": 1}
    assert "1 NaN" in found["invalid-profiles"].said


def test_folders_that_are_no_profiles(tmp_path: Path, shop: EventLog) -> None:
    with pytest.raises(DataError, match=r"client_ids\.npy"):
        audit_profiles(tmp_path, shop, None)
    Profiles(np.array([1, 2]), np.zeros((2, 3), np.float16)).save(tmp_path)
    assert {f.name for f in audit_profiles(tmp_path, shop, None)} == {"constant-columns"}
    np.save(tmp_path / "client_ids.npy", np.array([1, 2, 3]))
    with pytest.raises(DataError, match="must be equal"):
        audit_profiles(tmp_path, shop, None)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([-2.0, -0.0, 0.0, 0.5, 3.0, 65504.0]), st.booleans()),
        min_size=2,
        max_size=60,
    ),
    st.booleans(),
)
def test_counted_ranks_give_the_sorted_auroc(rows: list[tuple[float, bool]], half: bool) -> None:
    column, truth = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    ranks = _mid_ranks(column.astype(np.float16 if half else np.float32))
    if ranks is None:
        assert len(np.unique(column)) == 1
    elif 0 < truth.sum() < len(truth):
        assert _auroc(ranks, np.flatnonzero(truth)) == pytest.approx(
            auroc(truth, column), abs=1e-12
        )


def test_shares_in_words() -> None:
    assert [share(a, b) for a, b in ((1, 2), (1, 10_000), (0, 5), (3, 100), (0, 0))] == [
        "50 %",
        "less than 0.1 %",
        "0 %",
        "3 %",
        "0 %",
    ]
