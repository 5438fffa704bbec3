"""The targets: the purchases of both windows, and which values are asked about."""

from pathlib import Path
from typing import Any

from clickprint.apps.prepare.job import Job
from clickprint.data.targets import write_targets


def write(job: Job, folder: Path) -> dict[str, Any]:
    """Writes what data.targets describes; how many rows and labels there are."""
    return write_targets(job.log, job.before(), job.windows(), folder, shards=job.options.shards)
