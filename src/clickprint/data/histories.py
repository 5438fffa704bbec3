"""Building histories: one ordered scan of a log, streamed into flat arrays."""

import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64, Shaped

from clickprint.core.errors import ConfigError
from clickprint.core.events import COLUMNS
from clickprint.core.files import whole
from clickprint.core.histories import Histories, unfit, write_about
from clickprint.core.items import CATEGORICAL, NUMERIC, AttributeType
from clickprint.core.lookup import positions
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import starts_of
from clickprint.data.codes import code_values
from clickprint.data.engine import kept, name, to_numpy
from clickprint.data.log import EventLog

QUERY, QUERY_CODES = "query", "query_codes"
TIES = ("user", "time", "kind", "item")  # the first columns of every manifest's tie_order
ROWS = 250_000  # a piece of the scan: its columns stay in the cache
WRITERS = 2
KEPT = 16 << 20  # bytes of a field that wait in the system's cache
# A table of rows by id may have so many numbers for each id, from the lowest to the highest.
DENSE = 64


def build(
    log: EventLog,
    folder: Path,
    fields: Collection[str],
    *,
    users: Int64[np.ndarray, "U"] | None = None,
    progress: Progress = silent,
) -> Histories:
    """Writes the histories of `users` to `folder`, whole or not at all, and opens them.

    - `users`: sorted, each once; None: everyone with an event.
    - `fields`: event columns, numeric attributes and code vectors of the catalogue, as known at
      the log's end, and `query_codes` where searches are code vectors. A code vector is a row of
      numbers an event (data.codes).

    All events of the log are taken: cut it first. Memory holds the engine's sort, two pieces of
    ROWS, the users, and the wanted attributes of the catalogue (of the searches). Raises
    ConfigError, and DataError for a code vector that is none.
    """
    fields = checked_fields(log, fields)
    with ExitStack() as stack:
        part = stack.enter_context(whole(folder))
        part.mkdir(parents=True)
        wanted = None
        if users is not None:
            wanted = stack.enter_context(kept(log.engine, pa.table({"user": users})))
        lookups = _lookups(log, fields)
        forms = {f: np.zeros(0, COLUMNS[f].to_pandas_dtype()) for f in fields if f in COLUMNS}
        for lookup in lookups.values():
            forms |= lookup.values
        files = {
            f: stack.enter_context(_Growing(part / f"{f}.npy", forms[f].dtype, forms[f].shape[1:]))
            for f in fields
        }
        progress("histories", 0, log.manifest.events)
        owners, lengths = _stream(log, rows_sql(log, fields, wanted), files, lookups, progress)
        if users is not None:
            given = np.zeros(len(users), np.int64)
            given[positions(users, owners)] = lengths
            owners, lengths = users, given
        for file in files.values():
            file.close()
        starts, fingerprint = starts_of(lengths), log.manifest.fingerprint
        write_about(part, owners, starts, list(fields), log.end, fingerprint)
    return Histories.open(folder)


def rows_sql(log: EventLog, fields: Collection[str], wanted: str | None = None) -> str:
    """SQL: user, time, kind, item and what `fields` need of every event, in order.

    Of the users in the relation `wanted`, which has each once, where it is given. Every column
    that is read is a key: a sort that carries nothing else is the cheapest. Attributes of items
    are not joined here: either the sort has to carry them, or the join forgets the order.
    """
    picks = [f"e.{name(c)}" for c in needed(log, fields)]
    order = ", ".join(f"{p} NULLS FIRST" for p in picks)
    rows = f"{log.events} AS e"
    if wanted:
        rows += f" JOIN {wanted} AS w ON e.{name('user')} = w.{name('user')}"
    return f"SELECT {', '.join(picks)} FROM {rows} ORDER BY {order}"


def needed(log: EventLog, fields: Collection[str]) -> list[str]:
    """The columns that settle ties, up to the last of `fields`.

    What the columns behind it tell apart looks the same.
    """
    columns = log.manifest.tie_order
    read = [QUERY if f in _of_queries(log) else f for f in fields]
    last = max([len(TIES), *(columns.index(f) + 1 for f in read if f in columns)])
    return list(columns[:last])


