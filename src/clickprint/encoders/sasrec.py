"""SASRec: causal self-attention over the history.

Kang & McAuley, ICDM 2018; with softmax losses Klenitskiy & Vasilev, RecSys 2023.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from clickprint.encoders.sequence import NextItemEncoder
from clickprint.nn.blocks import LiGRBlock, PostNormBlock, SASRecBlock
from clickprint.nn.next_item import NextItem

FORMS = ("sasrec", "ligr", "post")


@dataclass(frozen=True, kw_only=True, slots=True)
class SASRec(NextItemEncoder):
    """Self-attention with learned places, counted back from the newest event.

    - `form`: the layer. "sasrec" is the authors', "ligr" eSASRec's (gated branches, SwiGLU),
      "post" UQABench's (norms after).
    - `inner`: the width inside the feed-forward part; 0 for the form's own (width, 4 · width,
      3 · width).

    The state is normalised and compared with item vectors by their inner product.
    Source: spec/sequential-encoders.md 5.3. Differs: the authors' BCE with one negative is left
    out, it loses.
    """

    name: ClassVar[str] = "sasrec"
    layers: int = 1
    heads: int = 1
    form: str = "sasrec"
    inner: int = 0

    def faults(self) -> list[str]:
        known = self.form in FORMS
        return [] if known else [f"form: found {self.form!r}, expected one of {', '.join(FORMS)}"]

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        w, h, d = self.width, self.heads, self.dropout
        make = {
            "sasrec": lambda: SASRecBlock(w, h, inner=self.inner or None, dropout=d),
            "ligr": lambda: LiGRBlock(w, h, inner=self.inner or None, dropout=d),
            "post": lambda: PostNormBlock(w, h, inner=self.inner or 3 * w, dropout=d),
        }[self.form]
        return NextItem(
            sizes, w, self.history.length, [make() for _ in range(self.layers)], dropout=d
        )
