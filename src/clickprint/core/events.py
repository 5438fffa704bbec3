"""The event table: what its columns are called, and what the kinds of event mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa


class Role(StrEnum):
    """What a kind of event is for, in funnel order.

    The order also breaks ties in time between kinds.
    """

    EXPOSE = "expose"
    CLICK = "click"
    VIEW = "view"
    SEARCH = "search"
    CART = "cart"
    REMOVE = "remove"
    LIKE = "like"
    BUY = "buy"
    CANCEL = "cancel"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event as the shop calls it (`product_buy`), and its role (`buy`).

    Its code is its place in the manifest's list.
    """

    name: str
    role: Role


# Every column that an event can have, in the one order that ties follow: (time, kind, item), then
# what is left ("row"). user is second in the stored order, so that a day's file is in time order.
# Texts are ids (core.ids); price is per unit.
COLUMNS: dict[str, pa.DataType] = {
    "time": pa.int64(),
    "user": pa.int64(),
    "kind": pa.int16(),
    "item": pa.int64(),  # null where an event is about no item (a search, a page)
    "session": pa.int64(),  # one request, page or basket
    "scenario": pa.int64(),
    "query": pa.int64(),
    "url": pa.int64(),
    "price": pa.float64(),
    "quantity": pa.float64(),
}
REQUIRED = ("time", "user", "kind", "item")
# Columns that hold the id of an outside value; each may have a map ids/<column>.parquet (id,
# text).
ID_COLUMNS = ("user", "item", "session", "scenario", "query", "url")


def schema(optional: Sequence[str]) -> pa.Schema:
    """The Arrow schema of events with these optional columns, in the order of COLUMNS."""
    return pa.schema(
        [
            pa.field(n, t, n in ("item", *COLUMNS) and n not in REQUIRED[:3])
            for n, t in COLUMNS.items()
            if n in REQUIRED or n in optional
        ]
    )
