"""Histories from lists of items, an event a day, for tests of encoders without order."""

import numpy as np

from clickprint.core.histories import Histories
from clickprint.core.requests import Requests
from clickprint.core.time import DAY
from clickprint.data.split import HistoriesPast


def of(rows: list[list[int]], cutoff: int | None = None) -> Histories:
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    item = np.array([i for r in rows for i in r], np.int64)
    fields = {"item": item, "time": np.arange(len(item)) * DAY}
    return Histories(np.arange(len(rows)) * 7, starts, fields, cutoff)


def past_with(rows: list[list[int]]) -> HistoriesPast:
    return HistoriesPast(of(rows))


def ask(rows: list[list[int]]) -> Requests:
    return Requests(of(rows))


def tastes(users: int = 60, seed: int = 0) -> list[list[int]]:
    """Even users have items 0 … 9, odd ones 10 … 19; user 3 nothing."""
    random = np.random.default_rng(seed)
    return [
        [] if u == 3 else (random.integers(0, 10, random.integers(2, 9)) + 10 * (u % 2)).tolist()
        for u in range(users)
    ]


def counted(rows: list[list[int]], items: np.ndarray) -> np.ndarray:
    return np.array([[row.count(i) for i in items] for row in rows], float)
