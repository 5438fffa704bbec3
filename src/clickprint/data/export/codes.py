"""Texts as sixteen codes from 0 to 255: vectors of their characters, product-quantised.

What the challenge's texts look like.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, UInt8

from clickprint.core.rng import RNG, mix

CODES, WORDS = 16, 256
GRAM, BUCKETS, WIDTH = 3, 8_192, 64
TEXTS = 4_096  # at once
STEPS = 12
EMPTY = "[" + " ".join(["0"] * CODES) + "]"

# Texts to vectors, such as a sentence encoder's: one row a text.
Vectors = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Characters:
    """Vectors of texts from their characters, without a model.

    Groups of three bytes (lower case, with the text's ends) are hashed and projected to 64
    dimensions at random; the vector has length 1. Texts that share parts of words are near each
    other; an empty text is all zeros.
    """

    seed: int

    def __call__(self, texts: list[str]) -> Float32[np.ndarray, "N D"]:
        table = np.random.default_rng(self.seed).standard_normal((BUCKETS, WIDTH), np.float32)
        out = np.zeros((len(texts), WIDTH), np.float32)
        for start in range(0, len(texts), TEXTS):
            out[start : start + TEXTS] = _sums(texts[start : start + TEXTS], table)
        length = np.linalg.norm(out, axis=1, keepdims=True)
        return out / np.where(length > 0, length, 1).astype(np.float32)


def _sums(texts: list[str], table: Float32[np.ndarray, "H D"]) -> Float32[np.ndarray, "N D"]:
    """The sum of the table's rows for all groups of bytes of each text."""
    end, between = (pa.scalar(t, pa.large_string()) for t in ("", " "))
    padded = pc.binary_join_element_wise(
        end, pc.utf8_lower(pa.array(texts, pa.large_string())), end, between
    )
    _, ends, data = padded.buffers()
    bounds = np.frombuffer(ends, np.int64)[: len(texts) + 1]
    raw = (
        np.frombuffer(data, np.uint8).astype(np.uint64)
        if data is not None
        else np.zeros(0, np.uint64)
    )
    lengths = np.maximum(np.diff(bounds) - GRAM + 1, 0)
    starts = np.append(0, np.cumsum(lengths))
    row = np.repeat(np.arange(len(texts)), lengths)
    place = bounds[row] + np.arange(starts[-1]) - starts[row]
    grams = raw[place] | raw[place + 1] << np.uint64(8) | raw[place + 2] << np.uint64(16)
    out = np.zeros((len(texts), table.shape[1]), np.float32)
    some = np.flatnonzero(lengths)
    if len(some):
        hashed = (mix(grams) % np.uint64(len(table))).astype(np.int64)
        out[some] = np.add.reduceat(table[hashed], starts[:-1][some], axis=0)
    return out


@dataclass(frozen=True, slots=True)
class Quantiser:
    """Product quantisation: a vector is cut into sixteen parts, each of which becomes a number.

    The number is that of the nearest of at most 256 words of that part's book.
    """

    vectors: Vectors
    books: tuple[Float32[np.ndarray, "_ _"], ...]  # (words, columns) of each part

    @staticmethod
    def fit(texts: list[str], vectors: Vectors, rng: RNG) -> "Quantiser":
        """Learns the books from these texts: k-means of each part, from words drawn among them."""
        found = _parts(vectors(texts or [""]))
        return Quantiser(
            vectors,
            tuple(
                _k_means(part, rng.child(f"part {n}").generator()) for n, part in enumerate(found)
            ),
        )

    def codes(self, texts: list[str]) -> UInt8[np.ndarray, "N 16"]:
        columns = [
            _nearest(part, book)
            for part, book in zip(_parts(self.vectors(texts)), self.books, strict=True)
        ]
        return np.stack(columns, axis=1).astype(np.uint8)

    def texts(self, texts: list[str]) -> pa.Array:
        """The codes as the challenge writes them, `[148 50 … 31]`."""
        columns = [pa.array(c).cast(pa.string()) for c in self.codes(texts).T]
        return pc.binary_join_element_wise(
            "[", pc.binary_join_element_wise(*columns, " "), "]", ""
        )


def _parts(vectors: np.ndarray) -> list[Float32[np.ndarray, "_ _"]]:
    """The columns in sixteen equal parts, after zeros to make that possible."""
    found = np.asarray(vectors, np.float32)
    found = np.pad(found, ((0, 0), (0, -found.shape[1] % CODES)))
    return np.split(found, CODES, axis=1)


def _k_means(
    points: Float32[np.ndarray, "N D"], rng: np.random.Generator
) -> Float32[np.ndarray, "W D"]:
    """At most 256 centres; one that loses all its points stays where it is."""
    different = np.unique(points, axis=0)
    centres = rng.permutation(different)[:WORDS]
    for _ in range(STEPS if len(different) > WORDS else 0):
        nearest = _nearest(points, centres)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.stack(
            [np.bincount(nearest, column, len(centres)) for column in points.T], axis=1
        )
        centres = np.where(
            counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres
        ).astype(np.float32)
    return centres


def _nearest(
    points: Float32[np.ndarray, "N D"], centres: Float32[np.ndarray, "W D"]
) -> np.ndarray:
    """The place of the nearest centre, the first among equals."""
    out = np.empty(len(points), np.int64)
    squares = (centres**2).sum(1)
    for start in range(0, len(points), TEXTS):
        some = points[start : start + TEXTS]
        out[start : start + TEXTS] = (squares - 2 * some @ centres.T).argmin(1)
    return out
