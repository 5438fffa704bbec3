"""REES46's shops: five months of a cosmetics shop, or seven of a multi-category store, one CSV a
month (Kaggle).
"""

from collections import Counter
from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import flat
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import given_sql, id_sql, moment_sql, number_sql
from clickprint.data.adapters.mapping import Clock, Files
from clickprint.data.adapters.staging import workplace
from clickprint.data.adapters.zipped import found, unpacked
from clickprint.data.check import blaming, no_id, no_time
from clickprint.data.engine import Engine

COLUMNS = (
    "event_time",
    "event_type",
    "product_id",
    "category_id",
    "category_code",
    "brand",
    "price",
    "user_id",
    "user_session",
)
KINDS = (
    Kind("view", Role.VIEW),
    Kind("cart", Role.CART),
    Kind("remove_from_cart", Role.REMOVE),
    Kind("purchase", Role.BUY),
)
CARD = Card(
    title=(
        "REES46: 20 million events of a cosmetics shop, 2019-10 to 2020-02; the multi-category"
        " store's files have the same columns"
    ),
    files={
        "2019-Oct.csv …": (
            ", ".join(COLUMNS) + "; one file a month, as .csv, .csv.gz or together in a .zip"
        )
    },
    licence="free to use with a reference to REES46 Marketing Platform and its page on Kaggle",
    where=(
        "https://www.kaggle.com/datasets/mkechinov/ecommerce-events-history-in-cosmetics-shop (an"
        " account is needed)"
    ),
    dropped=(
        (
            "rows without a user, a product, a readable time or a known event_type; ids that are"
            " no whole numbers within int64"
        ),
        (
            "a price that is negative or no number: such rows are corrections, nobody looked at or"
            " bought a product for it"
        ),
        "lines with too many or too few columns",
    ),
    notes=(
        "times are UTC, as the source says, to the second: ties within a session are common",
        (
            "a purchase has no quantity; the price is that of one product, in a currency that the"
            " source does not name"
        ),
        (
            "category, category_code and brand are known from the first event that shows them, and"
            " change where an event shows others"
        ),
        "rows that stand there twice are kept: `clickprint audit` counts them",
    ),
)


def read(path: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """One month's file, or all of a folder's or zip's *.csv (else *.csv.gz), in the canonical form
    at `out`.

    `user_session` becomes the session; it may be missing. Raises DataError with every fault of
    every file.
    """
    path, out = Path(path), Path(out)
    with unpacked(path, out) as place, workplace(out) as room, blaming(path):
        files = Files(paths=tuple(_months(place, path)), format="csv")
        rows = flat.staged(engine, files, COLUMNS, room, path)
        return flat.write(
            out,
            engine=engine,
            reader="rees46",
            kinds=KINDS,
            source=rows,
            picks={
                "user": id_sql(rows, "user_id", False),
                "item": id_sql(rows, "product_id", False),
                "time": moment_sql(rows, Clock("event_time")),
                "kind": flat.kind_sql(
                    given_sql(rows, "event_type"),
                    {kind.name: place for place, kind in enumerate(KINDS)},
                ),
                "price": number_sql(rows, "price"),
                "given price": given_sql(rows, "price"),
                "category": id_sql(rows, "category_id", False),
                "given category": given_sql(rows, "category_id"),
            },
            reasons=[
                no_id('"user"', "user, or no whole number within int64"),
                no_id("item", "product, or no whole number within int64"),
                no_time('"time"'),
                ("kind IS NULL", "no known event_type"),
                flat.odd("given price", "price", "finite number"),
                ("price < 0", "a negative price"),
                flat.odd("given category", "category", "whole number within int64"),
            ],
            texts={
                "session": given_sql(rows, "user_session"),
                "category_code": given_sql(rows, "category_code"),
                "brand": given_sql(rows, "brand"),
            },
            attributes=dict.fromkeys(
                ("category", "category_code", "brand"), AttributeType.CATEGORY
            ),
            where=path,
            progress=progress,
        )


def _months(place: Path, path: Path) -> list[Path]:
    """The one file, or those of all months in a folder;

    DataError for a month that is there both packed and unpacked.
    """
    paths = (
        [p for glob in ("*.csv", "*.csv.gz") for p in sorted(place.glob(glob))]
        if place.is_dir()
        else []
    )
    if not paths:
        return found(place, ("*.csv", "*.csv.gz"), path)
    twice = [
        month for month, n in Counter(p.name.removesuffix(".gz") for p in paths).items() if n > 1
    ]
    if twice:
        raise DataError(
            path, [f"{month} is there twice, also as {month}.gz; leave one" for month in twice]
        )
    return paths
