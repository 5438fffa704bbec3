"""Writing the canonical form, whole or not at all.

Events stream in, in their stored order, and a dataset folder stands at the end.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Int64

from clickprint.core.dataset import Dataset, Day, Manifest
from clickprint.core.errors import DataError
from clickprint.core.events import COLUMNS, REQUIRED, Kind, schema
from clickprint.core.files import new_folder, whole, write_array, write_text
from clickprint.core.items import ARROW, AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.seal import parts_of
from clickprint.core.time import DAY
from clickprint.data import digest
from clickprint.data.engine import DuckDB, Engine, name, rows_in
from clickprint.data.order import ties
from clickprint.data.parquet import TableWriter

PART_ROWS = 250_000  # a part is closed at the first midnight after so many rows
GROUP_ROWS = 131_072
DATASET = "dataset"  # what its folder is called in its mark
ORDER_DAY = "order"  # the one pseudo-day of a log without a clock
TEXTS = pa.schema([("id", pa.int64()), ("text", pa.string())])

Batches = Iterable[pa.RecordBatch | pa.Table]


def store(
    folder: Path,
    manifest: Manifest,
    events: Batches,
    catalogue: pa.Table,
    texts: Mapping[str, pa.Table | Batches] | None = None,
    population: Int64[np.ndarray, "U"] | None = None,
    beside: Mapping[str, Callable[[Path], None]] | None = None,
    *,
    engine: Engine | None = None,
    expected: int = 0,
    progress: Progress = silent,
) -> Dataset:
    """Writes `folder`, replacing a dataset that stands there, and gives it back opened.

    - `manifest`: its counts, days and catalogue digest are filled in here.
    - `events`: the columns of `core.events.schema(manifest.columns)` in the order of all columns,
      nulls first. Only that time never goes back is checked.
    - `catalogue`: item, attributes of the manifest and perhaps known_from, in any order. Of rows
      of an item, one after the other, that say the same the first is kept.
    - `texts`: the maps (id, text) of id columns and categories; a stream of batches must be sorted
      by id.
    - `beside`: further files (.parquet or .npy): a name, and what writes such a file when the
      events are stored.
    - `expected`: the number of events to come, for `progress`.

    Memory holds one row group, the catalogue and one map. Raises DataError (time goes back, a null
    where none may be, an item twice in the catalogue, two texts with one id) and ConfigError where
    `folder` holds something that is no dataset.
    """
    with whole(folder, DATASET) as part, ExitStack() as stack:
        (part / "events").mkdir(parents=True)
        days = _events(part / "events", manifest, events, expected, progress)
        progress("catalogue", 0, 0)
        engine = engine or stack.enter_context(DuckDB())
        files = sorted((part / "events").glob("part-*.parquet"))
        users, items = (_distinct(engine, files, column) for column in ("user", "item"))
        for file, write in (beside or {}).items():
            write(part / file)
        manifest = replace(
            manifest, beside={file: digest.of_file(part / file) for file in sorted(beside or {})}
        )
        finish(
            part,
            replace(manifest, parts=parts_of(part)),
            days,
            canonical(catalogue, manifest),
            texts or {},
            users,
            items,
            population,
        )
    return Dataset.open(folder)


def finish(
    folder: Path,
    manifest: Manifest,
    days: dict[str, Day],
    catalogue: pa.Table,
    texts: Mapping[str, pa.Table | Batches],
    users: Int64[np.ndarray, "U"],
    items: Int64[np.ndarray, "V"],
    population: Int64[np.ndarray, "P"] | None,
) -> None:
    """Writes all of a dataset but its events and what is beside them, the manifest last.

    `catalogue` is canonical, users and items are sorted, the manifest's parts are the files that
    are there already.
    """
    pq.write_table(catalogue, folder / "catalogue.parquet", compression="zstd")
    (folder / "ids").mkdir(exist_ok=True)
    maps = {column: f"ids/{column}.parquet" for column in texts}
    for column, pieces in texts.items():
        _texts(folder / maps[column], column, pieces)
    arrays = {"users.npy": users, "items.npy": items}
    if population is not None:
        arrays["population.npy"] = population
    for file, values in arrays.items():
        write_array(folder / file, values)
    new = parts_of(folder, ["catalogue.parquet", *maps.values(), *arrays])
    manifest = replace(
        manifest,
        users=len(users),
        items=len(items),
        events=sum(d.events for d in days.values()),
        days=days,
        catalogue=digest.of_table(catalogue),
        parts=dict(sorted((manifest.parts | new).items())),
    )
    write_text(folder / "manifest.json", manifest.to_json())


def gather(
    folder: Path,
    *,
    engine: Engine,
    name: str,
    kinds: Sequence[Kind],
    columns: Sequence[str] = (),
    selects: Sequence[str],
    catalogue: str | pa.Table | None = None,
    attributes: Mapping[str, AttributeType] | None = None,
    texts: Mapping[str, str | pa.Table] | None = None,
    time: str = "clock",
    query: str = "text",
    rejected: Mapping[str, int] | None = None,
    unread: Mapping[str, int] | None = None,
    source: Mapping[str, str] | None = None,
    population: Int64[np.ndarray, "U"] | None = None,
    beside: Mapping[str, Callable[[Path], None]] | None = None,
    expected: int | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Orders the events of several SQL texts in the engine (it spills to disk) and stores them.

    - `selects`: each gives time, user, kind, item and `columns` by these names.
    - `catalogue`: SQL (or a table) with item, the attributes and perhaps known_from.
    - `texts`: SQL with id and text for each column, in any order, repeats allowed.
    - `rejected`, `unread`: see Manifest; counts of zero are left out.
    - `expected`: the number of events; it spares a scan where it is known.

    Raises DataError where no event is left, and what `store` raises.
    """
    new_folder(folder, DATASET, overwrite=True)
    manifest = Manifest(
        name=name,
        kinds=tuple(kinds),
        columns=tuple(c for c in COLUMNS if c in columns),
        attributes=dict(attributes or {}),
        time="order" if time == "order" else "clock",
        query="codes" if query == "codes" else "text",
        rejected={reason: n for reason, n in (rejected or {}).items() if n},
        unread={reason: n for reason, n in (unread or {}).items() if n},
        source=dict(source or {}),
    )
    times = Counter(c.lower() for c in ("item", "known_from", *manifest.attributes))
    if twins := [c for c in manifest.attributes if times[c.lower()] > 1]:
        said = f"attributes whose names are taken, capitals aside: {', '.join(twins)}"
        raise DataError(name, f"{said}; give them other names")
    wanted = [_quoted(c) for c in schema(manifest.columns).names]
    union = " UNION ALL ".join(f"SELECT {', '.join(wanted)} FROM ({s}) AS s" for s in selects)
    if expected is None:
        expected = rows_in(engine, union)
    if not expected:
        faults = [f"{n} rows rejected: {reason}" for reason, n in manifest.rejected.items()]
        raise DataError(name, ["no event could be read", *faults])
    if isinstance(catalogue, str):
        catalogue = engine.table(catalogue)
    if catalogue is None:
        catalogue = pa.table({"item": pa.array([], pa.int64())})
    maps: dict[str, pa.Table | Batches] = {
        column: (
            engine.batches(f"SELECT DISTINCT id, text FROM ({sql}) AS t ORDER BY id, text")
            if isinstance(sql, str)
            else sql
        )
        for column, sql in (texts or {}).items()
    }
    progress("sort", 0, expected)
    # A sort by two columns takes half of the time, and much less memory, of one by all; the few
    # ties are put in order on the way.
    rows = engine.batches(
        f"SELECT * FROM ({union}) AS u ORDER BY {_quoted('time')}, {_quoted('user')}", GROUP_ROWS
    )
    events = ties(rows, ("time", "user"))
    return store(
        folder,
        manifest,
        events,
        catalogue,
        maps,
        population,
        beside,
        engine=engine,
        expected=expected,
        progress=progress,
    )


