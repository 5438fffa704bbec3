"""A log's files as something to select from, and SQL for one value of a column: what readers of
CSV files share.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from clickprint.core.errors import DataError
from clickprint.core.ids import NONE
from clickprint.data.adapters.mapping import UNITS, Clock, Files
from clickprint.data.adapters.staging import header, is_list, stage
from clickprint.data.check import arrow_schema, is_text, is_time
from clickprint.data.engine import (
    Engine,
    iso_sql,
    micros_sql,
    name,
    text_id_sql,
    timestamp_sql,
    zoned_sql,
)

EXACT = 2**53  # whole numbers beyond are not exact in a float
LARGEST = "1.7976931348623157e308"
Sort = Literal["text", "whole", "float", "time"]


@dataclass(frozen=True, slots=True)
class Source:
    """A scan, what each of its columns holds, and the lines that had too many or too few columns."""

    scan: str
    sorts: Mapping[str, Sort]
    skipped: int = 0


def missing(files: Files, wanted: Collection[str], sequence: str = "") -> list[str]:
    """Files that cannot be read, columns that are not there or not alike."""
    faults: list[str] = []
    seen: dict[str, tuple[str, pa.DataType]] = {}
    for path in files.paths:
        try:
            names = header(files, path)
        except DataError as fault:
            faults += [f"{path.name}: {p}" for p in fault.problems]
            continue
        for column in sorted(wanted):
            if names.count(column) != 1:
                what = "no column" if column not in names else f"{names.count(column)} columns"
                faults.append(
                    f"{path.name}: {what} {column!r}; found {', '.join(map(str, names)) or 'none'}"
                )
            elif files.format == "parquet":
                type_ = arrow_schema(path).field(column).type
                first, other = seen.setdefault(column, (path.name, type_))
                if sort_of(type_) is None and not (
                    column == sequence and is_list(type_) and sort_of(type_.value_type) is not None
                ):
                    faults.append(
                        f"{path.name}: column {column} holds {type_}, expected texts, numbers or"
                        " times"
                    )
                elif sort_of(type_) != sort_of(other) or is_list(type_) != is_list(other):
                    faults.append(
                        f"{path.name}: column {column} holds {type_}, but {other} in {first}"
                    )
    return faults


def open_source(
    engine: Engine,
    files: Files,
    columns: Sequence[str],
    target: Path,
    *,
    numbered: bool = False,
    sequence: str = "",
) -> Source:
    """A scan over the files; a CSV, and rows whose order counts, are staged first."""
    skipped, paths = 0, list(files.paths)
    if files.format == "csv" or numbered:
        skipped, paths = stage(files, columns, target, sequence=sequence), [target]
    found = arrow_schema(paths[0])
    sorts = {c: sort_of(found.field(c).type) for c in columns}
    return Source(engine.scan(paths), {c: s for c, s in sorts.items() if s is not None}, skipped)


def sort_of(type_: pa.DataType) -> Sort | None:
    if is_text(type_):
        return "text"
    if pa.types.is_integer(type_):
        return "whole"
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "float"
    return "time" if is_time(type_) else None


# --- one column at a time: SQL for its value, which is null where it cannot be read --------------


def given_sql(source: Source, column: str) -> str:
    """The raw value; an empty text, NaN and infinity are null."""
    match source.sorts[column]:
        case "text":
            return f"NULLIF({name(column)}, '')"
        case "float":
            return (
                f"CASE WHEN CAST({name(column)} AS DOUBLE) BETWEEN -{LARGEST} AND {LARGEST} THEN"
                f" {name(column)} END"
            )
        case _:
            return name(column)


def whole_sql(text: str) -> str:
    """Whether a text is a whole number within int64 in its one spelling (no sign +, no leading
    zero, no space).
    """
    number = f"TRY_CAST({text} AS BIGINT)"
    return f"{number} IS NOT NULL AND CAST({number} AS VARCHAR) = {text} AND {number} > {NONE}"


def id_sql(source: Source, column: str, as_text: bool) -> str:
    given = given_sql(source, column)
    if as_text:
        return text_id_sql(f"CAST({given} AS VARCHAR)")
    match source.sorts[column]:
        case "text":
            return f"CASE WHEN {whole_sql(given)} THEN CAST({given} AS BIGINT) END"
        case "float":
            whole = f"{given} = FLOOR({given}) AND {given} BETWEEN -{EXACT} AND {EXACT}"
            return f"CASE WHEN {whole} THEN CAST({given} AS BIGINT) END"
        case _:
            return f"NULLIF(TRY_CAST({given} AS BIGINT), {NONE})"


def number_sql(source: Source, column: str) -> str:
    """Finite, or null."""
    number = f"TRY_CAST({given_sql(source, column)} AS DOUBLE)"
    return f"CASE WHEN {number} BETWEEN -{LARGEST} AND {LARGEST} THEN {number} END"


def moment_sql(source: Source, clock: Clock) -> str:
    given, sort = given_sql(source, clock.column), source.sorts[clock.column]
    if clock.form == "order":
        return f"TRY_CAST({given} AS BIGINT)"
    if clock.form in UNITS:
        if sort == "whole":  # as below, an order of magnitude faster
            most = (2**63 - 1) // UNITS[clock.form]
            return (
                f"CASE WHEN {given} BETWEEN -{most} AND {most} THEN TRY_CAST({given} AS BIGINT) *"
                f" {UNITS[clock.form]} END"
            )
        return f"TRY_CAST(TRY_CAST({given} AS DECIMAL(22, 6)) * {UNITS[clock.form]} AS BIGINT)"
    if sort == "time":
        aware = (
            f"TRY_CAST({given} AS TIMESTAMPTZ)"
            if clock.zone == "UTC"
            else zoned_sql(f"CAST({given} AS TIMESTAMP)", clock.zone)
        )
        return micros_sql(aware)
    if clock.form == "iso":
        return iso_sql(given, clock.zone)
    parsed = timestamp_sql(f"CAST({given} AS VARCHAR)", clock.form)
    return micros_sql(
        parsed if "%z" in clock.form or "%Z" in clock.form else zoned_sql(parsed, clock.zone)
    )
