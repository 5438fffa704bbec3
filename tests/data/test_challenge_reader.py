"""The challenge's directory: what is read from it, and every way in which it can be wrong."""

import io
import os
import pickle
import shutil
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from damaged import change, column, damage, lay

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import NONE, text_id
from clickprint.core.time import parse
from clickprint.data.adapters import DATASETS, challenge, labels, reader
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog

CODES = "[" + " ".join(map(str, range(16))) + "]"
OTHER = "[" + " ".join(map(str, range(240, 256))) + "]"


def small() -> dict[str, pa.Table]:
    """A log of a few rows, not in the order of time."""
    bought = {
        "client_id": [1, 2],
        "timestamp": ["2022-09-02 10:00:00", "2022-08-01 10:00:00"],
        "sku": [10, 11],
    }
    return {
        "product_buy": pa.table(bought),
        "add_to_cart": pa.table(
            {"client_id": [1], "timestamp": ["2022-08-01 10:00:00"], "sku": [10]}
        ),
        "remove_from_cart": pa.table(
            {"client_id": [1], "timestamp": ["2022-08-01 10:00:00"], "sku": [10]}
        ),
        "page_visit": pa.table(
            {
                "client_id": [1, 3],
                "timestamp": ["2022-08-01 10:00:00", "2022-08-01 09:00:00"],
                "url": [7, None],
            }
        ),
        "search_query": pa.table(
            {
                "client_id": [1, 2],
                "timestamp": ["2022-08-01 10:00:00"] * 2,
                "query": [CODES, OTHER],
            }
        ),
        "product_properties": pa.table(
            {"sku": [11, 10], "category": [5, 6], "price": [50, 60], "name": [OTHER, CODES]}
        ),
    }


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    with DuckDB(memory="300MB", threads=1) as engine:
        yield engine


def test_every_row_arrives(tmp_path: Path, engine: Engine) -> None:
    made = challenge.read(lay(tmp_path / "raw", small()), tmp_path / "out", engine=engine)
    ten = parse("2022-08-01 10:00:00")
    events = pq.read_table(made.event_files[0]).to_pydict()
    rows = list(
        zip(*(events[c] for c in ("time", "user", "kind", "item", "query", "url")), strict=True)
    )
    assert rows == [
        (parse("2022-08-01 09:00:00"), 3, 0, None, None, None),
        (ten, 1, 0, None, None, 7),
        (ten, 1, 1, None, text_id(CODES), None),
        (ten, 1, 2, 10, None, None),
        (ten, 1, 3, 10, None, None),
        (ten, 2, 1, None, text_id(OTHER), None),
        (ten, 2, 4, 11, None, None),
        (parse("2022-09-02 10:00:00"), 1, 4, 10, None, None),
    ]
    assert [k.role for k in made.manifest.kinds] == [
        Role.VIEW,
        Role.SEARCH,
        Role.CART,
        Role.REMOVE,
        Role.BUY,
    ]
    assert made.manifest.query == "codes"
    assert made.population is None
    assert made.catalogue.table.drop_columns(["known_from"]).to_pydict() == {
        "item": [10, 11],
        "category": [6, 5],
        "price": [60, 50],
        "name": [CODES, OTHER],
    }
    texts = pq.read_table(tmp_path / "out" / "ids" / "query.parquet").to_pydict()
    assert dict(zip(texts["text"], texts["id"], strict=True)) == {
        CODES: text_id(CODES),
        OTHER: text_id(OTHER),
    }


def test_the_reference_case(golden: Path, tmp_path: Path, engine: Engine) -> None:
    made = challenge.read(golden / "log", tmp_path / "out", engine=engine)
    rows = {f: pq.read_metadata(golden / "log" / f"{f}.parquet").num_rows for f in challenge.FILES}
    log = EventLog.open(made, engine)
    counts = log.engine.arrays(
        f"SELECT kind, COUNT(*) AS n FROM {log.events} GROUP BY kind ORDER BY kind"
    )
    assert dict(zip(challenge.FILES, counts["n"].tolist(), strict=True)) == rows
    assert made.manifest.events == sum(rows.values()) == 136_629
    assert made.manifest.rejected == {}
    assert made.population is not None
    assert (
        made.population.tolist()
        == np.load(golden / "log" / "input" / "relevant_clients.npy").tolist()
    )


