"""What the purchases of a window say: the rows that tasks are made of, and which values are bought
the most.
"""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.events import Role
from clickprint.core.time import Window
from clickprint.data.engine import name
from clickprint.data.features import bucket_sql
from clickprint.data.histories import TIES
from clickprint.data.log import NUMERIC, EventLog


def purchases_sql(
    log: EventLog, window: Window, roles: Collection[Role] = (Role.BUY,)
) -> tuple[str, tuple[str, ...]]:
    """SQL: user, time, kind, item, price, quantity and the catalogue's numbers (as known at the
    window's end), as far as there are such, of the window's events with these roles; and the
    columns that put them in order.
    """
    order = (*TIES, *(c for c in ("price", "quantity") if c in log.manifest.columns))
    attributes = [a for a, k in log.manifest.attributes.items() if k in NUMERIC and a not in order]
    return log.select([*order, *attributes], roles=roles, window=window), order


def most_bought(
    log: EventLog,
    column: str,
    window: Window | None,
    top: int,
    *,
    without: Sequence[int] | Int64[np.ndarray, "N"] = (),
    edges: Float64[np.ndarray, "E"] | None = None,
) -> tuple[Int64[np.ndarray, "T"], Float64[np.ndarray, "T"]]:
    """The `top` values of a column that are bought the most (equal counts: the smaller first), and
    their share of all purchases that have a value. Values in `without` do not count. `edges` cut
    the column into buckets (features.bucket_sql). What tasks.ubm25 chooses, by SQL.
    """
    value = name(column) if edges is None else bucket_sql(name(column), edges.tolist())
    where = (
        f"v IS NOT NULL AND v NOT IN ({', '.join(map(str, without))})"
        if len(without)
        else "v IS NOT NULL"
    )
    rows = (
        f"SELECT {value} AS v FROM ({log.select([column], roles=(Role.BUY,), window=window)}) AS r"
    )
    counted = f"SELECT v, COUNT(*) AS n FROM ({rows}) AS b WHERE {where} GROUP BY v"
    (total,) = log.engine.one(f"SELECT COALESCE(SUM(n), 0) FROM ({counted}) AS c")
    found = log.engine.arrays(f"SELECT v, n FROM ({counted}) AS c ORDER BY n DESC, v LIMIT {top}")
    return found["v"].astype(np.int64), found["n"] / max(int(total), 1)


def price_edges(past: EventLog, buckets: int) -> Float64[np.ndarray, "E"]:
    """What tasks.ubm25.price_edges gives, from how often each price was paid: quantiles that are
    prices, the higher of two.
    """
    rows = past.select(["price"], roles=(Role.BUY,))
    found = past.engine.arrays(
        f"SELECT price, COUNT(*) AS n FROM ({rows}) AS b WHERE price IS NOT NULL GROUP BY price"
        " ORDER BY price"
    )
    if not len(found["n"]):
        return np.zeros(0)
    upto = np.cumsum(found["n"])
    places = np.ceil(np.arange(1, buckets) / buckets * (upto[-1] - 1))
    edges = np.unique(found["price"][np.searchsorted(upto, places, side="right")])
    return edges[edges > found["price"][0]]
