"""REES46's shops: five months of a cosmetics shop, or seven of a multi-category store, one CSV a
month (Kaggle).
"""

from collections import Counter
from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import flat
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import given_sql, id_sql, moment_sql, number_sql
from clickprint.data.adapters.mapping import Clock, Files
from clickprint.data.adapters.zipped import found, opened
from clickprint.data.check import no_id, no_time, odd, refuse
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
    dropped="""
        - rows without a user, a product, a readable time or a known event_type; ids that are no
          whole numbers within int64
        - a price that is negative or no number: such rows are corrections, nobody looked at or
          bought a product for it
        - lines with too many or too few columns
    """,
    notes="""
        - times are UTC, as the source says, to the second: ties within a session are common
        - a purchase has no quantity; the price is that of one product, in a currency that the
          source does not name
        - category, category_code and brand are known from the first event that shows them, and
          change where an event shows others
        - rows that stand there twice are kept: `clickprint audit` counts them
    """,
)


def read(path: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """One month's file, or all of a folder or zip, in the canonical form at `out`.

    Of a folder all *.csv are read, or else all *.csv.gz. `user_session` becomes the session; it
    may be missing. Raises DataError with every fault of every file.
    """
    path, out = Path(path), Path(out)
    with opened(path, out) as (place, room):
        files = Files(paths=tuple(_months(place, path)), format="csv")
        rows = flat.staged(engine, files, COLUMNS, room, path)
        codes = {kind.name: code for code, kind in enumerate(KINDS)}
        return flat.write(
            out,
            engine=engine,
            reader="rees46",
            kinds=KINDS,
            source=rows,
            picks={
                "user": id_sql(rows, "user_id"),
                "item": id_sql(rows, "product_id"),
                "time": moment_sql(rows, Clock("event_time")),
                "kind": flat.kind_sql(given_sql(rows, "event_type"), codes),
                "price": number_sql(rows, "price"),
                "given price": given_sql(rows, "price"),
                "category": id_sql(rows, "category_id"),
                "given category": given_sql(rows, "category_id"),
            },
            reasons=[
                no_id('"user"', "user, or no whole number within int64"),
                no_id("item", "product, or no whole number within int64"),
                no_time('"time"'),
                ("kind IS NULL", "no known event_type"),
                odd("price", "finite number"),
                ("price < 0", "a negative price"),
                odd("category", "whole number within int64"),
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
    """The one file, or those of all months in a folder.

    Raises DataError for a month that is there both packed and unpacked.
    """
    globs = ("*.csv", "*.csv.gz")
    paths = [p for glob in globs for p in sorted(place.glob(glob))] if place.is_dir() else []
    if not paths:
        return found(place, globs, path)
    months = Counter(p.name.removesuffix(".gz") for p in paths)
    refuse(
        path,
        [f"{m} is there twice, also as {m}.gz; leave one" for m, n in months.items() if n > 1],
    )
    return paths
