"""Two towers over the same users: one reads up to a cut, the other what came after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.core.options import Between, check
from clickprint.nn import losses
from clickprint.nn.blocks import TransformerPPBlock
from clickprint.nn.next_item import TIME, Batch, EventEmbedding, HistoryModel

HOUR, DAY = 3_600, 86_400  # seconds
HALF_LIVES = (1, 3, 7, 14, 30, 90)  # days; how a distance in time is shown besides its logarithm
LONG = 10.0  # about the logarithm of a year's hours, so that the feature is hardly above 1

Part = tuple[Batch, Batch, Tensor]  # before the cut; after it; who it is


class Tower(nn.Module):
    """A Transformer over a span of events and a summary token, whose state is the span's vector.

    The summary stands before the events and has their number; each event has its distance in time
    from the cut. Every token sees every other.
    """

    def __init__(self, width: int, layers: int, heads: int, *, inner: int, dropout: float) -> None:
        super().__init__()
        self.summary = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.clock = nn.Linear(1 + len(HALF_LIVES), width)
        self.count = nn.Linear(1, width)
        self.layers = nn.ModuleList(
            [
                TransformerPPBlock(width, heads, inner=inner, layers=layers, dropout=dropout)
                for _ in range(layers)
            ]
        )
        for layer in self.layers:
            # To drop weights of the attention is half of a step's work on a CPU.
            layer.attention.dropout = 0.0  # type: ignore[union-attr]
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        events: Float[Tensor, "B L D"],
        seconds: Int[Tensor, "B L"],
        lengths: Int[Tensor, "B"],
    ) -> Float[Tensor, "B D"]:
        """A vector for each row, also for one without events; padding stands at the right.

        `seconds`: between each event and the cut, 0 or more.
        """
        many = torch.log1p(lengths[:, None].float())
        summary = self.summary + self.count(many / LONG)
        x = self.dropout(torch.cat([summary[:, None], events + self.clock(distance(seconds))], 1))
        place = torch.arange(x.shape[1], device=x.device)
        there = (place <= lengths[:, None])[:, None]  # the summary stands at 0
        for layer in self.layers:
            x = layer(x, mask=there.expand(-1, x.shape[1], -1))
        out: Tensor = self.norm(x[:, 0])
        return out


def distance(seconds: Int[Tensor, "*B"]) -> Float[Tensor, "*B F"]:
    """A distance in time as numbers that a linear map can use.

    They are log(1 + hours), and for each half-life what is left of 1 after it.
    """
    hours = seconds.float() / HOUR
    lives = torch.tensor(HALF_LIVES, dtype=torch.float32, device=seconds.device) * (DAY / HOUR)
    return torch.cat(
        [torch.log1p(hours)[..., None] / LONG, torch.exp2(-hours[..., None] / lives)], -1
    )


class TwoTowers(HistoryModel):
    """Towers of their own weights for past and future; the tables of the fields are shared.

    The profile is the past tower's state, before the map into the space where past and future are
    compared. `time` of a batch counts from the cut. `length_buckets`: into how many lengths a
    batch is sorted, so that there is little padding.
    """

    from_cut = True

    def __init__(
        self,
        sizes: Mapping[str, int],
        width: int,
        length: int,
        *,
        layers: int,
        heads: int,
        inner: int,
        dropout: float,
        length_buckets: int = 1,
        deviation: float = 0.02,
    ) -> None:
        super().__init__()
        self.length, self.width, self.length_buckets = length, width, length_buckets
        self.embed = EventEmbedding(sizes, width, deviation=deviation)
        self.past, self.future = (
            Tower(width, layers, heads, inner=inner, dropout=dropout) for _ in range(2)
        )
        self.from_past, self.from_future = nn.Linear(width, width), nn.Linear(width, width)
        self.active = nn.Linear(width, 1)

    def forward(
        self, past: Batch, future: Batch
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Both sides' unit vectors, and from the past alone the logit of being active after it."""
        before, after = self._states(self.past, past), self._states(self.future, future)
        left, right = (
            F.normalize(self.from_past(before), dim=-1),
            F.normalize(self.from_future(after), dim=-1),
        )
        return left, right, self.active(before)[:, 0]

    def last(self, batch: Batch) -> Float[Tensor, "B D"]:
        return self._states(self.past, batch) * (batch.lengths > 0)[:, None]

    def _states(self, tower: nn.Module, batch: Batch) -> Float[Tensor, "B D"]:
        order = torch.argsort(batch.lengths, stable=True)
        found = []
        for some in order.tensor_split(self.length_buckets if self.training else 1):
            if len(some):
                longest = int(batch.lengths[some[-1]])
                fields = {name: batch.fields[name][some, :longest] for name in (*self.embed, TIME)}
                found.append(tower(self.embed(fields), fields[TIME], batch.lengths[some]))
        return torch.cat(found)[torch.argsort(order)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoTowersLoss:
    """InfoNCE both ways over the rows that have a future, and whether a row has one.

    All other users' futures in the batch are negatives; another span of the same user is neither.
    `active`: the weight of the cross entropy of having a future, over all rows. Both are sums.
    """

    temperature: Annotated[float, Between(0, 1_000, low_open=True)] = 0.1
    active: Annotated[float, Between(0, 1_000_000)] = 1.0

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, model: nn.Module, part: Part) -> Float[Tensor, ""]:
        past, future, users = part
        left, right, logit = model(past, future)
        some = future.lengths > 0
        total = losses.multi_label(logit[:, None], some[:, None].float()) * (
            self.active * len(users)
        )
        if not some.any():
            return total
        same = users[some][:, None] == users[some]
        return total + losses.info_nce(
            left[some], right[some], temperature=self.temperature, same=same
        ) * int(some.sum())
