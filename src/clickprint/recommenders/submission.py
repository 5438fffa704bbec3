"""Predictions in the form of the task sheet: one row a user, best first, `user_id` and `products`, a list; as CSV and as Parquet.

A submission is an Arrow table (user_id: string, products: list<string>) of the shop's own ids. Source: spec/next-purchase.md.
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from clickprint.core.errors import DataError

USER, PRODUCTS, PRODUCT = "user_id", "products", "product"
FORM = pa.schema([(USER, pa.string()), (PRODUCTS, pa.list_(pa.string()))])
BYTES, ROWS = 1 << 30, 1_000_000  # a file above either is no submission, and is not read
TOLD = 3  # examples that a fault names
CELL = 10_000  # letters of a list in Python's spelling
SUFFIXES = (".csv", ".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class Limits:
    """The most users, and the most products of each."""

    users: int = 3_000
    products: int = 25


@dataclass(frozen=True, slots=True)
class Finding:
    """What breaks a rule of the task sheet (the whole file then scores 0), and what only loses."""

    faults: list[str]
    losses: list[str]


def of(users: list[str], products: list[list[str]]) -> pa.Table:
    return pa.table(
        [pa.array(users, FORM.field(0).type), pa.array(products, FORM.field(1).type)], FORM
    )


def check(
    table: pa.Table,
    limits: Limits,
    *,
    users: pa.Array | None = None,
    products: pa.Array | None = None,
    known: int | None = None,
) -> Finding:
    """Every rule at once. `users`, `products`: the ids that a log has; `known`: how many users it has. Raises nothing."""
    faults, losses = [], []
    who, lists = table.column(USER).combine_chunks(), table.column(PRODUCTS).combine_chunks()
    if len(who) > limits.users:
        faults.append(f"{len(who):,} users, expected at most {limits.users:,}")
    faults += _some("no user_id", _rows(pc.or_kleene(pc.is_null(who), pc.equal(who, ""))), "row")
    counts = pc.value_counts(who.drop_null())
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    faults += _some("repeated user_id", twice.to_pylist(), "")
    faults += _some("no list of products", _rows(pc.is_null(lists)), "row")
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    faults += _some(
        f"more than {limits.products} products",
        np.flatnonzero(sizes > limits.products).tolist(),
        "row",
    )
    row, item = np.repeat(np.arange(len(lists)), sizes), lists.flatten()
    faults += _some(
        "a product without an id",
        np.unique(row[_rows(pc.or_kleene(pc.is_null(item), pc.equal(item, "")))]).tolist(),
        "row",
    )
    if len(who) < min(limits.users, known if known is not None else limits.users):
        losses.append(f"{len(who):,} users, where {limits.users:,} may be named: fewer only lose")
    losses += _some("an empty list", np.flatnonzero(sizes == 0).tolist(), "row")
    codes = (
        pc.dictionary_encode(item, null_encoding="encode").indices.to_numpy(zero_copy_only=False)
        if len(item)
        else np.zeros(0, np.int64)
    )
    pairs, times = np.unique(np.stack([row, codes]), axis=1, return_counts=True)
    losses += _some(
        "a product twice in a list (it counts once)",
        np.unique(pairs[0][times > 1]).tolist(),
        "row",
    )
    for name, ids, found in ((USER, users, who), ("product", products, item)):
        if ids is not None:
            strange = pc.unique(
                found.filter(pc.invert(pc.is_in(found, value_set=ids)))
            ).drop_null()
            losses += _some(f"a {name} that the log does not know", strange.to_pylist(), "")
    return Finding(faults, losses)


def _rows(mask: pa.Array) -> list[int]:
    return np.flatnonzero(pc.fill_null(mask, True).to_numpy(zero_copy_only=False)).tolist()


def _some(what: str, found: list, called: str) -> list[str]:
    if not found:
        return []
    shown = ", ".join(f"{called} {f}".strip() if called else repr(f)[:60] for f in found[:TOLD])
    return [
        f"{what}: {len(found):,} of them, such as {shown}"
        if len(found) > TOLD
        else f"{what}: {shown}"
    ]


# ------------------------------------------------------------------------------------------------------------ files
def write(table: pa.Table, folder: Path, limits: Limits) -> None:
    """submission.csv (lists as JSON) and submission.parquet, into a folder that a stage makes whole. Checked before: raises DataError."""
    if faults := check(table, limits).faults:
        raise DataError("submission", faults)
    pq.write_table(table, folder / "submission.parquet")
    lists = [json.dumps(p, ensure_ascii=False) for p in table.column(PRODUCTS).to_pylist()]
    pc_csv.write_csv(
        pa.table({USER: table.column(USER), PRODUCTS: lists}), folder / "submission.csv"
    )


def read(path: Path | str) -> pa.Table:
    """Anybody's CSV or Parquet file in the form of FORM; ids may be numbers there. Raises DataError with every fault of its form."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise DataError(
            str(path),
            [f"found {path.suffix or 'no suffix'!r}, expected one of {', '.join(SUFFIXES)}"],
        )
    if not path.is_file():
        raise DataError(str(path), ["there is no such file"])
    if path.stat().st_size > BYTES:
        raise DataError(
            str(path), [f"{path.stat().st_size:,} bytes: no submission is larger than {BYTES:,}"]
        )
    try:
        table = _csv(path) if path.suffix == ".csv" else _parquet(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise DataError(
            str(path), [f"cannot be read ({str(fault).splitlines()[0][:200]})"]
        ) from None
    if faults := _columns(table):
        raise DataError(str(path), faults)
    if len(table) > ROWS:
        raise DataError(str(path), [f"{len(table):,} rows: no submission has more than {ROWS:,}"])
    return _formed(table, path)


def _csv(path: Path) -> pa.Table:
    options = pc_csv.ConvertOptions(
        column_types={USER: pa.string(), PRODUCTS: pa.string()}, strings_can_be_null=False
    )
    return pc_csv.read_csv(
        path, parse_options=pc_csv.ParseOptions(newlines_in_values=True), convert_options=options
    )


def _parquet(path: Path) -> pa.Table:
    file = pq.ParquetFile(path)
    rows = file.metadata.num_rows
    if rows > ROWS:
        raise DataError(str(path), [f"{rows:,} rows: no submission has more than {ROWS:,}"])
    return file.read()


def _columns(table: pa.Table) -> list[str]:
    names, asked = table.column_names, FORM.names
    faults = [
        f"no column {n!r}; found {', '.join(names) or 'none'}" for n in asked if n not in names
    ]
    faults += [
        f"column {n!r}, which is not asked for" for n in dict.fromkeys(names) if n not in asked
    ]
    return faults + [
        f"column {n!r} stands there {names.count(n)} times" for n in asked if names.count(n) > 1
    ]


def _formed(table: pa.Table, path: Path) -> pa.Table:
    user, lists = table.column(USER).combine_chunks(), table.column(PRODUCTS).combine_chunks()
    faults = []
    if not (
        pa.types.is_string(user.type)
        or pa.types.is_large_string(user.type)
        or pa.types.is_integer(user.type)
    ):
        faults.append(f"column {USER!r}: found {user.type}, expected texts or whole numbers")
    if pa.types.is_string(lists.type) or pa.types.is_large_string(lists.type):
        lists, wrong = _lists(lists.to_pylist())
        faults += wrong
    elif not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)) or not (
        pa.types.is_string(lists.type.value_type)
        or pa.types.is_large_string(lists.type.value_type)
        or pa.types.is_integer(lists.type.value_type)
        or pa.types.is_null(lists.type.value_type)
    ):
        faults.append(
            f"column {PRODUCTS!r}: found {lists.type}, expected lists of texts or of whole numbers"
        )
    if faults:
        raise DataError(str(path), faults)
    return pa.table([user.cast(pa.string()), lists.cast(FORM.field(1).type)], FORM)


