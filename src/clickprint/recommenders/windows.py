"""Rolling windows, and what was bought in one."""

import numpy as np

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.past import Table
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.time import DAY, Time, Window, midnight, show
from clickprint.recommenders.pairs import Bought


def rolling(
    first: Time, end: Time, *, days: int, count: int, gap: int | None = None
) -> list[Window]:
    """`count` windows of `days` days, oldest first, the last one holding the event at `end`; each starts `gap` days (default: `days`)
    before the next one, at midnight.

    Raises DataError where the oldest would start at or before `first`, so that nothing would lie before it.
    """
    last = midnight(end - (days - 1) * DAY)
    starts = [last - i * (gap or days) * DAY for i in reversed(range(count))]
    if starts[0] <= midnight(first):
        asked = f"{count} windows of {days} days before {show(end)}"
        raise DataError(
            "windows",
            [
                f"{asked} start at {show(starts[0])}, but the log starts at {show(first)}; ask for fewer"
            ],
        )
    return [Window(s, s + days * DAY) for s in starts]


def bought(log: Table, window: Window) -> Bought:
    """What each user bought in the window."""
    rows = log.rows(("user", "item"), roles=(Role.BUY,), window=window, ordered=False)
    there = rows["item"] != NONE
    pairs = np.unique(np.stack([rows["user"][there], rows["item"][there]]), axis=1)
    users, counts = np.unique(pairs[0], return_counts=True)
    return Bought(users, Ragged(starts_of(counts), pairs[1]))
