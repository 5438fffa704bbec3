"""The targets of a split as files: the purchases of both windows, and the labels that count.

train.parquet, valid.parquet   the purchases of a window, in order (with shards: train/shard=k/…)
labels/propensity_TASK.npy     the values that a task asks about, the most bought first
labels/popularity_propensity_TASK.npy   their shares of all purchases
labels/price_edges.npy         where prices are cut, if the catalogue has no buckets
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from clickprint.core.files import write_array
from clickprint.core.items import AttributeType
from clickprint.core.time import Window
from clickprint.data import parts
from clickprint.data.engine import Engine, name
from clickprint.data.log import EventLog
from clickprint.data.parquet import TableWriter
from clickprint.data.purchases import most_bought, price_edges, purchases_sql

TOP = 100  # labels a task, and price buckets, as in tasks.ubm25
GROUP_ROWS = 131_072
TYPES = {"category": AttributeType.CATEGORY, "price": AttributeType.PRICE_BUCKET}


def write_targets(
    log: EventLog,
    past: EventLog,
    windows: tuple[Window, Window],
    folder: Path,
    *,
    shards: int | None = None,
) -> dict[str, Any]:
    """Writes the purchases of the train and the validation window, and the labels.

    `past` is the log before the train window. With `shards` the rows are partitioned by user.
    Returns how many rows and labels there are.
    """
    told: dict[str, Any] = {}
    for part, window in zip(("train", "valid"), windows, strict=True):
        if shards is not None:
            rows = parts.targets(log, window, folder / part, shards=shards)
        else:
            sql, order = purchases_sql(log, window)
            by = ", ".join(f"{name(c)} NULLS FIRST" for c in order)
            ordered = f"SELECT * FROM ({sql}) AS p ORDER BY {by}"
            rows = write_rows(log.engine, ordered, folder / f"{part}.parquet")
        told[f"{part}_rows"] = rows
    return {**told, "labels": write_labels(log, past, windows[0], folder / "labels")}


def write_labels(log: EventLog, past: EventLog, train: Window, folder: Path) -> dict[str, int]:
    """Writes the labels that tasks.ubm25 chooses; how many there are of each task."""
    folder.mkdir()
    found = {"sku": most_bought(log, "item", train, TOP)}
    usual, _ = most_bought(past, "item", None, TOP)
    found["new_sku"] = most_bought(log, "item", train, TOP, without=usual)
    manifest = log.manifest
    of_items = {n: t for n, t in manifest.attributes.items() if n not in manifest.columns}
    for task, of_type in TYPES.items():
        names = [n for n, t in of_items.items() if t is of_type]
        if column := task if task in names else next(iter(names), None):
            found[task] = most_bought(log, column, train, TOP)
    if "price" not in found and "price" in manifest.columns:
        edges = price_edges(past, TOP)
        write_array(folder / "price_edges.npy", edges)
        found["price"] = most_bought(log, "price", train, TOP, edges=edges)
    for task, (values, popularity) in found.items():
        write_array(folder / f"propensity_{task}.npy", values)
        write_array(folder / f"popularity_propensity_{task}.npy", popularity)
    return {task: len(values) for task, (values, _) in found.items()}


def write_rows(engine: Engine, sql: str, path: Path) -> int:
    """Writes an ordered answer as one Parquet file; the number of rows.

    Its bytes do not depend on how the answer was cut into pieces.
    """
    schema = engine.table(f"SELECT * FROM ({sql}) AS q LIMIT 0").schema
    waiting, rows = schema.empty_table(), 0
    with TableWriter(path, schema) as writer:
        for batch in engine.batches(sql):
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
            rows += batch.num_rows
            while len(waiting) >= GROUP_ROWS:
                group = waiting.slice(0, GROUP_ROWS).combine_chunks()
                writer.write_table(group, row_group_size=GROUP_ROWS)
                waiting = waiting.slice(GROUP_ROWS)
        if len(waiting):
            writer.write_table(waiting.combine_chunks(), row_group_size=GROUP_ROWS)
    return rows
