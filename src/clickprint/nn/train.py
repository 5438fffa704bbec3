"""The one training loop: rows in an order, batches in parts, checkpoints that a killed run goes on from to the same bytes.

The caller brings a model, the rows of each epoch and what a batch's parts and their losses are; the loop knows nothing else of them.
Under torchrun (torch.distributed initialised) every process takes its share of each batch and DistributedDataParallel adds up the
gradients; the result is that of one process, up to rounding (and what is drawn at random: each process draws for itself). With `shard` the
optimiser's state, two numbers for each weight, is divided among the processes; weights stay whole everywhere.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import restore, whole
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG

FORMAT = 1
SAVE_SECONDS = 60.0  # how much work a kill may cost
Parts = Callable[[Int64[np.ndarray, "B"]], Iterable[tuple[Any, int]]]
Loss = Callable[[nn.Module, Any], Float[Tensor, ""]]
Rows = Callable[[int], Int64[np.ndarray, "N"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a model is trained. `patience` counts epochs without a better measure, and training stops where something was measured; 0 trains
    all epochs. 0 `epochs` leave it as it starts.

    `keep`: where something is measured, the "best" state stands at the end, or the "last" one.
    """

    epochs: int = 100
    batch: int = 128
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    warmup: int = 0  # steps in which the rate rises from 0
    decay_to: float = (
        1.0  # the last epoch's share of the rate, by half a cosine; 1 keeps it constant
    )
    clip: float = 0.0  # the largest norm of a gradient; 0 leaves them as they are
    patience: int = 0
    every: int = 1  # epochs between two measures
    keep: str = "best"
    precision: str = "32"  # or "bf16"
    compile: bool = False
    shard: bool = False  # divides the optimiser's state among the processes (ZeRO, stage 1; Rajbhandari et al. 2020)

    def __post_init__(self) -> None:
        faults = [
            f"{n}: found {getattr(self, n)}, expected at least 1"
            for n in ("batch", "every")
            if getattr(self, n) < 1
        ]
        faults += [
            f"{n}: found {getattr(self, n)}, expected at least 0"
            for n in ("epochs", "warmup", "patience")
            if getattr(self, n) < 0
        ]
        faults += (
            [f"lr: found {self.lr}, expected a number above 0"]
            if not 0 < self.lr < math.inf
            else []
        )
        wrong = len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas)
        faults += (
            [f"betas: found {list(self.betas)}, expected two numbers from 0 to below 1"]
            if wrong
            else []
        )
        named = ("weight_decay", "clip")
        faults += [
            f"{n}: found {getattr(self, n)}, expected a number from 0"
            for n in named
            if not 0 <= getattr(self, n) < math.inf
        ]
        faults += (
            [f"precision: found {self.precision!r}, expected '32' or 'bf16'"]
            if self.precision not in ("32", "bf16")
            else []
        )
        faults += (
            [f"keep: found {self.keep!r}, expected 'best' or 'last'"]
            if self.keep not in ("best", "last")
            else []
        )
        faults += (
            [f"decay_to: found {self.decay_to}, expected 0 to 1"]
            if not 0 <= self.decay_to <= 1
            else []
        )
        if faults:
            raise ConfigError("; ".join(faults))


@runtime_checkable
class Trains(Protocol):
    """A recipe that says how it is trained."""

    @property
    def training(self) -> Training: ...


@dataclass(slots=True)
class LearningCurve:
    """Where a training stands, and what it has seen; kept in its checkpoint."""

    epoch: int = 0
    batch: int = 0  # of the epoch, done
    step: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    done: bool = False
    loss: list[float] = field(default_factory=list)  # the mean of each epoch
    metrics: list[tuple[int, float]] = field(default_factory=list)
    epoch_loss: float = 0.0
    epoch_weight: float = 0.0

    def kept(self, training: Training) -> int:
        """The epoch whose state stands at the end, 1 the first one; 0 where nothing was trained."""
        return self.best_epoch if self.metrics and training.keep == "best" else self.epoch


