"""RecSys Challenge 2025: the organisers' directory, read, opened as it lies, and split in place.

Source: spec/challenge-protocol.md, "Directory" and "Split"; the data are at
https://recsys.synerise.com/data-set (CC BY-NC 4.0).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.parquet import read_table
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Time, show
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.labels import floats, integers
from clickprint.data.check import (
    SIXTEEN_CODES,
    Need,
    arrow_schema,
    blaming,
    folder_faults,
    is_text,
    no_id,
    no_time,
    noting,
    parquet_problems,
    refuse,
    sift,
)
from clickprint.data.engine import (
    Engine,
    matches_sql,
    micros_sql,
    name,
    select_sql,
    text_id_sql,
    timestamp_sql,
)
from clickprint.data.log import EventLog
from clickprint.data.split import last_windows
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
    dropped="""
        - rows without a client, a sku or a time YYYY-MM-DD HH:MM:SS
        - searches that are not 16 codes
        - properties without a sku
    """,
    notes="""
        - times have no zone and are taken as UTC
        - a page visit without a url is kept
    """,
)


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What a split did: its dates, and the rows of each file it wrote (by path in the folder)."""

    end: Time
    train_start: Time
    validation_start: Time
    rows: dict[str, int]


def read(folder: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The whole log in `folder` (before any split) in the canonical form at `out`.

    Rows without a client, a readable time, a sku or sixteen codes are counted in the manifest; a
    page visit without a url is kept. A query's id is that of its text, and the map is kept. The
    users of input/relevant_clients.npy become the population. Raises DataError with every fault of
    every file.
    """
    folder = Path(folder)
    faults, population = _problems(folder, full=False), None
    if (folder / "input" / "relevant_clients.npy").is_file():
        with noting(faults, "input/relevant_clients.npy"):
            population = relevant_clients(folder)
    refuse(folder, faults)
    selects, expected, source = [], 0, {"reader": "challenge"}
    rejected: dict[str, int] = {}
    sixteen = matches_sql("query", SIXTEEN_CODES)
    no_query = (f"query IS NULL OR NOT {sixteen}", "no query of 16 codes from 0 to 255")
    needed = {"sku": [no_id("sku")], "query": [no_query], "url": []}
    with blaming(folder):
        for code, (file, (_, about)) in enumerate(FILES.items()):
            progress(f"check {file}", code, len(FILES))
            path = folder / f"{file}.parquet"
            picks = {"client_id": "client_id", "moment": _micros(path), about: about}
            rows = select_sql(picks, engine.scan([path]))
            reasons = [no_id("client_id"), no_time("moment"), *needed[about]]
            good, count, bad = sift(engine, rows, reasons, f"{file}: ")
            selects.append(_canonical(code, about, f"({good}) AS g", "moment"))
            rejected |= bad
            expected += count
            source[f"{file}.parquet"] = f"{count + sum(bad.values())} rows"
        properties = engine.scan([folder / f"{PROPERTIES}.parquet"])
        rows = f"SELECT sku AS item, category, price, name FROM {properties}"
        catalogue, _, bad = sift(engine, rows, [no_id("item", "sku")], f"{PROPERTIES}: ")
        return gather(
            Path(out),
            engine=engine,
            name=folder.resolve().name,
            kinds=KINDS,
            columns=COLUMNS,
            selects=selects,
            catalogue=catalogue,
            attributes=ATTRIBUTES,
            texts={"query": f"{_searches(engine, folder)} WHERE {sixteen}"},
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
    selects = []
    for code, (file, (_, about)) in enumerate(FILES.items()):
        path = events / f"{file}.parquet"
        selects.append(_canonical(code, about, engine.scan([path]), _micros(path, strict=True)))
    properties = {
        "item": "CAST(sku AS BIGINT)",
        "known_from": "CAST(NULL AS BIGINT)",
        "category": "CAST(category AS BIGINT)",
        "price": "CAST(price AS BIGINT)",
        "name": "name",
    }
    items = select_sql(properties, engine.scan([folder / f"{PROPERTIES}.parquet"]))
    manifest = Manifest(
        name=folder.resolve().name,
        kinds=KINDS,
        columns=COLUMNS,
        attributes=dict(ATTRIBUTES),
        query="codes",
    )
    with blaming(folder):
        texts = {"query": engine.view(f"{_searches(engine, events)} WHERE query IS NOT NULL")}
        log = engine.view(" UNION ALL ".join(selects))
        return EventLog(engine, manifest, log, engine.view(items), texts)


def split(folder: Path, engine: Engine, *, progress: Progress = silent) -> SplitFacts:
    """The organisers' split, in place: input/<event>.parquet and target/*_target.parquet.

    Rows keep their columns and the order of their file; times become timestamps, as the
    organisers' own files have them. Nothing is written before all is checked, then each file whole
    or not at all. Raises DataError with every fault, among them a bought sku without properties.
    """
    folder = Path(folder)
    refuse(folder, _problems(folder, full=True) + _twice(folder, engine))
    buys = folder / "product_buy.parquet"
    with blaming(folder):
        bought = f"SELECT {_micros(buys, strict=True)} AS time FROM {engine.scan([buys])}"
        (last,) = engine.one(f"SELECT MAX(time) FROM ({bought}) AS b")
        if last is None:
            raise DataError(buys, "nothing was bought, so there is no end to split from")
        train, valid = last_windows(engine, f"({bought}) AS b", buys, int(last), DAYS_IN_TARGET)
        _all_known(folder, engine, train.start)
        known = engine.scan([folder / f"{PROPERTIES}.parquet"])
        wanted = ", ".join(f"b.{name(c)}" for c in arrow_schema(buys).names)
        jobs = {
            f"input/{f}.parquet": _cut(folder / f"{f}.parquet", engine, None, train.start)
            for f in FILES
        }
        for label, window in (("train", train), ("validation", valid)):
            cut = _cut(buys, engine, window.start, window.end, numbered=True)
            jobs[f"target/{label}_target.parquet"] = (
                f"SELECT {wanted}, p.category, p.price, p.name FROM ({cut}) AS b"
                f" JOIN {known} AS p ON b.sku = p.sku ORDER BY b.file_row_number"
            )
        rows = {}
        for place, (file, sql) in enumerate(jobs.items()):
            progress(f"write {file}", place, len(jobs))
            rows[file] = engine.write(sql, folder / file, in_order=True)
    return SplitFacts(int(last), train.start, valid.start, rows)


def labels(folder: Path, task: str) -> tuple[Int64[np.ndarray, "T"], Float64[np.ndarray, "T"]]:
    """The label values of a propensity task (`propensity_sku`, …) and their popularity.

    In the order of the files. Raises DataError.
    """
    target = Path(folder) / "target"
    values = integers(target / f"{task}.npy")
    popularity = floats(target / f"popularity_{task}.npy")
    faults = []
    if len(values) != len(popularity):
        sizes = f"{len(values)} labels and popularity_{task}.npy {len(popularity)}"
        faults.append(f"{task}.npy has {sizes}; they must be equal")
    if twice := len(values) - len(np.unique(values)):
        faults.append(f"{task}.npy: {twice} labels are there more than once")
    if not len(values):
        faults.append(f"{task}.npy holds no label")
    refuse(target, faults)
    return values, popularity


def active_clients(folder: Path) -> Int64[np.ndarray, "U"]:
    """target/active_clients.npy: the users whom churn is asked about, in the file's order."""
    return integers(Path(folder) / "target" / "active_clients.npy")


def relevant_clients(folder: Path) -> Int64[np.ndarray, "U"]:
    """input/relevant_clients.npy: whose profiles are wanted, in the file's order."""
    return integers(Path(folder) / "input" / "relevant_clients.npy")


def target_rows(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What was bought in the train and in the validation window, row by row.

    client_id, sku, category and price, int64.
    """
    target = Path(folder) / "target"
    paths = [target / f"{label}_target.parquet" for label in ("train", "validation")]
    full = tuple(TARGET_NEEDS)
    faults = [f for p in paths for f in parquet_problems(p, TARGET_NEEDS, full=full)]
    if any(f.endswith("not found") for f in faults):
        faults.append("make them with `clickprint challenge split`")
    refuse(target, faults)
    train, valid = (
        {c: t.column(c).to_numpy().astype(np.int64) for c in TARGET_NEEDS}
        for t in map(_table, paths)
    )
    return train, valid


def _table(path: Path) -> pa.Table:
    table = read_table(path, again="split again").select(list(TARGET_NEEDS))
    nulls = {c: table.column(c).null_count for c in TARGET_NEEDS}
    refuse(path, [f"{n} rows have no {c}" for c, n in nulls.items() if n])
    return table


def _problems(folder: Path, events: Path | None = None, *, full: bool) -> list[str]:
    """Every fault that the footers of the event files and the properties show.

    `full` refuses rows without what every row needs.
    """
    if faults := folder_faults(folder, "the challenge's directory"):
        return faults
    for file, (_, about) in FILES.items():
        needs: dict[str, Need] = {"client_id": "id", "timestamp": "time"}
        needs[about] = "text" if about == "query" else "id"
        needed = [c for c in needs if c != "url"] if full else []
        faults += parquet_problems((events or folder) / f"{file}.parquet", needs, full=needed)
    if events not in (None, folder) and any(f.endswith("not found") for f in faults):
        faults.append("input/ is made by `clickprint challenge split`")
    properties = folder / f"{PROPERTIES}.parquet"
    return faults + parquet_problems(properties, PROPERTY_NEEDS, full=("sku",) if full else ())


def _twice(folder: Path, engine: Engine) -> list[str]:
    """Names skus with several rows of properties; they would multiply the rows joined to them."""
    path = folder / f"{PROPERTIES}.parquet"
    if parquet_problems(path, PROPERTY_NEEDS):
        return []
    twice = "GROUP BY sku HAVING COUNT(*) > 1 ORDER BY sku"
    with blaming(path):
        skus = engine.arrays(f"SELECT sku FROM {engine.scan([path])} {twice}")["sku"]
    return [f"{path.name}: {_some(skus, 'sku')} more than one row"] if len(skus) else []


def _all_known(folder: Path, engine: Engine, start: Time) -> None:
    """Refuses purchases in the target windows whose sku has no properties, category or price."""
    buys, properties = (folder / f"{file}.parquet" for file in ("product_buy", PROPERTIES))
    bought = f"SELECT DISTINCT sku FROM ({_cut(buys, engine, start, None)}) AS c"
    known = (
        f"SELECT sku FROM {engine.scan([properties])}"
        " WHERE category IS NOT NULL AND price IS NOT NULL"
    )
    skus = engine.arrays(
        f"SELECT b.sku FROM ({bought}) AS b LEFT JOIN ({known}) AS k ON b.sku = k.sku"
        " WHERE k.sku IS NULL ORDER BY b.sku"
    )["sku"]
    if len(skus):
        said = f"{_some(skus, 'bought sku')} no row with category and price"
        expected = f"expected one for every sku bought since {show(start)}"
        raise DataError(folder, f"{properties.name}: {said}, {expected}")


def _some(ids: Int64[np.ndarray, "V"], what: str) -> str:
    """`sku 5 has`, or `3 skus (5, 6, 7) have`, ten at most."""
    if len(ids) == 1:
        return f"{what} {ids[0]} has"
    listed = ", ".join(map(str, ids[:10].tolist())) + (", …" if len(ids) > 10 else "")
    return f"{len(ids)} {what}s ({listed}) have"


def timestamp_of(path: Path, *, strict: bool = False) -> str:
    """SQL: the timestamp of a row, from the text or the timestamp that this file has."""
    if is_text(arrow_schema(path).field("timestamp").type):
        return timestamp_sql(name("timestamp"), TIME_FORM, strict=strict)
    return f"CAST({name('timestamp')} AS TIMESTAMP)"


def _micros(path: Path, *, strict: bool = False) -> str:
    return micros_sql(timestamp_of(path, strict=strict))


def _searches(engine: Engine, folder: Path) -> str:
    """SQL: the id and text of every search in a folder, without a condition."""
    scan = engine.scan([folder / "search_query.parquet"])
    return f"SELECT DISTINCT {text_id_sql('query')} AS id, query AS text FROM {scan}"


def _canonical(code: int, about: str, source: str, moment: str) -> str:
    """SQL: the events of one file under the canonical names."""
    values = {
        "item": ("sku", "CAST(sku AS BIGINT)"),
        "query": ("query", text_id_sql("query")),
        "url": ("url", "CAST(url AS BIGINT)"),
    }
    picks = {
        "time": moment,
        "user": "CAST(client_id AS BIGINT)",
        "kind": f"CAST({code} AS SMALLINT)",
        **{
            ours: sql if theirs == about else "CAST(NULL AS BIGINT)"
            for ours, (theirs, sql) in values.items()
        },
    }
    return select_sql(picks, source)


def _cut(
    path: Path, engine: Engine, start: Time | None, end: Time | None, numbered: bool = False
) -> str:
    """SQL: the rows of an event file with start ≤ t < end.

    Their columns are as they are but the time, which becomes a timestamp.
    """
    picks = {c: name(c) for c in arrow_schema(path).names}
    picks["timestamp"] = timestamp_of(path, strict=True)
    picks |= {"file_row_number": "file_row_number"} if numbered else {}
    rows = select_sql(picks, engine.scan([path], numbered=numbered))
    time = micros_sql(name("timestamp"))
    bounds = [f"{time} >= {start}"] if start is not None else []
    bounds += [f"{time} < {end}"] if end is not None else []
    return f"SELECT * FROM ({rows}) AS r WHERE {' AND '.join(bounds)}"
