"""A pipeline's folders: made whole, in place or part by part; when they are stale, and by what."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.work.folder import Workspace
from clickprint.work.pipeline import Outside, Pipeline, read_json
from clickprint.work.stages import Graph, Stage

RUN = "clickprint.core.version:VERSION"
GRAPH = Graph(
    (
        Stage(name="read", run=RUN, keys=("log",), folder="data"),
        Stage(name="learn", run=RUN, reads=("read",), keys=("rate",), parts=True),
        Stage(name="report", run=RUN, reads=("learn",)),
    )
)


class Stop(Exception): ...


def pipeline(folder: Path, *, log: str = "a", rate: float = 0.1, files: int = 1) -> Pipeline:
    return Pipeline(
        graph=GRAPH,
        work=Workspace(folder, "test"),
        recipe={"log": log, "rate": rate},
        command="make {stage} --out X",
        outside={"read": Outside(named=log, state=lambda: files)},
    )


def writes(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "x.json").write_text(text) and None


def test_whole_folders_are_made_once_and_again_where_they_are_stale(tmp_path: Path) -> None:
    here = pipeline(tmp_path)
    assert "up to date" not in here.make("read", writes("1"))
    assert here.json("read", "x") == 1
    assert "up to date" in here.make("read", writes("2"))
    assert "up to date" not in pipeline(tmp_path, files=2).make("read", writes("2"))
    assert here.json("read", "x") == 2
    assert json.loads((tmp_path / "facts/read.json").read_text())["command"] == (
        "make read --out X"
    )


def test_a_stage_before_its_inputs_names_the_command(tmp_path: Path) -> None:
    here = pipeline(tmp_path)
    with pytest.raises(ConfigError, match=r"not made.*`make read --out X`"):
        here.make("learn", writes("1"))
    here.make("read", writes("1"))
    pipeline(tmp_path, files=9).need("read")  # files that changed or are gone concern `read` alone
    with pytest.raises(ConfigError, match=r"other files.*`make read --out X`"):
        pipeline(tmp_path, log="b").inputs("learn")
    here.make("learn", writes("1"))
    with pytest.raises(ConfigError, match=r"other parameters.*`make learn --out X`"):
        pipeline(tmp_path, rate=0.2).inputs("report")


def test_parts_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    here, calls = pipeline(tmp_path), []

    def part(name: str) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            calls.append(name)
            (folder / "x").write_text(name)

        return make

    def stop(folder: Path) -> None:
        (folder / "half").write_text("")
        raise Stop

    here.make("read", writes("1"))
    with pytest.raises(Stop):
        here.make_parts("learn", {"one": part("one"), "two": stop, "three": part("three")})
    assert (tmp_path / "learn/one/x").is_file()
    assert not (tmp_path / "learn/two").exists()
    with pytest.raises(ConfigError, match="not made yet"):
        here.need("learn")
    here.make_parts("learn", {"one": part("one"), "two": part("two")})
    assert calls == ["one", "two"]
    assert sorted(p.name for p in (tmp_path / "learn").iterdir() if p.is_dir()) == ["one", "two"]
    changed = replace(here, recipe={"log": "a", "rate": 0.2})
    changed.make_parts("learn", {"two": part("two")})
    assert calls == ["one", "two", "two"]
    assert not (tmp_path / "learn/one").exists()


def test_a_folder_that_goes_on_keeps_what_is_in_it(tmp_path: Path) -> None:
    here = pipeline(tmp_path)
    here.make("read", writes("1"))

    def stopped(folder: Path, inputs: str) -> None:
        (folder / inputs).write_text("")
        raise Stop

    def goes_on(folder: Path, inputs: str) -> None:
        assert (folder / inputs).is_file()

    with pytest.raises(Stop):
        here.make_in_place("learn", stopped)
    here.make_in_place("learn", goes_on)
    assert "up to date" in here.make_in_place("learn", stopped)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    for name in ("x.json", "none.json"):
        with pytest.raises(DataError, match=name):
            read_json(tmp_path / name)
