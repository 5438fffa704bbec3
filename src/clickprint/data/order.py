"""The one order of rows, made cheaply.

An engine sorts by two columns, and the few rows that tie there are put in order on the way.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from clickprint.core.ids import NONE


def ties(batches: Iterable[pa.RecordBatch], keys: Sequence[str]) -> Iterator[pa.Table]:
    """The rows in the order of `keys` and then of all columns from left to right, nulls first.

    They come in the order of `keys`. Holds a batch, and the rows that share one value of the keys.
    """
    waiting: list[pa.Table] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        table = pa.Table.from_batches([batch])
        new = _changes(table, keys)
        if waiting:
            new[0] = _changes(
                pa.concat_tables([waiting[-1].slice(len(waiting[-1]) - 1), table.slice(0, 1)]),
                keys,
            )[1]
        cuts = np.flatnonzero(new)
        if not len(cuts):
            waiting.append(table)
            continue
        yield _ordered(pa.concat_tables([*waiting, table.slice(0, cuts[-1])]), keys)
        waiting = [table.slice(cuts[-1])]
    if waiting:
        yield _ordered(pa.concat_tables(waiting), keys)


def _changes(table: pa.Table, keys: Sequence[str]) -> Bool[np.ndarray, "L"]:
    """Where a key differs from the row before; in the first row it always does."""
    differs = np.ones(len(table), bool)
    differs[1:] = False
    for column in keys:
        values = table.column(column).to_numpy()
        differs[1:] |= values[1:] != values[:-1]
    return differs


def _ordered(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Column by column among the rows that still tie.

    Most ties end with the first column, so the others are hardly looked at.
    """
    new = _changes(table, keys)
    tied = np.flatnonzero(~new | ~np.append(new[1:], True))
    rows = np.arange(len(table))
    group = np.cumsum(new)[tied]
    for column in (c for c in table.column_names if c not in keys):
        if not len(tied):
            break
        values = _sortable(table.column(column).take(pa.array(rows[tied])))
        order = np.lexsort((values, group))
        rows[tied], values, group = rows[tied][order], values[order], group[order]
        new = np.append(True, (group[1:] != group[:-1]) | (values[1:] != values[:-1]))
        still = ~new | ~np.append(new[1:], True)
        tied, group = tied[still], np.cumsum(new)[still]
    if (rows[1:] > rows[:-1]).all():
        return table
    return table.combine_chunks().take(pa.array(rows))


def _sortable(values: pa.ChunkedArray) -> np.ndarray:
    """Numbers in which null is the least; NaN and infinities are null, as in a stored log."""
    if pa.types.is_floating(values.type):
        return np.nan_to_num(values.to_numpy(), nan=-np.inf, posinf=-np.inf)
    return (
        pc.fill_null(values.cast(pa.int64()), NONE) if values.null_count else values
    ).to_numpy()
