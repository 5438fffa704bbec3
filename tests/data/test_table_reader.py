"""Any CSV or Parquet by a mapping file: what arrives, what is counted, what is refused."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE, text_id
from clickprint.core.time import HOUR, parse
from clickprint.data.adapters import mapping, table
from clickprint.data.append import append
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CLICKPRINT_DATA", ROOT.parent / "shared" / "data"))

BASIC = """
name = "shop"
[events]
files = "log.csv"
user = "u"
item = "i"
time = "t"
[events.kind]
column = "k"
values = { look = "view", bought = { name = "purchase", role = "buy" } }
"""
LOG = "u,i,t,k\n7,5,2022-01-02 10:00:00,bought\n8,6,2022-01-01,look\n"


def lay(folder: Path, text: str, **files: str | bytes | pa.Table) -> Path:
    """A mapping and its files (`log_csv` becomes log.csv)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "map.toml").write_text(text)
    return folder / "map.toml"


def rows(made: Dataset, *columns: str) -> list[tuple]:
    found = (
        pa.concat_tables([pq.read_table(f) for f in made.event_files]).select(columns).to_pylist()
    )
    return [tuple(r.values()) for r in found]


def texts(made: Dataset, column: str) -> dict[int, str]:
    found = pq.read_table(made.folder / "ids" / f"{column}.parquet").to_pydict()
    return dict(zip(found["id"], found["text"], strict=True))


# --- what arrives --------------------------------------------------------------------------------


def test_a_small_csv(tmp_path: Path, engine: Engine) -> None:
    made = table.read(lay(tmp_path / "raw", BASIC, log_csv=LOG), tmp_path / "out", engine=engine)
    assert rows(made, "time", "user", "kind", "item") == [
        (parse("2022-01-01"), 8, 0, 6),
        (parse("2022-01-02 10:00"), 7, 1, 5),
    ]
    m = made.manifest
    assert m.kinds == (Kind("look", Role.VIEW), Kind("purchase", Role.BUY))
    assert (m.name, m.users, m.items, m.events, m.rejected, m.time) == (
        "shop",
        2,
        2,
        2,
        {},
        "clock",
    )
    assert m.source == {"reader": "table", "mapping": "map.toml", "events": "2 rows"}
    assert not list((tmp_path / "out" / "ids").iterdir())


def test_parquet_and_csv_say_the_same(tmp_path: Path, engine: Engine) -> None:
    moments = pa.array([parse("2022-01-02 10:00"), parse("2022-01-01")], pa.timestamp("us"))
    log = pa.table(
        {
            "u": pa.array([7, 8], pa.uint32()),
            "i": [5.0, 6.0],
            "t": moments,
            "k": pa.array(["bought", "look"]).dictionary_encode(),
        }
    )
    one = table.read(lay(tmp_path / "a", BASIC, log_csv=LOG), tmp_path / "one", engine=engine)
    two = table.read(
        lay(tmp_path / "b", BASIC.replace("csv", "parquet"), log_parquet=log),
        tmp_path / "two",
        engine=engine,
    )
    assert one.manifest.fingerprint == two.manifest.fingerprint


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1000), pieces=st.integers(1, 4))
def test_the_order_of_rows_and_files_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, seed: int, pieces: int
) -> None:
    tmp_path, rng = tmp_path_factory.mktemp("order"), np.random.default_rng(seed)
    lines = [
        f"{u},{i},2022-01-0{d} 10:00:00,{k}"
        for u, i, d, k in zip("abab", "xyyx", "1213", ["look", "bought"] * 2, strict=True)
    ] * 3
    shuffled = [lines[i] for i in rng.permutation(len(lines))]
    folder = tmp_path / "b"
    folder.mkdir()
    for piece in range(pieces):
        (folder / f"log-{piece}.csv").write_text(
            "\n".join(["u,i,t,k", *shuffled[piece::pieces]]) + "\n"
        )
    with DuckDB(memory="300MB", threads=1) as engine:
        one = table.read(
            lay(tmp_path / "a", BASIC, log_csv="u,i,t,k\n" + "\n".join(lines)),
            tmp_path / "one",
            engine=engine,
        )
        two = table.read(
            lay(folder, BASIC.replace("log.csv", "log-*.csv")), tmp_path / "two", engine=engine
        )
    assert one.manifest.fingerprint == two.manifest.fingerprint
    assert one.manifest.events == 12


def test_texts_become_ids_and_the_map_is_kept(tmp_path: Path, engine: Engine) -> None:
    log = LOG.replace("7,5", "7,0005").replace("8,6", "8,6") + '9,"a, ""b""\né",2022-01-03,look\n'
    made = table.read(lay(tmp_path / "raw", BASIC, log_csv=log), tmp_path / "out", engine=engine)
    assert [r[0] for r in rows(made, "item")] == [
        text_id("6"),
        text_id("0005"),
        text_id('a, "b"\né'),
    ]
    assert texts(made, "item") == {text_id(t): t for t in ("6", "0005", 'a, "b"\né')}
    assert [r[0] for r in rows(made, "user")] == [8, 7, 9]


@pytest.mark.parametrize(
    "odd", ["007", "+7", " 7", "7.0", "7e0", "0x7", "1_0", "-0", str(2**63), str(NONE)]
)
def test_only_plain_whole_numbers_stay_numbers(odd: str, tmp_path: Path, engine: Engine) -> None:
    made = table.read(
        lay(tmp_path / "raw", BASIC, log_csv=LOG.replace("7,5", f"{odd},5")),
        tmp_path / "out",
        engine=engine,
    )
    assert [r[0] for r in rows(made, "user")] == [text_id("8"), text_id(odd)]


def test_ids_may_be_said(tmp_path: Path, engine: Engine) -> None:
    number = BASIC.replace('user = "u"', 'user = { column = "u", ids = "number" }')
    made = table.read(
        lay(tmp_path / "a", number, log_csv=LOG.replace("8,6", "x8,6")),
        tmp_path / "one",
        engine=engine,
        max_rejected=1,
    )
    assert rows(made, "user") == [(7,)]
    assert made.manifest.rejected == {"events: user is no whole number within int64": 1}
    as_text = BASIC.replace('user = "u"', 'user = { column = "u", ids = "text" }')
    made = table.read(
        lay(tmp_path / "b", as_text, log_csv=LOG), tmp_path / "two", engine=engine, max_rejected=1
    )
    assert rows(made, "user") == [(text_id("8"),), (text_id("7"),)]


def test_every_optional_column(tmp_path: Path, engine: Engine) -> None:
    text = BASIC.replace(
        'item = "i"',
        'item = "i"\nsession = "s"\nscenario = "where"\nquery = "q"\nurl = "page"\nprice ='
        ' "p"\nquantity = "n"',
    )
    log = (
        "u,i,t,k,s,where,q,page,p,n,unused\n7,5,2022-01-02,bought,1,home,red"
        " shoes,/a,1.5,2,?\n7,,2022-01-02,look,,,,,,,?\n"
    )
    made = table.read(lay(tmp_path / "raw", text, log_csv=log), tmp_path / "out", engine=engine)
    assert rows(made, "item", "session", "scenario", "query", "url", "price", "quantity") == [
        (None, None, None, None, None, None, None),
        (5, 1, text_id("home"), text_id("red shoes"), text_id("/a"), 1.5, 2.0),
    ]
    assert texts(made, "query") == {text_id("red shoes"): "red shoes"}


