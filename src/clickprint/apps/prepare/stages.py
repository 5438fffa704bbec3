"""prepare: what a log of any size is turned into once, before anything is trained: split, features, targets, histories.

Each stage is a folder that is written whole, in bounded memory, and knows the digest of what it was made from (the log's fingerprint, the
options, the source of the floors below). A folder with the same digest is not made again, so a call that was killed goes on with the stage
in which it was, and ends with the same bytes. Only prepared.json tells what the stages cost, and so differs.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_array, write_text
from clickprint.core.histories import Histories
from clickprint.core.ids import each_once
from clickprint.core.items import AttributeKind
from clickprint.core.profiles import BLOCKS_FILE, USERS_FILE, VECTORS_FILE, problems
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Window, show
from clickprint.data import features, parts
from clickprint.data.engine import Engine, name, open_engine
from clickprint.data.histories import build, default_fields
from clickprint.data.log import EventLog
from clickprint.data.purchases import most_bought, price_edges, purchases_sql
from clickprint.data.split import LogPast, anchored
from clickprint.encoders.counts import Counts
from clickprint.work.facts import Facts, code
from clickprint.work.folder import digest, locked, made_from, make_folder

FACTS, LOCK, SPILL = "prepared.json", ".lock", ".spill"
POPULATION = "population.parquet"
STAGES = ("split", "features", "targets", "histories")
TOP = 100  # labels a task, and price buckets, as in tasks.ubm25
SHARDS = 16  # where Spark is asked for and nothing is said
GROUP_ROWS = 131_072


def prepare(
    dataset: Path | str,
    out: Path | str,
    *,
    horizon_days: int = 14,
    engine: str = "duckdb",
    shards: int | None = None,
    days: Sequence[int] = (1, 7, 30),
    top: int = 10,
    fields: Sequence[str] | None = None,
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes split/, features/, targets/ and histories/ of a dataset's folder to `out`, as far as they are not there; the facts.

    `days` and `top` are those of the aggregated features (encoders.counts), `fields` those of the histories (data.histories.default_fields
    where None). With `shards`, and always with the engine spark, features, targets and histories are partitioned by user (data.parts).
    Raises ConfigError and DataError.
    """
    data, out = Dataset.open(dataset), Path(out)
    counts = Counts(days=tuple(days), top=top)
    if shards is not None and shards < 1:
        raise ConfigError(f"shards: found {shards}, expected at least 1")
    shards = SHARDS if shards is None and engine == "spark" else shards
    with _claimed(out):
        spill = out / SPILL if engine == "duckdb" else None
        with open_engine(engine, memory=memory, threads=threads, spill=spill) as runs:
            log = EventLog.open(data, runs)
            wanted = tuple(default_fields(log) if fields is None else dict.fromkeys(fields))
            about = {
                "name": data.manifest.name,
                "fingerprint": data.manifest.fingerprint,
                "events": data.manifest.events,
            }
            options = {
                "horizon_days": horizon_days,
                "engine": engine,
                "shards": shards,
                "days": days,
                "top": top,
                "fields": wanted,
            }
            facts = Facts.of(out / FACTS, dataset=about, options=options)
            population = data.population
            asked = None if population is None else sha256(population.tobytes()).hexdigest()
            base = digest(
                data.manifest.fingerprint,
                asked,
                horizon_days,
                shards and (shards, engine),
                code("data"),
            )
            work = _Work(out, facts, progress)
            work.stage(
                "split",
                base,
                lambda folder: write_split(log, horizon_days, population, folder, shards),
            )
            train, valid = _windows(out / "split")
            cut = log.before(train.start)
            if shards is None:
                users = np.load(out / "split" / USERS_FILE, mmap_mode="r", allow_pickle=False)
                past = LogPast(cut, train.start, np.asarray(users))
                stages = _whole(log, past, (train, valid), counts, wanted, progress)
            else:
                people = None if population is None else out / "split" / POPULATION
                stages = _sharded(
                    log, cut, people, (train, valid), counts, wanted, shards, progress
                )
            keys = {
                "features": (counts.days, counts.top, code("profiles")),
                "targets": (),
                "histories": wanted,
            }
            for stage, make in stages.items():
                work.stage(stage, digest(base, stage, *keys[stage]), make)
            progress("prepare", len(STAGES), len(STAGES))
    return facts.told


