"""UCI Online Retail: the real two years where they are to be had, the workbooks, and every way in
which the files can be wrong.
"""

import builtins
import gzip
import os
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow.parquet as pq
import pytest
from malformed import Case, add, everywhere, first_line_again, judge, replace

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import text_id
from clickprint.core.time import parse
from clickprint.data.adapters import uci_online_retail as uci
from clickprint.data.engine import Engine

DATA = Path(
    os.environ.get(
        "CLICKPRINT_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"
    )
)
FIRST = (
    "Invoice",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "Price",
    "Customer ID",
    "Country",
)
UK = "United Kingdom"
Row = tuple[str | int | float | datetime | None, ...]
TO_2010: list[Row] = [
    (
        489434,
        "85048",
        "15CM CHRISTMAS GLASS BALL",
        12,
        datetime(2009, 12, 1, 7, 45),
        6.95,
        13085,
        UK,
    ),
    (489434, 22041, 'RECORD FRAME 7" ', 48, datetime(2009, 12, 1, 7, 45), 2.1, 13085, UK),
    (
        "C489449",
        "22087",
        "PAPER BUNTING",
        -12,
        datetime(2009, 12, 1, 10, 33),
        2.95,
        16321,
        "Australia",
    ),
    (489464, "21733", "85123a mixed", -96, datetime(2009, 12, 1, 10, 52), 0, None, UK),
    ("A506401", "B", "Adjust bad debt", 1, datetime(2010, 4, 29, 13, 36), -53594.36, None, UK),
    (536365, "85123A", "WHITE HANGING HEART", 6, datetime(2010, 12, 1, 8, 26), 2.55, 17850, UK),
    (536990, 21731, "RED TOADSTOOL", 2, datetime(2010, 12, 3, 15, 45), 3.29, 15165, UK),
]
TO_2011: list[Row] = [
    TO_2010[-2],
    (
        536365,
        "85123A",
        "WHITE HANGING HEART",
        6,
        datetime(2010, 12, 1, 8, 26),
        2.55,
        17850,
        UK,
    ),  # twice on one sheet: kept
    TO_2010[-1],
    (
        581587,
        "22138",
        "BAKING SET 9 PIECE",
        3,
        datetime(2011, 12, 9, 12, 50),
        4.95,
        12680,
        "France",
    ),
]
NO_CUSTOMER, OVERLAP = {"events: no customer": 2}, {"events: rows that a later sheet has too": 2}


def workbook(path: Path, sheets: dict[str, Sequence[Sequence[object]]]) -> Path:
    """A minimal .xlsx: numbers, inline texts, and dates as numbers with a date's format."""

    def cell(value: object) -> str:
        match value:
            case None:
                return "<c/>"
            case datetime():
                days = (value - datetime(1899, 12, 30)).total_seconds() / 86_400
                return f'<c s="1"><v>{days!r}</v></c>'
            case int() | float():
                return f"<c><v>{value}</v></c>"
            case _:
                return (
                    '<c t="inlineStr"><is><t'
                    f' xml:space="preserve">{escape(str(value))}</t></is></c>'
                )

    main, office = (
        "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
        "http://schemas.openxmlformats.org/officeDocument/2006",
    )
    parts = {f"xl/worksheets/sheet{n}.xml": rows for n, rows in enumerate(sheets.values(), 1)}
    names = "".join(
        f'<sheet name="{title}" sheetId="{n}" r:id="r{n}"/>' for n, title in enumerate(sheets, 1)
    )
    links = "".join(
        f'<Relationship Id="r{n}" Type="{office}/relationships/worksheet"'
        f' Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{relations}"><Relationship Id="r"'
            f' Type="{office}/relationships/officeDocument"'
            ' Target="xl/workbook.xml"/></Relationships>',
        )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}"'
            f' xmlns:r="{office}/relationships"><sheets>{names}</sheets></workbook>',
        )
        styles = f'<Relationship Id="s" Type="{office}/relationships/styles" Target="styles.xml"/>'
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{relations}">{links}{styles}</Relationships>',
        )
        book.writestr(
            "xl/styles.xml",
            f'<styleSheet xmlns="{main}"><cellXfs><xf numFmtId="0"/><xf'
            ' numFmtId="22"/></cellXfs></styleSheet>',
        )
        for part, rows in parts.items():
            lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
            book.writestr(
                part, f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
            )
    return path


