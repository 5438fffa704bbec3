"""Amazon reviews of 2014, 2018 and 2023, with the items' metadata."""

from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import jsonlines
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
from clickprint.data.adapters.staging import ROW
from clickprint.data.adapters.table import read_mapping
from clickprint.data.adapters.zipped import holds, opened
from clickprint.data.check import refuse, sift
from clickprint.data.engine import (
    Engine,
    json_joined_sql,
    matches_sql,
    name,
    rows_in,
    select_sql,
)

ENDINGS = (".json.gz", ".jsonl.gz", ".json", ".jsonl")
KINDS = tuple(Kind(f"review {stars}", Role.BUY) for stars in range(1, 6))
STARS = {text: kind for stars, kind in enumerate(KINDS, 1) for text in (f"{stars}", f"{stars}.0")}
REVIEW = (
    "reviewerID",
    "user_id",
    "asin",
    "parent_asin",
    "overall",
    "rating",
    "unixReviewTime",
    "timestamp",
    "verified",
    "verified_purchase",
)
ITEM = (
    "asin",
    "parent_asin",
    "title",
    "price",
    "brand",
    "store",
    "categories",
    "category",
    "description",
)
ATTRIBUTES = {
    "title": AttributeType.TEXT,
    "description": AttributeType.TEXT,
    "brand": AttributeType.CATEGORY,
    "categories": AttributeType.CATEGORY,
    "price": AttributeType.NUMBER,
}
AMOUNT = r"\s*[$]?\s*[0-9][0-9,]*([.][0-9]+)?\s*"
CARD = Card(
    title=(
        "Amazon reviews, one file a category, of 2014, 2018 and 2023, with the items' metadata"
        " (McAuley lab, UCSD)"
    ),
    files={
        "reviews_NAME_5.json.gz": (
            "2014: reviewerID, asin, overall (1 to 5), unixReviewTime (seconds); also"
            " reviews_NAME.json.gz"
        ),
        "NAME_5.json.gz": "2018: the same and verified; also NAME.json.gz",
        "NAME.jsonl.gz": (
            "2023: user_id, parent_asin, asin, rating, timestamp (milliseconds), verified_purchase"
        ),
        "meta_NAME.json.gz, meta_NAME.jsonl.gz": (
            "beside it, may be missing: asin or parent_asin, title, price, brand or store, "
            "categories or category, description; 2014's lines are Python dicts, the others JSON"
        ),
    },
    licence="research; with a reference to the papers named on the pages",
    where=(
        "https://jmcauley.ucsd.edu/data/amazon/ (2014), https://nijianmo.github.io/amazon/ (2018),"
        " https://amazon-reviews-2023.github.io (2023)"
    ),
    dropped="""
        - lines that are no JSON object, not UTF-8 or longer than 16 MiB
        - reviews without a user, an item, a readable time or a rating from 1 to 5; with the option
          verified those of no verified purchase
        - lines of metadata without an item, or of an item that was named before (2018 has
          thousands)
    """,
    notes="""
        - a review stands for a purchase, as everywhere in this field: its role is buy whatever the
          rating, and each rating is a kind of its own, `review 1` to `review 5`, so that none is
          lost; it tells when somebody wrote, not when something was bought
        - times of 2014 and 2018 are days, at 00:00 UTC: ties are the rule, and the order within a
          day is not known
        - an item is its parent_asin where there is one (2023: colours and sizes are one item),
          else its asin
        - metadata have no time: title, brand, categories, price are as the crawler saw them after
          the last review, and known always; what was computed from all reviews (also_buy,
          also_viewed, related, salesRank, rank, average_rating, rating_number) is left out, since
          it would tell the future; pictures, features, details and the reviews' texts are left out
          too
        - a price is a number or $1.99; of a range or anything else there is none, counted as
          `catalogue prices`, and the item stays
        - categories is the item's (first) path, its parts joined by ` > `
        - of a key that stands twice in an object the first one counts; 2014's metadata go line by
          line through Python's parser of literals
    """,
)


def read(
    path: Path, out: Path, *, verified: bool = False, engine: Engine, progress: Progress = silent
) -> Dataset:
    """A file of reviews, or a folder with those of several categories, in the canonical form.

    The metadata of a category are looked for beside its reviews. `verified` keeps verified
    purchases only (2018 and 2023). Raises DataError with every fault of the files, where a folder
    holds one category twice, and where no review can be used.
    """
    path, out = Path(path), Path(out)
    reviews, metas = _files(path)
    with opened(path, out, "json") as (_, room):
        progress("read reviews", 0, 0)
        events, rejected = _reviews(engine, reviews, room, path, verified)
        items = None
        if metas:
            progress("read metadata", 0, 0)
            staged, bad = _items(engine, metas, room, path)
            rejected |= bad
            items = Items.of(staged, Id("item", "text"), ATTRIBUTES)
        table = EventTable(
            key="reviews",
            files=Files(paths=(events,), format="parquet"),
            ids={"user": Id("user", "text"), "item": Id("item", "text")},
            time=Clock("ts", "milliseconds"),
            kinds=Kinds(column="rating", values=STARS),
        )
        one = _category(reviews[0]).lower().replace("_", "-")
        name_ = f"amazon-{one if len(reviews) == 1 else 'reviews'}"
        return read_mapping(
            TableMapping(where=path, name=name_, tables=(table,), kinds=KINDS, items=items),
            out,
            engine=engine,
            reader="amazon_reviews",
            texts=("brand", "categories"),
            rejected=rejected,
            progress=progress,
        )


