"""Candidates: the items that each user may be shown, with columns of what is known of a pair."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Float32, Float64, Int64, Shaped

from clickprint.core.errors import DataError
from clickprint.core.files import whole
from clickprint.core.forms import reading
from clickprint.core.ids import NONE
from clickprint.core.lookup import pair_keys, pairs_of_keys, positions, positions_in_any_order
from clickprint.core.parquet import need_columns, read_table
from clickprint.core.ragged import Ragged, spans, starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.metrics import ranking

ALONE = b"users without a pair"


@dataclass(frozen=True, slots=True)
class Pairs:
    """The user of row u may be shown items[starts[u]:starts[u + 1]], which rise, each once.

    Columns have a value a pair; NaN where it is not known. Raises DataError where that does not
    hold.
    """

    users: Int64[np.ndarray, "U"]  # sorted, each once
    starts: Int64[np.ndarray, "U1"]
    items: Int64[np.ndarray, "P"]
    columns: Mapping[str, Float32[np.ndarray, "_"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = []
        if (np.diff(self.users) <= 0).any():
            faults.append("users are not sorted, each once")
        if (
            len(self.starts) != len(self.users) + 1
            or self.starts[0] != 0
            or self.starts[-1] != len(self.items)
            or (self.lengths < 0).any()
        ):
            faults.append(
                f"starts that do not cut {len(self.items)} items for {len(self.users)} users"
            )
        else:
            same = np.ones(max(len(self.items) - 1, 0), bool)
            same[
                self.starts[1:-1][(self.starts[1:-1] > 0) & (self.starts[1:-1] < len(self.items))]
                - 1
            ] = False
            if (np.diff(self.items)[same] <= 0).any():
                faults.append("a user's items do not rise, each once")
        faults += [
            f"{n}: {len(c)} values of {len(self.items)} pairs"
            for n, c in self.columns.items()
            if len(c) != len(self.items)
        ]
        if faults:
            raise DataError("candidates", faults)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> Int64[np.ndarray, "U"]:
        return np.diff(self.starts)

    @property
    def rows(self) -> Int64[np.ndarray, "P"]:
        """The place of each pair's user in `users`."""
        return np.repeat(np.arange(len(self.users)), self.lengths)

    def take(self, rows: Int64[np.ndarray, "B"]) -> "Pairs":
        """The pairs of the users at these places, which rise."""
        starts, places = spans(self.starts[:-1][rows], self.lengths[rows])
        return Pairs(
            self.users[rows],
            starts,
            self.items[places],
            {n: c[places] for n, c in self.columns.items()},
        )

    def where(self, keep: Bool[np.ndarray, "P"]) -> "Pairs":
        """The pairs that are kept; every user stays."""
        starts = np.append(0, np.cumsum(keep))[self.starts]
        return Pairs(
            self.users, starts, self.items[keep], {n: c[keep] for n, c in self.columns.items()}
        )

    def also(self, columns: Mapping[str, Shaped[np.ndarray, "_"]]) -> "Pairs":
        """The same with more columns."""
        return replace(
            self,
            columns={**self.columns, **{n: np.asarray(c, np.float32) for n, c in columns.items()}},
        )

    def matrix(self, names: list[str]) -> Float32[np.ndarray, "P F"]:
        """These columns side by side."""
        return (
            np.stack([self.columns[n] for n in names], 1)
            if names
            else np.zeros((len(self), 0), np.float32)
        )

    def save(self, path: Path) -> None:
        """One Parquet file, whole or not at all: user, item, and the columns.

        Users without a pair stand in its metadata.
        """
        alone = base64.b64encode(np.ascontiguousarray(self.users[self.lengths == 0]).tobytes())
        table = pa.table(
            {
                "user": self.users[self.rows],
                "item": self.items,
                **{f"column {n}": c for n, c in self.columns.items()},
            }
        )
        with whole(Path(path)) as part:
            pq.write_table(table.replace_schema_metadata({ALONE: alone}), part, compression="zstd")

    @staticmethod
    def load(path: Path) -> "Pairs":
        """What `save` wrote. Raises DataError."""
        again = "make the candidates again"
        table = read_table(path, again=again)
        need_columns(table, path, "user", "item", again=again)
        with reading(path, again):
            user, item = (table.column(n).to_numpy() for n in ("user", "item"))
            alone = np.frombuffer(
                base64.b64decode((table.schema.metadata or {})[ALONE], validate=True), np.int64
            )
            columns = {
                n.removeprefix("column "): table.column(n).to_numpy()
                for n in table.column_names
                if n.startswith("column ")
            }
        users = np.union1d(user, alone)
        if (np.diff(user) < 0).any():
            raise DataError(str(path), ["users do not rise; make the candidates again"])
        return Pairs(
            users,
            np.append(np.searchsorted(user, users), len(user)).astype(np.int64),
            item,
            columns,
        )

    def top(self, scores: Float[np.ndarray, "P"], k: int) -> Recommendations:
        """The k items of the highest scores of each user; equal ones: the smaller first."""
        rows = self.rows
        order = np.lexsort((-scores, rows))  # a stable sort, and a user's items rise
        place = np.arange(len(order)) - self.starts[rows[order]]
        order, place = order[place < k], place[place < k]
        items = np.full((len(self.users), k), NONE, np.int64)
        found = np.full((len(self.users), k), -np.inf, np.float32)
        items[rows[order], place], found[rows[order], place] = self.items[order], scores[order]
        return Recommendations(self.users, items, found)


