"""Transformer++: the language models' layer (RMSNorm before, rotary positions, SwiGLU)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from clickprint.encoders.sequence import NextItemEncoder
from clickprint.nn.blocks import TransformerPPBlock
from clickprint.nn.next_item import NextItem


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerPP(NextItemEncoder):
    """Rotary attention and SwiGLU without biases; positions are in the attention.

    `inner`: the width inside the feed-forward part, 0 for 3 · width.
    Source: UQABench's Trm++ (spec/uqabench.md 2.3).
    """

    name: ClassVar[str] = "transformer++"
    layers: int = 2
    heads: int = 2
    inner: int = 0

    def faults(self) -> list[str]:
        step = 2 * max(self.heads, 1)  # rotation turns pairs of numbers
        if self.width % step:
            return [f"width: found {self.width}, expected a multiple of 2 · heads, {step}"]
        return []

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
            sizes, self.width, self.history.length, layers, positions=False, dropout=self.dropout
        )
