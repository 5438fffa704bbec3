"""The mapping file of the table reader: which column is what. docs/datasets.md explains it by
example.
"""

import codecs
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
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
ROLES = ", ".join(r.value for r in Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files of one kind.

    `header` names the columns of a CSV that has no header line, `missing` the texts of a CSV that
    stand for none.
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
    """A column of times:

    `iso`, a unit since 1970, `order` (a position) or a strptime format; without a column, the
    order of the rows.
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
        return tuple(dict.fromkeys((*((self.all,) if self.all else ()), *self.values.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTable:
    """Files of events that have the same columns.

    `key` is where the mapping tells of them (`events`, `events[1]`), `name` what counts of
    rejected rows call them.
    """

    key: str
    name: str
    files: Files
    ids: Mapping[str, Id]
    time: Clock
    kinds: Kinds
    numbers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The catalogue: files of its own, or None where its attributes stand in the events' files."""

    files: Files | None
    item: Id
    known_from: Clock | None
    attributes: Mapping[str, tuple[str, AttributeType]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    """A whole mapping file.

    `kinds` are those of all tables in funnel order, which breaks ties in time.
    """

    where: Path
    name: str
    query: Literal["codes", "text"]
    tables: tuple[EventTable, ...]
    kinds: tuple[Kind, ...]
    items: Items | None

    @property
    def ordered(self) -> bool:
        """Whether the log stores an order instead of times."""
        return self.tables[0].time.form == "order"

    @property
    def columns(self) -> tuple[str, ...]:
        """The optional columns that at least one table has."""
        return tuple(c for c in OPTIONAL if any(c in t.ids or c in t.numbers for t in self.tables))


def load(path: Path) -> TableMapping:
    """The mapping in a TOML file.

    Raises one ConfigError with every fault, each with the path of its key.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as fault:
        raise ConfigError(
            f"{path}: the mapping cannot be read ({fault.strerror}); docs/datasets.md shows one"
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError(f"{path}: not a TOML file ({fault})") from None
    return parse(raw, path)


def parse(raw: Mapping[str, Any], where: Path) -> TableMapping:
    """The mapping in a table of keys as a TOML file has them.

    `where` names it in messages, and relative paths start at its folder.

    Raises one ConfigError with every fault, each with the path of its key.
    """
    form = _Form(where)
    form.known(raw, "", ("name", "query", "events", "catalogue"))
    tables = form.tables(raw.get("events"))
    catalogue = form.table(raw, "catalogue", "") if "catalogue" in raw else None
    kinds = form.union(tables)
    items = form.items(catalogue, tables) if catalogue is not None else None
    if items is not None:
        used = {c for t in tables for c in (*t.ids, *t.numbers)}
        for name in items.attributes:
            if name in {*REQUIRED, "known_from", *ID_COLUMNS, *used} or not re.fullmatch(
                r"[A-Za-z_][A-Za-z0-9_]*", name
            ):
                form.fault(
                    f"catalogue.attributes.{name}: this name is taken or no plain word; give it"
                    f" another name = {{ column = {name!r} }}"
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
        if self.faults:
            head = (
                f"{self.where}: "
                if len(self.faults) == 1
                else f"{self.where}: {len(self.faults)} faults\n  - "
            )
            raise ConfigError(head + "\n  - ".join(self.faults))

    def known(self, raw: Mapping[str, Any], path: str, keys: tuple[str, ...]) -> None:
        for key in raw:
            if key not in keys:
                self.fault(
                    f"{path + '.' if path else ''}{key}: unknown key, the known ones are"
                    f" {', '.join(keys)}"
                )

    def table(self, raw: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
        found = raw.get(key)
        if isinstance(found, dict):
            return found
        self.fault(
            f"{path + '.' if path else ''}{key}:"
            f" {'missing' if found is None else f'found {found!r}'}, expected a table [{key}]"
        )
        return {}

    def tables(self, found: object) -> list[EventTable]:
        """One table [events], or several [[events]]."""
        if not isinstance(found, list):
            return [self.events(self.table({"events": found}, "events", ""), "events")]
        if not found or not all(isinstance(t, dict) for t in found):
            self.fault(f"events: found {found!r}, expected tables [[events]]")
            return []
        made = [
            self.events(raw, f"events[{place}]" if len(found) > 1 else "events")
            for place, raw in enumerate(found)
        ]
        for table in made[1:]:
            if (table.time.form == "order") != (made[0].time.form == "order"):
                self.fault(
                    f"{table.key}.time: {table.time.form}, but {made[0].time.form} in"
                    f" {made[0].key}; all tables have times, or none"
                )
        if len(made) > 1 and not all(t.time.column for t in made):
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
            self.fault(
                f"{path}.user: missing, expected the name of the column that says who did it"
            )
        time, kinds = (
            self.clock(raw.get("time"), f"{path}.time", order=True),
            self.kinds(raw.get("kind"), f"{path}.kind"),
        )
        numbers = {c: self.text(raw[c], f"{path}.{c}") for c in NUMBERS if c in raw}
        name = self.text(raw.get("name", path), f"{path}.name")
        return EventTable(
            key=path,
            name=name,
            files=files or Files(paths=(), format="csv"),
            ids=ids,
            time=time,
            kinds=kinds,
            numbers=numbers,
        )

    def union(self, tables: Sequence[EventTable]) -> tuple[Kind, ...]:
        """The kinds of all tables in funnel order; of one role in the order of the mapping."""
        roles, role_of = list(Role), dict[str, Role]()
        for table in tables:
            for kind in table.kinds.kinds:
                if role_of.setdefault(kind.name, kind.role) != kind.role:
                    self.fault(
                        f"{table.key}.kind: {kind.name!r} has the role {kind.role.value}, and"
                        f" {role_of[kind.name].value} too; one name has two roles"
                    )
        return tuple(
            sorted((Kind(*k) for k in role_of.items()), key=lambda k: roles.index(k.role))
        )

    def text(self, found: object, path: str) -> str:
        if isinstance(found, str) and found:
            return found
        self.fault(f"{path}: found {found!r}, expected a text")
        return "?"

    def choice(self, found: object, path: str, known: tuple[str, ...]) -> str:
        if found not in known:
            self.fault(f"{path}: found {found!r}, expected one of {', '.join(known)}")
            return known[0]
        return str(found)

    def files(self, raw: Mapping[str, Any], path: str) -> Files | None:
        found = raw.get("files")
        patterns = [found] if isinstance(found, str) else found
        if (
            not isinstance(patterns, list)
            or not patterns
            or not all(isinstance(p, str) and p for p in patterns)
        ):
            self.fault(
                f"{path}.files: {'missing' if found is None else f'found {found!r}'}, expected a"
                " path or a list of paths"
            )
            return None
        paths = [p for pattern in patterns for p in self.paths(pattern, f"{path}.files")]
        name = Path(patterns[0]).name.lower().removesuffix(".gz")
        suffix = name.rsplit(".", 1)[-1] if "." in name else ""
        guess = {
            "parquet": "parquet",
            "pq": "parquet",
            "csv": "csv",
            "tsv": "csv",
            "txt": "csv",
        }.get(suffix)
        if "format" not in raw and guess is None:
            self.fault(
                f"{path}.format: missing, and the name {patterns[0]!r} does not say it; expected"
                " 'csv' or 'parquet'"
            )
        form = self.choice(raw.get("format", guess or "csv"), f"{path}.format", ("csv", "parquet"))
        if form == "parquet":
            for key in ("delimiter", "encoding", "header", "missing"):
                if key in raw:
                    self.fault(f"{path}.{key}: a Parquet file has none; leave it out")
        delimiter = self.text(
            raw.get("delimiter", "\t" if suffix == "tsv" else ","), f"{path}.delimiter"
        )
        if len(delimiter.encode()) != 1 or delimiter in '"\n\r':
            self.fault(
                f"{path}.delimiter: found {delimiter!r}, expected one ASCII character such as ','"
                " ';' or '\\t'"
            )
        encoding = self.text(raw.get("encoding", "utf-8"), f"{path}.encoding")
        try:
            codecs.lookup(encoding)
        except LookupError:
            self.fault(
                f"{path}.encoding: found {encoding!r}, expected one that Python knows, such as"
                " utf-8, latin-1 or cp1252"
            )
        header = raw.get("header", [])
        if (
            not isinstance(header, list)
            or not all(isinstance(h, str) and h for h in header)
            or len(set(header)) < len(header)
        ):
            self.fault(
                f"{path}.header: found {header!r}, expected the names of the columns, each once,"
                " of a file without a header line"
            )
            header = []
        missing = raw.get("missing", [])
        if not isinstance(missing, list) or not all(isinstance(m, str) for m in missing):
            self.fault(
                f"{path}.missing: found {missing!r}, expected the texts that stand for no value,"
                " such as ['NA']"
            )
            missing = []
        return Files(
            paths=tuple(paths),
            format="parquet" if form == "parquet" else "csv",
            delimiter=delimiter,
            encoding=encoding,
            header=tuple(header),
            missing=tuple(missing),
        )

    def paths(self, pattern: str, path: str) -> list[Path]:
        """Variables are filled in, relative paths are seen from the mapping's folder, * ? [ ] and
        ** match in the order of names.
        """

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name not in os.environ:
                self.fault(f"{path}: the variable {name} in {pattern!r} is not set")
            return os.environ.get(name, "")

        full = self.where.parent / re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, pattern)
        if full.exists() or not has_magic(str(full)):
            return [full]
        anchor = Path(full.anchor)
        found = (
            sorted(p for p in anchor.glob(str(full.relative_to(anchor))) if p.is_file())
            if full.anchor
            else sorted(Path().glob(str(full)))
        )
        if not found and path:
            self.fault(f"{path}: no file matches {pattern!r}")
        return found

    def id(self, found: object, path: str) -> Id:
        if isinstance(found, dict):
            self.known(found, path, ("column", "ids"))
            kind = self.choice(found.get("ids", "auto"), f"{path}.ids", ("auto", "number", "text"))
            return Id(self.text(found.get("column"), f"{path}.column"), kind)  # type: ignore[arg-type]
        return Id(self.text(found, path))

    def clock(self, found: object, path: str, *, order: bool) -> Clock:
        if found == "order" and order:
            return Clock("", "order")
        if found is None:
            self.fault(
                f"{path}: missing, expected the name of a"
                f" column{', or order where there are no times' if order else ''}"
            )
            return Clock("?")
        if not isinstance(found, dict):
            return Clock(self.text(found, path))
        self.known(found, path, ("column", "format", "zone"))
        form = self.text(found.get("format", "iso"), f"{path}.format")
        forms = ("iso", *UNITS, *(("order",) if order else ()))
        if form not in forms and "%" not in form:
            self.fault(
                f"{path}.format: found {form!r}, expected one of {', '.join(forms)}, or a strptime"
                " format such as %d/%m/%Y %H:%M"
            )
        zone = self.text(found.get("zone", "UTC"), f"{path}.zone")
        if form in (*UNITS, "order") and "zone" in found:
            self.fault(f"{path}.zone: {form} have no time zone; leave it out")
        return Clock(self.text(found.get("column"), f"{path}.column"), form, zone)

    def kinds(self, found: object, path: str) -> Kinds:
        if found is None:
            self.fault(
                f"{path}: missing, expected a role for all rows ({ROLES}), or a table with column"
                " and values"
            )
            return Kinds()
        if not isinstance(found, dict) or "column" not in found:
            return Kinds(all=self.kind(found, path))
        self.known(found, path, ("column", "values"))
        raw = self.table(found, "values", path)
        if not raw:
            self.fault(
                f"{path}.values: empty, expected value = role for each kind of event ({ROLES})"
            )
        return Kinds(
            self.text(found["column"], f"{path}.column"),
            {str(v): self.kind(k, f"{path}.values.{v}", str(v)) for v, k in raw.items()},
        )

    def kind(self, found: object, path: str, name: str = "") -> Kind:
        if isinstance(found, dict):
            self.known(found, path, ("name", "role"))
            name = self.text(found.get("name", name or found.get("role")), f"{path}.name")
            found, path = found.get("role"), f"{path}.role"
        if found not in tuple(r.value for r in Role):
            self.fault(f"{path}: found {found!r}, expected one of {ROLES}")
            return Kind(name or "?", Role.OTHER)
        return Kind(name or str(found), Role(str(found)))

    def items(self, raw: Mapping[str, Any], tables: Sequence[EventTable]) -> Items:
        path = "catalogue"
        item = next((t.ids["item"] for t in tables if "item" in t.ids), None)
        self.known(raw, path, (*FILE_KEYS, "item", "known_from", "attributes"))
        own = self.files(raw, path) if "files" in raw else None
        if "files" in raw:
            item = self.id(raw["item"], f"{path}.item") if "item" in raw else item
            known = (
                self.clock(raw["known_from"], f"{path}.known_from", order=False)
                if "known_from" in raw
                else None
            )
        else:
            known = None
            for key in (k for k in raw if k not in ("attributes",)):
                if key in (*FILE_KEYS, "item", "known_from"):
                    self.fault(
                        f"{path}.{key}: only a catalogue with files of its own has it; name them"
                        f" in {path}.files or leave it out"
                    )
        if item is None:
            self.fault(
                f"{path}.item: missing, expected the name of the column of items (and"
                f" {'events.item' if own is None else 'no other'})"
            )
        attributes = {}
        for name, found in self.table(raw, "attributes", path).items():
            column: object = name
            if isinstance(found, dict):
                self.known(found, f"{path}.attributes.{name}", ("column", "kind"))
                column, found = found.get("column", name), found.get("kind")
            kind = self.choice(
                found, f"{path}.attributes.{name}", tuple(k.value for k in AttributeType)
            )
            attributes[name] = (
                self.text(column, f"{path}.attributes.{name}.column"),
                AttributeType(kind),
            )
        return Items(files=own, item=item or Id("?"), known_from=known, attributes=attributes)