TIMES = {
    "2022-06-20": ("2022-06-20", 0),
    "2022-06-20 00:14": ("2022-06-20 00:14", 0),
    "2022-06-20T00:14:03": ("2022-06-20 00:14:03", 0),
    "2022-06-20T00:14:03.25": ("2022-06-20 00:14:03.250", 0),
    "2022-06-20T00:14:03Z": ("2022-06-20 00:14:03", None),
    "2022-06-20 00:14:03 UTC": ("2022-06-20 00:14:03", None),
    "2022-06-20T00:14:03+02:00": ("2022-06-19 22:14:03", None),
    "2022-06-20 00:14:03 -0530": ("2022-06-20 05:44:03", None),
    "2022-06-20T00:14+02": ("2022-06-19 22:14", None),
}
NO_TIMES = [
    "2022-06-20 00:14:03+99:99",
    "2022-06-20 00:14:03+15:00",
    "2022-06-20 00:14:03+02:60",
    "",
    "soon",
    "20220620",
    "2022-06-20 00:14:03 Europe/Berlin",
    "2022-06-20 25:00:00",
    "2022-02-30",
    "06/20/2022",
    "0022-06-20",
    "now",
    "1655683200",
]


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("Europe/Berlin", 2)])
def test_mixed_time_zones(zone: str, hours: int, tmp_path: Path, engine: Engine) -> None:
    """Offsets are honoured; what has none is a clock of the zone."""
    text = BASIC.replace('time = "t"', f'time = {{ column = "t", zone = "{zone}" }}')
    log = "u,i,t,k\n" + "".join(f"{n},5,{t},look\n" for n, t in enumerate([*TIMES, *NO_TIMES]))
    made = table.read(
        lay(tmp_path / "raw", text, log_csv=log), tmp_path / "out", engine=engine, max_rejected=1
    )
    expected = {
        n: parse(t) - (hours * HOUR if local == 0 else 0)
        for n, (t, local) in enumerate(TIMES.values())
    }
    assert dict(rows(made, "user", "time")) == expected
    assert made.manifest.rejected == {"events: no readable time": len(NO_TIMES)}


@pytest.mark.parametrize(
    ("form", "cell", "time"),
    [
        ("seconds", "1655683200", "2022-06-20"),
        ("seconds", "1655683200.5", "2022-06-20 00:00:00.500"),
        ("milliseconds", "1655683200250", "2022-06-20 00:00:00.250"),
        ("microseconds", "1655683200000001", "2022-06-20 00:00:00.000001"),
        ("%m/%d/%Y", "6/20/2022", "2022-06-20"),
        ("%d.%m.%Y %H:%M", "20.06.2022 10:30", "2022-06-20 10:30"),
        ("%Y%m%d", "20220620", "2022-06-20"),
        ("%Y-%m-%d %H:%M %z", "2022-06-20 10:30 +0200", "2022-06-20 08:30"),
    ],
)
def test_time_formats(form: str, cell: str, time: str, tmp_path: Path, engine: Engine) -> None:
    text = BASIC.replace('time = "t"', f'time = {{ column = "t", format = "{form}" }}')
    bad = ["", "x", "1e40", "nan", "infinity", "epoch", "1_0", "2022-06-20 10:30 +9999"]
    log = f"u,i,t,k\n7,5,{cell},look\n" + "".join(f"7,5,{b},look\n" for b in bad)
    made = table.read(
        lay(tmp_path / "raw", text, log_csv=log), tmp_path / "out", engine=engine, max_rejected=1
    )
    assert rows(made, "time") == [(parse(time),)]
    assert made.manifest.rejected == {"events: no readable time": len(bad)}


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "microseconds"])
def test_numbers_that_are_no_times(unit: str, tmp_path: Path, engine: Engine) -> None:
    """Neither of them overflows: they are counted."""
    moments = pa.array([0, 2**63 - 1, -(2**63), 2**53, 10**13, None])
    log = pa.table({"u": [1] * 6, "i": [1] * 6, "k": ["look"] * 6, "t": moments})
    text = BASIC.replace("csv", "parquet").replace(
        'time = "t"', f'time = {{ column = "t", format = "{unit}" }}'
    )
    for name, column in (
        ("whole", moments),
        ("float", moments.cast(pa.float64(), safe=False)),
        ("text", moments.cast(pa.string())),
    ):
        at = lay(tmp_path / name, text, log_parquet=log.set_column(3, "t", column))
        made = table.read(at, tmp_path / "out" / name, engine=engine, max_rejected=1)
        assert made.manifest.events == (2 if unit == "microseconds" else 1), name


@pytest.mark.parametrize(
    "type_",
    [pa.timestamp("ns"), pa.timestamp("s"), pa.timestamp("us", "America/New_York"), pa.date32()],
)
def test_parquet_times(type_: pa.DataType, tmp_path: Path, engine: Engine) -> None:
    moment = pa.array([parse("2022-06-20")], pa.timestamp("us")).cast(type_)
    log = pa.table({"u": [1], "i": [2], "k": ["look"], "t": moment})
    made = table.read(
        lay(tmp_path / "raw", BASIC.replace("csv", "parquet"), log_parquet=log),
        tmp_path / "out",
        engine=engine,
    )
    assert rows(made, "time") == [(parse("2022-06-20"),)]


def test_one_kind_for_all_and_no_items(tmp_path: Path, engine: Engine) -> None:
    """CDNOW's form: who bought, when, for how much; no items, spaces between, dates as digits."""
    text = (
        '[events]\nfiles = "log.txt"\nformat = "csv"\nheader = ["u", "t", "p"]\ndelimiter ='
        ' ";"\nuser = "u"\nprice = "p"\nkind = "buy"\n'
    )
    text += 'time = { column = "t", format = "%Y%m%d" }\n'
    made = table.read(
        lay(tmp_path / "raw", text, log_txt="00001;19970101;11.77\n00001;19970112;x\n"),
        tmp_path / "out",
        engine=engine,
    )
    assert rows(made, "item", "price") == [(None, 11.77), (None, None)]
    assert made.manifest.name == "map"
    assert made.manifest.unread == {"events: price is no finite number": 1}
    assert made.manifest.kinds == (Kind("buy", Role.BUY),)


def test_logs_without_times(tmp_path: Path, engine: Engine) -> None:
    """The order of the rows, user by user, over all files; a rejected row leaves no gap."""
    text = BASIC.replace('time = "t"', 'time = "order"').replace(
        '"log.csv"', '["log.b.csv", "log.a.csv"]'
    )
    files = {
        "log_b_csv": "u,i,t,k\n1,10,,look\n2,20,,look\n1,11,,?\n",
        "log_a_csv": "u,i,t,k\n1,12,,bought\n2,19,,look\n",
    }
    made = table.read(
        lay(tmp_path / "raw", text, **files), tmp_path / "out", engine=engine, max_rejected=1
    )
    assert rows(made, "time", "user", "item") == [(0, 1, 10), (0, 2, 20), (1, 1, 12), (1, 2, 19)]
    assert made.manifest.time == "order"
    with pytest.raises(ConfigError, match="needs a clock"):
        made.manifest.need_clock("a split")


