"""Profiles to scores.

A score cannot depend on how a profile was made: this package must not import encoders.
"""

from importlib import import_module

from clickprint.core.errors import ConfigError
from clickprint.core.past import Past, Table
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.tasks.task import TaskSet

# Sets of tasks by name: each is called (past, log, train, rng=…, and options of its own) and gives
# a TaskSet.
TASKS = {
    "ubm25": "clickprint.tasks.ubm25:ubm25",
    "examples": "clickprint.tasks.examples:examples",
    "hidden": "clickprint.tasks.hidden:sample",
}


def task_set(
    name: str, past: Past, log: Table, train: Window, *, rng: RNG, **options: object
) -> TaskSet:
    """The tasks that `name` (of TASKS) has for this log, fitted to nothing after the train window.

    Raises ConfigError for another name.
    """
    if name not in TASKS:
        raise ConfigError(f"tasks: found {name!r}, expected one of {', '.join(TASKS)}")
    module, function = TASKS[name].split(":")
    made: TaskSet = getattr(import_module(module), function)(past, log, train, rng=rng, **options)
    return made
