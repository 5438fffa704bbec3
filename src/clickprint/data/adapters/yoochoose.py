"""Yoochoose: half a year of clicks and purchases of a European shop, by session; the data of the
RecSys Challenge 2015.
"""

from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.mapping import (
    Clock,
    EventTable,
    Files,
    Id,
    Items,
    Kinds,
    TableMapping,
)
from clickprint.data.adapters.staging import there
from clickprint.data.adapters.table import read_mapping
from clickprint.data.engine import Engine

CLICKS, BUYS, TEST = "yoochoose-clicks.dat", "yoochoose-buys.dat", "yoochoose-test.dat"
CLICK, BUY = Kind("click", Role.CLICK), Kind("buy", Role.BUY)
CARD = Card(
    title=(
        "Yoochoose: 33 million clicks and 1.2 million purchases in 9.2 million sessions of a shop,"
        " 2014 (RecSys Challenge 2015)"
    ),
    files={
        CLICKS: "no header line: session, time (ISO 8601 with Z), item, category",
        BUYS: "no header line: session, time, item, price, quantity",
        TEST: (
            "as the clicks: 2.3 million sessions of the challenge's test set; read with the option"
            " test"
        ),
    },
    licence="CC BY-NC-ND 4.0 (YOOCHOOSE GmbH)",
    where="https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015",
    dropped="""
        - lines with too many or too few columns, rows without a readable time
        - rows whose session or item is no whole number, or 0
    """,
    notes="""
        - there are no users: a session is one, so nobody comes back, and session = user
        - category is where the item was clicked, so it is the event's scenario: S a special offer,
          1 to 12 a category, a longer number a brand, 0 unknown (null); the catalogue's category
          is that of the item's last click with a known one, known from that click on
        - price 0 and quantity 0 stand for unknown ones and become null; a price is of one unit, in
          the source's own unit; one that is no number is null, too
        - the test set has clicks of sessions whose purchases are not public: keep it out where
          purchases are predicted
    """,
)


def read(
    folder: Path, out: Path, *, test: bool = False, engine: Engine, progress: Progress = silent
) -> Dataset:
    """The clicks and purchases, each file plain or .gz, in the canonical form at `out`.

    `test` reads the test set's clicks too. Raises DataError with every fault of every file, and
    where no row can be used.
    """
    folder = Path(folder)
    session, item, time = Id("session", "number"), Id("item", "number"), Clock("time")
    ids = {"user": session, "session": session, "item": item}

    def files(names: tuple[str, ...], *columns: str) -> Files:
        header, paths = ("session", "time", "item", *columns), (there(folder / n) for n in names)
        return Files(paths=tuple(paths), format="csv", header=header, missing=("0",))

    clicks = EventTable(
        key="clicks",
        files=files((CLICKS, TEST) if test else (CLICKS,), "category"),
        ids={**ids, "scenario": Id("category", "text")},
        time=time,
        kinds=Kinds(all=CLICK),
    )
    buys = EventTable(
        key="buys",
        files=files((BUYS,), "price", "quantity"),
        ids=ids,
        time=time,
        kinds=Kinds(all=BUY),
        numbers={"price": "price", "quantity": "quantity"},
    )
    items = Items(item=item, attributes={"category": ("category", AttributeType.CATEGORY)})
    return read_mapping(
        TableMapping(
            where=folder,
            name="yoochoose",
            tables=(clicks, buys),
            kinds=(CLICK, BUY),
            items=items,
        ),
        out,
        engine=engine,
        reader="yoochoose",
        texts=("category",),  # also where no file holds an S
        progress=progress,
    )
