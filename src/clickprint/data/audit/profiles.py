"""The audit of profiles: columns that say nothing, columns that are an id, and columns that know
what happens next.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.profiles import USERS_FILE, VECTORS_FILE, problems
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Window
from clickprint.data.audit.finding import LISTED, Finding, count
from clickprint.data.engine import name
from clickprint.data.log import EventLog

POSITIVES = 20  # users with the target, and without it, before a column can be blamed
KNOWS, AHEAD = (
    0.995,
    0.05,
)  # a leak: so good on a window, and so much better than on the days before the cutoff
STRANGE, FAR_AHEAD = 0.9, 0.1  # suspicious
TARGETS = (
    8  # items, and values of each attribute, most bought in a window, that columns are tried on
)
BITS = 1 << 16  # float16 has no more values: columns are counted, not sorted


def audit_profiles(
    folder: Path,
    log: EventLog,
    windows: tuple[Window, Window] | None,
    attributes: tuple[str, ...] = (),
    *,
    progress: Progress = silent,
) -> list[Finding]:
    """Findings of the profiles in a folder.

    Without windows (no clock, no purchase) only the columns themselves are looked at.

    Raises DataError where the files cannot be read at all; NaN, infinite values and what else the
    challenge refuses are findings.
    """
    faults = problems(folder, None)
    users, vectors = _open(folder, faults)
    found = (
        [
            Finding(
                "invalid-profiles",
                "warning",
                f"The challenge's validator refuses them: {'; '.join(faults)}.",
                {"faults": faults},
            )
        ]
        if faults
        else []
    )
    found += _columns(users, vectors)
    if windows is not None and len(users):
        found += _leaks(log, users, vectors, windows, attributes, progress)
    return found


def _open(folder: Path, faults: list[str]) -> tuple[Int64[np.ndarray, "U"], np.ndarray]:
    try:
        users = np.load(folder / USERS_FILE, allow_pickle=False)
        vectors = np.load(folder / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
        shaped = (
            users.ndim == 1
            and vectors.ndim == 2
            and len(users) == len(vectors)
            and users.dtype.kind in "iu"
            and vectors.dtype.kind == "f"
        )
    except (OSError, ValueError, EOFError, AttributeError):
        shaped = False
    if not shaped:
        raise DataError(
            folder, faults or ["not profiles: expected whole numbers (U) and floats (U, D)"]
        )
    return users.astype(np.int64), vectors


def _columns(users: Int64[np.ndarray, "U"], vectors: np.ndarray) -> list[Finding]:
    """Constant columns, values that are no numbers, and columns in the order of the ids or of the
    file.
    """
    constant, ordered = [], []
    nan = infinite = 0
    orders = {"user id": np.argsort(users, kind="stable"), "file order": np.arange(len(users))}
    for c in range(vectors.shape[1] if len(users) else 0):
        column = vectors[:, c].astype(np.float64)
        nan += int(np.isnan(column).sum())
        infinite += int(np.isinf(column).sum())
        if not (column != column[0]).any():
            constant.append(c)
        elif np.isfinite(column).all() and len(users) >= POSITIVES:
            for what, order in orders.items():
                if _follows(column[order]):
                    ordered.append((c, what))
                    break
    found = []
    if nan or infinite:
        found.append(
            Finding(
                "not-finite",
                "warning",
                f"{nan:,} values are NaN and {infinite:,} infinite.",
                {"nan": nan, "infinite": infinite},
            )
        )
    if constant:
        said = (
            f"{len(constant):,} of {count(vectors.shape[1], 'column')} hold one value for every"
            f" user: {_some(constant)}."
        )
        found.append(
            Finding(
                "constant-columns",
                "note",
                said,
                {"columns": constant[:LISTED], "count": len(constant)},
            )
        )
    for what in ("user id", "file order"):
        columns = [c for c, w in ordered if w == what]
        if columns:
            said = (
                f"{count(len(columns), 'column')} ({_some(columns)})"
                f" {'is' if len(columns) == 1 else 'are'} the {what}, rounded: it says nothing of"
                " a shopper, unless ids or rows were dealt out by what happened later."
            )
            found.append(
                Finding(
                    "id-column" if what == "user id" else "order-column",
                    "warning",
                    said,
                    {"columns": columns[:LISTED], "count": len(columns)},
                )
            )
    return found


def _follows(column: Float64[np.ndarray, "U"]) -> bool:
    """Whether a column in some order only ever rises, or only falls, and takes as many values as
    rounding leaves of that.
    """
    step = np.diff(column)
    if not ((step >= 0).all() or (step <= 0).all()):
        return False
    # A column that is 0 for the first half and 1 for the rest follows too, but is no id: an id
    # differs nearly everywhere.
    return bool(np.count_nonzero(step) >= 0.5 * min(len(step), 1_000))


def _some(columns: list[int]) -> str:
    return ", ".join(map(str, columns[:LISTED])) + (", …" if len(columns) > LISTED else "")


# -- label leaks ----------------------------------------------------------------------------------


def _leaks(
    log: EventLog,
    users: Int64[np.ndarray, "U"],
    vectors: np.ndarray,
    windows: tuple[Window, Window],
    attributes: tuple[str, ...],
    progress: Progress,
) -> list[Finding]:
    """Single columns that separate who will from who will not, and did not separate who had from
    who had not.

    The same targets are asked of the days just before the cutoff, as many as a window has: a
    feature of the past is at its best there. Only knowledge of a window makes a column nearly
    perfect in the window and clearly worse before.
    """
    asked = []
    for place, window in enumerate(windows):
        start = windows[0].start
        before = Window(start - (window.end - window.start), start)
        for target, truth in _targets(log, window, users, attributes).items():
            if POSITIVES <= truth.sum() <= len(truth) - POSITIVES:
                past = _did(log, target, before, users)
                asked.append(
                    (
                        ("train window", "validation window")[place],
                        target,
                        np.flatnonzero(truth),
                        np.flatnonzero(past),
                    )
                )
    leaks, strange = [], []
    for c in range(vectors.shape[1] if asked else 0):
        if c % 64 == 0:
            progress("audit columns", c, vectors.shape[1])
        ranks = _mid_ranks(vectors[:, c])
        if ranks is None:
            continue
        for called, target, truth, past in asked:
            now = _auroc(ranks, truth)
            if max(now, 1 - now) < STRANGE:
                continue
            then = _auroc(ranks, past) if 0 < len(past) < len(users) else 0.5
            good, earlier = (now, then) if now >= 0.5 else (1 - now, 1 - then)
            row = {
                "column": c,
                "window": called,
                "target": target[2],
                "auroc": round(good, 4),
                "auroc_before": round(earlier, 4),
            }
            row["positives"] = len(truth)
            if good >= KNOWS and good - earlier >= AHEAD:
                leaks.append(row)
            elif good >= STRANGE and good - earlier >= FAR_AHEAD:
                strange.append(row)
    progress("audit columns", vectors.shape[1], vectors.shape[1])
    found = []
    if leaks:
        found.append(_blame("label-leak", "leak", leaks, "it was made from the answer"))
    strange = [r for r in strange if r["column"] not in {one["column"] for one in leaks}]
    if strange:
        found.append(_blame("label-leak-suspected", "warning", strange, "look at how it was made"))
    return found


def _blame(name_: str, severity: str, rows: list[dict], verdict: str) -> Finding:
    best = max(rows, key=lambda r: (r["auroc"], -r["column"]))
    columns = sorted({r["column"] for r in rows})
    said = (
        f"Column {best['column']} alone separates {best['target']} in the {best['window']} with"
        f" AUROC {best['auroc']:.4f} ({best['positives']:,} positives), and only with"
        f" {best['auroc_before']:.4f} in the days before the cutoff: {verdict}."
        f" {count(len(columns), 'column')} in all: {_some(columns)}."
    )
    assert severity in ("leak", "warning")
    return Finding(
        name_,
        "leak" if severity == "leak" else "warning",
        said,
        {"columns": columns, "found": rows[:50]},
    )


_Target = tuple[str, int, str]  # column, value, what is said of it


def _targets(
    log: EventLog, window: Window, users: Int64[np.ndarray, "U"], attributes: tuple[str, ...]
) -> dict[_Target, Bool[np.ndarray, "U"]]:
    """Did they buy, and which of the most bought: items and values of attributes."""
    buys = _buys(log)
    wanted: list[_Target] = [("", 0, "who buys"), ("*", 0, "who does anything")]
    for column in ("item", *attributes):
        sql = (
            f"SELECT value, COUNT(*) AS n FROM ({_bought(log, column, window, buys)}) AS b GROUP"
            f" BY value ORDER BY n DESC, value LIMIT {TARGETS}"
        )
        wanted += [
            (column, int(v), f"who buys {column} {v}")
            for v in log.engine.arrays(sql)["value"].tolist()
        ]
    return {target: _did(log, target, window, users) for target in wanted}


def _buys(log: EventLog) -> str:
    codes = log.manifest.codes(Role.BUY)
    return f"e.kind IN ({', '.join(map(str, codes))})" if codes else "1 = 0"


def _bought(log: EventLog, column: str, window: Window, which: str) -> str:
    """SQL: (who, value), each once, of the events of a window."""
    value = "e.item" if column == "item" else f"c.{name(column)}"
    join = "" if column == "item" else f" JOIN ({log.known(None)}) AS c ON e.item = c.item"
    inside = f"e.time >= {window.start} AND e.time < {window.end}"
    return (
        f"SELECT DISTINCT e.{name('user')} AS who, {value} AS value FROM {log.events} AS e{join}"
        f" WHERE {which} AND {inside} AND {value} IS NOT NULL"
    )


def _did(
    log: EventLog, target: _Target, window: Window, users: Int64[np.ndarray, "U"]
) -> Bool[np.ndarray, "U"]:
    column, value, _ = target
    if column in ("", "*"):
        which = _buys(log) if column == "" else "1 = 1"
        inside = f"e.time >= {window.start} AND e.time < {window.end}"
        sql = (
            f"SELECT DISTINCT e.{name('user')} AS who FROM {log.events} AS e WHERE {which} AND"
            f" {inside}"
        )
    else:
        sql = (
            f"SELECT who FROM ({_bought(log, column, window, _buys(log))}) AS b WHERE value ="
            f" {value}"
        )
    return np.isin(users, log.engine.arrays(sql)["who"])


def _mid_ranks(column: np.ndarray) -> Float64[np.ndarray, "U"] | None:
    """Each value's rank among all, the mean rank for ties;

    None for a column that is constant or not finite.
    """
    half = np.ascontiguousarray(column)
    if half.dtype != np.float16:
        values, key = np.unique(half, return_inverse=True)
        if len(values) < 2 or not np.isfinite(values).all():
            return None
        counts = np.bincount(key, minlength=len(values))
    else:
        if not np.isfinite(half).all():
            return None
        bits = (half + np.float16(0)).view(np.uint16).astype(np.int64)
        key = np.where(
            bits < 0x8000, bits + 0x8000, BITS - 1 - bits
        )  # in the order of the numbers
        counts = np.bincount(key, minlength=BITS)
        if counts.max() == len(half):
            return None
    ends = np.cumsum(counts)
    middle = ends - (counts - 1) / 2
    ranks: np.ndarray = middle[key]
    return ranks


def _auroc(ranks: Float64[np.ndarray, "U"], positive: Int64[np.ndarray, "P"]) -> float:
    """From everyone's ranks and the places of the positives; some, not all."""
    n = len(positive)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(ranks) - n)))


def log_attributes(
    log: EventLog, kinds: tuple[str, ...] = ("category", "price_bucket")
) -> tuple[str, ...]:
    """The attributes whose values are bought: categories and price buckets."""
    return tuple(a for a, k in log.manifest.attributes.items() if k.value in kinds)
