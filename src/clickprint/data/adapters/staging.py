"""Files as they come → Parquet that the engine can scan as often as it likes.

The values of a CSV become texts; the number of a row is added where asked for.
"""

import codecs
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from clickprint.core.errors import DataError, first_line
from clickprint.core.files import beside
from clickprint.data.adapters.mapping import Files
from clickprint.data.check import arrow_schema, is_list, need_file, refuse
from clickprint.data.parquet import TableWriter

ROW = "#row"  # a row's place in all files together
SKIPPED = "too many or too few columns"
BLOCK = 4 << 20
SHOWN = 3  # lines that a message shows
# A last line that is in no file, and has the wrong number of columns. Where it is not found again,
# a quote that was opened before has swallowed it.
END = "\u2404\u2404\u2404"
FaultsOfArrow = (OSError, EOFError, pa.ArrowException, UnicodeError)


@dataclass(slots=True)
class Skipped:
    """The lines that had too many or too few columns, and the first of them.

    `ended`: the last file was read to its end.
    """

    lines: int = 0
    shown: tuple[str, ...] = ()
    ended: bool = True


def staged_names(columns: Sequence[str]) -> dict[str, str]:
    """What each column is called where it is staged: no two differ only in capitals."""
    names: dict[str, str] = {}
    taken = {ROW}
    for column in columns:
        found, turn = column, 1
        while found.casefold() in taken:
            turn += 1
            found = f"{column}#{turn}"
        taken.add(found.casefold())
        names[column] = found
    return names


def header(files: Files, path: Path) -> list[str]:
    """The columns of one file. Raises DataError when it cannot be read at all."""
    if files.format == "parquet":
        return list(arrow_schema(path).names)
    need_file(path, "a CSV file")
    if files.header:
        return list(files.header)
    options = csv.ReadOptions(block_size=BLOCK)
    try:
        with (
            _Text(path, files.encoding) as text,
            csv.open_csv(text, options, _parse(files, Skipped())) as reader,
        ):
            return list(reader.schema.names)
    except FaultsOfArrow as fault:
        raise DataError(path, _said(fault, files)) from None


def there(path: Path) -> Path:
    """The file, or where there is none its packed form (.gz, .zst) if that is there."""
    packed = (path.with_name(path.name + suffix) for suffix in (".gz", ".zst"))
    return path if path.exists() else next((p for p in packed if p.exists()), path)


def stage(files: Files, columns: Sequence[str], target: Path, *, sequence: str = "") -> Skipped:
    """Writes these columns of all files, under `staged_names`, and ROW, to one Parquet file.

    Gives the rows that had too many or too few columns. A CSV's values are texts; an empty one,
    and what the files' `missing` names, is null. Where the Parquet column `sequence` holds lists,
    each entry becomes a row. Holds one block in memory. Raises DataError with one fault a file.
    """
    start, skipped, faults = 0, Skipped(), list[str]()
    names = staged_names(columns)
    with ExitStack() as stack:
        writer: TableWriter | None = None
        for path in files.paths:
            csv_ = files.format == "csv"
            try:
                for batch in (
                    _csv(path, files, columns, skipped)
                    if csv_
                    else _parquet(path, columns, sequence)
                ):
                    rows = pa.array(np.arange(start, start + len(batch), dtype=np.int64))
                    named = batch.select(list(columns)).rename_columns(list(names.values()))
                    table = named.append_column(ROW, rows)
                    if writer is None:
                        writer = TableWriter(target, table.schema)
                        stack.enter_context(writer)
                    writer.write_table(table.cast(writer.schema))
                    start += len(batch)
            except FaultsOfArrow as fault:
                faults.append(f"{path.name}: {_said(fault, files)}")
    refuse(files.paths[0].parent, faults)
    if writer is None:
        empty = {
            **dict.fromkeys(names.values(), pa.array([], pa.string())),
            ROW: pa.array([], pa.int64()),
        }
        pq.write_table(pa.table(empty), target)
    return skipped


def _csv(path: Path, files: Files, columns: Sequence[str], skipped: Skipped) -> Iterator[pa.Table]:
    read = csv.ReadOptions(block_size=BLOCK, column_names=list(files.header) or None)
    convert = csv.ConvertOptions(
        include_columns=list(columns),
        column_types=dict.fromkeys(columns, pa.string()),
        strings_can_be_null=True,
        null_values=["", *files.missing],
    )
    end = END + files.delimiter * (len(header(files, path)) == 1)
    skipped.ended = False
    with (
        _Text(path, files.encoding, f"\n{end}\n") as text,
        csv.open_csv(text, read, _parse(files, skipped, end), convert) as reader,
    ):
        for batch in reader:
            yield pa.Table.from_batches([batch])
    if not skipped.ended:
        raise pa.ArrowInvalid("a quote is opened and not closed")


def _parse(files: Files, skipped: Skipped, end: str = END) -> csv.ParseOptions:
    def skip(row: csv.InvalidRow) -> str:
        text = str(row.text)
        if text == end:
            skipped.ended = True
            return "skip"
        skipped.lines += 1 + text.count("\n")  # the quotes of one may hold many
        if len(skipped.shown) < SHOWN:
            skipped.shown += (text,)
        return "skip"

    return csv.ParseOptions(
        delimiter=files.delimiter, newlines_in_values=True, invalid_row_handler=skip
    )


def _parquet(path: Path, columns: Sequence[str], sequence: str) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=list(columns)):
            table = pa.Table.from_batches([batch])
            if sequence and is_list(table.schema.field(sequence).type):
                lists = table.column(sequence).combine_chunks()
                others = table.drop_columns([sequence]).take(pc.list_parent_indices(lists))
                table = others.append_column(sequence, pc.list_flatten(lists)).select(
                    list(columns)
                )
            yield table


@contextmanager
def workplace(out: Path) -> Iterator[Path]:
    """A folder beside `out` for what is only needed while reading; removed, also what a killed
    process left.
    """
    room = beside(out, "stage")
    made = [p for p in (out.parent, *out.parent.parents) if not p.exists()]
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()


class _Text(io.RawIOBase):
    """The bytes of a file, unpacked (.gz, .bz2, .zst), checked and turned into UTF-8 on the way.

    Without its byte order mark. `end` comes after all.
    """

    def __init__(self, path: Path, encoding: str, end: str = "") -> None:
        self._file: IO[bytes] = pa.input_stream(str(path), compression="detect")
        encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._left, self._end = b"", end.encode()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._left:
            raw = self._file.read(BLOCK)
            self._left = self._decoder.decode(raw, not raw).encode()
            if not raw:
                self._left, self._end = self._left + self._end, b""
                break
        size = len(self._left) if size is None or size < 0 else size
        out, self._left = self._left[:size], self._left[size:]
        return out

    def close(self) -> None:
        self._file.close()
        super().close()


def _said(fault: Exception, files: Files) -> str:
    if isinstance(fault, UnicodeError):
        help_ = "name the file's encoding, such as encoding = 'latin-1'"
        return f"not {files.encoding} ({fault}); {help_}"
    what = "CSV" if files.format == "csv" else "Parquet"
    return f"not a whole {what} file ({first_line(fault)})"
