"""Rows of different lengths in one flat array: no padding, no object a row."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Shaped


@dataclass(frozen=True, slots=True)
class Ragged:
    """Row r is values[starts[r] : starts[r + 1]].

    Values may have more axes (a code vector an event); the first is the event.
    """

    starts: Int64[np.ndarray, "U1"]  # one more than there are rows; rises from 0
    values: Shaped[np.ndarray, "L ..."]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Shaped[np.ndarray, "N ..."]:
        """One row's values, a view. Raises IndexError."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        return self.values[self.starts[row] : self.starts[row + 1]]

    @property
    def lengths(self) -> Int64[np.ndarray, "U"]:
        return np.diff(self.starts)

    def take(self, rows: Int64[np.ndarray, "B"]) -> "Ragged":
        """These rows, in this order; a row may be taken twice.

        Costs what their values cost; a run of rows is a view.
        """
        return self._spans(self.starts[:-1][rows], self.lengths[rows])

    def slice(self, start: int, stop: int) -> "Ragged":
        """The rows from `start` to before `stop` (as in a Python slice); the values are a view."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        return Ragged(
            self.starts[start : stop + 1] - self.starts[start],
            self.values[self.starts[start] : self.starts[stop]],
        )

    def last(self, n: int) -> "Ragged":
        """The last `n` values of each row, all of a shorter one."""
        keep = np.minimum(self.lengths, n)
        return self._spans(self.starts[1:] - keep, keep)

    def _spans(self, first: Int64[np.ndarray, "B"], lengths: Int64[np.ndarray, "B"]) -> "Ragged":
        starts, places = spans(first, lengths)
        return Ragged(starts, self.values[places])


def starts_of(lengths: Int64[np.ndarray, "B"]) -> Int64[np.ndarray, "B+1"]:
    """Where rows of these lengths start, one after the other, and where the last one ends."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def within_rows(lengths: Int64[np.ndarray, "B"]) -> Int64[np.ndarray, "N"]:
    """0, 1, 2, … in each of the rows of these lengths, one row after the other."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def spans(
    first: Int64[np.ndarray, "B"], lengths: Int64[np.ndarray, "B"]
) -> tuple[Int64[np.ndarray, "B+1"], Int64[np.ndarray, "N"] | slice]:
    """How to lay spans of an array one after the other: their new starts, and which values.

    Span i is first[i] … first[i] + lengths[i] − 1. The values are a slice (so that taking them
    copies nothing) where each span begins at the end of the one before it.
    """
    starts = starts_of(lengths)
    some = lengths > 0
    begin, size = first[some], lengths[some]
    if not len(begin):
        return starts, slice(0, 0)
    if (begin[1:] == begin[:-1] + size[:-1]).all():
        return starts, slice(int(begin[0]), int(begin[-1] + size[-1]))
    return starts, np.arange(starts[-1]) + np.repeat(first - starts[:-1], lengths)
