"""The multi-task Transformer: what comes next, and what the following days hold.

Source: the causal Transformer of the team "ambitious", the next-sku GPT of ai_lab_recsys and the
targets at several cut dates of rec2, RecSys Challenge 2025 (spec/universal-profiles.md 1.8, 1.9).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Bool, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.options import Between
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import DAY
from clickprint.encoders import sequence
from clickprint.encoders.autoencoder import held_out, reordered
from clickprint.encoders.derived import DERIVED
from clickprint.encoders.ranges import Count, HorizonDays, Layers, RoleName, Share, Top
from clickprint.encoders.sequence import (
    SECOND,
    FittedSequence,
    HistorySpec,
    SequenceEncoder,
    undivided,
)
from clickprint.nn.autoencoder import mean_loss
from clickprint.nn.multitask import MultiTaskLoss, MultiTaskTransformer, Windows, asked
from clickprint.nn.next_item import ITEM, TIME
from clickprint.nn.train import Parts, Rows, Training

KIND = "kind"


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiTask(SequenceEncoder):
    """A causal Transformer trained on the next event and on the days that follow a moment.

    The moments lie at and between a user's events, wherever the days that follow end by the
    cutoff: rolling cuts inside the past. The profile is the state after the newest event at the
    cutoff.

    - `loss.targets`: fields of the next event that are predicted, with their weights.
    - `horizon_days`: how many days that follow are asked about.
    - `counts`: of these days, whether there are at least so many events, and bought ones.
    - `tastes`, `top`: and which of the `top` most frequent values of these fields are bought.
    - `roles`: an event with one of these is bought; every event where no kind of the log has one,
      and where `roles` is empty.
    - `time_since_last`: the state knows how long ago the newest event was. Switched off, it does
      not, and histories without a cutoff are read too.
    - `chunks_per_user`: how many chunks of `history.length` a user is cut into for training,
      newest first; 0 takes all events.

    `targets` and `tastes` are the item or fields of `history`. With patience a tenth of the users
    is held out (as in AutoEncoder), and training stops when their loss gets no better.
    Differs from the sources: one network for both kinds of targets, and no aggregates go in; ids
    are not hashed; rotary positions; the negatives of the next item are other targets of the part,
    with logQ; time and price are said in logarithmic bands, not as numbers.
    """

    name: ClassVar[str] = "multitask"
    layers: Layers = 2
    heads: Layers = 4
    dropout: Share = 0.1
    time_since_last: bool = True
    horizon_days: HorizonDays = 14
    counts: tuple[Count, ...] = (1, 2, 4, 8, 16, 32)
    tastes: tuple[str, ...] = (ITEM,)
    top: Top = 100
    roles: tuple[RoleName, ...] = ("buy",)
    chunks_per_user: Annotated[int, Between(0, 1_000_000)] = 0
    history: HistorySpec = HistorySpec(
        length=128, all_events=True, fields=("kind", "hour", "weekday", "gap")
    )
    loss: MultiTaskLoss = field(default_factory=MultiTaskLoss)
    training: Training = Training(epochs=10, batch=64, clip=1.0, patience=2)

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from undivided(self.width, self.heads, pairs=True)
        read = (ITEM, *self.history.fields)
        for name, found in (("loss.targets", self.loss.targets), ("tastes", self.tastes)):
            for f in found:
                if f not in read:
                    yield (
                        name,
                        f"{f!r} is not read; expected some of {', '.join(read)} (history.fields)",
                    )
        if "age" in self.history.fields:
            yield "history.fields", "the moments are the cuts here, leave the field age out"
        if self.loss.windows and not (self.counts or self.tastes):
            yield (
                "loss.windows",
                "counts and tastes are empty, so there is nothing to say of a window; give some,"
                " or a weight of 0",
            )

    def model(self, sizes: Mapping[str, int]) -> MultiTaskTransformer:
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
            time_since_last=self.time_since_last,
        )

    @property
    def recommends(self) -> bool:
        return ITEM in self.loss.wanted

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def needs_log(self) -> bool:
        """Whether the fit reads the log: which kinds are bought."""
        return bool(self.loss.windows and self.roles)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedSequence:
        """Trains on all users but those held out; a FittedNextItem where the item is a target.

        Raises ConfigError for a field that the log does not have or that holds numbers, DataError
        where nobody has two events.
        """
        kinds = bought(self, past) if self.loss.windows else None
        fields = sequence.wanted(self.history)
        histories = past.histories(fields if kinds is None else dict.fromkeys((*fields, KIND)))
        self._check(histories)
        events = sequence.chosen(self.history, histories)
        patient = self.training.patience and session.metric is None
        held = held_out(histories, rng) if patient else np.zeros(0, np.int64)
        tastes = self.tastes if self.loss.windows else ()
        ask = _Asked(self, kinds, {f: most_frequent(self, events, f, kinds) for f in tastes})

        def examples(
            fields: Mapping[str, np.ndarray], starts: Int64[np.ndarray, "U1"]
        ) -> tuple[Rows, Parts]:
            user, parts = ask(fields, events)
            return reordered(np.flatnonzero(~np.isin(user, held)), rng), parts

        if len(held):
            shown = sequence.chosen(self.history, histories.take(held))
            session = replace(session, metric=ask.metric(shown))
        key = session.key
        if session.checkpoints and not key:
            key = f"{self.name} {self} {kinds} {histories.digest()} {rng}"
        return sequence.train_network(
            self,
            histories,
            examples,
            catalogue=past.catalogue if self.history.init_from_text else None,
            rng=rng,
            key=key,
            progress=progress,
            session=session,
        )

    def _check(self, histories: Histories) -> None:
        sequence.check_fields(histories, (ITEM, TIME, *self.history.fields))
        said = dict.fromkeys((*self.loss.wanted, *self.tastes))
        if coded := [f for f in said if f not in DERIVED and histories.fields[f].ndim > 1]:
            raise ConfigError(
                f"loss.targets, tastes: {', '.join(coded)} holds code vectors,"
                " which are read and not said"
            )
        if (sequence.chosen(self.history, histories).lengths < 2).all():
            raise DataError(
                self.name, "no user has two events, so there is no next one to learn from"
            )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked about histories.

    - `bought`: the codes of kinds that count as bought; None: all.
    - `columns[field]`: its known values, sorted, and the column of each number of them, −1 for
      none.
    """

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
            time_since_last=recipe.time_since_last,
            most=recipe.chunks_per_user,
            buckets=recipe.length_buckets,
        )

    def metric(self, events: Histories) -> Callable[[FittedSequence], float]:
        """How well these users are predicted: minus the mean loss an event."""

        def metric(fitted: FittedSequence) -> float:
            user, parts = self(sequence.numbers(fitted.values, events), events)
            return -mean_loss(fitted.network, parts, self.recipe.loss, len(user))

        return metric


