"""What a network costs, by hand: parameters and floating-point operations."""

import pytest
import torch
from torch import nn

from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec
from clickprint.nn.costs import forward_flops, parameters
from clickprint.nn.next_item import Batch, NextItemLoss


def test_parameters_by_hand() -> None:
    w, length, layers = 6, 9, 2
    spec = HistorySpec(length=length, fields=("kind",))
    network = SASRec(width=w, layers=layers, history=spec).model({"item": 10, "kind": 3})
    # query key value out; up down; two norms
    block = 4 * (w * w + w) + 2 * (w * w + w) + 2 * 2 * w
    assert parameters(network) == (w * (10 + 1) + w * (3 + 1) + w * length, layers * block + 2 * w)
    tied = nn.ModuleList([nn.Embedding(5, 2), nn.Linear(2, 3)])
    tied.append(tied[0])
    assert parameters(tied) == (10, 9)


def test_flops_of_a_linear_layer() -> None:
    ran: list[bool] = []

    def loss(network: nn.Module, part: torch.Tensor) -> torch.Tensor:
        ran.append(network.training)
        found: torch.Tensor = network(part).sum()
        return found

    layer = nn.Linear(3, 5)
    parts = [(torch.ones(7, 3), 7), (torch.ones(2, 3), 2)]
    assert forward_flops(layer, loss, parts) == 2 * (7 + 2) * 3 * 5
    assert ran == [False, False]
    assert layer.training  # a copy was counted


def batch(rows: int, length: int) -> Batch:
    return Batch({"item": torch.ones(rows, length, dtype=torch.long)}, torch.full((rows,), length))


@pytest.mark.parametrize("loss", [NextItemLoss(), NextItemLoss(name="sampled", negatives=4)])
def test_flops_of_a_network_by_hand(loss: NextItemLoss) -> None:
    w, items, rows, length = 4, 10, 3, 5
    network = SASRec(width=w, heads=2).model({"item": items})
    # four maps of attention, two of the feed-forward part
    per_token = 2 * 4 * w * w + 2 * 2 * w * w
    attention = 2 * 2 * rows * length * length * w  # scores and their products with values
    against = items if loss.name == "softmax" else 4
    state = torch.get_rng_state()
    part = batch(rows, length), batch(rows, length)
    found = forward_flops(network, loss, [(part, rows * length)])
    assert found == rows * length * per_token + attention + 2 * rows * length * against * w
    assert torch.equal(state, torch.get_rng_state())