def train(
    model: nn.Module,
    rows: Rows,
    parts: Parts,
    loss: Loss,
    training: Training,
    *,
    rng: RNG,
    metric: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
) -> LearningCurve:
    """Trains `model` in place; at the end it holds the state with the best measure, or the last (nothing measured, or `keep` = "last").

    `rows(epoch)` are the rows of an epoch in their order (all shuffled; or a day's, for training by day). `parts(batch)` cuts a batch
    into pieces that are run one after the other, each with its weight (number of targets): gradients are those of the whole batch.
    `loss(model, part)` is the *sum* over a part. `measure` (higher is better) is called after every `every` epochs. With a `checkpoint`
    folder (or inside core.checkpoints, with a `key`) the run is saved every minute and after each epoch, and goes on from there when
    called again with the same `key`, which names everything that the training depends on. Same seed, machine and threads: same bytes (of
    several processes only the first one's random numbers are saved, and with `shard` it is saved after each epoch only). Raises DataError
    for a checkpoint of another key, a damaged one or what is none, FloatingPointError when the loss, a weight or a measure is no longer a
    number; the last good checkpoint stays.
    """
    run, curve = _Run.of(model, training), LearningCurve(done=not training.epochs)
    with torch.random.fork_rng(devices=run.cuda):
        run.seed(rng, 0)
        kept: dict[str, Tensor] = {}
        if checkpoint is not None and not run.rank:
            restore(checkpoint)
        if (
            checkpoint is not None
            and (checkpoint.exists() or checkpoint.is_symlink())
            and not empty(checkpoint)
        ):
            curve, kept = run.load(checkpoint, key)
            if run.rank:
                run.seed(rng, curve.step)
        saved = monotonic()
        while not curve.done:
            order = rows(curve.epoch)
            batches = max(math.ceil(len(order) / training.batch), 0)
            model.train()
            for number in range(curve.batch, batches):
                batch = order[number * training.batch : (number + 1) * training.batch]
                total, weight = run.step(batch, parts, loss, curve, batches)
                if not math.isfinite(total):
                    raise FloatingPointError(
                        f"the loss is {total} in step {curve.step} of epoch {curve.epoch + 1}; lower lr, or set clip (1.0 is usual)"
                    )
                curve.epoch_loss, curve.epoch_weight = (
                    curve.epoch_loss + total,
                    curve.epoch_weight + weight,
                )
                curve.batch, curve.step = number + 1, curve.step + 1
                progress(f"train, epoch {curve.epoch + 1}", number + 1, batches)
                if (
                    checkpoint is not None
                    and not run.sharded
                    and monotonic() - saved > SAVE_SECONDS
                ):
                    run.save(checkpoint, key, curve, kept)
                    saved = monotonic()
            run.check(curve)
            curve.loss.append(curve.epoch_loss / max(curve.epoch_weight, 1))
            curve.epoch, curve.batch, curve.epoch_loss, curve.epoch_weight = (
                curve.epoch + 1,
                0,
                0.0,
                0.0,
            )
            if metric is not None and (
                curve.epoch % training.every == 0 or curve.epoch == training.epochs
            ):
                model.eval()
                with torch.no_grad(), torch.random.fork_rng(devices=run.cuda):
                    found = float(metric(model))
                if math.isnan(found):
                    raise FloatingPointError(
                        f"the measure after epoch {curve.epoch} is no number; see what it divides by"
                    )
                curve.metrics.append((curve.epoch, found))
                if found > curve.best:
                    curve.best, curve.best_epoch = found, curve.epoch
                    if training.keep == "best":
                        kept = {
                            name: value.detach().cpu().clone()
                            for name, value in model.state_dict().items()
                        }
            measured = bool(curve.metrics) and curve.metrics[-1][0] == curve.epoch
            waited = (
                training.patience
                and measured
                and curve.epoch - max(curve.best_epoch, 0) >= training.patience
            )
            curve.done = curve.epoch >= training.epochs or bool(waited)
            if checkpoint is not None:
                run.save(checkpoint, key, curve, kept)
                saved = monotonic()
    if kept:
        model.load_state_dict(kept)
    model.eval()
    return curve


def shuffled(count: int, rng: RNG) -> Rows:
    """Rows 0 … count − 1 in another order each epoch, the same for the same seed."""

    def rows(epoch: int) -> Int64[np.ndarray, "N"]:
        return rng.child(f"epoch {epoch}").generator().permutation(count)

    return rows


def by_day(days: Int64[np.ndarray, "N"], rng: RNG) -> tuple[Rows, Int64[np.ndarray, "D"]]:
    """Training by day: epoch e has the rows of the e-th day that occurs in `days`, shuffled within it; and those days, in order."""
    known, place = np.unique(days, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(known) + 1))

    def rows(epoch: int) -> Int64[np.ndarray, "N"]:
        return (
            rng.child(f"day {epoch}")
            .generator()
            .permutation(order[starts[epoch] : starts[epoch + 1]])
        )

    return rows, known


