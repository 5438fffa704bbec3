"""The audit of a split: what crosses its cuts, and labels or popularity chosen on the future.

Also what only one window knows, and the split's fingerprint.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from clickprint.core.events import COLUMNS, REQUIRED, Role
from clickprint.core.items import CATEGORICAL
from clickprint.core.lookup import positions_in_any_order
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Time, show
from clickprint.data.audit.finding import (
    Finding,
    Severity,
    count,
    first_few,
    share,
    warning_if,
)
from clickprint.data.engine import Engine, kept, name, rows_in
from clickprint.data.log import EventLog
from clickprint.data.split import Split

PARTS = ("past", "train", "valid")
# Labels a task, where no file lists them: the values most bought in the train window, as the tasks
# choose them.
TOP = 100
# A window chose a label list if so much of it is among the window's most bought, and less of any
# other's.
CHOSEN = 0.95
EQUAL = 0.005  # two popularities are equal when their shares differ by no more than this in sum
WEIGHT = 0.8  # of the AUROC in a propensity's score
TIED_TARGETS = 0.01  # of the users' last events have the time of the event before
LATE_HISTORY = 0.1  # of the histories lie after the first target


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelList:
    """What a propensity task asks about: values of `column` (item, or an attribute).

    `popularity` is theirs, where a file gives it.
    """

    task: str
    column: str
    values: Int64[np.ndarray, "T"]
    popularity: Float64[np.ndarray, "T"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A split as three relations with the columns of events.

    - `past`, `train`, `valid`: what models may see, the window that they learn from, the window
      that counts; `called`: their names in words.
    - `bounds`: the starts of the two windows and the end of the second; None for a split that is
      not by time.
    - `buys`: the SQL condition of a purchase.
    - `items`: SQL with one row an item and its attributes.
    - `known`: a relation (item, known_from), where the source dates its catalogue.
    - `active`: the users whom churn is asked about.
    """

    name: str
    engine: Engine
    past: str
    train: str
    valid: str
    columns: tuple[str, ...] = ()
    called: tuple[str, str, str] = ("past", "train window", "validation window")
    buys: str = "1 = 1"
    bounds: tuple[Time, Time, Time] | None = None
    items: str = ""
    known: str = ""
    population: Int64[np.ndarray, "U"] | None = None
    active: Int64[np.ndarray, "A"] | None = None
    labels: tuple[LabelList, ...] = ()

    @property
    def three(self) -> tuple[str, str, str]:
        return self.past, self.train, self.valid


def of_time(log: EventLog, split: Split, name_: str) -> Parts:
    """Our own split by time; label lists by the tasks' rule."""
    past, train, valid = (
        log.engine.view(f"SELECT * FROM {log.events} WHERE {cut}")
        for cut in (
            f"time < {split.train.start}",
            *(f"time >= {w.start} AND time < {w.end}" for w in (split.train, split.valid)),
        )
    )
    parts = Parts(
        name=name_,
        engine=log.engine,
        past=past,
        train=train,
        valid=valid,
        columns=log.manifest.columns,
        buys=log.where((Role.BUY,), None),
        bounds=(split.train.start, split.valid.start, split.valid.end),
        items=log.known(split.valid.end),
        known=log.items,
        population=split.past.users,
    )
    lists = [
        LabelList(task=f"propensity_{c}", column=c, values=_most(parts, parts.train, c, TOP)[0])
        for c in ("item", *log.manifest.of_type(*CATEGORICAL))
    ]
    return replace(parts, labels=tuple(labels for labels in lists if len(labels.values)))


def audit_parts(
    parts: Parts, *, made_elsewhere: bool, progress: Progress = silent
) -> tuple[list[Finding], dict[str, str]]:
    """Every finding of a split, and its fingerprint by part.

    What only files can have wrong is asked only of a split that was `made_elsewhere`.
    """
    steps, stage = 5, f"audit split {parts.name}"
    progress(stage, 0, steps)
    found = [_sizes(parts)]
    if made_elsewhere:
        found += [*_after(parts), *_shared(parts)]
    progress(stage, 1, steps)
    found += [_cold(parts, "user"), _cold(parts, "item"), *_asked(parts)]
    progress(stage, 2, steps)
    for labels in parts.labels:
        found += _labels(parts, labels)
    progress(stage, 3, steps)
    found += [*_active(parts), *_known_late(parts, made_elsewhere)]
    progress(stage, 4, steps)
    prints = fingerprint(parts)
    progress(stage, steps, steps)
    return found, prints


