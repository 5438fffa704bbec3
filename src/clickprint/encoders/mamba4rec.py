"""Mamba4Rec: selective state spaces over the history. Liu et al., 2024."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from clickprint.encoders.ranges import Inside, Layers
from clickprint.encoders.sequence import NextItemEncoder
from clickprint.nn.mamba import Mamba1, Mamba2, MambaBlock
from clickprint.nn.next_item import NextItem


@dataclass(frozen=True, kw_only=True, slots=True)
class Mamba4Rec(NextItemEncoder):
    """Mamba mixers with a feed-forward part, a norm before and after each; no positions.

    - `mixer`: 1 is the paper's Mamba-1 block, 2 the Mamba-2 block of UQABench.
    - `head_width`: of the heads of a Mamba-2 block; it divides expand · width.

    With one layer the mixer has no residual, as in the authors' code.
    """

    name: ClassVar[str] = "mamba4rec"
    layers: Layers = 1
    mixer: Literal[1, 2] = 1
    state: Inside = 32
    kernel: Inside = 4
    expand: Inside = 2
    head_width: Inside = 64

    def problems(self) -> Iterator[tuple[str, str]]:
        inside = self.expand * self.width
        if self.mixer == 2 and inside % self.head_width:
            yield (
                "head_width",
                f"found {self.head_width}, expected a divisor of expand · width, {inside}",
            )

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
            sizes,
            self.width,
            self.history.length,
            layers,
            positions="none",
            dropout=self.dropout,
            norm_input=True,
            norm=False,
        )
