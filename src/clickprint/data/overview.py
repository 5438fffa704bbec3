"""What a log looks like before anything is learned from it: a few hundred numbers from SQL
aggregates, for the report's pictures.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.time import DAY, HOUR, Time
from clickprint.data.engine import name
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
    """One attribute of the catalogue: its type, how many items have it, how many values it takes."""

    name: str
    type: str
    items: int
    values: int


@dataclass(frozen=True, slots=True)
class Span:
    """One part of the split: times in microseconds, its events, and the users among
    `Overview.asked` who did something in it.
    """

    name: str
    start: Time
    end: Time
    events: int
    users: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Aggregates of one log.

    `days` are the midnights of days with events, `by_day[k][d]` the events of kind k. `per_user`
    and `per_item` are (n, how many have at least n events), n rising. `by_hour[w]` are the events
    of hour w of the week, Monday 00:00 UTC first. Empty where the log has no clock, and `spans`
    also where there is no split.
    """

    name: str
    fingerprint: str
    events: int
    users: int
    items: int
    catalogue: int
    unlisted: int  # items with events that the catalogue does not know
    asked: int  # users whose profiles are wanted
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
            raw = json.loads(text)
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
    """Reads the whole log a few times by aggregates; what is in memory here is at most a number
    for each day and kind.
    """
    engine, events, clock = log.engine, log.events, log.manifest.time == "clock"
    kinds = engine.arrays(f"SELECT kind, COUNT(*) AS n FROM {events} GROUP BY kind")
    by_kind = dict(zip(kinds["kind"].tolist(), kinds["n"].tolist(), strict=True))
    users, items = (_distinct(log, column) for column in ("user", "item"))
    listed, unlisted = _listed(log)
    days, by_day = _by_day(log) if clock else ((), ())
    return Overview(
        name=log.manifest.name,
        fingerprint=log.manifest.fingerprint,
        events=sum(by_kind.values()),
        users=_count(log, f"SELECT DISTINCT {name('user')} FROM {events}"),
        items=_count(log, f"SELECT DISTINCT item FROM {events} WHERE item IS NOT NULL"),
        catalogue=listed,
        unlisted=unlisted,
        asked=len(split.past.users) if split else 0,
        rejected=dict(log.manifest.rejected),
        kinds=tuple(
            KindCount(
                k.name, k.role.value, by_kind.get(code, 0), users.get(code, 0), items.get(code, 0)
            )
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


def _count(log: EventLog, sql: str) -> int:
    return int(log.engine.one(f"SELECT COUNT(*) FROM ({sql}) AS d")[0])


def _distinct(log: EventLog, column: str) -> dict[int, int]:
    """How many different values of a column each kind of event has; in two stages, which is twice
    as fast as COUNT(DISTINCT).
    """
    c = name(column)
    inner = f"SELECT DISTINCT kind, {c} FROM {log.events} WHERE {c} IS NOT NULL"
    found = log.engine.arrays(f"SELECT kind, COUNT(*) AS n FROM ({inner}) AS d GROUP BY kind")
    return dict(zip(found["kind"].tolist(), found["n"].tolist(), strict=True))


def _listed(log: EventLog) -> tuple[int, int]:
    """Items of the catalogue, and items with events that are not in it."""
    listed = f"SELECT DISTINCT item FROM {log.items}"
    seen = f"SELECT DISTINCT item FROM {log.events} WHERE item IS NOT NULL"
    lost = (
        f"SELECT s.item FROM ({seen}) AS s LEFT JOIN ({listed}) AS l ON s.item = l.item WHERE"
        " l.item IS NULL"
    )
    return _count(log, listed), _count(log, lost)


def _attributes(log: EventLog) -> tuple[AttributeCount, ...]:
    found = []
    for attribute, kind in log.manifest.attributes.items():
        c = name(attribute)
        have = _count(log, f"SELECT DISTINCT item FROM {log.items} WHERE {c} IS NOT NULL")
        values = _count(log, f"SELECT DISTINCT {c} FROM {log.items} WHERE {c} IS NOT NULL")
        found.append(AttributeCount(attribute, kind.value, have, values))
    return tuple(found)


def _floor(unit: int) -> str:
    """SQL: the start of the unit that holds `time`; also before 1970, where MOD is negative."""
    return f"(time - MOD(MOD(time, {unit}) + {unit}, {unit}))"


def _by_day(log: EventLog) -> tuple[tuple[Time, ...], tuple[tuple[int, ...], ...]]:
    found = log.engine.arrays(
        f"SELECT {_floor(DAY)} AS day, kind, COUNT(*) AS n FROM {log.events} GROUP BY"
        f" {_floor(DAY)}, kind"
    )
    days, place = np.unique(found["day"], return_inverse=True)
    table = np.zeros((len(log.manifest.kinds), len(days)), np.int64)
    table[found["kind"], place] = found["n"]
    return tuple(days.tolist()), tuple(tuple(row) for row in table.tolist())


def _by_hour(log: EventLog) -> tuple[int, ...]:
    week = 7 * DAY
    hour = f"(MOD(MOD({_floor(HOUR)} - {MONDAY}, {week}) + {week}, {week}))"
    found = log.engine.arrays(
        f"SELECT {hour} AS h, COUNT(*) AS n FROM {log.events} GROUP BY {hour}"
    )
    table = np.zeros(week // HOUR, np.int64)
    table[found["h"] // HOUR] = found["n"]
    return tuple(table.tolist())


def _at_least(log: EventLog, column: str) -> tuple[tuple[int, int], ...]:
    """(n, how many values of the column are in at least n events), at no more than POINTS values
    of n.
    """
    c = name(column)
    each = f"SELECT {c}, COUNT(*) AS n FROM {log.events} WHERE {c} IS NOT NULL GROUP BY {c}"
    found = log.engine.arrays(f"SELECT n, COUNT(*) AS m FROM ({each}) AS e GROUP BY n ORDER BY n")
    n, at_least = found["n"], np.cumsum(found["m"][::-1])[::-1]
    if len(n) > POINTS:
        keep = np.unique(np.searchsorted(n, np.geomspace(n[0], n[-1], POINTS)).clip(0, len(n) - 1))
        n, at_least = n[keep], at_least[keep]
    return tuple(zip(n.tolist(), at_least.tolist(), strict=True))


def _spans(log: EventLog, split: Split) -> tuple[Span, ...]:
    first = log.span()
    start = min(first[0], split.train.start - 1) if first else split.train.start - 1
    asked = log.engine.keep(pa.table({"user": split.past.users}))
    found = []
    for part, (begin, end) in {
        "past": (start, split.train.start),
        "train window": (split.train.start, split.train.end),
        "validation window": (split.valid.start, split.valid.end),
    }.items():
        inside = f"time >= {begin} AND time < {end}"
        events = _count(log, f"SELECT 1 AS one FROM {log.events} WHERE {inside}")
        u = name("user")
        did = (
            f"SELECT DISTINCT e.{u} FROM {log.events} AS e JOIN {asked} AS a ON e.{u} = a.{u}"
            f" WHERE {inside}"
        )
        found.append(Span(part, begin, end, events, _count(log, did)))
    log.engine.drop(asked)
    return tuple(found)


def funnel(found: Overview) -> tuple[KindCount, ...]:
    """The kinds in the order of their roles, those without an event left out."""
    order = {role.value: place for place, role in enumerate(Role)}
    return tuple(
        sorted(
            (k for k in found.kinds if k.events), key=lambda k: (order[k.role], -k.events, k.name)
        )
    )
