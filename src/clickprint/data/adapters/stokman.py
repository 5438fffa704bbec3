"""The Stokman shop: three weeks of what visitors did, the catalogue with its prices, and a vector
of every title.

Source: the task "Рекомендательный ИИ для интернет-магазина" (which 25 products will be bought in
the next three days).
"""

import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.files import new_array, write_array
from clickprint.core.forms import npy_header, read_npy
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters.card import Card
from clickprint.data.check import (
    Need,
    Reason,
    arrow_schema,
    blaming,
    column_fault,
    folder_faults,
    is_list,
    is_text,
    need_file,
    no_time,
    noting,
    parquet_problems,
    refuse,
    sift,
)
from clickprint.data.engine import (
    Engine,
    entries_sql,
    in_sql,
    iso_sql,
    kept,
    matches_sql,
    micros_sql,
    name,
    rows_in,
    select_sql,
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
    dropped="""
        - actions without a user, with the junk user_id /*, without a readable date, an action from
          0 to 9 or a whole pageId
        - view, like, addB, delB and order without a product
        - entries of products that are empty, the junk id /* or no whole number (an entry each, its
          row's others stay)
        - catalogue rows without a product_id and an add_date, with the junk id /* or a negative
          price
        - of the catalogue's rows of one product and date all but one: exact repeats, and others
          (smallest shop, category, price, old price and title stay)
        - of a product's vectors all but the smallest vector_id; vectors that are not in
          vectors.npz
    """,
    notes="""
        - a row with n products is n events, which the session (pageId) keeps together
        - an item's row is known from its add_date; events that come before it are kept (the
          manifest's source says how many)
        - links.parquet says which loc_user_id (person) a user had and from when on; item vectors
          are in vectors.npy
        - times have no zone and are taken as UTC; prices are the catalogue's, orders have none of
          their own
    """,
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
    """The four files in `folder` in the canonical form at `out`, with links and item vectors.

    An action with n products is n events, which its session (pageId) keeps together; visits,
    searches, emptied baskets and basket pages without products are events without item. A
    catalogue row is known from its add_date. links.parquet has user, person (the loc_user_id) and
    known_from, when the two were first seen together. What is left out is counted (CARD.dropped).
    Raises DataError with every fault of every file.
    """
    folder = Path(folder)
    faults, shape = folder_faults(folder), (0, 0)
    if not faults:
        faults = [f for file in NEEDS for f in _problems(folder / file)]
        with noting(faults, VECTORS_FILE):
            shape = _vectors_shape(folder / VECTORS_FILE)
    refuse(folder, faults)
    actions, goods, mapping = (
        _Table(engine.scan([folder / file]), arrow_schema(folder / file)) for file in NEEDS
    )
    with blaming(folder):
        progress("check actions", 0, 0)
        rows, seen, bad = sift(engine, *_actions(actions), f"{ACTIONS_FILE}: ")
        prefix = f"{ACTIONS_FILE} products: "
        about, n, junk = sift(engine, *_about(actions, rows), prefix)
        user = name("user")
        alone = (
            f"SELECT time, {user}, kind, CAST(NULL AS BIGINT) AS item, session"
            f" FROM ({rows}) AS r WHERE entries = 0"
        )
        progress("check catalogue", 0, 0)
        catalogue, k, wrong = _catalogue(engine, goods)
        items, vectors, lost = _mapping(engine, mapping, shape[0])
        source = {
            "reader": "stokman",
            ACTIONS_FILE: f"{seen + sum(bad.values())} rows",
            CATALOGUE_FILE: f"{k + sum(wrong.values())} rows",
            **_strangers(engine, about, catalogue),
            VECTORS_FILE: f"{shape[0]} vectors of width {shape[1]}",
            MAPPING_FILE: f"{len(items) + sum(lost.values())} rows",
        }
        # Users and people are hashed once a pair, not once an action.
        people = (
            "SELECT user_id, loc_user_id, MIN(time) AS known_from,"
            " SUM(CASE WHEN entries = 0 THEN 1 ELSE 0 END) AS alone"
            f" FROM ({rows}) AS r GROUP BY user_id, loc_user_id"
        )
        with kept(engine, people) as pairs:
            m = int(engine.one(f"SELECT COALESCE(SUM(alone), 0) FROM {pairs}")[0])
            return gather(
                Path(out),
                engine=engine,
                name="stokman",
                kinds=KINDS,
                columns=("session",),
                selects=[f"SELECT time, {user}, kind, item, session FROM ({about}) AS a", alone],
                catalogue=catalogue,
                attributes=ATTRIBUTES,
                texts=_maps(actions, pairs),
                rejected=bad | junk | wrong | lost,
                source=source,
                beside={
                    "links.parquet": _links(engine, actions, pairs),
                    "vector_items.npy": lambda path: write_array(path, items),
                    "vectors.npy": partial(_write_vectors, folder / VECTORS_FILE, vectors),
                },
                expected=n + m,
                progress=progress,
            )


# -- looking at the files ------------------------------------------------------------------------


def _problems(path: Path) -> list[str]:
    """Every fault that a footer shows."""
    faults: list[str] = []
    with noting(faults, path.name):
        schema = arrow_schema(path)
        faults += parquet_problems(path, NEEDS[path.name])
        for column in (*CODES[path.name], *LISTS.get(path.name, ())):
            said = column_fault(schema.names, column)
            if not said:
                said = _type_fault(column, schema.field(column).type, column in CODES[path.name])
            faults += [f"{path.name}: {said}"] * bool(said)
    return faults


def _type_fault(column: str, type_: pa.DataType, code: bool) -> str:
    good = _is_code(type_) if code else is_list(type_) and _is_code(type_.value_type)
    expected = "texts or whole numbers" if code else "lists of product ids"
    return "" if good else f"column {column} holds {type_}, expected {expected}"


def _is_code(type_: pa.DataType) -> bool:
    """Texts or whole numbers; pandas makes floats where one is missing."""
    return is_text(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)


def _whole(value: str, type_: pa.DataType) -> str:
    """SQL: a whole number within int64, from a number or a text in its one spelling; else null."""
    number = f"NULLIF(TRY_CAST({value} AS BIGINT), {NONE})"
    if is_text(type_):
        return f"CASE WHEN {matches_sql(value, '0|-?[1-9][0-9]{0,18}')} THEN {number} END"
    if pa.types.is_floating(type_):
        exact = f"{value} = FLOOR({value}) AND {value} BETWEEN -{2**53} AND {2**53}"
        return f"CASE WHEN {exact} THEN CAST({value} AS BIGINT) END"
    return number


# -- the actions ---------------------------------------------------------------------------------


def _actions(table: _Table) -> tuple[str, list[Reason]]:
    """SQL: every action with its canonical columns and products; the reasons to reject one."""
    kind = " ".join(f"WHEN {a.code} THEN {code}" for code, a in enumerate(ACTIONS))
    needy = in_sql("kind", (code for code, a in enumerate(ACTIONS) if a.needs_product))
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
    int64 = "is no whole number within int64"
    number = [] if table.is_text("user_id") else [(f"{name('user')} IS NULL", f"user_id {int64}")]
    reasons = [
        ("given_user IS NULL", "no user_id"),
        (f"given_user = '{JUNK}'", f"the junk user_id {JUNK}"),
        *number,
        no_time(name("time")),
        ("kind IS NULL", "no action from 0 to 9"),
        (f"entries = 0 AND {needy}", "no product where the action needs one"),
        ("given_session IS NOT NULL AND session IS NULL", f"pageId {int64}"),
    ]
    return select_sql(picks, table.scan), reasons


def _about(table: _Table, rows: str) -> tuple[str, list[Reason]]:
    """SQL: one row a product of a usable action, and the reasons to reject one."""
    columns = ["time", "user", "kind", "session"]
    some = f"SELECT * FROM ({rows}) AS r WHERE entries > 0"
    entries = unnested_sql(some, columns, "products", "product")
    picks = {
        **{c: name(c) for c in columns},
        "given_item": "NULLIF(CAST(product AS VARCHAR), '')",
        "item": _whole("product", table.schema.field("products").type.value_type),
    }
    return select_sql(picks, f"({entries}) AS e"), PRODUCT_REASONS


PRODUCT_REASONS: list[Reason] = [
    ("given_item IS NULL", "no product id"),
    (f"given_item = '{JUNK}'", f"the junk product id {JUNK}"),
    ("item IS NULL", "a product id that is no whole number within int64"),
]


def _maps(table: _Table, pairs: str) -> dict[str, str]:
    """SQL: the map (id, text) of user and person, where these are texts."""
    return {
        ours: f"SELECT {table.id(theirs)} AS id, {theirs} AS text FROM {pairs}"
        f" WHERE {table.given(theirs)} <> '{JUNK}'"
        for ours, theirs in (("user", "user_id"), ("person", "loc_user_id"))
        if table.is_text(theirs)
    }


def _links(engine: Engine, table: _Table, pairs: str) -> Callable[[Path], None]:
    picks = {
        "user": table.id("user_id"),
        "person": table.id("loc_user_id"),
        "known_from": "known_from",
    }
    known = f"{select_sql(picks, pairs)} WHERE {table.given('loc_user_id')} <> '{JUNK}'"
    some = f"SELECT * FROM ({known}) AS k WHERE person IS NOT NULL"

    def write(path: Path) -> None:
        engine.write(f"{some} ORDER BY {name('user')}, person", path, in_order=True)

    return write


# -- the catalogue -------------------------------------------------------------------------------


def _catalogue(engine: Engine, table: _Table) -> tuple[str, int, dict[str, int]]:
    """SQL of the catalogue, its number of rows, and those left out by reason."""
    # What is not finite is missing, as pandas writes it.
    double = "CAST({0} AS DOUBLE)"
    finite = f"CASE WHEN {double} BETWEEN -1e300 AND 1e300 THEN {double} END"
    picks = {
        "item": table.whole("product_id"),
        "given_item": table.given("product_id"),
        "known_from": table.moment("add_date"),
        "category": table.whole("category_id"),
        "given_category": table.given("category_id"),
        "shop": table.whole("shop_id"),
        "given_shop": table.given("shop_id"),
        "price": finite.format("price"),
        "old_price": finite.format("old_price"),
        "title": "NULLIF(title, '')",
    }
    reasons = [*PRODUCT_REASONS, (no_time("known_from")[0], "no readable add_date")]
    reasons += [
        (f"given_{c} IS NOT NULL AND {c} IS NULL", f"{c}_id is no whole number within int64")
        for c in ("category", "shop")
    ]
    reasons += [(f"{c} < 0", f"a negative {c}") for c in ("price", "old_price")]
    prefix = f"{CATALOGUE_FILE}: "
    good, n, rejected = sift(engine, select_sql(picks, table.scan), reasons, prefix)
    columns = "item, known_from, category, shop, price, old_price, title"
    different = f"SELECT DISTINCT {columns} FROM ({good}) AS g"
    values = ("shop", "category", "price", "old_price", "title")
    ties = ", ".join(f"{c} NULLS LAST" for c in values)
    turn = f"ROW_NUMBER() OVER (PARTITION BY item, known_from ORDER BY {ties}) AS turn"
    ranked = f"SELECT *, {turn} FROM ({different}) AS d"
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
        "SELECT COUNT(*) FILTER (WHERE f.item IS NULL),"
        " COUNT(*) FILTER (WHERE f.known_from > a.time)"
        f" FROM ({about}) AS a LEFT JOIN ({first}) AS f ON a.item = f.item"
    )
    return {
        "events on a product without a catalogue row": str(unknown),
        "events before the product's first add_date": str(early),
    }


