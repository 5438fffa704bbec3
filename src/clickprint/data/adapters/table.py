"""Any log in CSV or Parquet files, by a mapping file that says which column is what."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import ID_COLUMNS, Role
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeKind
from clickprint.core.watch import Watch, silent
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.mapping import UNITS, Clock, Files, Id, TableMapping, load
from clickprint.data.adapters.staging import ROW, header, is_list, stage, workplace
from clickprint.data.check import SIXTEEN_CODES, arrow_schema, blaming, is_text, is_time, no_time, refuse, sift
from clickprint.data.engine import Engine, iso_sql, matches_sql, micros_sql, name, quote, text_id_sql, timestamp_sql, zoned_sql
from clickprint.data.store import gather

# Kinds of event that are about an item: without one they are rejected, where the mapping names a column of items at all.
ABOUT_ITEMS = (Role.EXPOSE, Role.CLICK, Role.CART, Role.REMOVE, Role.LIKE, Role.BUY, Role.CANCEL)
EXACT = 2**53  # whole numbers beyond are not exact in a float
LARGEST = "1.7976931348623157e308"
CATEGORIES = (AttributeKind.CATEGORY, AttributeKind.PRICE_BUCKET)
CARD = Card(
    title="any log in CSV or Parquet files, by a mapping file that says which column is what",
    files={"MAPPING.toml": "names the files and their columns; docs/datasets.md shows one with every key"},
    licence="that of your data",
    where="yours; recipes/mappings/ has some for public logs",
    dropped=(
        "a line with too many or too few columns",
        "rows without a user, a readable time, a known kind, or an item where the kind is about one",
        "an id that is no whole number within int64, where the mapping says number",
        "a price or quantity that is no finite number",
    ),
)
Sort = Literal["text", "whole", "float", "time"]


def read(mapping: Path, out: Path, *, engine: Engine, watch: Watch = silent) -> Dataset:
    """The log that a mapping file describes, in the canonical form at `out`.

    Rows that cannot be used are counted in the manifest by reason: a line with too many columns, no user, a time that cannot be read,
    an unknown kind, no item where the kind is about one, an id that is no whole number within int64. Raises ConfigError with every fault of
    the mapping, DataError with every fault of the files, and where no row is left.
    """
    return read_mapping(load(Path(mapping)), out, engine=engine, watch=watch)


def read_mapping(
    spec: TableMapping, out: Path, *, engine: Engine, reader: str = "table", texts: Collection[str] = (), watch: Watch = silent
) -> Dataset:
    """`read`, of a mapping that is made already: what readers of public logs do. `reader` goes to the manifest.

    `texts` are columns that hold texts whatever their values look like, where the mapping leaves it open: those of an earlier reading.
    """
    _try_formats(spec, engine)
    out = Path(out)
    with workplace(out) as room, blaming(spec.where):
        watch("look", 0, 0)
        events, items = _sources(spec, room, engine)
        known = _text_columns(spec, events, items, engine, texts)
        good, expected, rejected = sift(engine, *_events(spec, events, known), "events: ")
        rejected = ({"events: too many or too few columns": events.skipped} if events.skipped else {}) | rejected
        catalogue, also = _catalogue(spec, events, items, good, known, engine)
        columns = [c for c in ("session", "scenario", "query", "url") if c in spec.ids] + list(spec.numbers)
        position = f"ROW_NUMBER() OVER (PARTITION BY {name('user')} ORDER BY {name(ROW)}) - 1" if not spec.time.column else name("time")
        picked = ", ".join(name(c) for c in ("user", "kind", "item", *columns))
        return gather(
            out,
            engine=engine,
            name=spec.name,
            kinds=spec.kinds.kinds,
            columns=columns,
            selects=[f"SELECT {position} AS {name('time')}, {picked} FROM ({good}) AS g"],
            catalogue=catalogue,
            attributes={n: k for n, (_, k) in spec.items.attributes.items()} if spec.items else {},
            texts=_maps(spec, events, items, known),
            time="order" if spec.ordered else "clock",
            query=spec.query,
            rejected=rejected | also,
            source={"reader": reader, "mapping": spec.where.name, "events": f"{expected + sum(rejected.values())} rows"},
            expected=expected,
            watch=watch,
        )


def files(mapping: Path) -> tuple[Path, ...]:
    """Every file that a mapping reads, itself first; what a cache has to look at."""
    spec = load(Path(mapping))
    return (spec.where, *spec.events.paths, *(spec.items.files.paths if spec.items and spec.items.files else ()))


@dataclass(frozen=True, slots=True)
class _Source:
    """A scan, what each of its columns holds, and the lines that had too many or too few columns."""

    scan: str
    sorts: Mapping[str, Sort]
    skipped: int = 0


def _try_formats(spec: TableMapping, engine: Engine) -> None:
    """Asks the engine whether it knows the time formats and zones."""
    clocks = {"events.time": spec.time} | ({"catalogue.known_from": spec.items.known_from} if spec.items and spec.items.known_from else {})
    faults = []
    for path, clock in clocks.items():
        tries = {"zone": zoned_sql("TIMESTAMP '2020-01-01'", clock.zone)}
        if "%" in clock.form:
            tries["format"] = timestamp_sql("'x'", clock.form)
        for key, sql in tries.items():
            try:
                engine.table(f"SELECT {sql} AS t")
            except DataError as fault:
                faults.append(f"{path}.{key}: found {getattr(clock, {'format': 'form'}.get(key, key))!r} ({fault.problems[0]})")
    if faults:
        raise ConfigError(f"{spec.where}: " + "; ".join(faults))


def _sources(spec: TableMapping, room: Path, engine: Engine) -> tuple[_Source, _Source | None]:
    """Looks at every file and stages what has to be; one DataError with all that is wrong."""
    wanted = {i.column for i in spec.ids.values()} | set(spec.numbers.values()) | ({spec.time.column, spec.kinds.column} - {""})
    own = spec.items.files if spec.items else None
    listed = {c for c, _ in spec.items.attributes.values()} if spec.items else set()
    if own is None:
        wanted |= listed
    else:
        assert spec.items is not None
        listed |= {spec.items.item.column} | ({spec.items.known_from.column} if spec.items.known_from else set())
    sequence = spec.ids["item"].column if not spec.time.column and "item" in spec.ids else ""
    faults = _missing(spec.events, wanted, sequence) + (_missing(own, listed) if own else [])
    refuse(spec.where, faults)
    events = _open(engine, spec.events, sorted(wanted), room / "events.parquet", numbered=not spec.time.column, sequence=sequence)
    items = _open(engine, own, sorted(listed), room / "items.parquet") if own else None
    refuse(spec.where, _unfit(spec, events, items))
    return events, items


def _missing(files: Files, wanted: set[str], sequence: str = "") -> list[str]:
    """Files that cannot be read, columns that are not there or not alike."""
    faults: list[str] = []
    seen: dict[str, tuple[str, pa.DataType]] = {}
    for path in files.paths:
        try:
            names = header(files, path)
        except DataError as fault:
            faults += [f"{path.name}: {p}" for p in fault.problems]
            continue
        for column in sorted(wanted):
            if names.count(column) != 1:
                what = "no column" if column not in names else f"{names.count(column)} columns"
                faults.append(f"{path.name}: {what} {column!r}; found {', '.join(map(str, names)) or 'none'}")
            elif files.format == "parquet":
                type_ = arrow_schema(path).field(column).type
                first, other = seen.setdefault(column, (path.name, type_))
                if _sort(type_) is None and not (column == sequence and is_list(type_) and _sort(type_.value_type) is not None):
                    faults.append(f"{path.name}: column {column} holds {type_}, expected texts, numbers or times")
                elif _sort(type_) != _sort(other) or is_list(type_) != is_list(other):
                    faults.append(f"{path.name}: column {column} holds {type_}, but {other} in {first}")
    return faults


def _open(engine: Engine, files: Files, columns: Sequence[str], target: Path, *, numbered: bool = False, sequence: str = "") -> _Source:
    """A scan over the files; a CSV, and rows whose order counts, are staged first."""
    skipped, paths = 0, list(files.paths)
    if files.format == "csv" or numbered:
        skipped, paths = stage(files, columns, target, sequence=sequence), [target]
    found = arrow_schema(paths[0])
    sorts = {c: _sort(found.field(c).type) for c in columns}
    return _Source(engine.scan(paths), {c: s for c, s in sorts.items() if s is not None}, skipped)


def _sort(type_: pa.DataType) -> Sort | None:
    if is_text(type_):
        return "text"
    if pa.types.is_integer(type_):
        return "whole"
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "float"
    return "time" if is_time(type_) else None


def _unfit(spec: TableMapping, events: _Source, items: _Source | None) -> list[str]:
    """Columns whose type cannot be what the mapping says."""
    faults = []

    def check(source: _Source, path: str, column: str, allowed: tuple[Sort, ...], said: str) -> None:
        if source.sorts[column] not in allowed:
            found = {"text": "texts", "whole": "whole numbers", "float": "numbers", "time": "times"}[source.sorts[column]]
            faults.append(f"{path}: column {column} holds {found}, expected {said}")

    def clock(source: _Source, path: str, clock_: Clock) -> None:
        if clock_.form == "iso":
            check(source, path, clock_.column, ("text", "time"), f"texts or times; say format = {' or '.join(UNITS)}")
        elif clock_.form in UNITS or clock_.form == "order":
            check(source, path, clock_.column, ("text", "whole", "float"), "numbers; leave format out")
        else:
            check(source, path, clock_.column, ("text", "whole"), "texts; leave format out")

    for column, found in spec.ids.items():
        check(events, f"events.{column}", found.column, ("text", "whole", "float"), "texts or whole numbers")
    for column, theirs in spec.numbers.items():
        check(events, f"events.{column}", theirs, ("text", "whole", "float"), "numbers")
    if spec.kinds.column:
        check(events, "events.kind.column", spec.kinds.column, ("text", "whole"), "texts or whole numbers")
    if spec.time.column:
        clock(events, "events.time", spec.time)
    if spec.items is not None:
        source = items or events
        if items is not None:
            check(items, "catalogue.item", spec.items.item.column, ("text", "whole", "float"), "texts or whole numbers")
            if spec.items.known_from is not None:
                clock(items, "catalogue.known_from", spec.items.known_from)
        for attribute, (theirs, kind) in spec.items.attributes.items():
            if kind in (*CATEGORIES, AttributeKind.NUMBER):
                check(source, f"catalogue.attributes.{attribute}", theirs, ("text", "whole", "float"), "texts or numbers")
    return faults


# --- one column at a time: SQL for its value, which is null where it cannot be read ---------------------------------------------


def _given(source: _Source, column: str) -> str:
    """The raw value; an empty text, NaN and infinity are null."""
    match source.sorts[column]:
        case "text":
            return f"NULLIF({name(column)}, '')"
        case "float":
            return f"CASE WHEN CAST({name(column)} AS DOUBLE) BETWEEN -{LARGEST} AND {LARGEST} THEN {name(column)} END"
        case _:
            return name(column)


def _is_whole(text: str) -> str:
    """Whether a text is a whole number within int64 in its one spelling (no sign +, no leading zero, no space)."""
    number = f"TRY_CAST({text} AS BIGINT)"
    return f"{number} IS NOT NULL AND CAST({number} AS VARCHAR) = {text} AND {number} > {NONE}"


def _id(source: _Source, column: str, as_text: bool) -> str:
    given = _given(source, column)
    if as_text:
        return text_id_sql(f"CAST({given} AS VARCHAR)")
    match source.sorts[column]:
        case "text":
            return f"CASE WHEN {_is_whole(given)} THEN CAST({given} AS BIGINT) END"
        case "float":
            whole = f"{given} = FLOOR({given}) AND {given} BETWEEN -{EXACT} AND {EXACT}"
            return f"CASE WHEN {whole} THEN CAST({given} AS BIGINT) END"
        case _:
            return f"NULLIF(TRY_CAST({given} AS BIGINT), {NONE})"


def _number(source: _Source, column: str) -> str:
    """Finite, or null."""
    number = f"TRY_CAST({_given(source, column)} AS DOUBLE)"
    return f"CASE WHEN {number} BETWEEN -{LARGEST} AND {LARGEST} THEN {number} END"


def _moment(source: _Source, clock: Clock) -> str:
    given, sort = _given(source, clock.column), source.sorts[clock.column]
    if clock.form == "order":
        return f"TRY_CAST({given} AS BIGINT)"
    if clock.form in UNITS:
        if sort == "whole":  # as below, an order of magnitude faster
            most = (2**63 - 1) // UNITS[clock.form]
            return f"CASE WHEN {given} BETWEEN -{most} AND {most} THEN TRY_CAST({given} AS BIGINT) * {UNITS[clock.form]} END"
        return f"TRY_CAST(TRY_CAST({given} AS DECIMAL(22, 6)) * {UNITS[clock.form]} AS BIGINT)"
    if sort == "time":
        aware = f"TRY_CAST({given} AS TIMESTAMPTZ)" if clock.zone == "UTC" else zoned_sql(f"CAST({given} AS TIMESTAMP)", clock.zone)
        return micros_sql(aware)
    if clock.form == "iso":
        return iso_sql(given, clock.zone)
    parsed = timestamp_sql(f"CAST({given} AS VARCHAR)", clock.form)
    return micros_sql(parsed if "%z" in clock.form or "%Z" in clock.form else zoned_sql(parsed, clock.zone))


# --- the events ------------------------------------------------------------------------------------------------------------------


def _text_columns(spec: TableMapping, events: _Source, items: _Source | None, engine: Engine, known: Collection[str] = ()) -> set[str]:
    """Which id columns and categories are texts: said so, or holding at least one text that is no plain whole number.

    `known` are texts unless the mapping says otherwise.
    """
    asked: dict[str, list[tuple[_Source, Id]]] = {c: [(events, i)] for c, i in spec.ids.items()}
    if spec.items is not None:
        if items is not None:
            asked.setdefault("item", []).append((items, spec.items.item))
        for attribute, (column, kind) in spec.items.attributes.items():
            if kind is AttributeKind.CATEGORY:
                asked[attribute] = [(items or events, Id(column))]
    texts = {"query"} & set(spec.ids) if spec.query == "codes" else set()
    for column, places in asked.items():
        said = {i.ids for _, i in places}
        if "text" in said or (column in known and "number" not in said):
            texts.add(column)
        elif "number" not in said:
            for source, found in places:
                if source.sorts[found.column] == "text":
                    given = _given(source, found.column)
                    odd = engine.one(f"SELECT COUNT(*) FROM {source.scan} WHERE {given} IS NOT NULL AND NOT ({_is_whole(given)})")[0]
                    texts |= {column} if odd else set()
    return texts


def _events(spec: TableMapping, source: _Source, texts: set[str]) -> tuple[str, list[tuple[str, str]]]:
    """SQL: every row with its canonical columns and what was given, and the reasons to reject one."""
    picks: dict[str, str] = {}
    reasons: list[tuple[str, str]] = []

    def id_reasons(column: str, needed: str) -> None:
        found = spec.ids[column].column
        if needed:
            reasons.append((f"{name('given ' + column)} IS NULL AND {needed}", f"no {column}"))
        if column not in texts:
            whole = f"{column} is no whole number within int64"
            reasons.append((f"{name('given ' + column)} IS NOT NULL AND {name(column)} IS NULL", whole))
        picks[column] = _id(source, found, column in texts)
        picks[f"given {column}"] = _given(source, found)

    id_reasons("user", "1 = 1")
    if spec.time.column:
        picks["time"] = _moment(source, spec.time)
        reasons.append((f"{name('time')} IS NULL", "no readable position") if spec.ordered else no_time(name("time")))
    else:
        picks[ROW] = name(ROW)
    if spec.kinds.column:
        given = f"CAST({_given(source, spec.kinds.column)} AS VARCHAR)"
        cases = " ".join(f"WHEN {quote(value)} THEN {place}" for value, place in spec.kinds.values.items())
        picks["kind"] = f"CAST(CASE {given} {cases} END AS SMALLINT)"
        reasons.append((f"{name('kind')} IS NULL", "no kind that the mapping knows"))
    else:
        picks["kind"] = "CAST(0 AS SMALLINT)"
    about = [str(place) for place, kind in enumerate(spec.kinds.kinds) if kind.role in ABOUT_ITEMS]
    for column in (c for c in ID_COLUMNS if c in spec.ids and c != "user"):
        id_reasons(column, f"kind IN ({', '.join(about)})" if column == "item" and about else "")
    if "item" not in spec.ids:
        picks["item"] = "CAST(NULL AS BIGINT)"
    if "query" in spec.ids and spec.query == "codes":
        codes = matches_sql(f"CAST({name('given query')} AS VARCHAR)", SIXTEEN_CODES)
        reasons.append((f"{name('given query')} IS NOT NULL AND NOT {codes}", "a query that is not 16 codes from 0 to 255"))
    for column, theirs in spec.numbers.items():
        picks[column] = _number(source, theirs)
        picks[f"given {column}"] = _given(source, theirs)
        reasons.append((f"{name('given ' + column)} IS NOT NULL AND {name(column)} IS NULL", f"{column} is no finite number"))
    if spec.items is not None and spec.items.files is None:
        for attribute, (theirs, kind) in spec.items.attributes.items():
            picks[f"of {attribute}"] = _attribute(source, theirs, kind, attribute in texts)
    return f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in picks.items())} FROM {source.scan}", reasons


def _maps(spec: TableMapping, events: _Source, items: _Source | None, texts: set[str]) -> dict[str, str]:
    """SQL: the map (id, text) of every column that holds texts."""
    places: dict[str, list[tuple[_Source, str]]] = {c: [(events, i.column)] for c, i in spec.ids.items()}
    if spec.items is not None:
        if items is not None:
            places.setdefault("item", []).append((items, spec.items.item.column))
        places |= {a: [(items or events, c)] for a, (c, _) in spec.items.attributes.items()}
    maps = {}
    for column in sorted(texts):
        some = [
            f"SELECT DISTINCT CAST({_given(s, c)} AS VARCHAR) AS text FROM {s.scan} WHERE {_given(s, c)} IS NOT NULL"
            for s, c in places[column]
        ]
        maps[column] = f"SELECT {text_id_sql('text')} AS id, text FROM ({' UNION ALL '.join(some)}) AS t"
    return maps


# --- the catalogue ---------------------------------------------------------------------------------------------------------------


def _attribute(source: _Source, column: str, kind: AttributeKind, as_text: bool) -> str:
    match kind:
        case AttributeKind.CATEGORY | AttributeKind.PRICE_BUCKET:
            return _id(source, column, as_text)
        case AttributeKind.NUMBER:
            return _number(source, column)
        case _:
            return f"CAST({_given(source, column)} AS VARCHAR)"


def _catalogue(
    spec: TableMapping, events: _Source, items: _Source | None, good: str, texts: set[str], engine: Engine
) -> tuple[str | None, dict[str, int]]:
    """SQL of the catalogue, and its rows that cannot be used, by reason."""
    if spec.items is None:
        return None, {}
    if items is None:
        return _seen(spec, good), {}
    known = spec.items.known_from
    picks = {"item": _id(items, spec.items.item.column, "item" in texts)}
    picks["known_from"] = _moment(items, known) if known else "CAST(NULL AS BIGINT)"
    reasons = [("item IS NULL", "no item, or no whole number within int64")]
    if known is not None:
        picks["given known_from"] = _given(items, known.column)
        reasons.append((f"{name('given known_from')} IS NOT NULL AND ({no_time('known_from')[0]})", "known_from cannot be read"))
    for attribute, (column, kind) in spec.items.attributes.items():
        picks[attribute] = _attribute(items, column, kind, attribute in texts)
        if kind in (*CATEGORIES, AttributeKind.NUMBER):
            picks[f"given {attribute}"] = _given(items, column)
            reasons.append((f"{name('given ' + attribute)} IS NOT NULL AND {name(attribute)} IS NULL", f"{attribute} is no number"))
    rows = f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in picks.items())} FROM {items.scan}"
    usable, _, rejected = sift(engine, rows, reasons, "catalogue: ")
    if items.skipped:
        rejected = {"catalogue: too many or too few columns": items.skipped} | rejected
    columns = ", ".join(name(c) for c in ("item", "known_from", *spec.items.attributes))
    return f"SELECT {columns} FROM ({usable}) AS u", rejected


def _seen(spec: TableMapping, good: str) -> str:
    """SQL: a catalogue from the events themselves, in which nothing is known before it was seen: a row where an item's values change.

    Of several values at one time the smallest counts. Where there is only an order, the most frequent ones, always known.
    """
    assert spec.items is not None
    names = list(spec.items.attributes)
    columns = ", ".join(name(c) for c in ("item", "known_from", *names))
    some = " OR ".join(f"{name(f'of {n}')} IS NOT NULL" for n in names) or "1 = 0"
    renamed = ", ".join(f"{name(f'of {n}')} AS {name(n)}" for n in names)
    ties = ", ".join(f"{name(n)} NULLS LAST" for n in names)
    if spec.ordered:
        group = ", ".join(name(f"of {n}") for n in names)
        rows = f"SELECT item, CAST(NULL AS BIGINT) AS known_from, COUNT(*) AS often, {renamed} FROM ({good}) AS g"
        rows += f" WHERE item IS NOT NULL AND ({some}) GROUP BY item, {group}"
        turn = f"ROW_NUMBER() OVER (PARTITION BY item ORDER BY often DESC, {ties}) AS turn"
        return f"SELECT {columns} FROM (SELECT *, {turn} FROM ({rows}) AS r) AS t WHERE turn = 1"
    rows = f"SELECT item, {name('time')} AS known_from, {renamed} FROM ({good}) AS g WHERE item IS NOT NULL AND ({some})"
    # One sort of all events leaves the rows that may be changes: all but those that say what the row before says, where neither time
    # has a second value. Which of these few counts is settled among them, and what still repeats is left out where it is stored.
    by = f"(PARTITION BY item ORDER BY known_from, {ties})"
    near = f"LAG(known_from) OVER {by} AS t1, LAG(known_from, 2) OVER {by} AS t2, LEAD(known_from) OVER {by} AS t3"
    near += "".join(f", LAG({name(n)}) OVER {by} AS {name(f'last {n}')}" for n in names)
    differs = " OR ".join(f"{name(n)} IS DISTINCT FROM {name(f'last {n}')}" for n in names)
    few = f"SELECT {columns} FROM (SELECT *, {near} FROM ({rows}) AS r) AS n WHERE t1 IS NULL OR t1 = t2 OR t3 = known_from OR {differs}"
    turn = f"ROW_NUMBER() OVER (PARTITION BY item, known_from ORDER BY {ties}) AS turn"
    return f"SELECT {columns} FROM (SELECT *, {turn} FROM ({few}) AS f) AS t WHERE turn = 1"
