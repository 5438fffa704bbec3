"""A workspace holds one recipe, is held by one process, and keeps what is whole."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.files import MARK, write_text
from clickprint.work.folder import Workspace, digest, forget, locked, stamp
from forks import python


@dataclass(frozen=True)
class Recipe:
    seed: int

    @property
    def text(self) -> str:
        return f"seed = {self.seed}\n"


def load(path: Path) -> Recipe:
    try:
        return Recipe(int(path.read_text().partition("=")[2]))
    except ValueError:
        raise ConfigError("not a recipe") from None


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "out", "study")


def write(text: str) -> object:
    return lambda folder: (folder / "a.txt").write_text(text)


def test_a_claimed_folder_has_the_recipe_and_takes_it_again(work: Workspace) -> None:
    with work.claim(Recipe(1), load):
        assert work.path("recipe.toml").read_text() == "seed = 1\n"
        work.path("kept.txt").write_text("x")
    with work.claim(Recipe(1), load):
        assert work.path("kept.txt").is_file()


def test_a_refusal_gives_a_new_folder_back(work: Workspace) -> None:
    def refused() -> None:
        with pytest.raises(ConfigError, match="no"), work.claim(Recipe(1), load):
            raise ConfigError("no")

    refused()
    assert not work.folder.exists()

    def stopped() -> None:
        with work.claim(Recipe(1), load):
            work.make("x", "one", write("1"))
            raise ConfigError("later")

    with pytest.raises(ConfigError, match="later"):
        stopped()
    assert work.path("x/a.txt").is_file()  # what was made stays
    refused()
    assert work.path("x/a.txt").is_file()


def test_another_recipe_is_refused_unless_fresh(work: Workspace) -> None:
    with work.claim(Recipe(1), load):
        write_text(work.path("stage/made.txt"), "x")
        work.make("x", "one", write("1"))
        for name in ("notes.txt", "stage/notes.txt", "data/notes.txt"):
            work.path(name).parent.mkdir(exist_ok=True)
            work.path(name).write_text("of the user")
    with pytest.raises(ConfigError, match="study of another recipe"), work.claim(Recipe(2), load):
        pass
    assert work.path("recipe.toml").read_text() == "seed = 1\n"
    with work.claim(Recipe(2), load, fresh=True):
        left = {p.relative_to(work.folder).as_posix() for p in work.folder.rglob("*")}
        assert left == {
            "recipe.toml", ".lock", MARK,
            "notes.txt", "stage", "stage/notes.txt", "data", "data/notes.txt",
        }  # fmt: skip
        assert load(work.path("recipe.toml")) == Recipe(2)
    work.path("recipe.toml").write_text("damaged")
    with pytest.raises(ConfigError, match="another recipe"), work.claim(Recipe(2), load):
        pass


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_something_else_is_left_alone(work: Workspace, fresh: bool) -> None:
    work.folder.mkdir()
    work.path("precious.txt").write_text("x")
    with (
        pytest.raises(ConfigError, match=r"no study.*precious\.txt"),
        work.claim(Recipe(1), load, fresh=fresh),
    ):
        pass
    assert [p.name for p in work.folder.iterdir()] == ["precious.txt"]
    work.path("precious.txt").unlink()
    (work.folder / ".git").mkdir()
    with pytest.raises(ConfigError, match=r"\.git"):
        work.check()
    file = Workspace(work.folder.parent / "file", "study")
    file.folder.write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        file.check()


def test_two_processes_do_not_share_a_claim(work: Workspace) -> None:
    program = (
        "import sys; from pathlib import Path; from clickprint.work.folder import Workspace\n"
        "with Workspace(Path(sys.argv[1]), 'study').lock(): print('held')"
    )
    call = [python(), "-c", program, str(work.folder)]
    with work.claim(Recipe(1), load):
        found = subprocess.run(call, capture_output=True, text=True, check=False)
        assert found.returncode
        assert f"process {os.getpid()} is writing here" in found.stderr
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout == "held\n"


def test_what_an_interrupted_run_left_is_swept_but_no_checkpoint(work: Workspace) -> None:
    gone = subprocess.run([python(), "-c", "import os; print(os.getpid())"], text=True,
                          capture_output=True, check=True).stdout.strip()  # fmt: skip
    spill = ".clickprint-spill-"
    left = ["a/.b.clickprint-part", ".c.clickprint-old", f"{spill}{gone}/x", f"{spill}nobody/x"]
    kept = ["a/.b.part", ".c.old", ".spill-nobody/x", f"{spill}{os.getpid()}/x", "a/whole"]
    kept += ["training/1/.d.clickprint-part", "training/1/.d.clickprint-old"]
    with work.claim(Recipe(1), load):
        for name in [*left, *kept]:
            work.path(name).parent.mkdir(parents=True, exist_ok=True)
            work.path(name).write_text("x")
    with work.claim(Recipe(1), load):
        assert not [name for name in left if work.path(name).exists()]
        assert all(work.path(name).is_file() for name in kept)


def test_the_spill_is_this_process_s_and_goes(work: Workspace) -> None:
    with work.spill() as folder:
        folder.mkdir(parents=True)
        assert folder.name == f".clickprint-spill-{os.getpid()}"
        work.check()  # a spill alone is no folder of something else
    assert not folder.exists()


def test_an_output_is_made_once_for_equal_inputs(work: Workspace) -> None:
    work.empty()
    with work.lock():
        pass
    assert work.made("x/y") == ""
    assert work.make("x/y", "one", write("1"))
    assert work.made("x/y") == "one"
    assert not work.make("x/y", "one", write("2"))
    assert work.path("x/y/a.txt").read_text() == "1"
    write_text(work.training("two") / "1", "checkpoint")
    assert work.make("x/y", "two", write("2"))
    assert work.path("x/y/a.txt").read_text() == "2"
    assert not work.training("two").exists()
    forget(work.path("x/y"))
    assert work.made("x/y") == ""


def test_an_output_that_fails_leaves_the_old_one(work: Workspace) -> None:
    work.make("x", "one", write("1"))

    def fails(folder: Path) -> None:
        (folder / "a.txt").write_text("half")
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        work.make("x", "two", fails)
    assert work.path("x/a.txt").read_text() == "1"
    assert work.made("x") == "one"
    assert [p.name for p in work.folder.iterdir()] == ["x"]


def test_digests_and_stamps(tmp_path: Path) -> None:
    assert digest({"b": 1, "a": (2, Path("x"))}) == digest({"a": [2, "x"], "b": 1})
    assert digest(1) != digest("1")
    with pytest.raises(TypeError):
        digest(object())
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("1")
    before = stamp(tmp_path / "d")
    assert before == stamp(tmp_path / "d")
    (tmp_path / "d" / "f").write_text("12")
    assert before != stamp(tmp_path / "d")
    assert stamp(tmp_path / "d" / "f")[0][1] == 2
    assert stamp(tmp_path / "nothing") == []


def test_a_lock_that_waits_is_free_after_the_block(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / ".lock"):
        pass
    with locked(tmp_path / "a" / ".lock", wait=True):
        assert (tmp_path / "a" / ".lock").read_text() == f"process {os.getpid()}"


def test_the_lock_of_a_process_that_is_gone_is_nobody_s(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 1")
    with locked(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()}"
