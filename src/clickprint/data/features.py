"""Tables of features: SQL texts of the portable subset, and the relations that they read.

Every text aggregates whole numbers only (counts, or sums of scaled integers), so the same events
give the same bytes however many threads run it and in whatever order the files are read. What
needs a float (decay, means, entropy's logarithm of a mean) is done in numpy on a roll-up that
comes back in a fixed order.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.items import AttributeType
from clickprint.core.past import Past
from clickprint.core.time import DAY, HOUR, Time
from clickprint.data.engine import Engine, name
from clickprint.data.log import EventLog

# The order of the organisers' blocks, then the roles that their log does not have.
ORDER = (
    Role.BUY,
    Role.CART,
    Role.REMOVE,
    Role.VIEW,
    Role.SEARCH,
    Role.EXPOSE,
    Role.CLICK,
    Role.LIKE,
    Role.CANCEL,
    Role.OTHER,
)
PRICE_BUCKETS = 100
CODES = 16  # numbers in a query's code vector
SCALE = 10_000  # prices are summed as whole ten-thousandths
LARGEST_AMOUNT = 1_000_000_000  # beyond it an amount counts as this
STEPS = {
    "viewed": (Role.CLICK, Role.VIEW),
    "carted": (Role.CART, Role.LIKE),
    "bought": (Role.BUY,),
}


def log_of(past: Past) -> EventLog:
    """The EventLog that a past reads.

    Raises ConfigError for a past of another make: its rows cannot be aggregated by SQL.
    """
    if not isinstance(past.log, EventLog):
        raise ConfigError(
            f"these features are made by SQL and need an EventLog, found {type(past.log).__name__}"
        )
    return past.log


def kind_order(log: EventLog) -> tuple[int, ...]:
    """The kind codes in the organisers' order of blocks; kinds of one role as in the manifest."""
    kinds = log.manifest.kinds
    return tuple(sorted(range(len(kinds)), key=lambda code: (ORDER.index(kinds[code].role), code)))


def value_columns(log: EventLog) -> tuple[str, ...]:
    """What an event can be counted by, in the organisers' order.

    Those of item, category, price, url and query that the log has. price is the catalogue's price
    bucket, or else the bucket of the event's own price. query is left out where it is a code
    vector.
    """
    manifest = log.manifest
    types = set(manifest.attributes.values())
    has = {
        "item": True,
        "category": AttributeType.CATEGORY in types,
        "price": AttributeType.PRICE_BUCKET in types or "price" in manifest.columns,
        "url": "url" in manifest.columns,
        "query": "query" in manifest.columns and manifest.query == "text",
    }
    return tuple(c for c, there in has.items() if there)


def has_codes(log: EventLog) -> bool:
    """Whether its searches carry code vectors."""
    return "query" in log.manifest.columns and log.manifest.query == "codes"


@dataclass(frozen=True, slots=True)
class Tables:
    """What the texts read.

    - `log`: the events; `items`: its catalogue, one row an item.
    - `wanted`: (user, place), whose features are wanted and the row of each in the answer; None
      where everyone is wanted and a user's place is the user.
    - `price_edges`: the lower edges of the event-price buckets 1, 2, ….
    """

    log: EventLog
    wanted: str | None
    items: str
    price_edges: tuple[float, ...] = ()

    def value(self, column: str) -> str:
        """SQL: a column of `value_columns`, of the event e or its item c."""
        of_type = self.log.manifest.of_type
        if column == "category":
            return f"c.{name(of_type(AttributeType.CATEGORY)[0])}"
        if column == "price":
            buckets = of_type(AttributeType.PRICE_BUCKET)
            return f"c.{name(buckets[0])}" if buckets else bucket_sql("e.price", self.price_edges)
        return f"e.{name(column)}"

    def events(
        self, picks: Sequence[str], where: str = "1 = 1", *, place: bool = True, join: str = ""
    ) -> str:
        """SQL: SELECT these expressions of the wanted users' events, in no order.

        e is the event, c its item, w the user's place.
        """
        catalogue = (
            f" LEFT JOIN {self.items} AS c ON e.item = c.item"
            if any("c." in p for p in (*picks, where))
            else ""
        )
        user, rows = f"e.{name('user')}", f"{self.log.events} AS e"
        if self.wanted is not None:
            rows, user = f"{rows} JOIN {self.wanted} AS w ON {user} = w.{name('user')}", "w.place"
        chosen = ", ".join([f"{user} AS place", *picks] if place else picks)
        return f"SELECT {chosen} FROM {rows}{catalogue}{join} WHERE {where}"


