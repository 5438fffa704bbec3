"""Files of a form: what is whole is read, and whatever else stands there is one DataError."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from jaxtyping import Float16, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.forms import json_of, npy_header, read_json, read_npy, toml_of


def npy(header: str, values: bytes = b"", version: int = 1) -> bytes:
    """The bytes of a .npy file with any header."""
    text = header.encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text + values


@given(
    arrays.arrays(
        st.sampled_from([np.int64, np.float16, np.float32, np.uint8, np.bool_, ">i8", "M8[us]"]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.booleans(),
    st.booleans(),
)
def test_an_array_is_read_as_numpy_reads_it(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, fortran: bool, mapped: bool
) -> None:
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, np.array(array, order="F" if fortran else "C"))
    found = read_npy(path, mapped=mapped)
    np.testing.assert_array_equal(found, np.load(path))
    assert mapped or found.dtype.isnative
    assert found.shape == array.shape


GOOD = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no numpy at all",
        b"\x93NUMPY\x01",
        b"\x93NUMPY\x09\x00" + GOOD.encode(),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2,", b"\0" * 16),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000,), }", b"\0" * 16),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (-2,), }", b"\0" * 16),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }"),
        npy("{'descr': '|V2000000000', 'fortran_order': False, 'shape': (1,), }", b"\0" * 16),
        npy("{'descr': '<U2000000000', 'fortran_order': False, 'shape': (1,), }", b"\0" * 16),
        npy("{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (2,), }", b"\0" * 16),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", b"\x80\x05."),
        npy("(" * 5000 + ")" * 5000),
        npy("{'descr': '<i8', 'fortran_order': __import__('os'), 'shape': (2,)}", b"\0" * 16),
        npy("{'descr': '<i8', 'shape': (2,), }", b"\0" * 16),
        npy(
            "{'descr': '<i8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2), }", b"\0" * 16
        ),
        npy(GOOD, b"\0" * 15),
        npy(GOOD, b"\0" * 17),
        npy("{'descr': '<i9', 'fortran_order': False, 'shape': (2,), }", b"\0" * 18),
        npy(GOOD, b"\0" * 16, version=7),
    ],
    ids=range(21),
)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_that_is_no_array_is_a_data_error(
    tmp_path: Path, content: bytes, mapped: bool
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DataError) as fault:
        read_npy(path, mapped=mapped, again="make it again")
    assert fault.value.where == str(path)
    assert str(fault.value).endswith("make it again")


def test_no_file_a_folder_and_a_pipe_are_data_errors(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "folder", "pipe"):
        for read in (read_npy, read_json):
            with pytest.raises(DataError):
                read(tmp_path / name)


def test_a_file_that_only_claims_its_size_takes_no_memory(tmp_path: Path) -> None:
    """A hole in a file costs nothing on the disk; a copy of it in memory would."""
    path, rows = tmp_path / "a.npy", 10**13
    head = npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows},), }}")
    path.write_bytes(head)
    try:
        os.truncate(path, len(head) + rows)
    except OSError:
        pytest.skip("no such large files here")
    with pytest.raises(DataError):
        read_npy(path)


def test_the_form_is_checked_in_type_and_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3), np.float16))
    assert read_npy(path, Float16[np.ndarray, "U D"]).shape == (2, 3)
    for form in (Int64[np.ndarray, "U D"], Float16[np.ndarray, "U"], Float16[np.ndarray, "U 4"]):
        with pytest.raises(DataError):
            read_npy(path, form)


def test_a_header_of_objects_is_told_to_who_can_read_them() -> None:
    file = io.BytesIO(npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", b"rest"))
    header = npy_header(file)
    assert (header.shape, header.dtype.hasobject, file.read()) == ((2,), True, b"rest")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**64) + 1, 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text('ab\n"é😀'), inner),
        max_leaves=8,
    )
)
@settings(max_examples=50)
def test_json_is_read_as_python_reads_it(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False).encode()):
        assert json_of(text, "here") == value


BAD_JSON = {
    "deep lists": "[" * 20_000 + "]" * 20_000,
    "deep tables": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "deeper than any of ours": "[" * 80 + "]" * 80,
    "long number": "1" * 5000,
    "more than 64 bits": str(1 << 64),
    "NaN": '{"a": NaN}',
    "infinite": "[1e999]",
    "infinite word": "[-Infinity]",
    "surrogate": '["\\ud800"]',
    "key twice": '{"a": 1, "a": 2}',
    "cut": '{"a": ',
    "more": "{} {}",
    "no text": b"\xff\xfe{}",
    "nothing": "",
}


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_would_do_harm_is_a_data_error(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError) as fault:
        json_of(text, "here", again="make it again")
    assert (fault.value.where, len(fault.value.problems)) == ("here", 1)
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError):
        read_json(path)


def test_json_is_not_read_beyond_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(DataError):
        read_json(path)


def test_infinite_numbers_are_read_where_they_are_meant() -> None:
    assert json_of("[-Infinity, 1e999]", "here", finite=False) == [-np.inf, np.inf]


BAD_TOML = {
    "deep lists": "a = " + "[" * 20_000 + "]" * 20_000,
    "deep tables": "a = " + "{a = " * 20_000 + "1" + "}" * 20_000,
    "long key": ".".join("a" * 20_000) + " = 1",
    "long quoted key": ".".join(['"a"'] * 20_000) + " = 1",
    "long table": "[" + " . ".join("a" * 20_000) + "]",
    "long number": "a = " + "1" * 5000,
    "more than 64 bits": f"a = {1 << 64}",
    "more than 64 bits, hexadecimal": "a = [0x" + "f" * 30 + "]",
    "surrogate": 'a = "\\ud800"',
    "huge": "a = 1\n" + "#" * (2 << 20),
    "no TOML": "a = = 1",
}


@pytest.mark.parametrize("text", BAD_TOML.values(), ids=BAD_TOML)
def test_toml_that_would_do_harm_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError) as fault:
        toml_of(text, "shop.toml")
    assert str(fault.value).startswith("shop.toml: ")
    assert len(str(fault.value)) < 300


def test_toml_is_read() -> None:
    assert toml_of("[a.b]\nc = [1, 2.5, 'x']", "here") == {"a": {"b": {"c": [1, 2.5, "x"]}}}


def test_an_array_that_is_cut_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", np.arange(8))
    raw = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "header.npy").write_bytes(raw[:40])
    with pytest.raises(DataError, match="ends in its header"):
        read_npy(tmp_path / "header.npy")
    # Cut between the look at its size and the reading.
    monkeypatch.setattr(np, "fromfile", lambda *_: np.arange(7))
    with pytest.raises(DataError, match="was cut"):
        read_npy(tmp_path / "x.npy")
