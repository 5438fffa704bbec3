"""A toy loss of next items: the right item's score is to be one above the mean of all."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clickprint.nn.next_item import NextItemLoss


def margin(states: Tensor, items: Tensor, targets: Tensor, options: NextItemLoss) -> Tensor:
    scores = states @ items[1:].T
    right = scores[torch.arange(len(targets)), targets - 1]
    return F.relu(1 + scores.mean(1) - right).mean()