def _sizes(parts: Parts) -> Finding:
    sizes = [rows_in(parts.engine, f"SELECT 1 AS one FROM {p}") for p in parts.three]
    called = list(zip(parts.called, sizes, strict=True))
    said = ", ".join(f"{count(n, 'event')} in the {c}" for c, n in called) + "."
    bounds = {}
    if parts.bounds:
        first, second, end = bounds["bounds"] = [show(t) for t in parts.bounds]
        said += (
            f" The {parts.called[1]} starts at {first}, the {parts.called[2]} at {second} and ends"
            f" before {end}."
        )
    if empty := [c for c, n in called if not n]:
        said += f" Nothing is in the {' and the '.join(empty)}."
    numbers = dict(zip(PARTS, sizes, strict=True)) | bounds
    return Finding("sizes", warning_if(bool(empty)), said, numbers, "timeline")


# -- what crosses a cut --------------------------------------------------------------------------


def _after(parts: Parts) -> Iterator[Finding]:
    """Rows on the wrong side of a bound."""
    if parts.bounds is None:
        return
    train, valid, end = parts.bounds
    cutoff = show(train)
    n, last = parts.engine.one(
        f"SELECT COUNT(*), MAX(time) FROM {parts.past} WHERE time >= {train}"
    )
    if n:
        numbers = {"events": int(n), "cutoff": cutoff, "last": show(int(last))}
        said = (
            f"{count(int(n), 'event')} of the {parts.called[0]} happened at or after its cutoff"
            f" {cutoff}, the last at {numbers['last']}: whatever is made from it knows the"
            " answers."
        )
        yield Finding("input-after-cutoff", "leak", said, numbers, "timeline")
    for place, (relation, start, stop) in enumerate(
        ((parts.train, train, valid), (parts.valid, valid, end)), 1
    ):
        called, part = parts.called[place], PARTS[place]
        across_sql = f"time >= {train} AND (time < {start} OR time >= {stop})"
        row = parts.engine.one(
            f"SELECT SUM(CASE WHEN time < {train} THEN 1 ELSE 0 END),"
            f" SUM(CASE WHEN {across_sql} THEN 1 ELSE 0 END) FROM {relation}"
        )
        before, across = (int(v or 0) for v in row)
        if before:
            said = (
                f"{count(before, 'row')} of the {called} happened before the cutoff {cutoff}, in"
                f" the {parts.called[0]}'s time: answers that are no future."
            )
            numbers = {"rows": before, "part": part}
            yield Finding("target-before-cutoff", "leak", said, numbers, "timeline")
        if across:
            said = (
                f"{count(across, 'row')} of the {called} lie in the time of the"
                f" {parts.called[3 - place]}: the windows overlap, so what is learned from is"
                " scored."
            )
            numbers = {"rows": across, "part": part}
            yield Finding("windows-overlap", "leak", said, numbers, "timeline")


def _shared(parts: Parts) -> Iterator[Finding]:
    """Rows of one part that stand in another."""
    u = name("user")
    for one, other in ((0, 1), (0, 2), (1, 2)):
        a, b = parts.three[one], parts.three[other]
        n = rows_in(
            parts.engine,
            f"SELECT 1 AS one FROM (SELECT {u}, item, time FROM {b} WHERE item IS NOT NULL) AS b"
            f" JOIN (SELECT DISTINCT {u}, item, time FROM {a} WHERE {parts.buys}) AS a"
            f" ON a.{u} = b.{u} AND a.item = b.item AND a.time = b.time",
        )
        if n:
            said = (
                f"{count(n, 'row')} of the {parts.called[other]} (user, item and time) also stand"
                f" in the {parts.called[one]}: the answer is in what is learned from."
            )
            numbers = {"rows": n, "part": PARTS[other], "also_in": PARTS[one]}
            yield Finding("windows-overlap" if one else "target-in-history", "leak", said, numbers)


