"""The Stokman shop's four files: every quirk by hand, every way in which they can be wrong, and a
made-up sample of the real size.
"""

import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged import column

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import text_id
from clickprint.core.time import DAY, parse
from clickprint.data.adapters import card, reader, stokman
from clickprint.data.adapters.stokman import (
    ACTIONS_FILE,
    CATALOGUE_FILE,
    MAPPING_FILE,
    VECTORS_FILE,
)
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.data.store import store
from clickprint.data.synthetic.stokman import write_stokman

ANN, BOB = "6fd49b56-8cc6-11ed-86e0-002590c0647c", "f9c498ec-5d3b-11ef-86e0-002590c0647c"
HOME, WORK = "c6e357dc-121d-449d-a744-e9a0b56c2380", "120c9064-1131-4dc3-8048-44184531b42e"
T = parse("2024-09-07 12:00:00")
CODE = {k.name: code for code, k in enumerate(stokman.KINDS)}


def moments(values: list[int | None], zone: str | None = None) -> pa.Array:
    return pa.array(values, pa.timestamp("us", zone))


def actions(*rows: tuple) -> pa.Table:
    """Rows of user_id, loc_user_id, action, date, products, pageId."""
    users, people, codes, dates, products, pages = zip(*rows, strict=True)
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "loc_user_id": pa.array(people, pa.string()),
            "action": pa.array(codes, pa.int64()),
            "date": moments(list(dates)),
            "products": pa.array(products, pa.list_(pa.string())),
            "pageId": pa.array(pages, pa.int64()),
        }
    )


def catalogue(*rows: tuple) -> pa.Table:
    """Rows of add_date, shop_id, product_id, category_id, price, title, old_price."""
    dates, shops, products, categories, prices, titles, olds = zip(*rows, strict=True)
    return pa.table(
        {
            "add_date": moments(list(dates)),
            "shop_id": pa.array(shops, pa.string()),
            "product_id": pa.array(products, pa.string()),
            "category_id": pa.array(categories, pa.string()),
            "price": pa.array(prices, pa.float64()),
            "title": pa.array(titles, pa.string()),
            "old_price": pa.array(olds, pa.float64()),
        }
    )


ROW = (ANN, HOME, 0, T, ["11"], 900)
ITEM = (T - DAY, "350", "11", "8922", 75.0, "6048 48557", 100.0)


def lay(
    folder: Path,
    rows: pa.Table | None = None,
    items: pa.Table | None = None,
    mapping: pa.Table | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        actions(ROW, (BOB, WORK, 5, T + 1, ["11", "12"], 901)) if rows is None else rows,
        folder / ACTIONS_FILE,
    )
    pq.write_table(catalogue(ITEM) if items is None else items, folder / CATALOGUE_FILE)
    pq.write_table(
        mapping or pa.table({"product_id": ["12", "11"], "vector_id": [0, 2]}),
        folder / MAPPING_FILE,
    )
    np.savez_compressed(folder / VECTORS_FILE, np.arange(12, dtype=np.float32).reshape(3, 4))
    return folder


def read(raw: Path, engine: Engine) -> Dataset:
    return stokman.read(raw, raw.parent / "made" / "out", engine=engine)


def events(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for file in dataset.event_files for row in pq.read_table(file).to_pylist()]


def test_the_kinds_and_their_roles(tmp_path: Path, engine: Engine) -> None:
    rows = [(ANN, HOME, code, T + code, ["11"], 900 + code) for code in range(10)]
    made = read(lay(tmp_path / "raw", actions(*rows)), engine)
    kinds = made.manifest.kinds
    assert [(kinds[e["kind"]].name, kinds[e["kind"]].role) for e in events(made)] == [
        ("view", Role.VIEW),
        ("like", Role.LIKE),
        ("addB", Role.CART),
        ("delB", Role.REMOVE),
        ("clearB", Role.REMOVE),
        ("order", Role.BUY),
        ("listB", Role.OTHER),
        ("visit", Role.VIEW),
        ("visitCategory", Role.VIEW),
        ("search", Role.SEARCH),
    ]
    # Ties in time follow the funnel.
    assert CODE["visit"] < CODE["view"] < CODE["addB"] < CODE["listB"] < CODE["order"]
    assert not made.manifest.rejected


