"""The aggregated features: the profile of encoders.counts, fitted and made in bounded memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from clickprint.apps.prepare.job import Job
from clickprint.core.errors import DataError
from clickprint.core.files import new_array, write_array, write_text
from clickprint.core.profiles import BLOCKS_FILE, USERS_FILE, VECTORS_FILE, problems
from clickprint.data import features
from clickprint.encoders.counts import Counts


def write(job: Job, folder: Path) -> dict[str, Any]:
    """Writes the profile and what was fitted; how many users and columns it has."""
    counts = Counts(days=tuple(job.options.days), top=job.options.top)
    return (
        _one_table(job, counts, folder)
        if job.options.shards is None
        else _sharded(job, counts, job.options.shards, folder)
    )


def _one_table(job: Job, counts: Counts, folder: Path) -> dict[str, Any]:
    """Into a file that is mapped: the system may write back what does not fit."""
    past = job.past()
    fitted = counts.fit(past, progress=job.progress)
    shape = (len(past.users), len(fitted.names))
    vectors = new_array(folder / VECTORS_FILE, np.float16, shape)
    with features.tables(past.log, past.users, fitted.price_edges) as tables:
        for done, (sql, put) in enumerate(fitted.pieces(tables)):
            job.progress("features: counts", done, 0)
            for part in features.scatter(past.log.engine, sql):
                put(part, vectors)
    del vectors
    write_array(folder / USERS_FILE, past.users)
    write_text(folder / BLOCKS_FILE, json.dumps([list(b) for b in fitted.widths]))
    fitted.save(folder / "fitted")
    if faults := problems(folder, None):
        raise DataError("features", faults)
    return {"users": shape[0], "columns": shape[1]}


def _sharded(job: Job, counts: Counts, shards: int, folder: Path) -> dict[str, Any]:
    """A folder a shard, each written where it is made."""
    cut, users = job.before(), job.users_sql()
    fitted = counts.fit_log(cut, users, progress=job.progress)
    written = fitted.write(cut, folder, shards=shards, users=users, progress=job.progress)
    fitted.save(folder / "fitted")
    return {"users": written, "columns": len(fitted.names)}
