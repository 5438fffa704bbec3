"""What is true of users in a window.

Each function returns a Target: called with a table, a window and users, it gives users × labels.

All of them are a search and a scatter over the window's rows, so a million users cost what their
rows cost. `days` looks at the window's first days only; attributes are always those known at the
window's end. A row without a value (`ids.NONE`, NaN) has no label.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.lookup import pair_keys, pairs_of_keys, positions_in_any_order
from clickprint.core.past import Table
from clickprint.core.time import Window
from clickprint.tasks.task import Target

Users = Int64[np.ndarray, "U"]
# Money is summed in whole ten-thousandths: whole numbers have the same sum in any order.
CENTS = 10_000


def comes_back(*roles: Role, days: int | float | None = None) -> Target:
    """One column: the user did something with one of these roles (any, when none is named)."""

    def target(table: Table, window: Window, users: Users) -> Bool[np.ndarray, "U 1"]:
        return (_counts(table, window, users, roles, days) > 0)[:, None]

    return target


def stays_away(*roles: Role, days: int | float | None = None) -> Target:
    """One column: the user did nothing with these roles.

    With BUY: the challenge's churn and conversion.
    """
    back = comes_back(*roles, days=days)

    def target(table: Table, window: Window, users: Users) -> Bool[np.ndarray, "U 1"]:
        return ~back(table, window, users)

    return target


def count_at_least(n: int, *roles: Role, days: int | float | None = None) -> Target:
    """One column: at least `n` events with these roles."""
    if n < 1:
        raise ConfigError(f"count_at_least: found {n}, expected at least 1")

    def target(table: Table, window: Window, users: Users) -> Bool[np.ndarray, "U 1"]:
        return (_counts(table, window, users, roles, days) >= n)[:, None]

    return target


def activity(*roles: Role, days: int | float | None = None) -> Target:
    """One float column: log(1 + the number of events with these roles)."""

    def target(table: Table, window: Window, users: Users) -> Float32[np.ndarray, "U 1"]:
        return _column(np.log1p(_counts(table, window, users, roles, days)))

    return target


def variety_at_least(n: int, column: str, *roles: Role, days: int | float | None = None) -> Target:
    """One column: events with these roles touch at least `n` different values of `column`."""
    if n < 1:
        raise ConfigError(f"variety_at_least: found {n}, expected at least 1")

    def target(table: Table, window: Window, users: Users) -> Bool[np.ndarray, "U 1"]:
        rows = _read(table, window, ("user", column), roles, days)
        row = positions_in_any_order(users, rows["user"])
        some = (row >= 0) & (rows[column] != NONE)
        values, value = np.unique(rows[column][some], return_inverse=True)
        owner, _ = pairs_of_keys(np.unique(pair_keys(row[some], value, len(values))), len(values))
        return (np.bincount(owner, minlength=len(users)) >= n)[:, None]

    return target


def buys_any(
    column: str,
    values: Sequence[int] | np.ndarray,
    roles: Sequence[Role] = (Role.BUY,),
    *,
    days: int | float | None = None,
) -> Target:
    """A column a value: the user has an event with one of these roles and the value in `column`.

    `column` is item, url, a category, …. Raises ConfigError for an empty list, a value that stands
    twice, or NONE.
    """
    labels = _labels(values, f"buys_any({column!r})")

    def target(table: Table, window: Window, users: Users) -> Bool[np.ndarray, "U T"]:
        rows = _read(table, window, ("user", column), roles, days)
        return _scatter(rows["user"], rows[column], users, labels)

    return target


def buys_price(
    edges: Sequence[int | float] | np.ndarray,
    values: Sequence[int] | np.ndarray | None = None,
    roles: Sequence[Role] = (Role.BUY,),
    *,
    days: int | float | None = None,
) -> Target:
    """A column a bucket of the event's price per unit: the user has an event with a price in it.

    Bucket b holds edges[b − 1] ≤ price < edges[b], so there is one more bucket than edges.
    `values` picks buckets, in that order; None takes all. Raises ConfigError for edges that do not
    rise.
    """
    cuts = np.asarray(edges, np.float64)
    if cuts.ndim != 1 or np.isnan(cuts).any() or (cuts[1:] <= cuts[:-1]).any():
        raise ConfigError("buys_price: the edges must rise from one to the next")
    labels = _labels(np.arange(len(cuts) + 1) if values is None else values, "buys_price")

    def target(table: Table, window: Window, users: Users) -> Bool[np.ndarray, "U T"]:
        _need_price(table)
        rows = _read(table, window, ("user", "price"), roles, days)
        return _scatter(rows["user"], price_buckets(rows["price"], cuts), users, labels)

    return target


def spend(days: int | float | None = None, roles: Sequence[Role] = (Role.BUY,)) -> Target:
    """One float column: log(1 + the sum of price × quantity).

    A row without a quantity counts once, one without a price not at all. A sum below zero (more
    returned than bought) counts as 0. Like all that reads money, raises ConfigError where the
    events have no price.
    """

    def target(table: Table, window: Window, users: Users) -> Float32[np.ndarray, "U 1"]:
        return _column(np.log1p(np.maximum(_spent(table, window, users, roles, days), 0)))

    return target


def spends_at_least(
    amount: int | float, days: int | float | None = None, roles: Sequence[Role] = (Role.BUY,)
) -> Target:
    """One column: the sum of price × quantity reaches `amount`."""
    if not amount > 0:
        raise ConfigError(f"spends_at_least: found {amount}, expected an amount above 0")

    def target(table: Table, window: Window, users: Users) -> Bool[np.ndarray, "U 1"]:
        return (_spent(table, window, users, roles, days) >= amount)[:, None]

    return target


def price_buckets(
    price: Float64[np.ndarray, "L"], edges: Float64[np.ndarray, "E"]
) -> Int64[np.ndarray, "L"]:
    """The bucket of each price, NONE where there is no price."""
    return np.where(np.isnan(price), NONE, np.searchsorted(edges, price, side="right"))


def _column(values: Float64[np.ndarray, "U"]) -> Float32[np.ndarray, "U 1"]:
    return values.astype(np.float32)[:, None]


def _counts(
    table: Table, window: Window, users: Users, roles: Sequence[Role], days: int | float | None
) -> Int64[np.ndarray, "U"]:
    """How many events with these roles each user has."""
    row = positions_in_any_order(users, _read(table, window, ("user",), roles, days)["user"])
    return np.bincount(row[row >= 0], minlength=len(users))


def _scatter(
    owner: Int64[np.ndarray, "L"],
    value: Int64[np.ndarray, "L"],
    users: Users,
    labels: Int64[np.ndarray, "T"],
) -> Bool[np.ndarray, "U T"]:
    label = positions_in_any_order(labels, value)
    listed = label >= 0
    row, label = positions_in_any_order(users, owner[listed]), label[listed]
    truth = np.zeros((len(users), len(labels)), bool)
    truth[row[row >= 0], label[row >= 0]] = True
    return truth


def _spent(
    table: Table, window: Window, users: Users, roles: Sequence[Role], days: int | float | None
) -> Float64[np.ndarray, "U"]:
    _need_price(table)
    counted = "quantity" in table.manifest.columns
    columns = ("user", "price", "quantity") if counted else ("user", "price")
    rows = _read(table, window, columns, roles, days)
    quantity = np.where(np.isnan(rows["quantity"]), 1.0, rows["quantity"]) if counted else 1.0
    cents = np.rint(np.nan_to_num(rows["price"] * quantity * CENTS))
    row = positions_in_any_order(users, rows["user"])
    known = row >= 0
    return np.bincount(row[known], weights=cents[known], minlength=len(users)) / CENTS


def _need_price(table: Table) -> None:
    """A catalogue may have an attribute of that name, in buckets: it is no money."""
    if "price" not in table.manifest.columns:
        raise ConfigError(
            f"the events of {table.manifest.name} have no price, so nothing can be summed or cut"
            " by it"
        )


def _labels(values: Sequence[int] | np.ndarray, where: str) -> Int64[np.ndarray, "T"]:
    labels = np.asarray(values)
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"{where}: found labels of shape {labels.shape} and type {labels.dtype}, expected a"
            " list of whole numbers"
        )
    labels = labels.astype(np.int64)
    if len(np.unique(labels)) < len(labels) or (labels == NONE).any():
        raise ConfigError(f"{where}: a label stands twice, or is the mark for no value")
    return labels


def _read(
    table: Table,
    window: Window,
    columns: tuple[str, ...],
    roles: Sequence[Role],
    days: int | float | None,
) -> Mapping[str, np.ndarray]:
    """The rows of the window's first `days`.

    The whole window is asked for, so that targets of any length share one reading.
    """
    end = window.end if days is None else window.first(days).end
    if end == window.end:
        return table.rows(columns, roles=tuple(roles) or None, window=window, ordered=False)
    rows = table.rows((*columns, "time"), roles=tuple(roles) or None, window=window, ordered=False)
    inside = rows["time"] < end
    return {c: rows[c][inside] for c in columns}
