"""Parquet files, read by their literal path: nothing in it is a column or a pattern."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.core.errors import DataError, first_line
from clickprint.core.forms import need_content, reading


def read_table(path: Path, schema: pa.Schema | None = None, *, again: str = "") -> pa.Table:
    """The table in a Parquet file. Raises DataError; `again` ends its message.

    `schema`: the columns that it must have, each once and of a type that can be cast.
    """
    with reading(path, again):
        need_content(path)
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                for name in schema.names if schema else ():
                    if (times := names.count(name)) != 1:
                        raise ValueError(f"found {times} columns {name!r}, expected one")
                table = file.read(columns=schema.names if schema else None)
            return table.select(schema.names).cast(schema) if schema else table
        except pa.ArrowException as fault:
            raise ValueError(f"not a whole Parquet file ({first_line(fault)})") from None


def need_columns(table: pa.Table, path: Path, *names: str, again: str = "") -> None:
    """Raises DataError where whole numbers are not what a column holds, each row one."""
    faults = [f"column {n!r} is not there once" for n in names if table.column_names.count(n) != 1]
    faults += [
        f"column {n!r}: found {found.type} with {found.null_count} nulls, expected whole numbers"
        for n, found in zip(table.column_names, table.columns, strict=True)
        if n in names and (not pa.types.is_int64(found.type) or found.null_count)
    ]
    if faults:
        raise DataError(path, [f"{fault}; {again}" if again else fault for fault in faults])
