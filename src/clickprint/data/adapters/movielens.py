"""MovieLens: ratings of films, in the three forms in which GroupLens publishes them."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import text_ids
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import flat
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import given_sql, id_sql, moment_sql
from clickprint.data.adapters.mapping import Clock, Files
from clickprint.data.adapters.zipped import found, opened
from clickprint.data.check import no_id, no_time
from clickprint.data.engine import Engine

LIKED = 4.0  # the least rating that counts as liking
# The flags of u.item, in its order.
FLAGS = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy"
    "|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)
GENRES = tuple(FLAGS.split("|"))
ATTRIBUTES = {
    "title": AttributeType.TEXT,
    "year": AttributeType.NUMBER,
    "genres": AttributeType.CATEGORY,
}
CARD = Card(
    title="MovieLens 100k, 1M, 10M, 20M, 25M, 32M: ratings of films (GroupLens)",
    files={
        "u.data, u.item": (
            "100k: user, item, rating, seconds, by tabs; item|title|…|19 flags of genres, latin-1"
        ),
        "ratings.dat, movies.dat": (
            "1M (latin-1), 10M (UTF-8): user::item::rating::seconds; item::title::genre|genre"
        ),
        "ratings.csv, movies.csv": (
            "20M, 25M, 32M: userId,movieId,rating,timestamp; movieId,title,genres"
        ),
    },
    licence="GroupLens: research; not to be passed on or sold without permission",
    where="https://grouplens.org/datasets/movielens/",
    dropped="""
        - rows without a user, a film or a readable time; ids that are no whole numbers within
          int64
        - ratings other than 1 to 5 (10M and the CSVs: 0.5 to 5 in halves)
        - lines with too many or too few columns; lines of the films' file without a whole number
          and a title, or of a film named before
    """,
    notes="""
        - each rating is a kind of its own, `rated 1` to `rated 5`, so that none is lost; its role
          is like from 4 on, view below: who rated a film low has seen it, but did not like it
        - ties in time are common: many films are rated within one second, and their order is not
          known
        - films have no time at which they became known, so their attributes are always known; the
          release year is in the title
        - the film's file may be missing: then nothing is known of the films. Users' ages and jobs,
          tags and links are left out
        - a rating tells when somebody said something on the site, not when the film was watched
    """,
)


def read(path: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The folder (or zip) of one edition, or its file of ratings, in the canonical form at `out`.

    `genres` is one category: all of a film's genres joined by |. Raises DataError with every fault
    of the files.
    """
    path, out = Path(path), Path(out)
    with opened(path, out) as (place, room):
        ratings = found(place, ("u.data", "ratings.dat", "ratings.csv", "ratings.csv.gz"), path)[0]
        halves = ratings.name != "u.data" and not (ratings.parent / "users.dat").exists()
        delimiter, header = ",", tuple[str, ...]()
        user, item, ts = "user", "item", "ts"
        if ratings.name == "u.data":
            delimiter, header = "\t", (user, item, "rating", ts)
        elif ratings.suffix == ".dat":  # `::` is two delimiters with nothing between
            delimiter, header = ":", (user, "1", item, "2", "rating", "3", ts)
        else:
            user, item, ts = "userId", "movieId", "timestamp"
        files = Files(paths=(ratings,), format="csv", delimiter=delimiter, header=header)
        rows = flat.staged(engine, files, [user, item, "rating", ts], room, path)
        kinds, codes = _kinds(halves)
        films, bad = _films(ratings.parent, path)
        catalogue, maps = None, {}
        if films is not None:
            catalogue = films.drop_columns(["text"])
            genres = films.select(["genres", "text"]).rename_columns(["id", "text"])
            maps = {"genres": genres.drop_null()}
        return flat.write(
            out,
            engine=engine,
            reader="movielens",
            kinds=kinds,
            source=rows,
            picks={
                "user": id_sql(rows, user),
                "item": id_sql(rows, item),
                "time": moment_sql(rows, Clock(ts, "seconds")),
                "kind": flat.kind_sql(given_sql(rows, "rating"), codes),
            },
            reasons=[
                no_id('"user"', "user, or no whole number within int64"),
                no_id("item", "film, or no whole number within int64"),
                no_time('"time"'),
                ("kind IS NULL", "no rating of this edition's scale"),
            ],
            attributes=ATTRIBUTES if films is not None else {},
            catalogue=catalogue,
            maps=maps,
            rejected=bad,
            where=path,
            progress=progress,
        )


