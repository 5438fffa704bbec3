"""Tables partitioned by user, for data beyond one machine: what has a row a user or an event is
written where it is made.

FOLDER/shard=<k>/…   the users with ((user mod S) + S) mod S = k, for every k below S (also where
                     nobody is)

profiles   client_ids.npy, embeddings.npy, blocks.json: `Profiles.load` of a shard's folder
histories  what `Histories.open` opens in a shard's folder
targets    *.parquet (only where somebody is), the rows that the tasks of purchases are made of

A shard is one bounded job: one task of Spark, one loader's share, one inference. Here nothing
knows which engine runs.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.core.errors import ConfigError
from clickprint.core.events import COLUMNS, Role
from clickprint.core.files import whole
from clickprint.core.histories import Histories
from clickprint.core.items import ARROW
from clickprint.core.lookup import positions
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import starts_of
from clickprint.core.time import Time, Window
from clickprint.data.engine import Engine, name, to_numpy
from clickprint.data.histories import code_fields, needed
from clickprint.data.log import EventLog
from clickprint.data.purchases import purchases_sql

SHARD = "shard"
Put = Callable[
    [Mapping[str, np.ndarray], np.ndarray], None
]  # columns of an answer (place = row) → into the vectors of all rows
Piece = tuple[
    str, Put
]  # the SQL text with a column place, and what puts its rows where they belong


def shard_sql(user: str, shards: int) -> str:
    """SQL: the shard of a user (an expression): also a negative id has one of 0 … shards − 1."""
    return f"MOD(MOD({user}, {shards}) + {shards}, {shards})"


def shard_folder(folder: Path, shard: int) -> Path:
    return folder / f"{SHARD}={shard}"


def profiles(
    engine: Engine,
    users: str,
    pieces: Iterable[Piece],
    blocks: Sequence[tuple[str, int]],
    folder: Path,
    *,
    shards: int,
    progress: Progress = silent,
) -> int:
    """Writes the vectors of `users` that the pieces fill, a shard a folder, whole or not at all.

    Gives their number. `users` is SQL (user, each once); a piece's place is the user. Each piece
    is written by shard first; then a shard's pieces are put together, in memory for its users.
    """
    _check(shards)
    with whole(folder) as part:
        part.mkdir(parents=True)
        own = part / ".pieces"
        count = _write(engine, users, name("user"), own / "users", shards)
        puts: list[Put] = []
        for sql, put in pieces:
            progress("profiles: pieces", len(puts), 0)
            _write(engine, sql, "place", own / str(len(puts)), shards)
            puts.append(put)
        progress("profiles: shards", 0, shards)
        engine.map_shards(partial(_profiles, part, tuple(puts), tuple(blocks)), range(shards))
        shutil.rmtree(own)
        progress("profiles: shards", shards, shards)
    return count


def histories(
    log: EventLog,
    folder: Path,
    fields: Sequence[str],
    *,
    shards: int,
    users: str | None = None,
    progress: Progress = silent,
) -> int:
    """Writes the histories of `users` in a log, a shard a folder, whole or not at all.

    Gives the number of events. `users` is SQL (user, each once); None: everyone with an event.
    Each shard is what data.histories.build makes of its users, but users without an event have no
    row. Sorted by the engine; then a shard's events are put together, in memory.
    """
    _check(shards)
    if coded := [f for f in fields if f in code_fields(log)]:
        raise ConfigError(
            f"fields of histories: {', '.join(coded)} holds code vectors, which are looked up on"
            " one machine only"
        )
    ties = needed(log, fields)
    sql = log.select(list(dict.fromkeys([*ties, *fields])))
    if users is not None:
        sql = (
            f"SELECT h.* FROM ({sql}) AS h JOIN ({users}) AS w ON h.{name('user')} ="
            f" w.{name('user')}"
        )
    types = {f: COLUMNS[f] if f in ties else ARROW[log.manifest.attributes[f]] for f in fields}
    dtypes = {f: type_.to_pandas_dtype() for f, type_ in types.items()}
    with whole(folder) as part:
        progress("histories: rows", 0, log.manifest.events)
        count = _write(log.engine, sql, name("user"), part / ".pieces", shards, tuple(ties))
        progress("histories: shards", 0, shards)
        log.engine.map_shards(
            partial(_histories, part, dtypes, log.end, log.manifest.fingerprint), range(shards)
        )
        shutil.rmtree(part / ".pieces")
        progress("histories: shards", shards, shards)
    return count


def targets(
    log: EventLog,
    window: Window,
    folder: Path,
    *,
    shards: int,
    roles: Collection[Role] = (Role.BUY,),
) -> int:
    """Writes the window's events with these roles, a shard a folder; the number of rows.

    They have what tasks ask of them: user, time, kind, item, price, quantity, categories, price
    buckets and numbers as known at the window's end, in the order (user, time, kind, item, rest).
    """
    _check(shards)
    sql, order = purchases_sql(log, window, roles)
    return _write(log.engine, sql, name("user"), folder, shards, order)


def _write(
    engine: Engine, sql: str, user: str, folder: Path, shards: int, order: tuple[str, ...] = ()
) -> int:
    return engine.write_parts(
        f"SELECT r.*, {shard_sql(f'r.{user}', shards)} AS {SHARD} FROM ({sql}) AS r",
        folder,
        shard=SHARD,
        order=order,
    )


def _check(shards: int) -> None:
    if shards < 1:
        raise ConfigError(f"shards: found {shards}, expected at least 1")


# ---- on the executors: files to files
def _batches(folder: Path, shard: int) -> Iterator[pa.RecordBatch]:
    """The rows of a shard, in the order of its files."""
    for file in sorted(shard_folder(folder, shard).glob("*.parquet")):
        with pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches()


def _profiles(
    folder: Path, puts: tuple[Put, ...], blocks: tuple[tuple[str, int], ...], shard: int
) -> None:
    users = np.sort(
        _column(list(_batches(folder / ".pieces" / "users", shard)), "user").astype(np.int64)
    )
    vectors = np.zeros((len(users), sum(width for _, width in blocks)), np.float16)
    for i, put in enumerate(puts):
        for batch in _batches(folder / ".pieces" / str(i), shard):
            columns = {c: to_numpy(batch.column(c)) for c in batch.schema.names}
            columns["place"] = positions(users, columns["place"])
            put(columns, vectors)
    with whole(shard_folder(folder, shard)) as part:
        part.mkdir()
        Profiles(users, vectors, blocks).save(part)


def _histories(
    folder: Path, dtypes: Mapping[str, type], cutoff: Time | None, fingerprint: str, shard: int
) -> None:
    batches = list(_batches(folder / ".pieces", shard))
    fields: dict[str, np.ndarray] = {
        f: _column(batches, f).astype(dtype, copy=False) for f, dtype in dtypes.items()
    }
    users, counts = np.unique(_column(batches, "user").astype(np.int64), return_counts=True)
    with whole(shard_folder(folder, shard)) as part:
        part.mkdir()
        Histories(users, starts_of(counts), fields, cutoff, fingerprint).save(part)


def _column(batches: Sequence[pa.RecordBatch], column: str) -> np.ndarray:
    """One column of all the rows, of no rows a narrow one."""
    return np.concatenate([np.zeros(0, np.int16), *(to_numpy(b.column(column)) for b in batches)])
