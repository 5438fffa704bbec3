"""A network of what comes next: events → vectors → causal layers → states, compared with items.

Items are numbers 1 … V here; 0 is padding, and what was not there in training. Whoever calls knows
which number is which item.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.core.options import Between, OneOf, check
from clickprint.core.ragged import spans
from clickprint.core.registry import lookup
from clickprint.nn import losses
from clickprint.nn.positions import LearnedPositions

ITEM, TIME = "item", "time"
ASKED = "asked"  # when the state after an event is asked what comes next
CACHED = 1 << 19  # numbers of a layer's input at a time, on a CPU


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of some users, padded at the right with 0.

    An event has one value of a field, or C values (a code vector); times are in seconds.
    """

    fields: Mapping[str, Int[Tensor, "B L *C"]]
    lengths: Int[Tensor, "B"]

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            {n: v.to(device, non_blocking=True) for n, v in self.fields.items()},
            self.lengths.to(device, non_blocking=True),
        )

    @staticmethod
    def of(
        fields: Mapping[str, np.ndarray],
        first: Int64[np.ndarray, "B"],
        lengths: Int64[np.ndarray, "B"],
    ) -> "Batch":
        """Row b is events first[b] … first[b] + lengths[b] − 1 of the flat arrays."""
        places = first[:, None] + np.arange(int(lengths.max(initial=0)))
        there = np.arange(places.shape[1]) < lengths[:, None]
        places = np.where(there, places, 0)

        def padded(values: np.ndarray) -> Tensor:
            shown = there.reshape(*there.shape, *(1 for _ in values.shape[1:]))
            return torch.from_numpy(
                np.where(shown, values[places] if len(values) else 0, 0).astype(np.int64)
            )

        return Batch(
            {n: padded(v) for n, v in fields.items()}, torch.from_numpy(lengths.astype(np.int64))
        )


class EventEmbedding(nn.ModuleDict):
    """A table of vectors a field; an event's vector is the sum over its fields.

    Number 0 of each field is nothing, a vector of zeros. A field with several values an event (a
    code vector) gives their sum over the root of how many there may be, so that it is about as
    long as another field's vector.
    """

    def __init__(self, sizes: Mapping[str, int], width: int, *, deviation: float) -> None:
        super().__init__(
            {name: nn.Embedding(size + 1, width, padding_idx=0) for name, size in sizes.items()}
        )
        for table in self.values():
            nn.init.normal_(table.weight, std=deviation)  # type: ignore[arg-type]
            table.weight.data[0] = 0  # type: ignore[operator]

    def forward(
        self, fields: Mapping[str, Int[Tensor, "B L *C"]], scale: Mapping[str, float] | None = None
    ) -> Float[Tensor, "B L D"]:
        """`scale`: what a field's vector is multiplied by, where that is not 1."""
        found = []
        for name, table in self.items():
            vectors = table(fields[name])
            if fields[name].ndim == 3:
                vectors = vectors.sum(-2) / max(fields[name].shape[-1], 1) ** 0.5
            found.append(vectors * scale[name] if scale and name in scale else vectors)
        return sum(found[1:], found[0])


class HistoryModel(nn.Module):
    """A network that makes one vector of each history's last `length` events.

    - `width`: numbers in the vector.
    - `from_cut`: whether `time` must be the seconds from an event to the cut, not the moment it
      happened.
    - `timed`: whether it reads when the state after each event is asked.
    - `ranks`: whether the vectors were trained to rank items, so that it is a NextItem.
    """

    length: int
    width: int
    from_cut: bool = False
    timed: bool = False
    ranks: bool = False

    def last(self, batch: Batch) -> Float[Tensor, "B D"]:
        """What is known after the newest event; zeros for a user without events."""
        raise NotImplementedError


