"""The audit of profiles: columns that say nothing, are an id, or know what happens next."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.forms import read_npy
from clickprint.core.items import CATEGORICAL
from clickprint.core.profiles import USERS_FILE, VECTORS_FILE, problems
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Window
from clickprint.data.audit.finding import LISTED, Finding, Severity, count, first_few
from clickprint.data.engine import name
from clickprint.data.log import EventLog

POSITIVES = 20  # users with the target, and without it, before a column can be blamed
# A leak: so good on a window, and so much better than on the days before the cutoff; suspicious.
KNOWS, AHEAD = 0.995, 0.05
STRANGE, FAR_AHEAD = 0.9, 0.1
TARGETS = 8  # items, and values of each attribute, most bought in a window, that are tried
BITS = 1 << 16  # float16 has no more values: columns are counted, not sorted
Target = tuple[str, int, str]  # column, value, what is said of it


def audit_profiles(
    folder: Path,
    log: EventLog,
    windows: tuple[Window, Window] | None,
    attributes: tuple[str, ...] = (),
    *,
    progress: Progress = silent,
) -> list[Finding]:
    """Findings of the profiles in a folder.

    Without windows (no clock, no purchase) only the columns themselves are looked at. Raises
    DataError where the files cannot be read at all; NaN, infinite values and what else the
    challenge refuses are findings.
    """
    faults = problems(folder, None)
    users, vectors = _open(folder, faults)
    found = []
    if faults:
        said = f"The challenge's validator refuses them: {'; '.join(faults)}."
        found.append(Finding("invalid-profiles", "warning", said, {"faults": faults}))
    found += _columns(users, vectors)
    if windows is not None and len(users):
        found += _leaks(log, users, vectors, windows, attributes, progress)
    return found


def _open(folder: Path, faults: list[str]) -> tuple[Int64[np.ndarray, "U"], np.ndarray]:
    try:
        users = read_npy(folder / USERS_FILE)
        vectors = read_npy(folder / VECTORS_FILE, mapped=True)
        shaped = users.ndim == 1 and vectors.ndim == 2 and len(users) == len(vectors)
        shaped = shaped and users.dtype.kind in "iu" and vectors.dtype.kind == "f"
    except DataError:
        shaped = False
    if not shaped:
        expected = "not profiles: expected whole numbers (U) and floats (U, D)"
        raise DataError(folder, faults or expected)
    return users.astype(np.int64), vectors


def _columns(users: Int64[np.ndarray, "U"], vectors: np.ndarray) -> Iterator[Finding]:
    """Constant columns, values that are no numbers, columns in the order of ids or of the file."""
    orders = {"user id": np.argsort(users, kind="stable"), "file order": np.arange(len(users))}
    constant, ordered = list[int](), {what: list[int]() for what in orders}
    nan = infinite = 0
    for c in range(vectors.shape[1] if len(users) else 0):
        column = vectors[:, c].astype(np.float64)
        nan += int(np.isnan(column).sum())
        infinite += int(np.isinf(column).sum())
        if not (column != column[0]).any():
            constant.append(c)
        elif np.isfinite(column).all() and len(users) >= POSITIVES:
            what = next((w for w, order in orders.items() if _follows(column[order])), None)
            if what is not None:
                ordered[what].append(c)
    if nan or infinite:
        said = f"{nan:,} values are NaN and {infinite:,} infinite."
        yield Finding("not-finite", "warning", said, {"nan": nan, "infinite": infinite})
    if constant:
        said = (
            f"{len(constant):,} of {count(vectors.shape[1], 'column')} hold one value for every"
            f" user: {first_few(constant)}."
        )
        numbers = {"columns": constant[:LISTED], "count": len(constant)}
        yield Finding("constant-columns", "note", said, numbers)
    names = {"user id": "id-column", "file order": "order-column"}
    for what, columns in ordered.items():
        if columns:
            is_ = "is" if len(columns) == 1 else "are"
            said = (
                f"{count(len(columns), 'column')} ({first_few(columns)}) {is_} the {what},"
                " rounded: it says nothing of a shopper, unless ids or rows were dealt out by what"
                " happened later."
            )
            numbers = {"columns": columns[:LISTED], "count": len(columns)}
            yield Finding(names[what], "warning", said, numbers)


def _follows(column: Float64[np.ndarray, "U"]) -> bool:
    """Whether a column in some order only ever rises, or only falls.

    It must take as many values as rounding leaves of that: a column that is 0 for the first half
    and 1 for the rest follows too, but is no id, since an id differs nearly everywhere.
    """
    step = np.diff(column)
    if not ((step >= 0).all() or (step <= 0).all()):
        return False
    return bool(np.count_nonzero(step) >= 0.5 * min(len(step), 1_000))


# -- label leaks ---------------------------------------------------------------------------------


def _leaks(
    log: EventLog,
    users: Int64[np.ndarray, "U"],
    vectors: np.ndarray,
    windows: tuple[Window, Window],
    attributes: tuple[str, ...],
    progress: Progress,
) -> Iterator[Finding]:
    """Single columns that separate users by what they do in a window, and not by what they did.

    The same targets are asked of the days just before the cutoff, as many as a window has: a
    feature of the past is at its best there. Only knowledge of a window makes a column nearly
    perfect in the window and clearly worse before.
    """
    asked, start = [], windows[0].start
    for called, window in zip(("train window", "validation window"), windows, strict=True):
        before = Window(start - (window.end - window.start), start)
        for target, truth in _targets(log, window, users, attributes).items():
            if POSITIVES <= truth.sum() <= len(truth) - POSITIVES:
                past = np.flatnonzero(_did(log, target, before, users))
                asked.append((called, target[2], np.flatnonzero(truth), past))
    leaks, strange = list[dict[str, Any]](), list[dict[str, Any]]()
    for c in range(vectors.shape[1] if asked else 0):
        if c % 64 == 0:
            progress("audit columns", c, vectors.shape[1])
        ranks = _mid_ranks(vectors[:, c])
        if ranks is None:
            continue
        for called, said, truth, past in asked:
            now = _auroc(ranks, truth)
            if max(now, 1 - now) < STRANGE:
                continue
            then = _auroc(ranks, past) if 0 < len(past) < len(users) else 0.5
            good, earlier = (now, then) if now >= 0.5 else (1 - now, 1 - then)
            row = {
                "column": c,
                "window": called,
                "target": said,
                "auroc": round(good, 4),
                "auroc_before": round(earlier, 4),
                "positives": len(truth),
            }
            if good >= KNOWS and good - earlier >= AHEAD:
                leaks.append(row)
            elif good >= STRANGE and good - earlier >= FAR_AHEAD:
                strange.append(row)
    progress("audit columns", vectors.shape[1], vectors.shape[1])
    if leaks:
        yield _blame("label-leak", "leak", leaks, "it was made from the answer")
    blamed = {row["column"] for row in leaks}
    if strange := [row for row in strange if row["column"] not in blamed]:
        yield _blame("label-leak-suspected", "warning", strange, "look at how it was made")


def _blame(name_: str, severity: Severity, rows: list[dict[str, Any]], verdict: str) -> Finding:
    best = max(rows, key=lambda r: (r["auroc"], -r["column"]))
    columns = sorted({r["column"] for r in rows})
    said = (
        f"Column {best['column']} alone separates {best['target']} in the {best['window']} with"
        f" AUROC {best['auroc']:.4f} ({best['positives']:,} positives), and only with"
        f" {best['auroc_before']:.4f} in the days before the cutoff: {verdict}."
        f" {count(len(columns), 'column')} in all: {first_few(columns)}."
    )
    return Finding(name_, severity, said, {"columns": columns, "found": rows[:50]})


def _targets(
    log: EventLog, window: Window, users: Int64[np.ndarray, "U"], attributes: tuple[str, ...]
) -> dict[Target, Bool[np.ndarray, "U"]]:
    """Did they buy, and which of the most bought: items and values of attributes."""
    wanted: list[Target] = [("", 0, "who buys"), ("*", 0, "who does anything")]
    for column in ("item", *attributes):
        bought = _bought(log, column, window)
        values = log.engine.arrays(
            f"SELECT value, COUNT(*) AS n FROM ({bought}) AS b GROUP BY value"
            f" ORDER BY n DESC, value LIMIT {TARGETS}"
        )["value"]
        wanted += [(column, int(v), f"who buys {column} {v}") for v in values.tolist()]
    return {target: _did(log, target, window, users) for target in wanted}


def _bought(log: EventLog, column: str, window: Window) -> str:
    """SQL: (who, value), each once, of the purchases of a window."""
    value, join = "e.item", ""
    if column != "item":
        value, join = f"c.{name(column)}", f" JOIN ({log.known(None)}) AS c ON e.item = c.item"
    return (
        f"SELECT DISTINCT e.{name('user')} AS who, {value} AS value FROM {log.events} AS e{join}"
        f" WHERE {log.where((Role.BUY,), window, 'e.')} AND {value} IS NOT NULL"
    )


def _did(
    log: EventLog, target: Target, window: Window, users: Int64[np.ndarray, "U"]
) -> Bool[np.ndarray, "U"]:
    column, value, _ = target
    if column in ("", "*"):
        where = log.where(None if column else (Role.BUY,), window)
        sql = f"SELECT DISTINCT {name('user')} AS who FROM {log.events} WHERE {where}"
    else:
        sql = f"SELECT who FROM ({_bought(log, column, window)}) AS b WHERE value = {value}"
    return np.isin(users, log.engine.arrays(sql)["who"])


def _mid_ranks(column: np.ndarray) -> Float64[np.ndarray, "U"] | None:
    """Each value's rank among all, the mean rank for ties.

    None for a column that is constant or not finite.
    """
    values = np.ascontiguousarray(column)
    if not np.isfinite(values).all():
        return None
    if values.dtype == np.float16:
        bits = (values + np.float16(0)).view(np.uint16).astype(np.int64)
        # In the order of the numbers.
        key = np.where(bits < 0x8000, bits + 0x8000, BITS - 1 - bits)
        counts = np.bincount(key, minlength=BITS)
    else:
        key = np.unique(values, return_inverse=True)[1]
        counts = np.bincount(key)
    if counts.max() == len(values):
        return None
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks: np.ndarray = middle[key]
    return ranks


def _auroc(ranks: Float64[np.ndarray, "U"], positive: Int64[np.ndarray, "P"]) -> float:
    """From everyone's ranks and the positions of the positives; some, not all."""
    n = len(positive)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(ranks) - n)))


def log_attributes(log: EventLog) -> tuple[str, ...]:
    """The attributes whose values are bought: categories and price buckets."""
    return log.manifest.of_type(*CATEGORICAL)
