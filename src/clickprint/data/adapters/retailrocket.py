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
from clickprint.data.adapters.staging import there
from clickprint.data.adapters.table import read_mapping
from clickprint.data.adapters.zipped import opened
from clickprint.data.check import no_id, no_time, refuse, sift
from clickprint.data.engine import Engine, kept, select_sql

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
    dropped=f"""
        - event rows without a visitor, an item, a readable time or one of the three events; ids
          that are no whole numbers
        - property rows without an item or a readable time, or whose value is no number where it
          must be one
        - all properties but categoryid, available and {PRICE}: their names and values are hashed
        - rows of the category tree without a category
    """,
    notes=f"""
        - times are milliseconds since 1970 UTC; transactionid is the session of a purchase, other
          events have none
        - a row of the catalogue holds all that was known of the item at its time: values stay
          until the next one (weekly snapshots); of two values of one property at one time the
          smallest counts
        - price is property {PRICE}: the publisher hashed its name, the field takes it for the
          price (the only one that every item has, as a number that varies in time), in an unknown
          unit
        - the category tree has no times: parent_category and root_category are those of the one
          published tree
    """,
)
ATTRIBUTES = {
    **dict.fromkeys(
        ("category", "parent_category", "root_category", "available"), AttributeType.CATEGORY
    ),
    "price": AttributeType.NUMBER,
}
VIEW = Kind("view", Role.VIEW)
CART, BUY = Kind("addtocart", Role.CART), Kind("transaction", Role.BUY)


def read(
    path: Path, out: Path, *, catalogue: bool = True, engine: Engine, progress: Progress = silent
) -> Dataset:
    """The log in the public folder, or in a small Parquet file, in the canonical form at `out`.

    Each file of the folder is plain or .gz. Without `catalogue` the events alone are read, and the
    other files may be absent. Raises DataError with every fault of every file, a category with two
    parents and a circle in the tree among them, and where no event can be used.
    """
    path, out = Path(path), Path(out)

    def log(
        events: EventTable, items: Items | None = None, rejected: Mapping[str, int] | None = None
    ) -> Dataset:
        kinds = events.kinds.kinds
        return read_mapping(
            TableMapping(
                where=path, name="retailrocket", tables=(events,), kinds=kinds, items=items
            ),
            out,
            engine=engine,
            reader="retailrocket",
            rejected=rejected,
            progress=progress,
        )

    if path.is_file():
        return log(_sample(path))
    files, properties, tree = (
        Files(paths=paths, format="csv")
        for paths in (
            (there(path / "events.csv"),),
            _properties(path),
            (there(path / "category_tree.csv"),),
        )
    )
    events = EventTable(
        key="events",
        files=files,
        ids={
            "user": Id("visitorid", "number"),
            "item": Id("itemid", "number"),
            "session": Id("transactionid", "number"),
        },
        time=Clock("timestamp", "milliseconds"),
        kinds=Kinds("event", {kind.name: kind for kind in (VIEW, CART, BUY)}),
    )
    if not catalogue:
        return log(events)
    others = missing(properties, PROPERTIES) + missing(tree, TREE)
    help_ = "; the option catalogue = false reads the events alone"
    others = [f + help_ * f.endswith("not found") for f in others]
    refuse(path, missing(files, EVENTS) + others)
    with opened(path, out, "items") as (_, room):
        progress("properties", 0, 0)
        rejected = _catalogue(path, properties, tree, room, engine)
        known = Clock("known_from", "microseconds")
        items = Items.of(room / "catalogue.parquet", Id("item", "number"), ATTRIBUTES, known)
        return log(events, items, rejected)


