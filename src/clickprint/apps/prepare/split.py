"""The split: when the windows are, and whose rows there will be."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.apps.prepare.job import POPULATION, Job
from clickprint.core.errors import DataError
from clickprint.core.files import write_array, write_text
from clickprint.core.ids import each_once
from clickprint.core.profiles import USERS_FILE
from clickprint.core.time import show
from clickprint.data.split import anchored


def write(job: Job, folder: Path) -> dict[str, Any]:
    """Writes split.json and client_ids.npy; with shards the named population as a table."""
    log, days = job.log, job.options.horizon_days
    train, valid = anchored(log, days)
    past = log.before(train.start)
    told: dict[str, Any] = {
        "cutoff": train.start,
        "train": [train.start, train.end],
        "valid": [valid.start, valid.end],
    }
    tables = {"past": past.events} | {
        part: f"(SELECT time FROM {log.events} WHERE {log.where(None, window)}) AS w"
        for part, window in (("train", train), ("valid", valid))
    }
    for part, table in tables.items():
        told[f"{part}_events"] = int(log.engine.one(f"SELECT COUNT(*) FROM {table}")[0])
    if not told["past_events"]:
        problem = f"the log is too short for windows of {days} days"
        raise DataError(
            log.manifest.name, f"nothing happened before {show(train.start)}; {problem}"
        )
    if job.options.shards is None:
        users = past.users() if job.population is None else each_once(job.population)
        write_array(folder / USERS_FILE, users)
        told["users"] = len(users)
    elif job.population is not None:
        pq.write_table(pa.table({"user": each_once(job.population)}), folder / POPULATION)
    write_text(folder / "split.json", json.dumps(told, indent=1) + "\n")
    return {**told, "text": f"past before {show(train.start)}; train {train}; validation {valid}"}
