"""UCI Online Retail and Online Retail II: one and two years of a British gift wholesaler's
invoices, as workbook, CSV or Parquet.
"""

from collections.abc import Sequence
from datetime import date, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError, first_line
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import DAY
from clickprint.data.adapters import flat
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import (
    Source,
    given_sql,
    given_text_sql,
    id_sql,
    moment_sql,
    number_sql,
)
from clickprint.data.adapters.mapping import Clock, Files
from clickprint.data.adapters.staging import ROW, header
from clickprint.data.adapters.zipped import found, opened
from clickprint.data.check import Reason, no_amount, no_id, no_time, noting, refuse
from clickprint.data.engine import Engine, iso_sql, micros_sql, name, timestamp_sql
from clickprint.data.parquet import TableWriter

# Ours → what the two editions call it.
NAMES = {
    "invoice": ("Invoice", "InvoiceNo"),
    "code": ("StockCode",),
    "description": ("Description",),
    "quantity": ("Quantity",),
    "date": ("InvoiceDate",),
    "price": ("Price", "UnitPrice"),
    "customer": ("Customer ID", "CustomerID"),
}
PARQUET = ("user", "item", "event", "ts", "description", "quantity", "price")
KINDS = (Kind("buy", Role.BUY), Kind("cancel", Role.CANCEL))
BLOCK = 65_536  # rows of a sheet that are turned into texts together
CARD = Card(
    title=(
        "UCI Online Retail (2010-12 to 2011-12) and Online Retail II (2009-12 to 2011-12):"
        " invoices of a British gift wholesaler"
    ),
    files={
        "*.xlsx": (
            "Invoice or InvoiceNo, StockCode, Description, Quantity, InvoiceDate, Price or"
            " UnitPrice, Customer ID or CustomerID, Country; on one sheet or on one a year; needs"
            " the extra: pip install 'clickprint[excel]'"
        ),
        "*.csv, *.csv.gz": (
            "the same columns, as people export the workbook; dates as 2009-12-01 07:45:00 or"
            " 12/1/2009 7:45"
        ),
        "*.parquet": (
            "user, item, event (buy, cancel), ts in seconds, description, quantity, price: no"
            " invoices, so no sessions"
        ),
    },
    licence="CC BY 4.0",
    where=(
        "https://archive.ics.uci.edu/dataset/502/online+retail+ii and"
        " https://archive.ics.uci.edu/dataset/352/online+retail"
    ),
    dropped="""
        - rows without a customer, about a quarter: sales that nobody can be named for, stock
          corrections, bad debt
        - rows of two sheets at once: what a sheet has at or after the first time of a sheet that
          starts and ends later (Online Retail II has the first days of December 2010 on both)
        - a quantity of 0 or less on an invoice that is no cancellation, one of 0 or more on a
          cancellation
        - rows without an invoice, a stock code or a readable date; a price that is negative or no
          number
        - lines with too many or too few columns
    """,
    notes="""
        - an invoice whose number starts with C is a cancellation: kind cancel, with its negative
          quantity as in the source
        - the invoice is the session; the price is that of one unit, in pounds; 0 is kept (gifts)
        - times have no zone and are taken as UTC; every row of an invoice has the same minute
        - slashes mean month/day/year, always
        - in CSV files a second sheet is taken to start where the dates jump back by more than a
          day, if they do so exactly once
        - stock codes are texts: 85123A and 22423 alike, 85123a is another; postage and manual
          entries (POST, M) are items
        - an item's description is known from the first invoice that shows it, and changes where an
          invoice shows another
        - rows that stand there twice on a sheet are kept; Country is left out
        - a workbook's sheets are held in memory while they are read, one at a time
    """,
)


Picked = tuple[dict[str, str], dict[str, str], list[Reason]]  # picks, texts, reasons