def test_sequences_and_positions(tmp_path: Path, engine: Engine) -> None:
    lists = pa.table({"u": [5, 6, 7], "i": pa.array([[3, 1], [], [2]])})
    text = (
        '[events]\nfiles = "log.parquet"\nuser = "u"\nitem = "i"\nkind = "buy"\ntime = "order"\n'
    )
    made = table.read(
        lay(tmp_path / "a", text, log_parquet=lists), tmp_path / "one", engine=engine
    )
    assert rows(made, "time", "user", "item") == [(0, 5, 3), (0, 7, 2), (1, 5, 1)]
    flat = pa.table({"u": [5, 7, 5], "i": [1, 2, 3], "n": [1, 0, 0]})
    text = text.replace('"order"', '{ column = "n", format = "order" }')
    two = table.read(lay(tmp_path / "b", text, log_parquet=flat), tmp_path / "two", engine=engine)
    assert two.manifest.fingerprint == made.manifest.fingerprint


@pytest.mark.parametrize(
    ("encode", "more"),
    [
        (lambda t: t.encode("utf-8-sig"), ""),
        (lambda t: t.encode("cp1252"), 'encoding = "cp1252"'),
        (lambda t: t.encode("utf-16"), 'encoding = "utf-16"'),
        (lambda t: t.replace("\n", "\r\n").encode(), ""),
        (lambda t: t.replace(",", "\t").encode(), 'delimiter = "\\t"'),
        (lambda t: t.replace(",", ";").encode(), 'delimiter = ";"'),
    ],
    ids=["byte order mark", "cp1252", "utf-16", "windows lines", "tabs", "semicolons"],
)
def test_spellings_of_csv(
    encode: Callable[[str], bytes], more: str, tmp_path: Path, engine: Engine
) -> None:
    log = LOG.replace("7,5", "é,5")
    one = table.read(lay(tmp_path / "a", BASIC, log_csv=log), tmp_path / "one", engine=engine)
    text = BASIC.replace('files = "log.csv"', f'files = "log.csv"\n{more}')
    two = table.read(
        lay(tmp_path / "b", text, log_csv=encode(log)), tmp_path / "two", engine=engine
    )
    assert one.manifest.fingerprint == two.manifest.fingerprint


def test_packed_files_variables_and_folders(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATA", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere" / "2022" / "01").mkdir(parents=True)
    (tmp_path / "elsewhere" / "2022" / "01" / "log.csv.gz").write_bytes(
        gzip.compress(LOG.encode())
    )
    for pattern in (
        "$SHOP_DATA/2022/01/log.csv.gz",
        "${SHOP_DATA}/**/*.csv.gz",
        "../elsewhere/2022/*/log.csv.gz",
    ):
        at = lay(tmp_path / "raw", BASIC.replace("log.csv", pattern))
        assert table.read(at, tmp_path / "out", engine=engine).manifest.events == 2
        assert [p.name for p in table.files(at)] == ["map.toml", "log.csv.gz"]


