"""A log's files as something to select from, and SQL for one value of a column.

What readers of CSV and Parquet files share.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from clickprint.core.ids import NONE
from clickprint.data.adapters.mapping import UNITS, Clock, Files
from clickprint.data.adapters.staging import SKIPPED, Skipped, header, stage, staged_names
from clickprint.data.check import (
    arrow_schema,
    column_fault,
    is_float,
    is_list,
    is_text,
    is_time,
    noting,
)
from clickprint.data.engine import (
    Engine,
    digits_sql,
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
    """A scan, what each of its columns holds, and the lines that had too many or few columns.

    `names`: what the scan calls a column whose own name it would take for that of another.
    """

    scan: str
    sorts: Mapping[str, Sort]
    skipped: Skipped = field(default_factory=Skipped)
    names: Mapping[str, str] = field(default_factory=dict)

    def rejected(self, what: str) -> dict[str, int]:
        """The skipped lines as a count of rejected rows, if there are any."""
        return {f"{what}: {SKIPPED}": self.skipped.lines} if self.skipped.lines else {}

    def sql(self, column: str) -> str:
        """The column as an SQL identifier."""
        return name(self.names.get(column, column))


def missing(files: Files, wanted: Collection[str], sequence: str = "") -> list[str]:
    """Files that cannot be read, columns that are not there or not alike.

    The column `sequence` may hold lists.
    """
    faults: list[str] = []
    seen: dict[str, tuple[str, pa.DataType]] = {}  # a column's first file, and its type there
    for path in files.paths:
        with noting(faults, path.name):
            names = header(files, path)
            for column in sorted(wanted):
                said = column_fault(names, column)
                if not said and files.format == "parquet":
                    type_ = arrow_schema(path).field(column).type
                    first = seen.setdefault(column, (path.name, type_))
                    said = _type_fault(column, type_, *first, column == sequence)
                faults += [f"{path.name}: {said}"] * bool(said)
    return faults


def _type_fault(
    column: str, type_: pa.DataType, file: str, other: pa.DataType, lists: bool
) -> str:
    """Why a column's type cannot be read, or differs from the one that it has in another file."""
    value = type_.value_type if lists and is_list(type_) else type_
    if sort_of(value) is None:
        return f"column {column} holds {type_}, expected texts, numbers or times"
    if sort_of(type_) != sort_of(other) or is_list(type_) != is_list(other):
        return f"column {column} holds {type_}, but {other} in {file}"
    return ""


def open_source(
    engine: Engine,
    files: Files,
    columns: Sequence[str],
    target: Path,
    *,
    numbered: bool = False,
    sequence: str = "",
) -> Source:
    """A scan over the files.

    A CSV, rows whose order counts, and columns whose names differ only in capitals, which are one
    name to SQL, are staged at `target` first.
    """
    skipped, paths, names = Skipped(), list(files.paths), dict[str, str]()
    if files.format == "csv" or numbered or _twins(files, columns):
        names = staged_names(columns)
        skipped, paths = stage(files, columns, target, sequence=sequence), [target]
    schema = arrow_schema(paths[0])
    types = {c: schema.field(names.get(c, c)).type for c in columns}
    sorts = {c: sort for c, type_ in types.items() if (sort := sort_of(type_)) is not None}
    return Source(engine.scan(paths), sorts, skipped, names)


def _twins(files: Files, columns: Sequence[str]) -> bool:
    """Whether a file has a column whose name differs from a wanted one only in capitals."""
    wanted = {c.casefold() for c in columns}
    return any(
        sum(n.casefold() in wanted for n in header(files, path)) > len(wanted)
        for path in files.paths
    )


def sort_of(type_: pa.DataType) -> Sort | None:
    if is_text(type_):
        return "text"
    if pa.types.is_integer(type_):
        return "whole"
    if is_float(type_):
        return "float"
    return "time" if is_time(type_) else None


# -- one column at a time: SQL for its value, which is null where it cannot be read --------------


def given_sql(source: Source, column: str) -> str:
    """The raw value; an empty text, NaN and infinity are null."""
    match source.sorts[column]:
        case "text":
            return f"NULLIF({source.sql(column)}, '')"
        case "float":
            finite = f"CAST({source.sql(column)} AS DOUBLE) BETWEEN -{LARGEST} AND {LARGEST}"
            return f"CASE WHEN {finite} THEN {source.sql(column)} END"
        case _:
            return source.sql(column)


def given_text_sql(source: Source, column: str) -> str:
    """The raw value as a text."""
    return f"CAST({given_sql(source, column)} AS VARCHAR)"


def whole_sql(text: str) -> str:
    """Whether a text is a whole number within int64, in its one spelling.

    That is without the sign +, leading zeros and spaces.
    """
    number = f"TRY_CAST({text} AS BIGINT)"
    return f"{number} IS NOT NULL AND CAST({number} AS VARCHAR) = {text} AND {number} > {NONE}"


def id_sql(source: Source, column: str, as_text: bool = False) -> str:
    """The id: that of the value's text, or a whole number."""
    if as_text:
        return text_id_sql(given_text_sql(source, column))
    given = given_sql(source, column)
    match source.sorts[column]:
        case "text":
            return f"CASE WHEN {whole_sql(given)} THEN CAST({given} AS BIGINT) END"
        case "float":
            whole = f"{given} = FLOOR({given}) AND {given} BETWEEN -{EXACT} AND {EXACT}"
            return f"CASE WHEN {whole} THEN CAST({given} AS BIGINT) END"
        case _:
            return f"NULLIF(TRY_CAST({given} AS BIGINT), {NONE})"


def number_sql(source: Source, column: str) -> str:
    """A finite number."""
    given = given_sql(source, column)
    if source.sorts[column] == "text":
        given = digits_sql(given)
    number = f"TRY_CAST({given} AS DOUBLE)"
    return f"CASE WHEN {number} BETWEEN -{LARGEST} AND {LARGEST} THEN {number} END"


def moment_sql(source: Source, clock: Clock) -> str:
    """Microseconds since 1970 UTC, or a position."""
    given, sort, form = given_sql(source, clock.column), source.sorts[clock.column], clock.form
    if sort == "text" and form in ("order", *UNITS):
        given = digits_sql(given)
    if form == "order":
        return f"TRY_CAST({given} AS BIGINT)"
    if form in UNITS:
        unit = UNITS[form]
        if sort != "whole":
            return f"TRY_CAST(TRY_CAST({given} AS DECIMAL(22, 6)) * {unit} AS BIGINT)"
        most = (2**63 - 1) // unit  # the same as above, an order of magnitude faster
        inside = f"{given} BETWEEN -{most} AND {most}"
        return f"CASE WHEN {inside} THEN TRY_CAST({given} AS BIGINT) * {unit} END"
    if sort == "time":
        if clock.zone == "UTC":
            return micros_sql(f"TRY_CAST({given} AS TIMESTAMPTZ)")
        return micros_sql(zoned_sql(f"CAST({given} AS TIMESTAMP)", clock.zone))
    if form == "iso":
        return iso_sql(given, clock.zone)
    parsed = timestamp_sql(f"CAST({given} AS VARCHAR)", form)
    has_zone = "%z" in form or "%Z" in form
    return micros_sql(parsed if has_zone else zoned_sql(parsed, clock.zone))
