"""UCI Online Retail and Online Retail II: one and two years of a British gift wholesaler's
invoices, as workbook, CSV or Parquet.
"""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import DAY
from clickprint.data.adapters import flat
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import Source, given_sql, id_sql, moment_sql, number_sql
from clickprint.data.adapters.mapping import Clock, Files
from clickprint.data.adapters.staging import ROW, header, workplace
from clickprint.data.adapters.zipped import found, unpacked
from clickprint.data.check import blaming, no_amount, no_id, no_time, refuse
from clickprint.data.engine import Engine, iso_sql, micros_sql, name, timestamp_sql

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
    dropped=(
        (
            "rows without a customer, about a quarter: sales that nobody can be named for, stock"
            " corrections, bad debt"
        ),
        (
            "rows of two sheets at once: what a sheet has at or after the first time of a sheet"
            " that starts and ends later (Online Retail II has the first days of December 2010 on"
            " both)"
        ),
        (
            "a quantity of 0 or less on an invoice that is no cancellation, one of 0 or more on a"
            " cancellation"
        ),
        (
            "rows without an invoice, a stock code or a readable date; a price that is negative or"
            " no number"
        ),
        "lines with too many or too few columns",
    ),
    notes=(
        (
            "an invoice whose number starts with C is a cancellation: kind cancel, with its"
            " negative quantity as in the source"
        ),
        "the invoice is the session; the price is that of one unit, in pounds; 0 is kept (gifts)",
        "times have no zone and are taken as UTC; every row of an invoice has the same minute",
        "slashes mean month/day/year, always",
        (
            "in CSV files a second sheet is taken to start where the dates jump back by more than"
            " a day, if they do so exactly once"
        ),
        (
            "stock codes are texts: 85123A and 22423 alike, 85123a is another; postage and manual"
            " entries (POST, M) are items"
        ),
        (
            "an item's description is known from the first invoice that shows it, and changes"
            " where an invoice shows another"
        ),
        "rows that stand there twice on a sheet are kept; Country is left out",
        "a workbook's sheets are held in memory while they are read, one at a time",
    ),
)


def read(
    path: Path, out: Path, *, engine: Engine, encoding: str = "utf-8", progress: Progress = silent
) -> Dataset:
    """The workbook, the CSV made of it (in `encoding`), the Parquet file, a zip or folder of one
    of them, in the canonical form at `out`.

    A folder's CSV files are read in the order of their names. Raises DataError with every fault of
    the files, ConfigError where a workbook needs the extra.
    """
    path, out = Path(path), Path(out)
    with unpacked(path, out) as place, workplace(out) as room, blaming(path):
        paths = found(place, ("*.xlsx", "*.csv", "*.csv.gz", "*.parquet"), path)
        progress("look", 0, 0)
        if paths[0].suffix == ".parquet":
            rows = flat.staged(
                engine, Files(paths=tuple(paths), format="parquet"), PARQUET, room, path
            )
            picks, texts, reasons = _plain(rows)
        else:
            if paths[0].suffix.lower() == ".xlsx":
                staged, starts = _workbook(paths[0], room / "sheets.parquet")
                rows, columns = (
                    flat.staged(
                        engine, Files(paths=(staged,), format="parquet"), [*NAMES, ROW], room, path
                    ),
                    {n: n for n in NAMES},
                )
            else:
                files = Files(paths=tuple(paths), format="csv", encoding=encoding)
                columns = _columns(files, path)
                rows, starts = flat.staged(engine, files, list(columns.values()), room, path), None
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


Parts = tuple[dict[str, str], dict[str, str], list[tuple[str, str]]]


def _plain(rows: Source) -> Parts:
    """Picks, texts and reasons of the Parquet form.

    A price in float32 is read as it is written: 0.01, not 0.009999999776482582.
    """
    picks = {
        "user": id_sql(rows, "user", False),
        "time": moment_sql(rows, Clock("ts", "seconds")),
        "kind": flat.kind_sql(given_sql(rows, "event"), {"buy": 0, "cancel": 1}),
        "description": given_sql(rows, "description"),
        "quantity": number_sql(rows, "quantity"),
        "price": f"TRY_CAST(CAST({given_sql(rows, 'price')} AS VARCHAR) AS DOUBLE)",
    }
    return picks, {"item": f"CAST({given_sql(rows, 'item')} AS VARCHAR)"}, []


def _invoices(rows: Source, columns: dict[str, str]) -> Parts:
    """The same of the public form, whose values are texts.

    A customer is often 12346.0: the column has gaps, so tools made it a float.
    """
    given = {ours: given_sql(rows, theirs) for ours, theirs in columns.items()}
    american = timestamp_sql(given["date"], "%m/%d/%Y %H:%M")
    picks = {
        "user": flat.number_sql(f"regexp_replace({given['customer']}, '[.]0+$', '')"),
        "time": f"COALESCE({iso_sql(given['date'], 'UTC')}, {micros_sql(american)})",
        "kind": (
            f"CAST(CASE WHEN UPPER(SUBSTR({given['invoice']}, 1, 1)) = 'C' THEN 1 ELSE 0 END AS"
            " SMALLINT)"
        ),
        "description": given["description"],
        "quantity": number_sql(rows, columns["quantity"]),
        "price": number_sql(rows, columns["price"]),
    }
    overlap = ("overlap", "rows that a later sheet has too")
    return (
        picks,
        {"item": given["code"], "session": given["invoice"]},
        [("session IS NULL", "no invoice"), overlap],
    )


