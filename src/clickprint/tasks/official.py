"""The organisers' probe, exact: a score made here is the score that their pipeline gives.

Needs torch; import it where it is used.

Source: spec/challenge-protocol.md, "Model and training". Differs only in speed: the fused AdamW,
batches cut from arrays instead of a DataLoader, and weight gradients written where the last ones
were; losses stay equal to 1e-6.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float16, Float32, Shaped
from torch import Tensor, nn
from torch.nn import functional

from clickprint.core.errors import DataError
from clickprint.core.progress import Progress, silent
from clickprint.tasks.task import Loss

SEED, LR, BATCH, EPOCHS = 1278, 1e-3, 128, 3
_ROWS = 4_096  # users at a time when only predicting

Evaluate = Callable[[np.ndarray], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Shape:
    """The organisers' sizes; tests take smaller ones."""

    width: int = 2_048
    inner: int = 4_096
    layers: int = 3


class Probed(NamedTuple):
    """What a training gave: the metrics after each epoch, the best epoch, its predictions.

    The mean training loss is among the metrics as `loss`.
    """

    epochs: tuple[dict[str, float], ...]
    best: int
    prediction: Float32[np.ndarray, "B T"]


class Network(nn.Module):
    """Linear → LayerNorm → layers × [x + thin(GELU(wide(LayerNorm(x))))] → LayerNorm → Linear.

    Parameters are made in the organisers' order (that is what a seed fixes), with PyTorch's
    default initialisation.
    """

    def __init__(self, columns: int, labels: int, shape: Shape) -> None:
        super().__init__()
        self.enter = Linear(columns, shape.width)
        self.enter_norm = nn.LayerNorm(shape.width)
        self.norms = nn.ModuleList(nn.LayerNorm(shape.width) for _ in range(shape.layers))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Linear(shape.width, shape.inner), nn.GELU(), Linear(shape.inner, shape.width)
            )
            for _ in range(shape.layers)
        )
        self.leave_norm = nn.LayerNorm(shape.width)
        self.leave = Linear(shape.width, labels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter_norm(self.enter(x))
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.leave(self.leave_norm(x))


class Linear(nn.Linear):
    """nn.Linear whose weight gradient is written over the last one once `weight.grad` exists."""

    def forward(self, x: Tensor) -> Tensor:
        return _Product.apply(x, self.weight, self.bias)


class _Product(torch.autograd.Function):
    """x Wᵀ + b.

    PyTorch gives each step 200 MB of new gradients, and the system clears those pages every time:
    a tenth of a CPU step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.into = weight.grad
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        into = ctx.into
        if into is not None:
            torch.mm(grad.t(), x, out=into)
        return (
            grad @ weight if ctx.needs_input_grad[0] else None,
            grad.t() @ x if into is None else None,
            grad.sum(0),
        )


def network(columns: int, labels: int, *, shape: Shape = Shape(), seed: int = SEED) -> Network:
    """A new network; the process's own generators are as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Network(columns, labels, shape)


def optimiser(model: Network) -> torch.optim.Optimizer:
    """The organisers' AdamW, in one pass over the parameters."""
    return torch.optim.AdamW(model.parameters(), lr=LR, fused=True)


def steps(
    model: Network,
    optimise: torch.optim.Optimizer,
    vectors: Float16[np.ndarray, "U D"],
    target: Shaped[np.ndarray, "U T"],
    *,
    loss: Loss,
    batch: int = BATCH,
) -> Iterator[float]:
    """One epoch in the order of the rows; the loss of each batch, before its step.

    The last batch is as short as it is.
    """
    small = [p for p in model.parameters() if p.ndim == 1]
    for weight in (p for p in model.parameters() if p.ndim > 1 and p.grad is None):
        weight.grad = torch.zeros_like(weight)
    device = model.leave.weight.device
    measure = (
        functional.binary_cross_entropy_with_logits if loss.name == "bce" else functional.mse_loss
    )
    for start in range(0, len(vectors), batch):
        x, y = (
            torch.from_numpy(a[start : start + batch].astype(np.float32)).to(device)
            for a in (vectors, target)
        )
        for p in small:
            p.grad = None
        error = measure(model(x), y)
        error.backward()
        optimise.step()
        yield error.item()


def train(
    vectors: Float16[np.ndarray, "U D"],
    target: Shaped[np.ndarray, "U T"],
    *,
    loss: Loss,
    evaluate: Evaluate,
    others: Float16[np.ndarray, "B D"] | None = None,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    device: str = "cpu",
    seed: int = SEED,
    shape: Shape = Shape(),
    name: str = "official probe",
    progress: Progress = silent,
) -> Probed:
    """Trains a new network on `target` and evaluates its predictions after each epoch.

    The predictions are for all the same users, or for `others` instead. `evaluate` gets
    probabilities (`bce`) or values (`mse`) and returns metrics, among them `score`; the highest
    score is the best epoch, the earlier one of equals. Row order matters: nothing is shuffled.
    Both arrays may be memory maps; they are cast a batch at a time. Reports to `progress` as
    `name`, in rows trained on and predicted. Raises DataError, under `name`, where the loss or a
    prediction is not finite.
    """
    users = len(vectors)
    if not users or len(target) != users or not target.shape[1]:
        raise ValueError(
            f"found vectors {vectors.shape} and target {target.shape}, expected the same users (at"
            " least one) and a label"
        )
    model = network(vectors.shape[1], target.shape[1], shape=shape, seed=seed).to(device)
    optimise = optimiser(model)
    asked = vectors if others is None else others
    each = users + len(asked)
    total = epochs * each
    found: list[dict[str, float]] = []
    best = 0
    kept = np.empty((len(asked), target.shape[1]), np.float32)
    for epoch in range(epochs):
        losses: list[float] = []
        for error in steps(model, optimise, vectors, target, loss=loss, batch=batch):
            if not np.isfinite(error):
                raise _diverged(name, f"the loss of epoch {epoch}, batch {len(losses)}", error)
            losses.append(error)
            progress(name, epoch * each + min(batch * len(losses), users), total)
        prediction = np.empty(kept.shape, np.float32)
        for start in range(0, len(asked), _ROWS):
            prediction[start : start + _ROWS] = predict(
                model, asked[start : start + _ROWS], loss=loss
            )
            progress(name, epoch * each + users + min(start + _ROWS, len(asked)), total)
        if not np.isfinite(prediction).all():
            raise _diverged(
                name,
                f"a prediction after epoch {epoch}",
                float(prediction[~np.isfinite(prediction)][0]),
            )
        found.append({**evaluate(prediction), "loss": float(np.mean(losses))})
        if epoch == 0 or found[epoch]["score"] > found[best]["score"]:
            best, kept = epoch, prediction
    return Probed(tuple(found), best, kept)


def predict(
    model: Network, vectors: Float16[np.ndarray, "B D"], *, loss: Loss
) -> Float32[np.ndarray, "B T"]:
    """Probabilities (float32 sigmoids, as the organisers rank them) for `bce`, values for `mse`.

    One pass: keep B in the thousands.
    """
    with torch.inference_mode():
        out = model(torch.from_numpy(vectors.astype(np.float32)).to(model.leave.weight.device))
        return (torch.sigmoid(out) if loss.name == "bce" else out).cpu().numpy()


def _diverged(name: str, what: str, found: float) -> DataError:
    return DataError(
        name,
        f"{what} is {found}: the network diverged; are the profiles huge? scale them (the `joined`"
        " profile does), then score again",
    )