def test_a_kept_log_is_read_again_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache looks at the files that the mapping names, not only at the mapping."""
    from clickprint.work.source import dataset

    monkeypatch.setenv("CLICKPRINT_CACHE", str(tmp_path / "cache"))
    at = lay(tmp_path / "raw", BASIC, log_csv=LOG)
    assert dataset("table", at).folder == dataset("table", at).folder
    assert dataset("table", at).manifest.events == 2
    lay(tmp_path / "raw", BASIC, log_csv=LOG + "9,9,2022-01-09,look\n")
    assert dataset("table", at).manifest.events == 3


# --- several tables ------------------------------------------------------------------------------

SEVERAL = """
name = "shop"
[[events]]
files = "views.csv"
header = ["s", "t", "i", "c"]
missing = ["0", "NA"]
user = "s"
session = "s"
item = "i"
time = "t"
kind = "view"
[[events]]
name = "till"
files = "buys.csv"
delimiter = ";"
user = "who"
item = "sku"
time = { column = "when", format = "seconds" }
price = "paid"
[events.kind]
column = "what"
[events.kind.values]
order = { name = "buy", role = "buy" }
basket = "cart"
seen = { name = "view", role = "view" }
[catalogue.attributes]
category = { column = "c", type = "category" }
"""
VIEWS = (
    "1,2022-01-01T10:00:00Z,5,S\n"
    "1,2022-01-01T10:01:00Z,6,0\n2,2022-01-03T10:00:00Z,5,7\nNA,2022-01-03,5,S\n"
)
BUYS = (
    "who;sku;when;paid;what\n"
    "1;x5;1641031200;2.5;order\n3;5;1641031200;;seen\n3;;1641031200;1;basket\n"
)


def test_several_tables(tmp_path: Path, engine: Engine) -> None:
    """Kinds are one list in funnel order, columns are the union, and one odd item in one table
    makes all of them texts.
    """
    made = table.read(
        lay(tmp_path / "raw", SEVERAL, views_csv=VIEWS, buys_csv=BUYS),
        tmp_path / "out",
        engine=engine,
        max_rejected=1,
    )
    assert made.manifest.kinds == (
        Kind("view", Role.VIEW),
        Kind("basket", Role.CART),
        Kind("buy", Role.BUY),
    )
    five, six, odd = map(text_id, ("5", "6", "x5"))
    ten = parse("2022-01-01 10:00")
    assert rows(made, "time", "user", "kind", "item", "session", "price") == [
        (ten, 1, 0, five, 1, None),
        (ten, 1, 2, odd, None, 2.5),
        (ten, 3, 0, five, None, None),
        (parse("2022-01-01 10:01"), 1, 0, six, 1, None),
        (parse("2022-01-03 10:00"), 2, 0, five, 2, None),
    ]
    assert made.manifest.rejected == {"events[0]: no user": 1, "till: no item": 1}
    assert made.manifest.source["events"] == "7 rows"
    assert texts(made, "item") == {five: "5", six: "6", odd: "x5"}
    # Only the table that has the attributes tells of the items.
    assert [tuple(r.values()) for r in made.catalogue.table.sort_by("known_from").to_pylist()] == [
        (five, ten, text_id("S")),
        (five, parse("2022-01-03 10:00"), text_id("7")),
    ]
    assert [p.name for p in table.files(tmp_path / "raw" / "map.toml")] == [
        "map.toml",
        "views.csv",
        "buys.csv",
    ]


def test_two_tables_of_one_file_are_one_table_with_a_column_of_kinds(
    tmp_path: Path, engine: Engine
) -> None:
    log = "u,i,t,k\n" + "".join(
        f"{n % 3},{n % 5},2022-01-0{1 + n % 4},{'look' if n % 2 else 'bought'}\n"
        for n in range(40)
    )
    one = table.read(lay(tmp_path / "a", BASIC, log_csv=log), tmp_path / "one", engine=engine)
    head, *lines = log.splitlines()
    parts = {
        f"{kind}_csv": "\n".join([head, *(row for row in lines if kind in row), ""])
        for kind in ("look", "bought")
    }
    single = (
        '[[events]]\nfiles = "{}.csv"\nuser = "u"\nitem = "i"\ntime = "t"\nkind = {{ name = "{}",'
        ' role = "{}" }}\n'
    )
    text = (
        'name = "shop"\n'
        + single.format("bought", "purchase", "buy")
        + single.format("look", "look", "view")
    )
    two = table.read(lay(tmp_path / "b", text, **parts), tmp_path / "two", engine=engine)
    assert one.manifest.fingerprint == two.manifest.fingerprint


BAD_SEVERAL = {
    "the same rows twice": (
        ("[[events]]" + SEVERAL.split("[[events]]")[1]) * 2,
        ConfigError,
        r"events\[1\]\.files: views\.csv .*events\[0\]",
    ),
    "a fault has its place": (
        SEVERAL.replace('user = "who"\n', ""),
        ConfigError,
        r"events\[1\]\.user: missing",
    ),
    "an unknown key": (
        SEVERAL.replace("paid", 'paid"\ncost = "c'),
        ConfigError,
        r"events\[1\]\.cost: unknown",
    ),
    "one name, two roles": (
        SEVERAL.replace('role = "view"', 'role = "click"'),
        ConfigError,
        r"events\[1\]\.kind: 'view' has the role click",
    ),
    "times here, positions there": (
        SEVERAL.replace('"seconds"', '"order"'),
        ConfigError,
        r"events\[1\]\.time: order, but iso in events\[0\]",
    ),
    "no common order of rows": (
        SEVERAL.replace('time = "t"', 'time = "order"').replace('"seconds"', '"order"'),
        ConfigError,
        "several tables have no common order",
    ),
    "no table": ("events = []\n", ConfigError, r"events: found \[\], expected tables"),
    "a time format": (
        SEVERAL.replace('"seconds"', '"%Q"'),
        ConfigError,
        r"events\[1\]\.time\.format: found '%Q'",
    ),
    "missing is no list": (
        SEVERAL.replace('["0", "NA"]', '"NA"'),
        ConfigError,
        r"events\[0\]\.missing: found 'NA'",
    ),
    "a column": (
        SEVERAL.replace('"sku"', '"isbn"'),
        DataError,
        r"events\[1\]: buys\.csv: no column 'isbn'",
    ),
    "an attribute nowhere": (
        SEVERAL.replace('column = "c"', 'column = "x"'),
        DataError,
        "no table of events has all the columns x",
    ),
    "an attribute, and no items": (
        SEVERAL.replace('item = "i"\n', ""),
        DataError,
        "no table of events has all the columns c, and items",
    ),
}


@pytest.mark.parametrize("case", BAD_SEVERAL)
def test_bad_several_tables(case: str, tmp_path: Path, engine: Engine) -> None:
    text, error, message = BAD_SEVERAL[case]
    with pytest.raises(error, match=message):
        table.read(
            lay(tmp_path / "raw", text, views_csv=VIEWS, buys_csv=BUYS),
            tmp_path / "made" / "out",
            engine=engine,
        )
    assert not (tmp_path / "made").exists()


def test_columns_that_were_texts_stay_texts(tmp_path: Path, engine: Engine) -> None:
    spec = mapping.load(
        lay(
            tmp_path,
            BASIC.replace('user = "u"', 'user = { column = "u", ids = "number" }'),
            log_csv=LOG,
        )
    )
    made = table.read_mapping(spec, tmp_path / "out", engine=engine, texts={"item", "user"})
    assert rows(made, "user", "item") == [
        (8, text_id("6")),
        (7, text_id("5")),
    ]  # what the mapping says counts more


# --- the catalogue -------------------------------------------------------------------------------

CATALOGUE = """
[catalogue]
files = "items.csv"
item = "id"
known_from = "since"
[catalogue.attributes]
brand = "category"
cost = { column = "price", type = "number" }
bucket = "price_bucket"
title = "text"
"""
ITEMS = 'id,since,brand,price,bucket,title\n5,,acme,1.5,3,"A, b"\n5,2022-01-01,zeta,2,4,\n6,,,,,\n'


def test_a_catalogue_of_its_own(tmp_path: Path, engine: Engine) -> None:
    made = table.read(
        lay(tmp_path / "raw", BASIC + CATALOGUE, log_csv=LOG, items_csv=ITEMS),
        tmp_path / "out",
        engine=engine,
    )
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (5, None, text_id("acme"), 1.5, 3, "A, b"),
        (5, parse("2022-01-01"), text_id("zeta"), 2.0, 4, None),
        (6, None, None, None, None, None),
    ]
    assert texts(made, "brand") == {text_id("acme"): "acme", text_id("zeta"): "zeta"}


def test_rows_of_the_catalogue_are_counted_too(tmp_path: Path, engine: Engine) -> None:
    items = (
        ITEMS + "7,never,a,1,1,t\n8,,a,dear,1,t\n9,,a,1,1.5,t\n,,a,1,1,t\n10,,a,1,1,t,too many\n"
    )
    made = table.read(
        lay(tmp_path / "raw", BASIC + CATALOGUE, log_csv=LOG, items_csv=items),
        tmp_path / "out",
        engine=engine,
        max_rejected=1,
    )
    assert made.manifest.rejected == {
        "catalogue: too many or too few columns": 1,
        "catalogue: no item, or no whole number within int64": 1,
        "catalogue: known_from cannot be read": 1,
    }
    assert made.manifest.unread == {
        "catalogue: cost is no number": 1,
        "catalogue: bucket is no number": 1,
    }
    rows_ = {r["item"]: r for r in made.catalogue.table.to_pylist()}
    assert (rows_[8]["cost"], rows_[8]["bucket"], rows_[9]["bucket"]) == (None, 1, None)
    assert len(rows_) == 4


def test_one_odd_item_in_the_catalogue_makes_all_of_them_texts(
    tmp_path: Path, engine: Engine
) -> None:
    items = ITEMS + "x1,,acme,1,1,\n"
    made = table.read(
        lay(tmp_path / "raw", BASIC + CATALOGUE, log_csv=LOG, items_csv=items),
        tmp_path / "out",
        engine=engine,
    )
    assert {r[0] for r in rows(made, "item")} == {text_id("5"), text_id("6")}
    assert {text_id("5"), text_id("x1")} <= set(made.catalogue.table.column("item").to_pylist())
    assert set(texts(made, "item").values()) == {"5", "6", "x1"}


def test_a_catalogue_from_the_events_knows_nothing_too_early(
    tmp_path: Path, engine: Engine
) -> None:
    text = BASIC + '[catalogue.attributes]\ncolour = { column = "c", type = "category" }\n'
    log = (
        "u,i,t,k,c\n1,5,2022-01-03,look,red\n"
        "1,5,2022-01-02,look,\n2,5,2022-01-05,look,blue\n2,5,2022-01-06,look,red\n"
    )
    log += "2,6,2022-01-06,look,\n2,7,2022-01-06,look,b\n2,7,2022-01-06,look,a\n"
    made = table.read(lay(tmp_path / "raw", text, log_csv=log), tmp_path / "out", engine=engine)
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (5, parse("2022-01-03"), text_id("red")),
        (5, parse("2022-01-05"), text_id("blue")),
        (5, parse("2022-01-06"), text_id("red")),
        (7, parse("2022-01-06"), text_id("a")),
    ]
    log_ = EventLog.open(made, engine)
    assert len(log_.before(parse("2022-01-03")).catalogue.table) == 0
    assert log_.before(parse("2022-01-04")).catalogue.table.column("colour").to_pylist() == [
        text_id("red")
    ]


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_a_catalogue_from_the_events_can_be_appended_to(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Days 1 to n read at once are days 1 to k, and then the others: many ties in time, values
    that come back, and empty ones.
    """
    tmp_path = tmp_path_factory.mktemp("seen")
    text = (
        BASIC
        + '[catalogue.attributes]\ncolour = { column = "c", type = "category" }\nsize = { column ='
        ' "z", type = "number" }\n'
    )
    row = st.tuples(
        st.integers(1, 4),
        st.sampled_from("ab"),
        st.sampled_from(["red", "blue", ""]),
        st.sampled_from(["1", "2", ""]),
    )
    events = [
        (1, "a", "red", ""),
        (4, "b", "blue", ""),
        *data.draw(st.lists(row, min_size=5, max_size=40)),
    ]
    k = data.draw(st.integers(1, 3))
    lines = [(d, f"1,{i},2022-01-0{d},look,{c},{z}\n") for d, i, c, z in events]

    def at(place: str, days: range) -> Path:
        return lay(
            tmp_path / place,
            text,
            log_csv="u,i,t,k,c,z\n" + "".join(line for d, line in lines if d in days),
        )

    with DuckDB(memory="300MB", threads=1) as engine:
        full = table.read(at("all", range(1, 5)), tmp_path / "full", engine=engine)
        table.read(at("old", range(1, k + 1)), tmp_path / "grown", engine=engine)
        grown = append(tmp_path / "grown", "table", at("new", range(k + 1, 5)), engine=engine)
    assert grown.catalogue.table.to_pylist() == full.catalogue.table.to_pylist()
    assert grown.manifest.fingerprint == full.manifest.fingerprint
    expected: dict[str, list[tuple[int, tuple]]] = {}
    for d, i in sorted({(d, i) for d, i, c, z in events if c or z}):
        said = {
            (text_id(c) if c else None, float(z) if z else None)
            for dd, ii, c, z in events
            if (dd, ii) == (d, i) and (c or z)
        }
        best = min(said, key=lambda v: [(x is None, x or 0) for x in v])
        if not expected.setdefault(i, []) or expected[i][-1][1] != best:
            expected[i].append((parse(f"2022-01-0{d}"), best))
    flat = sorted((text_id(i), t, *v) for i, found in expected.items() for t, v in found)
    assert sorted(tuple(r.values()) for r in full.catalogue.table.to_pylist()) == flat


