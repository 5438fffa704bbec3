"""What a user had before: by how often and how lately, and what still lies in the basket."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.recommenders.blocks import each_block, pairs_of, with_roles
from clickprint.recommenders.pairs import Pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """A user's own items, by the number of his events with these roles; one counts half as much `half_life` days before the cutoff.

    half_life 0: personal frequency, the newer item first where two are equal. `last`: only the events of the last so many baskets
    (sessions, or days where the log has none); 0 takes all.
    """

    roles: tuple[str, ...] = ("buy",)
    half_life: int | float = 0.0
    last: int = 0

    def __post_init__(self) -> None:
        if wrong := [r for r in self.roles if r not in list(Role)]:
            raise ConfigError(
                f"roles: found {', '.join(wrong)}, expected some of {', '.join(Role)}"
            )
        if self.half_life < 0 or self.last < 0:
            raise ConfigError(
                f"half_life and last: found {self.half_life} and {self.last}, expected 0 or more"
            )

    def fit(self, past: Past, *, rng: RNG | None = None, progress: Progress = silent) -> "Own":
        """Nothing is learned."""
        return self

    def retrieve(self, past: Past, k: int) -> Recommendations:
        fields = ("session",) if self.last and "session" in past.log.manifest.columns else ()

        def score(events: Histories) -> tuple[Pairs, Float64[np.ndarray, "P"]]:
            keep = with_roles(past, events, self.roles)
            if self.last:
                keep &= newest_baskets(events, keep) < self.last
            pairs, order, first = pairs_of(events, keep)
            age = (past.cutoff - np.asarray(events.fields["time"])[order]) / DAY
            if self.half_life:
                return pairs, np.add.reduceat(0.5 ** (age / self.half_life), first) if len(
                    first
                ) else np.zeros(0)
            newest = np.minimum.reduceat(age, first) if len(first) else np.zeros(0)
            return pairs, np.diff(np.append(first, len(order))) + 0.5 / (1 + newest)

        return each_block(past, fields, k, score)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenBaskets:
    """What was put into the basket and neither bought nor taken out since; the newest first, `days` at most before the cutoff.

    A removal that is about no item emptied the basket.
    """

    days: int | float = 30

    def fit(
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "OpenBaskets":
        """Nothing is learned."""
        return self

    def retrieve(self, past: Past, k: int) -> Recommendations:
        def score(events: Histories) -> tuple[Pairs, Float64[np.ndarray, "P"]]:
            keep = with_roles(past, events, (Role.CART, Role.REMOVE, Role.BUY))
            keep &= np.asarray(events.fields["time"]) > past.cutoff - self.days * DAY
            at = np.arange(events.events)
            row = np.repeat(np.arange(len(events)), events.lengths)
            empty = np.isin(events.fields["kind"], past.log.manifest.codes(Role.REMOVE)) & (
                events.fields["item"] == NONE
            )
            emptied = np.full(len(events), -1)
            emptied[row[empty]] = at[empty]  # of several, the last one stays
            keep &= at > emptied[row]
            pairs, order, first = pairs_of(events, keep)
            newest = order[np.append(first[1:], len(order)) - 1] if len(first) else order[:0]
            still = np.isin(events.fields["kind"][newest], past.log.manifest.codes(Role.CART))
            age = (past.cutoff - np.asarray(events.fields["time"])[newest]) / DAY
            return pairs.where(still), 1 / (1 + age[still])

        return each_block(past, (), k, score)


def newest_baskets(events: Histories, keep: np.ndarray) -> np.ndarray:
    """For each event, how many of its user's baskets with a kept event are newer than the one it is in."""
    basket = (
        np.asarray(events.fields["session"])
        if "session" in events.fields
        else np.asarray(events.fields["time"]) // DAY
    )
    at = np.flatnonzero(keep)
    row = np.searchsorted(events.starts, at, side="right") - 1
    new = np.append(True, (row[1:] != row[:-1]) | (basket[at][1:] != basket[at][:-1]))[: len(at)]
    number = np.cumsum(new)
    last = np.zeros(len(events) + 1, np.int64)
    last[row] = number  # the events of a user are in order: the last one stays
    out = np.zeros(len(keep), np.int64)
    out[at] = last[row] - number
    return out
