"""RecSys Challenge 2025: the organisers' directory, read, opened as it lies, and split in place.

Source: spec/challenge-protocol.md, "Directory" and "Split"; the data are at
https://recsys.synerise.com/data-set (CC BY-NC 4.0).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64, Int64

from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Time, show
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.labels import floats, integers
from clickprint.data.check import (
    SIXTEEN_CODES,
    Need,
    arrow_schema,
    blaming,
    is_text,
    no_id,
    no_time,
    parquet_problems,
    refuse,
    sift,
)
from clickprint.data.engine import (
    Engine,
    matches_sql,
    micros_sql,
    name,
    text_id_sql,
    timestamp_sql,
)
from clickprint.data.log import EventLog
from clickprint.data.split import windows
from clickprint.data.store import gather

DAYS_IN_TARGET = 14
# In funnel order, which breaks ties in time: file → (role, column with what the event is about).
FILES: dict[str, tuple[Role, str]] = {
    "page_visit": (Role.VIEW, "url"),
    "search_query": (Role.SEARCH, "query"),
    "add_to_cart": (Role.CART, "sku"),
    "remove_from_cart": (Role.REMOVE, "sku"),
    "product_buy": (Role.BUY, "sku"),
}
KINDS = tuple(Kind(file, role) for file, (role, _) in FILES.items())
COLUMNS = ("query", "url")
ATTRIBUTES = {
    "category": AttributeType.CATEGORY,
    "price": AttributeType.PRICE_BUCKET,
    "name": AttributeType.CODES,
}
PROPERTIES = "product_properties"
PROPERTY_NEEDS: dict[str, Need] = {"sku": "id", "category": "id", "price": "id", "name": "text"}
TARGET_NEEDS: dict[str, Need] = {"client_id": "id", "sku": "id", "category": "id", "price": "id"}
TIME_FORM = "%Y-%m-%d %H:%M:%S"


CARD = Card(
    title=(
        "RecSys Challenge 2025 (Synerise): half a year of a shop's purchases, carts, page visits"
        " and searches"
    ),
    files={
        "product_buy.parquet, add_to_cart.parquet, remove_from_cart.parquet": (
            "client_id, timestamp, sku"
        ),
        "page_visit.parquet": "client_id, timestamp, url",
        "search_query.parquet": "client_id, timestamp, query: 16 codes from 0 to 255",
        "product_properties.parquet": "sku, category, price (a bucket), name (16 codes)",
        "input/relevant_clients.npy": "whose profiles are wanted; may be absent",
    },
    licence="CC BY-NC 4.0",
    where="https://recsys.synerise.com/data-set",
    dropped=(
        "rows without a client, a sku or a time YYYY-MM-DD HH:MM:SS",
        "searches that are not 16 codes",
        "properties without a sku",
    ),
    notes=("times have no zone and are taken as UTC", "a page visit without a url is kept"),
)


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What a split did: its dates, and the rows of each file it wrote (by path below the folder)."""

    end: Time
    train_start: Time
    validation_start: Time
    rows: dict[str, int]


