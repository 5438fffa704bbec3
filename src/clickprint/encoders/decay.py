"""The richer block: when, how often, what, for how much, how far, with decay."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Float64, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Kind, Role
from clickprint.core.lookup import positions_in_any_order
from clickprint.core.options import Between, Distinct, NotEmpty, check
from clickprint.core.past import Past
from clickprint.core.profiles import MAX_WIDTH, Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY, Time
from clickprint.data import features
from clickprint.data.features import SCALE, STEPS, Tables, log_counts
from clickprint.data.log import EventLog
from clickprint.encoders import state
from clickprint.encoders.ranges import SomeDays, Top

SHARD = 65_536  # users at a time: what is in memory does not grow with the log's users
# A weight of 1; weights are whole numbers, so that their sums do not depend on the rows' order.
ONE = 2**30
# Histograms tell what was bought from what was looked at, carted, removed, liked.
GROUPS = ("bought", "touched")
PARTS = 6  # of the day, four hours each
WholeDays = Annotated[int, Between(1, 36_499)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decay:
    """Statistics of a user's events, by kind; every value is finite, counts are log(1 + n).

    - rhythm: for each kind and for all together: events, days since the last and the first, active
      days and hours, mean and deviation of the gaps between active days, days since the last in
      mean gaps, events in each of `windows` and each of the last `weeks`, counts that decay with
      each of `half_lives`, trends. A kind that a user never did is as long ago as the log's first
      event.
    - money: for each kind with prices: mean, deviation, least, largest; what was spent in windows
      and with decay.
    - variety: for each kind and column: distinct values, entropy, the top value's share, the share
      of values seen again.
    - funnel: items viewed, carted, bought, and the ratios between the steps; ratios of events.
    - clock: shares of weekdays and of four-hour parts of the day (UTC).
    - taste: decayed counts (`taste_half_lives`) of the `top` most frequent values of category,
      price bucket, item, url and query text, apart for what was bought and what was touched.

    `half_lives` and `windows` are in days; times are rounded down to clock hours. Users without an
    event get zeros. Source: the winners' handmade blocks, spec/universal-profiles.md 1.8.
    """

    half_lives: Annotated[tuple[SomeDays, ...], NotEmpty(), Distinct()] = (1, 3, 7, 14, 30, 90)
    windows: Annotated[tuple[WholeDays, ...], NotEmpty(), Distinct()] = (1, 3, 7, 14, 30, 60, 90)
    weeks: Annotated[int, Between(4, 520)] = 8
    taste_half_lives: Annotated[tuple[SomeDays, ...], NotEmpty(), Distinct()] = (60,)
    top: Top = 100

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self,
        past: Past,
        *,
        rng: RNG | None = None,
        progress: Progress = silent,
        session: Session = ALONE,
    ) -> "FittedDecay":
        """Learns which values are frequent, and where price buckets end.

        The latter for a log with event prices. Raises ConfigError when the profile is too wide.
        """
        log = features.log_of(past)
        edges = features.price_edges(log)
        columns = features.value_columns(log)
        tastes, present = [], []
        with features.tables(log, past.users, edges) as tables:
            for done, column in enumerate(columns):
                progress("most frequent values", done, len(columns))
                present += _present(tables, column, tables.value(column))
                for group in GROUPS:
                    values = features.tops_of(tables, column, _codes(log, group), self.top)
                    if values:
                        tastes.append((group, column, values))
            if "price" in log.manifest.columns:
                present += _present(tables, SPENT, "e.price")
        fitted = FittedDecay(
            self,
            log.manifest.kinds,
            tuple(present),
            "price" in log.manifest.columns,
            "session" in log.manifest.columns,
            tuple(tastes),
            edges,
        )
        width = sum(w for _, w in fitted.blocks)
        if width > MAX_WIDTH:
            raise ConfigError(
                f"these options make {width} columns, at most {MAX_WIDTH} are allowed;"
                " ask for fewer windows, weeks or top values"
            )
        return fitted

    @staticmethod
    def load(folder: Path) -> "FittedDecay":
        """What FittedDecay.save wrote. Raises DataError."""
        return state.read(folder, "decay", FittedDecay)


@dataclass(frozen=True, slots=True)
class FittedDecay:
    """The layout: the kinds, which of their columns have values, and the frequent values.

    The former as (column, kind's place), ….
    """

    config: Decay
    kinds: tuple[Kind, ...]
    present: tuple[tuple[str, int], ...]
    spend: bool
    sessions: bool
    tastes: tuple[tuple[str, str, tuple[int, ...]], ...]
    price_edges: tuple[float, ...] = ()

    @property
    def blocks(self) -> tuple[tuple[str, int], ...]:
        found: dict[str, int] = {}
        for block, _ in self._layout():
            found[block] = found.get(block, 0) + 1
        return tuple(found.items())

    @property
    def names(self) -> tuple[str, ...]:
        """What each column says: `buy half-life 7d`, `taste bought category 12 half-life 14d`."""
        return tuple(name for _, name in self._layout())

    def _layout(self) -> list[tuple[str, str]]:
        """(block, column) for each column; `encode` fills these names and no others."""
        c = self.config
        kinds = [k.name for k in self.kinds]
        found = [
            ("rhythm", f"{kind} {what}") for kind in [*kinds, ALL] for what in _rhythm_names(c)
        ]
        found += [("rhythm", "sessions")] if self.sessions else []
        priced = SPENT if self.spend else "price"
        found += [
            ("money", f"{kinds[k]} price {what}")
            for col, k in self.present
            if col == priced
            for what in PRICE
        ]
        found += [
            ("money", f"{kinds[k]} spent{what}")
            for col, k in self.present
            if col == SPENT
            for what in ["", *_weighed_names(c)]
        ]
        found += [
            ("variety", f"{kinds[k]} {col} {what}")
            for col, k in self.present
            if col != SPENT
            for what in VARIETY
        ]
        found += [("funnel", what) for what in _funnel_names([k.role for k in self.kinds])]
        found += [("clock", f"weekday {d}") for d in range(7)] + [
            ("clock", f"part {p}") for p in range(PARTS)
        ]
        found += [
            ("taste", _taste_name(g, col, v, h))
            for g, col, values in self.tastes
            for h in c.taste_half_lives
            for v in values
        ]
        return found

    def encode(self, past: Past) -> Profiles:
        log = features.log_of(past)
        layout = self._layout()
        at = {name: i for i, (_, name) in enumerate(layout)}
        vectors = np.zeros((len(past.users), len(layout)), np.float16)
        span = log.span()
        if span is not None:
            for start in range(0, len(past.users), SHARD):
                users = past.users[start : start + SHARD]
                shard = Shard(self, log, users, past.cutoff, (past.cutoff - span[0]) / DAY, at)
                vectors[start : start + SHARD] = to_float16(shard.encode())
        return Profiles(past.users, vectors, self.blocks)

    def save(self, folder: Path) -> None:
        state.write(folder, "decay", self)

    def problems(self) -> Iterator[tuple[str, str]]:
        """See encoders.state.Agrees."""
        if any(not 0 <= place < len(self.kinds) for _, place in self.present):
            yield "present", f"found a place that none of {len(self.kinds)} kinds has"
        elif (width := len(self._layout())) > MAX_WIDTH:
            yield "tastes", f"found {width} columns, expected at most {MAX_WIDTH}"


ALL = "all"
SPENT = "own price"  # the column that holds an event's own price; "price" is its bucket
PRICE = ("mean", "deviation", "least", "largest")
VARIETY = ("distinct", "entropy", "top share", "again share")


def _rhythm_names(c: Decay) -> list[str]:
    plain = [
        "events",
        "since last",
        "since first",
        "active days",
        "active hours",
        "gap mean",
        "gap deviation",
        "overdue",
    ]
    return [
        *plain,
        *(n.strip() for n in _weighed_names(c)),
        *(f"week {w}" for w in range(c.weeks)),
        "trend week",
        "trend fortnight",
    ]


def _weighed_names(c: Decay) -> list[str]:
    return [*(f" in {d}d" for d in c.windows), *(f" half-life {h:g}d" for h in c.half_lives)]


def _funnel_names(roles: Sequence[Role]) -> list[str]:
    there = [r.value for r in features.ORDER if r in set(roles)]
    steps = list(STEPS)
    pairs = [f"{a} {b}" for i, a in enumerate(steps) for b in steps[i + 1 :]]
    return [
        *(f"items {s}" for s in steps),
        *(f"items {p}" for p in pairs),
        *(f"share {p}" for p in pairs),
        *(f"ratio {a} {b}" for i, a in enumerate(there) for b in there[i + 1 :]),
    ]


def _present(tables: Tables, column: str, value: str) -> list[tuple[str, int]]:
    return [
        (column, int(kind))
        for kind in tables.log.engine.arrays(features.presence_sql(tables, value))["kind"]
    ]


def _taste_name(group: str, column: str, value: int, half_life: float | int) -> str:
    return f"taste {group} {column} {value} half-life {half_life:g}d"


def _codes(log: EventLog, group: str) -> tuple[int, ...]:
    """The kinds of a group. What was cancelled is neither wanted nor bought."""
    roles = (
        (Role.BUY,)
        if group == "bought"
        else tuple(r for r in Role if r not in (Role.BUY, Role.CANCEL))
    )
    return log.manifest.codes(*roles)


@dataclass(frozen=True, slots=True)
class Shard:
    """Some users of one encode: the roll-ups of their events, and the matrix that they fill."""

    fitted: FittedDecay
    log: EventLog
    users: Int64[np.ndarray, "B"]
    cutoff: Time
    span: float  # days from the log's first event to the cutoff
    at: Mapping[str, int]

    def encode(self) -> Float32[np.ndarray, "B D"]:
        engine, fitted = self.log.engine, self.fitted
        out = np.zeros((len(self.users), len(self.at)), np.float32)
        with features.tables(self.log, self.users, fitted.price_edges) as tables:
            spend = fitted.spend and "price" in self.log.manifest.columns
            hours = engine.keep(features.hours_sql(tables, spend))
            weights = engine.keep(
                self._weights(
                    engine.arrays(f"SELECT DISTINCT hour FROM {hours} ORDER BY hour")["hour"]
                )
            )
            try:
                events = self._rhythm(tables, hours, weights, out)
                self._price(tables, out)
                self._variety(tables, out)
                self._funnel(tables, events, out)
                self._clock(hours, weights, out)
                self._taste(tables, weights, out)
            finally:
                engine.drop(hours)
                engine.drop(weights)
        out[events.sum(1) == 0] = (
            0  # nothing is known: a row of zeros says so, and `joined` puts the mean there
        )
        return out

    # -- helpers ----------------------------------------------------------------------------------
    def _weights(self, hours: Int64[np.ndarray, "N"]) -> pa.Table:
        """What an event counts in each weighed sum, by its hour, as whole numbers."""
        c = self.fitted.config
        age = np.maximum(
            (self.cutoff - hours) / DAY - 0.5 / 24, 0
        )  # days, from the middle of the hour
        started = (
            self.cutoff - hours
        ) / DAY  # an hour is in a window of n days when it starts inside it
        columns = {"hour": hours}
        columns |= {f"in{i}": (started <= d).astype(np.int64) for i, d in enumerate(c.windows)}
        columns |= {
            f"half{i}": np.rint(ONE * 0.5 ** (age / h)).astype(np.int64)
            for i, h in enumerate(c.half_lives)
        }
        columns |= {
            f"taste{i}": np.rint(ONE * 0.5 ** (age / h)).astype(np.int64)
            for i, h in enumerate(c.taste_half_lives)
        }
        columns |= {
            f"week{i}": ((started > 7 * i) & (started <= 7 * (i + 1))).astype(np.int64)
            for i in range(c.weeks)
        }
        weekday, part = (
            (hours // DAY + 3) % 7,
            hours % DAY // (DAY // PARTS),
        )  # 1970-01-01 was a Thursday
        columns |= {f"day{d}": (weekday == d).astype(np.int64) for d in range(7)}
        columns |= {f"part{p}": (part == p).astype(np.int64) for p in range(PARTS)}
        return pa.table(columns)

    def _places(self) -> dict[int, int]:
        """The log's kind code → the fitted kind's place; others are left out."""
        place = {k.name: i for i, k in enumerate(self.fitted.kinds)}
        return {
            code: place[k.name]
            for code, k in enumerate(self.log.manifest.kinds)
            if k.name in place
        }

    def _grids(self, sql: str, kinds: bool = True) -> dict[str, Float64[np.ndarray, "B K"]]:
        """The answer's columns as (user, kind) grids; zeros where there is no row.

        `kinds=False`: one column for all kinds.
        """
        width = len(self.fitted.kinds) if kinds else 1
        place = np.full(max(len(self.log.manifest.kinds), 1), -1)
        for code, i in self._places().items():
            place[code] = i
        grids: dict[str, np.ndarray] = {}
        for part in features.scatter(self.log.engine, sql):
            column = place[part["kind"]] if kinds else np.zeros(len(part["place"]), np.int64)
            known = column >= 0
            for name, values in part.items():
                if name not in ("place", "kind"):
                    grid = grids.setdefault(name, np.zeros((len(self.users), width)))
                    grid[part["place"][known], column[known]] = values[known]
        return grids

    def _put(self, out: np.ndarray, names: Sequence[str], values: np.ndarray) -> None:
        out[:, [self.at[n] for n in names]] = values

    def _put_kinds(self, out: np.ndarray, what: str, values: Float64[np.ndarray, "B K"]) -> None:
        """Fills the columns called `<kind> <what>`; a kind without such a column is left out."""
        there = [
            (i, self.at[f"{k.name} {what}"])
            for i, k in enumerate(self.fitted.kinds)
            if f"{k.name} {what}" in self.at
        ]
        out[:, [column for _, column in there]] = values[:, [i for i, _ in there]]

    # -- blocks -----------------------------------------------------------------------------------
    def _rhythm(
        self, tables: Tables, hours: str, weights: str, out: np.ndarray
    ) -> Float64[np.ndarray, "B K"]:
        """Fills rhythm and what was spent; the number of events by kind."""
        c, fitted = self.fitted.config, self.fitted
        kinds = [k.name for k in fitted.kinds]
        weighed = [
            *(f"in{i}" for i in range(len(c.windows))),
            *(f"half{i}" for i in range(len(c.half_lives))),
        ]
        weeks = [f"week{i}" for i in range(c.weeks)]
        scale = {w: 1.0 / ONE if w.startswith("half") else 1.0 for w in [*weighed, *weeks]}
        g = self._grids(
            features.rhythm_sql(
                hours, weights, [*weighed, *weeks], weighed if fitted.spend else []
            )
        )
        if not g:
            return np.zeros((len(self.users), len(kinds)))
        gaps = self._grids(features.gaps_sql(hours, "kind"))
        gaps_all = self._grids(features.gaps_sql(hours, "0"), kinds=False)
        hours_all = self._grids(features.active_hours_sql(hours), kinds=False)["hours"]

        def whole(grid: np.ndarray) -> np.ndarray:  # the kinds and their sum
            return np.concatenate([grid, grid.sum(1, keepdims=True)], 1)

        n = whole(g["n"])
        never = n == 0
        last = np.where(g["n"] > 0, g["last"], -np.inf)
        first = np.where(g["n"] > 0, g["first"], np.inf)
        last = np.concatenate([last, last.max(1, keepdims=True)], 1)
        first = np.concatenate([first, first.min(1, keepdims=True)], 1)
        since_last = np.where(never, self.span, (self.cutoff - last) / DAY)
        since_first = np.where(never, self.span, (self.cutoff - first) / DAY)
        days, total, squares = (
            np.concatenate([gaps[c], gaps_all[c]], 1) for c in ("days", "total", "squares")
        )
        between = np.maximum(days - 1, 1)
        gap = np.where(
            days > 1, total / between, self.span
        )  # with one active day: not since the log began
        deviation = np.sqrt(np.maximum(squares / between - (total / between) ** 2, 0))
        found = {
            "events": n,
            "since last": since_last,
            "since first": since_first,
            "active days": days,
            "active hours": np.concatenate([g["hours"], hours_all], 1),
            "gap mean": gap,
            "gap deviation": deviation,
            "overdue": since_last / (gap + 1),
            **{
                name.strip(): whole(g[f"w_{w}"] * scale[w])
                for name, w in zip(_weighed_names(c), weighed, strict=True)
            },
            **{f"week {i}": whole(g[f"w_{w}"]) for i, w in enumerate(weeks)},
        }
        found = {name: log_counts(values) for name, values in found.items()}
        week = [whole(g[f"w_{w}"]) for w in weeks[:4]]
        found["trend week"] = np.log1p(week[0]) - np.log1p(week[1])
        found["trend fortnight"] = np.log1p(week[0] + week[1]) - np.log1p(week[2] + week[3])
        for name, values in found.items():
            self._put(out, [f"{kind} {name}" for kind in [*kinds, ALL]], values)
        if fitted.sessions and "session" in self.log.manifest.columns:
            sessions = self._grids(features.sessions_sql(tables), kinds=False)
            self._put(
                out,
                ["sessions"],
                log_counts(sessions["sessions"]) if sessions else np.zeros((len(self.users), 1)),
            )
        if fitted.spend:
            for name, w in zip(
                ["", *_weighed_names(c)], ["money", *(f"m_{w}" for w in weighed)], strict=True
            ):
                amount = g[w] / SCALE * scale.get(w.removeprefix("m_"), 1.0)
                self._put_kinds(out, f"spent{name}", log_counts(amount))
        return g["n"]

    def _price(self, tables: Tables, out: np.ndarray) -> None:
        own = self.fitted.spend
        if not (
            ("price" in self.log.manifest.columns)
            if own
            else ("price" in features.value_columns(self.log))
        ):
            return
        g = self._grids(features.price_sql(tables, own))
        if not g:
            return
        n = np.maximum(g["n"], 1)
        mean = g["total"] / n
        deviation = np.sqrt(np.maximum(g["squares"] / n - mean**2, 0))
        for name, values in zip(PRICE, (mean, deviation, g["least"], g["most"]), strict=True):
            self._put_kinds(out, f"price {name}", log_counts(values / (SCALE if own else 1)))

    def _variety(self, tables: Tables, out: np.ndarray) -> None:
        for column in sorted(
            {c for c, _ in self.fitted.present} & set(features.value_columns(self.log))
        ):
            g = self._grids(features.variety_sql(tables, column))
            if not g:
                continue
            n, distinct = np.maximum(g["n"], 1), np.maximum(g["distinct_values"], 1)
            entropy = np.maximum(np.log(n) - g["nlogn"] / SCALE / n, 0)
            for name, values in zip(
                VARIETY,
                (np.log1p(g["distinct_values"]), entropy, g["most"] / n, g["again"] / distinct),
                strict=True,
            ):
                self._put_kinds(out, f"{column} {name}", values)

    def _funnel(self, tables: Tables, events: Float64[np.ndarray, "B K"], out: np.ndarray) -> None:
        g = self._grids(features.funnel_sql(tables), kinds=False)
        steps = list(STEPS)
        for i, a in enumerate(steps) if g else ():
            self._put(out, [f"items {a}"], np.log1p(g[f"{a}_{a}"]))
            for b in steps[i + 1 :]:
                both = g[f"{a}_{b}"]
                self._put(out, [f"items {a} {b}"], np.log1p(both))
                self._put(out, [f"share {a} {b}"], both / np.maximum(g[f"{a}_{a}"], 1))
        roles = [k.role for k in self.fitted.kinds]
        by_role = {
            r: events[:, [i for i, x in enumerate(roles) if x is r]].sum(1, keepdims=True)
            for r in set(roles)
        }
        there = [r for r in features.ORDER if r in by_role]
        for i, x in enumerate(there):
            for y in there[i + 1 :]:
                self._put(
                    out,
                    [f"ratio {x.value} {y.value}"],
                    np.log1p(by_role[x]) - np.log1p(by_role[y]),
                )

    def _clock(self, hours: str, weights: str, out: np.ndarray) -> None:
        columns = [*(f"day{d}" for d in range(7)), *(f"part{p}" for p in range(PARTS))]
        g = self._grids(features.rhythm_sql(hours, weights, columns, []))
        if not g:
            return
        n = np.maximum(g["n"].sum(1, keepdims=True), 1)
        for column in columns:
            name = f"weekday {column[3:]}" if column.startswith("day") else f"part {column[4:]}"
            self._put(out, [name], g[f"w_{column}"].sum(1, keepdims=True) / n)

    def _taste(self, tables: Tables, weights: str, out: np.ndarray) -> None:
        c = self.fitted.config
        columns = [f"taste{i}" for i in range(len(c.taste_half_lives))]
        for group, column, values in self.fitted.tastes:
            kinds = _codes(self.log, group)
            if not kinds or column not in features.value_columns(self.log):
                continue
            start = self.at[_taste_name(group, column, values[0], c.taste_half_lives[0])]
            for part in features.scatter(
                self.log.engine,
                features.taste_sql(tables, column, kinds, values, weights, columns),
            ):
                place = start + positions_in_any_order(np.array(values), part["value"])
                for i, name in enumerate(columns):
                    out[part["place"], place + i * len(values)] = np.log1p(part[f"w_{name}"] / ONE)
