"""The mapping file of the table reader: which column is what. docs/datasets.md explains it by
example.
"""

import codecs
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape, has_magic
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from clickprint.core.errors import first_line
from clickprint.core.events import COLUMNS, ID_COLUMNS, REQUIRED, Kind, Role
from clickprint.core.forms import toml_of
from clickprint.core.items import AttributeType
from clickprint.core.options import (
    Distinct,
    Fault,
    Faults,
    Matches,
    NotEmpty,
    OneOf,
    OptionsError,
    read_text,
    shown,
)

OPTIONAL = tuple(c for c in COLUMNS if c not in REQUIRED)
NUMBERS = ("price", "quantity")
UNITS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
FILE_KEYS = ("files", "format", "delimiter", "encoding", "header", "missing")
FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".txt": "csv"}
ROLES = ", ".join(r.value for r in Role)
MOST_KINDS = 1_000  # a column of more values is no kind of event, and each costs every row a look


@dataclass(frozen=True, slots=True)
class Encoding:
    """A rule for options: the name of an encoding."""

    expected: str = "an encoding of texts that Python knows, such as utf-8, latin-1 or cp1252"

    def holds(self, value: str) -> bool:
        try:  # also what Python knows as a codec, but not from bytes to text: rot13, hex, zlib
            return codecs.getincrementaldecoder(value)().decode("a,1\n".encode(value)) != ""
        except (LookupError, ValueError):
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files with the same columns.

    - `header`: the columns of a CSV that has no header line.
    - `missing`: the texts of a CSV that stand for no value.
    """

    paths: tuple[Path, ...]
    format: Literal["csv", "parquet"]
    delimiter: str = ","
    encoding: str = "utf-8"
    header: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Id:
    """A column of ids. `auto`: whole numbers where every value is one, else texts."""

    column: str
    ids: Literal["auto", "number", "text"] = "auto"


@dataclass(frozen=True, slots=True)
class Clock:
    """A column of times, or the order of the rows where there is no column.

    `form`: `iso`, a unit since 1970, `order` (a position) or a strptime format.
    """

    column: str
    form: str = "iso"
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Kinds:
    """One kind for all rows, or a column and the kind of each of its values."""

    column: str = ""
    values: Mapping[str, Kind] = field(default_factory=dict)
    all: Kind | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All of them, in the order of the mapping."""
        one = (self.all,) if self.all else ()
        return tuple(dict.fromkeys((*one, *self.values.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTable:
    """Files of events that have the same columns.

    - `key`: where the mapping tells of them (`events`, `events[1]`).
    - `name`: what counts of rejected rows call them; the key by default.
    """

    key: str
    name: str = ""
    files: Files
    ids: Mapping[str, Id]
    time: Clock
    kinds: Kinds
    numbers: Mapping[str, str] = field(default_factory=dict)

    @property
    def called(self) -> str:
        return self.name or self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The catalogue. `files` is None where its attributes stand in the files of events.

    `attributes`: the name of each → its column and type.
    """

    files: Files | None = None
    item: Id
    known_from: Clock | None = None
    attributes: Mapping[str, tuple[str, AttributeType]]

    @staticmethod
    def of(
        path: Path,
        item: Id,
        attributes: Mapping[str, AttributeType],
        known_from: Clock | None = None,
    ) -> "Items":
        """A Parquet file whose columns have the names of the attributes."""
        return Items(
            files=Files(paths=(path,), format="parquet"),
            item=item,
            known_from=known_from,
            attributes={name: (name, type_) for name, type_ in attributes.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    """A whole mapping. `kinds` are those of all tables in funnel order, which breaks ties."""

    where: Path
    name: str
    query: Literal["codes", "text"] = "text"
    tables: tuple[EventTable, ...]
    kinds: tuple[Kind, ...]
    items: Items | None = None

    @property
    def ordered(self) -> bool:
        """Whether the log stores an order instead of times."""
        return self.tables[0].time.form == "order"

    @property
    def columns(self) -> tuple[str, ...]:
        """The optional columns that at least one table has."""
        return tuple(c for c in OPTIONAL if any(c in t.ids or c in t.numbers for t in self.tables))

    @property
    def attributes(self) -> dict[str, AttributeType]:
        """The attributes of items and their types."""
        return {n: type_ for n, (_, type_) in self.items.attributes.items()} if self.items else {}


Text = Annotated[str, NotEmpty("a text")]
Texts = tuple[Text, ...]
Patterns = Text | Annotated[Texts, NotEmpty("a path or a list of paths")]
Character = Matches(
    re.compile(r'[^"\n\r\x80-\U0010ffff]'), r"one ASCII character such as ',' or '\t'"
)
ROLE = OneOf(*(r.value for r in Role))
TYPE = OneOf(*(t.value for t in AttributeType))
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def load(path: Path) -> TableMapping:
    """The mapping in a TOML file. Raises one ConfigError with every fault and its key."""
    return parse(
        toml_of(read_text(path, "docs/datasets.md shows a mapping"), str(path)), Path(path)
    )


def parse(raw: Mapping[str, Any], where: Path) -> TableMapping:
    """The mapping in a table of keys, as a TOML file has them.

    `where` names it in messages, and relative paths start at its folder. Raises one ConfigError
    with every fault and its key.
    """
    form = _Form(where, Faults())
    form.faults.unknown(raw, ("name", "query", "events", "catalogue"), "")
    tables = form.tables(raw.get("events"))
    kinds = form.union(tables)
    items = form.items(raw["catalogue"], tables) if "catalogue" in raw else None
    used = {c for t in tables for c in (*t.ids, *t.numbers)}
    taken = {*REQUIRED, "known_from", *ID_COLUMNS, *used}
    for name in items.attributes if items else ():
        if name.lower() in taken or not WORD.fullmatch(name):
            other = f"give it another name = {{ column = {name!r} }}"
            said = f"this name is taken or no plain word (capitals do not count); {other}"
            form.faults.add(f"catalogue.attributes.{name}", said)
        taken.add(name.lower())
    name = form.text(raw.get("name", where.stem), "name")
    query = form.choice(raw.get("query", "text"), OneOf("text", "codes"), "query")
    form.faults.refuse(str(where))
    return TableMapping(
        where=where, name=name, query=query, tables=tuple(tables), kinds=kinds, items=items
    )


@dataclass(slots=True)
class _Form:
    """Reads the parts of a mapping. What has a fault is a part of question marks."""

    where: Path
    faults: Faults

    def text(self, value: object, path: str) -> str:
        return self.faults.value(value, Text, path) or "?"

    def choice(self, value: object, known: OneOf, path: str) -> Any:
        found = self.faults.value(value, Annotated[str, known], path)
        return found if found in known.choices else known.choices[0]

    def table(self, value: object, path: str) -> dict[str, Any]:
        return self.faults.value(value, dict[str, Any], path) or {}

    def tables(self, value: object) -> list[EventTable]:
        """One table [events], or several [[events]]."""
        if value is None:
            self.faults.add("events", "missing, expected a table [events], or several [[events]]")
            return []
        if not isinstance(value, list):
            return [self.events(self.table(value, "events"), "events")]
        if not value or not all(isinstance(t, dict) for t in value):
            self.faults.add("events", f"found {value!r}, expected tables [[events]]")
            return []
        several = len(value) > 1
        made = [
            self.events(raw, f"events[{place}]" if several else "events")
            for place, raw in enumerate(value)
        ]
        form = made[0].time.form
        for table in made[1:]:
            if (table.time.form == "order") != (form == "order"):
                said = f"{table.time.form}, but {form} in {made[0].key}"
                self.faults.add(f"{table.key}.time", f"{said}; all tables have times, or none")
        for one, other in combinations(made, 2):
            if _of_a_row(one) == _of_a_row(other):
                known = {path.resolve() for path in one.files.paths}
                for twice in (p for p in other.files.paths if p.resolve() in known):
                    said = f"{twice.name} is read in the same way by {one.key}; name it once"
                    self.faults.add(f"{other.key}.files", said)
        if several and not all(t.time.column for t in made):
            said = "the rows of several tables have no common order"
            self.faults.add("events.time", f"{said}; name a column of positions in each")
        return made

    def events(self, raw: Mapping[str, Any], path: str) -> EventTable:
        self.faults.unknown(raw, (*FILE_KEYS, "name", *COLUMNS), path)
        for key, expected in {
            "user": "the name of the column that says who did it",
            "time": "the name of a column, or order where there are no times",
            "kind": f"a role for all rows ({ROLES}), or a table with column and values",
        }.items():
            if key not in raw:
                self.faults.add(f"{path}.{key}", f"missing, expected {expected}")
        return EventTable(
            key=path,
            files=self.files(raw, path),
            ids={c: self.id(raw[c], f"{path}.{c}") for c in ID_COLUMNS if c in raw},
            time=self.clock(raw.get("time", "?"), f"{path}.time"),
            kinds=self.kinds(raw["kind"], f"{path}.kind") if "kind" in raw else Kinds(),
            numbers={c: self.text(raw[c], f"{path}.{c}") for c in NUMBERS if c in raw},
            name=self.text(raw.get("name", path), f"{path}.name"),
        )

    def union(self, tables: Sequence[EventTable]) -> tuple[Kind, ...]:
        """The kinds of all tables in funnel order; of one role in the order of the mapping."""
        role_of: dict[str, Role] = {}
        for table in tables:
            for kind in table.kinds.kinds:
                if (other := role_of.setdefault(kind.name, kind.role)) != kind.role:
                    roles = f"the role {kind.role.value}, and {other.value} too"
                    said = f"{kind.name!r} has {roles}; one name has two roles"
                    self.faults.add(f"{table.key}.kind", said)
        return in_funnel_order(Kind(*k) for k in role_of.items())

    def files(self, raw: Mapping[str, Any], path: str) -> Files:
        before, given = len(self.faults), {k: raw[k] for k in FILE_KEYS if k in raw}
        found = self.faults.options(_files, given, path)
        if len(self.faults) > before:
            return Files(paths=(), format="csv")
        named = found.pop("files")
        patterns = (named,) if isinstance(named, str) else named
        suffix = Path(patterns[0].lower().removesuffix(".gz")).suffix
        form = found.setdefault("format", FORMATS.get(suffix, ""))
        if not form:
            said = f"missing, and the name {patterns[0]!r} does not say it"
            self.faults.add(f"{path}.format", f"{said}; expected 'csv' or 'parquet'")
        if form == "parquet":
            for key in (k for k in FILE_KEYS[2:] if k in raw):
                self.faults.add(f"{path}.{key}", "a Parquet file has none; leave it out")
        paths = [p for pattern in patterns for p in self.paths(pattern, f"{path}.files")]
        for twice in (p for p, n in Counter(p.resolve() for p in paths).items() if n > 1):
            said = f"{twice.name} is named twice, so its rows would count twice; name it once"
            self.faults.add(f"{path}.files", said)
        found.setdefault("delimiter", "\t" if suffix == ".tsv" else ",")
        return Files(paths=tuple(paths), **{**found, "format": form or "csv"})

    def paths(self, pattern: str, path: str) -> list[Path]:
        """The files that a pattern names, in the order of names.

        Variables are filled in, relative paths start at the mapping's folder. A name that is there
        is that file's; in any other * ? [ ] and ** match. The mapping's folder and the variables'
        values are no patterns.
        """

        def value(match: re.Match[str]) -> str:
            return os.environ.get(match[1] or match[2], "")

        for name in {m[1] or m[2] for m in VARIABLE.finditer(pattern)} - os.environ.keys():
            self.faults.add(path, f"the variable {name} in {pattern!r} is not set")
        full = self.where.parent / VARIABLE.sub(value, pattern)
        try:
            there = full.resolve().exists()
        except (OSError, ValueError) as fault:  # too long, or with a null byte
            self.faults.add(path, f"found {shown(pattern)}, expected a path ({first_line(fault)})")
            return []
        if there or not has_magic(pattern):
            return [full]
        filled = VARIABLE.sub(lambda match: escape(value(match)), pattern)
        full = Path(escape(str(self.where.parent))) / filled
        inside = Path(full.anchor) if full.anchor else Path()
        below = inside.glob(str(full.relative_to(inside)))
        found = sorted(p for p in below if p.is_file())
        if not found:
            self.faults.add(path, f"no file matches {pattern!r}")
        return found

    def id(self, value: object, path: str) -> Id:
        if not isinstance(value, dict):
            return Id(self.text(value, path))
        return self.faults.read(_id, value, path) or Id("?")

    def clock(self, value: object, path: str, *, order: bool = True) -> Clock:
        if value == "order" and order:
            return Clock("", "order")
        if not isinstance(value, dict):
            return Clock(self.text(value, path))
        made = self.faults.read(_clock, value, path, order=order)
        if made and made.form in (*UNITS, "order") and "zone" in value:
            self.faults.add(f"{path}.zone", f"{made.form} have no time zone; leave it out")
        return made or Clock("?")

    def kinds(self, value: object, path: str) -> Kinds:
        if not isinstance(value, dict) or "column" not in value:
            return Kinds(all=self.kind(value, path))
        self.faults.unknown(value, ("column", "values"), path)
        raw = self.table(value.get("values", {}), f"{path}.values")
        if not 0 < len(raw) <= MOST_KINDS:
            expected = f"1 to {MOST_KINDS} times value = role, for each kind of event ({ROLES})"
            self.faults.add(f"{path}.values", f"found {len(raw)}, expected {expected}")
            raw = {}
        column = self.text(value["column"], f"{path}.column")
        kinds = {str(v): self.kind(k, f"{path}.values.{v}", str(v)) for v, k in raw.items()}
        return Kinds(column, kinds)

    def kind(self, value: object, path: str, name: str = "") -> Kind:
        if isinstance(value, dict):
            self.faults.unknown(value, ("name", "role"), path)
            name = self.text(value.get("name", name or value.get("role")), f"{path}.name")
            value, path = value.get("role"), f"{path}.role"
        role = self.choice(value, ROLE, path)
        return Kind(name or role, Role(role))

    def items(self, value: object, tables: Sequence[EventTable]) -> Items:
        path, raw = "catalogue", self.table(value, "catalogue")
        known, files = None, None
        item = next((t.ids["item"] for t in tables if "item" in t.ids), None)
        self.faults.unknown(raw, (*FILE_KEYS, "item", "known_from", "attributes"), path)
        if "files" in raw:
            files = self.files(raw, path)
            item = self.id(raw["item"], f"{path}.item") if "item" in raw else item
            if "known_from" in raw:
                known = self.clock(raw["known_from"], f"{path}.known_from", order=False)
        else:
            for key in (k for k in raw if k in (*FILE_KEYS, "item", "known_from")):
                help_ = f"name them in {path}.files or leave it out"
                said = f"only a catalogue with files of its own has it; {help_}"
                self.faults.add(f"{path}.{key}", said)
        if item is None:
            where = "events.item" if files is None else "no other"
            expected = f"the name of the column of items (and {where})"
            self.faults.add(f"{path}.item", f"missing, expected {expected}")
        attributes = {}
        for name, about in self.table(raw.get("attributes"), f"{path}.attributes").items():
            key, column = f"{path}.attributes.{name}", name
            if isinstance(about, dict):
                self.faults.unknown(about, ("column", "type"), key)
                column, about = about.get("column", name), about.get("type")
            type_ = AttributeType(self.choice(about, TYPE, key))
            attributes[name] = self.text(column, f"{key}.column"), type_
        return Items(files=files, item=item or Id("?"), known_from=known, attributes=attributes)


def _files(
    *,
    files: Patterns,
    format: Annotated[str, OneOf("csv", "parquet")] = "",
    delimiter: Annotated[str, Character] = ",",
    encoding: Annotated[str, Encoding()] = "utf-8",
    header: Annotated[Texts, Distinct()] = (),
    missing: tuple[str, ...] = (),
) -> None:
    """The options of files."""


def _id(*, column: Text, ids: Annotated[str, OneOf("auto", "number", "text")] = "auto") -> Id:
    return Id(column, ids)  # type: ignore[arg-type]


def _clock(*, column: Text, format: Text = "iso", zone: Text = "UTC", order: bool) -> Clock:
    forms = ("iso", *UNITS, *(("order",) if order else ()))
    if format not in forms and "%" not in format:
        expected = f"one of {', '.join(forms)}, or a strptime format such as %d/%m/%Y %H:%M"
        raise OptionsError("", [Fault("format", f"found {format!r}, expected {expected}")])
    return Clock(column, format, zone)


def _of_a_row(table: EventTable) -> tuple[object, ...]:
    """What a table makes of a row of its files."""
    return table.ids, table.time, table.kinds, table.numbers


def in_funnel_order(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """The kinds by their roles; of one role in the order given."""
    roles = list(Role)
    return tuple(sorted(kinds, key=lambda kind: roles.index(kind.role)))
