"""Any log in CSV or Parquet files, by a mapping file that says which column is what."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import ID_COLUMNS, Role
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import (
    Sort,
    Source,
    given_sql,
    id_sql,
    missing,
    moment_sql,
    number_sql,
    open_source,
    whole_sql,
)
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
from clickprint.data.adapters.staging import ROW, header, workplace
from clickprint.data.check import SIXTEEN_CODES, blaming, no_time, refuse, sift
from clickprint.data.engine import (
    Engine,
    matches_sql,
    name,
    quote,
    text_id_sql,
    timestamp_sql,
    zoned_sql,
)
from clickprint.data.store import gather

# Kinds of event that are about an item: without one they are rejected, where the mapping names a
# column of items at all.
ABOUT_ITEMS = (Role.EXPOSE, Role.CLICK, Role.CART, Role.REMOVE, Role.LIKE, Role.BUY, Role.CANCEL)
CATEGORIES = (AttributeType.CATEGORY, AttributeType.PRICE_BUCKET)
CARD = Card(
    title="any log in CSV or Parquet files, by a mapping file that says which column is what",
    files={
        "MAPPING.toml": (
            "names the files and their columns; docs/datasets.md shows one with every key"
        )
    },
    licence="that of your data",
    where="yours; recipes/mappings/ has some for public logs",
    dropped=(
        "a line with too many or too few columns",
        (
            "rows without a user, a readable time, a known kind, or an item where the kind is"
            " about one"
        ),
        "an id that is no whole number within int64, where the mapping says number",
        "a price or quantity that is no finite number",
    ),
)


def read(mapping: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The log that a mapping file describes, in the canonical form at `out`.

    Rows that cannot be used are counted in the manifest by reason: a line with too many columns,
    no user, a time that cannot be read, an unknown kind, no item where the kind is about one, an
    id that is no whole number within int64. Raises ConfigError with every fault of the mapping,
    DataError with every fault of the files, and where no row is left.
    """
    return read_mapping(load(Path(mapping)), out, engine=engine, progress=progress)


def read_mapping(
    spec: TableMapping,
    out: Path,
    *,
    engine: Engine,
    reader: str = "table",
    texts: Collection[str] = (),
    rejected: Mapping[str, int] | None = None,
    progress: Progress = silent,
) -> Dataset:
    """`read`, of a mapping that is made already: what readers of public logs do.

    `reader` goes to the manifest.

    `texts` are columns that hold texts whatever their values look like, where the mapping leaves
    it open: those of an earlier reading. `rejected` are rows that were left out when the files
    were made.
    """
    _try_formats(spec, engine)
    out = Path(out)
    with workplace(out) as room, blaming(spec.where):
        progress("look", 0, 0)
        sources = _sources(spec, room, engine)
        known = _text_columns(spec, sources, engine, texts)
        selects, seen, expected, left = [], [], 0, Counter[str]()
        for table, source in sources.events:
            if source.skipped:
                left[f"{table.name}: too many or too few columns"] += source.skipped
            good, n, bad = sift(
                engine,
                *_events(spec, table, source, known, table in sources.tell),
                f"{table.name}: ",
            )
            left.update(bad)
            expected += n
            selects.append(_picked(spec, table, good))
            if table in sources.tell:
                seen.append(
                    f"SELECT item, {', '.join(map(name, ('time', *_of(spec))))} FROM ({good}) AS g"
                    if table.time.column
                    else good
                )
        catalogue, also = _catalogue(spec, sources, seen, known, engine)
        mapped = {"mapping": spec.where.name} if reader == "table" else {}
        return gather(
            out,
            engine=engine,
            name=spec.name,
            kinds=spec.kinds,
            columns=spec.columns,
            selects=selects,
            catalogue=catalogue,
            attributes={n: k for n, (_, k) in spec.items.attributes.items()} if spec.items else {},
            texts=_maps(spec, sources, known),
            time="order" if spec.ordered else "clock",
            query=spec.query,
            rejected=left | also | dict(rejected or {}),
            source={"reader": reader, **mapped, "events": f"{expected + sum(left.values())} rows"},
            expected=expected,
            progress=progress,
        )


def files(mapping: Path) -> tuple[Path, ...]:
    """Every file that a mapping reads, itself first; what a cache has to look at."""
    spec = load(Path(mapping))
    events = [p for t in spec.tables for p in t.files.paths]
    return (
        spec.where,
        *dict.fromkeys(events),
        *(spec.items.files.paths if spec.items and spec.items.files else ()),
    )


