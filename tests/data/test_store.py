"""The canonical store: order does not count, midnights do, and nothing half-written is left."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import COLUMNS, Kind, Role, schema
from clickprint.core.ids import text_id
from clickprint.core.items import AttributeType
from clickprint.core.time import DAY
from clickprint.data import digest, store
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.order import ties

BUY = Kind("purchase", Role.BUY)
VIEW = Kind("look", Role.VIEW)
NO_ITEMS = pa.table({"item": pa.array([], pa.int64())})


def manifest(**more: object) -> Manifest:
    return Manifest(**{"name": "shop", "kinds": (BUY, VIEW), "columns": ("url", "price"), **more})


def events(seed: int, rows: int, days: int = 3) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "time": pa.array(rng.integers(0, days * DAY, rows)),
            "user": pa.array(rng.integers(-5, 5, rows)),
            "kind": pa.array(rng.integers(0, 2, rows).astype(np.int16)),
            "item": pa.array(rng.integers(0, 9, rows), mask=rng.random(rows) < 0.3),
            "url": pa.array(rng.integers(0, 3, rows), mask=rng.random(rows) < 0.5),
            "price": pa.array(rng.random(rows), mask=rng.random(rows) < 0.5),
        }
    )


def ordered(table: pa.Table) -> pa.Table:
    keys = [(c, "ascending", "at_start") for c in COLUMNS if c in table.column_names]
    return table.take(pc.sort_indices(table, sort_keys=keys)) if len(table) else table


def sql_of(table: pa.Table, engine: Engine) -> str:
    return f"SELECT * FROM {engine.keep(table)}"


def test_what_is_stored_is_what_came(tmp_path: Path) -> None:
    table = ordered(events(0, 1000))
    made = store.store(tmp_path / "d", manifest(), table.to_batches(max_chunksize=77), NO_ITEMS)
    again = pa.concat_tables([pq.read_table(f) for f in made.event_files])
    assert again.cast(schema(("url", "price"))).equals(table.cast(schema(("url", "price"))))
    m = Dataset.open(tmp_path / "d").manifest
    assert (m.events, m.users, m.items) == (1000, 10, 9)
    assert {d: n.events for d, n in m.days.items()} == {
        str(np.datetime64(i, "D")): int((table.column("time").to_numpy() // DAY == i).sum())
        for i in range(3)
    }


def test_parts_hold_whole_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PART_ROWS", 300)
    monkeypatch.setattr(store, "GROUP_ROWS", 64)
    table = ordered(events(1, 2000, days=12))
    made = store.store(tmp_path / "d", manifest(), table.to_batches(max_chunksize=130), NO_ITEMS)
    assert len(made.event_files) > 3
    seen: set[int] = set()
    for file in made.event_files:
        days = set((pq.read_table(file).column("time").to_numpy() // DAY).tolist())
        assert file.name == f"part-{np.datetime64(min(days), 'D')}.parquet"
        assert not days & seen
        seen |= days
    assert seen == set(range(12))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 200), pieces=st.integers(1, 4))
def test_the_fingerprint_does_not_know_the_order_of_files_or_rows(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, pieces: int
) -> None:
    folder = tmp_path_factory.mktemp("order")
    table = events(seed, rows)
    rng = np.random.default_rng(seed + 1)
    shuffled = table.take(pa.array(rng.permutation(rows)))
    cuts = np.sort(rng.integers(0, rows + 1, pieces - 1))
    bounds = [0, *cuts.tolist(), rows]
    with DuckDB(memory="200MB", threads=1) as engine:
        parts = [sql_of(shuffled.slice(a, b - a), engine) for a, b in itertools.pairwise(bounds)]
        one = store.gather(
            folder / "a",
            engine=engine,
            name="a",
            kinds=(BUY, VIEW),
            columns=("price", "url"),
            selects=[sql_of(table, engine)],
        )
        two = store.gather(
            folder / "b",
            engine=engine,
            name="b",
            kinds=(BUY, VIEW),
            columns=("url", "price"),
            selects=parts,
        )
    assert one.manifest.fingerprint == two.manifest.fingerprint
    assert [f.read_bytes() for f in one.event_files] == [f.read_bytes() for f in two.event_files]


@pytest.mark.parametrize("column", ["time", "user", "kind", "item", "url", "price"])
def test_every_value_counts_in_the_digest(column: str) -> None:
    table = events(3, 50)
    other = table.column(column).to_pylist()
    other[7] = 1 - other[7] if column == "kind" else (other[7] or 0) + 1
    changed = table.set_column(
        table.column_names.index(column), column, pa.array(other, table.schema.field(column).type)
    )
    assert digest.of_table(changed) != digest.of_table(table)


def test_null_is_no_value_and_columns_have_names() -> None:
    null, zero = pa.table({"a": pa.array([None], pa.int64())}), pa.table({"a": pa.array([0])})
    assert digest.of_table(null) != digest.of_table(zero)
    assert digest.of_table(pa.table({"a": [1], "b": [2]})) != digest.of_table(
        pa.table({"a": [2], "b": [1]})
    )
    assert digest.of_table(pa.table({"a": [1], "b": [2]})) == digest.of_table(
        pa.table({"b": [2], "a": [1]})
    )
    assert digest.of_table(pa.table({"a": [0.0]})) == digest.of_table(pa.table({"a": [-0.0]}))
    assert digest.of_table(pa.table({"a": [1, 1]})) != digest.of_table(pa.table({"a": [1]}))
    texts = pa.table({"a": ["x", None, "y", "x"]})
    assert digest.of_table(texts) == digest.of_table(pa.table({"a": ["y", "x", "x", None]}))
    assert digest.of_table(texts) != digest.of_table(pa.table({"a": ["y", "x", "y", None]}))


def test_days_add_up() -> None:
    """A day's digest is a sum, so any pieces of the day make it: what appending needs."""
    table = events(5, 300)
    whole = digest.row_hashes(table)
    pieces = [digest.row_hashes(table.slice(a, 100)) for a in (0, 100, 200)]
    assert sum(int(p.sum(dtype=np.uint64)) for p in pieces) & digest.MASK == int(
        whole.sum(dtype=np.uint64)
    )