class NextItem(HistoryModel):
    """Embeds the fields of each event and its place, with dropout; then `layers`; then a norm.

    - `sizes`: how many values each field has, item first.
    - `length`: of the longest history.
    - `positions`: places are counted "back" from the newest event, so that a longer history does
      not move the others, or "onwards" from the oldest that is read. Recurrent layers and rotary
      attention do without ("none").
    - `scale`: item vectors are multiplied by √width as they enter (HSTU).
    - `unit`: only directions are compared (HSTU's retrieval loss).
    - `item_dropout`: the share of the item vectors' numbers that training leaves out where states
      are compared with them; drawn anew for each part, over the whole table.
    - `norm_input`, `norm`: a norm before the layers (Mamba4Rec), and one after them.
    """

    ranks = True

    def __init__(
        self,
        sizes: Mapping[str, int],
        width: int,
        length: int,
        layers: Sequence[nn.Module],
        *,
        positions: Literal["back", "onwards", "none"] = "back",
        dropout: float = 0.2,
        item_dropout: float = 0.0,
        scale: bool = False,
        unit: bool = False,
        norm_input: bool = False,
        norm: bool = True,
        deviation: float = 0.02,
    ) -> None:
        super().__init__()
        self.length, self.width, self.scale, self.unit = (
            length,
            width,
            width**0.5 if scale else 1.0,
            unit,
        )
        self.embed = EventEmbedding(sizes, width, deviation=deviation)
        self.back = positions == "back"
        self.positions = (
            None if positions == "none" else LearnedPositions(length, width, deviation=deviation)
        )
        self.timed = any(getattr(layer, "timed", False) for layer in layers)
        self.norm_input = nn.LayerNorm(width, eps=1e-12) if norm_input else nn.Identity()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.dropout, self.item_dropout = nn.Dropout(dropout), nn.Dropout(item_dropout)

    def forward(self, batch: Batch) -> Float[Tensor, "B L D"]:
        """The state after each event. Padding has states that mean nothing."""
        x: Tensor = self.embed(batch.fields, {ITEM: self.scale})
        if self.positions is not None:
            place = torch.arange(x.shape[1], device=x.device)
            if self.back:
                place = (batch.lengths[:, None] - 1 - place).clamp(min=0)
            x = x + self.positions(place)
        x = self.norm_input(self.dropout(x))
        clock = {"seconds": batch.fields.get(TIME), "asked": batch.fields.get(ASKED)}
        for layer in self.layers:
            x = layer(x, **clock) if getattr(layer, "timed", False) else layer(x)
        states: Tensor = self.norm(x)
        return F.normalize(states, dim=-1) if self.unit else states

    @property
    def items(self) -> Float[Tensor, "V1 D"]:
        """The vectors that states are compared with, [V + 1, D]; row 0 is nobody's."""
        table: Tensor = self.item_dropout(self.embed[ITEM].weight)
        return F.normalize(table, dim=-1) if self.unit else table

    def last(self, batch: Batch) -> Float[Tensor, "B D"]:
        """The state after the newest event; zeros for a user without events."""
        if not batch.fields[ITEM].shape[1]:
            return self.items.new_zeros(len(batch.lengths), self.items.shape[1])
        states = self(batch)[torch.arange(len(batch.lengths)), (batch.lengths - 1).clamp(min=0)]
        return states * (batch.lengths > 0)[:, None]