def test_a_row_is_as_many_events_as_it_has_products(tmp_path: Path, engine: Engine) -> None:
    rows = actions(
        (ANN, HOME, 5, T, ["12", "11", "12"], 900),
        (ANN, HOME, 7, T, [], 901),
        (ANN, HOME, 9, T, None, 902),
        (ANN, HOME, 4, T, [], 903),
        (ANN, HOME, 6, T, [], None),
    )
    made = read(lay(tmp_path / "raw", rows), engine)
    user = text_id(ANN)
    assert [(e["time"], e["user"], e["kind"], e["item"], e["session"]) for e in events(made)] == [
        (T, user, CODE["visit"], None, 901),
        (T, user, CODE["search"], None, 902),
        (T, user, CODE["clearB"], None, 903),
        (T, user, CODE["listB"], None, None),
        (T, user, CODE["order"], 11, 900),
        (T, user, CODE["order"], 12, 900),
        (T, user, CODE["order"], 12, 900),
    ]
    assert (made.manifest.events, made.manifest.users, made.manifest.items) == (7, 1, 2)
    assert pq.read_table(made.folder / "ids" / "user.parquet").to_pylist() == [
        {"id": user, "text": ANN}
    ]


def test_actions_that_cannot_be_read_are_counted(tmp_path: Path, engine: Engine) -> None:
    late = parse("2200-01-02")
    changes = [
        {},
        *({"user": u} for u in (None, "", "/*", "/*")),
        *({"date": d} for d in (None, late)),
        *({"action": a} for a in (None, 10, -1)),
        *({"action": a, "products": p} for a in (0, 1, 2, 3, 5) for p in (None, [])),
        *(
            {"products": p}
            for p in (
                ["/*"],
                ["11", "/*"],
                [None],
                ["", "11"],
                ["A17"],
                ["011"],
                ["99999999999999999999"],
            )
        ),
    ]
    names = ("user", "person", "action", "date", "products", "page")
    rows = [tuple({**dict(zip(names, ROW, strict=True)), **change}.values()) for change in changes]
    made = read(lay(tmp_path / "raw", actions(*rows)), engine)
    assert made.manifest.rejected == {
        f"{ACTIONS_FILE}: no user_id": 2,
        f"{ACTIONS_FILE}: the junk user_id /*": 2,
        f"{ACTIONS_FILE}: no readable time": 2,
        f"{ACTIONS_FILE}: no action from 0 to 9": 3,
        f"{ACTIONS_FILE}: no product where the action needs one": 10,
        f"{ACTIONS_FILE} products: no product id": 2,
        f"{ACTIONS_FILE} products: the junk product id /*": 2,
        f"{ACTIONS_FILE} products: a product id that is no whole number within int64": 3,
    }
    assert [e["item"] for e in events(made)] == [
        11,
        11,
        11,
    ]  # the good row, and the good entries of two others
    assert made.manifest.source[ACTIONS_FILE] == f"{len(rows)} rows"


