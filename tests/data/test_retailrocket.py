"""RetailRocket's public folder, on files of exactly its form, and its sample in Parquet."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.time import parse
from clickprint.data.adapters import retailrocket
from clickprint.data.append import append
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CLICKPRINT_DATA", ROOT.parent / "shared" / "data"))
FILES = {
    "events.csv": (
        """timestamp,visitorid,event,itemid,transactionid
1433221332117,257597,view,355908,
1433224214164,992329,view,248676,
1433221999827,111016,addtocart,318965,
1433221955914,483717,transaction,248676,13082
"""
    ),
    "item_properties_part1.csv": (
        """timestamp,itemid,property,value
1431226800000,248676,categoryid,1338
1431831600000,248676,888,1116713 960601 n277.200
1431831600000,248676,790,n15360.000
1432436400000,248676,available,1
"""
    ),
    "item_properties_part2.csv": (
        """timestamp,itemid,property,value
1433041200000,248676,available,0
1433041200000,318965,categoryid,231
1433646000000,248676,categoryid,1114
1433646000000,248676,790,n99.5
"""
    ),
    "category_tree.csv": "categoryid,parentid\n1338,278\n231,\n278,1114\n1114,\n",
}
WEEK = (
    "2015-05-10 03:00",
    "2015-05-17 03:00",
    "2015-05-24 03:00",
    "2015-05-31 03:00",
    "2015-06-07 03:00",
)


def lay(folder: Path, **more: str) -> Path:
    folder.mkdir()
    for name, text in {**FILES, **{f"{n}.csv": t for n, t in more.items()}}.items():
        (folder / name).write_text(text)
    return folder


def test_every_row_arrives(tmp_path: Path, engine: Engine) -> None:
    made = retailrocket.read(lay(tmp_path / "raw"), tmp_path / "out", engine=engine)
    assert [
        tuple(r.values()) for f in made.event_files for r in pq.read_table(f).to_pylist()
    ] == [  # time, user, kind, item, session
        (parse("2015-06-02T05:02:12.117"), 257597, 0, 355908, None),
        (parse("2015-06-02T05:12:35.914"), 483717, 2, 248676, 13082),
        (parse("2015-06-02T05:13:19.827"), 111016, 1, 318965, None),
        (parse("2015-06-02T05:50:14.164"), 992329, 0, 248676, None),
    ]
    m = made.manifest
    assert m.kinds == (
        Kind("view", Role.VIEW),
        Kind("addtocart", Role.CART),
        Kind("transaction", Role.BUY),
    )
    assert m.rejected == {"item_properties: a property whose meaning is hashed": 1}
    assert m.source == {"reader": "retailrocket", "events": "4 rows"}
    assert list(m.attributes) == [
        "category",
        "parent_category",
        "root_category",
        "available",
        "price",
    ]
    first, second, third, fourth, fifth = map(parse, WEEK)
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (248676, first, 1338, 278, 1114, None, None),
        (248676, second, 1338, 278, 1114, None, 15360.0),
        (248676, third, 1338, 278, 1114, 1, 15360.0),
        (248676, fourth, 1338, 278, 1114, 0, 15360.0),
        (248676, fifth, 1114, None, 1114, 0, 99.5),
        (318965, fourth, 231, None, 231, None, None),
    ]
    known = EventLog.open(made, engine).before(parse("2015-05-25")).catalogue.table.to_pylist()
    assert [(r["item"], r["available"], r["price"]) for r in known] == [(248676, 1, 15360.0)]
    assert not list(tmp_path.glob(".*"))


def test_events_alone_packed_and_joined_files(tmp_path: Path, engine: Engine) -> None:
    full = retailrocket.read(lay(tmp_path / "raw"), tmp_path / "full", engine=engine)
    packed = tmp_path / "packed"
    packed.mkdir()
    joined = (
        FILES["item_properties_part1.csv"] + FILES["item_properties_part2.csv"].split("\n", 1)[1]
    )
    for name, text in {
        "events": FILES["events.csv"],
        "category_tree": FILES["category_tree.csv"],
        "item_properties": joined,
    }.items():
        (packed / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert (
        retailrocket.read(packed, tmp_path / "two", engine=engine).manifest.fingerprint
        == full.manifest.fingerprint
    )
    for name in ("item_properties.csv.gz", "category_tree.csv.gz"):
        (packed / name).unlink()
    alone = retailrocket.read(packed, tmp_path / "three", catalogue=False, engine=engine)
    assert alone.manifest.days == full.manifest.days
    assert len(alone.catalogue.table) == 0
    assert alone.manifest.rejected == {}


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(1, 2),
            st.sampled_from(["categoryid", "available", "790"]),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_the_catalogue_holds_what_was_known(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, int, str, int]]
) -> None:
    """Against the plain definition: at each time an item's last value of each property, of several
    at one time the smallest.
    """
    tmp_path, hour = tmp_path_factory.mktemp("known"), 3_600_000
    lines = [
        f"{1431226800000 + t * hour},{i},{p},{'n' * (p == '790')}{v}\n" for t, i, p, v in drawn
    ]
    head = "timestamp,itemid,property,value\n"
    raw = lay(
        tmp_path / "raw",
        item_properties_part1=head + "".join(lines[::2]),
        item_properties_part2=head + "".join(lines[1::2]),
    )
    with DuckDB(memory="300MB", threads=1) as engine:
        made = retailrocket.read(raw, tmp_path / "out", engine=engine).catalogue
    for t in range(6):
        expected = {}
        for item in {i for s, i, _, _ in drawn if s <= t}:
            at = {
                p: max((s for s, i, q, _ in drawn if (i, q) == (item, p) and s <= t), default=None)
                for p in ("categoryid", "available", "790")
            }
            expected[item] = [
                min((v for s, i, q, v in drawn if (s, i, q) == (last, item, p)), default=None)
                for p, last in at.items()
            ]
        rows = made.at((1431226800000 + t * hour) * 1000 + 1).table.to_pylist()
        assert {r["item"]: [r["category"], r["available"], r["price"]] for r in rows} == expected


def test_days_are_appended_with_the_whole_properties(tmp_path: Path, engine: Engine) -> None:
    head, *lines = FILES["events.csv"].splitlines(keepends=True)
    later = "1433900000000,1,view,248676,\n"
    full = retailrocket.read(
        lay(tmp_path / "all", events="".join([head, *lines, later])),
        tmp_path / "full",
        engine=engine,
    )
    second = FILES["item_properties_part2.csv"].splitlines(keepends=True)
    retailrocket.read(
        lay(tmp_path / "old", item_properties_part2="".join(second[:3])),
        tmp_path / "grown",
        engine=engine,
    )
    grown = append(
        tmp_path / "grown",
        "retailrocket",
        lay(tmp_path / "new", events=head + later),
        engine=engine,
    )
    assert grown.manifest.fingerprint == full.manifest.fingerprint
    assert len(grown.catalogue.table) == 6


def test_the_sample_in_parquet(tmp_path: Path, engine: Engine) -> None:
    file = DATA / "retailrocket_events.parquet"
    if not file.is_file():
        pytest.skip(
            f"{file.name} is not here ({DATA}); set CLICKPRINT_DATA to the folder that holds it"
        )
    made = retailrocket.read(file, tmp_path / "out", engine=engine)
    assert (made.manifest.users, made.manifest.items, made.manifest.events) == (
        2_174,
        29_905,
        97_381,
    )
    assert made.manifest.rejected == {}
    per_kind = engine.table(
        f"SELECT kind, COUNT(*) AS n FROM {engine.scan(made.event_files)} GROUP BY kind ORDER BY"
        " kind"
    ).column("n")
    said = pq.read_table(file).column("event").to_pylist()
    assert per_kind.to_pylist() == [said.count(k) for k in ("view", "cart", "buy")]
    low, high = EventLog.open(made, engine).span()
    assert parse("2015-05-03") <= low < high < parse("2015-09-19")


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(edit((folder / name).read_bytes()))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "events are missing": (lambda f: (f / "events.csv").unlink(), r"events\.csv: not found"),
    "half of the properties is missing": (
        lambda f: (f / "item_properties_part2.csv").unlink(),
        (
            r"item_properties_part2\.csv: not found; the option catalogue = false reads the events"
            r" alone"
        ),
    ),
    "no tree": (
        lambda f: (f / "category_tree.csv").unlink(),
        r"category_tree\.csv: not found; the option catalogue = false",
    ),
    "empty": (
        change("item_properties_part1.csv", lambda b: b""),
        r"item_properties_part1\.csv: the file is empty",
    ),
    "another delimiter": (
        change("events.csv", lambda b: b.replace(b",", b";")),
        "no column 'visitorid'; found timestamp;visitorid;event",
    ),
    "a column is missing": (
        change("category_tree.csv", lambda b: b.replace(b"parentid", b"parent")),
        r"category_tree\.csv: no column 'parentid'",
    ),
    "a header twice": (
        change("events.csv", lambda b: b.replace(b"event,", b"itemid,")),
        "2 columns 'itemid'",
    ),
    "broken encoding": (
        change("item_properties_part2.csv", lambda b: b.replace(b"1114", b"\xff\xfe")),
        r"item_properties_part2\.csv: not utf-8",
    ),
    "null bytes": (change("events.csv", lambda b: b"\x00" * 300), r"events\.csv: "),
    "a category with two parents": (
        change("category_tree.csv", lambda b: b + b"1338,231\n"),
        "1 categories have two parents, among them 1338",
    ),
    "a circle": (
        change("category_tree.csv", lambda b: b.replace(b"1114,\n", b"1114,1338\n")),
        "category 278 is in a circle of parents",
    ),
    "no usable row": (
        change("events.csv", lambda b: b.replace(b"\n143", b"\nx43")),
        "4 rows rejected: events: no readable time",
    ),
    "names in another case": (
        change("events.csv", lambda b: b.replace(b"itemid", b"itemId")),
        "no column 'itemid'",
    ),
}
COUNTED: dict[str, tuple[Callable[[Path], object], dict[str, int]]] = {
    "truncated": (
        change("events.csv", lambda b: b[:-20]),
        {"events: too many or too few columns": 1},
    ),
    "times out of range": (
        change(
            "events.csv",
            lambda b: b + b"99999999999999999,1,view,2,\n-99999999999999,1,view,2,\n,1,view,2,\n",
        ),
        {"events: no readable time": 3},
    ),
    "junk ids": (
        change(
            "events.csv",
            lambda b: (
                b + b"1433221332117,x,view,2,\n1433221332117,1,view,2.5,\n"
                b"1433221332117,,view,2,\n1433221332117,1,addtocart,,\n"
            ),
        ),
        {
            "events: no user": 1,
            "events: user is no whole number within int64": 1,
            "events: no item": 1,
            "events: item is no whole number within int64": 1,
        },
    ),
    "an unknown event": (
        change("events.csv", lambda b: b + b"1433221332117,1,refund,2,\n"),
        {"events: no kind that the mapping knows": 1},
    ),
    "odd properties": (
        change(
            "item_properties_part1.csv",
            lambda b: (
                b + b"1,2\n,5,790,n1.0\nx,5,790,n1\n1431226800000,,790,n1\n"
                b"1431226800000,5,790,dear\n1431226800000,5,available,\n"
                b"1431226800000,5,categoryid,shoes\n1431226800000,5,,1\n"
            ),
        ),
        {
            "item_properties: too many or too few columns": 1,
            "item_properties: no item": 1,
            "item_properties: no readable time": 2,
            "item_properties: a property whose meaning is hashed": 1,
            "item_properties: a value that is no number": 3,
        },
    ),
    "an odd tree": (
        change("category_tree.csv", lambda b: b + b"shoes,1\n7,shoes\n1338,278\n,\n1,2,3\n"),
        {
            "category_tree: too many or too few columns": 1,
            "category_tree: no category": 2,
            "category_tree: a parent that is no whole number": 1,
        },
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_their_fault(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, message = BAD[case]
    raw = lay(tmp_path / "raw")
    spoil(raw)
    with pytest.raises(DataError, match=message):
        retailrocket.read(raw, tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("case", COUNTED)
def test_bad_rows_are_counted(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, rejected = COUNTED[case]
    raw = lay(tmp_path / "raw")
    spoil(raw)
    found = retailrocket.read(raw, tmp_path / "out", engine=engine).manifest
    hashed = "item_properties: a property whose meaning is hashed"
    assert found.rejected | found.unread == rejected | {hashed: 1 + rejected.get(hashed, 0)}


BAD_SAMPLE: dict[str, tuple[dict[str, object], str]] = {
    "a column is missing": ({"ts": None}, "no column 'ts'"),
    "texts for times": ({"ts": ["today"]}, "1 rows rejected: events: no readable time"),
    "lists for items": ({"item": [[1]]}, "column item holds list"),
    "an unknown event": ({"event": ["addtocart"]}, "1 rows rejected: events: no kind"),
}


@pytest.mark.parametrize("case", BAD_SAMPLE)
def test_bad_samples(case: str, tmp_path: Path, engine: Engine) -> None:
    changes, message = BAD_SAMPLE[case]
    columns = {"user": [1], "item": [2], "event": ["view"], "ts": [1433221332], **changes}
    pq.write_table(
        pa.table({c: v for c, v in columns.items() if v is not None}), tmp_path / "log.parquet"
    )
    with pytest.raises(DataError, match=message):
        retailrocket.read(tmp_path / "log.parquet", tmp_path / "out", engine=engine)


def test_all_faults_in_one_error(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError) as fault:
        retailrocket.read(tmp_path / "nowhere", tmp_path / "out", engine=engine)
    assert [p.split(":")[0] for p in fault.value.problems] == list(FILES)
