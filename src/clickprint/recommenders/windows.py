"""Rolling windows, and what was bought in one."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.forms import json_of, reading
from clickprint.core.ids import NONE
from clickprint.core.past import Table
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.time import DAY, Time, Window, midnight, parse, show
from clickprint.recommenders.pairs import Bought


def rolling(
    first: Time, end: Time, *, days: int, count: int, gap: int | None = None
) -> list[Window]:
    """`count` windows of `days` days from midnight to midnight, oldest first.

    The last one holds the event at `end`; each starts `gap` days (default: `days`) before the
    next. Raises DataError where the oldest would start at or before `first`.
    """
    last = midnight(end - (days - 1) * DAY)
    starts = [last - i * (gap or days) * DAY for i in reversed(range(count))]
    if starts[0] <= midnight(first):
        asked = f"{count} windows of {days} days before {show(end)}"
        found = f"{asked} start at {show(starts[0])}, but the log starts at {show(first)}"
        raise DataError("windows", [f"{found}; ask for fewer"])
    return [Window(s, s + days * DAY) for s in starts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The windows that are trained on (oldest first), and the one after them for validation."""

    train: tuple[Window, ...]
    valid: Window
    asked: int
    """How many windows were to be trained on; a short log has fewer."""

    @property
    def cutoff(self) -> Time:
        """Where the validation window ends and the prediction starts."""
        return self.valid.end

    @property
    def starts(self) -> tuple[Time, ...]:
        """The cutoffs at which candidates are made, the oldest first."""
        return *(w.start for w in self.train), self.valid.start, self.cutoff

    @staticmethod
    def before(
        valid: Window, first: Time, *, count: int, stride_days: int = 0, history_days: int = 0
    ) -> "Windows":
        """Up to `count` training windows that end where `valid` starts or earlier.

        - `first`: the time of the log's first event.
        - `stride_days`: days between the starts of two windows; 0: as many as a window has.
        - `history_days`: days of the log that must lie before a window.

        Raises DataError where the log has no room for one.
        """
        days = (valid.end - valid.start) // DAY
        starts = [valid.start - (days + n * (stride_days or days)) * DAY for n in range(count)]
        enough = midnight(first) + history_days * DAY
        train = [Window(s, s + days * DAY) for s in starts if s >= enough]
        if not train:
            room = f"no room before {show(valid.start)} for {days} days to train on"
            raise DataError(
                "windows",
                [
                    f"the log starts at {show(first)}: {room} with {history_days} days before them"
                    " (windows.history_days); ask for fewer days"
                ],
            )
        return Windows(train=tuple(reversed(train)), valid=valid, asked=count)

    def to_json(self) -> str:
        """Times as texts; `from_json` reads them."""
        found = {
            "train": [_ends(w) for w in self.train],
            "valid": _ends(self.valid),
            "predict": show(self.cutoff),
            "asked": self.asked,
        }
        return json.dumps(found, indent=1) + "\n"

    @staticmethod
    def from_json(text: str, where: str = "windows.json") -> "Windows":
        """What `to_json` wrote. Raises DataError."""
        again = "remove its folder and split again"
        found = json_of(text, where, again=again)
        with reading(where, again):
            return Windows(
                train=tuple(_window(w) for w in found["train"]),
                valid=_window(found["valid"]),
                asked=int(found["asked"]),
            )


def day(time: Time) -> str:
    """A midnight as a folder's name: `2024-05-01`."""
    return show(time)[:10]


def _ends(window: Window) -> list[str]:
    return [show(window.start), show(window.end)]


def _window(ends: Any) -> Window:
    start, end = ends
    return Window(parse(start), parse(end))


def bought(log: Table, window: Window) -> Bought:
    """What each user bought in the window."""
    rows = log.rows(("user", "item"), roles=(Role.BUY,), window=window, ordered=False)
    there = rows["item"] != NONE
    pairs = np.unique(np.stack([rows["user"][there], rows["item"][there]]), axis=1)
    users, counts = np.unique(pairs[0], return_counts=True)
    return Bought(users, Ragged(starts_of(counts), pairs[1]))
