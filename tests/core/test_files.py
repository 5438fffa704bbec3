"""Files are there whole or not at all."""

import errno
import os
import resource
import signal
import subprocess

import numpy as np
import pytest

from clickprint.core import files
from clickprint.core.errors import ConfigError
from clickprint.core.files import (
    MARK,
    beside,
    clear,
    foreign,
    mark_of,
    new_array,
    new_file,
    new_folder,
    note,
    own,
    whole,
    write_array,
    write_text,
)
from forks import python


def fails(path, *, folder):
    """Writes a half, then stops."""
    with whole(path) as part:
        part.mkdir() if folder else part.write_text("half")
        raise ZeroDivisionError


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != MARK)


def make(folder, *texts, what="", inputs=""):
    """A folder of ours with files whose content is their name."""
    with whole(folder, what, inputs=inputs) as part:
        part.mkdir()
        for text in texts:
            (part / text).parent.mkdir(exist_ok=True)
            (part / text).write_text(text)
    return folder


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
        make(tmp_path / "run", turn)
    assert names(tmp_path / "run") == ["second"]
    with pytest.raises(ZeroDivisionError):
        fails(tmp_path / "run", folder=True)
    assert names(tmp_path / "run") == ["second"]
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
    assert subprocess.run([python(), "-c", script], check=False).returncode == -signal.SIGKILL
    assert names(tmp_path) == [".a.clickprint-part"]
    write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == ["a"]


def test_killed_between_the_two_renames(tmp_path, monkeypatch):
    """Where names cannot be exchanged, the old folder waits under a temporary name, and is put
    back.
    """
    make(tmp_path / "run", "old")
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
    assert names(tmp_path) == [".run.clickprint-old"]
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


def test_a_link_stands_for_what_it_points_to(tmp_path):
    (tmp_path / "real").mkdir()
    for name in ("file", "folder", "none"):
        (tmp_path / name).symlink_to(tmp_path / "real" / name)
    (tmp_path / "real" / "folder").mkdir()
    make(tmp_path / "folder", "a")
    write_text(tmp_path / "file", "text")
    make(tmp_path / "none", "a")
    assert all((tmp_path / name).is_symlink() for name in ("file", "folder", "none"))
    assert names(tmp_path / "real") == ["file", "folder", "none"]
    assert names(tmp_path / "real" / "none") == names(tmp_path / "real" / "folder") == ["a"]


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
        make(tmp_path / "folder", content)
    assert names(tmp_path / "folder") == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_mapped_array_has_its_room_on_the_disk(tmp_path):
    """Zeros that take no room would end the process when the disk is full."""
    values = new_array(tmp_path / "a.npy", np.float16, (1_000, 100))
    values[7] = 1
    del values
    found = np.load(tmp_path / "a.npy")
    assert found.sum() == 100
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= found.nbytes