def read(folder: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The whole log in `folder` (before any split) in the canonical form at `out`.

    Rows without a client, a readable time, a sku or sixteen codes are counted in the manifest; a
    page visit without a url is kept. A query's id is that of its text, and the map is kept. Who is
    in input/relevant_clients.npy becomes the population. Raises DataError with every fault of
    every file.
    """
    folder = Path(folder)
    faults, population = _problems(folder, full=False), None
    if (folder / "input" / "relevant_clients.npy").is_file():
        try:
            population = relevant_clients(folder)
        except DataError as fault:
            faults += [f"input/relevant_clients.npy: {p}" for p in fault.problems]
    refuse(folder, faults)
    selects, expected, source = [], 0, {"reader": "challenge"}
    rejected: dict[str, int] = {}
    with blaming(folder):
        for place, (file, (_, about)) in enumerate(FILES.items()):
            progress(f"check {file}", place, len(FILES))
            path = folder / f"{file}.parquet"
            reasons = [no_id("client_id"), no_time("moment")]
            if about == "sku":
                reasons.append(no_id("sku"))
            if about == "query":
                reasons.append(
                    (
                        f"query IS NULL OR NOT {matches_sql('query', SIXTEEN_CODES)}",
                        "no query of 16 codes from 0 to 255",
                    )
                )
            rows = (
                f"SELECT client_id, {_micros(path)} AS moment, {about} FROM {engine.scan([path])}"
            )
            good, count, bad = sift(engine, rows, reasons, f"{file}: ")
            selects.append(_canonical(place, about, f"({good}) AS g", "moment"))
            rejected |= bad
            expected += count
            source[f"{file}.parquet"] = f"{count + sum(bad.values())} rows"
        properties = (
            "SELECT sku AS item, category, price, name FROM"
            f" {engine.scan([folder / f'{PROPERTIES}.parquet'])}"
        )
        catalogue, _, bad = sift(engine, properties, [no_id("item", "sku")], f"{PROPERTIES}: ")
        searches = (
            f"SELECT DISTINCT {text_id_sql('query')} AS id, query AS text FROM"
            f" {engine.scan([folder / 'search_query.parquet'])}"
        )
        return gather(
            Path(out),
            engine=engine,
            name=folder.resolve().name,
            kinds=KINDS,
            columns=COLUMNS,
            selects=selects,
            catalogue=catalogue,
            attributes=ATTRIBUTES,
            texts={"query": f"{searches} WHERE {matches_sql('query', SIXTEEN_CODES)}"},
            query="codes",
            rejected=rejected | bad,
            source=source,
            population=population,
            expected=expected,
            progress=progress,
        )


def open_raw(folder: Path, engine: Engine, *, unsplit: bool) -> EventLog:
    """The log as it lies, nothing converted: the whole one, or what `split` left in input/.

    Footers are looked at, rows are not: a time that cannot be read is an error when it is met. The
    manifest's counts are not known.
    """
    folder = Path(folder)
    events = folder if unsplit else folder / "input"
    refuse(folder, _problems(folder, events, full=True) + _twice(folder, engine))
    paths = {file: events / f"{file}.parquet" for file in FILES}
    selects = [
        _canonical(place, about, engine.scan([paths[file]]), _micros(paths[file], strict=True))
        for place, (file, (_, about)) in enumerate(FILES.items())
    ]
    searches = (
        f"SELECT DISTINCT {text_id_sql('query')} AS id, query AS text FROM"
        f" {engine.scan([paths['search_query']])}"
    )
    properties = (
        "SELECT CAST(sku AS BIGINT) AS item, CAST(NULL AS BIGINT) AS known_from, CAST(category AS"
        " BIGINT) AS category, CAST(price AS BIGINT) AS price, name FROM"
        f" {engine.scan([folder / f'{PROPERTIES}.parquet'])}"
    )
    manifest = Manifest(
        name=folder.resolve().name,
        kinds=KINDS,
        columns=COLUMNS,
        attributes=dict(ATTRIBUTES),
        query="codes",
    )
    with blaming(folder):
        texts = {"query": engine.view(f"{searches} WHERE query IS NOT NULL")}
        return EventLog(
            engine,
            manifest,
            engine.view(" UNION ALL ".join(selects)),
            engine.view(properties),
            texts,
        )


def split(folder: Path, engine: Engine, *, progress: Progress = silent) -> SplitFacts:
    """The organisers' split, in place: input/<event>.parquet and
    target/{train,validation}_target.parquet.

    Rows keep their columns and the order of their file; times become timestamps, as the
    organisers' own files have them. Nothing is written before all is checked, then each file whole
    or not at all. Raises DataError with every fault, among them a bought sku without properties.
    """
    folder = Path(folder)
    refuse(folder, _problems(folder, full=True) + _twice(folder, engine))
    buys = folder / "product_buy.parquet"
    with blaming(folder):
        last = engine.one(f"SELECT MAX({_micros(buys, strict=True)}) FROM {engine.scan([buys])}")[
            0
        ]
        if last is None:
            raise DataError(buys, "nothing was bought, so there is no end to split from")
        train, valid = windows(int(last), DAYS_IN_TARGET)
        targets = {"train": (train.start, train.end), "validation": (valid.start, valid.end)}
        _all_known(folder, engine, train.start)
        known = engine.scan([folder / f"{PROPERTIES}.parquet"])
        wanted = ", ".join(f"b.{name(c)}" for c in arrow_schema(buys).names)
        jobs = {
            f"input/{f}.parquet": _cut(folder / f"{f}.parquet", engine, None, train.start)
            for f in FILES
        }
        for label, (start, end) in targets.items():
            cut = _cut(buys, engine, start, end, numbered=True)
            joined = (
                f"SELECT {wanted}, p.category, p.price, p.name FROM ({cut}) AS b JOIN {known} AS p"
                " ON b.sku = p.sku"
            )
            jobs[f"target/{label}_target.parquet"] = f"{joined} ORDER BY b.file_row_number"
        rows = {}
        for place, (file, sql) in enumerate(jobs.items()):
            progress(f"write {file}", place, len(jobs))
            rows[file] = engine.write(sql, folder / file, in_order=True)
    return SplitFacts(int(last), train.start, valid.start, rows)


def labels(folder: Path, task: str) -> tuple[Int64[np.ndarray, "T"], Float64[np.ndarray, "T"]]:
    """The label values of a propensity task (`propensity_sku`, …) and their popularity, in the
    files' order. Raises DataError.
    """
    target = Path(folder) / "target"
    values, popularity = (
        integers(target / f"{task}.npy"),
        floats(target / f"popularity_{task}.npy"),
    )
    faults = []
    if len(values) != len(popularity):
        faults.append(
            f"{task}.npy has {len(values)} labels and popularity_{task}.npy {len(popularity)};"
            " they must be equal"
        )
    if len(np.unique(values)) != len(values):
        faults.append(
            f"{task}.npy: {len(values) - len(np.unique(values))} labels are there more than once"
        )
    if not len(values):
        faults.append(f"{task}.npy holds no label")
    refuse(target, faults)
    return values, popularity


def active_clients(folder: Path) -> Int64[np.ndarray, "U"]:
    """target/active_clients.npy: whom churn is asked about, in the file's order."""
    return integers(Path(folder) / "target" / "active_clients.npy")


def relevant_clients(folder: Path) -> Int64[np.ndarray, "U"]:
    """input/relevant_clients.npy: whose profiles are wanted, in the file's order."""
    return integers(Path(folder) / "input" / "relevant_clients.npy")


def target_rows(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What was bought in the train and in the validation window: client_id, sku, category and
    price, int64, row by row.
    """
    paths = [
        Path(folder) / "target" / f"{label}_target.parquet" for label in ("train", "validation")
    ]
    faults = [
        f for p in paths for f in parquet_problems(p, TARGET_NEEDS, full=tuple(TARGET_NEEDS))
    ]
    hint = (
        ["make them with `clickprint challenge split`"]
        if any(f.endswith("not found") for f in faults)
        else []
    )
    refuse(Path(folder) / "target", faults + hint)
    train, valid = (
        {c: t.column(c).to_numpy().astype(np.int64) for c in TARGET_NEEDS}
        for t in map(_table, paths)
    )
    return train, valid


def _table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path, columns=list(TARGET_NEEDS))
    except (OSError, pa.ArrowException) as fault:
        raise DataError(
            path, f"cannot be read ({str(fault).splitlines()[0]}); split again"
        ) from None
    refuse(
        path,
        [
            f"{table.column(c).null_count} rows have no {c}"
            for c in TARGET_NEEDS
            if table.column(c).null_count
        ],
    )
    return table


def _problems(folder: Path, events: Path | None = None, *, full: bool) -> list[str]:
    """Every fault that the footers of the event files and the properties show.

    `full` refuses rows without what every row needs.
    """
    if not folder.is_dir():
        return [
            (
                "not found"
                if not folder.exists()
                else "this is a file, expected the challenge's directory"
            )
        ]
    faults = []
    for file, (_, about) in FILES.items():
        needs: Mapping[str, Need] = {
            "client_id": "id",
            "timestamp": "time",
            about: "text" if about == "query" else "id",
        }
        needed = [c for c in needs if c != "url"] if full else []
        faults += parquet_problems((events or folder) / f"{file}.parquet", needs, full=needed)
    if events not in (None, folder) and any(f.endswith("not found") for f in faults):
        faults.append("input/ is made by `clickprint challenge split`")
    return faults + parquet_problems(
        folder / f"{PROPERTIES}.parquet", PROPERTY_NEEDS, full=("sku",) if full else ()
    )


def _twice(folder: Path, engine: Engine) -> list[str]:
    """Names skus with more than one row of properties; they would multiply the rows they are
    joined to.
    """
    path = folder / f"{PROPERTIES}.parquet"
    if parquet_problems(path, PROPERTY_NEEDS):
        return []
    with blaming(path):
        found = engine.arrays(
            f"SELECT sku FROM {engine.scan([path])} GROUP BY sku HAVING COUNT(*) > 1 ORDER BY sku"
        )["sku"]
    return [f"{path.name}: {_some(found, 'sku')} more than one row"] if len(found) else []


def _all_known(folder: Path, engine: Engine, start: Time) -> None:
    """Refuses purchases in the target windows whose sku has no properties, or no category or
    price.
    """
    bought = (
        f"SELECT DISTINCT sku FROM ({_cut(folder / 'product_buy.parquet', engine, start, None)})"
        " AS c"
    )
    known = (
        f"SELECT sku FROM {engine.scan([folder / f'{PROPERTIES}.parquet'])} WHERE category IS NOT"
        " NULL AND price IS NOT NULL"
    )
    found = engine.arrays(
        f"SELECT b.sku FROM ({bought}) AS b LEFT JOIN ({known}) AS k ON b.sku = k.sku WHERE k.sku"
        " IS NULL ORDER BY b.sku"
    )["sku"]
    if len(found):
        path = f"{PROPERTIES}.parquet"
        raise DataError(
            folder,
            f"{path}: {_some(found, 'bought sku')} no row with category and price, expected one"
            f" for every sku bought since {show(start)}",
        )


def _some(found: Int64[np.ndarray, "V"], what: str) -> str:
    """`sku 5 has`, or `3 skus (5, 6, 7) have`, ten at most."""
    if len(found) == 1:
        return f"{what} {found[0]} has"
    return (
        f"{len(found)} {what}s"
        f" ({', '.join(map(str, found[:10].tolist()))}{', …' if len(found) > 10 else ''}) have"
    )


def _moment(path: Path, *, strict: bool = False) -> str:
    """SQL: the timestamp of a row, from the text or the timestamp that this file has."""
    if is_text(arrow_schema(path).field("timestamp").type):
        return timestamp_sql(name("timestamp"), TIME_FORM, strict=strict)
    return f"CAST({name('timestamp')} AS TIMESTAMP)"


def _micros(path: Path, *, strict: bool = False) -> str:
    return micros_sql(_moment(path, strict=strict))


def _canonical(kind: int, about: str, source: str, moment: str) -> str:
    """SQL: the events of one file under the canonical names."""
    item, query, url = (
        column if about == wanted else "CAST(NULL AS BIGINT)"
        for wanted, column in (
            ("sku", "CAST(sku AS BIGINT)"),
            ("query", text_id_sql("query")),
            ("url", "CAST(url AS BIGINT)"),
        )
    )
    return (
        f"SELECT {moment} AS {name('time')}, CAST(client_id AS BIGINT) AS {name('user')},"
        f" CAST({kind} AS SMALLINT) AS kind, {item} AS item, {query} AS query, {url} AS url FROM"
        f" {source}"
    )


def _cut(
    path: Path, engine: Engine, start: Time | None, end: Time | None, numbered: bool = False
) -> str:
    """SQL: the rows of an event file with start ≤ t < end, its columns as they are but the time,
    which becomes a timestamp.
    """
    moment = f"{_moment(path, strict=True)} AS {name('timestamp')}"
    columns = [moment if c == "timestamp" else name(c) for c in arrow_schema(path).names] + (
        ["file_row_number"] if numbered else []
    )
    time = micros_sql(name("timestamp"))
    bounds = ([f"{time} >= {start}"] if start is not None else []) + (
        [f"{time} < {end}"] if end is not None else []
    )
    return (
        f"SELECT * FROM (SELECT {', '.join(columns)} FROM"
        f" {engine.scan([path], numbered=numbered)}) AS r WHERE {' AND '.join(bounds)}"
    )
