"""Mamba4Rec: selective state spaces over the history. Liu et al., 2024."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from clickprint.encoders.sequence import NextItemEncoder
from clickprint.nn.mamba import Mamba1, Mamba2, MambaBlock
from clickprint.nn.next_item import NextItem


@dataclass(frozen=True, kw_only=True, slots=True)
class Mamba4Rec(NextItemEncoder):
    """Mamba mixers with a feed-forward part, norms after each; no positions.

    - `mixer`: 1 is the paper's Mamba-1 block, 2 the Mamba-2 block of UQABench.
    - `head_width`: of the heads of a Mamba-2 block; it divides expand · width.

    With one layer the mixer has no residual, as in the authors' code.
    """

    name: ClassVar[str] = "mamba4rec"
    layers: int = 1
    mixer: int = 1
    state: int = 32
    kernel: int = 4
    expand: int = 2
    head_width: int = 64

    def faults(self) -> list[str]:
        if self.mixer not in (1, 2):
            return [f"mixer: found {self.mixer}, expected 1 or 2"]
        inside = self.expand * self.width
        if self.mixer == 2 and self.head_width > 0 and inside % self.head_width:
            return [
                f"head_width: found {self.head_width}, expected a divisor of expand · width,"
                f" {inside}"
            ]
        return []

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        shape = {"state": self.state, "kernel": self.kernel, "expand": self.expand}
        layers = [
            MambaBlock(
                Mamba1(self.width, **shape)
                if self.mixer == 1
                else Mamba2(self.width, **shape, head_width=self.head_width),
                self.width,
                dropout=self.dropout,
                residual=self.layers > 1,
            )
            for _ in range(self.layers)
        ]
        return NextItem(
            sizes, self.width, self.history.length, layers, positions=False, dropout=self.dropout
        )