# -- who and what only one window knows ----------------------------------------------------------


def _cold(parts: Parts, column: str) -> Finding:
    c = name(column)
    each = " UNION ALL ".join(
        f"SELECT DISTINCT {c}, {bit} AS bit FROM {p} WHERE {c} IS NOT NULL"
        for bit, p in zip((1, 2, 4), parts.three, strict=True)
    )
    sums = f"SELECT {c}, SUM(bit) AS bits FROM ({each}) AS e GROUP BY {c}"
    table = parts.engine.arrays(f"SELECT bits, COUNT(*) AS n FROM ({sums}) AS s GROUP BY bits")
    n, bits = np.zeros(8, np.int64), np.arange(8)
    n[table["bits"].astype(np.int64)] = table["n"].astype(np.int64)
    numbers = {}
    for place, part in enumerate(PARTS):
        inside = (bits >> place & 1) == 1
        numbers[part] = int(n[inside].sum())
        if place:
            numbers[f"{part}_cold"] = int(n[inside & (bits & 1 == 0)].sum())
        numbers[f"{part}_only"] = int(n[1 << place])
    said = "; ".join(
        f"of {count(numbers[p], column)} in the {called} {numbers[p + '_cold']:,}"
        f" ({share(numbers[p + '_cold'], numbers[p])}) are not in the {parts.called[0]}"
        for p, called in zip(PARTS[1:], parts.called[1:], strict=True)
    )
    only = "{past_only:,}, {train_only:,} and {valid_only:,}".format(**numbers)
    said = f"{said[0].upper()}{said[1:]}; in one part only: {only}."
    return Finding(f"cold-{column}s", "note", said, numbers)


def _asked(parts: Parts) -> Iterator[Finding]:
    """Whether churn has both answers in the validation window."""
    if parts.population is None or parts.bounds is None:
        return
    u, everyone = name("user"), len(parts.population)
    with kept(parts.engine, pa.table({"user": parts.population})) as asked:
        for part, called in ((parts.train, parts.called[1]), (parts.valid, parts.called[2])):
            buyers = f"SELECT DISTINCT {u} FROM {part} WHERE {parts.buys}"
            both = f"SELECT b.{u} FROM ({buyers}) AS b JOIN {asked} AS a ON a.{u} = b.{u}"
            n = rows_in(parts.engine, both)
            if n in (0, everyone):
                who = f"{'Every one' if n else 'None'} of {count(everyone, 'asked user')}"
                said = (
                    f"{who} bought in the {called}: churn and conversion have one answer, and the"
                    " challenge counts their AUROC 0."
                )
                numbers = {"buyers": n, "asked": everyone, "part": called}
                yield Finding("degenerate-churn", "warning", said, numbers)


# -- labels and popularity -----------------------------------------------------------------------


def _bought(parts: Parts, relation: str, column: str, asked: str = "") -> str:
    """SQL: (value, n purchases, users, users asked) of a column among the purchases of a part.

    `asked` is a table of users; without it all are asked.
    """
    u, value, join = name("user"), "e.item", ""
    if column != "item":
        value, join = f"c.{name(column)}", f" JOIN ({parts.items}) AS c ON e.item = c.item"
    each = (
        f"SELECT {value} AS value, e.{u} AS who, COUNT(*) AS n"
        f" FROM (SELECT {u}, item FROM {relation} WHERE {parts.buys}) AS e{join}"
        f" WHERE {value} IS NOT NULL GROUP BY {value}, e.{u}"
    )
    counts = "SELECT value, SUM(n) AS n, COUNT(*) AS users"
    if not asked:
        return f"{counts}, COUNT(*) AS asked FROM ({each}) AS w GROUP BY value"
    return (
        f"{counts}, COUNT(a.{u}) AS asked FROM ({each}) AS w"
        f" LEFT JOIN {asked} AS a ON w.who = a.{u} GROUP BY value"
    )