def _events(
    folder: Path, manifest: Manifest, events: Batches, expected: int, progress: Progress
) -> dict[str, Day]:
    """Writes the parts; events and digest of each day."""
    wanted = schema(manifest.columns)
    clock = manifest.time == "clock"
    sums: dict[str, list[int]] = {}
    last, done = np.iinfo(np.int64).min, 0
    with _Parts(folder, wanted, clock) as parts:
        for batch in events:
            if not batch.num_rows:
                continue
            table = _conform(batch, wanted, manifest)
            time = table.column("time").to_numpy()
            if time[0] < last or (time[1:] < time[:-1]).any():
                said = "the events are not in the order of time; sort them before they are stored"
                raise DataError(manifest.name, said)
            last, done = time[-1], done + len(time)
            day = time // DAY if clock else np.zeros(len(time), np.int64)
            starts = np.flatnonzero(np.append(True, day[1:] != day[:-1]))
            hashes = digest.row_hashes(table)
            sums_ = (np.add.reduceat(h, starts) for h in (hashes, digest.second(hashes)))
            cuts = zip(starts, np.append(starts[1:], len(time)), *sums_, strict=True)
            for start, end, a, b in ((int(v) for v in cut) for cut in cuts):
                label = str(np.datetime64(int(day[start]), "D")) if clock else ORDER_DAY
                total = sums.setdefault(label, [0, 0, 0])
                for place, add in enumerate((end - start, a, b)):
                    total[place] += add
                parts.add(label, table.slice(start, end - start))
            progress("events", done, expected)
    return {label: Day(n, digest.text(a, b)) for label, (n, a, b) in sums.items()}


