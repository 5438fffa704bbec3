"""A tiny shop for the tests of next purchase: its log, its parameters, and its stages."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from clickprint.apps.cli.main import main
from clickprint.apps.next.graph import STAGES as GRAPH
from clickprint.apps.next.recipe import load
from clickprint.apps.next.run import Run
from clickprint.core.progress import Progress, silent
from clickprint.work.resources import Tables

STAGES = tuple(stage.name for stage in GRAPH)
EVIL = '<script>alert("1")</script>'
USERS, ITEMS, DAYS, TASTES = 90, 40, 24, 5
FIRST = datetime(2024, 3, 1)
MAPPING = """
name = "tiny shop"
[events]
files = "events.csv"
user = "user"
item = { column = "item", ids = "text" }
time = "time"
[events.kind]
column = "kind"
values = { view = "view", cart = "cart", buy = "buy" }
[catalogue]
files = "items.csv"
item = "item"
[catalogue.attributes]
category = "category"
price = "number"
title = "text"
"""
PARAMS = """
log = "tiny"
seed = 3
[logs.tiny]
source = "table"
path = "SHOP/shop.toml"
[logs.made]
source = "synthetic"
users = 50
[next]
days = 3
list_length = 5
max_users = 20
linked = false
[windows]
train_windows = 2
stride_days = 0
history_days = 7
[retrievers.history]
k = 10
[retrievers.popular]
retriever = "popularity"
roles = ["buy"]
half_life = 7
k = 8
[features]
days = [7]
half_lives = [7]
[profiles]
[ranker]
trees = 8
leaves = 4
min_leaf = 5
[propensity]
trees = 8
leaves = 4
min_leaf = 5
[tune]
trials = 0
[tune.space.leaves]
low = 3
high = 8
[tune.space.lr]
low = 0.02
high = 0.3
log = true
[tune.space.objective]
choices = ["lambdarank", "binary"]
[gate]
resamples = 100
coverage = 0.01
calibration_error = 1.0
seconds = 1000
[track]
on = true
alias = "champion"
[evaluate]
windows = 2
shares = [0.1, 0.3]
"""


def write_log(folder: Path) -> None:
    """Everybody likes a few items and comes on some days: they view, put into the cart, buy."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(7)
    tastes = draw.integers(0, ITEMS, (USERS, TASTES))
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["time", "user", "kind", "item"])
        for day in range(DAYS):
            for user in np.flatnonzero(draw.random(USERS) < np.linspace(0.1, 0.8, USERS)):
                at = FIRST + timedelta(days=day, minutes=int(draw.integers(0, 1_380)))
                for n, item in enumerate(draw.choice(tastes[user], 2)):
                    for step, kind in enumerate(
                        ["view", "cart", "buy"][: int(draw.integers(1, 4))]
                    ):
                        rows.writerow(
                            [
                                (at + timedelta(minutes=3 * n + step)).isoformat(),
                                f"u{user}",
                                kind,
                                f"sku-{item}",
                            ]
                        )
        rows.writerow(
            [
                (FIRST + timedelta(days=DAYS - 1, hours=23, minutes=59)).isoformat(),
                "u1",
                "view",
                "sku-1",
            ]
        )
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item", "category", "price", "title"])
        rows.writerows(
            [f"sku-{i}", f"c{i % 4}", 1 + i, EVIL if i % 2 else f"Ware № {i}, «größer» \x07"]
            for i in range(ITEMS)
        )
    (folder / "shop.toml").write_text(MAPPING)


def write_params(file: Path, shop: Path, *changes: tuple[str, str]) -> Path:
    """The parameters with some texts replaced by others."""
    text = PARAMS
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    file.write_text(text.replace("SHOP", str(shop)), "utf-8")
    return file


@dataclass(frozen=True)
class Place:
    """The log, a file of parameters and a folder of stages."""

    shop: Path
    params: Path
    out: Path

    def command(self, *words: str) -> int:
        return main(
            [
                "next",
                *words,
                "--params",
                str(self.params),
                "--out",
                str(self.out),
                "--threads",
                "1",
            ]
        )

    def run(self, *changes: tuple[str, str], progress: Progress = silent) -> Run:
        """The stages' own view of the place, with the parameters changed."""
        if changes:
            write_params(self.params, self.shop, *changes)
        return Run(
            recipe=load(self.params),
            out=self.out,
            params=str(self.params),
            resources=Tables(threads=1),
            progress=progress,
        )

    def made(self, *stages: str, run: Run | None = None) -> list[str]:
        """Performs the stages (all of them, if none is named); those that were not up to date."""
        run = run or self.run()
        return [s for s in stages or STAGES if "up to date" not in run.perform(s).splitlines()[0]]

    def copy(self, folder: Path) -> "Place":
        """The same in another folder, to change and to break."""
        shutil.copytree(self.out, folder / "out")
        return Place(
            self.shop, Path(shutil.copy(self.params, folder / "params.toml")), folder / "out"
        )


def files(folder: Path, but: Sequence[str] = ()) -> dict[str, bytes]:
    """Every file below, by its path there."""
    found = {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
    return {k: v for k, v in found.items() if not any(part in but for part in Path(k).parts)}


def leftovers(folder: Path) -> list[str]:
    """What a stage that was stopped half-way must not leave."""
    return [
        str(p)
        for p in folder.rglob(".*")
        if p.name not in (".lock", ".clickprint") and "mlartifacts" not in p.parts
    ]
