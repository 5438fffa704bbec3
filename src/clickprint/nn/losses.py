"""What is minimised. Every loss is a mean over its rows, computed in float32.

Rows to leave out are left out by the caller.
"""

import warnings
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

ROWS = 64  # of `dot_with` at a time
NEVER = -1e9  # a logit that takes no part; finite, because inf − inf is not a number


def full_softmax(
    states: Float[Tensor, "N D"], items: Float[Tensor, "V D"], targets: Int[Tensor, "N"]
) -> Float[Tensor, ""]:
    """Cross entropy over the whole catalogue."""
    return F.cross_entropy((states @ items.T).float(), targets)


def sampled_softmax(
    states: Float[Tensor, "N D"],
    items: Float[Tensor, "V D"],
    targets: Int[Tensor, "N"],
    negatives: Int[Tensor, "N K"] | Int[Tensor, "K"],
    *,
    temperature: float = 1.0,
    log_q: Float[Tensor, "V"] | None = None,
) -> Float[Tensor, ""]:
    """Cross entropy of the target among itself and sampled negatives.

    - `negatives`: of each row, or shared by all. One that is the row's own target (an accidental
      hit) takes no part.
    - `log_q`: the logarithm of each item's chance to be sampled; it is taken from the logit of
      target and negatives (Bengio & Senécal), which makes the loss aim at the full softmax.
    """
    true = (states * items[targets]).sum(-1, keepdim=True).float() / temperature
    if negatives.ndim == 1:
        others = (states @ items[negatives].T).float() / temperature
    else:
        others = dot_with(states, items, negatives).float() / temperature
    if log_q is not None:
        true = true - log_q[targets][:, None]
        others = others - log_q[negatives]
    others = others.masked_fill(negatives == targets[:, None], NEVER)
    return (torch.logsumexp(torch.cat([true, others], 1), 1) - true[:, 0]).mean()


def dot_with(
    states: Float[Tensor, "N D"], items: Float[Tensor, "V D"], chosen: Int[Tensor, "N K"]
) -> Float[Tensor, "N K"]:
    """The inner products of each row with its own K items.

    N × K × D numbers are never held on a CPU: five times as fast there as items[chosen] and its
    backward (a thousand rows, 256 of 12,000 items, width 64).
    """
    if (
        states.device.type != "cpu"
        or states.dtype != torch.float32
        or items.dtype != torch.float32
    ):
        return torch.einsum("nd,nkd->nk", states, F.embedding(chosen, items))
    return _DotWith.apply(states, items, chosen)


class _DotWith(torch.autograd.Function):
    """Forward by rows that stay in the cache; backward as two sparse products."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(states, items, chosen)
        out = states.new_empty(chosen.shape)
        for start in range(0, len(chosen), ROWS):
            some = slice(start, start + ROWS)
            out[some] = torch.bmm(
                states[some, None], F.embedding(chosen[some], items).transpose(1, 2)
            )[:, 0]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        states, items, chosen = ctx.saved_tensors
        rows, many = chosen.shape
        flat, weights = chosen.reshape(-1), grad.reshape(-1)
        by_row = _sparse(torch.arange(0, rows * many + 1, many), flat, weights, (rows, len(items)))
        order = torch.argsort(
            flat.int(), stable=True
        )  # stable: the sum's order, and so its bytes, do not depend on the sort
        ends = F.pad(torch.bincount(flat, minlength=len(items)).cumsum(0), (1, 0))
        by_item = _sparse(
            ends, torch.div(order, many, rounding_mode="floor"), weights[order], (len(items), rows)
        )
        return by_row @ items, by_item @ states, None


def _sparse(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Sparse (CSR|invariant)", UserWarning
        )  # torch calls the layout a beta
        return torch.sparse_csr_tensor(starts, columns, values, size=size, check_invariants=False)


def gbce(
    states: Float[Tensor, "N D"],
    items: Float[Tensor, "V D"],
    targets: Int[Tensor, "N"],
    negatives: Int[Tensor, "N K"],
    *,
    calibration: float = 0.75,
) -> Float[Tensor, ""]:
    """gSASRec's binary cross entropy: σ(s⁺) to the power β.

    So sampling negatives does not make the scores overconfident. α = K / (V − 1), β = α (t (1 −
    1/α) + 1/α), t = `calibration`: 0 is plain BCE, 1 fully calibrated. Accidental hits take no
    part. Source: Petrov & Macdonald, gSASRec, RecSys 2023.
    """
    alpha = min(
        negatives.shape[1] / max(len(items) - 1, 1), 1.0
    )  # more draws than other items are no finer than all of them
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    true = (states * items[targets]).sum(-1).float()
    others = (
        dot_with(states, items, negatives)
        .float()
        .masked_fill(negatives == targets[:, None], NEVER)
    )
    return -(beta * F.logsigmoid(true) + F.logsigmoid(-others).sum(1)).mean()


def info_nce(
    left: Float[Tensor, "N D"],
    right: Float[Tensor, "N D"],
    *,
    temperature: float = 0.07,
    same: Bool[Tensor, "N N"] | None = None,
) -> Float[Tensor, ""]:
    """In-batch contrast both ways, of unit vectors.

    Row i of each side belongs to row i of the other; all other rows are negatives. `same` marks
    pairs (i, j) that are not negatives although i ≠ j (two rows of one user); they take no part.
    """
    logits = (F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T).float() / temperature
    if same is not None:
        logits = logits.masked_fill(
            same & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device), NEVER
        )
    rows = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2


def set_contrastive(
    scores: Float[Tensor, "N C"],
    positive: Bool[Tensor, "N C"],
    taking_part: Bool[Tensor, "N C"] | None = None,
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """−log of each positive's share among all candidates of its row (OnePiece's L_SCL).

    The mean over all positives; rows without a positive add nothing, and without any it is 0.
    `taking_part` leaves candidates (padding) out.
    """
    logits = scores.float() / temperature
    if taking_part is not None:
        logits, positive = logits.masked_fill(~taking_part, NEVER), positive & taking_part
    shares = logits - torch.logsumexp(logits, 1, keepdim=True)
    return -shares.masked_fill(~positive, 0).sum() / positive.sum().clamp(min=1)


def staged(
    scores: Float[Tensor, "N C"], chosen: Bool[Tensor, "N C"], from_: Bool[Tensor, "N C"]
) -> Float[Tensor, ""]:
    """One step of the funnel (TBGRecall's L_click, L_pay), the mean over all chosen.

    −log e_i / (e_i + Σ_{j ∈ from_ \\ chosen} e_j): each chosen one against itself and those of
    `from_` that were not chosen. 0 where nothing was chosen.
    """
    others = torch.logsumexp(
        scores.float().masked_fill(~(from_ & ~chosen), NEVER), 1, keepdim=True
    )
    each = torch.logaddexp(scores.float(), others) - scores.float()
    return each.masked_fill(~chosen, 0).sum() / chosen.sum().clamp(min=1)


def multi_label(
    logits: Float[Tensor, "N T"],
    targets: Float[Tensor, "N T"],
    weights: Float[Tensor, "T"] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross entropy of every label, the mean over rows and labels.

    `weights` counts a label's positives more or less.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), pos_weight=weights)
