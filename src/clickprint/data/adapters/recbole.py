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
)
from clickprint.data.adapters.staging import header, workplace
from clickprint.data.adapters.table import read_mapping
from clickprint.data.adapters.zipped import unpacked
from clickprint.data.check import blaming, refuse
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
KINDS_OF = {
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
    dropped=(
        "rows without a user, an item or a readable time; lines with too many or too few columns",
        "rows of items without an item",
    ),
    notes=(
        (
            "the field event says the kind of a row, where there is one (the option kind names"
            " another); its role is that of its name (view, cart, buy, purchase …), other for an"
            " unknown one; without it every row is an interaction with the role that the option"
            " role says, buy, as RecBole takes every row for a positive one"
        ),
        (
            "ratings are left out, as RecBole does unless its threshold is set; the reader"
            " movielens keeps those of MovieLens"
        ),
        (
            "timestamp is in seconds (the option unit: milliseconds, microseconds or order, for"
            " places in a sequence); without such a field the order of the rows counts, and"
            " whatever needs a clock refuses the log"
        ),
        (
            "session_id, scenario, price and quantity are read where they are; other fields of"
            " events are left out"
        ),
        (
            "of an item a token is a category, a float a number, a token_seq a text (class,"
            " categories, genre, genres: one category); a float_seq is left out. Items have no"
            " time at which they became known: always known"
        ),
        "NAME.user, NAME.kg, NAME.link and NAME.net are left out: users have no attributes here",
        "the parts of a split are read as one log; the option parts names some of them",
    ),
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
    """The folder (or zip) of one log, or its NAME.inter, in the canonical form at `out`; the
    dataset is called NAME.

    `user`, `item`, `time` and `kind` name the fields, without their types. Raises ConfigError for
    an option that is none, DataError with every fault of the files.
    """
    folder, out = Path(folder), Path(out)
    _check(unit, role, parts)
    with (
        unpacked(folder, out) as place,
        workplace(out.with_name(f"{out.name}.look")) as room,
        blaming(folder),
    ):
        called, inters = _inters(place, folder, parts)
        items = inters[0].with_name(f"{called}.item")
        faults: list[str] = []
        fields = [_fields(p, faults) for p in (*inters, *([items] if items.is_file() else []))]
        refuse(folder, faults)
        events, same = fields[0], set(fields[0])
        faults += [
            f"{p.name}: the fields {', '.join(map(str, f))}, but {', '.join(events)} in"
            f" {inters[0].name}"
            for p, f in zip(inters[1:], fields[1:], strict=False)
            if set(f) != same
        ]
        for path, found in zip(
            (inters[0], items),
            (events, fields[len(inters)] if items.is_file() else None),
            strict=True,
        ):
            for wanted in (user, item) if path == inters[0] else (item,):
                if found is not None and f"{wanted}:token" not in found:
                    faults.append(
                        f"{path.name}: no field '{wanted}:token'; found {', '.join(found)}"
                    )
        stamp = (
            f"{time}:float"
            if f"{time}:float" in events
            else f"{time}:token"
            if f"{time}:token" in events
            else ""
        )
        refuse(folder, faults)
        files = Files(paths=tuple(inters), format="csv", delimiter="\t")
        kinds = (
            _kinds(engine, files, f"{kind}:token", room / "kinds.parquet", folder)
            if f"{kind}:token" in events
            else None
        )
        one = Kind("interaction", Role(role))
        table = EventTable(
            key="inter",
            name="inter",
            files=files,
            ids={"user": Id(f"{user}:token"), "item": Id(f"{item}:token")}
            | {c: Id(f) for c, f in OTHERS.items() if f in events},
            time=Clock(stamp, unit) if stamp else Clock("", "order"),
            kinds=Kinds(f"{kind}:token", kinds) if kinds else Kinds(all=one),
            numbers={c: f for c, f in NUMBERS.items() if f in events},
        )
        catalogue = None
        if items.is_file():
            own = Files(paths=(items,), format="csv", delimiter="\t")
            catalogue = Items(
                files=own,
                item=Id(f"{item}:token"),
                known_from=None,
                attributes=_attributes(fields[-1], item),
            )
        order = list(Role)
        return read_mapping(
            TableMapping(
                where=folder,
                name=called,
                query="text",
                tables=(table,),
                kinds=(
                    tuple(sorted(kinds.values(), key=lambda k: order.index(k.role)))
                    if kinds
                    else (one,)
                ),
                items=catalogue,
            ),
            out,
            engine=engine,
            reader="recbole",
            progress=progress,
        )


def fetch(folder: Path) -> Path:
    """Brings RecBole's own ml-100k to `folder` with pip (2 MB, nothing is installed or run), whole
    or not at all; where it is, nothing is done. Raises ConfigError, with what to do, when pip
    cannot.
    """
    files = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
    return package.fetch(
        PACKAGE, {f"recbole/dataset_example/ml-100k/{file}": file for file in files}, folder
    )


def _check(unit: str, role: str, parts: Sequence[str]) -> None:
    for option, found, known in (
        ("unit", unit, (*UNITS, "order")),
        ("role", role, tuple(r.value for r in Role)),
    ):
        if found not in known:
            raise ConfigError(f"{option}: found {found!r}, expected one of {', '.join(known)}")
    if not parts or not set(parts) <= set(PARTS):
        raise ConfigError(f"parts: found {parts!r}, expected some of {', '.join(PARTS)}")


def _inters(place: Path, asked: Path, parts: Sequence[str]) -> tuple[str, list[Path]]:
    """NAME and its files of events.

    Raises DataError where there are none, or those of several logs.
    """
    if place.is_file():
        return place.name.removesuffix(".inter"), [place]
    if not place.is_dir():
        raise DataError(asked, "not found; expected a folder with NAME.inter")
    below = sorted(p for glob in ("*.inter", "*/*.inter") for p in place.glob(glob) if p.is_file())
    split = {p: _part(p) for p in below}
    called = sorted({(p.parent, head) for p, (head, _) in split.items()})
    if len(called) != 1:
        said = (
            ", ".join(p.name for p in below)
            or ", ".join(sorted(p.name for p in place.iterdir())[:10])
            or "nothing"
        )
        raise DataError(
            asked,
            f"holds {said}; expected NAME.inter, or NAME.train.inter, NAME.valid.inter,"
            " NAME.test.inter of one NAME",
        )
    plain = [p for p, (_, part) in split.items() if not part]
    chosen = plain or [
        p for part in PARTS if part in parts for p, (_, its) in split.items() if its == part
    ]
    lacking = (
        [] if plain else [part for part in parts if part not in {its for _, its in split.values()}]
    )
    refuse(
        asked,
        [
            f"{called[0][1]}.{part}.inter: not found; leave it out with the option parts"
            for part in lacking
        ],
    )
    return called[0][1], chosen


def _part(path: Path) -> tuple[str, str]:
    """NAME, and the part of a split that a file is, or nothing."""
    whole = path.name.removesuffix(".inter")
    head, _, tail = whole.rpartition(".")
    return (head, tail) if head and tail in PARTS else (whole, "")


def _fields(path: Path, faults: list[str]) -> list[str]:
    """The header of one file, each field with its type."""
    try:
        found = header(Files(paths=(path,), format="csv", delimiter="\t"), path)
    except DataError as fault:
        faults += [f"{path.name}: {p}" for p in fault.problems]
        return []
    odd = [
        f
        for f in found
        if f.count(":") != 1 or f.partition(":")[2] not in TYPES or f.startswith(":")
    ]
    if odd:
        some = ", ".join(map(repr, odd[:5]))
        faults.append(
            f"{path.name}: the header has {some}; expected name:type by tabs, the types being"
            f" {', '.join(TYPES)}"
        )
    return found


def _kinds(
    engine: Engine, files: Files, field: str, target: Path, where: Path
) -> Mapping[str, Kind]:
    """The values of the field of kinds, and the kind of each."""
    source = open_source(engine, files, [field], target)
    given = given_sql(source, field)
    rows = engine.table(
        f"SELECT DISTINCT {given} AS v FROM {source.scan} WHERE {given} IS NOT NULL ORDER BY v"
        f" LIMIT {MOST + 1}"
    )
    values = rows.column("v").to_pylist()
    if len(values) > MOST:
        raise DataError(
            where,
            f"{field} has more than {MOST} values, so it is no kind of event; name another with"
            " the option kind",
        )
    return {value: Kind(value, ROLES.get(value.lower(), Role.OTHER)) for value in values}


def _attributes(fields: Sequence[str], item: str) -> dict[str, tuple[str, AttributeType]]:
    """A field's name → the field with its type, and the kind of attribute."""
    found = {}
    for field in fields:
        called, _, type_ = field.rpartition(":")
        if called != item and type_ in KINDS_OF:
            found[called] = (field, AttributeType.CATEGORY if called in LISTS else KINDS_OF[type_])
    return found
