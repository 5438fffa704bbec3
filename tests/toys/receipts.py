"""A toy data set: who bought what, and when, in one CSV."""

from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.events import Kind, Role
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import flat
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import id_sql, moment_sql
from clickprint.data.adapters.mapping import Clock, Files
from clickprint.data.adapters.staging import workplace
from clickprint.data.check import blaming, no_time
from clickprint.data.engine import Engine

CARD = Card(
    title="receipts of a toy shop",
    files={"receipts.csv": "who, what, when"},
    licence="yours",
    where="tests/test_places.py",
)


def read(path: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """Read a CSV with the columns who, what, when (seconds)."""
    with workplace(out) as room, blaming(path):
        files = Files(paths=(path,), format="csv")
        rows = flat.staged(engine, files, ("who", "what", "when"), room, path)
        return flat.write(
            out,
            engine=engine,
            reader="receipts",
            kinds=(Kind("buy", Role.BUY),),
            source=rows,
            picks={
                "user": id_sql(rows, "who", False),
                "item": id_sql(rows, "what", False),
                "time": moment_sql(rows, Clock("when", "seconds")),
                "kind": "CAST(0 AS SMALLINT)",
            },
            reasons=[
                ('"user" IS NULL', "no user"),
                ("item IS NULL", "no item"),
                no_time('"time"'),
            ],
            attributes={},
            where=path,
            progress=progress,
        )
