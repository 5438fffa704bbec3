"""MovieLens: the real 100k where it is to be had, the three public forms, and every way in which
they can be wrong.
"""

import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from malformed import Case, add, everywhere, judge, replace

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import text_id
from clickprint.data.adapters import movielens, package
from clickprint.data.engine import Engine

ATOMIC = (  # holds ml-100k with a header of its own; without it the rows are those of u.data
    "recbole==1.2.1"
)
DATA = (
    "196\t242\t3\t881250949\n"
    "186\t302\t3\t891717742\n22\t377\t1\t878887116\n196\t302\t5\t881250949\n"
)
FLAGS = "|".join(
    "1" if g in ("Animation", "Children's", "Comedy") else "0" for g in movielens.GENRES
)
NONE = "|".join("0" for _ in movielens.GENRES)
ITEMS = (
    f"242|Kolya (1996)|24-Jan-1997||http://us.imdb.com/M/title-exact?Kolya|{FLAGS}\n302|Café"
    f' "Müller"||||{NONE}\n'.encode("latin-1")
)
RATINGS = "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n"
MOVIES = (
    "1193::Misérables, Les: Part One (1995)::Drama|Musical\n661::James and the Giant Peach"
    " (1996)::Animation\n".encode("latin-1")
)
CSV = (
    "userId,movieId,rating,timestamp\n"
    "1,296,5.0,1147880044\n1,306,3.5,1147868817\n2,296,0.5,1141415820\n"
)
FILMS = (
    'movieId,title,genres\n296,"Fiction, Pulp (1994)",Comedy|Crime\n306,Three Colors,(no genres'
    " listed)\n"
)


def lay(folder: Path, **files: str | bytes) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """ml-100k, as published."""
    return lay(tmp_path / "ml-100k", u_data=DATA, u_item=ITEMS)


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """u.data, from a package that has its rows, fetched once into pytest's cache."""
    try:
        cached = request.config.cache.mkdir("ml-100k") / ATOMIC
        folder = package.fetch(
            ATOMIC, {"recbole/dataset_example/ml-100k/ml-100k.inter": "ml-100k.inter"}, cached
        )
    except ConfigError as fault:
        pytest.skip(f"MovieLens 100k cannot be fetched here: {fault}")
    target = tmp_path_factory.mktemp("ml") / "u.data"
    target.write_text((folder / "ml-100k.inter").read_text().partition("\n")[2])
    return target


def test_the_real_100k(real: Path, tmp_path: Path, engine: Engine) -> None:
    made = movielens.read(real, tmp_path / "out", engine=engine)
    m = made.manifest
    assert (m.users, m.items, m.events, m.rejected) == (943, 1_682, 100_000, {})
    per_kind = engine.table(
        f"SELECT kind, COUNT(*) AS n FROM {engine.scan(made.event_files)} GROUP BY kind ORDER BY"
        " kind"
    )
    assert per_kind.column("n").to_pylist() == [
        6_110,
        11_370,
        27_145,
        34_174,
        21_201,
    ]  # u.data's known counts of 1 to 5


def test_100k(small: Path, tmp_path: Path, engine: Engine) -> None:
    made = movielens.read(small, tmp_path / "out", engine=engine)
    rows = [
        tuple(row.values()) for file in made.event_files for row in pq.read_table(file).to_pylist()
    ]
    assert rows == [
        (878887116_000_000, 22, 0, 377),
        (881250949_000_000, 196, 2, 242),
        (881250949_000_000, 196, 4, 302),
        (891717742_000_000, 186, 2, 302),
    ]
    like, view = Role.LIKE, Role.VIEW
    assert [(k.name, k.role) for k in made.manifest.kinds] == [
        (f"rated {n}", like if n >= 4 else view) for n in range(1, 6)
    ]
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (242, None, "Kolya (1996)", 1996.0, text_id("Animation|Children's|Comedy")),
        (302, None, 'Café "Müller"', None, None),
    ]
    assert pq.read_table(made.folder / "ids" / "genres.parquet").column("text").to_pylist() == [
        "Animation|Children's|Comedy"
    ]


def test_1m_and_10m(tmp_path: Path, engine: Engine) -> None:
    one = movielens.read(
        lay(tmp_path / "ml-1m", ratings_dat=RATINGS, movies_dat=MOVIES, users_dat=""),
        tmp_path / "1",
        engine=engine,
    )
    assert (one.manifest.events, len(one.manifest.kinds), one.manifest.rejected) == (3, 5, {})
    assert one.catalogue.table.column("title").to_pylist() == [
        "James and the Giant Peach (1996)",
        "Misérables, Les: Part One (1995)",
    ]
    utf8 = MOVIES.decode("latin-1")
    halves = RATINGS.replace("::5::", "::4.5::")
    ten = movielens.read(
        lay(tmp_path / "ml-10M100K", ratings_dat=halves, movies_dat=utf8),
        tmp_path / "10",
        engine=engine,
    )
    assert (ten.manifest.events, [k.name for k in ten.manifest.kinds][-3:]) == (
        3,
        ["rated 4", "rated 4.5", "rated 5"],
    )
    assert ten.catalogue.table.equals(one.catalogue.table)


