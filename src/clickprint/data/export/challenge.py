"""A log as the directory of RecSys Challenge 2025: the organisers' tools, and `clickprint
challenge`, run on it.

Source: spec/challenge-protocol.md, "Directory" and "Split".
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.files import new_folder, whole, write_array
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.time import Time, Window, show
from clickprint.data.adapters.challenge import DAYS_IN_TARGET, FILES, PROPERTIES
from clickprint.data.adapters.staging import workplace
from clickprint.data.check import SIXTEEN_CODES, sift
from clickprint.data.engine import (
    Engine,
    clock_sql,
    in_sql,
    kept,
    matches_sql,
    name,
    quote,
    select_sql,
)
from clickprint.data.export import CHALLENGE
from clickprint.data.export.anonymise import Anonymise
from clickprint.data.export.codes import EMPTY, TEXTS, Characters, Quantiser, Vectors
from clickprint.data.features import bucket_sql, price_edges
from clickprint.data.log import EventLog
from clickprint.data.parquet import TableWriter
from clickprint.data.split import anchored

USER = name("user")
VIEW, BUY = (
    next(place for place, (r, _) in enumerate(FILES.values()) if r is role)
    for role in (Role.VIEW, Role.BUY)
)
LABELS = 100  # a task, and price buckets
SAMPLE = 20_000  # texts that the codes are learned from
MISSING = 0  # category and price bucket of an item without one
LABELLED = {
    "category": "category",
    "sku": "sku",
    "price": "price",
    "new_sku": "sku",
}  # task → column


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did: rows of each file, events left out and gaps filled by reason, and the
    windows that the labels are from.
    """

    rows: dict[str, int]
    left_out: dict[str, int]
    filled: dict[str, int]
    train: Window
    valid: Window


def export_challenge(
    log: EventLog,
    folder: Path,
    *,
    relevant: Int64[np.ndarray, "U"] | None = None,
    horizon_days: int = DAYS_IN_TARGET,
    anonymise: Anonymise | None = None,
    vectors: Vectors | None = None,
    overwrite: bool = False,
    inputs: str = "",
    progress: Progress = silent,
) -> Exported:
    """Writes `log` to `folder`, whole or not at all.

    The folder must be new or empty; with `overwrite` it may be an older export. `inputs` is what
    the export is made from, for the folder's mark.

    Kinds go by their role: buy, cart, remove, view and search become the five files, several kinds
    of one role become one, events of other roles are left out and counted. Times are cut to the
    second, rows are in the order of (time, client, third column). A view's url is the event's, or
    its item where the log has no urls.

    An item's properties are those known at the training window's start, or for a later item its
    first ones; without a category or price it gets 0. Where the catalogue has no price buckets, an
    item's price (the median of its events in the past; of all, for a later item) is cut at the
    100-quantiles of the past's event prices. Texts that are no 16 codes are quantised: `vectors`
    (by default hashed groups of characters) of the text, and books learned from the past's texts.

    relevant_clients are `relevant`, or all with an event before the training window;
    active_clients those with a purchase before it. Label values are the 100 most bought of the
    training window (ties: the smaller first), new_sku without the past's 100 most bought. The
    organisers' tools always split at 14 days; with another `horizon_days` clients and labels are
    of the other window.

    Raises ConfigError for a log without a clock or a folder that is not empty, DataError where
    nothing was bought or the log is too short.
    """
    folder = Path(folder)
    new_folder(folder, CHALLENGE, overwrite=overwrite)
    train, valid = anchored(log, horizon_days)
    engine = log.engine
    with ExitStack() as stack:

        def keep(rows: str | pa.Table) -> str:
            return stack.enter_context(kept(engine, rows))

        room = stack.enter_context(workplace(folder))
        part = stack.enter_context(whole(folder, CHALLENGE, inputs=inputs))
        for below in ("input", "target"):
            (part / below).mkdir(parents=True)
        deny = np.zeros(0, np.int64) if anonymise is None else anonymise.deny
        source = _Source(log, room, train.start, keep(pa.table({"item": np.unique(deny)})))
        quantiser = _quantiser(source, vectors, anonymise)
        good, rows, left_out = _events(source, quantiser, progress)
        every, filled = _items(source, quantiser)
        items = keep(every)
        wanted = None if relevant is None else keep(pa.table({"user": relevant}))
        maps = {}
        if anonymise is not None:
            for column, sql in _ids(good, items, wanted).items():
                maps[column] = keep(anonymise.ids_sql(column, sql))
        anew = _Anew(engine, maps)
        anew.check()
        written = {}
        for place, (file, (_, about)) in enumerate(FILES.items()):
            progress(f"write {file}", place, len(FILES))
            sql, path = anew.file(good, place, about), part / f"{file}.parquet"
            written[file] = engine.write(sql, path, in_order=True)
        assert sum(written.values()) == rows
        path = part / f"{PROPERTIES}.parquet"
        written[PROPERTIES] = engine.write(anew.properties(items), path, in_order=True)
        past = f"SELECT DISTINCT {USER} FROM ({good}) AS g WHERE {name('time')} < {train.start}"
        clients = anew.users(past)
        if not len(clients):
            said = f"nothing happened before {show(train.start)}; the log is too short"
            raise DataError(log.manifest.name, said)
        if wanted is not None:
            clients = anew.users(f"SELECT {USER} FROM {wanted}")
        write_array(part / "input" / "relevant_clients.npy", clients)
        buyers = anew.users(f"{past} AND file = {BUY}")
        write_array(part / "target" / "active_clients.npy", buyers)
        for file, values in _labels(engine, part, train).items():
            write_array(part / "target" / f"{file}.npy", values)
        return Exported(written, left_out, filled, train, valid)


