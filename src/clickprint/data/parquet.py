"""Parquet files that are written piece by piece; a full disk is told once, in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.core.errors import ConfigError, first_line
from clickprint.core.files import temporary


class TableWriter(pq.ParquetWriter):
    """A Parquet file to which tables are added, compressed.

    Raises ConfigError, which names the file, where the system refuses to write it. It is no
    OSError, or a reader would take it for a fault of the file that it reads.
    """

    def __init__(self, path: Path, schema: pa.Schema, **options: Any) -> None:
        self._path = path
        with _told(path):
            super().__init__(path, schema, compression="zstd", **options)

    def write_table(self, table: pa.Table, row_group_size: int | None = None) -> None:
        with _told(self._path):
            super().write_table(table, row_group_size)

    def close(self) -> None:
        with _told(self._path):
            super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            return self.close()
        # Of a file that could not be written, closing it raises another fault.
        with suppress(pa.ArrowException, ConfigError):
            self.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        said = os.strerror(fault.errno) if fault.errno else first_line(fault)
        raise ConfigError(f"{_shown(path)}: {path.name} cannot be written ({said})") from None


def _shown(path: Path) -> Path:
    """The folder of a file, without the temporary ones."""
    return next(p for p in path.absolute().parents if not any(map(temporary, p.parts)))
