"""Exports: what other tools read is the same log, the same split, and nobody who must not be there."""

import hmac
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeKind
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, show
from clickprint.data.adapters import challenge as reader
from clickprint.data.check import SIXTEEN_CODES
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.export.anonymise import Anonymise
from clickprint.data.export.challenge import Exported, export_challenge
from clickprint.data.export.codes import Characters, Quantiser
from clickprint.data.log import EventLog
from clickprint.testing.worlds import START, memory_log, random_log

KEY = b"a key that nobody can guess"
FILES = ["product_buy", "add_to_cart", "remove_from_cart", "page_visit", "search_query", "product_properties"]


@pytest.fixture(scope="module")
def engine():
    with DuckDB(memory="500MB", threads=1) as found:
        yield found


def table(folder: Path, file: str) -> pa.Table:
    return pq.read_table(folder / f"{file}.parquet")


@pytest.fixture(scope="module")
def plain(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> tuple[EventLog, Path, Exported]:
    log = random_log(engine, np.random.default_rng(3), users=20, events=900, days=70)
    folder = tmp_path_factory.mktemp("plain") / "c"
    return log, folder, export_challenge(log, folder)


def rows(log: EventLog) -> dict[str, list]:
    """Each event as the challenge's reader would have it, without session and price, sorted."""
    return {
        c: log.engine.table(
            f'SELECT "time", "user", k.role AS kind, item, query, url FROM {log.events} AS e JOIN {kinds(log)} AS k ON e.kind = k.code '
            "ORDER BY ALL NULLS FIRST"
        )
        .column(c)
        .to_pylist()
        for c in ("time", "user", "kind", "item", "query", "url")
    }


def kinds(log: EventLog) -> str:
    return log.engine.keep(pa.table({"code": pa.array(range(len(log.manifest.kinds))), "role": [k.role.value for k in log.manifest.kinds]}))


def test_it_has_the_challenges_columns(plain: tuple[EventLog, Path, Exported]) -> None:
    _, folder, made = plain
    found = {f: {c.name: str(c.type) for c in table(folder, f).schema} for f in FILES}
    third = {"product_buy": "sku", "add_to_cart": "sku", "remove_from_cart": "sku", "page_visit": "url", "search_query": "query"}
    for file, column in third.items():
        assert found[file] == {"client_id": "int64", "timestamp": "string", column: "string" if column == "query" else "int64"}
        moments = table(folder, file).column("timestamp").to_pylist()
        assert moments == sorted(moments)
        assert len(moments) == made.rows[file] > 0
    assert found["product_properties"] == {"sku": "int64", "category": "int64", "price": "int64", "name": "string"}
    names = table(folder, "product_properties").column("name")
    assert pc.all(pc.match_substring_regex(names, f"^{SIXTEEN_CODES}$")).as_py()
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix == ".npy") == [
        "input/relevant_clients.npy",
        "target/active_clients.npy",
        *(f"target/{a}propensity_{b}.npy" for a in ("popularity_", "") for b in ("category", "new_sku", "price", "sku")),
    ]


def test_read_back_it_is_the_same_log(plain: tuple[EventLog, Path, Exported], engine: Engine, tmp_path: Path) -> None:
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


def test_the_organisers_split_runs_on_it(plain: tuple[EventLog, Path, Exported], engine: Engine) -> None:
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
    assert reader.active_clients(folder).tolist() == sorted(set(past.column("client_id").to_pylist()))
    usual = [v for v, _ in sorted(Counter(past.column("sku").to_pylist()).items(), key=lambda i: (-i[1], i[0]))[:100]]
    values, _ = reader.labels(folder, "propensity_new_sku") if len(set(train["sku"].tolist()) - set(usual)) else (np.zeros(0), None)
    assert not set(values.tolist()) & set(usual)
    everyone = [f for f in FILES[:-1] for f in [table(folder, f)]]
    before = {u for t in everyone for u in t.filter(pc.less(t.column("timestamp"), show(made.train.start))).column("client_id").to_pylist()}
    assert reader.relevant_clients(folder).tolist() == sorted(before)


# --- anonymised ------------------------------------------------------------------------------------------------------------------


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
    for file, column in (("product_buy", "sku"), ("add_to_cart", "sku"), ("remove_from_cart", "sku"), ("page_visit", "url")):
        before, after = table(folder, file), table(tmp_path / "c", file)
        kept = [
            (t, keyed("user", u), keyed("item" if column == "sku" else "url", v))
            for t, u, v in zip(*(before.column(c).to_pylist() for c in ("timestamp", "client_id", column)), strict=True)
            if column == "url" or v not in deny
        ]
        gone += len(before) - len(kept)
        assert sorted(kept) == list(zip(*(after.column(c).to_pylist() for c in ("timestamp", "client_id", column)), strict=True))
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
            assert found["category"] == (keyed("category", row["category"]) if row["sku"] < 27 else 0)
    users = np.load(folder / "input" / "relevant_clients.npy").tolist()
    assert sorted(keyed("user", u) for u in users) == np.load(tmp_path / "c" / "input" / "relevant_clients.npy").tolist()
    read = reader.read(tmp_path / "c", tmp_path / "d", engine=engine)
    assert read.manifest.rejected == {}
    assert read.manifest.events == log.manifest.events - gone
    assert read.users.min() >= 0
    other = export_challenge(log, tmp_path / "other", anonymise=Anonymise(KEY + b"!"))
    assert other.left_out == {}
    ours, theirs = (set(table(tmp_path / f, "product_buy").column("client_id").to_pylist()) for f in ("c", "other"))
    assert not ours & theirs


