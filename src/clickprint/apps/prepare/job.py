"""What the stages of `prepare` share: the options, the log, and the split that was written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Int64

from clickprint.core.forms import read_json, read_npy
from clickprint.core.options import Between, Distinct, NotEmpty, OneOf, check
from clickprint.core.profiles import USERS_FILE
from clickprint.core.progress import Progress
from clickprint.core.time import Window
from clickprint.data.engine import name
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast
from clickprint.encoders.ranges import HorizonDays, Top

POPULATION = "population.parquet"
SHARDS = 16  # where Spark is asked for and no number is given


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What is prepared.

    - `horizon_days`: the length of the train and of the validation window.
    - `engine`: what runs the tables.
    - `shards`: into how many parts users are partitioned; None: one table (16 with Spark).
    - `days`, `top`: of the aggregated features (encoders.counts).
    - `fields`: of the histories.
    """

    horizon_days: HorizonDays = 14
    engine: Annotated[str, OneOf("duckdb", "spark")] = "duckdb"
    shards: Annotated[int, Between(1, 10_000)] | None = None
    days: Annotated[tuple[HorizonDays, ...], NotEmpty(), Distinct()] = (1, 7, 30)
    top: Top = 10
    fields: Sequence[str] = ()

    def __post_init__(self) -> None:
        check(self)

    @property
    def partition(self) -> tuple[int, str] | None:
        """How tables are partitioned, by which engine; None: they are not."""
        return (self.shards, self.engine) if self.shards is not None else None


@dataclass(frozen=True, slots=True)
class Job:
    """One call of `prepare`. `split` is the folder of the stage that is made first."""

    options: Options
    log: EventLog
    population: Int64[np.ndarray, "U"] | None
    split: Path
    progress: Progress

    def windows(self) -> tuple[Window, Window]:
        """The train and the validation window."""
        told = read_json(self.split / "split.json")
        return Window(*told["train"]), Window(*told["valid"])

    def before(self) -> EventLog:
        """The log before the train window."""
        return self.log.before(self.windows()[0].start)

    def past(self) -> LogPast:
        """The past of whose users there is a row each; without shards."""
        users = read_npy(self.split / USERS_FILE, Int64[np.ndarray, "U"], mapped=True)
        return LogPast(self.before(), self.windows()[0].start, np.asarray(users))

    def users_sql(self) -> str | None:
        """The named population as SQL; None: everybody with an event. With shards."""
        if self.population is None:
            return None
        return f"SELECT {name('user')} FROM {self.log.engine.scan([self.split / POPULATION])}"
