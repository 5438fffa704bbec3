"""REES46's shops: months in the public form, and every way in which they can be wrong."""

import gzip
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from malformed import Case, add, everywhere, first_line_again, half_packed, judge, replace

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.ids import text_id
from clickprint.core.time import parse
from clickprint.data.adapters import rees46
from clickprint.data.engine import Engine

HEAD = (
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
)
A, B = "26dd6e6e-4dac-4778-8d2c-92e149dab885", "49e8d843-adf3-428b-a2c3-fe8bc6a307c9"
OCTOBER = (
    HEAD + "2019-10-01 00:00:00"
    f" UTC,cart,5773203,1487580005134238553,,runail,2.62,463240011,{A}\n2019-10-01 00:00:03"
    f" UTC,remove_from_cart,5773203,1487580005134238553,,runail,2.62,463240011,{A}\n2019-10-01"
    " 00:00:07"
    f" UTC,view,5881589,2151191071051219817,appliances.environment.vacuum,,0.00,429681830,{B}\n"
)
NOVEMBER = (
    HEAD + "2019-11-01 00:00:02 UTC,view,5802432,1487580009286598681,,,0.32,562076640,\n"
    f"2019-11-01 00:00:09 UTC,purchase,5773203,1487580005134238553,,masura,2.80,463240011,{A}\n"
)


@pytest.fixture
def months(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "2019-Oct.csv").write_text(OCTOBER)
    (folder / "2019-Nov.csv.gz").write_bytes(gzip.compress(NOVEMBER.encode()))
    return folder


def test_every_row_arrives(months: Path, tmp_path: Path, engine: Engine) -> None:
    made = rees46.read(months, tmp_path / "out", engine=engine)
    rows = [
        tuple(row.values()) for file in made.event_files for row in pq.read_table(file).to_pylist()
    ]
    october, november = parse("2019-10-01"), parse("2019-11-01")
    assert rows == [
        (october, 463240011, 1, 5773203, text_id(A), 2.62),
        (october + 3_000_000, 463240011, 2, 5773203, text_id(A), 2.62),
        (october + 7_000_000, 429681830, 0, 5881589, text_id(B), 0.0),
        (november + 2_000_000, 562076640, 0, 5802432, None, 0.32),
        (november + 9_000_000, 463240011, 3, 5773203, text_id(A), 2.8),
    ]
    m = made.manifest
    assert m.rejected == {}
    assert [(k.name, k.role) for k in m.kinds] == [
        ("view", Role.VIEW),
        ("cart", Role.CART),
        ("remove_from_cart", Role.REMOVE),
        ("purchase", Role.BUY),
    ]
    vacuum = text_id("appliances.environment.vacuum")
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (5773203, october, 1487580005134238553, None, text_id("runail")),
        (5773203, november + 9_000_000, 1487580005134238553, None, text_id("masura")),
        (5802432, november + 2_000_000, 1487580009286598681, None, None),
        (5881589, october + 7_000_000, 2151191071051219817, vacuum, None),
    ]
    assert sorted(
        pq.read_table(made.folder / "ids" / "session.parquet").column("text").to_pylist()
    ) == [A, B]


def test_all_forms_are_one_log(months: Path, tmp_path: Path, engine: Engine) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as packed:
        packed.writestr("2019-Nov.csv", NOVEMBER)
        packed.writestr("2019-Oct.csv", OCTOBER)
    one = tmp_path / "both.csv"
    one.write_text(OCTOBER + NOVEMBER.removeprefix(HEAD))
    prints = {
        rees46.read(path, tmp_path / "out", engine=engine).manifest.fingerprint
        for path in (months, tmp_path / "archive.zip", one)
    }
    assert len(prints) == 1


def test_a_month_is_not_read_twice(months: Path, tmp_path: Path, engine: Engine) -> None:
    (months / "2019-Oct.csv.gz").write_bytes(gzip.compress(OCTOBER.encode()))
    with pytest.raises(DataError, match=r"2019-Oct\.csv is there twice"):
        rees46.read(months, tmp_path / "made" / "out", engine=engine)


def test_every_fault_of_every_month(months: Path, tmp_path: Path, engine: Engine) -> None:
    (months / "2019-Oct.csv").write_text(
        OCTOBER.replace("user_id", "visitor").replace("brand", "label")
    )
    (months / "2019-Nov.csv.gz").write_bytes(b"")
    with pytest.raises(DataError) as fault:
        rees46.read(months, tmp_path / "made" / "out", engine=engine)
    assert [p.split(";")[0] for p in fault.value.problems] == [
        "2019-Oct.csv: no column 'brand'",
        "2019-Oct.csv: no column 'user_id'",
        "2019-Nov.csv.gz: the file is empty",
    ]


def row(**changed: str) -> str:
    cells = {
        "t": "2019-10-02 00:00:00 UTC",
        "type": "view",
        "item": "1",
        "cat": "2",
        "price": "1.5",
        "user": "3",
        "session": A,
    } | changed
    return "{t},{type},{item},{cat},,,{price},{user},{session}".format(**cells)


USER, ITEM = (
    "events: no user, or no whole number within int64",
    "events: no product, or no whole number within int64",
)
CASES: dict[str, Case] = {
    "empty": (lambda raw: b"", "the file is empty"),
    "cut": (lambda raw: raw[:-60], {"events: too many or too few columns": 1}),
    "half a gzip": (half_packed, "not utf-8"),
    "another delimiter": (everywhere(",", "\t"), "no column 'brand'"),
    "a column is missing": (replace("user_session", "session"), "no column 'user_session'"),
    "a column twice": (replace("category_code", "brand"), "2 columns 'brand'"),
    "the header again": (first_line_again, {USER: 1}),
    "a user with a point": (add(row(user="463240011.0")), {USER: 1}),
    "no user": (add(row(user="")), {USER: 1}),
    "a text for a product": (add(row(item="A17")), {ITEM: 1}),
    "a product beyond int64": (add(row(item="99999999999999999999")), {ITEM: 1}),
    "a thirteenth month": (add(row(t="2019-13-01 00:00:00 UTC")), {"events: no readable time": 1}),
    "seconds for a time": (add(row(t="1569974400")), {"events: no readable time": 1}),
    "an unknown type": (add(row(type="wish")), {"events: no known event_type": 1}),
    "a comma in a price": (add(row(price='"1,50"')), {"events: price is no finite number": 1}),
    "a negative price": (add(row(price="-79.37")), {"events: a negative price": 1}),
    "a junk category": (
        add(row(cat="1.48758E+18")),
        {"events: category is no whole number within int64": 1},
    ),
    "null bytes": (add(row(user="3\0")), {USER: 1}),
    "not UTF-8": (replace("runail", b"run\xe4il"), "not utf-8"),
    "only a header": (lambda raw: HEAD.encode(), "no event"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_files(case: str, tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "2019-Oct.csv").write_text(OCTOBER)
    judge(
        rees46.read,
        tmp_path / "2019-Oct.csv",
        tmp_path / "2019-Oct.csv",
        CASES[case],
        2 if case == "cut" else 3,
        engine,
    )


def test_no_folder_no_month(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError, match=r"not found; expected \*\.csv"):
        rees46.read(tmp_path / "absent", tmp_path / "made" / "out", engine=engine)
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match=r"/void: .*nothing.*\*\.csv"):
        rees46.read(tmp_path / "void", tmp_path / "made" / "out", engine=engine)
