"""Item vectors from texts: against the same in dense numpy, and what a hostile catalogue does to
them.
"""

import math
import re

import numpy as np
import pyarrow as pa
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.items import AttributeType, Catalogue
from clickprint.data import texts
from clickprint.data.texts import item_vectors

WORDS = ["red", "blue", "lamp", "chair", "wood", "steel", "old", "new", "big", "small"]


def catalogue(titles: list[str | None], groups: list[int | None] | None = None) -> Catalogue:
    columns = {
        "item": pa.array(range(len(titles)), pa.int64()),
        "known_from": pa.nulls(len(titles), pa.int64()),
    }
    columns |= {"title": pa.array(titles, pa.string())}
    kinds = {"title": AttributeType.TEXT}
    if groups is not None:
        columns["group"], kinds["group"] = pa.array(groups, pa.int64()), AttributeType.CATEGORY
    return Catalogue(pa.table(columns), kinds)


def shop(count: int) -> tuple[list[str], list[int]]:
    rng = np.random.default_rng(3)
    titles = [", ".join(rng.choice(WORDS, rng.integers(1, 5))).upper() for _ in range(count)]
    return titles, rng.integers(0, 4, count).tolist()


@pytest.mark.parametrize("dense", [0, 512])
def test_inner_products_are_those_of_the_truncated_decomposition(
    dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "DENSE", dense)
    titles, groups = shop(40)
    items, found = item_vectors(catalogue(titles, groups), 5)
    docs = [
        {*re.findall(r"\w+", t.lower()), f"group {g}"} for t, g in zip(titles, groups, strict=True)
    ]
    terms = sorted(set().union(*docs))
    terms = [t for t in terms if 3 <= sum(t in d for d in docs) < len(docs)]
    table = np.array(
        [
            [math.log(len(docs) / sum(t in e for e in docs)) if t in d else 0 for t in terms]
            for d in docs
        ]
    )
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(table, full_matrices=False)
    wanted = left[:, :5] * np.sqrt(values[:5])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert items.tolist() == list(range(40))
    assert np.abs(found @ found.T - wanted @ wanted.T).max() < 1e-5
    assert np.array_equal(item_vectors(catalogue(titles, groups), 5)[1], found)


def test_items_of_which_nothing_is_said_have_zeros_and_wide_vectors_end_in_zeros() -> None:
    titles, _ = shop(40)
    _, found = item_vectors(catalogue([None, "", " ,;!", "a-word-of-its-own", *titles]), 64)
    assert not found[:4].any()
    assert np.allclose(np.linalg.norm(found[4:], axis=1), 1, atol=1e-5)
    assert not found[:, len(WORDS) :].any()
    assert np.isfinite(found).all()


def test_other_scripts_nothing_at_all_and_a_long_text() -> None:
    _, found = item_vectors(
        catalogue(
            ["лампа красная", "Лампа синяя", "лампа", "стул", "стул", "стул новый", "x" * 100_000]
        ),
        4,
    )
    assert (found[:3] @ found[:3].T > 0.99).all()
    assert np.abs(found[:3] @ found[3:6].T).max() < 0.01
    assert item_vectors(catalogue([]), 4)[1].shape == (0, 4)
    assert not item_vectors(catalogue([None, None]), 4)[1].any()


def test_a_catalogue_without_texts() -> None:
    table = pa.table(
        {"item": pa.array([1], pa.int64()), "known_from": pa.nulls(1, pa.int64()), "price": [1.0]}
    )
    with pytest.raises(ConfigError, match="price \\(number\\)"):
        item_vectors(Catalogue(table, {"price": AttributeType.NUMBER}), 4)