def read(
    path: Path, out: Path, *, engine: Engine, encoding: str = "utf-8", progress: Progress = silent
) -> Dataset:
    """The workbook, its CSV or a Parquet file, in the canonical form at `out`.

    Also a zip or folder of one of them; a folder's CSV files (in `encoding`) are read in the order
    of their names. Raises DataError with every fault of the files, ConfigError where a workbook
    needs the extra.
    """
    path, out = Path(path), Path(out)
    with opened(path, out) as (place, room):
        paths = tuple(found(place, ("*.xlsx", "*.csv", "*.csv.gz", "*.parquet"), path))
        progress("look", 0, 0)
        if paths[0].suffix == ".parquet":
            files = Files(paths=paths, format="parquet")
            rows = flat.staged(engine, files, PARQUET, room, path)
            picks, texts, reasons = _plain(rows)
        else:
            starts: list[int] | None = None
            if paths[0].suffix.lower() == ".xlsx":
                staged, starts = _workbook(paths[0], room / "sheets.parquet")
                files, columns = Files(paths=(staged,), format="parquet"), {n: n for n in NAMES}
                rows = flat.staged(engine, files, [*NAMES, ROW], room, path)
            else:
                files = Files(paths=paths, format="csv", encoding=encoding)
                columns = _columns(files, path)
                rows = flat.staged(engine, files, list(columns.values()), room, path)
            picks, texts, reasons = _invoices(rows, columns)
            picks["overlap"] = _overlap(engine, rows, picks["time"], starts)
        return flat.write(
            out,
            engine=engine,
            reader="uci_online_retail",
            kinds=KINDS,
            source=rows,
            picks=picks,
            reasons=[
                no_id('"user"', "customer"),
                ("item IS NULL", "no stock code"),
                no_time('"time"'),
                ("kind IS NULL", "no known event"),
                *reasons,
                ("quantity IS NULL", "no usable quantity"),
                ("kind = 0 AND quantity <= 0", "a quantity of 0 or less that is no cancellation"),
                ("kind = 1 AND quantity >= 0", "a cancellation of a quantity of 0 or more"),
                no_amount("price"),
            ],
            texts=texts,
            attributes={"description": AttributeType.TEXT},
            where=path,
            progress=progress,
        )


def _plain(rows: Source) -> Picked:
    """The Parquet form. A price in float32 is read as it is written: 0.01, not 0.00999999977."""
    picks = {
        "user": id_sql(rows, "user"),
        "time": moment_sql(rows, Clock("ts", "seconds")),
        "kind": flat.kind_sql(given_sql(rows, "event"), {"buy": 0, "cancel": 1}),
        "description": given_sql(rows, "description"),
        "quantity": number_sql(rows, "quantity"),
        "price": f"TRY_CAST({given_text_sql(rows, 'price')} AS DOUBLE)",
    }
    return picks, {"item": given_text_sql(rows, "item")}, []


def _invoices(rows: Source, columns: dict[str, str]) -> Picked:
    """The public form, whose values are texts.

    A customer is often 12346.0: the column has gaps, so tools made it a float.
    """
    given = {ours: given_sql(rows, theirs) for ours, theirs in columns.items()}
    american = timestamp_sql(given["date"], "%m/%d/%Y %H:%M")
    cancelled = f"UPPER(SUBSTR({given['invoice']}, 1, 1)) = 'C'"
    picks = {
        "user": flat.number_sql(f"regexp_replace({given['customer']}, '[.]0+$', '')"),
        "time": f"COALESCE({iso_sql(given['date'], 'UTC')}, {micros_sql(american)})",
        "kind": f"CAST(CASE WHEN {cancelled} THEN 1 ELSE 0 END AS SMALLINT)",
        "description": given["description"],
        "quantity": number_sql(rows, columns["quantity"]),
        "price": number_sql(rows, columns["price"]),
    }
    reasons = [
        ("session IS NULL", "no invoice"),
        ("overlap", "rows that a later sheet has too"),
    ]
    return picks, {"item": given["code"], "session": given["invoice"]}, reasons


def _columns(files: Files, where: Path) -> dict[str, str]:
    """Ours → what the files call it. Raises DataError with every missing column of every file."""
    faults, names = list[str](), dict[str, str]()
    for path in files.paths:
        with noting(faults, path.name):
            here, lacking = _named(header(files, path))
            faults += [f"{path.name}: {problem}" for problem in lacking]
            if names and names != here and not lacking:
                ours, others = (", ".join(n.values()) for n in (here, names))
                faults.append(f"{path.name}: found {ours}, but {others} in {files.paths[0].name}")
            names = names or here
    refuse(where, faults)
    return names