# Name → a function (states, items with the row of nobody, numbers of the right items, options)
# that is the mean loss of these pairs.
LOSSES: dict[str, str] = {
    "softmax": "clickprint.nn.next_item:softmax",
    "sampled": "clickprint.nn.next_item:sampled",
    "gbce": "clickprint.nn.next_item:gbce",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NextItemLoss:
    """Each event predicts the item after it; the sum over all such pairs.

    - `name`: one of LOSSES. "softmax" is over all items and holds about three times pairs × items
      numbers of 4 bytes for a part, so large catalogues want "sampled".
    - `negatives`: sampled for each pair; with `shared` by a whole part. Those that are the target
      take no part.
    - `logq`: "sampled" negatives are drawn from the part's own targets, as often as these occur,
      and the logarithm of that chance is taken from every logit, so that popular items are not
      pushed down for being drawn more often (Yi et al., RecSys 2019).
    - `temperature`: what scores are divided by; not for "gbce".
    - `calibration`: of "gbce".
    """

    name: Annotated[str, OneOf(*LOSSES)] = "softmax"
    negatives: Annotated[int, Between(1, 1_000_000)] = 256
    shared: bool = False
    temperature: Annotated[float, Between(0, 1_000, low_open=True)] = 1.0
    calibration: Annotated[float, Between(0, 1)] = 0.75
    logq: bool = False

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        for option in ("logq", "shared"):
            if getattr(self, option) and self.name != "sampled":
                yield option, f"is for the loss 'sampled', found {self.name!r}"
        if self.name == "gbce" and self.temperature != 1:
            yield "temperature", "is not for the loss 'gbce'; leave it out"

    def __call__(self, model: nn.Module, part: tuple[Batch, Batch]) -> Float[Tensor, ""]:
        """`part`: the input, and in the same places what is to be predicted, 0 for nothing."""
        given, wanted = part
        states = model(given)
        bare: Any = getattr(model, "module", model)  # under DistributedDataParallel
        target = wanted.fields[ITEM]
        asked = target > 0
        return self.of(states[asked], bare.items, target[asked])

    def of(
        self, states: Float[Tensor, "N D"], items: Float[Tensor, "V1 D"], targets: Int[Tensor, "N"]
    ) -> Float[Tensor, ""]:
        """The sum of the losses of these pairs; 0 without any."""
        if not len(targets):
            return states.sum() * 0
        mean: Tensor = lookup(LOSSES, self.name, "loss")(states, items, targets, self)
        return mean * len(targets)


def softmax(
    states: Float[Tensor, "N D"],
    items: Float[Tensor, "V1 D"],
    targets: Int[Tensor, "N"],
    options: NextItemLoss,
) -> Float[Tensor, ""]:
    """Over all items."""
    return losses.full_softmax(states / options.temperature, items[1:], targets - 1)


def sampled(
    states: Float[Tensor, "N D"],
    items: Float[Tensor, "V1 D"],
    targets: Int[Tensor, "N"],
    options: NextItemLoss,
) -> Float[Tensor, ""]:
    """Over the right item and sampled ones."""
    count, known, device = len(targets), len(items) - 1, states.device
    shape = (options.negatives,) if options.shared else (count, options.negatives)
    log_q = None
    if options.logq:
        log_q = torch.log(torch.bincount(targets, minlength=known + 1) / count)
        negatives = targets[torch.randint(0, count, shape, device=device)]
    else:
        negatives = torch.randint(1, known + 1, shape, device=device)
    return losses.sampled_softmax(
        states, items, targets, negatives, temperature=options.temperature, log_q=log_q
    )


def gbce(
    states: Float[Tensor, "N D"],
    items: Float[Tensor, "V1 D"],
    targets: Int[Tensor, "N"],
    options: NextItemLoss,
) -> Float[Tensor, ""]:
    """gSASRec's, with sampled items for each pair."""
    shape = len(targets), options.negatives
    negatives = torch.randint(1, len(items), shape, device=states.device)
    return losses.gbce(
        states, items[1:], targets - 1, negatives - 1, calibration=options.calibration
    )


def by_length(
    rows: Int64[np.ndarray, "B"], lengths: Int64[np.ndarray, "U"], buckets: int
) -> Iterator[Int64[np.ndarray, "_"]]:
    """The rows of a batch in so many groups of similar length, shortest first.

    Each group is trimmed to its own longest row: the loss is that of the whole batch, without work
    on padding.
    """
    order = rows[np.argsort(lengths[rows], kind="stable")]
    return (some for some in np.array_split(order, buckets) if len(some))


def shifted(
    fields: Mapping[str, np.ndarray],
    starts: Int64[np.ndarray, "U1"],
    length: int,
    buckets: int = 1,
    wanted: Sequence[str] = (ITEM,),
) -> Callable[[Int64[np.ndarray, "B"]], Iterator[tuple[tuple[Batch, Batch], int]]]:
    """For `train`: the last length + 1 events, given without the last, wanted without the first.

    A part's weight is the number of its items that are to be predicted. `wanted`: the fields of
    what is to be predicted. `buckets`: into how many a batch is cut, see `by_length`.
    """
    keep = np.minimum(np.diff(starts), length + 1)
    first = starts[1:] - keep
    before = np.append(0, np.cumsum(fields[ITEM] > 0))  # items before each event
    targets = {name: fields[name] for name in wanted}

    def parts(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[tuple[Batch, Batch], int]]:
        rows = rows[keep[rows] > 1]
        for some in by_length(rows, keep, buckets):
            at, lengths = first[some], keep[some] - 1
            asked = int((before[at + 1 + lengths] - before[at + 1]).sum())
            yield (Batch.of(fields, at, lengths), Batch.of(targets, at + 1, lengths)), asked

    return parts


def next_basket(
    fields: Mapping[str, np.ndarray],
    starts: Int64[np.ndarray, "U1"],
    length: int,
    buckets: int = 1,
) -> Callable[[Int64[np.ndarray, "B"]], Iterator[tuple[tuple[Batch, Batch], int]]]:
    """As `shifted`, where events of one moment are a basket without an order.

    Each event predicts an item of the user's next basket, drawn evenly among its events and anew
    each time, never the one that stands behind it in its own. The last `length` events before a
    user's last basket are given. Events whose draw is about no item predict nothing.
    """
    lengths, item, time = np.diff(starts), fields[ITEM], fields[TIME]
    user = np.repeat(np.arange(len(lengths)), lengths)
    opens = np.ones(len(user), bool)
    opens[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
    basket = np.cumsum(opens) - 1
    start = np.append(np.flatnonzero(opens), len(user))  # and where the last basket ends
    owner = np.append(user[opens], [-1, -1])
    sizes = np.append(np.diff(start), 0)
    into = start[basket + 1]
    many = np.where(owner[basket + 1] == user, sizes[basket + 1], 0)
    given = np.bincount(user[many > 0], minlength=len(lengths))  # events before the last basket
    keep = np.minimum(given, length)
    first = starts[:-1] + given - keep

    def parts(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[tuple[Batch, Batch], int]]:
        rows = rows[keep[rows] > 0]
        for some in by_length(rows, keep, buckets):
            at, n = first[some], keep[some]
            laid, places = spans(at, n)
            drawn = into[places] + (
                torch.rand(int(laid[-1]), dtype=torch.float64).numpy() * many[places]
            ).astype(np.int64)
            yield (
                (Batch.of(fields, at, n), Batch.of({ITEM: item[drawn]}, laid[:-1], n)),
                int((item[drawn] > 0).sum()),
            )

    return parts


def last_states(
    model: HistoryModel,
    fields: Mapping[str, np.ndarray],
    starts: Int64[np.ndarray, "U1"],
    *,
    tokens: int = 0,
) -> Iterator[tuple[Int64[np.ndarray, "B"], Float[Tensor, "B D"]]]:
    """Rows, and the state after each row's newest event; users of like length together.

    `tokens`: about so many events a batch. 0: so many that a layer's input stays in a processor's
    cache (four times as fast as 32,768 at width 128); 32,768 on a GPU.
    """
    model.eval()
    device = next(model.parameters()).device
    tokens = tokens or (max(CACHED // model.width, 256) if device.type == "cpu" else 1 << 15)
    keep = np.minimum(np.diff(starts), model.length)
    order = np.argsort(keep, kind="stable")
    at = 0
    while at < len(order):
        # The longest of the most that could be taken, then of those that will be.
        longest = max(int(keep[order[min(at + tokens, len(order)) - 1]]), 1)
        many = max(tokens // longest, 1)
        longest = max(int(keep[order[min(at + many, len(order)) - 1]]), 1)
        many = max(tokens // longest, 1)
        rows = order[at : at + many]
        with torch.no_grad():  # not across the yield: what the caller does is the caller's
            states = model.last(
                Batch.of(fields, starts[1:][rows] - keep[rows], keep[rows]).to(device)
            )
        yield rows, states
        at += len(rows)
