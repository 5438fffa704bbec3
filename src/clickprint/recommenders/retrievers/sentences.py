"""Item vectors by a sentence encoder, from the texts of the catalogue."""

from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.items import AttributeType, Catalogue

TEXTS = 256  # at a time


def sentence_vectors(
    catalogue: Catalogue, model: str
) -> tuple[Int64[np.ndarray, "V"], Float32[np.ndarray, "V D"]]:
    """Items, sorted, and the vector of each one's texts; zeros for an item without any.

    - `model`: the folder or the name of a model for the library sentence-transformers.

    Texts are joined in the order of the catalogue's attributes. Raises ConfigError for a catalogue
    without texts, for a model that cannot be read, and without the library.
    """
    names = [n for n, type_ in catalogue.attributes.items() if type_ is AttributeType.TEXT]
    if not names:
        known = ", ".join(f"{n} ({k.value})" for n, k in catalogue.attributes.items())
        raise ConfigError(
            "sentences: a sentence encoder needs an attribute that is a text;"
            f" this catalogue has {known or 'no attribute'}"
        )
    items = catalogue.table.column("item").to_numpy()
    joined = [
        ". ".join(t.strip() for t in row if t and t.strip())
        for row in zip(*(catalogue.table.column(n).to_pylist() for n in names), strict=True)
    ]
    texts, place = np.unique(np.array(joined, dtype=np.str_), return_inverse=True)
    encoder, some = _encoder(model), texts != ""
    found = np.zeros((0, 1), np.float32)
    if some.any():
        found = encoder.encode(
            texts[some].tolist(), batch_size=TEXTS, show_progress_bar=False, convert_to_numpy=True
        )
    vectors = np.zeros((len(texts), found.shape[1]), np.float32)
    vectors[some] = found
    order = np.argsort(items, kind="stable")
    return items[order].astype(np.int64), vectors[place.ravel()[order]]


@cache
def _encoder(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ConfigError(
            "sentences: a sentence encoder needs sentence-transformers;"
            " pip install 'clickprint[llm]'"
        ) from None
    try:
        return SentenceTransformer(model)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as fault:
        message = str(fault).splitlines()[0] if str(fault) else repr(fault)
        raise ConfigError(
            f"sentences: found {model!r}, expected the folder or the name of a"
            f" sentence-transformers model ({message})"
        ) from None
