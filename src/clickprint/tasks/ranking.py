"""Ranked items against what users did: who is asked, which items are right, and the scores."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.lookup import positions_in_any_order
from clickprint.core.past import Table
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.metrics import compare, ranking

RESAMPLES = 1_000
KS = (5, 10, 20)
METRICS = (ranking.recall, ranking.ndcg, ranking.mrr)


@dataclass(frozen=True, slots=True)
class RankingTest:
    """Users who are asked: what is known of each, and the items that are right, each once.

    `time`: when each is asked; None: at the cutoff of what is given.
    """

    given: Histories
    relevant: Ragged
    time: Int64[np.ndarray, "U"] | None = None

    @property
    def users(self) -> Int64[np.ndarray, "U"]:
        return self.given.users


@dataclass(frozen=True, slots=True)
class RankingScore:
    """Each metric of each user, and what the lists are like.

    `values` has NaN for a user who has nothing that is right.
    """

    users: Int64[np.ndarray, "U"]
    values: Mapping[str, Float64[np.ndarray, "U"]]
    lists: Mapping[str, float]
    rng: RNG

    def mean(self, metric: str) -> float:
        return float(np.nanmean(self.values[metric]))

    def replicates(self, metric: str) -> Float64[np.ndarray, "R"]:
        """The mean in each resample of users; equal users and seed have equal resamples."""
        there = ~np.isnan(self.values[metric])
        return compare.resampled_mean(
            self.values[metric][there],
            self.users[there],
            RESAMPLES,
            self.rng.child("users").integer(),
        )


def leave_one_out(histories: Histories, *, back: int = 0) -> RankingTest:
    """Ask everyone for their last event about an item, given those before it.

    `back` = 1 asks for the one before the last (validation). Users with fewer than back + 2 such
    events are not asked.
    """
    events = histories.where(histories.fields["item"] != NONE)
    asked = events.take(np.flatnonzero(events.lengths >= back + 2))
    wanted = asked.starts[1:] - 1 - back
    return RankingTest(
        asked.but_last(back + 1),
        Ragged(np.arange(len(asked) + 1), asked.fields["item"][wanted]),
        asked.fields["time"][wanted] if "time" in asked.fields else None,
    )


def in_window(
    given: Histories, log: Table, window: Window, *, roles: Collection[Role] = (Role.BUY,)
) -> RankingTest:
    """Ask for the items of events with these roles in a window, each once.

    `given` is what was known before the window, a row for each user who may be asked. Users
    without such an item in the window are not asked; users with an empty history are.
    """
    rows = log.rows(("user", "item"), roles=roles, window=window, ordered=False)
    there = (rows["item"] != NONE) & np.isin(rows["user"], given.users)
    pairs = np.unique(np.stack([rows["user"][there], rows["item"][there]]), axis=1)
    users, counts = np.unique(pairs[0], return_counts=True)
    return RankingTest(given.of(users), Ragged(starts_of(counts), pairs[1]))


def score(
    lists: Recommendations,
    test: RankingTest,
    *,
    ks: Sequence[int] = KS,
    rng: RNG,
    items: Int64[np.ndarray, "V"] | None = None,
    category: Int64[np.ndarray, "V"] | None = None,
) -> RankingScore:
    """recall, ndcg and mrr at each k, and what the lists are like at the largest k.

    - `items`: the catalogue, sorted; None means what anybody had or was given.
    - `category`: the category of each of `items`, NONE where there is none.

    The score's `lists` have coverage (the share of the catalogue that is in any list), novelty
    (the mean −log2 of the share of users who had an item) and, with categories,
    category_diversity. Hits are of items: a code that two items share is no hit.

    Raises DataError where a user who is asked has no row, and where lists are shorter than the
    largest k although the catalogue is not.
    """
    rows = positions_in_any_order(lists.users, test.users)
    if (missing := rows < 0).any():
        first = test.users[missing][0]
        raise DataError(
            "ranking",
            f"{missing.sum()} of {len(test.users)} users who are asked have no list, the first is"
            f" {first}",
        )
    had_user = np.repeat(np.arange(len(test.given)), test.given.lengths)
    had = test.given.fields["item"]
    pairs = np.unique(np.stack([had_user[had != NONE], had[had != NONE]]), axis=1)
    known, counts = np.unique(pairs[1], return_counts=True)
    shown = lists.items[rows]
    catalogue = np.union1d(known, shown[shown != NONE]) if items is None else items
    if shown.shape[1] < min(max(ks), len(catalogue)):
        raise DataError("ranking", f"the lists hold {shown.shape[1]} items, expected {max(ks)}")
    many = np.diff(test.relevant.starts)
    hit = ranking.hits(shown, test.relevant.starts, test.relevant.values)
    values = {f"{f.__name__}@{k}": f(hit, many, k) for f in METRICS for k in ks}
    top = shown[:, : max(ks)]
    share = counts / max(len(test.given), 1)
    about = {
        "coverage": ranking.coverage(top, len(catalogue)),
        "novelty": _mean(ranking.novelty(top, known, share)),
    }
    if category is not None:
        about["category_diversity"] = _mean(ranking.category_diversity(top, catalogue, category))
    return RankingScore(test.users, values, about, rng)


def _mean(values: Float64[np.ndarray, "U"]) -> float:
    there = values[~np.isnan(values)]
    return float(np.mean(there)) if len(there) else float("nan")