def test_20m(tmp_path: Path, engine: Engine) -> None:
    folder = lay(tmp_path / "ml-25m", ratings_csv=CSV, movies_csv=FILMS)
    made = movielens.read(folder, tmp_path / "out", engine=engine)
    kinds = (
        pq.read_table(made.event_files[0]).to_pylist()
        + pq.read_table(made.event_files[-1]).to_pylist()
    )
    assert [made.manifest.kinds[r["kind"]].name for r in kinds[:3]] == [
        "rated 0.5",
        "rated 3.5",
        "rated 5",
    ]
    assert [(r["item"], r["title"], r["year"]) for r in made.catalogue.table.to_pylist()] == [
        (296, "Fiction, Pulp (1994)", 1994.0),
        (306, "Three Colors", None),
    ]
    assert made.catalogue.table.column("genres").to_pylist() == [text_id("Comedy|Crime"), None]
    # A zip as GroupLens packs it, and the ratings without the films.
    with zipfile.ZipFile(tmp_path / "ml-25m.zip", "w") as packed:
        for name in ("ratings.csv", "movies.csv"):
            packed.write(folder / name, f"ml-25m/{name}")
    packed_too = movielens.read(tmp_path / "ml-25m.zip", tmp_path / "zip", engine=engine)
    assert packed_too.manifest.fingerprint == made.manifest.fingerprint
    (folder / "movies.csv").unlink()
    bare = movielens.read(folder / "ratings.csv", tmp_path / "bare", engine=engine)
    assert (bare.manifest.attributes, bare.manifest.events) == ({}, 3)


USER, ITEM = (
    "events: no user, or no whole number within int64",
    "events: no film, or no whole number within int64",
)
LINES, SCALE = "events: too many or too few columns", "events: no rating of this edition's scale"
CASES: dict[str, Case] = {
    "missing": (lambda raw: None, r"holds u\.item; expected u\.data or ratings\.dat"),
    "empty": (lambda raw: b"", "the file is empty"),
    "cut": (lambda raw: raw[:-12], {LINES: 1}),
    "another delimiter": (everywhere("\t", " "), f"4 rows rejected: {LINES}"),
    "a header": (lambda raw: b"user\titem\trating\ttimestamp\n" + raw, {USER: 1}),
    "a column more": (add("1\t2\t3\t881250949\tx"), {LINES: 1}),
    "a text for a user": (add("u1\t2\t3\t881250949"), {USER: 1}),
    "no user": (add("\t2\t3\t881250949"), {USER: 1}),
    "a film beyond int64": (add("1\t9223372036854775808\t3\t881250949"), {ITEM: 1}),
    "no film": (add("1\t\t3\t881250949"), {ITEM: 1}),
    "half a star": (add("1\t2\t3.5\t881250949"), {SCALE: 1}),
    "six stars": (add("1\t2\t6\t881250949"), {SCALE: 1}),
    "no rating": (add("1\t2\t\t881250949"), {SCALE: 1}),
    "milliseconds": (add("1\t2\t3\t881250949000"), {"events: no readable time": 1}),
    "a date": (add("1\t2\t3\t1997-12-04"), {"events: no readable time": 1}),
    "null bytes": (add("1\0\t2\t3\t881250949"), {USER: 1}),
    "not UTF-8": (replace("196", b"\xe9"), "not utf-8"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_ratings(case: str, small: Path, engine: Engine) -> None:
    judge(movielens.read, small, small / "u.data", CASES[case], 3 if case == "cut" else 4, engine)


BAD_FILM, TWICE = "catalogue: no film in the line", "catalogue: a film that was named before"
DAT: dict[str, Case] = {
    "ratings: one colon": (everywhere("::", ":"), f"3 rows rejected: {LINES}"),
    "ratings: cut": (lambda raw: raw[:-14], {LINES: 1}),
    "ratings: tabs": (everywhere("::", "\t"), f"3 rows rejected: {LINES}"),
    "movies: no number": (add("M1::Title::Drama"), {BAD_FILM: 1}),
    "movies: one colon": (add("5:Title:Drama"), {BAD_FILM: 1}),
    "movies: no title": (add("5::::Drama"), {BAD_FILM: 1}),
    "movies: an item beyond int64": (add("9223372036854775808::Title::Drama"), {BAD_FILM: 1}),
    "movies: twice": (add("661::Another (1996)::Drama"), {TWICE: 1}),
    "movies: null bytes": (add("5\0::Title::Drama"), {BAD_FILM: 1}),
}


@pytest.mark.parametrize("case", DAT)
def test_bad_dat_files(case: str, tmp_path: Path, engine: Engine) -> None:
    folder = lay(tmp_path / "ml-1m", ratings_dat=RATINGS, movies_dat=MOVIES, users_dat="")
    judge(
        movielens.read,
        folder,
        folder / f"{case.split(':')[0]}.dat",
        DAT[case],
        2 if case.endswith("cut") else 3,
        engine,
    )


TABLES: dict[str, Case] = {
    "ratings: a column is missing": (replace("movieId", "film"), "no column 'movieId'"),
    "ratings: a column twice": (replace("movieId", "userId"), "2 columns 'userId'"),
    "ratings: the header again": (lambda raw: raw + raw.splitlines(keepends=True)[0], {USER: 1}),
    "ratings: thirds of a star": (add("1,2,3.33,1147880044"), {SCALE: 1}),
    "movies: not UTF-8": (replace("Three", b"Thr\xe9\xe9"), r"movies\.csv: cannot be read"),
    "movies: a column more": (add("5,Title,Drama,x"), {BAD_FILM: 1}),
    "movies: empty": (lambda raw: b"", r"movies\.csv: the file is empty"),
}


@pytest.mark.parametrize("case", TABLES)
def test_bad_csv_files(case: str, tmp_path: Path, engine: Engine) -> None:
    folder = lay(tmp_path / "ml-25m", ratings_csv=CSV, movies_csv=FILMS)
    judge(movielens.read, folder, folder / f"{case.split(':')[0]}.csv", TABLES[case], 3, engine)


def test_no_folder(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError, match="not found"):
        movielens.read(tmp_path / "absent", tmp_path / "made" / "out", engine=engine)
