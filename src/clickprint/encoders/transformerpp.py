"""Transformer++: the language models' layer (RMSNorm before, rotary positions, SwiGLU) over the history."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickprint.core.errors import ConfigError
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.encoders import of_options, sequence
from clickprint.encoders.sequence import FittedSequence, HistorySpec
from clickprint.nn.blocks import TransformerPPBlock
from clickprint.nn.next_item import NextItem, NextItemLoss
from clickprint.nn.train import Training


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerPP:
    """Rotary attention and SwiGLU without biases; positions are in the attention. `inner` 0: 3 · width.

    Source: UQABench's Trm++ (spec/uqabench.md 2.3).
    """

    width: int = 64
    layers: int = 2
    heads: int = 2
    inner: int = 0
    dropout: float = 0.2
    history: HistorySpec = HistorySpec()
    loss: NextItemLoss = NextItemLoss()
    training: Training = Training(patience=5)
    pieces: int = 4

    def __post_init__(self) -> None:
        faults = sequence.shape_faults(self)
        if not faults and self.width % (2 * self.heads):
            faults.append(
                f"width: found {self.width}, expected a multiple of 2 · heads, {2 * self.heads}: rotation turns pairs of numbers"
            )
        if faults:
            raise ConfigError("; ".join(faults))

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        """The network, its weights drawn from torch's present random numbers."""
        inner = self.inner or 3 * self.width
        layers = [
            TransformerPPBlock(
                self.width, self.heads, inner=inner, layers=self.layers, dropout=self.dropout
            )
            for _ in range(self.layers)
        ]
        return NextItem(
            sizes, self.width, self.history.length, layers, positions=False, dropout=self.dropout
        )

    def fit(self, past: Past, *, rng: RNG, progress: Progress = silent) -> FittedSequence:
        return sequence.fit_past(self, "transformer++", past, rng=rng, progress=progress)

    @staticmethod
    def load(folder: Path) -> FittedSequence:
        """What FittedSequence.save wrote. Raises DataError."""
        return sequence.load(
            folder, "transformer++", lambda options: of_options(TransformerPP, options)
        )
