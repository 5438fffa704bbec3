"""The loop.

Parts are a batch, a stopped run goes on to the same bytes, two processes are one, and what is
damaged is said.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.options import read
from clickprint.core.rng import RNG
from clickprint.core.seal import seal
from clickprint.nn import train as loop
from clickprint.nn.blocks import SASRecBlock
from clickprint.nn.next_item import NextItem, NextItemLoss, shifted
from clickprint.nn.train import Training, by_day, shuffled, train
from forks import python

ROWS, WIDTH = 50, 4


def world() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, WIDTH, generator=random)
    return x, x @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + 3


def model() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(0.1), nn.Tanh(), nn.Linear(8, 1))


def parts(pieces: int = 1) -> Callable[[np.ndarray], Iterator[tuple[torch.Tensor, int]]]:
    return lambda batch: (
        (torch.from_numpy(p), len(p)) for p in np.array_split(batch, pieces) if len(p)
    )


def loss(net: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    x, y = world()
    return ((net(x[rows])[:, 0] - y[rows]) ** 2).sum()


def state(net: nn.Module) -> bytes:
    return b"".join(v.numpy().tobytes() for v in net.state_dict().values())


def run(
    net: nn.Module, training: Training, *, pieces: int = 1, **more: object
) -> loop.LearningCurve:
    return train(net, shuffled(ROWS, RNG(3)), parts(pieces), loss, training, rng=RNG(3), **more)


def test_it_learns_and_the_same_seed_gives_the_same_bytes() -> None:
    nets = [model(), model()]
    before = float(loss(nets[0].eval(), torch.arange(ROWS)).detach())
    seen = [run(net, Training(epochs=40, batch=16, lr=0.02)) for net in nets]
    assert float(loss(nets[0], torch.arange(ROWS))) < before / 10
    assert state(nets[0]) == state(nets[1])
    assert seen[0].loss == seen[1].loss
    assert seen[0].loss[-1] < seen[0].loss[0] / 5
    assert seen[0].step == 40 * 4


def test_parts_have_the_gradient_of_the_whole_batch() -> None:
    nets = [nn.Linear(WIDTH, 1) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    for net, pieces in zip(nets, (1, 3), strict=True):
        run(net, Training(epochs=3, batch=16), pieces=pieces)
    assert torch.allclose(nets[0].weight, nets[1].weight, atol=1e-6)


def test_the_callers_random_numbers_are_left_alone() -> None:
    net = model()
    torch.manual_seed(9)
    wanted = torch.rand(1)
    torch.manual_seed(9)
    run(net, Training(epochs=1))
    assert torch.equal(torch.rand(1), wanted)


def test_no_epoch_leaves_the_model_as_it_was() -> None:
    net = model()
    before = state(net)
    found = run(
        net,
        Training(epochs=0),
        metric=lambda _: pytest.fail("nothing was learned, so nothing is measured"),
    )
    assert state(net) == before
    assert (found.epoch, found.loss, found.metrics, found.done) == (0, [], [], True)


class Killed(Exception):
    pass


def killer(steps: int) -> Callable[[str, int, int], None]:
    left = [steps]

    def progress(stage: str, done: int, total: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return progress


@pytest.mark.parametrize("steps", [0, 3, 4, 9])
def test_a_killed_run_goes_on_to_the_same_bytes(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)  # after every step
    training = Training(epochs=4, batch=16, lr=0.02, decay_to=0.1, warmup=3, clip=0.5)

    def metric(net: nn.Module) -> float:
        torch.rand(3)  # a metric that draws does not change the training
        return -float(loss(net, torch.arange(ROWS)))

    whole = model()
    wanted = run(whole, training, metric=metric)
    with pytest.raises(Killed):
        run(
            model(),
            training,
            metric=metric,
            checkpoint=tmp_path / "c",
            key="k",
            progress=killer(steps),
        )
    again = model()
    found = run(again, training, metric=metric, checkpoint=tmp_path / "c", key="k")
    assert state(again) == state(whole)
    assert (found.loss, found.metrics, found.best_epoch) == (
        wanted.loss,
        wanted.metrics,
        wanted.best_epoch,
    )
    finished = model()
    run(finished, training, metric=metric, checkpoint=tmp_path / "c", key="k", progress=killer(0))
    assert state(finished) == state(whole), "a finished run is not trained again"


def test_the_best_value_is_kept_and_patience_ends_it() -> None:
    values = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    states = []

    def metric(net: nn.Module) -> float:
        states.append(state(net))
        return next(values)

    net = model()
    found = run(net, Training(epochs=9, batch=16, patience=2), metric=metric)
    assert (found.epoch, found.best_epoch, found.best) == (4, 2, 3.0)
    assert state(net) == states[1]
    values, last = iter([1.0, 3.0, 2.0]), model()
    assert run(last, Training(epochs=3, batch=16, keep="last"), metric=metric).best_epoch == 2
    assert state(last) == states[-1] != states[-2]
    sparse = run(model(), Training(epochs=5, every=2), metric=lambda _: 1.0)
    assert [e for e, _ in sparse.metrics] == [2, 4, 5]


def test_patience_ends_it_only_where_something_was_measured() -> None:
    seen = run(model(), Training(epochs=40, every=5, patience=3), metric=lambda _: 0.5)
    assert seen.metrics == [(5, 0.5), (10, 0.5)]
    assert seen.epoch == 10


def test_which_epoch_is_kept() -> None:
    for keep, wanted in (("best", 2), ("last", 4)):
        values = iter([0.1, 0.9, 0.2, 0.3])
        training = Training(epochs=4, keep=keep)
        seen = run(model(), training, metric=lambda _, values=values: next(values))
        assert seen.kept(training) == wanted
    assert run(model(), Training(epochs=3)).kept(Training(epochs=3)) == 3
    assert run(model(), Training(epochs=0)).kept(Training(epochs=0)) == 0


def test_a_loss_that_is_no_number_is_said() -> None:
    with pytest.raises(FloatingPointError, match=r"nan.*step 0.*epoch 1\b.*\blr\b"):
        train(
            nn.Linear(1, 1),
            shuffled(4, RNG()),
            parts(),
            lambda m, _: m.weight.sum() * torch.nan,
            Training(epochs=1),
            rng=RNG(),
        )


def test_nothing_to_train_on() -> None:
    net = nn.Linear(WIDTH, 1)
    before = state(net)
    found = train(net, shuffled(0, RNG()), parts(), loss, Training(epochs=2), rng=RNG())
    assert (found.step, found.loss, state(net)) == (0, [0.0, 0.0], before)


def spoil(folder: Path, how: str) -> None:
    about = json.loads((folder / "progress.json").read_text())
    match how:
        case "other":
            about["key"] = "another"
        case "format":
            about["format"] = 99
        case "field":
            about["unknown"] = 1
        case "no json":
            (folder / "progress.json").write_text("{")
            seal(folder)
            return
        case "truncated":
            file = folder / "state.safetensors"
            file.write_bytes(file.read_bytes()[:-20])
        case "empty":
            (folder / "state.safetensors").write_bytes(b"")
        case "missing":
            (folder / "state.safetensors").unlink()
    (folder / "progress.json").write_text(json.dumps(about))
    seal(folder)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("other", "'another'"),
        ("format", "of another training"),
        ("field", "unknown"),
        ("no json", "progress.json"),
        ("truncated", "state.safetensors"),
        ("empty", "state.safetensors"),
        ("missing", "state.safetensors"),
    ],
)
def test_a_checkpoint_that_is_not_ours(how: str, said: str, tmp_path: Path) -> None:
    run(model(), Training(epochs=1), checkpoint=tmp_path / "c", key="k")
    spoil(tmp_path / "c", how)
    with pytest.raises(DataError, match=said) as fault:
        run(model(), Training(epochs=1), checkpoint=tmp_path / "c", key="k")
    assert "remove it to train from the start" in str(fault.value)
    run(model(), Training(epochs=1), checkpoint=tmp_path / "d", key="k")
    with pytest.raises(DataError, match=r"state\.safetensors"):
        run(nn.Linear(WIDTH, 2), Training(epochs=1), checkpoint=tmp_path / "d", key="k")


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"batch": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"precision": "16"},
        {"decay_to": 2.0},
        {"keep": "first"},
        {"clip": -1.0},
        {"clip": float("nan")},
        {"warmup": -5},
        {"patience": -1},
        {"weight_decay": -0.1},
        {"betas": (1.5, 0.9)},
    ],
)
def test_settings_that_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        read(Training, wrong)


def test_by_day_takes_the_days_in_order_and_shuffles_within() -> None:
    days = np.array([3, 1, 3, 1, 1, 7])
    rows, known = by_day(days, RNG(0))
    assert known.tolist() == [1, 3, 7]
    assert [sorted(rows(d).tolist()) for d in range(3)] == [[1, 3, 4], [0, 2], [5]]
    orders = {tuple(by_day(np.zeros(5, np.int64), RNG(s))[0](0).tolist()) for s in range(9)}
    assert len(orders) > 1


def test_bfloat16_is_close() -> None:
    nets = [model(), model()]
    for net, precision in zip(nets, ("32", "bf16"), strict=True):
        run(net, Training(epochs=5, batch=16, precision=precision))
    one, other = (float(loss(n, torch.arange(ROWS))) for n in nets)
    assert one == pytest.approx(other, rel=0.1)
    assert state(nets[0]) != state(nets[1])


def test_a_weight_that_is_no_number_is_said_and_the_last_good_state_stays(tmp_path: Path) -> None:
    """The loss of the last step was finite; what it made of the weights is not."""
    sound = run(model(), Training(epochs=1, batch=ROWS), checkpoint=tmp_path / "c", key="k")
    assert sound.done
    saved = (tmp_path / "c" / "state.safetensors").read_bytes()
    about = json.loads((tmp_path / "c" / "progress.json").read_text())
    (tmp_path / "c" / "progress.json").write_text(json.dumps({**about, "done": False}))
    seal(tmp_path / "c")

    with pytest.raises(
        FloatingPointError,
        match=r"4 of 4.*\b0\.weight.*step 2.*epoch 2\b",
    ):
        train(
            model(),
            shuffled(ROWS, RNG(3)),
            parts(),
            overflows,
            Training(epochs=2, batch=ROWS),
            rng=RNG(3),
            checkpoint=tmp_path / "c",
            key="k",
        )
    assert (tmp_path / "c" / "state.safetensors").read_bytes() == saved


def overflows(net: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return sum(
        ((p.sum() - p.sum().detach()).abs().sqrt() for p in net.parameters()), loss(net, rows)
    )  # √ has no slope at 0


def test_a_metric_that_is_no_number_is_said() -> None:
    with pytest.raises(FloatingPointError, match="after epoch 1 is no number"):
        run(model(), Training(epochs=2), metric=lambda _: float("nan"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda v: torch.full_like(v, torch.nan),
            r"1 of 4.*\b0\.bias",
        ),
        (lambda v: v.double(), r"\b0\.bias.*float64.*float32"),
        (lambda v: v.long(), r"\b0\.bias.*int64.*float32"),
        (lambda v: v[:-1], r"\b0\.bias.*\(7,\)"),
    ],
    ids=["NaN", "float64", "whole numbers", "size"],
)
def test_weights_that_are_not_taken(
    spoil: Callable[[torch.Tensor], torch.Tensor], said: str, tmp_path: Path
) -> None:
    run(model(), Training(epochs=1), checkpoint=tmp_path / "c", key="k")
    file = tmp_path / "c" / "state.safetensors"
    tensors = load_file(file)
    tensors["model.0.bias"] = spoil(tensors["model.0.bias"]).contiguous()
    save_file(tensors, file)
    seal(tmp_path / "c")
    net = model()
    before = state(net)
    with pytest.raises(DataError, match=said):
        run(net, Training(epochs=1), checkpoint=tmp_path / "c", key="k")
    assert state(net) == before


@pytest.mark.parametrize(
    "stance", ["force_eager", pytest.param("default", marks=pytest.mark.slow)]
)
def test_compiled_is_the_same_training(stance: str) -> None:
    """What wraps the model changes neither its weights' names nor what the loss finds in it.

    The compiler itself takes its time.
    """
    nets = [nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    for net, compiled in zip(nets, (False, True), strict=True):
        with torch.compiler.set_stance(stance):
            run(net, Training(epochs=2, batch=25, lr=0.02, compile=compiled))
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert list(nets[1].state_dict()) == list(nets[0].state_dict())
    with torch.compiler.set_stance("force_eager"):
        items = [sasrec(), sasrec()]
        items[1].load_state_dict(items[0].state_dict())
        for net, compiled in zip(items, (False, True), strict=True):
            on_items(net, Training(epochs=1, batch=8, compile=compiled))
    assert state(items[0]) == state(items[1])


# -- two processes --------------------------------------------------------------------------------
def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 1))


def sasrec() -> NextItem:
    return NextItem({"item": 9}, 8, 6, [SASRecBlock(8, 1, dropout=0.0)], dropout=0.0)


def on_plain(net: nn.Module, training: Training, **more: object) -> None:
    train(net, shuffled(ROWS, RNG(3)), parts(2), loss, training, rng=RNG(3), **more)


def on_items(net: nn.Module, training: Training, **more: object) -> None:
    """Histories of 0 to 8 events.

    Every second has one at most, so that a process often has nothing to do.
    """
    lengths = np.where(np.arange(21) % 2, np.arange(21) % 8 + 1, np.arange(21) % 2)
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    fields = {"item": np.random.default_rng(0).integers(1, 10, starts[-1])}
    train(
        net,
        shuffled(21, RNG(4)),
        shifted(fields, starts, 6, 3),
        NextItemLoss(),
        training,
        rng=RNG(4),
        **more,
    )


STEPS = {"epochs": 3, "lr": 0.02, "clip": 1.0}
# Name → the model, how it is trained. The last batch of `alone` has one row, so that one of two
# processes has none.
CASES = {
    "plain": (plain, on_plain, Training(batch=15, **STEPS)),
    "alone": (plain, on_plain, Training(batch=7, **STEPS)),
    "shard": (plain, on_plain, Training(batch=15, shard=True, **STEPS)),
    "items": (sasrec, on_items, Training(batch=4, **STEPS)),
    "items shard": (sasrec, on_items, Training(batch=4, shard=True, **STEPS)),
}

TWO = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_train import CASES, Killed, killer
meet, rank = "file://" + sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
out = {{}}
for name, (make, trained, training) in CASES.items():
    for stopped in (False, True):
        torch.manual_seed(5 + int(sys.argv[2]))  # the first process's start is everybody's
        net, folder = make(), Path(sys.argv[3] + name.replace(" ", "-"))
        if stopped:
            try:
                late = killer(training.epochs * 4 - 3)
                trained(net, training, checkpoint=folder, key="k", progress=late)
            except Killed:
                net = make()
                trained(net, training, checkpoint=folder, key="k")
        else:
            trained(net, training)
        out[name, stopped] = [p.tolist() for p in net.parameters()]
if sys.argv[2] == "0":
    torch.save(out, sys.argv[3])
torch.distributed.barrier()
"""


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Also with nothing to do for one, with a divided optimiser's state, and after a stop."""
    script = tmp_path / "two.py"
    script.write_text(TWO.format(here=str(Path(__file__).parent)))
    command = [python(), str(script), str(tmp_path / "meet")]
    both = [subprocess.Popen([*command, str(rank), str(tmp_path / "out.pt")]) for rank in range(2)]
    try:
        assert [p.wait(timeout=120) for p in both] == [0, 0]
    finally:
        for p in both:
            p.kill()
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, (make, trained, training) in CASES.items():
        torch.manual_seed(5)
        one = make()
        start = [p.detach().clone() for p in one.parameters()]
        trained(one, training)
        for stopped in (False, True):
            moved = 0.0
            for found, wanted, before in zip(
                out[name, stopped], one.parameters(), start, strict=True
            ):
                assert torch.allclose(torch.tensor(found), wanted, atol=2e-3), (
                    name,
                    stopped,
                )  # Adam divides by tiny gradients
                moved = max(moved, float((wanted - before).abs().max().detach()))
            assert moved > 0.04, name
