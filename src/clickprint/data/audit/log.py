"""The audit of a log: duplicates, ties, bursts, times that cannot be, items that nobody knows.

SQL aggregates, nothing event-sized here.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from clickprint.core.events import COLUMNS, Role
from clickprint.core.progress import Progress, silent
from clickprint.core.time import DAY, HOUR, SECOND, Time, show
from clickprint.data.audit.finding import LISTED, Finding, count, share
from clickprint.data.engine import name
from clickprint.data.log import EventLog

MINUTE = 60 * SECOND
WEEK = 7 * DAY
# What looks like a bot. A moment is one time at which a user did something, however many events it
# holds: a basket of 500 lines is one.
FAST_MOMENTS, FAST_MINUTES = (
    30,
    5,
)  # at least so many moments a minute, in at least so many minutes
AWAKE_HOURS, AWAKE_DAYS = (
    22,
    2,
)  # at least so many different hours of a UTC day, on at least so many days
PERIODIC_GAPS, PERIODIC_SHARE = (
    100,
    0.9,
)  # of at least so many gaps from 1 second to 1 day, so many are equal to the second
HEAVY_SHARE, HEAVY_TIMES = (
    0.01,
    100,
)  # more than this share of all events, and so many times the mean user's
LONG_SESSION = 500  # moments of one session
MANY_DUPLICATES = 0.001  # of all events, what was only shown left out
MANY_TIES = 0.05  # of neighbouring events of a user at one time: the order is then the rule's, not the shop's
CLOSED_DAYS = 2  # days in a row without an event, though such weekdays usually have one
USUAL_DAYS = 0.5  # share of a weekday's dates that must have an event for it to be expected
ONLY_MIDNIGHT = 0.99  # of a kind's events at 00:00:00
UNREPEATED_EVENTS, UNREPEATED_EACH = (
    1_000,
    5.0,
)  # events about items, and events a user, before "nothing is ever repeated" means something
# Gaps between a user's events, upper ends: the bars of a picture.
GAPS: tuple[tuple[Time, str], ...] = (
    (1, "none"),
    (SECOND, "< 1 s"),
    (10 * SECOND, "10 s"),
    (MINUTE, "1 min"),
    (10 * MINUTE, "10 min"),
    (HOUR, "1 h"),
    (6 * HOUR, "6 h"),
    (DAY, "1 day"),
    (3 * DAY, "3 days"),
    (WEEK, "7 days"),
    (14 * DAY, "14 days"),
    (30 * DAY, "30 days"),
    (90 * DAY, "90 days"),
    (10_000 * DAY, "more"),
)
FIRST, LATER, BY_KIND, BY_ITEM, BY_REST, EQUAL = range(
    6
)  # what tells an event from the same user's event before it


@dataclass(frozen=True, slots=True)
class Shape:
    """Small aggregates for pictures.

    `gaps` are (upper end in words, how many gaps between a user's neighbouring events);
    `popularity` are (rank of the item, share of all events about items up to it), rising;
    `retention[c][a]` users of the cohort that first came in week `weeks[c]` (its Monday) and did
    something a weeks later. Empty where there is nothing, or no clock.
    """

    gaps: tuple[tuple[str, int], ...]
    popularity: tuple[tuple[int, float], ...]
    weeks: tuple[Time, ...]
    retention: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Day:
    """A day and kind: events, and those at 00:00:00."""

    day: Time
    kind: int
    events: int
    midnight: int


def audit_log(
    log: EventLog, *, written: Time | None = None, progress: Progress = silent
) -> tuple[list[Finding], Shape]:
    """Every finding of a log, and what its pictures show.

    `written` is when its files were written: nothing can have happened later.
    """
    total, users = _sizes(log)
    if not total:
        return [
            Finding(
                "empty",
                "warning",
                "The log has no event: there is nothing to audit.",
                {"events": 0},
            )
        ], Shape((), (), (), ())
    clock = log.manifest.time == "clock"
    found: list[Finding] = []
    steps = 6
    progress("audit log", 0, steps)
    ties, gaps = _neighbours(log, total)
    found += ties
    progress("audit log", 1, steps)
    days = _days(log) if clock else []
    if clock:
        found += [*_closed(days), *_midnights(log, days), *_future(log, written)]
    progress("audit log", 2, steps)
    found += [*_bots(log, total, users), *_sessions(log)] if clock else _heavy(log, total, users)
    progress("audit log", 3, steps)
    found += [*_unlisted(log, total), *_too_early(log)]
    progress("audit log", 4, steps)
    found += [*_unrepeated(log, users), *_manifest(log, total)]
    progress("audit log", 5, steps)
    shape = Shape(
        gaps if clock else (), _popularity(log), *(_retention(log) if clock else ((), ()))
    )
    progress("audit log", steps, steps)
    return found, shape


def floor_sql(column: str, unit: int) -> str:
    """SQL: the start of the unit that holds a time; also before 1970, where MOD is negative."""
    return f"({column} - MOD(MOD({column}, {unit}) + {unit}, {unit}))"


def _sizes(log: EventLog) -> tuple[int, int]:
    each = f"SELECT {name('user')}, COUNT(*) AS n FROM {log.events} GROUP BY {name('user')}"
    total, users = log.engine.one(f"SELECT COALESCE(SUM(n), 0), COUNT(*) FROM ({each}) AS e")
    return int(total), int(users)


def _without(log: EventLog, *roles: Role) -> str:
    codes = log.manifest.codes(*roles)
    return f"kind NOT IN ({', '.join(map(str, codes))})" if codes else "1 = 1"


# -- neighbours: duplicates, ties, gaps -----------------------------------------------------------


def _neighbours(log: EventLog, total: int) -> tuple[list[Finding], tuple[tuple[str, int], ...]]:
    """One pass over each user's events in the canonical order: how an event differs from the one
    before it.
    """
    rest = [name(c) for c in COLUMNS if c in log.manifest.columns]
    order = ", ".join(f"{c} NULLS FIRST" for c in ("time", "kind", "item", *rest))
    before = ", ".join(
        f"LAG({c}) OVER (PARTITION BY {name('user')} ORDER BY {order}) AS"
        f" {name('before ' + str(i))}"
        for i, c in enumerate(("time", "kind", "item", *rest))
    )
    other = (
        " OR ".join(
            f"{c} IS DISTINCT FROM {name('before ' + str(i))}" for i, c in enumerate(rest, 3)
        )
        or "1 = 0"
    )
    t, k, v = (name(f"before {i}") for i in range(3))
    step = (
        f"CASE WHEN {t} IS NULL THEN {FIRST} WHEN time > {t} THEN {LATER} WHEN kind <> {k} THEN"
        f" {BY_KIND} WHEN item IS DISTINCT FROM {v} THEN {BY_ITEM} WHEN {other} THEN {BY_REST}"
        f" ELSE {EQUAL} END"
    )
    gap = (
        f"CASE WHEN {t} IS NULL THEN -1 "
        + " ".join(f"WHEN time - {t} < {end} THEN {i}" for i, (end, _) in enumerate(GAPS))
        + " END"
    )
    pairs = (
        f"SELECT kind, {step} AS step, COALESCE({gap}, {len(GAPS) - 1}) AS gap FROM (SELECT kind,"
        f" time, item{''.join(', ' + c for c in rest)}, "
    )
    pairs += f"{before} FROM {log.events}) AS w"
    table = log.engine.arrays(
        f"SELECT kind, step, gap, COUNT(*) AS n FROM ({pairs}) AS p GROUP BY kind, step, gap"
    )
    n = table["n"].astype(np.int64)

    def by(*steps: int) -> dict[str, int]:
        mask = np.isin(table["step"], steps)
        kinds = np.bincount(
            table["kind"][mask].astype(np.int64), n[mask], len(log.manifest.kinds)
        ).astype(np.int64)
        return {kind.name: int(c) for kind, c in zip(log.manifest.kinds, kinds, strict=True) if c}

    sums = np.bincount(table["step"].astype(np.int64), n, 6).astype(np.int64).tolist()
    found = []
    if sums[EQUAL]:
        kinds = by(EQUAL)
        # One request may show an item twice: that is no fault of the log.
        acts = sum(kinds.get(k.name, 0) for k in log.manifest.kinds if k.role is not Role.EXPOSE)
        found.append(
            Finding(
                "duplicates",
                "warning" if acts > MANY_DUPLICATES * total else "note",
                f"{count(sums[EQUAL], 'event')} ({share(sums[EQUAL], total)}) repeat another event"
                f" in every column, {_list(kinds)}. Counts and popularity count them twice.",
                {"events": sums[EQUAL], "share": sums[EQUAL] / total, "kinds": kinds},
            )
        )
    if sums[BY_REST]:
        kinds = by(BY_REST)
        columns = [c for c in COLUMNS if c in log.manifest.columns]
        found.append(
            Finding(
                "near-duplicates",
                "note",
                f"{count(sums[BY_REST], 'event')} ({share(sums[BY_REST], total)}) have the user,"
                f" time, kind and item of another one and differ only in {' or '.join(columns)},"
                f" {_list(kinds)}.",
                {
                    "events": sums[BY_REST],
                    "share": sums[BY_REST] / total,
                    "kinds": kinds,
                    "columns": columns,
                },
            )
        )
    tied, pairs_ = sum(sums[BY_KIND:]), sum(sums[LATER:])
    if tied:
        resolved = {
            "kind": sums[BY_KIND],
            "item": sums[BY_ITEM],
            "rest": sums[BY_REST],
            "equal": sums[EQUAL],
        }
        found.append(
            Finding(
                "ties",
                "warning" if tied > MANY_TIES * pairs_ else "note",
                f"{share(tied, pairs_)} of the neighbouring events of a user ({tied:,} of"
                f" {pairs_:,} pairs) stand at one time. The order rule settles"
                f" {resolved['kind']:,} by kind, {resolved['item']:,} by item and"
                f" {resolved['rest']:,} by the other columns;"
                f" {count(resolved['equal'], 'pair is', 'pairs are')} wholly equal. The order"
                " inside a tie is the rule's, not the shop's.",
                {"pairs": pairs_, "tied": tied, "share": tied / pairs_, "resolved": resolved},
                "gaps",
            )
        )
    gaps = np.bincount(
        table["gap"][table["gap"] >= 0].astype(np.int64), n[table["gap"] >= 0], len(GAPS)
    ).astype(np.int64)
    return found, (
        tuple((said, int(c)) for (_, said), c in zip(GAPS, gaps.tolist(), strict=True))
        if pairs_
        else ()
    )


def _list(counts: dict[str, int]) -> str:
    """`of these 12 buy, 3 view`."""
    ranked = sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    return (
        "of these "
        + ", ".join(f"{n:,} {kind}" for kind, n in ranked[:4])
        + (", …" if len(ranked) > 4 else "")
    )


# -- times ----------------------------------------------------------------------------------------


def _days(log: EventLog) -> list[_Day]:
    day = floor_sql("time", DAY)
    sql = (
        f"SELECT {day} AS day, kind, COUNT(*) AS n, SUM(CASE WHEN time = {day} THEN 1 ELSE 0 END)"
        f" AS m FROM {log.events} GROUP BY {day}, kind"
    )
    found = log.engine.arrays(f"SELECT * FROM ({sql}) AS d ORDER BY day, kind")
    rows = zip(*(found[c].tolist() for c in ("day", "kind", "n", "m")), strict=True)
    return [_Day(int(d), int(k), int(n), int(m)) for d, k, n, m in rows]


def _closed(days: list[_Day]) -> list[Finding]:
    """Runs of days without an event, weekdays on which the shop is usually closed left out."""
    seen = np.unique(np.array([d.day for d in days], np.int64)) // DAY
    every = np.arange(seen[0], seen[-1] + 1)
    if len(every) > 1_000_000:  # one event of the year 1900 in a log of today
        every = np.concatenate([seen[:1], seen[-1:]])
    has = np.isin(every, seen)
    weekday = every % 7
    usual = np.bincount(weekday, has, 7) >= USUAL_DAYS * np.maximum(
        np.bincount(weekday, minlength=7), 1
    )
    # A log with long holes leaves no weekday usual; then every day is expected.
    expected = usual[weekday] if usual.any() else np.ones(len(every), bool)
    lost = every[~has & expected]
    holes = np.diff(seen) - 1
    if not len(lost) and not (holes >= CLOSED_DAYS).any():
        return []
    place = int(holes.argmax()) if len(holes) else 0
    longest = int(holes.max()) if len(holes) else 0
    start = int(seen[place] + 1) * DAY
    numbers = {
        "days": int((~has).sum()),
        "unexpected": len(lost),
        "longest": longest,
        "longest_from": show(start)[:10],
    }
    return [
        Finding(
            "gap-days",
            "warning" if longest >= CLOSED_DAYS and len(lost) else "note",
            f"{count(int((~has).sum()), 'day')} between the first and the last event have none"
            f" ({len(lost):,} of them are weekdays that usually have some); the longest hole is"
            f" {count(longest, 'day')} from {show(start)[:10]}. A window over a hole asks about"
            " nothing.",
            numbers,
            "days",
        )
    ]


def _midnights(log: EventLog, days: list[_Day]) -> list[Finding]:
    """Kinds whose events have a date but no clock."""
    found = []
    kinds = {
        k: list(rows)
        for k, rows in groupby(sorted(days, key=lambda d: d.kind), key=lambda d: d.kind)
    }
    dated = {
        log.manifest.kinds[k].name: sum(d.events for d in rows)
        for k, rows in kinds.items()
        if sum(d.midnight for d in rows) >= max(ONLY_MIDNIGHT * sum(d.events for d in rows), 2)
    }
    if dated and len(dated) == len(kinds):
        found.append(
            Finding(
                "midnight",
                "note",
                "Every kind of event stands at midnight: the log has dates and no clock. Inside a"
                " day the order is the rule's for ties.",
                {"kinds": dated},
                "days",
            )
        )
    elif dated:
        found.append(
            Finding(
                "midnight",
                "warning",
                f"Events of the {'kind' if len(dated) == 1 else 'kinds'} {', '.join(dated)} stand"
                " at midnight only, others have a clock: they come before everything else of"
                " their day, so a history shows them up to a day before they happened.",
                {"kinds": dated},
                "days",
            )
        )
    return found


def _future(log: EventLog, written: Time | None) -> list[Finding]:
    if written is None:
        return []
    n, last = log.engine.one(
        f"SELECT COUNT(*), MAX(time) FROM {log.events} WHERE time > {written}"
    )
    if not n:
        return []
    said = (
        f"{count(int(n), 'event')} happened after the files were written ({show(written)}), the"
        f" last at {show(int(last))}: a wrong clock."
    )
    return [
        Finding(
            "future",
            "warning",
            said,
            {"events": int(n), "written": show(written), "last": show(int(last))},
            "days",
        )
    ]


# -- bursts ---------------------------------------------------------------------------------------


def _bots(log: EventLog, total: int, users: int) -> list[Finding]:
    """Users whom no hand can have moved.

    What is only shown to a user (role expose) does not count.
    """
    u, engine = name("user"), log.engine
    moments = f"SELECT DISTINCT {u}, time FROM {log.events} WHERE {_without(log, Role.EXPOSE)}"
    minute = floor_sql("time", MINUTE)
    minutes = engine.keep(
        f"SELECT {u}, {minute} AS minute, COUNT(*) AS n FROM ({moments}) AS m GROUP BY {u},"
        f" {minute}"
    )
    fast = (
        f"SELECT {u}, COUNT(*) AS times, MAX(n) AS most FROM {minutes} WHERE n >= {FAST_MOMENTS}"
        f" GROUP BY {u} HAVING COUNT(*) >= {FAST_MINUTES}"
    )
    hour, day = floor_sql("minute", HOUR), floor_sql("hour", DAY)
    hours = f"SELECT DISTINCT {u}, {hour} AS hour FROM {minutes}"
    long = (
        f"SELECT {u}, {day} AS day, COUNT(*) AS hours FROM ({hours}) AS h GROUP BY {u}, {day}"
        f" HAVING COUNT(*) >= {AWAKE_HOURS}"
    )
    awake = (
        f"SELECT {u}, COUNT(*) AS times, MAX(hours) AS most FROM ({long}) AS l GROUP BY {u} HAVING"
        f" COUNT(*) >= {AWAKE_DAYS}"
    )
    gap = (
        f"SELECT {u}, time - LAG(time) OVER (PARTITION BY {u} ORDER BY time) AS gap FROM"
        f" {log.events}"
    )
    seconds = (
        f"SELECT {u}, gap - MOD(gap, {SECOND}) AS gap, COUNT(*) AS n FROM ({gap}) AS g WHERE gap"
        f" >= {SECOND} AND gap < {DAY}"
    )
    each = (
        f"SELECT {u}, gap, n, SUM(n) OVER (PARTITION BY {u}) AS gaps FROM ({seconds} GROUP BY {u},"
        f" gap - MOD(gap, {SECOND})) AS s"
    )
    periodic = (
        f"SELECT {u}, gaps AS times, gap AS most FROM ({each}) AS e WHERE gaps >= {PERIODIC_GAPS}"
        f" AND n >= {PERIODIC_SHARE} * gaps"
    )
    found = []
    rows = _top(log, fast)
    if rows:
        said = (
            f"{rows['many']:,} of {count(users, 'user')} did something at {FAST_MOMENTS} or more"
            f" different moments of one minute, in {FAST_MINUTES} or more minutes; the busiest,"
            f" user {rows['ids'][0]}, in {rows['times']:,} of them, up to {rows['most']:,} a"
            " minute."
        )
        found.append(
            Finding("bots-fast", "warning", f"{said} No hand is so fast.", _who(rows), "activity")
        )
    rows = _top(log, awake)
    if rows:
        said = (
            f"{rows['many']:,} of {count(users, 'user')} did something in {AWAKE_HOURS} or more"
            f" different hours of a day, on {AWAKE_DAYS} or more days; user {rows['ids'][0]} on"
            f" {rows['times']:,}."
        )
        found.append(
            Finding(
                "bots-awake",
                "warning",
                f"{said} Nobody is awake so long: a script, or an account of many people.",
                _who(rows),
                "activity",
            )
        )
    rows = _top(log, periodic)
    if rows:
        said = (
            f"{rows['many']:,} of {count(users, 'user')} act like a clock:"
            f" {100 * PERIODIC_SHARE:g} % of their gaps (of {PERIODIC_GAPS} or more) are equal to"
            f" the second; user {rows['ids'][0]} every {rows['most'] // SECOND:,} seconds,"
            f" {rows['times']:,} gaps."
        )
        found.append(Finding("bots-periodic", "warning", said, _who(rows), "gaps"))
    engine.drop(minutes)
    return found + _heavy(log, total, users)


def _heavy(log: EventLog, total: int, users: int) -> list[Finding]:
    u = name("user")
    least = max(HEAVY_SHARE * total, HEAVY_TIMES * total / max(users, 1))
    sql = (
        f"SELECT {u}, COUNT(*) AS times, COUNT(*) AS most FROM {log.events} GROUP BY {u} HAVING"
        f" COUNT(*) > {int(least)}"
    )
    rows = _top(log, sql)
    if not rows:
        return []
    said = (
        f"{count(rows['many'], 'user makes', 'users make')} each more than {100 * HEAVY_SHARE:g} %"
        f" of all events and more than {HEAVY_TIMES} times the mean; user {rows['ids'][0]} makes"
        f" {share(rows['times'], total)} ({rows['times']:,} events): a script, a till or an"
        " account of many people."
    )
    return [
        Finding(
            "bots-heavy",
            "warning",
            said,
            _who(rows) | {"share": rows["times"] / total},
            "activity",
        )
    ]


def _sessions(log: EventLog) -> list[Finding]:
    if "session" not in log.manifest.columns:
        return []
    moments = (
        f"SELECT DISTINCT session AS {name('user')}, time FROM {log.events} WHERE session IS NOT"
        f" NULL AND {_without(log, Role.EXPOSE)}"
    )
    sql = (
        f"SELECT {name('user')}, COUNT(*) AS times, COUNT(*) AS most FROM ({moments}) AS m GROUP"
        f" BY {name('user')} HAVING COUNT(*) >= {LONG_SESSION}"
    )
    rows = _top(log, sql)
    if not rows:
        return []
    said = (
        f"{count(rows['many'], 'session has', 'sessions have')} {LONG_SESSION} or more different"
        f" moments; session {rows['ids'][0]} has {rows['times']:,}."
    )
    numbers = {"sessions": rows["many"], "ids": rows["ids"], "most": rows["most"]}
    return [Finding("sessions-long", "warning", said, numbers, "activity")]


def _top(log: EventLog, sql: str) -> dict[str, Any]:
    """How many rows (user, times, most) there are, and the first few users; empty where there is
    none.
    """
    u = name("user")
    found = log.engine.arrays(
        f"SELECT *, COUNT(*) OVER () AS many FROM ({sql}) AS s ORDER BY times DESC, {u} LIMIT"
        f" {LISTED}"
    )
    if not len(found["user"]):
        return {}
    return {
        "many": int(found["many"][0]),
        "ids": found["user"].tolist(),
        "times": int(found["times"][0]),
        "most": int(found["most"][0]),
    }


def _who(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "users": rows["many"],
        "ids": rows["ids"],
        "times": rows["times"],
        "most": rows["most"],
    }


# -- items ----------------------------------------------------------------------------------------


def _unlisted(log: EventLog, total: int) -> list[Finding]:
    listed = f"SELECT DISTINCT item FROM {log.items}"
    if not log.engine.one(f"SELECT COUNT(*) FROM ({listed}) AS l")[0]:
        return [
            Finding(
                "no-catalogue",
                "note",
                "The log has no catalogue: nothing is known of an item but its number.",
                {},
            )
        ]
    each = f"SELECT item, COUNT(*) AS n FROM {log.events} WHERE item IS NOT NULL GROUP BY item"
    sql = (
        "SELECT COUNT(*), COALESCE(SUM(CASE WHEN l.item IS NULL THEN 1 ELSE 0 END), 0),"
        f" COALESCE(SUM(CASE WHEN l.item IS NULL THEN n ELSE 0 END), 0) FROM ({each}) AS e"
    )
    items, lost, events = (
        int(v) for v in log.engine.one(f"{sql} LEFT JOIN ({listed}) AS l ON e.item = l.item")
    )
    if not lost:
        return []
    said = (
        f"{lost:,} of {count(items, 'item')} with events are not in the catalogue"
        f" ({count(events, 'event')}, {share(events, total)}): nothing is known of them."
    )
    return [
        Finding(
            "unlisted-items",
            "warning" if events > 0.01 * total else "note",
            said,
            {"items": lost, "of": items, "events": events},
        )
    ]


def _too_early(log: EventLog) -> list[Finding]:
    codes = log.manifest.codes(Role.BUY)
    if not codes or log.manifest.time != "clock":
        return []
    known = (
        f"SELECT item, MIN(known_from) AS known FROM {log.items} GROUP BY item HAVING COUNT(*) ="
        " COUNT(known_from)"
    )
    sql = (
        f"SELECT COUNT(*) AS n, COUNT(DISTINCT e.item) AS items FROM {log.events} AS e JOIN"
        f" ({known}) AS k ON e.item = k.item "
    )
    n, items = (
        int(v)
        for v in log.engine.one(
            f"{sql}WHERE e.kind IN ({', '.join(map(str, codes))}) AND e.time < k.known"
        )
    )
    if not n:
        return []
    said = (
        f"{count(n, 'purchase')} of {count(items, 'item')} happened before the catalogue knows the"
        " item (known_from): a cut there has no attributes of it."
    )
    return [Finding("bought-before-known", "warning", said, {"events": n, "items": items})]


def _unrepeated(log: EventLog, users: int) -> list[Finding]:
    """A log that keeps one event a user, item and kind: what was repeated is gone."""
    each = (
        f"SELECT kind, COUNT(*) AS n FROM {log.events} WHERE item IS NOT NULL GROUP BY"
        f" {name('user')}, kind, item"
    )
    pairs, events = (
        int(v or 0) for v in log.engine.one(f"SELECT COUNT(*), SUM(n) FROM ({each}) AS e")
    )
    if events != pairs or events < UNREPEATED_EVENTS or events < UNREPEATED_EACH * users:
        return []
    said = (
        f"In {count(events, 'event')} about items no user does the same with the same item twice."
        " Either nobody can (ratings), or the log was thinned to one event a user, item and kind:"
        " repurchase and churn cannot be asked of it, and if the last one was kept, its past"
        " knows its future."
    )
    return [Finding("no-repeats", "warning", said, {"events": events}, "gaps")]


def _manifest(log: EventLog, total: int) -> list[Finding]:
    """Rows that could not be read, and kinds that never happened."""
    found = []
    rejected = sum(log.manifest.rejected.values())
    if rejected:
        reasons = ", ".join(
            f"{n:,} {reason}"
            for reason, n in sorted(log.manifest.rejected.items(), key=lambda r: (-r[1], r[0]))[:4]
        )
        said = (
            f"{count(rejected, 'row')} of the source could not be read:"
            f" {reasons}{', …' if len(log.manifest.rejected) > 4 else ''}."
        )
        found.append(
            Finding(
                "rejected",
                "warning" if rejected > 0.01 * total else "note",
                said,
                dict(log.manifest.rejected),
            )
        )
    seen = log.engine.arrays(f"SELECT DISTINCT kind FROM {log.events}")["kind"].tolist()
    never = [k.name for code, k in enumerate(log.manifest.kinds) if code not in seen]
    if never:
        found.append(
            Finding(
                "unseen-kinds",
                "note",
                f"No event is of the {_kinds(never)} {', '.join(never)}.",
                {"kinds": never},
                "kinds",
            )
        )
    return found


def _kinds(names: Collection[str]) -> str:
    return "kind" if len(names) == 1 else "kinds"


# -- pictures -------------------------------------------------------------------------------------

POINTS = 150  # of the curve


def _popularity(log: EventLog) -> tuple[tuple[int, float], ...]:
    """From how many items have n events: the share of all events about items that the r most
    frequent items make.
    """
    each = f"SELECT item, COUNT(*) AS n FROM {log.events} WHERE item IS NOT NULL GROUP BY item"
    found = log.engine.arrays(
        f"SELECT n, COUNT(*) AS m FROM ({each}) AS e GROUP BY n ORDER BY n DESC"
    )
    n, m = found["n"].astype(np.int64), found["m"].astype(np.int64)
    if not len(n):
        return ()
    rank, events = np.cumsum(m), np.cumsum(n * m)
    ranks = np.unique(np.geomspace(1, rank[-1], POINTS).round().astype(np.int64))
    # Between two counts the curve is straight: every item there has n events.
    shares = np.interp(ranks, np.append(0, rank), np.append(0, events)) / events[-1]
    return tuple(zip(ranks.tolist(), shares.tolist(), strict=True))


MONDAY = 4 * DAY  # 1970-01-05


def _retention(log: EventLog) -> tuple[tuple[Time, ...], tuple[tuple[int, ...], ...]]:
    u = name("user")
    week = f"{floor_sql(f'(time - {MONDAY})', WEEK)} + {MONDAY}"
    weeks = f"SELECT DISTINCT {u}, {week} AS week FROM {log.events}"
    each = f"SELECT {u}, week, MIN(week) OVER (PARTITION BY {u}) AS first FROM ({weeks}) AS w"
    found = log.engine.arrays(
        f"SELECT first, week, COUNT(*) AS n FROM ({each}) AS e GROUP BY first, week ORDER BY"
        " first, week"
    )
    cohorts, row = np.unique(found["first"], return_inverse=True)
    age = (found["week"] - found["first"]) // WEEK
    if len(age) and age.max() > 1_000:  # one event of the year 1900: no picture
        return (), ()
    table = np.zeros((len(cohorts), int(age.max()) + 1 if len(age) else 0), np.int64)
    table[row, age] = found["n"]
    return tuple(cohorts.tolist()), tuple(tuple(r) for r in table.tolist())
