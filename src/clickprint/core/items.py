"""The catalogue: what is known of the items, and from when."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clickprint.core.time import Time


class AttributeType(StrEnum):
    """What the values of an attribute are.

    - `category`: ids; those of texts follow core.ids.
    - `price_bucket`: the rank of a price class.
    - `number`: any finite number.
    - `codes`: a code vector, kept as its text, `[148 50 … 31]`.
    - `text`: words.
    """

    CATEGORY = "category"
    PRICE_BUCKET = "price_bucket"
    NUMBER = "number"
    CODES = "codes"
    TEXT = "text"


CATEGORICAL = (AttributeType.CATEGORY, AttributeType.PRICE_BUCKET)
NUMERIC = (*CATEGORICAL, AttributeType.NUMBER)
ARROW: dict[AttributeType, pa.DataType] = {
    AttributeType.CATEGORY: pa.int64(),
    AttributeType.PRICE_BUCKET: pa.int64(),
    AttributeType.NUMBER: pa.float64(),
    AttributeType.CODES: pa.string(),
    AttributeType.TEXT: pa.string(),
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One row for each item and time from which the row is known, sorted by both.

    The time is `known_from`; null means always.
    """

    table: pa.Table
    attributes: dict[str, AttributeType]

    def at(self, time: Time) -> "Catalogue":
        """What was known before `time`: each item's latest row with known_from < time."""
        known = self.table.column("known_from")
        table = self.table.filter(pc.or_kleene(pc.is_null(known), pc.less(known, time)))
        item = table.column("item").to_numpy()
        # known_from sorts nulls first, so the last row of each item is the latest.
        last = np.append(item[1:] != item[:-1], True)[: len(item)]
        return Catalogue(table.filter(pa.array(last)), self.attributes)

    def first(self, type_: AttributeType) -> str | None:
        """The name of the first attribute of this type, or None."""
        return next((n for n, t in self.attributes.items() if t is type_), None)