@dataclass(frozen=True, slots=True)
class _Sources:
    """Every table with its scan.

    `tell` are the tables that tell of the items, where `items`, the catalogue's own files, is
    None.
    """

    events: Sequence[tuple[EventTable, Source]]
    items: Source | None
    tell: Sequence[EventTable]

    def attributes(self) -> list[Source]:
        """Where the attributes stand."""
        return [self.items] if self.items else [s for t, s in self.events if t in self.tell]


def _try_formats(spec: TableMapping, engine: Engine) -> None:
    """Asks the engine whether it knows the time formats and zones."""
    clocks = {f"{t.key}.time": t.time for t in spec.tables}
    if spec.items and spec.items.known_from:
        clocks["catalogue.known_from"] = spec.items.known_from
    faults = []
    for path, clock in clocks.items():
        tries = {"zone": zoned_sql("TIMESTAMP '2020-01-01'", clock.zone)}
        if "%" in clock.form:
            tries["format"] = timestamp_sql("'x'", clock.form)
        for key, sql in tries.items():
            try:
                engine.table(f"SELECT {sql} AS t")
            except DataError as fault:
                faults.append(
                    f"{path}.{key}: found {getattr(clock, {'format': 'form'}.get(key, key))!r}"
                    f" ({fault.problems[0]})"
                )
    if faults:
        raise ConfigError(f"{spec.where}: " + "; ".join(faults))


def _sources(spec: TableMapping, room: Path, engine: Engine) -> _Sources:
    """Looks at every file and stages what has to be; one DataError with all that is wrong."""
    own = spec.items.files if spec.items else None
    listed = {c for c, _ in spec.items.attributes.values()} if spec.items else set()
    several, faults, tell, wanted = len(spec.tables) > 1, [], [], []
    for table in spec.tables:
        columns = (
            {i.column for i in table.ids.values()}
            | set(table.numbers.values())
            | ({table.time.column, table.kinds.column} - {""})
        )
        if (
            spec.items is not None
            and own is None
            and (not several or ("item" in table.ids and _has(table.files, listed)))
        ):
            columns |= listed
            tell.append(table)
        wanted.append(
            (
                sorted(columns),
                table.ids["item"].column if not table.time.column and "item" in table.ids else "",
            )
        )
        faults += [
            f"{table.key}: {f}" if several else f
            for f in missing(table.files, columns, wanted[-1][1])
        ]
    if own is not None:
        assert spec.items is not None
        listed |= {spec.items.item.column} | (
            {spec.items.known_from.column} if spec.items.known_from else set()
        )
        faults += missing(own, listed)
    elif spec.items is not None and not tell and not faults:
        faults.append(
            "catalogue.attributes: no table of events has all the columns"
            f" {', '.join(sorted(listed))}, and items"
        )
    refuse(spec.where, faults)
    events = [
        (
            table,
            open_source(
                engine,
                table.files,
                columns,
                room / f"{place}.parquet",
                numbered=not table.time.column,
                sequence=sequence,
            ),
        )
        for place, (table, (columns, sequence)) in enumerate(zip(spec.tables, wanted, strict=True))
    ]
    items = open_source(engine, own, sorted(listed), room / "items.parquet") if own else None
    found = _Sources(events, items, tell)
    refuse(spec.where, _unfit(spec, found))
    return found


def _has(files: Files, columns: set[str]) -> bool:
    """Whether the first file has all these columns;

    False where it cannot be read, which is said elsewhere.
    """
    try:
        return columns <= set(header(files, files.paths[0]))
    except DataError:
        return False


