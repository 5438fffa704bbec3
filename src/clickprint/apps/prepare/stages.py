"""`clickprint prepare`: from a log of any size to what training needs, in bounded memory.

OUT/split/          split.json, client_ids.npy
OUT/features/       the aggregated profile: client_ids.npy, embeddings.npy, blocks.json, fitted/
OUT/targets/        train.parquet, valid.parquet, labels/
OUT/histories/      what Histories.open opens
OUT/*/told.json     what the stage counted
OUT/prepared.json   what was prepared, and what each stage cost

With shards (always on Spark) features, targets and histories are partitioned by user (data.parts).
A stage is made again when its options, the log or the code that it imports changed; a killed call
goes on from the last whole stage, to the same bytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from clickprint.apps.prepare.job import SHARDS, Job, Options
from clickprint.core.dataset import Dataset
from clickprint.core.files import write_text
from clickprint.core.forms import read_json
from clickprint.core.progress import Progress, silent
from clickprint.core.text import json_text
from clickprint.data.histories import checked_fields, default_fields
from clickprint.data.log import EventLog
from clickprint.work.facts import Facts
from clickprint.work.folder import Workspace
from clickprint.work.resources import Tables
from clickprint.work.source import place
from clickprint.work.stages import Graph, Stage

FACTS = "prepared.json"
TOLD = "told.json"  # in each stage's folder
GRAPH = Graph(
    (
        Stage(
            name="split",
            run="clickprint.apps.prepare.split:write",
            keys=("horizon_days", "partition"),
        ),
        Stage(
            name="features",
            run="clickprint.apps.prepare.features:write",
            reads=("split",),
            keys=("days", "top"),
        ),
        Stage(name="targets", run="clickprint.apps.prepare.targets:write", reads=("split",)),
        Stage(
            name="histories",
            run="clickprint.apps.prepare.histories:write",
            reads=("split",),
            keys=("fields",),
        ),
    )
)
STAGES = tuple(stage.name for stage in GRAPH)


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
    resources: Tables = Tables(),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes the stages of a dataset's folder to `out`, as far as they are not there; the facts.

    The options are those of job.Options; `fields` left out is data.histories.default_fields.
    Raises ConfigError and DataError.
    """
    data = Dataset.open(dataset)
    shards = SHARDS if shards is None and engine == "spark" else shards
    options = Options(
        horizon_days=horizon_days, engine=engine, shards=shards, days=tuple(days), top=top
    )
    work = Workspace(Path(out), "prepared log")
    with (
        work.claim(),
        work.spill() as spill,
        resources.engine_called(engine, spill) as runs,
    ):
        log = EventLog.open(data, runs)
        wanted = default_fields(log) if fields is None else checked_fields(log, fields)
        options = replace(options, fields=wanted)
        manifest, population = data.manifest, data.population
        about = {
            "name": manifest.name,
            "fingerprint": manifest.fingerprint,
            "events": manifest.events,
        }
        facts = Facts.of(work.path(FACTS), dataset=about, options=asdict(options))
        asked = None if population is None else sha256(population.tobytes()).hexdigest()
        job = Job(options, log, population, work.path("split"), progress)
        made: dict[str, str] = {}
        for stage in GRAPH:
            of_log = [manifest.fingerprint, asked] if not stage.reads else None
            made[stage.name] = GRAPH.digest(stage.name, options, made, more=of_log)
            write: Callable[[Job, Path], dict[str, Any]] = place(stage.run)
            _make(work, facts, stage.name, made[stage.name], job, write)
        progress("prepare", len(STAGES), len(STAGES))
    return facts.told


def _make(
    work: Workspace,
    facts: Facts,
    stage: str,
    inputs: str,
    job: Job,
    write: Callable[[Job, Path], dict[str, Any]],
) -> None:
    """Makes a stage's folder, unless it was made from the same, and tells what it took."""

    def both(folder: Path) -> None:
        write_text(folder / TOLD, json_text(write(job, folder)))

    if work.made(stage) == inputs:
        job.progress(f"{stage}: is there", 1, 1)
    else:
        job.progress(stage, 0, 0)
        facts.told["stages"].pop(stage, None)
        with facts.stage(stage):
            work.make(stage, inputs, both)
        job.progress(stage, 1, 1)
    cost = facts.told["stages"].get(stage, {})
    facts.told["stages"][stage] = cost | read_json(work.path(stage) / TOLD)
    facts.write()


def summary(facts: dict[str, Any], out: Path) -> str:
    """What `clickprint prepare` prints."""
    stages = facts["stages"]
    dataset = facts["dataset"]
    lines = [f"{dataset['name']}: {dataset['events']:,} events; {stages['split']['text']}"]
    for stage in STAGES:
        took = stages[stage]
        counts = {k: v for k, v in took.items() if isinstance(v, int) and k != "cutoff"}
        told = ", ".join(f"{v:,} {k}" for k, v in counts.items())
        seconds, peak = took.get("seconds", math.nan), took.get("peak_mib", math.nan)
        cost = f"{seconds:>9.1f} s {peak:>8,.0f} MiB"
        lines.append(f"{stage:<10}{cost}   {told}")
    return "\n".join([*lines, str(out)])
