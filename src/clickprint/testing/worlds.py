"""Small logs in memory whose answers are known, for contracts and tests: they need no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64, Shaped

from clickprint.core.dataset import Manifest
from clickprint.core.events import COLUMNS, REQUIRED, Kind, Role, schema
from clickprint.core.ids import NONE
from clickprint.core.items import ARROW, AttributeType
from clickprint.core.time import DAY, Time, Window
from clickprint.data.engine import Engine
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of

START: Time = 19_000 * DAY  # 2022-01-08, a midnight
# The challenge's kinds, under the codes that every world uses.
KINDS = (
    Kind("buy", Role.BUY),
    Kind("cart", Role.CART),
    Kind("remove", Role.REMOVE),
    Kind("view", Role.VIEW),
    Kind("search", Role.SEARCH),
)
BUY, CART, REMOVE, VIEW, SEARCH = range(5)
ATTRIBUTES = {"category": AttributeType.CATEGORY, "price_bucket": AttributeType.PRICE_BUCKET}


def memory_log(
    engine: Engine,
    *,
    time: Sequence[int] | np.ndarray,
    user: Sequence[int] | np.ndarray,
    kind: Sequence[int] | np.ndarray,
    item: Sequence[int] | np.ndarray | None = None,
    kinds: tuple[Kind, ...] = KINDS,
    catalogue: Mapping[str, Sequence | np.ndarray] | None = None,
    attributes: Mapping[str, AttributeType] | None = None,
    texts: Mapping[str, Mapping[int, str]] | None = None,
    codes: bool = False,
    clock: bool = True,
    name: str = "memory",
    **columns: Sequence | np.ndarray,
) -> EventLog:
    """A log of these arrays, kept in `engine`: one value an event in each.

    `ids.NONE` or NaN stand where there is none.

    - `columns`: optional columns of core.events.
    - `catalogue`: item, known_from (optional; NONE = always) and an array for each of
      `attributes`, by default those of category and price_bucket that it names.
    - `texts`: column → {id: text}; `codes`: the query texts are code vectors, `[148 50 … 31]`.
    """
    if attributes is None:
        attributes = {n: t for n, t in ATTRIBUTES.items() if n in (catalogue or {})}
    attributes = dict(attributes)
    shape = schema(tuple(columns))
    given = {
        "time": time,
        "user": user,
        "kind": kind,
        "item": np.full(len(user), NONE) if item is None else item,
        **columns,
    }
    events = pa.Table.from_arrays(
        [_arrow(given[f.name], f.type) for f in shape], names=shape.names
    )
    catalogue = dict(catalogue or {"item": []})
    known = catalogue.get("known_from", np.full(len(catalogue["item"]), NONE))
    types = {
        "item": pa.int64(),
        "known_from": pa.int64(),
        **{n: ARROW[k] for n, k in attributes.items()},
    }
    items = pa.Table.from_arrays(
        [_arrow({**catalogue, "known_from": known}[n], t) for n, t in types.items()],
        names=list(types),
    )
    manifest = Manifest(
        name=name,
        kinds=kinds,
        columns=tuple(c for c in COLUMNS if c in columns and c not in REQUIRED),
        attributes=attributes,
        time="clock" if clock else "order",
        query="codes" if codes else "text",
        users=len(np.unique(np.asarray(user))),
        items=len(np.unique(np.asarray(catalogue["item"]))),
        events=events.num_rows,
    )
    kept = {}
    for column, map_ in (texts or {}).items():
        ids, words = pa.array(list(map_), pa.int64()), pa.array(list(map_.values()), pa.string())
        kept[column] = engine.keep(pa.table({"id": ids, "text": words}))
    return EventLog(engine, manifest, engine.keep(events), engine.keep(items), kept)


def _arrow(values: Sequence | np.ndarray, type_: pa.DataType) -> pa.Array:
    if pa.types.is_string(type_):
        return pa.array(list(values), type_)
    floating = pa.types.is_floating(type_)
    array = np.asarray(values, np.float64 if floating else np.int64)
    return pa.array(array, mask=np.isnan(array) if floating else array == NONE).cast(type_)


def random_arrays(
    rng: np.random.Generator,
    *,
    users: int = 12,
    events: int = 200,
    days: int = 40,
    items: int = 30,
    tick: Time = DAY // 4,
    kinds: tuple[Kind, ...] = KINDS,
) -> dict[str, Any]:
    """What `random_log` hands to `memory_log`."""
    n = events if users else 0
    kind = rng.integers(0, len(kinds), n)
    role = np.array([k.role.value for k in kinds])[kind]
    page, search = role == Role.VIEW.value, role == Role.SEARCH.value
    known = np.arange(items - items // 10)
    return {
        "time": START + tick * rng.integers(0, max(days * DAY // tick, 1), n),
        "user": rng.integers(0, max(users, 1), n) * 7 - 20,
        "kind": kind,
        "item": np.where(page | search, NONE, rng.integers(0, items, n)),
        "session": rng.integers(0, max(n // 3, 1), n),
        "query": np.where(search, rng.integers(0, 20, n), NONE),
        "url": np.where(page, rng.integers(0, 25, n), NONE),
        "price": np.where(page | search, np.nan, rng.integers(1, 2_000, n) / 100),
        "kinds": kinds,
        "catalogue": {"item": known, "category": known % 7, "price_bucket": known % 5},
        "texts": {
            "query": {
                q: "[" + " ".join(map(str, rng.integers(0, 256, 16))) + "]" for q in range(20)
            }
        },
        "codes": True,
        "name": "random",
    }


def random_log(engine: Engine, rng: np.random.Generator, **dials: Any) -> EventLog:
    """A log without sense in the challenge's form, in which many events tie.

    Times are multiples of `tick` from START. Users are −20, −13, −6, …; views carry a url and no
    item, searches a query whose text is a code vector; items have a category and a price bucket,
    and a tenth of those touched is in no catalogue. Dials: users=12, events=200, days=40,
    items=30, tick=6 hours, kinds=KINDS. `users=0` or `events=0` give an empty log.
    """
    return memory_log(engine, **random_arrays(rng, **dials))


@dataclass(frozen=True, slots=True)
class World:
    """A log whose answers are known.

    `truth[u, t]` is what user u of `past.users` does in `window`, which starts at the past's
    cutoff.
    """

    name: str
    log: EventLog
    past: LogPast
    window: Window
    truth: Bool[np.ndarray, "U T"]


def _world(
    name: str,
    log: EventLog,
    cutoff: Time,
    days: int,
    users: Int64[np.ndarray, "U"],
    truth: Shaped[np.ndarray, "U T"],
) -> World:
    return World(
        name,
        log,
        past_of(log, cutoff, users),
        Window(cutoff, cutoff + days * DAY),
        truth.astype(bool),
    )


def _catalogue(items: int, categories: int) -> dict[str, np.ndarray]:
    item = np.arange(items)
    return {"item": item, "category": item % categories, "price_bucket": item % 10}


def clockwork(engine: Engine, *, users: int = 200, days: int = 84, horizon: int = 14) -> World:
    """Even users buy every 7 days for ever; odd users did so for 4 weeks and stopped.

    Truth: one column, who buys in the window.
    """
    cutoff = START + (days - horizon) * DAY
    beat = np.arange(0, days, 7)
    everyone = np.arange(users)
    user, day = (a.ravel() for a in np.meshgrid(everyone, beat, indexing="ij"))
    goes_on = (user % 2 == 0) | (day < 28)
    user, day = user[goes_on], day[goes_on]
    item = (user * 3 + day) % 40
    log = memory_log(
        engine,
        time=START + day * DAY + (user % 7) * (DAY // 10),
        user=user,
        kind=np.full(len(user), BUY),
        item=item,
        catalogue=_catalogue(40, 8),
        name="clockwork",
    )
    return _world("clockwork", log, cutoff, horizon, everyone, (everyone % 2 == 0)[:, None])


def checkerboard(
    engine: Engine, *, users: int = 240, groups: int = 4, days: int = 56, horizon: int = 14
) -> World:
    """User u views and buys items of category u % groups and nothing else.

    Truth: a column a category, who buys of it in the window.
    """
    cutoff = START + (days - horizon) * DAY
    everyone = np.arange(users)
    user, day = (a.ravel() for a in np.meshgrid(everyone, np.arange(0, days, 4), indexing="ij"))
    category = user % groups
    item = category + groups * ((user // groups + day // 4) % 10)
    twice = [np.concatenate([a, a]) for a in (user, day, item)]
    kind = np.repeat([VIEW, BUY], len(user))
    log = memory_log(
        engine,
        time=START + twice[1] * DAY + kind * 1000 + (twice[0] % 5) * (DAY // 6),
        user=twice[0],
        kind=kind,
        item=twice[2],
        catalogue=_catalogue(groups * 10, groups),
        name="checkerboard",
    )
    return _world(
        "checkerboard",
        log,
        cutoff,
        horizon,
        everyone,
        everyone[:, None] % groups == np.arange(groups),
    )


def dice(
    engine: Engine,
    rng: np.random.Generator,
    *,
    users: int = 600,
    days: int = 42,
    horizon: int = 14,
) -> World:
    """Everyone buys at random in the past; a fair coin says who buys in the window.

    The coin knows nothing of the past.
    """
    cutoff = START + (days - horizon) * DAY
    everyone = np.arange(users)
    n = users * 8
    user = np.concatenate([everyone, rng.integers(0, users, n)])
    time = START + rng.integers(0, (days - horizon) * DAY, len(user))
    buys = rng.random(users) < 0.5
    user, time = (
        np.concatenate([user, everyone[buys]]),
        np.concatenate([time, cutoff + rng.integers(0, horizon * DAY, int(buys.sum()))]),
    )
    log = memory_log(
        engine,
        time=time,
        user=user,
        kind=np.full(len(user), BUY),
        item=rng.integers(0, 50, len(user)),
        catalogue=_catalogue(50, 9),
        name="dice",
    )
    return _world("dice", log, cutoff, horizon, everyone, buys[:, None])