@contextmanager
def tables(
    log: EventLog, users: Int64[np.ndarray, "U"] | str | None, price_edges: tuple[float, ...] = ()
) -> Iterator[Tables]:
    """The relations for one job; what they keep in the engine is dropped at the end.

    Places are those of the array `users`. Where users are too many to hold, `users` is SQL (user,
    each once), or None for everyone with an event, and a user's place is the user.
    """
    engine = log.engine
    with ExitStack() as stack:

        def keep(relation: str | pa.Table) -> str:
            kept = engine.keep(relation)
            stack.callback(engine.drop, kept)
            return kept

        wanted = None
        if isinstance(users, str):
            wanted = keep(f"SELECT {name('user')}, {name('user')} AS place FROM ({users}) AS u")
        elif users is not None:
            wanted = keep(
                pa.table({"user": users, "place": np.arange(len(users), dtype=np.int32)})
            )
        yield Tables(log, wanted, keep(log.known(log.end)), price_edges)


def bucket_sql(value: str, edges: Sequence[float]) -> str:
    """SQL: how many of the sorted edges are at or below the value; null stays null.

    By bisection.
    """

    def between(low: int, high: int) -> str:  # the answer is in low … high
        if low == high:
            return str(low)
        middle = (low + high) // 2
        return (
            f"CASE WHEN {value} < {edges[middle]!r} THEN {between(low, middle)} ELSE"
            f" {between(middle + 1, high)} END"
        )

    return f"CASE WHEN {value} IS NULL THEN NULL ELSE {between(0, len(edges))} END"


# ---- texts
def lasts_sql(log: EventLog) -> str:
    """The last time of each kind, of all users, so that it does not depend on who is asked for."""
    return f"SELECT kind, MAX(time) AS last FROM {log.events} GROUP BY kind"


def prices_sql(log: EventLog, buckets: int = PRICE_BUCKETS) -> str:
    """The prices that cut the log's events into quantile buckets, and its lowest (`edge` 0).

    Price i is the lowest at or below which i / `buckets` of the events lie. There are fewer where
    prices repeat.
    """
    counted = (
        f"SELECT price, COUNT(*) AS n FROM {log.events} WHERE price IS NOT NULL GROUP BY price"
    )
    running = (
        "SELECT price, n, SUM(n) OVER (ORDER BY price) AS upto, SUM(n) OVER () AS total FROM"
        f" ({counted}) AS c"
    )
    share = "CAST({} AS DOUBLE) / CAST(total AS DOUBLE)"
    shares = (
        f"SELECT price, upto = n AS lowest, {share.format('upto - n')} AS below,"
        f" {share.format('upto')} AS here FROM ({running}) AS r"
    )
    cuts = (np.arange(1, buckets) / buckets).tolist()
    edges = (
        f"SELECT price, lowest, {bucket_sql('below', cuts)} AS before, {bucket_sql('here', cuts)}"
        f" AS edge FROM ({shares}) AS s"
    )
    return (
        f"SELECT price, CASE WHEN lowest THEN 0 ELSE edge END AS edge FROM ({edges}) AS e WHERE"
        " lowest OR edge > before ORDER BY price"
    )


def totals_sql(t: Tables) -> str:
    """How many events of each kind a wanted user has."""
    return (
        f"SELECT place, kind, COUNT(*) AS n FROM ({t.events(['e.kind AS kind'])}) AS r GROUP BY"
        " place, kind"
    )


def tops_sql(t: Tables, column: str, top: int) -> str:
    """The `top` most frequent values of a column, for each kind, over the wanted users' events.

    Ties: the smaller value first.
    """
    rows = t.events(["e.kind AS kind", f"{t.value(column)} AS value"], place=False)
    counted = (
        f"SELECT kind, value, COUNT(*) AS n FROM ({rows}) AS r WHERE value IS NOT NULL GROUP BY"
        " kind, value"
    )
    ranked = (
        "SELECT kind, value, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY n DESC, value) AS turn"
        f" FROM ({counted}) AS g"
    )
    return f"SELECT kind, value, turn FROM ({ranked}) AS o WHERE turn <= {top} ORDER BY kind, turn"


def presence_sql(t: Tables, value: str) -> str:
    """The kinds of which some wanted user's event has this value (an SQL expression)."""
    rows = t.events(["e.kind AS kind", f"{value} AS value"], place=False)
    return f"SELECT DISTINCT kind FROM ({rows}) AS r WHERE value IS NOT NULL ORDER BY kind"