def test_order_logs_have_one_pseudo_day(tmp_path: Path) -> None:
    table = pa.table(
        {
            "time": [0, 0, 1, 1],
            "user": [1, 2, 1, 2],
            "kind": pa.array([0] * 4, pa.int16()),
            "item": [4, 5, 6, 7],
        }
    )
    made = store.store(tmp_path / "d", manifest(columns=(), time="order"), [table], NO_ITEMS)
    assert list(made.manifest.days) == ["order"]
    assert made.event_files[0].name == "part-000000.parquet"


def test_nan_becomes_null(tmp_path: Path) -> None:
    table = ordered(events(6, 4)).set_column(
        5, "price", pa.array([1.0, float("nan"), float("inf"), None])
    )
    made = store.store(tmp_path / "d", manifest(), [table], NO_ITEMS)
    assert pq.read_table(made.event_files[0]).column("price").to_pylist() == [
        1.0,
        None,
        None,
        None,
    ]


def test_the_catalogue_is_sorted_and_timeless_rows_come_first(tmp_path: Path) -> None:
    catalogue = pa.table(
        {
            "item": [3, 1, 3],
            "known_from": pa.array([50, None, None], pa.int64()),
            "brand": [7, 8, 9],
        }
    )
    made = store.store(
        tmp_path / "d",
        manifest(attributes={"brand": AttributeType.CATEGORY}),
        [ordered(events(7, 5))],
        catalogue,
    )
    assert made.catalogue.table.to_pydict() == {
        "item": [1, 3, 3],
        "known_from": [None, None, 50],
        "brand": [8, 9, 7],
    }


def test_texts_and_population_are_kept(tmp_path: Path) -> None:
    texts = pa.table({"id": [text_id("b"), text_id("a")], "text": ["b", "a"]})
    population = np.array([4, 2], np.int64)
    made = store.store(
        tmp_path / "d", manifest(), [ordered(events(8, 5))], NO_ITEMS, {"url": texts}, population
    )
    kept = pq.read_table(tmp_path / "d" / "ids" / "url.parquet").to_pydict()
    assert dict(zip(kept["text"], kept["id"], strict=True)) == {
        "a": text_id("a"),
        "b": text_id("b"),
    }
    assert made.population is not None
    assert made.population.tolist() == [4, 2]


def bad_order() -> Iterator[pa.Table]:
    table = ordered(events(9, 10))
    yield table
    yield table


def row(**more: object) -> pa.Table:
    values = {"time": 1, "user": 1, "kind": 0, "item": 1, "url": None, "price": None, **more}
    return pa.table({c: pa.array([v], COLUMNS[c]) for c, v in values.items()})


