"""Next-basket methods that know users by what they bought: TIFU-KNN and UP-CF."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Float64, Int64
from scipy import sparse

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.recommenders.blocks import best, blocks, together, with_roles

SAME = 1e-9  # distances that differ by less are equal
FAR = np.finfo(np.float64).max
POOL = 50_000  # users that may be neighbours: those who bought last


@dataclass(frozen=True, kw_only=True, slots=True)
class TIFUKNN:
    """A user's items by how often and how lately they were in his baskets, mixed with those of the users nearest to him.

    A basket counts `basket_decay` as much as the next one of its group, a group `group_decay` as much as the next one; a user's baskets
    are cut into at most `groups` groups of one size, the oldest may be smaller. The score is `own` of the user's vector and the rest of the
    mean of his `neighbours` nearest (Euclidean) others. Source: Hu et al., SIGIR 2020 (TIFU-KNN), with its Ta Feng settings. Differs: a
    group's mean is over the baskets that it has, and the authors' code, other than the paper, decays over all baskets.
    """

    neighbours: int = 300
    groups: int = 7
    basket_decay: int | float = 0.9
    group_decay: int | float = 0.7
    own: int | float = 0.7

    def __post_init__(self) -> None:
        faults = [
            f"{n}: found {getattr(self, n)}, expected at least 1"
            for n in ("neighbours", "groups")
            if getattr(self, n) < 1
        ]
        faults += [
            f"{n}: found {getattr(self, n)}, expected 0 to 1"
            for n in ("basket_decay", "group_decay", "own")
            if not 0 <= getattr(self, n) <= 1
        ]
        if faults:
            raise ConfigError("; ".join(faults))

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
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "FittedNeighbours":
        matrix, items = pool(past, self.weights)
        return FittedNeighbours(self, items, matrix)

    def score(self, users: sparse.csr_matrix, among: sparse.csr_matrix) -> sparse.csr_matrix:
        """Scores of these users, whose neighbours are among the others."""
        distance = (users @ among.T).toarray()
        distance *= -2
        distance += np.asarray(among.multiply(among).sum(1)).ravel()[None, :]
        lengths = np.asarray(users.multiply(users).sum(1)).ravel()
        distance += lengths[:, None]
        distance[distance < SAME / 2] = np.inf  # the user himself, and who bought just the same
        distance[lengths == 0] = np.inf  # who bought nothing is near nobody
        k = min(self.neighbours, among.shape[0])
        edge = (
            np.partition(distance, k - 1, axis=1)[:, k - 1 : k]
            if k
            else np.zeros((len(lengths), 1))
        )
        row, place = np.nonzero(distance <= np.where(np.isfinite(edge), edge + 2 * SAME, FAR))
        far = np.round(
            distance[row, place] / SAME
        )  # what is equal but for the order of sums is equal
        order = np.lexsort((far, row))  # a stable sort: equally far, the smaller user first
        turn = np.arange(len(order)) - np.searchsorted(row, np.arange(len(lengths)))[row[order]]
        row, place = row[order[turn < k]], place[order[turn < k]]
        share = 1 / np.maximum(np.bincount(row, minlength=len(lengths)), 1)
        mean = (
            sparse.csr_matrix((share[row], (row, place)), (users.shape[0], among.shape[0])) @ among
        )
        return (self.own * users + (1 - self.own) * mean).tocsr()


@dataclass(frozen=True, kw_only=True, slots=True)
class UPCF:
    """How often an item was in the last `baskets` baskets of like users, the user himself among them.

    Likeness is the asymmetric cosine of what two users had in these baskets, |A ∩ B| / |A|^alpha |B|^(1 − alpha), to the power `locality`.
    Source: Faggioli, Polato & Aiolli, UMAP 2020 (UP-CF@r).
    """

    baskets: int = 10
    alpha: int | float = 0.25
    locality: int | float = 5

    def __post_init__(self) -> None:
        faults = (
            [] if self.baskets >= 1 else [f"baskets: found {self.baskets}, expected at least 1"]
        )
        faults += [] if 0 <= self.alpha <= 1 else [f"alpha: found {self.alpha}, expected 0 to 1"]
        faults += (
            []
            if self.locality > 0
            else [f"locality: found {self.locality}, expected a number above 0"]
        )
        if faults:
            raise ConfigError("; ".join(faults))

    def weights(
        self, baskets: Int64[np.ndarray, "N"], age: Int64[np.ndarray, "N"]
    ) -> Float64[np.ndarray, "N"]:
        """What an item of a basket counts: `baskets` of its user, of which `age` are newer."""
        return np.where(age < self.baskets, 1 / np.minimum(baskets, self.baskets), 0.0)

    def fit(
        self, past: Past, *, rng: RNG | None = None, progress: Progress = silent
    ) -> "FittedNeighbours":
        matrix, items = pool(past, self.weights)
        return FittedNeighbours(self, items, matrix)

    def score(self, users: sparse.csr_matrix, among: sparse.csr_matrix) -> sparse.csr_matrix:
        """Scores of these users from those among whom they are."""
        one, two = (
            sparse.csr_matrix((np.ones_like(m.data), m.indices, m.indptr), m.shape)
            for m in (users, among)
        )
        like = (one @ two.T).tocsr()
        had, has = np.diff(one.indptr), np.diff(two.indptr)
        rows = np.repeat(np.arange(like.shape[0]), np.diff(like.indptr))
        like.data = (
            like.data / (had[rows] ** self.alpha * has[like.indices] ** (1.0 - self.alpha))
        ) ** self.locality
        return (like @ among).tocsr()


@dataclass(frozen=True, slots=True)
class FittedNeighbours:
    """The users of the pool: what each had, by weight."""

    method: TIFUKNN | UPCF
    items: Int64[np.ndarray, "V"]
    matrix: sparse.csr_matrix = field(repr=False)

    def retrieve(self, past: Past, k: int) -> Recommendations:
        found = []
        for events in blocks(past.histories(("item", "time", "kind", *_fields(past)))):
            users = user_items(past, events, self.method.weights, self.items)
            found.append(
                best(
                    events.users,
                    partial(self._of, users),
                    self.items,
                    k,
                    wide=self.matrix.shape[0],
                )
            )
        return together(past.users, found, k)

    def _of(self, users: sparse.csr_matrix, some: slice) -> sparse.csr_matrix:
        return self.method.score(users[some], self.matrix)


def pool(
    past: Past, weights: Callable[..., np.ndarray]
) -> tuple[sparse.csr_matrix, Int64[np.ndarray, "V"]]:
    """The users who may be neighbours, and all items that were bought."""
    codes = past.log.manifest.codes(Role.BUY)
    asked = past.histories(("item", "time", "kind", *_fields(past)))
    last, items = np.full(len(asked), np.iinfo(np.int64).min), [np.zeros(0, np.int64)]
    done = 0
    for events in blocks(asked):
        at = np.flatnonzero(np.isin(events.fields["kind"], codes) & with_roles(past, events, ()))
        row = np.searchsorted(events.starts, at, side="right") - 1
        np.maximum.at(last, row + done, np.asarray(events.fields["time"])[at])
        items.append(np.unique(np.asarray(events.fields["item"])[at]))
        done += len(events)
    order = np.lexsort((asked.users, -last))
    chosen = np.sort(order[: min(POOL, int((last > np.iinfo(np.int64).min).sum()))])
    known = np.unique(np.concatenate(items))
    return user_items(past, asked.take(chosen), weights, known), known


def user_items(
    past: Past,
    events: Histories,
    weights: Callable[..., np.ndarray],
    items: Int64[np.ndarray, "V"],
) -> sparse.csr_matrix:
    """Users × items: the weights of an item in its user's baskets, added up. An item counts once in a basket."""
    keep = with_roles(past, events, ("buy",)) & np.isin(events.fields["item"], items)
    at = np.flatnonzero(keep)
    row = np.searchsorted(events.starts, at, side="right") - 1
    basket = (
        np.asarray(events.fields["session"])[at]
        if "session" in events.fields
        else np.asarray(events.fields["time"])[at] // DAY
    )
    number = (
        np.cumsum(np.append(True, (row[1:] != row[:-1]) | (basket[1:] != basket[:-1]))[: len(at)])
        - 1
    )
    place = np.searchsorted(items, np.asarray(events.fields["item"])[at])
    first = np.searchsorted(row, np.arange(len(events) + 1))
    begins = np.append(number, number[-1] + 1 if len(number) else 0)[first]
    baskets = np.diff(begins)
    once = np.unique(number * max(len(items), 1) + place)
    number, place = once // max(len(items), 1), once % max(len(items), 1)
    row = np.searchsorted(begins, number, side="right") - 1
    weight = weights(baskets[row], begins[row + 1] - 1 - number)
    found = sparse.csr_matrix((weight, (row, place)), (len(events), len(items)))
    found.eliminate_zeros()
    return found


def _fields(past: Past) -> tuple[str, ...]:
    return ("session",) if "session" in past.log.manifest.columns else ()
