"""The organisers' aggregated features: how often, what most, and how lately, by kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.lookup import pair_keys, positions
from clickprint.core.options import Distinct, NotEmpty, check
from clickprint.core.past import Past
from clickprint.core.profiles import MAX_WIDTH, Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY
from clickprint.data import features, parts
from clickprint.data.engine import name
from clickprint.data.features import CODES, Tables
from clickprint.data.log import EventLog
from clickprint.data.parts import Piece
from clickprint.encoders import state
from clickprint.encoders.ranges import HorizonDays, Top


@dataclass(frozen=True, slots=True)
class Block:
    """The columns of one kind of event.

    Its number of events, then for each window and column the counts of the column's top values.
    `tops` is ((column, values), …). `codes` instead of that: the mean of the 16 query codes.
    """

    kind: str
    tops: tuple[tuple[str, tuple[int, ...]], ...]
    codes: bool = False

    def width(self, windows: int) -> int:
        return CODES if self.codes else 1 + windows * sum(len(values) for _, values in self.tops)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """The aggregated features that every profile has to beat.

    - `days`: windows, each ending with the kind's last event in the log and holding the events at
      or after (last − window).
    - `top`: so many of the most frequent values of a column (of the users' events at fit; ties:
      the smaller value).

    One block for each kind of event, in the organisers' order: the number of events; then, for
    each window, for each of item, category, price bucket, url and query text that the kind's
    events have, the counts of its top values. Searches whose queries are code vectors: the mean of
    the 16 codes. Zeros where a user has no such event. Counts above 65,504 are stored as 65,504,
    those above 2,048 to four digits (core.profiles.to_float16). Source:
    spec/challenge-protocol.md, "Baseline profile". Differs: windows do not depend on the order of
    the files' rows.
    """

    days: Annotated[tuple[HorizonDays, ...], NotEmpty(), Distinct()] = (1, 7, 30)
    top: Top = 10

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self,
        past: Past,
        *,
        rng: RNG | None = None,
        progress: Progress = silent,
        session: Session = ALONE,
    ) -> "FittedCounts":
        """Learns which values are the most frequent.

        Raises ConfigError when that makes more columns than a profile may have.
        """
        return self.fit_log(features.log_of(past), past.users, progress=progress)

    def fit_log(
        self,
        log: EventLog,
        users: Int64[np.ndarray, "U"] | str | None = None,
        *,
        progress: Progress = silent,
    ) -> "FittedCounts":
        """`fit` for a log that is cut, and `users` as features.tables takes them.

        What comes to this process is small.
        """
        edges = features.price_edges(log)
        columns = features.value_columns(log)
        tops: dict[str, dict[int, tuple[int, ...]]] = {}
        with features.tables(log, users, edges) as tables:
            for done, column in enumerate(columns):
                progress("most frequent values", done, len(columns))
                tops[column] = features.tops(tables, column, self.top)
        codes = features.has_codes(log)
        blocks = []
        for code in features.kind_order(log):
            kind = log.manifest.kinds[code]
            blocks.append(
                Block(kind.name, (), codes=True)
                if codes and kind.role is Role.SEARCH
                else Block(
                    kind.name, tuple((c, tops[c][code]) for c in columns if code in tops[c])
                )
            )
        width = sum(b.width(len(self.days)) for b in blocks)
        if width > MAX_WIDTH:
            raise ConfigError(
                f"days={list(self.days)}, top={self.top} make {width} columns,"
                f" at most {MAX_WIDTH} are allowed; ask for fewer"
            )
        return FittedCounts(self.days, tuple(blocks), edges)

    @staticmethod
    def load(folder: Path) -> "FittedCounts":
        """What FittedCounts.save wrote. Raises DataError."""
        return state.read(folder, "counts", FittedCounts)


@dataclass(frozen=True, slots=True)
class FittedCounts:
    """The layout: which values are counted, block by block."""

    days: tuple[HorizonDays, ...]
    blocks: tuple[Block, ...]
    price_edges: tuple[float, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What each column counts: `buy`, `buy 7d category 12`, `search code 3`."""
        found = []
        for b in self.blocks:
            if b.codes:
                found += [f"{b.kind} code {i}" for i in range(CODES)]
            else:
                found += [
                    b.kind,
                    *(
                        f"{b.kind} {d}d {c} {v}"
                        for d in self.days
                        for c, values in b.tops
                        for v in values
                    ),
                ]
        return tuple(found)

    @property
    def widths(self) -> tuple[tuple[str, int], ...]:
        """(block, columns) for each block."""
        return tuple((b.kind, b.width(len(self.days))) for b in self.blocks)

    def encode(self, past: Past) -> Profiles:
        log = features.log_of(past)
        vectors = np.zeros((len(past.users), len(self.names)), np.float16)
        with features.tables(log, past.users, self.price_edges) as tables:
            for sql, put in self.pieces(tables):
                for part in features.scatter(log.engine, sql):
                    put(part, vectors)
        return Profiles(past.users, vectors, self.widths)

    def write(
        self,
        log: EventLog,
        folder: Path,
        *,
        shards: int,
        users: str | None = None,
        progress: Progress = silent,
    ) -> int:
        """Writes the profiles of users to `folder`, a shard a folder (data.parts); how many.

        `users`: SQL with the column user, each once; None: everyone with an event in the log,
        which is cut. Nothing with a row a user comes to this process; the bytes are `encode`'s.
        """
        with features.tables(log, users, self.price_edges) as tables:
            everyone = users or f"SELECT DISTINCT {name('user')} FROM {log.events}"
            return parts.profiles(
                log.engine,
                everyone,
                self.pieces(tables),
                self.widths,
                folder,
                shards=shards,
                progress=progress,
            )

    def pieces(self, tables: Tables) -> Iterator[Piece]:
        """What fills the vectors: SQL texts, each with what puts its rows where they belong.

        Each is used before the next is taken.
        """
        log = tables.log
        starts = dict(
            zip(
                (b.kind for b in self.blocks),
                np.cumsum([0, *(w for _, w in self.widths)])[:-1].tolist(),
                strict=True,
            )
        )
        code_of = {kind.name: code for code, kind in enumerate(log.manifest.kinds)}
        blocks = {
            code_of[b.kind]: b for b in self.blocks if b.kind in code_of
        }  # a kind that the log does not have stays zero
        first = np.full(len(log.manifest.kinds), -1)  # kind → its block's first column
        for code, b in blocks.items():
            first[code] = -1 if b.codes else starts[b.kind]
        yield features.totals_sql(tables), partial(_put_totals, first)
        yield from self._windows(tables, blocks, first)
        searches = {code: starts[b.kind] for code, b in blocks.items() if b.codes}
        if searches and features.has_codes(log):
            with features.query_codes(log) as codes:
                yield features.code_sums_sql(tables, codes), partial(_put_codes, searches)

    def _windows(
        self, tables: Tables, blocks: dict[int, Block], first: np.ndarray
    ) -> Iterator[Piece]:
        """The counts of top values."""
        engine = tables.log.engine
        lasts = {kind: last for kind, last in features.lasts(tables.log).items() if kind in blocks}
        if not lasts:
            return
        windows, since = len(self.days), min(lasts.values()) - max(self.days) * DAY
        ends = {
            f"e{i}": pa.array([last - d * DAY for last in lasts.values()], pa.int64())
            for i, d in enumerate(self.days)
        }
        edges = engine.keep(pa.table({"kind": pa.array(list(lasts), pa.int16()), **ends}))
        try:
            for column in features.value_columns(tables.log):
                # Where (kind, value) is counted: its column in the first window, and how many
                # columns on the next window is.
                where: dict[tuple[int, int], tuple[int, int]] = {}
                for code, b in blocks.items():
                    place = first[code] + 1
                    for c, values in b.tops:
                        if c == column:
                            where |= {
                                (code, v): (place + i, b.width(1) - 1)
                                for i, v in enumerate(values)
                            }
                        place += len(values)
                if not where:
                    continue
                keys = np.array(sorted(where), np.int64)
                targets = np.array([where[k, v] for k, v in keys.tolist()])
                distinct = np.unique(keys[:, 1])
                sql = features.windows_sql(
                    tables, column, distinct.tolist(), edges, windows, since
                )
                yield sql, partial(_put_windows, keys, targets, distinct, windows)
        finally:
            engine.drop(edges)

    def save(self, folder: Path) -> None:
        state.write(folder, "counts", self)

    def problems(self) -> Iterator[tuple[str, str]]:
        """See encoders.state.Agrees."""
        width = sum(b.width(len(self.days)) for b in self.blocks)
        if width > MAX_WIDTH:
            yield "blocks", f"found {width} columns, expected at most {MAX_WIDTH}"


