"""Diginetica: searches, clicks, item views and purchases of a shop, by session; the data of the
CIKM Cup 2016, track 2.
"""

from collections.abc import Mapping
from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import DAY
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import (
    Source,
    given_sql,
    id_sql,
    missing,
    number_sql,
    open_source,
)
from clickprint.data.adapters.mapping import Files
from clickprint.data.adapters.staging import header, there, workplace
from clickprint.data.check import blaming, no_id, no_time, refuse, sift
from clickprint.data.engine import Engine, iso_sql, name, text_id_sql
from clickprint.data.store import gather

KINDS = (
    Kind("click", Role.CLICK),
    Kind("view", Role.VIEW),
    Kind("browse", Role.VIEW),
    Kind("search", Role.SEARCH),
    Kind("purchase", Role.BUY),
)
CLICK, VIEW, BROWSE, SEARCH, PURCHASE = range(len(KINDS))
TOKENS = "searchstring.tokens"
NEEDS = {
    "train-item-views": ("sessionId", "userId", "itemId", "timeframe", "eventdate"),
    "train-purchases": ("sessionId", "userId", "timeframe", "eventdate", "itemId"),
    "train-queries": (
        "queryId",
        "sessionId",
        "userId",
        "timeframe",
        "eventdate",
        TOKENS,
        "categoryId",
    ),
    "train-clicks": ("queryId", "timeframe", "itemId"),
    "products": ("itemId", "pricelog2", "product.name.tokens"),
    "product-categories": ("itemId", "categoryId"),
}
VIEWS = "train-item-views"
RENAMED = {
    "sessionId": "session_id",
    "userId": "user_id",
    "itemId": "item_id",
}  # as SR-GNN's copies of the views have it
LONGEST = 31 * DAY // 1000  # ms; more after the start of a session is a wrong unit
CARD = Card(
    title=(
        "Diginetica: searches, clicks on results, item views and purchases of 574,000 sessions,"
        " 2016 (CIKM Cup 2016, track 2)"
    ),
    files={
        "train-item-views.csv": "sessionId;userId;itemId;timeframe;eventdate",
        "train-purchases.csv": "sessionId;userId;timeframe;eventdate;ordernumber;itemId",
        "train-queries.csv": (
            "queryId;sessionId;userId;timeframe;duration;eventdate;searchstring.tokens;categoryId;items;is.test"
        ),
        "train-clicks.csv": "queryId;timeframe;itemId",
        "products.csv": "itemId;pricelog2;product.name.tokens",
        "product-categories.csv": "itemId;categoryId",
    },
    licence="not stated; given out for research",
    where=(
        "https://competitions.codalab.org/competitions/11161 (dataset-train-diginetica.zip;"
        " unpack it)"
    ),
    dropped=(
        (
            "lines with too many or too few columns; rows without a session, an item (but of"
            " queries), a date or a timeframe from 0 to 31 days"
        ),
        "clicks whose query is not there",
        "rows of the catalogue without an item, a second category of a product",
    ),
    notes=(
        (
            "most userId are NA. user = session (the default) makes every session a user, as the"
            " field's papers do; with the option user = user the rows that have a userId belong to"
            " it, and the others to the user -1 - sessionId"
        ),
        (
            "time is eventdate (a date without a zone, taken as UTC) plus timeframe, the"
            " milliseconds since the session's first query"
        ),
        (
            "a query with words is a search, one without is a browse (a category's page, whose"
            " categoryId is the scenario); a click has its query's words and category, date and"
            " user; purchases have no price"
        ),
        (
            "not kept: the lists of shown items, durations, order numbers; is.test marks queries"
            " whose clicks are not public"
        ),
        (
            "the catalogue has no times, so it is always known: price_log2, category, and title,"
            " which are ids of tokens"
        ),
    ),
)
ATTRIBUTES = {
    "category": AttributeType.CATEGORY,
    "price_log2": AttributeType.NUMBER,
    "title": AttributeType.TEXT,
}


