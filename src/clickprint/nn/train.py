"""The one training loop: rows in an order, batches in parts, checkpoints.

The caller brings a model, the rows of each epoch and what a batch's parts and their losses are;
the loop knows nothing else of them. Under torchrun (torch.distributed initialised) every process
takes its share of each batch and DistributedDataParallel adds up the gradients; the result is that
of one process, up to rounding and what each process draws at random for itself.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clickprint.core.errors import DataError, Diverged
from clickprint.core.files import restore, whole
from clickprint.core.forms import read_json, reading
from clickprint.core.options import Between, check, read
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.seal import check_seal, seal
from clickprint.core.text import json_text
from clickprint.nn.weights import misfits, read_tensors, take, unfit, write_tensors

FORMAT = 2  # 2: sealed
PROGRESS, STATE = "progress.json", "state.safetensors"
AGAIN = "remove it to train from the start"
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

    epochs: Annotated[int, Between(0, 100_000)] = 100
    batch: Annotated[int, Between(1, 1_000_000)] = 128
    lr: Annotated[float, Between(0, 10, low_open=True)] = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    weight_decay: Annotated[float, Between(0, 1_000)] = 0.0
    warmup: Annotated[int, Between(0, 1_000_000_000)] = 0
    decay_to: Annotated[float, Between(0, 1)] = 1.0
    clip: Annotated[float, Between(0, 1_000_000)] = 0.0
    patience: Annotated[int, Between(0, 100_000)] = 0
    every: Annotated[int, Between(1, 100_000)] = 1
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
    done: bool = False
    loss: list[float] = field(default_factory=list)  # the mean of each epoch
    metrics: list[tuple[int, float]] = field(default_factory=list)
    epoch_loss: float = 0.0
    epoch_weight: float = 0.0

    @property
    def best(self) -> float:
        """The largest metric."""
        return max((value for _, value in self.metrics), default=-math.inf)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the largest metric, 1 the first; −1 where there is none."""
        return next((epoch for epoch, value in self.metrics if value == self.best), -1)

    def ended(self, training: Training) -> bool:
        """Whether all epochs are trained, or the metric has not risen for long enough."""
        measured = bool(self.metrics) and self.metrics[-1][0] == self.epoch
        waited = self.epoch - max(self.best_epoch, 0) >= training.patience > 0
        return self.epoch >= training.epochs or (measured and waited)

    def faults(self, training: Training, rows: Rows) -> list[str]:
        """Why this is no place where such a training could stand; nothing where it is one."""
        if not 0 <= self.epoch <= training.epochs:
            return [f"found epoch {self.epoch} of {training.epochs}"]
        done = self.ended(training)
        batches = 0 if done else math.ceil(len(rows(self.epoch)) / training.batch)
        epochs = [0, *(epoch for epoch, _ in self.metrics)]
        checks = {
            f"found batch {self.batch} of {batches}": 0 <= self.batch <= batches,
            f"found step {self.step}": self.batch <= self.step < 1 << 48,
            f"found {len(self.loss)} losses of {self.epoch} epochs": len(self.loss) == self.epoch,
            f"found metrics of the epochs {epochs[1:8]}": (
                epochs == sorted(set(epochs)) and epochs[-1] <= self.epoch
            ),
            f"found done = {self.done}": self.done == done,
            f"found a weight of {self.epoch_weight}": self.epoch_weight >= 0,
        }
        return [problem for problem, holds in checks.items() if not holds]

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
    Raises DataError for a checkpoint of another key, a damaged one or what is none, and Diverged
    when the loss, a weight or the metric is no longer a number; the last good
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
            curve, kept = run.load(checkpoint, key, rows)
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
                    raise Diverged(
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
                if not math.isfinite(found):
                    raise Diverged(
                        f"the metric after epoch {curve.epoch} is no number;"
                        " see what it divides by"
                    )
                curve.metrics.append((curve.epoch, found))
                if curve.best_epoch == curve.epoch and training.keep == "best":
                    kept = {
                        name: value.detach().cpu().clone()
                        for name, value in model.state_dict().items()
                    }
            curve.done = curve.ended(training)
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
        """Raises Diverged for a weight that is no number.

        The loss would say it a step later, and after the last step never.
        """
        if bad := unfit(self.model.state_dict()):
            raise Diverged(
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
            **{f.name: getattr(curve, f.name) for f in fields(curve)},
        }
        with whole(folder) as part:
            part.mkdir()
            write_tensors(part / STATE, tensors)
            (part / PROGRESS).write_text(json_text(about), "utf-8")
            seal(part)

    def load(self, folder: Path, key: str, rows: Rows) -> tuple[LearningCurve, dict[str, Tensor]]:
        """Takes up a checkpoint. Raises DataError for a damaged one, or of another training."""
        check_seal(folder, again=AGAIN)
        about = read_json(folder / PROGRESS, again=AGAIN)
        with reading(folder, AGAIN):
            found, of = about.pop("format"), about.pop("key")
            if found != FORMAT or of != key:
                raise ValueError(
                    f"this checkpoint is of another training (found {str(of)[:60]!r},"
                    f" expected {key!r})"
                )
            curve = read(LearningCurve, about)
            if faults := curve.faults(self.training, rows):
                raise DataError(folder, [f"{fault}; {AGAIN}" for fault in faults])
        groups = dict[str, dict[str, Tensor]]()
        for name, values in read_tensors(folder / STATE, again=AGAIN).items():
            group, _, rest = name.partition(".")
            groups.setdefault(group, {})[rest] = values
        with reading(folder / STATE, AGAIN):
            self._take(groups, keeps=curve.best_epoch > 0 and self.training.keep == "best")
        return curve, groups.get("best", {})

    def _take(self, groups: dict[str, dict[str, Tensor]], *, keeps: bool) -> None:
        """Gives model, optimiser and random numbers their state; `keeps`: a best one is there.

        Raises ValueError where one is not of this model, before anything is changed.
        """
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        wanted = {f"{n}.step": torch.tensor(0.0) for n in range(len(parameters))}
        for moment in ("exp_avg", "exp_avg_sq"):
            wanted |= {f"{n}.{moment}": p.detach() for n, p in enumerate(parameters)}
        optimiser = groups.pop("optimiser", {})
        known = {n.partition(".")[0] for n in optimiser}
        random = groups.pop("random", {})
        states = {"cpu": torch.get_rng_state()}
        for index in self.cuda:
            states["cuda"] = torch.cuda.get_rng_state(index)
        model = self.model.state_dict()
        faults = [
            *misfits(groups.get("best", {}), model if keeps else {}),
            *misfits(optimiser, {n: v for n, v in wanted.items() if n.partition(".")[0] in known}),
            *misfits(random, states),
            *(f"unknown {group[:60]!r}" for group in groups if group not in ("model", "best")),
            *filter(None, map(unfit, (groups.get("best", {}), optimiser))),
        ]
        if faults:
            raise ValueError("; ".join(faults[:3]))
        take(self.model, groups.get("model", {}))
        state: dict[int, dict[str, Tensor]] = {}
        for name, values in optimiser.items():
            place, entry = name.split(".", 1)
            state.setdefault(int(place), {})[entry] = values
        group = {**self.optimiser.param_groups[0], "params": list(range(len(parameters)))}
        self.optimiser.load_state_dict({"param_groups": [group], "state": state})
        try:
            torch.set_rng_state(random["cpu"])
            for index in self.cuda:
                torch.cuda.set_rng_state(random["cuda"], index)
        except RuntimeError:
            raise ValueError("found no state of random numbers") from None