def match(
    own: Pairs, rows: Int64[np.ndarray, "N"], values: Int64[np.ndarray, "N"]
) -> Int64[np.ndarray, "N"]:
    """Where the pair (user at `rows`, value) stands in `own`; −1 where it is not there."""
    known = np.unique(own.items)
    place = positions(known, values)
    keys = pair_keys(own.rows, np.searchsorted(known, own.items), len(known))
    return np.where(place < 0, -1, positions(keys, pair_keys(rows, place, len(known))))


def union(lists: Mapping[str, Recommendations]) -> Pairs:
    """All candidates of all lists, with two columns of each: `<name>_rank` and `<name>_score`.

    Rank 1 is the list's best; NaN for what the list lacks. Raises DataError where lists are not of
    the same users, sorted.
    """
    users = next(iter(lists.values())).users
    if faults := [
        f"{n} is of other users than the first list"
        for n, some in lists.items()
        if not np.array_equal(some.users, users)
    ]:
        raise DataError("candidates", faults)
    places = {n: np.nonzero(some.items != NONE) for n, some in lists.items()}
    known = np.unique(np.concatenate([some.items[places[n]] for n, some in lists.items()]))
    keys = {
        n: pair_keys(places[n][0], np.searchsorted(known, some.items[places[n]]), len(known))
        for n, some in lists.items()
    }
    pairs = np.unique(np.concatenate(list(keys.values())))
    row, item = pairs_of_keys(pairs, len(known))
    columns: dict[str, np.ndarray] = {}
    for name, some in lists.items():
        at = np.searchsorted(pairs, keys[name])
        rank, score = (np.full(len(pairs), np.nan, np.float32) for _ in range(2))
        rank[at], score[at] = places[name][1] + 1, some.scores[places[name]]
        columns |= {f"{name}_rank": rank, f"{name}_score": score}
    return Pairs(users, starts_of(np.bincount(row, minlength=len(users))), known[item], columns)


def fill(lists: Recommendations, popular: Int64[np.ndarray, "V"], k: int) -> Recommendations:
    """Lists of k: what is missing comes from `popular`, without what the list has.

    `popular` is best first, each item once.
    """
    own, more = lists.items[:, :k], np.tile(popular[:k], (len(lists.users), 1))
    both = np.concatenate([own, more], 1)
    # A stable sort: the list's own items stand before their popular twins.
    place = np.argsort(both, axis=1, kind="stable")
    ordered = np.take_along_axis(both, place, 1)
    again = np.zeros(both.shape, bool)
    np.put_along_axis(again, place[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    good = ~again & (both != NONE)
    scores = np.concatenate([lists.scores[:, :k], np.zeros(more.shape, np.float32)], 1)
    least = np.minimum(np.where(own != NONE, scores[:, : own.shape[1]], 0).min(1, initial=0), 0)
    scores[:, own.shape[1] :] = least[:, None] - 1 - np.arange(more.shape[1])
    order = np.argsort(~good, axis=1, kind="stable")[:, :k]
    there = np.take_along_axis(good, order, 1)
    return Recommendations(
        lists.users,
        np.where(there, np.take_along_axis(both, order, 1), NONE),
        np.where(there, np.take_along_axis(scores, order, 1), -np.inf).astype(np.float32),
    )


@dataclass(frozen=True, slots=True)
class Bought:
    """Who bought in a window (sorted) and what, each item once."""

    users: Int64[np.ndarray, "B"]
    items: Ragged

    def of(self, pairs: Pairs) -> Bool[np.ndarray, "P"]:
        """Whether the pair's user bought the pair's item."""
        row = np.repeat(positions(pairs.users, self.users), self.items.lengths)
        bought = np.zeros(len(pairs), bool)
        at = match(pairs, row[row >= 0], self.items.values[row >= 0])
        bought[at[at >= 0]] = True
        return bought

    def recall(self, lists: Recommendations, k: int) -> Float64[np.ndarray, "B"]:
        """The share of each buyer's items that are in the first k of their list."""
        row = positions_in_any_order(lists.users, self.users)
        shown = np.full((len(row), min(k, lists.items.shape[1])), NONE)
        shown[row >= 0] = lists.items[row[row >= 0], :k]
        hits = ranking.hits(shown, self.items.starts, self.items.values).sum(1)
        return hits / np.maximum(self.items.lengths, 1)

    def found(self, pairs: Pairs) -> Float64[np.ndarray, "B"]:
        """The share of each buyer's items among their candidates, which no ranking can exceed."""
        hits = np.bincount(pairs.rows, self.of(pairs), len(pairs.users))
        row = positions(pairs.users, self.users)
        return np.where(row < 0, 0.0, np.append(hits, 0.0)[row]) / np.maximum(
            self.items.lengths, 1
        )
