"""The searches, clicks, views and purchases of the CIKM Cup 2016: files of exactly their form, and
what happens to spoilt ones.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import text_id
from clickprint.core.time import parse
from clickprint.data.adapters import diginetica
from clickprint.data.append import append
from clickprint.data.engine import Engine

FILES = {
    "train-item-views": (
        "sessionId;userId;itemId;timeframe;eventdate\n"
        "1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09\n2;77;81766;5;2016-05-10\n"
    ),
    "train-purchases": (
        "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n2;77;90000;2016-05-10;21031;81766\n"
    ),
    "train-queries": (
        "queryId;sessionId;userId;timeframe;duration;eventdate;searchstring.tokens;categoryId;items;is.test\n"
        "1;1;NA;16327074;311;2016-05-09;;181;1,2,3;FALSE\n2;2;77;0;211;2016-05-10;12,7,7;0;4,5;TRUE\n"
    ),
    "train-clicks": "queryId;timeframe;itemId\n1;16360000;31331\n2;3;81766\n",
    "products": "itemId;pricelog2;product.name.tokens\n81766;10;4875,776\n31331;9.5;\n",
    "product-categories": "itemId;categoryId\n81766;1\n5;181\n",
}
DAY = parse("2016-05-09"), parse("2016-05-10")
Row = tuple[int | None, ...]


def lay(folder: Path) -> Path:
    folder.mkdir()
    for name, text in FILES.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def rows(made: object) -> list[Row]:
    # Type: ignore[attr-defined].
    return [tuple(r.values()) for f in made.event_files for r in pq.read_table(f).to_pylist()]


def test_every_row_arrives(tmp_path: Path, engine: Engine) -> None:
    made = diginetica.read(lay(tmp_path / "raw"), tmp_path / "out", engine=engine)
    words = text_id("12,7,7")
    assert rows(made) == [  # time, user, kind, item, session, scenario, query
        (DAY[0] + 526_309_000, 1, 1, 81766, 1, None, None),
        (DAY[0] + 1_031_018_000, 1, 1, 31331, 1, None, None),
        (DAY[0] + 16_327_074_000, 1, 2, None, 1, 181, None),
        (DAY[0] + 16_360_000_000, 1, 0, 31331, 1, 181, None),
        (DAY[1], 2, 3, None, 2, 0, words),
        (DAY[1] + 3_000, 2, 0, 81766, 2, 0, words),
        (DAY[1] + 5_000, 2, 1, 81766, 2, None, None),
        (DAY[1] + 90_000_000, 2, 4, 81766, 2, None, None),
    ]
    m = made.manifest
    assert [(k.name, k.role) for k in m.kinds] == [
        ("click", Role.CLICK),
        ("view", Role.VIEW),
        ("browse", Role.VIEW),
        ("search", Role.SEARCH),
        ("purchase", Role.BUY),
    ]
    assert (m.users, m.items, m.rejected, m.source["events"]) == (2, 2, {}, "8 rows")
    assert [
        tuple(r.values()) for r in made.catalogue.table.to_pylist()
    ] == [  # item, known_from, category, price_log2, title
        (5, None, 181, None, None),
        (31331, None, None, 9.5, None),
        (81766, None, 1, 10.0, "4875,776"),
    ]
    assert pq.read_table(made.folder / "ids" / "query.parquet").to_pylist() == [
        {"id": words, "text": "12,7,7"}
    ]
    assert not list(tmp_path.glob(".*"))


def test_a_user_may_be_the_user(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw")
    made = diginetica.read(raw, tmp_path / "out", user="user", engine=engine)
    assert [(r[1], r[4]) for r in rows(made)] == [(-2, 1)] * 4 + [(77, 2)] * 4
    change("train-item-views", lambda b: b.replace(b"2;77", b"2;anna"))(raw)
    made = diginetica.read(raw, tmp_path / "out", user="user", engine=engine)
    assert made.manifest.rejected == {
        "train-item-views: userId is no whole number within int64": 1
    }
    assert diginetica.read(raw, tmp_path / "out", engine=engine).manifest.rejected == {}
    with pytest.raises(ConfigError, match=r"^user: .*'visitor'.*\bsession\b.*\buser\b"):
        diginetica.read(raw, tmp_path / "out", user="visitor", engine=engine)


def test_views_alone_renamed_and_packed(tmp_path: Path, engine: Engine) -> None:
    full = diginetica.read(
        lay(tmp_path / "raw"), tmp_path / "full", views_only=True, engine=engine
    )
    assert [r[:4] for r in rows(full)] == [
        (DAY[0] + 526_309_000, 1, 1, 81766),
        (DAY[0] + 1_031_018_000, 1, 1, 31331),
        (DAY[1] + 5_000, 2, 1, 81766),
    ]
    head, body = FILES["train-item-views"].split("\n", 1)
    (tmp_path / "views").mkdir()
    text = (
        head.replace("sessionId", "session_id")
        .replace("userId", "user_id")
        .replace("itemId", "item_id")
        + "\n"
        + body
    )
    (tmp_path / "views" / "train-item-views.csv.gz").write_bytes(gzip.compress(text.encode()))
    again = diginetica.read(tmp_path / "views", tmp_path / "two", views_only=True, engine=engine)
    assert again.manifest.fingerprint == full.manifest.fingerprint


def test_days_can_be_appended(tmp_path: Path, engine: Engine) -> None:
    full = diginetica.read(lay(tmp_path / "raw"), tmp_path / "full", engine=engine)
    for place, day in (("old", "2016-05-09"), ("new", "2016-05-10")):
        raw = lay(tmp_path / place)
        for name in ("train-item-views", "train-purchases", "train-queries"):
            head, *lines = FILES[name].splitlines(keepends=True)
            (raw / f"{name}.csv").write_text(head + "".join(line for line in lines if day in line))
        change(
            "train-clicks",
            lambda b, n=b"1;1" if place == "old" else b"2;3": b"\n".join(
                x for x in b.split(b"\n") if x[:3] in (b"que", n)
            ),
        )(raw)
    diginetica.read(tmp_path / "old", tmp_path / "grown", engine=engine)
    grown = append(tmp_path / "grown", "diginetica", tmp_path / "new", engine=engine)
    assert grown.manifest.fingerprint == full.manifest.fingerprint


def test_a_query_that_is_there_twice_makes_no_second_click(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw")
    change("train-queries", lambda b: b + b.splitlines()[-1] + b"\n")(raw)
    made = diginetica.read(raw, tmp_path / "out", engine=engine)
    assert [r[2] for r in rows(made)].count(0) == 2
    assert [r[2] for r in rows(made)].count(3) == 2


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / f"{name}.csv").write_bytes(
        edit((folder / f"{name}.csv").read_bytes())
    )


def everywhere(edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: [change(n, edit)(folder) for n in FILES]


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file is missing": (
        lambda f: (f / "train-clicks.csv").unlink(),
        r"train-clicks\.csv: not found",
    ),
    "empty": (change("products", lambda b: b""), r"products\.csv: the file is empty"),
    "another delimiter": (
        change("train-purchases", lambda b: b.replace(b";", b",")),
        r"train-purchases\.csv: no column 'sessionId'",
    ),
    "a column is missing": (
        change("train-queries", lambda b: b.replace(b"searchstring.tokens", b"words")),
        "no column 'searchstring.tokens'",
    ),
    "a header twice": (
        change("train-item-views", lambda b: b.replace(b"userId", b"itemId")),
        "2 columns 'itemId'",
    ),
    "broken encoding": (
        change("products", lambda b: b.replace(b"776", b"\xff\xfe")),
        r"products\.csv: not utf-8",
    ),
    "null bytes": (change("train-clicks", lambda b: b"\x00" * 300), r"train-clicks\.csv: "),
    "a product twice": (
        change("products", lambda b: b + b"81766;3;1\n"),
        "more than once at the same time, among them 81766",
    ),
    "a truncated archive": (
        lambda f: (
            (f / "products.csv.gz").write_bytes(
                gzip.compress(FILES["products"].encode() * 300)[:70]
            ),
            (f / "products.csv").unlink(),
        ),
        r"products\.csv\.gz: ",
    ),
    "no usable row": (
        everywhere(lambda b: b.replace(b"2016-", b"MMXVI-")),
        "3 rows rejected: train-item-views: no readable time",
    ),
    "no rows": (everywhere(lambda b: b.split(b"\n")[0] + b"\n"), "no event could be read"),
}
COUNTED: dict[str, tuple[Callable[[Path], object], dict[str, int]]] = {
    "truncated": (
        change("train-purchases", lambda b: b[:-12]),
        {"train-purchases: too many or too few columns": 1},
    ),
    "junk ids": (
        change(
            "train-item-views",
            lambda b: (
                b + b"x;NA;1;1;2016-05-09\nNA;NA;1;1;2016-05-09\n"
                b"3;NA;NA;1;2016-05-09\n3;NA;9223372036854775808;1;2016-05-09\n"
            ),
        ),
        {"train-item-views: no session": 2, "train-item-views: no item": 2},
    ),
    "times out of range": (
        change(
            "train-item-views",
            lambda b: (
                b + b"3;NA;1;-5;2016-05-09\n3;NA;1;99999999999;2016-05-09\n3;NA;1;NA;2016-05-09\n"
                b"3;NA;1;1;1816-05-09\n3;NA;1;1;NA\n3;NA;1;1;May\n"
            ),
        ),
        {"train-item-views: no readable time": 6},
    ),
    "clicks without a query": (
        change("train-clicks", lambda b: b + b"9;1;5\nNA;1;5\n2;1;NA\n2;soon;5\n"),
        {
            "train-clicks: its query is not there": 2,
            "train-clicks: no item": 1,
            "train-clicks: no readable time": 1,
        },
    ),
    "a query that is left out takes its click along": (
        change("train-queries", lambda b: b.replace(b"\n2;2;", b"\n2;NA;")),
        {"train-queries: no session": 1, "train-clicks: its query is not there": 1},
    ),
    "an odd catalogue": (
        lambda f: (
            change("products", lambda b: b + b";1;1\n9;dear;1\n9;1;1;1;1\n")(f),
            change("product-categories", lambda b: b + b"81766;9\nx;1\n3;y\n")(f),
        ),
        {
            "products: too many or too few columns": 1,
            "products: no item": 1,
            "products: pricelog2 is no finite number": 1,
            "product-categories: no item": 1,
            "product-categories: no category": 1,
            "product-categories: another category of a product; the smallest counts": 1,
        },
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_their_fault(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, message = BAD[case]
    raw = lay(tmp_path / "raw")
    spoil(raw)
    with pytest.raises(DataError, match=message):
        diginetica.read(raw, tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("case", COUNTED)
def test_bad_rows_are_counted(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, rejected = COUNTED[case]
    raw = lay(tmp_path / "raw")
    spoil(raw)
    assert diginetica.read(raw, tmp_path / "out", engine=engine).manifest.rejected == rejected


def test_all_faults_in_one_error(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError) as fault:
        diginetica.read(tmp_path / "nowhere", tmp_path / "out", engine=engine)
    assert [p.split(".")[0] for p in fault.value.problems] == list(FILES)
