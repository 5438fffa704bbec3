"""The audit of a log: duplicates, ties, bursts, impossible times, items that nobody knows.

SQL aggregates the events; nothing here is as long as the log.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from clickprint.core.events import Role
from clickprint.core.progress import Progress, silent
from clickprint.core.time import DAY, HOUR, SECOND, Time, show
from clickprint.data.audit.finding import LISTED, Finding, count, share, warning_if
from clickprint.data.engine import floor_sql, in_sql, kept, name, rows_in
from clickprint.data.log import EventLog

MINUTE = 60 * SECOND
WEEK = 7 * DAY
MONDAY = 4 * DAY  # 1970-01-05
# What looks like a bot. A moment is one time at which a user did something, however many events it
# holds: a basket of 500 lines is one.
# Fast: at least so many moments a minute, in at least so many minutes.
FAST_MOMENTS, FAST_MINUTES = 30, 5
# Awake: active in at least so many hours of a UTC day, on at least so many days.
AWAKE_HOURS, AWAKE_DAYS = 22, 2
# Periodic: of at least so many gaps from 1 second to 1 day, this share is equal to the second.
PERIODIC_GAPS, PERIODIC_SHARE = 100, 0.9
# Heavy: more than this share of all events, and so many times the mean user's.
HEAVY_SHARE, HEAVY_TIMES = 0.01, 100
LONG_SESSION = 500  # moments of one session
MANY_DUPLICATES = 0.001  # of all events, without those that were only shown
MANY_TIES = 0.05  # of neighbouring events of a user: then the order is the rule's, not the shop's
CLOSED_DAYS = 2  # days in a row without an event, though such weekdays usually have one
USUAL_DAYS = 0.5  # share of a weekday's dates that must have an event for it to be expected
ONLY_MIDNIGHT = 0.99  # of a kind's events at 00:00:00
# "Nothing is ever repeated" means something from so many events about items, and events a user.
UNREPEATED_EVENTS, UNREPEATED_EACH = 1_000, 5.0
POINTS = 150  # of the curve of popularity
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
# What tells an event from the same user's event before it.
FIRST, LATER, BY_KIND, BY_ITEM, BY_REST, EQUAL = range(6)


@dataclass(frozen=True, slots=True)
class Shape:
    """Small aggregates for pictures. Empty where there is nothing, or no clock.

    - `gaps`: (upper end in words, how many gaps between a user's neighbouring events).
    - `popularity`: (rank of the item, share of all events about items up to it), rising.
    - `retention[c][a]`: users of the cohort that first came in week `weeks[c]` (its Monday) and
      did something a weeks later.
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
        said = "The log has no event: there is nothing to audit."
        return [Finding("empty", "warning", said, {"events": 0})], Shape((), (), (), ())
    clock, steps = log.manifest.time == "clock", 6
    progress("audit log", 0, steps)
    found, gaps = _neighbours(log, total)
    progress("audit log", 1, steps)
    if clock:
        days = _days(log)
        found += [*_closed(days), *_midnights(log, days), *_future(log, written)]
    progress("audit log", 2, steps)
    if clock:
        found += _bots(log, users)
    found += _heavy(log, total, users)
    if clock:
        found += _sessions(log)
    progress("audit log", 3, steps)
    found += [*_unlisted(log, total), *_too_early(log)]
    progress("audit log", 4, steps)
    found += [*_unrepeated(log, users), *_manifest(log, total)]
    progress("audit log", 5, steps)
    retention = _retention(log) if clock else ((), ())
    shape = Shape(gaps if clock else (), _popularity(log), *retention)
    progress("audit log", steps, steps)
    return found, shape


def _sizes(log: EventLog) -> tuple[int, int]:
    each = f"SELECT {name('user')}, COUNT(*) AS n FROM {log.events} GROUP BY {name('user')}"
    total, users = log.engine.one(f"SELECT COALESCE(SUM(n), 0), COUNT(*) FROM ({each}) AS e")
    return int(total), int(users)


def _unshown(log: EventLog) -> str:
    """SQL: a condition for events that are more than something shown."""
    return f"NOT ({in_sql('kind', log.manifest.codes(Role.EXPOSE))})"


# -- neighbours: duplicates, ties, gaps ----------------------------------------------------------


def _neighbours(log: EventLog, total: int) -> tuple[list[Finding], tuple[tuple[str, int], ...]]:
    """How each event differs from the same user's event before it, in the canonical order."""
    _, *columns = log.manifest.tie_order
    rest, names = columns[3:], [k.name for k in log.manifest.kinds]
    order = ", ".join(f"{name(c)} NULLS FIRST" for c in columns)
    over = f"OVER (PARTITION BY {name('user')} ORDER BY {order})"
    before = {c: name(f"before {c}") for c in columns}
    differs = {c: f"{name(c)} IS DISTINCT FROM {before[c]}" for c in columns}
    t = before["time"]
    step = (
        f"CASE WHEN {t} IS NULL THEN {FIRST} WHEN time > {t} THEN {LATER}"
        f" WHEN {differs['kind']} THEN {BY_KIND} WHEN {differs['item']} THEN {BY_ITEM}"
        f" WHEN {' OR '.join(differs[c] for c in rest) or '1 = 0'} THEN {BY_REST} ELSE {EQUAL} END"
    )
    bars = " ".join(f"WHEN time - {t} < {end} THEN {i}" for i, (end, _) in enumerate(GAPS))
    gap = f"COALESCE(CASE WHEN {t} IS NULL THEN -1 {bars} END, {len(GAPS) - 1})"
    lags = ", ".join(f"LAG({name(c)}) {over} AS {before[c]}" for c in columns)
    both = f"SELECT {', '.join(map(name, columns))}, {lags} FROM {log.events}"
    pairs = f"SELECT kind, {step} AS step, {gap} AS gap FROM ({both}) AS w"
    table = log.engine.arrays(
        f"SELECT kind, step, gap, COUNT(*) AS n FROM ({pairs}) AS p GROUP BY kind, step, gap"
    )
    table = {column: values.astype(np.int64) for column, values in table.items()}

    def sums(of: str, rows: np.ndarray, size: int) -> list[int]:
        counted = np.bincount(table[of][rows], table["n"][rows], size)
        return counted.astype(np.int64).tolist()

    def by_kind(step: int) -> dict[str, int]:
        counts = sums("kind", table["step"] == step, len(names))
        return {kind: n for kind, n in zip(names, counts, strict=True) if n}

    steps = sums("step", table["n"] > 0, 6)
    found = []
    equal, near = steps[EQUAL], steps[BY_REST]
    if equal:
        kinds = by_kind(EQUAL)
        # One request may show an item twice: that is no fault of the log.
        acts = sum(kinds.get(k.name, 0) for k in log.manifest.kinds if k.role is not Role.EXPOSE)
        said = (
            f"{count(equal, 'event')} ({share(equal, total)}) repeat another event in every"
            f" column, {_list(kinds)}. Counts and popularity count them twice."
        )
        numbers = {"events": equal, "share": equal / total, "kinds": kinds}
        severity = warning_if(acts > MANY_DUPLICATES * total)
        found.append(Finding("duplicates", severity, said, numbers))
    if near:
        kinds = by_kind(BY_REST)
        said = (
            f"{count(near, 'event')} ({share(near, total)}) have the user, time, kind and item of"
            f" another one and differ only in {' or '.join(rest)}, {_list(kinds)}."
        )
        numbers = {"events": near, "share": near / total, "kinds": kinds, "columns": rest}
        found.append(Finding("near-duplicates", "note", said, numbers))
    tied, pairs_ = sum(steps[BY_KIND:]), sum(steps[LATER:])
    if tied:
        by = dict(zip(("kind", "item", "rest", "equal"), steps[BY_KIND:], strict=True))
        said = (
            f"{share(tied, pairs_)} of the neighbouring events of a user ({tied:,} of {pairs_:,}"
            f" pairs) stand at one time. The order rule settles {by['kind']:,} by kind,"
            f" {by['item']:,} by item and {by['rest']:,} by the other columns;"
            f" {count(equal, 'pair is', 'pairs are')} wholly equal. The order inside a tie is the"
            " rule's, not the shop's."
        )
        numbers = {"pairs": pairs_, "tied": tied, "share": tied / pairs_, "resolved": by}
        severity = warning_if(tied > MANY_TIES * pairs_)
        found.append(Finding("ties", severity, said, numbers, "gaps"))
    if not pairs_:
        return found, ()
    counts = sums("gap", table["gap"] >= 0, len(GAPS))
    return found, tuple((said, n) for (_, said), n in zip(GAPS, counts, strict=True))


def _list(counts: dict[str, int]) -> str:
    """`of these 12 buy, 3 view`."""
    ranked = sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    first = ", ".join(f"{n:,} {kind}" for kind, n in ranked[:4])
    return f"of these {first}{', …' if len(ranked) > 4 else ''}"


# -- times ---------------------------------------------------------------------------------------


def _days(log: EventLog) -> list[_Day]:
    day = floor_sql("time", DAY)
    midnights = f"SUM(CASE WHEN time = {day} THEN 1 ELSE 0 END) AS m"
    sql = (
        f"SELECT {day} AS day, kind, COUNT(*) AS n, {midnights} FROM {log.events}"
        f" GROUP BY {day}, kind"
    )
    columns = log.engine.arrays(f"SELECT * FROM ({sql}) AS d ORDER BY day, kind")
    rows = zip(*(columns[c].tolist() for c in ("day", "kind", "n", "m")), strict=True)
    return [_Day(int(d), int(k), int(n), int(m)) for d, k, n, m in rows]


def _closed(days: list[_Day]) -> Iterator[Finding]:
    """Runs of days without an event, weekdays on which the shop is usually closed left out."""
    seen = np.unique(np.array([d.day for d in days], np.int64)) // DAY
    every = np.arange(seen[0], seen[-1] + 1)
    if len(every) > 1_000_000:  # one event of the year 1900 in a log of today
        every = np.concatenate([seen[:1], seen[-1:]])
    has = np.isin(every, seen)
    weekday = every % 7
    dates = np.maximum(np.bincount(weekday, minlength=7), 1)
    usual = np.bincount(weekday, has, 7) >= USUAL_DAYS * dates
    # A log with long holes leaves no weekday usual; then every day is expected.
    expected = usual[weekday] if usual.any() else np.ones(len(every), bool)
    lost, holes = int((~has & expected).sum()), np.diff(seen) - 1
    if not lost and not (holes >= CLOSED_DAYS).any():
        return
    place = int(holes.argmax()) if len(holes) else 0
    longest, empty = int(holes.max()) if len(holes) else 0, int((~has).sum())
    start = show(int(seen[place] + 1) * DAY)[:10]
    said = (
        f"{count(empty, 'day')} between the first and the last event have none ({lost:,} of them"
        " are weekdays that usually have some); the longest hole is"
        f" {count(longest, 'day')} from {start}. A window over a hole asks about nothing."
    )
    numbers = {"days": empty, "unexpected": lost, "longest": longest, "longest_from": start}
    severity = warning_if(longest >= CLOSED_DAYS and lost > 0)
    yield Finding("gap-days", severity, said, numbers, "days")


def _midnights(log: EventLog, days: list[_Day]) -> Iterator[Finding]:
    """Kinds whose events have a date but no clock."""
    dated, by = {}, lambda d: d.kind
    kinds = {k: list(rows) for k, rows in groupby(sorted(days, key=by), key=by)}
    for kind, rows in kinds.items():
        events = sum(d.events for d in rows)
        if sum(d.midnight for d in rows) >= max(ONLY_MIDNIGHT * events, 2):
            dated[log.manifest.kinds[kind].name] = events
    if not dated:
        return
    said = (
        f"Events of the {_kinds(dated)} {', '.join(dated)} stand at midnight only, others have a"
        " clock: they come before everything else of their day, so a history shows them up to a"
        " day before they happened."
    )
    if len(dated) == len(kinds):
        said = (
            "Every kind of event stands at midnight: the log has dates and no clock. Inside a day"
            " the order is the rule's for ties."
        )
    severity = warning_if(len(dated) < len(kinds))
    yield Finding("midnight", severity, said, {"kinds": dated}, "days")


def _future(log: EventLog, written: Time | None) -> Iterator[Finding]:
    if written is None:
        return
    n, last = log.engine.one(
        f"SELECT COUNT(*), MAX(time) FROM {log.events} WHERE time > {written}"
    )
    if n:
        numbers = {"events": int(n), "written": show(written), "last": show(int(last))}
        said = (
            f"{count(int(n), 'event')} happened after the files were written"
            f" ({numbers['written']}), the last at {numbers['last']}: a wrong clock."
        )
        yield Finding("future", "warning", said, numbers, "days")


# -- bursts --------------------------------------------------------------------------------------


def _bots(log: EventLog, users: int) -> Iterator[Finding]:
    """Users whom no hand can have moved. What is only shown to a user does not count."""
    u, engine, of_all = name("user"), log.engine, f"of {count(users, 'user')}"
    moments = f"SELECT DISTINCT {u}, time FROM {log.events} WHERE {_unshown(log)}"
    minute = floor_sql("time", MINUTE)
    by_minute = (
        f"SELECT {u}, {minute} AS minute, COUNT(*) AS n FROM ({moments}) AS m"
        f" GROUP BY {u}, {minute}"
    )
    with kept(engine, by_minute) as minutes:
        fast = (
            f"SELECT {u}, COUNT(*) AS times, MAX(n) AS most FROM {minutes}"
            f" WHERE n >= {FAST_MOMENTS} GROUP BY {u} HAVING COUNT(*) >= {FAST_MINUTES}"
        )
        if rows := _top(log, fast):
            said = (
                f"{rows['users']:,} {of_all} did something at {FAST_MOMENTS} or more different"
                f" moments of one minute, in {FAST_MINUTES} or more minutes; the busiest, user"
                f" {rows['ids'][0]}, in {rows['times']:,} of them, up to {rows['most']:,} a"
                " minute. No hand is so fast."
            )
            yield Finding("bots-fast", "warning", said, rows, "activity")
        hour, day = floor_sql("minute", HOUR), floor_sql("hour", DAY)
        hours = f"SELECT DISTINCT {u}, {hour} AS hour FROM {minutes}"
        long = (
            f"SELECT {u}, {day} AS day, COUNT(*) AS hours FROM ({hours}) AS h GROUP BY {u}, {day}"
            f" HAVING COUNT(*) >= {AWAKE_HOURS}"
        )
        awake = (
            f"SELECT {u}, COUNT(*) AS times, MAX(hours) AS most FROM ({long}) AS l GROUP BY {u}"
            f" HAVING COUNT(*) >= {AWAKE_DAYS}"
        )
        if rows := _top(log, awake):
            said = (
                f"{rows['users']:,} {of_all} did something in {AWAKE_HOURS} or more different"
                f" hours of a day, on {AWAKE_DAYS} or more days; user {rows['ids'][0]} on"
                f" {rows['times']:,}. Nobody is awake so long: a script, or an account of many"
                " people."
            )
            yield Finding("bots-awake", "warning", said, rows, "activity")
    gaps = f"SELECT {u}, time - LAG(time) OVER (PARTITION BY {u} ORDER BY time) AS gap"
    second = f"gap - MOD(gap, {SECOND})"
    seconds = (
        f"SELECT {u}, {second} AS gap, COUNT(*) AS n FROM ({gaps} FROM {log.events}) AS g"
        f" WHERE gap >= {SECOND} AND gap < {DAY} GROUP BY {u}, {second}"
    )
    each = f"SELECT {u}, gap, n, SUM(n) OVER (PARTITION BY {u}) AS gaps FROM ({seconds}) AS s"
    periodic = (
        f"SELECT {u}, gaps AS times, gap AS most FROM ({each}) AS e"
        f" WHERE gaps >= {PERIODIC_GAPS} AND n >= {PERIODIC_SHARE} * gaps"
    )
    if rows := _top(log, periodic):
        said = (
            f"{rows['users']:,} {of_all} act like a clock: {100 * PERIODIC_SHARE:g} % of their"
            f" gaps (of {PERIODIC_GAPS} or more) are equal to the second; user {rows['ids'][0]}"
            f" every {rows['most'] // SECOND:,} seconds, {rows['times']:,} gaps."
        )
        yield Finding("bots-periodic", "warning", said, rows, "gaps")


def _heavy(log: EventLog, total: int, users: int) -> Iterator[Finding]:
    u = name("user")
    least = int(max(HEAVY_SHARE * total, HEAVY_TIMES * total / max(users, 1)))
    heavy = (
        f"SELECT {u}, COUNT(*) AS times, COUNT(*) AS most FROM {log.events} GROUP BY {u}"
        f" HAVING COUNT(*) > {least}"
    )
    if rows := _top(log, heavy):
        said = (
            f"{count(rows['users'], 'user makes', 'users make')} each more than"
            f" {100 * HEAVY_SHARE:g} % of all events and more than {HEAVY_TIMES} times the mean;"
            f" user {rows['ids'][0]} makes {share(rows['times'], total)} ({rows['times']:,}"
            " events): a script, a till or an account of many people."
        )
        numbers = rows | {"share": rows["times"] / total}
        yield Finding("bots-heavy", "warning", said, numbers, "activity")


def _sessions(log: EventLog) -> Iterator[Finding]:
    if "session" not in log.manifest.columns:
        return
    u = name("user")
    moments = (
        f"SELECT DISTINCT session AS {u}, time FROM {log.events}"
        f" WHERE session IS NOT NULL AND {_unshown(log)}"
    )
    long = (
        f"SELECT {u}, COUNT(*) AS times, COUNT(*) AS most FROM ({moments}) AS m GROUP BY {u}"
        f" HAVING COUNT(*) >= {LONG_SESSION}"
    )
    if rows := _top(log, long):
        said = (
            f"{count(rows['users'], 'session has', 'sessions have')} {LONG_SESSION} or more"
            f" different moments; session {rows['ids'][0]} has {rows['times']:,}."
        )
        numbers = {"sessions": rows["users"], "ids": rows["ids"], "most": rows["most"]}
        yield Finding("sessions-long", "warning", said, numbers, "activity")


def _top(log: EventLog, sql: str) -> dict[str, Any]:
    """How many rows (user, times, most) there are, and the first few users; {} without a row."""
    first = f"ORDER BY times DESC, {name('user')} LIMIT {LISTED}"
    rows = log.engine.arrays(f"SELECT *, COUNT(*) OVER () AS many FROM ({sql}) AS s {first}")
    if not len(rows["user"]):
        return {}
    return {
        "users": int(rows["many"][0]),
        "ids": rows["user"].tolist(),
        "times": int(rows["times"][0]),
        "most": int(rows["most"][0]),
    }


# -- items ---------------------------------------------------------------------------------------


def _unlisted(log: EventLog, total: int) -> Iterator[Finding]:
    listed = f"SELECT DISTINCT item FROM {log.items}"
    if not rows_in(log.engine, listed):
        said = "The log has no catalogue: nothing is known of an item but its number."
        yield Finding("no-catalogue", "note", said)
        return
    each = f"SELECT item, COUNT(*) AS n FROM {log.events} WHERE item IS NOT NULL GROUP BY item"
    unknown = "COALESCE(SUM(CASE WHEN l.item IS NULL THEN {} ELSE 0 END), 0)"
    row = log.engine.one(
        f"SELECT COUNT(*), {unknown.format(1)}, {unknown.format('n')}"
        f" FROM ({each}) AS e LEFT JOIN ({listed}) AS l ON e.item = l.item"
    )
    items, lost, events = (int(v) for v in row)
    if lost:
        said = (
            f"{lost:,} of {count(items, 'item')} with events are not in the catalogue"
            f" ({count(events, 'event')}, {share(events, total)}): nothing is known of them."
        )
        numbers = {"items": lost, "of": items, "events": events}
        yield Finding("unlisted-items", warning_if(events > 0.01 * total), said, numbers)


def _too_early(log: EventLog) -> Iterator[Finding]:
    codes = log.manifest.codes(Role.BUY)
    if not codes or log.manifest.time != "clock":
        return
    known = (
        f"SELECT item, MIN(known_from) AS known FROM {log.items} GROUP BY item"
        " HAVING COUNT(*) = COUNT(known_from)"
    )
    row = log.engine.one(
        f"SELECT COUNT(*) AS n, COUNT(DISTINCT e.item) AS items FROM {log.events} AS e"
        f" JOIN ({known}) AS k ON e.item = k.item"
        f" WHERE {in_sql('e.kind', codes)} AND e.time < k.known"
    )
    events, items = (int(v) for v in row)
    if events:
        said = (
            f"{count(events, 'purchase')} of {count(items, 'item')} happened before the catalogue"
            " knows the item (known_from): a cut there has no attributes of it."
        )
        numbers = {"events": events, "items": items}
        yield Finding("bought-before-known", "warning", said, numbers)


def _unrepeated(log: EventLog, users: int) -> Iterator[Finding]:
    """A log that keeps one event a user, item and kind: what was repeated is gone."""
    each = (
        f"SELECT kind, COUNT(*) AS n FROM {log.events} WHERE item IS NOT NULL"
        f" GROUP BY {name('user')}, kind, item"
    )
    row = log.engine.one(f"SELECT COUNT(*), SUM(n) FROM ({each}) AS e")
    pairs, events = (int(v or 0) for v in row)
    if events == pairs and events >= max(UNREPEATED_EVENTS, UNREPEATED_EACH * users):
        said = (
            f"In {count(events, 'event')} about items no user does the same with the same item"
            " twice. Either nobody can (ratings), or the log was thinned to one event a user, item"
            " and kind: repurchase and churn cannot be asked of it, and if the last one was kept,"
            " its past knows its future."
        )
        yield Finding("no-repeats", "warning", said, {"events": events}, "gaps")


def _manifest(log: EventLog, total: int) -> Iterator[Finding]:
    """Rows and values that could not be read, and kinds that never happened."""
    lost = (
        ("rejected", "row", "of the source could not be read", log.manifest.rejected),
        ("unread", "value", "could not be read, which the log lacks now", log.manifest.unread),
    )
    for code, one, what, reasons in lost:
        if n := sum(reasons.values()):
            ranked = sorted(reasons.items(), key=lambda r: (-r[1], r[0]))[:4]
            first = ", ".join(f"{times:,} {reason}" for reason, times in ranked)
            more = ", …" if len(reasons) > 4 else ""
            said = f"{count(n, one)} {what}: {first}{more}."
            yield Finding(code, warning_if(n > 0.01 * total), said, dict(reasons))
    seen = log.engine.arrays(f"SELECT DISTINCT kind FROM {log.events}")["kind"].tolist()
    never = {k.name: 0 for code, k in enumerate(log.manifest.kinds) if code not in seen}
    if never:
        said = f"No event is of the {_kinds(never)} {', '.join(never)}."
        yield Finding("unseen-kinds", "note", said, {"kinds": list(never)}, "kinds")


def _kinds(names: dict[str, int]) -> str:
    return "kind" if len(names) == 1 else "kinds"


# -- pictures ------------------------------------------------------------------------------------


def _popularity(log: EventLog) -> tuple[tuple[int, float], ...]:
    """The share of all events about items that the r most frequent items have, for some r."""
    each = f"SELECT item, COUNT(*) AS n FROM {log.events} WHERE item IS NOT NULL GROUP BY item"
    counts = log.engine.arrays(
        f"SELECT n, COUNT(*) AS m FROM ({each}) AS e GROUP BY n ORDER BY n DESC"
    )
    n, m = counts["n"].astype(np.int64), counts["m"].astype(np.int64)
    if not len(n):
        return ()
    rank, events = np.cumsum(m), np.cumsum(n * m)
    ranks = np.unique(np.geomspace(1, rank[-1], POINTS).round().astype(np.int64))
    # Between two counts the curve is straight: every item there has n events.
    shares = np.interp(ranks, np.append(0, rank), np.append(0, events)) / events[-1]
    return tuple(zip(ranks.tolist(), shares.tolist(), strict=True))


def _retention(log: EventLog) -> tuple[tuple[Time, ...], tuple[tuple[int, ...], ...]]:
    u = name("user")
    week = f"{floor_sql(f'(time - {MONDAY})', WEEK)} + {MONDAY}"
    weeks = f"SELECT DISTINCT {u}, {week} AS week FROM {log.events}"
    each = f"SELECT {u}, week, MIN(week) OVER (PARTITION BY {u}) AS first FROM ({weeks}) AS w"
    counts = log.engine.arrays(
        f"SELECT first, week, COUNT(*) AS n FROM ({each}) AS e GROUP BY first, week"
        " ORDER BY first, week"
    )
    cohorts, row = np.unique(counts["first"], return_inverse=True)
    age = (counts["week"] - counts["first"]) // WEEK
    if len(age) and age.max() > 1_000:  # one event of the year 1900: no picture
        return (), ()
    table = np.zeros((len(cohorts), int(age.max()) + 1 if len(age) else 0), np.int64)
    table[row, age] = counts["n"]
    return tuple(cohorts.tolist()), tuple(tuple(r) for r in table.tolist())