def _unfit(spec: TableMapping, sources: _Sources) -> list[str]:
    """Columns whose type cannot be what the mapping says."""
    faults = []

    def check(
        source: Source, path: str, column: str, allowed: tuple[Sort, ...], said: str
    ) -> None:
        if source.sorts[column] not in allowed:
            found = {
                "text": "texts",
                "whole": "whole numbers",
                "float": "numbers",
                "time": "times",
            }[source.sorts[column]]
            faults.append(f"{path}: column {column} holds {found}, expected {said}")

    def clock(source: Source, path: str, clock_: Clock) -> None:
        if clock_.form == "iso":
            check(
                source,
                path,
                clock_.column,
                ("text", "time"),
                f"texts or times; say format = {' or '.join(UNITS)}",
            )
        elif clock_.form in UNITS or clock_.form == "order":
            check(
                source,
                path,
                clock_.column,
                ("text", "whole", "float"),
                "numbers; leave format out",
            )
        else:
            check(source, path, clock_.column, ("text", "whole"), "texts; leave format out")

    for table, source in sources.events:
        for column, found in table.ids.items():
            check(
                source,
                f"{table.key}.{column}",
                found.column,
                ("text", "whole", "float"),
                "texts or whole numbers",
            )
        for column, theirs in table.numbers.items():
            check(source, f"{table.key}.{column}", theirs, ("text", "whole", "float"), "numbers")
        if table.kinds.column:
            check(
                source,
                f"{table.key}.kind.column",
                table.kinds.column,
                ("text", "whole"),
                "texts or whole numbers",
            )
        if table.time.column:
            clock(source, f"{table.key}.time", table.time)
    if spec.items is not None:
        if sources.items is not None:
            check(
                sources.items,
                "catalogue.item",
                spec.items.item.column,
                ("text", "whole", "float"),
                "texts or whole numbers",
            )
            if spec.items.known_from is not None:
                clock(sources.items, "catalogue.known_from", spec.items.known_from)
        for source in sources.attributes():
            for attribute, (theirs, kind) in spec.items.attributes.items():
                if kind in (*CATEGORIES, AttributeType.NUMBER):
                    check(
                        source,
                        f"catalogue.attributes.{attribute}",
                        theirs,
                        ("text", "whole", "float"),
                        "texts or numbers",
                    )
    return faults


# --- the events ----------------------------------------------------------------------------------


def _places(spec: TableMapping, sources: _Sources) -> dict[str, list[tuple[Source, Id]]]:
    """Where the values of each column of ids, and of each attribute, stand."""
    places: dict[str, list[tuple[Source, Id]]] = {}
    for table, source in sources.events:
        for column, found in table.ids.items():
            places.setdefault(column, []).append((source, found))
    if spec.items is not None:
        if sources.items is not None:
            places.setdefault("item", []).append((sources.items, spec.items.item))
        for attribute, (column, _) in spec.items.attributes.items():
            places[attribute] = [(source, Id(column)) for source in sources.attributes()]
    return places


def _text_columns(
    spec: TableMapping, sources: _Sources, engine: Engine, known: Collection[str]
) -> set[str]:
    """Which id columns and categories are texts: said so, or holding at least one text that is no
    plain whole number, in any table.

    `known` are texts unless the mapping says otherwise.
    """
    others = (
        {n for n, (_, k) in spec.items.attributes.items() if k is not AttributeType.CATEGORY}
        if spec.items
        else set()
    )
    places = {c: where for c, where in _places(spec, sources).items() if c not in others}
    texts = {"query"} & set(places) if spec.query == "codes" else set()
    for column, where in places.items():
        said = {i.ids for _, i in where}
        if "text" in said or (column in known and "number" not in said):
            texts.add(column)
        elif "number" not in said:
            for source, found in where:
                if source.sorts[found.column] == "text":
                    given = given_sql(source, found.column)
                    odd = engine.one(
                        f"SELECT COUNT(*) FROM {source.scan} WHERE {given} IS NOT NULL AND NOT"
                        f" ({whole_sql(given)})"
                    )[0]
                    texts |= {column} if odd else set()
    return texts


