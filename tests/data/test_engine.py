"""The engine: what it refuses, what it gives back, what it leaves behind."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.ids import NONE, text_id
from clickprint.data.engine import DuckDB, name, quote, text_id_sql, to_numpy


@pytest.fixture(scope="module")
def engine():
    with DuckDB(threads=1) as engine:
        yield engine


@pytest.mark.parametrize(
    "settings",
    [
        *({"memory": m} for m in ("lots", "2 apples", "-0", "0GB", "-1GB", "1e400GB", "9PB")),
        *({"threads": number} for number in (-3, 0, 1_025, 1_000_000_000)),
    ],
    ids=str,
)
def test_settings_that_are_refused(settings, tmp_path):
    ((option, found),) = settings.items()
    with pytest.raises(ConfigError, match=f"^{option}: found '?{found}'?, expected "):
        DuckDB(**settings, spill=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_settings_from_the_environment(monkeypatch):
    monkeypatch.setenv("CLICKPRINT_MEMORY", "300MB")
    monkeypatch.setenv("CLICKPRINT_THREADS", "1")
    with DuckDB() as engine:
        assert engine.one("SELECT current_setting('threads')") == (1,)
        assert engine.one("SELECT current_setting('memory_limit')")[0].startswith("286")  # MiB
    monkeypatch.setenv("CLICKPRINT_THREADS", "1000000000")
    with pytest.raises(ConfigError, match=r"^threads: found 1000000000"):
        DuckDB()
    monkeypatch.setenv("CLICKPRINT_THREADS", "two")
    with pytest.raises(ConfigError, match=r"CLICKPRINT_THREADS: .*'two'"):
        DuckDB()


def test_what_it_spilled_is_gone(tmp_path):
    with DuckDB(memory="60MB", threads=1, spill=tmp_path / "spill") as engine:
        engine.keep("SELECT i, md5(CAST(i AS VARCHAR)) AS t FROM range(2000000) AS r(i)")
        assert engine.one("SELECT SUM(size) > 0 FROM duckdb_temporary_files()") == (True,)
    assert list((tmp_path / "spill").iterdir()) == []


def test_more_than_fits_says_what_to_do(tmp_path):
    with (
        DuckDB(memory="20MB", threads=1, spill=tmp_path) as engine,
        pytest.raises(DataError, match="DuckDB says: Out of Memory"),
    ):
        engine.one(
            "SELECT COUNT(*), MAX(l) FROM (SELECT string_agg(md5(CAST(i AS VARCHAR)), ',') AS l"
            " FROM range(3000000) AS r(i))"
        )


@pytest.mark.parametrize("verb", ["one", "table", "arrays", "view", "keep", "explain", "drop"])
def test_wrong_texts_are_data_errors(engine, verb):
    with pytest.raises(DataError, match="DuckDB says: ") as caught:
        getattr(engine, verb)("SELECT nothing FROM nowhere")
    assert "\n" not in str(caught.value)


def test_wrong_texts_in_pieces_and_in_files(engine, tmp_path):
    with pytest.raises(DataError, match="DuckDB says: "):
        list(engine.batches("SELECT nothing FROM nowhere"))
    with pytest.raises(DataError, match="Could not convert"):
        list(
            engine.batches(
                "SELECT CAST(CASE WHEN i > 500000 THEN 'x' ELSE '1' END AS INTEGER) FROM"
                " range(1000000) AS r(i)"
            )
        )
    with pytest.raises(DataError, match="DuckDB says: "):
        engine.write("SELECT nothing FROM nowhere", tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 junk PAR1")
    with pytest.raises(DataError, match="DuckDB says: "):
        engine.table(f"SELECT * FROM {engine.scan([tmp_path / 'b.parquet'])}")
    assert [f.name for f in tmp_path.iterdir()] == ["b.parquet"]
    assert engine.one("SELECT 1") == (1,)  # and it still works


def test_a_file_and_back(engine, tmp_path):
    path = tmp_path / "it's.parquet"
    assert engine.write("SELECT i FROM range(1000) AS r(i)", path) == 1000
    assert engine.one(f"SELECT SUM(i) FROM {engine.scan([path, path])}") == (999 * 1000,)
    assert engine.write("SELECT 1 AS i", path) == 1
    assert [f.name for f in tmp_path.iterdir()] == [path.name]


def test_order_is_kept_when_asked(engine, tmp_path):
    engine.write(
        "SELECT i FROM range(300000) AS r(i) ORDER BY i DESC",
        tmp_path / "a.parquet",
        in_order=True,
    )
    found = engine.arrays(
        "SELECT i, file_row_number AS n FROM"
        f" {engine.scan([tmp_path / 'a.parquet'], numbered=True)}"
    )
    assert (found["i"] + found["n"] == 299_999).all()


def test_pieces_are_the_whole_in_order(engine):
    pieces = list(engine.batches("SELECT i FROM range(10000) AS r(i) ORDER BY i", rows=1000))
    assert len(pieces) > 1
    assert pa.Table.from_batches(pieces).column("i").to_pylist() == list(range(10_000))
    # Dropped half-way,.
    assert next(engine.batches("SELECT i FROM range(10000) AS r(i)")).num_rows > 0
    assert engine.one("SELECT 1") == (1,)  # the engine goes on


def test_kept_tables_and_views(engine):
    kept = engine.keep(pa.table({"a": [1, None, 3]}))
    copy = engine.keep(f"SELECT a FROM {kept} WHERE a IS NOT NULL")
    view = engine.view(f"SELECT SUM(a) AS s FROM {copy}")
    assert engine.one(f"SELECT s FROM {view}") == (4,)
    engine.drop(kept)
    with pytest.raises(DataError, match="does not exist"):
        engine.table(f"SELECT * FROM {kept}")
    assert engine.one(f"SELECT s FROM {view}") == (4,)


def test_columns_as_numpy(engine):
    found = engine.arrays(
        "SELECT * FROM (VALUES (1, 1.5::DOUBLE, 7::SMALLINT, 'x'), (NULL, NULL, NULL, NULL)) AS"
        " v(i, f, s, t) ORDER BY i NULLS LAST"
    )
    assert found["i"].tolist() == [1, NONE]
    assert found["s"].tolist() == [7, NONE]
    assert found["f"][0] == 1.5
    assert np.isnan(found["f"][1])
    assert found["t"].tolist() == ["x", None]
    assert to_numpy(pa.array([2, None])).tolist() == [2, NONE]
    assert to_numpy(pa.array([True, False])).tolist() == [True, False]


@given(text=st.text(max_size=20).filter(lambda t: "\0" not in t))
def test_texts_and_names_are_quoted(engine, text):
    assert engine.one(f"SELECT {quote(text)}") == (text,)
    if text:
        assert list(engine.arrays(f"SELECT 1 AS {name(text)}")) == [text]


@given(text=st.text(max_size=20).filter(lambda t: "\0" not in t))
def test_ids_of_texts_have_a_twin(engine, text):
    assert engine.one(f"SELECT {text_id_sql(quote(text))}") == (text_id(text),)


@pytest.mark.parametrize("order", [(), ("u", "t")])
def test_parts_hold_every_row_once_in_their_shard_and_in_order(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    sql = (
        "SELECT range AS t, (range * 7919) % 101 AS u, (range * 7919) % 101 % 4 AS shard FROM"
        " range(20000)"
    )
    with DuckDB() as engine:
        assert engine.write_parts(sql, tmp_path / "parts", shard="shard", order=order) == 20_000
    found = set()
    for folder in sorted((tmp_path / "parts").glob("shard=*")):
        table = pa.concat_tables(
            [pq.read_table(f, partitioning=None) for f in sorted(folder.iterdir())]
        )
        assert table.column_names == ["t", "u"]
        t, u = table.column("t").to_numpy(), table.column("u").to_numpy()
        assert (u % 4 == int(folder.name.removeprefix("shard="))).all()
        assert not order or (np.lexsort((t, u)) == np.arange(len(t))).all()
        found |= set(t.tolist())
    assert found == set(range(20_000))


def test_parts_of_nothing_are_an_empty_folder_and_a_fault_leaves_none(tmp_path: Path) -> None:
    with DuckDB() as engine:
        assert (
            engine.write_parts(
                "SELECT 1 AS a, 2 AS shard WHERE 1 = 0",
                tmp_path / "none",
                shard="shard",
                order=["a"],
            )
            == 0
        )
        with pytest.raises(DataError):
            engine.write_parts("SELECT nothing AS a, 2 AS shard", tmp_path / "bad", shard="shard")
    assert not list((tmp_path / "none").glob("[!.]*"))
    assert not (tmp_path / "bad").exists()
