"""RetailRocket: four and a half months of views, carts and purchases of a shop, with the weekly
history of its items' properties.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import given_sql, id_sql, missing, moment_sql, open_source
from clickprint.data.adapters.mapping import (
    Clock,
    EventTable,
    Files,
    Id,
    Items,
    Kinds,
    TableMapping,
)
from clickprint.data.adapters.staging import there, workplace
from clickprint.data.adapters.table import read_mapping
from clickprint.data.check import blaming, no_id, no_time, refuse, sift
from clickprint.data.engine import Engine

EVENTS = ("timestamp", "visitorid", "event", "itemid", "transactionid")
PROPERTIES = ("timestamp", "itemid", "property", "value")
TREE = ("categoryid", "parentid")
PARTS = ("item_properties_part1.csv", "item_properties_part2.csv")
PRICE = "790"
CARD = Card(
    title=(
        "RetailRocket: 2.8 million views, carts and purchases of 1.4 million visitors, 2015-05-03"
        " to 2015-09-18"
    ),
    files={
        "events.csv": ", ".join(EVENTS),
        " and ".join(PARTS): ", ".join(PROPERTIES),
        "category_tree.csv": ", ".join(TREE),
        "or a file.parquet": (
            "user, item, event (view, cart, buy), ts (seconds): a sample of the same log, without"
            " properties"
        ),
    },
    licence="CC BY-NC-SA 4.0 (Retailrocket)",
    where="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset (unpack it)",
    dropped=(
        (
            "event rows without a visitor, an item, a readable time or one of the three events;"
            " ids that are no whole numbers"
        ),
        (
            "property rows without an item or a readable time, or whose value is no number where"
            " it must be one"
        ),
        f"all properties but categoryid, available and {PRICE}: their names and values are hashed",
        "rows of the category tree without a category",
    ),
    notes=(
        (
            "times are milliseconds since 1970 UTC; transactionid is the session of a purchase,"
            " other events have none"
        ),
        (
            "a row of the catalogue holds all that was known of the item at its time: values stay"
            " until the next one (weekly snapshots); of two values of one property at one time the"
            " smallest counts"
        ),
        (
            f"price is property {PRICE}: the publisher hashed its name, the field takes it for the"
            " price (the only one that every item has, as a number that varies in time), in an"
            " unknown unit"
        ),
        (
            "the category tree has no times: parent_category and root_category are those of the"
            " one published tree"
        ),
    ),
)
ATTRIBUTES = {
    **dict.fromkeys(
        ("category", "parent_category", "root_category", "available"), AttributeType.CATEGORY
    ),
    "price": AttributeType.NUMBER,
}
VIEW, CART, BUY = (
    Kind("view", Role.VIEW),
    Kind("addtocart", Role.CART),
    Kind("transaction", Role.BUY),
)


def read(
    path: Path, out: Path, *, catalogue: bool = True, engine: Engine, progress: Progress = silent
) -> Dataset:
    """The log in the public folder, each file plain or .gz, or in a small Parquet file, in the
    canonical form at `out`.

    Without `catalogue` the events alone are read and the other files may be absent. Raises
    DataError with every fault of every file, a category with two parents and a circle in the tree
    among them, and where no event can be used.
    """
    path, out = Path(path), Path(out)
    if path.is_file():
        return _log(path, _sample(path), None, {}, out, engine, progress)
    files = {
        "events": Files(paths=(there(path / "events.csv"),), format="csv"),
        "properties": Files(paths=_properties(path), format="csv"),
        "tree": Files(paths=(there(path / "category_tree.csv"),), format="csv"),
    }
    events = EventTable(
        key="events",
        name="events",
        files=files["events"],
        ids={
            "user": Id("visitorid", "number"),
            "item": Id("itemid", "number"),
            "session": Id("transactionid", "number"),
        },
        time=Clock("timestamp", "milliseconds"),
        kinds=Kinds("event", {"view": VIEW, "addtocart": CART, "transaction": BUY}),
        numbers={},
    )
    if not catalogue:
        return _log(path, events, None, {}, out, engine, progress)
    others = missing(files["properties"], PROPERTIES) + missing(files["tree"], TREE)
    help_ = "; the option catalogue = false reads the events alone"
    refuse(
        path,
        missing(files["events"], EVENTS) + [f + help_ * f.endswith("not found") for f in others],
    )
    with workplace(out.with_name(f"{out.name}.items")) as room, blaming(path):
        progress("properties", 0, 0)
        rejected = _catalogue(path, files["properties"], files["tree"], room, engine)
        made = Files(paths=(room / "catalogue.parquet",), format="parquet")
        items = Items(
            files=made,
            item=Id("item", "number"),
            known_from=Clock("known_from", "microseconds"),
            attributes={a: (a, k) for a, k in ATTRIBUTES.items()},
        )
        return _log(path, events, items, rejected, out, engine, progress)


def _log(
    path: Path,
    events: EventTable,
    items: Items | None,
    rejected: Mapping[str, int],
    out: Path,
    engine: Engine,
    progress: Progress,
) -> Dataset:
    spec = TableMapping(
        where=path,
        name="retailrocket",
        query="text",
        tables=(events,),
        kinds=events.kinds.kinds,
        items=items,
    )
    return read_mapping(
        spec, out, engine=engine, reader="retailrocket", rejected=rejected, progress=progress
    )


def _sample(path: Path) -> EventTable:
    """A Parquet file with user, item, event and ts."""
    return EventTable(
        key="events",
        name="events",
        files=Files(paths=(path,), format="parquet"),
        ids={"user": Id("user", "number"), "item": Id("item", "number")},
        time=Clock("ts", "seconds"),
        kinds=Kinds(
            "event", {"view": VIEW, "cart": Kind("cart", Role.CART), "buy": Kind("buy", Role.BUY)}
        ),
        numbers={},
    )


def _properties(folder: Path) -> tuple[Path, ...]:
    """The two parts, or one file where somebody has joined them."""
    parts, joined = [there(folder / p) for p in PARTS], there(folder / "item_properties.csv")
    return (joined,) if joined.exists() and not any(p.exists() for p in parts) else tuple(parts)


def _catalogue(
    folder: Path, properties: Files, tree: Files, room: Path, engine: Engine
) -> dict[str, int]:
    """Writes room/catalogue.parquet, a row an item and time; what was left out, by reason."""
    source = open_source(engine, properties, PROPERTIES, room / "properties.parquet")
    value = given_sql(source, "value")
    number = f"TRY_CAST(regexp_replace({value}, '^n([0-9]+([.][0-9]+)?)( .*)?$', '\\1') AS DOUBLE)"
    whole = id_sql(source, "value", False)
    known = moment_sql(source, Clock("timestamp", "milliseconds"))
    rows = (
        f"SELECT {id_sql(source, 'itemid', False)} AS item, {known} AS known_from, property, CASE"
        f" WHEN property = 'categoryid' THEN {whole} END AS category, CASE WHEN property ="
        f" 'available' THEN {whole} END AS available, CASE WHEN property = '{PRICE}' THEN {number}"
        f" END AS price FROM {source.scan}"
    )
    hashed = (
        f"property IS NULL OR property NOT IN ('categoryid', 'available', '{PRICE}')",
        "a property whose meaning is hashed",
    )
    nothing = (
        "category IS NULL AND available IS NULL AND price IS NULL",
        "a value that is no number",
    )
    good, _, rejected = sift(
        engine, rows, [no_id("item"), no_time("known_from"), hashed, nothing], "item_properties: "
    )
    families, left = _tree(folder, tree, room, engine)
    at = (
        "SELECT item, known_from, MIN(category) AS category, MIN(available) AS available,"
        " MIN(price) AS price "
    )
    at += f"FROM ({good}) AS g GROUP BY item, known_from"
    over = (
        "OVER (PARTITION BY item ORDER BY known_from ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT"
        " ROW)"
    )
    filled = ", ".join(
        f"LAST_VALUE({c} IGNORE NULLS) {over} AS {c}" for c in ("category", "available", "price")
    )
    kept = engine.keep(families)
    try:
        engine.write(
            "SELECT item, known_from, f.category, parent_category, root_category, available,"
            f" price FROM (SELECT item, known_from, {filled} FROM ({at}) AS a) AS f LEFT JOIN"
            f" {kept} AS t ON f.category = t.category",
            room / "catalogue.parquet",
        )
    finally:
        engine.drop(kept)
    many = "too many or too few columns"
    return {f"item_properties: {many}": source.skipped, **rejected, **left}


def _tree(
    folder: Path, files: Files, room: Path, engine: Engine
) -> tuple[pa.Table, dict[str, int]]:
    """Each category with its parent and its root (itself, where it has no parent); rows that were
    left out, by reason.
    """
    source = open_source(engine, files, TREE, room / "tree.parquet")
    rows = (
        f"SELECT {id_sql(source, 'categoryid', False)} AS category,"
        f" {id_sql(source, 'parentid', False)} AS parent, "
    )
    rows += f"{given_sql(source, 'parentid')} AS given FROM {source.scan}"
    odd = ("given IS NOT NULL AND parent IS NULL", "a parent that is no whole number")
    good, _, rejected = sift(engine, rows, [no_id("category"), odd], "category_tree: ")
    found = engine.arrays(f"SELECT DISTINCT category, parent FROM ({good}) AS g ORDER BY category")
    pairs = list(zip(found["category"].tolist(), found["parent"].tolist(), strict=True))
    parents = {c: p for c, p in pairs if p != NONE}
    categories = sorted({c for c, _ in pairs})
    if len(pairs) > len(categories):
        twice = [c for (c, _), (d, _) in pairwise(pairs) if c == d]
        raise DataError(
            folder,
            f"category_tree.csv: {len(set(twice))} categories have two parents, among them"
            f" {twice[0]}",
        )
    roots = []
    for category in categories:
        root, steps = category, 0
        while root in parents:
            root, steps = parents[root], steps + 1
            if steps > len(parents):
                raise DataError(
                    folder, f"category_tree.csv: category {category} is in a circle of parents"
                )
        roots.append(root)
    columns = {
        "category": categories,
        "parent_category": [parents.get(c) for c in categories],
        "root_category": roots,
    }
    skipped = {"category_tree: too many or too few columns": source.skipped}
    return pa.table({c: pa.array(v, pa.int64()) for c, v in columns.items()}), skipped | rejected