# -- the vectors ---------------------------------------------------------------------------------


def _mapping(
    engine: Engine, table: _Table, vectors: int
) -> tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V"], dict[str, int]]:
    """Items, ascending, each one's row of vectors.npz, and the rows left out by reason."""
    picks = {
        "item": table.whole("product_id"),
        "given_item": table.given("product_id"),
        "vector": table.whole("vector_id"),
    }
    last, prefix = vectors - 1, f"{MAPPING_FILE}: "
    outside = f"vector IS NULL OR NOT vector BETWEEN 0 AND {last}"
    reasons = [*PRODUCT_REASONS, (outside, f"no vector_id from 0 to {last}")]
    good, n, rejected = sift(engine, select_sql(picks, table.scan), reasons, prefix)
    least = f"SELECT item, MIN(vector) AS vector FROM ({good}) AS g GROUP BY item ORDER BY item"
    columns = engine.arrays(least)
    items, rows = (columns[c].astype(np.int64) for c in ("item", "vector"))
    different = rows_in(engine, f"SELECT DISTINCT item, vector FROM ({good}) AS g")
    rejected |= {
        f"{prefix}an exact repeat of another row": n - different,
        f"{prefix}another vector of the same product": different - len(items),
    }
    return items, rows, rejected


def _vectors_shape(path: Path) -> tuple[int, int]:
    """Rows and width of the array, of which every byte was read.

    Raises DataError: no npz, a pickle, no finite float matrix.
    """
    need_file(path, "an .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist()]
            if VECTORS_ARRAY not in names:
                listed = ", ".join(names) or "none"
                raise DataError(path, f"no array {VECTORS_ARRAY!r}; found {listed}")
            with archive.open(f"{VECTORS_ARRAY}.npy") as file:
                header = npy_header(file)
                shape, dtype = header.shape, header.dtype
                if dtype.kind != "f" or len(shape) != 2 or not shape[0] or not shape[1]:
                    said = f"{VECTORS_ARRAY} holds {dtype} of shape {shape}"
                    raise DataError(path, f"{said}, expected floats, one row a vector_id")
                left, finite = shape[0] * shape[1] * dtype.itemsize, True
                while block := file.read(min(BLOCK * dtype.itemsize, left)):
                    left -= len(block)
                    values = np.frombuffer(block, dtype, len(block) // dtype.itemsize)
                    finite &= bool(np.isfinite(values).all())
                    if not left:
                        file.read()  # the archive's checksum is compared at the end
                        break
    except ZipFaults as fault:
        said = f"not a whole .npz file ({str(fault) or type(fault).__name__}); copy it again"
        raise DataError(path, said) from None
    if left:
        raise DataError(path, f"{VECTORS_ARRAY} ends {left} bytes too early; copy it again")
    if not finite:
        raise DataError(path, f"{VECTORS_ARRAY} holds NaN or infinity, expected finite numbers")
    return shape[0], shape[1]


def _write_vectors(source: Path, rows: Int64[np.ndarray, "V"], path: Path) -> None:
    """These rows of the array as float32. Holds a block.

    The array is unpacked beside `path` for that time.
    """
    unpacked = path.with_name(f".{path.name}.unpacked")
    with (
        zipfile.ZipFile(source) as archive,
        archive.open(f"{VECTORS_ARRAY}.npy") as packed,
        unpacked.open("wb") as file,
    ):
        shutil.copyfileobj(packed, file, BLOCK)
    array = read_npy(unpacked, mapped=True)
    shape = len(rows), array.shape[1]
    if not len(rows):
        np.save(path, np.zeros(shape, np.float32))  # a map of nothing cannot be made
    else:
        vectors = new_array(path, np.float32, shape)
        step = max(1, BLOCK // array.shape[1])
        for start in range(0, len(rows), step):
            vectors[start : start + step] = array[rows[start : start + step]]
        del vectors
    del array
    unpacked.unlink()