def windows_sql(
    t: Tables, column: str, values: Sequence[int], edges: str, windows: int, since: Time
) -> str:
    """How often a user's events of a kind had one of these values since each of the kind's edges.

    `edges` is a relation (kind, e0, e1, …); `since` is its smallest edge.
    """
    rows = t.events(
        [
            "e.kind AS kind",
            f"{t.value(column)} AS value",
            *(f"CASE WHEN e.time >= k.e{i} THEN 1 ELSE 0 END AS in{i}" for i in range(windows)),
        ],
        f"e.time >= {since} AND {t.value(column)} IN ({', '.join(map(str, values))})",
        join=f" JOIN {edges} AS k ON e.kind = k.kind",
    )
    sums = ", ".join(f"CAST(SUM(in{i}) AS BIGINT) AS n{i}" for i in range(windows))
    return f"SELECT place, kind, value, {sums} FROM ({rows}) AS r GROUP BY place, kind, value"


def codes_sql(texts: str) -> str:
    """The 16 numbers of each code vector `[148 50 … 31]`; null where it is not that.

    White space and commas separate the numbers.
    """
    plain = "replace(replace(replace(text, '[', ' '), ']', ' '), ',', ' ')"
    for _ in range(4):  # up to sixteen spaces become one
        plain = f"replace({plain}, '  ', ' ')"
    numbers = ", ".join(
        f"TRY_CAST(split_part(trim({plain}), ' ', {i + 1}) AS INTEGER) AS c{i}"
        for i in range(CODES)
    )
    return (
        f"SELECT id, {numbers}, split_part(trim({plain}), ' ', {CODES + 1}) AS rest FROM {texts}"
    )


def code_sums_sql(t: Tables, codes: str) -> str:
    """Each wanted user's sum of the query codes, and how many queries, for each kind."""
    rows = t.events(
        ["e.kind AS kind", *(f"q.c{i} AS c{i}" for i in range(CODES))],
        join=f" JOIN {codes} AS q ON e.query = q.id",
    )
    sums = ", ".join(f"CAST(SUM(c{i}) AS BIGINT) AS c{i}" for i in range(CODES))
    return f"SELECT place, kind, COUNT(*) AS n, {sums} FROM ({rows}) AS r GROUP BY place, kind"


def hours_sql(t: Tables, spend: bool) -> str:
    """The roll-up by wanted user, kind and clock hour: events, and the money in them.

    Money is price × quantity in ten-thousandths. An amount beyond ±LARGEST_AMOUNT counts as that.
    """
    money = "0"
    if spend:
        quantity = " * COALESCE(e.quantity, 1)" if "quantity" in t.log.manifest.columns else ""
        money = _scaled(f"COALESCE(e.price, 0){quantity}")
    rows = t.events(
        ["e.kind AS kind", f"e.time - MOD(e.time, {HOUR}) AS hour", f"{money} AS money"]
    )
    return (
        "SELECT place, kind, hour, COUNT(*) AS n, CAST(SUM(money) AS BIGINT) AS money FROM"
        f" ({rows}) AS r GROUP BY place, kind, hour"
    )


def rhythm_sql(hours: str, weights: str, columns: Sequence[str], money: Sequence[str]) -> str:
    """From the roll-up, for each user and kind: events, active hours, first and last hour, sums.

    The sums are of events (w_<column>) and of money (m_<column>), weighed by hour. `weights` is a
    relation (hour, columns: whole numbers).
    """
    sums = [f"CAST(SUM(h.n * w.{c}) AS DOUBLE) AS w_{c}" for c in columns] + [
        f"CAST(SUM(h.money * w.{c}) AS DOUBLE) AS m_{c}" for c in money
    ]
    first = (
        "CAST(SUM(h.n) AS BIGINT) AS n, COUNT(*) AS hours, MIN(h.hour) AS first, MAX(h.hour) AS"
        " last, CAST(SUM(h.money) AS DOUBLE) AS money"
    )
    return (
        f"SELECT h.place AS place, h.kind AS kind, {', '.join([first, *sums])} "
        f"FROM {hours} AS h JOIN {weights} AS w ON h.hour = w.hour GROUP BY h.place, h.kind"
    )


def gaps_sql(hours: str, kind: str) -> str:
    """Active days of each user and kind, the gaps between them in days, summed and squared.

    `kind`: SQL; a constant merges kinds.
    """
    days = (
        f"SELECT DISTINCT place, {kind} AS kind, CAST((hour - MOD(hour, {DAY})) / {DAY} AS BIGINT)"
        f" AS day FROM {hours}"
    )
    gaps = (
        "SELECT place, kind, day - LAG(day) OVER (PARTITION BY place, kind ORDER BY day) AS gap"
        f" FROM ({days}) AS d"
    )
    sums = (
        "COUNT(*) AS days, CAST(SUM(COALESCE(gap, 0)) AS BIGINT) AS total, CAST(SUM(COALESCE(gap *"
        " gap, 0)) AS DOUBLE) AS squares"
    )
    return f"SELECT place, kind, {sums} FROM ({gaps}) AS g GROUP BY place, kind"


