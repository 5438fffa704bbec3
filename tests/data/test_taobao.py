"""Taobao's UserBehavior: the real head of it where it is to be had, the public form, and every way
in which it can be wrong.
"""

import gzip
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from malformed import Case, add, everywhere, first_line_again, half_packed, judge, replace

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.time import parse
from clickprint.data.adapters import taobao
from clickprint.data.engine import Engine

DATA = Path(
    os.environ.get(
        "CLICKPRINT_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"
    )
)
# As published: the first line of the real file, its four behaviours, the first and the last second
# of the nine days.
SMALL = (
    "1,2268318,2520377,pv,1511544070\n1,2268318,2520377,cart,1511544080\n1,2333346,2520771,fav,1511539200\n"
    "100,2333346,2520999,pv,1511561733\n100,2333346,2520999,buy,1512316799\n"
)
USER, ITEM = (
    "events: no user, or no whole number within int64",
    "events: no item, or no whole number within int64",
)
OUTSIDE = "events: a time outside 2017-11-25 to 2017-12-03 in China"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "UserBehavior.csv"
    path.write_text(SMALL)
    return path


def test_the_real_head(tmp_path: Path, engine: Engine) -> None:
    path = DATA / "taobao_head_events.parquet"
    if not path.is_file():
        pytest.skip(
            f"taobao_head_events.parquet is not here ({DATA}); set CLICKPRINT_DATA to the folder"
            " that holds it"
        )
    made = taobao.read(path, tmp_path / "out", engine=engine)
    m = made.manifest
    assert (m.users, m.items, m.events, m.rejected) == (815, 55_344, 84_440, {})
    per_kind = engine.table(
        f"SELECT kind, COUNT(*) AS n FROM {engine.scan(made.event_files)} GROUP BY kind ORDER BY"
        " kind"
    )
    assert per_kind.column("n").to_pylist() == [75_837, 4_497, 2_356, 1_750]
    assert [(k.name, k.role) for k in m.kinds] == [
        ("view", Role.VIEW),
        ("cart", Role.CART),
        ("fav", Role.LIKE),
        ("buy", Role.BUY),
    ]
    # Each item's first row of the catalogue is known from its first event on.
    firsts = f"SELECT item, MIN(time) AS t FROM {engine.scan(made.event_files)} GROUP BY item"
    known = (
        "SELECT item, MIN(known_from) AS t FROM"
        f" {engine.scan([made.folder / 'catalogue.parquet'])} GROUP BY item"
    )
    assert engine.one(
        f"SELECT COUNT(*), SUM(CASE WHEN a.t = b.t THEN 1 ELSE 0 END) FROM ({firsts}) AS a JOIN"
        f" ({known}) AS b USING (item)"
    ) == (
        55_344,
        55_344,
    )


def test_every_row_arrives(small: Path, tmp_path: Path, engine: Engine) -> None:
    made = taobao.read(small, tmp_path / "out", engine=engine)
    rows = [
        tuple(row.values()) for file in made.event_files for row in pq.read_table(file).to_pylist()
    ]
    assert rows == [
        (1511539200_000_000, 1, 2, 2333346),
        (1511544070_000_000, 1, 0, 2268318),
        (1511544080_000_000, 1, 1, 2268318),
        (1511561733_000_000, 100, 0, 2333346),
        (1512316799_000_000, 100, 3, 2333346),
    ]
    # The category of an item changes where an event shows another, and is not known before.
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (2268318, 1511544070_000_000, 2520377),
        (2333346, 1511539200_000_000, 2520771),
        (2333346, 1511561733_000_000, 2520999),
    ]
    assert made.manifest.source == {
        "reader": "taobao",
        "file": "UserBehavior.csv",
        "events": "5 rows",
    }


def test_all_forms_are_one_log(small: Path, tmp_path: Path, engine: Engine) -> None:
    """The CSV, packed or not, in a folder or not, and the Parquet form have one fingerprint."""
    (tmp_path / "gz").mkdir()
    (tmp_path / "gz" / "UserBehavior.csv.gz").write_bytes(gzip.compress(SMALL.encode()))
    with zipfile.ZipFile(tmp_path / "UserBehavior.csv.zip", "w") as packed:
        packed.writestr("__MACOSX/UserBehavior.csv", "junk")
        packed.writestr("UserBehavior.csv", SMALL)
    cells = [line.split(",") for line in SMALL.replace("pv", "view").splitlines()]
    table = pa.table(
        {
            n: [c[i] if n == "event" else int(c[i]) for c in cells]
            for i, n in enumerate(taobao.COLUMNS)
        }
    )
    pq.write_table(table, tmp_path / "head.parquet")
    prints = {
        taobao.read(path, tmp_path / "out", engine=engine).manifest.fingerprint
        for path in (
            small,
            tmp_path / "gz",
            tmp_path / "UserBehavior.csv.zip",
            tmp_path / "head.parquet",
        )
    }
    assert len(prints) == 1


