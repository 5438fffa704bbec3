"""SASRec: causal self-attention over the history. Kang & McAuley, ICDM 2018; with softmax losses Klenitskiy & Vasilev, RecSys 2023."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickprint.core.errors import ConfigError
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.encoders import of_options, sequence
from clickprint.encoders.sequence import FittedSequence, HistorySpec
from clickprint.nn.blocks import LiGRBlock, PostNormBlock, SASRecBlock
from clickprint.nn.next_item import NextItem, NextItemLoss
from clickprint.nn.train import Training

FORMS = ("sasrec", "ligr", "post")


@dataclass(frozen=True, kw_only=True, slots=True)
class SASRec:
    """Self-attention, learned places counted back from the newest event, next item by softmax over all items or over sampled ones.

    `form`: "sasrec" (the authors' layer), "ligr" (eSASRec: gated branches, SwiGLU), "post" (norms after; UQABench). `inner`: the width
    inside the feed-forward part, 0 for the form's own (width, 4 · width, 3 · width). The state is normalised and compared with item vectors
    by their inner product. Source: spec/sequential-encoders.md 5.3. Differs: the authors' BCE with one negative is left out, it loses.
    """

    width: int = 64
    layers: int = 1
    heads: int = 1
    form: str = "sasrec"
    inner: int = 0
    dropout: float = 0.2
    history: HistorySpec = HistorySpec()
    loss: NextItemLoss = NextItemLoss()
    training: Training = Training(patience=5)
    pieces: int = 4

    def __post_init__(self) -> None:
        faults = sequence.shape_faults(self)
        faults += (
            [f"form: found {self.form!r}, expected one of {', '.join(FORMS)}"]
            if self.form not in FORMS
            else []
        )
        if faults:
            raise ConfigError("; ".join(faults))

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        """The network, its weights drawn from torch's present random numbers."""
        w, h, d = self.width, self.heads, self.dropout
        make = {
            "sasrec": lambda: SASRecBlock(w, h, inner=self.inner or None, dropout=d),
            "ligr": lambda: LiGRBlock(w, h, inner=self.inner or None, dropout=d),
            "post": lambda: PostNormBlock(w, h, inner=self.inner or 3 * w, dropout=d),
        }[self.form]
        return NextItem(
            sizes, w, self.history.length, [make() for _ in range(self.layers)], dropout=d
        )

    def fit(self, past: Past, *, rng: RNG, progress: Progress = silent) -> FittedSequence:
        return sequence.fit_past(self, "sasrec", past, rng=rng, progress=progress)

    @staticmethod
    def load(folder: Path) -> FittedSequence:
        """What FittedSequence.save wrote. Raises DataError."""
        return sequence.load(folder, "sasrec", lambda options: of_options(SASRec, options))