def _conform(batch: pa.RecordBatch | pa.Table, wanted: pa.Schema, manifest: Manifest) -> pa.Table:
    """The batch with exactly the wanted columns and types; NaN is null."""
    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    try:
        columns = [table.column(field.name).cast(field.type) for field in wanted]
    except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as fault:
        said = f"the events do not have the columns {', '.join(wanted.names)} ({fault})"
        raise DataError(manifest.name, said) from None
    for place, (field_, values) in enumerate(zip(wanted, columns, strict=True)):
        if pa.types.is_floating(field_.type):
            columns[place] = pc.if_else(pc.is_finite(values), values, None)
        elif values.null_count and field_.name in REQUIRED[:3]:
            raise DataError(manifest.name, f"{values.null_count} events have no {field_.name}")
    low, high = (s.as_py() for s in pc.min_max(columns[REQUIRED.index("kind")]).values())
    if low < 0 or high >= len(manifest.kinds):
        said = f"found the kind codes {low} to {high}, expected 0 to {len(manifest.kinds) - 1}"
        raise DataError(manifest.name, said)
    return pa.table(columns, schema=wanted)


@dataclass(slots=True)
class _Parts:
    """The open part file, and the rows that wait for a full row group."""

    folder: Path
    schema: pa.Schema
    clock: bool
    writer: TableWriter | None = None
    day: str = ""
    rows: int = 0  # in the open part, waiting ones included
    count: int = 0
    waiting: list[pa.Table] = field(default_factory=list)

    def add(self, day: str, rows: pa.Table) -> None:
        if self.writer is None or (self.rows >= PART_ROWS and (day != self.day or not self.clock)):
            self.close()
            label = day if self.clock else f"{self.count:06d}"
            # Differences, because ids repeat too seldom for a dictionary: a third of the time to
            # write, half of the bytes.
            ids = [f.name for f in self.schema if f.type == pa.int64()]
            self.writer = TableWriter(
                self.folder / f"part-{label}.parquet",
                self.schema,
                use_dictionary=[n for n in self.schema.names if n not in ids],
                column_encoding=dict.fromkeys(ids, "DELTA_BINARY_PACKED"),
            )
            self.count += 1
        self.day = day
        self.rows += len(rows)
        self.waiting.append(rows)
        if sum(map(len, self.waiting)) >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if self.writer is not None and self.waiting:
            self.writer.write_table(pa.concat_tables(self.waiting), row_group_size=GROUP_ROWS)
            self.waiting = []

    def close(self) -> None:
        if self.writer is not None:
            self.flush()
            self.writer.close()
            self.writer, self.rows = None, 0

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, *fault: Any) -> None:
        if fault == (None, None, None):
            self.close()
        elif self.writer is not None:
            self.writer.__exit__(*fault)


