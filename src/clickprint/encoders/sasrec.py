"""SASRec: causal self-attention over the history.

Kang & McAuley, ICDM 2018; with softmax losses Klenitskiy & Vasilev, RecSys 2023.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from clickprint.encoders.ranges import Layers, OwnWidth, Share
from clickprint.encoders.sequence import NextItemEncoder, undivided
from clickprint.nn.blocks import LiGRBlock, PostNormBlock, SASRecBlock
from clickprint.nn.next_item import NextItem


@dataclass(frozen=True, kw_only=True, slots=True)
class SASRec(NextItemEncoder):
    """Self-attention with learned places, counted back from the newest event.

    - `block`: the layer. "sasrec" is the authors', "ligr" eSASRec's (gated branches, SwiGLU),
      "post" UQABench's (norms after).
    - `inner`: the width inside the feed-forward part; 0 for the block's own (width, 4 · width,
      3 · width).

    - `item_dropout`: the share of the item vectors that training hides from the loss. RecTools
      did so when the published figures were made.
    - `scale`: item vectors are multiplied by √width as they enter, as the authors' code does; the
      paper and the published softmax figures do not.

    The state, normalised after the blocks "sasrec", is compared with item vectors by their inner
    product. Source: spec/sequential-encoders.md 5.3. Differs: the authors' BCE with one negative
    is left out, it loses; see nn.blocks.SASRecBlock.
    """

    name: ClassVar[str] = "sasrec"
    layers: Layers = 1
    heads: Layers = 1
    block: Literal["sasrec", "ligr", "post"] = "sasrec"
    inner: OwnWidth = 0
    scale: bool = False
    item_dropout: Share = 0.0

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from undivided(self.width, self.heads)

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        w, h, d = self.width, self.heads, self.dropout
        make = {
            "sasrec": lambda: SASRecBlock(w, h, inner=self.inner or None, dropout=d),
            "ligr": lambda: LiGRBlock(w, h, inner=self.inner or None, dropout=d),
            "post": lambda: PostNormBlock(w, h, inner=self.inner or 3 * w, dropout=d),
        }[self.block]
        return NextItem(
            sizes,
            w,
            self.history.length,
            [make() for _ in range(self.layers)],
            dropout=d,
            item_dropout=self.item_dropout,
            scale=self.scale,
            norm=self.block == "sasrec",
        )