# --- rows that cannot be used --------------------------------------------------------------------


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path, engine: Engine) -> None:
    text = BASIC.replace(
        'item = "i"', 'item = "i"\nprice = "p"\nsession = { column = "s", ids = "number" }'
    )
    good = {"u": "7", "i": "5", "t": "2022-01-01", "k": "bought", "p": "1", "s": "3"}
    bad = [
        {"u": ""},
        {"t": "never"},
        {"t": "1899-01-01"},
        {"k": "stolen"},
        {"k": ""},
        {"i": ""},
    ]
    unread = [{"p": "nan"}, {"p": "1,5"}, {"p": "1_0"}, {"s": "x"}, {"s": str(2**63)}]
    also_good = [{}, {"k": "look", "i": ""}, {"p": ""}, {"s": ""}]
    lines = [
        ",".join(f'"{v}"' for v in {**good, **change}.values())
        for change in (*bad, *unread, *also_good)
    ]
    log = ",".join(good) + "\n" + "\n".join([*lines, "7,5", "7,5,2022-01-01,look,1,3,4,5"]) + "\n"
    made = table.read(
        lay(tmp_path / "raw", text, log_csv=log), tmp_path / "out", engine=engine, max_rejected=1
    )
    assert made.manifest.rejected == {
        "events: too many or too few columns": 2,
        "events: no user": 1,
        "events: no readable time": 2,
        "events: no kind that the mapping knows": 2,
        "events: no item": 1,
    }
    assert made.manifest.unread == {
        "events: price is no finite number": 3,
        "events: session is no whole number within int64": 2,
    }
    assert made.manifest.events == len(unread) + len(also_good)
    assert made.manifest.source["events"] == f"{len(lines) + 2} rows"


def test_numbers_in_parquet_that_are_no_ids(tmp_path: Path, engine: Engine) -> None:
    log = pa.table(
        {
            "u": pa.array([1, 2**63, 2**64 - 1, None], pa.uint64()),
            "i": pa.array([1.0, 1.0, 1.0, 1.0]),
            "t": ["2022-01-01"] * 4,
            "k": ["look"] * 4,
        }
    )
    made = table.read(
        lay(tmp_path / "a", BASIC.replace("csv", "parquet"), log_parquet=log),
        tmp_path / "one",
        engine=engine,
        max_rejected=1,
    )
    assert rows(made, "user") == [(1,)]
    assert made.manifest.rejected == {
        "events: no user": 1,
        "events: user is no whole number within int64": 2,
    }
    floats = pa.table(
        {
            "u": [1.0, 1.5, 2.0**53 * 4, float("nan"), float("inf")],
            "i": [1] * 5,
            "t": ["2022-01-01"] * 5,
            "k": ["look"] * 5,
        }
    )
    made = table.read(
        lay(tmp_path / "b", BASIC.replace("csv", "parquet"), log_parquet=floats),
        tmp_path / "two",
        engine=engine,
        max_rejected=1,
    )
    assert made.manifest.rejected == {
        "events: no user": 2,
        "events: user is no whole number within int64": 2,
    }


def test_more_rejected_rows_than_the_limit_stop_the_reading(
    tmp_path: Path, engine: Engine
) -> None:
    """One row in a hundred may be lost; two are told with what stood there."""
    lines = ["7,5,2022-01-01,look"] * 99
    at = lay(tmp_path, BASIC, log_csv="\n".join(["u,i,t,k", *lines, "7,5,soon,look"]))
    made = table.read(at, tmp_path / "one", engine=engine)
    assert (made.manifest.events, sum(made.manifest.rejected.values())) == (99, 1)
    lay(tmp_path, BASIC, log_csv="\n".join(["u,i,t,k", *lines, "7,5,soon,look", "7,5,x,buy\t"]))
    with pytest.raises(DataError) as fault:
        table.read(at, tmp_path / "two", engine=engine)
    for fact in ("2 of 101 ", "max_rejected", "readable time: 2", "'soon'", "'x'"):
        assert fact in str(fault.value)
    assert not (tmp_path / "two").exists()
    made = table.read(at, tmp_path / "two", engine=engine, max_rejected=0.02)
    assert made.manifest.events == 99
    with pytest.raises(DataError, match="at most 1 %"):
        append(tmp_path / "two", "table", at, engine=engine)


