"""Looking at files before they are read, and sorting out rows that cannot be used, by reason."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.core.errors import DataError, first_line
from clickprint.core.ids import NONE
from clickprint.core.time import parse
from clickprint.data.engine import Engine, name, rows_in

Need = Literal["id", "number", "text", "time", "moment"]
SAID: dict[Need, str] = {
    "id": "whole numbers within int64",
    "number": "numbers",
    "text": "texts",
    "time": "texts YYYY-MM-DD HH:MM:SS or timestamps",
    "moment": "timestamps or dates",
}
# A search as the challenge has it: sixteen codes from 0 to 255, `[148 50 … 31]`.
BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
SIXTEEN_CODES = rf"\s*\[\s*({BYTE}\s+){{15}}{BYTE}\s*\]\s*"
# A time outside is a wrong unit or a placeholder (1900-01-01), not the time of a purchase.
EARLIEST, LATEST = parse("1900-01-01") + 1, parse("2200-01-01")
Reason = tuple[str, str]  # SQL: a condition that makes a row unusable, and what it means


# -- files ---------------------------------------------------------------------------------------


def file_fault(path: Path, what: str) -> str:
    """Why there is nothing to read at `path`, where `what` is expected ("a CSV file"); or ""."""
    if not path.exists():
        return "not found"
    if not path.is_file():
        return f"this is a folder, expected {what}"
    return "" if path.stat().st_size else "the file is empty"


def need_file(path: Path, what: str) -> None:
    """Raises DataError where `path` is no file, or an empty one."""
    if fault := file_fault(path, what):
        raise DataError(path, fault)


def folder_faults(path: Path, what: str = "a folder") -> list[str]:
    """Why `path` is no folder, or nothing."""
    if path.is_dir():
        return []
    return [f"this is a file, expected {what}" if path.exists() else "not found"]


@contextmanager
def noting(faults: list[str], label: str) -> Iterator[None]:
    """A DataError inside ends the block; its problems join `faults` as `label: problem`."""
    try:
        yield
    except DataError as fault:
        faults += [f"{label}: {problem}" for problem in fault.problems]


def refuse(where: Path | str, faults: Sequence[str]) -> None:
    """Raises one DataError with all faults, if there are any."""
    if faults:
        raise DataError(where, faults)


@contextmanager
def blaming(where: Path | str) -> Iterator[None]:
    """Errors of the engine inside are raised as errors of `where`.

    Such as damaged pages, texts that are not UTF-8, no room on the disk.
    """
    try:
        yield
    except DataError as fault:
        if fault.where != "engine":
            raise
        raise DataError(where, fault.problems) from None


def arrow_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet file, from its footer. Raises DataError when it has none."""
    need_file(path, "a Parquet file")
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as fault:
        said = f"not a whole Parquet file ({first_line(fault)}); copy or download it again"
        raise DataError(path, said) from None


def column_fault(names: Sequence[str], column: str) -> str:
    """Why a file does not have this column once; "" where it does."""
    if (times := names.count(column)) == 1:
        return ""
    what = f"{times} columns" if times else "no column"
    return f"{what} {column!r}; found {', '.join(map(str, names)) or 'none'}"


def parquet_problems(
    path: Path, needs: Mapping[str, Need], *, full: Sequence[str] = ()
) -> list[str]:
    """What is wrong with a Parquet file, by its footer: one sentence a fault.

    - The file cannot be read, or a column of `needs` is missing, double or of a wrong type.
    - A column of `full` has nulls.
    """
    faults: list[str] = []
    with noting(faults, path.name):
        schema = arrow_schema(path)
        for column, need in needs.items():
            said = column_fault(schema.names, column)
            if not said and not fits(type_ := schema.field(column).type, need):
                said = f"column {column} holds {type_}, expected {SAID[need]}"
            if not said and column in full and (nulls := _nulls(path, column)):
                said = f"{nulls} rows have no {column}"
            faults += [f"{path.name}: {said}"] * bool(said)
    return faults


def is_text(type_: pa.DataType) -> bool:
    types = pa.types
    type_ = type_.value_type if types.is_dictionary(type_) else type_
    return types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)


