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
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import starts_of
from clickprint.data.codes import code_values
from clickprint.data.engine import name, to_numpy
from clickprint.data.log import NUMERIC, EventLog

QUERY, QUERY_CODES = "query", "query_codes"
TIES = (
    "user",
    "time",
    "kind",
    "item",
)  # then the other columns, in the order of core.events.COLUMNS
ROWS = 250_000  # a piece of the scan: its columns stay in the cache
WRITERS = 2
KEPT = 16 << 20  # bytes of a field that wait in the system's cache
DENSE = 64  # numbers between the lowest and the highest id for each item, at most, for a table of places


def build(
    log: EventLog,
    folder: Path,
    fields: Collection[str],
    *,
    users: Int64[np.ndarray, "U"] | None = None,
    progress: Progress = silent,
) -> Histories:
    """Writes the histories of `users` (sorted, each once;

    None: everyone with an event) to `folder`, whole or not at all, and opens them.

    `fields` are event columns, numeric attributes and code vectors of the catalogue, as known at
    the log's end, and `query_codes` where searches are code vectors; a code vector is a row of
    numbers an event (data.codes). All events of the log are taken: cut it first. Memory holds the
    engine's sort, two pieces of ROWS, the users, and the wanted attributes of the catalogue (of
    the searches). Raises ConfigError, and DataError for a code vector that is none.
    """
    fields = _checked(log, fields)
    with ExitStack() as stack:
        part = stack.enter_context(whole(folder))
        part.mkdir(parents=True)
        wanted = None
        if users is not None:
            wanted = log.engine.keep(pa.table({"user": users}))
            stack.callback(log.engine.drop, wanted)
        lookups = _lookups(log, fields)
        kinds: dict[str, tuple[np.dtype, tuple[int, ...]]]
        kinds = {f: (np.dtype(COLUMNS[f].to_pandas_dtype()), ()) for f in fields if f in COLUMNS}
        kinds |= {
            f: (v.dtype, v.shape[1:])
            for lookup in lookups.values()
            for f, v in lookup.values.items()
        }
        files = {f: stack.enter_context(_Growing(part / f"{f}.npy", *kinds[f])) for f in fields}
        progress("histories", 0, log.manifest.events)
        found, lengths = _stream(log, rows_sql(log, fields, wanted), files, lookups, progress)
        if users is not None:
            given = np.zeros(len(users), np.int64)
            given[np.searchsorted(users, found)] = lengths
            found, lengths = users, given
        for file in files.values():
            file.close()
        write_about(
            part, found, starts_of(lengths), list(fields), log.end, log.manifest.fingerprint
        )
    return Histories.open(folder)


def rows_sql(log: EventLog, fields: Collection[str], wanted: str | None = None) -> str:
    """user, time, kind, item and what `fields` need of every event (of the users in the relation
    `wanted`, which has each once), in order.

    Every column that is read is a key: a sort that carries nothing else is the cheapest.
    Attributes of items are not joined here: either the sort has to carry them, or the join forgets
    the order.
    """
    picks = [f"e.{name(c)}" for c in needed(log, fields)]
    chosen = f" JOIN {wanted} AS w ON e.{name('user')} = w.{name('user')}" if wanted else ""
    return (
        f"SELECT {', '.join(picks)} FROM {log.events} AS e{chosen} ORDER BY"
        f" {', '.join(f'{p} NULLS FIRST' for p in picks)}"
    )


def tie_order(log: EventLog) -> list[str]:
    """The columns that its events have, in the order that settles ties."""
    return [*TIES, *(c for c in COLUMNS if c in log.manifest.columns and c not in TIES)]


def needed(log: EventLog, fields: Collection[str]) -> list[str]:
    """`tie_order` up to the last of `fields`: what the columns behind it tell apart looks the
    same.
    """
    columns = tie_order(log)
    read = [QUERY if f in _of_queries(log) else f for f in fields]
    return columns[: max([len(TIES), *(columns.index(f) + 1 for f in read if f in columns)])]


def code_fields(log: EventLog) -> tuple[str, ...]:
    """The fields that are code vectors: attributes of items, and the searches' own."""
    return (
        *(
            a
            for a, k in log.manifest.attributes.items()
            if k is AttributeType.CODES and a not in tie_order(log)
        ),
        *_of_queries(log),
    )


def _of_queries(log: EventLog) -> tuple[str, ...]:
    coded = (
        QUERY in log.manifest.columns
        and log.manifest.query == "codes"
        and QUERY_CODES not in log.manifest.attributes
    )
    return (QUERY_CODES,) if coded else ()


def default_fields(log: EventLog) -> tuple[str, ...]:
    """time, kind, item, and the url, query, first category and first price bucket that the log
    has.
    """
    columns = tie_order(log)
    firsts = [
        next(
            (
                n
                for n, k in log.manifest.attributes.items()
                if k is kind and n not in columns and not unfit(n)
            ),
            None,
        )
        for kind in (AttributeType.CATEGORY, AttributeType.PRICE_BUCKET)
    ]
    return (
        "time",
        "kind",
        "item",
        *(c for c in ("url", "query") if c in columns),
        *(n for n in firsts if n),
    )


