"""The multi-task Transformer: at every event, what comes next, field by field, and what the following days hold.

Source: the causal Transformer of the team "ambitious", the next-sku GPT of ai_lab_recsys and the targets at several cut dates of rec2,
RecSys Challenge 2025 (spec/universal-profiles.md 1.8, 1.9).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.items import Catalogue
from clickprint.core.past import Past
from clickprint.core.profiles import MAX_WIDTH
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.encoders import of_options, sequence
from clickprint.encoders.autoencoder import held_out
from clickprint.encoders.derived import DERIVED
from clickprint.encoders.sequence import SECOND, FittedSequence, HistorySpec
from clickprint.nn.autoencoder import mean_loss
from clickprint.nn.multitask import MultiTaskLoss, MultiTaskTransformer, Windows, asked
from clickprint.nn.next_item import ITEM, TIME
from clickprint.nn.train import Parts, Rows, Training

NAME, KIND = "multitask", "kind"


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiTask:
    """A causal Transformer over all events, trained to say the next event's fields (`loss.targets`) and the `horizon_days` from a moment.

    The moments lie at and between a user's events, wherever the days that follow end by the cutoff: rolling cuts inside the past. Of these
    days it says whether there are at least so many events (`counts`), so many bought ones, and which of the `top` most frequent values of
    `tastes` are bought. Bought is what has one of `roles`; where no kind of the log has, every event. The profile is the state after the
    newest event at the cutoff, so it knows how long ago that was; with `now` switched off it does not, and histories without a cutoff
    are read, too. `targets` and `tastes` are the item or fields of `history`. `stretches`: how many pieces of `length` a user is cut into
    for training, newest first; 0 takes all of his events. With patience a tenth of the users is held out (as in AutoEncoder), and training
    stops when their loss gets no better.
    Differs from the sources: one network for both kinds of targets, and no aggregates go in; ids are not hashed; rotary positions; the
    negatives of the next item are other targets of the part, with logQ; time and price are said in logarithmic bands, not as numbers.
    """

    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    now: bool = True
    horizon_days: int = 14
    counts: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    tastes: tuple[str, ...] = (ITEM,)
    top: int = 100
    roles: tuple[str, ...] = ("buy",)
    stretches: int = 0
    history: HistorySpec = HistorySpec(
        length=128, everything=True, fields=("kind", "hour", "weekday", "gap")
    )
    loss: MultiTaskLoss = field(default_factory=MultiTaskLoss)
    training: Training = Training(epochs=10, batch=64, clip=1.0, patience=2)
    pieces: int = 4

    def __post_init__(self) -> None:
        wrong = (
            [f"width: found {self.width}, expected 1 to {MAX_WIDTH}"]
            if not 1 <= self.width <= MAX_WIDTH
            else []
        )
        for name, least in (
            ("layers", 1),
            ("heads", 1),
            ("horizon_days", 1),
            ("top", 1),
            ("stretches", 0),
            ("pieces", 1),
        ):
            wrong += (
                [f"{name}: found {getattr(self, name)}, expected at least {least}"]
                if getattr(self, name) < least
                else []
            )
        if self.heads > 0 and self.width % (2 * self.heads):
            wrong += [f"heads: {self.heads} do not divide a width of {self.width} into even parts"]
        wrong += (
            [f"dropout: found {self.dropout}, expected 0 to 1"]
            if not 0 <= self.dropout <= 1
            else []
        )
        wrong += (
            [f"counts: found {self.counts}, expected whole numbers above 0"]
            if any(c < 1 for c in self.counts)
            else []
        )
        roles = [r.value for r in Role]
        wrong += [
            f"roles: found {r!r}, expected some of {', '.join(roles)}"
            for r in self.roles
            if r not in roles
        ]
        read = (ITEM, *self.history.fields)
        for name, found in (("loss.targets", self.loss.targets), ("tastes", self.tastes)):
            wrong += [
                f"{name}: {f!r} is not read; expected some of {', '.join(read)} (history.fields)"
                for f in found
                if f not in read
            ]
        wrong += (
            ["history: the moments are the cuts here, leave the field age out"]
            if "age" in self.history.fields
            else []
        )
        if self.loss.windows and not (self.counts or self.tastes):
            wrong += [
                "loss.windows: counts and tastes are empty, so there is nothing to say of a window; give some, or a weight of 0"
            ]
        if wrong:
            raise ConfigError("; ".join(wrong))

    def model(self, sizes: Mapping[str, int]) -> MultiTaskTransformer:
        """The network, its weights drawn from torch's present random numbers."""
        labels = 2 * len(self.counts) + sum(min(self.top, sizes[f]) for f in self.tastes)
        return MultiTaskTransformer(
            sizes,
            self.width,
            self.history.length,
            layers=self.layers,
            heads=self.heads,
            dropout=self.dropout,
            targets=self.loss.wanted,
            labels=labels if self.loss.windows else 0,
            now=self.now,
        )

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, accelerator: str = "auto"
    ) -> FittedSequence:
        """Raises ConfigError for a field that the log does not have or that holds numbers, DataError where nobody has two events."""
        kinds = past.log.manifest.kinds
        bought = [
            code for code, kind in enumerate(kinds) if kind.role.value in self.roles
        ] or list(range(len(kinds)))
        histories = past.histories(dict.fromkeys((*sequence.wanted(self.history), KIND)))
        catalogue = past.catalogue if self.history.texts else None
        return self.fit_histories(
            histories,
            bought=bought,
            catalogue=catalogue,
            rng=rng,
            progress=progress,
            accelerator=accelerator,
        )

    def fit_histories(
        self,
        histories: Histories,
        *,
        bought: Sequence[int] | None = None,
        catalogue: Catalogue | None = None,
        rng: RNG,
        checkpoint: Path | None = None,
        progress: Progress = silent,
        accelerator: str = "auto",
    ) -> FittedSequence:
        """See `fit`. `bought` are the codes of kinds that count as bought, None: all. A killed training goes on from its `checkpoint`."""
        self._check(histories)
        events = sequence.chosen(self.history, histories)
        held = held_out(histories, rng) if self.training.patience else np.zeros(0, np.int64)
        ask = _Asked(
            self,
            bought,
            {f: most_frequent(self, events, f, bought) for f in self.tastes if self.loss.windows},
        )

        def examples(
            fields: Mapping[str, np.ndarray], starts: Int64[np.ndarray, "U1"]
        ) -> tuple[Rows, Parts]:
            user, parts = ask(fields, events)
            kept = np.flatnonzero(~np.isin(user, held))

            def rows(epoch: int) -> Int64[np.ndarray, "N"]:
                return rng.child(f"epoch {epoch}").generator().permutation(kept)

            return rows, parts

        return sequence.fit(
            self,
            NAME,
            histories,
            rng=rng,
            catalogue=catalogue,
            examples=examples,
            measure=ask.measure(sequence.chosen(self.history, histories.take(held)))
            if len(held)
            else None,
            checkpoint=checkpoint,
            key=f"{NAME} {self} {bought} {histories.digest()} {rng}",
            progress=progress,
            accelerator=accelerator,
        )

    def _check(self, histories: Histories) -> None:
        sequence.check_fields(histories, (ITEM, TIME, *self.history.fields))
        said = dict.fromkeys((*self.loss.wanted, *self.tastes))
        if coded := [f for f in said if f not in DERIVED and histories.fields[f].ndim > 1]:
            raise ConfigError(
                f"loss.targets, tastes: {', '.join(coded)} holds code vectors, which are read and not said"
            )
        if (sequence.chosen(self.history, histories).lengths < 2).all():
            raise DataError(
                NAME, ["no user has two events, so there is no next one to learn from"]
            )

    @staticmethod
    def load(folder: Path) -> FittedSequence:
        """What FittedSequence.save wrote. Raises DataError."""
        return sequence.load(folder, NAME, lambda options: of_options(MultiTask, options))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked about histories. `columns[field]`: its known values, sorted, and the column of each number of them, −1 for none."""

    recipe: MultiTask
    bought: Sequence[int] | None
    columns: Mapping[str, tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V1"]]]

    def __call__(
        self, fields: Mapping[str, np.ndarray], events: Histories
    ) -> tuple[Int64[np.ndarray, "N"], Parts]:
        recipe, seconds, windows = self.recipe, fields[TIME], None
        until = (
            int(seconds.max(initial=0)) + 1 if events.cutoff is None else events.cutoff // SECOND
        )
        if recipe.loss.windows:
            windows = Windows(
                horizon=recipe.horizon_days * DAY // SECOND,
                until=until,
                counts=recipe.counts,
                starts=events.starts,
                seconds=seconds,
                bought=is_bought(events, self.bought),
                tastes=[
                    (at[sequence.number(v, events.fields[f])], int(at.max(initial=-1)) + 1)
                    for f, (v, at) in self.columns.items()
                ],
            )
        return asked(
            fields,
            events.starts,
            recipe.history.length,
            targets=recipe.loss.wanted,
            until=until,
            windows=windows,
            now=recipe.now,
            most=recipe.stretches,
            pieces=recipe.pieces,
        )

    def measure(self, events: Histories) -> Callable[[FittedSequence], float]:
        """How well what these users did is said: the mean loss an event, less is better, so negated."""

        def measure(fitted: FittedSequence) -> float:
            fields: dict[str, np.ndarray] = {
                f: sequence.number(v, events.fields[f]) for f, v in fitted.values.items()
            }
            user, parts = self({**fields, TIME: events.fields[TIME] // SECOND}, events)
            return -mean_loss(fitted.network, parts, self.recipe.loss, len(user))

        return measure


def is_bought(events: Histories, codes: Sequence[int] | None) -> Bool[np.ndarray, "L"]:
    """Which events are of one of these kinds; None: all."""
    return np.ones(events.events, bool) if codes is None else np.isin(events.fields[KIND], codes)


def most_frequent(
    recipe: MultiTask, events: Histories, name: str, codes: Sequence[int] | None
) -> tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V1"]]:
    """The known values of a field, and the column of each number 0 … V of them: 0 for the one that is bought most, −1 beyond the `top`.

    Equally frequent ones: the smaller value first.
    """
    known = sequence.known_values(events.fields[name], recipe.history.least if name == ITEM else 1)
    numbers = sequence.number(known, events.fields[name])[is_bought(events, codes)]
    often = np.bincount(numbers, minlength=len(known) + 1)[1:]
    best = np.argsort(-often, kind="stable")[: recipe.top]
    columns = np.full(len(known) + 1, -1, np.int64)
    columns[best + 1] = np.arange(len(best))
    return known, columns