def test_a_short_key_is_refused_and_no_key_is_shown() -> None:
    with pytest.raises(ConfigError, match="found 5 bytes, expected at least 16"):
        Anonymise(b"short")
    assert "guess" not in repr(Anonymise(KEY))


def test_two_ids_that_become_one_are_an_error(
    plain: tuple[EventLog, Path, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickprint.data.export.anonymise.keyed_id_sql", lambda expression, key: "1")
    with pytest.raises(DataError, match="19 ids become the id of another"):
        export_challenge(plain[0], tmp_path / "c", anonymise=Anonymise(KEY))
    assert list(tmp_path.iterdir()) == []


# --- a log of another form -------------------------------------------------------------------------------------------------------

SHOP = (
    Kind("seen", Role.VIEW),
    Kind("looked at", Role.VIEW),
    Kind("searched", Role.SEARCH),
    Kind("liked", Role.LIKE),
    Kind("ordered", Role.BUY),
)


def shop(engine: Engine, **more: object) -> EventLog:
    """Forty days of ten users: views of two kinds, likes, purchases with prices, searches for texts; titles and no buckets or codes."""
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
        attributes={"brand": AttributeKind.CATEGORY, "title": AttributeKind.TEXT},
        texts={"query": texts},
        **{**columns, **more},
    )


def test_kinds_go_by_their_role_and_what_has_no_place_is_counted(engine: Engine, tmp_path: Path) -> None:
    log = shop(engine)
    made = export_challenge(log, tmp_path / "c", horizon_days=7)
    count = Counter(((np.repeat(np.arange(40), 10) + np.tile(np.arange(10), 40)) % 5).tolist())
    bare = sum((day + 9) % 5 == 4 for day in range(40))
    untold = sum((day + user) % 5 == 2 and user % 5 == 4 for day in range(40) for user in range(10))
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


def test_nothing_of_the_future_is_in_prices_codes_and_properties(engine: Engine, tmp_path: Path) -> None:
    """Other prices, titles and searches after the cutoff change no bucket, no code and no category of what was there before."""
    made = export_challenge(shop(engine), tmp_path / "c", horizon_days=7)
    day = np.repeat(np.arange(40), 10)
    late = day * DAY + START >= made.train.start
    price = np.where(late, 5.0, 1.0 + (day * 7 + np.tile(np.arange(10), 40)) % 30)
    kind = (day + np.tile(np.arange(10), 40)) % 5
    other = shop(engine, price=np.where(kind == 4, price, np.nan))
    export_challenge(other, tmp_path / "e", horizon_days=7)
    ours, theirs = (table(tmp_path / f, "product_properties") for f in ("c", "e"))
    early = set(((day * 7 + np.tile(np.arange(10), 40)) % 30)[(kind == 4) & ~late & (np.tile(np.arange(10), 40) < 9)].tolist())
    assert len(early) > 20
    mask = pc.is_in(ours.column("sku"), pa.array(sorted(early)))
    assert ours.filter(mask).equals(theirs.filter(mask))
    category = dict(zip(ours.column("sku").to_pylist(), ours.column("category").to_pylist(), strict=True))
    assert (category[3], category[4], category[26]) == (8, 7, 0)  # 4 changes after the cutoff, 26 is in no catalogue
    buckets = np.array(ours.filter(mask).column("price").to_pylist())
    assert (np.diff(buckets) >= 0).all()  # a higher item costs more here
    assert 0 <= buckets.min() < buckets.max() <= 99


def test_texts_become_codes(engine: Engine, tmp_path: Path) -> None:
    export_challenge(shop(engine), tmp_path / "c", horizon_days=7)
    export_challenge(shop(engine), tmp_path / "e", horizon_days=7, vectors=lambda texts: np.array([[len(t)] for t in texts], float))
    for folder in ("c", "e"):
        searches = table(tmp_path / folder, "search_query")
        assert pc.all(pc.match_substring_regex(searches.column("query"), f"^{SIXTEEN_CODES}$")).as_py()
    names = dict(zip(*table(tmp_path / "c", "product_properties").select(["sku", "name"]).to_pydict().values(), strict=True))
    assert len({names[i] for i in range(1, 25)}) == 24
    lengths = dict(zip(*table(tmp_path / "e", "product_properties").select(["sku", "name"]).to_pydict().values(), strict=True))
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
    again = np.concatenate([book[column] for book, column in zip(fitted.books, codes.T, strict=True)], axis=1)
    lost = ((again - found[:2000]) ** 2).sum(1).mean()
    assert lost < 0.25, lost  # of 1; words drawn without learning lose more
    assert fitted.texts(["red shoe"])[0].as_py() == "[" + " ".join(map(str, fitted.codes(["red shoe"])[0])) + "]"


def test_what_cannot_be_exported(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(ConfigError, match="is not empty"):
        export_challenge(shop(engine), tmp_path / "full")
    with pytest.raises(DataError, match="nothing happened before"):
        export_challenge(shop(engine), tmp_path / "c", horizon_days=30)
    with pytest.raises(DataError, match="nothing was bought"):
        export_challenge(shop(engine, kind=np.zeros(400, int)), tmp_path / "c")
    order = memory_log(engine, time=[0, 1], user=[1, 1], kind=[0, 0], item=[1, 2], clock=False)
    with pytest.raises(ConfigError, match="needs a clock"):
        export_challenge(order, tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]
