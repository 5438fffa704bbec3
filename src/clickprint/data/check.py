"""Looking at files before they are read: what is missing, what has the wrong type, and which rows
cannot be used, by reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.core.errors import DataError
from clickprint.core.ids import NONE
from clickprint.core.time import parse
from clickprint.data.engine import Engine

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


def arrow_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet file, from its footer.

    Raises DataError when there is none to read.
    """
    if not path.is_file():
        raise DataError(
            path,
            ("not found" if not path.exists() else "this is a folder, expected a Parquet file"),
        )
    if not path.stat().st_size:
        raise DataError(path, "the file is empty")
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as fault:
        raise DataError(
            path,
            f"not a whole Parquet file ({str(fault).splitlines()[0]}); copy or download it again",
        ) from None


def parquet_problems(
    path: Path, needs: Mapping[str, Need], *, full: Sequence[str] = ()
) -> list[str]:
    """What is wrong with one Parquet file: unreadable, columns missing or of the wrong type, or
    nulls in the columns named in `full`.

    Reads the footer only. One sentence a fault, each starting with the file's name.
    """
    try:
        found = arrow_schema(path)
    except DataError as fault:
        return [f"{path.name}: {p}" for p in fault.problems]
    faults = []
    for column, need in needs.items():
        if column not in found.names:
            faults.append(
                f"{path.name}: no column {column!r}; found {', '.join(found.names) or 'none'}"
            )
        elif found.names.count(column) > 1:
            faults.append(
                f"{path.name}: {found.names.count(column)} columns {column!r}, expected one"
            )
        elif not fits(found.field(column).type, need):
            faults.append(
                f"{path.name}: column {column} holds {found.field(column).type}, expected"
                f" {SAID[need]}"
            )
        elif column in full and (nulls := _nulls(path, column)):
            faults.append(f"{path.name}: {nulls} rows have no {column}")
    return faults


def is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


def is_time(type_: pa.DataType) -> bool:
    return pa.types.is_timestamp(type_) or pa.types.is_date(type_)


def fits(type_: pa.DataType, need: Need) -> bool:
    """Whether a column of this type can hold what is needed."""
    match need:
        case "id":
            return pa.types.is_integer(type_) and type_ != pa.uint64()
        case "number":
            return (
                pa.types.is_integer(type_)
                or pa.types.is_floating(type_)
                or pa.types.is_decimal(type_)
            )
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


def refuse(where: Path | str, faults: Sequence[str]) -> None:
    """Raises one DataError with all faults, if there are any."""
    if faults:
        raise DataError(where, faults)


@contextmanager
def blaming(where: Path | str) -> Iterator[None]:
    """What the engine finds wrong inside is said of `where`: damaged pages, texts that are not
    UTF-8, no room on the disk.
    """
    try:
        yield
    except DataError as fault:
        if fault.where != "engine":
            raise
        raise DataError(where, fault.problems) from None


def sift(
    engine: Engine, sql: str, reasons: Sequence[tuple[str, str]], prefix: str = ""
) -> tuple[str, int, dict[str, int]]:
    """The usable rows of `sql`, their number, and the others counted by reason (the first
    condition that is true).

    `reasons` are (SQL condition over the columns of `sql`, what it means); `prefix` names the file
    in the counts.
    """
    if not reasons:
        return sql, int(engine.one(f"SELECT COUNT(*) FROM ({sql}) AS s")[0]), {}
    cases = " ".join(
        f"WHEN {condition} THEN {place}" for place, (condition, _) in enumerate(reasons)
    )
    found = engine.table(
        f"SELECT reason, COUNT(*) AS n FROM (SELECT CASE {cases} ELSE -1 END AS reason FROM"
        f" ({sql}) AS s) AS r GROUP BY reason"
    )
    counts = dict(
        zip(found.column("reason").to_pylist(), found.column("n").to_pylist(), strict=True)
    )
    good = f"SELECT * FROM ({sql}) AS s WHERE CASE {cases} ELSE -1 END = -1"
    return (
        good,
        counts.pop(-1, 0),
        {prefix + reasons[place][1]: n for place, n in sorted(counts.items())},
    )


def no_time(column: str) -> tuple[str, str]:
    """For `sift`: a time in microseconds that is null or out of all bounds."""
    return f"{column} IS NULL OR NOT {column} BETWEEN {EARLIEST} AND {LATEST}", "no readable time"


def no_id(column: str, what: str | None = None) -> tuple[str, str]:
    """For `sift`: an id that is null, or the number that stands for none."""
    return f"{column} IS NULL OR {column} <= {NONE}", f"no {what or column}"


def no_amount(column: str, least: str = "0") -> tuple[str, str]:
    """For `sift`: a number that is null, NaN, infinite or below `least`."""
    return f"{column} IS NULL OR NOT {column} BETWEEN {least} AND 1e15", f"no usable {column}"