def read(
    folder: Path,
    out: Path,
    *,
    user: str = "session",
    views_only: bool = False,
    engine: Engine,
    progress: Progress = silent,
) -> Dataset:
    """The events and products, each file plain or .gz, in the canonical form at `out`.

    `user` says who a user is where most rows have no userId: the session, or the userId where
    there is one (else -1 - sessionId). `views_only` reads train-item-views.csv alone, without a
    catalogue. Raises DataError with every fault of every file, a product twice among them, and
    where no event can be used; ConfigError for another `user`.
    """
    if user not in ("session", "user"):
        raise ConfigError(f"user: found {user!r}, expected session or user")
    folder, out = Path(folder), Path(out)
    names = [VIEWS] if views_only else list(NEEDS)
    files = {
        n: Files(paths=(there(folder / f"{n}.csv"),), format="csv", delimiter=";", missing=("NA",))
        for n in names
    }
    columns = {n: {c: c for c in NEEDS[n]} for n in names}
    if _renamed(files[VIEWS]):
        columns[VIEWS] = {c: RENAMED.get(c, c) for c in NEEDS[VIEWS]}
    refuse(folder, [f for n in names for f in missing(files[n], columns[n].values())])
    with workplace(out.with_name(f"{out.name}.csv")) as room, blaming(folder):
        progress("look", 0, 0)
        sources = {
            n: open_source(engine, files[n], list(columns[n].values()), room / f"{n}.parquet")
            for n in names
        }
        rejected = {f"{n}: too many or too few columns": s.skipped for n, s in sources.items()}
        selects, expected = [], 0
        for sql, n, bad in _events(engine, sources, columns, user):
            selects.append(sql)
            expected += n
            rejected |= bad
        total = expected + sum(rejected.values())
        catalogue, left = (
            (None, {})
            if views_only
            else _catalogue(engine, sources["products"], sources["product-categories"])
        )
        words = {} if views_only else {"query": _words(sources["train-queries"])}
        return gather(
            out,
            engine=engine,
            name="diginetica",
            kinds=KINDS,
            columns=("session",) if views_only else ("session", "scenario", "query"),
            selects=selects,
            catalogue=catalogue,
            attributes={} if views_only else ATTRIBUTES,
            texts=words,
            rejected=rejected | left,
            source={"reader": "diginetica", "events": f"{total} rows", "user": user},
            expected=expected,
            progress=progress,
        )


def _renamed(views: Files) -> bool:
    try:
        return "session_id" in header(views, views.paths[0])
    except DataError:  # said with the other faults
        return False


