"""Any log in CSV or Parquet files, by a mapping file that says which column is what."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import ID_COLUMNS, Role
from clickprint.core.items import CATEGORICAL, NUMERIC, AttributeType
from clickprint.core.options import Between, shown
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import (
    Sort,
    Source,
    given_sql,
    given_text_sql,
    id_sql,
    missing,
    moment_sql,
    number_sql,
    open_source,
    whole_sql,
)
from clickprint.data.adapters.flat import kind_sql
from clickprint.data.adapters.mapping import (
    NUMBERS,
    UNITS,
    Clock,
    EventTable,
    Files,
    Id,
    TableMapping,
    load,
)
from clickprint.data.adapters.staging import ROW, SKIPPED, header, workplace
from clickprint.data.check import SIXTEEN_CODES, Reason, blaming, no_time, odd, refuse, sift_values
from clickprint.data.engine import (
    Engine,
    in_sql,
    matches_sql,
    name,
    select_sql,
    text_id_sql,
    timestamp_sql,
    zoned_sql,
)
from clickprint.data.store import gather

# Kinds of event that are about an item: without one they are rejected, where the mapping names a
# column of items at all.
ABOUT_ITEMS = (Role.EXPOSE, Role.CLICK, Role.CART, Role.REMOVE, Role.LIKE, Role.BUY, Role.CANCEL)
CARD = Card(
    title="any log in CSV or Parquet files, by a mapping file that says which column is what",
    files={
        "MAPPING.toml": (
            "names the files and their columns; docs/datasets.md shows one with every key"
        )
    },
    licence="that of your data",
    where="yours; recipes/mappings/ has some for public logs",
    dropped="""
        - a line with too many or too few columns
        - rows without a user, a readable time, a known kind, or an item where the kind is about
          one; rows of the catalogue without an item, or with an unreadable known_from
        - more than one row in a hundred of a table (the option max_rejected) stops the reading
    """,
    notes="""
        - any other value that cannot be read (a price that is no finite number, an id that is no
          whole number within int64 where the mapping says number) is missing, and counted
    """,
)
MAX_REJECTED = 0.01
ALWAYS = "1 = 1"
WHOLE, FINITE = "whole number within int64", "finite number"
SHOWN = 3  # values that a message shows


def read(
    mapping: Path,
    out: Path,
    *,
    max_rejected: Annotated[int | float, Between(0, 1)] = MAX_REJECTED,
    engine: Engine,
    progress: Progress = silent,
) -> Dataset:
    """The log that a mapping file describes, in the canonical form at `out`.

    Rows that cannot be used are counted in the manifest by reason (CARD.dropped); values that can
    be missing are, where they cannot be read, and are counted too. Raises ConfigError with every
    fault of the mapping, DataError with every fault of the files, where no row is left, and where
    more than the share `max_rejected` of a table's rows cannot be used.
    """
    return read_mapping(
        load(Path(mapping)), out, max_rejected=max_rejected, engine=engine, progress=progress
    )


def read_mapping(
    spec: TableMapping,
    out: Path,
    *,
    engine: Engine,
    reader: str = "table",
    texts: Collection[str] = (),
    rejected: Mapping[str, int] | None = None,
    max_rejected: int | float = 1,
    progress: Progress = silent,
) -> Dataset:
    """`read`, of a mapping that is made already: what readers of public logs do.

    - `reader`: its name in the manifest.
    - `texts`: columns that hold texts whatever their values look like, where the mapping leaves it
      open: those of an earlier reading.
    - `rejected`: rows that were left out when the files were made.
    """
    _try_formats(spec, engine)
    out = Path(out)
    with workplace(out) as room, blaming(spec.where):
        progress("look", 0, 0)
        sources = _sources(spec, room, engine)
        known = _text_columns(spec, sources, engine, texts)
        rows, selects, seen = _Sifted(engine, max_rejected), [], []
        for table, source in sources.events:
            tells = table in sources.tell
            good = rows.sift(table.called, source, _events(spec, table, source, known, tells))
            selects.append(_picked(spec, table, good))
            if tells:
                columns = ("time", *(f"of {n}" for n in spec.attributes))
                dated = f"SELECT item, {', '.join(map(name, columns))} FROM ({good}) AS g"
                seen.append(dated if table.time.column else good)
        expected, given = rows.usable, rows.usable + sum(rows.rejected.values())
        catalogue = _catalogue(spec, sources, seen, known, rows)
        refuse(spec.where, rows.faults)
        mapped = {"mapping": spec.where.name} if reader == "table" else {}
        return gather(
            out,
            engine=engine,
            name=spec.name,
            kinds=spec.kinds,
            columns=spec.columns,
            selects=selects,
            catalogue=catalogue,
            attributes=spec.attributes,
            texts=_maps(spec, sources, known),
            time="order" if spec.ordered else "clock",
            query=spec.query,
            rejected=rows.rejected | dict(rejected or {}),
            unread=rows.unread,
            source={"reader": reader, **mapped, "events": f"{given} rows"},
            expected=expected,
            progress=progress,
        )


def files(mapping: Path) -> tuple[Path, ...]:
    """Every file that a mapping reads, itself first; what a cache has to look at."""
    spec = load(Path(mapping))
    events = dict.fromkeys(p for t in spec.tables for p in t.files.paths)
    items = spec.items.files.paths if spec.items and spec.items.files else ()
    return (spec.where, *events, *items)


@dataclass(frozen=True, slots=True)
class _Sources:
    """Every table with its scan.

    `items` are the catalogue's own files. Where there are none, the tables `tell` tell of the
    items.
    """

    events: Sequence[tuple[EventTable, Source]]
    items: Source | None
    tell: Sequence[EventTable]

    def attributes(self) -> list[Source]:
        """Where the attributes stand."""
        return [self.items] if self.items else [s for t, s in self.events if t in self.tell]


@dataclass(frozen=True, slots=True)
class _Rows:
    """SQL of a table's rows: each canonical column, and as `given …` what stood in the file.

    - `reasons`: to reject a row; `about` has the column that a reason is about.
    - `cells`: when a value that may be missing could not be read.
    """

    sql: str
    reasons: Sequence[Reason]
    about: Mapping[str, str]
    cells: Sequence[Reason]


@dataclass(slots=True)
class _Sifted:
    """What was left of all tables, and what was not.

    - `most`: the share of a table's rows that may be rejected; `faults` has those above.
    """

    engine: Engine
    most: int | float
    usable: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def sift(self, called: str, source: Source, rows: _Rows) -> str:
        """SQL of the usable rows of a table; the others are counted, or a fault."""
        prefix = f"{called}: "
        cells = [(condition, what.removeprefix("of ")) for condition, what in rows.cells]
        good, usable, bad, unread = sift_values(self.engine, rows.sql, rows.reasons, cells, prefix)
        self.unread |= unread
        bad = source.rejected(called) | bad
        self.usable += usable
        self.rejected |= bad
        if (lost := sum(bad.values())) > self.most * (usable + lost):
            share = f"{lost:,} of {usable + lost:,} rows cannot be used, expected at most"
            help_ = "mend the files or the mapping, or raise the option max_rejected"
            self.faults.append(f"{prefix}{share} {self.most * 100:.4g} %; {help_}")
            examples = {SKIPPED: source.skipped.shown} | {
                reason: self._examples(rows.sql, condition, rows.about[reason])
                for condition, reason in rows.reasons
                if reason in rows.about and prefix + reason in bad
            }
            for reason, n in bad.items():
                some = ", ".join(map(shown, examples.get(reason.removeprefix(prefix), ())))
                self.faults.append(f"{reason}: {n:,}" + (f", such as {some}" if some else ""))
        return good

    def _examples(self, rows: str, condition: str, column: str) -> tuple[str, ...]:
        """The first few different values of a column where a condition holds."""
        value = f"CAST({name(column)} AS VARCHAR) AS v"
        some = f"SELECT DISTINCT {value} FROM ({rows}) AS r WHERE ({condition})"
        found = self.engine.table(f"SELECT v FROM ({some}) AS s ORDER BY v LIMIT {SHOWN}")
        return tuple(text for text in found.column("v").to_pylist() if text is not None)


def _try_formats(spec: TableMapping, engine: Engine) -> None:
    """Asks the engine whether it knows the time formats and zones."""
    clocks = {f"{t.key}.time": t.time for t in spec.tables}
    if spec.items and spec.items.known_from:
        clocks["catalogue.known_from"] = spec.items.known_from
    faults = []
    for path, clock in clocks.items():
        tries = {"zone": (clock.zone, zoned_sql("TIMESTAMP '2020-01-01'", clock.zone))}
        if "%" in clock.form:
            tries["format"] = clock.form, timestamp_sql("'x'", clock.form)
        for key, (value, sql) in tries.items():
            try:
                engine.table(f"SELECT {sql} AS t")
            except DataError as fault:
                faults.append(f"{path}.{key}: found {value!r} ({fault.problems[0]})")
    if faults:
        raise ConfigError(f"{spec.where}: " + "; ".join(faults))


def _sources(spec: TableMapping, room: Path, engine: Engine) -> _Sources:
    """Looks at every file and stages what has to be; one DataError with all that is wrong."""
    own = spec.items.files if spec.items else None
    listed = {column for column, _ in spec.items.attributes.values()} if spec.items else set()
    several, faults, tell, wanted = len(spec.tables) > 1, list[str](), [], []
    for table in spec.tables:
        columns = {i.column for i in table.ids.values()} | set(table.numbers.values())
        columns |= {table.time.column, table.kinds.column} - {""}
        if spec.items is not None and own is None and _tells(table, listed, several):
            columns |= listed
            tell.append(table)
        ordered = not table.time.column and "item" in table.ids
        sequence = table.ids["item"].column if ordered else ""
        wanted.append((sorted(columns), sequence))
        prefix = f"{table.key}: " if several else ""
        faults += [f"{prefix}{fault}" for fault in missing(table.files, columns, sequence)]
    if spec.items is not None and own is not None:
        listed |= {spec.items.item.column}
        listed |= {spec.items.known_from.column} if spec.items.known_from else set()
        faults += missing(own, listed)
    elif spec.items is not None and not tell and not faults:
        said = f"no table of events has all the columns {', '.join(sorted(listed))}, and items"
        faults.append(f"catalogue.attributes: {said}")
    refuse(spec.where, faults)
    events = []
    for place, (table, (needed, sequence)) in enumerate(zip(spec.tables, wanted, strict=True)):
        target, numbered = room / f"{place}.parquet", not table.time.column
        source = open_source(
            engine, table.files, needed, target, numbered=numbered, sequence=sequence
        )
        events.append((table, source))
    items = open_source(engine, own, sorted(listed), room / "items.parquet") if own else None
    sources = _Sources(events, items, tell)
    refuse(spec.where, _unfit(spec, sources))
    return sources


def _tells(table: EventTable, attributes: set[str], several: bool) -> bool:
    """Whether a table tells of the items; of several, only those that have all attributes."""
    return not several or ("item" in table.ids and _has(table.files, attributes))


def _has(files: Files, columns: set[str]) -> bool:
    """Whether the first file has all these columns; False for one that cannot be read.

    That is said elsewhere.
    """
    try:
        return columns <= set(header(files, files.paths[0]))
    except DataError:
        return False


SAID: dict[Sort, str] = {
    "text": "texts",
    "whole": "whole numbers",
    "float": "numbers",
    "time": "times",
}
NO_TIMES: tuple[Sort, ...] = ("text", "whole", "float")


def _unfit(spec: TableMapping, sources: _Sources) -> list[str]:
    """Columns whose type cannot be what the mapping says."""
    faults: list[str] = []

    def check(
        source: Source, path: str, column: str, said: str, allowed: tuple[Sort, ...] = NO_TIMES
    ) -> None:
        if (sort := source.sorts[column]) not in allowed:
            faults.append(f"{path}: column {column} holds {SAID[sort]}, expected {said}")

    def clock(source: Source, path: str, clock_: Clock) -> None:
        column, form = clock_.column, clock_.form
        if form == "iso":
            units = f"texts or times; say format = {' or '.join(UNITS)}"
            check(source, path, column, units, ("text", "time"))
        elif form in UNITS or form == "order":
            check(source, path, column, "numbers; leave format out")
        else:
            check(source, path, column, "texts; leave format out", ("text", "whole"))

    whole = "texts or whole numbers"
    for table, source in sources.events:
        for column, id_ in table.ids.items():
            check(source, f"{table.key}.{column}", id_.column, whole)
        for column, theirs in table.numbers.items():
            check(source, f"{table.key}.{column}", theirs, "numbers")
        if kind := table.kinds.column:
            check(source, f"{table.key}.kind.column", kind, whole, ("text", "whole"))
        if table.time.column:
            clock(source, f"{table.key}.time", table.time)
    if spec.items is None:
        return faults
    if sources.items is not None:
        check(sources.items, "catalogue.item", spec.items.item.column, whole)
        if spec.items.known_from is not None:
            clock(sources.items, "catalogue.known_from", spec.items.known_from)
    for source in sources.attributes():
        for attribute, (theirs, type_) in spec.items.attributes.items():
            if type_ in NUMERIC:
                check(source, f"catalogue.attributes.{attribute}", theirs, "texts or numbers")
    return faults


# -- the events ----------------------------------------------------------------------------------


def _places(spec: TableMapping, sources: _Sources) -> dict[str, list[tuple[Source, Id]]]:
    """Where the values of each column of ids, and of each attribute, stand."""
    places: dict[str, list[tuple[Source, Id]]] = {}
    for table, source in sources.events:
        for column, id_ in table.ids.items():
            places.setdefault(column, []).append((source, id_))
    if spec.items is not None:
        if sources.items is not None:
            places.setdefault("item", []).append((sources.items, spec.items.item))
        for attribute, (column, _) in spec.items.attributes.items():
            places[attribute] = [(source, Id(column)) for source in sources.attributes()]
    return places


def _text_columns(
    spec: TableMapping, sources: _Sources, engine: Engine, known: Collection[str]
) -> set[str]:
    """Which id columns and categories are texts.

    Those that the mapping calls texts, and those that hold at least one text that is no plain
    whole number, in any table. `known` are texts unless the mapping says otherwise.
    """
    others = {n for n, t in spec.attributes.items() if t is not AttributeType.CATEGORY}
    places = {c: where for c, where in _places(spec, sources).items() if c not in others}
    texts = {"query"} & set(places) if spec.query == "codes" else set()
    for column, where in places.items():
        said = {i.ids for _, i in where}
        if "number" in said and "text" not in said:
            continue
        if "text" in said or column in known or any(_has_text(engine, s, i) for s, i in where):
            texts.add(column)
    return texts


def _has_text(engine: Engine, source: Source, id_: Id) -> bool:
    """Whether a column holds a text that is no plain whole number."""
    if source.sorts[id_.column] != "text":
        return False
    given = given_sql(source, id_.column)
    condition = f"{given} IS NOT NULL AND NOT ({whole_sql(given)})"
    return engine.one(f"SELECT COUNT(*) FROM {source.scan} WHERE {condition}")[0] > 0


def _events(
    spec: TableMapping, table: EventTable, source: Source, texts: set[str], tells: bool
) -> _Rows:
    picks: dict[str, str] = {}
    reasons: list[Reason] = []
    cells: list[Reason] = []
    given: dict[str, str] = {}

    def reject(condition: str, reason: str, column: str) -> None:
        reasons.append((condition, reason))
        given[reason] = f"given {column}"

    def add(column: str, sql: str, theirs: str) -> None:
        picks[column] = sql
        picks[f"given {column}"] = given_sql(source, theirs)

    def add_id(column: str, needed: str) -> None:
        theirs = table.ids[column].column
        add(column, id_sql(source, theirs, column in texts), theirs)
        if needed:
            reasons.append((f"{name(f'given {column}')} IS NULL AND {needed}", f"no {column}"))
        if column not in texts:
            condition, reason = odd(column, WHOLE)
            if needed:
                reject(f"{condition} AND {needed}", reason, column)
            if needed != ALWAYS:
                cells.append(odd(column, WHOLE))

    add_id("user", ALWAYS)
    if table.time.column:
        add("time", moment_sql(source, table.time), table.time.column)
        unread = f"{name('time')} IS NULL", "no readable position"
        reject(*(unread if spec.ordered else no_time(name("time"))), "time")
    else:
        picks[ROW] = name(ROW)
    codes = {kind: code for code, kind in enumerate(spec.kinds)}
    if table.kinds.column:
        values = {value: codes[kind] for value, kind in table.kinds.values.items()}
        kind = kind_sql(given_sql(source, table.kinds.column), values)
        add("kind", kind, table.kinds.column)
        reject(f"{name('kind')} IS NULL", "no kind that the mapping knows", "kind")
    else:
        picks["kind"] = f"CAST({codes[table.kinds.kinds[0]]} AS SMALLINT)"
    about = [codes[kind] for kind in table.kinds.kinds if kind.role in ABOUT_ITEMS]
    for column in (c for c in ID_COLUMNS if c in table.ids and c != "user"):
        add_id(column, in_sql("kind", about) if column == "item" and about else "")
    if "item" not in table.ids:
        picks["item"] = "CAST(NULL AS BIGINT)"
    if "query" in table.ids and spec.query == "codes":
        text = given_text_sql(source, table.ids["query"].column)
        picks["query"] = f"CASE WHEN {matches_sql(text, SIXTEEN_CODES)} THEN {picks['query']} END"
        cells.append(odd("query", "16 codes from 0 to 255"))
    for column, theirs in table.numbers.items():
        add(column, number_sql(source, theirs), theirs)
        cells.append(odd(column, FINITE))
    if tells and spec.items is not None:
        for attribute, (theirs, type_) in spec.items.attributes.items():
            as_text = attribute in texts
            add(f"of {attribute}", _attribute(source, theirs, type_, as_text), theirs)
            if type_ in NUMERIC and not as_text:
                cells.append(odd(f"of {attribute}", "number"))
    return _Rows(select_sql(picks, source.scan), reasons, given, cells)


def _picked(spec: TableMapping, table: EventTable, good: str) -> str:
    """SQL: a table's usable rows with all columns of the log; null where the table has none."""
    time = name("time")
    if not table.time.column:
        turn = f"ROW_NUMBER() OVER (PARTITION BY {name('user')} ORDER BY {name(ROW)})"
        time = f"{turn} - 1"
    picks = {"time": time, **{c: name(c) for c in ("user", "kind", "item")}}
    for column in spec.columns:
        none = f"CAST(NULL AS {'DOUBLE' if column in NUMBERS else 'BIGINT'})"
        has = column in table.ids or column in table.numbers
        picks[column] = name(column) if has else none
    return select_sql(picks, f"({good}) AS g")


