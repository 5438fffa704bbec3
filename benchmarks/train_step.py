"""One training step of the sequence encoders beside the floor of the device, by precision.

    python benchmarks/train_step.py                 # the first of CUDA, MPS and CPU that is there
    python benchmarks/train_step.py --accelerator cpu --threads 2 --width 64 --steps 20

The floor (roofline; Williams et al. 2009) is the larger of two times, from what the device does
here, measured before: the step's operations at the rate of a large matrix product in that
precision, and the bytes that it has to move for the weights alone (read forward and backward, the
gradient written and read, AdamW's weight and two moments read and written: 40 bytes a parameter)
at the rate of a large copy. Activations, look-ups and the batch's way to the device are not in the
floor, and are in the step.
"""

import argparse
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch

from clickprint.core.histories import Histories
from clickprint.core.ragged import starts_of
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.data.split import HistoriesPast
from clickprint.encoders.gru4rec import GRU4Rec
from clickprint.encoders.hstu import HSTU
from clickprint.encoders.mamba4rec import Mamba4Rec
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec
from clickprint.encoders.transformerpp import TransformerPP
from clickprint.nn.costs import parameters
from clickprint.nn.device import device
from clickprint.nn.next_item import NextItemLoss
from clickprint.nn.train import Training

MODELS = {
    "sasrec": SASRec,
    "hstu": HSTU,
    "gru4rec": GRU4Rec,
    "mamba4rec": Mamba4Rec,
    "transformer++": TransformerPP,
}
PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16}
COPIED = 1 << 26  # numbers that are copied to see how fast that is: more than a cache holds
BYTES = 40  # a parameter and step, at least
WARM = 3  # steps in which memory is first asked for


def seconds(work: Callable[[], object], where: str, *, times: int = 7) -> float:
    """The least of a few runs, each waited for to its end."""
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(
        where.split(":")[0], lambda: None
    )
    found = []
    for _ in range(times + 1):
        wait()
        start = perf_counter()
        work()
        wait()
        found.append(perf_counter() - start)
    return min(found[1:])


def rates(where: str, size: int) -> tuple[dict[str, float], float]:
    """Operations a second of a matrix product in each precision; bytes a second of a copy.

    The product is of `size`, the copy of COPIED numbers.
    """
    products = {}
    for name, kind in PRECISIONS.items():
        one = torch.randn(size, size, device=where).to(kind)
        products[name] = 2 * size**3 / seconds(lambda one=one: one @ one, where)
    whole = torch.zeros(COPIED, device=where)
    other = torch.empty_like(whole)
    return products, 2 * whole.numel() * whole.element_size() / seconds(
        lambda: other.copy_(whole), where
    )


def histories(users: int, mean: int, items: int, seed: int) -> Histories:
    """Log-normal lengths of two events or more, items of very different zeal, an event an hour."""
    random = RNG(seed).child("users").generator()
    lengths = np.maximum(np.rint(random.lognormal(np.log(mean) - 0.5, 1.0, users)), 2).astype(
        np.int64
    )
    starts = starts_of(lengths)
    item = (items * random.random(int(starts[-1])) ** 2).astype(np.int64)
    return Histories(
        np.arange(users), starts, {"item": item, "time": np.arange(len(item)) * 3_600_000_000}
    )


def row(
    name: str,
    precision: str,
    given: argparse.Namespace,
    flops_a_second: float,
    bytes_a_second: float,
) -> str:
    """One line of the table.

    A training of so many steps, the median step behind the first ones.
    """
    some = histories((given.steps + WARM) * given.batch, given.mean, given.items, given.seed)
    recipe = MODELS[name](
        width=given.width,
        layers=given.layers,
        history=HistorySpec(length=given.length),
        training=Training(epochs=1, batch=given.batch, precision=precision),
    )
    recipe = replace(
        recipe,
        loss=NextItemLoss(
            name="sampled", negatives=512, shared=True, temperature=recipe.loss.temperature
        ),
    )
    ends: list[float] = []
    fitted = recipe.fit(
        HistoriesPast(some),
        rng=RNG(given.seed),
        progress=lambda *_: ends.append(perf_counter()),
        session=Session(accelerator=given.accelerator),
    )
    step = float(np.median(np.diff(ends[WARM - 1 :])))
    size = sum(parameters(fitted.network))
    operations = fitted.training_flops(some, rng=RNG(given.seed)) / (given.steps + WARM)
    floor = max(operations / flops_a_second, BYTES * size / bytes_a_second)
    return (
        f"| {name} | {precision} | {size:,} | {operations / 1e9:.1f} | {step * 1e3:.1f} "
        f"| {given.batch / step:,.0f} | {operations / flops_a_second * 1e3:.2f} "
        f"| {BYTES * size / bytes_a_second * 1e3:.2f} | {floor / step:.0%} |"
    )


def main(words: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--accelerator", default="auto", help="auto, cuda, mps, cpu")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    options.add_argument("--width", type=int, default=128)
    options.add_argument("--layers", type=int, default=2)
    options.add_argument("--length", type=int, default=50)
    options.add_argument("--mean", type=int, default=30, help="events of a user")
    options.add_argument("--items", type=int, default=20_000)
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--steps", type=int, default=12, help=f"measured, after {WARM}")
    options.add_argument(
        "--product",
        type=int,
        default=0,
        help="size of the matrices of the rates; 0: 1,024 on a CPU, 8,192 elsewhere",
    )
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args(words)
    torch.set_num_threads(given.threads)
    where = device(given.accelerator)
    products, copied = rates(where, given.product or (1_024 if where == "cpu" else 8_192))
    on = torch.cuda.get_device_name(where) if where.startswith("cuda") else where
    print(
        f"{on}, {platform.machine()}, {given.threads} threads, torch {torch.__version__},"
        f" seed {given.seed}"
    )
    said = ", ".join(f"{products[p] / 1e9:,.0f} G/s in {p}" for p in given.precisions)
    print(
        f"\nMeasured here: operations of a matrix product {said}; a copy {copied / 1e9:,.1f} GB/s."
    )
    print(
        f"Width {given.width}, {given.layers} layers, {given.items:,} items, batches of"
        f" {given.batch} histories of {given.mean} events on average (the last"
        f" {given.length + 1}), sampled softmax of 512 shared negatives; the median of"
        f" {given.steps} steps.\n"
    )
    print(
        "| model | precision | parameters | G operations | step, ms | histories/s"
        " | by operations, ms | by weights, ms | floor / step |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in given.models:
        for precision in given.precisions:
            print(row(name, precision, given, products[precision], copied), flush=True)


if __name__ == "__main__":
    main()
