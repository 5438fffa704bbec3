"""Digests of rows that do not depend on their order: a sum of well-mixed row hashes.

So days can be appended and parts merged.
"""

from collections.abc import Callable
from hashlib import blake2b, file_digest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import UInt64

from clickprint.core.rng import mix

ROWS = 65_536  # a block of every column stays in the processor's cache
MASK = (1 << 64) - 1


def row_hashes(table: pa.Table) -> UInt64[np.ndarray, "L"]:
    """64 bits a row, from all its columns by name.

    The order of the columns does not count, null differs from every value, and -0.0 is 0.0. Each
    value is mixed with its column's salt, the row's values are added and mixed again (splitmix64's
    finaliser). Texts go by a hash of each different one.
    """
    out = np.zeros(len(table), np.uint64)
    for column in table.column_names:
        salt = _salt(column)
        for start in range(0, len(table), ROWS):
            part = table.column(column).slice(start, ROWS)
            bits = _bits(part)
            bits += np.uint64(salt)
            mix(bits)
            if part.null_count:
                bits[pc.is_null(part).to_numpy()] = _salt(column + "\0null")
            out[start : start + ROWS] += bits
    for start in range(0, len(out), ROWS):
        mix(out[start : start + ROWS])
    return out


def second(hashes: UInt64[np.ndarray, "L"]) -> UInt64[np.ndarray, "L"]:
    """The other half of 128 bits: the same rows mixed once more with another salt."""
    out = hashes ^ np.uint64(_salt("second"))
    for start in range(0, len(out), ROWS):
        mix(out[start : start + ROWS])
    return out


def text(first: int, other: int) -> str:
    """Two sums modulo 2**64 as 32 hexadecimal digits."""
    return f"{first & MASK:016x}{other & MASK:016x}"


def of_table(table: pa.Table) -> str:
    """The digest of a whole table: its number of rows and both sums."""
    hashes = row_hashes(table)
    return (
        f"{len(table)}"
        f" {text(int(hashes.sum(dtype=np.uint64)), int(second(hashes).sum(dtype=np.uint64)))}"
    )


def of_file(path: Path) -> str:
    """The digest of the rows of a Parquet file of flat columns, in any order.

    For another file it is that of its bytes. Holds a piece of the file.
    """
    if path.suffix != ".parquet":
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()[:32]
    rows = first = other = 0
    with pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(ROWS):
            hashes = row_hashes(pa.Table.from_batches([batch]))
            rows += len(hashes)
            first += int(hashes.sum(dtype=np.uint64))
            other += int(second(hashes).sum(dtype=np.uint64))
    return f"{rows} {text(first, other)}"


def _salt(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def _bits(values: pa.ChunkedArray) -> UInt64[np.ndarray, "L"]:
    """A fresh array of 64 bits a value; what stands for null does not matter."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        codes = values.combine_chunks().dictionary_encode()
        each: Callable[[str], int] = _salt
        known = np.array([*(each(t) for t in codes.dictionary.to_pylist()), 0], np.uint64)
        return known[pc.fill_null(codes.indices, len(known) - 1).to_numpy(zero_copy_only=False)]
    filled = pc.fill_null(values, 0) if values.null_count else values
    array = filled.to_numpy()
    if array.dtype.kind == "f":
        return (array.astype(np.float64) + 0.0).view(np.uint64)
    return array.astype(np.int64).view(np.uint64)