def _events(
    spec: TableMapping, table: EventTable, source: Source, texts: set[str], tells: bool
) -> tuple[str, list[tuple[str, str]]]:
    """SQL: every row with its canonical columns and what was given, and the reasons to reject one."""
    picks: dict[str, str] = {}
    reasons: list[tuple[str, str]] = []

    def id_reasons(column: str, needed: str) -> None:
        found = table.ids[column].column
        if needed:
            reasons.append((f"{name('given ' + column)} IS NULL AND {needed}", f"no {column}"))
        if column not in texts:
            whole = f"{column} is no whole number within int64"
            reasons.append(
                (f"{name('given ' + column)} IS NOT NULL AND {name(column)} IS NULL", whole)
            )
        picks[column] = id_sql(source, found, column in texts)
        picks[f"given {column}"] = given_sql(source, found)

    id_reasons("user", "1 = 1")
    if table.time.column:
        picks["time"] = moment_sql(source, table.time)
        reasons.append(
            (f"{name('time')} IS NULL", "no readable position")
            if spec.ordered
            else no_time(name("time"))
        )
    else:
        picks[ROW] = name(ROW)
    if table.kinds.column:
        given = f"CAST({given_sql(source, table.kinds.column)} AS VARCHAR)"
        cases = " ".join(
            f"WHEN {quote(value)} THEN {spec.kinds.index(kind)}"
            for value, kind in table.kinds.values.items()
        )
        picks["kind"] = f"CAST(CASE {given} {cases} END AS SMALLINT)"
        reasons.append((f"{name('kind')} IS NULL", "no kind that the mapping knows"))
    else:
        picks["kind"] = f"CAST({spec.kinds.index(table.kinds.kinds[0])} AS SMALLINT)"
    about = [str(spec.kinds.index(kind)) for kind in table.kinds.kinds if kind.role in ABOUT_ITEMS]
    for column in (c for c in ID_COLUMNS if c in table.ids and c != "user"):
        id_reasons(column, f"kind IN ({', '.join(about)})" if column == "item" and about else "")
    if "item" not in table.ids:
        picks["item"] = "CAST(NULL AS BIGINT)"
    if "query" in table.ids and spec.query == "codes":
        codes = matches_sql(f"CAST({name('given query')} AS VARCHAR)", SIXTEEN_CODES)
        reasons.append(
            (
                f"{name('given query')} IS NOT NULL AND NOT {codes}",
                "a query that is not 16 codes from 0 to 255",
            )
        )
    for column, theirs in table.numbers.items():
        picks[column] = number_sql(source, theirs)
        picks[f"given {column}"] = given_sql(source, theirs)
        reasons.append(
            (
                f"{name('given ' + column)} IS NOT NULL AND {name(column)} IS NULL",
                f"{column} is no finite number",
            )
        )
    if tells:
        assert spec.items is not None
        for attribute, (theirs, kind) in spec.items.attributes.items():
            picks[f"of {attribute}"] = _attribute(source, theirs, kind, attribute in texts)
    return (
        (
            f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in picks.items())} FROM"
            f" {source.scan}"
        ),
        reasons,
    )


def _picked(spec: TableMapping, table: EventTable, good: str) -> str:
    """SQL: a table's usable rows with all columns of the log; null where the table has none."""
    position = (
        f"ROW_NUMBER() OVER (PARTITION BY {name('user')} ORDER BY {name(ROW)}) - 1"
        if not table.time.column
        else name("time")
    )
    picks = [f"{position} AS {name('time')}", *map(name, ("user", "kind", "item"))]
    for column in spec.columns:
        none = f"CAST(NULL AS {'DOUBLE' if column in NUMBERS else 'BIGINT'}) AS {name(column)}"
        picks.append(name(column) if column in table.ids or column in table.numbers else none)
    return f"SELECT {', '.join(picks)} FROM ({good}) AS g"


def _of(spec: TableMapping) -> list[str]:
    return [f"of {n}" for n in spec.items.attributes] if spec.items else []


def _maps(spec: TableMapping, sources: _Sources, texts: set[str]) -> dict[str, str]:
    """SQL: the map (id, text) of every column that holds texts."""
    places, maps = _places(spec, sources), {}
    for column in sorted(texts):
        some = [
            f"SELECT DISTINCT CAST({given_sql(s, i.column)} AS VARCHAR) AS text FROM {s.scan}"
            f" WHERE {given_sql(s, i.column)} IS NOT NULL"
            for s, i in places[column]
        ]
        maps[column] = (
            f"SELECT {text_id_sql('text')} AS id, text FROM ({' UNION ALL '.join(some)}) AS t"
        )
    return maps


# --- the catalogue -------------------------------------------------------------------------------


def _attribute(source: Source, column: str, kind: AttributeType, as_text: bool) -> str:
    match kind:
        case AttributeType.CATEGORY | AttributeType.PRICE_BUCKET:
            return id_sql(source, column, as_text)
        case AttributeType.NUMBER:
            return number_sql(source, column)
        case _:
            return f"CAST({given_sql(source, column)} AS VARCHAR)"


