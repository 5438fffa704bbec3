"""GRU4Rec: recurrent layers over the history. Hidasi et al., ICLR 2016; trained as the others here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickprint.core.errors import ConfigError
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.encoders import of_options, sequence
from clickprint.encoders.sequence import FittedSequence, HistorySpec
from clickprint.nn.blocks import GRULayers
from clickprint.nn.next_item import NextItem, NextItemLoss
from clickprint.nn.train import Training


@dataclass(frozen=True, kw_only=True, slots=True)
class GRU4Rec:
    """Gated recurrent units of `hidden` numbers (0: the width), a linear map back where that is wider.

    Differs from the first paper: histories are users, not sessions in parallel mini-batches, and the loss is a softmax.
    """

    width: int = 64
    layers: int = 1
    hidden: int = 0
    dropout: float = 0.2
    history: HistorySpec = HistorySpec()
    loss: NextItemLoss = NextItemLoss()
    training: Training = Training(patience=5)
    pieces: int = 4

    def __post_init__(self) -> None:
        if faults := sequence.shape_faults(self):
            raise ConfigError("; ".join(faults))

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        """The network, its weights drawn from torch's present random numbers."""
        layer = GRULayers(
            self.width, self.hidden or self.width, layers=self.layers, dropout=self.dropout
        )
        return NextItem(
            sizes, self.width, self.history.length, [layer], positions=False, dropout=self.dropout
        )

    def fit(self, past: Past, *, rng: RNG, progress: Progress = silent) -> FittedSequence:
        return sequence.fit_past(self, "gru4rec", past, rng=rng, progress=progress)

    @staticmethod
    def load(folder: Path) -> FittedSequence:
        """What FittedSequence.save wrote. Raises DataError."""
        return sequence.load(folder, "gru4rec", lambda options: of_options(GRU4Rec, options))
