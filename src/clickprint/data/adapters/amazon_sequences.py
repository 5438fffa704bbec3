"""Amazon reviews as sequences without times, with the items' texts: two Parquet files side by
side.
"""

from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
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
from clickprint.data.adapters.table import read_mapping
from clickprint.data.check import arrow_schema, noting, refuse
from clickprint.data.engine import Engine

BUY = Kind("buy", Role.BUY)
ATTRIBUTES = {
    "title": AttributeType.TEXT,
    "description": AttributeType.TEXT,
    "brand": AttributeType.CATEGORY,
    "categories": AttributeType.CATEGORY,
}
ENDING = "_sequences.parquet"
CARD = Card(
    title=(
        "Amazon reviews as sequences with texts: 5-core Beauty of 2014 (S3-Rec, P5, TIGER),"
        " Scientific of 2018 (UniSRec's form)"
    ),
    files={
        "NAME_sequences.parquet": (
            "user, items: what a user reviewed, in the order of time; or user, item: one row an"
            " event, in order"
        ),
        "NAME_items.parquet": (
            "beside it: item, and of title, description, brand, categories those that are known"
        ),
    },
    licence="Amazon review data (McAuley lab, UCSD): research",
    where=(
        "https://jmcauley.ucsd.edu/data/amazon/ and https://nijianmo.github.io/amazon/ have the"
        " reviews: see amazon_reviews"
    ),
    dropped="""
        - entries without a user or an item
        - rows of items without an item
    """,
    notes="""
        - there are no times: time is the place in the sequence, and whatever needs a clock refuses
          the log; the usual evaluation is leave-one-out, the last item as test and the one before
          as validation
        - a review stands for a purchase, as everywhere in this field
        - items have no time at which they became known: their texts are always known
        - two files of the field are called Beauty: this one has 12,101 items, BERT4Rec's 54,542;
          never mix their numbers
    """,
)


def read(path: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """NAME_sequences.parquet, with NAME_items.parquet beside it, in the canonical form at `out`.

    The dataset is called NAME. Raises DataError with every fault of both files.
    """
    path = Path(path)
    if not path.name.endswith(ENDING):
        folder = "this is a folder; name the file in it"
        said = folder if path.is_dir() else "not a name that this reader knows"
        names = f"NAME{ENDING} with NAME_items.parquet beside it"
        raise DataError(path, f"{said}, expected {names}")
    called = path.name.removesuffix(ENDING)
    beside = path.with_name(f"{called}_items.parquet")
    faults, columns = list[str](), dict[Path, list[str]]()
    for file in (path, beside):
        with noting(faults, file.name):
            columns[file] = arrow_schema(file).names
    refuse(path.parent, faults)
    one = "item" in columns[path] and "items" not in columns[path]
    table = EventTable(
        key="sequences",
        files=Files(paths=(path,), format="parquet"),
        ids={"user": Id("user"), "item": Id("item" if one else "items")},
        time=Clock("", "order"),
        kinds=Kinds(all=BUY),
    )
    known = {a: type_ for a, type_ in ATTRIBUTES.items() if a in columns[beside]}
    return read_mapping(
        TableMapping(
            where=path,
            name=called.replace("_", "-"),
            tables=(table,),
            kinds=(BUY,),
            items=Items.of(beside, Id("item"), known),
        ),
        Path(out),
        engine=engine,
        reader="amazon_sequences",
        progress=progress,
    )
