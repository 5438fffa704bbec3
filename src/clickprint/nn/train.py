"""The one training loop: rows in an order, batches in parts, checkpoints.

The caller brings a model, the rows of each epoch and what a batch's parts and their losses are;
the loop knows nothing else of them. Under torchrun (torch.distributed initialised) every process
takes its share of each batch and DistributedDataParallel adds up the gradients; the result is that
of one process, up to rounding and what each process draws at random for itself.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clickprint.core.errors import DataError, first_line
from clickprint.core.files import restore, whole
from clickprint.core.options import Above, AtLeast, Between, check
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG

FORMAT = 1
SAVE_SECONDS = 60.0  # how much work a kill may cost
Parts = Callable[[Int64[np.ndarray, "B"]], Iterable[tuple[Any, int]]]
Loss = Callable[[nn.Module, Any], Float[Tensor, ""]]
Rows = Callable[[int], Int64[np.ndarray, "N"]]
Beta = Annotated[float, Between(0, 1, high_open=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a network is trained, by AdamW.

    - `epochs`: at most so many; 0 leaves the network as it starts.
    - `batch`: rows in a step.
    - `lr`, `betas`, `weight_decay`: of the optimiser.
    - `warmup`: steps in which the rate rises from 0.
    - `decay_to`: the last epoch's share of the rate, reached by half a cosine; 1 keeps it
      constant.
    - `clip`: the largest norm of a gradient; 0 leaves gradients as they are.
    - `patience`: epochs without a better metric after which training stops; 0 trains all epochs.
      Without a metric all are trained, too.
    - `every`: epochs between two values of the metric.
    - `keep`: where there is a metric, the "best" state stands at the end, or the "last" one.
    - `precision`: of the forward and backward pass, "32" or "bf16".
    - `compile`: by torch.compile.
    - `shard`: divides the optimiser's state, two numbers for each weight, among the processes
      (ZeRO, stage 1; Rajbhandari et al. 2020).
    """

    epochs: Annotated[int, AtLeast(0)] = 100
    batch: Annotated[int, AtLeast(1)] = 128
    lr: Annotated[float, Above(0)] = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    weight_decay: Annotated[float, AtLeast(0)] = 0.0
    warmup: Annotated[int, AtLeast(0)] = 0
    decay_to: Annotated[float, Between(0, 1)] = 1.0
    clip: Annotated[float, AtLeast(0)] = 0.0
    patience: Annotated[int, AtLeast(0)] = 0
    every: Annotated[int, AtLeast(1)] = 1
    keep: Literal["best", "last"] = "best"
    precision: Literal["32", "bf16"] = "32"
    compile: bool = False
    shard: bool = False

    def __post_init__(self) -> None:
        check(self)


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
        """The epoch whose state stands at the end, 1 the first; 0 where nothing was trained."""
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
    """Trains `model` in place; at the end it holds the state that `training.keep` names.

    - `rows(epoch)`: the rows of an epoch in their order.
    - `parts(batch)`: cuts a batch into parts that are run one after the other, each with its
      weight (number of targets). Gradients are those of the whole batch.
    - `loss(model, part)`: the *sum* over a part.
    - `metric(model)`: higher is better; asked after every `training.every` epochs.
    - `checkpoint`, `key`: a folder where the run is saved every minute and after each epoch (with
      `training.shard` after each epoch only). It goes on from there when called again with the
      same key, which names everything that the training depends on.

    Same seed, machine and threads: same bytes, also of a run that was killed and went on. Of
    several processes only the first one's random numbers are saved.
    Raises DataError for a checkpoint of another key, a damaged one or what is none, and
    FloatingPointError when the loss, a weight or the metric is no longer a number; the last good
    checkpoint stays.
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
                        f"the loss is {total} in step {curve.step} of epoch {curve.epoch + 1};"
                        " lower lr, or set clip (1.0 is usual)"
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
                        f"the metric after epoch {curve.epoch} is no number;"
                        " see what it divides by"
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
    """Training by day: epoch e has the e-th day's rows, shuffled within it; and the days."""
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
    """Gives a model these weights.

    Raises ValueError for one of another type or no number, RuntimeError for another model's.
    """
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
        """What this process draws: the first one as a process alone, the others their own."""
        name = f"train {self.rank} from {step}" if self.rank else "train"
        torch.manual_seed(rng.child(name).integer() & 0x7FFF_FFFF_FFFF_FFFF)

    def check(self, curve: LearningCurve) -> None:
        """Raises FloatingPointError for a weight that is no number.

        The loss would say it a step later, and after the last step never.
        """
        if bad := unfit(self.model.state_dict()):
            raise FloatingPointError(
                f"{bad} after step {curve.step} of epoch {curve.epoch + 1};"
                " lower lr, or set clip (1.0 is usual)"
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
        some_parts = list(parts(batch[self.rank :: self.world]))
        weight, counts = float(sum(w for _, w in some_parts)), 1.0
        if self.world > 1:
            weight = self._everywhere(weight)
        if not weight:
            return 0.0, 0.0
        if not some_parts:
            # The others wait for a gradient of this process, too: that of a part which counts 0.
            some_parts, counts = list(parts(batch))[:1], 0.0
        device = next(self.model.parameters()).device
        precise = (
            torch.autocast(device.type, torch.bfloat16)
            if self.training.precision == "bf16"
            else nullcontext()
        )
        total = 0.0
        self.optimiser.zero_grad(set_to_none=True)
        for number, (part, _) in enumerate(some_parts):
            later = (
                isinstance(self.wrapped, DistributedDataParallel) and number < len(some_parts) - 1
            )
            with self.wrapped.no_sync() if later else nullcontext():  # type: ignore[operator]
                with precise:
                    value = loss(self.wrapped, part) * counts
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
        """Takes up a checkpoint. Raises DataError for a damaged one, or of another training."""
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
            raise DataError(folder, f"this checkpoint cannot be read ({fault}); {again}") from None
        if found != FORMAT or of != key:
            raise DataError(
                folder,
                f"this checkpoint is of another training (found {of!r}, expected {key!r});"
                f" {again}",
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
                    f"epoch {curve.epoch!r}, batch {curve.batch!r}, step {curve.step!r}:"
                    " expected whole numbers"
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
            raise DataError(
                folder, f"this checkpoint does not fit the model ({first_line(fault)}); {again}"
            ) from None
        return curve, {
            n.removeprefix("best."): v for n, v in tensors.items() if n.startswith("best.")
        }