def test_a_day_begins_in_china(small: Path, tmp_path: Path, engine: Engine) -> None:
    """The second before the first and the second after the last are counted, the two between are
    kept (SMALL has both).
    """
    assert (taobao.DAYS.start, taobao.DAYS.end) == (
        parse("2017-11-24 16:00:00"),
        parse("2017-12-03 16:00:00"),
    )
    small.write_text(SMALL + "1,5,5,pv,1511539199\n1,5,5,pv,1512316800\n1,5,5,pv,-1513305600\n")
    made = taobao.read(small, tmp_path / "out", engine=engine)
    assert (made.manifest.rejected, made.manifest.events) == ({OUTSIDE: 3}, 5)


CASES: dict[str, Case] = {
    "missing": (lambda raw: None, "not found; expected UserBehavior.csv"),
    "empty": (lambda raw: b"", "the file is empty"),
    "cut in a line": (lambda raw: raw[:-20], {"events: too many or too few columns": 1}),
    "cut in a time": (lambda raw: raw[:-3], {OUTSIDE: 1}),
    "another delimiter": (
        everywhere(",", ";"),
        "5 rows rejected: events: too many or too few columns",
    ),
    "a column too few": (
        lambda raw: b"\n".join(line.rpartition(b",")[0] for line in raw.splitlines()),
        "5 rows rejected: events: too many",
    ),
    "a header line": (
        lambda raw: b"user_id,item_id,category_id,behavior,timestamp\n" + raw,
        {USER: 1},
    ),
    "a header line twice": (lambda raw: first_line_again(b"u,i,c,b,t\n" + raw), {USER: 2}),
    "a text for a user": (add("u7,1,1,pv,1511544070"), {USER: 1}),
    "an item beyond int64": (add("7,9223372036854775808,1,pv,1511544070"), {ITEM: 1}),
    "no item": (add("7,,1,pv,1511544070"), {ITEM: 1}),
    "a junk category": (
        add("7,1,x,pv,1511544070"),
        {"events: category is no whole number within int64": 1},
    ),
    "an unknown behaviour": (add("7,1,1,pay,1511544070"), {"events: no known behaviour": 1}),
    "milliseconds": (add("7,1,1,pv,1511544070000"), {"events: no readable time": 1}),
    "a text for a time": (add("7,1,1,pv,2017-11-25 01:00:00"), {"events: no readable time": 1}),
    "null bytes": (add("7\0,1,1,pv,1511544070"), {USER: 1}),
    "not UTF-8": (replace("fav", b"f\xe4v"), "not utf-8"),
    "packed under a plain name": (half_packed, "not utf-8"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_files(case: str, small: Path, engine: Engine) -> None:
    spoil, expected = CASES[case]
    left = 4 if case.startswith("cut") else 5
    judge(taobao.read, small, small, (spoil, expected), left, engine)


def test_bad_packings_and_folders(small: Path, tmp_path: Path, engine: Engine) -> None:
    packed = tmp_path / "UserBehavior.csv.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
        z.write(small, "UserBehavior.csv")
    whole = packed.read_bytes()
    for raw in (whole[:-30], whole[:45] + bytes(12) + whole[57:], b"PK"):
        packed.write_bytes(raw)
        with pytest.raises(DataError, match="not a whole zip file"):
            taobao.read(packed, tmp_path / "made" / "out", engine=engine)
    gz = tmp_path / "UserBehavior.csv.gz"
    gz.write_bytes(half_packed(SMALL.encode() * 9))
    with pytest.raises(DataError, match="not a whole CSV file"):
        taobao.read(gz, tmp_path / "made" / "out", engine=engine)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme.txt").touch()
    with pytest.raises(DataError, match=r"\breadme\.txt.*UserBehavior\.csv"):
        taobao.read(tmp_path / "other", tmp_path / "made" / "out", engine=engine)
    pq.write_table(
        pa.table({"user": [1], "item": [1], "event": ["buy"], "ts": ["x"]}),
        tmp_path / "head.parquet",
    )
    with pytest.raises(DataError, match="no column 'category'"):
        taobao.read(tmp_path / "head.parquet", tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()