def test_the_order_of_rows_does_not_matter(golden: Path, tmp_path: Path, engine: Engine) -> None:
    raw = tmp_path / "raw"
    rng = np.random.default_rng(3)
    tables = {
        f: pq.read_table(golden / "log" / f"{f}.parquet")
        for f in (*challenge.FILES, "product_properties")
    }
    lay(raw, {f: t.take(pa.array(rng.permutation(len(t)))) for f, t in tables.items()})
    one, two = (
        challenge.read(golden / "log", tmp_path / "a", engine=engine),
        challenge.read(raw, tmp_path / "b", engine=engine),
    )
    assert one.manifest.fingerprint == two.manifest.fingerprint


def test_raw_and_canonical_say_the_same(golden: Path, tmp_path: Path, engine: Engine) -> None:
    made = EventLog.open(challenge.read(golden / "log", tmp_path / "out", engine=engine), engine)
    raw = challenge.open_raw(golden / "log", engine, unsplit=True)
    columns = ["user", "time", "kind", "item", "query", "url", "category", "price"]
    a, b = made.rows(columns), raw.rows(columns)
    for each in columns:
        assert np.array_equal(a[each], b[each]), each
    assert raw.catalogue.table.equals(made.catalogue.table)
    texts = [
        engine.table(f"SELECT * FROM {log.texts['query']} ORDER BY id") for log in (made, raw)
    ]
    assert texts[0].equals(texts[1].cast(texts[0].schema))


def test_timestamps_may_be_timestamps(tmp_path: Path, engine: Engine) -> None:
    tables = small()
    moved = {
        name: table.set_column(
            1,
            "timestamp",
            pc.strptime(table.column("timestamp"), "%Y-%m-%d %H:%M:%S", "us").cast(type_),
        )
        for (name, table), type_ in zip(
            list(tables.items())[:5],
            [
                pa.timestamp("ns"),
                pa.timestamp("s"),
                pa.timestamp("us", "UTC"),
                pa.timestamp("ms"),
                pa.timestamp("us"),
            ],
            strict=True,
        )
    }
    one = challenge.read(lay(tmp_path / "a", tables), tmp_path / "one", engine=engine)
    two = challenge.read(lay(tmp_path / "b", {**tables, **moved}), tmp_path / "two", engine=engine)
    assert one.manifest.fingerprint == two.manifest.fingerprint


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path, engine: Engine) -> None:
    tables = small()
    good = "2022-08-01 10:00:00"
    tables["page_visit"] = pa.table(
        {
            "client_id": [1, None, 1, 1, 1, 1, 1, NONE],
            "timestamp": [
                good,
                good,
                None,
                "yesterday",
                "2022-08-01 10:00:00+02:00",
                "2022-13-01 10:00:00",
                "0022-08-01 10:00:00",
                good,
            ],
            "url": [1] * 8,
        }
    )
    tables["add_to_cart"] = pa.table(
        {"client_id": [1, 1], "timestamp": [good] * 2, "sku": [10, None]}
    )
    bad = [
        None,
        "",
        "shoes",
        "[1 2 3]",
        CODES.replace("15", "256"),
        CODES.replace("15", "-1"),
        CODES.replace("15", "15 16"),
        CODES,
    ]
    tables["search_query"] = pa.table(
        {"client_id": [1] * 8, "timestamp": [good] * 8, "query": bad}
    )
    made = challenge.read(lay(tmp_path / "raw", tables), tmp_path / "out", engine=engine)
    assert made.manifest.rejected == {
        "page_visit: no client_id": 2,
        "page_visit: no readable time": 5,
        "search_query: no query of 16 codes from 0 to 255": 7,
        "add_to_cart: no sku": 1,
    }
    assert made.manifest.events == 1 + 1 + 1 + 1 + 2


def not_utf8(folder: Path) -> None:
    """A Parquet file whose text column holds bytes that are no UTF-8, which Arrow's writer does
    not look at.
    """
    raw = pa.array([b"\xff\xfe [1 2]", b"\x80"], pa.binary()).view(pa.string())
    change("search_query", column("query", raw))(folder)