BAD = {
    "time goes back between batches": (bad_order, NO_ITEMS, {}, "not in the order of time"),
    "time goes back inside a batch": (
        lambda: [pa.concat_tables([row(time=2), row(time=1)])],
        NO_ITEMS,
        {},
        "not in the order of time",
    ),
    "an event without a user": (lambda: [row(user=None)], NO_ITEMS, {}, "1 events have no user"),
    "an event without a time": (lambda: [row(time=None)], NO_ITEMS, {}, "1 events have no time"),
    "an unknown kind": (lambda: [row(kind=2)], NO_ITEMS, {}, "expected 0 to 1"),
    "a column too few": (lambda: [row().drop_columns(["url"])], NO_ITEMS, {}, "url"),
    "a wrong type": (
        lambda: [row().set_column(1, "user", pa.array(["x"]))],
        NO_ITEMS,
        {},
        "columns",
    ),
    "an item twice": (
        lambda: [row()],
        pa.table({"item": [5, 5]}),
        {},
        "more than once at the same time, among them 5",
    ),
    "an item without an id": (
        lambda: [row()],
        pa.table({"item": [5, None]}),
        {},
        "1 rows have no item",
    ),
    "two texts, one id": (
        lambda: [row()],
        NO_ITEMS,
        {"url": pa.table({"id": [1, 1], "text": ["a", "b"]})},
        "have the id 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_nothing(case: str, tmp_path: Path) -> None:
    make, catalogue, texts, message = BAD[case]
    with pytest.raises(DataError, match=message):
        store.store(tmp_path / "d", manifest(), make(), catalogue, texts)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_dataset_is_spared(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ConfigError, match="did not write"):
        store.store(tmp_path, manifest(), [row()], NO_ITEMS)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_dataset_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    first = store.store(tmp_path / "d", manifest(), [row()], NO_ITEMS)
    with pytest.raises(DataError):
        store.store(tmp_path / "d", manifest(), bad_order(), NO_ITEMS)
    assert Dataset.open(tmp_path / "d").manifest.fingerprint == first.manifest.fingerprint
    second = store.store(tmp_path / "d", manifest(), [row(item=2)], NO_ITEMS)
    assert second.manifest.fingerprint != first.manifest.fingerprint


def test_a_log_without_events_says_what_was_rejected(tmp_path: Path) -> None:
    with DuckDB(threads=1) as engine, pytest.raises(DataError) as fault:
        store.gather(
            tmp_path / "d",
            engine=engine,
            name="shop",
            kinds=(BUY,),
            selects=["SELECT 1 AS time, 1 AS user, 0 AS kind, 1 AS item WHERE 1 = 0"],
            rejected={"no user": 3, "never": 0},
        )
    assert "no event could be read" in str(fault.value)
    assert "3 rows rejected: no user" in str(fault.value)
    assert "never" not in str(fault.value)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 60),
    size=st.integers(1, 20),
    moments=st.integers(1, 5),
)
def test_ties_are_settled_as_one_sort_by_all_columns_would(
    seed: int, rows: int, size: int, moments: int
) -> None:
    table = events(seed, rows)
    rng = np.random.default_rng(seed)
    table = table.set_column(0, "time", pa.array(rng.integers(0, moments, rows))).set_column(
        1, "user", pa.array(rng.integers(0, 2, rows))
    )
    half = table.take(
        pc.sort_indices(table, sort_keys=[("time", "ascending"), ("user", "ascending")])
    )
    done = pa.concat_tables(ties(half.to_batches(max_chunksize=size), ("time", "user")))
    assert done.equals(ordered(table))


def test_the_digest_against_its_slow_twin() -> None:
    """Row by row in Python's own numbers; and one answer written down, because a digest that
    changes orphans every stored log.
    """
    big = 1 << 64

    def mix(x: int) -> int:
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> shift)) * factor % big
        return x ^ (x >> 31)

    def bits(value: int | float) -> int:
        return int(np.float64(value).view(np.uint64)) if isinstance(value, float) else value % big

    table = events(11, 40)
    slow = []
    for row_ in table.to_pylist():
        parts = [
            digest._salt(c + "\0null") if v is None else mix((bits(v) + digest._salt(c)) % big)
            for c, v in row_.items()
        ]
        slow.append(mix(sum(parts) % big))
    assert digest.row_hashes(table).tolist() == slow
    assert digest.second(digest.row_hashes(table)).tolist() == [
        mix(h ^ digest._salt("second")) for h in slow
    ]
    assert (
        digest.of_table(pa.table({"a": [1, None], "b": ["x", "y"]}))
        == "2 a5ea771855bae4b3614bbcfa35b41fa9"
    )