def is_time(type_: pa.DataType) -> bool:
    return pa.types.is_timestamp(type_) or pa.types.is_date(type_)


def is_list(type_: pa.DataType) -> bool:
    return pa.types.is_list(type_) or pa.types.is_large_list(type_)


def is_float(type_: pa.DataType) -> bool:
    return pa.types.is_floating(type_) or pa.types.is_decimal(type_)


def fits(type_: pa.DataType, need: Need) -> bool:
    """Whether a column of this type can hold what is needed."""
    match need:
        case "id":
            return pa.types.is_integer(type_) and type_ != pa.uint64()
        case "number":
            return pa.types.is_integer(type_) or is_float(type_)
        case "text":
            return is_text(type_)
        case "time":
            return is_text(type_) or is_time(type_)
        case "moment":
            return is_time(type_)


def _nulls(path: Path, column: str) -> int:
    """The nulls that the footer's statistics count (0 where the writer kept none)."""
    data = pq.read_metadata(path)
    place = data.schema.to_arrow_schema().names.index(column)
    counts = [data.row_group(g).column(place).statistics for g in range(data.num_row_groups)]
    return sum(c.null_count for c in counts if c is not None and c.has_null_count)


# -- rows ----------------------------------------------------------------------------------------


def sift(
    engine: Engine, sql: str, reasons: Sequence[Reason], prefix: str = ""
) -> tuple[str, int, dict[str, int]]:
    """The usable rows of `sql`, their number, and the others counted by the first reason.

    The conditions of `reasons` are over the columns of `sql`; `prefix` names the file in the
    counts.
    """
    return sift_values(engine, sql, reasons, (), prefix)[:3]


def sift_values(
    engine: Engine, sql: str, reasons: Sequence[Reason], cells: Sequence[Reason], prefix: str = ""
) -> tuple[str, int, dict[str, int], dict[str, int]]:
    """As `sift`, and of the usable rows how many fulfil each condition of `cells`."""
    if not reasons and not cells:
        return sql, rows_in(engine, sql), {}, {}
    cases = " ".join(f"WHEN {condition} THEN {n}" for n, (condition, _) in enumerate(reasons))
    reason = f"CASE {cases} ELSE -1 END" if reasons else "-1"
    sums = "".join(
        f", SUM(CASE WHEN {condition} THEN 1 ELSE 0 END) AS c{n}"
        for n, (condition, _) in enumerate(cells)
    )
    each = f"SELECT *, {reason} AS reason FROM ({sql}) AS s"
    rows = engine.table(f"SELECT reason, COUNT(*) AS n{sums} FROM ({each}) AS r GROUP BY reason")
    by = {row["reason"]: row for row in rows.to_pylist()}
    usable = by.pop(-1, {"n": 0})
    rejected = {prefix + reasons[place][1]: row["n"] for place, row in sorted(by.items())}
    unread = {prefix + what: int(usable.get(f"c{n}", 0)) for n, (_, what) in enumerate(cells)}
    good = f"SELECT * FROM ({sql}) AS s WHERE {reason} = -1"
    return good, usable["n"], rejected, {what: n for what, n in unread.items() if n}


def no_time(column: str) -> Reason:
    """A time in microseconds is null or out of all bounds."""
    return f"{column} IS NULL OR NOT {column} BETWEEN {EARLIEST} AND {LATEST}", "no readable time"


def no_id(column: str, what: str | None = None) -> Reason:
    """An id is null, or the number that stands for none."""
    return f"{column} IS NULL OR {column} <= {NONE}", f"no {what or column}"


def no_amount(column: str, least: str = "0") -> Reason:
    """A number is null, NaN, infinite or below `least`."""
    return f"{column} IS NULL OR NOT {column} BETWEEN {least} AND 1e15", f"no usable {column}"


def odd(column: str, what: str) -> Reason:
    """The column `given …` has a value that `column` could not take over: it is no `what`."""
    given, value = name(f"given {column}"), name(column)
    return f"{given} IS NOT NULL AND {value} IS NULL", f"{column} is no {what}"
