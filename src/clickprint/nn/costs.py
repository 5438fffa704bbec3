"""What a network costs: parameters, operations of its training, threads."""

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clickprint.nn.train import Loss, Parts

PASSES = 3  # of a training step, in forward passes: one forward, two backward (Kaplan et al. 2020)
COUNTED = 4  # batches whose operations are counted


class Parameters(NamedTuple):
    """How many numbers are learned: in tables of vectors (items, fields, places) and elsewhere."""

    embedding: int
    layers: int


def parameters(network: nn.Module) -> Parameters:
    """A table that is used twice counts once."""
    tables = {
        id(p): p.numel()
        for m in network.modules()
        if isinstance(m, nn.Embedding)
        for p in m.parameters(recurse=False)
    }
    embedding = sum(tables.values())
    return Parameters(embedding, sum(p.numel() for p in network.parameters()) - embedding)


def forward_flops(network: nn.Module, loss: Loss, parts: Iterable[tuple[Any, int]]) -> int:
    """Floating-point operations of one pass forward, loss included.

    Counted as torch counts them, a multiplication and an addition two: matrix products, attention
    and convolutions. Not counted: lookups, norms, activations and element-wise recurrences
    (Mamba's scan).
    """
    # On a CPU copy, wherever the network was trained: torch cannot look into a fused kernel, which
    # would count nothing.
    network = copy.deepcopy(network).cpu().eval()
    with (
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        for each, _ in parts:
            loss(network, each)
    return int(counter.get_total_flops())


def training_flops(
    network: nn.Module,
    loss: Loss,
    parts: Parts,
    rows: Int64[np.ndarray, "N"],
    *,
    batch: int,
    epochs: int,
) -> float:
    """Floating-point operations of a training of so many epochs on all `rows`.

    PASSES × the forward operations of the first COUNTED batches, scaled to all rows and epochs.
    """
    some = rows[: COUNTED * batch]
    batches = np.array_split(some, range(batch, len(some), batch))
    forward = forward_flops(network, loss, (part for each in batches for part in parts(each)))
    return PASSES * forward / max(len(some), 1) * len(rows) * epochs
