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
from clickprint.data.adapters.staging import header, there
from clickprint.data.adapters.zipped import opened
from clickprint.data.check import Reason, no_id, no_time, refuse, sift
from clickprint.data.engine import Engine, iso_sql, name, rows_in, select_sql, text_id_sql
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
    dropped="""
        - lines with too many or too few columns; rows without a session, an item (but of queries),
          a date or a timeframe from 0 to 31 days
        - clicks whose query is not there
        - rows of the catalogue without an item, a second category of a product
    """,
    notes="""
        - most userId are NA. user = session (the default) makes every session a user, as the
          field's papers do; with the option user = user the rows that have a userId belong to it,
          and the others to the user -1 - sessionId
        - time is eventdate (a date without a zone, taken as UTC) plus timeframe, the milliseconds
          since the session's first query
        - a query with words is a search, one without is a browse (a category's page, whose
          categoryId is the scenario); a click has its query's words and category, date and user;
          purchases have no price
        - not kept: the lists of shown items, durations, order numbers; is.test marks queries whose
          clicks are not public
        - the catalogue has no times, so it is always known: price_log2, category, and title, which
          are ids of tokens
    """,
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

    - `user`: who a user is where most rows have no userId: the "session", or ("user") the userId
      where there is one (else -1 - sessionId).
    - `views_only`: read train-item-views.csv alone, without a catalogue.

    Raises DataError with every fault of every file, a product twice among them, and where no event
    can be used; ConfigError for another `user`.
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
    with opened(folder, out, "csv") as (_, room):
        progress("look", 0, 0)
        sources = {
            n: open_source(engine, files[n], list(columns[n].values()), room / f"{n}.parquet")
            for n in names
        }
        selects, expected, rejected = [], 0, dict[str, int]()
        for file, source in sources.items():
            rejected |= source.rejected(file)
        for sql, n, bad in _events(engine, sources, columns, user):
            selects.append(sql)
            expected += n
            rejected |= bad
        total = expected + sum(rejected.values())
        catalogue, left, words = None, dict[str, int](), dict[str, str]()
        if not views_only:
            catalogue, left = _catalogue(
                engine, sources["products"], sources["product-categories"]
            )
            words = {"query": _words(sources["train-queries"])}
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
    unread = "given_user IS NOT NULL AND user_id IS NULL"
    no_user = (unread, "userId is no whole number within int64")
    whose = [no_user] if user == "user" else []
    person = "session" if user == "session" else "COALESCE(user_id, -1 - session)"
    none, time = "CAST(NULL AS BIGINT)", no_time(name("time"))

    def add(file: str, rows: str, reasons: list[Reason], kind: str, **more: str) -> str:
        good, n, bad = sift(engine, rows, reasons, f"{file}: ")
        picks = {
            "time": name("time"),
            "user": person,
            "kind": f"CAST({kind} AS SMALLINT)",
            "item": "item",
            "session": "session",
            "scenario": none,
            "query": none,
            **more,
        }
        made.append((select_sql(picks, f"({good}) AS g"), n, bad))
        return good

    def base(file: str) -> dict[str, str]:
        source, column = sources[file], columns[file]
        day = iso_sql(given_sql(source, column["eventdate"]), "UTC")
        return {
            "session": id_sql(source, column["sessionId"]),
            "user_id": id_sql(source, column["userId"]),
            "given_user": given_sql(source, column["userId"]),
            "day": day,
            "time": f"{day} + {_elapsed(source, column['timeframe'])}",
        }

    for file, kind in ((VIEWS, VIEW), ("train-purchases", PURCHASE)):
        if file in sources:
            item = id_sql(sources[file], columns[file]["itemId"])
            rows = select_sql({**base(file), "item": item}, sources[file].scan)
            add(file, rows, [no_id("session"), *whose, no_id("item"), time], str(kind))
    if "train-queries" not in sources:
        return made
    asked, clicked = sources["train-queries"], sources["train-clicks"]
    picks = {
        "query_id": id_sql(asked, "queryId"),
        **base("train-queries"),
        "words": text_id_sql(given_sql(asked, TOKENS)),
        "category": id_sql(asked, "categoryId"),
    }
    which = f"CASE WHEN words IS NULL THEN {BROWSE} ELSE {SEARCH} END"
    page = {"scenario": "category", "query": "words"}
    rows = select_sql(picks, asked.scan)
    reasons = [no_id("session"), *whose, time]
    good = add("train-queries", rows, reasons, which, item=none, **page)
    # A query that stands there twice must not make two clicks of one.
    ties = ", ".join(f"{c} NULLS LAST" for c in ("user_id", "words", "category"))
    turn = f"ROW_NUMBER() OVER (PARTITION BY query_id ORDER BY session, day, {ties}) AS turn"
    ranked = f"SELECT *, {turn} FROM ({good}) AS q WHERE query_id IS NOT NULL"
    clicks = {
        "query_id": id_sql(clicked, "queryId"),
        "item": id_sql(clicked, "itemId"),
        "elapsed": _elapsed(clicked, "timeframe"),
    }
    both = (
        "SELECT c.item, q.session, q.user_id, q.words, q.category,"
        f" q.day + c.elapsed AS {name('time')} FROM ({select_sql(clicks, clicked.scan)}) AS c"
        f" LEFT JOIN (SELECT * FROM ({ranked}) AS t WHERE turn = 1) AS q"
        " ON c.query_id = q.query_id"
    )
    orphan = ("session IS NULL", "its query is not there")
    add("train-clicks", both, [no_id("item"), orphan, time], str(CLICK), **page)
    return made


def _elapsed(source: Source, column: str) -> str:
    """Microseconds since the start of the session."""
    given = f"TRY_CAST({given_sql(source, column)} AS BIGINT)"
    return f"CASE WHEN {given} BETWEEN 0 AND {LONGEST} THEN {given} * 1000 END"


def _words(queries: Source) -> str:
    given = given_sql(queries, TOKENS)
    ids = select_sql({"id": text_id_sql(given), "text": given}, queries.scan)
    return f"{ids} WHERE {given} IS NOT NULL"


def _catalogue(engine: Engine, products: Source, categories: Source) -> tuple[str, dict[str, int]]:
    """SQL of the products, and the rows that are left out by reason."""
    picks = {
        "item": id_sql(products, "itemId"),
        "price_log2": number_sql(products, "pricelog2"),
        "given": given_sql(products, "pricelog2"),
        "title": given_sql(products, "product.name.tokens"),
    }
    unread = ("given IS NOT NULL AND price_log2 IS NULL", "pricelog2 is no finite number")
    rows, reasons = select_sql(picks, products.scan), [no_id("item"), unread]
    good, _, rejected = sift(engine, rows, reasons, "products: ")
    picks = {"item": id_sql(categories, "itemId"), "category": id_sql(categories, "categoryId")}
    rows, reasons = select_sql(picks, categories.scan), [no_id("item"), no_id("category")]
    filed, n, bad = sift(engine, rows, reasons, "product-categories: ")
    one = f"SELECT item, MIN(category) AS category FROM ({filed}) AS f GROUP BY item"
    others = "product-categories: another category of a product; the smallest counts"
    joined = (
        "SELECT COALESCE(p.item, c.item) AS item, c.category, p.price_log2, p.title"
        f" FROM ({good}) AS p FULL OUTER JOIN ({one}) AS c ON p.item = c.item"
    )
    return joined, rejected | bad | {others: n - rows_in(engine, one)}
