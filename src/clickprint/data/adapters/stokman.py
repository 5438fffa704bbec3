"""The Stokman shop: three weeks of what visitors did, the catalogue with its prices, and a vector
of every title.

Source: the task "Рекомендательный ИИ для интернет-магазина" (which 25 products will be bought in
the next three days).
"""

import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.files import write_array
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters.card import Card
from clickprint.data.check import (
    Need,
    arrow_schema,
    blaming,
    is_text,
    no_time,
    parquet_problems,
    refuse,
    sift,
)
from clickprint.data.engine import (
    Engine,
    entries_sql,
    iso_sql,
    matches_sql,
    micros_sql,
    name,
    text_id_sql,
    unnested_sql,
)
from clickprint.data.store import gather

ACTIONS_FILE, CATALOGUE_FILE = "train_actions.pq", "stokman_catalog_preprocessed.pq"
MAPPING_FILE, VECTORS_FILE, VECTORS_ARRAY = "catalog_vector_mapping.pq", "vectors.npz", "arr_0"
JUNK = "/*"  # what stands for an id in some rows


class Action(NamedTuple):
    """What a code of the column `action` means, and whether an event of it is about a product."""

    code: int
    kind: Kind
    needs_product: bool


# In funnel order, which breaks ties in time. A basket page lists what is in it, which may be
# nothing.
ACTIONS = (
    Action(7, Kind("visit", Role.VIEW), False),
    Action(8, Kind("visitCategory", Role.VIEW), False),
    Action(9, Kind("search", Role.SEARCH), False),
    Action(0, Kind("view", Role.VIEW), True),
    Action(1, Kind("like", Role.LIKE), True),
    Action(2, Kind("addB", Role.CART), True),
    Action(3, Kind("delB", Role.REMOVE), True),
    Action(4, Kind("clearB", Role.REMOVE), False),
    Action(6, Kind("listB", Role.OTHER), False),
    Action(5, Kind("order", Role.BUY), True),
)
KINDS = tuple(a.kind for a in ACTIONS)
ATTRIBUTES = {
    "category": AttributeType.CATEGORY,
    "shop": AttributeType.CATEGORY,
    "price": AttributeType.NUMBER,
    "old_price": AttributeType.NUMBER,
    "discount": AttributeType.NUMBER,
    "title": AttributeType.TEXT,
}
CARD = Card(
    title=(
        "the Stokman shop: three weeks of views, baskets and orders, a catalogue with prices,"
        " vectors of the titles"
    ),
    files={
        ACTIONS_FILE: (
            "user_id, loc_user_id, action (0 to 9), date, products (a list of product ids), pageId"
        ),
        CATALOGUE_FILE: (
            "add_date, shop_id, product_id, category_id, price, title (token numbers), old_price"
        ),
        MAPPING_FILE: "product_id, vector_id",
        VECTORS_FILE: "arr_0: one row a vector_id",
    },
    licence="not public: given to those who took part in the task",
    where=(
        "the organisers of the task; `write_stokman` in clickprint.data.synthetic.stokman makes"
        " files of the same form"
    ),
    dropped=(
        (
            "actions without a user, with the junk user_id /*, without a readable date, an action"
            " from 0 to 9 or a whole pageId"
        ),
        "view, like, addB, delB and order without a product",
        (
            "entries of products that are empty, the junk id /* or no whole number (an entry each,"
            " its row's others stay)"
        ),
        (
            "catalogue rows without a product_id and an add_date, with the junk id /* or a"
            " negative price"
        ),
        (
            "of the catalogue's rows of one product and date all but one: exact repeats, and"
            " others (smallest shop, category, price, old price and title stay)"
        ),
        (
            "of a product's vectors all but the smallest vector_id; vectors that are not in"
            " vectors.npz"
        ),
    ),
    notes=(
        "a row with n products is n events, which the session (pageId) keeps together",
        (
            "an item's row is known from its add_date; events that come before it are kept (the"
            " manifest's source says how many)"
        ),
        (
            "links.parquet says which loc_user_id (person) a user had and from when on; item"
            " vectors are in vectors.npy"
        ),
        (
            "times have no zone and are taken as UTC; prices are the catalogue's, orders have none"
            " of their own"
        ),
    ),
)
NEEDS: dict[str, dict[str, Need]] = {
    ACTIONS_FILE: {"date": "time"},
    CATALOGUE_FILE: {
        "add_date": "time",
        "price": "number",
        "old_price": "number",
        "title": "text",
    },
    MAPPING_FILE: {},
}
# Columns of ids and codes: texts or numbers.
CODES = {
    ACTIONS_FILE: ("user_id", "loc_user_id", "action", "pageId"),
    CATALOGUE_FILE: ("shop_id", "product_id", "category_id"),
    MAPPING_FILE: ("product_id", "vector_id"),
}
LISTS = {ACTIONS_FILE: ("products",)}
BLOCK = 1 << 20
ZipFaults = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class _Table:
    """A scan and what its columns hold."""

    scan: str
    schema: pa.Schema

    def is_text(self, column: str) -> bool:
        return is_text(self.schema.field(column).type)

    def given(self, column: str) -> str:
        """The value as a text; an empty one is null."""
        return f"NULLIF(CAST({name(column)} AS VARCHAR), '')"

    def whole(self, column: str) -> str:
        return _whole(name(column), self.schema.field(column).type)

    def id(self, column: str) -> str:
        """A text's id, or the number."""
        return text_id_sql(self.given(column)) if self.is_text(column) else self.whole(column)

    def moment(self, column: str) -> str:
        if self.is_text(column):
            return iso_sql(name(column), "UTC")
        return micros_sql(f"CAST({name(column)} AS TIMESTAMP)")