def _ending(path: Path) -> str:
    return next((e for e in ENDINGS if path.name.endswith(e)), "")


def _category(path: Path) -> str:
    """NAME, of reviews_NAME_5.json.gz and the like."""
    return path.name.removesuffix(_ending(path)).removeprefix("reviews_").removesuffix("_5")


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """The files of reviews, and those of metadata that are there for them."""
    reviews = [path]
    if path.is_dir():
        named = (p for p in path.iterdir() if p.is_file() and _ending(p))
        reviews = sorted(p for p in named if not p.name.startswith((".", "meta_")))
        if not reviews:
            names = "reviews_NAME_5.json.gz, NAME_5.json.gz or NAME.jsonl.gz"
            raise DataError(path, f"holds {holds(path)}; expected {names}")
    by_category: dict[str, list[Path]] = {}
    for review in reviews:
        by_category.setdefault(_category(review), []).append(review)
    refuse(
        path,
        [
            f"{', '.join(p.name for p in same)} hold the same reviews; name one of them"
            for _, same in sorted(by_category.items())
            if len(same) > 1
        ],
    )
    beside = (
        next((p for e in ENDINGS if (p := r.with_name(f"meta_{_category(r)}{e}")).is_file()), None)
        for r in reviews
    )
    return reviews, [meta for meta in beside if meta]


def _reviews(
    engine: Engine, paths: list[Path], room: Path, where: Path, verified: bool
) -> tuple[Path, dict[str, int]]:
    """The reviews as a Parquet file, and what was left out by reason."""
    lines, staged = room / "lines.parquet", room / "reviews.parquet"
    good, rejected = jsonlines.objects(engine, paths, lines, where, "reviews: ")
    id_ = jsonlines.id_sql
    seconds = f"CAST(TRY_CAST({id_('unixReviewTime')} AS DECIMAL(15, 0)) * 1000 AS VARCHAR)"
    true = " OR ".join(
        f"{name(f'{key} sort')} = 'BOOLEAN' AND {name(key)} = 'true'"
        for key in ("verified", "verified_purchase")
    )
    picks = {
        "user": f"COALESCE({id_('reviewerID')}, {id_('user_id')})",
        "item": f"COALESCE({id_('parent_asin')}, {id_('asin')})",
        "rating": "COALESCE(overall, rating)",
        "ts": f"COALESCE({seconds}, {id_('timestamp')})",
        "verified": f"COALESCE({true}, FALSE)",
    }
    rows, bad = select_sql(picks, f"({jsonlines.fields(good, REVIEW)}) AS f"), dict[str, int]()
    if verified:
        rows, _, bad = sift(engine, rows, [("NOT verified", "no verified purchase")], "reviews: ")
    engine.write(f"SELECT {name('user')}, item, rating, ts FROM ({rows}) AS r", staged)
    lines.unlink()
    return staged, rejected | bad


def _items(
    engine: Engine, paths: list[Path], room: Path, where: Path
) -> tuple[Path, dict[str, int]]:
    """The metadata as a Parquet file, and what was left out by reason."""
    lines, read_, staged = (room / f"{stem}.parquet" for stem in ("lines", "metadata", "items"))
    good, rejected = jsonlines.objects(engine, paths, lines, where, "catalogue: ", loose=True)
    id_, text = jsonlines.id_sql, jsonlines.text_sql

    def joined(key: str, between: str) -> str:
        parts = json_joined_sql(name(key), between)
        return f"CASE WHEN {name(f'{key} sort')} = 'ARRAY' THEN {parts} ELSE {text(key)} END"

    plain = "replace(replace(trim(price), '$', ''), ',', '')"
    picks = {
        ROW: name(ROW),
        "item": f"COALESCE({id_('parent_asin')}, {id_('asin')})",
        "title": text("title"),
        "description": joined("description", " "),
        "brand": f"COALESCE({text('brand')}, {text('store')})",
        "categories": f"COALESCE({joined('categories', ' > ')}, {joined('category', ' > ')})",
        "price": f"CASE WHEN {matches_sql('price', AMOUNT)} THEN TRY_CAST({plain} AS DOUBLE) END",
        "given price": "NULLIF(price, '')",
    }
    engine.write(select_sql(picks, f"({jsonlines.fields(good, ITEM)}) AS f"), read_)
    lines.unlink()
    turn = f"ROW_NUMBER() OVER (PARTITION BY item ORDER BY {name(ROW)}) AS turn"
    rows = f"SELECT *, {turn} FROM {engine.scan([read_])}"
    reasons = [("item IS NULL", "no item"), ("turn > 1", "an item that was named before")]
    good, _, bad = sift(engine, rows, reasons, "catalogue: ")
    no_price = f"price IS NULL AND {name('given price')} IS NOT NULL"
    unread = rows_in(engine, f"SELECT 1 AS one FROM ({good}) AS g WHERE {no_price}")
    engine.write(f"SELECT item, {', '.join(map(name, ATTRIBUTES))} FROM ({good}) AS g", staged)
    return staged, rejected | bad | {"catalogue prices: no single amount (the item stays)": unread}
