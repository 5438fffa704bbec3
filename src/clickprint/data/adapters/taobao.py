"""Taobao's UserBehavior: nine days of a million users' views, baskets, likes and purchases
(Tianchi).
"""

from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Window, parse
from clickprint.data.adapters import flat
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import given_sql, id_sql, moment_sql
from clickprint.data.adapters.mapping import Clock, Files
from clickprint.data.adapters.zipped import found, opened
from clickprint.data.check import no_id, no_time, odd
from clickprint.data.engine import Engine

COLUMNS = ("user", "item", "category", "event", "ts")
KINDS = (
    Kind("view", Role.VIEW),
    Kind("cart", Role.CART),
    Kind("fav", Role.LIKE),
    Kind("buy", Role.BUY),
)
VALUES = {"pv": 0, "view": 0, "cart": 1, "fav": 2, "buy": 3}
DAYS = Window(parse("2017-11-25T00:00:00+08:00"), parse("2017-12-04T00:00:00+08:00"))
CARD = Card(
    title=(
        "Taobao UserBehavior: nine days of views, baskets, likes and purchases of about a million"
        " users, 2017-11-25 to 12-03 (Alibaba)"
    ),
    files={
        "UserBehavior.csv": (
            "no header line: user, item, category, behaviour (pv cart fav buy), seconds since"
            " 1970; also .csv.gz or .zip"
        ),
        "*.parquet": "the same as user, item, category, event (pv or view, cart, fav, buy), ts",
    },
    licence="Tianchi: non-commercial use",
    where="https://tianchi.aliyun.com/dataset/649 (an account is needed)",
    dropped="""
        - times outside the nine days that the source names, from 2017-11-25 00:00 until before
          2017-12-04 00:00 in China (UTC+8): wrong clocks, some of them years away
        - rows without a user, an item, a readable time or a known behaviour; ids that are no whole
          numbers within int64
        - lines with too many or too few columns (a header line that somebody added counts as a row
          without a user)
    """,
    notes="""
        - times are moments, so stored as UTC: a day in China starts at 16:00 of the day before
        - an item's category is known from the first event that shows it
    """,
)


def read(path: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """UserBehavior.csv (.gz, .zip, its folder) or a Parquet file, in the canonical form at `out`.

    `pv` becomes `view`, `fav` has the role like. Raises DataError with every fault of the file.
    """
    path, out = Path(path), Path(out)
    with opened(path, out) as (place, room):
        paths = tuple(found(place, ("UserBehavior.csv", "UserBehavior.csv.gz", "*.parquet"), path))
        if paths[0].suffix == ".parquet":
            files = Files(paths=paths, format="parquet")
        else:
            files = Files(paths=paths, format="csv", header=COLUMNS)
        rows = flat.staged(engine, files, COLUMNS, room, path)
        outside = f'NOT "time" BETWEEN {DAYS.start} AND {DAYS.end - 1}'
        return flat.write(
            out,
            engine=engine,
            reader="taobao",
            kinds=KINDS,
            source=rows,
            picks={
                "user": id_sql(rows, "user"),
                "item": id_sql(rows, "item"),
                "category": id_sql(rows, "category"),
                "given category": given_sql(rows, "category"),
                "time": moment_sql(rows, Clock("ts", "seconds")),
                "kind": flat.kind_sql(given_sql(rows, "event"), VALUES),
            },
            reasons=[
                no_id('"user"', "user, or no whole number within int64"),
                no_id("item", "item, or no whole number within int64"),
                no_time('"time"'),
                (outside, "a time outside 2017-11-25 to 2017-12-03 in China"),
                ("kind IS NULL", "no known behaviour"),
                odd("category", "whole number within int64"),
            ],
            attributes={"category": AttributeType.CATEGORY},
            where=path,
            progress=progress,
        )