def read(folder: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The four files in `folder` in the canonical form at `out`, with links.parquet and the item
    vectors beside it.

    An action with n products is n events, which its session (pageId) keeps together; visits,
    searches, emptied baskets and basket pages without products are events without item. A
    catalogue row is known from its add_date. links.parquet has user, person (the loc_user_id) and
    known_from, when the two were first seen together. What is left out is counted: CARD.dropped.
    Raises DataError with every fault of every file.
    """
    folder = Path(folder)
    faults = (
        ["not found" if not folder.exists() else "this is a file, expected a folder"]
        if not folder.is_dir()
        else []
    )
    shape = (0, 0)
    if not faults:
        faults = [f for file in NEEDS for f in _problems(folder / file)]
        try:
            shape = _vectors_shape(folder / VECTORS_FILE)
        except DataError as fault:
            faults += [f"{VECTORS_FILE}: {p}" for p in fault.problems]
    refuse(folder, faults)
    tables = {
        file: _Table(engine.scan([folder / file]), arrow_schema(folder / file)) for file in NEEDS
    }
    with blaming(folder):
        progress("check actions", 0, 0)
        rows, seen, bad = sift(engine, *_actions(tables[ACTIONS_FILE]), f"{ACTIONS_FILE}: ")
        source = {"reader": "stokman", ACTIONS_FILE: f"{seen + sum(bad.values())} rows"}
        about, n, junk = sift(
            engine, *_about(tables[ACTIONS_FILE], rows), f"{ACTIONS_FILE} products: "
        )
        alone = (
            f"SELECT time, {name('user')}, kind, CAST(NULL AS BIGINT) AS item, session FROM"
            f" ({rows}) AS r WHERE entries = 0"
        )
        progress("check catalogue", 0, 0)
        catalogue, k, odd = _catalogue(engine, tables[CATALOGUE_FILE])
        source[CATALOGUE_FILE] = f"{k + sum(odd.values())} rows"
        source |= _strangers(engine, about, catalogue)
        items, places, lost = _mapping(engine, tables[MAPPING_FILE], shape[0])
        source |= {
            VECTORS_FILE: f"{shape[0]} vectors of width {shape[1]}",
            MAPPING_FILE: f"{len(items) + sum(lost.values())} rows",
        }
        # Users and people are hashed once a pair, not once an action.
        people = (
            "SELECT user_id, loc_user_id, MIN(time) AS known_from, SUM(CASE WHEN entries = 0 THEN"
            f" 1 ELSE 0 END) AS alone FROM ({rows}) AS r GROUP BY user_id, loc_user_id"
        )
        with _kept(engine, people) as pairs:
            m = int(engine.one(f"SELECT COALESCE(SUM(alone), 0) FROM {pairs}")[0])
            return gather(
                Path(out),
                engine=engine,
                name="stokman",
                kinds=KINDS,
                columns=("session",),
                selects=[
                    f"SELECT time, {name('user')}, kind, item, session FROM ({about}) AS a",
                    alone,
                ],
                catalogue=catalogue,
                attributes=ATTRIBUTES,
                texts=_maps(tables[ACTIONS_FILE], pairs),
                rejected=bad | junk | odd | lost,
                source=source,
                beside={
                    "links.parquet": _links(engine, tables[ACTIONS_FILE], pairs),
                    "vector_items.npy": lambda path: write_array(path, items),
                    "vectors.npy": lambda path: _write_vectors(
                        folder / VECTORS_FILE, places, path
                    ),
                },
                expected=n + m,
                progress=progress,
            )


@contextmanager
def _kept(engine: Engine, sql: str) -> Iterator[str]:
    """The answer as a table of the engine, for as long as it is needed."""
    kept = engine.keep(sql)
    try:
        yield kept
    finally:
        engine.drop(kept)


# --- looking at the files ------------------------------------------------------------------------


def _problems(path: Path) -> list[str]:
    """Every fault that a footer shows."""
    try:
        found = arrow_schema(path)
    except DataError as fault:
        return [f"{path.name}: {p}" for p in fault.problems]
    faults = parquet_problems(path, NEEDS[path.name])
    for column in (*CODES[path.name], *LISTS.get(path.name, ())):
        if found.names.count(column) != 1:
            what = (
                "no column"
                if column not in found.names
                else f"{found.names.count(column)} columns"
            )
            faults.append(
                f"{path.name}: {what} {column!r}, expected one; found"
                f" {', '.join(found.names) or 'none'}"
            )
            continue
        type_ = found.field(column).type
        if column in CODES[path.name]:
            if not _is_code(type_):
                faults.append(
                    f"{path.name}: column {column} holds {type_}, expected texts or whole numbers"
                )
        elif not (_is_list(type_) and _is_code(type_.value_type)):
            faults.append(
                f"{path.name}: column {column} holds {type_}, expected lists of product ids"
            )
    return faults


def _is_code(type_: pa.DataType) -> bool:
    return (
        is_text(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)
    )  # pandas makes floats where one is missing


def _is_list(type_: pa.DataType) -> bool:
    return pa.types.is_list(type_) or pa.types.is_large_list(type_)


def _whole(value: str, type_: pa.DataType) -> str:
    """SQL: a whole number within int64, from a number or from a text in its one spelling; null for
    anything else.
    """
    if is_text(type_):
        return (
            f"CASE WHEN {matches_sql(value, '0|-?[1-9][0-9]{0,18}')} THEN NULLIF(TRY_CAST({value}"
            f" AS BIGINT), {NONE}) END"
        )
    if pa.types.is_floating(type_):
        return (
            f"CASE WHEN {value} = FLOOR({value}) AND {value} BETWEEN -{2**53} AND {2**53} THEN"
            f" CAST({value} AS BIGINT) END"
        )
    return f"NULLIF(TRY_CAST({value} AS BIGINT), {NONE})"


# --- the actions ---------------------------------------------------------------------------------


def _actions(table: _Table) -> tuple[str, list[tuple[str, str]]]:
    """SQL: every action with its canonical columns and its list of products, and the reasons to
    reject one.
    """
    kind = " ".join(f"WHEN {a.code} THEN {place}" for place, a in enumerate(ACTIONS))
    needy = ", ".join(str(place) for place, a in enumerate(ACTIONS) if a.needs_product)
    picks = {
        "time": table.moment("date"),
        "user": table.id("user_id"),
        "user_id": name("user_id"),
        "given_user": table.given("user_id"),
        "loc_user_id": name("loc_user_id"),
        "kind": f"CAST(CASE {table.whole('action')} {kind} END AS SMALLINT)",
        "session": table.whole("pageId"),
        "given_session": table.given("pageId"),
        "products": name("products"),
        "entries": entries_sql(name("products")),
    }
    reasons = [
        ("given_user IS NULL", "no user_id"),
        (f"given_user = '{JUNK}'", f"the junk user_id {JUNK}"),
        *(
            ()
            if table.is_text("user_id")
            else ((f"{name('user')} IS NULL", "user_id is no whole number within int64"),)
        ),
        no_time(name("time")),
        ("kind IS NULL", "no action from 0 to 9"),
        (f"entries = 0 AND kind IN ({needy})", "no product where the action needs one"),
        (
            "given_session IS NOT NULL AND session IS NULL",
            "pageId is no whole number within int64",
        ),
    ]
    return (
        f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in picks.items())} FROM {table.scan}",
        reasons,
    )


def _about(table: _Table, rows: str) -> tuple[str, list[tuple[str, str]]]:
    """SQL: one row a product of a usable action, and the reasons to reject one."""
    kept = ["time", "user", "kind", "session"]
    type_ = table.schema.field("products").type.value_type
    entries = unnested_sql(
        f"SELECT * FROM ({rows}) AS r WHERE entries > 0", kept, "products", "product"
    )
    picked = ", ".join(name(c) for c in kept)
    given = "NULLIF(CAST(product AS VARCHAR), '')"
    sql = (
        f"SELECT {picked}, {given} AS given_item, {_whole('product', type_)} AS item FROM"
        f" ({entries}) AS e"
    )
    return sql, _product_reasons("given_item")


def _product_reasons(given: str) -> list[tuple[str, str]]:
    return [
        (f"{given} IS NULL", "no product id"),
        (f"{given} = '{JUNK}'", f"the junk product id {JUNK}"),
        ("item IS NULL", "a product id that is no whole number within int64"),
    ]


def _maps(table: _Table, pairs: str) -> dict[str, str]:
    """SQL: the map (id, text) of user and person, where these are texts."""
    return {
        ours: (
            f"SELECT {table.id(theirs)} AS id, {theirs} AS text FROM {pairs} WHERE"
            f" {table.given(theirs)} <> '{JUNK}'"
        )
        for ours, theirs in (("user", "user_id"), ("person", "loc_user_id"))
        if table.is_text(theirs)
    }


def _links(engine: Engine, table: _Table, pairs: str) -> Callable[[Path], None]:
    ids = f"{table.id('user_id')} AS {name('user')}, {table.id('loc_user_id')} AS person"
    known = f"SELECT {ids}, known_from FROM {pairs} WHERE {table.given('loc_user_id')} <> '{JUNK}'"
    sql = f"SELECT * FROM ({known}) AS k WHERE person IS NOT NULL ORDER BY {name('user')}, person"

    def write(path: Path) -> None:
        engine.write(sql, path, in_order=True)

    return write


# --- the catalogue -------------------------------------------------------------------------------


def _catalogue(engine: Engine, table: _Table) -> tuple[str, int, dict[str, int]]:
    """SQL of the catalogue, its number of rows, and those left out by reason."""
    said = ["category", "shop", "price", "old_price", "title"]
    picks = {
        "item": table.whole("product_id"),
        "given_item": table.given("product_id"),
        "known_from": table.moment("add_date"),
        "category": table.whole("category_id"),
        "given_category": table.given("category_id"),
        "shop": table.whole("shop_id"),
        "given_shop": table.given("shop_id"),
        # What is not finite is missing, as pandas writes it.
        **{
            c: (
                f"CASE WHEN CAST({c} AS DOUBLE) BETWEEN -1e300 AND 1e300 THEN CAST({c} AS"
                " DOUBLE) END"
            )
            for c in ("price", "old_price")
        },
        "title": "NULLIF(title, '')",
    }
    reasons = [
        *_product_reasons("given_item"),
        (no_time("known_from")[0], "no readable add_date"),
        *(
            (f"given_{c} IS NOT NULL AND {c} IS NULL", f"{c}_id is no whole number within int64")
            for c in ("category", "shop")
        ),
        *((f"{c} < 0", f"a negative {c}") for c in ("price", "old_price")),
    ]
    raw = (
        f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in picks.items())} FROM {table.scan}"
    )
    prefix = f"{CATALOGUE_FILE}: "
    good, n, rejected = sift(engine, raw, reasons, prefix)
    columns = ", ".join(("item", "known_from", *said))
    different = f"SELECT DISTINCT {columns} FROM ({good}) AS g"
    ties = ", ".join(
        f"{c} NULLS LAST" for c in ("shop", "category", "price", "old_price", "title")
    )
    ranked = (
        f"SELECT *, ROW_NUMBER() OVER (PARTITION BY item, known_from ORDER BY {ties}) AS turn FROM"
        f" ({different}) AS d"
    )
    once, first = engine.one(
        f"SELECT COUNT(*), COUNT(*) FILTER (WHERE turn = 1) FROM ({ranked}) AS r"
    )
    rejected |= {
        f"{prefix}an exact repeat of another row": n - once,
        f"{prefix}another row of the same product and add_date": once - first,
    }
    discount = "CASE WHEN old_price > 0 THEN 1 - price / old_price END AS discount"
    return f"SELECT {columns}, {discount} FROM ({ranked}) AS r WHERE turn = 1", first, rejected


def _strangers(engine: Engine, about: str, catalogue: str) -> dict[str, str]:
    """How many events are about an item that the catalogue does not know, or not yet."""
    first = f"SELECT item, MIN(known_from) AS known_from FROM ({catalogue}) AS c GROUP BY item"
    unknown, early = engine.one(
        "SELECT COUNT(*) FILTER (WHERE f.item IS NULL), COUNT(*) FILTER (WHERE f.known_from >"
        f" a.time) FROM ({about}) AS a LEFT JOIN ({first}) AS f ON a.item = f.item"
    )
    return {
        "events on a product without a catalogue row": str(unknown),
        "events before the product's first add_date": str(early),
    }


# --- the vectors ---------------------------------------------------------------------------------


def _mapping(
    engine: Engine, table: _Table, vectors: int
) -> tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V"], dict[str, int]]:
    """Items, ascending, the row of vectors.npz that each has, and the rows left out by reason."""
    raw = (
        f"SELECT {table.whole('product_id')} AS item, {table.given('product_id')} AS given_item,"
        f" {table.whole('vector_id')} AS vector FROM {table.scan}"
    )
    outside = (
        f"vector IS NULL OR NOT vector BETWEEN 0 AND {vectors - 1}",
        f"no vector_id from 0 to {vectors - 1}",
    )
    prefix = f"{MAPPING_FILE}: "
    good, n, rejected = sift(engine, raw, [*_product_reasons("given_item"), outside], prefix)
    found = engine.arrays(
        f"SELECT item, MIN(vector) AS vector FROM ({good}) AS g GROUP BY item ORDER BY item"
    )
    items, places = (found[c].astype(np.int64) for c in ("item", "vector"))
    different = int(
        engine.one(f"SELECT COUNT(*) FROM (SELECT DISTINCT item, vector FROM ({good}) AS g) AS d")[
            0
        ]
    )
    rejected |= {
        f"{prefix}an exact repeat of another row": n - different,
        f"{prefix}another vector of the same product": different - len(items),
    }
    return items, places, rejected


def _vectors_shape(path: Path) -> tuple[int, int]:
    """Rows and width of the array, of which every byte was read.

    Raises DataError: no npz, a pickle, no finite float matrix.
    """
    if not path.is_file():
        raise DataError(
            path, ("not found" if not path.exists() else "this is a folder, expected an .npz file")
        )
    if not path.stat().st_size:
        raise DataError(path, "the file is empty")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist()]
            if VECTORS_ARRAY not in names:
                raise DataError(
                    path, f"no array {VECTORS_ARRAY!r}; found {', '.join(names) or 'none'}"
                )
            with archive.open(f"{VECTORS_ARRAY}.npy") as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(file)
                if dtype.kind != "f" or len(shape) != 2 or not shape[0] or not shape[1]:
                    raise DataError(
                        path,
                        f"{VECTORS_ARRAY} holds {dtype} of shape {shape}, expected floats, one row"
                        " a vector_id",
                    )
                left, finite = shape[0] * shape[1] * dtype.itemsize, True
                while block := file.read(min(BLOCK * dtype.itemsize, left)):
                    left -= len(block)
                    finite &= bool(
                        np.isfinite(
                            np.frombuffer(block, dtype, len(block) // dtype.itemsize)
                        ).all()
                    )
                    if not left:
                        file.read()  # the archive's checksum is compared at the end
                        break
    except ZipFaults as fault:
        raise DataError(
            path, f"not a whole .npz file ({str(fault) or type(fault).__name__}); copy it again"
        ) from None
    if left:
        raise DataError(path, f"{VECTORS_ARRAY} ends {left} bytes too early; copy it again")
    if not finite:
        raise DataError(path, f"{VECTORS_ARRAY} holds NaN or infinity, expected finite numbers")
    return int(shape[0]), int(shape[1])


def _write_vectors(source: Path, places: Int64[np.ndarray, "V"], path: Path) -> None:
    """The rows of the array at `places` as float32; holds a block.

    The array is unpacked beside `path` for that time.
    """
    unpacked = path.with_name(f".{path.name}.unpacked")
    with (
        zipfile.ZipFile(source) as archive,
        archive.open(f"{VECTORS_ARRAY}.npy") as packed,
        unpacked.open("wb") as file,
    ):
        shutil.copyfileobj(packed, file, BLOCK)
    array = np.load(unpacked, mmap_mode="r", allow_pickle=False)
    if not len(places):
        np.save(path, np.zeros((0, array.shape[1]), np.float32))  # a map of nothing cannot be made
    else:
        vectors = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float32, shape=(len(places), array.shape[1])
        )
        step = max(1, BLOCK // array.shape[1])
        for start in range(0, len(places), step):
            vectors[start : start + step] = array[places[start : start + step]]
        vectors.flush()
    del array
    unpacked.unlink()
