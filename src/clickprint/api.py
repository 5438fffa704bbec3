"""The public verbs: read, split, encoder (fit, encode), score, run, prepare. `import clickprint` has them all.

shop = clickprint.read("synthetic", users=2000)
past, train, valid = clickprint.split(shop, horizon_days=14)
profiles = clickprint.encoder("joined").fit(past, rng=clickprint.RNG(0)).encode(past)
board = clickprint.score({"joined": profiles}, shop, train=train, valid=valid)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from clickprint.apps.prepare.stages import prepare
from clickprint.apps.run.stages import run
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.split import past_of, split
from clickprint.encoders import encoder, load
from clickprint.tasks import score as scoring
from clickprint.tasks import task_set
from clickprint.tasks.board import Board
from clickprint.tasks.task import Task
from clickprint.work.probes import named_devices
from clickprint.work.source import dataset
from clickprint.work.tasksets import tasks_of

__all__ = [
    "RNG",
    "Board",
    "EventLog",
    "Profiles",
    "Task",
    "encoder",
    "load",
    "prepare",
    "read",
    "run",
    "score",
    "split",
]


def read(
    source: str | Path,
    path: str | Path | None = None,
    *,
    out: str | Path | None = None,
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
    **options: Any,
) -> EventLog:
    """A log, ready to be split: of a reader (`"synthetic"`, `"complete_journey"`, `"challenge"`, `"table"`), or a dataset's folder.

    `path` is what the reader reads, `options` are its own. The dataset is written to `out`, or kept in the cache (CLICKPRINT_CACHE, or
    ~/.cache/clickprint) and found there the next time. The log keeps an engine open, within `memory`; close it with `log.engine.close()`.
    Raises ConfigError and DataError.
    """
    engine = DuckDB(memory=memory, threads=threads)
    try:
        if isinstance(source, Path) or (Path(source) / "manifest.json").is_file():
            if path is not None or options or out is not None:
                raise ConfigError(
                    f"{source} is a dataset already: it takes no path, out or options"
                )
            found = Dataset.open(source)
        else:
            found = dataset(
                source,
                None if path is None else Path(path),
                options,
                out=None if out is None else Path(out),
                engine=engine,
                progress=progress,
            )
        return EventLog.open(found, engine)
    except BaseException:
        engine.close()
        raise


def score(
    profiles: Mapping[str, Profiles],
    log: EventLog,
    *,
    train: Window,
    valid: Window,
    tasks: str | Task | Sequence[Task] = "ubm25",
    hidden: int = 0,
    probe: Literal["quick", "official"] = "quick",
    reference: str = "counts",
    control: str = "random",
    resamples: int = 200,
    seed: int = 0,
    accelerator: str = "auto",
    progress: Progress = silent,
) -> Board:
    """How well each profile foresees the validation window after a probe learned the train window: a board, ready to be printed.

    `tasks` is a set's name (`"ubm25"`, `"examples"`, `"module:NAME"`), or tasks; `hidden` draws more, by `seed`. Asked are the users
    of the first profile, in its order. `reference` and `control` are what the board's words compare with. The official probe needs torch.
    Raises ConfigError, and DataError where a profile lacks a user.
    """
    if not profiles:
        raise ConfigError("there are no profiles to score; give at least one, {name: profiles}")
    users = next(iter(profiles.values())).users
    past = past_of(log, train.start, users)
    rng = RNG(seed).child("tasks")
    if isinstance(tasks, str):
        asked: Sequence[Task] = tasks_of(tasks, past, log, train, rng=rng).tasks
    else:
        asked = (tasks,) if isinstance(tasks, Task) else tasks
    drawn = task_set("hidden", past, log, train, rng=rng, count=hidden).tasks if hidden else ()
    device = "cpu"
    if probe == "official":
        (device,) = named_devices(accelerator, "1")
    found = {}
    for name, of in profiles.items():
        found[name] = [
            one
            for some, is_hidden in ((asked, False), (drawn, True))
            for one in scoring.score(
                of,
                log,
                some,
                train,
                valid,
                probe=probe,
                users=users,
                hidden=is_hidden,
                resamples=resamples,
                device=device,
                progress=progress,
            )
        ]
    return Board.of(found, reference=reference, control=control)
