"""Files are there whole or not at all."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from clickprint.core import files
from clickprint.core.files import whole, write_array, write_text


def fails(path, *, folder):
    """Writes a half, then stops."""
    with whole(path) as part:
        part.mkdir() if folder else part.write_text("half")
        raise ZeroDivisionError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_takes_its_place(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "one")
    write_text(tmp_path / "deep" / "a.txt", "two")
    assert (tmp_path / "deep" / "a.txt").read_text() == "two"
    write_array(tmp_path / "a.npy", np.arange(3))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert names(tmp_path) == ["a.npy", "deep"]
    assert names(tmp_path / "deep") == ["a.txt"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError):
        fails(tmp_path / "a", folder=False)
    assert (tmp_path / "a").read_text() == "old"
    with pytest.raises(ValueError, match="pickle"):
        write_array(tmp_path / "b.npy", np.array([object()]))
    assert names(tmp_path) == ["a"]


def test_a_folder_takes_the_place_of_another(tmp_path):
    for turn in ("first", "second"):
        with whole(tmp_path / "run") as part:
            part.mkdir()
            (part / turn).write_text(turn)
    assert names(tmp_path / "run") == ["second"]
    with pytest.raises(ZeroDivisionError):
        fails(tmp_path / "run", folder=True)
    assert names(tmp_path / "run") == ["second"]
    write_text(tmp_path / "run", "a file in its place")
    assert names(tmp_path) == ["run"]


def test_nothing_written_is_an_error_and_nothing_is_there(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_killed_write_leaves_nothing_that_counts(tmp_path, what):
    """The temporary name stays, the target does not appear, and the next write cleans up."""
    script = f"""
import os, signal, pathlib
from clickprint.core.files import whole
with whole(pathlib.Path({str(tmp_path / "a")!r})) as part:
    part.mkdir() if {what == "folder"} else part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert (
        subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    )
    assert names(tmp_path) == [".a.part"]
    write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == ["a"]


def test_killed_between_the_two_renames(tmp_path, monkeypatch):
    """Where names cannot be exchanged, the old folder waits under a temporary name, and is put
    back.
    """
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").write_text("old")
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    replace, calls = os.replace, []

    def dies(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", dies)
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "run") as part:
        part.mkdir()
    assert names(tmp_path) == [".run.old"]
    with pytest.raises(ZeroDivisionError):
        fails(tmp_path / "run", folder=True)
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["old"]
    monkeypatch.undo()
    with whole(tmp_path / "run") as part:
        part.mkdir()
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == []


def test_a_folder_is_exchanged_in_one_step(tmp_path, monkeypatch):
    """No moment without a folder: nothing is renamed."""
    (tmp_path / "run").mkdir()
    if not files._exchange(tmp_path / "run", tmp_path / "run"):
        pytest.skip("this system cannot exchange two names")
    monkeypatch.setattr(files.os, "replace", None)
    with whole(tmp_path / "run") as part:
        part.mkdir()
        (part / "new").write_text("new")
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["new"]
    with pytest.raises(FileNotFoundError), whole(tmp_path / "run"):
        pass
    assert names(tmp_path / "run") == ["new"]


def test_a_link_is_replaced_not_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").read_text() == "text"
    assert (tmp_path / "real").is_dir()


class Without:
    """A C library that has no renameat2."""


class Refusing:
    """One whose file system knows no exchange."""

    @staticmethod
    def renameat2(*_: object) -> int:
        files.ctypes.set_errno(files.errno.EINVAL)
        return -1


@pytest.mark.parametrize("library", [Without, Refusing])
def test_a_folder_is_replaced_where_names_cannot_be_exchanged(library, tmp_path, monkeypatch):
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: library())
    for content in ("old", "new"):
        with whole(tmp_path / "folder") as part:
            part.mkdir()
            (part / content).write_text(content)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