def code_fields(log: EventLog) -> tuple[str, ...]:
    """The fields that are code vectors: attributes of items, and the searches' own."""
    return (*_attributes(log, AttributeType.CODES), *_of_queries(log))


def _attributes(log: EventLog, *types: AttributeType) -> list[str]:
    """The attributes of these types that no column of the events hides."""
    return [a for a in log.manifest.of_type(*types) if a not in log.manifest.tie_order]


def _of_queries(log: EventLog) -> tuple[str, ...]:
    manifest = log.manifest
    coded = QUERY in manifest.columns and manifest.query == "codes"
    return (QUERY_CODES,) if coded and QUERY_CODES not in manifest.attributes else ()


def default_fields(log: EventLog) -> tuple[str, ...]:
    """time, kind, item, and the url, query, first category and price bucket that the log has."""
    firsts = [
        next((a for a in _attributes(log, type_) if not unfit(a)), None) for type_ in CATEGORICAL
    ]
    own = [c for c in ("url", "query") if c in log.manifest.columns]
    return ("time", "kind", "item", *own, *(a for a in firsts if a))


def checked_fields(log: EventLog, fields: Collection[str]) -> tuple[str, ...]:
    """The fields, each once. Raises ConfigError for one that histories of this log cannot hold."""
    attributes = log.manifest.of_type(*NUMERIC)
    known = dict.fromkeys([*log.manifest.tie_order, *attributes, *code_fields(log)])
    fields = tuple(dict.fromkeys(fields))
    if wrong := [f for f in fields if f not in known] or ([] if fields else ["none"]):
        said = f"found {', '.join(wrong)}, expected some of {', '.join(known)}"
        raise ConfigError(f"fields of histories: {said}")
    if bad := [f for f in fields if unfit(f)]:
        said = f"{', '.join(map(repr, bad))} cannot be the name of a file of theirs"
        raise ConfigError(f"fields of histories: {said}")
    return fields