def canonical(table: pa.Table, manifest: Manifest) -> pa.Table:
    """A catalogue in the canonical types, sorted by (item, known_from), without repeating rows.

    A row repeats when it says what the item's row before says. Raises DataError for an item twice
    at one time, or none, or a column too few.
    """
    if "known_from" not in table.column_names:
        table = table.append_column("known_from", pa.nulls(len(table), pa.int64()))
    types = {
        "item": pa.int64(),
        "known_from": pa.int64(),
        **{n: ARROW[k] for n, k in manifest.attributes.items()},
    }
    where = f"{manifest.name} catalogue"
    try:
        columns = {n: table.column(n).cast(t) for n, t in types.items()}
    except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as fault:
        raise DataError(where, f"expected the columns {', '.join(types)} ({fault})") from None
    for n, values in columns.items():
        if pa.types.is_floating(values.type):
            columns[n] = pc.if_else(pc.is_finite(values), values, None)
    if columns["item"].null_count:
        raise DataError(where, f"{columns['item'].null_count} rows have no item")
    table = pa.table(columns)
    if len(table):
        keys = [(c, "ascending", "at_start") for c in ("item", "known_from")]
        table = table.take(pc.sort_indices(table, sort_keys=keys))
    item = table.column("item").to_numpy()
    known = pc.fill_null(table.column("known_from"), np.iinfo(np.int64).min).to_numpy()
    twice = np.unique(item[1:][(item[1:] == item[:-1]) & (known[1:] == known[:-1])])
    if len(twice):
        some = ", ".join(map(str, twice[:10].tolist()))
        said = f"{len(twice)} items are there more than once at the same time, among them {some}"
        raise DataError(where, said)
    return table.filter(pa.array(~repeats(table)))


def repeats(table: pa.Table) -> Bool[np.ndarray, "L"]:
    """Which rows of a sorted catalogue say of their item what the row before says of the same."""
    same = np.ones(len(table), bool)
    same[:1] = False
    for column in (c for c in table.column_names if c != "known_from"):
        values = table.column(column)
        here, before = values.slice(1), values.slice(0, max(len(values) - 1, 0))
        equal = pc.or_(
            pc.fill_null(pc.equal(here, before), False),
            pc.and_(pc.is_null(here), pc.is_null(before)),
        )
        same[1:] &= equal.to_numpy()
    return same


def _texts(path: Path, column: str, pieces: pa.Table | Batches) -> None:
    """Writes one map (id, text), sorted by id. Raises DataError when two texts share an id."""
    last: int | None = None
    with TableWriter(path, TEXTS) as writer:
        for piece in _sorted(pieces):
            ids = piece.column("id").to_numpy()
            if not len(ids):
                continue
            same = np.flatnonzero(ids[1:] <= ids[:-1])
            if len(same) or (last is not None and ids[0] <= last):
                clash = int(ids[same[0]]) if len(same) else last
                said = f"two different texts have the id {clash}"
                help_ = "give this column whole numbers, or change one text"
                raise DataError(f"column {column}", f"{said}; {help_}")
            last = int(ids[-1])
            writer.write_table(piece.cast(TEXTS))


def _sorted(pieces: pa.Table | Batches) -> Iterator[pa.Table]:
    if isinstance(pieces, pa.Table):
        yield pieces.select(TEXTS.names).sort_by("id")
        return
    for piece in pieces:
        table = pa.Table.from_batches([piece]) if isinstance(piece, pa.RecordBatch) else piece
        yield table.select(TEXTS.names)


def _distinct(engine: Engine, files: Sequence[Path], column: str) -> Int64[np.ndarray, "V"]:
    """The different ids in a column of events, sorted."""
    if not files:
        return np.zeros(0, np.int64)
    c = _quoted(column)
    rows = f"SELECT DISTINCT {c} AS id FROM {engine.scan(files)} WHERE {c} IS NOT NULL"
    return np.sort(engine.arrays(rows)["id"].astype(np.int64))


_quoted = name  # `gather` has a parameter called name