def _most(
    parts: Parts, relation: str, column: str, top: int
) -> tuple[Int64[np.ndarray, "T"], Int64[np.ndarray, "T"]]:
    """The `top` values most bought (equal counts: the smaller first), and how often."""
    bought = _bought(parts, relation, column)
    rows = parts.engine.arrays(
        f"SELECT value, n FROM ({bought}) AS b ORDER BY n DESC, value LIMIT {top}"
    )
    return rows["value"].astype(np.int64), rows["n"].astype(np.int64)


def _labels(parts: Parts, labels: LabelList) -> Iterator[Finding]:
    values, engine = labels.values, parts.engine
    if not len(values):
        said = f"{labels.task}: the list of labels is empty, there is nothing to ask."
        yield Finding("no-labels", "warning", said, {"task": labels.task})
        return
    n, users, asked = (np.zeros((3, len(values)), np.int64) for _ in range(3))
    with ExitStack() as stack:
        wanted = stack.enter_context(kept(engine, pa.table({"value": values})))
        people = ""
        if parts.population is not None:
            people = stack.enter_context(kept(engine, pa.table({"user": parts.population})))
        for row, relation in enumerate(parts.three):
            counts = _bought(parts, relation, labels.column, people)
            got = engine.arrays(
                f"SELECT b.* FROM ({counts}) AS b JOIN {wanted} AS w ON b.value = w.value"
            )
            label = positions_in_any_order(values, got["value"])
            for table, column in ((n, "n"), (users, "users"), (asked, "asked")):
                table[row, label] = got[column].astype(np.int64)
    yield from _chosen(parts, labels, n)
    yield from _degenerate(parts, labels, asked)
    if labels.popularity is not None:
        yield _popularity(labels, n, users)


def _chosen(parts: Parts, labels: LabelList, n: Int64[np.ndarray, "3 T"]) -> Iterator[Finding]:
    """Labels that only the validation window can have named."""
    live, size = n > 0, len(labels.values)
    future, unseen = live[2] & ~live[1] & ~live[0], live[2] & ~live[1]
    overlap = {}
    for row, (part, relation) in enumerate(zip(PARTS, parts.three, strict=True)):
        most, counts = _most(parts, relation, labels.column, size)
        # Every label bought as often as the last of the best could have been chosen.
        least = int(counts[-1]) if len(most) == size else 1
        overlap[part] = float((n[row] >= max(least, 1)).mean())
    numbers = {
        "task": labels.task,
        "labels": size,
        "only_in_validation": int(future.sum()),
        "not_in_train": int(unseen.sum()),
        "among_most_bought": overlap,
    }
    past, train, valid = parts.called
    others = max(overlap["train"], overlap["past"])
    if future.any() or (overlap["valid"] >= CHOSEN and overlap["valid"] > others):
        some = first_few(labels.values[future].tolist()) if future.any() else ""
        said = (
            f"{labels.task}: {future.sum():,} of {count(size, 'label')} were bought in the {valid}"
            f" and never before{f' ({some})' if some else ''}; {share(overlap['valid'], 1)} of the"
            f" list are among the most bought there, {share(overlap['train'], 1)} in the {train},"
            f" {share(overlap['past'], 1)} in the {past}: the list was chosen on the future."
        )
        yield Finding("labels-from-future", "leak", said, numbers)
    elif unseen.any():
        said = (
            f"{labels.task}: {unseen.sum():,} of {count(size, 'label')} are bought in the {valid}"
            f" and not in the {train}: a probe cannot learn them."
        )
        yield Finding("labels-not-in-train", "warning", said, numbers)


