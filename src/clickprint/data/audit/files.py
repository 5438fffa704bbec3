"""Splits that another tool made: the challenge's directory and RecBole's benchmark files.

Unlike our own they can be wrong.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.time import SECOND, Time, show
from clickprint.data.adapters import challenge
from clickprint.data.adapters.labels import floats, integers
from clickprint.data.adapters.mapping import Files
from clickprint.data.adapters.staging import header, stage
from clickprint.data.audit.finding import Finding, count, share, warning_if
from clickprint.data.audit.split import PARTS, LabelList, Parts
from clickprint.data.check import Need, blaming, folder_faults, noting, parquet_problems, refuse
from clickprint.data.engine import (
    Engine,
    digits_sql,
    micros_sql,
    name,
    rows_in,
    select_sql,
    text_id_sql,
)
from clickprint.data.log import EventLog
from clickprint.data.split import windows

FITS = 0.9  # of the target rows inside the rule's windows: then the rule is what was meant
TARGETS = {"train": "train_target.parquet", "valid": "validation_target.parquet"}
TARGET_NEEDS: dict[str, Need] = {"client_id": "id", "timestamp": "time", "sku": "id"}
BUY = next(code for code, kind in enumerate(challenge.KINDS) if kind.role is Role.BUY)
TASKS = {
    "propensity_category": "category",
    "propensity_sku": "item",
    "propensity_new_sku": "item",
    "propensity_price": "price",
}
RECBOLE = re.compile(r"(.+)\.(train|valid|test)\.inter")
RECBOLE_PARTS = ("train", "valid", "test")
# A timestamp above is in milliseconds: in seconds it would be after the year 5000.
MILLISECONDS = 1e11


def open_files(folder: Path, engine: Engine, scratch: Path) -> tuple[Parts, list[Finding]]:
    """The split that lies in a folder, and what its files alone show.

    `scratch` is an empty folder for what has to be converted. Raises DataError where the folder
    holds no split, or files that cannot be read, with every fault.
    """
    refuse(folder, folder_faults(folder, "the folder of a split"))
    if (folder / "input").is_dir() or (folder / "target").is_dir():
        return _challenge(folder, engine)
    if any(RECBOLE.fullmatch(p.name) for p in folder.iterdir()):
        return _recbole(folder, engine, scratch)
    raise DataError(
        folder,
        "no split is here; expected the challenge's directory after a split (input/, target/) or"
        " RecBole's NAME.train.inter, NAME.valid.inter and NAME.test.inter",
    )


# -- the challenge's directory -------------------------------------------------------------------


def is_split(folder: Path) -> bool:
    """Whether a challenge directory holds target files."""
    return any((folder / "target" / file).is_file() for file in TARGETS.values())


def labels_of(folder: Path) -> tuple[LabelList, ...]:
    """The label files of a challenge directory, those that are there.

    Raises DataError with every fault.
    """
    lists, faults, target = list[LabelList](), list[str](), folder / "target"
    for task, column in TASKS.items():
        path, popularity = target / f"{task}.npy", target / f"popularity_{task}.npy"
        if not path.is_file():
            continue
        try:
            values, shares = integers(path), None
            if len(values) and popularity.is_file():
                values, shares = challenge.labels(folder, task)[0], floats(popularity)
            if len(np.unique(values)) < len(values):
                raise DataError(path, "a label is there more than once")
            lists.append(LabelList(task=task, column=column, values=values, popularity=shares))
        except DataError as fault:
            faults += [f"{Path(fault.where).name}: {p}" for p in fault.problems]
    refuse(target, faults)
    return tuple(lists)


def _challenge(folder: Path, engine: Engine) -> tuple[Parts, list[Finding]]:
    target = folder / "target"
    paths = [target / file for file in TARGETS.values()]
    full = tuple(TARGET_NEEDS)
    faults = [f for p in paths for f in parquet_problems(p, TARGET_NEEDS, full=full)]
    if any("not found" in f for f in faults):
        faults.append("target/ is made by `clickprint challenge split`")
    refuse(target, faults)
    log = challenge.open_raw(folder, engine, unsplit=False)
    with blaming(folder):
        train, valid = (engine.view(_target(path, engine)) for path in paths)
        bounds, notes = _bounds(engine, train, valid)
    relevant, active = (
        integers(path) if path.is_file() else None
        for path in (folder / "input/relevant_clients.npy", target / "active_clients.npy")
    )
    parts = Parts(
        name=folder.name,
        engine=engine,
        past=log.events,
        train=train,
        valid=valid,
        columns=challenge.COLUMNS,
        buys=f"kind = {BUY}",
        bounds=bounds,
        items=log.known(None),
        population=None if relevant is None else np.unique(relevant),
        active=active,
        labels=labels_of(folder),
    )
    return parts, notes


def _target(path: Path, engine: Engine) -> str:
    """SQL: the purchases of a target file under the canonical names."""
    picks = {
        "time": micros_sql(challenge.timestamp_of(path, strict=True)),
        "user": "CAST(client_id AS BIGINT)",
        "kind": f"CAST({BUY} AS SMALLINT)",
        "item": "CAST(sku AS BIGINT)",
        "query": "CAST(NULL AS BIGINT)",
        "url": "CAST(NULL AS BIGINT)",
    }
    return select_sql(picks, engine.scan([path]))


def _bounds(
    engine: Engine, train: str, valid: str
) -> tuple[tuple[Time, Time, Time] | None, list[Finding]]:
    """The cuts that the target files were made by.

    Those of the challenge's rule where most rows agree with it, else the first rows' times.
    """
    spans = [
        engine.one(f"SELECT MIN(time), MAX(time), COUNT(*) FROM {part}") for part in (train, valid)
    ]
    if not spans[0][2] or not spans[1][2]:
        said = "A target file is empty: where the split was cut cannot be told."
        return None, [Finding("other-rule", "warning", said)]
    end = int(spans[1][1])
    rule = windows(end, challenge.DAYS_IN_TARGET)
    inside = [
        rows_in(engine, f"SELECT 1 AS one FROM {p} WHERE time >= {w.start} AND time < {w.end}")
        for p, w in zip((train, valid), rule, strict=True)
    ]
    if all(n >= FITS * span[2] for n, span in zip(inside, spans, strict=True)):
        return (rule[0].start, rule[1].start, rule[1].end), []
    starts = int(spans[0][0]), int(spans[1][0])
    first, second = map(show, starts)
    said = (
        "The target files do not follow the challenge's rule (windows of 14 days from"
        f" {show(rule[0].start)} and {show(rule[1].start)}): their first purchases, {first} and"
        f" {second}, are taken for the cuts."
    )
    numbers = {"train_start": first, "valid_start": second}
    note = Finding("other-rule", "warning", said, numbers, "timeline")
    return (min(starts), max(starts), end + 1), [note]


def audit_complete(parts: Parts, log: EventLog) -> list[Finding]:
    """Whether the files hold all that their own unsplit log has in the past and the windows."""
    if parts.bounds is None:
        return []
    train, valid, end = parts.bounds
    buys = log.where((Role.BUY,), None)
    sums = ", ".join(
        f"SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)"
        for condition in (
            f"time < {train}",
            f"{buys} AND time >= {train} AND time < {valid}",
            f"{buys} AND time >= {valid} AND time < {end}",
            f"{buys} AND time >= {end}",
        )
    )
    *wanted, later = (int(n or 0) for n in log.engine.one(f"SELECT {sums} FROM {log.events}"))
    has = [rows_in(log.engine, f"SELECT 1 AS one FROM {p}") for p in parts.three]
    lost = [w - h for w, h in zip(wanted, has, strict=True)]
    said = [
        f"{-n:,} rows more than the log in the {called}"
        if n < 0
        else f"{count(n, 'row')} of the log missing in the {called}"
        for n, called in zip(lost, parts.called, strict=True)
        if n
    ]
    if later:
        purchases = count(later, "purchase")
        said.append(f"{purchases} of the log later than the last in the validation window")
    if not said:
        return []
    numbers = dict(zip((f"{p}_missing" for p in PARTS), lost, strict=True)) | {"later": later}
    sentence = f"The files are not the split of the log beside them: {', '.join(said)}."
    return [Finding("not-the-log", "warning", sentence, numbers)]


# -- RecBole -------------------------------------------------------------------------------------


def _recbole(folder: Path, engine: Engine, scratch: Path) -> tuple[Parts, list[Finding]]:
    matches = [m for p in sorted(folder.iterdir()) if (m := RECBOLE.fullmatch(p.name))]
    names = sorted({m[1] for m in matches})
    if len(names) > 1:
        several = f"{len(names)} data sets ({', '.join(names)})"
        raise DataError(folder, f"found the benchmark files of {several}, expected one")
    files = {
        part: Files(paths=(folder / f"{names[0]}.{part}.inter",), format="csv", delimiter="\t")
        for part in RECBOLE_PARTS
    }
    columns, faults = dict[str, dict[str, str]](), list[str]()
    for part, one in files.items():
        path = one.paths[0]
        with noting(faults, path.name):
            columns[part] = {c.partition(":")[0]: c for c in header(one, path)}
            there = ", ".join(columns[part].values())
            faults += [
                f"{path.name}: no column {need}:token; found {there}"
                for need in ("user_id", "item_id")
                if need not in columns[part]
            ]
    refuse(folder, faults)
    dated = all("timestamp" in c for c in columns.values())
    needed = ("user_id", "item_id", *(("timestamp",) if dated else ()))
    relations, skipped, unread = [], 0, 0
    for part, one in files.items():
        wanted, target = [columns[part][c] for c in needed], scratch / f"{part}.parquet"
        skipped += stage(one, wanted, target).lines
        relation, lost = _inter(engine, target, wanted, dated)
        relations.append(relation)
        unread += lost
    found = []
    if skipped + unread:
        said = (
            f"{count(skipped + unread, 'row')} of the files cannot be read (columns missing, no"
            " user, item or time) and are left out."
        )
        found.append(Finding("rejected", "warning", said, {"columns": skipped, "values": unread}))
    parts = Parts(
        name=folder.name,
        engine=engine,
        past=relations[0],
        train=relations[1],
        valid=relations[2],
        called=("train file", "valid file", "test file"),
    )
    return parts, [*found, *_order(parts, dated)]


def _inter(engine: Engine, path: Path, columns: Sequence[str], dated: bool) -> tuple[str, int]:
    """One file as events of kind 0; rows that cannot be read."""
    scan, time = engine.scan([path]), "CAST(0 AS BIGINT)"
    if dated:
        stamp = f"TRY_CAST({digits_sql(name(columns[2]))} AS DOUBLE)"
        most = engine.one(f"SELECT MAX({stamp}) FROM {scan}")[0] or 0
        time = f"CAST({stamp} * {SECOND // 1000 if most > MILLISECONDS else SECOND} AS BIGINT)"
    user, item = (text_id_sql(name(c)) for c in columns[:2])
    picks = {"time": time, "user": user, "kind": "CAST(0 AS SMALLINT)", "item": item}
    usable = " AND ".join(f"{name(c)} IS NOT NULL" for c in ("time", "user", "item"))
    view = engine.view(f"SELECT * FROM ({select_sql(picks, scan)}) AS r WHERE {usable}")
    total, good = (rows_in(engine, f"SELECT 1 AS one FROM {r}") for r in (scan, view))
    return view, total - good


def _order(parts: Parts, dated: bool) -> Iterator[Finding]:
    """Whether each user's rows go train, valid, test in time."""
    u, engine, called = name("user"), parts.engine, parts.called
    pairs = list(combinations(range(3), 2))
    for one, other in pairs:
        a, b = (f"SELECT DISTINCT {u}, item FROM {parts.three[p]}" for p in (one, other))
        both = f"({b}) AS b JOIN ({a}) AS a ON a.{u} = b.{u} AND a.item = b.item"
        if n := rows_in(engine, f"SELECT b.item FROM {both}"):
            is_ = "is" if n == 1 else "are"
            said = (
                f"{count(n, 'pair')} of user and item in the {called[other]} {is_} in the"
                f" {called[one]} too."
            )
            if not dated:
                said += " Without times nobody can tell a repeated purchase from a copied row."
            numbers = {"pairs": n, "part": RECBOLE_PARTS[other], "also_in": RECBOLE_PARTS[one]}
            yield Finding("repeated-target", "note", said, numbers)
    if not dated:
        said = (
            "The files have no timestamp: whether a history holds its own future cannot be told."
        )
        yield Finding("no-times", "warning", said)
        return
    users = rows_in(engine, f"SELECT DISTINCT {u} FROM {parts.valid}")
    for one, other in pairs:
        last, first = (
            f"SELECT {u}, {edge}(time) AS edge FROM {parts.three[p]} GROUP BY {u}"
            for p, edge in ((one, "MAX"), (other, "MIN"))
        )
        row = engine.one(
            "SELECT SUM(CASE WHEN l.edge > f.edge THEN 1 ELSE 0 END),"
            " SUM(CASE WHEN l.edge = f.edge THEN 1 ELSE 0 END)"
            f" FROM ({last}) AS l JOIN ({first}) AS f ON l.{u} = f.{u}"
        )
        late, tied = (int(v or 0) for v in row)
        numbers = {"of": users, "part": RECBOLE_PARTS[other], "later": RECBOLE_PARTS[one]}
        if late:
            said = (
                f"{count(late, 'user has', 'users have')} events in the {called[one]} later than"
                f" their first in the {called[other]} ({share(late, users)} of those tested): a"
                " history that holds its own future."
            )
            yield Finding("future-in-history", "leak", said, {"users": late, **numbers})
        if tied:
            said = (
                f"For {count(tied, 'user')} the last time in the {called[one]} is the first in the"
                f" {called[other]}: which event is asked about was chosen by the order of rows."
            )
            severity = warning_if(tied > 0.01 * users)
            yield Finding("tied-target", severity, said, {"users": tied, **numbers})
    (first,) = engine.one(f"SELECT MIN(time) FROM {parts.valid}")
    if first is None:
        return
    row = engine.one(
        f"SELECT SUM(CASE WHEN time >= {first} THEN 1 ELSE 0 END), COUNT(*) FROM {parts.past}"
    )
    late, total = (int(v or 0) for v in row)
    if late:
        said = (
            f"{share(late, total)} of the {called[0]} ({late:,} of {total:,} rows) happened after"
            f" the first row of the {called[2]} ({show(int(first))}): a split by user and not by"
            " time, so popularity and neighbours know other users' future."
        )
        numbers = {"events": late, "of": total, "share": late / total}
        numbers["first_target"] = show(int(first))
        yield Finding("histories-after-targets", warning_if(late > 0.1 * total), said, numbers)
