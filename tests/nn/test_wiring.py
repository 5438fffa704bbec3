"""Each option of a loss or a training reaches what it names."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clickprint.core.rng import RNG
from clickprint.nn import losses
from clickprint.nn.next_item import NextItemLoss
from clickprint.nn.train import Training, shuffled, train

PAIRS, ITEMS, WIDTH = 40, 9, 4


class Recorder(torch.optim.AdamW):
    """AdamW that notes how it was made, and of each step the rate and the gradient's norm."""

    made: dict[str, Any]
    rates: list[float]
    norms: list[float]

    def __init__(self, parameters: Any, **options: Any) -> None:
        super().__init__(parameters, **options)
        type(self).made, type(self).rates, type(self).norms = options, [], []

    def step(self, *args: Any, **more: Any) -> Any:
        group = self.param_groups[0]
        self.rates.append(group["lr"])
        square = sum(float((p.grad**2).sum()) for p in group["params"] if p.grad is not None)
        self.norms.append(square**0.5)
        return super().step(*args, **more)


def trained(monkeypatch: pytest.MonkeyPatch, **options: Any) -> type[Recorder]:
    """What the optimiser saw of three epochs of four batches."""
    monkeypatch.setattr(torch.optim, "AdamW", Recorder)
    torch.manual_seed(0)
    x = torch.randn(8, 3)

    def loss(model: nn.Module, rows: np.ndarray) -> torch.Tensor:
        return ((model(x[rows]) - 50) ** 2).sum()

    settings = Training(epochs=3, batch=2, **options)
    train(
        nn.Linear(3, 1),
        shuffled(8, RNG(0)),
        lambda rows: [(rows, len(rows))],
        loss,
        settings,
        rng=RNG(0),
    )
    return Recorder


def test_the_optimiser_gets_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = trained(monkeypatch, lr=0.03, betas=(0.7, 0.8), weight_decay=0.2)
    made = {name: seen.made[name] for name in ("lr", "betas", "weight_decay")}
    assert made == {"lr": 0.03, "betas": (0.7, 0.8), "weight_decay": 0.2}
    assert seen.rates == [0.03] * 12


def test_the_rate_rises_and_falls_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = trained(monkeypatch, lr=0.5, warmup=5, decay_to=0.2)
    wanted = [
        0.5 * min((step + 1) / 5, 1) * (0.2 + 0.8 * (1 + math.cos(math.pi * step / 12)) / 2)
        for step in range(12)
    ]
    assert seen.rates == pytest.approx(wanted)


@pytest.mark.parametrize("clip", [0.0, 0.25])
def test_gradients_are_cut_where_it_says(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = trained(monkeypatch, lr=1e-3, clip=clip).norms
    assert norms == pytest.approx([clip] * 12, rel=1e-4) if clip else min(norms) > 10


def asked(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[str, tuple, dict[str, Any]]:
    """Which loss was asked, with what, for 40 pairs whose targets are 1, 1, 1, 1, 2, 2, 2, 2, …"""
    seen = []

    def spy(name: str) -> Any:
        return lambda *given, **more: seen.append((name, given, more)) or given[0].sum()

    for name in ("full_softmax", "sampled_softmax", "gbce"):
        monkeypatch.setattr(losses, name, spy(name))
    torch.manual_seed(0)
    states, items = torch.randn(PAIRS, WIDTH), torch.randn(ITEMS + 1, WIDTH)
    targets = torch.arange(PAIRS) // 4 % 4 + 1
    NextItemLoss(**options).of(states, items, targets)
    ((name, given, more),) = seen
    assert torch.equal(given[0], states if name != "full_softmax" else states / 0.5)
    both = {"sampled_softmax": (items, targets)}.get(name, (items[1:], targets - 1))
    assert all(torch.equal(a, b) for a, b in zip(given[1:3], both, strict=True))
    return name, given, more


def test_softmax_is_asked_at_its_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, name="softmax", temperature=0.5)[0] == "full_softmax"


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("logq", [False, True])
def test_sampled_softmax_is_asked_with_its_options(
    shared: bool, logq: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"negatives": 500, "temperature": 0.3, "shared": shared, "logq": logq}
    name, (_, _, targets, negatives), more = asked(monkeypatch, name="sampled", **options)
    assert (name, more["temperature"]) == ("sampled_softmax", 0.3)
    assert negatives.shape == ((500,) if shared else (PAIRS, 500))
    # Uniform over all items, or as often as the targets are: none of items 5 to 9.
    assert negatives.unique().tolist() == list(range(1, 5 if logq else ITEMS + 1))
    if logq:
        share = torch.bincount(targets, minlength=ITEMS + 1) / PAIRS
        assert torch.allclose(more["log_q"].exp(), share)
    else:
        assert more["log_q"] is None


def test_gbce_is_asked_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    name, given, more = asked(monkeypatch, name="gbce", negatives=400, calibration=0.4)
    assert (name, more) == ("gbce", {"calibration": 0.4})
    assert given[3].shape == (PAIRS, 400)
    assert given[3].unique().tolist() == list(range(ITEMS))