def test_the_catalogue_has_versions_and_counts_what_it_leaves_out(
    tmp_path: Path, engine: Engine
) -> None:
    rows = catalogue(
        ITEM,
        ITEM,  # the same again
        (
            T - DAY,
            "350",
            "11",
            "8922",
            80.0,
            "6048 48557",
            100.0,
        ),  # the same date, another price: the lowest stays
        (T + 2, "350", "11", "8922", 60.0, "6048 48557", 0.0),  # a later version
        (T - DAY, "350", "/*", "8922", 1.0, "1", 1.0),
        (T - DAY, "350", None, "8922", 1.0, "1", 1.0),
        (T - DAY, "350", "x", "8922", 1.0, "1", 1.0),
        (None, "350", "12", "8922", 1.0, "1", 1.0),
        (T - DAY, "350", "13", "none", 1.0, "1", 1.0),
        (T - DAY, "shop", "13", "1", 1.0, "1", 1.0),
        (T - DAY, "350", "13", "1", -1.0, "1", 1.0),
        (T - DAY, "350", "13", "1", 1.0, "1", -1.0),
        (T - DAY, None, "14", "", float("nan"), "", None),
    )
    made = read(lay(tmp_path / "raw", items=rows), engine)
    known = {"category": 8922, "shop": 350, "title": "6048 48557"}
    assert made.catalogue.table.to_pylist() == [
        {"item": 11, "known_from": T - DAY, "price": 75.0, "old_price": 100.0, "discount": 0.25}
        | known,
        {"item": 11, "known_from": T + 2, "price": 60.0, "old_price": 0.0, "discount": None}
        | known,
        {"item": 14, "known_from": T - DAY}
        | dict.fromkeys(["category", "shop", "price", "old_price", "discount", "title"]),
    ]
    assert made.manifest.rejected == {
        f"{CATALOGUE_FILE}: no product id": 1,
        f"{CATALOGUE_FILE}: the junk product id /*": 1,
        f"{CATALOGUE_FILE}: a product id that is no whole number within int64": 1,
        f"{CATALOGUE_FILE}: no readable add_date": 1,
        f"{CATALOGUE_FILE}: category_id is no whole number within int64": 1,
        f"{CATALOGUE_FILE}: shop_id is no whole number within int64": 1,
        f"{CATALOGUE_FILE}: a negative price": 1,
        f"{CATALOGUE_FILE}: a negative old_price": 1,
        f"{CATALOGUE_FILE}: an exact repeat of another row": 1,
        f"{CATALOGUE_FILE}: another row of the same product and add_date": 1,
    }
    log = EventLog.open(made, engine)
    assert log.before(T).catalogue.table.column("price").to_pylist() == [75.0, None]
    assert log.before(T + 3).catalogue.table.column("price").to_pylist() == [60.0, None]
    # Nothing is known before its add_date.
    assert log.before(T - DAY).catalogue.table.num_rows == 0


def test_events_before_their_item_was_added_are_kept_and_said(
    tmp_path: Path, engine: Engine
) -> None:
    rows = actions(
        ROW, *((ANN, HOME, 0, T + k, ["11"], 900) for k in (1, 2)), (ANN, HOME, 5, T, ["77"], 900)
    )
    made = read(lay(tmp_path / "raw", rows, catalogue((T + 1, *ITEM[1:]))), engine)
    assert made.manifest.events == 4
    assert not made.manifest.rejected
    assert made.manifest.source["events before the product's first add_date"] == "1"
    assert made.manifest.source["events on a product without a catalogue row"] == "1"


def test_links_say_who_is_known_to_be_whom_and_from_when(tmp_path: Path, engine: Engine) -> None:
    rows = actions(
        (BOB, HOME, 0, T + 5, ["11"], 900),  # Bob's cookie turns out to be Ann's person, later
        (BOB, WORK, 0, T + 1, ["11"], 900),
        (ANN, HOME, 0, T + 3, ["11"], 900),
        (ANN, HOME, 7, T + 2, [], 900),
        (ANN, None, 0, T, ["11"], 900),
        (ANN, "/*", 0, T, ["11"], 900),
        (ANN, "", 0, T, ["11"], 900),
        ("/*", WORK, 0, T, ["11"], 900),
    )
    made = read(lay(tmp_path / "raw", rows), engine)
    links = made.beside("links")
    assert links is not None
    ann, bob = text_id(ANN), text_id(BOB)
    assert sorted(map(tuple, (r.values() for r in links.to_pylist()))) == sorted(
        [(ann, text_id(HOME), T + 2), (bob, text_id(WORK), T + 1), (bob, text_id(HOME), T + 5)]
    )
    assert links.column("user").to_pylist() == sorted(links.column("user").to_pylist())
    assert {
        r["text"] for r in pq.read_table(made.folder / "ids" / "person.parquet").to_pylist()
    } == {HOME, WORK}
    assert made.manifest.events == 7


def test_item_vectors_lie_beside(tmp_path: Path, engine: Engine) -> None:
    mapping = pa.table(
        {
            "product_id": ["12", "11", "11", "11", "/*", None, "x", "13", "14", "15"],
            "vector_id": [0, 2, 2, 1, 0, 0, 0, 3, -1, None],
        }
    )
    made = read(lay(tmp_path / "raw", mapping=mapping), engine)
    found = made.item_vectors
    assert found is not None
    assert found[0].tolist() == [11, 12]
    assert found[1].dtype == np.float32
    assert found[1].tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]  # of several vectors the smallest id
    assert made.manifest.rejected == {
        f"{MAPPING_FILE}: no product id": 1,
        f"{MAPPING_FILE}: the junk product id /*": 1,
        f"{MAPPING_FILE}: a product id that is no whole number within int64": 1,
        f"{MAPPING_FILE}: no vector_id from 0 to 2": 3,
        f"{MAPPING_FILE}: an exact repeat of another row": 1,
        f"{MAPPING_FILE}: another vector of the same product": 1,
    }
    assert sorted(
        p.name for p in made.folder.iterdir() if not p.name.startswith((".", "events", "ids"))
    ) == sorted(
        p
        for p in (
            "catalogue.parquet",
            "items.npy",
            "links.parquet",
            "manifest.json",
            "users.npy",
            "vector_items.npy",
            "vectors.npy",
        )
        if (made.folder / p).exists()
    )
    none = read(
        lay(tmp_path / "none", mapping=pa.table({"product_id": ["/*"], "vector_id": [0]})), engine
    ).item_vectors
    assert none is not None
    assert (none[0].shape, none[1].shape) == ((0,), (0, 4))


