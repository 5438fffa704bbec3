"""Amazon's sequences with texts: the two real pairs of files, and every way in which a pair can be
wrong.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import text_id
from clickprint.core.items import AttributeType
from clickprint.data.adapters import amazon_sequences
from clickprint.data.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CLICKPRINT_DATA", ROOT.parent / "shared" / "data"))
SEQUENCES = pa.table(
    {"user": [1, 2], "items": pa.array([[10, 30, 20], [20, 10]], pa.list_(pa.int64()))}
)
ITEMS = pa.table(
    {
        "item": [10, 20, 30],
        "title": ["Soap", "Kämme", ""],
        "categories": ["Beauty > Soap", "Beauty > Hair", None],
    }
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    pq.write_table(SEQUENCES, tmp_path / "raw" / "my_shop_sequences.parquet")
    pq.write_table(ITEMS, tmp_path / "raw" / "my_shop_items.parquet")
    return tmp_path / "raw" / "my_shop_sequences.parquet"


@pytest.mark.parametrize(
    ("name", "counts", "attributes"),
    [
        ("amazon14_beauty", (22_363, 12_101, 198_502), ["title", "categories"]),
        (
            "amazon18_scientific",
            (8_317, 4_344, 58_492),
            ["title", "description", "brand", "categories"],
        ),
    ],
)
def test_the_real_files(
    name: str, counts: tuple[int, int, int], attributes: list[str], tmp_path: Path, engine: Engine
) -> None:
    path = DATA / f"{name}_sequences.parquet"
    if not path.is_file():
        pytest.skip(
            f"{path.name} is not here ({DATA}); set CLICKPRINT_DATA to the folder that holds it"
        )
    made = amazon_sequences.read(path, tmp_path / "out", engine=engine)
    m = made.manifest
    assert (m.users, m.items, m.events, m.rejected, m.time) == (*counts, {}, "order")
    assert m.name == name.replace("_", "-")
    assert list(m.attributes) == attributes
    assert len(made.catalogue.table) == counts[1]
    # Every sequence is the source's, in its order.
    stored = engine.table(
        f'SELECT "user", LIST(item ORDER BY "time") AS items FROM {engine.scan(made.event_files)}'
        " GROUP BY 1 ORDER BY 1"
    )
    source = pq.read_table(path).sort_by("user")
    assert stored.column("items").to_pylist() == source.column("items").to_pylist()


def test_texts_and_kinds(small: Path, tmp_path: Path, engine: Engine) -> None:
    made = amazon_sequences.read(small, tmp_path / "out", engine=engine)
    assert made.manifest.kinds == (Kind("buy", Role.BUY),)
    assert made.manifest.attributes == {
        "title": AttributeType.TEXT,
        "categories": AttributeType.CATEGORY,
    }
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (10, None, "Soap", text_id("Beauty > Soap")),
        (20, None, "Kämme", text_id("Beauty > Hair")),
        (30, None, None, None),
    ]
    with pytest.raises(ConfigError, match="needs a clock"):
        made.manifest.need_clock("a split by time")


def test_one_row_an_event(small: Path, tmp_path: Path, engine: Engine) -> None:
    lists = amazon_sequences.read(small, tmp_path / "lists", engine=engine).manifest
    pq.write_table(pa.table({"user": [1, 2, 1, 1, 2], "item": [10, 20, 30, 20, 10]}), small)
    assert (
        amazon_sequences.read(small, tmp_path / "rows", engine=engine).manifest.fingerprint
        == lists.fingerprint
    )


def rewrite(which: str, table: pa.Table) -> Callable[[Path], object]:
    return lambda folder: pq.write_table(table, folder / f"my_shop_{which}.parquet")


def raw(which: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = folder / f"my_shop_{which}.parquet"
        path.write_bytes(edit(path.read_bytes()))

    return apply


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no items file": (
        lambda f: (f / "my_shop_items.parquet").unlink(),
        r"my_shop_items\.parquet: not found",
    ),
    "no sequences": (
        lambda f: (f / "my_shop_sequences.parquet").unlink(),
        r"my_shop_sequences\.parquet: not found",
    ),
    "empty": (raw("sequences", lambda b: b""), r"my_shop_sequences\.parquet: the file is empty"),
    "truncated": (
        raw("items", lambda b: b[:-20]),
        r"my_shop_items\.parquet: not a whole Parquet file",
    ),
    "a CSV": (raw("sequences", lambda b: b"user,items\n1,10\n"), "not a whole Parquet file"),
    "null bytes": (raw("sequences", lambda b: b"\x00" * 500), "not a whole Parquet file"),
    "broken pages": (
        raw("sequences", lambda b: b[:4] + b"\xff" * 60 + b[64:]),
        "my_shop_sequences",
    ),
    "a missing column": (
        rewrite("sequences", SEQUENCES.rename_columns(["who", "items"])),
        "no column 'user'; found who, items",
    ),
    "no column of items": (
        rewrite("items", ITEMS.rename_columns(["asin", "title", "categories"])),
        "no column 'item'; found asin",
    ),
    "a column twice": (
        rewrite("sequences", pa.table([[1], [2], [[3]]], names=["user", "user", "items"])),
        "2 columns 'user'",
    ),
    "lists of lists": (
        rewrite("sequences", pa.table({"user": [1], "items": [[[1, 2]]]})),
        "column items holds list",
    ),
    "times for users": (
        rewrite(
            "sequences", SEQUENCES.set_column(0, "user", pa.array([0, 1], pa.timestamp("us")))
        ),
        "column user holds times, expected texts or whole numbers",
    ),
    "an item twice": (
        rewrite("items", pa.concat_tables([ITEMS, ITEMS.slice(1, 1)])),
        "1 items are there more than once.*20",
    ),
    "no usable row": (
        rewrite(
            "sequences", pa.table({"user": [1], "items": pa.array([[None]], pa.list_(pa.int64()))})
        ),
        "no event could be read",
    ),
    "nothing in it": (rewrite("sequences", SEQUENCES.slice(0, 0)), "no event could be read"),
}
COUNTED: dict[str, tuple[Callable[[Path], object], dict[str, int], int]] = {
    "no user": (
        rewrite("sequences", SEQUENCES.set_column(0, "user", pa.array([1, None], pa.int64()))),
        {"sequences: no user": 2},
        3,
    ),
    "holes in a list": (
        rewrite(
            "sequences",
            SEQUENCES.set_column(1, "items", pa.array([[10, None, 20], []], pa.list_(pa.int64()))),
        ),
        {"sequences: no item": 1},
        2,
    ),
    "fractions": (
        rewrite(
            "sequences",
            SEQUENCES.set_column(
                1, "items", pa.array([[10.0, 1.5], [float("nan")]], pa.list_(pa.float64()))
            ),
        ),
        {"sequences: item is no whole number within int64": 2},
        1,
    ),
    "an item without an id": (
        rewrite(
            "items",
            pa.concat_tables(
                [
                    ITEMS,
                    pa.table(
                        {"item": pa.array([None], pa.int64()), "title": ["x"], "categories": ["y"]}
                    ),
                ]
            ),
        ),
        {"catalogue: no item, or no whole number within int64": 1},
        5,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_their_fault(
    case: str, small: Path, tmp_path: Path, engine: Engine
) -> None:
    spoil, message = BAD[case]
    spoil(small.parent)
    with pytest.raises(DataError, match=message):
        amazon_sequences.read(small, tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("case", COUNTED)
def test_bad_rows_are_counted(case: str, small: Path, tmp_path: Path, engine: Engine) -> None:
    spoil, rejected, left = COUNTED[case]
    spoil(small.parent)
    made = amazon_sequences.read(small, tmp_path / "out", engine=engine).manifest
    assert (made.rejected, made.events) == (rejected, left)


def test_a_name_that_is_none(small: Path, tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError, match=r"\ba folder\b.*NAME_sequences\.parquet"):
        amazon_sequences.read(small.parent, tmp_path / "out", engine=engine)
    with pytest.raises(DataError, match=r"items\.parquet: .*NAME_sequences\.parquet"):
        amazon_sequences.read(
            small.with_name("my_shop_items.parquet"), tmp_path / "out", engine=engine
        )
    for file in small.parent.iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError) as fault:
        amazon_sequences.read(small, tmp_path / "out", engine=engine)
    assert len(fault.value.problems) == 2
