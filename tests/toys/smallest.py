"""A toy recommender: the items with the smallest ids first, for everybody."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.recommenders.blocks import Allowed, Choice, Deterministic, best, known_items


@dataclass(frozen=True, kw_only=True, slots=True)
class Smallest(Deterministic):
    """The smallest ids first."""

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedSmallest":
        return FittedSmallest(known_items(past.histories(("item",))))


@dataclass(frozen=True, slots=True)
class FittedSmallest:
    items: Int64[np.ndarray, "V"]
    fields: tuple[str, ...] = ("item",)

    def recommend(
        self, requests: Requests, k: int, *, include_seen: bool = True, allowed: Allowed = None
    ) -> Recommendations:
        choice = Choice.of(self.items, requests, include_seen, allowed)
        scores = 1 / np.arange(1, len(self.items) + 1)
        lists = best(choice, lambda rows: np.tile(scores, (rows.stop - rows.start, 1)), k)
        return Recommendations(requests.users, lists.items, lists.scores)
