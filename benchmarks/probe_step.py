"""One training step of the official probe, ours beside plain PyTorch with the plain AdamW.

Both take turns in one process.

    python benchmarks/probe_step.py [--steps 12] [--threads 2] [--columns 320] [--labels 100]

Ends with 1 when the median step takes more than 0.75 of the plain one, or any loss differs by more
than 1e-6 of itself.
"""

import argparse
import platform
import sys
from collections.abc import Iterator
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clickprint.tasks import official
from clickprint.tasks.task import bce

MOST, CLOSE = 0.75, 1e-6


class Plain(nn.Module):
    """The organisers' network of PyTorch's layers; our names, so that it takes our weights."""

    def __init__(self, columns: int, labels: int, width: int = 2_048, inner: int = 4_096) -> None:
        super().__init__()
        self.enter, self.enter_norm = nn.Linear(columns, width), nn.LayerNorm(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
            for _ in range(3)
        )
        self.leave_norm, self.leave = nn.LayerNorm(width), nn.Linear(width, labels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter_norm(self.enter(x))
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.leave(self.leave_norm(x))


def plain_steps(model: Plain, x: Tensor, y: Tensor) -> Iterator[float]:
    """The textbook step. Its batches are float32 tensors; ours are cast from float16 each time."""
    optimise = torch.optim.AdamW(model.parameters(), lr=official.LR)
    for start in range(0, len(x), official.BATCH):
        optimise.zero_grad()
        error = functional.binary_cross_entropy_with_logits(
            model(x[start : start + official.BATCH]), y[start : start + official.BATCH]
        )
        error.backward()
        optimise.step()
        yield error.item()


def timed(steps: Iterator[float]) -> tuple[float, float]:
    """Seconds and loss of the next step."""
    start = perf_counter()
    loss = next(steps)
    return perf_counter() - start, loss


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--steps", type=int, default=12, help="steps measured, after one to warm up"
    )
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--columns", type=int, default=320)
    options.add_argument("--labels", type=int, default=100)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)

    generator = np.random.default_rng(0)
    rows = official.BATCH * (chosen.steps + 1)
    vectors = generator.normal(size=(rows, chosen.columns)).astype(np.float16)
    target = generator.random((rows, chosen.labels)) < 0.01
    ours = official.network(chosen.columns, chosen.labels)
    plain = Plain(chosen.columns, chosen.labels)
    plain.load_state_dict(ours.state_dict())
    slow = plain_steps(
        plain,
        torch.from_numpy(vectors.astype(np.float32)),
        torch.from_numpy(target.astype(np.float32)),
    )
    fast = official.steps(ours, official.optimiser(ours), vectors, target, loss=bce)
    timed(slow), timed(fast)
    pairs = [(timed(slow), timed(fast)) for _ in range(chosen.steps)]

    (plain_s, ours_s) = (float(np.median([pair[which][0] for pair in pairs])) for which in (0, 1))
    gap = max(abs(a[1] - b[1]) / abs(a[1]) for a, b in pairs)
    print(
        f"{platform.machine()}, {chosen.threads} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
    print(
        f"\n| step of the official probe, {chosen.columns} columns, {chosen.labels} labels | "
        f"median of {chosen.steps}, s | ratio |"
    )
    print("|---|---|---|")
    print(f"| plain PyTorch, plain AdamW | {plain_s:.3f} | 1 |")
    print(f"| clickprint | {ours_s:.3f} | {ours_s / plain_s:.3f} (at most {MOST}) |")
    print(f"\nLargest difference of a loss: {gap:.1e} of it (at most {CLOSE:.0e}).")
    return int(ours_s / plain_s > MOST or gap > CLOSE)


if __name__ == "__main__":
    sys.exit(main())