# --- what is read is what was named --------------------------------------------------------------

LITERAL = ["user=7", "kind=0", "time=3", "shop[1]", "a*b", "a?b", "a\\b"]


@pytest.mark.parametrize("folder", LITERAL)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_paths_are_literal(folder: str, form: str, tmp_path: Path, engine: Engine) -> None:
    """Beside each stands a folder that would fit if the name were a pattern."""
    text = BASIC.replace('"log.csv"', f'["log.{form}"]')
    for place, user in ((folder, 7), ("shop1", 1), ("axb", 2), ("a-b", 3)):
        log = pa.table({"u": [user], "i": [5], "t": ["2022-01-01"], "k": ["look"]})
        if form == "csv":
            lay(tmp_path / place, text, log_csv=f"u,i,t,k\n{user},5,2022-01-01,look\n")
        else:
            lay(tmp_path / place, text, log_parquet=log)
    made = table.read(tmp_path / folder / "map.toml", tmp_path / folder / "out", engine=engine)
    expected = {"time": [parse("2022-01-01")], "user": [7], "kind": [0], "item": [5]}
    log_ = EventLog.open(Dataset.open(made.folder), engine)
    found = log_.rows(["time", "user", "kind", "item"])
    assert {c: v.tolist() for c, v in found.items()} == expected
    assert made.users.tolist() == [7]