def _maps(spec: TableMapping, sources: _Sources, texts: set[str]) -> dict[str, str]:
    """SQL: the map (id, text) of every column that holds texts."""
    places, maps = _places(spec, sources), {}
    for column in sorted(texts):
        some = " UNION ALL ".join(
            f"SELECT DISTINCT {given_text_sql(s, i.column)} AS text FROM {s.scan}"
            f" WHERE {given_sql(s, i.column)} IS NOT NULL"
            for s, i in places[column]
        )
        maps[column] = f"SELECT {text_id_sql('text')} AS id, text FROM ({some}) AS t"
    return maps


# -- the catalogue -------------------------------------------------------------------------------


def _attribute(source: Source, column: str, type_: AttributeType, as_text: bool) -> str:
    if type_ in CATEGORICAL:
        return id_sql(source, column, as_text)
    if type_ is AttributeType.NUMBER:
        return number_sql(source, column)
    return given_text_sql(source, column)


def _catalogue(
    spec: TableMapping, sources: _Sources, seen: Sequence[str], texts: set[str], sifted: _Sifted
) -> str | None:
    """SQL of the catalogue."""
    items = sources.items
    if spec.items is None:
        return None
    if items is None:
        return _seen(spec, " UNION ALL ".join(seen))
    known, theirs = spec.items.known_from, spec.items.item.column
    picks = {"item": id_sql(items, theirs, "item" in texts)}
    picks["given item"] = given_sql(items, theirs)
    picks["known_from"] = moment_sql(items, known) if known else "CAST(NULL AS BIGINT)"
    no_item = "no item, or no whole number within int64"
    reasons, about = [("item IS NULL", no_item)], {no_item: "given item"}
    if known is not None:  # a null would say that the row was known always
        picks["given known_from"] = given_sql(items, known.column)
        unread = f"{name('given known_from')} IS NOT NULL AND ({no_time('known_from')[0]})"
        reasons.append((unread, "known_from cannot be read"))
        about["known_from cannot be read"] = "given known_from"
    cells = []
    for attribute, (column, type_) in spec.items.attributes.items():
        picks[attribute] = _attribute(items, column, type_, attribute in texts)
        if type_ in NUMERIC and attribute not in texts:
            picks[f"given {attribute}"] = given_sql(items, column)
            cells.append(odd(attribute, "number"))
    rows = _Rows(select_sql(picks, items.scan), reasons, about, cells)
    columns = ", ".join(name(c) for c in ("item", "known_from", *spec.attributes))
    return f"SELECT {columns} FROM ({sifted.sift('catalogue', items, rows)}) AS u"