def _degenerate(
    parts: Parts, labels: LabelList, asked: Int64[np.ndarray, "3 T"]
) -> Iterator[Finding]:
    everyone = len(parts.population) if parts.population is not None else -1
    none, all_ = (asked == 0).sum(axis=1), (asked == everyone).sum(axis=1)
    size, dead = len(labels.values), int(none[2] + all_[2])
    if not dead:
        return
    charge = dead / size
    said = (
        f"{labels.task}: {dead:,} of {count(size, 'label')} are degenerate in the"
        f" {parts.called[2]} ({none[2]:,} without a buyer, {all_[2]:,} bought by all). The"
        f" challenge counts each 0: the AUROC can reach {1 - charge:.3f} at most,"
        f" {WEIGHT * charge:.3f} of the score is lost whatever the profile; give the score over"
        " live labels beside."
    )
    numbers = {
        "task": labels.task,
        "labels": size,
        "none_positive": int(none[2]),
        "all_positive": int(all_[2]),
        "auroc_at_most": 1 - charge,
        "score_charged": WEIGHT * charge,
        "none_positive_in_train": int(none[1]),
    }
    yield Finding("degenerate-labels", warning_if(charge >= 0.1), said, numbers)


# The sums of parts that a popularity may be of; those that leave out the future come first.
SUMS = {
    "past": (0,),
    "train": (1,),
    "past + train": (0, 1),
    "valid": (2,),
    "train + valid": (1, 2),
    "past + train + valid": (0, 1, 2),
    "past + valid": (0, 2),
}


def _popularity(
    labels: LabelList, n: Int64[np.ndarray, "3 T"], users: Int64[np.ndarray, "3 T"]
) -> Finding:
    """Which counts a popularity file was made from, by the distance of the shares."""
    assert labels.popularity is not None
    given = labels.popularity / max(labels.popularity.sum(), 1e-300)
    distances = {}
    for parts, rows in SUMS.items():
        for what, counts in (("", n), (" (users)", users)):
            total = counts[list(rows)].sum(axis=0)
            gap = float(np.abs(total / max(total.sum(), 1) - given).sum()) if total.any() else 2.0
            distances[parts + what] = gap
    near = min((k for k in distances if "valid" not in k), key=lambda k: distances[k])
    far = min((k for k in distances if "valid" in k), key=lambda k: distances[k])
    honest, future = distances[near], distances[far]
    severity: Severity = "note"
    matches, called = None, "popularity"
    if honest <= EQUAL:
        matches = near
        said = f"the popularity equals the counts on {near}."
    elif future <= EQUAL or future < honest / 4:
        severity, matches, called = "leak", far, "popularity-from-future"
        said = (
            f"the popularity equals the counts on {far} (shares differ by {future:.4f} in sum;"
            f" {honest:.4f} from {near}): it was computed on the future."
        )
    else:
        closest = min(distances, key=lambda k: distances[k])
        said = (
            f"the popularity equals no counts of this split; the nearest are those on {closest}"
            f" (shares differ by {distances[closest]:.3f} in sum)."
        )
    numbers = {"task": labels.task, "distances": distances, "matches": matches}
    return Finding(called, severity, f"{labels.task}: {said}", numbers, "popularity")


# -- lists of users, attributes ------------------------------------------------------------------


def _active(parts: Parts) -> Iterator[Finding]:
    if parts.active is None:
        return
    u, active = name("user"), np.unique(parts.active)
    windows = f"(SELECT * FROM {parts.train} UNION ALL SELECT * FROM {parts.valid}) AS w"
    before, after = (
        f"SELECT DISTINCT {u} FROM {p} WHERE {parts.buys}" for p in (parts.past, windows)
    )
    late = f"SUM(CASE WHEN b.{u} IS NULL AND f.{u} IS {{}} THEN 1 ELSE 0 END)"
    with kept(parts.engine, pa.table({"user": active})) as asked:
        row = parts.engine.one(
            f"SELECT {late.format('NOT NULL')}, {late.format('NULL')} FROM {asked} AS a"
            f" LEFT JOIN ({before}) AS b ON a.{u} = b.{u}"
            f" LEFT JOIN ({after}) AS f ON a.{u} = f.{u}"
        )
    future, never = (int(v or 0) for v in row)
    clients = count(len(active), "active client")
    if future:
        said = (
            f"{future:,} of {clients} bought nothing before the cutoff and something after: who is"
            " asked about churn was chosen on the future."
        )
        numbers = {"users": future, "of": len(active)}
        yield Finding("active-from-future", "leak", said, numbers)
    if never:
        said = f"{never:,} of {clients} never bought: churn means nothing for them."
        numbers = {"users": never, "of": len(active)}
        yield Finding("active-never-bought", "warning", said, numbers)


