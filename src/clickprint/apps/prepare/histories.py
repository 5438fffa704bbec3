"""The histories: what each user did before the cutoff, in order."""

from pathlib import Path
from typing import Any

from clickprint.apps.prepare.job import Job
from clickprint.data import parts
from clickprint.data.histories import build


def write(job: Job, folder: Path) -> dict[str, Any]:
    """Writes the histories; how many events they have."""
    fields, shards, progress = job.options.fields, job.options.shards, job.progress
    if shards is None:
        past = job.past()
        made = build(past.log, folder, fields, users=past.users, progress=progress)
        return {"users": len(made), "events": made.events, "fields": list(made.fields)}
    users = job.users_sql()
    events = parts.histories(
        job.before(), folder, fields, shards=shards, users=users, progress=progress
    )
    return {"events": events}
