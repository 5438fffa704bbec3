"""GRU4Rec: recurrent layers over the history. Hidasi et al., ICLR 2016."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from clickprint.encoders.ranges import Layers, OwnWidth
from clickprint.encoders.sequence import NextItemEncoder
from clickprint.nn.blocks import GRULayers
from clickprint.nn.next_item import NextItem


@dataclass(frozen=True, kw_only=True, slots=True)
class GRU4Rec(NextItemEncoder):
    """Gated recurrent units of `hidden` numbers, with a linear map back to the width.

    `hidden` 0 is the width itself, without a map. Differs from the paper: histories are users, not
    sessions in parallel mini-batches, and the loss is a softmax.
    """

    name: ClassVar[str] = "gru4rec"
    layers: Layers = 1
    hidden: OwnWidth = 0

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        layer = GRULayers(
            self.width, self.hidden or self.width, layers=self.layers, dropout=self.dropout
        )
        return NextItem(
            sizes, self.width, self.history.length, [layer], positions="none", dropout=self.dropout
        )