def _catalogue(
    spec: TableMapping, sources: _Sources, seen: Sequence[str], texts: set[str], engine: Engine
) -> tuple[str | None, dict[str, int]]:
    """SQL of the catalogue, and its rows that cannot be used, by reason."""
    if spec.items is None:
        return None, {}
    items = sources.items
    if items is None:
        return _seen(spec, " UNION ALL ".join(seen)), {}
    known = spec.items.known_from
    picks = {"item": id_sql(items, spec.items.item.column, "item" in texts)}
    picks["known_from"] = moment_sql(items, known) if known else "CAST(NULL AS BIGINT)"
    reasons = [("item IS NULL", "no item, or no whole number within int64")]
    if known is not None:
        picks["given known_from"] = given_sql(items, known.column)
        reasons.append(
            (
                f"{name('given known_from')} IS NOT NULL AND ({no_time('known_from')[0]})",
                "known_from cannot be read",
            )
        )
    for attribute, (column, kind) in spec.items.attributes.items():
        picks[attribute] = _attribute(items, column, kind, attribute in texts)
        if kind in (*CATEGORIES, AttributeType.NUMBER):
            picks[f"given {attribute}"] = given_sql(items, column)
            reasons.append(
                (
                    f"{name('given ' + attribute)} IS NOT NULL AND {name(attribute)} IS NULL",
                    f"{attribute} is no number",
                )
            )
    rows = (
        f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in picks.items())} FROM {items.scan}"
    )
    usable, _, rejected = sift(engine, rows, reasons, "catalogue: ")
    if items.skipped:
        rejected = {"catalogue: too many or too few columns": items.skipped} | rejected
    columns = ", ".join(name(c) for c in ("item", "known_from", *spec.items.attributes))
    return f"SELECT {columns} FROM ({usable}) AS u", rejected


def _seen(spec: TableMapping, good: str) -> str:
    """SQL: a catalogue from the events themselves, in which nothing is known before it was seen: a
    row where an item's values change.

    Of several values at one time the smallest counts. Where there is only an order, the most
    frequent ones, always known.
    """
    assert spec.items is not None
    names = list(spec.items.attributes)
    columns = ", ".join(name(c) for c in ("item", "known_from", *names))
    some = " OR ".join(f"{name(f'of {n}')} IS NOT NULL" for n in names) or "1 = 0"
    renamed = ", ".join(f"{name(f'of {n}')} AS {name(n)}" for n in names)
    ties = ", ".join(f"{name(n)} NULLS LAST" for n in names)
    if spec.ordered:
        group = ", ".join(name(f"of {n}") for n in names)
        rows = (
            f"SELECT item, CAST(NULL AS BIGINT) AS known_from, COUNT(*) AS often, {renamed} FROM"
            f" ({good}) AS g"
        )
        rows += f" WHERE item IS NOT NULL AND ({some}) GROUP BY item, {group}"
        turn = f"ROW_NUMBER() OVER (PARTITION BY item ORDER BY often DESC, {ties}) AS turn"
        return f"SELECT {columns} FROM (SELECT *, {turn} FROM ({rows}) AS r) AS t WHERE turn = 1"
    rows = (
        f"SELECT item, {name('time')} AS known_from, {renamed} FROM ({good}) AS g WHERE item IS"
        f" NOT NULL AND ({some})"
    )
    # One sort of all events leaves the rows that may be changes: all but those that say what the
    # row before says, where neither time has a second value. Which of these few counts is settled
    # among them, and what still repeats is left out where it is stored.
    by = f"(PARTITION BY item ORDER BY known_from, {ties})"
    near = (
        f"LAG(known_from) OVER {by} AS t1, LAG(known_from, 2) OVER {by} AS t2, LEAD(known_from)"
        f" OVER {by} AS t3"
    )
    near += "".join(f", LAG({name(n)}) OVER {by} AS {name(f'last {n}')}" for n in names)
    differs = " OR ".join(f"{name(n)} IS DISTINCT FROM {name(f'last {n}')}" for n in names)
    few = (
        f"SELECT {columns} FROM (SELECT *, {near} FROM ({rows}) AS r) AS n WHERE t1 IS NULL OR t1"
        f" = t2 OR t3 = known_from OR {differs}"
    )
    turn = f"ROW_NUMBER() OVER (PARTITION BY item, known_from ORDER BY {ties}) AS turn"
    return f"SELECT {columns} FROM (SELECT *, {turn} FROM ({few}) AS f) AS t WHERE turn = 1"