@dataclass(frozen=True, slots=True)
class _Source:
    log: EventLog
    room: Path  # for what is only needed while writing
    cutoff: Time
    deny: str  # a kept relation of items

    def attribute(self, type_: AttributeType, *favourites: str) -> str | None:
        """The attribute of this type: the first favourite that the log has, else the first."""
        names = self.log.manifest.of_type(type_)
        return next((n for n in (*favourites, *names) if n in names), None)


def _quantiser(
    source: _Source, vectors: Vectors | None, anonymise: Anonymise | None
) -> Quantiser | None:
    """What turns texts to codes, learned from those of the past; None where no text needs it."""
    log, time = source.log, name("time")
    samples = []
    if _has_texts(log):
        asked = f"{log.where((Role.SEARCH,), None)} AND {time} < {source.cutoff}"
        searches = f"SELECT DISTINCT query FROM {log.events} WHERE {asked}"
        texts = log.texts["query"]
        samples.append(f"SELECT t.text FROM {texts} AS t JOIN ({searches}) AS s ON t.id = s.query")
    if (title := _title(source)) is not None:
        known = f"(known_from IS NULL OR known_from < {source.cutoff})"
        samples.append(f"{_titles(log, title)} AND {known}")
    if not samples:
        return None
    words: list[str] = []
    for sql in samples:
        sample = log.engine.table(f"{sql} ORDER BY md5(text) LIMIT {SAMPLE}")
        words += sample.column("text").to_pylist()
    rng = RNG(0 if anonymise is None else anonymise.seed).child("codes")
    return Quantiser.fit(words, vectors or Characters(rng.child("characters").integer()), rng)


def _has_texts(log: EventLog) -> bool:
    """Whether its searches are texts that are no codes."""
    manifest = log.manifest
    return manifest.query == "text" and "query" in manifest.columns and "query" in log.texts


def _title(source: _Source) -> str | None:
    """The attribute with the item's text, where no attribute has its codes."""
    if source.attribute(AttributeType.CODES):
        return None
    return source.attribute(AttributeType.TEXT, "title", "name")


