"""Code vectors as numbers: `[148 50 … 31]`, which hides an item's name or a search's text."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32

from clickprint.core.errors import DataError

PLACES = 64  # that a vector may have; a word and its place are one number, word · PLACES + place
WORDS = 1 << 25  # words are below it, so that the number is an int32


def code_values(texts: pa.ChunkedArray, where: str) -> Int32[np.ndarray, "N C"]:
    """Each text's words as word · PLACES + position in the text.

    −1 stands behind the last word, and everywhere for null. C is the longest text's length, at
    least 1. Words are whole numbers from 0, between white space or commas, in brackets or not.
    Raises DataError for any other text.
    """
    joined = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    plain = pc.utf8_trim(
        pc.replace_substring_regex(pc.fill_null(joined, ""), r"[\[\],\s]+", " "), " "
    )
    words = pc.split_pattern(plain, " ")
    row, word = pc.list_parent_indices(words).to_numpy(), pc.list_flatten(words)
    there = pc.not_equal(word, "").to_numpy(zero_copy_only=False)
    row, word = row[there], word.filter(pa.array(there))
    good = pc.match_substring_regex(word, r"^\d{1,8}$").to_numpy(zero_copy_only=False)
    number = word.filter(pa.array(good)).cast(pa.int64()).to_numpy()
    lengths = np.bincount(row, minlength=len(joined))
    bad = np.concatenate(
        [row[~good], row[good][number >= WORDS], np.flatnonzero(lengths > PLACES)]
    )
    if len(bad):
        text, some = joined[int(bad.min())].as_py(), len(np.unique(bad))
        said = (
            f"{some} of {len(joined)} code vectors are not up to {PLACES} whole numbers below"
            f" {WORDS:,} like [148 50 31]: {text[:80]!r}"
        )
        raise DataError(where, said)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    out = np.full((len(joined), int(lengths.max(initial=1))), -1, np.int32)
    out[row, place] = number * PLACES + place
    return out