def _sample(path: Path) -> EventTable:
    """A Parquet file with user, item, event and ts."""
    kinds = {"view": VIEW, "cart": Kind("cart", Role.CART), "buy": Kind("buy", Role.BUY)}
    return EventTable(
        key="events",
        files=Files(paths=(path,), format="parquet"),
        ids={"user": Id("user", "number"), "item": Id("item", "number")},
        time=Clock("ts", "seconds"),
        kinds=Kinds("event", kinds),
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
    pattern = "'^n([0-9]+([.][0-9]+)?)( .*)?$'"
    number = f"TRY_CAST(regexp_replace({given_sql(source, 'value')}, {pattern}, '\\1') AS DOUBLE)"
    whole = id_sql(source, "value")
    values = {"category": ("categoryid", whole), "available": ("available", whole)}
    values["price"] = PRICE, number
    picks = {
        "item": id_sql(source, "itemid"),
        "known_from": moment_sql(source, Clock("timestamp", "milliseconds")),
        "property": "property",
        **{c: f"CASE WHEN property = '{p}' THEN {v} END" for c, (p, v) in values.items()},
    }
    reasons = [
        no_id("item"),
        no_time("known_from"),
        (
            f"property IS NULL OR property NOT IN ('categoryid', 'available', '{PRICE}')",
            "a property whose meaning is hashed",
        ),
        (" AND ".join(f"{c} IS NULL" for c in values), "a value that is no number"),
    ]
    rows = select_sql(picks, source.scan)
    good, _, rejected = sift(engine, rows, reasons, "item_properties: ")
    families, left = _tree(folder, tree, room, engine)
    least = ", ".join(f"MIN({c}) AS {c}" for c in values)
    at = f"SELECT item, known_from, {least} FROM ({good}) AS g GROUP BY item, known_from"
    so_far = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    over = f"OVER (PARTITION BY item ORDER BY known_from {so_far})"
    filled = ", ".join(f"LAST_VALUE({c} IGNORE NULLS) {over} AS {c}" for c in values)
    columns = "item, known_from, f.category, parent_category, root_category, available, price"
    with kept(engine, families) as tree_:
        engine.write(
            f"SELECT {columns} FROM (SELECT item, known_from, {filled} FROM ({at}) AS a) AS f"
            f" LEFT JOIN {tree_} AS t ON f.category = t.category",
            room / "catalogue.parquet",
        )
    return source.rejected("item_properties") | rejected | left


def _tree(
    folder: Path, files: Files, room: Path, engine: Engine
) -> tuple[pa.Table, dict[str, int]]:
    """Each category with its parent and its root, and rows that were left out, by reason.

    The root of a category without a parent is itself.
    """
    source = open_source(engine, files, TREE, room / "tree.parquet")
    picks = {
        "category": id_sql(source, "categoryid"),
        "parent": id_sql(source, "parentid"),
        "given": given_sql(source, "parentid"),
    }
    no_parent = ("given IS NOT NULL AND parent IS NULL", "a parent that is no whole number")
    rows, reasons = select_sql(picks, source.scan), [no_id("category"), no_parent]
    good, _, rejected = sift(engine, rows, reasons, "category_tree: ")
    pairs_sql = f"SELECT DISTINCT category, parent FROM ({good}) AS g ORDER BY category"
    columns = engine.arrays(pairs_sql)
    pairs = list(zip(columns["category"].tolist(), columns["parent"].tolist(), strict=True))
    parents = {c: p for c, p in pairs if p != NONE}
    categories = sorted({c for c, _ in pairs})
    if twice := sorted({c for (c, _), (d, _) in pairwise(pairs) if c == d}):
        said = f"{len(twice)} categories have two parents, among them {twice[0]}"
        raise DataError(folder, f"category_tree.csv: {said}")
    roots = []
    for category in categories:
        root, steps = category, 0
        while root in parents:
            root, steps = parents[root], steps + 1
            if steps > len(parents):
                said = f"category {category} is in a circle of parents"
                raise DataError(folder, f"category_tree.csv: {said}")
        roots.append(root)
    tree = {
        "category": categories,
        "parent_category": [parents.get(c) for c in categories],
        "root_category": roots,
    }
    table = pa.table({c: pa.array(v, pa.int64()) for c, v in tree.items()})
    return table, source.rejected("category_tree") | rejected
