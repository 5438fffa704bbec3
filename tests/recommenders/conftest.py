"""A small log for everything about the next purchase, and its users' events as plain Python."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.testing.worlds import START, memory_log, random_arrays

CUTOFF = START + 30 * DAY


@pytest.fixture(scope="session")
def arrays() -> dict[str, Any]:
    return random_arrays(np.random.default_rng(11))


@pytest.fixture(scope="session")
def log(arrays: dict[str, Any]) -> Iterator[EventLog]:
    with DuckDB(threads=1) as engine:
        yield memory_log(engine, **arrays)


@pytest.fixture(scope="session")
def past(log: EventLog) -> LogPast:
    return past_of(log, CUTOFF)
