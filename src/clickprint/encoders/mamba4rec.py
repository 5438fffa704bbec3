"""Mamba4Rec: selective state spaces over the history. Liu et al., 2024."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickprint.core.errors import ConfigError
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.encoders import of_options, sequence
from clickprint.encoders.sequence import FittedSequence, HistorySpec
from clickprint.nn.mamba import Mamba1, Mamba2, MambaBlock
from clickprint.nn.next_item import NextItem, NextItemLoss
from clickprint.nn.train import Training


@dataclass(frozen=True, kw_only=True, slots=True)
class Mamba4Rec:
    """Mamba mixers with a feed-forward part, norms after each; no positions.

    `mixer` 1 is the paper's Mamba-1 block, 2 the Mamba-2 block of UQABench (`head_width` of its heads). With one layer the mixer has no
    residual, as in the authors' code.
    """

    width: int = 64
    layers: int = 1
    mixer: int = 1
    state: int = 32
    kernel: int = 4
    expand: int = 2
    head_width: int = 64
    dropout: float = 0.2
    history: HistorySpec = HistorySpec()
    loss: NextItemLoss = NextItemLoss()
    training: Training = Training(patience=5)
    pieces: int = 4

    def __post_init__(self) -> None:
        faults = sequence.shape_faults(self)
        faults += (
            [f"mixer: found {self.mixer}, expected 1 or 2"] if self.mixer not in (1, 2) else []
        )
        if not faults and self.mixer == 2 and self.expand * self.width % self.head_width:
            faults.append(
                f"head_width: found {self.head_width}, expected a divisor of expand · width, {self.expand * self.width}"
            )
        if faults:
            raise ConfigError("; ".join(faults))

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        """The network, its weights drawn from torch's present random numbers."""
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

    def fit(self, past: Past, *, rng: RNG, progress: Progress = silent) -> FittedSequence:
        return sequence.fit_past(self, "mamba4rec", past, rng=rng, progress=progress)

    @staticmethod
    def load(folder: Path) -> FittedSequence:
        """What FittedSequence.save wrote. Raises DataError."""
        return sequence.load(folder, "mamba4rec", lambda options: of_options(Mamba4Rec, options))
