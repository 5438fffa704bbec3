"""Code vectors as numbers: against Python's own parsing, and what is no code vector."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import DataError
from clickprint.data.codes import PLACES, WORDS, code_values

VECTOR = st.lists(st.integers(0, WORDS - 1), max_size=PLACES)
FORMS = [
    lambda v: "[" + " ".join(map(str, v)) + "]",
    lambda v: str(v),
    lambda v: "  ".join(map(str, v)) + "\n",
    lambda v: "[ " + " ".join(f"{w:03d}" for w in v) + " ]",
]


@given(st.lists(st.none() | st.tuples(VECTOR, st.sampled_from(FORMS)), max_size=6))
def test_against_lists(rows: list) -> None:
    texts = pa.chunked_array(
        [pa.array([None if r is None else r[1](r[0]) for r in rows], pa.string())]
    )
    found = code_values(texts, "shop: name")
    vectors = [[] if r is None else r[0] for r in rows]
    longest = max([1, *map(len, vectors)])
    wanted = [
        [w * PLACES + i for i, w in enumerate(v)] + [-1] * (longest - len(v)) for v in vectors
    ]
    assert found.dtype == np.int32
    assert found.tolist() == wanted
    assert found.shape == (len(rows), longest)


@pytest.mark.parametrize(
    "text",
    [
        "red lamp",
        "[1 2 x]",
        "[1 -2]",
        "[1.5 2]",
        f"[{WORDS}]",
        "[99999999999999999999]",
        " ".join(["1"] * (PLACES + 1)),
        "[1; 2]",
        "\u0661",
    ],
)
def test_what_is_no_code_vector(text: str) -> None:
    with pytest.raises(DataError, match=r"^shop: name.*\b1 of 3 code vectors.*\b64\b"):
        code_values(pa.chunked_array([pa.array(["[1 2]", text, None])]), "shop: name")


def test_a_long_text_is_not_repeated_whole() -> None:
    with pytest.raises(DataError) as fault:
        code_values(pa.chunked_array([pa.array(["a" * 10_000_000])]), "shop: name")
    assert len(str(fault.value)) < 400
