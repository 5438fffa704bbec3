"""RecBole's atomic files: tab-separated, the type of each field in the header.

Source: recbole.io, "Atomic Files".
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import package
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import given_sql, open_source
from clickprint.data.adapters.mapping import (
    UNITS,
    Clock,
    EventTable,
    Files,
    Id,
    Items,
    Kinds,
    TableMapping,
    in_funnel_order,
)
from clickprint.data.adapters.staging import header
from clickprint.data.adapters.table import read_mapping
from clickprint.data.adapters.zipped import holds, opened
from clickprint.data.check import noting, refuse
from clickprint.data.engine import Engine

PACKAGE = "recbole==1.2.1"
PARTS = ("train", "valid", "test")
TYPES = ("token", "token_seq", "float", "float_seq")
# Names of fields that say what kind of event a row is, and of lists of tokens that are one
# category.
KIND, LISTS = "event", ("class", "categories", "genre", "genres")
MOST = 100  # kinds of event; a field with more values is no kind
# What an export of ours, and many logs, call their kinds.
ROLES = {
    **{role.value: role for role in Role},
    "clicks": Role.CLICK,
    "carts": Role.CART,
    "orders": Role.BUY,
    "purchase": Role.BUY,
    "order": Role.BUY,
    "fav": Role.LIKE,
    "pv": Role.VIEW,
    "product_buy": Role.BUY,
    "add_to_cart": Role.CART,
    "addtocart": Role.CART,
    "remove_from_cart": Role.REMOVE,
    "page_visit": Role.VIEW,
}
OTHERS = {"session": "session_id:token", "scenario": "scenario:token"}
NUMBERS = {"price": "price:float", "quantity": "quantity:float"}
TYPES_OF = {
    "token": AttributeType.CATEGORY,
    "float": AttributeType.NUMBER,
    "token_seq": AttributeType.TEXT,
}
CARD = Card(
    title="RecBole's atomic files, such as its own ml-100k",
    files={
        "NAME.inter": (
            "a header such as user_id:token, item_id:token, rating:float, timestamp:float, by"
            " tabs; a row is an event"
        ),
        "NAME.train.inter, NAME.valid.inter, NAME.test.inter": (
            "instead, where somebody has split it"
        ),
        "NAME.item": "may be missing: item_id:token, then attributes",
    },
    licence="that of the log; ml-100k is GroupLens's: research",
    where=(
        f"clickprint fetch recbole DIR (ml-100k, in the package {PACKAGE});"
        " https://recbole.io/dataset_list.html has dozens"
    ),
    dropped="""
        - rows without a user, an item or a readable time; lines with too many or too few columns
        - rows of items without an item
    """,
    notes="""
        - the field event says the kind of a row, where there is one (the option kind names
          another); its role is that of its name (view, cart, buy, purchase …), other for an
          unknown one; without it every row is an interaction with the role that the option role
          says, buy, as RecBole takes every row for a positive one
        - ratings are left out, as RecBole does unless its threshold is set; the reader movielens
          keeps those of MovieLens
        - timestamp is in seconds (the option unit: milliseconds, microseconds or order, for places
          in a sequence); without such a field the order of the rows counts, and whatever needs a
          clock refuses the log
        - session_id, scenario, price and quantity are read where they are; other fields of events
          are left out
        - of an item a token is a category, a float a number, a token_seq a text (class,
          categories, genre, genres: one category); a float_seq is left out. Items have no time at
          which they became known: always known
        - NAME.user, NAME.kg, NAME.link and NAME.net are left out: users have no attributes here
        - the parts of a split are read as one log; the option parts names some of them
    """,
)


def read(
    folder: Path,
    out: Path,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str = "timestamp",
    unit: str = "seconds",
    kind: str = KIND,
    role: str = "buy",
    parts: Sequence[str] = PARTS,
    engine: Engine,
    progress: Progress = silent,
) -> Dataset:
    """The folder (or zip) of one log, or its NAME.inter, in the canonical form at `out`.

    The dataset is called NAME. `user`, `item`, `time` and `kind` name the fields, without their
    types. Raises ConfigError for an option that is none, DataError with every fault of the files.
    """
    folder, out = Path(folder), Path(out)
    _check(unit, role, parts)
    with opened(folder, out, "look") as (place, room):
        called, inters = _inters(place, folder, parts)
        events, items = _headers(inters, inters[0].with_name(f"{called}.item"), folder, user, item)
        stamps = (f"{time}:float", f"{time}:token")
        stamp = next((s for s in stamps if s in events), "")
        files = Files(paths=tuple(inters), format="csv", delimiter="\t")
        kinds = Kinds(all=Kind("interaction", Role(role)))
        if f"{kind}:token" in events:
            values = _kinds(engine, files, f"{kind}:token", room / "kinds.parquet", folder)
            kinds = Kinds(f"{kind}:token", values) if values else kinds
        ids = {"user": Id(f"{user}:token"), "item": Id(f"{item}:token")}
        table = EventTable(
            key="inter",
            files=files,
            ids=ids | {c: Id(f) for c, f in OTHERS.items() if f in events},
            time=Clock(stamp, unit) if stamp else Clock("", "order"),
            kinds=kinds,
            numbers={c: f for c, f in NUMBERS.items() if f in events},
        )
        catalogue = None
        if items is not None:
            own = inters[0].with_name(f"{called}.item")
            catalogue = Items(
                files=Files(paths=(own,), format="csv", delimiter="\t"),
                item=ids["item"],
                attributes=_attributes(items, item),
            )
        return read_mapping(
            TableMapping(
                where=folder,
                name=called,
                tables=(table,),
                kinds=in_funnel_order(kinds.kinds),
                items=catalogue,
            ),
            out,
            engine=engine,
            reader="recbole",
            progress=progress,
        )


def fetch(folder: Path) -> Path:
    """Brings RecBole's own ml-100k to `folder` with pip (2 MB); see package.fetch."""
    names = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
    files = {f"recbole/dataset_example/ml-100k/{name}": name for name in names}
    return package.fetch(PACKAGE, files, folder)


