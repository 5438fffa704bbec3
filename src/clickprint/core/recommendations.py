"""Recommendations: a ranked list for each user, and the table (user, item, rank, score)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64

from clickprint.core.errors import DataError
from clickprint.core.files import whole
from clickprint.core.ids import NONE
from clickprint.core.lookup import pair_keys
from clickprint.core.parquet import read_table

CELLS = 1 << 26  # places for items that a table may need beyond a hundred for each it has

SCHEMA = pa.schema(
    [("user", pa.int64()), ("item", pa.int64()), ("rank", pa.int32()), ("score", pa.float32())]
)


@dataclass(frozen=True, slots=True)
class Recommendations:
    """A list of items for each user, best first.

    Row u is the list of `users[u]`; NONE (with score −∞) fills a list that is shorter than the
    longest. Raises DataError for a user twice, an item twice in a list, a gap inside one, scores
    that rise, or a score that is no number.
    """

    users: Int64[np.ndarray, "U"]
    items: Int64[np.ndarray, "_ K"]  # U × K, as the scores; __post_init__ says it in words
    scores: Float32[np.ndarray, "_ _"]

    def __post_init__(self) -> None:
        users, shape = len(self.users), self.items.shape
        if not users == len(self.items) == len(self.scores) or shape != self.scores.shape:
            sizes = f"found {users} users, items {shape} and scores {self.scores.shape}"
            raise DataError("recommendations", f"{sizes}; they must be of one size")
        there = self.items != NONE
        ordered = np.sort(self.items, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NONE)
        shown = np.where(there, self.scores, -np.inf)
        checks = {
            "users are there twice": users - len(np.unique(self.users)),
            "lists hold an item twice": twice.any(1).sum(),
            "lists have a gap": (there[:, 1:] & ~there[:, :-1]).any(1).sum(),
            "scores are no number": np.isnan(self.scores[there]).sum(),
            "lists are not in the order of their scores": (shown[:, 1:] > shown[:, :-1])
            .any(1)
            .sum(),
        }
        if faults := [f"{n} {what}" for what, n in checks.items() if n]:
            raise DataError("recommendations", faults)

    @property
    def lengths(self) -> Int64[np.ndarray, "U"]:
        """How many items each list has."""
        return (self.items != NONE).sum(1)

    def table(self) -> pa.Table:
        """One row a user and item; rank starts at 1. A user with an empty list has no row."""
        row, column = np.nonzero(self.items != NONE)
        rank, score = (column + 1).astype(np.int32), self.scores[row, column]
        return pa.table([self.users[row], self.items[row, column], rank, score], schema=SCHEMA)

    def save(self, path: Path | str) -> None:
        """Writes the table to one Parquet file, whole or not at all."""
        with whole(Path(path)) as part:
            pq.write_table(self.table(), part, compression="zstd")

    @staticmethod
    def load(path: Path | str) -> "Recommendations":
        """What `save` wrote, users sorted, those with an empty list left out. Raises DataError."""
        path = Path(path)
        table = read_table(path, SCHEMA)
        if any(table.column(c).null_count for c in SCHEMA.names):
            raise DataError(path, "some rows have no user, item, rank or score")
        user, item, rank, score = (table.column(c).to_numpy() for c in SCHEMA.names)
        if len(rank) and (rank.min() < 1 or rank.max() > len(rank)):
            said = f"found ranks from {rank.min()} to {rank.max()}, expected 1, 2, … for each user"
            raise DataError(path, said)
        users, row = np.unique(user, return_inverse=True)
        longest = int(rank.max(initial=0))
        if len(users) * longest > CELLS + 100 * len(rank):
            raise DataError(
                path,
                f"found a list of {longest:,} items among {len(users):,} users with"
                f" {len(rank) // len(users):,} each: a wrong rank?",
            )
        keys = pair_keys(row.astype(np.int64), rank.astype(np.int64), longest + 1)
        if len(np.unique(keys)) < len(rank):
            raise DataError(path, "a user has two items of one rank")
        items = np.full((len(users), longest), NONE, np.int64)
        scores = np.full((len(users), longest), -np.inf, np.float32)
        items[row, rank - 1], scores[row, rank - 1] = item, score
        return Recommendations(users, items, scores)
