"""The auto-encoder: a user's events through one vector, the profile, and out again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.options import Between
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.encoders import sequence
from clickprint.encoders.derived import DERIVED
from clickprint.encoders.ranges import Layers, OwnWidth, Share
from clickprint.encoders.sequence import FittedSequence, HistorySpec, SequenceEncoder
from clickprint.nn.autoencoder import (
    Reconstruction,
    SequenceAutoEncoder,
    chunks,
    in_chunks,
    mean_loss,
)
from clickprint.nn.next_item import ITEM, TIME
from clickprint.nn.train import Parts, Rows, Training

# Of the users with events, how many are held out to know when to stop; fewer than LEAST: nobody.
SHARE, LEAST, MOST = 0.1, 20, 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoEncoder(SequenceEncoder):
    """A GRU reads the last events into a vector, another one reconstructs all their fields.

    - `hidden`: the recurrent layers' width; 0 for the vector's.
    - `word_dropout`: the share of events that the decoder is not shown in training.
    - `chunks_per_user`: how many chunks of `history.length` a user is cut into for training,
      newest first; 0 takes all events.

    With patience a tenth of the users is held out, and training stops when their reconstruction
    gets no better; with fewer than 20 of them nobody is held out, and all epochs are run. Without
    the field `age` the vector does not know how long ago anything was.
    Source: "Seq2Seq reconstruction" of the team ai_lab_recsys, RecSys Challenge 2025
    (spec/universal-profiles.md 1.8). Differs: the decoder starts from the vector alone, also where
    there are more layers; all of a history is trained on, not its end; places whose value is not
    known are left out of a field's loss, and fields of many values are sampled.
    """

    name: ClassVar[str] = "autoencoder"
    hidden: OwnWidth = 0
    layers: Layers = 1
    dropout: Share = 0.1
    word_dropout: Annotated[float, Between(0, 1)] = 0.0
    chunks_per_user: Annotated[int, Between(0, 1_000_000)] = 0
    history: HistorySpec = HistorySpec(
        length=128, all_events=True, fields=("kind", "hour", "weekday", "gap", "age")
    )
    loss: Reconstruction = Reconstruction()
    training: Training = Training(epochs=30, patience=3)

    def model(self, sizes: Mapping[str, int]) -> SequenceAutoEncoder:
        return SequenceAutoEncoder(
            sizes,
            self.width,
            self.hidden or self.width,
            self.history.length,
            layers=self.layers,
            dropout=self.dropout,
            word_dropout=self.word_dropout,
        )

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedSequence:
        """Trains on all users but those held out.

        Raises ConfigError for a field that the log does not have or that holds numbers, DataError
        where there is no event.
        """
        histories = past.histories(sequence.wanted(self.history))
        self._check(histories)
        patient = self.training.patience and session.metric is None
        held = held_out(histories, rng) if patient else np.zeros(0, np.int64)
        if len(held):
            session = replace(session, metric=self._metric(histories.take(held)))
        return sequence.train_network(
            self,
            histories,
            self._examples(held, rng),
            catalogue=past.catalogue if self.history.init_from_text else None,
            rng=rng,
            progress=progress,
            session=session,
        )

    def _check(self, histories: Histories) -> None:
        sequence.check_fields(histories, (ITEM, TIME, *self.history.fields))
        if coded := [
            f for f in self.history.fields if f not in DERIVED and histories.fields[f].ndim > 1
        ]:
            raise ConfigError(
                f"fields: {', '.join(coded)} holds code vectors, which are not reconstructed;"
                " other encoders read them"
            )
        if not (
            histories.events if self.history.all_events else (histories.fields[ITEM] != NONE).any()
        ):
            raise DataError(self.name, "no user has an event, so there is no sequence to learn")

    def _examples(self, held: Int64[np.ndarray, "H"], rng: RNG) -> sequence.Examples:
        def examples(
            fields: Mapping[str, np.ndarray], starts: Int64[np.ndarray, "U1"]
        ) -> tuple[Rows, Parts]:
            row, first, lengths = chunks(starts, self.history.length, self.chunks_per_user)
            kept = np.flatnonzero(~np.isin(row, held))
            parts = in_chunks(self._read(fields), first, lengths, self.length_buckets)
            return reordered(kept, rng), parts

        return examples

    def _metric(self, asked: Histories) -> Callable[[FittedSequence], float]:
        """How well these users are reconstructed: minus the mean loss an event."""

        def metric(fitted: FittedSequence) -> float:
            events = sequence.chosen(self.history, asked)
            _, first, lengths = chunks(events.starts, self.history.length, self.chunks_per_user)
            parts = in_chunks(self._read(fitted.numbers(events)), first, lengths)
            return -mean_loss(fitted.network, parts, self.loss, len(first))

        return metric

    def _read(self, fields: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: fields[name] for name in (ITEM, *self.history.fields)}


def held_out(histories: Histories, rng: RNG) -> Int64[np.ndarray, "H"]:
    """Rows of a tenth of the users with events, sampled, at most MOST; sorted.

    None where that is fewer than LEAST.
    """
    some = np.flatnonzero(histories.lengths)
    many = min(int(SHARE * len(some)), MOST)
    if many < LEAST:
        return np.zeros(0, np.int64)
    return np.sort(rng.child("held out").generator().choice(some, many, replace=False))


def reordered(kept: Int64[np.ndarray, "N"], rng: RNG) -> Rows:
    """These rows in another order each epoch, the same for the same seed."""

    def rows(epoch: int) -> Int64[np.ndarray, "N"]:
        return rng.child(f"epoch {epoch}").generator().permutation(kept)

    return rows