def _known_late(parts: Parts, made_elsewhere: bool) -> Iterator[Finding]:
    """Items with a history whose attributes the catalogue knows only from the cutoff on.

    Files that list those attributes leak them.
    """
    if not parts.known or parts.bounds is None:
        return
    late = (
        f"SELECT item FROM {parts.known} GROUP BY item"
        f" HAVING COUNT(*) = COUNT(known_from) AND MIN(known_from) >= {parts.bounds[0]}"
    )
    if made_elsewhere:
        listed = f"SELECT DISTINCT item FROM ({parts.items}) AS i"
        late = f"SELECT l.item FROM ({late}) AS l JOIN ({listed}) AS i ON l.item = i.item"
    row = parts.engine.one(
        f"SELECT COUNT(DISTINCT e.item), COUNT(*) FROM {parts.past} AS e"
        f" JOIN ({late}) AS l ON e.item = l.item"
    )
    items, events = (int(v) for v in row)
    if items:
        so = "A cut catalogue is without them."
        if made_elsewhere:
            so = "The files list them: features made of them know the future."
        said = (
            f"{count(items, 'item')} with {count(events, 'event')} in the {parts.called[0]} have"
            f" attributes that are known only from the cutoff on (known_from). {so}"
        )
        numbers = {"items": items, "events": events}
        yield Finding("known-late", "leak" if made_elsewhere else "note", said, numbers)


# -- leave-one-out -------------------------------------------------------------------------------


def of_last(log: EventLog) -> Parts:
    """Leave-one-out: each user's last event about an item is the test, the one before validation.

    Events are in the canonical order.
    """
    rest = [name(c) for c in log.manifest.tie_order[4:]]
    columns = ", ".join([*map(name, REQUIRED), *rest])
    order = ", ".join(f"{c} DESC NULLS LAST" for c in ("time", "kind", "item", *rest))
    of_user = f"PARTITION BY {name('user')}"
    turns = (
        f"SELECT {columns}, ROW_NUMBER() OVER ({of_user} ORDER BY {order}) AS turn,"
        f" COUNT(*) OVER ({of_user}) AS length FROM {log.events} WHERE item IS NOT NULL"
    )
    turns = log.engine.keep(f"SELECT * FROM ({turns}) AS t WHERE length >= 3")
    past, valid, test = (
        log.engine.view(f"SELECT {columns} FROM {turns} WHERE turn {cut}")
        for cut in ("> 2", "= 2", "= 1")
    )
    return Parts(
        name="leave-one-out",
        engine=log.engine,
        past=past,
        train=valid,
        valid=test,
        columns=log.manifest.columns,
        called=("history", "validation items", "test items"),
    )


def audit_last(parts: Parts, *, clock: bool) -> list[Finding]:
    """What is particular to leave-one-out.

    Repeated targets, targets that a tie chose, histories later than other users' targets.
    """
    return list(_last(parts, clock))