def _stream(
    log: EventLog,
    sql: str,
    files: dict[str, "_Growing"],
    lookups: dict[str, "_Lookup"],
    progress: Progress,
) -> tuple[Int64[np.ndarray, "U"], Int64[np.ndarray, "U"]]:
    """Writes the fields; the users, and how many events each has."""
    users, counts, done = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    key = {field: column for column, lookup in lookups.items() for field in lookup.values}

    def write(field: str, table: pa.Table, rows: dict[str, np.ndarray]) -> None:
        column = key.get(field)
        if column is None:
            files[field].add(to_numpy(table.column(field)))
        else:
            files[field].add(lookups[column].values[field][rows[column]])

    # The engine goes on while a piece is written, field by field.
    with ThreadPoolExecutor(WRITERS) as pool:
        writing: list[Future[None]] = []
        for table in _pieces(log.engine.batches(sql, ROWS)):
            rows = {
                column: lookup.rows(table.column(column)) for column, lookup in lookups.items()
            }
            for one in writing:
                one.result()
            writing = [pool.submit(write, field, table, rows) for field in files]
            user = table.column("user").to_numpy()
            first = np.flatnonzero(np.append(True, user[1:] != user[:-1]))
            some, count = user[first], np.diff(np.append(first, len(user)))
            if len(users[-1]) and users[-1][-1] == some[0]:
                counts[-1][-1] += count[0]
                some, count = some[1:], count[1:]
            if len(some):
                users.append(some)
                counts.append(count)
            done += len(table)
            progress("histories", done, max(log.manifest.events, done + 1))
        for one in writing:
            one.result()
    progress("histories", max(done, 1), max(done, 1))
    return np.concatenate(users), np.concatenate(counts)


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches joined to pieces of about ROWS."""
    waiting, count = [], 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count >= ROWS:
            yield pa.Table.from_batches(waiting)
            waiting, count = [], 0
    if count:
        yield pa.Table.from_batches(waiting)


@dataclass(frozen=True, slots=True)
class _Lookup:
    """What is said of ids (items, searches), a row an id; the last row is for unknown ids.

    Where ids are close together `dense` holds the row of each id from the lowest on: a tenth of
    the time of a hash table.
    """

    ids: Int64[np.ndarray, "V"]
    values: dict[str, np.ndarray]
    dense: Int32[np.ndarray, "S"] | None

    @staticmethod
    def of(ids: Int64[np.ndarray, "V"], values: dict[str, np.ndarray]) -> "_Lookup":
        dense = None
        if len(ids) and (span := int(ids.max()) - int(ids.min())) < DENSE * len(ids):
            dense = np.full(span + 1, -1, np.int32)
            dense[ids - ids.min()] = np.arange(len(ids), dtype=np.int32)
        return _Lookup(ids, values, dense)

    def rows(self, id_: pa.ChunkedArray) -> np.ndarray:
        """The row of each id; −1, the last, for none and for one that nobody knows."""
        if self.dense is None:
            return pc.fill_null(pc.index_in(id_, pa.array(self.ids)), -1).to_numpy()
        ids, low = to_numpy(id_), self.ids.min()
        inside = (ids >= low) & (ids < low + len(self.dense))
        return np.where(inside, self.dense[np.where(inside, ids, low) - low], -1)


def _lookups(log: EventLog, fields: Collection[str]) -> dict[str, _Lookup]:
    """By the column whose ids they are of."""
    lookups, of_queries, coded = {}, _of_queries(log), code_fields(log)
    own = (*log.manifest.tie_order, *of_queries)
    if attributes := [f for f in fields if f not in own]:
        picks = ", ".join(map(name, attributes))
        table = log.engine.table(f"SELECT item, {picks} FROM ({log.known(log.end)}) AS k")
        values = {
            a: _with_unknown(table.column(a), a in coded, f"{log.manifest.name}: {a}")
            for a in attributes
        }
        lookups["item"] = _Lookup.of(table.column("item").to_numpy(), values)
    if queried := [f for f in fields if f in of_queries]:
        table = log.engine.table(f"SELECT id, text FROM {log.texts[QUERY]}")
        codes = _with_unknown(table.column("text"), True, f"{log.manifest.name}: {QUERY}")
        lookups[QUERY] = _Lookup.of(to_numpy(table.column("id")), dict.fromkeys(queried, codes))
    return lookups


def _with_unknown(column: pa.ChunkedArray, coded: bool, where: str) -> np.ndarray:
    if coded:
        codes = code_values(column, where)
        return np.append(codes, np.full((1, codes.shape[1]), -1, np.int32), axis=0)
    return to_numpy(pa.chunked_array([*column.chunks, pa.nulls(1, column.type)]))


class _Growing:
    """A .npy file to which values are appended; the header says how many when it is closed."""

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...] = ()) -> None:
        self._file, self._dtype, self._shape = path.open("wb", buffering=0), dtype, shape
        self._count = self._kept = 0
        self._size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))  # bytes of a value
        self._header()
        self._start = self._file.tell()

    def add(self, values: Shaped[np.ndarray, "L ..."]) -> None:
        bytes_ = np.ascontiguousarray(values, self._dtype).reshape(-1).view(np.uint8).data
        while bytes_:  # an unbuffered write may take less than it is given
            bytes_ = bytes_[self._file.write(bytes_) :]
        self._count += len(values)
        if self._count * self._size - self._kept > KEPT and hasattr(os, "posix_fadvise"):
            # To the disk, and the system's pages back: a large file would push the log out of the
            # cache, and new pages cost more.
            os.fdatasync(self._file.fileno())
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self._kept = self._count * self._size

    def close(self) -> None:
        if not self._file.closed:
            self._file.seek(0)
            self._header()
            # numpy leaves room in a header for an array that grows
            assert self._file.tell() == self._start
            self._file.close()

    def _header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self._dtype)
        shape = (self._count, *self._shape)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> "_Growing":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()