def test_a_pattern_below_a_folder_that_looks_like_one(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, user in (("shop[1]", 7), ("shop1", 1)):
        lay(tmp_path / place, BASIC, log_csv=f"u,i,t,k\n{user},5,2022-01-01,look\n")
    at = lay(tmp_path / "shop[1]", BASIC.replace("log.csv", "l*.csv"))
    assert table.read(at, tmp_path / "one", engine=engine).users.tolist() == [7]
    monkeypatch.setenv("SHOP", str(tmp_path / "shop[1]"))
    at = lay(tmp_path / "maps", BASIC.replace("log.csv", "$SHOP/l*.csv"))
    assert table.read(at, tmp_path / "two", engine=engine).users.tolist() == [7]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_columns_that_differ_in_capitals_are_two(
    form: str, tmp_path: Path, engine: Engine
) -> None:
    text = BASIC.replace('"u"', '"id"').replace('"i"', '"ID"').replace("log.csv", f"log.{form}")
    log = pa.table([[1], [7], [5], ["2022-01-01"], ["look"]], names=["Id", "id", "ID", "t", "k"])
    if form == "csv":
        at = lay(tmp_path, text, log_csv="Id,id,ID,t,k\n1,7,5,2022-01-01,look\n")
    else:
        at = lay(tmp_path, text, log_parquet=log)
    assert rows(table.read(at, tmp_path / "out", engine=engine), "user", "item") == [(7, 5)]
    lay(tmp_path, text.replace('"id"', '"iD"'))
    with pytest.raises(DataError, match="no column 'iD'"):
        table.read(at, tmp_path / "out", engine=engine)


def test_an_attribute_may_be_called_as_our_own_words_are(tmp_path: Path, engine: Engine) -> None:
    names = ["turn", "often", "t1", "n", "earlier"]
    attributes = "[catalogue.attributes]\n" + "".join(f'{n} = "category"\n' for n in names)
    header = ",".join(["u,i,t,k", *names])
    log = f"{header}\n7,5,2022-01-01,look,3,1,4,1,5\n7,5,2022-01-02,look,9,2,6,5,3\n"
    made = table.read(
        lay(tmp_path, BASIC + attributes, log_csv=log), tmp_path / "d", engine=engine
    )
    log_ = EventLog.open(made, engine)
    assert log_.catalogue.table.select(names).to_pylist() == [
        dict(zip(names, (9, 2, 6, 5, 3), strict=True))
    ]
    assert log_.before(parse("2022-01-02")).catalogue.table.column("turn").to_pylist() == [3]


def test_searches_as_codes(tmp_path: Path, engine: Engine) -> None:
    codes = "[" + " ".join(map(str, range(16))) + "]"
    text = (
        'query = "codes"\n[events]\nfiles = "log.csv"\nuser = "u"\ntime = "t"\nkind ='
        ' "search"\nquery = "q"\n'
    )
    log = f"u,t,q\n1,2022-01-01,{codes}\n1,2022-01-01,shoes\n1,2022-01-01,12\n1,2022-01-01,\n"
    made = table.read(lay(tmp_path / "raw", text, log_csv=log), tmp_path / "out", engine=engine)
    assert made.manifest.query == "codes"
    assert [r[0] for r in rows(made, "query")] == [None, None, None, text_id(codes)]
    assert made.manifest.unread == {"events: query is no 16 codes from 0 to 255": 2}


# --- wrong files: one DataError ------------------------------------------------------------------


def parquet(**columns: object) -> pa.Table:
    return pa.table({"u": [1], "i": [5], "t": ["2022-01-01"], "k": ["look"], **columns})


def cut(content: pa.Table, keep: Callable[[bytes], bytes]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(content, sink)
    return keep(sink.getvalue().to_pybytes())


MANY = parquet().take(pa.array([0] * 5000)).set_column(0, "u", pa.array(np.arange(5000) ** 2))
BAD_CSV = {
    "absent": ({}, r"log\.csv: not found"),
    "empty": ({"log_csv": ""}, r"log\.csv: the file is empty"),
    "only a header": ({"log_csv": "u,i,t,k\n"}, "no event could be read"),
    "a column is missing": (
        {"log_csv": LOG.replace("u,i", "user,i")},
        r"no column 'u'; found user, i, t, k",
    ),
    "a column is there twice": (
        {"log_csv": "u,u,i,t,k\n1,1,2,2022-01-01,look\n"},
        "2 columns 'u'",
    ),
    "not UTF-8": (
        {"log_csv": LOG.encode() + b"\xff\xfe,1,2022-01-01,look\n"},
        "not utf-8 .*encoding = 'latin-1'",
    ),
    "not UTF-8 far below": (
        {
            "log_csv": (
                LOG.encode() + b"7,5,2022-01-01,look\n" * 300_000 + b"\xe9,1,2022-01-01,look\n"
            )
        },
        "not utf-8",
    ),
    "junk": ({"log_csv": bytes(range(1, 256)) * 20}, r"log\.csv: "),
    "a Parquet file by another name": ({"log_csv": cut(parquet(), bytes)}, r"log\.csv: "),
    "null bytes": ({"log_csv": b"\x00" * 500}, r"log\.csv: |no column"),
    "no readable row": (
        {"log_csv": LOG.replace("2022", "MMXXII")},
        "events: no readable time: 2, such as 'MMXXII-01-01'",
    ),
    "the delimiter is another": (
        {"log_csv": LOG.replace(",", ";")},
        "no column 'i'; found u;i;t;k",
    ),
    "an unended quote": (
        {"log_csv": 'u,i,t,k\n"7,5,2022-01-01,look\n8,6,2022-01-01,look\n'},
        "too many or too few columns: 1, such as|not a whole CSV",
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(case: str, tmp_path: Path, engine: Engine) -> None:
    files, message = BAD_CSV[case]
    at = lay(tmp_path / "raw", BASIC, **files)
    with pytest.raises(DataError, match=message):
        table.read(at, tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("row", "fact"),
    [
        ('7,5,2022-01-01,look,"x', "quote"),  # the last column: it fits, and swallows the rest
        ('7,"5,2022-01-01,look,x', "quote"),
        ('7,"5,2022-01-01,look,x\n' + "7,5,2022-01-01,look,x\n" * 50 + '7,5",5,5,5,5,5', "52 of"),
    ],
)
def test_a_stray_quote_swallows_no_rows(
    row: str, fact: str, tmp_path: Path, engine: Engine
) -> None:
    good = "7,5,2022-01-01,look,x\n" * 500
    at = lay(tmp_path / "raw", BASIC, log_csv=f"u,i,t,k,n\n{good}{row}\n{good}")
    with pytest.raises(DataError, match=fact):
        table.read(at, tmp_path / "out", engine=engine)
    lay(tmp_path / "raw", BASIC, log_csv=f'u,i,t,k,n\n{good}7,5,2022-01-01,look,"a\nb"\n{good}')
    assert table.read(at, tmp_path / "out", engine=engine).manifest.events == 1001


def test_a_truncated_archive(tmp_path: Path, engine: Engine) -> None:
    at = lay(tmp_path / "raw", BASIC.replace("log.csv", "log.csv.gz"))
    (tmp_path / "raw" / "log.csv.gz").write_bytes(gzip.compress(LOG.encode() * 1000)[:60])
    with pytest.raises(DataError, match=r"log\.csv\.gz: "):
        table.read(at, tmp_path / "out", engine=engine)


BAD_PARQUET = {
    "truncated": (
        {"log_parquet": cut(MANY, lambda b: b[: len(b) // 2])},
        r"log\.parquet: not a whole Parquet file",
    ),
    "junk": (
        {"log_parquet": b"PAR1" + b"\x15" * 300 + b"PAR1"},
        r"log\.parquet: not a whole Parquet file",
    ),
    "empty": ({"log_parquet": b""}, r"log\.parquet: the file is empty"),
    "no rows": ({"log_parquet": parquet().slice(0, 0)}, "no event could be read"),
    "damaged pages": (
        {"log_parquet": cut(MANY, lambda b: b[:4] + bytes(255 - x for x in b[4:300]) + b[300:])},
        "DuckDB says",
    ),
    "a column is missing": ({"log_parquet": parquet().drop_columns(["t"])}, "no column 't'"),
    "truths for users": (
        {"log_parquet": parquet(u=[True])},
        "column u holds bool, expected texts, numbers or times",
    ),
    "times for users": (
        {"log_parquet": parquet(u=pa.array([1], pa.timestamp("us")))},
        "events.user: column u holds times",
    ),
    "lists for items": ({"log_parquet": parquet(i=[[1, 2]])}, "column i holds list"),
    "structures": ({"log_parquet": parquet(i=[{"a": 1}])}, "column i holds struct"),
    "numbers for times, no unit said": (
        {"log_parquet": parquet(t=[1655683200])},
        "events.time: column t holds whole numbers.*format = seconds",
    ),
    "floats for kinds": (
        {"log_parquet": parquet(k=[1.5])},
        "events.kind.column: column k holds numbers",
    ),
    "not UTF-8": (
        {"log_parquet": parquet(k=pa.array([b"\xff\xfe"], pa.binary()).view(pa.string()))},
        "(?i)utf-?8|encoding",
    ),
    "all NaN": ({"log_parquet": parquet(u=[float("nan")])}, "events: no user: 1"),
}


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_bad_parquet(case: str, tmp_path: Path, engine: Engine) -> None:
    files, message = BAD_PARQUET[case]
    at = lay(tmp_path / "raw", BASIC.replace("csv", "parquet"), **files)
    with pytest.raises(DataError, match=message):
        table.read(at, tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()


def test_files_must_be_alike(tmp_path: Path, engine: Engine) -> None:
    text = BASIC.replace('"log.csv"', '["a.parquet", "b.parquet", "c.parquet", "d.parquet"]')
    at = lay(
        tmp_path / "raw",
        text,
        a_parquet=parquet(),
        b_parquet=parquet(u=["x"]),
        c_parquet=parquet().drop_columns(["k"]),
    )
    with pytest.raises(DataError) as fault:
        table.read(at, tmp_path / "out", engine=engine)
    assert len(fault.value.problems) == 3
    assert "b.parquet: column u holds string, but int64 in a.parquet" in fault.value.problems
    assert fault.value.where == str(at)


BAD_CATALOGUE = {
    "an item twice": (ITEMS + "6,,acme,,,\n", "more than once at the same time, among them 6"),
    "a column is missing": (ITEMS.replace("brand", "maker"), "no column 'brand'"),
    "absent": (None, r"items\.csv: not found"),
    "not UTF-8": (ITEMS.encode() + b"9,,\xff,1,1,\n", "not utf-8"),
}


@pytest.mark.parametrize("case", BAD_CATALOGUE)
def test_bad_catalogue(case: str, tmp_path: Path, engine: Engine) -> None:
    content, message = BAD_CATALOGUE[case]
    at = lay(
        tmp_path / "raw",
        BASIC + CATALOGUE,
        log_csv=LOG,
        **({} if content is None else {"items_csv": content}),
    )
    with pytest.raises(DataError, match=message):
        table.read(at, tmp_path / "made" / "out", engine=engine)
    assert not (tmp_path / "made").exists()


# --- wrong mappings: one ConfigError -------------------------------------------------------------

BAD_MAPPING = {
    "no TOML": ("[events", "not TOML"),
    "nothing": ("", r"events: missing"),
    "an unknown key": (
        BASIC.replace('item = "i"', 'itme = "i"'),
        r"events\.itme: unknown; known: .*files, format",
    ),
    "an unknown table": (BASIC + "[evnts]\nfiles = 'x'\n", "evnts: unknown.*mean events"),
    "no user": (BASIC.replace('user = "u"', ""), r"events\.user: missing"),
    "no time": (
        BASIC.replace('time = "t"', ""),
        r"events\.time: missing.*order where there are no times",
    ),
    "no kind": (BASIC.split("[events.kind]")[0], r"events\.kind: missing, expected a role"),
    "no files": (BASIC.replace('files = "log.csv"', ""), r"events\.files: missing"),
    "files are numbers": (BASIC.replace('"log.csv"', "[1]"), r"events\.files\[0\]: found 1"),
    "no file matches": (
        BASIC.replace("log.csv", "log-*.csv"),
        r"events\.files: no file matches 'log-\*\.csv'",
    ),
    "an unset variable": (
        BASIC.replace("log.csv", "$CLICKPRINT_NOT_SET/log.csv"),
        "the variable CLICKPRINT_NOT_SET in .* is not set",
    ),
    "a name that says no format": (
        BASIC.replace("log.csv", "log.dat"),
        r"events\.format: missing",
    ),
    "an unknown format": (
        BASIC.replace('"log.csv"', '"log.csv"\nformat = "xlsx"'),
        r"events\.format: found 'xlsx', expected one of csv, parquet",
    ),
    "a long delimiter": (
        BASIC.replace('"log.csv"', '"log.csv"\ndelimiter = "||"'),
        r"events\.delimiter: found '\|\|'",
    ),
    **{
        f"{name} is no encoding of texts": (
            BASIC.replace('"log.csv"', f'"log.csv"\nencoding = "{name}"'),
            f"events.encoding: found '{name}'",
        )
        for name in ("rot13", "hex", "zlib", "base64", "undefined")
    },
    **{
        f"{what} in a path": (
            BASIC.replace('"log.csv"', f'"{name}"'),
            r"events\.files: found",
        )
        for what, name in (("a null byte", r"a\u0000b"), ("too many letters", "x" * 400))
    },
    "a file named twice": (
        BASIC.replace('"log.csv"', '["log.csv", "../raw/log.csv"]'),
        r"events\.files: log\.csv is named twice",
    ),
    "one more kind than there may be": (
        BASIC.split("values")[0]
        + "values = { "
        + ", ".join(f"k{n} = 'view'" for n in range(1001))
        + " }\n",
        r"events\.kind\.values: found 1001",
    ),
    "attributes that differ in capitals": (
        BASIC + "[catalogue.attributes]\nBrand = 'category'\nbrand = 'category'\n",
        r"catalogue\.attributes\.brand: this name is taken",
    ),
    "an attribute in capitals": (
        BASIC + "[catalogue.attributes]\nTIME = 'category'\n",
        r"catalogue\.attributes\.TIME: this name is taken",
    ),
    "an unknown encoding": (
        BASIC.replace('"log.csv"', '"log.csv"\nencoding = "utf-9"'),
        r"events\.encoding: found 'utf-9'",
    ),
    "a delimiter for Parquet": (
        BASIC.replace('"log.csv"', '"log.parquet"\ndelimiter = ","'),
        r"events\.delimiter: a Parquet file has none",
    ),
    "a header twice": (
        BASIC.replace('"log.csv"', '"log.csv"\nheader = ["a", "a"]'),
        r"events\.header: ",
    ),
    "an unknown role": (
        BASIC.replace('"view"', '"stare"'),
        r"events\.kind\.values\.look: found 'stare', expected one of expose, click",
    ),
    "one name, two roles": (
        BASIC.replace('look = "view"', 'look = { name = "purchase", role = "view" }'),
        "one name has two roles",
    ),
    "no values": (BASIC.split("values")[0], r"events\.kind\.values: found 0"),
    "an unknown unit": (
        BASIC.replace('"t"', '{ column = "t", format = "hours" }'),
        r"events\.time\.format: found 'hours', expected one of iso, seconds",
    ),
    "an unknown zone": (
        BASIC.replace('"t"', '{ column = "t", zone = "Mars/Olympus" }'),
        r"events\.time\.zone: found 'Mars/Olympus'",
    ),
    "an unknown strptime letter": (
        BASIC.replace('"t"', '{ column = "t", format = "%Q" }'),
        r"events\.time\.format: found '%Q'",
    ),
    "a zone for seconds": (
        BASIC.replace('"t"', '{ column = "t", format = "seconds", zone = "UTC" }'),
        r"events\.time\.zone: .* leave it out",
    ),
    "an unknown rule for ids": (
        BASIC.replace('"u"', '{ column = "u", ids = "uuid" }'),
        r"events\.user\.ids: found 'uuid', expected one of auto, number, text",
    ),
    "an unknown kind of attribute": (
        BASIC + "[catalogue.attributes]\nc = 'colour'\n",
        r"catalogue\.attributes\.c: found 'colour', expected one of category",
    ),
    "a taken name": (
        BASIC + "[catalogue.attributes]\nuser = 'text'\n",
        r"catalogue\.attributes\.user: this name is taken",
    ),
    "a name that is a path": (
        BASIC + '[catalogue.attributes]\n"../x" = "category"\n',
        "this name is taken or no plain word",
    ),
    "known_from without files": (
        BASIC + "[catalogue]\nknown_from = 't'\nattributes = { c = 'text' }\n",
        r"catalogue\.known_from: only a catalogue with files",
    ),
    "an unknown kind of query": ("query = 'words'\n" + BASIC, "query: found 'words'"),
}


@pytest.mark.parametrize("case", BAD_MAPPING)
def test_bad_mappings(case: str, tmp_path: Path, engine: Engine) -> None:
    text, message = BAD_MAPPING[case]
    at = lay(tmp_path / "raw", text, log_csv=LOG)
    with pytest.raises(ConfigError, match=message) as fault:
        table.read(at, tmp_path / "made" / "out", engine=engine)
    assert str(at) in str(fault.value)
    assert not (tmp_path / "made").exists()


def test_all_faults_of_a_mapping_at_once(tmp_path: Path) -> None:
    text = (
        BASIC.replace('user = "u"', "")
        .replace('"view"', '"stare"')
        .replace('item = "i"', 'itme = "i"')
    )
    with pytest.raises(ConfigError, match="3 faults"):
        mapping.load(lay(tmp_path, text))
    with pytest.raises(ConfigError, match="no such file"):
        mapping.load(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="UTF-8"):
        mapping.load(tmp_path / "latin.toml")


# --- real logs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "counts", "kinds"),
    [
        (
            "uci-online-retail",
            "uci_online_retail_2y.parquet",
            (5_942, 4_646, 809_544),
            "buy cancel",
        ),
    ],
)
def test_real_logs(
    name: str,
    file: str,
    counts: tuple[int, int, int],
    kinds: str,
    tmp_path: Path,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not (DATA / file).is_file():
        pytest.skip(
            f"{file} is not here ({DATA}); set CLICKPRINT_DATA to the folder that holds it"
        )
    monkeypatch.setenv("CLICKPRINT_DATA", str(DATA))
    made = table.read(
        ROOT / "recipes" / "mappings" / f"{name}.toml", tmp_path / "out", engine=engine
    )
    assert (made.manifest.users, made.manifest.items, made.manifest.events) == counts
    assert made.manifest.rejected == {}
    assert " ".join(k.name for k in made.manifest.kinds) == kinds
    per_kind = engine.table(
        f"SELECT kind, COUNT(*) AS n FROM {engine.scan(made.event_files)} GROUP BY kind ORDER BY"
        " kind"
    ).column("n")
    source = pq.read_table(DATA / file)
    if "event" in source.column_names:
        said = source.column("event").to_pylist()
        assert per_kind.to_pylist() == [said.count(k) for k in kinds.split()]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "mappings").glob("*.toml")), ids=lambda p: p.stem
)
def test_every_mapping_that_we_ship_is_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKPRINT_DATA", "data")
    assert mapping.load(path).name == path.stem