def _seen(spec: TableMapping, good: str) -> str:
    """SQL: a catalogue from the events, in which nothing is known before it was seen.

    It has a row where an item's values change. Of several values at one time the smallest counts.
    Where there is only an order, the most frequent values are always known.
    """
    names = list(spec.attributes)
    # No attribute is called so.
    turn, often, t1, t2, t3 = map(name, ("#turn", "#often", "#t1", "#t2", "#t3"))
    columns = ", ".join(name(c) for c in ("item", "known_from", *names))
    some = " OR ".join(f"{name(f'of {n}')} IS NOT NULL" for n in names) or "1 = 0"
    renamed = ", ".join(f"{name(f'of {n}')} AS {name(n)}" for n in names)
    ties = ", ".join(f"{name(n)} NULLS LAST" for n in names)
    told = f"FROM ({good}) AS g WHERE item IS NOT NULL AND ({some})"
    if spec.ordered:
        group = ", ".join(name(f"of {n}") for n in names)
        always = f"CAST(NULL AS BIGINT) AS known_from, COUNT(*) AS {often}"
        rows = f"SELECT item, {always}, {renamed} {told} GROUP BY item, {group}"
        ranked = f"ROW_NUMBER() OVER (PARTITION BY item ORDER BY {often} DESC, {ties}) AS {turn}"
        best = f"SELECT *, {ranked} FROM ({rows}) AS r"
        return f"SELECT {columns} FROM ({best}) AS t WHERE {turn} = 1"
    rows = f"SELECT item, {name('time')} AS known_from, {renamed} {told}"
    # One sort of all events leaves the rows that may be changes: all but those that say what the
    # row before says, where neither time has a second value. Which of these few counts is settled
    # among them, and what still repeats is left out where it is stored.
    by = f"(PARTITION BY item ORDER BY known_from, {ties})"
    near = ", ".join(
        [
            f"LAG(known_from) OVER {by} AS {t1}, LAG(known_from, 2) OVER {by} AS {t2}",
            f"LEAD(known_from) OVER {by} AS {t3}",
            *(f"LAG({name(n)}) OVER {by} AS {name(f'last {n}')}" for n in names),
        ]
    )
    differs = " OR ".join(f"{name(n)} IS DISTINCT FROM {name(f'last {n}')}" for n in names)
    few = (
        f"SELECT {columns} FROM (SELECT *, {near} FROM ({rows}) AS r) AS n"
        f" WHERE {t1} IS NULL OR {t1} = {t2} OR {t3} = known_from OR {differs}"
    )
    ranked = f"ROW_NUMBER() OVER (PARTITION BY item, known_from ORDER BY {ties}) AS {turn}"
    return f"SELECT {columns} FROM (SELECT *, {ranked} FROM ({few}) AS f) AS t WHERE {turn} = 1"