def _columns(files: Files, where: Path) -> dict[str, str]:
    """Ours → what the files call it; DataError with every column that is missing, in any file."""
    faults, names = [], None
    for path in files.paths:
        try:
            here, lacking = _named(header(files, path))
        except DataError as fault:
            faults += [f"{path.name}: {p}" for p in fault.problems]
            continue
        faults += [f"{path.name}: {problem}" for problem in lacking]
        if names is not None and names != here and not lacking:
            faults.append(
                f"{path.name}: found {', '.join(here.values())}, but {', '.join(names.values())}"
                f" in {files.paths[0].name}"
            )
        names = names or here
    refuse(where, faults)
    assert names is not None
    return names


def _named(there: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    names, faults = {}, []
    for ours, options in NAMES.items():
        hits = [h for h in there if h.strip() in options]
        if len(hits) == 1:
            names[ours] = hits[0]
        else:
            what = (
                f"no column {' or '.join(map(repr, options))}"
                if not hits
                else f"{len(hits)} columns {' and '.join(map(repr, hits))}"
            )
            faults.append(f"{what}; found {', '.join(there) or 'none'}")
    return names, faults


def _workbook(path: Path, target: Path) -> tuple[Path, list[int]]:
    """Writes the rows of all sheets, as texts, and ROW to a Parquet file; that file, and the row
    at which each sheet starts.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise ConfigError(
            f"{path.name} is a workbook: pip install 'clickprint[excel]', or save its sheets as"
            " CSV and read that"
        ) from None
    schema = pa.schema([*((n, pa.string()) for n in NAMES), (ROW, pa.int64())])
    starts, row, faults = [0][:0], 0, [""][:0]
    try:
        with (
            CalamineWorkbook.from_path(path) as book,
            pq.ParquetWriter(target, schema, compression="zstd") as writer,
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
                places = [there.index(names[n]) for n in NAMES]
                while block := [line for line, _ in zip(lines, range(BLOCK), strict=False)]:
                    # A workbook's cells are Python values of mixed types, so they are looked at
                    # one by one, block by block.
                    texts = [
                        pa.array([_text(line[place]) for line in block], pa.string())
                        for place in places
                    ]
                    rows = pa.array(np.arange(row, row + len(block), dtype=np.int64))
                    writer.write_table(pa.table([*texts, rows], schema=schema))
                    row += len(block)
    except (CalamineError, OSError) as fault:
        raise DataError(
            path,
            f"not a whole .xlsx workbook ({str(fault).splitlines()[0]}); copy or download it"
            " again",
        ) from None
    refuse(path, faults or ([] if starts else ["no sheet holds anything"]))
    return target, starts


def _text(cell: Any) -> str | None:
    """A cell as a CSV would have it: whole numbers without a point, dates as ISO texts, nothing as
    None.
    """
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime | date):
        return cell.isoformat(" ") if isinstance(cell, datetime) else cell.isoformat()
    return str(cell) or None


def _overlap(engine: Engine, rows: Source, time: str, starts: Sequence[int] | None) -> str:
    """SQL: whether a sheet that starts and ends later has this row too.

    `starts` are the sheets' first rows; None: look for a jump.
    """
    usable = no_time("t")[0]
    scan = f"SELECT {name(ROW)} AS place, {time} AS t FROM {rows.scan}"
    if starts is None:
        last = (
            f"SELECT place, t, LAG(t) OVER (ORDER BY place) AS last FROM ({scan}) AS s WHERE NOT"
            f" ({usable})"
        )
        jumps = engine.arrays(
            f"SELECT place FROM ({last}) AS j WHERE t < last - {DAY} ORDER BY place LIMIT 2"
        )["place"]
        starts = [0, int(jumps[0])] if len(jumps) == 1 else [0]
    ends = [*starts[1:], 2**62]
    spans = [
        engine.one(
            f"SELECT MIN(t), MAX(t) FROM ({scan}) AS s WHERE NOT ({usable}) AND place >= {a} AND"
            f" place < {b}"
        )
        for a, b in zip(starts, ends, strict=True)
    ]
    cases = []
    for a, b, (first, last) in zip(starts, ends, spans, strict=True):
        later = [
            f
            for f, end in spans
            if f is not None and first is not None and f > first and end > last
        ]
        if later:
            cases.append(f"({name(ROW)} >= {a} AND {name(ROW)} < {b} AND {time} >= {min(later)})")
    return f"COALESCE({' OR '.join(cases)}, 1 = 0)" if cases else "1 = 0"
