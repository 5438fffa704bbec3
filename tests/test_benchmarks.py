"""The sequence benchmarks on a small scale, without the peer. Times are not looked at."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from clickprint.core.histories import Histories
from clickprint.core.ragged import starts_of
from clickprint.core.requests import Requests
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import FittedNextItem, HistorySpec
from clickprint.tasks import ranking

ROOT = Path(__file__).resolve().parent.parent
TOLD = {
    "width": 8,
    "layers": 1,
    "heads": 1,
    "length": 5,
    "dropout": 0.0,
    "negatives": 16,
    "lr": 0.01,
    "batch": 8,
}
TOLD |= {"epochs": 2, "seed": 0, "threads": 1, "k": 10, "padding_masked": False}


@pytest.fixture(scope="module")
def bench(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("sequence")


def circle(users: int = 20) -> Histories:
    """Everyone walks round twelve items, for seven events or more."""
    lengths = 7 + np.arange(users) % 5
    item = np.concatenate([(u + np.arange(n)) % 12 for u, n in enumerate(lengths)])
    return Histories(
        np.arange(users) * 2,
        starts_of(lengths),
        {"item": item, "time": np.arange(len(item))},
        fingerprint="circle",
    )


def test_our_side_of_the_peer(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is run, counted and scored, and how the page says it, with and without a peer."""

    def run(command: list[str], threads: int) -> str:
        folder, out, told = command[-3:]
        bench.train_ours(
            Path(folder),
            Path(out),
            {
                **json.loads(told),
                **{n: TOLD[n] for n in ("width", "length", "negatives", "batch", "lr")},
            },
        )
        if "rectools_sasrec" in command[1]:
            file = Path(out) / "run.json"
            file.write_text(
                json.dumps({**json.loads(file.read_text()), "versions": {"rectools": "0"}})
            )
        return ""

    monkeypatch.setattr(bench, "beauty", lambda folder, users: circle(users))
    monkeypatch.setattr(bench, "_run", run)
    given = SimpleNamespace(
        epochs=2,
        seed=0,
        threads=1,
        padding_masked=False,
        users=20,
        rounds=1,
        peer_python=Path("python"),
    )
    found = bench.peer(given)
    ours, theirs = found["runs"]["clickprint"][0], found["runs"]["RecTools"][0]
    trained = circle().but_last(2).last(51)
    assert (
        ours["events"]
        == theirs["events"]
        == 2 * int((np.minimum(trained.lengths, TOLD["length"] + 1) - 1).sum())
    )
    assert ours["steps"] == 2 * 3, "twenty users in batches of eight"
    assert ours["sequences_a_second"] > 0
    assert ours["recall"] == theirs["recall"], "the same process with the same seed"
    assert found["gap"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    told = {
        "command": "x",
        "machine": {"system": "s", "cores": 1, "memory_gib": 1},
        "versions": {"torch": "2"},
        "commit": "c",
    }
    (tmp_path / "peer-1-threads.json").write_text(json.dumps({**told, **found}))
    page = bench.show(tmp_path)
    assert "RecTools 0 |" in page
    assert "| +0.0000 [+0.0000, +0.0000] |" in page
    assert "data fingerprint `circle`" in page
    assert "`encode` was not measured yet." in page
    assert "**both**" not in "\n".join(
        bench._peer_table(bench.peer(SimpleNamespace(**{**vars(given), "peer_python": None})))
    )


def test_steps_after_the_first_are_timed(bench: ModuleType) -> None:
    run = {"ends": [10.0, *(10.0 + np.arange(1, 20))], "rows": [128] * 19 + [28]}
    assert bench.steady(run) == {"steps": 20, "sequences_a_second": (128 * 17 + 28) / 18.0}
    assert bench.steady({"ends": [2.0], "rows": [10]}) == {"steps": 1, "sequences_a_second": 5.0}


def test_lists_are_scored_by_rank(bench: ModuleType, tmp_path: Path) -> None:
    test = ranking.leave_one_out(circle(4), back=1)
    lists = np.tile(np.arange(100, 110), (4, 1))
    lists[0, 9], lists[1, 0] = test.relevant.values[0], test.relevant.values[1]
    lists[2, 4:] = -1
    np.save(tmp_path / "users.npy", test.users)
    np.save(tmp_path / "lists.npy", lists)
    assert bench._scored(tmp_path, test).mean("recall@10") == 0.5


def test_the_loss_of_the_peer(bench: ModuleType) -> None:
    torch.manual_seed(0)
    states, items, targets = torch.randn(6, 4), torch.randn(4, 4), torch.tensor([1, 2, 3, 1, 2, 3])
    torch.manual_seed(1)
    found = bench.PeerLoss(name="sampled", negatives=5).of(states, items, targets)
    torch.manual_seed(1)
    negatives = torch.randint(1, 4, (6, 5))
    assert (negatives == targets[:, None]).any(), "a hit that stays"
    wanted = 0.0
    for n in range(6):
        logits = torch.stack(
            [states[n] @ items[i] for i in (int(targets[n]), *negatives[n].tolist())]
        )
        wanted -= torch.log_softmax(logits, 0)[0].item()
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_weights_are_drawn_as_the_peer_draws_them(bench: ModuleType) -> None:
    torch.manual_seed(0)
    network = bench.PeerSASRec(width=64).model({"item": 5_000})
    attention = network.layers[0].attention
    assert network.embed["item"].weight[0].abs().max() == 0
    assert network.embed["item"].weight[1:].std().item() == pytest.approx(
        (2 / (5_001 + 64)) ** 0.5, rel=0.02
    )
    assert attention.query.weight.std().item() == pytest.approx(
        (2 / (64 + 3 * 64)) ** 0.5, rel=0.05
    ), "one matrix of 192 rows"
    assert attention.out.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert attention.key.bias.abs().max() == attention.out.bias.abs().max() == 0


def test_a_million_users_in_small(bench: ModuleType, tmp_path: Path) -> None:
    told = {
        "width": 8,
        "layers": 2,
        "length": 6,
        "items": 50,
        "mean": 10,
        "threads": 1,
        "seed": 3,
        "users": 400,
    }
    bench.make_users(tmp_path / "users", told)
    found = bench.encode_users(tmp_path / "users", told)
    histories = Histories.open(tmp_path / "users")
    assert histories.lengths.min() >= 1
    assert 7 < histories.lengths.mean() < 13
    assert (found["users"], found["events"]) == (400, histories.events)
    assert found["read"] == np.minimum(histories.lengths, 6).sum()
    torch.manual_seed(3)
    recipe = SASRec(width=8, layers=2, history=HistorySpec(length=6))
    network = recipe.model({"item": 50}).eval()
    fitted = FittedNextItem(recipe, {"item": np.arange(50)}, network)
    written = np.load(tmp_path / "users" / "embeddings.npy")
    assert written.dtype == np.float16
    assert np.allclose(written, fitted.user_vectors(Requests(histories)), atol=5e-3)


def test_a_whole_command_and_its_table(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {
        "threads": 1,
        "means": 4,
        "length": 12,
        "histories": 8,
        "full": 4,
        "batch": 4,
        "pieces": 2,
        "results": tmp_path,
    }
    bench.main(
        ["hstu", *(w for name, value in options.items() for w in (f"--{name}", str(value)))]
    )
    told = json.loads((tmp_path / "hstu.json").read_text())
    (run,) = told["runs"]
    assert run["length"]["tokens_a_history"] == 12
    assert (
        run["mean"] <= run["pieces"]["tokens_a_history"] <= run["batch"]["tokens_a_history"] <= 12
    )
    assert told["machine"]["cores"]
    assert told["command"].startswith("python benchmarks/sequence.py hstu --threads 1")
    capsys.readouterr()
    bench.main(["--results", str(tmp_path)])
    page = capsys.readouterr().out
    assert f"| {run['mean']:.0f} | " in page
    assert "`peer` was not measured yet." in page