def _checked(log: EventLog, fields: Collection[str]) -> tuple[str, ...]:
    known = dict.fromkeys(
        [
            *tie_order(log),
            *(a for a, k in log.manifest.attributes.items() if k in NUMERIC),
            *code_fields(log),
        ]
    )
    fields = tuple(dict.fromkeys(fields))
    if wrong := [f for f in fields if f not in known] or ([] if fields else ["none"]):
        raise ConfigError(
            f"fields of histories: found {', '.join(wrong)}, expected some of {', '.join(known)}"
        )
    if bad := [f for f in fields if unfit(f)]:
        raise ConfigError(
            f"fields of histories: {', '.join(map(repr, bad))} cannot be the name of a file of"
            " theirs"
        )
    return fields


def _stream(
    log: EventLog,
    sql: str,
    files: dict[str, "_Growing"],
    lookups: dict[str, "_Lookup"],
    progress: Progress,
) -> tuple[Int64[np.ndarray, "U"], Int64[np.ndarray, "U"]]:
    """Writes the fields; the users, and how many events each has."""
    users, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    done = 0
    key = {field: column for column, lookup in lookups.items() for field in lookup.values}

    def write(field: str, table: pa.Table, places: dict[str, np.ndarray]) -> None:
        column = key.get(field)
        files[field].add(
            to_numpy(table.column(field))
            if column is None
            else lookups[column].values[field][places[column]]
        )

    with ThreadPoolExecutor(
        WRITERS
    ) as pool:  # the engine goes on while a piece is written, field by field
        writing: list[Future[None]] = []
        for table in _pieces(log.engine.batches(sql, ROWS)):
            places = {
                column: lookup.places(table.column(column)) for column, lookup in lookups.items()
            }
            for one in writing:
                one.result()
            writing = [pool.submit(write, field, table, places) for field in files]
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
    """What is said of ids (items, searches), by an id's place in `ids`; the last value of each is
    that of an id which nobody knows.

    Where ids are close together `dense` holds the place of each id from the lowest on: a tenth of
    the time of a hash table.
    """

    ids: Int64[np.ndarray, "V"]
    values: dict[str, np.ndarray]
    dense: Int32[np.ndarray, "S"] | None

    @staticmethod
    def of(ids: Int64[np.ndarray, "V"], values: dict[str, np.ndarray]) -> "_Lookup":
        dense = None
        if len(ids) and int(ids.max()) - int(ids.min()) < DENSE * len(ids):
            dense = np.full(int(ids.max()) - int(ids.min()) + 1, -1, np.int32)
            dense[ids - ids.min()] = np.arange(len(ids), dtype=np.int32)
        return _Lookup(ids, values, dense)

    def places(self, id_: pa.ChunkedArray) -> np.ndarray:
        """Where each id stands; −1, the last, for none and for one that nobody knows."""
        if self.dense is None:
            return pc.fill_null(pc.index_in(id_, pa.array(self.ids)), -1).to_numpy()
        ids = to_numpy(id_)
        low = self.ids.min()
        inside = (ids >= low) & (ids < low + len(self.dense))
        return np.where(inside, self.dense[np.where(inside, ids, low) - low], -1)


def _lookups(log: EventLog, fields: Collection[str]) -> dict[str, _Lookup]:
    """By the column whose ids they are of."""
    found = {}
    if attributes := [f for f in fields if f not in tie_order(log) and f not in _of_queries(log)]:
        table = log.engine.table(
            f"SELECT item, {', '.join(map(name, attributes))} FROM ({log.known(log.end)}) AS k"
        )
        coded = [a for a in attributes if a in code_fields(log)]
        values = {
            a: _with_unknown(table.column(a), coded=a in coded, where=f"{log.manifest.name}: {a}")
            for a in attributes
        }
        found["item"] = _Lookup.of(table.column("item").to_numpy(), values)
    if queried := [f for f in fields if f in _of_queries(log)]:
        table = log.engine.table(f"SELECT id, text FROM {log.texts[QUERY]}")
        values = {
            f: _with_unknown(
                table.column("text"), coded=True, where=f"{log.manifest.name}: {QUERY}"
            )
            for f in queried
        }
        found[QUERY] = _Lookup.of(to_numpy(table.column("id")), values)
    return found


def _with_unknown(column: pa.ChunkedArray, *, coded: bool, where: str) -> np.ndarray:
    if coded:
        found = code_values(column, where)
        return np.append(found, np.full((1, found.shape[1]), -1, np.int32), axis=0)
    return to_numpy(pa.chunked_array([*column.chunks, pa.nulls(1, column.type)]))


class _Growing:
    """A .npy file to which values are appended; the header says how many when it is closed."""

    def __init__(self, path: Path, kind: np.dtype, shape: tuple[int, ...] = ()) -> None:
        self._file, self._kind, self._shape, self._count, self._kept = (
            path.open("wb", buffering=0),
            kind,
            shape,
            0,
            0,
        )
        self._size = kind.itemsize * int(np.prod(shape, dtype=np.int64))  # bytes of a value
        self._header()
        self._start = self._file.tell()

    def add(self, values: Shaped[np.ndarray, "L ..."]) -> None:
        bytes_ = np.ascontiguousarray(values, self._kind).reshape(-1).view(np.uint8).data
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
            assert self._file.tell() == self._start, (
                "numpy leaves room in a header for an array that grows"
            )
            self._file.close()

    def _header(self) -> None:
        shape = {
            "descr": np.lib.format.dtype_to_descr(self._kind),
            "fortran_order": False,
            "shape": (self._count, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._file, shape)

    def __enter__(self) -> "_Growing":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()
