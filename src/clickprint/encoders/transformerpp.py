"""Transformer++: the language models' layer (RMSNorm before, rotary positions, SwiGLU)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from clickprint.encoders.ranges import Layers, OwnWidth
from clickprint.encoders.sequence import NextItemEncoder, undivided
from clickprint.nn.blocks import TransformerPPBlock
from clickprint.nn.next_item import NextItem


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerPP(NextItemEncoder):
    """Rotary attention and SwiGLU without biases; positions are in the attention.

    `inner`: the width inside the feed-forward part, 0 for 3 · width.
    Source: UQABench's Trm++ (spec/uqabench.md 2.3). The norm after all layers is a LayerNorm.
    """

    name: ClassVar[str] = "transformer++"
    layers: Layers = 2
    heads: Layers = 2
    inner: OwnWidth = 0

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from undivided(self.width, self.heads, pairs=True)  # rotation turns pairs of numbers

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        layers = [
            TransformerPPBlock(
                self.width,
                self.heads,
                inner=self.inner or 3 * self.width,
                layers=self.layers,
                dropout=self.dropout,
            )
            for _ in range(self.layers)
        ]
        return NextItem(
            sizes, self.width, self.history.length, layers, positions="none", dropout=self.dropout
        )
