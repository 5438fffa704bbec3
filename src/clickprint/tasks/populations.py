"""Whom a task asks. A population is called with the train window and looks only before it.

`ask` (tasks.score) keeps those of a population whose profiles are wanted, in the order of the
profiles.
"""

import numpy as np
from jaxtyping import Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.past import Table
from clickprint.core.time import DAY, Window
from clickprint.tasks.task import Population

BEGINNING = -(2**62)  # before every time that a log can hold


def before(window: Window, days: int | float | None = None) -> Window:
    """All that was before the window, or its last `days`."""
    return Window(BEGINNING if days is None else window.start - round(days * DAY), window.start)


def everyone(users: Int64[np.ndarray, "U"] | None = None) -> Population:
    """These users, seen before or not; without them, whoever did anything before the window."""
    given = users if users is None or (users[1:] > users[:-1]).all() else np.unique(users)

    def population(table: Table, window: Window) -> Int64[np.ndarray, "U"]:
        return table.users(window=before(window)) if given is None else given

    return population


def active_in(days: int | float | None, *roles: Role) -> Population:
    """Users with an event of one of these roles (any, when none is named) before the window.

    `days`: in the last so many days; None: ever.
    """
    if days is not None and not days > 0:
        raise ConfigError(f"active_in: found {days} days, expected more than 0")

    def population(table: Table, window: Window) -> Int64[np.ndarray, "U"]:
        return table.users(roles=roles or None, window=before(window, days))

    return population


def buyers(days: int | float | None = None) -> Population:
    """Users who bought before the window (in the last `days`)."""
    return active_in(days, Role.BUY)


def as_active_as(
    low: int | float, high: int | float, *roles: Role, days: int | float | None = None
) -> Population:
    """Users whose number of events is above the quantile `low` and up to the quantile `high`.

    Events with these roles, in the last `days`. Quantiles are over those with at least one such
    event; equal counts are never parted. `as_active_as(0.5, 1)` are the heavy half,
    `as_active_as(0, 0.5)` the light one.
    """
    if not 0 <= low < high <= 1:
        raise ConfigError(f"as_active_as: found {low} to {high}, expected 0 ≤ low < high ≤ 1")

    def population(table: Table, window: Window) -> Int64[np.ndarray, "U"]:
        seen = table.rows(
            ("user",), roles=roles or None, window=before(window, days), ordered=False
        )["user"]
        users, counts = np.unique(seen, return_counts=True)
        if not len(users):
            return users.astype(np.int64)
        edges = np.quantile(counts, [low, high], method="lower")
        return users[((counts > edges[0]) | (low == 0)) & (counts <= edges[1])].astype(np.int64)

    return population


def touched(column: str, value: int, *roles: Role, days: int | float | None = None) -> Population:
    """Users with an event of these roles whose `column` is `value`, before the window.

    `days`: in the last so many days; None: ever.
    """

    def population(table: Table, window: Window) -> Int64[np.ndarray, "U"]:
        rows = table.rows(
            ("user", column), roles=roles or None, window=before(window, days), ordered=False
        )
        return np.unique(rows["user"][rows[column] == value]).astype(np.int64)

    return population


def lapsed(days: int | float, *roles: Role) -> Population:
    """Users who did something with these roles, but not in the `days` before the window."""
    ever, lately = active_in(None, *roles), active_in(days, *roles)

    def population(table: Table, window: Window) -> Int64[np.ndarray, "U"]:
        return np.setdiff1d(ever(table, window), lately(table, window))

    return population
