"""The official probe gives the organisers' own scores on the reference case.

Targets are made here, from the raw files and without clickprint's tables, so that a fault there
cannot hide a fault here.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from clickprint.metrics.task_metrics import AUROC, Diversity, MacroAUROC, Novelty
from clickprint.tasks import official
from clickprint.tasks.task import Metric, Task, bce

HIDDEN = {"conversion": "hidden1", "propensity_new_sku": "hidden2", "propensity_price": "hidden3"}
WINDOWS = [
    (datetime(2022, 8, 21), datetime(2022, 9, 4)),
    (datetime(2022, 9, 4), datetime(2022, 9, 17, 22, 54, 33)),
]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """The reference ran on all cores; here one thread would take twice as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def buys(log: Path, start: datetime, end: datetime) -> list[tuple[int, int]]:
    table = pq.read_table(log / "product_buy.parquet").to_pydict()
    times = [
        t if isinstance(t, datetime) else datetime.fromisoformat(t) for t in table["timestamp"]
    ]
    return [
        (c, s)
        for c, s, t in zip(table["client_id"], table["sku"], times, strict=True)
        if start <= t < end
    ]


def targets(log: Path, name: str, clients: np.ndarray) -> list[np.ndarray]:
    """The train and the validation target of `clients`, one column a label."""
    found = []
    for start, end in WINDOWS:
        rows = buys(log, start, end)
        if name in ("churn", "conversion"):
            buyers = {c for c, _ in rows}
            found.append(np.array([[c not in buyers] for c in clients.tolist()]))
            continue
        column = name.split("_")[-1]
        properties = pq.read_table(log / "product_properties.parquet").to_pydict()
        value = properties["sku"] if column == "sku" else properties[column]
        of = dict(zip(properties["sku"], value, strict=True))
        place = {
            v: n
            for n, v in enumerate(
                np.load(log / "target" / f"{name}.npy", allow_pickle=False).tolist()
            )
        }
        row = {c: n for n, c in enumerate(clients.tolist())}
        target = np.zeros((len(clients), len(place)), bool)
        for client, sku in rows:
            if client in row and of[sku] in place:
                target[row[client], place[of[sku]]] = True
        found.append(target)
    return found


def run(golden: Path, name: str) -> tuple[official.Probed, list[np.ndarray]]:
    log, expected = golden / "log", golden / "expected"
    clients, vectors = (
        np.load(expected / "client_ids.npy"),
        np.load(expected / "embeddings.npy", mmap_mode="r"),
    )
    metrics: dict[str, tuple[float, Metric]] = {"auroc": (1.0, AUROC())}
    if name == "churn":
        asked = np.isin(clients, np.load(log / "target" / "active_clients.npy"))
        clients, vectors = clients[asked], vectors[asked]
    if name.startswith("propensity"):
        popularity = np.load(log / "target" / f"popularity_{name}.npy").astype(float)
        metrics = {
            "auroc": (0.8, MacroAUROC()),
            "novelty": (0.1, Novelty(tuple(popularity.tolist()))),
            "diversity": (0.1, Diversity()),
        }
    train, valid = targets(log, name, clients)
    task = Task(name=name, population=lambda *_: clients, target=lambda *_: train, metrics=metrics)
    return official.train(
        vectors,
        train,
        loss=bce,
        evaluate=lambda prediction: task.score(valid, prediction),
        name=name,
    ), [train, valid]


def check(golden: Path, name: str) -> None:
    probed, _ = run(golden, name)
    score = json.loads((golden / "expected" / "scores.json").read_text())[HIDDEN.get(name, name)]
    epochs = [
        e
        for line in (golden / "expected" / "epochs.jsonl").read_text().splitlines()
        if (e := json.loads(line))["task"] == name
    ]
    assert len(probed.epochs) == len(epochs) == 3
    for ours, theirs in zip(probed.epochs, epochs, strict=True):
        for mark in set(theirs) - {"task", "epoch"}:
            assert ours[mark] == pytest.approx(theirs[mark], abs=0.002), (theirs["epoch"], mark)
    assert round(probed.epochs[probed.best]["score"], 4) == pytest.approx(score, abs=0.001)


def test_window_rows(golden: Path) -> None:
    assert [len(buys(golden / "log", *w)) for w in WINDOWS] == [736, 701]


@pytest.mark.golden
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    "name",
    [
        "churn",
        "conversion",
        "propensity_category",
        "propensity_sku",
        "propensity_new_sku",
        "propensity_price",
    ],
)
def test_every_score_is_the_organisers(golden: Path, name: str) -> None:
    check(golden, name)