@dataclass(frozen=True, slots=True)
class _Work:
    out: Path
    facts: Facts
    progress: Progress

    def stage(self, stage: str, key: str, make: Callable[[Path], dict[str, Any]]) -> None:
        """Makes a stage's folder unless it stands there already, and tells what it took."""
        folder, told = self.out / stage, dict[str, Any]()
        if made_from(folder) == {"folder": key}:
            self.progress(f"{stage}: is there", 1, 1)
            return
        self.progress(stage, 0, 0)
        self.facts.told["stages"].pop(stage, None)
        with self.facts.stage(stage):
            make_folder(folder, key, lambda part: told.update(make(part)))
        self.facts.told["stages"][stage].update(told)
        self.facts.write()
        self.progress(stage, 1, 1)


def write_split(
    log: EventLog,
    horizon_days: int,
    population: Int64[np.ndarray, "U"] | None,
    folder: Path,
    shards: int | None,
) -> dict[str, Any]:
    """split.json, and whose rows there will be: client_ids.npy; with shards, a named population as a table."""
    train, valid = anchored(log, horizon_days)
    past = log.before(train.start)
    told: dict[str, Any] = {
        "cutoff": train.start,
        "train": [train.start, train.end],
        "valid": [valid.start, valid.end],
    }
    n = "SELECT COUNT(*) FROM"
    for part, sql in (
        ("past", past.events),
        *(
            (w, f"(SELECT time FROM {log.events} WHERE {log.where(None, window)}) AS w")
            for w, window in (("train", train), ("valid", valid))
        ),
    ):
        told[f"{part}_events"] = int(log.engine.one(f"{n} {sql}")[0])
    if not told["past_events"]:
        raise DataError(
            log.manifest.name,
            [
                f"nothing happened before {show(train.start)}; the log is too short for windows of {horizon_days} days"
            ],
        )
    if shards is None:
        users = past.users() if population is None else each_once(population)
        write_array(folder / USERS_FILE, users)
        told["users"] = len(users)
    elif population is not None:
        pq.write_table(pa.table({"user": each_once(population)}), folder / POPULATION)
    write_text(folder / "split.json", json.dumps(told, indent=1) + "\n")
    return {**told, "text": f"past before {show(train.start)}; train {train}; validation {valid}"}


def _windows(folder: Path) -> tuple[Window, Window]:
    told = json.loads((folder / "split.json").read_text("utf-8"))
    return Window(*told["train"]), Window(*told["valid"])


Stages = dict[str, Callable[[Path], dict[str, Any]]]


def _whole(
    log: EventLog,
    past: LogPast,
    windows: tuple[Window, Window],
    counts: Counts,
    fields: Sequence[str],
    progress: Progress,
) -> Stages:
    """One table a stage, for one machine."""

    return {
        "features": lambda folder: write_features(past, counts, folder, progress),
        "targets": lambda folder: write_targets(log, past.log, windows, folder),
        "histories": lambda folder: _about(
            build(past.log, folder, fields, users=past.users, progress=progress)
        ),
    }


def _sharded(
    log: EventLog,
    cut: EventLog,
    population: Path | None,
    windows: tuple[Window, Window],
    counts: Counts,
    fields: Sequence[str],
    shards: int,
    progress: Progress,
) -> Stages:
    """A folder a shard in each stage; whatever has a row a user or an event is written by who makes it."""
    wanted = (
        None
        if population is None
        else f"SELECT {name('user')} FROM {log.engine.scan([population])}"
    )

    def made(folder: Path) -> dict[str, Any]:
        fitted = counts.fit_log(cut, wanted, progress=progress)
        users = fitted.write(cut, folder, shards=shards, users=wanted, progress=progress)
        fitted.save(folder / "fitted")
        return {"users": users, "columns": len(fitted.names)}

    def targets(folder: Path) -> dict[str, Any]:
        rows = {
            f"{part}_rows": parts.targets(log, window, folder / part, shards=shards)
            for part, window in zip(("train", "valid"), windows, strict=True)
        }
        return {**rows, **_labels(log, cut, windows[0], folder / "labels")}

    return {
        "features": made,
        "targets": targets,
        "histories": lambda folder: {
            "events": parts.histories(
                cut, folder, fields, shards=shards, users=wanted, progress=progress
            )
        },
    }


def write_features(
    past: LogPast, counts: Counts, folder: Path, progress: Progress
) -> dict[str, Any]:
    """The aggregated profile, into a file that is mapped: the system may write back what does not fit."""
    fitted = counts.fit(past, progress=progress)
    shape = (len(past.users), len(fitted.names))
    vectors = np.lib.format.open_memmap(folder / VECTORS_FILE, "w+", np.float16, shape)
    with features.tables(past.log, past.users, fitted.price_edges) as tables:
        for done, (sql, put) in enumerate(fitted.pieces(tables)):
            progress("features: counts", done, 0)
            for part in features.scatter(past.log.engine, sql):
                put(part, vectors)
    del vectors
    write_array(folder / USERS_FILE, past.users)
    write_text(folder / BLOCKS_FILE, json.dumps([list(b) for b in fitted.widths]))
    fitted.save(folder / "fitted")
    if faults := problems(folder, None):
        raise DataError("features", faults)
    return {"users": shape[0], "columns": shape[1]}


