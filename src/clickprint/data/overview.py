"""What a log looks like before anything is learned from it: a few hundred aggregates."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.forms import json_of
from clickprint.core.time import DAY, HOUR, Time
from clickprint.data.engine import floor_sql, kept, name, rows_in
from clickprint.data.log import EventLog
from clickprint.data.split import Split

POINTS = 120  # of a curve, spread evenly over the logarithm
MONDAY = 4 * DAY  # 1970-01-05, the first Monday


@dataclass(frozen=True, slots=True)
class KindCount:
    """One kind of event: how often, by how many users, of how many items."""

    name: str
    role: str
    events: int
    users: int
    items: int


@dataclass(frozen=True, slots=True)
class AttributeCount:
    """One attribute of the catalogue: its type, how many items have it, how many values."""

    name: str
    type: str
    items: int
    values: int


@dataclass(frozen=True, slots=True)
class Span:
    """One part of a split, in microseconds, and its events.

    `users`: those among `Overview.asked` who did something in it.
    """

    name: str
    start: Time
    end: Time
    events: int
    users: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Aggregates of one log.

    - `catalogue`: items of the catalogue; `unlisted`: items with events that are not in it.
    - `asked`: users whose profiles are wanted.
    - `days`: the midnights of days with events; `by_day[k][d]`: the events of kind k.
    - `by_hour[w]`: the events of hour w of the week, Monday 00:00 UTC first.
    - `per_user`, `per_item`: (n, how many have at least n events), n rising.
    - `spans`: the parts of the split.

    `days`, `by_day` and `by_hour` are empty where the log has no clock, `spans` also where there
    is no split.
    """

    name: str
    fingerprint: str
    events: int
    users: int
    items: int
    catalogue: int
    unlisted: int
    asked: int
    rejected: dict[str, int]
    kinds: tuple[KindCount, ...]
    attributes: tuple[AttributeCount, ...]
    days: tuple[Time, ...]
    by_day: tuple[tuple[int, ...], ...]
    by_hour: tuple[int, ...]
    per_user: tuple[tuple[int, int], ...]
    per_item: tuple[tuple[int, int], ...]
    spans: tuple[Span, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str, where: str = "overview.json") -> "Overview":
        """Raises DataError when the text is not an overview."""
        try:
            raw = json_of(text, where, again="delete it, it will be made again")
            raw["kinds"] = tuple(KindCount(**k) for k in raw["kinds"])
            raw["attributes"] = tuple(AttributeCount(**a) for a in raw["attributes"])
            raw["spans"] = tuple(Span(**s) for s in raw["spans"])
            for key in ("by_day", "per_user", "per_item"):
                raw[key] = tuple(tuple(row) for row in raw[key])
            raw["days"], raw["by_hour"] = tuple(raw["days"]), tuple(raw["by_hour"])
            return Overview(**raw)
        except (ValueError, KeyError, TypeError) as fault:
            raise DataError(
                where, f"not an overview of a log ({fault!r}); delete it, it will be made again"
            ) from None


def overview(log: EventLog, split: Split | None = None) -> Overview:
    """Reads the whole log a few times by aggregates.

    What is in memory here is at most a number for each day and kind.
    """
    events, clock = log.events, log.manifest.time == "clock"
    by_kind = _by_kind(log, f"SELECT kind FROM {events}")
    users, items = (
        _by_kind(log, f"SELECT DISTINCT kind, {name(c)} FROM {events} WHERE {name(c)} IS NOT NULL")
        for c in ("user", "item")
    )
    listed = f"SELECT DISTINCT item FROM {log.items}"
    seen = f"SELECT DISTINCT item FROM {events} WHERE item IS NOT NULL"
    unlisted = f"SELECT s.item FROM ({seen}) AS s LEFT JOIN ({listed}) AS l ON s.item = l.item"
    days, by_day = _by_day(log) if clock else ((), ())
    return Overview(
        name=log.manifest.name,
        fingerprint=log.manifest.fingerprint,
        events=sum(by_kind.values()),
        users=rows_in(log.engine, f"SELECT DISTINCT {name('user')} FROM {events}"),
        items=rows_in(log.engine, seen),
        catalogue=rows_in(log.engine, listed),
        unlisted=rows_in(log.engine, f"{unlisted} WHERE l.item IS NULL"),
        asked=len(split.past.users) if split else 0,
        rejected=dict(log.manifest.rejected),
        kinds=tuple(
            KindCount(k.name, k.role.value, *(n.get(code, 0) for n in (by_kind, users, items)))
            for code, k in enumerate(log.manifest.kinds)
        ),
        attributes=_attributes(log),
        days=days,
        by_day=by_day,
        by_hour=_by_hour(log) if clock else (),
        per_user=_at_least(log, "user"),
        per_item=_at_least(log, "item"),
        spans=_spans(log, split) if split and clock else (),
    )


