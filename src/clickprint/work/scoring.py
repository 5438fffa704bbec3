"""Profiles to a board in one call: named sets of tasks, hidden tasks, a probe and its device."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.tasks import score as scoring
from clickprint.tasks import task_set
from clickprint.tasks.board import Board
from clickprint.tasks.task import Task
from clickprint.work.probes import named_devices
from clickprint.work.tasksets import tasks_of


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
    """Score profiles on tasks: a probe learns the train window and predicts the validation one.

    The users of the first profile are asked, in its order.

    - `tasks`: a set's name (`"ubm25"`, `"examples"`, `"module:NAME"`), a task, or several.
    - `hidden`: how many more tasks are generated from the log.
    - `probe`: "quick", a linear one, or "official", the challenge's network, which needs torch.
    - `reference`, `control`: the profiles that the board's words compare with.
    - `resamples`: of the users, for the intervals; 0 means no intervals.
    - `seed`: of the task sets and the hidden tasks.

    Raises ConfigError, and DataError where a profile lacks a user.
    """
    if not profiles:
        raise ConfigError("there are no profiles to score; give at least one, {name: profiles}")
    users = next(iter(profiles.values())).users
    for name, each in profiles.items():
        if not np.array_equal(np.sort(each.users), np.sort(users)):
            said = f"found {len(each.users):,} users, the first profile has {len(users):,}"
            raise DataError(f"profile {name}", f"{said}; all profiles must be of the same users")
    past = past_of(log, train.start, users)
    rng = RNG(seed).child("tasks")
    if isinstance(tasks, str):
        asked: Sequence[Task] = tasks_of(tasks, past, log, train, rng=rng).tasks
    else:
        asked = (tasks,) if isinstance(tasks, Task) else tasks
    generated = task_set("hidden", past, log, train, rng=rng, count=hidden).tasks if hidden else ()
    device = "cpu"
    if probe == "official":
        (device,) = named_devices(accelerator, "1")
    scores = {
        name: [
            score
            for some, is_hidden in ((asked, False), (generated, True))
            for score in scoring.score(
                vectors,
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
        for name, vectors in profiles.items()
    }
    return Board.of(scores, reference=reference, control=control)
