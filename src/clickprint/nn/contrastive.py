"""Two towers over the same users' histories: one reads up to a cut, the other what came after it, and both should give alike vectors."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.core.errors import ConfigError
from clickprint.nn import losses
from clickprint.nn.blocks import TransformerPPBlock
from clickprint.nn.next_item import TIME, Batch, EventEmbedding, HistoryModel

HOUR, DAY = 3_600, 86_400  # seconds
HALF_LIVES = (1, 3, 7, 14, 30, 90)  # days; how a distance in time is shown besides its logarithm
LONG = 10.0  # about the logarithm of a year's hours, so that the feature is at most 1 or a little above

Part = tuple[Batch, Batch, Tensor]  # before the cut; after it; who it is


class Tower(nn.Module):
    """A Transformer over one span of events and a summary token before them, whose state is the span's vector.

    Every token sees every other. Each event has its distance in time from the cut, the summary how many there are.
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
            layer.attention.dropout = 0.0  # type: ignore[union-attr]  # to drop weights of the attention is half of a step's work on a CPU
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        events: Float[Tensor, "B L D"],
        seconds: Int[Tensor, "B L"],
        lengths: Int[Tensor, "B"],
    ) -> Float[Tensor, "B D"]:
        """`seconds` between each event and the cut, 0 or more; padding stands at the right. A row without events has a vector, too."""
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
    """A distance in time as numbers that a linear map can use: log(1 + hours) and what is left of 1 after it, for each half-life."""
    hours = seconds.float() / HOUR
    lives = torch.tensor(HALF_LIVES, dtype=torch.float32, device=seconds.device) * (DAY / HOUR)
    return torch.cat(
        [torch.log1p(hours)[..., None] / LONG, torch.exp2(-hours[..., None] / lives)], -1
    )


class TwoTowers(HistoryModel):
    """Towers of their own weights for past and future; the tables of the fields are shared. `time` of a batch counts from the cut.

    The profile is the past tower's state, before the map into the space where past and future are compared. `pieces`: into how many
    lengths a batch is sorted, so that there is little padding.
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
        pieces: int = 1,
        deviation: float = 0.02,
    ) -> None:
        super().__init__()
        self.length, self.width, self.pieces = length, width, pieces
        self.embed = EventEmbedding(sizes, width, deviation=deviation)
        self.past, self.future = (
            Tower(width, layers, heads, inner=inner, dropout=dropout) for _ in range(2)
        )
        self.from_past, self.from_future = nn.Linear(width, width), nn.Linear(width, width)
        self.active = nn.Linear(width, 1)

    def forward(
        self, past: Batch, future: Batch
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Both sides' unit vectors, and the logit of being active after the cut, from the past alone."""
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
        for some in order.tensor_split(self.pieces if self.training else 1):
            if len(some):
                longest = int(batch.lengths[some[-1]])
                fields = {name: batch.fields[name][some, :longest] for name in (*self.embed, TIME)}
                found.append(tower(self.embed(fields), fields[TIME], batch.lengths[some]))
        return torch.cat(found)[torch.argsort(order)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoTowersLoss:
    """InfoNCE both ways over the rows that have a future, and `active` times the cross entropy of having one, over all rows; their sums.

    All other users' futures in the batch are negatives; another span of the same user is neither.
    """

    temperature: float = 0.1
    active: float = 1.0

    def __post_init__(self) -> None:
        faults = (
            [f"temperature: found {self.temperature}, expected a number above 0"]
            if not self.temperature > 0
            else []
        )
        faults += (
            [f"active: found {self.active}, expected 0 or more"] if not self.active >= 0 else []
        )
        if faults:
            raise ConfigError("; ".join(faults))

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