def processes() -> tuple[int, int]:
    """Which of how many processes this is: (0, 1) where torch.distributed was not initialised."""
    shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)


def empty(folder: Path) -> bool:
    """Whether nothing would be lost if a checkpoint were written here."""
    return folder.is_dir() and not any(folder.iterdir())


def take(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives a model these weights. Raises ValueError for one of another type or no number, RuntimeError for another model's."""
    if bad := unfit(weights):
        raise ValueError(bad)
    wanted = model.state_dict()
    types = [
        f"{n} is {v.dtype}, expected {wanted[n].dtype}"
        for n, v in weights.items()
        if n in wanted and v.dtype != wanted[n].dtype
    ]
    if types:
        raise ValueError("; ".join(types))
    model.load_state_dict(dict(weights))


def unfit(weights: Mapping[str, Tensor]) -> str:
    """Which tensors hold NaN or infinity; empty when none does."""
    bad = [
        name
        for name, values in weights.items()
        if values.is_floating_point() and not bool(torch.isfinite(values).all())
    ]
    return (
        f"{len(bad)} of {len(weights)} weights are no finite numbers, the first is {bad[0]}"
        if bad
        else ""
    )


@dataclass(slots=True)
class _Run:
    """A model with its optimiser, and how one step is made."""

    model: nn.Module
    wrapped: nn.Module
    optimiser: torch.optim.Optimizer
    training: Training
    rank: int
    world: int
    cuda: list[int]

    @staticmethod
    def of(model: nn.Module, training: Training) -> "_Run":
        device = next(model.parameters()).device
        rank, world = processes()
        how: dict[str, Any] = {
            "lr": training.lr,
            "betas": training.betas,
            "weight_decay": training.weight_decay,
            "fused": device.type in ("cpu", "cuda"),
        }
        optimiser: torch.optim.Optimizer
        if training.shard and world > 1:
            from torch.distributed.optim import (
                ZeroRedundancyOptimizer,  # not in every build of torch
            )

            optimiser = ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, **how)
        else:
            optimiser = torch.optim.AdamW(model.parameters(), **how)
        wrapped: nn.Module = (
            DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
            if world > 1
            else model
        )
        if training.compile:
            wrapped = torch.compile(wrapped)  # type: ignore[assignment]
        return _Run(
            model,
            wrapped,
            optimiser,
            training,
            rank,
            world,
            [device.index or 0] if device.type == "cuda" else [],
        )

    @property
    def sharded(self) -> bool:
        """Whether each process has a part of the optimiser's state only."""
        return self.training.shard and self.world > 1

    def seed(self, rng: RNG, step: int) -> None:
        """What this process draws from: the first one's numbers are those of a process alone, the others' their own."""
        name = f"train {self.rank} from {step}" if self.rank else "train"
        torch.manual_seed(rng.child(name).integer() & 0x7FFF_FFFF_FFFF_FFFF)

    def check(self, curve: LearningCurve) -> None:
        """Raises FloatingPointError for a weight that is no number: the loss says it a step later, or after the last step never."""
        if bad := unfit(self.model.state_dict()):
            raise FloatingPointError(
                f"{bad} after step {curve.step} of epoch {curve.epoch + 1}; lower lr, or set clip (1.0 is usual)"
            )

    def step(
        self,
        batch: Int64[np.ndarray, "B"],
        parts: Parts,
        loss: Loss,
        curve: LearningCurve,
        batches: int,
    ) -> tuple[float, float]:
        """One optimiser step; the sum of the batch's losses and its weight."""
        pieces = list(parts(batch[self.rank :: self.world]))
        weight, counts = float(sum(w for _, w in pieces)), 1.0
        if self.world > 1:
            weight = self._everywhere(weight)
        if not weight:
            return 0.0, 0.0
        if not pieces:  # the others wait for a gradient of this process, too: that of a part which counts nothing
            pieces, counts = list(parts(batch))[:1], 0.0
        device = next(self.model.parameters()).device
        precise = (
            torch.autocast(device.type, torch.bfloat16)
            if self.training.precision == "bf16"
            else nullcontext()
        )
        total = 0.0
        self.optimiser.zero_grad(set_to_none=True)
        for number, (piece, _) in enumerate(pieces):
            later = isinstance(self.wrapped, DistributedDataParallel) and number < len(pieces) - 1
            with self.wrapped.no_sync() if later else nullcontext():  # type: ignore[operator]
                with precise:
                    value = loss(self.wrapped, piece) * counts
                (value * (self.world / weight)).backward()
            total += float(value.detach())
        if self.training.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.lr * self._rate(curve, batches)
        self.optimiser.step()
        return (self._everywhere(total) if self.world > 1 else total), weight

    def _rate(self, curve: LearningCurve, batches: int) -> float:
        """The share of the rate in this step."""
        t = self.training
        warm = min((curve.step + 1) / t.warmup, 1.0) if t.warmup else 1.0
        along = (curve.epoch + curve.batch / max(batches, 1)) / t.epochs
        return warm * (t.decay_to + (1 - t.decay_to) * 0.5 * (1 + math.cos(math.pi * along)))

    def _everywhere(self, value: float) -> float:
        total = torch.tensor(value, dtype=torch.float64, device="cuda" if self.cuda else "cpu")
        torch.distributed.all_reduce(total)
        return float(total)

    def save(self, folder: Path, key: str, curve: LearningCurve, kept: dict[str, Tensor]) -> None:
        """Writes the checkpoint whole or not at all; the first process does."""
        self.check(curve)
        if self.sharded:
            self.optimiser.consolidate_state_dict(to=0)  # type: ignore[attr-defined]
        if self.rank:
            return
        tensors = {f"model.{n}": v.detach().cpu() for n, v in self.model.state_dict().items()}
        tensors |= {f"best.{n}": v for n, v in kept.items()}
        for place, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{place}.{n}": v.detach().cpu() for n, v in state.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        for index in self.cuda:
            tensors["random.cuda"] = torch.cuda.get_rng_state(index)
        about = {
            "format": FORMAT,
            "key": key,
            **{f: getattr(curve, f) for f in LearningCurve.__slots__},
        }
        with whole(folder) as part:
            part.mkdir()
            save_file(
                {n: v.contiguous().clone() for n, v in tensors.items()}, part / "state.safetensors"
            )
            (part / "progress.json").write_text(json.dumps(about), "utf-8")

    def load(self, folder: Path, key: str) -> tuple[LearningCurve, dict[str, Tensor]]:
        """Takes up a checkpoint. Raises DataError for one that is damaged or of another training."""
        again = "remove it to train from the start"
        try:
            about = json.loads((folder / "progress.json").read_text("utf-8"))
            tensors = load_file(folder / "state.safetensors")
            found, of = about.pop("format"), about.pop("key")
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            SafetensorError,
        ) as fault:
            raise DataError(
                str(folder), [f"this checkpoint cannot be read ({fault}); {again}"]
            ) from None
        if found != FORMAT or of != key:
            raise DataError(
                str(folder),
                [
                    f"this checkpoint is of another training (found {of!r}, expected {key!r}); {again}"
                ],
            )
        try:
            curve = LearningCurve(
                **{**about, "metrics": [(int(e), float(m)) for e, m in about["metrics"]]}
            )
            if any(
                type(getattr(curve, n)) is not int or getattr(curve, n) < 0
                for n in ("epoch", "batch", "step")
            ):
                raise ValueError(
                    f"epoch {curve.epoch!r}, batch {curve.batch!r}, step {curve.step!r}: expected whole numbers"
                )
            take(
                self.model,
                {
                    n.removeprefix("model."): v
                    for n, v in tensors.items()
                    if n.startswith("model.")
                },
            )
            state: dict[int, dict[str, Tensor]] = {}
            for name in (n for n in tensors if n.startswith("optimiser.")):
                _, place, entry = name.split(".", 2)
                state.setdefault(int(place), {})[entry] = tensors[name]
            count = sum(len(g["params"]) for g in self.optimiser.param_groups)
            group = {**self.optimiser.param_groups[0], "params": list(range(count))}
            self.optimiser.load_state_dict({"param_groups": [group], "state": state})
            torch.set_rng_state(tensors["random.cpu"])
            for index in self.cuda:
                torch.cuda.set_rng_state(tensors["random.cuda"], index)
        except (KeyError, TypeError, ValueError, RuntimeError) as fault:
            said = str(fault).splitlines()[0] if str(fault) else repr(fault)
            raise DataError(
                str(folder), [f"this checkpoint does not fit the model ({said}); {again}"]
            ) from None
        return curve, {
            n.removeprefix("best."): v for n, v in tensors.items() if n.startswith("best.")
        }
