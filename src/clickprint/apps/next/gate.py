"""Whether a new model takes the champion's place: it must be shown to be better on the same buyers, and keep the guard-rails."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clickprint.apps.next.recipe import GatePart
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.metrics.compare import difference, resampled_mean
from clickprint.tasks.board import Gap, figure, gap_text

BINS = 10
DRAWN = (
    RNG(0).child("next gate").integer()
)  # who is drawn in which resample: the same for every model


class Rail(NamedTuple):
    """A guard-rail: what was found, and the limit that it must not be below (`least`) or above."""

    name: str
    found: float
    limit: float
    least: bool
    said: str

    @property
    def kept(self) -> bool:
        return self.found >= self.limit if self.least else self.found <= self.limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """`gap`: recall of the new model less the champion's, None where there is no champion to compare with."""

    promoted: bool
    reasons: tuple[str, ...]
    rails: tuple[Rail, ...]
    gap: Gap | None


def verdict(
    part: GatePart,
    rails: tuple[Rail, ...],
    users: Int64[np.ndarray, "B"],
    new: Float64[np.ndarray, "B"],
    champion: Float64[np.ndarray, "B"] | None,
    *,
    unfair: str = "",
) -> Verdict:
    """`new` and `champion`: what each of the same buyers' lists found of what he bought. `unfair`: why they cannot be compared.

    Without a champion the guard-rails decide.
    """
    reasons = [
        f"{r.said} is {r.found:.4g}, {'below' if r.least else 'above'} the limit of {r.limit:g}"
        for r in rails
        if not r.kept
    ]
    gap = None
    if unfair:
        reasons.append(unfair)
    elif champion is not None:
        one, other = (
            resampled_mean(values, users, part.resamples, DRAWN) for values in (new, champion)
        )
        gap = Gap(
            float(new.mean() - champion.mean()) if len(users) else float("nan"),
            *difference(one, other),
        )
        if gap.shown < 1:
            verb = "is below" if gap.shown < 0 else "is not shown to be above"
            reasons.append(
                f"recall {verb} the champion's: {gap_text(gap, 4)} ({figure(new.mean())} against {figure(champion.mean())})"
            )
    return Verdict(not reasons, tuple(reasons), rails, gap)


def coverage(lists: Recommendations, known: int) -> float:
    """The share of the known items that are in any list."""
    return len(np.unique(lists.items[lists.items != NONE])) / max(known, 1)


class Bin(NamedTuple):
    """Users of about the same chance: how many, their mean chance, the share who bought."""

    users: int
    propensity: float
    bought: float


def bins(propensity: Float64[np.ndarray, "U"], bought: Bool[np.ndarray, "U"]) -> list[Bin]:
    """Up to BINS bins of as many users each, lowest chance first; empty ones are left out."""
    order = np.argsort(propensity, kind="stable")
    parts = [p for p in np.array_split(order, BINS) if len(p)]
    return [Bin(len(p), float(propensity[p].mean()), float(bought[p].mean())) for p in parts]


def off(found: list[Bin]) -> float:
    """The expected calibration error: how far chances are from shares, the mean over users."""
    total = sum(b.users for b in found)
    return sum(b.users * abs(b.propensity - b.bought) for b in found) / max(total, 1)
