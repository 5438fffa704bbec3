"""The public verbs of `import clickprint`, from a log to a board.

shop = clickprint.read("synthetic", users=2000)
past, train, valid = clickprint.split(shop, horizon_days=14)
profiles = clickprint.encoder("joined").fit(past, rng=clickprint.RNG(0)).encode(past)
board = clickprint.score({"joined": profiles}, shop, train=train, valid=valid)
"""

from clickprint.apps.prepare.stages import prepare
from clickprint.apps.run.stages import run
from clickprint.core.errors import ClickprintError, ConfigError, DataError
from clickprint.core.profiles import Profiles
from clickprint.core.rng import RNG
from clickprint.data.log import EventLog
from clickprint.data.split import split
from clickprint.encoders import encoder, load
from clickprint.tasks.board import Board
from clickprint.tasks.task import Task
from clickprint.work.reading import read
from clickprint.work.resources import Resources, Tables
from clickprint.work.scoring import score

__all__ = [
    "RNG",
    "Board",
    "ClickprintError",
    "ConfigError",
    "DataError",
    "EventLog",
    "Profiles",
    "Resources",
    "Tables",
    "Task",
    "encoder",
    "load",
    "prepare",
    "read",
    "run",
    "score",
    "split",
]
