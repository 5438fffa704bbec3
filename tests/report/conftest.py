"""The overview of a small log, made once."""

from dataclasses import replace

import numpy as np
import pytest

from clickprint.core.time import HOUR
from clickprint.data.engine import DuckDB
from clickprint.data.overview import Overview, overview
from clickprint.data.split import split
from clickprint.testing.worlds import random_log


@pytest.fixture(scope="session")
def seen() -> Overview:
    with DuckDB(threads=1) as engine:
        log = random_log(
            engine, np.random.default_rng(0), users=60, events=3_000, days=70, tick=HOUR, items=80
        )
        return overview(log, split(log))


@pytest.fixture(scope="session")
def bare(seen: Overview) -> Overview:
    """A log with one picture instead of six: drawing is what takes the time here."""
    return replace(seen, days=(), by_hour=(), kinds=(), per_user=(), spans=())
