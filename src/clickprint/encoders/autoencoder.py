"""The auto-encoder: a user's events, in several fields, through one vector and out again; the vector is the profile."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import Catalogue
from clickprint.core.past import Past
from clickprint.core.profiles import MAX_WIDTH
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.encoders import of_options, sequence
from clickprint.encoders.derived import DERIVED
from clickprint.encoders.sequence import FittedSequence, HistorySpec
from clickprint.nn.autoencoder import (
    Reconstruction,
    SequenceAutoEncoder,
    in_stretches,
    mean_loss,
    stretches,
)
from clickprint.nn.next_item import ITEM, TIME
from clickprint.nn.train import Parts, Rows, Training

SHARE, LEAST, MOST = (
    0.1,
    20,
    10_000,
)  # of the users with events, how many are held out to know when to stop; fewer than LEAST: nobody is


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoEncoder:
    """A GRU reads the last `length` events into a vector of `width` numbers, another one reconstructs every field of them from it.

    `hidden`: the recurrent layers' width (0: the vector's). `hide`: the share of events that the decoder is not shown in training.
    `stretches`: how many pieces of `length` a user is cut into for training, newest first; 0 takes all of his events.
    With `patience` a tenth of the users is held out while training, which stops when their reconstruction gets no better; of fewer than
    20 held-out ones nobody is, and all epochs are run. Without the field `age` the vector does not know how long ago anything was.
    Source: "Seq2Seq reconstruction" of the team ai_lab_recsys, RecSys Challenge 2025 (spec/universal-profiles.md 1.8). Differs: the
    decoder starts from the vector alone, also where there are more layers; all of a history is trained on, not its end; places whose
    value is not known are left out of a field's loss, and fields of many values are sampled.
    """

    width: int = 64
    hidden: int = 0
    layers: int = 1
    dropout: float = 0.1
    hide: float = 0.0
    stretches: int = 0
    history: HistorySpec = HistorySpec(
        length=128, everything=True, fields=("kind", "hour", "weekday", "gap", "age")
    )
    loss: Reconstruction = Reconstruction()
    training: Training = Training(epochs=30, patience=3)
    pieces: int = 4

    def __post_init__(self) -> None:
        wrong = (
            [f"width: found {self.width}, expected 1 to {MAX_WIDTH}"]
            if not 1 <= self.width <= MAX_WIDTH
            else []
        )
        for name, least in (("hidden", 0), ("layers", 1), ("stretches", 0), ("pieces", 1)):
            wrong += (
                [f"{name}: found {getattr(self, name)}, expected at least {least}"]
                if getattr(self, name) < least
                else []
            )
        for name in ("dropout", "hide"):
            wrong += (
                [f"{name}: found {getattr(self, name)}, expected 0 to 1"]
                if not 0 <= getattr(self, name) <= 1
                else []
            )
        if wrong:
            raise ConfigError("; ".join(wrong))

    def model(self, sizes: Mapping[str, int]) -> SequenceAutoEncoder:
        """The network, its weights drawn from torch's present random numbers."""
        return SequenceAutoEncoder(
            sizes,
            self.width,
            self.hidden or self.width,
            self.history.length,
            layers=self.layers,
            dropout=self.dropout,
            hide=self.hide,
        )

    def fit(self, past: Past, *, rng: RNG, progress: Progress = silent) -> FittedSequence:
        """Raises ConfigError for a field that the log does not have or that holds numbers, DataError where there is no event."""
        catalogue = past.catalogue if self.history.texts else None
        return self.fit_histories(
            past.histories(sequence.wanted(self.history)),
            rng=rng,
            catalogue=catalogue,
            progress=progress,
        )

    def fit_histories(
        self,
        histories: Histories,
        *,
        rng: RNG,
        catalogue: Catalogue | None = None,
        checkpoint: Path | None = None,
        progress: Progress = silent,
        accelerator: str = "auto",
    ) -> FittedSequence:
        """See `fit`. With a `checkpoint` folder a killed training goes on from there. `catalogue`: where item vectors start from texts."""
        self._check(histories)
        held = held_out(histories, rng) if self.training.patience else np.zeros(0, np.int64)
        return sequence.fit(
            self,
            "autoencoder",
            histories,
            rng=rng,
            catalogue=catalogue,
            examples=self._examples(held, rng),
            measure=self._measure(histories.take(held)) if len(held) else None,
            checkpoint=checkpoint,
            progress=progress,
            accelerator=accelerator,
        )

    def _check(self, histories: Histories) -> None:
        sequence.check_fields(histories, (ITEM, TIME, *self.history.fields))
        if coded := [
            f for f in self.history.fields if f not in DERIVED and histories.fields[f].ndim > 1
        ]:
            raise ConfigError(
                f"fields: {', '.join(coded)} holds code vectors, which are not reconstructed; other encoders read them"
            )
        if not (
            histories.events if self.history.everything else (histories.fields[ITEM] != NONE).any()
        ):
            raise DataError(
                "autoencoder", ["no user has an event, so there is no sequence to learn"]
            )

    def _examples(self, held: Int64[np.ndarray, "H"], rng: RNG) -> sequence.Examples:
        def examples(
            fields: Mapping[str, np.ndarray], starts: Int64[np.ndarray, "U1"]
        ) -> tuple[Rows, Parts]:
            row, first, lengths = stretches(starts, self.history.length, self.stretches)
            kept = np.flatnonzero(~np.isin(row, held))

            def rows(epoch: int) -> Int64[np.ndarray, "N"]:
                return rng.child(f"epoch {epoch}").generator().permutation(kept)

            return rows, in_stretches(self._read(fields), first, lengths, self.pieces)

        return examples

    def _measure(self, asked: Histories) -> Callable[[FittedSequence], float]:
        """How well these users are reconstructed: the mean loss an event, less is better, so negated."""

        def measure(fitted: FittedSequence) -> float:
            events = sequence.chosen(self.history, asked)
            _, first, lengths = stretches(events.starts, self.history.length, self.stretches)
            parts = in_stretches(self._read(fitted.numbers(events)), first, lengths)
            return -mean_loss(fitted.network, parts, self.loss, len(first))

        return measure

    def _read(self, fields: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: fields[name] for name in (ITEM, *self.history.fields)}

    @staticmethod
    def load(folder: Path) -> FittedSequence:
        """What FittedSequence.save wrote. Raises DataError."""
        return sequence.load(
            folder, "autoencoder", lambda options: of_options(AutoEncoder, options)
        )


def held_out(histories: Histories, rng: RNG) -> Int64[np.ndarray, "H"]:
    """Rows of a tenth of the users with events, drawn at random, at most MOST; none where that is fewer than LEAST. Sorted."""
    some = np.flatnonzero(histories.lengths)
    many = min(int(SHARE * len(some)), MOST)
    if many < LEAST:
        return np.zeros(0, np.int64)
    return np.sort(rng.child("held out").generator().choice(some, many, replace=False))
