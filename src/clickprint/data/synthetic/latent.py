"""What the log of a synthetic shop does not show.

What its items and users are like, and how users change from day to day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Int8, Int16, Int32, Int64

from clickprint.core.ids import text_ids
from clickprint.core.items import AttributeType
from clickprint.data.synthetic.shop import (
    AT_HOME,
    BUYS,
    CARTS,
    CATEGORY_PAGE,
    CLICKED,
    DEPARTMENTS,
    EXPOSED,
    EXPOSURES,
    GONE,
    HOME_PAGE,
    KEEP_FOCUS,
    LIFE_DAYS,
    LIFE_SPREAD,
    LOOKS,
    MISC_PAGES,
    MOODS,
    NEWCOMERS,
    PACE,
    PACE_SPREAD,
    QUERIES,
    READY,
    REMOVES,
    SEARCHES,
    SLOTS,
    TASTE,
    TIER_WIDTH,
    TIERS,
    Shop,
)

ATTRIBUTES = {
    "category": AttributeType.CATEGORY,
    "price_bucket": AttributeType.PRICE_BUCKET,
    "name": AttributeType.CODES,
}
FINE = 8  # cells of a lookup table for each item in it


class Lookup(NamedTuple):
    """Draws from many discrete distributions with one memory access.

    Distribution d owns the cells starts[d] … starts[d + 1]. Probabilities are multiples of one
    over its number of cells, and the oracle counts cells: what is drawn and what is computed are
    equal.
    """

    cells: Int32[np.ndarray, "N"]
    starts: Int64[np.ndarray, "D+1"]

    def draw(
        self, which: Int[np.ndarray, "L"], uniform: Float[np.ndarray, "L"]
    ) -> Int32[np.ndarray, "L"]:
        start = self.starts[which]
        return self.cells[start + (uniform * (self.starts[which + 1] - start)).astype(np.int64)]


def lookup(weights: np.ndarray, starts: np.ndarray, cells: np.ndarray) -> Lookup:
    """A table of distributions: d is over starts[d] ≤ value < starts[d + 1], by weight.

    It has cells[d] cells (systematic sampling of its quantiles).
    """
    sizes = np.diff(starts)
    which = np.repeat(np.arange(len(sizes)), sizes)
    total = np.cumsum(weights)
    before = np.concatenate([[0.0], total])[starts[:-1]]
    mass = np.add.reduceat(weights, starts[:-1])
    quantile = which + (total - before[which]) / mass[which]
    # The last value of each ends where the next distribution begins.
    quantile[starts[1:] - 1] = np.arange(1, len(sizes) + 1)
    owner = np.repeat(np.arange(len(sizes)), cells)
    bounds = np.concatenate([[0], np.cumsum(cells)])
    place = (np.arange(bounds[-1]) - bounds[owner] + 0.5) / cells[owner]
    return Lookup(
        np.searchsorted(quantile, owner + place).astype(np.int32), bounds.astype(np.int64)
    )


@dataclass(frozen=True, slots=True)
class Items:
    """The items in the order of their category; the other arrays follow that order.

    `id` has no order of its own.
    """

    id: Int64[np.ndarray, "V"]
    category: Int32[np.ndarray, "V"]  # its number, not its id
    category_id: Int64[np.ndarray, "C"]
    price: Float[np.ndarray, "V"]
    bucket: Int64[np.ndarray, "V"]  # 0..99, by rank of price
    by_tier: Lookup  # distribution category · TIERS + tier, over the items
    categories: (
        Lookup  # distribution 0: all categories by popularity; 1 + d: those of department d
    )
    name: Int16[np.ndarray, "V 16"]
    url: Int64[
        np.ndarray, "P"
    ]  # of the items' pages, the categories' pages, the pages that say nothing
    queries: tuple[str, ...]  # QUERIES for each category
    query: Int64[np.ndarray, "Q"]

    def table(self) -> pa.Table:
        """The catalogue, sorted by item."""
        order = np.argsort(self.id)
        return pa.table(
            {
                "item": self.id[order],
                "known_from": pa.nulls(len(order), pa.int64()),
                "category": self.category_id[self.category[order]],
                "price_bucket": self.bucket[order],
                "name": pa.array(_codes(self.name[order]), pa.string()),
            }
        )


@dataclass(frozen=True, slots=True)
class Users:
    """Ids ascend, so the order of the rows is the order of the ids."""

    id: Int64[np.ndarray, "U"]
    arrives: Int16[np.ndarray, "U"]  # day; 0 for those who were there before
    leaves: Float[np.ndarray, "U"]  # chance to leave, each day
    pace: Float[np.ndarray, "U"]  # sessions a day in the mood whose PACE is 1
    ready: Int8[np.ndarray, "U"]  # place in READY
    tier: Int8[np.ndarray, "U"]
    slots: Int32[np.ndarray, "U K"]  # categories
    favourites: Int32[np.ndarray, "U K"]  # items, one in each slot


class State(NamedTuple):
    """Where every user is on one day.

    Users who have not arrived are GONE too (see Users.arrives).
    """

    mood: Int8[np.ndarray, "U"]
    focus: Int8[np.ndarray, "U"]


@dataclass(frozen=True, slots=True)
class Latent:
    """A shop with everything about it that was drawn once.

    Memory: about 100 bytes a user and 250 an item.
    """

    shop: Shop
    items: Items
    users: Users

    @staticmethod
    def of(shop: Shop) -> "Latent":
        items = _items(shop)
        return Latent(shop, items, _users(shop, items))

    def states(self, days: int) -> Iterator[State]:
        """The state of each of the first `days` days, from the first on.

        A day costs about 30 ns a user.
        """
        users, n = self.users, self.shop.users
        mood, focus = np.full(n, GONE, np.int8), np.zeros(n, np.int8)
        ladder = np.cumsum(MOODS, axis=1)[:, :2].astype(np.float32)
        ladder = np.concatenate([ladder, np.full((1, 2), 2, np.float32)])  # GONE climbs nothing
        for day in range(days):
            rng = self.shop.rng.child("state").child(str(day)).generator()
            leave, move, change = (rng.random(n, dtype=np.float32) for _ in range(3))
            steps = ladder[mood]
            stays = (mood != GONE) & (leave >= users.leaves)
            mood = np.where(
                stays,
                (move >= steps[:, 0]).view(np.int8) + (move >= steps[:, 1]).view(np.int8),
                np.int8(GONE),
            )
            new = np.flatnonzero(users.arrives == day)
            mood[new] = draw_mood(move[new])
            change[new] = 1.0
            changed = np.flatnonzero(change >= np.float32(KEEP_FOCUS))
            focus = focus.copy()
            focus[changed] = draw_slot(rng.random(len(changed)))
            yield State(mood, focus)

    def state(self, day: int) -> State:
        """The state of one day; replays the days before it."""
        found = State(np.full(self.shop.users, GONE, np.int8), np.zeros(self.shop.users, np.int8))
        for state in self.states(day + 1):
            found = state
        return found


def resting_moods() -> Float[np.ndarray, "3"]:
    """The share of the moods in the long run; newcomers start with it."""
    values, vectors = np.linalg.eig(MOODS.T)
    rest = np.real(vectors[:, np.argmax(np.real(values))])
    return rest / rest.sum()


def draw_mood(uniform: np.ndarray) -> Int8[np.ndarray, "U"]:
    return np.searchsorted(np.cumsum(resting_moods())[:2], uniform, side="right").astype(np.int8)


def draw_slot(uniform: np.ndarray) -> Int8[np.ndarray, "N"]:
    return np.searchsorted(np.cumsum(TASTE)[:-1], uniform, side="right").astype(np.int8)


def session_events() -> Float[np.ndarray, "3"]:
    """The mean number of events of a session in each mood."""
    looks = 1 + LOOKS
    cart = CARTS * READY.mean()
    ends = cart * (1 + BUYS + (1 - BUYS) * REMOVES)
    return (
        looks * (1 + EXPOSED + CLICKED + ends) + EXPOSURES + HOME_PAGE + CATEGORY_PAGE + SEARCHES
    )


def _items(shop: Shop) -> Items:
    rng = shop.rng.child("items").generator()
    n, c = shop.items, shop.categories
    popular = rng.permutation(np.arange(1, c + 1) ** -0.6)
    share = popular**0.5 / (popular**0.5).sum() * (n - c)
    sizes = 1 + np.floor(share).astype(np.int64)
    sizes[np.argsort(np.floor(share) - share, kind="stable")[: n - sizes.sum()]] += 1
    starts = np.concatenate([[0], np.cumsum(sizes)])
    category = np.repeat(np.arange(c, dtype=np.int32), sizes)
    rank = np.arange(n) - starts[category]
    fame = (1.0 + rank) ** -0.7 * rng.lognormal(0, 0.3, n)
    level = rng.normal(0, 0.6, c)[category] + rng.normal(0, 0.6, n)
    place = np.empty(n)
    place[np.argsort(level, kind="stable")] = (np.arange(n) + 0.5) / n
    away = (place[:, None] - (np.arange(TIERS) + 0.5) / TIERS) / TIER_WIDTH
    weights = fame[:, None] * (np.exp(-0.5 * away**2) + 1e-3)
    # One distribution a category and tier: lay the items out category by category, in it tier by
    # tier.
    lay = np.argsort(category[:, None] * TIERS + np.arange(TIERS), axis=None, kind="stable")
    tiers = lookup(
        weights.ravel()[lay],
        np.concatenate([[0], np.cumsum(np.repeat(sizes, TIERS))]),
        np.repeat(FINE * sizes + 16, TIERS),
    )
    department = np.sort(rng.integers(0, DEPARTMENTS, c))
    # None is empty when there are enough categories.
    department[: min(c, DEPARTMENTS)] = np.arange(min(c, DEPARTMENTS))
    by_department = np.argsort(department, kind="stable")
    found = np.unique(department)
    held = np.concatenate([[0], np.searchsorted(department[by_department], found, side="right")])
    everything = np.concatenate([np.arange(c), by_department])
    categories = lookup(
        popular[everything],
        np.concatenate([[0], c + held]),
        np.concatenate([[8 * c + 64], 8 * np.diff(held) + 64]),
    )
    codes = rng.integers(0, 256, (c, 16), dtype=np.int16)
    query_codes = _blur(codes[np.repeat(np.arange(c), QUERIES)], 4, rng)
    queries = tuple(dict.fromkeys(_codes(query_codes)))
    assert len(queries) == c * QUERIES, "two queries are equal"
    return Items(
        id=_ids(n, rng)[rng.permutation(n)],
        category=category,
        category_id=_ids(c, rng)[rng.permutation(c)],
        price=np.round(20 * np.exp(level), 2),
        bucket=np.minimum((place * 100).astype(np.int64), 99),
        by_tier=Lookup((lay // TIERS).astype(np.int32)[tiers.cells], tiers.starts),
        categories=Lookup(everything.astype(np.int32)[categories.cells], categories.starts),
        name=_blur(codes[category], 6, rng),
        url=rng.permutation(n + c + MISC_PAGES).astype(np.int64),
        queries=queries,
        query=text_ids(queries),
    )


def _users(shop: Shop, items: Items) -> Users:
    rng = shop.rng.child("users").generator()
    n = shop.users
    arrives = np.where(rng.random(n) < NEWCOMERS, rng.integers(0, shop.days, n), 0).astype(
        np.int16
    )
    leaves = np.minimum(rng.lognormal(-np.log(LIFE_DAYS), LIFE_SPREAD, n), 0.2).astype(np.float32)
    tier = rng.integers(0, TIERS, n, dtype=np.int8)
    home = rng.integers(1, len(items.categories.starts) - 1, n)
    slots = np.empty((n, SLOTS), np.int32)
    favourites = np.empty((n, SLOTS), np.int32)
    for slot in range(SLOTS):
        slots[:, slot] = items.categories.draw(
            np.where(rng.random(n) < AT_HOME, home, 0), rng.random(n)
        )
        favourites[:, slot] = items.by_tier.draw(
            slots[:, slot].astype(np.int64) * TIERS + tier, rng.random(n)
        )
    pace = rng.lognormal(0, PACE_SPREAD, n)
    # Scaled so that the expected number of events is users · days · rate: a user's expected days
    # as a customer are a geometric sum.
    left = np.float64(leaves)
    stay = (1 - (1 - left) ** (shop.days - arrives)) / left
    expected = float((pace * stay).sum() * (resting_moods() * PACE * session_events()).sum())
    return Users(
        id=_ids(n, rng),
        arrives=arrives,
        leaves=leaves,
        pace=(pace * (n * shop.days * shop.rate / expected)).astype(np.float32),
        ready=rng.integers(0, len(READY), n, dtype=np.int8),
        tier=tier,
        slots=slots,
        favourites=favourites,
    )


def _ids(n: int, rng: np.random.Generator) -> Int64[np.ndarray, "N"]:
    """Ascending ids with gaps, as in a real log."""
    return np.cumsum(rng.integers(1, 50, n))


def _blur(codes: np.ndarray, places: int, rng: np.random.Generator) -> np.ndarray:
    """The code vectors with some places, drawn for each, changed."""
    at = np.argsort(rng.random(codes.shape, dtype=np.float32), axis=1)[:, :places]
    blurred = codes.copy()
    np.put_along_axis(blurred, at, rng.integers(0, 256, at.shape, dtype=np.int16), axis=1)
    return blurred


def _codes(codes: np.ndarray) -> list[str]:
    """`[148 50 … 31]`, the challenge's form of a code vector."""
    return [f"[{' '.join(map(str, row))}]" for row in codes.tolist()]
