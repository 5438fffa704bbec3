"""The table of places in docs/architecture.md: what changes in order to add one thing.

The source is copied; a toy of each sort is added to the copy and goes the real way there. What
had to be new and what had to change is counted and compared with the table.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
TOYS = Path(__file__).resolve().parent / "toys"
DAY = 86_400


@dataclass(frozen=True)
class Toy:
    """What adds a thing of one sort: files of tests/toys, and lines in files that are there.

    - `files`: where in the package → the file of tests/toys.
    - `lines`: where in the package → (the registry to whose top, else the end, what is added).
    - `own`: a file beside the package, in the user's own folder.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    own: str = ""


COMMAND = '''

@app.command(group=DATA)
def hello(name: str, /) -> None:
    """Greet somebody.

    Args:
        name: Whom.
    """
    print(f"hello {name}")
'''
THINGS = {
    "recommender": Toy(
        {"recommenders/smallest.py": "smallest.py"},
        {
            "recommenders/__init__.py": (
                "RECOMMENDERS",
                '    "smallest": "clickprint.recommenders.smallest:Smallest",\n',
            )
        },
    ),
    "encoder": Toy(
        {"encoders/length.py": "length.py"},
        {
            "encoders/__init__.py": (
                "ENCODERS",
                '    "length": "clickprint.encoders.length:Length",\n',
            )
        },
    ),
    "loss": Toy(
        {"nn/margin.py": "margin.py"},
        {
            "nn/next_item.py": (
                "LOSSES",
                '    "margin": "clickprint.nn.margin:margin",\n',
            )
        },
    ),
    "data set": Toy(
        {"data/adapters/receipts.py": "receipts.py"},
        {
            "data/adapters/__init__.py": (
                "DATASETS",
                '    "receipts": "clickprint.data.adapters.receipts:read",\n',
            )
        },
    ),
    "task": Toy(own="questions.py"),
    "command": Toy(lines={"apps/cli/data.py": ("", COMMAND)}),
}


@dataclass(frozen=True)
class House:
    """The copy: its folder of work, and what each toy added to the package."""

    folder: Path
    counts: Mapping[str, tuple[int, int]]  # thing → (new files, files that changed)

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "clickprint.apps.cli.main", *words],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout


def files_of(package: Path) -> dict[str, bytes]:
    return {str(f.relative_to(package)): f.read_bytes() for f in package.rglob("*.py")}


def add(toy: Toy, folder: Path) -> None:
    package = folder / "src" / "clickprint"
    for where, name in toy.files.items():
        shutil.copy(TOYS / name, package / where)
    for where, (registry, text) in toy.lines.items():
        before = (package / where).read_text()
        first = re.search(rf"^{registry}\b.*= {{\n", before, re.M) if registry else None
        assert first or not registry, f"{where} has no {registry}"
        at = first.end() if first else len(before)
        (package / where).write_text(before[:at] + text + before[at:])
    if toy.own:
        shutil.copy(TOYS / toy.own, folder / toy.own)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("house")
    package = folder / "src" / "clickprint"
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    counts = {}
    for name, toy in THINGS.items():
        before = files_of(package)
        add(toy, folder)
        after = files_of(package)
        changed = [f for f in before if after[f] != before[f]]
        counts[name] = (len(after) - len(before), len(changed))
    rng = np.random.default_rng(0)
    lines = ["who,what,when"]
    for user in range(80):
        days = np.sort(rng.integers(0, 60, 20))
        lines += [f"{user},{rng.integers(0, 12)},{day * DAY + user}" for day in days]
    (folder / "receipts.csv").write_text("\n".join(lines) + "\n")
    return House(folder, counts)


def test_the_table_is_true(house: House) -> None:
    rows = re.findall(
        r"^\| \*\*([\w ]+)\*\* \| (\d) .*?\| (\d) .*?\|.*\|$",
        (ROOT / "docs" / "architecture.md").read_text(),
        re.M,
    )
    table = {name: (int(new), int(changed)) for name, new, changed in rows}
    assert table == house.counts


def test_a_data_set_is_read(house: House) -> None:
    assert "receipts of a toy shop" in house.run("datasets", "receipts")
    told = house.run("read", "receipts", "receipts.csv", "--out", "read")
    assert "1,600 events of 80 users and 12 items" in told


def test_a_recommender_and_a_loss_stand_in_a_ranking_table(house: House) -> None:
    (house.folder / "ranks.toml").write_text(
        'name = "ranks"\nseeds = [0]\n'
        '[data]\nsource = "receipts"\npath = "receipts.csv"\n'
        '[ranking]\nprotocol = "leave-one-out"\nks = [5]\nmetric = "ndcg@5"\n'
        "[models.smallest]\n"
        '[models.sasrec]\nwidth = 8\nlayers = 1\nloss = { name = "sampled" }\n'
        "training = { epochs = 1, batch = 16 }\n"
    )
    told = house.run("rank", "ranks.toml", "--out", "ranks", "--accelerator", "cpu")
    assert "smallest" in told
    assert "sasrec" in told


def test_a_task_and_an_encoder_stand_on_a_board(house: House) -> None:
    (house.folder / "board.toml").write_text(
        'name = "board"\n[data]\nsource = "receipts"\npath = "receipts.csv"\n'
        "[split]\nhorizon_days = 14\n[profiles.length]\n[profiles.random]\nwidth = 4\n"
        '[tasks]\nsets = ["questions:BUYS_THREE"]\n[probes]\nresamples = 2\n'
    )
    house.run("run", "board.toml", "--out", "board")
    board = (house.folder / "board" / "board.csv").read_text()
    assert re.search(r"length.*buys_three|buys_three.*length", board)


def test_a_command_is_called(house: House) -> None:
    assert house.run("hello", "world") == "hello world\n"
    assert "hello" in house.run("--help")