def _kinds(halves: bool) -> tuple[list[Kind], dict[str, int]]:
    """The kinds in funnel order, and the code of each spelling of a rating (4, 4.0)."""
    scale = [n / 2 for n in range(1, 11)] if halves else [1.0, 2.0, 3.0, 4.0, 5.0]
    kinds = [Kind(f"rated {n:g}", Role.LIKE if n >= LIKED else Role.VIEW) for n in scale]
    return kinds, {text: code for code, n in enumerate(scale) for text in {f"{n:g}", f"{n:.1f}"}}


def _films(folder: Path, where: Path) -> tuple[pa.Table | None, dict[str, int]]:
    """The films' file beside the ratings, and its lines that cannot be used, counted.

    The table has item, title, year, genres (an id) and their text; it is None where there is no
    file. A file of films is small (90,000 lines): it is read line by line, as none of its forms is
    a CSV that a library reads (`::`, flags). Raises DataError where it cannot be read.
    """
    names = ("u.item", "movies.dat", "movies.csv")
    path = next((p for p in map(folder.joinpath, names) if p.is_file()), None)
    if path is None:
        return None, {}
    if not path.stat().st_size:
        raise DataError(where, f"{path.name}: the file is empty")
    films: dict[int, tuple[str, str | None]] = {}
    bad = twice = 0
    try:
        for item, title, genre in _lines(path):
            if not (item.isascii() and item.isdigit() and len(item) < 19 and title):
                bad += 1
            elif int(item) in films:
                twice += 1
            else:
                films[int(item)] = title, genre or None
    except (OSError, csv.Error, UnicodeDecodeError) as fault:
        raise DataError(where, f"{path.name}: cannot be read ({fault})") from None
    titles, genres = [t for t, _ in films.values()], [g for _, g in films.values()]
    years = [re.search(r"[(](\d{4})[)]\s*$", t) for t in titles]
    known = sorted({g for g in genres if g})
    ids = dict(zip(known, text_ids(known).tolist(), strict=True))
    table = pa.table(
        {
            "item": pa.array(list(films), pa.int64()),
            "title": pa.array(titles, pa.string()),
            "year": pa.array([float(y[1]) if y else None for y in years], pa.float64()),
            "genres": pa.array([ids[g] if g else None for g in genres], pa.int64()),
            "text": pa.array(genres, pa.string()),
        }
    )
    return table, {
        "catalogue: no film in the line": bad,
        "catalogue: a film that was named before": twice,
    }


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each line's item, title and genres; three empty texts for a line of another form."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            next(lines, None)
            for row in lines:
                item, title, genres = row if len(row) == 3 else ("", "", "")
                yield item, title, "" if genres == "(no genres listed)" else genres
        return
    with path.open("rb") as raw:
        for line in raw:
            if path.suffix == ".dat":
                item, _, rest = _decoded(line).rstrip("\r\n").partition("::")
                title, _, genres = rest.rpartition("::")
                yield item, title, genres
            else:
                yield _flagged(line.decode("latin-1").rstrip("\r\n").split("|"))


def _flagged(cells: list[str]) -> tuple[str, str, str]:
    """A line of u.item, whose last cells say which genres a film has."""
    flags = cells[5:]
    if len(flags) != len(GENRES) or not set(flags) <= {"0", "1"}:
        return "", "", ""
    genres = "|".join(g for g, flag in zip(GENRES, flags, strict=True) if flag == "1")
    return cells[0], cells[1], genres


def _decoded(line: bytes) -> str:
    """10M's films are UTF-8; 1M's are latin-1, in which an accented title is not valid UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
