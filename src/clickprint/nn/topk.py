"""The best columns of a row of scores, with ties that are the same every time."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from clickprint.core.ragged import Ragged

CELLS = 1 << 24  # scores that are in memory at once when the whole catalogue is ranked


def top(
    scores: Float[Tensor, "B V1"], k: int, seen: Ragged | None = None
) -> tuple[Int64[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """The k columns of the highest score and their scores, best first; equal scores: the smaller column first. Column 0 is never given.

    `seen`: each row's columns that may not be given. Where fewer than k are left the rest are 0, with score −∞.
    What is no number (NaN) is never given.
    """
    count = scores.shape[1]
    scores = scores.float() + 0.0  # −0 is 0; a copy
    scores.masked_fill_(scores.isnan(), -torch.inf)
    scores[:, 0] = -torch.inf
    if seen is not None:
        rows = np.repeat(np.arange(len(seen)), seen.lengths)
        scores[torch.from_numpy(rows), torch.from_numpy(seen.values.astype(np.int64))] = -torch.inf
    # A number whose order is that of (score, −column): topk itself promises nothing for equal scores.
    bits = scores.view(torch.int32).long()
    ordered = torch.where(bits < 0, -(2**31) - bits - 1, bits)
    key = ordered * (2**31) + (count - torch.arange(count, device=scores.device))
    found = key.topk(min(k, count - 1), dim=1).indices
    value = scores.gather(1, found)
    return torch.where(value == -torch.inf, 0, found).cpu().numpy(), value.cpu().numpy()
