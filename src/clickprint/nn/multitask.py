"""One causal network, many questions: what comes next, and what the following days hold.

Values of a field are numbers 1 … V here; 0 is padding, nothing, and what was not there in
training. Times are seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.core.errors import ConfigError
from clickprint.core.options import Between, check
from clickprint.core.ragged import spans
from clickprint.nn.autoencoder import chunks
from clickprint.nn.blocks import TransformerPPBlock
from clickprint.nn.next_item import ITEM, TIME, Batch, NextItem, NextItemLoss, by_length
from clickprint.nn.positions import TIME_BUCKETS, time_bucket

Weight = Annotated[float, Between(0, 1_000_000)]
CELLS = 1 << 22  # of a table of counts at a time
Part = tuple[Batch, Batch, Bool[Tensor, "B L"], Float[Tensor, "N"], UInt8[Tensor, "N T"]]


class MultiTaskTransformer(NextItem):
    """A rotary Transformer over the sum of the fields' embeddings: a vector at each event.

    - `targets`: the fields whose next value is said from the vector; all but the item by a linear
      map of their own.
    - `labels`: of a window, 0 for no such head.
    - `time_since_last`: the vector is of a moment at or after its event; `time` must then be the
      seconds from each event to its moment, and a small network mixes it into the state,
      x + W₂ gelu(W₁ x + bucket of the seconds).

    No place is counted from the newest event: that would say how many events follow.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        width: int,
        length: int,
        *,
        layers: int,
        heads: int,
        dropout: float,
        targets: Sequence[str],
        labels: int,
        time_since_last: bool = True,
    ) -> None:
        inner = max(8 * width // 3, 1)
        blocks = [
            TransformerPPBlock(width, heads, inner=inner, layers=layers, dropout=dropout)
            for _ in range(layers)
        ]
        super().__init__(sizes, width, length, blocks, positions="none", dropout=dropout)
        self.from_cut, self.ranks = time_since_last, ITEM in targets
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, sizes[name] + 1) for name in targets if name != ITEM}
        )
        self.window = nn.Linear(width, labels) if labels else None
        self.since = nn.Embedding(TIME_BUCKETS + 1, width) if time_since_last else None
        self.mix = (
            nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
            if time_since_last
            else None
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B L D"]:
        """The vector at each event's moment: of that event, those before it, and how long ago."""
        states = super().forward(batch)
        if self.since is None or self.mix is None:
            return states
        return states + self.mix[1](
            F.gelu(self.mix[0](states) + self.since(time_bucket(batch.fields[TIME])))
        )

    @property
    def items(self) -> Float[Tensor, "V1 D"]:
        """See NextItem. Raises ConfigError where the next item was no target."""
        if not self.ranks:
            raise ConfigError(
                "the next item was no target of this training, so no item is ranked;"
                " give it a weight above 0"
            )
        return self.embed[ITEM].weight  # type: ignore[return-value]

    def last(self, batch: Batch) -> Float[Tensor, "B D"]:
        if not batch.fields[ITEM].shape[1]:
            return next(self.parameters()).new_zeros(len(batch.lengths), self.width)
        states = self(batch)[torch.arange(len(batch.lengths)), (batch.lengths - 1).clamp(min=0)]
        return states * (batch.lengths > 0)[:, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiTaskLoss:
    """The weighted sum of the losses of each event's next values and of a window's labels.

    - `targets`: field → weight of the cross entropy of its next value: over all values of the
      field, of the item as `item` says. Where there is no next value, or it is nothing, that
      target adds nothing. A weight of 0 leaves the target out, and its head.
    - `windows`: weight of the binary cross entropy of a window's labels, times the window's own.
    """

    targets: Mapping[str, Weight] = field(
        default_factory=lambda: {ITEM: 1.0, "kind": 1.0, "gap": 1.0}
    )
    windows: Weight = 0.2
    item: NextItemLoss = NextItemLoss(name="sampled", shared=True, logq=True)

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        if not any((*self.targets.values(), self.windows)):
            yield "targets", "found no weight above 0, so there is nothing to learn"

    @property
    def temperature(self) -> float:
        """Of the next item."""
        return self.item.temperature

    @property
    def wanted(self) -> tuple[str, ...]:
        """The targets that count."""
        return tuple(n for n, w in self.targets.items() if w)

    def __call__(self, model: nn.Module, part: Part) -> Float[Tensor, ""]:
        """The sum over a part.

        That is the input, the next values in the same places, the places whose windows are known,
        these windows' weights and labels.
        """
        given, nexts, asked, weights, labels = part
        states = model(given)
        bare: Any = getattr(model, "module", model)  # under DistributedDataParallel
        total: Tensor = states.sum() * 0
        for name in self.wanted:
            target = nexts.fields[name]
            some = target > 0
            if name == ITEM:
                total = total + self.targets[name] * self.item.of(
                    states[some], bare.items, target[some]
                )
            else:
                logits = bare.heads[name](states[some]).float()
                total = total + self.targets[name] * F.cross_entropy(
                    logits, target[some], reduction="sum"
                )
        if bare.window is not None:
            logits = bare.window(states[asked]).float()
            total = total + self.windows * F.binary_cross_entropy_with_logits(
                logits, labels.float(), weights[:, None], reduction="sum"
            )
        return total


@dataclass(frozen=True, slots=True)
class Windows:
    """What is asked about the `horizon` seconds from a moment, of all users' events in a row.

    Labels: at least counts[c] events; at least counts[c] bought ones; for each of `tastes` (each
    event's column, and how many columns there are) and each of its columns, a bought event with
    that column (−1: none of them). Known only where the window ends no later than `until`.
    """

    horizon: int
    until: int
    counts: tuple[int, ...]
    starts: Int64[np.ndarray, "U1"]
    seconds: Int64[np.ndarray, "L"]
    bought: Bool[np.ndarray, "L"]
    tastes: Sequence[tuple[Int64[np.ndarray, "L"], int]]
    origin: int = field(init=False)
    # More than there are seconds from the origin to the end of any window.
    lift: int = field(init=False)
    # The seconds from the origin, lifted so that they rise from user to user.
    ordered: Int64[np.ndarray, "L"] = field(init=False)
    before: Int64[np.ndarray, "L1"] = field(init=False)  # bought events before each one

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", int(self.seconds.min(initial=self.until)))
        object.__setattr__(self, "lift", self.until - self.origin + self.horizon + 1)
        row = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        object.__setattr__(self, "ordered", row * self.lift + self.seconds - self.origin)
        object.__setattr__(self, "before", np.append(0, np.cumsum(self.bought)))

    @property
    def labels(self) -> int:
        return 2 * len(self.counts) + sum(columns for _, columns in self.tastes)

    def ends(
        self, rows: Int64[np.ndarray, "N"], moments: Int64[np.ndarray, "N"]
    ) -> Int64[np.ndarray, "N"]:
        """The place behind these users' last event before each moment's window ends."""
        return np.searchsorted(
            self.ordered, rows * self.lift + moments - self.origin + self.horizon
        )

    def known(self, moments: Int64[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
        return moments + self.horizon <= self.until

    def of(
        self, first: Int64[np.ndarray, "N"], end: Int64[np.ndarray, "N"]
    ) -> UInt8[np.ndarray, "N T"]:
        """The labels of windows that hold the events first[n] … end[n] − 1, which may be none."""
        out = np.zeros((len(first), self.labels), np.uint8)
        counts, many = np.array(self.counts, np.int64), len(self.counts)
        out[:, :many] = (end - first)[:, None] >= counts
        out[:, many : 2 * many] = (self.before[end] - self.before[first])[:, None] >= counts
        if not len(first) or not self.tastes:
            return out
        places, low, high = _compact(first, end)
        at = 2 * many
        for column, columns in self.tastes:
            column = np.where(self.bought[places], column[places], -1)
            step = max(CELLS // (len(places) + 1), 1)
            for start in range(0, columns, step):
                stop = min(start + step, columns)
                hot = np.zeros((len(places) + 1, stop - start), np.int32)
                some = np.flatnonzero((column >= start) & (column < stop))
                hot[some + 1, column[some] - start] = 1
                np.cumsum(hot, axis=0, out=hot)
                out[:, at + start : at + stop] = hot[high] > hot[low]
            at += columns
        return out


def _compact(
    first: Int64[np.ndarray, "N"], end: Int64[np.ndarray, "N"]
) -> tuple[Int64[np.ndarray, "E"], Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
    """All places that some span holds, in order; and each span's begin and end among them."""
    order = np.argsort(first, kind="stable")
    reach = np.maximum.accumulate(end[order])
    # A span that begins behind all before it begins a block.
    fresh = np.append(True, first[order][1:] > reach[:-1])
    begin = first[order][fresh]
    stop = np.append(reach[:-1][fresh[1:]], reach[-1])
    starts, places = spans(begin, np.maximum(stop - begin, 0))
    block = np.searchsorted(begin, first, side="right") - 1
    shift = starts[:-1][block] - begin[block]
    places = np.arange(places.start, places.stop) if isinstance(places, slice) else places
    return places, first + shift, np.maximum(end, first) + shift


def asked(
    fields: Mapping[str, np.ndarray],
    starts: Int64[np.ndarray, "U1"],
    length: int,
    *,
    targets: Sequence[str],
    until: int,
    windows: Windows | None,
    time_since_last: bool,
    most: int = 0,
    buckets: int = 1,
) -> tuple[Int64[np.ndarray, "N"], Callable[[Int64[np.ndarray, "B"]], Iterator[tuple[Part, int]]]]:
    """Each user's events cut into chunks: whose they are, and their parts for `train`.

    - `length`, `most`: of a chunk; only so many newest ones of a user, 0 takes all.
    - `until`: how far windows, or without them moments, reach.
    - `time_since_last`: whether the moment of an event is shown.

    An event's moment is drawn between it and the next event; after the newest event, up to the
    last moment whose window is known. A window is asked about where it is known and the next event
    is later than this one. It counts as much as the gap between the two is long, 1 for the mean
    gap: all days of all users count the same, as if cuts were drawn by the calendar, and rare
    users are not drowned by daily ones. Draws are torch's, so a training that is taken up again
    draws the same. A part's weight is the number of its events.
    """
    user, begin, lengths = chunks(starts, length, most)
    seconds = fields[TIME]
    newest = np.zeros(len(seconds), bool)
    newest[starts[1:][np.diff(starts) > 0] - 1] = True
    nexts = {name: np.where(newest, 0, np.append(fields[name][1:], 0)) for name in targets}
    latest = until - (windows.horizon if windows else 0)
    following = np.where(newest, np.maximum(latest, seconds), np.append(seconds[1:], 0))
    gaps = following - seconds
    mean = max(gaps.sum() / max((gaps > 0).sum(), 1), 1)
    inputs = {name: values for name, values in fields.items() if name != TIME}

    def part(some: Int64[np.ndarray, "B"]) -> tuple[Part, int]:
        first, size = begin[some], lengths[some]
        given, wanted = Batch.of(inputs, first, size), Batch.of(nexts, first, size)
        shape = given.fields[ITEM].shape
        there = np.arange(shape[1]) < size[:, None]
        place = (first[:, None] + np.arange(shape[1]))[there]
        gap = gaps[place]
        since = (torch.rand(len(place), dtype=torch.float64).numpy() * gap).astype(np.int64)
        if time_since_last:
            elapsed = np.zeros(shape, np.int64)
            elapsed[there] = since
            given = Batch({**given.fields, TIME: torch.from_numpy(elapsed)}, given.lengths)
        known, weights, labels = (
            np.zeros(shape, bool),
            np.zeros(0, np.float32),
            np.zeros((0, 0), np.uint8),
        )
        if windows is not None:
            moment = seconds[place] + since
            some_known = windows.known(moment) & (gap > 0)
            known[there] = some_known
            row = np.repeat(user[some], size)[some_known]
            weights = (gap[some_known] / mean).astype(np.float32)
            labels = windows.of(place[some_known] + 1, windows.ends(row, moment[some_known]))
        return (
            given,
            wanted,
            torch.from_numpy(known),
            torch.from_numpy(weights),
            torch.from_numpy(labels),
        ), int(size.sum())

    def parts(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[Part, int]]:
        for some in by_length(rows, lengths, buckets):
            yield part(some)

    return user, parts
