"""One causal network, many questions: at each event, what comes next, field by field, and what the following days hold.

Values of a field are numbers 1 … V here; 0 is padding, nothing, and what was not there in training. Times are seconds.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.core.errors import ConfigError
from clickprint.core.ragged import spans
from clickprint.nn.autoencoder import stretches
from clickprint.nn.blocks import TransformerPPBlock
from clickprint.nn.next_item import ITEM, TIME, Batch, NextItem, NextItemLoss
from clickprint.nn.positions import TIME_BUCKETS, time_bucket

CELLS = 1 << 22  # of a table of counts at a time
Part = tuple[Batch, Batch, Bool[Tensor, "B L"], Float[Tensor, "N"], UInt8[Tensor, "N T"]]


class MultiTaskTransformer(NextItem):
    """A rotary Transformer over the sum of the fields' embeddings; at each event a vector from which everything is said.

    `heads`: the fields, besides the item, whose next value is said, each by a linear map of its own. `labels`: of a window, 0 for no such
    head. `now`: the vector is of a moment at or after its event; `time` must then be the seconds from each event to its moment, and a
    small network mixes it into the state, x + W₂ gelu(W₁ x + bucket of the seconds). No place is counted from the newest event: that
    would say how many events follow.
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
        now: bool = True,
    ) -> None:
        inner = max(8 * width // 3, 1)
        blocks = [
            TransformerPPBlock(width, heads, inner=inner, layers=layers, dropout=dropout)
            for _ in range(layers)
        ]
        super().__init__(sizes, width, length, blocks, positions=False, dropout=dropout)
        self.from_cut, self.ranks = now, ITEM in targets
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, sizes[name] + 1) for name in targets if name != ITEM}
        )
        self.window = nn.Linear(width, labels) if labels else None
        self.since = nn.Embedding(TIME_BUCKETS + 1, width) if now else None
        self.mix = (
            nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)]) if now else None
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B L D"]:
        """The vector at each event's moment. It has seen that event, those before it, and how long ago that was."""
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
                "the next item was no target of this training, so no item is ranked; give it a weight above 0"
            )
        return self.embed[ITEM].weight  # type: ignore[return-value]

    def last(self, batch: Batch) -> Float[Tensor, "B D"]:
        if not batch.fields[ITEM].shape[1]:
            return self.norm.weight.new_zeros(len(batch.lengths), self.width)  # type: ignore[operator]
        states = self(batch)[torch.arange(len(batch.lengths)), (batch.lengths - 1).clamp(min=0)]
        return states * (batch.lengths > 0)[:, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiTaskLoss:
    """Σ over targets of weight · cross entropy of each event's next value, + `windows` · Σ over a window's labels of binary cross entropy,
    times the window's weight.

    Where there is no next value, or it is nothing, that target adds nothing. The next item is said as `item` says, the others by a
    softmax over all of their values. A weight of 0 leaves the target out, and its head.
    """

    targets: Mapping[str, float] = field(
        default_factory=lambda: {ITEM: 1.0, "kind": 1.0, "gap": 1.0}
    )
    windows: float = 0.2
    item: NextItemLoss = NextItemLoss(kind="sampled", shared=True, logq=True)

    def __post_init__(self) -> None:
        weights = {**{f"targets.{n}": w for n, w in self.targets.items()}, "windows": self.windows}
        wrong = [
            f"{n}: found {w}, expected a number, 0 or more"
            for n, w in weights.items()
            if not (math.isfinite(w) and w >= 0)
        ]
        wrong += (
            ["found no weight above 0, so there is nothing to learn"]
            if not wrong and not any(weights.values())
            else []
        )
        if wrong:
            raise ConfigError("; ".join(wrong))

    @property
    def temperature(self) -> float:
        """Of the next item."""
        return self.item.temperature

    @property
    def wanted(self) -> tuple[str, ...]:
        """The targets that count."""
        return tuple(n for n, w in self.targets.items() if w)

    def __call__(self, model: nn.Module, part: Part) -> Float[Tensor, ""]:
        """`part`: the input, the next values in the same places, the places whose windows are known, these windows' weights and labels."""
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
    """What is asked about the `horizon` seconds from a moment, of all users' events laid one after the other.

    Labels: at least counts[c] events; at least counts[c] bought ones; for each of `tastes` and each of its columns, a bought one with
    that column (−1: none of them). Known only where the window ends no later than `until`.
    """

    horizon: int
    until: int
    counts: tuple[int, ...]
    starts: Int64[np.ndarray, "U1"]
    seconds: Int64[np.ndarray, "L"]
    bought: Bool[np.ndarray, "L"]
    tastes: Sequence[
        tuple[Int64[np.ndarray, "L"], int]
    ]  # each event's column, and how many columns there are
    origin: int = field(init=False)
    lift: int = field(
        init=False
    )  # more than there are seconds from the origin to the end of any window
    ordered: Int64[np.ndarray, "L"] = field(
        init=False
    )  # the seconds from the origin, lifted so that they rise from user to user
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
        """The place behind the last event of these users (rows of `starts`) before each moment's window ends."""
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
    """All places that some span holds, in order; and where each span begins and ends among them."""
    order = np.argsort(first, kind="stable")
    reach = np.maximum.accumulate(end[order])
    fresh = np.append(
        True, first[order][1:] > reach[:-1]
    )  # a span that begins behind all before it begins a block
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
    now: bool,
    most: int = 0,
    pieces: int = 1,
) -> tuple[Int64[np.ndarray, "N"], Callable[[Int64[np.ndarray, "B"]], Iterator[tuple[Part, int]]]]:
    """Each user's events cut into stretches of `length` (the `most` newest, 0: all): whose they are, and their parts for `train`.

    Each event's moment is drawn between it and the next event (after the newest: up to the last moment whose window is known, `until`
    without windows); it is shown with `now`. A window is asked about where it is known and the next event is later than this one. It counts
    as much as the gap between the two is long, 1 for the mean gap: all days of all users count the same, as if cuts were drawn by the
    calendar, and who is seldom there is not drowned by who comes daily. Draws are torch's, so a training that is taken up again draws the
    same. A part's weight is the number of its events.
    """
    user, begin, lengths = stretches(starts, length, most)
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
        if now:
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
        for some in np.array_split(rows[np.argsort(lengths[rows], kind="stable")], pieces):
            if len(some):
                yield part(some)

    return user, parts
