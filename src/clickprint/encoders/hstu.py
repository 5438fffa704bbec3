"""HSTU: gated attention without softmax, with a bias by place and time. Zhai et al., ICML 2024."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickprint.core.errors import ConfigError
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.encoders import of_options, sequence
from clickprint.encoders.sequence import FittedSequence, HistorySpec
from clickprint.nn.blocks import HSTUBlock
from clickprint.nn.next_item import NextItem, NextItemLoss
from clickprint.nn.train import Training


@dataclass(frozen=True, kw_only=True, slots=True)
class HSTU:
    """Generative-recommender layers for next-item retrieval: unit states and items, a temperature, sampled softmax.

    `by_time`: a learned bias for the time between two events, where the log has a clock; places are biased always. `query_width` and
    `value_width` are of one head, 0 for width / heads. Source: spec/sequential-encoders.md 5.1. Differs: the attention is divided by
    `history.length` whatever a batch is padded to, so that a user's state does not depend on the others.
    """

    width: int = 64
    layers: int = 2
    heads: int = 1
    query_width: int = 0
    value_width: int = 0
    by_time: bool = True
    dropout: float = 0.2
    history: HistorySpec = HistorySpec()
    loss: NextItemLoss = NextItemLoss(kind="sampled", negatives=512, temperature=0.05)
    training: Training = Training(patience=5)
    pieces: int = 4

    def __post_init__(self) -> None:
        if faults := sequence.shape_faults(self):
            raise ConfigError("; ".join(faults))

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        """The network, its weights drawn from torch's present random numbers."""
        own = self.width // self.heads
        query, value = self.query_width or own, self.value_width or own
        layers = [
            HSTUBlock(
                self.width,
                self.heads,
                query_width=query,
                value_width=value,
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
            dropout=self.dropout,
            scale=True,
            unit=True,
            norm=False,
        )

    def fit(self, past: Past, *, rng: RNG, progress: Progress = silent) -> FittedSequence:
        return sequence.fit_past(self, "hstu", past, rng=rng, progress=progress)

    @staticmethod
    def load(folder: Path) -> FittedSequence:
        """What FittedSequence.save wrote. Raises DataError."""
        return sequence.load(folder, "hstu", lambda options: of_options(HSTU, options))