def _check(unit: str, role: str, parts: Sequence[str]) -> None:
    for option, value, known in (
        ("unit", unit, (*UNITS, "order")),
        ("role", role, tuple(r.value for r in Role)),
    ):
        if value not in known:
            raise ConfigError(f"{option}: found {value!r}, expected one of {', '.join(known)}")
    if not parts or not set(parts) <= set(PARTS):
        raise ConfigError(f"parts: found {parts!r}, expected some of {', '.join(PARTS)}")


def _inters(place: Path, asked: Path, parts: Sequence[str]) -> tuple[str, list[Path]]:
    """NAME and its files of events. Raises DataError where there are none, or several NAMEs."""
    if place.is_file():
        return place.name.removesuffix(".inter"), [place]
    if not place.is_dir():
        raise DataError(asked, "not found; expected a folder with NAME.inter")
    below = sorted(p for glob in ("*.inter", "*/*.inter") for p in place.glob(glob) if p.is_file())
    named = {p: _part(p) for p in below}
    heads = sorted({(p.parent, head) for p, (head, _) in named.items()})
    if len(heads) != 1:
        said = ", ".join(p.name for p in below) or holds(place)
        one = "NAME.inter, or NAME.train.inter, NAME.valid.inter, NAME.test.inter of one NAME"
        raise DataError(asked, f"holds {said}; expected {one}")
    called = heads[0][1]
    by_part: dict[str, list[Path]] = {}
    for path, (_, part) in named.items():
        by_part.setdefault(part, []).append(path)
    if "" in by_part:
        return called, by_part[""]
    help_ = "not found; leave it out with the option parts"
    refuse(asked, [f"{called}.{part}.inter: {help_}" for part in parts if part not in by_part])
    return called, [p for part in PARTS if part in parts for p in by_part[part]]


def _part(path: Path) -> tuple[str, str]:
    """NAME, and the part of a split that a file is, or nothing."""
    stem = path.name.removesuffix(".inter")
    head, _, tail = stem.rpartition(".")
    return (head, tail) if head and tail in PARTS else (stem, "")


def _headers(
    inters: Sequence[Path], items: Path, where: Path, user: str, item: str
) -> tuple[list[str], list[str] | None]:
    """The fields of the events, and of the items where their file is there.

    Raises DataError: headers that are none or not alike, no field of users or items.
    """
    faults: list[str] = []
    fields = [_fields(path, faults) for path in inters]
    own = _fields(items, faults) if items.is_file() else None
    refuse(where, faults)
    events = fields[0]
    faults = [
        f"{path.name}: the fields {', '.join(other)}, but {', '.join(events)} in {inters[0].name}"
        for path, other in zip(inters[1:], fields[1:], strict=True)
        if set(other) != set(events)
    ]
    for path, there, wanted in ((inters[0], events, (user, item)), (items, own, (item,))):
        faults += [
            f"{path.name}: no field '{field}:token'; found {', '.join(there)}"
            for field in wanted
            if there is not None and f"{field}:token" not in there
        ]
    refuse(where, faults)
    return events, own


def _fields(path: Path, faults: list[str]) -> list[str]:
    """The header of one file, each field with its type."""
    fields: list[str] = []
    with noting(faults, path.name):
        fields = header(Files(paths=(path,), format="csv", delimiter="\t"), path)
    typed = [f.partition(":") for f in fields]
    wrong = [
        field
        for field, (head, _, type_) in zip(fields, typed, strict=True)
        if not head or type_ not in TYPES
    ]
    if wrong:
        types = ", ".join(TYPES)
        some = ", ".join(map(repr, wrong[:5]))
        expected = f"name:type by tabs, the types being {types}"
        faults.append(f"{path.name}: the header has {some}; expected {expected}")
    return fields


def _kinds(
    engine: Engine, files: Files, field: str, target: Path, where: Path
) -> Mapping[str, Kind]:
    """The values of the field of kinds, and the kind of each."""
    source = open_source(engine, files, [field], target)
    given = given_sql(source, field)
    rows = engine.table(
        f"SELECT DISTINCT {given} AS v FROM {source.scan} WHERE {given} IS NOT NULL"
        f" ORDER BY v LIMIT {MOST + 1}"
    )
    values = rows.column("v").to_pylist()
    if len(values) > MOST:
        said = f"{field} has more than {MOST} values, so it is no kind of event"
        raise DataError(where, f"{said}; name another with the option kind")
    return {value: Kind(value, ROLES.get(value.lower(), Role.OTHER)) for value in values}


def _attributes(fields: Sequence[str], item: str) -> dict[str, tuple[str, AttributeType]]:
    """A field's name → the field with its type, and the type of attribute."""
    attributes = {}
    for field in fields:
        name, _, type_ = field.rpartition(":")
        if name != item and type_ in TYPES_OF:
            own = AttributeType.CATEGORY if name in LISTS else TYPES_OF[type_]
            attributes[name] = field, own
    return attributes