def _by_kind(log: EventLog, rows: str) -> dict[int, int]:
    """How many rows each kind has.

    Distinct values are counted in two stages, which is twice as fast as COUNT(DISTINCT).
    """
    counts = log.engine.arrays(f"SELECT kind, COUNT(*) AS n FROM ({rows}) AS d GROUP BY kind")
    return dict(zip(counts["kind"].tolist(), counts["n"].tolist(), strict=True))


def _attributes(log: EventLog) -> tuple[AttributeCount, ...]:
    counts = []
    for attribute, type_ in log.manifest.attributes.items():
        c = name(attribute)
        items, values = (
            rows_in(log.engine, f"SELECT DISTINCT {of} FROM {log.items} WHERE {c} IS NOT NULL")
            for of in ("item", c)
        )
        counts.append(AttributeCount(attribute, type_.value, items, values))
    return tuple(counts)


def _by_day(log: EventLog) -> tuple[tuple[Time, ...], tuple[tuple[int, ...], ...]]:
    day = floor_sql("time", DAY)
    counts = log.engine.arrays(
        f"SELECT {day} AS day, kind, COUNT(*) AS n FROM {log.events} GROUP BY {day}, kind"
    )
    days, column = np.unique(counts["day"], return_inverse=True)
    table = np.zeros((len(log.manifest.kinds), len(days)), np.int64)
    table[counts["kind"], column] = counts["n"]
    return tuple(days.tolist()), tuple(tuple(row) for row in table.tolist())


def _by_hour(log: EventLog) -> tuple[int, ...]:
    week = 7 * DAY
    hour = f"(MOD(MOD({floor_sql('time', HOUR)} - {MONDAY}, {week}) + {week}, {week}))"
    counts = log.engine.arrays(
        f"SELECT {hour} AS h, COUNT(*) AS n FROM {log.events} GROUP BY {hour}"
    )
    table = np.zeros(week // HOUR, np.int64)
    table[counts["h"] // HOUR] = counts["n"]
    return tuple(table.tolist())


def _at_least(log: EventLog, column: str) -> tuple[tuple[int, int], ...]:
    """(n, how many values of the column are in at least n events), at most POINTS values of n."""
    c = name(column)
    each = f"SELECT {c}, COUNT(*) AS n FROM {log.events} WHERE {c} IS NOT NULL GROUP BY {c}"
    counts = log.engine.arrays(f"SELECT n, COUNT(*) AS m FROM ({each}) AS e GROUP BY n ORDER BY n")
    n, at_least = counts["n"], np.cumsum(counts["m"][::-1])[::-1]
    if len(n) > POINTS:
        keep = np.unique(np.searchsorted(n, np.geomspace(n[0], n[-1], POINTS)).clip(0, len(n) - 1))
        n, at_least = n[keep], at_least[keep]
    return tuple(zip(n.tolist(), at_least.tolist(), strict=True))


def _spans(log: EventLog, split: Split) -> tuple[Span, ...]:
    first, u, spans = log.span(), name("user"), []
    start = min(first[0] if first else split.train.start, split.train.start - 1)
    with kept(log.engine, pa.table({"user": split.past.users})) as asked:
        for part, begin, end in (
            ("past", start, split.train.start),
            ("train window", split.train.start, split.train.end),
            ("validation window", split.valid.start, split.valid.end),
        ):
            inside = f"time >= {begin} AND time < {end}"
            events = f"SELECT 1 AS one FROM {log.events} WHERE {inside}"
            did = (
                f"SELECT DISTINCT e.{u} FROM {log.events} AS e JOIN {asked} AS a"
                f" ON e.{u} = a.{u} WHERE {inside}"
            )
            sizes = (rows_in(log.engine, rows) for rows in (events, did))
            spans.append(Span(part, begin, end, *sizes))
    return tuple(spans)


def funnel(of: Overview) -> tuple[KindCount, ...]:
    """The kinds in the order of their roles, those without an event left out."""
    order = {role.value: place for place, role in enumerate(Role)}
    some = (k for k in of.kinds if k.events)
    return tuple(sorted(some, key=lambda k: (order[k.role], -k.events, k.name)))
