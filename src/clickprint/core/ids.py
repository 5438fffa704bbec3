"""Ids of any type become int64 by one rule that needs no counter, so no id is ever renumbered.

A column whose every value is a whole number within int64 keeps its numbers. Any other column is
text: its id is the first 60 bits of the MD5 of its UTF-8 bytes. The rule needs no state, so files
can be read in any order, on many machines, and days can be appended; the map (id, text) is kept
beside the events, and two texts with one id (a chance of 4e-5 at ten million) are a DataError.
"""

from collections.abc import Iterable
from hashlib import md5

import numpy as np
from jaxtyping import Int64

HEX_DIGITS = 15
# "no id" in an array; in files it is null. No reader lets it in as an id.
NONE = int(np.iinfo(np.int64).min)


def text_id(text: str) -> int:
    """The id of one text: 15 hexadecimal digits of its MD5, 0 ≤ id < 2**60.

    The SQL twin is `clickprint.data.engine.text_id_sql`.
    """
    return int(md5(text.encode(), usedforsecurity=False).hexdigest()[:HEX_DIGITS], 16)


def text_ids(texts: Iterable[str]) -> Int64[np.ndarray, "V"]:
    """`text_id` of each; for small lists (label files, tests), the SQL twin does columns."""
    return np.array([text_id(t) for t in texts], dtype=np.int64)


def each_once(ids: Int64[np.ndarray, "N"]) -> Int64[np.ndarray, "U"]:
    """Sorted, each once.

    By a sort: numpy's own `unique` hashes, which takes ten times as long for a million.
    """
    ordered = np.sort(ids)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