def write_targets(
    log: EventLog, past: EventLog, windows: tuple[Window, Window], folder: Path
) -> dict[str, Any]:
    """train.parquet, valid.parquet: the purchases of each window, in order; labels/: what is asked about."""
    rows = {}
    for part, window in zip(("train", "valid"), windows, strict=True):
        sql, order = purchases_sql(log, window)
        by = ", ".join(f"{name(c)} NULLS FIRST" for c in order)
        rows[f"{part}_rows"] = write_rows(
            log.engine, f"SELECT * FROM ({sql}) AS p ORDER BY {by}", folder / f"{part}.parquet"
        )
    return {**rows, **_labels(log, past, windows[0], folder / "labels")}


def _about(made: Histories) -> dict[str, Any]:
    return {"users": len(made), "events": made.events, "fields": list(made.fields)}


def _labels(log: EventLog, past: EventLog, train: Window, folder: Path) -> dict[str, Any]:
    """propensity_<task>.npy and popularity_propensity_<task>.npy, the labels that tasks.ubm25 chooses; how many of each."""
    folder.mkdir()
    found = {"sku": most_bought(log, "item", train, TOP)}
    usual, _ = most_bought(past, "item", None, TOP)
    found["new_sku"] = most_bought(log, "item", train, TOP, without=usual)
    for task, kind in (
        ("category", AttributeKind.CATEGORY),
        ("price", AttributeKind.PRICE_BUCKET),
    ):
        names = [
            n
            for n, k in log.manifest.attributes.items()
            if k is kind and n not in log.manifest.columns
        ]
        if column := task if task in names else next(iter(names), None):
            found[task] = most_bought(log, column, train, TOP)
    if "price" not in found and "price" in log.manifest.columns:
        edges = price_edges(past, TOP)
        write_array(folder / "price_edges.npy", edges)
        found["price"] = most_bought(log, "price", train, TOP, edges=edges)
    for task, (values, popularity) in found.items():
        write_array(folder / f"propensity_{task}.npy", values)
        write_array(folder / f"popularity_propensity_{task}.npy", popularity)
    return {"labels": {task: len(values) for task, (values, _) in found.items()}}


def write_rows(engine: Engine, sql: str, path: Path) -> int:
    """An ordered answer as one Parquet file, whose bytes do not depend on how the answer was cut into pieces; the number of rows."""
    schema = engine.table(f"SELECT * FROM ({sql}) AS q LIMIT 0").schema
    waiting, rows = schema.empty_table(), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in engine.batches(sql):
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
            rows += batch.num_rows
            while len(waiting) >= GROUP_ROWS:
                writer.write_table(
                    waiting.slice(0, GROUP_ROWS).combine_chunks(), row_group_size=GROUP_ROWS
                )
                waiting = waiting.slice(GROUP_ROWS)
        if len(waiting):
            writer.write_table(waiting.combine_chunks(), row_group_size=GROUP_ROWS)
    return rows


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Holds the folder for this process; what a killed process left half-written goes."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; name another --out")
    inside = {p.name for p in out.iterdir()} if out.is_dir() else set()
    ours = {FACTS, LOCK, SPILL, *STAGES}
    if strange := sorted(n for n in inside - ours if not n.startswith(".")):
        raise ConfigError(
            f"{out} holds something that was not prepared ({', '.join(strange[:3])}); name another --out"
        )
    with locked(out / LOCK):
        for left in [*out.rglob(".*.part"), *out.rglob(".*.old"), out / SPILL]:
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(
                missing_ok=True
            )
        try:
            yield
        finally:
            shutil.rmtree(out / SPILL, ignore_errors=True)


def summary(facts: dict[str, Any], out: Path) -> str:
    """What `clickprint prepare` prints."""
    lines = [
        f"{facts['dataset']['name']}: {facts['dataset']['events']:,} events; {facts['stages']['split']['text']}"
    ]
    for stage in STAGES:
        took = facts["stages"][stage]
        said = {k: v for k, v in took.items() if isinstance(v, int) and k not in ("cutoff",)}
        lines.append(
            f"{stage:<10}{took['seconds']:>9.1f} s {took['peak_mib']:>8,.0f} MiB   {', '.join(f'{v:,} {k}' for k, v in said.items())}"
        )
    return "\n".join([*lines, str(out)])
