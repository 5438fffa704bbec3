"""The organisers' split, in place."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clickprint.core.errors import DataError
from clickprint.core.time import parse, show
from clickprint.data.adapters import challenge
from clickprint.data.engine import DuckDB
from clickprint.data.split import split as split_log

CODES = "[" + " ".join(map(str, range(16))) + "]"
INPUTS = [f"input/{f}.parquet" for f in challenge.FILES]


@pytest.fixture(scope="module")
def split_golden(
    golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, challenge.SplitFacts]:
    folder = tmp_path_factory.mktemp("golden") / "log"
    shutil.copytree(golden / "log", folder, copy_function=shutil.copyfile)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    with DuckDB(memory="300MB", threads=2) as engine:
        return folder, challenge.split(folder, engine)


def test_dates_and_counts_are_the_organisers(
    split_golden: tuple[Path, challenge.SplitFacts],
) -> None:
    _, facts = split_golden
    assert show(facts.end) == "2022-09-17 22:54:32"
    assert show(facts.train_start) == "2022-08-21 00:00:00"
    assert show(facts.validation_start) == "2022-09-04 00:00:00"
    assert facts.rows["target/train_target.parquet"] == 736
    assert facts.rows["target/validation_target.parquet"] == 701


@pytest.mark.parametrize("file", challenge.FILES)
def test_input_is_the_past_in_the_order_of_the_file(
    split_golden: tuple[Path, challenge.SplitFacts], file: str
) -> None:
    folder, facts = split_golden
    source, cut = (
        pq.read_table(folder / f"{file}.parquet"),
        pq.read_table(folder / "input" / f"{file}.parquet"),
    )
    expected = source.filter(pc.less(source.column("timestamp"), show(facts.train_start)))
    assert cut.column_names == source.column_names
    assert len(cut) == facts.rows[f"input/{file}.parquet"]
    times = pc.strptime(expected.column("timestamp"), "%Y-%m-%d %H:%M:%S", "us")
    assert cut.column("timestamp").cast(pa.timestamp("us")).equals(times)
    for column in set(source.column_names) - {"timestamp"}:
        assert cut.column(column).to_pylist() == expected.column(column).to_pylist()


@pytest.mark.parametrize("label", ["train", "validation"])
def test_targets_are_joined_with_the_properties(
    split_golden: tuple[Path, challenge.SplitFacts], label: str
) -> None:
    folder, facts = split_golden
    start, end = (
        (show(facts.train_start), show(facts.validation_start))
        if label == "train"
        else (show(facts.validation_start), "9")
    )
    buys, target = (
        pq.read_table(folder / "product_buy.parquet"),
        pq.read_table(folder / "target" / f"{label}_target.parquet"),
    )
    expected = buys.filter(
        pc.and_(
            pc.greater_equal(buys.column("timestamp"), start),
            pc.less(buys.column("timestamp"), end),
        )
    )
    properties = {
        row["sku"]: row for row in pq.read_table(folder / "product_properties.parquet").to_pylist()
    }
    assert target.column_names == ["client_id", "timestamp", "sku", "category", "price", "name"]
    assert target.column("client_id").to_pylist() == expected.column("client_id").to_pylist()
    assert target.column("sku").to_pylist() == expected.column("sku").to_pylist()
    for column in ("category", "price", "name"):
        assert target.column(column).to_pylist() == [
            properties[sku][column] for sku in expected.column("sku").to_pylist()
        ]


def test_what_else_is_there_stays(
    split_golden: tuple[Path, challenge.SplitFacts], golden: Path
) -> None:
    folder, _ = split_golden
    for path in (golden / "log").rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(golden / "log")).read_bytes() == path.read_bytes(), (
                path
            )
    made = {
        str(p.relative_to(folder))
        for p in folder.rglob("*.parquet")
        if not (golden / "log" / p.relative_to(folder)).exists()
    }
    assert made == {*INPUTS, "target/train_target.parquet", "target/validation_target.parquet"}


def test_the_raw_input_is_the_past_of_our_split(
    split_golden: tuple[Path, challenge.SplitFacts], tmp_path: Path
) -> None:
    folder, _ = split_golden
    with DuckDB(memory="300MB", threads=1) as engine:
        whole = challenge.open_raw(folder, engine, unsplit=True)
        ours = split_log(whole).past.log.rows(["user", "time", "kind", "item", "price"])
        theirs = challenge.open_raw(folder, engine, unsplit=False).rows(
            ["user", "time", "kind", "item", "price"]
        )
    for column, values in ours.items():
        assert np.array_equal(values, theirs[column]), column


def test_target_rows(split_golden: tuple[Path, challenge.SplitFacts]) -> None:
    train, valid = challenge.target_rows(split_golden[0])
    assert (len(train["sku"]), len(valid["sku"])) == (736, 701)
    assert set(train) == {"client_id", "sku", "category", "price"}
    table = pq.read_table(split_golden[0] / "target" / "validation_target.parquet")
    for column, values in valid.items():
        assert values.dtype == np.int64
        assert values.tolist() == table.column(column).to_pylist()


def world(folder: Path, buys: dict[str, list], properties: dict[str, list] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    bought = pa.table(buys)
    for file, (_, about) in challenge.FILES.items():
        empty = {"client_id": pa.array([], pa.int64()), "timestamp": pa.array([], pa.string())}
        table = pa.table(
            {**empty, about: pa.array([], pa.string() if about == "query" else pa.int64())}
        )
        pq.write_table(bought if file == "product_buy" else table, folder / f"{file}.parquet")
    pq.write_table(
        pa.table(
            properties
            or {"sku": [1, 2], "category": [5, 5], "price": [9, 9], "name": [CODES, CODES]}
        ),
        folder / "product_properties.parquet",
    )
    return folder


def split(folder: Path) -> challenge.SplitFacts:
    with DuckDB(memory="300MB", threads=1) as engine:
        return challenge.split(folder, engine)


def test_bounds(tmp_path: Path) -> None:
    """An event at a cutoff is after it; the last purchase is in the validation window."""
    times = [
        "2022-08-20 23:59:59",
        "2022-08-21 00:00:00",
        "2022-09-03 23:59:59",
        "2022-09-04 00:00:00",
        "2022-09-17 23:59:59",
    ]
    folder = world(
        tmp_path / "raw", {"client_id": [1, 2, 3, 4, 5], "timestamp": times, "sku": [1] * 5}
    )
    facts = split(folder)
    assert (facts.train_start, facts.validation_start) == (
        parse("2022-08-21"),
        parse("2022-09-04"),
    )
    train, valid = challenge.target_rows(folder)
    assert pq.read_table(folder / "input" / "product_buy.parquet").column(
        "client_id"
    ).to_pylist() == [1]
    assert train["client_id"].tolist() == [2, 3]
    assert valid["client_id"].tolist() == [4, 5]


def test_an_unordered_file_keeps_its_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = rng.integers(1, 29, 500)
    buys = {
        "client_id": list(range(500)),
        "timestamp": [f"2022-02-{d:02d} 12:00:00" for d in days],
        "sku": rng.integers(1, 3, 500).tolist(),
    }
    folder = world(tmp_path / "raw", buys)
    split(folder)
    train, valid = challenge.target_rows(folder)
    assert train["client_id"].tolist() == [i for i in range(500) if days[i] < 15]
    assert valid["client_id"].tolist() == [i for i in range(500) if days[i] >= 15]


def test_splitting_twice_is_splitting_once(tmp_path: Path) -> None:
    folder = world(
        tmp_path / "raw",
        {
            "client_id": [1, 2],
            "timestamp": ["2022-08-01 00:00:00", "2022-09-04 00:00:00"],
            "sku": [1, 2],
        },
    )
    split(folder)
    before = {p: p.read_bytes() for p in folder.rglob("*.parquet")}
    split(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*.parquet")} == before


def test_a_bought_sku_without_properties_is_named(tmp_path: Path) -> None:
    times = ["2022-09-01 00:00:00"] * 14
    one = world(tmp_path / "one", {"client_id": [1, 2], "timestamp": times[:2], "sku": [1, 77]})
    with pytest.raises(DataError, match="bought sku 77 has no row"):
        split(one)
    many = world(
        tmp_path / "many", {"client_id": [1] * 14, "timestamp": times, "sku": list(range(1, 15))}
    )
    with pytest.raises(
        DataError, match=r"\b12 bought skus \(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, …\)"
    ):
        split(many)
    half = {"sku": [1, 2], "category": [5, None], "price": [9, 9], "name": [CODES, CODES]}
    with pytest.raises(DataError, match=r"bought sku 2 .*\bcategory\b.*\bprice\b"):
        split(
            world(tmp_path / "half", {"client_id": [1], "timestamp": times[:1], "sku": [2]}, half)
        )
    for folder in (one, many, tmp_path / "half"):
        assert not (folder / "input").exists()
        assert not (folder / "target").exists()


BAD = {
    "nothing bought": (
        {
            "client_id": pa.array([], pa.int64()),
            "timestamp": pa.array([], pa.string()),
            "sku": pa.array([], pa.int64()),
        },
        None,
        "bought",
    ),
    "a last purchase far from all others": (
        {
            "client_id": [1, 1],
            "timestamp": ["2022-09-01 00:00:00", "9998-09-01 00:00:00"],
            "sku": [1, 1],
        },
        None,
        "9998-09-01, has 1 events.* 2022-09-01",
    ),
    "an unreadable time": ({"client_id": [1], "timestamp": ["soon"], "sku": [1]}, None, "soon"),
    "a time with an offset": (
        {"client_id": [1], "timestamp": ["2022-09-01 00:00:00+02:00"], "sku": [1]},
        None,
        "2022-09-01 00:00:00\\+02:00",
    ),
    "no time": (
        {"client_id": [1, 1], "timestamp": ["2022-09-01 00:00:00", None], "sku": [1, 1]},
        None,
        "1 rows have no timestamp",
    ),
    "no client": (
        {"client_id": [None, 1], "timestamp": ["2022-09-01 00:00:00"] * 2, "sku": [1, 1]},
        None,
        "1 rows have no client_id",
    ),
    "a sku twice": (
        {"client_id": [1], "timestamp": ["2022-09-01 00:00:00"], "sku": [1]},
        {"sku": [1, 1], "category": [5, 6], "price": [9, 9], "name": [CODES, CODES]},
        "sku 1 has more than one row",
    ),
    "texts for categories": (
        {"client_id": [1], "timestamp": ["2022-09-01 00:00:00"], "sku": [1]},
        {"sku": [1], "category": ["shoes"], "price": [9], "name": [CODES]},
        "category holds string",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_log_is_not_half_split(case: str, tmp_path: Path) -> None:
    buys, properties, message = BAD[case]
    folder = world(tmp_path / "raw", buys, properties)
    with pytest.raises(DataError, match=message):
        split(folder)
    assert not (folder / "input").exists()
    assert not (folder / "target").exists()


def test_target_rows_before_the_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="clickprint challenge split"):
        challenge.target_rows(tmp_path)
