"""Running SQL: the one file that knows which engine runs, and the words that engines share.

DuckDB is here, Spark in data.spark. Texts of SQL are in the ANSI subset of both.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from glob import escape
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import uuid4
from weakref import finalize

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from clickprint.core.errors import ConfigError, DataError, first_line
from clickprint.core.files import whole
from clickprint.core.ids import HEX_DIGITS, NONE
from clickprint.core.options import Between
from clickprint.data.parquet import TableWriter

T = TypeVar("T")
R = TypeVar("R")
DEFAULT_MEMORY = "2GB"
MEMORY = re.compile(r"(\d{1,9}[.]?\d*|[.]\d+) ?([kmgt]i?)?b(ytes)?|\d{1,2}%", re.I)
THREADS = Between(1, 1_024)  # more than that ends in a crash of the process
OFFSET = r"[+-](0\d|1[0-4])(:?[0-5]\d)?"  # no clock is further from UTC than 14 hours


def quote(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """A text as an SQL identifier."""
    return '"' + text.replace('"', '""') + '"'


def in_sql(value: str, values: Iterable[int] | Int64[np.ndarray, "N"]) -> str:
    """A condition: the value is one of these whole numbers; false where there are none."""
    listed = ", ".join(map(str, values))
    return f"{value} IN ({listed})" if listed else "1 = 0"


def select_sql(picks: Mapping[str, str], source: str) -> str:
    """SELECT these expressions under their names FROM a relation."""
    return f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in picks.items())} FROM {source}"


def floor_sql(column: str, unit: int) -> str:
    """The start of the unit that holds a time; also before 1970, where MOD is negative."""
    return f"({column} - MOD(MOD({column}, {unit}) + {unit}, {unit}))"


def text_id_sql(expression: str) -> str:
    """The SQL twin of `core.ids.text_id`."""
    return f"CAST(('0x' || substr(md5({expression}), 1, {HEX_DIGITS})) AS BIGINT)"


def keyed_id_sql(expression: str, key: bytes) -> str:
    """The id of a text that only the owner of the key can compute.

    It is the first 60 bits of the text's HMAC-SHA256. Source: RFC 2104.
    """
    block = (sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner, outer = (bytes(b ^ pad for b in block).hex() for pad in (0x36, 0x5C))
    hashed = f"sha256(unhex('{outer}') || unhex(sha256(unhex('{inner}') || encode({expression}))))"
    return f"CAST(('0x' || substr({hashed}, 1, {HEX_DIGITS})) AS BIGINT)"


def clock_sql(expression: str) -> str:
    """Microseconds since 1970 UTC as a text, `2022-09-17 22:54:32`, cut to the second."""
    return f"strftime(make_timestamp({expression}), '%Y-%m-%d %H:%M:%S')"


def micros_sql(expression: str) -> str:
    """Microseconds since 1970 UTC of a timestamp, with or without a time zone.

    Without one it is UTC.
    """
    return f"epoch_us({expression})"


def timestamp_sql(expression: str, form: str, *, strict: bool = False) -> str:
    """The timestamp in a text of one strptime format; null for another text.

    `strict`: another text is an error.
    """
    parsed = f"{'' if strict else 'try_'}strptime({expression}, {quote(form)})"
    if strict or not form.endswith("%z"):
        return parsed
    return f"CASE WHEN {matches_sql(expression, f'.*(Z|UTC|{OFFSET})')} THEN {parsed} END"


def digits_sql(text: str) -> str:
    """The text, or null where it has an underscore: casts to numbers take 1_0 for 10."""
    return f"CASE WHEN NOT contains({text}, '_') THEN {text} END"


def zoned_sql(expression: str, zone: str) -> str:
    """The moment at which clocks of `zone` (an IANA name) showed a timestamp without a zone."""
    return f"timezone({quote(zone)}, {expression})"


def iso_sql(expression: str, zone: str) -> str:
    """Microseconds of an ISO 8601 text, with or without an offset; null for other texts.

    Such as `2022-09-04`, `2022-09-04T13:30:00.5`, or one that ends in Z, UTC or +02:00. Without an
    offset the text is a clock of `zone`. The form is checked first, because a cast to a timestamp
    reads an offset or a zone and drops it.
    """
    clock = r"\d\d:\d\d(:\d\d([.]\d+)?)?"
    plain = rf"\d{{4}}-\d\d-\d\d([ T]{clock})?"
    offset = rf"\d{{4}}-\d\d-\d\d[ T]{clock} ?(Z|z|UTC|GMT|{OFFSET})"
    utc = f"regexp_replace({expression}, ' ?(Z|z|UTC|GMT)$', '+00')"
    shifted = rf"regexp_replace({utc}, ' ([+-][0-9:]+)$', '\1')"
    local = micros_sql(zoned_sql(f"TRY_CAST({expression} AS TIMESTAMP)", zone))
    aware = micros_sql(f"TRY_CAST({shifted} AS TIMESTAMPTZ)")
    return (
        f"CASE WHEN {matches_sql(expression, plain)} THEN {local}"
        f" WHEN {matches_sql(expression, offset)} THEN {aware} END"
    )


def matches_sql(expression: str, pattern: str) -> str:
    """Whether the whole text matches a regular expression."""
    return f"regexp_full_match({expression}, {quote(pattern)})"


def json_kind_sql(text: str) -> str:
    """What a text of JSON holds (OBJECT, ARRAY, VARCHAR, DOUBLE, …); null for other texts.

    NaN and a comma at the end are let pass.
    """
    return f"CASE WHEN json_valid({text}) THEN json_type({text}) END"


def json_texts_sql(text: str, keys: Sequence[str]) -> str:
    """A list with the value of each key of a JSON object as text, or null.

    The text of a list or object is its JSON; null stands for JSON's null and for a missing key.
    """
    return f"json_extract_string({text}, {_paths(keys)})"


def json_kinds_sql(text: str, keys: Sequence[str]) -> str:
    """A list with what `json_kind_sql` says of the value of each key; null for a missing key.

    JSON's null is the text NULL.
    """
    return f"json_type({text}, {_paths(keys)})"


def json_records_sql(text: str, columns: Sequence[str]) -> str:
    """A list of structs of texts, from the JSON of a list of objects; null for other JSON.

    An entry that is no object has nulls.
    """
    form = ", ".join(f'"{c}":"VARCHAR"' for c in columns)
    return f"json_transform({text}, {quote('[{' + form + '}]')})"


def json_joined_sql(text: str, between: str) -> str:
    """The texts of a JSON list, or of the first list in it, joined; null where there is none."""
    lists = (
        f"json_transform({text}, '[\"VARCHAR\"]')",
        f"json_transform({text}, '[[\"VARCHAR\"]]')[1]",
    )
    flat, nested = (f"NULLIF(array_to_string({one}, {quote(between)}), '')" for one in lists)
    return (
        f"CASE json_type({text}, '$[0]') WHEN 'VARCHAR' THEN {flat} WHEN 'ARRAY' THEN {nested} END"
    )


def _paths(keys: Sequence[str]) -> str:
    return "[" + ", ".join(quote(f'$."{key}"') for key in keys) + "]"


def entries_sql(list_: str) -> str:
    """How many entries a list has; 0 for null."""
    return f"COALESCE(LEN({list_}), 0)"


def unnested_sql(source: str, columns: Sequence[str], list_: str, entry: str) -> str:
    """A row for each entry of a list column of the query `source`, beside these columns.

    The entry is called `entry`; an empty list has no row.
    """
    picks = [*map(name, columns), f"UNNEST({name(list_)}) AS {name(entry)}"]
    return f"SELECT {', '.join(picks)} FROM ({source}) AS n"


@runtime_checkable
class Engine(Protocol):
    """What runs SQL texts: `DuckDB` on one machine, `data.spark.Spark` beyond it.

    Answers that come back to this process are small (`table`, `arrays`, `one`) or come in pieces
    (`batches`). What has a row an event or a user is written where it is made (`write_parts`) and
    made into arrays there (`map_shards`). `DuckDB` says what each method does.
    """

    def __enter__(self) -> "Engine": ...

    def __exit__(self, *fault: object) -> None: ...

    def close(self) -> None: ...

    def scan(self, files: Sequence[Path], *, numbered: bool = False) -> str: ...

    def view(self, sql: str) -> str: ...

    def keep(self, sql: str | pa.Table) -> str: ...

    def drop(self, kept: str) -> None: ...

    def table(self, sql: str) -> pa.Table: ...

    def batches(self, sql: str, rows: int = ...) -> Iterator[pa.RecordBatch]: ...

    def arrays(self, sql: str) -> dict[str, np.ndarray]: ...

    def one(self, sql: str) -> tuple: ...

    def write(self, sql: str, path: Path, *, in_order: bool = False) -> int: ...

    def write_parts(
        self, sql: str, folder: Path, *, shard: str, order: Sequence[str] = ()
    ) -> int: ...

    def map_shards(self, function: Callable[[T], R], shards: Sequence[T]) -> list[R]: ...

    def explain(self, sql: str) -> str: ...


def open_engine(
    engine: str = "duckdb",
    *,
    memory: str | None = None,
    threads: int | None = None,
    spill: Path | None = None,
    master: str | None = None,
    session: Any = None,
) -> Engine:
    """The engine of that name. Close it, or use it in a `with`.

    `spill` is DuckDB's, `master` and `session` are Spark's. Raises ConfigError for another name,
    an option of the other engine, or what the engine refuses.
    """
    options = {"duckdb": {"spill": spill}, "spark": {"master": master, "session": session}}
    if engine not in options:
        raise ConfigError(f"engine: found {engine!r}, expected one of {', '.join(options)}")
    others = {o: v for other, own in options.items() if other != engine for o, v in own.items()}
    if wrong := [option for option, value in others.items() if value is not None]:
        raise ConfigError(f"the engine {engine} has no option {', '.join(wrong)}")
    if engine == "duckdb":
        return DuckDB(memory=memory, threads=threads, spill=spill)
    from clickprint.data.spark import Spark  # brings Java: only for those who ask

    return Spark(memory=memory, threads=threads, master=master, session=session)


class DuckDB:
    """A DuckDB connection with a bound on its memory. Use it in a `with`, or call `close`.

    - `memory`: what the engine's operators may hold, as in "2GB" (else CLICKPRINT_MEMORY, or 2GB).
    - `threads`: how many cores it uses (else CLICKPRINT_THREADS, or all).
    - `spill`: where it keeps what does not fit (else a temporary folder of its own).

    Raises ConfigError for a setting that the engine refuses.
    """

    def __init__(
        self, *, memory: str | None = None, threads: int | None = None, spill: Path | None = None
    ) -> None:
        memory = memory or os.environ.get("CLICKPRINT_MEMORY") or DEFAULT_MEMORY
        try:
            if threads is None and (told := os.environ.get("CLICKPRINT_THREADS")):
                threads = int(told)
        except ValueError:
            raise ConfigError(
                f"CLICKPRINT_THREADS: found {told!r}, expected a whole number"
            ) from None
        if threads is not None and not THREADS.holds(threads):
            raise ConfigError(f"threads: found {threads}, expected {THREADS.expected}")
        if not MEMORY.fullmatch(memory) or not re.search("[1-9]", memory):
            raise ConfigError(f"memory: found {memory!r}, expected a size such as 2GB")
        self._spill = (spill or Path(tempfile.gettempdir())) / f"clickprint-{uuid4().hex}"
        # Before it is there: it goes with the engine, closed or not, whatever comes between.
        self._clear = finalize(self, shutil.rmtree, self._spill, ignore_errors=True)
        self._spill.mkdir(0o700, parents=spill is not None)
        self._views = 0
        try:
            config: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": memory,
                "temp_directory": str(self._spill),
            }
            if threads is not None:
                config["threads"] = threads
            self._connection = duckdb.connect(config=config)
        except (duckdb.Error, ValueError) as fault:
            self._clear()
            raise ConfigError(
                f"the engine refuses memory={memory!r}, threads={threads!r} ({first_line(fault)});"
                " write memory like 2GB"
            ) from None
        self._connection.execute(
            "SET TimeZone='UTC'; SET preserve_insertion_order=false; SET enable_progress_bar=false"
        )

    def __enter__(self) -> "DuckDB":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        self._clear()

    def scratch(self) -> Path:
        """A new empty folder that lasts as long as this engine."""
        return Path(tempfile.mkdtemp(prefix="scratch-", dir=self._spill))

    def scan(self, files: Sequence[Path], *, numbered: bool = False) -> str:
        """A FROM item over Parquet files with equal columns.

        `numbered` adds file_row_number, a row's position in its file. A path stands for its file
        and nothing else: it is no pattern, and a folder called user=7 is no column.
        """
        listed = ", ".join(quote(escape(str(f.absolute()))) for f in files)
        row = ", file_row_number=true" if numbered else ""
        return f"read_parquet([{listed}], hive_partitioning=false{row})"

    def view(self, sql: str) -> str:
        """Names a query for use in later ones; nothing runs yet."""
        self._views += 1
        view = f"v{self._views}"
        self._run(f"CREATE TEMP VIEW {view} AS {sql}")
        return view

    def keep(self, sql: str | pa.Table) -> str:
        """Runs a query (or takes an Arrow table) and keeps its rows as a temporary table, within
        the memory bound.
        """
        self._views += 1
        kept = f"t{self._views}"
        if isinstance(sql, str):
            self._run(f"CREATE TEMP TABLE {kept} AS {sql}")
        else:
            self._connection.register("arriving", sql)
            self._run(f"CREATE TEMP TABLE {kept} AS SELECT * FROM arriving")
            self._connection.unregister("arriving")
        return kept

    def drop(self, kept: str) -> None:
        """Frees a table made by `keep`."""
        self._run(f"DROP TABLE {kept}")

    def table(self, sql: str) -> pa.Table:
        """The whole answer; keep it small."""
        try:
            return self._connection.sql(sql).to_arrow_table()
        except (duckdb.Error, RuntimeError) as fault:
            raise _data_error(fault) from None

    def batches(self, sql: str, rows: int = 262_144) -> Iterator[pa.RecordBatch]:
        """The answer in pieces of about `rows`, in its order.

        The engine does nothing else until the last piece is taken or dropped.
        """
        try:
            # Closed by the `with`, or the connection would stay busy.
            with self._connection.sql(sql).to_arrow_reader(rows) as reader:
                while (batch := next(reader, None)) is not None:
                    yield batch
        except (duckdb.Error, pa.ArrowException, OSError, RuntimeError) as fault:
            raise _data_error(fault) from None

    def arrays(self, sql: str) -> dict[str, np.ndarray]:
        """The answer as numpy columns; null is NONE in whole numbers and NaN in floats."""
        table = self.table(sql)
        return {column: to_numpy(table.column(column)) for column in table.column_names}

    def one(self, sql: str) -> tuple:
        """The single row of an answer."""
        rows = self._rows(sql)
        assert len(rows) == 1, sql
        return rows[0]

    def write(self, sql: str, path: Path, *, in_order: bool = False) -> int:
        """Writes the answer to one Parquet file, whole or not at all; the number of rows.

        `in_order` keeps the order of its rows.
        """
        with whole(path) as part:
            self._run(f"SET preserve_insertion_order={str(in_order).lower()}")
            try:
                return self._copy(sql, part, "")
            finally:
                self._run("SET preserve_insertion_order=false")

    def write_parts(self, sql: str, folder: Path, *, shard: str, order: Sequence[str] = ()) -> int:
        """Writes the answer to folder/<shard>=<value>/*.parquet, whole or not at all.

        There is a folder for each value of the whole-number column `shard`, which is not in the
        files. In a shard the rows are in the `order` of these columns, nulls first, file after
        file in the order of names. Gives the number of rows.
        """
        with whole(folder) as part:
            part.mkdir(parents=True)
            if not order:
                by_shard = f", PARTITION_BY ({name(shard)}), OVERWRITE_OR_IGNORE"
                return self._copy(sql, part, by_shard)
            # The engine's own partitioned writing forgets the order of the rows.
            by = ", ".join(f"{name(c)} NULLS FIRST" for c in (shard, *order))
            rows = self.batches(f"SELECT * FROM ({sql}) AS s ORDER BY {by}")
            return _write_shards(rows, part, shard)

    def map_shards(self, function: Callable[[T], R], shards: Sequence[T]) -> list[R]:
        """What `function` gives for each shard, in their order.

        It reads and writes files, and gives back something small.
        """
        return [function(shard) for shard in shards]

    def explain(self, sql: str) -> str:
        """The plan, for tests."""
        return str(self._rows(f"EXPLAIN {sql}"))

    def _copy(self, sql: str, path: Path, options: str) -> int:
        form = f"FORMAT parquet, COMPRESSION zstd{options}"
        return int(self._rows(f"COPY ({sql}) TO {quote(str(path))} ({form})")[0][0])

    def _rows(self, sql: str) -> list[tuple]:
        """All rows: a result that is not fetched to its end keeps the connection busy."""
        return self._run(sql).fetchall()

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(sql)
        except (duckdb.Error, RuntimeError) as fault:
            raise _data_error(fault) from None


def rows_in(engine: Engine, sql: str) -> int:
    """The number of rows of a query."""
    return int(engine.one(f"SELECT COUNT(*) FROM ({sql}) AS counted")[0])


@contextmanager
def kept(engine: Engine, rows: str | pa.Table) -> Iterator[str]:
    """Rows as a table of the engine (see `DuckDB.keep`) for as long as the `with` lasts."""
    table = engine.keep(rows)
    try:
        yield table
    finally:
        engine.drop(table)


def _write_shards(batches: Iterator[pa.RecordBatch], folder: Path, shard: str) -> int:
    """Rows that are sorted by shard, to one file a shard; their number."""
    rows, last = 0, None
    with ExitStack() as stack:
        for batch in batches:
            values = batch.column(shard).to_numpy(zero_copy_only=False)
            table = pa.Table.from_batches([batch]).drop_columns([shard])
            starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
            for start, end in pairwise([*starts.tolist(), len(values)]):
                if values[start] != last:
                    stack.close()  # the file of the shard before
                    last = values[start]
                    path = folder / f"{shard}={last}" / "part-0.parquet"
                    path.parent.mkdir()
                    writer = TableWriter(path, table.schema)
                    stack.enter_context(writer)
                writer.write_table(table.slice(start, end - start))
            rows += len(values)
    return rows


def to_numpy(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column as numpy: NONE or NaN stands for null."""
    if values.null_count and pa.types.is_integer(values.type):
        values = pc.fill_null(values.cast(pa.int64()), NONE)
    if isinstance(values, pa.ChunkedArray):
        return values.to_numpy()
    return values.to_numpy(zero_copy_only=False)


def _data_error(fault: Exception) -> BaseException:
    """What to raise for what the engine raised; it says of a signal that a query was stopped."""
    if str(fault) == "Query interrupted":
        return KeyboardInterrupt()
    if type(fault) is RuntimeError:
        return fault
    more = isinstance(fault, duckdb.OutOfMemoryException)
    help_ = "; give the engine more memory or fewer threads" if more else ""
    return DataError("engine", f"DuckDB says: {first_line(fault)}{help_}")
