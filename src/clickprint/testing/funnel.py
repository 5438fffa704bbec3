"""Helpers for tests of recommenders on a past, and an audit for columns that know the future."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from clickprint.core.past import Past
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import Recommends
from clickprint.core.rng import RNG
from clickprint.core.time import Time
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.recommenders.blocks import asked
from clickprint.recommenders.funnel import NextPurchase, candidates, example, profiler
from clickprint.recommenders.pairs import Pairs

Made = tuple[Pairs, Mapping[str, Float32[np.ndarray, "_"]]]


def ask(
    recipe: Recommends, past: Past, k: int, *, who: Past | None = None, **more: Any
) -> Recommendations:
    """What a recipe, fitted to a past, recommends to its users, or to those of another past."""
    fitted: Any = recipe.fit(past, rng=RNG(0))
    found: Recommendations = fitted.recommend(
        asked(past if who is None else who, fitted), k, **more
    )
    return found


def audit(log: EventLog, cutoff: Time, make: Callable[[EventLog], Made]) -> list[str]:
    """The names of what knows more than happened before the cutoff.

    `make` is called with the log and with the log cut there. Every column of pairs (`pair/<name>`)
    and of users (`user/<name>`), and the candidates (`candidates`), must be the same to the byte.
    """
    (pairs, users), (fewer, theirs) = make(log), make(log.before(cutoff))
    one, two = ((p.starts, p.items, p.users) for p in (pairs, fewer))
    found = [] if all(map(same, one, two)) else ["candidates"]
    for prefix, ours, others in (("pair", pairs.columns, fewer.columns), ("user", users, theirs)):
        found += [
            f"{prefix}/{n}"
            for n in dict.fromkeys([*ours, *others])
            if n not in ours or n not in others or not same(ours[n], others[n])
        ]
    return found


def made_by(recipe: NextPurchase, cutoff: Time, *, rng: RNG) -> Callable[[EventLog], Made]:
    """What the recipe makes at the cutoff of a log: for `audit`."""

    def make(log: EventLog) -> Made:
        past = past_of(log, cutoff)
        pairs = candidates(past, recipe, rng=rng)
        return example(past, recipe, pairs, profiler(past, recipe, rng=rng))

    return make


def same(one: np.ndarray, two: np.ndarray) -> bool:
    """Equal to the byte, NaN too."""
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
