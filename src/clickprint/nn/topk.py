"""The best columns of a row of scores, with ties that are the same every time."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from clickprint.core.ragged import Ragged
from clickprint.core.recommender import Allowed

CELLS = 1 << 24  # scores that are in memory at once when the whole catalogue is ranked


def top(
    scores: Float[Tensor, "B V1"], k: int, seen: Ragged | None = None, allowed: Allowed = None
) -> tuple[Int64[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """The k columns of the highest score and their scores, best first.

    - Equal scores: the smaller column first. Column 0 and scores of NaN are never given.
    - `seen`: each row's columns that may not be given.
    - `allowed`: which of the columns 1 … V may be given, to every row or to each.

    Where fewer than k are left the rest are 0, with score −∞.
    """
    count = scores.shape[1]
    scores = scores.float() + 0.0  # −0 is 0; a copy
    scores.masked_fill_(scores.isnan(), -torch.inf)
    scores[:, 0] = -torch.inf
    if seen is not None:
        rows = np.repeat(np.arange(len(seen)), seen.lengths)
        scores[torch.from_numpy(rows), torch.from_numpy(seen.values.astype(np.int64))] = -torch.inf
    if allowed is not None:
        scores[:, 1:].masked_fill_(~torch.from_numpy(allowed).to(scores.device), -torch.inf)
    # A number whose order is that of (score, −column): topk itself promises nothing for equal
    # scores.
    bits = scores.view(torch.int32).long()
    ordered = torch.where(bits < 0, -(2**31) - bits - 1, bits)
    key = ordered * (2**31) + (count - torch.arange(count, device=scores.device))
    found = key.topk(min(k, count - 1), dim=1).indices
    value = scores.gather(1, found)
    return torch.where(value == -torch.inf, 0, found).cpu().numpy(), value.cpu().numpy()


@torch.no_grad()
def best(
    states: Float[Tensor, "B D"],
    items: Float[Tensor, "V1 D"],
    k: int,
    seen: Ragged | None = None,
    allowed: Allowed = None,
) -> tuple[Int64[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """`top` of the products of states and item vectors, as many at a time as CELLS allows."""
    k = min(k, len(items) - 1)
    found = np.zeros((len(states), k), np.int64)
    scores = np.full((len(states), k), -np.inf, np.float32)
    many = max(CELLS // max(len(items), 1), 1)
    for start in range(0, len(states), many):
        some = slice(start, start + many)
        found[some], scores[some] = top(
            states[some] @ items.T,
            k,
            None if seen is None else seen.slice(start, start + many),
            rows_allowed(allowed, some),
        )
    return found, scores


def rows_allowed(allowed: Allowed, rows: slice | Int64[np.ndarray, "N"]) -> Allowed:
    """The part of `allowed` that is about these rows."""
    return allowed if allowed is None or allowed.ndim == 1 else allowed[rows]