def test_the_fingerprint_is_of_what_is_beside_too(tmp_path: Path, engine: Engine) -> None:
    one = read(lay(tmp_path / "a" / "raw"), engine)
    prints = {one.manifest.fingerprint}
    assert read(lay(tmp_path / "b" / "raw"), engine).manifest.fingerprint in prints
    other = lay(tmp_path / "c" / "raw")
    np.savez(other / VECTORS_FILE, np.ones((3, 4), np.float32))
    prints.add(read(other, engine).manifest.fingerprint)
    prints.add(
        read(
            lay(
                tmp_path / "d" / "raw",
                actions((ANN, WORK, *ROW[2:]), (BOB, WORK, 5, T + 1, ["11", "12"], 901)),
            ),
            engine,
        ).manifest.fingerprint
    )
    assert len(prints) == 3


def test_what_lies_beside_is_there_whole_or_not_at_all(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw")
    before = read(raw, engine)

    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise DataError(str(path), ["the disk is full"])

    with pytest.raises(DataError, match="the disk is full"):
        store(
            before.folder,
            before.manifest,
            [pq.read_table(f) for f in before.event_files],
            before.catalogue.table,
            beside={"a.npy": fails},
        )
    assert Dataset.open(before.folder).manifest == before.manifest
    assert [p.name for p in before.folder.parent.iterdir()] == ["out"]
    for file, ask in (
        ("vectors.npy", lambda d: d.item_vectors),
        ("links.parquet", lambda d: d.beside("links")),
    ):
        kept = (before.folder / file).read_bytes()
        for damaged in (b"", kept[:-3], b"junk"):
            (before.folder / file).write_bytes(damaged)
            with pytest.raises(DataError, match=file):
                ask(before)
        (before.folder / file).write_bytes(kept)
    assert before.beside("questions") is None
    np.save(before.folder / "vectors.npy", np.ones((3, 4), np.float32))
    with pytest.raises(DataError, match=r"vectors\.npy: .*\b3 vectors.*\b2 items"):
        _ = before.item_vectors


def test_a_slow_twin(tmp_path: Path, engine: Engine) -> None:
    write_stokman(tmp_path / "raw", users=40, actions=1_200)
    made = read(tmp_path / "raw", engine)
    needy = {0, 1, 2, 3, 5}
    names = dict(
        enumerate(
            (
                "view",
                "like",
                "addB",
                "delB",
                "clearB",
                "order",
                "listB",
                "visit",
                "visitCategory",
                "search",
            )
        )
    )
    expected, links = [], {}
    for row in pq.read_table(tmp_path / "raw" / ACTIONS_FILE).to_pylist():
        if row["user_id"] in (None, "/*") or row["date"] is None or row["action"] not in names:
            continue
        products = row["products"] or []
        if not products and row["action"] in needy:
            continue
        time, user = (
            round(row["date"].replace(tzinfo=UTC).timestamp() * 1e6),
            text_id(row["user_id"]),
        )
        for product in products or [None]:
            if product != "/*":
                expected.append(
                    (
                        time,
                        user,
                        CODE[names[row["action"]]],
                        -1 if product is None else int(product),
                        row["pageId"],
                    )
                )
        if row["loc_user_id"] not in (None, "/*"):
            pair = user, text_id(row["loc_user_id"])
            links[pair] = min(time, links.get(pair, time))
    found = [
        (e["time"], e["user"], e["kind"], -1 if e["item"] is None else e["item"], e["session"])
        for e in events(made)
    ]
    assert found == sorted(expected)
    table = made.beside("links")
    assert table is not None
    assert {(r["user"], r["person"]): r["known_from"] for r in table.to_pylist()} == links


def test_other_spellings_of_the_columns(tmp_path: Path, engine: Engine) -> None:
    """Numbers for ids, texts and zones for times: the same log."""
    raw = lay(tmp_path / "raw")
    expected = [(e["time"], e["kind"], e["item"], e["session"]) for e in events(read(raw, engine))]
    table = pq.read_table(raw / ACTIONS_FILE)
    table = column("date", moments([T + 7_200_000_000 - 7_200_000_000, T + 1], "Europe/Moscow"))(
        table
    )
    table = column("products", pa.array([[11], [11, 12]], pa.large_list(pa.int64())))(table)
    table = column("pageId", pa.array(["900", "901"]))(table)
    table = column("action", pa.array([0.0, 5.0]))(table)
    table = column("user_id", pa.array([5, 6]))(table)
    pq.write_table(table, raw / ACTIONS_FILE)
    items = pq.read_table(raw / CATALOGUE_FILE)
    pq.write_table(
        column("add_date", pa.array(["2024-09-06 12:00:00"]))(
            column("product_id", pa.array([11]))(items)
        ),
        raw / CATALOGUE_FILE,
    )
    made = read(raw, engine)
    assert [(e["time"], e["kind"], e["item"], e["session"]) for e in events(made)] == expected
    assert [e["user"] for e in events(made)] == [5, 6, 6]
    assert made.catalogue.table.column("known_from").to_pylist() == [T - DAY]
    assert not (made.folder / "ids" / "user.parquet").exists()


def edited(file: str, edit: Callable[[pa.Table], pa.Table]) -> Callable[[Path], object]:
    return lambda folder: pq.write_table(edit(pq.read_table(folder / file)), folder / file)


def bytes_(file: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(edit((folder / file).read_bytes()))


def vectors(**arrays: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: np.savez(folder / VECTORS_FILE, **arrays)


def cut_vectors(folder: Path) -> None:
    """An archive that is whole, of an array that is not."""
    with zipfile.ZipFile(folder / VECTORS_FILE) as archive:
        array = archive.read("arr_0.npy")
    with zipfile.ZipFile(folder / VECTORS_FILE, "w") as archive:
        archive.writestr("arr_0.npy", array[:-8])


def broken_text(table: pa.Table) -> pa.Table:
    return column("user_id", pa.array([b"\xff\xfe", b"\x80"], pa.binary()).view(pa.string()))(
        table
    )


def pickled(folder: Path) -> None:
    np.savez(folder / VECTORS_FILE, np.array([[1, "x"]], object))


def twice(table: pa.Table) -> pa.Table:
    return table.append_column("price", table.column("price"))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "not found"),
    "a file is missing": (
        lambda f: (f / MAPPING_FILE).unlink(),
        r"catalog_vector_mapping\.pq: not found",
    ),
    "no vectors": (lambda f: (f / VECTORS_FILE).unlink(), r"vectors\.npz: not found"),
    "an empty file": (
        bytes_(ACTIONS_FILE, lambda b: b""),
        r"train_actions\.pq: the file is empty",
    ),
    "empty vectors": (bytes_(VECTORS_FILE, lambda b: b""), r"vectors\.npz: the file is empty"),
    "truncated": (
        bytes_(CATALOGUE_FILE, lambda b: b[:-9]),
        r"preprocessed\.pq: not a whole Parquet file",
    ),
    "a CSV": (
        bytes_(ACTIONS_FILE, lambda b: b"user_id,action\n1,2\n"),
        r"train_actions\.pq: not a whole Parquet file",
    ),
    "damaged pages": (
        bytes_(ACTIONS_FILE, lambda b: b[:4] + bytes(255 - x for x in b[4:60]) + b[60:]),
        "DuckDB says",
    ),
    "a column is missing": (
        edited(ACTIONS_FILE, lambda t: t.drop_columns(["pageId"])),
        "no column 'pageId'",
    ),
    "a column twice": (edited(CATALOGUE_FILE, twice), "2 columns 'price'"),
    "a column of ids twice": (
        edited(ACTIONS_FILE, lambda t: t.append_column("action", t.column("action"))),
        "2 columns 'action'",
    ),
    "products as texts": (
        edited(ACTIONS_FILE, column("products", pa.array(["[11]", "[]"]))),
        "products holds string, expected lists",
    ),
    "products of numbers with a point": (
        edited(ACTIONS_FILE, column("products", pa.array([[[1]], [[2]]]))),
        "products holds list<.*>, expected lists of product ids",
    ),
    "dates as numbers": (
        edited(ACTIONS_FILE, column("date", pa.array([1, 2]))),
        "date holds int64, expected texts YYYY",
    ),
    "prices as texts": (
        edited(CATALOGUE_FILE, column("price", pa.array(["6990"]))),
        "price holds string, expected numbers",
    ),
    "actions as booleans": (
        edited(ACTIONS_FILE, column("action", pa.array([True, False]))),
        "action holds bool, expected texts or whole",
    ),
    "not UTF-8": (edited(ACTIONS_FILE, broken_text), "(?i)utf-?8|encoding"),
    "no row": (edited(ACTIONS_FILE, lambda t: t.slice(0, 0)), "no event could be read"),
    "only junk": (
        edited(ACTIONS_FILE, column("user_id", pa.array(["/*", "/*"]))),
        r"2 rows rejected: train_actions\.pq: the junk user_id /\*",
    ),
    "vectors are no archive": (
        bytes_(VECTORS_FILE, lambda b: b"\x93NUMPY" + b[60:-30]),
        r"vectors\.npz: not a whole \.npz",
    ),
    "vectors are truncated": (
        bytes_(VECTORS_FILE, lambda b: b[: len(b) // 2]),
        r"vectors\.npz: not a whole \.npz",
    ),
    "a bit of the vectors is wrong": (
        bytes_(VECTORS_FILE, lambda b: b[:110] + bytes([b[110] ^ 255]) + b[111:]),
        r"vectors\.npz: not a whole \.npz",
    ),
    "vectors end too early": (cut_vectors, "arr_0 ends 8 bytes too early"),
    "vectors under another name": (
        vectors(vectors=np.ones((2, 2))),
        "no array 'arr_0'; found vectors",
    ),
    "vectors are a pickle": (pickled, "arr_0 holds object of shape"),
    "vectors are no matrix": (vectors(arr_0=np.ones(5)), r"holds float64 of shape \(5,\)"),
    "vectors are numbers without a point": (
        vectors(arr_0=np.ones((2, 2), int)),
        "holds int64 of shape",
    ),
    "vectors are not finite": (vectors(arr_0=np.array([[1.0, np.nan]])), "NaN or infinity"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_their_fault(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, message = BAD[case]
    raw = lay(tmp_path / "raw")
    spoil(raw)
    with pytest.raises(DataError, match=message):
        read(raw, engine)
    assert not [*tmp_path.glob("made/*"), *tmp_path.glob("made/.*")]


def test_all_faults_in_one_error(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw")
    for case in (
        "a column is missing",
        "products as texts",
        "prices as texts",
        "a file is missing",
        "vectors are no matrix",
    ):
        BAD[case][0](raw)
    with pytest.raises(DataError) as fault:
        read(raw, engine)
    assert len(fault.value.problems) == 5


# --- the made-up sample --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int], Dataset]:
    raw = tmp_path_factory.mktemp("stokman") / "raw"
    planted = write_stokman(raw)
    with DuckDB(memory="500MB", threads=1) as engine:
        return raw, planted, read(raw, engine)


def test_the_sample_has_the_form_and_every_quirk(
    sample: tuple[Path, dict[str, int], Dataset],
) -> None:
    raw, planted, made = sample
    assert made.manifest.rejected == planted
    assert set(planted) >= {
        f"{ACTIONS_FILE}: the junk user_id /*",
        f"{ACTIONS_FILE}: no product where the action needs one",
        f"{ACTIONS_FILE}: no action from 0 to 9",
        f"{ACTIONS_FILE} products: the junk product id /*",
        f"{CATALOGUE_FILE}: the junk product id /*",
        f"{CATALOGUE_FILE}: another row of the same product and add_date",
        f"{MAPPING_FILE}: another vector of the same product",
    }
    assert min(planted.values()) > 0
    rows = pq.read_table(raw / ACTIONS_FILE)
    assert (len(rows), made.manifest.users) == (200_000, 3_500)
    assert [str(t) for t in rows.schema.types] == [
        "string",
        "string",
        "int64",
        "timestamp[us]",
        "list<element: string>",
        "int64",
    ]
    lengths = rows.column("products").combine_chunks().value_lengths()
    assert lengths.null_count > 0  # no list …
    assert 0 in lengths.to_pylist()[:1_000]  # … an empty one …
    assert max(filter(None, lengths.to_pylist())) > 3  # … and many in one row
    assert set(rows.column("action").to_pylist()) >= set(range(10))
    # Prices change.
    assert len(made.catalogue.table) > len(set(made.catalogue.table.column("item").to_pylist()))
    assert int(made.manifest.source["events before the product's first add_date"]) > 1_000
    links = made.beside("links")
    assert links is not None
    assert (
        len(set(links.column("person").to_pylist()))
        < len(set(links.column("user").to_pylist()))
        == 3_500
    )


def test_the_sample_has_what_a_recommender_can_learn(
    sample: tuple[Path, dict[str, int], Dataset], engine: Engine
) -> None:
    log = EventLog.open(sample[2], engine)
    bought = log.rows(["user", "item", "time"], roles=(Role.BUY,))
    seen = log.rows(["user", "item", "time"], roles=(Role.VIEW, Role.CART))

    def pairs(rows: dict[str, np.ndarray], which: np.ndarray) -> set[tuple[int, int]]:
        return set(zip(rows["user"][which].tolist(), rows["item"][which].tolist(), strict=True))

    end = log.span()[1]
    cut = end - 3 * DAY
    wanted = pairs(bought, bought["time"] >= cut)
    assert len({u for u, _ in wanted}) > 300  # enough buyers in a window of three days
    before, looked = pairs(bought, bought["time"] < cut), pairs(seen, seen["time"] < cut)
    assert 0.15 < len(wanted & before) / len(wanted) < 0.9  # bought again
    # More of them were looked at.
    assert len(wanted & looked) / len(wanted) > len(wanted & before) / len(wanted)
    sold = np.unique(bought["item"][bought["time"] < cut], return_counts=True)
    top = set(sold[0][np.argsort(-sold[1])[:25]].tolist())
    # Habits beat popularity.
    assert len([i for _, i in wanted if i in top]) / len(wanted) < len(wanted & before) / len(
        wanted
    )
    # Nothing is bought that was never seen.
    assert pairs(bought, bought["time"] > 0) <= pairs(seen, seen["time"] > 0)


def test_the_sample_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    size = {"users": 40, "actions": 1_200}
    first, again, other = (tmp_path / n for n in "abc")
    assert (
        write_stokman(first, **size)
        == write_stokman(again, **size)
        == write_stokman(first, **size)
    )
    write_stokman(other, **size, seed=8)
    for file in (ACTIONS_FILE, CATALOGUE_FILE, MAPPING_FILE):
        assert pq.read_table(first / file).equals(pq.read_table(again / file))
        assert not pq.read_table(first / file).equals(pq.read_table(other / file))
    assert np.array_equal(
        np.load(first / VECTORS_FILE)["arr_0"], np.load(again / VECTORS_FILE)["arr_0"]
    )


@pytest.mark.parametrize(
    "size",
    [
        {"users": 40, "actions": 1_200},
        {"users": 10, "actions": 5_000},
        {"users": 300, "actions": 6_000},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_samples_of_any_size_read_as_planned(
    size: dict[str, int], seed: int, tmp_path: Path, engine: Engine
) -> None:
    planted = write_stokman(tmp_path / "raw", **size, seed=seed)
    made = read(tmp_path / "raw", engine)
    assert made.manifest.rejected == planted
    assert (made.manifest.users, made.manifest.source[ACTIONS_FILE]) == (
        size["users"],
        f"{size['actions']} rows",
    )


def test_the_sample_refuses_what_it_cannot_honour(tmp_path: Path) -> None:
    for size in ({"users": 9, "actions": 1_000}, {"users": 100, "actions": 1_999}):
        with pytest.raises(
            ConfigError, match=rf"users, actions: .*{size['actions']}.*\b10\b.*\b20\b"
        ):
            write_stokman(tmp_path / "raw", **size)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match="did not write"):
        write_stokman(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_it_is_listed() -> None:
    assert reader("stokman") is stokman.read
    assert "links.parquet" in card("stokman").text()
