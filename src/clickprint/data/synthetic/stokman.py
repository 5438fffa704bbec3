"""Files in the form of the Stokman shop's, made up: every quirk that the real ones are known for,
and habits that can be learned.

Planted habits: a person buys from three categories, most from the first, and goes back to two
favourites in each; what is bought was viewed and put into the basket before, sometimes on an
earlier day; a few products sell most.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float64, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.files import new_folder, whole
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, SECOND, parse
from clickprint.data.adapters.stokman import (
    ACTIONS_FILE,
    CATALOGUE_FILE,
    JUNK,
    MAPPING_FILE,
    VECTORS_FILE,
)

VIEW, LIKE, ADD, DELETE, CLEAR, ORDER, BASKET, VISIT, CATEGORY, SEARCH = range(10)
# The catalogue's feed runs at 03:07:08.
START, DAYS, FEED = (parse("2024-09-07"), 24, 3 * 3_600 + 7 * 60 + 8)
SLOTS, FAVOURITES, WIDTH = 3, 2, 32
SLOT_CHANCES, TITLE_TOKENS = (0.6, 0.3, 0.1), 60_000
# Chances: of a look at a favourite, of a category page, a search, a like, a basket (of any look,
# and more of a favourite's), a removal, a basket page; of an order at once, of one some days
# later, of an emptied basket.
AT_FAVOURITE, PAGES, SEARCHES, LIKES, BASKETS, MORE, REMOVALS, LISTS = (
    0.45,
    0.4,
    0.25,
    0.05,
    0.1,
    0.2,
    0.08,
    0.7,
)
NOW, LATER, EMPTIED = 0.45, 0.25, 0.05
NONE = -1  # a product number that is written as the junk id
FILES = "stokman files"  # what their folder is called in its mark
LEAST_ROWS = 20  # a user


class Rows(NamedTuple):
    """Actions: user, second since START, code, page, and the number of products of each.

    `products` are those of all actions, one after the other.
    """

    user: Int64[np.ndarray, "N"]
    second: Int64[np.ndarray, "N"]
    action: Int64[np.ndarray, "N"]
    page: Int64[np.ndarray, "N"]
    counts: Int64[np.ndarray, "N"]
    products: Int64[np.ndarray, "E"]

    def take(self, rows: Int64[np.ndarray, "M"]) -> "Rows":
        """These rows in this order."""
        counts = self.counts[rows]
        starts = np.cumsum(self.counts) - self.counts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        products = self.products[np.repeat(starts[rows], counts) + within]
        return Rows(
            self.user[rows],
            self.second[rows],
            self.action[rows],
            self.page[rows],
            counts,
            products,
        )


class Shelf(NamedTuple):
    """Items in the order of their category, whose first item is at starts[category].

    `day`: when each was added; below 0 before the log.
    """

    category: Int64[np.ndarray, "V"]
    starts: Int64[np.ndarray, "C+1"]
    day: Int64[np.ndarray, "V"]
    id: Int64[np.ndarray, "V"]


def write_stokman(
    folder: Path, *, users: int = 3_500, actions: int = 200_000, seed: int = 7
) -> dict[str, int]:
    """Writes the four files to `folder`, whole or not at all.

    Gives the rows that a reader has to leave out, by reason. There are exactly `actions` rows in
    the actions file, of exactly `users` users and 24 days. Equal arguments: equal bytes in the
    arrays, equal rows in the tables. Raises ConfigError where there are fewer than 20 actions a
    user or fewer than 10 users.
    """
    folder = Path(folder)
    if users < 10 or actions < LEAST_ROWS * users:
        raise ConfigError(
            f"users, actions: found {users} and {actions}, expected 10 or more users and"
            f" {LEAST_ROWS} or more actions a user"
        )
    new_folder(folder, FILES, overwrite=True)
    rng = RNG(seed).child("stokman")
    shelf = _shelf(max(300, actions // 80), rng.child("shelf").generator())
    person = _people(users, rng.child("people").generator())
    rows = _rows(shelf, person, users, actions, rng.child("rows").generator())
    with whole(folder, FILES) as part:
        part.mkdir(parents=True)
        planted = _write_actions(
            part / ACTIONS_FILE, rows, shelf, person, users, rng.child("quirks").generator()
        )
        planted |= _write_catalogue(
            part / CATALOGUE_FILE, shelf, rng.child("catalogue").generator()
        )
        planted |= _write_vectors(part, shelf, rng.child("vectors").generator())
    return planted


# --- who and what --------------------------------------------------------------------------------


def _shelf(items: int, rng: np.random.Generator) -> Shelf:
    categories = max(12, items // 50)
    share = 1 / np.arange(3, categories + 3)
    category = np.sort(
        np.append(
            np.arange(categories),
            rng.choice(categories, items - categories, p=share / share.sum()),
        )
    )
    # One in ten is added while the log runs, one in twenty gets a new date at its end though it
    # was sold all along.
    fate = rng.random(items)
    day = np.where(fate < 0.1, rng.integers(2, DAYS - 3, items), -rng.integers(1, 400, items))
    day[
        np.searchsorted(category, np.arange(categories))
    ] = -400  # a category's first was always there
    id_ = 1_025_000 + np.cumsum(rng.integers(1, 400, items))
    return Shelf(
        category, np.searchsorted(category, np.arange(categories + 1)), day, rng.permutation(id_)
    )


def _people(users: int, rng: np.random.Generator) -> Int64[np.ndarray, "U"]:
    """The person of each user: one user in ten is another cookie of somebody."""
    others = users // 10
    return np.append(np.arange(users - others), rng.choice(users - others, others, replace=False))


def _pick(
    shelf: Shelf, category: Int64[np.ndarray, "..."], uniform: Float64[np.ndarray, "..."]
) -> Int64[np.ndarray, "..."]:
    """An item of each category, the first ones far more often."""
    first, size = shelf.starts[category], np.diff(shelf.starts)[category]
    return first + (size * uniform**2.5).astype(np.int64)


# --- what they do --------------------------------------------------------------------------------


def _rows(
    shelf: Shelf, person: np.ndarray, users: int, actions: int, rng: np.random.Generator
) -> Rows:
    """Exactly `actions` rows in the order of time; every user has one at least."""
    people = int(person.max()) + 1
    share = 1 / np.arange(3, len(shelf.starts) + 2)
    slots = rng.choice(len(share), (people, SLOTS), p=share / share.sum())
    favourites = _pick(
        shelf, slots[:, :, None].repeat(FAVOURITES, 2), rng.random((people, SLOTS, FAVOURITES))
    )
    rate = rng.gamma(0.7, 1.0, people)[person] + 0.05
    visits = actions // 4
    user = np.append(
        rng.permutation(users), rng.choice(users, visits - users, p=rate / rate.sum())
    )
    who = person[user]
    hour = np.clip(rng.normal(15, 4, visits), 0, 23)
    start = (
        rng.integers(0, DAYS, visits) * 86_400 + hour * 3_600 + rng.integers(0, 1_800, visits)
    ).astype(np.int64)
    slot = rng.choice(SLOTS, visits, p=SLOT_CHANCES)
    category = slots[who, slot]
    # Looks: one after the other within a visit.
    looks = 1 + rng.poisson(2.5, visits)
    of = np.repeat(np.arange(visits), looks)
    step = np.arange(len(of)) - np.repeat(np.cumsum(looks) - looks, looks)
    liked = rng.random(len(of)) < AT_FAVOURITE
    item = np.where(
        liked,
        favourites[who[of], slot[of], rng.integers(0, FAVOURITES, len(of))],
        _pick(shelf, category[of], rng.random(len(of))),
    )
    early = shelf.day[item] * 86_400 + FEED > start[of]
    item[early] = shelf.starts[category[of[early]]]  # not there yet: the category's first instead
    at = start[of] + 30 + 40 * step
    basket = rng.random(len(of)) < BASKETS + MORE * liked
    removed = basket & (rng.random(len(of)) < REMOVALS)
    kept = basket & ~removed
    inside = np.bincount(of[kept], minlength=visits)
    close = start + 30 + 40 * looks
    fate = rng.random(visits)
    full = np.flatnonzero(inside > 0)
    listed = full[rng.random(len(full)) < LISTS]
    now = full[fate[full] < NOW]
    later = full[(fate[full] >= NOW) & (fate[full] < NOW + LATER)]
    back = close[later] + 3 * 3_600 + rng.exponential(86_400, len(later)).astype(np.int64)
    later, back = later[back < DAYS * 86_400 - 600], back[back < DAYS * 86_400 - 600]
    emptied = full[(fate[full] >= NOW + LATER) & (fate[full] < NOW + LATER + EMPTIED)]
    paged, searched = (np.flatnonzero(rng.random(visits) < chance) for chance in (PAGES, SEARCHES))
    carts = item[kept]  # those of one visit stand together
    firsts = np.cumsum(inside) - inside

    def baskets(which: np.ndarray) -> np.ndarray:
        counts = inside[which]
        return carts[
            np.repeat(firsts[which], counts)
            + np.arange(counts.sum())
            - np.repeat(np.cumsum(counts) - counts, counts)
        ]

    # visit, second, action, page (a look's events share one), how many products, products
    one, none = np.ones_like, np.zeros_like
    looking = visits + np.arange(len(of))
    pages = [np.arange(visits) + visits + len(of) + k * visits for k in range(7)]
    nothing = np.zeros(0, np.int64)
    pieces = [
        (np.arange(visits), start, VISIT, np.arange(visits), none(start), nothing),
        (paged, start[paged] + 10, CATEGORY, pages[0][paged], none(paged), nothing),
        (searched, start[searched] + 20, SEARCH, pages[1][searched], none(searched), nothing),
        (of, at, VIEW, looking, one(of), item),
        *(
            (of[some], at[some] + lag, code, looking[some], one(of[some]), item[some])
            for some, lag, code in (
                (rng.random(len(of)) < LIKES, 5, LIKE),
                (basket, 10, ADD),
                (removed, 25, DELETE),
            )
        ),
        (listed, close[listed], BASKET, pages[2][listed], inside[listed], baskets(listed)),
        (now, close[now] + 30, ORDER, pages[3][now], inside[now], baskets(now)),
        (emptied, close[emptied] + 30, CLEAR, pages[3][emptied], none(emptied), nothing),
        (later, back, VISIT, pages[4][later], none(later), nothing),
        (later, back + 20, BASKET, pages[5][later], inside[later], baskets(later)),
        (later, back + 60, ORDER, pages[6][later], inside[later], baskets(later)),
    ]
    visit = np.concatenate([p[0] for p in pieces])
    sizes = np.bincount(visit, minlength=visits)
    fits = np.searchsorted(np.cumsum(sizes), actions, side="right")  # whole visits, as many as fit
    rows = Rows(
        user[visit],
        np.concatenate([p[1] for p in pieces]),
        np.repeat([p[2] for p in pieces], [len(p[0]) for p in pieces]),
        np.concatenate([p[3] for p in pieces]),
        np.concatenate([p[4] for p in pieces]).astype(np.int64),
        np.concatenate([p[5] for p in pieces]),
    )
    keep = np.flatnonzero(visit < fits)
    visited = np.flatnonzero((visit >= fits) & (rows.action == VIEW))[
        : actions - len(keep)
    ]  # and views of the next ones
    assert fits >= users, "not everybody came"
    assert len(keep) + len(visited) == actions, "too few visits"
    keep = np.append(keep, visited)
    return rows.take(keep[np.lexsort((keep, rows.second[keep]))])


# --- the files, with their quirks ----------------------------------------------------------------


def _write_actions(
    path: Path, rows: Rows, shelf: Shelf, person: np.ndarray, users: int, rng: np.random.Generator
) -> dict[str, int]:
    """Quirks stand on rows of their own, so that each can be counted."""
    n = len(rows.user)
    free = np.ones(n, bool)
    few = max(2, n // 4_000)

    def some(which: Bool[np.ndarray, "N"], times: int = 1) -> np.ndarray:
        chosen = np.sort(rng.choice(np.flatnonzero(which & free), few * times, replace=False))
        free[chosen] = False
        return chosen

    every, views, orders = np.ones(n, bool), rows.action == VIEW, rows.action == ORDER
    # A user who has one row only keeps it.
    every &= np.bincount(rows.user, minlength=users)[rows.user] > LEAST_ROWS
    junk_user, no_user, odd, no_date = some(every, 2), some(every), some(every), some(every)
    nothing = some(views & every, 2)
    junk_product = some((orders | (rows.action == BASKET)) & every)
    on_visit = some((rows.action == VISIT) & every)
    no_person, junk_person = some(every), some(every)

    counts, products = rows.counts.copy(), rows.products
    ends = np.cumsum(counts)
    products = np.insert(products, ends[junk_product], NONE)
    counts[junk_product] += 1
    starts = np.cumsum(counts) - counts
    products = np.insert(products, starts[on_visit], rng.integers(0, len(shelf.id), len(on_visit)))
    counts[on_visit] += 1
    ends = np.cumsum(counts)
    products = np.delete(products, ends[nothing] - 1)
    counts[nothing] = 0
    null = (counts == 0) & (rng.random(n) < 0.5)
    texts = pc.if_else(
        pa.array(products == NONE), JUNK, pa.array(shelf.id[products]).cast(pa.string())
    )
    offsets = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))

    action = rows.action.copy()
    action[odd] = rng.choice([-1, 10, 99], len(odd))
    names = _uuids(users, rng)
    people = _uuids(int(person.max()) + 1, rng)
    table = pa.table(
        {
            "user_id": _spoiled(names[rows.user], no_user, junk_user),
            "loc_user_id": _spoiled(people[person[rows.user]], no_person, junk_person),
            "action": pa.array(action),
            "date": (
                pa.array(START + rows.second * SECOND, mask=_at(no_date, n)).cast(
                    pa.timestamp("us")
                )
            ),
            "products": pa.ListArray.from_arrays(offsets, texts, mask=pa.array(null)),
            "pageId": pa.array(rows.page * 2_654_435_761 % 2**32),  # each number once, in no order
        }
    )
    pq.write_table(table, path)
    prefix = f"{ACTIONS_FILE}: "
    return {
        f"{prefix}no user_id": len(no_user),
        f"{prefix}the junk user_id {JUNK}": len(junk_user),
        f"{prefix}no readable time": len(no_date),
        f"{prefix}no action from 0 to 9": len(odd),
        f"{prefix}no product where the action needs one": len(nothing),
        f"{ACTIONS_FILE} products: the junk product id {JUNK}": len(junk_product),
    }


def _write_catalogue(path: Path, shelf: Shelf, rng: np.random.Generator) -> dict[str, int]:
    """One row for most items, a second for those whose price changed.

    And rows that say the same product and date again.
    """
    v = len(shelf.id)
    few = max(2, v // 100)
    fate = rng.permutation(v)
    unknown, late, cheaper = fate[: v // 50], fate[v // 50 : v // 14], fate[v // 14 : v // 4]
    price = np.round(rng.lognormal(8.0, 0.8, v) / 10) * 10
    old = np.where(rng.random(v) < 0.3, np.round(price * 1.4 / 10) * 10, price)
    day = shelf.day.copy()
    day[late] = DAYS - 1  # the feed says a new date for what was sold all along
    base = np.setdiff1d(np.arange(v), unknown)
    changed = np.intersect1d(cheaper, np.flatnonzero(day < 0))
    twice, otherwise = (np.sort(s) for s in np.split(rng.choice(base, 2 * few, replace=False), 2))
    item = np.concatenate([base, changed, twice, otherwise])
    days = np.concatenate(
        [day[base], rng.integers(1, DAYS, len(changed)), day[twice], day[otherwise]]
    )
    prices = np.concatenate(
        [price[base], np.round(price[changed] * 0.7), price[twice], price[otherwise] + 10]
    )
    olds = np.concatenate([old[base], price[changed], old[twice], old[otherwise]])
    n = len(item)
    no_old = np.isin(item, base[:few])  # the same in each row of an item
    table = pa.table(
        {
            "add_date": pa.array(START + days * DAY + FEED * SECOND).cast(pa.timestamp("us")),
            "shop_id": pa.array(["350"]).take(pa.array(np.zeros(n, np.int64))),
            "product_id": pa.array(shelf.id[item]).cast(pa.string()),
            "category_id": pa.array(200 + 17 * shelf.category[item]).cast(pa.string()),
            "price": pa.array(prices.astype(np.int64)),
            "title": _titles(shelf, rng).take(pa.array(item)),
            "old_price": pa.array(olds.astype(np.int64), mask=no_old),
        }
    )
    junk = table.slice(0, few)
    junk = junk.set_column(
        2, "product_id", pa.array([JUNK]).take(pa.array(np.zeros(few, np.int64)))
    )
    table = pa.concat_tables([table, junk])
    pq.write_table(table.take(pa.array(rng.permutation(len(table)))), path)
    prefix = f"{CATALOGUE_FILE}: "
    return {
        f"{prefix}the junk product id {JUNK}": few,
        f"{prefix}an exact repeat of another row": few,
        f"{prefix}another row of the same product and add_date": few,
    }


def _titles(shelf: Shelf, rng: np.random.Generator) -> pa.Array:
    """Token numbers: the first two are the category's, the others the item's."""
    words = [(shelf.category * 131 + k * 7_919) % TITLE_TOKENS for k in range(2)] + [
        rng.integers(0, TITLE_TOKENS, len(shelf.id)) for _ in range(3)
    ]
    return pc.binary_join_element_wise(*(pa.array(w).cast(pa.string()) for w in words), " ")


def _write_vectors(folder: Path, shelf: Shelf, rng: np.random.Generator) -> dict[str, int]:
    """Vectors of titles: near to those of the same category.

    Some items have none, some mappings are wrong.
    """
    v = len(shelf.id)
    few = max(2, v // 200)
    centre = rng.normal(size=(len(shelf.starts) - 1, WIDTH))
    vectors = np.empty((v, WIDTH), np.float32)
    place = rng.permutation(v)
    vectors[place] = centre[shelf.category] + 0.5 * rng.normal(size=(v, WIDTH))
    np.savez(folder / VECTORS_FILE, arr_0=vectors)
    having = np.sort(rng.choice(v, v - v // 33, replace=False))
    again, other, beyond = having[:few], having[few : 2 * few], having[2 * few : 3 * few]
    item = np.concatenate([having, again, other, beyond])
    vector = np.concatenate(
        [place[having], place[again], (place[other] + 1) % v, v + np.arange(few)]
    )
    products = pc.if_else(
        pa.array(np.arange(len(item) + 1) == len(item)),
        JUNK,
        pa.array(np.append(shelf.id[item], 0)).cast(pa.string()),
    )
    pq.write_table(
        pa.table({"product_id": products, "vector_id": pa.array(np.append(vector, 0))}),
        folder / MAPPING_FILE,
    )
    prefix = f"{MAPPING_FILE}: "
    return {
        f"{prefix}the junk product id {JUNK}": 1,
        f"{prefix}no vector_id from 0 to {v - 1}": few,
        f"{prefix}an exact repeat of another row": few,
        f"{prefix}another vector of the same product": few,
    }


def _uuids(n: int, rng: np.random.Generator) -> np.ndarray:
    """n texts in the form of a UUID."""
    digits = np.frombuffer(rng.bytes(16 * n).hex().encode(), "S1").reshape(n, 32)
    out = np.full((n, 36), b"-", "S1")
    out[:, np.delete(np.arange(36), [8, 13, 18, 23])] = digits
    return out.view("S36").ravel().astype("U36")


def _spoiled(texts: np.ndarray, null: np.ndarray, junk: np.ndarray) -> pa.Array:
    texts[junk] = JUNK
    return pa.array(texts, pa.string(), mask=_at(null, len(texts)))


def _at(rows: np.ndarray, n: int) -> Bool[np.ndarray, "N"]:
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask
