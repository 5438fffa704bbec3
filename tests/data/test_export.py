"""Exports: what other tools read is the same log, the same split, and nobody who must not be
there.
"""

import hmac
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clickprint.apps.cli.main import main
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, show
from clickprint.data.adapters import challenge as reader
from clickprint.data.adapters.mapping import parse
from clickprint.data.adapters.table import read_mapping
from clickprint.data.check import SIXTEEN_CODES
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.export import recbole as module
from clickprint.data.export.anonymise import Anonymise
from clickprint.data.export.challenge import Exported, export_challenge
from clickprint.data.export.codes import Characters, Quantiser
from clickprint.data.export.recbole import export_recbole
from clickprint.data.log import EventLog
from clickprint.data.split import split as split_log
from clickprint.testing.worlds import START, memory_log, random_log

KEY = b"a key that nobody can guess"
FILES = [
    "product_buy",
    "add_to_cart",
    "remove_from_cart",
    "page_visit",
    "search_query",
    "product_properties",
]


@pytest.fixture(scope="module")
def engine():
    with DuckDB(memory="500MB", threads=1) as found:
        yield found


def table(folder: Path, file: str) -> pa.Table:
    return pq.read_table(folder / f"{file}.parquet")


@pytest.fixture(scope="module")
def plain(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EventLog, Path, Exported]:
    log = random_log(engine, np.random.default_rng(3), users=20, events=900, days=70)
    folder = tmp_path_factory.mktemp("plain") / "c"
    return log, folder, export_challenge(log, folder)


def rows(log: EventLog) -> dict[str, list]:
    """Each event as the challenge's reader would have it, without session and price, sorted."""
    return {
        c: (
            log.engine.table(
                f'SELECT "time", "user", k.role AS kind, item, query, url FROM {log.events} AS e'
                f" JOIN {kinds(log)} AS k ON e.kind = k.code ORDER BY ALL NULLS FIRST"
            )
            .column(c)
            .to_pylist()
        )
        for c in ("time", "user", "kind", "item", "query", "url")
    }


def kinds(log: EventLog) -> str:
    return log.engine.keep(
        pa.table(
            {
                "code": pa.array(range(len(log.manifest.kinds))),
                "role": [k.role.value for k in log.manifest.kinds],
            }
        )
    )


def test_it_has_the_challenges_columns(plain: tuple[EventLog, Path, Exported]) -> None:
    _, folder, made = plain
    found = {f: {c.name: str(c.type) for c in table(folder, f).schema} for f in FILES}
    third = {
        "product_buy": "sku",
        "add_to_cart": "sku",
        "remove_from_cart": "sku",
        "page_visit": "url",
        "search_query": "query",
    }
    for file, column in third.items():
        assert found[file] == {
            "client_id": "int64",
            "timestamp": "string",
            column: "string" if column == "query" else "int64",
        }
        moments = table(folder, file).column("timestamp").to_pylist()
        assert moments == sorted(moments)
        assert len(moments) == made.rows[file] > 0
    assert found["product_properties"] == {
        "sku": "int64",
        "category": "int64",
        "price": "int64",
        "name": "string",
    }
    names = table(folder, "product_properties").column("name")
    assert pc.all(pc.match_substring_regex(names, f"^{SIXTEEN_CODES}$")).as_py()
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix == ".npy") == [
        "input/relevant_clients.npy",
        "target/active_clients.npy",
        *(
            f"target/{a}propensity_{b}.npy"
            for a in ("popularity_", "")
            for b in ("category", "new_sku", "price", "sku")
        ),
    ]


def test_read_back_it_is_the_same_log(
    plain: tuple[EventLog, Path, Exported], engine: Engine, tmp_path: Path
) -> None:
    log, folder, made = plain
    read = reader.read(folder, tmp_path / "d", engine=engine)
    assert made.left_out == {}
    assert read.manifest.rejected == {}
    again = rows(EventLog.open(read, engine))
    expected = rows(log)
    for column in ("time", "user", "kind", "item", "url"):
        assert again[column] == expected[column], column
    known = log.engine.table(f"SELECT * FROM {log.items}").to_pylist()
    told = {r["item"]: (r["category"], r["price"]) for r in read.catalogue.table.to_pylist()}
    assert {r["item"]: (r["category"], r["price_bucket"]) for r in known}.items() <= told.items()
    lost = {i for i in expected["item"] if i is not None} - {r["item"] for r in known}
    assert lost
    assert {told[i] for i in lost} == {(0, 0)}
    assert made.filled == {
        "items without a category: 0": len(lost),
        "items without a price: bucket 0": len(lost),
        "items without a text: [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0]": len(told),
    }


def test_the_organisers_split_runs_on_it(
    plain: tuple[EventLog, Path, Exported], engine: Engine
) -> None:
    _, folder, made = plain
    facts = reader.split(folder, engine)
    assert (facts.train_start, facts.validation_start) == (made.train.start, made.valid.start)
    train, _ = reader.target_rows(folder)
    for task, column in (("sku", "sku"), ("category", "category"), ("price", "price")):
        values, popularity = reader.labels(folder, f"propensity_{task}")
        counts = Counter(train[column].tolist())
        best = sorted(counts, key=lambda v, c=counts: (-c[v], v))[:100]
        assert values.tolist() == best
        assert popularity.tolist() == [counts[v] / counts.total() for v in best]
    bought = table(folder, "product_buy")
    past = bought.filter(pc.less(bought.column("timestamp"), show(made.train.start)))
    assert reader.active_clients(folder).tolist() == sorted(
        set(past.column("client_id").to_pylist())
    )
    usual = [
        v
        for v, _ in sorted(
            Counter(past.column("sku").to_pylist()).items(), key=lambda i: (-i[1], i[0])
        )[:100]
    ]
    values, _ = (
        reader.labels(folder, "propensity_new_sku")
        if len(set(train["sku"].tolist()) - set(usual))
        else (np.zeros(0), None)
    )
    assert not set(values.tolist()) & set(usual)
    everyone = [f for f in FILES[:-1] for f in [table(folder, f)]]
    before = {
        u
        for t in everyone
        for u in (
            t.filter(pc.less(t.column("timestamp"), show(made.train.start)))
            .column("client_id")
            .to_pylist()
        )
    }
    assert reader.relevant_clients(folder).tolist() == sorted(before)


def test_the_reference_case_comes_back(golden: Path, engine: Engine, tmp_path: Path) -> None:
    """Read and exported, the organisers' small log has the same rows, clients and popularity;
    labels of equal counts may be others.
    """
    source = next(
        p.parent for p in golden.rglob("product_buy.parquet") if p.parent.name != "input"
    )
    read = reader.read(source, tmp_path / "d", engine=engine)
    made = export_challenge(EventLog.open(read, engine), tmp_path / "c", relevant=read.population)
    assert (made.left_out, made.filled) == ({}, {})
    for file in FILES:
        before, after = table(source, file), table(tmp_path / "c", file)
        keys = [(c, "ascending") for c in after.column_names]
        assert (
            before.select(after.column_names)
            .cast(after.schema)
            .sort_by(keys)
            .equals(after.sort_by(keys))
        ), file
    assert np.array_equal(
        reader.active_clients(tmp_path / "c"), np.sort(reader.active_clients(source))
    )
    assert np.array_equal(
        reader.relevant_clients(tmp_path / "c"), np.sort(reader.relevant_clients(source))
    )
    for task in ("category", "sku", "new_sku", "price"):
        ours, theirs = (reader.labels(f, f"propensity_{task}") for f in (tmp_path / "c", source))
        assert np.allclose(ours[1], theirs[1])
        least = theirs[1].min()
        assert set(ours[0][ours[1] > least]) == set(theirs[0][theirs[1] > least])


# --- anonymised ----------------------------------------------------------------------------------


def keyed(column: str, id_: int) -> int:
    """The rule, once more: the first 60 bits of HMAC-SHA256."""
    return int(hmac.new(KEY, f"{column}:{id_}".encode(), "sha256").hexdigest()[:15], 16)


def test_ids_are_hashed_with_the_key_and_denied_items_are_gone(
    plain: tuple[EventLog, Path, Exported], engine: Engine, tmp_path: Path
) -> None:
    log, folder, _ = plain
    deny = np.array([3, 5, 99_999])
    made = export_challenge(log, tmp_path / "c", anonymise=Anonymise(KEY, deny))
    again = export_challenge(log, tmp_path / "again", anonymise=Anonymise(KEY, deny))
    assert made == again
    gone = 0
    for file, column in (
        ("product_buy", "sku"),
        ("add_to_cart", "sku"),
        ("remove_from_cart", "sku"),
        ("page_visit", "url"),
    ):
        before, after = table(folder, file), table(tmp_path / "c", file)
        kept = [
            (t, keyed("user", u), keyed("item" if column == "sku" else "url", v))
            for t, u, v in zip(
                *(before.column(c).to_pylist() for c in ("timestamp", "client_id", column)),
                strict=True,
            )
            if column == "url" or v not in deny
        ]
        gone += len(before) - len(kept)
        assert sorted(kept) == list(
            zip(
                *(after.column(c).to_pylist() for c in ("timestamp", "client_id", column)),
                strict=True,
            )
        )
        assert after.equals(table(tmp_path / "again", file))
    assert made.left_out == {"an item of the deny-list": gone}
    assert gone > 0
    properties = {r["sku"]: r for r in table(tmp_path / "c", "product_properties").to_pylist()}
    for row in table(folder, "product_properties").to_pylist():
        if row["sku"] in deny:
            assert keyed("item", row["sku"]) not in properties
        else:
            found = properties[keyed("item", row["sku"])]
            assert found["price"] == row["price"]
            assert found["category"] == (
                keyed("category", row["category"]) if row["sku"] < 27 else 0
            )
    users = np.load(folder / "input" / "relevant_clients.npy").tolist()
    assert (
        sorted(keyed("user", u) for u in users)
        == np.load(tmp_path / "c" / "input" / "relevant_clients.npy").tolist()
    )
    read = reader.read(tmp_path / "c", tmp_path / "d", engine=engine)
    assert read.manifest.rejected == {}
    assert read.manifest.events == log.manifest.events - gone
    assert read.users.min() >= 0
    other = export_challenge(log, tmp_path / "other", anonymise=Anonymise(KEY + b"!"))
    assert other.left_out == {}
    ours, theirs = (
        set(table(tmp_path / f, "product_buy").column("client_id").to_pylist())
        for f in ("c", "other")
    )
    assert not ours & theirs


def test_a_short_key_is_refused_and_no_key_is_shown() -> None:
    with pytest.raises(ConfigError, match=r"\b5 bytes.*\b16\b"):
        Anonymise(b"short")
    assert "guess" not in repr(Anonymise(KEY))


def test_two_ids_that_become_one_are_an_error(
    plain: tuple[EventLog, Path, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "clickprint.data.export.anonymise.keyed_id_sql", lambda expression, key: "1"
    )
    with pytest.raises(DataError, match=r"^column \w+: 19 ids.*\bkey\b"):
        export_challenge(plain[0], tmp_path / "c", anonymise=Anonymise(KEY))
    assert list(tmp_path.iterdir()) == []


# --- a log of another form -----------------------------------------------------------------------

SHOP = (
    Kind("seen", Role.VIEW),
    Kind("looked at", Role.VIEW),
    Kind("searched", Role.SEARCH),
    Kind("liked", Role.LIKE),
    Kind("ordered", Role.BUY),
)


def shop(engine: Engine, **more: object) -> EventLog:
    """Forty days of ten users: views of two kinds, likes, purchases with prices, searches for
    texts; titles and no buckets or codes.
    """
    day = np.repeat(np.arange(40), 10)
    user = np.tile(np.arange(10), 40)
    kind = (day + user) % 5
    item = (day * 7 + user) % 30
    texts = {0: "red shoes", 1: "red shoe", 2: "garden hose", 3: ""}
    columns = {
        "time": START + day * DAY + user * 1_000_001,
        "user": user,
        "kind": kind,
        "item": np.where((kind == 2) | ((kind == 4) & (user == 9)), np.iinfo(np.int64).min, item),
        "query": np.where(kind == 2, user % 5, np.iinfo(np.int64).min),
        "price": np.where(kind == 4, 1.0 + item + 1000 * (day > 30), np.nan),
    }
    catalogue = {
        "item": [*range(25), 3, 4],
        "known_from": [*[START] * 25, START + 5 * DAY, START + 39 * DAY],
        "brand": [*[7] * 25, 8, 9],
        "title": [*[f"thing {i}" if i else None for i in range(25)], "thing 3", "another"],
    }
    return memory_log(
        engine,
        kinds=SHOP,
        catalogue=catalogue,
        attributes={"brand": AttributeType.CATEGORY, "title": AttributeType.TEXT},
        texts={"query": texts},
        **{**columns, **more},
    )


def test_kinds_go_by_their_role_and_what_has_no_place_is_counted(
    engine: Engine, tmp_path: Path
) -> None:
    log = shop(engine)
    made = export_challenge(log, tmp_path / "c", horizon_days=7)
    count = Counter(((np.repeat(np.arange(40), 10) + np.tile(np.arange(10), 40)) % 5).tolist())
    bare = sum((day + 9) % 5 == 4 for day in range(40))
    untold = sum(
        (day + user) % 5 == 2 and user % 5 == 4 for day in range(40) for user in range(10)
    )
    assert made.left_out == {
        "liked: the challenge has no role like": count[3],
        "a purchase, cart or removal without an item": bare,
        "a search without a text": untold,
    }
    assert made.rows == {
        "page_visit": count[0] + count[1],
        "search_query": count[2] - untold,
        "add_to_cart": 0,
        "remove_from_cart": 0,
        "product_buy": count[4] - bare,
        "product_properties": 30,
    }
    # Without urls a view's page is its item's; the second is what is left of a time.
    visit = table(tmp_path / "c", "page_visit").to_pylist()[0]
    assert visit == {"client_id": 0, "timestamp": show(START), "url": 0}
    assert reader.read(tmp_path / "c", tmp_path / "d", engine=engine).manifest.rejected == {}


def test_nothing_of_the_future_is_in_prices_codes_and_properties(
    engine: Engine, tmp_path: Path
) -> None:
    """Other prices, titles and searches after the cutoff change no bucket, no code and no category
    of what was there before.
    """
    made = export_challenge(shop(engine), tmp_path / "c", horizon_days=7)
    day = np.repeat(np.arange(40), 10)
    late = day * DAY + START >= made.train.start
    price = np.where(late, 5.0, 1.0 + (day * 7 + np.tile(np.arange(10), 40)) % 30)
    kind = (day + np.tile(np.arange(10), 40)) % 5
    other = shop(engine, price=np.where(kind == 4, price, np.nan))
    export_challenge(other, tmp_path / "e", horizon_days=7)
    ours, theirs = (table(tmp_path / f, "product_properties") for f in ("c", "e"))
    early = set(
        ((day * 7 + np.tile(np.arange(10), 40)) % 30)[
            (kind == 4) & ~late & (np.tile(np.arange(10), 40) < 9)
        ].tolist()
    )
    assert len(early) > 20
    mask = pc.is_in(ours.column("sku"), pa.array(sorted(early)))
    assert ours.filter(mask).equals(theirs.filter(mask))
    category = dict(
        zip(ours.column("sku").to_pylist(), ours.column("category").to_pylist(), strict=True)
    )
    # 4 changes after the cutoff, 26 is in no catalogue.
    assert (category[3], category[4], category[26]) == (8, 7, 0)
    buckets = np.array(ours.filter(mask).column("price").to_pylist())
    assert (np.diff(buckets) >= 0).all()  # a higher item costs more here
    assert 0 <= buckets.min() < buckets.max() <= 99


def test_texts_become_codes(engine: Engine, tmp_path: Path) -> None:
    export_challenge(shop(engine), tmp_path / "c", horizon_days=7)
    export_challenge(
        shop(engine),
        tmp_path / "e",
        horizon_days=7,
        vectors=lambda texts: np.array([[len(t)] for t in texts], float),
    )
    for folder in ("c", "e"):
        searches = table(tmp_path / folder, "search_query")
        assert pc.all(
            pc.match_substring_regex(searches.column("query"), f"^{SIXTEEN_CODES}$")
        ).as_py()
    names = dict(
        zip(
            *table(tmp_path / "c", "product_properties")
            .select(["sku", "name"])
            .to_pydict()
            .values(),
            strict=True,
        )
    )
    assert len({names[i] for i in range(1, 25)}) == 24
    lengths = dict(
        zip(
            *table(tmp_path / "e", "product_properties")
            .select(["sku", "name"])
            .to_pydict()
            .values(),
            strict=True,
        )
    )
    assert len({lengths[i] for i in range(1, 10)}) == 1
    assert lengths[1] != lengths[10]


def test_characters_know_likeness_and_a_quantiser_keeps_it() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 6)) for _ in range(60)]
    texts = [" ".join(rng.choice(words, 3)) for _ in range(2000)]
    vectors = Characters(1)
    found = vectors([*texts, "Red Shoes", "red shoe", "garden hose", "", "a"])
    assert found.shape == (2005, 64)
    assert np.allclose(np.linalg.norm(found[:2003], axis=1), 1, atol=1e-5)
    assert found[2003].tolist() == [0] * 64
    assert np.linalg.norm(found[2004]) > 0
    red, shoe, hose = found[2000:2003]
    assert red @ shoe > 0.6 > 0.3 > red @ hose
    assert np.allclose(vectors(["Red Shoes"])[0], vectors(["x", "red shoes"])[1])
    fitted = Quantiser.fit(texts, vectors, RNG(0))
    codes = fitted.codes(texts)
    assert codes.shape == (2000, 16)
    assert np.array_equal(codes, Quantiser.fit(texts, vectors, RNG(0)).codes(texts))
    again = np.concatenate(
        [book[column] for book, column in zip(fitted.books, codes.T, strict=True)], axis=1
    )
    lost = ((again - found[:2000]) ** 2).sum(1).mean()
    assert lost < 0.25, lost  # of 1; words drawn without learning lose more
    assert (
        fitted.texts(["red shoe"])[0].as_py()
        == "[" + " ".join(map(str, fitted.codes(["red shoe"])[0])) + "]"
    )