def _titles(log: EventLog, title: str) -> str:
    """SQL: every text of this attribute, each once."""
    text = name(title)
    return f"SELECT DISTINCT {text} AS text FROM {log.items} WHERE {text} IS NOT NULL"


def _coded(engine: Engine, texts: str, quantiser: Quantiser, path: Path) -> str:
    """A relation (text, codes) of every text (each once) that the SQL `texts` gives."""
    form = pa.schema([("text", pa.string()), ("codes", pa.string())])
    with TableWriter(path, form) as writer:
        for batch in engine.batches(texts, TEXTS):
            words = batch.column("text").cast(pa.string())
            columns = [words, quantiser.texts(words.to_pylist())]
            writer.write_table(pa.Table.from_arrays(columns, schema=form))
    return engine.scan([path])


def _events(
    source: _Source, quantiser: Quantiser | None, progress: Progress
) -> tuple[str, int, dict[str, int]]:
    """SQL of the events that the challenge has a file for, their number, the others by reason.

    It gives time, user, file, item, url and query.
    """
    log, columns, kinds = source.log, source.log.manifest.columns, source.log.manifest.kinds
    queries = "SELECT CAST(NULL AS BIGINT) AS id, CAST(NULL AS VARCHAR) AS codes"
    if _has_texts(log):
        assert quantiser is not None
        texts, path = log.texts["query"], source.room / "queries.parquet"
        coded = _coded(log.engine, f"SELECT DISTINCT text FROM {texts}", quantiser, path)
        queries = f"SELECT t.id, c.codes FROM {texts} AS t JOIN {coded} AS c ON t.text = c.text"
    elif "query" in columns and "query" in log.texts:
        sixteen = matches_sql("text", SIXTEEN_CODES)
        queries = f"SELECT id, text AS codes FROM {log.texts['query']} WHERE {sixteen}"
    files = {role: file for file, (role, _) in enumerate(FILES.values())}
    file = " ".join(
        f"WHEN {code} THEN {files[k.role]}" for code, k in enumerate(kinds) if k.role in files
    )
    picks = {
        "time": f"e.{name('time')}",
        "user": f"e.{USER}",
        "file": f"CASE e.kind {file} END",
        "kind": "e.kind",
        "item": "e.item",
        "query": "q.codes",
        "url": "e.url" if "url" in columns else "e.item",
        "denied": "d.item",
    }
    on = "e.query = q.id" if "query" in columns else "1 = 0"
    denied = f"LEFT JOIN {source.deny} AS d ON e.item = d.item"
    rows = f"{log.events} AS e {denied} LEFT JOIN ({queries}) AS q ON {on}"
    skus = in_sql("file", (n for n, (_, about) in enumerate(FILES.values()) if about == "sku"))
    reasons = [
        (f"kind = {code}", f"{k.name}: the challenge has no role {k.role.value}")
        for code, k in enumerate(kinds)
        if k.role not in files
    ]
    reasons += [
        ("denied IS NOT NULL", "an item of the deny-list"),
        (f"{skus} AND item IS NULL", "a purchase, cart or removal without an item"),
        (f"file = {files[Role.SEARCH]} AND query IS NULL", "a search without a text"),
    ]
    progress("look at events", 0, log.manifest.events)
    return sift(log.engine, select_sql(picks, rows), reasons)


def _items(source: _Source, quantiser: Quantiser | None) -> tuple[str, dict[str, int]]:
    """SQL of every item but those denied, and how many gaps are filled, by reason.

    It gives item, category, price and name. A null category stays one.
    """
    log, engine, cutoff, none = source.log, source.log.engine, source.cutoff, "CAST(NULL AS {})"
    early = f"known_from IS NULL OR known_from < {cutoff}"
    order = (
        f"CASE WHEN {early} THEN 0 ELSE 1 END,"
        f" CASE WHEN {early} THEN -known_from ELSE known_from END NULLS LAST"
    )
    turn = name("#turn")  # no attribute is called so
    ranked = f"ROW_NUMBER() OVER (PARTITION BY item ORDER BY {order}) AS {turn}"
    known = f"SELECT * FROM (SELECT *, {ranked} FROM {log.items}) AS r WHERE {turn} = 1"
    every = (
        f"SELECT item FROM {log.items} UNION SELECT item FROM {log.events} WHERE item IS NOT NULL"
    )
    category = source.attribute(AttributeType.CATEGORY, "category")
    bucket = source.attribute(AttributeType.PRICE_BUCKET, "price")
    codes, title = source.attribute(AttributeType.CODES, "name"), _title(source)
    joins = f" LEFT JOIN ({known}) AS k ON i.item = k.item"
    price = f"k.{name(bucket)}" if bucket else none.format("BIGINT")
    if bucket is None and "price" in log.manifest.columns:
        price = bucket_sql("COALESCE(p.past, p.ever)", price_edges(log.before(cutoff), LABELS))
        past = f"MEDIAN(CASE WHEN {name('time')} < {cutoff} THEN price END) AS past"
        paid = f"SELECT item, {past}, MEDIAN(price) AS ever FROM {log.events} GROUP BY item"
        joins += f" LEFT JOIN ({paid}) AS p ON i.item = p.item"
    elif bucket is None and source.attribute(AttributeType.NUMBER, "price") == "price":
        dated = f"({early}) AND price IS NOT NULL"
        prices = engine.arrays(f"SELECT price FROM ({known}) AS k WHERE {dated}")["price"]
        price = bucket_sql("k.price", _edges(prices))
    text = none.format("VARCHAR")
    if codes is not None:
        code = f"k.{name(codes)}"
        text = f"CASE WHEN {matches_sql(code, SIXTEEN_CODES)} THEN {code} END"
    elif title is not None:
        assert quantiser is not None
        coded = _coded(engine, _titles(log, title), quantiser, source.room / "titles.parquet")
        joins += f" LEFT JOIN {coded} AS c ON k.{name(title)} = c.text"
        text = "c.codes"
    picks = {
        "item": "i.item",
        "category": f"k.{name(category)}" if category else none.format("BIGINT"),
        "price": f"CAST({price} AS BIGINT)",
        "name": text,
    }
    joins += f" LEFT JOIN {source.deny} AS d ON i.item = d.item WHERE d.item IS NULL"
    given = engine.view(select_sql(picks, f"({every}) AS i{joins}"))
    said = {
        "category": f"items without a category: {MISSING}",
        "price": f"items without a price: bucket {MISSING}",
        "name": f"items without a text: {EMPTY}",
    }
    gaps = engine.one(f"SELECT {', '.join(f'COUNT(*) - COUNT({c})' for c in said)} FROM {given}")
    filled = {
        "item": "item",
        "category": "category",
        "price": f"COALESCE(price, {MISSING})",
        "name": f"COALESCE(name, {quote(EMPTY)})",
    }
    counts = zip(said.values(), gaps, strict=True)
    return select_sql(filled, given), {what: int(n) for what, n in counts if n}


def _edges(prices: Float64[np.ndarray, "N"]) -> list[float]:
    """The inner edges of quantile buckets: fewer where prices repeat."""
    if not len(prices):
        return []
    edges = np.unique(np.quantile(prices, np.arange(1, LABELS) / LABELS, method="higher"))
    return edges[edges > prices.min()].tolist()


def _ids(good: str, items: str, wanted: str | None) -> dict[str, str]:
    """SQL for each column with ids: every id that it has, each once."""
    more = f" UNION SELECT {USER} FROM {wanted}" if wanted else ""
    return {
        "user": f"SELECT DISTINCT id FROM (SELECT {USER} AS id FROM ({good}) AS g{more}) AS u",
        "item": f"SELECT item AS id FROM {items}",
        "category": f"SELECT DISTINCT category AS id FROM {items} WHERE category IS NOT NULL",
        "url": (
            f"SELECT DISTINCT url AS id FROM ({good}) AS g WHERE file = {VIEW} AND url IS NOT NULL"
        ),
    }


@dataclass(frozen=True, slots=True)
class _Anew:
    """The ids as they are written.

    They come from the maps (column → a relation id, anew), or are as they are where there is none.
    """

    engine: Engine
    maps: Mapping[str, str]

    def check(self) -> None:
        """Raises DataError when two ids become one."""
        for column, ids in self.maps.items():
            rows, different = self.engine.one(f"SELECT COUNT(*), COUNT(DISTINCT anew) FROM {ids}")
            if rows != different:
                said = f"{rows - different} ids become the id of another; use another key"
                raise DataError(f"column {column}", said)

    def of_column(self, column: str, value: str) -> tuple[str, str]:
        """SQL: what is written for an id, and the join that it needs."""
        if column not in self.maps:
            return value, ""
        map_ = f"m_{column}"
        return f"{map_}.anew", f" LEFT JOIN {self.maps[column]} AS {map_} ON {value} = {map_}.id"

    def file(self, good: str, place: int, about: str) -> str:
        """SQL: one file of events."""
        user, join = self.of_column("user", f"g.{USER}")
        column, time = "item" if about == "sku" else about, name("timestamp")
        third, other = self.of_column(column, f"g.{column}")
        picks = {"client_id": user, "timestamp": clock_sql(f"g.{name('time')}"), about: third}
        rows = select_sql(picks, f"({good}) AS g{join}{other}")
        return f"{rows} WHERE g.file = {place} ORDER BY {time}, client_id, {about} NULLS FIRST"

    def properties(self, items: str) -> str:
        sku, join = self.of_column("item", "i.item")
        category, other = self.of_column("category", "i.category")
        picks = f"{sku} AS sku, COALESCE({category}, {MISSING}) AS category, i.price, i.name"
        return f"SELECT {picks} FROM {items} AS i{join}{other} ORDER BY sku"

    def users(self, sql: str) -> Int64[np.ndarray, "U"]:
        """The users that the SQL gives, sorted, each once."""
        user, join = self.of_column("user", f"s.{USER}")
        ids = self.engine.arrays(f"SELECT {user} AS id FROM ({sql}) AS s{join}")["id"]
        return np.unique(ids.astype(np.int64))


def _labels(engine: Engine, folder: Path, train: Window) -> dict[str, np.ndarray]:
    """The label files by the rule of the challenge, from the files that were written.

    Values, and their share of the window's purchases.
    """
    buys, items = (
        engine.scan([folder / f"{file}.parquet"]) for file in ("product_buy", PROPERTIES)
    )
    start, end = (quote(show(time)) for time in (train.start, train.end))
    bought = (
        f"(SELECT b.sku, p.category, p.price, b.{name('timestamp')} AS moment FROM {buys} AS b"
        f" JOIN {items} AS p ON b.sku = p.sku) AS b"
    )
    inside = engine.view(f"SELECT * FROM {bought} WHERE moment >= {start} AND moment < {end}")
    before = _most("sku", f"{bought} WHERE moment < {start}")
    usual = f"SELECT value FROM ({before}) AS u ORDER BY n DESC, value LIMIT {LABELS}"
    labels = {}
    for task, column in LABELLED.items():
        rows = f"{inside} WHERE sku NOT IN ({usual})" if task == "new_sku" else inside
        most = f"SELECT * FROM ({_most(column, rows)}) AS c ORDER BY n DESC, value"
        counts = engine.arrays(most)
        values, n = (counts[c].astype(np.int64) for c in ("value", "n"))
        labels[f"propensity_{task}"] = values[:LABELS]
        labels[f"popularity_propensity_{task}"] = n[:LABELS] / max(1, n.sum())
    return labels


def _most(column: str, rows: str) -> str:
    return f"SELECT {column} AS value, COUNT(*) AS n FROM {rows} GROUP BY {column}"
