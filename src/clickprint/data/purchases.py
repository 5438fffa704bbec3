"""What the purchases of a window say: the rows of tasks, and which values are bought the most."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.events import Role
from clickprint.core.items import NUMERIC
from clickprint.core.time import Window
from clickprint.data.engine import in_sql, name
from clickprint.data.features import bucket_sql
from clickprint.data.log import EventLog


def purchases_sql(
    log: EventLog, window: Window, roles: Collection[Role] = (Role.BUY,)
) -> tuple[str, tuple[str, ...]]:
    """SQL: the window's events with these roles, and the columns that put them in order.

    It has user, time, kind, item, price, quantity and the catalogue's numbers (as known at the
    window's end), as far as there are such.
    """
    wanted = ("user", "time", "kind", "item", "price", "quantity")
    order = tuple(c for c in log.manifest.tie_order if c in wanted)
    attributes = [a for a in log.manifest.of_type(*NUMERIC) if a not in order]
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
    """The `top` values of a column that are bought the most, and their share of all purchases.

    Purchases without a value do not count; of equal counts the smaller value comes first. What
    tasks.ubm25 chooses, by SQL.

    - `without`: values that do not count.
    - `edges`: cut the column into buckets (features.bucket_sql).
    """
    value = name(column) if edges is None else bucket_sql(name(column), edges.tolist())
    where = f"v IS NOT NULL AND NOT ({in_sql('v', without)})"
    bought = log.select([column], roles=(Role.BUY,), window=window)
    rows = f"SELECT {value} AS v FROM ({bought}) AS r"
    counted = f"SELECT v, COUNT(*) AS n FROM ({rows}) AS b WHERE {where} GROUP BY v"
    (total,) = log.engine.one(f"SELECT COALESCE(SUM(n), 0) FROM ({counted}) AS c")
    best = log.engine.arrays(f"SELECT v, n FROM ({counted}) AS c ORDER BY n DESC, v LIMIT {top}")
    return best["v"].astype(np.int64), best["n"] / max(int(total), 1)


def price_edges(past: EventLog, buckets: int) -> Float64[np.ndarray, "E"]:
    """What tasks.ubm25.price_edges gives, from how often each price was paid."""
    rows = past.select(["price"], roles=(Role.BUY,))
    paid = past.engine.arrays(
        f"SELECT price, COUNT(*) AS n FROM ({rows}) AS b WHERE price IS NOT NULL"
        " GROUP BY price ORDER BY price"
    )
    if not len(paid["n"]):
        return np.zeros(0)
    upto = np.cumsum(paid["n"])
    # Quantiles that are prices, the higher of two.
    ranks = np.ceil(np.arange(1, buckets) / buckets * (upto[-1] - 1))
    edges = np.unique(paid["price"][np.searchsorted(upto, ranks, side="right")])
    return edges[edges > paid["price"][0]]
