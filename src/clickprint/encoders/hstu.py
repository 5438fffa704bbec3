"""HSTU: gated attention without softmax, with a bias by place and time. Zhai et al., ICML 2024."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from clickprint.encoders.ranges import Layers, OwnWidth
from clickprint.encoders.sequence import NextItemEncoder, undivided
from clickprint.nn.blocks import HSTUBlock
from clickprint.nn.next_item import NextItem, NextItemLoss


@dataclass(frozen=True, kw_only=True, slots=True)
class HSTU(NextItemEncoder):
    """Generative-recommender layers: unit states and items, a temperature, sampled softmax.

    - `query_width`, `value_width`: of one head; 0 for width / heads.
    - `by_time`: a learned bias for the time from each event to the request that a state answers,
      where the log has a clock. Places are biased always.

    Source: spec/sequential-encoders.md 5.1. Differs: the attention is divided by `history.length`
    whatever a batch is padded to, so that a user's state does not depend on the others.
    """

    name: ClassVar[str] = "hstu"
    layers: Layers = 2
    heads: Layers = 1
    query_width: OwnWidth = 0
    value_width: OwnWidth = 0
    by_time: bool = True
    loss: NextItemLoss = NextItemLoss(name="sampled", negatives=512, temperature=0.05)

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from undivided(self.width, self.heads)

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        own = self.width // self.heads
        layers = [
            HSTUBlock(
                self.width,
                self.heads,
                query_width=self.query_width or own,
                value_width=self.value_width or own,
                length=self.history.length,
                by_time=self.by_time,
                dropout=self.dropout,
            )
            for _ in range(self.layers)
        ]
        return NextItem(
            sizes,
            self.width,
            self.history.length,
            layers,
            positions="onwards",
            dropout=self.dropout,
            scale=True,
            unit=True,
            norm=False,
        )
