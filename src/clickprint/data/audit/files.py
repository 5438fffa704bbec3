"""Splits that another tool made, as files: the challenge's directory and RecBole's benchmark
files. Unlike our own they can be wrong.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.time import SECOND, Time, show
from clickprint.data.adapters import challenge
from clickprint.data.adapters.labels import floats, integers
from clickprint.data.adapters.mapping import Files
from clickprint.data.adapters.staging import header, stage
from clickprint.data.audit.finding import Finding, count, share
from clickprint.data.audit.split import PARTS, LabelList, Parts
from clickprint.data.check import Need, arrow_schema, blaming, is_text, parquet_problems, refuse
from clickprint.data.engine import Engine, micros_sql, name, text_id_sql, timestamp_sql
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
MILLISECONDS = (
    1e11  # a timestamp above is in milliseconds: in seconds it would be after the year 5000
)


def open_files(folder: Path, engine: Engine, scratch: Path) -> tuple[Parts, list[Finding]]:
    """The split that lies in a folder, and what its files alone show.

    `scratch` is an empty folder for what has to be converted.

    Raises DataError where the folder holds no split, or files that cannot be read, with every
    fault.
    """
    if not folder.is_dir():
        raise DataError(
            folder,
            (
                "not found"
                if not folder.exists()
                else "this is a file, expected the folder of a split"
            ),
        )
    if (folder / "input").is_dir() or (folder / "target").is_dir():
        return _challenge(folder, engine)
    if any(RECBOLE.fullmatch(p.name) for p in folder.iterdir()):
        return _recbole(folder, engine, scratch)
    hint = (
        "expected the challenge's directory after a split (input/, target/) or RecBole's"
        " NAME.train.inter, NAME.valid.inter and NAME.test.inter"
    )
    raise DataError(folder, f"no split is here; {hint}")


# -- the challenge's directory --------------------------------------------------------------------


def is_split(folder: Path) -> bool:
    """Whether a challenge directory holds target files."""
    return any((folder / "target" / file).is_file() for file in TARGETS.values())


def labels_of(folder: Path) -> tuple[LabelList, ...]:
    """The label files of a challenge directory, those that are there.

    Raises DataError with every fault.
    """
    found, faults = [], []
    for task, column in TASKS.items():
        values, popularity = (
            folder / "target" / f"{task}.npy",
            folder / "target" / f"popularity_{task}.npy",
        )
        if not values.is_file():
            continue
        try:
            if not len(integers(values)):
                listed = LabelList(task=task, column=column, values=np.zeros(0, np.int64))
            elif popularity.is_file():
                listed = LabelList(
                    task=task,
                    column=column,
                    values=challenge.labels(folder, task)[0],
                    popularity=floats(popularity),
                )
            else:
                listed = LabelList(task=task, column=column, values=integers(values))
                if len(np.unique(listed.values)) < len(listed.values):
                    raise DataError(values, "a label is there more than once")
            found.append(listed)
        except DataError as fault:
            faults += [f"{Path(fault.where).name}: {p}" for p in fault.problems]
    refuse(folder / "target", faults)
    return tuple(found)


def _challenge(folder: Path, engine: Engine) -> tuple[Parts, list[Finding]]:
    target = folder / "target"
    paths = {part: target / file for part, file in TARGETS.items()}
    faults = [
        f
        for p in paths.values()
        for f in parquet_problems(p, TARGET_NEEDS, full=("client_id", "timestamp", "sku"))
    ]
    if faults:
        refuse(
            target,
            faults
            + (
                ["target/ is made by `clickprint challenge split`"]
                if any("not found" in f for f in faults)
                else []
            ),
        )
    log = challenge.open_raw(folder, engine, unsplit=False)
    with blaming(folder):
        train, valid = (engine.view(_target(path, engine)) for path in paths.values())
        bounds, notes = _bounds(engine, train, valid)
    npy = {
        n: folder / sub / f"{n}.npy"
        for n, sub in (("relevant_clients", "input"), ("active_clients", "target"))
    }
    lists = {n: integers(path) if path.is_file() else None for n, path in npy.items()}
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
        population=(
            None if lists["relevant_clients"] is None else np.unique(lists["relevant_clients"])
        ),
        active=lists["active_clients"],
        labels=labels_of(folder),
    )
    return parts, notes


def _target(path: Path, engine: Engine) -> str:
    """SQL: the purchases of a target file under the canonical names."""
    text = is_text(arrow_schema(path).field("timestamp").type)
    moment = (
        timestamp_sql(name("timestamp"), challenge.TIME_FORM, strict=True)
        if text
        else f"CAST({name('timestamp')} AS TIMESTAMP)"
    )
    none = f"CAST(NULL AS BIGINT) AS {name('query')}, CAST(NULL AS BIGINT) AS url"
    return (
        f"SELECT {micros_sql(moment)} AS {name('time')}, CAST(client_id AS BIGINT) AS"
        f" {name('user')}, CAST({BUY} AS SMALLINT) AS kind, CAST(sku AS BIGINT) AS item, {none}"
        f" FROM {engine.scan([path])}"
    )


def _bounds(
    engine: Engine, train: str, valid: str
) -> tuple[tuple[Time, Time, Time] | None, list[Finding]]:
    """The cuts that the target files were made by: the challenge's rule where most rows agree with
    it, else their first rows' times.
    """
    spans = [
        engine.one(f"SELECT MIN(time), MAX(time), COUNT(*) FROM {part}") for part in (train, valid)
    ]
    if not spans[0][2] or not spans[1][2]:
        return None, [
            Finding(
                "other-rule",
                "warning",
                "A target file is empty: where the split was cut cannot be told.",
                {},
            )
        ]
    end = int(spans[1][1])
    rule = windows(end, challenge.DAYS_IN_TARGET)
    inside = [
        engine.one(f"SELECT COUNT(*) FROM {part} WHERE time >= {w.start} AND time < {w.end}")[0]
        for part, w in zip((train, valid), rule, strict=True)
    ]
    if all(n >= FITS * span[2] for n, span in zip(inside, spans, strict=True)):
        return (rule[0].start, rule[1].start, rule[1].end), []
    starts = int(spans[0][0]), int(spans[1][0])
    said = (
        "The target files do not follow the challenge's rule (windows of 14 days from"
        f" {show(rule[0].start)} and {show(rule[1].start)}): their first purchases,"
        f" {show(starts[0])} and {show(starts[1])}, are taken for the cuts."
    )
    note = Finding(
        "other-rule",
        "warning",
        said,
        {"train_start": show(starts[0]), "valid_start": show(starts[1])},
        "timeline",
    )
    return (min(starts), max(starts), end + 1), [note]


def audit_complete(parts: Parts, log: EventLog) -> list[Finding]:
    """Whether the files hold all that their own unsplit log has before the cutoff and in the
    windows.
    """
    if parts.bounds is None:
        return []
    train, valid, end = parts.bounds
    buys = f"kind IN ({', '.join(map(str, log.manifest.codes(Role.BUY)))})"
    wanted = log.engine.one(
        f"SELECT SUM(CASE WHEN time < {train} THEN 1 ELSE 0 END), SUM(CASE WHEN {buys} AND time >="
        f" {train} AND time < {valid} THEN 1 ELSE 0 END), SUM(CASE WHEN {buys} AND time >= {valid}"
        f" AND time < {end} THEN 1 ELSE 0 END), SUM(CASE WHEN {buys} AND time >= {end} THEN 1 ELSE"
        f" 0 END) FROM {log.events}"
    )
    has = [int(log.engine.one(f"SELECT COUNT(*) FROM {p}")[0]) for p in parts.three]
    lost = [int(w or 0) - h for w, h in zip(wanted[:3], has, strict=True)]
    later = int(wanted[3] or 0)
    if not any(lost) and not later:
        return []
    said = ", ".join(
        (
            f"{-n:,} rows more than the log in the {c}"
            if n < 0
            else f"{count(n, 'row')} of the log missing in the {c}"
        )
        for n, c in zip(lost, parts.called, strict=True)
        if n
    )
    if later:
        said += (
            f"{', ' if said else ''}{count(later, 'purchase')} of the log later than the last in"
            " the validation window"
        )
    numbers = dict(zip((f"{p}_missing" for p in PARTS), lost, strict=True)) | {"later": later}
    return [
        Finding(
            "not-the-log",
            "warning",
            f"The files are not the split of the log beside them: {said}.",
            numbers,
        )
    ]


# -- RecBole --------------------------------------------------------------------------------------


def _recbole(folder: Path, engine: Engine, scratch: Path) -> tuple[Parts, list[Finding]]:
    matches = [m for p in sorted(folder.iterdir()) if (m := RECBOLE.fullmatch(p.name))]
    names = sorted({m[1] for m in matches})
    if len(names) > 1:
        raise DataError(
            folder,
            f"found the benchmark files of {len(names)} data sets ({', '.join(names)}),"
            " expected one",
        )
    files = {
        part: Files(paths=(folder / f"{names[0]}.{part}.inter",), format="csv", delimiter="\t")
        for part in RECBOLE_PARTS
    }
    columns, faults = dict[str, dict[str, str]](), []
    for part, one in files.items():
        try:
            columns[part] = {c.partition(":")[0]: c for c in header(one, one.paths[0])}
        except DataError as fault:
            faults += [f"{one.paths[0].name}: {p}" for p in fault.problems]
            continue
        for need in ("user_id", "item_id"):
            if need not in columns[part]:
                faults.append(
                    f"{one.paths[0].name}: no column {need}:token; found"
                    f" {', '.join(columns[part].values())}"
                )
    refuse(folder, faults)
    dated = all("timestamp" in c for c in columns.values())
    relations, skipped, unread = [], 0, 0
    for part, one in files.items():
        wanted = [
            columns[part][c] for c in ("user_id", "item_id", *(("timestamp",) if dated else ()))
        ]
        target = scratch / f"{part}.parquet"
        skipped += stage(one, wanted, target)
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
    return parts, found + _order(parts, dated)


def _inter(engine: Engine, path: Path, columns: Sequence[str], dated: bool) -> tuple[str, int]:
    """One file as events of kind 0; rows that cannot be read."""
    scan = engine.scan([path])
    time = "CAST(0 AS BIGINT)"
    if dated:
        stamp = f"TRY_CAST({name(columns[2])} AS DOUBLE)"
        most = engine.one(f"SELECT MAX({stamp}) FROM {scan}")[0] or 0
        time = f"CAST({stamp} * {SECOND // 1000 if most > MILLISECONDS else SECOND} AS BIGINT)"
    user, item = (text_id_sql(name(c)) for c in columns[:2])
    sql = (
        f"SELECT {time} AS {name('time')}, {user} AS {name('user')}, CAST(0 AS SMALLINT) AS kind,"
        f" {item} AS item FROM {scan}"
    )
    good = (
        f"SELECT * FROM ({sql}) AS r WHERE {name('time')} IS NOT NULL AND {name('user')} IS NOT"
        " NULL AND item IS NOT NULL"
    )
    kept = engine.view(good)
    total, usable = (int(engine.one(f"SELECT COUNT(*) FROM {r}")[0]) for r in (scan, kept))
    return kept, total - usable


def _order(parts: Parts, dated: bool) -> list[Finding]:
    """Whether each user's rows go train, valid, test in time."""
    u, engine, called = name("user"), parts.engine, parts.called
    found = []
    for one, other in ((0, 1), (0, 2), (1, 2)):
        a, b = parts.three[one], parts.three[other]
        pairs = (
            f"SELECT COUNT(*) FROM (SELECT DISTINCT {u}, item FROM {b}) AS b JOIN (SELECT DISTINCT"
            f" {u}, item FROM {a}) AS a ON a.{u} = b.{u} AND a.item = b.item"
        )
        n = int(engine.one(pairs)[0])
        if n:
            said = (
                f"{count(n, 'pair')} of user and item in the {called[other]}"
                f" {'is' if n == 1 else 'are'} in the {called[one]} too."
            )
            said += (
                ""
                if dated
                else " Without times nobody can tell a repeated purchase from a copied row."
            )
            found.append(
                Finding(
                    "repeated-target",
                    "note",
                    said,
                    {"pairs": n, "part": RECBOLE_PARTS[other], "also_in": RECBOLE_PARTS[one]},
                )
            )
    if not dated:
        found.append(
            Finding(
                "no-times",
                "warning",
                "The files have no timestamp: whether a history holds its own future cannot be"
                " told.",
                {},
            )
        )
        return found
    users = int(
        engine.one(f"SELECT COUNT(*) FROM (SELECT DISTINCT {u} FROM {parts.valid}) AS t")[0]
    )
    for one, other in ((0, 1), (0, 2), (1, 2)):
        last, first = (
            f"SELECT {u}, {f}(time) AS edge FROM {parts.three[p]} GROUP BY {u}"
            for p, f in ((one, "MAX"), (other, "MIN"))
        )
        sql = (
            "SELECT SUM(CASE WHEN l.edge > f.edge THEN 1 ELSE 0 END), SUM(CASE WHEN l.edge ="
            f" f.edge THEN 1 ELSE 0 END) FROM ({last}) AS l JOIN ({first}) AS f ON l.{u} = f.{u}"
        )
        late, tied = (int(v or 0) for v in engine.one(sql))
        numbers = {
            "users": late,
            "of": users,
            "part": RECBOLE_PARTS[other],
            "later": RECBOLE_PARTS[one],
        }
        if late:
            said = (
                f"{count(late, 'user has', 'users have')} events in the {called[one]} later than"
                f" their first in the {called[other]} ({share(late, users)} of those tested): a"
                " history that holds its own future."
            )
            found.append(Finding("future-in-history", "leak", said, numbers))
        if tied:
            said = (
                f"For {count(tied, 'user')} the last time in the {called[one]} is the first in the"
                f" {called[other]}: which event is asked about was chosen by the order of rows."
            )
            found.append(
                Finding(
                    "tied-target",
                    "warning" if tied > 0.01 * users else "note",
                    said,
                    {**numbers, "users": tied},
                )
            )
    first = engine.one(f"SELECT MIN(time) FROM {parts.valid}")[0]
    if first is not None:
        late, total = (
            int(v or 0)
            for v in engine.one(
                f"SELECT SUM(CASE WHEN time >= {first} THEN 1 ELSE 0 END), COUNT(*) FROM"
                f" {parts.past}"
            )
        )
        if late:
            said = (
                f"{share(late, total)} of the {called[0]} ({late:,} of {total:,} rows) happened"
                f" after the first row of the {called[2]} ({show(int(first))}): a split by user"
                " and not by time, so popularity and neighbours know other users' future."
            )
            found.append(
                Finding(
                    "histories-after-targets",
                    "warning" if late > 0.1 * total else "note",
                    said,
                    {
                        "events": late,
                        "of": total,
                        "share": late / total,
                        "first_target": show(int(first)),
                    },
                )
            )
    return found
