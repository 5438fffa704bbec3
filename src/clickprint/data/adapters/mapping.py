"""The mapping file of the table reader: which column is what. docs/datasets.md explains it by
example.
"""

import codecs
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path
from typing import Any, Literal

from clickprint.core.errors import ConfigError
from clickprint.core.events import COLUMNS, ID_COLUMNS, REQUIRED, Kind, Role
from clickprint.core.items import AttributeType

OPTIONAL = tuple(c for c in COLUMNS if c not in REQUIRED)
NUMBERS = ("price", "quantity")
UNITS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
FILE_KEYS = ("files", "format", "delimiter", "encoding", "header", "missing")
FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".txt": "csv"}
ROLES = ", ".join(r.value for r in Role)


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


def load(path: Path) -> TableMapping:
    """The mapping in a TOML file. Raises one ConfigError with every fault and its key."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as fault:
        said = f"the mapping cannot be read ({fault.strerror}); docs/datasets.md shows one"
        raise ConfigError(f"{path}: {said}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError(f"{path}: not a TOML file ({fault})") from None
    return parse(raw, path)


def parse(raw: Mapping[str, Any], where: Path) -> TableMapping:
    """The mapping in a table of keys, as a TOML file has them.

    `where` names it in messages, and relative paths start at its folder. Raises one ConfigError
    with every fault and its key.
    """
    form = _Form(where)
    form.known(raw, "", ("name", "query", "events", "catalogue"))
    tables = form.tables(raw.get("events"))
    catalogue = form.table(raw, "catalogue", "") if "catalogue" in raw else None
    kinds = form.union(tables)
    items = form.items(catalogue, tables) if catalogue is not None else None
    used = {c for t in tables for c in (*t.ids, *t.numbers)}
    taken = {*REQUIRED, "known_from", *ID_COLUMNS, *used}
    for name in items.attributes if items else ():
        if name in taken or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            other = f"give it another name = {{ column = {name!r} }}"
            form.fault(
                f"catalogue.attributes.{name}: this name is taken or no plain word; {other}"
            )
    name = form.text(raw.get("name", where.stem), "name")
    query = raw.get("query", "text")
    if query not in ("text", "codes"):
        form.fault(f"query: found {query!r}, expected 'text' or 'codes'")
    form.raise_()
    return TableMapping(
        where=where, name=name, query=query, tables=tuple(tables), kinds=kinds, items=items
    )


@dataclass(slots=True)
class _Form:
    """Reads keys and collects what is wrong with them."""

    where: Path
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def raise_(self) -> None:
        if len(self.faults) == 1:
            raise ConfigError(f"{self.where}: {self.faults[0]}")
        if self.faults:
            lines = "".join(f"\n  - {fault}" for fault in self.faults)
            raise ConfigError(f"{self.where}: {len(self.faults)} faults{lines}")

    def known(self, raw: Mapping[str, Any], path: str, keys: tuple[str, ...]) -> None:
        for key in (k for k in raw if k not in keys):
            self.fault(f"{_join(path, key)}: unknown key, the known ones are {', '.join(keys)}")

    def table(self, raw: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
        value = raw.get(key)
        if isinstance(value, dict):
            return value
        self.fault(f"{_join(path, key)}: {_found(value)}, expected a table [{key}]")
        return {}

    def tables(self, value: object) -> list[EventTable]:
        """One table [events], or several [[events]]."""
        if not isinstance(value, list):
            return [self.events(self.table({"events": value}, "events", ""), "events")]
        if not value or not all(isinstance(t, dict) for t in value):
            self.fault(f"events: found {value!r}, expected tables [[events]]")
            return []
        several = len(value) > 1
        made = [
            self.events(raw, f"events[{place}]" if several else "events")
            for place, raw in enumerate(value)
        ]
        form = made[0].time.form
        for table in made[1:]:
            if (table.time.form == "order") != (form == "order"):
                self.fault(
                    f"{table.key}.time: {table.time.form}, but {form} in {made[0].key};"
                    " all tables have times, or none"
                )
        if several and not all(t.time.column for t in made):
            self.fault(
                "events.time: the rows of several tables have no common order; name a column of"
                " positions in each"
            )
        return made

    def events(self, raw: Mapping[str, Any], path: str) -> EventTable:
        self.known(raw, path, (*FILE_KEYS, "name", *COLUMNS))
        files = self.files(raw, path)
        ids = {c: self.id(raw[c], f"{path}.{c}") for c in ID_COLUMNS if c in raw}
        if "user" not in raw:
            said = "missing, expected the name of the column that says who did it"
            self.fault(f"{path}.user: {said}")
        return EventTable(
            key=path,
            files=files or Files(paths=(), format="csv"),
            ids=ids,
            time=self.clock(raw.get("time"), f"{path}.time", order=True),
            kinds=self.kinds(raw.get("kind"), f"{path}.kind"),
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
                    self.fault(f"{table.key}.kind: {said}")
        return in_funnel_order(Kind(*k) for k in role_of.items())

    def text(self, value: object, path: str) -> str:
        if isinstance(value, str) and value:
            return value
        self.fault(f"{path}: found {value!r}, expected a text")
        return "?"

    def choice(self, value: object, path: str, known: tuple[str, ...]) -> str:
        if value not in known:
            self.fault(f"{path}: found {value!r}, expected one of {', '.join(known)}")
            return known[0]
        return str(value)

    def texts(
        self, raw: Mapping[str, Any], key: str, path: str, expected: str, *, once: bool = False
    ) -> tuple[str, ...]:
        """A list of texts, empty where the key is absent; `once`: not empty ones, each once."""
        value = raw.get(key, [])
        good = isinstance(value, list) and all(isinstance(v, str) for v in value)
        if good and not (once and (not all(value) or len(set(value)) < len(value))):
            return tuple(value)
        self.fault(f"{path}.{key}: found {value!r}, expected {expected}")
        return ()

    def files(self, raw: Mapping[str, Any], path: str) -> Files | None:
        value = raw.get("files")
        patterns = [value] if isinstance(value, str) else value
        if (
            not isinstance(patterns, list)
            or not patterns
            or not all(_is_word(p) for p in patterns)
        ):
            self.fault(f"{path}.files: {_found(value)}, expected a path or a list of paths")
            return None
        paths = [p for pattern in patterns for p in self.paths(pattern, f"{path}.files")]
        suffix = Path(patterns[0].lower().removesuffix(".gz")).suffix
        guess = FORMATS.get(suffix)
        if "format" not in raw and guess is None:
            said = f"missing, and the name {patterns[0]!r} does not say it"
            self.fault(f"{path}.format: {said}; expected 'csv' or 'parquet'")
        form = self.choice(raw.get("format", guess or "csv"), f"{path}.format", ("csv", "parquet"))
        if form == "parquet":
            for key in (k for k in FILE_KEYS[2:] if k in raw):
                self.fault(f"{path}.{key}: a Parquet file has none; leave it out")
        comma = "\t" if suffix == ".tsv" else ","
        delimiter = self.text(raw.get("delimiter", comma), f"{path}.delimiter")
        if len(delimiter.encode()) != 1 or delimiter in '"\n\r':
            expected = "one ASCII character such as ',' ';' or '\\t'"
            self.fault(f"{path}.delimiter: found {delimiter!r}, expected {expected}")
        encoding = self.text(raw.get("encoding", "utf-8"), f"{path}.encoding")
        try:
            codecs.lookup(encoding)
        except LookupError:
            expected = "one that Python knows, such as utf-8, latin-1 or cp1252"
            self.fault(f"{path}.encoding: found {encoding!r}, expected {expected}")
        names = "the names of the columns, each once, of a file without a header line"
        none = "the texts that stand for no value, such as ['NA']"
        return Files(
            paths=tuple(paths),
            format="parquet" if form == "parquet" else "csv",
            delimiter=delimiter,
            encoding=encoding,
            header=self.texts(raw, "header", path, names, once=True),
            missing=self.texts(raw, "missing", path, none),
        )

    def paths(self, pattern: str, path: str) -> list[Path]:
        """The files that a pattern names, in the order of names.

        Variables are filled in, relative paths start at the mapping's folder, and * ? [ ] and **
        match.
        """

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name not in os.environ:
                self.fault(f"{path}: the variable {name} in {pattern!r} is not set")
            return os.environ.get(name, "")

        full = self.where.parent / re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, pattern)
        if full.exists() or not has_magic(str(full)):
            return [full]
        if full.anchor:
            below = Path(full.anchor).glob(str(full.relative_to(full.anchor)))
            found = sorted(p for p in below if p.is_file())
        else:
            found = sorted(Path().glob(str(full)))
        if not found and path:
            self.fault(f"{path}: no file matches {pattern!r}")
        return found

    def id(self, value: object, path: str) -> Id:
        if not isinstance(value, dict):
            return Id(self.text(value, path))
        self.known(value, path, ("column", "ids"))
        ids = self.choice(value.get("ids", "auto"), f"{path}.ids", ("auto", "number", "text"))
        return Id(self.text(value.get("column"), f"{path}.column"), ids)  # type: ignore[arg-type]

    def clock(self, value: object, path: str, *, order: bool) -> Clock:
        if value == "order" and order:
            return Clock("", "order")
        if value is None:
            or_order = ", or order where there are no times" if order else ""
            self.fault(f"{path}: missing, expected the name of a column{or_order}")
            return Clock("?")
        if not isinstance(value, dict):
            return Clock(self.text(value, path))
        self.known(value, path, ("column", "format", "zone"))
        form = self.text(value.get("format", "iso"), f"{path}.format")
        forms = ("iso", *UNITS, *(("order",) if order else ()))
        if form not in forms and "%" not in form:
            expected = f"one of {', '.join(forms)}, or a strptime format such as %d/%m/%Y %H:%M"
            self.fault(f"{path}.format: found {form!r}, expected {expected}")
        zone = self.text(value.get("zone", "UTC"), f"{path}.zone")
        if form in (*UNITS, "order") and "zone" in value:
            self.fault(f"{path}.zone: {form} have no time zone; leave it out")
        return Clock(self.text(value.get("column"), f"{path}.column"), form, zone)

    def kinds(self, value: object, path: str) -> Kinds:
        if value is None:
            expected = f"a role for all rows ({ROLES}), or a table with column and values"
            self.fault(f"{path}: missing, expected {expected}")
            return Kinds()
        if not isinstance(value, dict) or "column" not in value:
            return Kinds(all=self.kind(value, path))
        self.known(value, path, ("column", "values"))
        raw = self.table(value, "values", path)
        if not raw:
            expected = f"value = role for each kind of event ({ROLES})"
            self.fault(f"{path}.values: empty, expected {expected}")
        column = self.text(value["column"], f"{path}.column")
        kinds = {str(v): self.kind(k, f"{path}.values.{v}", str(v)) for v, k in raw.items()}
        return Kinds(column, kinds)

    def kind(self, value: object, path: str, name: str = "") -> Kind:
        if isinstance(value, dict):
            self.known(value, path, ("name", "role"))
            name = self.text(value.get("name", name or value.get("role")), f"{path}.name")
            value, path = value.get("role"), f"{path}.role"
        if value not in tuple(r.value for r in Role):
            self.fault(f"{path}: found {value!r}, expected one of {ROLES}")
            return Kind(name or "?", Role.OTHER)
        return Kind(name or str(value), Role(str(value)))

    def items(self, raw: Mapping[str, Any], tables: Sequence[EventTable]) -> Items:
        path, known = "catalogue", None
        item = next((t.ids["item"] for t in tables if "item" in t.ids), None)
        self.known(raw, path, (*FILE_KEYS, "item", "known_from", "attributes"))
        files = self.files(raw, path) if "files" in raw else None
        if "files" in raw:
            item = self.id(raw["item"], f"{path}.item") if "item" in raw else item
            if "known_from" in raw:
                known = self.clock(raw["known_from"], f"{path}.known_from", order=False)
        else:
            for key in (k for k in raw if k in (*FILE_KEYS, "item", "known_from")):
                help_ = f"name them in {path}.files or leave it out"
                self.fault(f"{path}.{key}: only a catalogue with files of its own has it; {help_}")
        if item is None:
            where = "events.item" if files is None else "no other"
            expected = f"the name of the column of items (and {where})"
            self.fault(f"{path}.item: missing, expected {expected}")
        attributes = {}
        types = tuple(t.value for t in AttributeType)
        for name, value in self.table(raw, "attributes", path).items():
            key, column = f"{path}.attributes.{name}", name
            if isinstance(value, dict):
                self.known(value, key, ("column", "type"))
                column, value = value.get("column", name), value.get("type")
            type_ = AttributeType(self.choice(value, key, types))
            attributes[name] = self.text(column, f"{key}.column"), type_
        return Items(files=files, item=item or Id("?"), known_from=known, attributes=attributes)


def in_funnel_order(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """The kinds by their roles; of one role in the order given."""
    roles = list(Role)
    return tuple(sorted(kinds, key=lambda kind: roles.index(kind.role)))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _found(value: object) -> str:
    return "missing" if value is None else f"found {value!r}"


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value != ""
