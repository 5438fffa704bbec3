"""The catalogue: what is known of the items, and from when."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clickprint.core.time import Time


class AttributeKind(StrEnum):
    """What an attribute's values are.

    A code vector is kept as its text, `[148 50 … 31]`; a category's texts are ids (core.ids).
    """

    CATEGORY = "category"
    PRICE_BUCKET = "price_bucket"
    NUMBER = "number"
    CODES = "codes"
    TEXT = "text"


ARROW: dict[AttributeKind, pa.DataType] = {
    AttributeKind.CATEGORY: pa.int64(),
    AttributeKind.PRICE_BUCKET: pa.int64(),
    AttributeKind.NUMBER: pa.float64(),
    AttributeKind.CODES: pa.string(),
    AttributeKind.TEXT: pa.string(),
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One row an item and time from which the row is known (`known_from`, null = always), sorted
    by (item, known_from).
    """

    table: pa.Table
    attributes: dict[str, AttributeKind]

    def at(self, time: Time) -> "Catalogue":
        """What was known before `time`: each item's latest row with known_from < time, or its
        timeless row.
        """
        known = self.table.column("known_from")
        table = self.table.filter(pc.or_kleene(pc.is_null(known), pc.less(known, time)))
        item = table.column("item").to_numpy()
        # known_from sorts nulls first, so the last row of each item is the latest.
        last = np.append(item[1:] != item[:-1], True)[: len(item)]
        return Catalogue(table.filter(pa.array(last)), self.attributes)

    def first(self, kind: AttributeKind) -> str | None:
        """The name of the first attribute of this kind, or None."""
        return next((n for n, k in self.attributes.items() if k is kind), None)
