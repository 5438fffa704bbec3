"""Named sets of tasks: ours (clickprint.tasks.TASKS), and those of a module of your own."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from clickprint.core.errors import ConfigError, own_code
from clickprint.core.past import Past, Table
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.tasks import TASKS, task_set
from clickprint.tasks.task import Task, TaskSet
from clickprint.work.scores import score_file
from clickprint.work.source import place

OPEN = tuple(name for name in TASKS if name != "hidden")  # the sets that a recipe can name
OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # a set of your own: module:NAME


def unknown_sets(names: Sequence[str]) -> Iterator[str]:
    """What is wrong with each name that can be no set of tasks."""
    for name in names:
        if name not in OPEN and not OWN.fullmatch(name):
            known = ", ".join(sorted(OPEN))
            yield f"{name!r} is unknown; known: {known}, or module:NAME of your own tasks"


def tasks_of(name: str, past: Past, log: Table, train: Window, *, rng: RNG) -> TaskSet:
    """The tasks of a set, as far as the log has what they ask about.

    `module:NAME` is a set of your own: a Task, a list of them, or a function like those of
    clickprint.tasks.TASKS. Its module is looked for in the working directory too. Raises
    ConfigError where it is none of these.
    """
    if ":" not in name:
        return task_set(name, past, log, train, rng=rng)
    own = _own(name)
    if callable(own):
        with own_code(name, own):
            own = own(past, log, train, rng=rng)
    if isinstance(own, TaskSet):
        return own
    tasks = (own,) if isinstance(own, Task) else tuple(own) if isinstance(own, Sequence) else ()
    if not tasks or not all(isinstance(t, Task) for t in tasks):
        raise ConfigError(
            f"{name}: found {type(own).__name__},"
            " expected a Task, a list of Tasks, or a function that makes a TaskSet"
        )
    return TaskSet(tasks, {})


def open_tasks(
    names: Sequence[str], past: Past, log: Table, train: Window, *, rng: RNG
) -> tuple[dict[str, list[Task]], dict[str, str]]:
    """Set → its tasks; and the tasks that this log cannot be asked → why.

    Raises ConfigError where two tasks have one name, or their scores would have one file's name.
    """
    made = {name: tasks_of(name, past, log, train, rng=rng) for name in names}
    tasks = [t.name for found in made.values() for t in found.tasks]
    files = Counter(score_file(t).casefold() for t in tasks)
    if twice := sorted({t for t in tasks if files[score_file(t).casefold()] > 1}):
        said = "have one name, or one file for their scores; leave one out, or call it otherwise"
        raise ConfigError(f"tasks.sets: {', '.join(map(repr, twice))} {said}")
    left_out = {task: why for found in made.values() for task, why in found.left_out.items()}
    return {name: list(found.tasks) for name, found in made.items()}, left_out


def _own(name: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        with own_code(name):
            return place(name)
    except ImportError as fault:
        raise ConfigError(
            f"{name}: {fault};"
            " expected module:NAME, the module in the working directory or installed"
        ) from None
    except AttributeError:
        raise ConfigError(f"{name}: the module has no such name") from None
