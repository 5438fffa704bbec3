"""What the shop calls users and items."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from clickprint.core.items import AttributeType
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.names import shop_ids, titles
from clickprint.testing.worlds import BUY, START, memory_log

TEXT, CATEGORY = AttributeType.TEXT, AttributeType.CATEGORY


@pytest.fixture
def engine() -> Iterator[DuckDB]:
    with DuckDB(threads=1) as engine:
        yield engine


def log(engine: DuckDB, texts: dict[str, list], **attributes: AttributeType) -> EventLog:
    found = memory_log(
        engine,
        time=[START],
        user=[1],
        kind=[BUY],
        item=[7],
        catalogue={"item": [7, 8], **texts},
        attributes=attributes,
    )
    names = engine.keep(pa.table({"id": [7, 8], "text": ["sku-7", "sku-8"]}))
    return EventLog(engine, found.manifest, found.events, found.items, {"item": names})


def test_ids_are_the_shops_where_it_has_its_own(engine: DuckDB) -> None:
    shop = log(engine, {})
    assert shop_ids(shop, "item", np.array([8, 7, 8])) == {7: "sku-7", 8: "sku-8"}
    assert shop_ids(shop, "user", np.array([1])) == {1: "1"}
    assert shop_ids(shop, "item", np.zeros(0, np.int64)) == {}


def test_titles_and_ids_in_brackets(engine: DuckDB) -> None:
    both = log(
        engine,
        {"name": ["N", "M"], "title": ["Ware", None], "category": [1, 2]},
        name=TEXT,
        title=TEXT,
        category=CATEGORY,
    )
    assert titles(both, np.array([7, 8])) == {7: "Ware (sku-7)", 8: "sku-8"}
    first = log(engine, {"name": ["N", "M"]}, name=TEXT)
    assert titles(first, np.array([8])) == {8: "M (sku-8)"}
    without = log(engine, {"category": [1, 2]}, category=CATEGORY)
    assert titles(without, np.array([7])) == {7: "sku-7"}
