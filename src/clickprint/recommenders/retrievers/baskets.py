"""Next-basket methods that know users by what they bought: TIFU-KNN and UP-CF."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float64, Int64
from scipy import sparse

from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.lookup import among, pair_keys, pairs_of_keys
from clickprint.core.options import Between, check
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.recommenders.blocks import (
    Counted,
    FittedRows,
    Positive,
    ReadsLog,
    baskets_of,
    blocks,
    session_field,
)

Share = Annotated[int | float, Between(0, 1)]
Weights = Callable[[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]], Float64[np.ndarray, "N"]]

SAME = 1e-9  # distances that differ by less are equal
FAR = np.finfo(np.float64).max
POOL = 50_000  # users that may be neighbours: those who bought last


@dataclass(frozen=True, kw_only=True, slots=True)
class TIFUKNN(ReadsLog):
    """Items of a user's own baskets, mixed with those of the nearest users.

    An item counts by how often and how lately it was in a basket.

    - `neighbours`: how many others (by Euclidean distance) the mean is over.
    - `groups`: a user's baskets are cut into at most so many groups of one size; the oldest may be
      smaller.
    - `basket_decay`: what a basket counts beside the next one of its group.
    - `group_decay`: what a group counts beside the next one.
    - `own`: the share of the user's own vector in the score; the rest is the neighbours' mean.

    Source: Hu et al., SIGIR 2020, with its Ta Feng settings. Differs: a group's mean is over the
    baskets that it has, and the authors' code, unlike the paper, decays over all baskets.
    """

    neighbours: Annotated[int, Between(1, 1_000_000)] = 300
    groups: Annotated[int, Between(1, 1_000_000)] = 7
    basket_decay: Share = 0.9
    group_decay: Share = 0.7
    own: Share = 0.7

    def __post_init__(self) -> None:
        check(self)

    def weights(
        self, baskets: Int64[np.ndarray, "N"], age: Int64[np.ndarray, "N"]
    ) -> Float64[np.ndarray, "N"]:
        """What an item of a basket counts: `baskets` of its user, of which `age` are newer."""
        size = -(-baskets // self.groups)
        groups = -(-baskets // size)
        group, place = age // size, age % size
        there = np.where(group == groups - 1, baskets - size * (groups - 1), size)
        return self.basket_decay**place / there * self.group_decay**group / groups

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedRows:
        return fit_neighbours(self, past)

    def score(self, users: sparse.csr_matrix, among: sparse.csr_matrix) -> sparse.csr_matrix:
        """Scores of these users from the others, among whom they may be themselves."""
        distance = (users @ among.T).toarray()
        distance *= -2
        lengths = squares(users)
        distance += squares(among)[None, :]
        distance += lengths[:, None]
        row, place = np.nonzero(distance < SAME / 2)
        distance[row[first(row)], place[first(row)]] = np.inf
        distance[lengths == 0] = np.inf  # who bought nothing is near nobody
        k = min(self.neighbours, among.shape[0])
        edge = (
            np.partition(distance, k - 1, axis=1)[:, k - 1 : k]
            if k
            else np.zeros((len(lengths), 1))
        )
        row, place = np.nonzero(distance <= np.where(np.isfinite(edge), edge + 2 * SAME, FAR))
        # What differs only by the order of sums is equal.
        far = np.round(distance[row, place] / SAME)
        order = np.lexsort((far, row))  # a stable sort: equally far, the smaller user first
        turn = np.arange(len(order)) - np.searchsorted(row, np.arange(len(lengths)))[row[order]]
        row, place = row[order[turn < k]], place[order[turn < k]]
        share = 1 / np.maximum(np.bincount(row, minlength=len(lengths)), 1)
        mean = (
            sparse.csr_matrix((share[row], (row, place)), (users.shape[0], among.shape[0])) @ among
        )
        return (self.own * users + (1 - self.own) * mean).tocsr()


@dataclass(frozen=True, kw_only=True, slots=True)
class UPCF(ReadsLog):
    """How often an item was in the last baskets of like users, the user among them.

    The user's own baskets count once, also where the user is not among those who bought last.

    - `baskets`: how many of each user's newest baskets count.
    - `alpha`: two users are alike by |A ∩ B| / |A|^alpha |B|^(1 − alpha) of what they had in these
      baskets (the asymmetric cosine).
    - `locality`: the power that this likeness is raised to.

    Source: Faggioli, Polato & Aiolli, UMAP 2020 (UP-CF@r).
    """

    baskets: Annotated[int, Between(1, 1_000_000)] = 10
    alpha: Share = 0.25
    locality: Positive = 5

    def __post_init__(self) -> None:
        check(self)

    def weights(
        self, baskets: Int64[np.ndarray, "N"], age: Int64[np.ndarray, "N"]
    ) -> Float64[np.ndarray, "N"]:
        """What an item of a basket counts: `baskets` of its user, of which `age` are newer."""
        return np.where(age < self.baskets, 1 / np.minimum(baskets, self.baskets), 0.0)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> FittedRows:
        return fit_neighbours(self, past)

    def score(self, users: sparse.csr_matrix, among: sparse.csr_matrix) -> sparse.csr_matrix:
        """Scores of these users from the others, among whom they may be themselves."""
        one, two = (
            sparse.csr_matrix((np.ones_like(m.data), m.indices, m.indptr), m.shape)
            for m in (users, among)
        )
        like = (one @ two.T).tocsr()
        like.sort_indices()
        had, has = np.diff(one.indptr), np.diff(two.indptr)
        rows = np.repeat(np.arange(like.shape[0]), np.diff(like.indptr))
        like.data = (
            like.data / (had[rows] ** self.alpha * has[like.indices] ** (1.0 - self.alpha))
        ) ** self.locality
        both = (users @ among.T).tocsr()
        both.sort_indices()  # of the same entries as `like`
        apart = squares(users)[rows] + squares(among)[both.indices] - 2 * both.data
        same = np.flatnonzero(apart < SAME / 2)
        like.data[same[first(rows[same])]] = 0
        return (like @ among + users).tocsr()


def fit_neighbours(recipe: TIFUKNN | UPCF, past: Past) -> FittedRows:
    """All items that were bought, and the POOL users who bought last."""
    counted = Counted.of(past, (Role.BUY,))
    fields = (*counted.fields, *session_field(past))
    asked = past.histories(fields)
    none = np.iinfo(np.int64).min
    last, items, done = np.full(len(asked), none), [np.zeros(0, np.int64)], 0
    for events in blocks(asked):
        at = np.flatnonzero(counted(events))
        row = np.searchsorted(events.starts, at, side="right") - 1
        np.maximum.at(last, row + done, np.asarray(events.fields["time"])[at])
        items.append(np.unique(np.asarray(events.fields["item"])[at]))
        done += len(events)
    order = np.lexsort((asked.users, -last))
    chosen = np.sort(order[: min(POOL, int((last > none).sum()))])
    known = np.unique(np.concatenate(items))
    matrix = user_items(asked.take(chosen), counted, recipe.weights, known)

    def scorer(requests: Requests) -> Callable[[slice], sparse.csr_matrix]:
        users = user_items(requests.histories, counted, recipe.weights, known)
        return lambda some: recipe.score(users[some], matrix)

    return FittedRows(known, fields, scorer, wide=matrix.shape[0])


def squares(vectors: sparse.csr_matrix) -> Float64[np.ndarray, "B"]:
    """The squared length of each row."""
    return np.asarray(vectors.multiply(vectors).sum(1)).ravel()


def first(rows: Int64[np.ndarray, "N"]) -> Int64[np.ndarray, "_"]:
    """Where each row stands first, of rows that rise.

    Of those who bought just the same as a user the first is taken to be the user, who is no
    neighbour of themselves: a list says nothing of who asks for it.
    """
    return np.unique(rows, return_index=True)[1]


def user_items(
    events: Histories, counted: Counted, weights: Weights, items: Int64[np.ndarray, "V"]
) -> sparse.csr_matrix:
    """Users × items: the sum of an item's weights in its user's baskets, once in each basket."""
    at = np.flatnonzero(counted(events) & among(items, np.asarray(events.fields["item"])))
    row, number, begins = baskets_of(events, at)
    place = np.searchsorted(items, np.asarray(events.fields["item"])[at])
    baskets = np.diff(begins)
    once = np.unique(pair_keys(number, place, len(items)))
    number, place = pairs_of_keys(once, len(items))
    row = np.searchsorted(begins, number, side="right") - 1
    weight = weights(baskets[row], begins[row + 1] - 1 - number)
    found = sparse.csr_matrix((weight, (row, place)), (len(events), len(items)))
    found.eliminate_zeros()
    return found