def bought(recipe: MultiTask, past: Past) -> list[int] | None:
    """The codes of kinds that count as bought; None: all."""
    if not recipe.roles:
        return None
    kinds = past.log.manifest.kinds
    wanted = [code for code, kind in enumerate(kinds) if kind.role in recipe.roles]
    return wanted or list(range(len(kinds)))


def is_bought(events: Histories, codes: Sequence[int] | None) -> Bool[np.ndarray, "L"]:
    """Which events are of one of these kinds; None: all."""
    return np.ones(events.events, bool) if codes is None else np.isin(events.fields[KIND], codes)


def most_frequent(
    recipe: MultiTask, events: Histories, name: str, codes: Sequence[int] | None
) -> tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V1"]]:
    """The known values of a field, and the column of each number 0 … V of them.

    0 for the one that is bought most, −1 beyond the `top`. Equally frequent ones: the smaller
    value first.
    """
    known = sequence.known_values(
        events.fields[name], recipe.history.min_count if name == ITEM else 1
    )
    numbers = sequence.number(known, events.fields[name])[is_bought(events, codes)]
    often = np.bincount(numbers, minlength=len(known) + 1)[1:]
    best = np.argsort(-often, kind="stable")[: recipe.top]
    columns = np.full(len(known) + 1, -1, np.int64)
    columns[best + 1] = np.arange(len(best))
    return known, columns
