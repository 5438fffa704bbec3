"""What a model costs: its parameters, the operations of its training, the threads it may have."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clickprint.core.histories import Histories
from clickprint.core.rng import RNG
from clickprint.encoders.sequence import FittedSequence, chosen, predicted
from clickprint.nn.train import shuffled

PASSES = 3  # of a training step, in forward passes: one forward, two backward (Kaplan et al. 2020)
COUNTED = 4  # batches whose operations are counted


class Parameters(NamedTuple):
    """How many numbers are learned: in tables of vectors (items, other fields, places), and in everything else."""

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


def forward_flops(network: nn.Module, loss: Any, parts: Iterable[tuple[Any, int]]) -> int:
    """Floating-point operations of one pass forward, loss included: of matrix products, attention and convolutions, as torch counts them,
    a multiplication and an addition two. Lookups, norms, activations and element-wise recurrences (Mamba's scan) are not counted.

    Counted on a CPU copy, whatever the network trained on: a fused kernel that torch cannot look into would count nothing.
    """
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


def training_flops(fitted: FittedSequence, histories: Histories, rng: RNG) -> float:
    """PASSES × the forward operations of COUNTED batches, a history's share of them, × the histories of all epochs that were run."""
    events = chosen(fitted.recipe.history, histories)
    fields = fitted.numbers(events)
    rows = shuffled(len(events), rng)(0)[: COUNTED * fitted.recipe.training.batch]
    parts = predicted(fitted.recipe, fields, events.starts)
    batches = np.array_split(
        rows, range(fitted.recipe.training.batch, len(rows), fitted.recipe.training.batch)
    )
    forward = forward_flops(
        fitted.network, fitted.recipe.loss, (part for batch in batches for part in parts(batch))
    )
    epochs = fitted.curve.epoch if fitted.curve is not None else 0
    return PASSES * forward / max(len(rows), 1) * len(events) * epochs


@contextmanager
def using(count: int | None) -> Iterator[None]:
    """So many of torch's threads in the block; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
