"""RecBole's atomic files: its own ml-100k where it is to be had, a round trip through our export,
every way in which files can be wrong.
"""

import zipfile
from pathlib import Path

import pytest
from malformed import Case, add, everywhere, first_line_again, judge, replace

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import text_id
from clickprint.core.items import AttributeType
from clickprint.core.time import SECOND
from clickprint.data.adapters import recbole, table
from clickprint.data.engine import Engine
from clickprint.data.export.recbole import export_recbole
from clickprint.data.log import EventLog

INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n186\t302\t3\t891717742\n"
    "22\t242\t1\t878887116.5\n196\t302\t5\t881250949\n"
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tscore:float\tvector:float_seq\n242\tToy"
    " Story\t1995\tAnimation Children's Comedy\t4.5\t0.1 0.2\n302\tFour Rooms\t1995\t\t\t\n"
)
SHOP = (
    "item_id:token\tuser_id:token\tevent:token\ttimestamp:float\tsession_id:token\tprice:float\n"
    "A17\tu1\tview\t1000\ts1\t\nA17\tu1\tpurchase\t1000\ts1\t9.5\nB2\tu2\tstare\t1001\t\t\n"
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return lay(
        tmp_path / "raw",
        **{
            "films.inter": INTER,
            "films.item": ITEM,
            "films.user": "user_id:token\tage:token\n196\t24\n",
        },
    )


def lay(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def rows(made: object, engine: Engine, columns: str = "*") -> list[tuple]:
    return [
        tuple(r.values())
        for r in engine.table(
            f"SELECT {columns} FROM {engine.scan(made.event_files)} ORDER BY ALL"
        ).to_pylist()
    ]


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Path:
    """The package's files, fetched once into pytest's cache."""
    try:
        return recbole.fetch(request.config.cache.mkdir("recbole") / "reader")
    except ConfigError as fault:
        pytest.skip(f"RecBole's ml-100k cannot be fetched here: {fault}")


def test_the_real_100k(real: Path, tmp_path: Path, engine: Engine) -> None:
    made = recbole.read(real, tmp_path / "out", engine=engine)
    m = made.manifest
    assert (m.name, m.users, m.items, m.events, m.rejected) == ("ml-100k", 943, 1_682, 100_000, {})
    assert len(made.catalogue.table) == 1_682
    lines = [line.split("\t") for line in (real / "ml-100k.inter").read_text().splitlines()[1:]]
    assert rows(made, engine, '"time", "user", item') == sorted(
        (int(t) * SECOND, int(u), int(i)) for u, i, _, t in lines
    )
    assert recbole.fetch(real) == real  # there already: nothing is done


def test_what_stands_in_the_files(small: Path, tmp_path: Path, engine: Engine) -> None:
    made = recbole.read(small, tmp_path / "out", engine=engine)
    assert rows(made, engine) == [
        (878_887_116_500_000, 22, 0, 242),
        (881_250_949 * SECOND, 196, 0, 242),
        (881_250_949 * SECOND, 196, 0, 302),
        (891_717_742 * SECOND, 186, 0, 302),
    ]
    assert made.manifest.kinds == (Kind("interaction", Role.BUY),)
    assert made.manifest.attributes == {
        "movie_title": AttributeType.TEXT,
        "release_year": AttributeType.CATEGORY,
        "class": AttributeType.CATEGORY,
        "score": AttributeType.NUMBER,
    }
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (242, None, "Toy Story", 1995, text_id("Animation Children's Comedy"), 4.5),
        (302, None, "Four Rooms", 1995, None, None),
    ]


def test_kinds_sessions_prices_and_texts_for_ids(tmp_path: Path, engine: Engine) -> None:
    made = recbole.read(
        lay(tmp_path / "raw", **{"shop.inter": SHOP}), tmp_path / "out", engine=engine
    )
    assert made.manifest.kinds == (
        Kind("view", Role.VIEW),
        Kind("purchase", Role.BUY),
        Kind("stare", Role.OTHER),
    )
    a, b, u1, u2, s1 = map(text_id, ("A17", "B2", "u1", "u2", "s1"))
    assert rows(made, engine) == sorted(
        [
            (1_000 * SECOND, u1, 0, a, s1, None),
            (1_000 * SECOND, u1, 1, a, s1, 9.5),
            (1_001 * SECOND, u2, 2, b, None, None),
        ]
    )


def test_options(small: Path, tmp_path: Path, engine: Engine) -> None:
    text = INTER.replace("user_id", "who").replace("item_id", "what").replace("timestamp", "when")
    raw = lay(tmp_path / "other", **{"x.inter": text})
    made = recbole.read(
        raw,
        tmp_path / "a",
        user="who",
        item="what",
        time="when",
        unit="milliseconds",
        role="view",
        engine=engine,
    )
    assert made.manifest.kinds == (Kind("interaction", Role.VIEW),)
    assert rows(made, engine)[1][0] == 881_250_949_000
    for option, message in (
        ({"unit": "days"}, "unit: found 'days'"),
        ({"role": "like it"}, "role: found"),
        ({"parts": ["dev"]}, "parts: found"),
    ):
        with pytest.raises(ConfigError, match=message):
            recbole.read(raw, tmp_path / "b", engine=engine, **option)
    with pytest.raises(DataError) as fault:
        recbole.read(raw, tmp_path / "c", engine=engine)
    assert len(fault.value.problems) == 2


def test_without_times_the_order_of_rows_counts(tmp_path: Path, engine: Engine) -> None:
    text = "user_id:token\titem_id:token\n7\t30\n8\t30\n7\t10\n7\t20\n"
    made = recbole.read(
        lay(tmp_path / "raw", **{"x.inter": text}), tmp_path / "out", engine=engine
    )
    assert made.manifest.time == "order"
    assert rows(made, engine) == [(0, 7, 0, 30), (0, 8, 0, 30), (1, 7, 0, 10), (2, 7, 0, 20)]


def test_parts_of_a_split_a_zip_and_a_file(small: Path, tmp_path: Path, engine: Engine) -> None:
    whole = recbole.read(small, tmp_path / "whole", engine=engine).manifest
    head, *lines = INTER.splitlines(keepends=True)
    split = lay(
        tmp_path / "split",
        **{
            "films.item": ITEM,
            "films.train.inter": head + "".join(lines[:2]),
            "films.valid.inter": head + lines[2],
            "films.test.inter": head + lines[3],
        },
    )
    assert (
        recbole.read(split, tmp_path / "a", engine=engine).manifest.fingerprint
        == whole.fingerprint
    )
    assert (
        recbole.read(
            split, tmp_path / "b", parts=["train", "valid"], engine=engine
        ).manifest.events
        == 3
    )
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as packed:
        for path in small.iterdir():
            packed.write(path, f"films/{path.name}")
    assert (
        recbole.read(tmp_path / "films.zip", tmp_path / "c", engine=engine).manifest.fingerprint
        == whole.fingerprint
    )
    assert (
        recbole.read(small / "films.inter", tmp_path / "d", engine=engine).manifest.fingerprint
        == whole.fingerprint
    )
    (split / "films.valid.inter").unlink()
    with pytest.raises(DataError, match=r"films\.valid\.inter: not found.*\bparts$"):
        recbole.read(split, tmp_path / "e", engine=engine)
    (split / "films.train.inter").write_text(INTER.replace("rating", "stars"))
    with pytest.raises(
        DataError, match=r"films\.test\.inter: .*rating.*stars.*films\.train\.inter"
    ):
        recbole.read(split, tmp_path / "e", parts=["train", "test"], engine=engine)


@pytest.mark.parametrize("split", ["none", "leave-one-out"])
def test_what_we_export_comes_back(split: str, tmp_path: Path, engine: Engine) -> None:
    """Ids that are numbers, ids that are texts, fractions of a second, kinds, sessions, prices,
    categories, texts.
    """
    (tmp_path / "shop.csv").write_text(
        "u,i,t,k,s,p\nann,7,2024-01-02T10:00:00,view,A,\nann,7,2024-01-02T10:00:00.25,buy,A,9.5\nbob,8,2024-01-01,cart,B,1\n"
        "ann,8,2024-01-03,buy,C,2\nann,9,2024-01-04,view,D,\n"
    )
    (tmp_path / "items.csv").write_text(
        "i,brand,title,weight\n7,Acme,Anvil big,1.5\n8,Bolt,Bolts,\n9,,,2\n"
    )
    (tmp_path / "shop.toml").write_text(
        '[events]\nfiles = "shop.csv"\nuser = "u"\nitem = "i"\ntime = "t"\nsession = "s"\nprice ='
        ' "p"\n[events.kind]\ncolumn = "k"\nvalues = { view = "view", cart = "cart", buy = "buy"'
        ' }\n[catalogue]\nfiles = "items.csv"\nitem = "i"\nattributes = { brand = "category",'
        ' title = "text", weight = "number" }\n'
    )
    made = table.read(tmp_path / "shop.toml", tmp_path / "made", engine=engine)
    export_recbole(EventLog.open(made, engine), tmp_path / "out", "shop", split=split)
    back = recbole.read(tmp_path / "out", tmp_path / "back", engine=engine)
    assert back.manifest.fingerprint == made.manifest.fingerprint
    assert back.manifest.rejected == {}


NO_USER, NO_ITEM, NO_TIME, COLUMNS = (
    "inter: no user",
    "inter: no item",
    "inter: no readable time",
    "inter: too many or too few columns",
)
CASES: dict[str, Case] = {
    "missing": (lambda raw: None, r"holds films\.item, films\.user; expected NAME\.inter"),
    "empty": (lambda raw: b"", r"films\.inter: the file is empty"),
    "a header alone": (lambda raw: raw.splitlines(keepends=True)[0], "no event could be read"),
    "another delimiter": (
        everywhere("\t", ","),
        r"films\.inter: the header has 'user_id:token,item_id:token.*by tabs",
    ),
    "no header": (
        lambda raw: raw.partition(b"\n")[2],
        "the header has '196', '242', '3', '881250949'",
    ),
    "no types": (everywhere(":token", ""), "the header has 'user_id', 'item_id'"),
    "unknown types": (replace("rating:float", "rating:double"), "the header has 'rating:double'"),
    "a missing column": (
        replace("user_id:token", "person:token"),
        r"no field 'user_id:token'; found person:token",
    ),
    "a field twice": (replace("rating:float", "user_id:token"), "2 columns 'user_id:token'"),
    "another type": (replace("item_id:token", "item_id:float"), "no field 'item_id:token'"),
    "null bytes": (lambda raw: b"\x00" * 300, r"films\.inter: not a whole CSV file"),
    "broken encoding": (replace("186\t302", b"18\xff\t302"), "not utf-8"),
    "no usable row": (
        everywhere("8", "x"),
        r"(?s)no event could be read.*4 rows rejected: inter: no readable time",
    ),
    "a duplicated header": (first_line_again, {NO_TIME: 1}),
    "truncated": (lambda raw: raw + b"196\t242\t3", {COLUMNS: 1}),
    "too many columns": (add("1\t2\t3\t4\t5"), {COLUMNS: 1}),
    "nobody and nothing": (
        add("\t242\t3\t881250949\n196\t\t3\t881250949"),
        {NO_USER: 1, NO_ITEM: 1},
    ),
    "times out of range": (
        add("1\t2\t3\t1e300\n1\t2\t3\t-9e12\n1\t2\t3\tnan\n1\t2\t3\t\n1\t2\t3\tsoon"),
        {NO_TIME: 5},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_broken_interactions(case: str, small: Path, engine: Engine) -> None:
    judge(recbole.read, small, small / "films.inter", CASES[case], 4, engine)


ITEM_CASES: dict[str, Case] = {
    "empty": (lambda raw: b"", r"films\.item: the file is empty"),
    "another delimiter": (everywhere("\t", ";"), r"films\.item: the header has"),
    "no items": (
        replace("item_id:token", "id:token"),
        r"films\.item: no field 'item_id:token'; found id:token",
    ),
    "names that differ in capitals": (
        replace("release_year:token", "Movie_Title:token"),
        "movie_title, Movie_Title",
    ),
    "a name that is taken": (replace("release_year:token", "ITEM:token"), "ITEM"),
    "an item twice": (add("302\tFour Rooms II\t1995\t\t\t"), "more than once"),
    "not there": (lambda raw: None, {}),
    "no item": (
        add("\tNothing\t1995\t\t\t"),
        {"catalogue: no item, or no whole number within int64": 1},
    ),
    "a number that is none": (
        add("5\tX\t1995\tDrama\tmany\t"),
        {"catalogue: score is no number": 1},
    ),
    "truncated": (add("5\tX"), {"catalogue: too many or too few columns": 1}),
}


@pytest.mark.parametrize("case", ITEM_CASES)
def test_broken_items(case: str, small: Path, engine: Engine) -> None:
    judge(recbole.read, small, small / "films.item", ITEM_CASES[case], 4, engine)


def test_what_is_no_single_log(small: Path, tmp_path: Path, engine: Engine) -> None:
    (small / "books.inter").write_text(INTER)
    with pytest.raises(DataError, match=r" books\.inter, films\.inter.*\bNAME\.inter"):
        recbole.read(small, tmp_path / "out", engine=engine)
    with pytest.raises(DataError, match="not found; expected a folder"):
        recbole.read(tmp_path / "nowhere", tmp_path / "out", engine=engine)
    many = "user_id:token\titem_id:token\tevent:token\n" + "".join(
        f"1\t2\tk{n}\n" for n in range(recbole.MOST + 1)
    )
    with pytest.raises(DataError, match=r"event:token.* 100 values"):
        recbole.read(lay(tmp_path / "many", **{"x.inter": many}), tmp_path / "out", engine=engine)