def active_hours_sql(hours: str) -> str:
    """How many clock hours each user was active in, by any kind."""
    return (
        f"SELECT place, COUNT(*) AS hours FROM (SELECT DISTINCT place, hour FROM {hours}) AS d"
        " GROUP BY place"
    )


def sessions_sql(t: Tables) -> str:
    """How many sessions each wanted user had."""
    rows = t.events(["e.session AS session"], "e.session IS NOT NULL")
    return (
        f"SELECT place, COUNT(*) AS sessions FROM (SELECT DISTINCT place, session FROM ({rows}) AS"
        " r) AS d GROUP BY place"
    )


def variety_sql(t: Tables, column: str) -> str:
    """For each wanted user and kind: how varied the values of its events are.

    Events with a value, distinct values, the top value's events, values seen again, Σ n·ln n
    (scaled).
    """
    rows = t.events(["e.kind AS kind", f"{t.value(column)} AS value"])
    counted = (
        f"SELECT place, kind, value, COUNT(*) AS n FROM ({rows}) AS r WHERE value IS NOT NULL"
        " GROUP BY place, kind, value"
    )
    return (
        "SELECT place, kind, CAST(SUM(n) AS BIGINT) AS n, COUNT(*) AS distinct_values, MAX(n) AS"
        " most, CAST(SUM(CASE WHEN n > 1 THEN 1 ELSE 0 END) AS BIGINT) AS again,"
        f" CAST(SUM(CAST(ROUND(n * LN(n) * {SCALE}) AS BIGINT)) AS DOUBLE) AS nlogn FROM"
        f" ({counted}) AS g GROUP BY place, kind"
    )


def funnel_sql(t: Tables) -> str:
    """For each wanted user: how many items were viewed, carted, bought.

    And how many of the earlier step reached the later one.
    """
    codes = {step: t.log.manifest.codes(*roles) for step, roles in STEPS.items()}
    flags = [
        (
            f"MAX(CASE WHEN kind IN ({', '.join(map(str, c))}) THEN 1 ELSE 0 END) AS {step}"
            if c
            else f"0 AS {step}"
        )
        for step, c in codes.items()
    ]
    rows = t.events(["e.kind AS kind", "e.item AS item"], "e.item IS NOT NULL")
    items = f"SELECT place, item, {', '.join(flags)} FROM ({rows}) AS r GROUP BY place, item"
    pairs = [
        f"CAST(SUM({a} * {b}) AS BIGINT) AS {a}_{b}"
        for i, a in enumerate(STEPS)
        for b in list(STEPS)[i:]
    ]
    return f"SELECT place, {', '.join(pairs)} FROM ({items}) AS g GROUP BY place"


def price_sql(t: Tables, own: bool) -> str:
    """For each wanted user and kind: events with a price, its sum, squares, least and largest.

    The price is the event's own in ten-thousandths, or else its bucket.
    """
    price = "e.price" if own else t.value("price")
    # Asked of the price itself: GREATEST passes over a null, so a scaled one would be the least
    # price that there can be.
    rows = t.events(
        ["e.kind AS kind", f"{_scaled(price) if own else price} AS price"], f"{price} IS NOT NULL"
    )
    wide = "CAST(price AS DECIMAL(19, 0))"
    return (
        f"SELECT place, kind, COUNT(*) AS n, CAST(SUM(price) AS DOUBLE) AS total, CAST(SUM({wide}"
        f" * {wide}) AS DOUBLE) AS squares, MIN(price) AS least, MAX(price) AS most FROM ({rows})"
        " AS r GROUP BY place, kind"
    )


def taste_sql(
    t: Tables,
    column: str,
    kinds: Sequence[int],
    values: Sequence[int],
    weights: str,
    columns: Sequence[str],
) -> str:
    """For each wanted user and one of these values: the events of these kinds, weighed by hour."""
    where = (
        f"e.kind IN ({', '.join(map(str, kinds))}) AND {t.value(column)} IN"
        f" ({', '.join(map(str, values))})"
    )
    rows = t.events(
        [f"{t.value(column)} AS value", *(f"k.{c} AS {c}" for c in columns)],
        where,
        join=f" JOIN {weights} AS k ON e.time - MOD(e.time, {HOUR}) = k.hour",
    )
    sums = ", ".join(f"CAST(SUM({c}) AS DOUBLE) AS w_{c}" for c in columns)
    return f"SELECT place, value, {sums} FROM ({rows}) AS r GROUP BY place, value"