def _named(there: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    names, faults = {}, []
    for ours, options in NAMES.items():
        hits = [h for h in there if h.strip() in options]
        if len(hits) == 1:
            names[ours] = hits[0]
            continue
        what = f"{len(hits)} columns {' and '.join(map(repr, hits))}"
        if not hits:
            what = f"no column {' or '.join(map(repr, options))}"
        faults.append(f"{what}; found {', '.join(there) or 'none'}")
    return names, faults


def _workbook(path: Path, target: Path) -> tuple[Path, list[int]]:
    """Writes the rows of all sheets, as texts, and ROW to a Parquet file.

    Gives the file, and the row at which each sheet starts.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise ConfigError(
            f"{path.name} is a workbook: pip install 'clickprint[excel]', or save its sheets as"
            " CSV and read that"
        ) from None
    schema = pa.schema([*((n, pa.string()) for n in NAMES), (ROW, pa.int64())])
    starts, row, faults = list[int](), 0, list[str]()
    try:
        with (
            CalamineWorkbook.from_path(path) as book,
            TableWriter(target, schema) as writer,
        ):
            for title in book.sheet_names:
                lines = book.get_sheet_by_name(title).iter_rows()
                there = [_text(cell) or "" for cell in next(lines, [])]
                if not any(there):
                    continue
                names, lacking = _named(there)
                faults += [f"sheet {title!r}: {problem}" for problem in lacking]
                if lacking:
                    continue
                starts.append(row)
                cells = [there.index(names[n]) for n in NAMES]
                while block := list(islice(lines, BLOCK)):
                    # A workbook's cells are Python values of mixed types, so they are looked at
                    # one by one, block by block.
                    texts = [
                        pa.array([_text(line[c]) for line in block], pa.string()) for c in cells
                    ]
                    rows = pa.array(np.arange(row, row + len(block), dtype=np.int64))
                    writer.write_table(pa.table([*texts, rows], schema=schema))
                    row += len(block)
    except (CalamineError, OSError) as fault:
        said = f"not a whole .xlsx workbook ({first_line(fault)}); copy or download it again"
        raise DataError(path, said) from None
    refuse(path, faults or ([] if starts else ["no sheet holds anything"]))
    return target, starts


def _text(cell: Any) -> str | None:
    """A cell as a CSV would have it.

    Whole numbers have no point, dates are ISO texts, and nothing is None.
    """
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime | date):
        return cell.isoformat(" ") if isinstance(cell, datetime) else cell.isoformat()
    return str(cell) or None


def _overlap(engine: Engine, rows: Source, time: str, starts: Sequence[int] | None) -> str:
    """SQL: whether a sheet that starts and ends later has this row too.

    `starts` are the sheets' first rows; None: look for a jump in time.
    """
    moments = f"SELECT {name(ROW)} AS place, {time} AS t FROM {rows.scan}"
    scan = f"(SELECT * FROM ({moments}) AS s WHERE NOT ({no_time('t')[0]})) AS u"
    if starts is None:
        last = f"SELECT place, t, LAG(t) OVER (ORDER BY place) AS last FROM {scan}"
        back = f"SELECT place FROM ({last}) AS j WHERE t < last - {DAY} ORDER BY place LIMIT 2"
        jumps = engine.arrays(back)["place"]
        starts = [0, int(jumps[0])] if len(jumps) == 1 else [0]
    sheets = []
    for start, end in pairwise([*starts, 2**62]):
        inside = f"place >= {start} AND place < {end}"
        first, last = engine.one(f"SELECT MIN(t), MAX(t) FROM {scan} WHERE {inside}")
        if first is not None:
            sheets.append((start, end, first, last))
    cases = []
    for start, end, first, last in sheets:
        if later := [f for _, _, f, other in sheets if f > first and other > last]:
            inside = f"{name(ROW)} >= {start} AND {name(ROW)} < {end}"
            cases.append(f"({inside} AND {time} >= {min(later)})")
    return f"COALESCE({' OR '.join(cases)}, 1 = 0)" if cases else "1 = 0"