def test_what_is_not_ours_is_never_replaced(tmp_path):
    """A user's folder, a file in ours, a folder where a file goes, a file where a folder goes."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").write_text("{}")
    make(tmp_path / "ours", "sub/a", what="dataset")
    (tmp_path / "ours" / "sub" / "notes.txt").write_text("x")
    (tmp_path / "ours" / "empty").mkdir()
    make(tmp_path / "other", "a", what="export")
    own(tmp_path / "run", "run")
    (tmp_path / "file").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    for name in ("mine", "ours", "other", "run", "file"):
        with pytest.raises(ConfigError):
            make(tmp_path / name, "b", what="dataset")
    for name in ("mine", "ours", "other", "run"):
        with pytest.raises(ConfigError):
            write_text(tmp_path / name, "text")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "mine" / "manifest.json").read_text() == "{}"
    assert foreign(tmp_path / "ours") == ["empty", "sub/notes.txt"]


def test_an_empty_folder_of_a_user_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "facts.json").mkdir()
    with pytest.raises(ConfigError):
        write_text(tmp_path / "facts.json", "{}")
    assert names(tmp_path / "facts.json") == []


def test_what_comes_while_we_work_is_not_lost(tmp_path):
    make(tmp_path / "ours", "a")

    def work():
        with whole(tmp_path / "ours") as part:
            part.mkdir()
            (tmp_path / "ours" / "late.txt").write_text("x")

    refused(work)
    assert names(tmp_path / "ours") == ["a", "late.txt"]


@pytest.mark.parametrize("other", [".a.part", ".a.old", ".b.part"])
def test_files_with_names_like_our_temporary_ones_stay(tmp_path, other):
    (tmp_path / other).write_text("x")
    for text in ("one", "two"):
        write_text(tmp_path / "a", text)
    assert names(tmp_path) == [other, "a"]


def test_a_folder_that_is_ours_knows_what_was_written_in_it(tmp_path):
    """Files, folders made whole, plain folders between, and what another library writes."""
    run = tmp_path / "run"
    own(run, "run")
    own(run, "run")
    write_text(run / "facts" / "a.json", "{}")
    make(run / "stages" / "one", "deep/x", "y\nz")
    note(run / "artifacts", inside=True)
    (run / "artifacts" / "1").mkdir(parents=True)
    (run / "artifacts" / "1" / "model").write_text("m")
    assert foreign(run) == []
    for name in ("notes.txt", "facts/mine", "stages/one/mine"):
        (run / name).write_text("x")
    (run / "data").mkdir()
    (run / "data" / "precious").write_text("x")
    make(run / "data" / "set", "a", what="dataset")  # in a folder of the user
    expected = ["data/precious", "facts/mine", "notes.txt", "stages/one/mine"]
    assert foreign(run) == expected
    with pytest.raises(ConfigError):
        write_text(run / "notes.txt", "ours")
    clear(run / "data" / "precious")
    clear(run / "facts", keep=("a.json",))
    assert (run / "facts" / "a.json").is_file()
    clear(run)
    left = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())
    assert left == expected


@pytest.mark.parametrize(
    "text", ["", "{}", "[" * 50_000, '{"clickprint": 2}', "\x00", '{"a": "é"}']
)
def test_a_mark_that_is_none_makes_nothing_ours(tmp_path, text):
    (tmp_path / MARK).write_text(text)
    (tmp_path / "a").write_text("x")
    assert mark_of(tmp_path) is None
    with pytest.raises(ConfigError):
        own(tmp_path, "run")
    clear(tmp_path)
    assert names(tmp_path) == ["a"]


def test_a_mark_cannot_name_what_lies_outside(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").write_text("x")
    ours = make(tmp_path / "ours", "sub/b")
    with (ours / MARK).open("a") as mark:
        mark.write(f"\n../a\n{tmp_path}/a\n")
    (ours / "sub" / "b").unlink()
    (ours / "sub").rmdir()
    (ours / "sub").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    clear(ours)
    assert names(tmp_path) == ["a", "elsewhere"]
    assert names(tmp_path / "elsewhere") == ["b"]


def test_a_note_that_a_full_disk_cut_harms_no_other(tmp_path):
    own(tmp_path, "run")
    with (tmp_path / MARK).open("a") as mark:
        mark.write("hal")
    write_text(tmp_path / "a", "1")
    write_text(tmp_path / "a", "2")
    assert foreign(tmp_path) == []


def refused(check, *arguments, **options):
    with pytest.raises(ConfigError):
        check(*arguments, **options)


def test_a_place_for_a_file_is_checked_before_the_work(tmp_path):
    dataset, run = make(tmp_path / "shop", "a", what="dataset"), tmp_path / "run"
    own(run, "run")
    write_text(run / "recipe.toml", "")
    (tmp_path / "there").write_text("x")
    os.link(tmp_path / "there", tmp_path / "linked")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text("x")
    for place in (dataset, dataset / "new", run / "recipe.toml", run / "new", tmp_path / "raw"):
        refused(new_file, place, overwrite=True)
    refused(new_file, tmp_path / "there" / "below", overwrite=True)
    refused(new_file, tmp_path / "there")
    new_file(tmp_path / "there", overwrite=True)
    new_file(tmp_path / "new" / "deep")
    new_file(tmp_path / "raw" / "new", sources=[tmp_path / "raw"])
    refused(new_file, tmp_path / "raw" / "log.csv", overwrite=True, sources=[tmp_path / "raw"])
    refused(new_file, tmp_path / "linked", overwrite=True, sources=[tmp_path / "there"])
    refused(new_file, files.Path(os.devnull), overwrite=True)
    assert names(tmp_path) == ["linked", "raw", "run", "shop", "there"]


def test_a_place_for_a_folder_is_checked_before_the_work(tmp_path):
    shop = make(tmp_path / "shop", "a", what="dataset", inputs="one")
    own(tmp_path / "run", "run")
    assert new_folder(shop, "dataset", inputs="one")
    assert not new_folder(shop, "dataset", inputs="one", overwrite=True)
    assert not new_folder(tmp_path / "new" / "deep", "dataset")
    assert not new_folder(tmp_path / "run" / "new", "dataset")
    refused(new_folder, shop, "dataset", inputs="two")
    refused(new_folder, shop, "dataset")
    for place in (shop / "new", shop / "a", shop / "a" / "b", tmp_path / "run", tmp_path):
        refused(new_folder, place, "dataset", overwrite=True)
    refused(new_folder, shop, "export", overwrite=True)
    refused(own, shop / "run", "run")
    refused(own, shop, "run")
    refused(own, tmp_path / "run", "study")


def test_a_full_disk_is_named_where_numpy_only_counts_items(tmp_path, monkeypatch):
    def save(*_, **__):
        raise OSError("6088 requested and 2032 written")

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(OSError, match=r"x\.npy") as found:
        write_array(tmp_path / "x.npy", np.zeros(3))
    assert found.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_a_mark_that_is_cut_while_it_is_written_is_an_error_and_names_what_it_did(tmp_path):
    own(tmp_path / "run", "run")
    write_text(tmp_path / "run" / "a.txt", "a")
    size = (tmp_path / "run" / MARK).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, before[1]))
    try:
        with pytest.raises(OSError, match=MARK) as found:
            note(tmp_path / "run" / "longer.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found.value.errno == errno.ENOSPC
    assert foreign(tmp_path / "run") == []
    note(tmp_path / "run" / "b.txt")
    (tmp_path / "run" / "b.txt").touch()
    assert foreign(tmp_path / "run") == []


def test_a_mark_is_a_regular_file(tmp_path):
    (tmp_path / MARK).mkdir()
    assert mark_of(tmp_path) is None


def test_what_a_killed_write_left_goes_with_the_folder(tmp_path):
    own(tmp_path / "run", "run")
    beside(tmp_path / "run" / "x", "part").mkdir()
    clear(tmp_path / "run")
    assert not (tmp_path / "run").exists()
