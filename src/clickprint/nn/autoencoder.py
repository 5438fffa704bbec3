"""A recurrent auto-encoder: a sequence of several fields → one vector → the sequence again.

Values of a field are numbers 1 … V here; 0 is padding, nothing, and what was not there in
training.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.core.options import Between, check
from clickprint.core.ragged import starts_of
from clickprint.nn import losses
from clickprint.nn.next_item import Batch, EventEmbedding, HistoryModel, by_length
from clickprint.nn.train import Loss, Parts


class SequenceAutoEncoder(HistoryModel):
    """A GRU that reads events into a vector, and one that says them again from it.

    Encoder: a GRU over the sum of the fields' embeddings; the vector is its last state, or a
    linear map of it where that is not `width` wide or has more layers than one. Decoder: a GRU
    that starts from the vector and is given, at place t, event t − 1 (at 0 a learned beginning) +
    the vector; from its state one linear map a field says event t, number 0 the end.

    - `sizes`: how many values each field has.
    - `word_dropout`: in training this share of the events that the decoder is given is left out,
      so that it has to ask the vector (Bowman et al., CoNLL 2016).
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        width: int,
        hidden: int,
        length: int,
        *,
        layers: int = 1,
        dropout: float = 0.1,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.length, self.width, self.layers = length, width, layers
        self.word_dropout = word_dropout
        self.embed = EventEmbedding(sizes, width, deviation=len(sizes) ** -0.5)
        self.begin = nn.Parameter(torch.zeros(width))
        between = dropout if layers > 1 else 0.0
        self.encoder = nn.GRU(width, hidden, layers, batch_first=True, dropout=between)
        self.decoder = nn.GRU(width, hidden, layers, batch_first=True, dropout=between)
        same = hidden == width and layers == 1
        self.to_vector = nn.Identity() if same else nn.Linear(hidden, width)
        self.to_start = nn.Identity() if same else nn.Linear(width, layers * hidden)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(hidden, size + 1) for name, size in sizes.items()}
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Float[Tensor, "B L1 H"]:
        """The decoder's states: that at place t says event t, or behind the last one the end."""
        events = self.events(batch)
        return self.decode(self.vector(events, batch.lengths), events)

    def events(self, batch: Batch) -> Float[Tensor, "B L D"]:
        """A vector for each event; zeros where nothing is known."""
        found: Tensor = self.embed(batch.fields)
        return found

    def vector(
        self, events: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]
    ) -> Float[Tensor, "B D"]:
        """What is left of each sequence; zeros of an empty one."""
        if not events.shape[1]:
            return events.new_zeros(len(lengths), self.width)
        states = self.encoder(self.dropout(events))[0]
        found: Tensor = self.to_vector(
            states[torch.arange(len(lengths)), (lengths - 1).clamp(min=0)]
        )
        return found * (lengths > 0)[:, None]

    def decode(
        self, vector: Float[Tensor, "B D"], events: Float[Tensor, "B L D"]
    ) -> Float[Tensor, "B L1 H"]:
        """See `forward`. The state at place t has seen the vector and the events before t only."""
        before = torch.cat([self.begin.expand(len(vector), 1, -1), events], 1)
        if self.training and self.word_dropout:
            before = (
                before
                * (torch.rand(before.shape[:2], device=before.device) >= self.word_dropout)[
                    ..., None
                ]
            )
        start = self.to_start(vector).unflatten(-1, (self.layers, -1)).transpose(0, 1).contiguous()
        states: Tensor = self.decoder(self.dropout(before) + vector[:, None], start)[0]
        return self.dropout(states)

    def last(self, batch: Batch) -> Float[Tensor, "B D"]:
        return self.vector(self.events(batch), batch.lengths)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """Cross entropy of every known value of every field, and of the end.

    The sum over fields and events. A field of more than `full` values is compared with `negatives`
    uniform ones that a part shares (accidental hits masked) instead of all.
    """

    full: int = 2_000
    negatives: Annotated[int, Between(1, 1_000_000)] = 512

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, model: nn.Module, part: tuple[Batch]) -> Float[Tensor, ""]:
        (batch,) = part
        states = model(batch)
        bare: Any = getattr(model, "module", model)  # under DistributedDataParallel
        end = torch.arange(states.shape[1], device=states.device) == batch.lengths[:, None]
        total: Tensor = states.new_zeros((), dtype=torch.float32)
        for name, head in bare.heads.items():
            values = F.pad(batch.fields[name], (0, 1))
            asked = (values > 0) | end
            total = total + self.of(states[asked], head, values[asked])
        return total

    def of(
        self, states: Float[Tensor, "N H"], head: nn.Linear, targets: Int[Tensor, "N"]
    ) -> Float[Tensor, ""]:
        """The sum of one field's losses."""
        values = head.out_features
        if values - 1 <= self.full:
            return F.cross_entropy(head(states).float(), targets, reduction="sum")
        negatives = torch.randint(0, values, (self.negatives,), device=states.device)
        weights = torch.cat([head.weight, head.bias[:, None]], 1)
        return losses.sampled_softmax(
            F.pad(states, (0, 1), value=1.0), weights, targets, negatives
        ) * len(targets)


def chunks(
    starts: Int64[np.ndarray, "U1"], length: int, most: int = 0
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
    """Each row cut into chunks of `length` from its end: their rows, first events and lengths.

    The newest first; the oldest is what is left. At most `most` a row, 0 takes all; an empty row
    has none.
    """
    count = -(-np.diff(starts) // length)
    if most:
        count = np.minimum(count, most)
    row = np.repeat(np.arange(len(count)), count)
    stop = starts[1:][row] - length * (np.arange(len(row)) - starts_of(count)[:-1][row])
    first = np.maximum(stop - length, starts[:-1][row])
    return row, first, stop - first


def in_chunks(
    fields: Mapping[str, np.ndarray],
    first: Int64[np.ndarray, "N"],
    lengths: Int64[np.ndarray, "N"],
    buckets: int = 1,
) -> Callable[[Int64[np.ndarray, "B"]], Iterator[tuple[tuple[Batch], int]]]:
    """For `train`: chunks as they are; a part's weight is the number of its events and ends.

    A batch is cut by length, see `by_length`. Faster on a CPU than packed sequences (docs/log.md).
    """

    def parts(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[tuple[Batch], int]]:
        for some in by_length(rows, lengths, buckets):
            yield (
                (Batch.of(fields, first[some], lengths[some]),),
                int(lengths[some].sum()) + len(some),
            )

    return parts


@torch.no_grad()
def mean_loss(
    model: nn.Module, parts: Parts, loss: Loss, count: int, *, batch: int = 256
) -> float:
    """The mean loss of rows 0 … count − 1, by the weight of their parts; 0 without rows.

    What is drawn at random is the same in each call.
    """
    device = next(model.parameters()).device
    total = weight = 0.0
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for start in range(0, count, batch):
            for part, many in parts(np.arange(start, min(start + batch, count))):
                total += float(loss(model, tuple(each.to(device) for each in part)))
                weight += many
    return total / max(weight, 1.0)
