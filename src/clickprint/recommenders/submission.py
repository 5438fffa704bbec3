"""Predictions in the form of the task sheet, as CSV and as Parquet.

One row a user: `user_id`, and `products`, a list, best first. A submission is an Arrow table
(user_id: string, products: list<string>) of the shop's own ids. Source: spec/next-purchase.md.
"""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from clickprint.core.errors import DataError
from clickprint.data.log import EventLog
from clickprint.data.names import shop_ids
from clickprint.recommenders.pairs import Bought

USER, PRODUCTS, PRODUCT = "user_id", "products", "product"
FORM = pa.schema([(USER, pa.string()), (PRODUCTS, pa.list_(pa.string()))])
BYTES, ROWS = 1 << 30, 1_000_000  # a file above either is no submission, and is not read
TOLD = 3  # examples that a fault names
CELL = 10_000  # letters of a list in Python's spelling
SUFFIXES = (".csv", ".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class Limits:
    """The most users, and the most products of each."""

    max_users: int = 3_000
    list_length: int = 25


@dataclass(frozen=True, slots=True)
class Finding:
    """What breaks a rule of the task sheet (the whole file then scores 0), and what only loses."""

    faults: list[str]
    losses: list[str]


def of(users: list[str], products: list[list[str]]) -> pa.Table:
    return pa.table([users, products], FORM)


def check(
    table: pa.Table,
    limits: Limits,
    *,
    users: pa.Array | None = None,
    products: pa.Array | None = None,
    known: int | None = None,
) -> Finding:
    """Every rule at once.

    - `users`, `products`: the ids that a log has; others lose.
    - `known`: how many users the log has; fewer than the limit need not be more.
    """
    who, lists = table.column(USER).combine_chunks(), table.column(PRODUCTS).combine_chunks()
    sizes, row, item = _flat(lists)
    counts = pc.value_counts(who.drop_null())
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    pairs = (
        pa.table({"row": row, "item": item})
        .group_by(["row", "item"])
        .aggregate([([], "count_all")])
    )
    again = pairs.filter(pc.greater(pairs.column("count_all"), 1)).column("row").to_numpy()
    most = f"more than {limits.list_length} products"
    faults = [
        *_some("no user_id", _rows(_empty(who)), "row"),
        *_some("repeated user_id", twice.to_pylist(), ""),
        *_some("no list of products", _rows(pc.is_null(lists)), "row"),
        *_some(most, np.flatnonzero(sizes > limits.list_length), "row"),
        *_some("a product without an id", np.unique(row[_rows(_empty(item))]), "row"),
    ]
    if len(who) > limits.max_users:
        faults = [f"{len(who):,} users, expected at most {limits.max_users:,}", *faults]
    losses = [
        *_some("an empty list", np.flatnonzero(sizes == 0), "row"),
        *_some("a product twice in a list (it counts once)", np.unique(again), "row"),
    ]
    if len(who) < min(limits.max_users, limits.max_users if known is None else known):
        fewer = f"{len(who):,} users, where {limits.max_users:,} may be named: fewer only lose"
        losses = [fewer, *losses]
    for name, ids, found in ((USER, users, who), ("product", products, item)):
        if ids is not None:
            strange = pc.unique(found.filter(pc.invert(pc.is_in(found, value_set=ids))))
            named = strange.drop_null().to_pylist()
            losses += _some(f"a {name} that the log does not know", named, "")
    return Finding(faults, losses)


def _flat(lists: pa.Array) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """How long each list is, the row of each item, and the items."""
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return sizes, np.repeat(np.arange(len(lists)), sizes), lists.flatten()


def _empty(ids: pa.Array) -> pa.Array:
    return pc.or_kleene(pc.is_null(ids), pc.equal(ids, ""))


def _rows(mask: pa.Array) -> np.ndarray:
    return np.flatnonzero(pc.fill_null(mask, True).to_numpy(zero_copy_only=False))


def _some(what: str, found: Sequence[Any] | np.ndarray, called: str) -> list[str]:
    """What was found, with a few examples; nothing where there is none."""
    few = found[:TOLD]
    shown = ", ".join(f"{called} {f}" if called else repr(f)[:60] for f in few)
    more = f"{len(found):,} of them, such as " if len(found) > TOLD else ""
    return [f"{what}: {more}{shown}"] if len(found) else []


# -- files ----------------------------------------------------------------------------------------


def write(table: pa.Table, folder: Path, limits: Limits) -> None:
    """submission.csv (lists as JSON) and submission.parquet, into a folder of a stage.

    Raises DataError where a rule is broken; nothing is written then.
    """
    if faults := check(table, limits).faults:
        raise DataError("submission", faults)
    pq.write_table(table, folder / "submission.parquet")
    lists = [json.dumps(p, ensure_ascii=False) for p in table.column(PRODUCTS).to_pylist()]
    pc_csv.write_csv(
        pa.table({USER: table.column(USER), PRODUCTS: lists}), folder / "submission.csv"
    )


def read(path: Path | str) -> pa.Table:
    """Anybody's CSV or Parquet file in this form, where ids may be numbers.

    Raises DataError with every fault of its form.
    """
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
    if not _of_ids(user.type):
        faults.append(f"column {USER!r}: found {user.type}, expected texts or whole numbers")
    if _texts(lists.type):
        lists, wrong = _lists(lists.to_pylist())
        faults += wrong
    elif not isinstance(lists.type, pa.ListType | pa.LargeListType) or not (
        _of_ids(lists.type.value_type) or pa.types.is_null(lists.type.value_type)
    ):
        expected = "lists of texts or of whole numbers"
        faults.append(f"column {PRODUCTS!r}: found {lists.type}, expected {expected}")
    if faults:
        raise DataError(str(path), faults)
    return pa.table([user.cast(pa.string()), lists.cast(FORM.field(1).type)], FORM)


def _texts(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _of_ids(kind: pa.DataType) -> bool:
    return _texts(kind) or bool(pa.types.is_integer(kind))


def _lists(cells: list[str | None]) -> tuple[pa.Array, list[str]]:
    """Lists from JSON, or in Python's spelling, as pandas writes them to a CSV."""
    values = [_list(cell) if cell else None for cell in cells]
    wrong = [n for n, value in enumerate(values) if not (value is None or _of_lists(value))]
    if not wrong:
        texts = [v and [i if i is None else str(i) for i in v] for v in values]
        return pa.array(texts, FORM.field(1).type), []
    told = "; ".join(f"row {n}: {str(cells[n])[:40]!r}" for n in wrong[:TOLD])
    more = f" and {len(wrong) - TOLD:,} more" if len(wrong) > TOLD else ""
    asked = f'column {PRODUCTS!r}: expected lists such as ["12", "7"], found {told}{more}'
    return pa.array([], FORM.field(1).type), [asked]


def _of_lists(value: Any) -> bool:
    """Whether a cell's value is a list of texts, whole numbers and nothing else."""
    return isinstance(value, list) and all(
        v is None or (isinstance(v, str | int) and not isinstance(v, bool)) for v in value
    )


def _list(cell: str) -> Any:
    """What a cell says; its text where it is no list."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    try:  # literals only: nothing is called
        return ast.literal_eval(cell.strip()) if len(cell) <= CELL else cell
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return cell


# -- score ----------------------------------------------------------------------------------------


def purchases(log: EventLog, bought: Bought) -> pa.Table:
    """What was bought, a row a (user_id, product), as the shop calls them."""
    users = shop_ids(log, "user", bought.users)
    items = shop_ids(log, "item", np.unique(bought.items.values))
    who = np.repeat(bought.users, bought.items.lengths).tolist()
    named = [[users[u] for u in who], [items[i] for i in bought.items.values.tolist()]]
    return pa.table([pa.array(n, pa.string()) for n in named], [USER, PRODUCT])


@dataclass(frozen=True, slots=True)
class Score:
    """The mean recall over all buyers; 0 where a rule is broken, and which."""

    value: float
    buyers: int
    named: int  # buyers who are in the submission
    finding: Finding


def score(table: pa.Table, bought: pa.Table, limits: Limits, *, known: int | None = None) -> Score:
    """Against what was bought, one row a (user_id, product), texts.

    A buyer who is not in the submission counts 0. Raises DataError where nobody bought.
    """
    truth = bought.group_by([USER, PRODUCT]).aggregate([])
    buyers = truth.group_by(USER).aggregate([(PRODUCT, "count")])
    if not len(buyers):
        raise DataError(
            "bought", ["nobody bought in the window, so there is nothing to score against"]
        )
    finding = check(table, limits, known=known)
    _, row, item = _flat(table.column(PRODUCTS).combine_chunks())
    shown = pa.table({USER: table.column(USER).take(row), PRODUCT: item})
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