def _lists(cells: list[str | None]) -> tuple[pa.Array, list[str]]:
    """Lists from JSON, or in Python's spelling, as pandas writes them to a CSV."""
    found: list[list[str | None] | None] = []
    wrong: list[int] = []
    for n, cell in enumerate(cells):
        value = _list(cell) if cell else None
        right = value is None or (
            isinstance(value, list)
            and all(
                v is None or (isinstance(v, str | int) and not isinstance(v, bool)) for v in value
            )
        )
        if not right:
            wrong.append(n)
        found.append(
            [v if v is None else str(v) for v in value] if right and value is not None else None
        )
    told = [f"row {n}: {str(cells[n])[:40]!r}" for n in wrong[:TOLD]]
    more = f" and {len(wrong) - TOLD:,} more" if len(wrong) > TOLD else ""
    faults = (
        [f'column {PRODUCTS!r}: expected lists such as ["12", "7"], found {"; ".join(told)}{more}']
        if wrong
        else []
    )
    return pa.array(found, FORM.field(1).type), faults


def _list(cell: str) -> Any:
    """What a cell says; its text where it is no list."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    try:
        return (
            ast.literal_eval(cell.strip()) if len(cell) <= CELL else cell
        )  # literals only: nothing is called
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return cell


# ------------------------------------------------------------------------------------------------------------ score
@dataclass(frozen=True, slots=True)
class Score:
    """The mean recall over all buyers; 0 where a rule is broken, and which."""

    value: float
    buyers: int
    named: int  # buyers who are in the submission
    finding: Finding


def score(table: pa.Table, bought: pa.Table, limits: Limits, *, known: int | None = None) -> Score:
    """Against what was bought, one row a (user_id, product), texts. A buyer who is not in the submission counts 0. Raises DataError."""
    truth = bought.group_by([USER, PRODUCT]).aggregate([])
    buyers = truth.group_by(USER).aggregate([(PRODUCT, "count")])
    if not len(buyers):
        raise DataError(
            "bought", ["nobody bought in the window, so there is nothing to score against"]
        )
    finding = check(table, limits, known=known)
    lists = table.column(PRODUCTS).combine_chunks()
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    shown = pa.table(
        {
            USER: table.column(USER).take(np.repeat(np.arange(len(table)), sizes)),
            PRODUCT: lists.flatten(),
        }
    )
    hits = (
        shown.group_by([USER, PRODUCT])
        .aggregate([])
        .join(truth, [USER, PRODUCT], join_type="inner")
    )
    recall = (
        hits.group_by(USER)
        .aggregate([(PRODUCT, "count")])
        .rename_columns([USER, "hits"])
        .join(buyers, USER, join_type="inner")
    )
    each = recall.column("hits").to_numpy() / recall.column(f"{PRODUCT}_count").to_numpy()
    total = float(np.sort(each).sum())  # a join gives its rows in any order
    named = int(
        pc.sum(pc.is_in(buyers.column(USER), value_set=pc.unique(table.column(USER)))).as_py() or 0
    )
    return Score(0.0 if finding.faults else total / len(buyers), len(buyers), named, finding)
