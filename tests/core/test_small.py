"""Errors, randomness, ids, event columns, progress: the small nouns."""

import subprocess
import sys
from hashlib import md5

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import ClickprintError, ConfigError, DataError, message, own_code
from clickprint.core.events import COLUMNS, REQUIRED, Role, schema
from clickprint.core.ids import NONE, each_once, text_id, text_ids
from clickprint.core.past import Encoder, Fitted, Past, Table
from clickprint.core.progress import Progress, labelled, silent
from clickprint.core.rng import RNG

PATHS = st.lists(st.text("abc ", min_size=1, max_size=3), max_size=3)


def test_a_data_error_says_where_and_everything():
    one, two = (
        DataError("a.csv", ["it is empty"]),
        DataError("b.csv", ["no column x", "no column y"]),
    )
    assert str(one) == "a.csv: it is empty"
    assert str(two) == "b.csv: 2 problems\n  - no column x\n  - no column y"
    assert two.problems == ("no column x", "no column y")
    assert isinstance(one, ClickprintError)
    assert issubclass(ConfigError, ClickprintError)
    with pytest.raises(AssertionError):
        DataError("c.csv", [])


@given(st.integers(0, 2**63 - 1), PATHS)
def test_streams_are_their_seed_and_path(seed, path):
    rng = RNG(seed)
    for name in path:
        rng = rng.child(name)
    assert rng == RNG(seed, tuple(path))
    assert 0 <= rng.integer() < 2**63
    assert rng.integer() == RNG(seed, tuple(path)).integer()
    assert rng.generator().integers(1 << 60) == RNG(seed, tuple(path)).generator().integers(
        1 << 60
    )


@given(
    st.integers(0, 1000),
    st.lists(
        st.tuples(st.text("ab", min_size=1, max_size=3)), unique=True, min_size=2, max_size=5
    ),
)
def test_siblings_differ(seed, paths):
    assert len({RNG(seed, p).integer() for p in paths}) == len(paths)
    assert RNG(seed).integer() != RNG(seed + 1).integer()


def test_a_stream_is_the_same_on_every_machine():
    assert RNG(0).child("probe").integer() == 4694891806288074190
    assert (
        RNG(0).generator().integers(1000, size=3).tolist()
        == RNG(0).generator().integers(1000, size=3).tolist()
    )


@given(st.text(max_size=30))
def test_ids_of_texts_are_60_bits_of_their_md5(text):
    assert 0 <= text_id(text) < 2**60
    assert (
        text_id(text)
        == int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[:8], "big") >> 4
    )
    assert text_ids([text, "x"]).tolist() == [text_id(text), text_id("x")]


def test_no_id_is_no_texts_id():
    assert NONE == -(2**63)
    assert text_ids([]).dtype == np.int64


def test_the_schema_is_in_one_order():
    full = schema(("quantity", "session"))
    assert full.names == ["time", "user", "kind", "item", "session", "quantity"]
    assert schema(()).names == list(REQUIRED)
    assert [f.name for f in full if not f.nullable] == ["time", "user", "kind"]
    assert schema(tuple(COLUMNS)).types == list(COLUMNS.values())
    assert full.field("quantity").type == pa.float64()
    assert [r.value for r in Role][:3] == ["expose", "click", "view"]


def test_silence():
    assert silent("stage", 1, 2) is None
    assert isinstance(silent, Progress)


def test_a_label_stands_before_the_stage():
    said = []
    labelled(lambda *words: said.append(words), "fit")("epochs", 1, 2)
    assert said == [("fit: epochs", 1, 2)]


def test_promises_are_checked_by_shape():
    class Nothing: ...

    assert not any(isinstance(Nothing(), promise) for promise in (Encoder, Fitted, Past, Table))


def test_core_is_light():
    code = (
        "import clickprint.core.dataset, clickprint.core.past, sys; print([m for m in ('torch',"
        " 'duckdb', 'pandas') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()
        == "[]"
    )


@given(st.lists(st.integers(-3, 3)))
def test_each_once(values: list[int]) -> None:
    assert each_once(np.array(values, np.int64)).tolist() == sorted(set(values))


def test_want_of_memory_is_told_in_words() -> None:
    assert "--memory" in message(MemoryError())


def test_our_own_refusal_passes_through_a_users_code() -> None:
    refusal = ConfigError("x")
    with pytest.raises(ConfigError) as found, own_code("tasks.py"):
        raise refusal
    assert found.value is refusal