def _events(
    engine: Engine,
    sources: Mapping[str, Source],
    columns: Mapping[str, Mapping[str, str]],
    user: str,
) -> list[tuple[str, int, dict[str, int]]]:
    """SQL of the events of each file, their number, and the rows that are left out by reason."""
    made = []
    no_user = (
        "given_user IS NOT NULL AND user_id IS NULL",
        "userId is no whole number within int64",
    )
    whose = [no_user] if user == "user" else []
    person = "session" if user == "session" else "COALESCE(user_id, -1 - session)"
    nothing = {"scenario": "CAST(NULL AS BIGINT)", "query": "CAST(NULL AS BIGINT)"}

    def select(good: str, kind: str, item: str = "item", **more: str) -> str:
        picks = {
            "time": name("time"),
            "user": person,
            "kind": f"CAST({kind} AS SMALLINT)",
            "item": item,
            "session": "session",
            **(nothing | more),
        }
        return (
            f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in picks.items())} FROM ({good})"
            " AS g"
        )

    def base(file: str) -> str:
        s, c = sources[file], columns[file]
        given = given_sql(s, c["userId"])
        day = iso_sql(given_sql(s, c["eventdate"]), "UTC")
        return (
            f"{id_sql(s, c['sessionId'], False)} AS session, {id_sql(s, c['userId'], False)} AS"
            f" user_id, {given} AS given_user, {day} AS day, {day} + {_elapsed(s, c['timeframe'])}"
            f" AS {name('time')}"
        )

    for file, kind in ((VIEWS, VIEW), ("train-purchases", PURCHASE)):
        if file in sources:
            rows = (
                f"SELECT {base(file)}, {id_sql(sources[file], columns[file]['itemId'], False)} AS"
                f" item FROM {sources[file].scan}"
            )
            good, n, bad = sift(
                engine,
                rows,
                [no_id("session"), *whose, no_id("item"), no_time(name("time"))],
                f"{file}: ",
            )
            made.append((select(good, str(kind)), n, bad))
    if "train-queries" not in sources:
        return made
    asked, clicked = sources["train-queries"], sources["train-clicks"]
    given = given_sql(asked, TOKENS)
    rows = (
        f"SELECT {id_sql(asked, 'queryId', False)} AS query_id, {base('train-queries')},"
        f" {text_id_sql(given)} AS words, {id_sql(asked, 'categoryId', False)} AS category FROM"
        f" {asked.scan}"
    )
    good, n, bad = sift(
        engine, rows, [no_id("session"), *whose, no_time(name("time"))], "train-queries: "
    )
    which = f"CASE WHEN words IS NULL THEN {BROWSE} ELSE {SEARCH} END"
    made.append(
        (select(good, which, "CAST(NULL AS BIGINT)", scenario="category", query="words"), n, bad)
    )
    # A query that stands there twice must not make two clicks of one.
    by = (
        "ROW_NUMBER() OVER (PARTITION BY query_id ORDER BY session, day, user_id NULLS LAST, words"
        " NULLS LAST, category NULLS LAST) AS turn"
    )
    once = (
        f"SELECT * FROM (SELECT *, {by} FROM ({good}) AS q WHERE query_id IS NOT NULL) AS t WHERE"
        " turn = 1"
    )
    clicks = (
        f"SELECT {id_sql(clicked, 'queryId', False)} AS query_id,"
        f" {id_sql(clicked, 'itemId', False)} AS item, "
    )
    clicks += f"{_elapsed(clicked, 'timeframe')} AS elapsed FROM {clicked.scan}"
    both = (
        "SELECT c.item, q.session, q.user_id, q.words, q.category, q.day + c.elapsed AS"
        f" {name('time')} "
    )
    both += f"FROM ({clicks}) AS c LEFT JOIN ({once}) AS q ON c.query_id = q.query_id"
    orphan = ("session IS NULL", "its query is not there")
    good, n, bad = sift(
        engine, both, [no_id("item"), orphan, no_time(name("time"))], "train-clicks: "
    )
    made.append((select(good, str(CLICK), scenario="category", query="words"), n, bad))
    return made


def _elapsed(source: Source, column: str) -> str:
    """Microseconds since the start of the session."""
    given = f"TRY_CAST({given_sql(source, column)} AS BIGINT)"
    return f"CASE WHEN {given} BETWEEN 0 AND {LONGEST} THEN {given} * 1000 END"


def _words(queries: Source) -> str:
    given = given_sql(queries, TOKENS)
    return (
        f"SELECT {text_id_sql(given)} AS id, {given} AS text FROM {queries.scan} WHERE {given} IS"
        " NOT NULL"
    )


def _catalogue(engine: Engine, products: Source, categories: Source) -> tuple[str, dict[str, int]]:
    """SQL of the products, and the rows that are left out by reason."""
    listed = (
        f"SELECT {id_sql(products, 'itemId', False)} AS item, {number_sql(products, 'pricelog2')}"
        f" AS price_log2, {given_sql(products, 'pricelog2')} AS given,"
        f" {given_sql(products, 'product.name.tokens')} AS title FROM {products.scan}"
    )
    dear = ("given IS NOT NULL AND price_log2 IS NULL", "pricelog2 is no finite number")
    good, _, rejected = sift(engine, listed, [no_id("item"), dear], "products: ")
    filed = (
        f"SELECT {id_sql(categories, 'itemId', False)} AS item,"
        f" {id_sql(categories, 'categoryId', False)} AS category "
    )
    filed += f"FROM {categories.scan}"
    filed, rows, bad = sift(
        engine, filed, [no_id("item"), no_id("category")], "product-categories: "
    )
    one = f"SELECT item, MIN(category) AS category FROM ({filed}) AS f GROUP BY item"
    others = rows - int(engine.one(f"SELECT COUNT(*) FROM ({one}) AS o")[0])
    more = {"product-categories: another category of a product; the smallest counts": others}
    return (
        (
            "SELECT COALESCE(p.item, c.item) AS item, c.category, p.price_log2, p.title "
            f"FROM ({good}) AS p FULL OUTER JOIN ({one}) AS c ON p.item = c.item"
        ),
        rejected | bad | more,
    )
