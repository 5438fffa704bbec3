"""One evaluation for all who rank items: what is asked, of whom, and how good lists are, with intervals and paired differences.

Two protocols: leave-one-out (everyone's last item; known to leak the future's popularity between users, but the field's published numbers
are of it) and a global cut in time (what users did in a window after a cutoff). Lists come from anywhere (core.recommendations).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.past import Table
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.metrics import compare, ranking

RESAMPLES = 1_000
KS = (5, 10, 20)


@dataclass(frozen=True, slots=True)
class RankingTest:
    """What is known of each user (`given`), and the items that are right, each once, in the order of `given.users`."""

    given: Histories
    relevant: Ragged

    @property
    def users(self) -> Int64[np.ndarray, "U"]:
        return self.given.users


@dataclass(frozen=True, slots=True)
class RankingScore:
    """Each metric of each user (NaN where the user has nothing that is right), their means and intervals, and what lists are like."""

    users: Int64[np.ndarray, "U"]
    values: Mapping[str, Float64[np.ndarray, "U"]]
    lists: Mapping[str, float]
    rng: RNG

    def mean(self, metric: str) -> float:
        return float(np.nanmean(self.values[metric]))

    def interval(self, metric: str) -> tuple[float, float]:
        """The 95 % interval of the mean over users."""
        low, high = compare.intervals(self.replicates(metric))
        return float(low), float(high)

    def replicates(self, metric: str) -> Float64[np.ndarray, "R"]:
        """The mean in each resample of users; equal users and seed: equal resamples, whoever is scored."""
        there = ~np.isnan(self.values[metric])
        return compare.resampled_mean(
            self.values[metric][there],
            self.users[there],
            RESAMPLES,
            self.rng.child("users").integer(),
        )

    def above(self, other: "RankingScore", metric: str) -> compare.Difference:
        """How much this is above another on the same users: interval of the paired difference, share of resamples. Raises DataError."""
        if not np.array_equal(self.users, other.users):
            raise DataError(
                "ranking",
                [
                    f"found scores of {len(self.users)} and {len(other.users)} users; a paired test needs the same users"
                ],
            )
        return compare.difference(self.replicates(metric), other.replicates(metric))


def leave_one_out(histories: Histories, *, back: int = 0) -> RankingTest:
    """Everyone's last event about an item is to be ranked from those before it; `back` = 1: the one before the last (validation).

    Users with fewer than back + 2 such events are not asked.
    """
    events = histories.where(histories.fields["item"] != NONE)
    asked = events.take(np.flatnonzero(events.lengths >= back + 2))
    wanted = asked.starts[1:] - 1 - back
    return RankingTest(
        asked.but_last(back + 1), Ragged(np.arange(len(asked) + 1), asked.fields["item"][wanted])
    )


def in_window(
    given: Histories, log: Table, window: Window, *, roles: Collection[Role] = (Role.BUY,)
) -> RankingTest:
    """What users did with these roles in a window, each item once; `given` is what was known before it, for whoever is in it.

    Users without such an item in the window are not asked; one without a history is, if `given` has a (then empty) row for him.
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
    vectors: Float64[np.ndarray, "V D"] | None = None,
) -> RankingScore:
    """recall, ndcg and mrr at each k (of items: a code that two items share is no hit), and what the lists are like beside that.

    `items` is the catalogue (sorted); without it, what anybody had or was given. coverage: the share of it that is in any list; surprise:
    the mean −log2 of the share of users who had an item; spread: the mean distance of a list's items by `vectors`. All at the largest k.
    Raises DataError where a user who is asked has no row, or the lists are shorter than the largest k and the catalogue is not.
    """
    order = np.argsort(lists.users, kind="stable")
    place = np.minimum(
        np.searchsorted(lists.users, test.users, sorter=order), max(len(order) - 1, 0)
    )
    rows = order[place] if len(order) else np.zeros(len(test.users), np.int64)
    missing = lists.users[rows] != test.users if len(order) else np.ones(len(test.users), bool)
    if missing.any():
        raise DataError(
            "ranking",
            [
                f"{missing.sum()} of {len(test.users)} users who are asked have no list, the first is {test.users[missing][0]}"
            ],
        )
    had_user = np.repeat(np.arange(len(test.given)), test.given.lengths)
    had = test.given.fields["item"]
    pairs = np.unique(np.stack([had_user[had != NONE], had[had != NONE]]), axis=1)
    known, counts = np.unique(pairs[1], return_counts=True)
    shown = lists.items[rows]
    catalogue = np.union1d(known, shown[shown != NONE]) if items is None else items
    if shown.shape[1] < min(max(ks), len(catalogue)):
        raise DataError("ranking", [f"the lists hold {shown.shape[1]} items, expected {max(ks)}"])
    many = np.diff(test.relevant.starts)
    hit = ranking.hits(shown, test.relevant.starts, test.relevant.values)
    values = {
        f"{f.__name__}@{k}": f(hit, many, k)
        for f in (ranking.recall, ranking.ndcg, ranking.mrr)
        for k in ks
    }
    top = shown[:, : max(ks)]
    about = {
        "coverage": ranking.coverage(top, len(catalogue)),
        "surprise": _mean(ranking.surprise(top, known, counts / max(len(test.given), 1))),
    }
    if vectors is not None:
        about["spread"] = _mean(ranking.spread(top, known if items is None else items, vectors))
    return RankingScore(test.users, values, about, rng)


def _mean(values: Float64[np.ndarray, "U"]) -> float:
    return float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")
