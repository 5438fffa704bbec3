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
from clickprint.data.adapters.staging import workplace
from clickprint.data.adapters.zipped import found, unpacked
from clickprint.data.check import blaming, no_id, no_time
from clickprint.data.engine import Engine

LIKED = 4.0  # the least rating that counts as liking
# The flags of u.item, in its order.
GENRES = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
        "Film-Noir",
    ),
    *("Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
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
    dropped=(
        (
            "rows without a user, a film or a readable time; ids that are no whole numbers within"
            " int64"
        ),
        "ratings other than 1 to 5 (10M and the CSVs: 0.5 to 5 in halves)",
        (
            "lines with too many or too few columns; lines of the films' file without a whole"
            " number and a title, or of a film named before"
        ),
    ),
    notes=(
        (
            "each rating is a kind of its own, `rated 1` to `rated 5`, so that none is lost; its"
            " role is like from 4 on, view below: who rated a film low has seen it, but did not"
            " like it"
        ),
        (
            "ties in time are common: many films are rated within one second, and their order is"
            " not known"
        ),
        (
            "films have no time at which they became known, so their attributes are always known;"
            " the release year is in the title"
        ),
        (
            "the film's file may be missing: then nothing is known of the films. Users' ages and"
            " jobs, tags and links are left out"
        ),
        "a rating tells when somebody said something on the site, not when the film was watched",
    ),
)


def read(path: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The folder (or zip) of one edition, or its file of ratings, in the canonical form at `out`.

    `genres` is one category, all of a film's genres joined by |. Raises DataError with every fault
    of the files.
    """
    path, out = Path(path), Path(out)
    with unpacked(path, out) as place, workplace(out) as room, blaming(path):
        ratings = found(place, ("u.data", "ratings.dat", "ratings.csv", "ratings.csv.gz"), path)[0]
        halves = ratings.name != "u.data" and not (ratings.parent / "users.dat").exists()
        if ratings.name == "u.data":
            files = Files(
                paths=(ratings,),
                format="csv",
                delimiter="\t",
                header=("user", "item", "rating", "ts"),
            )
        elif ratings.suffix == ".dat":  # `::` is two delimiters with nothing between
            files = Files(
                paths=(ratings,),
                format="csv",
                delimiter=":",
                header=("user", "1", "item", "2", "rating", "3", "ts"),
            )
        else:
            files = Files(paths=(ratings,), format="csv")
        user, item, ts = (
            ("userId", "movieId", "timestamp") if not files.header else ("user", "item", "ts")
        )
        rows = flat.staged(engine, files, [user, item, "rating", ts], room, path)
        kinds, places = _kinds(halves)
        films, bad = _films(ratings.parent, path)
        return flat.write(
            out,
            engine=engine,
            reader="movielens",
            kinds=kinds,
            source=rows,
            picks={
                "user": id_sql(rows, user, False),
                "item": id_sql(rows, item, False),
                "time": moment_sql(rows, Clock(ts, "seconds")),
                "kind": flat.kind_sql(given_sql(rows, "rating"), places),
            },
            reasons=[
                no_id('"user"', "user, or no whole number within int64"),
                no_id("item", "film, or no whole number within int64"),
                no_time('"time"'),
                ("kind IS NULL", "no rating of this edition's scale"),
            ],
            texts={},
            attributes=ATTRIBUTES if films is not None else {},
            catalogue=films.drop_columns(["text"]) if films is not None else None,
            maps=(
                {
                    "genres": (
                        films.select(["genres", "text"]).rename_columns(["id", "text"]).drop_null()
                    )
                }
                if films is not None
                else {}
            ),
            rejected=bad,
            where=path,
            progress=progress,
        )


def _kinds(halves: bool) -> tuple[list[Kind], dict[str, int]]:
    """The kinds in funnel order, and the place of each spelling of a rating (4, 4.0)."""
    scale = [n / 2 for n in range(1, 11)] if halves else [1.0, 2.0, 3.0, 4.0, 5.0]
    kinds = [Kind(f"rated {n:g}", Role.LIKE if n >= LIKED else Role.VIEW) for n in scale]
    return kinds, {text: place for place, n in enumerate(scale) for text in {f"{n:g}", f"{n:.1f}"}}


def _films(folder: Path, where: Path) -> tuple[pa.Table | None, dict[str, int]]:
    """The films' file beside the ratings: item, title, year, genres (an id) and their text; and
    its lines that cannot be used, counted.

    None where there is no such file. A file of films is small (90,000 lines): it is read line by
    line, as none of its forms is a CSV that a library reads (`::`, flags). Raises DataError where
    it cannot be read.
    """
    path = next(
        (
            p
            for p in (folder / name for name in ("u.item", "movies.dat", "movies.csv"))
            if p.is_file()
        ),
        None,
    )
    if path is None:
        return None, {}
    if not path.stat().st_size:
        raise DataError(where, f"{path.name}: the file is empty")
    films: dict[int, tuple[str, str]] = {}
    bad = twice = 0
    try:
        for item, title, genres in _lines(path):
            if not (item.isascii() and item.isdigit() and len(item) < 19 and title):
                bad += 1
            elif int(item) in films:
                twice += 1
            else:
                films[int(item)] = (title, genres)
    except (OSError, csv.Error, UnicodeDecodeError) as fault:
        raise DataError(where, f"{path.name}: cannot be read ({fault})") from None
    titles, genres_ = [t for t, _ in films.values()], [g or None for _, g in films.values()]
    years = [re.search(r"[(](\d{4})[)]\s*$", t) for t in titles]
    ids = dict(
        zip(
            sorted({g for g in genres_ if g}),
            text_ids(sorted({g for g in genres_ if g})).tolist(),
            strict=True,
        )
    )
    table = pa.table(
        {
            "item": pa.array(list(films), pa.int64()),
            "title": pa.array(titles, pa.string()),
            "year": pa.array([float(y[1]) if y else None for y in years], pa.float64()),
            "genres": pa.array([ids[g] if g else None for g in genres_], pa.int64()),
            "text": pa.array(genres_, pa.string()),
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
                yield (
                    (row[0], row[1], "" if row[2] == "(no genres listed)" else row[2])
                    if len(row) == 3
                    else ("", "", "")
                )
        return
    with path.open("rb") as raw:
        for line in raw:
            text = _decoded(line) if path.suffix == ".dat" else line.decode("latin-1")
            text = text.rstrip("\r\n")
            if path.suffix == ".dat":
                item, _, rest = text.partition("::")
                title, _, genres = rest.rpartition("::")
                yield item, title, genres
            else:
                cells = text.split("|")
                flags = cells[5:]
                good = len(flags) == len(GENRES) and set(flags) <= {"0", "1"}
                yield (
                    (
                        cells[0],
                        cells[1],
                        "|".join(g for g, f in zip(GENRES, flags, strict=True) if f == "1"),
                    )
                    if good
                    else ("", "", "")
                )


def _decoded(line: bytes) -> str:
    """10M's films are UTF-8, 1M's latin-1, which an accented title is not valid UTF-8 in."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