def _last(parts: Parts, clock: bool) -> Iterator[Finding]:
    u, engine = name("user"), parts.engine
    users = rows_in(engine, f"SELECT 1 AS one FROM {parts.valid}")
    for place, (relation, histories) in enumerate(
        ((parts.train, (parts.past,)), (parts.valid, (parts.past, parts.train))), 1
    ):
        before = " UNION ".join(f"SELECT {u}, item FROM {h}" for h in histories)
        n = rows_in(
            engine,
            f"SELECT t.item FROM {relation} AS t"
            f" JOIN (SELECT DISTINCT {u}, item FROM ({before}) AS b) AS d"
            f" ON t.{u} = d.{u} AND t.item = d.item",
        )
        if n:
            said = (
                f"{n:,} of {users:,} {parts.called[place]} ({share(n, users)}) stand in their"
                " user's history: a method that repeats is right there, one that leaves out what"
                " was seen cannot be."
            )
            numbers = {"users": n, "of": users, "part": PARTS[place]}
            yield Finding("repeated-target", "note", said, numbers)
    if not clock or not users:
        return
    on = f"t.{u} = v.{u} AND t.time = v.time"
    tied = rows_in(
        engine, f"SELECT t.item FROM {parts.valid} AS t JOIN {parts.train} AS v ON {on}"
    )
    if tied:
        said = (
            f"For {tied:,} of {count(users, 'user')} ({share(tied, users)}) the last event and the"
            " one before stand at one time: the tie rule, not the user, chose the test item."
            " Another reader of this log has other targets."
        )
        severity, numbers = warning_if(tied > TIED_TARGETS * users), {"users": tied, "of": users}
        yield Finding("tied-target", severity, said, numbers, "gaps")
    row = engine.one(
        "SELECT SUM(CASE WHEN p.time >= f.first THEN 1 ELSE 0 END), COUNT(*), MAX(f.first)"
        f" FROM {parts.past} AS p"
        f" CROSS JOIN (SELECT MIN(time) AS first FROM {parts.valid}) AS f"
    )
    late, total, first = (int(v or 0) for v in row)
    if late:
        said = (
            f"{share(late, total)} of the histories ({late:,} of {total:,} events) happened after"
            f" the first test item ({show(first)}): leave-one-out is no split by time, and"
            " popularity or neighbours learned from them know the future of other users."
        )
        numbers = {
            "events": late,
            "of": total,
            "share": late / total,
            "first_target": show(first),
        }
        severity = warning_if(late > LATE_HISTORY * total)
        yield Finding("histories-after-targets", severity, said, numbers, "timeline")


# -- fingerprint ---------------------------------------------------------------------------------


def fingerprint(parts: Parts) -> dict[str, str]:
    """A digest of each part, and `split`: one text over all, the bounds and the population.

    Equal splits have equal ones. A part's is the sum of a hash of each row, so no order and no
    file counts. Prices and quantities count to a millionth.
    """
    prints = {part: _digest(parts, r) for part, r in zip(PARTS, parts.three, strict=True)}
    prints["population"] = "everyone"
    if parts.population is not None:
        users = np.unique(parts.population).astype("<i8")
        prints["population"] = sha256(users.tobytes()).hexdigest()[:32]
    everything = json.dumps([parts.bounds, prints], sort_keys=True)
    prints["split"] = sha256(everything.encode()).hexdigest()[:32]
    return prints


# Two primes below 2**31, so that no product leaves int64: engines disagree about texts and hashes,
# not about whole numbers.
PRIMES = (2_147_483_647, 2_147_483_629)


def _digest(parts: Parts, relation: str) -> str:
    """The sum of the rows' hashes modulo each prime p.

    A row is a sum of its columns times constants, mixed by three squarings and products mod p.
    """
    columns = [*REQUIRED, *(c for c in COLUMNS if c in parts.columns)]
    sums = []
    for p in PRIMES:
        terms = []
        for column in columns:
            value = name(column)
            if column in ("price", "quantity"):
                value = f"FLOOR({value} * 1000000 + 0.5)"
            times, null = (
                int.from_bytes(sha256(f"{salt} {column} {p}".encode()).digest()[:4], "big") % p
                for salt in ("times", "null")
            )
            hashed = f"MOD(MOD(CAST({value} AS BIGINT), {p}) * {times}, {p})"
            terms.append(f"COALESCE({hashed}, {null})")
        mixed = f"SELECT MOD(MOD({' + '.join(terms)}, {p}) + {p}, {p}) AS s FROM {relation}"
        mixed = f"SELECT s, MOD(s * s + 1, {p}) AS x FROM ({mixed}) AS a"
        mixed = f"SELECT MOD(s * x + 7, {p}) AS y FROM ({mixed}) AS b"
        sums.append(parts.engine.one(f"SELECT COUNT(*), SUM(MOD(y * y, {p})) FROM ({mixed}) AS c"))
    return sha256(str([(int(n), int(total or 0)) for n, total in sums]).encode()).hexdigest()[:32]