def exported(
    head: Sequence[str],
    rows: Sequence[Row],
    date: Callable[[datetime], str] = str,
    gaps: bool = True,
) -> str:
    """The CSV that pandas makes of a sheet: customers are floats, because some are missing."""

    def cell(place: int, value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, datetime):
            return date(value)
        text = f"{float(str(value))}" if place == 6 and gaps else str(value)
        return f'"{text.replace(chr(34), chr(34) * 2)}"' if '"' in text else text

    return (
        "\n".join(
            [",".join(head), *(",".join(cell(p, v) for p, v in enumerate(row)) for row in rows)]
        )
        + "\n"
    )


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Online Retail II: two sheets that share two rows."""
    return workbook(
        tmp_path / "online_retail_II.xlsx",
        {"Year 2009-2010": [FIRST, *TO_2010], "Year 2010-2011": [FIRST, *TO_2011]},
    )


def test_the_real_two_years(tmp_path: Path, engine: Engine) -> None:
    path = DATA / "uci_online_retail_2y.parquet"
    if not path.is_file():
        pytest.skip(
            f"uci_online_retail_2y.parquet is not here ({DATA}); set CLICKPRINT_DATA to the folder"
            " that holds it"
        )
    made = uci.read(path, tmp_path / "out", engine=engine)
    m = made.manifest
    assert (m.users, m.items, m.events, m.rejected) == (5_942, 4_646, 809_544, {})
    assert [(k.name, k.role) for k in m.kinds] == [("buy", Role.BUY), ("cancel", Role.CANCEL)]
    log = engine.scan(made.event_files)
    sums = (
        f"SELECT COUNT(*) AS n, MIN(quantity) AS least, MAX(quantity) AS most FROM {log} GROUP BY"
        " kind ORDER BY kind"
    )
    assert engine.table(sums).to_pylist() == [
        {"n": 791_114, "least": 1.0, "most": 80_995.0},
        {"n": 18_430, "least": -80_995.0, "most": -1.0},
    ]
    assert engine.one(
        f"SELECT MIN(price), SUM(CASE WHEN price = 0 THEN 1 ELSE 0 END) FROM {log} WHERE kind = 1"
    ) == (0.01, 0)
    assert engine.one(f"SELECT COUNT(*) FROM {log} WHERE price = 0")[0] == 70


def test_a_workbook_of_two_years(two: Path, tmp_path: Path, engine: Engine) -> None:
    made = uci.read(two, tmp_path / "out", engine=engine)
    rows = [
        tuple(row.values()) for file in made.event_files for row in pq.read_table(file).to_pylist()
    ]
    first = parse("2009-12-01 07:45:00")
    expected = [
        (first, 13085, 0, text_id("85048"), text_id("489434"), 6.95, 12.0),
        (first, 13085, 0, text_id("22041"), text_id("489434"), 2.1, 48.0),
        (
            parse("2009-12-01 10:33:00"),
            16321,
            1,
            text_id("22087"),
            text_id("C489449"),
            2.95,
            -12.0,
        ),
        *[
            (
                parse("2010-12-01 08:26:00"),
                17850,
                0,
                text_id("85123A"),
                text_id("536365"),
                2.55,
                6.0,
            )
        ]
        * 2,
        (parse("2010-12-03 15:45:00"), 15165, 0, text_id("21731"), text_id("536990"), 3.29, 2.0),
        (parse("2011-12-09 12:50:00"), 12680, 0, text_id("22138"), text_id("581587"), 4.95, 3.0),
    ]
    assert sorted(rows) == sorted(expected)
    assert made.manifest.rejected == NO_CUSTOMER | OVERLAP
    title = {
        r["item"]: (r["known_from"], r["description"]) for r in made.catalogue.table.to_pylist()
    }
    assert title[text_id("22041")] == (first, 'RECORD FRAME 7" ')


def test_the_editions_and_exports_are_one_log(two: Path, tmp_path: Path, engine: Engine) -> None:
    """The workbook, its sheets in the other order, packed, and four ways in which people export
    it.
    """
    second = (
        "InvoiceNo",
        "StockCode",
        "Description",
        "Quantity",
        "InvoiceDate",
        "UnitPrice",
        "CustomerID",
        "Country",
    )
    paths = [
        two,
        workbook(
            tmp_path / "other.xlsx", {"b": [second, *TO_2011], "empty": [], "a": [FIRST, *TO_2010]}
        ),
    ]
    with zipfile.ZipFile(tmp_path / "online+retail+ii.zip", "w") as packed:
        packed.write(two, two.name)
    paths.append(tmp_path / "online+retail+ii.zip")
    one = TO_2010 + TO_2011
    texts = {
        "iso.csv": exported(FIRST, one),
        "whole.csv": exported(second, one, gaps=False),
        "us.csv": exported(
            second, one, lambda t: f"{t.month}/{t.day}/{t.year} {t.hour}:{t.minute:02}"
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        paths.append(tmp_path / name)
    (tmp_path / "years").mkdir()
    for year, rows in (("2009", TO_2010), ("2010", TO_2011)):
        (tmp_path / "years" / f"Year {year}.csv.gz").write_bytes(
            gzip.compress(exported(FIRST, rows).encode())
        )
    paths.append(tmp_path / "years")
    made = {path.name: uci.read(path, tmp_path / "out", engine=engine).manifest for path in paths}
    assert {name: m.fingerprint for name, m in made.items()} == dict.fromkeys(
        made, made[two.name].fingerprint
    )
    assert {tuple(m.rejected.items()) for m in made.values()} == {
        tuple((NO_CUSTOMER | OVERLAP).items())
    }


def test_one_sheet_has_no_overlap(tmp_path: Path, engine: Engine) -> None:
    path = workbook(tmp_path / "Online Retail.xlsx", {"Online Retail": [FIRST, *TO_2011]})
    made = uci.read(path, tmp_path / "out", engine=engine)
    assert (made.manifest.events, made.manifest.rejected) == (4, {})
    # Rows in no order jump back more than once, or to what ends earlier: nothing is taken for a
    # second sheet.
    for order in ((5, 0, 10, 2), (0, 10, 5), (10, 0, 5)):
        (tmp_path / "shuffled.csv").write_text(
            exported(FIRST, [(*TO_2010, *TO_2011)[place] for place in order])
        )
        made = uci.read(tmp_path / "shuffled.csv", tmp_path / "out", engine=engine)
        assert (made.manifest.events, made.manifest.rejected) == (len(order), {})


def test_the_encoding_can_be_named(tmp_path: Path, engine: Engine) -> None:
    row = (1, "A", "GÂTEAU", 1, datetime(2011, 1, 1, 9), 2, 7, "France")
    (tmp_path / "data.csv").write_bytes(exported(FIRST, [row]).encode("latin-1"))
    with pytest.raises(DataError, match="not utf-8"):
        uci.read(tmp_path / "data.csv", tmp_path / "made" / "out", engine=engine)
    made = uci.read(tmp_path / "data.csv", tmp_path / "out", engine=engine, encoding="latin-1")
    assert made.catalogue.table.column("description").to_pylist() == ["GÂTEAU"]


# --- what can be wrong ---------------------------------------------------------------------------


def row(**changed: str) -> str:
    cells = {
        "invoice": "536366",
        "code": "1",
        "n": "1",
        "t": "2011-01-01 09:00:00",
        "price": "2.5",
        "customer": "7.0",
    } | changed
    return "{invoice},{code},THING,{n},{t},{price},{customer},UK".format(**cells)


NO_N, TIME, PRICE = (
    {"events: no usable quantity": 1},
    {"events: no readable time": 1},
    {"events: no usable price": 1},
)
CASES: dict[str, Case] = {
    "missing": (lambda raw: None, r"not found; expected \*\.xlsx"),
    "empty": (lambda raw: b"", "the file is empty"),
    "cut": (lambda raw: raw[:-30], {"events: too many or too few columns": 1}),
    "another delimiter": (everywhere(",", ";"), "no column 'Invoice' or 'InvoiceNo'"),
    "a column is missing": (replace("StockCode", "Code"), "no column 'StockCode'"),
    "a column in both spellings": (
        replace("Country", "CustomerID"),
        "2 columns 'Customer ID' and 'CustomerID'",
    ),
    "no header": (lambda raw: b"\n".join(raw.splitlines()[1:]), "7 problems"),
    "the header again": (first_line_again, {"events: no customer": 1}),
    "a text for a customer": (add(row(customer="anna")), {"events: no customer": 1}),
    "half a customer": (add(row(customer="7.5")), {"events: no customer": 1}),
    "no stock code": (add(row(code="")), {"events: no stock code": 1}),
    "no invoice": (add(row(invoice="")), {"events: no invoice": 1}),
    "a date of the other order": (add(row(t="31/1/2011 9:00")), TIME),
    "a serial number for a date": (add(row(t="40544.375")), TIME),
    "nothing bought": (
        add(row(n="0")),
        {"events: a quantity of 0 or less that is no cancellation": 1},
    ),
    "brought back without a C": (
        add(row(n="-1")),
        {"events: a quantity of 0 or less that is no cancellation": 1},
    ),
    "a cancellation that gives": (
        add(row(invoice="C1", n="1")),
        {"events: a cancellation of a quantity of 0 or more": 1},
    ),
    "a text for a quantity": (add(row(n="a few")), NO_N),
    "a negative price": (add(row(price="-2.5")), PRICE),
    "no price": (add(row(price="")), PRICE),
    "a comma in a price": (add(row(price='"2,50"')), PRICE),
    "null bytes": (add(row(customer="7\0")), {"events: no customer": 1}),
    "not UTF-8": (replace("WHITE", b"W\xa3"), "not utf-8"),
    "only a header": (lambda raw: raw.splitlines(keepends=True)[0], "no event"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_csv_files(case: str, tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "online_retail.csv"
    path.write_text(exported(FIRST, TO_2011))
    judge(uci.read, path, path, CASES[case], 3 if case == "cut" else 4, engine)


BOOKS: dict[str, Case] = {
    "missing": (lambda raw: None, "not found"),
    "empty": (lambda raw: b"", "not a whole .xlsx workbook"),
    "truncated": (lambda raw: raw[: len(raw) // 2], "not a whole .xlsx workbook"),
    "a CSV under its name": (
        lambda raw: exported(FIRST, TO_2010).encode(),
        "not a whole .xlsx workbook",
    ),
    "another zip": (lambda raw: b"PK\x05\x06" + bytes(18), "not a whole .xlsx workbook"),
}


@pytest.mark.parametrize("case", BOOKS)
def test_bad_workbooks(case: str, two: Path, engine: Engine) -> None:
    judge(uci.read, two, two, BOOKS[case], 0, engine)


HEADLESS, SHORT = [(1, 2, 3)], [(*FIRST[:5], "Prices", *FIRST[6:]), *TO_2011]
SHEETS: dict[str, tuple[dict[str, Sequence[Sequence[object]]], str]] = {
    "nothing on any sheet": ({"a": [], "b": []}, "no sheet holds anything"),
    "a sheet of something else": (
        {"a": [FIRST, *TO_2011], "notes": HEADLESS},
        "sheet 'notes': no column 'Invoice' or 'InvoiceNo'; found 1, 2, 3",
    ),
    "a column is missing": ({"a": SHORT}, "sheet 'a': no column 'Price' or 'UnitPrice'"),
    "only headers": ({"a": [FIRST], "b": [FIRST]}, "no event"),
}


@pytest.mark.parametrize("case", SHEETS)
def test_bad_sheets(case: str, tmp_path: Path, engine: Engine) -> None:
    sheets, message = SHEETS[case]
    path = workbook(tmp_path / "book.xlsx", sheets)
    with pytest.raises(DataError, match=message):
        uci.read(path, tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()


def test_bad_cells_are_counted(tmp_path: Path, engine: Engine) -> None:
    good = TO_2011[-1]
    rows = [
        good,
        (*good[:3], "three", *good[4:]),
        (*good[:4], "yesterday", *good[5:]),
        (*good[:6], "anna", UK),
        (),
        (True, *good[1:]),
    ]
    made = uci.read(
        workbook(tmp_path / "book.xlsx", {"a": [FIRST, *rows]}), tmp_path / "out", engine=engine
    )
    assert made.manifest.rejected == {
        "events: no customer": 2,
        "events: no readable time": 1,
        "events: no usable quantity": 1,
    }
    assert made.manifest.events == 2


def test_without_the_extra(
    two: Path, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = builtins.__import__

    def without(name: str, *args: object) -> object:
        if name == "python_calamine":
            raise ImportError(name)
        return there(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'clickprint\[excel\]'"):
        uci.read(two, tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()
