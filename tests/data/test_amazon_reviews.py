"""Amazon's reviews of 2014, 2018 and 2023 with their metadata: files of exactly their form, and
every way in which they can be wrong.
"""

import gzip
import json
from pathlib import Path

import pytest
from malformed import Case, add, everywhere, half_packed, judge, replace

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.ids import text_id
from clickprint.core.time import parse
from clickprint.data.adapters import amazon_reviews
from clickprint.data.engine import Engine

R14 = (
    '{"reviewerID": "A1YJEY40YUW4SE", "asin": "7806397051", "reviewerName": "Andrea", "helpful":'
    ' [3, 4], "reviewText": "Very oily", "overall": 1.0, "summary": "Don\'t waste",'
    ' "unixReviewTime": 1391040000, "reviewTime": "01 30, 2014"}\n{"reviewerID": "A60XNB876KYML",'
    ' "asin": "B00004TMFE", "helpful": [0, 0], "reviewText": "", "overall": 5.0, "summary": "OK",'
    ' "unixReviewTime": 1397779200, "reviewTime": "04 18, 2014"}\n'
)
# As published: not JSON, but the texts of Python dicts.
M14 = (
    "{'asin': '7806397051', 'description': 'No \"oil\"', 'title': \"It's creamy\", 'price': 1.99,"
    " 'imUrl': 'http://x/1', 'salesRank': {'Beauty': 5}, 'related': {'also_bought': ['B1']},"
    " 'categories': [['Beauty', 'Makeup', 'Face'], ['Other']], 'brand': 'Xi\\xe9'}\n{'asin':"
    " 'B00004TMFE', 'categories': [['Beauty']]}\n"
)
R18 = (
    '{"overall": 5.0, "verified": true, "reviewerID": "A1", "asin": "B0012Y0ZG2", "style":'
    ' {"Size:": " 3 oz"}, "reviewerName": "E", "reviewText": "a", "unixReviewTime": 1511740800,'
    ' "vote": "2"}\n{"overall": 2.0, "verified": false, "reviewerID": "A2", "asin": "0012345678",'
    ' "unixReviewTime": 1511827200}\n'
)
M18 = (
    '{"category": ["All Beauty", "Soap"], "description": ["Two", "parts"], "title": "Soap",'
    ' "also_buy": ["B1"], "brand": "Acme", "rank": "1 in Beauty", "main_cat": "All Beauty",'
    ' "price": "$1,234.50", "asin": "B0012Y0ZG2"}\n{"category": [], "description": [], "title":'
    ' "Comb", "brand": "", "price": "$5.99 - $9.99", "asin": "0012345678"}\n{"category": [],'
    ' "title": "Comb again", "price": ".a-box-inner{background:#fff}", "asin": "0012345678"}\n'
)
R23 = (
    '{"rating": 4.0, "title": "T", "text": "x", "images": [], "asin": "B00YQ6X8EO", "parent_asin":'
    ' "B00PARENT0", "user_id": "AGKH", "timestamp": 1588687728923, "helpful_vote": 0,'
    ' "verified_purchase": true}\n'
)
M23 = (
    '{"main_category": "All Beauty", "title": "Spray", "average_rating": 4.8, "rating_number": 10,'
    ' "features": [], "description": ["A"], "price": 12.5, "images": [], "store": "Herb",'
    ' "categories": ["Hair", "Care"], "details": {"UPC": "6"}, "parent_asin": "B00PARENT0"}\n'
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """2014's form, unpacked."""
    return lay(tmp_path / "raw", **{"reviews_Beauty_5.json": R14, "meta_Beauty.json": M14})


def lay(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_bytes(
            gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
        )
    return folder


def rows(made: object, engine: Engine) -> list[tuple]:
    return [
        tuple(r.values())
        for r in engine.table(
            f"SELECT * FROM {engine.scan(made.event_files)} ORDER BY ALL"
        ).to_pylist()
    ]


def catalogue(made: object) -> dict[int, tuple]:
    return {r["item"]: tuple(r.values())[1:] for r in made.catalogue.table.to_pylist()}


def test_2014(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw", **{"reviews_Beauty_5.json.gz": R14, "meta_Beauty.json.gz": M14})
    made = amazon_reviews.read(raw / "reviews_Beauty_5.json.gz", tmp_path / "out", engine=engine)
    assert rows(made, engine) == [  # time, user, kind, item; an ISBN is a text too
        (parse("2014-01-30"), text_id("A1YJEY40YUW4SE"), 0, text_id("7806397051")),
        (parse("2014-04-18"), text_id("A60XNB876KYML"), 4, text_id("B00004TMFE")),
    ]
    m = made.manifest
    assert [k.name for k in m.kinds] == [f"review {n}" for n in range(1, 6)]
    assert {k.role for k in m.kinds} == {Role.BUY}
    assert (m.name, m.rejected) == ("amazon-beauty", {})
    assert catalogue(made) == {  # known_from, title, description, brand, categories, price
        text_id("7806397051"): (
            None,
            "It's creamy",
            'No "oil"',
            text_id("Xié"),
            text_id("Beauty > Makeup > Face"),
            1.99,
        ),
        text_id("B00004TMFE"): (None, None, None, None, text_id("Beauty"), None),
    }
    folder = amazon_reviews.read(raw, tmp_path / "folder", engine=engine)
    assert folder.manifest.fingerprint == m.fingerprint


def test_2018(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw", **{"All_Beauty_5.json.gz": R18, "meta_All_Beauty.json.gz": M18})
    made = amazon_reviews.read(raw, tmp_path / "out", engine=engine)
    assert rows(made, engine) == [
        (parse("2017-11-27"), text_id("A1"), 4, text_id("B0012Y0ZG2")),
        (parse("2017-11-28"), text_id("A2"), 1, text_id("0012345678")),  # keeps its zeros
    ]
    assert catalogue(made) == {
        text_id("B0012Y0ZG2"): (
            None,
            "Soap",
            "Two parts",
            text_id("Acme"),
            text_id("All Beauty > Soap"),
            1234.5,
        ),
        text_id("0012345678"): (None, "Comb", None, None, None, None),
    }
    assert made.manifest.name == "amazon-all-beauty"
    assert made.manifest.rejected == {
        "catalogue: an item that was named before": 1,
        "catalogue prices: no single amount (the item stays)": 1,
    }
    only = amazon_reviews.read(raw, tmp_path / "only", verified=True, engine=engine).manifest
    assert (only.events, only.rejected["reviews: no verified purchase"]) == (1, 1)


def test_2023(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw", **{"All_Beauty.jsonl": R23, "meta_All_Beauty.jsonl.gz": M23})
    made = amazon_reviews.read(
        raw / "All_Beauty.jsonl", tmp_path / "out", verified=True, engine=engine
    )
    item = text_id("B00PARENT0")
    assert rows(made, engine) == [(1_588_687_728_923_000, text_id("AGKH"), 3, item)]
    assert catalogue(made) == {
        item: (None, "Spray", "A", text_id("Herb"), text_id("Hair > Care"), 12.5)
    }
    assert made.manifest.rejected == {}


def test_several_categories_and_one_twice(tmp_path: Path, engine: Engine) -> None:
    raw = lay(
        tmp_path / "raw",
        **{
            "All_Beauty_5.json.gz": R18,
            "reviews_Beauty_5.json.gz": R14,
            "meta_Beauty.json.gz": M14,
        },
    )
    made = amazon_reviews.read(raw, tmp_path / "out", engine=engine)
    assert (made.manifest.events, made.manifest.name, len(made.catalogue.table)) == (
        4,
        "amazon-reviews",
        2,
    )
    (raw / "reviews_Beauty.json.gz").write_bytes(gzip.compress(R14.encode()))
    with pytest.raises(
        DataError,
        match=r": reviews_Beauty\.json\.gz, reviews_Beauty_5\.json\.gz ",
    ):
        amazon_reviews.read(raw, tmp_path / "again", engine=engine)
    with pytest.raises(DataError, match=r"/none: .*nothing.*reviews_NAME_5\.json\.gz"):
        amazon_reviews.read(lay(tmp_path / "none"), tmp_path / "again", engine=engine)


@pytest.mark.parametrize(
    ("price", "found"),
    [
        *[
            ("$1.99", 1.99),
            (" $ 12 ", 12.0),
            ("3,999.00", 3999.0),
            (7, 7.0),
            ("0", 0.0),
            ("", None),
            (None, None),
        ],
        *[
            ("$1 - $2", None),
            ("free", None),
            ("-3", None),
            ([1], None),
            (True, None),
            ("1e5", None),
            ("$", None),
            ("1.2.3", None),
        ],
    ],
)
def test_prices(price: object, found: float | None, tmp_path: Path, engine: Engine) -> None:
    meta = json.dumps({"asin": "B0012Y0ZG2", "price": price}) + "\n"
    made = amazon_reviews.read(
        lay(tmp_path / "raw", **{"X.json": R18, "meta_X.json": meta}),
        tmp_path / "out",
        engine=engine,
    )
    assert made.catalogue.table.column("price").to_pylist() == [found]
    assert sum(made.manifest.rejected.values()) == (found is None and price not in ("", None))


def line(**values: object) -> str:
    return json.dumps(
        {"reviewerID": "A9", "asin": "B9", "overall": 3.0, "unixReviewTime": 1391040000} | values
    )


JUNK, RATING, TIME = (
    "reviews: a line that is no JSON",
    "reviews: no kind that the mapping knows",
    "reviews: no readable time",
)
CASES: dict[str, Case] = {
    "missing": (lambda raw: None, "not found"),
    "empty": (lambda raw: b"", r"reviews_Beauty_5\.json: the file is empty"),
    "null bytes": (lambda raw: b"\x00" * 999, "no event could be read"),
    "a CSV": (
        lambda raw: b"user,item,rating,timestamp\nA1,B1,5.0,1391040000\n",
        "(?s)no event could be read.*2 rows rejected: reviews: a line",
    ),
    "no usable row": (
        everywhere("unixReviewTime", "time"),
        "(?s)no event could be read.*no readable time",
    ),
    "metadata instead": (lambda raw: M18.encode(), "no event could be read"),
    "truncated": (lambda raw: raw + raw[:50], {JUNK: 1}),
    "a list of them": (add("[" + line() + "]"), {"reviews: a line that is no JSON object": 1}),
    "broken encoding": (replace("Andrea", b"Andr\xe9a"), {"reviews: a line that is not UTF-8": 1}),
    "no user and no item": (
        add(line(reviewerID=None) + "\n" + line(asin="") + "\n" + line(asin=["B1"])),
        {"reviews: no user": 1, "reviews: no item": 2},
    ),
    "no rating of the scale": (
        add("\n".join(line(overall=v) for v in (0, 6, 4.5, None, "good", [5], float("nan")))),
        {RATING: 7},
    ),
    "times out of range": (
        add(
            "\n".join(line(unixReviewTime=v) for v in (None, "soon", 1e30, 10**25, [1], -(10**12)))
        ),
        {TIME: 6},
    ),
    "a key twice": (add(line()[:-1] + ', "overall": 9}'), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_broken_reviews(case: str, small: Path, engine: Engine) -> None:
    path = small / "reviews_Beauty_5.json"
    good = {"a key twice": 3, "broken encoding": 1}.get(case, 2)
    judge(amazon_reviews.read, path, path, CASES[case], good, engine)


META_CASES: dict[str, Case] = {
    "missing": (lambda raw: None, {}),
    "empty": (lambda raw: b"", r"meta_Beauty\.json: the file is empty"),
    "null bytes": (
        lambda raw: raw + b"\x00" * 99 + b"\n",
        {"catalogue: a line that is no JSON": 1},
    ),
    "broken encoding": (
        lambda raw: raw + b'{"asin": "\xff"}\n',
        {"catalogue: a line that is not UTF-8": 1},
    ),
    "no item": (
        add("{'title': 'x'}\n{\"asin\": null}\n{\"asin\": 1.5}"),
        {"catalogue: no item": 3},
    ),
    "an item twice": (
        add("{'asin': 'B00004TMFE', 'title': 'other'}"),
        {"catalogue: an item that was named before": 1},
    ),
    "a dict that breaks off": (
        add("{'asin': 'B5', 'title': 'x"),
        {"catalogue: a line that is no JSON": 1},
    ),
    "a dict that would run something": (
        add("{'asin': __import__('os').getcwd()}"),
        {"catalogue: a line that is no JSON": 1},
    ),
    "a dict of what JSON has not": (
        add("{'asin': 'B5', 'price': 1e999}\n{'asin': {1, 2}}\n{'asin': b'x'}"),
        {"catalogue: a line that is no JSON": 3},
    ),
    "a deep dict": (
        add("{'asin': " + "[" * 5_000 + "]" * 5_000 + "}"),
        {"catalogue: a line that is no JSON": 1},
    ),
    "lists for texts": (
        add(
            '{"asin": "B5", "title": [["x"]], "brand": {"a": 1}, "categories": "one",'
            ' "description": [[1]]}'
        ),
        {},
    ),
}


@pytest.mark.parametrize("case", META_CASES)
def test_broken_metadata(case: str, small: Path, engine: Engine) -> None:
    judge(
        amazon_reviews.read,
        small / "reviews_Beauty_5.json",
        small / "meta_Beauty.json",
        META_CASES[case],
        2,
        engine,
    )


def test_texts_that_are_none_are_null(small: Path, tmp_path: Path, engine: Engine) -> None:
    path = small / "meta_Beauty.json"
    path.write_text(
        '{"asin": "B5", "title": [["x"]], "brand": {"a": 1}, "categories": "one", "description":'
        " [7]}\n"
    )
    made = amazon_reviews.read(small, tmp_path / "out", engine=engine)
    assert catalogue(made) == {text_id("B5"): (None, None, None, None, text_id("one"), None)}


def test_truncated_archives(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw", **{"reviews_Beauty_5.json.gz": R14, "meta_Beauty.json": M14})
    path = raw / "reviews_Beauty_5.json.gz"
    judge(
        amazon_reviews.read,
        path,
        path,
        (half_packed, r"reviews_Beauty_5\.json\.gz: cannot be unpacked"),
        0,
        engine,
    )
    path.write_bytes(gzip.compress(R14.encode()))
    (raw / "meta_Beauty.json").rename(raw / "meta_Beauty.json.gz")
    judge(
        amazon_reviews.read,
        path,
        raw / "meta_Beauty.json.gz",
        (lambda b: b, r"meta_Beauty\.json\.gz: cannot be unpacked"),
        0,
        engine,
    )