def flipped(data: bytes) -> bytes:
    return data[:4] + bytes(255 - b for b in data[4:60]) + data[60:]


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "not found"),
    "a file is missing": (
        lambda f: (f / "page_visit.parquet").unlink(),
        "page_visit.parquet: not found",
    ),
    "no properties": (
        lambda f: (f / "product_properties.parquet").unlink(),
        "product_properties.parquet: not found",
    ),
    "truncated": (
        damage("product_buy", lambda b: b[: len(b) // 2]),
        "product_buy.parquet: not a whole Parquet file",
    ),
    "empty file": (damage("product_buy", lambda b: b""), "product_buy.parquet: the file is empty"),
    "junk": (
        damage("add_to_cart", lambda b: b"\x00junk" * 100),
        "add_to_cart.parquet: not a whole Parquet file",
    ),
    "damaged pages": (damage("product_buy", flipped), "DuckDB says"),
    "a column is missing": (
        change("product_buy", lambda t: t.drop_columns(["sku"])),
        "no column 'sku'",
    ),
    "ids are texts": (
        change("product_buy", column("client_id", pa.array(["a", "b"]))),
        "client_id holds string, expected whole numbers",
    ),
    "ids are floats with NaN": (
        change("product_buy", column("sku", pa.array([1.0, float("nan")]))),
        "sku holds double",
    ),
    "ids beyond int64": (
        change("product_buy", column("client_id", pa.array([2**63, 2**64 - 1], pa.uint64()))),
        "client_id holds uint64",
    ),
    "times are numbers": (
        change("page_visit", column("timestamp", pa.array([1, 2]))),
        "timestamp holds int64, expected texts",
    ),
    "queries are numbers": (
        change("search_query", column("query", pa.array([1, 2]))),
        "query holds int64, expected texts",
    ),
    "not UTF-8": (not_utf8, "[Uu][Tt][Ff]-?8|encoding"),
    "an item twice": (
        change("product_properties", column("sku", pa.array([11, 11]))),
        "more than once at the same time, among them 11",
    ),
    "a folder in place of a file": (
        lambda f: ((f / "page_visit.parquet").unlink(), (f / "page_visit.parquet").mkdir()),
        "this is a folder",
    ),
    "relevant clients are no array": (
        lambda f: ((f / "input").mkdir(), (f / "input/relevant_clients.npy").write_text("x")),
        "relevant_clients",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_directories_name_their_fault(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, message = BAD[case]
    raw = lay(tmp_path / "raw", small())
    spoil(raw)
    with pytest.raises(DataError, match=message):
        challenge.read(raw, tmp_path / "made" / "out", engine=engine)
    assert not list(tmp_path.glob("made/*"))
    assert not list(tmp_path.glob("made/.*"))


def test_all_faults_in_one_error(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw", small())
    for case in ("a column is missing", "times are numbers", "junk", "no properties"):
        BAD[case][0](raw)
    with pytest.raises(DataError) as fault:
        challenge.read(raw, tmp_path / "out", engine=engine)
    assert len(fault.value.problems) == 4
    assert fault.value.where == str(raw)


def test_a_log_without_a_readable_row(tmp_path: Path, engine: Engine) -> None:
    tables = {
        n: t if n == "product_properties" else column("timestamp", pa.array(["?"] * len(t)))(t)
        for n, t in small().items()
    }
    with pytest.raises(DataError, match=r"\b2 rows.*page_visit: no readable time"):
        challenge.read(lay(tmp_path / "raw", tables), tmp_path / "out", engine=engine)


def test_open_raw_refuses_what_split_has_not_made(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError, match="clickprint challenge split"):
        challenge.open_raw(lay(tmp_path / "raw", small()), engine, unsplit=False)


def test_open_raw_never_drops_a_row_silently(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw", small())
    change("page_visit", column("client_id", pa.array([1, None])))(raw)
    with pytest.raises(DataError, match=r"page_visit\.parquet: 1 rows.*client_id"):
        challenge.open_raw(raw, engine, unsplit=True)
    change(
        "page_visit",
        lambda t: column("client_id", pa.array([1, 1]))(
            column("timestamp", pa.array(["2022-08-01 10:00:00", "?"]))(t)
        ),
    )(raw)
    log = challenge.open_raw(raw, engine, unsplit=True)
    with pytest.raises(DataError, match='"\\?"'):
        log.span()


# --- label files ---------------------------------------------------------------------------------


def objects(path: Path, values: list) -> Path:
    array = np.empty(len(values), object)
    array[:] = values
    np.save(path, array, allow_pickle=True)
    return path


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, object])
def test_labels_of_any_whole_type(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "a.npy", np.array([3, 1, 200], dtype), allow_pickle=True)
    assert labels.integers(tmp_path / "a.npy").tolist() == [3, 1, 200]
    assert labels.floats(tmp_path / "a.npy").tolist() == [3.0, 1.0, 200.0]


def test_labels_that_are_numpy_numbers_in_an_object_array(tmp_path: Path) -> None:
    assert labels.integers(
        objects(tmp_path / "a.npy", [np.int64(-5), 7, np.uint8(3), 2**62])
    ).tolist() == [-5, 7, 3, 2**62]
    assert labels.floats(objects(tmp_path / "a.npy", [np.float32(0.5), 1, 0.25])).tolist() == [
        0.5,
        1.0,
        0.25,
    ]
    assert labels.integers(objects(tmp_path / "a.npy", [])).tolist() == []


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_labels_of_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    array = np.array([3, 1, -(2**40)], object)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (3,)}
    )
    (tmp_path / "a.npy").write_bytes(header.getvalue() + pickle.dumps(array, protocol=protocol))
    if protocol == 2:  # its bytes go through a codec, which is one more name to call
        with pytest.raises(DataError, match=r"_codecs\.encode"):
            labels.integers(tmp_path / "a.npy")
        return
    assert labels.integers(tmp_path / "a.npy").tolist() == [3, 1, -(2**40)]


class Bomb:
    def __reduce__(self) -> tuple:
        return os.system, (f"touch {os.environ['CLICKPRINT_TEST_BOMB']}",)


class Evaluating:
    def __reduce__(self) -> tuple:
        return eval, ("__import__('os').mkdir(__import__('os').environ['CLICKPRINT_TEST_BOMB'])",)


class Mutating:
    def __reduce__(self) -> tuple:
        return (
            np._core.multiarray._reconstruct,
            (np.ndarray, (0,), b"b"),
            (1, (1,), np.dtype("O"), False, [Bomb()]),
        )


def raw_pickle(path: Path, body: bytes, shape: str = "(1,)") -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": literal_eval(shape)}
    )
    path.write_bytes(header.getvalue() + body)
    return path


def headed(path: Path, header: bytes) -> Path:
    """A .npy file with any header, and no values."""
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    return path


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "a command": lambda p: objects(p, [Bomb()]),
    "an expression": lambda p: objects(p, [1, Evaluating()]),
    "a command in place of the array": lambda p: raw_pickle(p, pickle.dumps(Bomb())),
    "a command inside the state": lambda p: raw_pickle(p, pickle.dumps(Mutating())),
    "a class": lambda p: objects(p, [Path("x")]),
    "a builtin": lambda p: raw_pickle(p, b"cbuiltins\nexec\n(S'1'\ntR."),
    "an old instance": lambda p: raw_pickle(p, b"(S'touch x'\nios\nsystem\n."),
    "a dotted name": lambda p: raw_pickle(p, b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.dump\x93."),
    "a function's own state": lambda p: raw_pickle(
        p, b"\x80\x02cnumpy.core.multiarray\nscalar\nN}U\x0c__defaults__NNs\x86b."
    ),
    "a state for a function": lambda p: raw_pickle(
        p, b"\x80\x03cnumpy.core.multiarray\nscalar\n}b."
    ),
    "an outside object": lambda p: raw_pickle(p, b"Pabc\n."),
    "a registered extension": lambda p: raw_pickle(p, b"\x82\x01."),
    "a huge memo": lambda p: raw_pickle(p, b"\x80\x03K\x01r\xff\xff\xff\x7f."),
    "an array inside": lambda p: objects(p, [np.arange(3)]),
    "texts": lambda p: objects(p, ["12"]),
    "booleans": lambda p: objects(p, [True]),
    "nothing": lambda p: objects(p, [None]),
    "too large": lambda p: objects(p, [2**63]),
    "less than promised": lambda p: raw_pickle(
        p, pickle.dumps(np.array([1], object), protocol=4), "(2,)"
    ),
    "cut short": lambda p: raw_pickle(p, pickle.dumps(np.array([1, 2], object), protocol=4)[:-20]),
    "no pickle": lambda p: raw_pickle(p, b"\x00\x01\x02"),
    "nothing after the header": lambda p: raw_pickle(p, b""),
    "two dimensions": lambda p: (np.save(p, np.zeros((2, 2), np.int64)), p)[1],
    "floats": lambda p: (np.save(p, np.array([1.5])), p)[1],
    "a structure": lambda p: (
        np.save(p, np.zeros(2, [("a", "O"), ("b", int)]), allow_pickle=True),
        p,
    )[1],
    "an archive": lambda p: (np.savez(p.with_suffix(".npz"), a=[1]), p.with_suffix(".npz"))[1],
    "junk": lambda p: (p.write_bytes(b"\x93NUMPY\x01\x00\xff\xff"), p)[1],
    "an unclosed header": lambda p: headed(p, b"{'descr': '<i8', 'shape': (3, "),
    "a header that nests": lambda p: headed(p, b"(" * 9_000),
    "ten million million rows": lambda p: headed(
        p, b"{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000,), }"
    ),
    "junk without magic": lambda p: (p.write_bytes(b"junk" * 9), p)[1],
    "empty": lambda p: (p.write_bytes(b""), p)[1],
    "absent": lambda p: p,
    "unsigned and too large": lambda p: (np.save(p, np.array([2**63], np.uint64)), p)[1],
    "no id": lambda p: (np.save(p, np.array([NONE])), p)[1],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_label_files_are_not_run(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "bomb"
    monkeypatch.setenv("CLICKPRINT_TEST_BOMB", str(bomb))
    before = labels._scalar.__defaults__
    path = HOSTILE[case](tmp_path / "a.npy")
    with pytest.raises(DataError) as fault:
        labels.integers(path)
    assert fault.value.where == str(path)
    assert not bomb.exists()
    assert labels._scalar.__defaults__ == before
    if case not in ("floats", "no id"):
        with pytest.raises(DataError):
            (
                labels.floats(path)
                if case
                not in (
                    "too large",
                    "unsigned and too large",
                )
                else labels.integers(path)
            )


def test_nan_popularity(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([0.1, np.nan]))
    with pytest.raises(DataError, match="1 values that are NaN"):
        labels.floats(tmp_path / "a.npy")


def test_the_reference_labels(golden: Path) -> None:
    for task in (
        "propensity_category",
        "propensity_sku",
        "propensity_new_sku",
        "propensity_price",
    ):
        values, popularity = challenge.labels(golden / "log", task)
        assert values.tolist() == np.load(golden / "log" / "target" / f"{task}.npy").tolist()
        assert (
            popularity.tolist()
            == np.load(golden / "log" / "target" / f"popularity_{task}.npy").tolist()
        )
    assert len(challenge.active_clients(golden / "log")) == 1121
    assert len(challenge.relevant_clients(golden / "log")) == 1952


def test_labels_and_popularity_must_agree(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    np.save(tmp_path / "target" / "propensity_sku.npy", np.array([1, 1, 2]))
    np.save(tmp_path / "target" / "popularity_propensity_sku.npy", np.array([0.5, 0.5]))
    with pytest.raises(DataError) as fault:
        challenge.labels(tmp_path, "propensity_sku")
    assert "3 labels" in fault.value.problems[0]
    assert "more than once" in fault.value.problems[1]


# --- the registry --------------------------------------------------------------------------------


def test_the_registry_reads(tmp_path: Path, engine: Engine) -> None:
    made = reader("challenge")(lay(tmp_path / "raw", small()), tmp_path / "out", engine=engine)
    assert Dataset.open(tmp_path / "out").manifest == made.manifest


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as fault:
        reader("nope")
    assert all(name in str(fault.value) for name in DATASETS)
