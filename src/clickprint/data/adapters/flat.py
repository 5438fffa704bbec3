"""One flat table of events → the canonical form: what readers of public logs share where a mapping
file cannot say enough.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from clickprint.core.dataset import Dataset
from clickprint.core.events import COLUMNS, REQUIRED, Kind
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress
from clickprint.data.adapters.columns import Source, missing, open_source, whole_sql
from clickprint.data.adapters.mapping import Files
from clickprint.data.check import refuse, sift
from clickprint.data.engine import Engine, name, quote, text_id_sql
from clickprint.data.store import gather


def staged(
    engine: Engine,
    files: Files,
    columns: Sequence[str],
    room: Path,
    where: Path,
    stem: str = "events",
) -> Source:
    """These columns of all files as something to select from;

    DataError with every file that cannot be read and every column too few.
    """
    refuse(where, missing(files, set(columns)))
    return open_source(engine, files, columns, room / f"{stem}.parquet")


def number_sql(text: str) -> str:
    """The id in a whole number, of a text or a number; null for anything else."""
    text = f"CAST({text} AS VARCHAR)"
    return f"CASE WHEN {whole_sql(text)} THEN CAST({text} AS BIGINT) END"


def kind_sql(value: str, places: Mapping[str, int]) -> str:
    """The place of the kind that a value stands for; null for an unknown one."""
    cases = " ".join(f"WHEN {quote(text)} THEN {place}" for text, place in places.items())
    return f"CAST(CASE CAST({value} AS VARCHAR) {cases} END AS SMALLINT)"


def odd(given: str, column: str, what: str) -> tuple[str, str]:
    """For `sift`: something stands there, but it is no `what`."""
    return f"{name(given)} IS NOT NULL AND {name(column)} IS NULL", f"{column} is no {what}"


def write(
    out: Path,
    *,
    engine: Engine,
    reader: str,
    kinds: Sequence[Kind],
    source: Source,
    picks: Mapping[str, str],
    reasons: Sequence[tuple[str, str]],
    texts: Mapping[str, str],
    attributes: Mapping[str, AttributeType],
    catalogue: pa.Table | None = None,
    maps: Mapping[str, pa.Table] | None = None,
    rejected: Mapping[str, int] | None = None,
    where: Path,
    progress: Progress,
) -> Dataset:
    """Sifts, orders and stores the rows of `source`.

    `picks` is SQL over the source's columns for each canonical column, each attribute that is
    known from the events only, and whatever else `reasons` ask about. `texts` is SQL of the text
    of those whose ids are made of texts: they need no pick; `maps` are further maps (id, text)
    that are there already. Without a `catalogue` the attributes are those seen in the events: a
    row where an item's values change, known from then on; of several values at one time the
    smallest counts. Raises what `sift` and `gather` raise.
    """
    picks = dict(picks) | {
        column: text_id_sql(text) for column, text in texts.items() if column not in picks
    }
    progress("look", 0, 0)
    rows = (
        f"SELECT {', '.join(f'{sql} AS {name(column)}' for column, sql in picks.items())} FROM"
        f" {source.scan}"
    )
    good, expected, bad = sift(engine, rows, reasons, "events: ")
    bad = ({"events: too many or too few columns": source.skipped} if source.skipped else {}) | bad
    columns = [c for c in COLUMNS if c in picks]
    all_maps: dict[str, str | pa.Table] = dict(maps or {})
    for column, text in texts.items():
        distinct = f"SELECT DISTINCT {text} AS text FROM {source.scan}"
        all_maps[column] = (
            f"SELECT {text_id_sql('text')} AS id, text FROM ({distinct}) AS t WHERE text IS NOT"
            " NULL"
        )
    return gather(
        out,
        engine=engine,
        name=reader.replace("_", "-"),
        kinds=kinds,
        columns=[c for c in columns if c not in REQUIRED],
        selects=[f"SELECT {', '.join(map(name, columns))} FROM ({good}) AS g"],
        catalogue=_seen(good, list(attributes)) if catalogue is None and attributes else catalogue,
        attributes=attributes,
        texts=all_maps,
        rejected=bad | dict(rejected or {}),
        source={
            "reader": reader,
            "file": where.name,
            "events": f"{expected + sum(bad.values())} rows",
        },
        expected=expected,
        progress=progress,
    )


def _seen(good: str, attributes: Sequence[str]) -> str:
    """SQL: an item's attributes from the time on at which an event showed them, where they differ
    from what was shown before.
    """
    values = ", ".join(map(name, attributes))
    ties = ", ".join(f"{name(a)} NULLS LAST" for a in attributes)
    some = " OR ".join(f"{name(a)} IS NOT NULL" for a in attributes)
    turn = f"ROW_NUMBER() OVER (PARTITION BY item, {name('time')} ORDER BY {ties}) AS turn"
    rows = (
        f"SELECT item, {name('time')} AS known_from, {values}, {turn} FROM ({good}) AS g WHERE"
        f" item IS NOT NULL AND ({some})"
    )
    by = "OVER (PARTITION BY item ORDER BY known_from)"
    last = ", ".join(f"LAG({name(a)}) {by} AS {name(f'last {a}')}" for a in attributes)
    before = (
        f"SELECT item, known_from, {values}, LAG(known_from) {by} AS earlier, {last} FROM ({rows})"
        " AS r WHERE turn = 1"
    )
    differs = " OR ".join(f"{name(a)} IS DISTINCT FROM {name(f'last {a}')}" for a in attributes)
    return (
        f"SELECT item, known_from, {values} FROM ({before}) AS b WHERE earlier IS NULL OR"
        f" {differs}"
    )
