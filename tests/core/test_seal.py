"""Sealed folders: whatever happens to a file in one is noticed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.core.seal import PARTS, check_seal, intact, part_faults, parts_of, seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with a sealed one and a plain one inside."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "plain").mkdir()
    np.save(tmp_path / "a.npy", np.arange(5))
    for name in ("inner/b.txt", "inner/c.txt", "plain/d.txt"):
        (tmp_path / name).write_text(name)
    seal(tmp_path / "inner")
    seal(tmp_path)
    return tmp_path


def test_a_seal_names_every_file_once(folder: Path) -> None:
    assert set(parts_of(folder)) == {"a.npy", "inner/parts.json", "plain/d.txt"}
    assert set(parts_of(folder / "inner")) == {"b.txt", "c.txt"}
    check_seal(folder)
    check_seal(folder / "inner")


def same_size(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


WAYS: dict[str, Callable[[Path], None]] = {
    "gone": lambda f: (f / "a.npy").unlink(),
    "cut": lambda f: (f / "a.npy").write_bytes((f / "a.npy").read_bytes()[:-8]),
    "no form": lambda f: (f / "a.npy").write_bytes(b"x" * (f / "a.npy").stat().st_size),
    "not sealed": lambda f: (f / PARTS).unlink(),
    "seal emptied": lambda f: (f / PARTS).write_text(""),
    "seal of texts": lambda f: (f / PARTS).write_text('{"format": 1, "parts": {"a.npy": "x"}}'),
    "another format": lambda f: (f / PARTS).write_text('{"format": 2, "parts": {}}'),
    "outside": lambda f: (f / PARTS).write_text(
        json.dumps(
            {"format": 1, "parts": {"../x": {"bytes": 1, "digest": "0" * 32}}},
        )
    ),
}
WHOLE: dict[str, Callable[[Path], None]] = {
    "changed": lambda f: same_size(f / "plain/d.txt"),
    "inner seal changed": lambda f: same_size(f / "inner/parts.json"),
    "one more": lambda f: (f / "e.txt").write_text("e"),
}


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("whole", [False, True])
def test_a_damaged_part_is_refused(
    folder: Path, change: Callable[[Path], None], whole: bool
) -> None:
    change(folder)
    with pytest.raises(DataError) as fault:
        check_seal(folder, whole=whole, again="make it again")
    assert all(problem.endswith("make it again") for problem in fault.value.problems)


@pytest.mark.parametrize("change", WHOLE.values(), ids=WHOLE)
def test_another_content_is_refused_where_all_is_read(
    folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    check_seal(folder, whole=False)
    with pytest.raises(DataError):
        check_seal(folder)


def test_parts_of_another_manifest_leave_its_file_out(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")
    parts = parts_of(folder, beside="manifest.json")
    assert "manifest.json" not in parts
    assert part_faults(folder, parts, beside="manifest.json") == []
    assert len(part_faults(folder, parts_of(folder, ["a.npy"]), beside="manifest.json")) == 3


def test_intact_is_what_nobody_changed(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    inner = tmp_path / "inner" / "a.txt"
    outer = tmp_path / "b.txt"
    assert not intact(tmp_path)
    for file in (inner, outer):
        file.write_text("12345")
        seal(file.parent)
    assert intact(tmp_path)
    (tmp_path / "notes.txt").write_text("of somebody else")
    assert intact(tmp_path)
    for file in (inner, outer):
        file.write_text("12354")  # of the same size
        assert not intact(tmp_path)
        file.write_text("12345")
        assert intact(tmp_path)
        file.unlink()
        assert not intact(tmp_path)
        file.write_text("12345")
    (tmp_path / "inner" / PARTS).write_text("{}")
    assert not intact(tmp_path)
