"""`dvc repro` on the tiny shop: all stages, then none, then only what a change concerns."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from next_shop import STAGES, leftovers, write_log, write_params

from clickprint.apps.next.graph import STAGES as GRAPH

psutil: Any = pytest.importorskip("psutil", reason="DVC brings it: the DAG needs clickprint[dag]")
pytest.importorskip("dvc", reason="the DAG needs clickprint[dag]")
pytestmark = pytest.mark.dag

# The gate's options are the parameters' too, but no stage before the validation imports them.
EDITED = ["validate", "report"]
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


class Checkout:
    """What `dvc repro` reads of a checkout: the tiny shop, and a copy of the code to change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            ROOT / "src",
            folder / "src",
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
        )
        for name in ("dvc.yaml", ".dvcignore"):
            shutil.copy(ROOT / name, folder / name)
        write_log(folder / "shop")
        self.params = folder / "recipes" / "next" / "params.toml"
        self.params.parent.mkdir(parents=True)
        self.change()
        self.dvc("init", "--no-scm", "--quiet")

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join((str(BIN), os.environ.get("PATH", "")))
        return os.environ | {
            "PATH": path,
            "CLICKPRINT_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "PYTHONPATH": str(self.folder / "src"),
        }

    def change(self, *changes: tuple[str, str]) -> None:
        write_params(self.params, self.folder / "shop", *changes)

    def dvc(self, *words: str) -> str:
        asked = [sys.executable, "-m", "dvc", *words]
        done = subprocess.run(
            asked,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def repro(self) -> list[str]:
        """The stages that were run."""
        told = self.dvc("repro")
        return [s for s in STAGES if f"Running stage '{s}'" in told]

    def out(self, *parts: str) -> Path:
        return self.folder.joinpath("runs", "next", *parts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    assert checkout.repro() == list(STAGES)
    return checkout


def test_a_second_run_does_nothing(made: Checkout) -> None:
    assert made.out("report", "index.html").stat().st_size > 0
    before = made.out("predict", "submission.csv").read_bytes()
    assert "up to date" in made.dvc("repro")
    assert made.out("predict", "submission.csv").read_bytes() == before


def test_a_changed_parameter_reruns_what_depends_on_it(made: Checkout) -> None:
    made.change(("coverage = 0.01", "coverage = 0.0"))
    assert made.repro() == ["validate", "report"]
    made.change()
    assert "predict" not in made.repro()


def test_an_edited_module_makes_the_stages_that_import_it_anew(made: Checkout) -> None:
    gate = made.folder / "src/clickprint/recommenders/gate.py"
    before = gate.read_text()
    gate.write_text(before + "# edited\n")
    words = ("next", "all", "--params", str(made.params), "--out", str(made.out()))
    done = subprocess.run(
        [BIN / "clickprint", *words],
        cwd=made.folder,
        env=made.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    gate.write_text(before)
    kept = [s for s in STAGES if f"{made.out(GRAPH[s].place)}: up to date" in done.stdout]
    assert [s for s in STAGES if s not in kept] == EDITED


def test_a_killed_stage_is_where_it_goes_on(made: Checkout) -> None:
    made.change(
        (
            "trees = 8\nleaves = 4\nmin_leaf = 5\n[propensity]",
            "trees = 9\nleaves = 4\nmin_leaf = 5\n[propensity]",
        )
    )
    asked = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(
        asked,
        cwd=made.folder,
        env=made.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        dvc = psutil.Process(running.pid)
        stage = None
        while stage is None and running.poll() is None:
            stage = next(
                (
                    c
                    for c in dvc.children(recursive=True)
                    if {"clickprint", "train"} <= set(named(c))
                ),
                None,
            )
        assert stage is not None
        stage.kill()
        assert running.wait() != 0
    assert not made.out("model").exists()
    assert made.repro() == ["train", "validate", "predict", "report"]
    assert not leftovers(made.out())
    assert "up to date" in made.dvc("repro")


def named(process: Any) -> list[str]:
    """The last part of every word of a command; of a process that is gone, none."""
    try:
        return [Path(word).name for word in process.cmdline()]
    except psutil.Error:
        return []
