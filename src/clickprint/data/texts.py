"""Item vectors from what the catalogue says.

Words and categories, weighed by how rare they are, projected to a few axes.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.items import AttributeType, Catalogue

LEAST = 3  # items that a word must be in
DENSE = 512  # items or words up to which a full decomposition is the simplest one


def item_vectors(
    catalogue: Catalogue, width: int
) -> tuple[Int64[np.ndarray, "V"], Float32[np.ndarray, "V D"]]:
    """Items, sorted, and their latent semantic vectors: directions of length 1.

    An item of which nothing is said has zeros. Terms are the words of texts (letters and digits,
    lower case) and the values of categories; tf-idf with each term once an item, rows of length 1,
    the `width` largest singular axes scaled by the square root of their value. Equal input: equal
    bytes on one machine. Raises ConfigError where the catalogue has neither texts nor categories.
    Source: Deerwester et al. 1990.
    """
    types = (AttributeType.TEXT, AttributeType.CATEGORY)
    names = [n for n, type_ in catalogue.attributes.items() if type_ in types]
    if not names:
        known = ", ".join(f"{n} ({type_.value})" for n, type_ in catalogue.attributes.items())
        raise ConfigError(
            "item vectors from texts need an attribute that is a text or a category; this"
            f" catalogue has {known or 'no attribute'}"
        )
    from scipy import sparse
    from scipy.sparse.linalg import svds

    item = catalogue.table.column("item").to_numpy()
    items, place = np.unique(item, return_inverse=True)
    rows, columns, width_of_all = [], [], 0
    for name in names:
        row, term, terms = _terms(catalogue.table.column(name), catalogue.attributes[name])
        rows.append(place.ravel()[row])
        columns.append(term + width_of_all)
        width_of_all += terms
    both = np.unique(np.stack([np.concatenate(rows), np.concatenate(columns)]), axis=1)
    counts = np.bincount(both[1], minlength=width_of_all)
    kept = (counts >= LEAST) & (counts < len(items))
    number = np.cumsum(kept) - 1
    both = both[:, kept[both[1]]]
    weight = np.log(len(items) / counts[both[1]])
    matrix = sparse.csr_matrix((weight, (both[0], number[both[1]])), (len(items), int(kept.sum())))
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    matrix = sparse.diags(1 / np.where(lengths > 0, lengths, 1)) @ matrix
    axes = min(width, *matrix.shape)
    if min(matrix.shape) <= max(DENSE, axes):
        left, values, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
        left, values = left[:, :axes], values[:axes]
    else:
        left, values, _ = svds(matrix, k=axes, rng=np.random.default_rng(0))
        left, values = left[:, ::-1], values[::-1]
    out = np.zeros((len(items), width), np.float32)
    out[:, :axes] = left * np.sqrt(values)
    norm = np.linalg.norm(out, axis=1, keepdims=True)
    return items.astype(np.int64), (out / np.where(norm > 1e-6, norm, np.inf)).astype(np.float32)


def _terms(
    column: pa.ChunkedArray, type_: AttributeType
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"], int]:
    """(row, number of the term) of every term, and how many terms there are."""
    values = column.combine_chunks()
    if type_ is AttributeType.TEXT:
        words = pc.split_pattern_regex(pc.fill_null(pc.utf8_lower(values), ""), r"[^\p{L}\p{N}]+")
        row, value = pc.list_parent_indices(words), pc.list_flatten(words)
        there = pc.not_equal(value, "")
    else:
        row, value = pa.array(np.arange(len(values))), values
        there = pc.is_valid(value)
    row, value = row.filter(there), value.filter(there).dictionary_encode()
    return (
        row.to_numpy(zero_copy_only=False).astype(np.int64),
        value.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        len(value.dictionary),
    )