def _put_totals(
    first: Int64[np.ndarray, "K"], part: Mapping[str, np.ndarray], vectors: np.ndarray
) -> None:
    known = first[part["kind"]] >= 0
    vectors[part["place"][known], first[part["kind"][known]]] = to_float16(part["n"][known])


def _put_windows(
    keys: Int64[np.ndarray, "N 2"],
    targets: Int64[np.ndarray, "N 2"],
    distinct: Int64[np.ndarray, "V"],
    windows: int,
    part: Mapping[str, np.ndarray],
    vectors: np.ndarray,
) -> None:
    # A (kind, value) as one number: values are few, so their position stands for them.
    value, many = positions(distinct, part["value"]), len(distinct)
    counted = pair_keys(keys[:, 0], positions(distinct, keys[:, 1]), many)
    at = positions(counted, pair_keys(part["kind"].astype(np.int64), value, many))
    known = (at >= 0) & (value >= 0)
    place, step = targets[at[known]].T
    for i in range(windows):
        vectors[part["place"][known], place + i * step] = to_float16(
            part[f"n{i}"][known].astype(np.float64)
        )


def _put_codes(
    searches: Mapping[int, int], part: Mapping[str, np.ndarray], vectors: np.ndarray
) -> None:
    for code, start in searches.items():
        mine = part["kind"] == code
        for i in range(CODES):
            vectors[part["place"][mine], start + i] = to_float16(
                part[f"c{i}"][mine].astype(np.float64) / part["n"][mine]
            )