def _scaled(amount: str) -> str:
    """SQL: an amount as whole ten-thousandths, within bounds whose squares and sums still fit."""
    return (
        f"CAST(ROUND(LEAST(GREATEST({amount}, -{LARGEST_AMOUNT}), {LARGEST_AMOUNT}) * {SCALE}) AS"
        " BIGINT)"
    )


# ---- answers
def lasts(log: EventLog) -> dict[int, Time]:
    """The last time of each kind that has an event."""
    found = log.engine.arrays(lasts_sql(log))
    return {int(k): int(t) for k, t in zip(found["kind"], found["last"], strict=True)}


def price_edges(log: EventLog, buckets: int = PRICE_BUCKETS) -> tuple[float, ...]:
    """Edges that cut the log's event prices into quantile buckets; fewer where prices repeat.

    Empty when the catalogue has buckets.
    """
    if (
        AttributeType.PRICE_BUCKET in log.manifest.attributes.values()
        or "price" not in log.manifest.columns
    ):
        return ()
    found = log.engine.arrays(prices_sql(log, buckets))
    return tuple(found["price"][found["edge"] > 0].tolist())


@contextmanager
def query_codes(log: EventLog) -> Iterator[str]:
    """A relation (id, c0 … c15) of the log's query texts.

    Raises DataError where a text is no code vector.
    """
    engine = log.engine
    if "query" not in log.texts:
        raise DataError(
            log.manifest.name,
            "its queries are said to be code vectors, but ids/query.parquet is missing; read the"
            " source again",
        )
    codes = engine.keep(codes_sql(log.texts["query"]))
    try:
        wrong = " OR ".join(["rest <> ''", *(f"c{i} IS NULL" for i in range(CODES))])
        bad, of = engine.one(
            f"SELECT SUM(CASE WHEN {wrong} THEN 1 ELSE 0 END), COUNT(*) FROM {codes}"
        )
        if bad:
            raise DataError(
                log.manifest.name,
                f"{bad} of {of} query texts are not {CODES} whole numbers like [148 50 … 31]",
            )
        yield codes
    finally:
        engine.drop(codes)


def scatter(engine: Engine, sql: str) -> Iterator[dict[str, np.ndarray]]:
    """The answer in pieces, as numpy columns.

    The engine makes the next piece while the caller has this one.
    """
    batches = engine.batches(sql)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        try:
            while (batch := coming.result()) is not None:
                coming = pool.submit(next, batches, None)
                yield {
                    c: batch.column(c).to_numpy(zero_copy_only=False) for c in batch.schema.names
                }
        finally:
            pool.shutdown()  # a generator cannot be closed while it runs
            batches.close()  # type: ignore[attr-defined]


def active(past: Past) -> Int64[np.ndarray, "U"]:
    """The past's users who did anything before the cutoff, as the organisers' files hold them."""
    return np.intersect1d(past.users, past.log.users())


def tops_of(t: Tables, column: str, kinds: Sequence[int], top: int) -> tuple[int, ...]:
    """The most frequent values of a column over several kinds, ties: the smaller first."""
    if not kinds:
        return ()
    rows = t.events(
        [f"{t.value(column)} AS value"], f"e.kind IN ({', '.join(map(str, kinds))})", place=False
    )
    counted = (
        f"SELECT value, COUNT(*) AS n FROM ({rows}) AS r WHERE value IS NOT NULL GROUP BY value"
    )
    found = t.log.engine.arrays(
        f"SELECT value FROM ({counted}) AS g ORDER BY n DESC, value LIMIT {top}"
    )
    return tuple(int(v) for v in found["value"])


def tops(t: Tables, column: str, top: int) -> dict[int, tuple[int, ...]]:
    """kind → the most frequent values of a column, the most frequent first.

    Kinds whose events never have the column are left out.
    """
    found = t.log.engine.arrays(tops_sql(t, column, top))
    return {
        int(k): tuple(int(v) for v in found["value"][found["kind"] == k])
        for k in np.unique(found["kind"])
    }


def log_counts(values: Float64[np.ndarray, "*N"]) -> Float64[np.ndarray, "*N"]:
    """log(1 + x) with x's sign: long tails become short and zero stays zero."""
    return np.sign(values) * np.log1p(np.abs(values))