def test_what_cannot_be_exported(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(ConfigError, match="did not write"):
        export_challenge(shop(engine), tmp_path / "full")
    with pytest.raises(DataError, match="nothing happened before"):
        export_challenge(shop(engine), tmp_path / "c", horizon_days=30)
    with pytest.raises(DataError, match="role buy"):
        export_challenge(shop(engine, kind=np.zeros(400, int)), tmp_path / "c")
    order = memory_log(engine, time=[0, 1], user=[1, 1], kind=[0, 0], item=[1, 2], clock=False)
    with pytest.raises(ConfigError, match="needs a clock"):
        export_challenge(order, tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]


# --- RecBole's atomic files ----------------------------------------------------------------------


def atomic(path: Path) -> list[dict[str, str]]:
    """The rows of an atomic file, by field with its type."""
    head, *lines = path.read_text("utf-8").splitlines()
    assert all(line.count("\t") == head.count("\t") for line in lines)
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def named(engine: Engine) -> EventLog:
    """A log of four users with two kinds, whose ids have texts."""
    return memory_log(
        engine,
        time=[START + t * DAY // 2 + (t == 3) for t in (0, 0, 1, 2, 3, 4, 90, 9, 10, 11)],
        user=[1, 2, 1, 1, 1, 2, 3, 4, 4, 4],
        kind=[3, 3, 3, 0, 0, 3, 0, 3, 3, 4],
        item=[7, 7, 8, 8, 7, 8, 9, 9, 9, np.iinfo(np.int64).min],
        price=[np.nan, 2.5, np.nan, 1, 1, 1, 1, 1, 1, np.nan],
        catalogue={
            "item": [7, 8, 8],
            "known_from": [START, START + DAY, START + 60 * DAY],
            "colour": [1, 2, 1],
            "title": ['a "b"\tc', "old", None],
        },
        attributes={"colour": AttributeType.CATEGORY, "title": AttributeType.TEXT},
        texts={"item": {7: "A7", 8: 'B"8', 9: "C9"}, "colour": {1: "red", 2: "blue"}},
        name="named",
    )


def test_atomic_files_have_typed_headers_and_the_texts_of_ids(
    engine: Engine, tmp_path: Path
) -> None:
    made = export_recbole(named(engine), tmp_path / "small")
    assert made == module.Exported({"small.inter": 9, "small.item": 3}, {"about no item": 1})
    found = atomic(tmp_path / "small" / "small.inter")
    assert list(found[0]) == [
        "user_id:token",
        "item_id:token",
        "timestamp:float",
        "event:token",
        "price:float",
    ]
    assert list(found[0].values()) == ["1", "A7", str(START // 1_000_000), "view", ""]
    assert list(found[1].values()) == ["2", "A7", str(START // 1_000_000), "view", "2.5"]
    assert found[4]["timestamp:float"] == f"{(START + 3 * DAY // 2) // 1_000_000}.000001"
    assert found[4]["item_id:token"] == "A7"
    assert atomic(tmp_path / "small" / "small.item") == [
        {"item_id:token": "A7", "colour:token": "red", "title:token_seq": "a  b  c"},
        {"item_id:token": "B 8", "colour:token": "red", "title:token_seq": ""},
        {"item_id:token": "C9", "colour:token": "", "title:token_seq": ""},
    ]


def test_leave_one_out_is_ours(engine: Engine, tmp_path: Path) -> None:
    log = random_log(engine, np.random.default_rng(5), users=15, events=200)
    made = export_recbole(log, tmp_path / "d", "x", split="leave-one-out")
    parts = {p: atomic(tmp_path / "d" / f"x.{p}.inter") for p in ("train", "valid", "test")}
    columns = ("user", "time", "kind", "item", "session", "price")
    found = log.rows(columns)
    have = found["item"] != np.iinfo(np.int64).min
    expected: dict[str, list] = {p: [] for p in parts}
    for user in np.unique(found["user"][have]):
        mine = np.flatnonzero(have & (found["user"] == user))
        held = 0 if len(mine) < 3 else 2
        for place, row in enumerate(mine):
            part = (
                ("train", "valid", "test")[max(0, place - len(mine) + held + 1)]
                if held
                else "train"
            )
            expected[part].append(
                (str(user), str(found["item"][row]), found["session"][row], found["price"][row])
            )
    assert {p: len(v) for p, v in expected.items()} == {
        p: made.rows[f"x.{p}.inter"] for p in parts
    }
    for part, rows_ in parts.items():
        got = [
            (
                r["user_id:token"],
                r["item_id:token"],
                int(r["session_id:token"]),
                float(r["price:float"]),
            )
            for r in rows_
        ]
        assert sorted(got) == sorted(expected[part])


def test_a_split_by_time_is_ours(engine: Engine, tmp_path: Path) -> None:
    log = named(engine)
    made = export_recbole(
        log, tmp_path / "d", "x", split="time", horizon_days=20, roles=(Role.BUY, Role.VIEW)
    )
    assert made.left_out == {"search: not asked for": 1}
    ours = split_log(log, horizon_days=20)
    times = {
        p: [float(r["timestamp:float"]) * 1e6 for r in atomic(tmp_path / "d" / f"x.{p}.inter")]
        for p in ("train", "valid", "test")
    }
    assert {p: len(t) for p, t in times.items()} == {"train": 8, "valid": 0, "test": 1}
    assert (
        max(times["train"])
        < ours.train.start
        <= ours.valid.start
        <= min(times["test"])
        < ours.valid.end
    )
    # What became known of an item after the cutoff is not in the items' file.
    assert atomic(tmp_path / "d" / "x.item")[1] == {
        "item_id:token": "B 8",
        "colour:token": "blue",
        "title:token_seq": "old",
    }
    later = export_recbole(
        log, tmp_path / "e", "x", split="time", horizon_days=1, anchor=Role.VIEW
    )
    assert later.left_out == {"about no item": 1, "after the last view": 1}
    assert later.rows == {"x.train.inter": 6, "x.valid.inter": 1, "x.test.inter": 1, "x.item": 3}


def test_read_back_by_its_header(engine: Engine, tmp_path: Path) -> None:
    """Any log: the table reader finds the same events in the atomic file."""
    log = random_log(engine, np.random.default_rng(7), users=10, events=150)
    export_recbole(log, tmp_path / "x")
    kinds_ = {k.name: k.role.value for k in log.manifest.kinds}
    spec = {
        "events": {
            "files": "x/x.inter",
            "format": "csv",
            "delimiter": "\t",
            "user": "user_id:token",
            "item": "item_id:token",
            "time": {"column": "timestamp:float", "format": "seconds"},
            "session": "session_id:token",
            "price": "price:float",
            "kind": {"column": "event:token", "values": kinds_},
        }
    }
    read = read_mapping(parse(spec, tmp_path / "x.toml"), tmp_path / "out", engine=engine)
    assert read.manifest.rejected == {}
    mine, theirs = (
        log.rows(("user", "time", "item", "session", "price")),
        EventLog.open(read, engine).rows(("user", "time", "item", "session", "price")),
    )
    keep = mine["item"] != np.iinfo(np.int64).min
    for column, values in theirs.items():
        assert sorted(values.tolist()) == sorted(mine[column][keep].tolist()), column


def test_what_recbole_cannot_have(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(ConfigError, match="did not write"):
        export_recbole(named(engine), tmp_path / "full")
    with pytest.raises(DataError, match="3 events: buy: not asked for") as fault:
        export_recbole(named(engine), tmp_path / "c", roles=(Role.CANCEL,))
    assert len(fault.value.problems) == 4
    with pytest.raises(DataError, match="no event has the role like"):
        export_recbole(named(engine), tmp_path / "c", split="time", anchor=Role.LIKE)
    order = memory_log(
        engine, time=[0, 1, 2], user=[1, 1, 1], kind=[0, 0, 0], item=[5, 6, 7], clock=False
    )
    with pytest.raises(ConfigError, match="needs a clock"):
        export_recbole(order, tmp_path / "c", split="time")
    made = export_recbole(order, tmp_path / "c", split="leave-one-out")
    assert made.rows == {"c.train.inter": 1, "c.valid.inter": 1, "c.test.inter": 1, "c.item": 3}
    assert atomic(tmp_path / "c" / "c.test.inter") == [
        {"user_id:token": "1", "item_id:token": "7", "timestamp:float": "2", "event:token": "buy"}
    ]


# --- the command ---------------------------------------------------------------------------------


def test_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dials = ["users=60", "items=100", "categories=5", "days=45", "rate=1.5"]
    assert main(["read", "synthetic", "--out", "shop", "--threads", "1", "--set", *dials]) == 0
    assert main(["export", "challenge", "shop", "--out", "c", "--threads", "1"]) == 0
    assert main(["challenge", "split", "c", "--threads", "1"]) == 0
    (tmp_path / "key").write_bytes(KEY + b"\n")
    item = table(tmp_path / "c", "product_properties").column("sku")[0].as_py()
    (tmp_path / "deny").write_text(f"{item}\n\n")
    capsys.readouterr()
    assert (
        main(
            [
                "export",
                "challenge",
                "shop",
                "--out",
                "a",
                "--key",
                "key",
                "--deny",
                "deny",
                "--threads",
                "1",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "99 rows  product_properties" in said
    assert "a click: the challenge" not in said
    properties = table(tmp_path / "a", "product_properties").column("sku").to_pylist()
    assert keyed("item", item) not in properties
    assert len(properties) == 99
    assert (
        main(
            [
                "export",
                "recbole",
                "shop",
                "--out",
                "r",
                "--split",
                "time",
                "--roles",
                "buy",
                "--threads",
                "1",
            ]
        )
        == 0
    )
    assert sorted(p.name for p in (tmp_path / "r").glob("[!.]*")) == [
        "r.item",
        "r.test.inter",
        "r.train.inter",
        "r.valid.inter",
    ]
    for words, message in (
        (["export", "challenge", "shop", "--out", "c", "--horizon-days", "7"], "--overwrite"),
        (["export", "challenge", "shop", "--out", "x", "--deny", "deny"], "give a --key too"),
        (
            ["export", "challenge", "shop", "--out", "x", "--key", "none"],
            "--key: none cannot be read",
        ),
        (
            ["export", "challenge", "shop", "--out", "x", "--key", "key", "--deny", "key"],
            "this dataset's items are whole numbers",
        ),
        (
            ["export", "challenge", "shop", "--out", "x", "--horizon-days", "0"],
            "--horizon-days: found 0",
        ),
        (
            ["export", "recbole", "shop", "--out", "x", "--roles", "boss"],
            "--roles: found 'boss', expected one of expose",
        ),
    ):
        assert main(words) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
