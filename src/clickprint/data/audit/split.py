"""The audit of a split: what crosses its cuts, what only one window knows, labels and popularity
chosen on the future; its fingerprint.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from clickprint.core.events import COLUMNS, REQUIRED, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Time, show
from clickprint.data.audit.finding import LISTED, Finding, count, share
from clickprint.data.engine import Engine, name
from clickprint.data.log import EventLog
from clickprint.data.split import Split

PARTS = ("past", "train", "valid")
TOP = 100  # labels a task, where no file lists them: the values most bought in the train window, as the tasks choose them
CHOSEN = 0.95  # of a label list among the most bought of one window, and more than of any other: that window chose it
EQUAL = 0.005  # two popularities are equal when their shares differ by no more than this in sum
WEIGHT = 0.8  # of the AUROC in a propensity's score
TIED_TARGETS = 0.01  # of the users' last events have the time of the event before
LATE_HISTORY = 0.1  # of the histories lie after the first target


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelList:
    """What a propensity task asks about: values of `column` (item, or an attribute) and, where a
    file gives it, their popularity.
    """

    task: str
    column: str
    values: Int64[np.ndarray, "T"]
    popularity: Float64[np.ndarray, "T"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A split as three relations with the columns of events: what models may see, the window they
    learn from, the window that counts.

    `bounds` are the starts of the two windows and the end of the second, where the split is by
    time. `buys` is the SQL condition of a purchase. `items` is SQL with one row an item and its
    attributes; `known` has (item, known_from), where the source dates its catalogue. `called` are
    the names of the parts in words.
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
    codes = log.manifest.codes(Role.BUY)
    cuts = [
        f"time < {split.train.start}",
        *(f"time >= {w.start} AND time < {w.end}" for w in (split.train, split.valid)),
    ]
    past, train, valid = (
        log.engine.view(f"SELECT * FROM {log.events} WHERE {cut}") for cut in cuts
    )
    parts = Parts(
        name=name_,
        engine=log.engine,
        past=past,
        train=train,
        valid=valid,
        columns=log.manifest.columns,
        buys=f"kind IN ({', '.join(map(str, codes))})" if codes else "1 = 0",
        bounds=(split.train.start, split.valid.start, split.valid.end),
        items=log.known(split.valid.end),
        known=log.items,
        population=split.past.users,
    )
    kinds = (AttributeType.CATEGORY, AttributeType.PRICE_BUCKET)
    columns = ["item", *(a for a, k in log.manifest.attributes.items() if k in kinds)]
    lists = [
        LabelList(task=f"propensity_{c}", column=c, values=_most(parts, parts.train, c, TOP)[0])
        for c in columns
    ]
    return replace(parts, labels=tuple(found for found in lists if len(found.values)))


def audit_parts(
    parts: Parts, *, made_elsewhere: bool, progress: Progress = silent
) -> tuple[list[Finding], dict[str, str]]:
    """Every finding of a split, and its fingerprint by part.

    What only files can have wrong is asked only of `made_elsewhere`.
    """
    steps = 5
    stage = f"audit split {parts.name}"
    progress(stage, 0, steps)
    sizes = [int(parts.engine.one(f"SELECT COUNT(*) FROM {p}")[0]) for p in parts.three]
    found = [_sizes(parts, sizes)]
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


def _sizes(parts: Parts, sizes: Sequence[int]) -> Finding:
    where = ""
    if parts.bounds:
        first, second, end = (show(t) for t in parts.bounds)
        where = (
            f" The {parts.called[1]} starts at {first}, the {parts.called[2]} at {second} and ends"
            f" before {end}."
        )
    empty = [called for called, n in zip(parts.called, sizes, strict=True) if not n]
    said = (
        ", ".join(
            f"{count(n, 'event')} in the {called}"
            for called, n in zip(parts.called, sizes, strict=True)
        )
        + "."
        + where
    )
    if empty:
        said += f" Nothing is in the {' and the '.join(empty)}."
    bounds = {"bounds": [show(t) for t in parts.bounds]} if parts.bounds else {}
    return Finding(
        "sizes",
        "warning" if empty else "note",
        said,
        dict(zip(PARTS, sizes, strict=True)) | bounds,
        "timeline",
    )


# -- what crosses a cut ---------------------------------------------------------------------------


def _after(parts: Parts) -> list[Finding]:
    """Rows on the wrong side of a bound."""
    if parts.bounds is None:
        return []
    train, valid, end = parts.bounds
    found = []
    late = parts.engine.arrays(
        f"SELECT kind, COUNT(*) AS n, MAX(time) AS last FROM {parts.past} WHERE time >= {train}"
        " GROUP BY kind"
    )
    if n := int(late["n"].sum()):
        last = show(int(late["last"].max()))
        said = (
            f"{count(n, 'event')} of the {parts.called[0]} happened at or after its cutoff"
            f" {show(train)}, the last at {last}: whatever is made from it knows the answers."
        )
        found.append(
            Finding(
                "input-after-cutoff",
                "leak",
                said,
                {"events": n, "cutoff": show(train), "last": last},
                "timeline",
            )
        )
    for place, (relation, start, stop) in enumerate(
        ((parts.train, train, valid), (parts.valid, valid, end))
    ):
        called = parts.called[place + 1]
        sides = (
            f"SUM(CASE WHEN time < {train} THEN 1 ELSE 0 END), SUM(CASE WHEN time >= {train} AND"
            f" (time < {start} OR time >= {stop}) THEN 1 ELSE 0 END)"
        )
        before, across = (int(v or 0) for v in parts.engine.one(f"SELECT {sides} FROM {relation}"))
        if before:
            said = (
                f"{count(before, 'row')} of the {called} happened before the cutoff {show(train)},"
                f" in the {parts.called[0]}'s time: answers that are no future."
            )
            found.append(
                Finding(
                    "target-before-cutoff",
                    "leak",
                    said,
                    {"rows": before, "part": PARTS[place + 1]},
                    "timeline",
                )
            )
        if across:
            other = parts.called[2 - place]
            said = (
                f"{count(across, 'row')} of the {called} lie in the time of the {other}: the"
                " windows overlap, so what is learned from is scored."
            )
            found.append(
                Finding(
                    "windows-overlap",
                    "leak",
                    said,
                    {"rows": across, "part": PARTS[place + 1]},
                    "timeline",
                )
            )
    return found


def _shared(parts: Parts) -> list[Finding]:
    """Rows of one part that stand in another."""
    u, found = name("user"), []
    for one, other in ((0, 1), (0, 2), (1, 2)):
        a, b = parts.three[one], parts.three[other]
        keys = f"SELECT DISTINCT {u}, item, time FROM"
        sql = (
            f"SELECT COUNT(*) FROM (SELECT {u}, item, time FROM {b} WHERE item IS NOT NULL) AS b"
            f" JOIN ({keys} {a} WHERE {parts.buys}) AS a"
        )
        n = int(
            parts.engine.one(f"{sql} ON a.{u} = b.{u} AND a.item = b.item AND a.time = b.time")[0]
        )
        if n:
            said = (
                f"{count(n, 'row')} of the {parts.called[other]} (user, item and time) also stand"
                f" in the {parts.called[one]}: the answer is in what is learned from."
            )
            numbers = {"rows": n, "part": PARTS[other], "also_in": PARTS[one]}
            found.append(
                Finding(
                    "target-in-history" if one == 0 else "windows-overlap", "leak", said, numbers
                )
            )
    return found


# -- who and what only one window knows -----------------------------------------------------------


def _cold(parts: Parts, column: str) -> Finding:
    c = name(column)
    each = " UNION ALL ".join(
        f"SELECT DISTINCT {c}, {bit} AS bit FROM {p} WHERE {c} IS NOT NULL"
        for bit, p in zip((1, 2, 4), parts.three, strict=True)
    )
    table = parts.engine.arrays(
        f"SELECT bits, COUNT(*) AS n FROM (SELECT {c}, SUM(bit) AS bits FROM ({each}) AS e GROUP"
        f" BY {c}) AS s GROUP BY bits"
    )
    n = np.zeros(8, np.int64)
    n[table["bits"].astype(np.int64)] = table["n"].astype(np.int64)
    bits = np.arange(8)
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
    only = (
        f"in one part only: {numbers['past_only']:,}, {numbers['train_only']:,} and"
        f" {numbers['valid_only']:,}"
    )
    return Finding(f"cold-{column}s", "note", f"{said[0].upper()}{said[1:]}; {only}.", numbers)


def _asked(parts: Parts) -> list[Finding]:
    """Whether churn has both answers in the validation window."""
    if parts.population is None or parts.bounds is None:
        return []
    asked, u = parts.engine.keep(pa.table({"user": parts.population})), name("user")
    found = []
    for part, called in ((parts.train, parts.called[1]), (parts.valid, parts.called[2])):
        buyers = f"SELECT DISTINCT {u} FROM {part} WHERE {parts.buys}"
        n = int(
            parts.engine.one(
                f"SELECT COUNT(*) FROM ({buyers}) AS b JOIN {asked} AS a ON a.{u} = b.{u}"
            )[0]
        )
        if n in (0, len(parts.population)):
            said = (
                f"{'None' if not n else 'Every one'} of"
                f" {count(len(parts.population), 'asked user')} bought in the {called}: churn and"
                " conversion have one answer, and the challenge counts their AUROC 0."
            )
            found.append(
                Finding(
                    "degenerate-churn",
                    "warning",
                    said,
                    {"buyers": n, "asked": len(parts.population), "part": called},
                )
            )
    parts.engine.drop(asked)
    return found


# -- labels and popularity ------------------------------------------------------------------------


def _bought(parts: Parts, relation: str, column: str, asked: str = "") -> str:
    """SQL: (value, n purchases, users, users who are asked) of a column among the purchases of a
    part; `asked` is a table of users.
    """
    u = name("user")
    value = "e.item" if column == "item" else f"c.{name(column)}"
    join = "" if column == "item" else f" JOIN ({parts.items}) AS c ON e.item = c.item"
    bought = f"(SELECT {u}, item FROM {relation} WHERE {parts.buys})"
    each = (
        f"SELECT {value} AS value, e.{u} AS who, COUNT(*) AS n FROM {bought} AS e{join} WHERE"
        f" {value} IS NOT NULL GROUP BY {value}, e.{u}"
    )
    if not asked:
        return (
            f"SELECT value, SUM(n) AS n, COUNT(*) AS users, COUNT(*) AS asked FROM ({each}) AS w"
            " GROUP BY value"
        )
    return (
        f"SELECT value, SUM(n) AS n, COUNT(*) AS users, COUNT(a.{u}) AS asked "
        f"FROM ({each}) AS w LEFT JOIN {asked} AS a ON w.who = a.{u} GROUP BY value"
    )


def _most(
    parts: Parts, relation: str, column: str, top: int
) -> tuple[Int64[np.ndarray, "T"], Int64[np.ndarray, "T"]]:
    """The `top` values most bought (equal counts: the smaller first), and how often."""
    found = parts.engine.arrays(
        f"SELECT value, n FROM ({_bought(parts, relation, column)}) AS b ORDER BY n DESC, value"
        f" LIMIT {top}"
    )
    return found["value"].astype(np.int64), found["n"].astype(np.int64)


def _labels(parts: Parts, labels: LabelList) -> list[Finding]:
    values = labels.values
    if not len(values):
        return [
            Finding(
                "no-labels",
                "warning",
                f"{labels.task}: the list of labels is empty, there is nothing to ask.",
                {"task": labels.task},
            )
        ]
    wanted = parts.engine.keep(pa.table({"value": values}))
    people = (
        "" if parts.population is None else parts.engine.keep(pa.table({"user": parts.population}))
    )
    n, users, asked = (np.zeros((3, len(values)), np.int64) for _ in range(3))
    place = np.argsort(values, kind="stable")
    for row, relation in enumerate(parts.three):
        counts = _bought(parts, relation, labels.column, people)
        got = parts.engine.arrays(
            f"SELECT b.* FROM ({counts}) AS b JOIN {wanted} AS w ON b.value = w.value"
        )
        where = place[np.searchsorted(values[place], got["value"])]
        for table, column in ((n, "n"), (users, "users"), (asked, "asked")):
            table[row, where] = got[column].astype(np.int64)
    for kept in (wanted, people):
        if kept:
            parts.engine.drop(kept)
    found = [*_chosen(parts, labels, n), *_degenerate(parts, labels, asked)]
    return found if labels.popularity is None else [*found, _popularity(labels, n, users)]


def _chosen(parts: Parts, labels: LabelList, n: Int64[np.ndarray, "3 T"]) -> list[Finding]:
    """Labels that only the validation window can have named."""
    live = n > 0
    future = live[2] & ~live[1] & ~live[0]
    unseen = live[2] & ~live[1]
    overlap = {}
    for part, relation in zip(PARTS, parts.three, strict=True):
        most, counts = _most(parts, relation, labels.column, len(labels.values))
        # Every label bought as often as the last of the best could have been chosen.
        least = int(counts[-1]) if len(most) == len(labels.values) else 1
        overlap[part] = float((n[PARTS.index(part)] >= max(least, 1)).mean())
    numbers = {
        "task": labels.task,
        "labels": len(labels.values),
        "only_in_validation": int(future.sum()),
        "not_in_train": int(unseen.sum()),
    }
    numbers |= {"among_most_bought": overlap}
    if future.any() or (
        overlap["valid"] >= CHOSEN and overlap["valid"] > max(overlap["train"], overlap["past"])
    ):
        some = ", ".join(map(str, labels.values[future][:LISTED].tolist()))
        said = (
            f"{labels.task}: {future.sum():,} of {count(len(labels.values), 'label')} were bought"
            f" in the {parts.called[2]} and never before{f' ({some})' if some else ''};"
            f" {share(overlap['valid'], 1)} of the list are among the most bought there,"
            f" {share(overlap['train'], 1)} in the {parts.called[1]}, {share(overlap['past'], 1)}"
            f" in the {parts.called[0]}: the list was chosen on the future."
        )
        return [Finding("labels-from-future", "leak", said, numbers)]
    if unseen.any():
        said = (
            f"{labels.task}: {unseen.sum():,} of {count(len(labels.values), 'label')} are bought"
            f" in the {parts.called[2]} and not in the {parts.called[1]}: a probe cannot learn"
            " them."
        )
        return [Finding("labels-not-in-train", "warning", said, numbers)]
    return []


def _degenerate(parts: Parts, labels: LabelList, asked: Int64[np.ndarray, "3 T"]) -> list[Finding]:
    everyone = len(parts.population) if parts.population is not None else -1
    none, all_ = (asked == 0).sum(axis=1), (asked == everyone).sum(axis=1)
    dead = int(none[2] + all_[2])
    if not dead:
        return []
    charge = dead / len(labels.values)
    said = (
        f"{labels.task}: {dead:,} of {count(len(labels.values), 'label')} are degenerate in the"
        f" {parts.called[2]} ({none[2]:,} without a buyer, {all_[2]:,} bought by all). The"
        f" challenge counts each 0: the AUROC can reach {1 - charge:.3f} at most,"
        f" {WEIGHT * charge:.3f} of the score is lost whatever the profile; give the score over"
        " live labels beside."
    )
    numbers = {
        "task": labels.task,
        "labels": len(labels.values),
        "none_positive": int(none[2]),
        "all_positive": int(all_[2]),
        "auroc_at_most": 1 - charge,
        "score_charged": WEIGHT * charge,
        "none_positive_in_train": int(none[1]),
    }
    return [Finding("degenerate-labels", "warning" if charge >= 0.1 else "note", said, numbers)]


def _popularity(
    labels: LabelList, n: Int64[np.ndarray, "3 T"], users: Int64[np.ndarray, "3 T"]
) -> Finding:
    """Which counts a popularity file was made from, by the distance of the shares; sums of parts
    that leave out the future come first.
    """
    assert labels.popularity is not None
    given = labels.popularity / max(labels.popularity.sum(), 1e-300)
    sums = {
        "past": (0,),
        "train": (1,),
        "past + train": (0, 1),
        "valid": (2,),
        "train + valid": (1, 2),
        "past + train + valid": (0, 1, 2),
        "past + valid": (0, 2),
    }
    distances = {}
    for said, rows in sums.items():
        for what, counts in (("", n), (" (users)", users)):
            total = counts[list(rows)].sum(axis=0)
            distances[said + what] = (
                float(np.abs(total / max(total.sum(), 1) - given).sum()) if total.any() else 2.0
            )
    honest = {k: d for k, d in distances.items() if "valid" not in k}
    future = {k: d for k, d in distances.items() if "valid" in k}
    near, far = min(honest, key=lambda k: honest[k]), min(future, key=lambda k: future[k])
    numbers = {"task": labels.task, "distances": distances}
    if honest[near] <= EQUAL:
        return Finding(
            "popularity",
            "note",
            f"{labels.task}: the popularity equals the counts on {near}.",
            numbers | {"matches": near},
            "popularity",
        )
    if future[far] <= EQUAL or future[far] < honest[near] / 4:
        said = (
            f"{labels.task}: the popularity equals the counts on {far} (shares differ by"
            f" {future[far]:.4f} in sum; {honest[near]:.4f} from {near}): it was computed on the"
            " future."
        )
        return Finding(
            "popularity-from-future", "leak", said, numbers | {"matches": far}, "popularity"
        )
    closest = min(distances, key=lambda k: distances[k])
    said = (
        f"{labels.task}: the popularity equals no counts of this split; the nearest are those on"
        f" {closest} (shares differ by {distances[closest]:.3f} in sum)."
    )
    return Finding("popularity", "note", said, numbers | {"matches": None}, "popularity")


# -- lists of users, attributes -------------------------------------------------------------------


def _active(parts: Parts) -> list[Finding]:
    if parts.active is None:
        return []
    u = name("user")
    asked = parts.engine.keep(pa.table({"user": np.unique(parts.active)}))
    before, after = (
        f"SELECT DISTINCT {u} FROM {p} WHERE {parts.buys}"
        for p in (
            parts.past,
            f"(SELECT * FROM {parts.train} UNION ALL SELECT * FROM {parts.valid}) AS w",
        )
    )
    sql = (
        f"SELECT SUM(CASE WHEN b.{u} IS NULL AND f.{u} IS NOT NULL THEN 1 ELSE 0 END), SUM(CASE"
        f" WHEN b.{u} IS NULL AND f.{u} IS NULL THEN 1 ELSE 0 END) FROM {asked} AS a LEFT JOIN"
        f" ({before}) AS b ON a.{u} = b.{u} LEFT JOIN ({after}) AS f ON a.{u} = f.{u}"
    )
    future, never = (int(v or 0) for v in parts.engine.one(sql))
    parts.engine.drop(asked)
    found = []
    total = len(np.unique(parts.active))
    if future:
        said = (
            f"{future:,} of {count(total, 'active client')} bought nothing before the cutoff and"
            " something after: who is asked about churn was chosen on the future."
        )
        found.append(Finding("active-from-future", "leak", said, {"users": future, "of": total}))
    if never:
        said = (
            f"{never:,} of {count(total, 'active client')} never bought: churn means nothing for"
            " them."
        )
        found.append(
            Finding("active-never-bought", "warning", said, {"users": never, "of": total})
        )
    return found


def _known_late(parts: Parts, made_elsewhere: bool) -> list[Finding]:
    """Items with a history whose attributes the catalogue knows only from the cutoff on; files
    that list those attributes leak them.
    """
    if not parts.known or parts.bounds is None:
        return []
    late = (
        f"SELECT item FROM {parts.known} GROUP BY item HAVING COUNT(*) = COUNT(known_from) AND"
        f" MIN(known_from) >= {parts.bounds[0]}"
    )
    if made_elsewhere:
        late = (
            f"SELECT l.item FROM ({late}) AS l JOIN (SELECT DISTINCT item FROM ({parts.items}) AS"
            " i) AS i ON l.item = i.item"
        )
    sql = (
        f"SELECT COUNT(DISTINCT e.item), COUNT(*) FROM {parts.past} AS e JOIN ({late}) AS l ON"
        " e.item = l.item"
    )
    items, events = (int(v) for v in parts.engine.one(sql))
    if not items:
        return []
    so = (
        "The files list them: features made of them know the future."
        if made_elsewhere
        else "A cut catalogue is without them."
    )
    said = (
        f"{count(items, 'item')} with {count(events, 'event')} in the {parts.called[0]} have"
        f" attributes that are known only from the cutoff on (known_from). {so}"
    )
    return [
        Finding(
            "known-late",
            "leak" if made_elsewhere else "note",
            said,
            {"items": items, "events": events},
        )
    ]


# -- leave-one-out --------------------------------------------------------------------------------


def of_last(log: EventLog) -> Parts:
    """Leave-one-out: of each user's events about items, in the canonical order, the last is the
    test and the one before the validation.
    """
    rest = [name(c) for c in COLUMNS if c in log.manifest.columns]
    columns = ", ".join([*(name(c) for c in REQUIRED), *rest])
    order = ", ".join(f"{c} DESC NULLS LAST" for c in ("time", "kind", "item", *rest))
    turns = (
        f"SELECT {columns}, ROW_NUMBER() OVER (PARTITION BY {name('user')} ORDER BY {order}) AS"
        " turn, "
    )
    turns += (
        f"COUNT(*) OVER (PARTITION BY {name('user')}) AS length FROM {log.events} WHERE item IS"
        " NOT NULL"
    )
    kept = log.engine.keep(f"SELECT * FROM ({turns}) AS t WHERE length >= 3")
    past, valid, test = (
        log.engine.view(f"SELECT {columns} FROM {kept} WHERE turn {cut}")
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
    """What is particular to leave-one-out: repeated targets, targets that a tie chose, histories
    later than other users' targets.
    """
    u, engine, found = name("user"), parts.engine, []
    users = int(engine.one(f"SELECT COUNT(*) FROM {parts.valid}")[0])
    for place, (relation, histories) in enumerate(
        ((parts.train, (parts.past,)), (parts.valid, (parts.past, parts.train)))
    ):
        before = " UNION ".join(f"SELECT {u}, item FROM {h}" for h in histories)
        n = int(
            engine.one(
                f"SELECT COUNT(*) FROM {relation} AS t JOIN (SELECT DISTINCT {u}, item FROM"
                f" ({before}) AS b) AS d ON t.{u} = d.{u} AND t.item = d.item"
            )[0]
        )
        if n:
            called = parts.called[place + 1]
            said = (
                f"{n:,} of {users:,} {called} ({share(n, users)}) stand in their user's history: a"
                " method that repeats is right there, one that leaves out what was seen"
                " cannot be."
            )
            found.append(
                Finding(
                    "repeated-target",
                    "note",
                    said,
                    {"users": n, "of": users, "part": PARTS[place + 1]},
                )
            )
    if not clock or not users:
        return found
    tied = int(
        engine.one(
            f"SELECT COUNT(*) FROM {parts.valid} AS t JOIN {parts.train} AS v ON t.{u} = v.{u} AND"
            " t.time = v.time"
        )[0]
    )
    if tied:
        said = (
            f"For {tied:,} of {count(users, 'user')} ({share(tied, users)}) the last event and the"
            " one before stand at one time: the tie rule, not the user, chose the test item."
            " Another reader of this log has other targets."
        )
        found.append(
            Finding(
                "tied-target",
                "warning" if tied > TIED_TARGETS * users else "note",
                said,
                {"users": tied, "of": users},
                "gaps",
            )
        )
    late, total, first = engine.one(
        "SELECT SUM(CASE WHEN p.time >= f.first THEN 1 ELSE 0 END), COUNT(*), MAX(f.first) FROM"
        f" {parts.past} AS p CROSS JOIN (SELECT MIN(time) AS first FROM {parts.valid}) AS f"
    )
    if late and total:
        said = (
            f"{share(late, total)} of the histories ({int(late):,} of {int(total):,} events)"
            f" happened after the first test item ({show(int(first))}): leave-one-out is no split"
            " by time, and popularity or neighbours learned from them know the future of other"
            " users."
        )
        numbers = {
            "events": int(late),
            "of": int(total),
            "share": late / total,
            "first_target": show(int(first)),
        }
        found.append(
            Finding(
                "histories-after-targets",
                "warning" if late > LATE_HISTORY * total else "note",
                said,
                numbers,
                "timeline",
            )
        )
    return found


# -- fingerprint ----------------------------------------------------------------------------------


def fingerprint(parts: Parts) -> dict[str, str]:
    """`split` is one text over the three parts, the bounds and the population; each part's own
    beside it. Equal splits have equal ones.

    A part's is the sum of a hash of each row, so no order and no file counts. Prices and
    quantities count to a millionth.
    """
    found = {
        part: _digest(parts, relation) for part, relation in zip(PARTS, parts.three, strict=True)
    }
    who = (
        np.unique(parts.population).astype(np.int64)
        if parts.population is not None
        else np.zeros(0, np.int64)
    )
    found["population"] = (
        sha256(who.astype("<i8").tobytes()).hexdigest()[:32]
        if parts.population is not None
        else "everyone"
    )
    found["split"] = sha256(
        json.dumps([parts.bounds, found], sort_keys=True).encode()
    ).hexdigest()[:32]
    return found


# Two primes below 2**31, so that no product leaves int64: engines disagree about texts and hashes,
# not about whole numbers.
PRIMES = (2_147_483_647, 2_147_483_629)


def _digest(parts: Parts, relation: str) -> str:
    """For each prime p: a row is a sum of its columns times constants, mixed by three squarings
    and products mod p; rows are added.
    """
    columns = [*REQUIRED, *(c for c in COLUMNS if c in parts.columns)]
    sums = []
    for p in PRIMES:
        terms = []
        for column in columns:
            whole = (
                f"FLOOR({name(column)} * 1000000 + 0.5)"
                if column in ("price", "quantity")
                else name(column)
            )
            times, null = (
                int.from_bytes(sha256(f"{salt} {column} {p}".encode()).digest()[:4], "big") % p
                for salt in ("times", "null")
            )
            terms.append(
                f"COALESCE(MOD(MOD(CAST({whole} AS BIGINT), {p}) * {times}, {p}), {null})"
            )
        mixed = f"SELECT MOD(MOD({' + '.join(terms)}, {p}) + {p}, {p}) AS s FROM {relation}"
        mixed = f"SELECT s, MOD(s * s + 1, {p}) AS x FROM ({mixed}) AS a"
        mixed = f"SELECT MOD(s * x + 7, {p}) AS y FROM ({mixed}) AS b"
        sums.append(parts.engine.one(f"SELECT COUNT(*), SUM(MOD(y * y, {p})) FROM ({mixed}) AS c"))
    return sha256(str([(int(n), int(total or 0)) for n, total in sums]).encode()).hexdigest()[:32]
