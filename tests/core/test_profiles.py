"""Profiles, and every file that the challenge's validator refuses (spec/challenge-protocol.md,
"Validator").
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import TypeCheckError

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.profiles import LARGEST, Profiles, problems, to_float16

USERS = np.array([7, 3, 5], np.int64)
VECTORS = np.arange(12, dtype=np.float16).reshape(3, 4)


@given(
    hnp.arrays(
        np.float64, st.integers(0, 20), elements=st.floats(allow_nan=False, allow_infinity=True)
    )
)
def test_float16_never_overflows(values):
    found = to_float16(values)
    assert found.dtype == np.float16
    assert np.isfinite(found).all()
    inside = np.abs(values) <= LARGEST
    assert np.array_equal(found[inside], values[inside].astype(np.float16))
    assert (np.abs(found[~inside]) == LARGEST).all()


def test_float16_of_counts():
    assert to_float16(np.array([2048, 2049, 65_504, 10**9])).tolist() == [
        2048,
        2048,
        65_504,
        65_504,
    ]
    assert np.isnan(to_float16(np.array([np.nan])))[0]


def test_saved_and_loaded(tmp_path):
    profiles = Profiles(USERS, VECTORS, (("a", 1), ("b", 3)))
    profiles.save(tmp_path / "p")
    loaded = Profiles.load(tmp_path / "p")
    assert loaded.users.tobytes() == USERS.tobytes()
    assert loaded.vectors.tobytes() == VECTORS.tobytes()
    assert loaded.blocks == profiles.blocks
    Profiles(USERS, VECTORS).save(tmp_path / "p")
    assert Profiles.load(tmp_path / "p").blocks == ()
    assert sorted(f.name for f in (tmp_path / "p").iterdir()) == [
        "client_ids.npy",
        "embeddings.npy",
    ]


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=8))
def test_vectors_of_users(order, asked):
    users = np.array(order, np.int64) * 3
    profiles = Profiles(users, users[:, None].astype(np.float16))
    assert profiles.of(np.array(asked, np.int64) * 3)[:, 0].tolist() == [3 * a for a in asked]


def test_users_without_a_vector_are_counted():
    with pytest.raises(DataError, match=r"2 of 3 users.*\b4$"):
        Profiles(USERS, VECTORS).of(np.array([7, 4, 99]))
    with pytest.raises(DataError, match="1 of 1 users"):
        Profiles(USERS[:0], VECTORS[:0]).of(np.array([1]))


def test_without_a_block():
    profiles = Profiles(USERS, VECTORS, (("a", 1), ("b", 2), ("c", 1)))
    left = profiles.without("b")
    assert left.blocks == (("a", 1), ("c", 1))
    assert np.array_equal(left.vectors, VECTORS[:, [0, 3]])
    with pytest.raises(ConfigError, match=r"block 'nothing'.*\ba, b, c$"):
        profiles.without("nothing")


@pytest.mark.parametrize(
    ("users", "vectors", "blocks", "says"),
    [
        (USERS[:2], VECTORS, (), "has 2 rows"),
        (np.array([1, 1, 2]), VECTORS, (), "there more than once"),
        (USERS, VECTORS * np.float16(np.nan), (), "12 NaN"),
        (USERS, VECTORS, (("a", 3),), "do not add up to 4"),
        (USERS, np.zeros((3, 2049), np.float16), (), "found 2049 columns"),
    ],
)
def test_profiles_that_cannot_be(users, vectors, blocks, says):
    with pytest.raises(
        (DataError, TypeCheckError), match=says if len(users) == len(vectors) else None
    ):
        Profiles(users, vectors, blocks)


def test_lengths_that_differ_are_named_where_shapes_are_not_checked():
    """The shape check of the tests speaks first; in production this one does."""
    profiles = object.__new__(Profiles)
    for name, value in (("users", USERS[:2]), ("vectors", VECTORS), ("blocks", ())):
        object.__setattr__(profiles, name, value)
    with pytest.raises(DataError, match="has 2 rows and"):
        profiles.__post_init__()


# ---- the validator
def write(folder, users=USERS, vectors=VECTORS):
    np.save(folder / "client_ids.npy", users)
    np.save(folder / "embeddings.npy", vectors)
    return folder


def test_valid_profiles_have_no_problem(tmp_path):
    assert problems(write(tmp_path), np.array([3, 5, 7])) == []
    assert problems(tmp_path, None) == []


CLIENTS = {
    "1-D": (USERS[:, None], "found 2 dimensions, expected 1"),
    "int32": (USERS.astype(np.int32), "found dtype int32, expected int64"),
    "float": (USERS.astype(float), "found dtype float64, expected int64"),
    "text": (USERS.astype(str), "found dtype <U"),
    "twice": (np.array([3, 3, 5]), "1 of 3 ids are there more than once"),
    "others": (
        np.array([3, 5, 8]),
        "not the relevant clients: 1 of them are missing and 1 others are there",
    ),
    "fewer": (np.array([3, 5]), "1 of them are missing and 0 others"),
}
EMBEDDINGS = {
    "1-D": (VECTORS[0], "found 1 dimensions, expected 2"),
    "3-D": (VECTORS[None], "found 3 dimensions, expected 2"),
    "wide": (np.zeros((3, 2049), np.float16), "found 2049 columns, at most 2048"),
    "float32": (VECTORS.astype(np.float32), "found dtype float32, expected float16"),
    "int": (VECTORS.astype(np.int64), "found dtype int64"),
    "NaN": (
        np.where(VECTORS == 5, np.float16(np.nan), VECTORS),
        "found 1 NaN and 0 infinite values",
    ),
    "infinity": (
        np.where(VECTORS > 9, np.float16(np.inf), VECTORS),
        "found 0 NaN and 2 infinite values",
    ),
}


@pytest.mark.parametrize("case", CLIENTS)
def test_clients_that_are_refused(tmp_path, case):
    users, says = CLIENTS[case]
    (found,) = problems(
        write(tmp_path, users=users, vectors=VECTORS[: len(users)]), np.array([3, 5, 7])
    )
    assert found.startswith("client_ids.npy: ")
    assert says in found


@pytest.mark.parametrize("case", EMBEDDINGS)
def test_embeddings_that_are_refused(tmp_path, case):
    vectors, says = EMBEDDINGS[case]
    (found,) = problems(write(tmp_path, vectors=vectors), np.array([3, 5, 7]))
    assert found.startswith("embeddings.npy: ")
    assert says in found


@pytest.mark.parametrize("name", ["client_ids.npy", "embeddings.npy"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "not found"),
        (b"", "the file is empty"),
        (b"junk", "header"),
        (b"\x93NUMPY\x01\x00", "header"),
        ("truncated", "149 bytes"),
        ("pickle", "objects"),
        ("npz", "np.savez"),
    ],
)
def test_files_that_are_no_arrays(tmp_path, name, content, says):
    path = write(tmp_path) / name
    if content is None:
        path.unlink()
    elif content == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    elif content == "pickle":
        np.save(path, np.array([object()]), allow_pickle=True)
    elif content == "npz":
        np.savez(path.open("wb"), a=USERS)
    else:
        path.write_bytes(content)
    (found,) = problems(tmp_path, USERS)
    assert found.startswith(name)
    assert says in found
    with pytest.raises(DataError):
        Profiles.load(tmp_path)


def test_lengths_are_compared_last_and_both_files_are_reported(tmp_path):
    (found,) = problems(write(tmp_path, vectors=VECTORS[:2]), USERS)
    assert found == "client_ids.npy has 3 rows and embeddings.npy has 2; they must be equal"
    both = problems(write(tmp_path, users=USERS[:2].astype(np.int32), vectors=VECTORS[0]), USERS)
    assert len(both) == 2
    assert problems(write(tmp_path, users=np.array([1, 2, 3])), None) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "[1]",
        '[["a"]]',
        '[["a", "x"]]',
        "{",
        '[["a", 2.0], ["b", 2]]',
        '[["a", -1], ["b", 5]]',
        '[["a", 2], ["a", 2]]',
        '[["a", 3]]',
        '[["a", NaN]]',
        "[" * 20_000 + "]" * 20_000,
    ],
    ids=range(12),
)
def test_blocks_that_are_no_blocks(tmp_path, text):
    write(tmp_path)
    (tmp_path / "blocks.json").write_text(text)
    with pytest.raises(DataError, match="blocks"):
        Profiles.load(tmp_path)


def test_blocks_that_do_not_add_up(tmp_path):
    write(tmp_path)
    (tmp_path / "blocks.json").write_text('[["a", 3]]')
    with pytest.raises(DataError, match="do not add up"):
        Profiles.load(tmp_path)
