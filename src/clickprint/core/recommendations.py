"""Recommendations: a ranked list a user, and the one table that holds them: user, item, rank,
score.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64

from clickprint.core.errors import DataError
from clickprint.core.files import whole
from clickprint.core.ids import NONE

CELLS = 1 << 26  # places for items that a table may need beyond a hundred for each it has

SCHEMA = pa.schema(
    [("user", pa.int64()), ("item", pa.int64()), ("rank", pa.int32()), ("score", pa.float32())]
)


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Row u is what user u is shown, best first;

    NONE (with score −∞) fills lists that are shorter than the longest.

    Raises DataError for a user twice, an item twice in a list, a gap inside one, scores that rise,
    or no number.
    """

    users: Int64[np.ndarray, "U"]
    items: Int64[np.ndarray, "_ K"]  # U × K, as the scores; __post_init__ says it in words
    scores: Float32[np.ndarray, "_ _"]

    def __post_init__(self) -> None:
        there = self.items != NONE
        faults = []
        if (
            not (len(self.users) == len(self.items) == len(self.scores))
            or self.items.shape != self.scores.shape
        ):
            faults.append(
                f"found {len(self.users)} users, items {self.items.shape} and scores"
                f" {self.scores.shape}; they must be of one size"
            )
        else:
            ordered = np.sort(self.items, axis=1)
            shown = np.where(there, self.scores, -np.inf)
            checks = {
                "users are there twice": len(self.users) - len(np.unique(self.users)),
                "lists hold an item twice": int(
                    ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NONE)).any(1).sum()
                ),
                "lists have a gap": int((there[:, 1:] & ~there[:, :-1]).any(1).sum()),
                "scores are no number": int(np.isnan(self.scores[there]).sum()),
                "lists are not in the order of their scores": int(
                    (shown[:, 1:] > shown[:, :-1]).any(1).sum()
                ),
            }
            faults += [f"{n} {what}" for what, n in checks.items() if n]
        if faults:
            raise DataError("recommendations", faults)

    @property
    def lengths(self) -> Int64[np.ndarray, "U"]:
        """How many items each list has."""
        return (self.items != NONE).sum(1)

    def table(self) -> pa.Table:
        """One row a user and item; rank starts at 1. A user with an empty list has no row."""
        row, place = np.nonzero(self.items != NONE)
        columns = [
            self.users[row],
            self.items[row, place],
            (place + 1).astype(np.int32),
            self.scores[row, place],
        ]
        return pa.table(columns, schema=SCHEMA)

    def save(self, path: Path | str) -> None:
        """Writes the table to one Parquet file, whole or not at all."""
        with whole(Path(path)) as part:
            pq.write_table(self.table(), part, compression="zstd")

    @staticmethod
    def load(path: Path | str) -> "Recommendations":
        """What `save` wrote, users sorted; a user whose list was empty is not in it.

        Raises DataError.
        """
        try:
            table = pq.read_table(path, schema=SCHEMA)
        except (OSError, pa.ArrowException) as fault:
            raise DataError(
                path, f"not a table of recommendations ({str(fault).splitlines()[0]})"
            ) from None
        if any(table.column(c).null_count for c in SCHEMA.names):
            raise DataError(path, "some rows have no user, item, rank or score")
        user, item, rank, score = (table.column(c).to_numpy() for c in SCHEMA.names)
        if len(rank) and (rank.min() < 1 or rank.max() > len(rank)):
            raise DataError(
                path,
                f"found ranks from {rank.min()} to {rank.max()}, expected 1, 2, … for each user",
            )
        users, row = np.unique(user, return_inverse=True)
        shape = len(users), int(rank.max(initial=0))
        if shape[0] * shape[1] > CELLS + 100 * len(rank):
            raise DataError(
                path,
                f"found a list of {shape[1]:,} items among {shape[0]:,} users with"
                f" {len(rank) // shape[0]:,} each: a wrong rank?",
            )
        items, scores = np.full(shape, NONE, np.int64), np.full(shape, -np.inf, np.float32)
        if len(np.unique(row.astype(np.int64) * (shape[1] + 1) + rank)) < len(rank):
            raise DataError(path, "a user has two items of one rank")
        items[row, rank - 1], scores[row, rank - 1] = item, score
        return Recommendations(users, items, scores)
