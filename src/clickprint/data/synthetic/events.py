"""The log of a synthetic shop, part of a day by part of a day, in the stored order.

No loop over users or events.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int8, Int32, Int64

from clickprint.core.events import schema
from clickprint.core.time import DAY, SECOND
from clickprint.data.synthetic.latent import Latent, draw_slot
from clickprint.data.synthetic.shop import (
    AT_FOCUS,
    AT_TASTE,
    BUY,
    BUYS,
    CART,
    CARTS,
    CATEGORY_PAGE,
    CLICK,
    CLICKED,
    COLUMNS,
    DWELL,
    EXPOSE,
    EXPOSED,
    EXPOSURES,
    FAVOURITE,
    HOME_PAGE,
    HOURS,
    LOOKS,
    MISC_PAGES,
    PACE,
    PART_EVENTS,
    PARTS,
    QUERIES,
    READY,
    REMOVE,
    REMOVES,
    SEARCH,
    SEARCHES,
    TIERS,
    VIEW,
    weekday_pace,
)

SCHEMA = schema(COLUMNS)
# Share of the day's sessions before each full hour.
CLOCK = (np.append(0.0, np.cumsum(HOURS)) / HOURS.sum(), np.arange(25) * 3_600.0)
LAST_LAG = (
    6  # seconds after the look's start at which its last event happens; below DWELL's minimum
)


class Piece(NamedTuple):
    """Events of one kind, before they are put in order.

    - `session`: its position in the part; `second`: of the day.
    - `about`: a position in the one list of items' pages, categories' pages, pages that say
      nothing, queries.
    """

    kind: int
    session: Int32[np.ndarray, "L"]
    second: Int32[np.ndarray, "L"]
    about: Int32[np.ndarray, "L"]
    quantity: Int8[np.ndarray, "L"] | None = None


class Tables(NamedTuple):
    """From `about` to the columns of the log, where they apply.

    `borders`: the seconds between which the parts of a day lie.
    """

    item: Int64[np.ndarray, "A"]
    url: Int64[np.ndarray, "A"]
    query: Int64[np.ndarray, "A"]
    price: Float64[np.ndarray, "A"]
    borders: Int32[np.ndarray, "P+1"]


def batches(latent: Latent) -> Iterator[pa.RecordBatch]:
    """Every event in the order (time, user, kind, item, rest), nulls first.

    How a day is cut into parts depends on the dials alone and each part has a random stream of its
    own. A session starts and ends within a part. Memory: a part (about 400,000 events) and the
    latent state, whatever the number of days.
    """
    shop = latent.shop
    tables = _tables(latent)
    parts = len(tables.borders) - 1
    for day, state in enumerate(latent.states(shop.days)):
        pace = (
            np.append(PACE, 0.0)[state.mood]
            * latent.users.pace
            * (weekday_pace(shop, day) / parts)
        )
        ladder = np.cumsum(pace)  # float64, one after the other: the same on any number of threads
        for part in range(parts):
            rng = shop.rng.child("events").child(f"{day} {part}").generator()
            batch = _part(latent, tables, day, part, ladder, state.mood, state.focus, rng)
            if batch.num_rows:
                yield batch


def parts_a_day(users: int, rate: float) -> int:
    return min(PARTS, 1 + int(users * rate / PART_EVENTS))


def _tables(latent: Latent) -> Tables:
    items, shop = latent.items, latent.shop
    pages, queries = len(items.url), len(items.query)
    parts = parts_a_day(shop.users, shop.rate)
    borders = np.interp(np.arange(parts + 1) / parts, *CLOCK)
    return Tables(
        item=np.concatenate([items.id, np.zeros(pages + queries - shop.items, np.int64)]),
        url=np.concatenate([items.url, np.zeros(queries, np.int64)]),
        query=np.concatenate([np.zeros(pages, np.int64), items.query]),
        price=np.concatenate([items.price, np.zeros(pages + queries - shop.items)]),
        borders=borders.astype(np.int32),
    )


def _part(
    latent: Latent,
    tables: Tables,
    day: int,
    part: int,
    ladder: np.ndarray,
    mood: np.ndarray,
    focus: np.ndarray,
    rng: np.random.Generator,
) -> pa.RecordBatch:
    """All events of one part of a day."""
    users, shop = latent.users, latent.shop
    n = rng.poisson(ladder[-1])
    # Poisson splitting: draw the number of sessions, then the user of each. Sorted, so that the
    # search walks through memory once.
    who = np.searchsorted(ladder, np.sort(rng.random(n)) * ladder[-1], side="right").astype(
        np.int32
    )
    who = np.minimum(who, shop.users - 1)
    low, high = int(tables.borders[part]), int(tables.borders[part + 1])
    start = np.interp((part + rng.random(n)) / (len(tables.borders) - 1), *CLOCK).astype(np.int32)
    start = np.clip(start, low, high - 1)
    # What the session is about.
    about = rng.random(n)
    slot = np.where(about < AT_FOCUS, focus[who], draw_slot(rng.random(n)))
    anywhere = about >= AT_FOCUS + AT_TASTE
    category = np.where(
        anywhere,
        latent.items.categories.draw(np.zeros(n, np.int64), rng.random(n)),
        users.slots[who, slot],
    )
    shelf = category.astype(np.int64) * TIERS + users.tier[who]
    # The looks of all sessions, one after the other.
    looks = 1 + rng.poisson(LOOKS, n)
    of = np.repeat(np.arange(n, dtype=np.int32), looks)
    total = len(of)
    first = np.cumsum(looks) - looks
    dwell = rng.integers(*DWELL, total, dtype=np.int32)
    ends = np.cumsum(dwell, dtype=np.int64)
    # Seconds from the session's start to the look's end.
    until = ends - (ends[first] - dwell[first])[of] if total else ends
    length = until[np.cumsum(looks) - 1] if n else until
    # A session at the end of a part is hurried.
    squeeze = np.minimum(1.0, (high - 1 - start) / np.maximum(length, 1))
    begin = until - dwell

    def at(look: np.ndarray, lag: int) -> np.ndarray:
        session = of[look]
        return start[session] + ((begin[look] + lag) * squeeze[session]).astype(np.int32)

    item = latent.items.by_tier.draw(shelf[of], rng.random(total))
    liked = np.flatnonzero((rng.random(total) < FAVOURITE) & ~anywhere[of])
    item[liked] = users.favourites[who[of[liked]], slot[of[liked]]]
    # The funnel of each look.
    came = rng.random(total, dtype=np.float32)
    cart = (np.append(CARTS, 0.0)[mood[who]] * READY[users.ready[who]])[of]
    fate = rng.random(total)
    carted = np.flatnonzero(fate < cart)
    bought = carted[fate[carted] < cart[carted] * BUYS]
    removed = carted[
        (fate[carted] >= cart[carted] * BUYS)
        & (fate[carted] < cart[carted] * (BUYS + (1 - BUYS) * REMOVES))
    ]
    exposed, clicked, every = (
        np.flatnonzero(came < EXPOSED),
        np.flatnonzero(came < CLICKED),
        np.arange(total),
    )
    shown = np.repeat(np.arange(n, dtype=np.int32), rng.poisson(EXPOSURES, n))
    home, listed, searched = (
        np.flatnonzero(rng.random(n) < p).astype(np.int32)
        for p in (HOME_PAGE, CATEGORY_PAGE, SEARCHES)
    )
    pages = len(latent.items.url)
    pieces = [
        Piece(EXPOSE, of[exposed], at(exposed, 0), item[exposed]),
        Piece(
            EXPOSE,
            shown,
            start[shown],
            latent.items.by_tier.draw(shelf[shown], rng.random(len(shown))),
        ),
        Piece(CLICK, of[clicked], at(clicked, 1), item[clicked]),
        Piece(VIEW, of, at(every, 2), item),
        Piece(
            VIEW,
            home,
            start[home],
            (pages - 1 - rng.integers(0, MISC_PAGES, len(home))).astype(np.int32),
        ),
        Piece(VIEW, listed, start[listed], (shop.items + category[listed]).astype(np.int32)),
        Piece(
            SEARCH,
            searched,
            start[searched],
            (
                pages + category[searched] * QUERIES + rng.integers(0, QUERIES, len(searched))
            ).astype(np.int32),
        ),
        Piece(CART, of[carted], at(carted, 4), item[carted]),
        Piece(REMOVE, of[removed], at(removed, LAST_LAG), item[removed]),
        Piece(
            BUY,
            of[bought],
            at(bought, 5),
            item[bought],
            (1 + rng.poisson(0.2, len(bought))).astype(np.int8),
        ),
    ]
    scenario = np.where(anywhere, 3, np.where(np.isin(np.arange(n), searched), 1, 2)).astype(
        np.int8
    )
    return _ordered(latent, tables, day, part, pieces, who, scenario)


def _ordered(
    latent: Latent,
    tables: Tables,
    day: int,
    part: int,
    pieces: list[Piece],
    who: np.ndarray,
    scenario: np.ndarray,
) -> pa.RecordBatch:
    """The pieces as one batch in the stored order."""
    sizes = [len(p.session) for p in pieces]
    kind = np.repeat(np.array([p.kind for p in pieces], np.int8), sizes)
    session, second, about = (np.concatenate([p[place] for p in pieces]) for place in (1, 2, 3))
    quantity = np.concatenate(
        [np.zeros(len(p.session), np.int8) if p.quantity is None else p.quantity for p in pieces]
    )
    user = who[session]
    # Second, user and kind in one number: 17 + 27 + 3 bits. What is left of the order is needed
    # for the few ties only.
    key = (second.astype(np.int64) << 30 | user) << 3 | kind
    order = np.argsort(key)
    sorted_ = key[order]
    same = sorted_[1:] == sorted_[:-1]
    ties = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = order[ties]
    item = np.where((kind[rows] == VIEW) | (kind[rows] == SEARCH), 0, tables.item[about[rows]])
    # Session numbers ascend with their place; one session has one scenario; price follows the
    # item.
    order[ties] = rows[
        np.lexsort(
            (
                quantity[rows],
                tables.url[about[rows]],
                tables.query[about[rows]],
                session[rows],
                item,
                key[rows],
            )
        )
    ]
    kind, session, about, quantity, second, user = (
        a[order] for a in (kind, session, about, quantity, second, user)
    )
    searched, viewed, bought, seen = kind == SEARCH, kind == VIEW, kind == BUY, kind <= CLICK
    shop = latent.shop
    number = (day * (len(tables.borders) - 1) + part) * 10_000_000
    columns = {
        "time": pa.array(shop.first + day * DAY + second.astype(np.int64) * SECOND),
        "user": pa.array(latent.users.id[user]),
        "kind": pa.array(kind.astype(np.int16)),
        "item": _column(tables.item[about], ~(searched | viewed)),
        "session": pa.array(number + session.astype(np.int64)),
        "scenario": _column(scenario[session].astype(np.int64), seen),
        "query": _column(tables.query[about], searched),
        "url": _column(tables.url[about], viewed),
        "price": _column(tables.price[about], ~(searched | viewed)),
        "quantity": _column(quantity.astype(np.float64), bought),
    }
    return pa.RecordBatch.from_arrays([columns[f.name] for f in SCHEMA], schema=SCHEMA)


def _column(values: np.ndarray, there: np.ndarray) -> pa.Array:
    """The values with nulls elsewhere, without a copy."""
    bits = pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), len(values), [bits, pa.py_buffer(values)]
    )
