"""A run that is killed goes on where it was, and ends with the same bytes."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from forks import python

RECIPE = """
name = "tiny"
[data]
source = "synthetic"
users = 200
items = 130
categories = 6
days = 45
[split]
horizon_days = 7
[profiles.counts]
top = 2
[profiles.random]
width = 8
[profiles.joined]
blocks = ["counts", "random"]
[tasks]
sets = ["ubm25"]
hidden = 2
[probes]
ablation = "joined"
resamples = 5
"""
# They tell seconds and memory: facts.json, and the report, which quotes it.
TELL_TIME = {"facts.json", "report.html", ".lock"}


class Shop:
    """A folder and a cache of its own, so that reading the data can be killed too."""

    def __init__(self, folder: Path) -> None:
        self.out, self.cache, self.recipe = folder / "run", folder / "cache", folder / "tiny.toml"
        folder.mkdir(parents=True)
        self.recipe.write_text(RECIPE)

    def start(self) -> subprocess.Popen[str]:
        words = [
            "-m",
            "clickprint.apps.cli.main",
            "run",
            str(self.recipe),
            "--out",
            str(self.out),
            "--threads",
            "1",
        ]
        environment = os.environ | {"CLICKPRINT_CACHE": str(self.cache), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [python(), *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> list[str]:
        """Runs to the end; the lines of its progress."""
        with self.start() as process:
            _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said.splitlines()

    def kill(self, lines: int, seconds: float) -> bool:
        """Start a run, kill it after so many lines of progress and seconds; whether it still ran.

        Lines, because a busy machine may take ten times as long the next time.
        """
        with self.start() as process:
            assert process.stderr
            for _ in range(lines):
                process.stderr.readline()
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                return True
        return False

    def contents(self) -> dict[str, bytes]:
        return {
            str(p.relative_to(self.out)): p.read_bytes()
            for p in sorted(self.out.rglob("*"))
            if p.is_file() and p.name not in TELL_TIME
        }


def kill_and_resume(tmp_path: Path, moments: int, seed: int) -> None:
    """A run killed at random moments and finished has the bytes of one that nobody killed."""
    whole = Shop(tmp_path / "whole")
    lines = len(whole.finish())
    expected = whole.contents()
    assert {
        "board.json",
        "board.csv",
        "profiles/joined/embeddings.npy",
        "scores/quick/joined without random/churn.npy",
    } <= set(expected)
    draw = random.Random(seed)
    killed = 0
    for number in range(moments):
        shop = Shop(tmp_path / f"killed{number}")
        killed += shop.kill(draw.randrange(lines), draw.uniform(0, 0.5))
        shop.finish()
        found = shop.contents()
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []
        assert not list(shop.cache.rglob(".*.clickprint-part"))
    assert killed >= 0.7 * moments, "the runs were over before they could be killed"


def test_killed_twice(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, moments=2, seed=2)


@pytest.mark.slow
def test_killed_at_twenty_moments(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, moments=20, seed=20)
