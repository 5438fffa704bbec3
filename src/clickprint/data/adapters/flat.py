"""One flat table of events → the canonical form, for readers of public logs.

What they share where a mapping file cannot say enough.
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
from clickprint.data.check import Reason, refuse, sift
from clickprint.data.engine import Engine, name, quote, select_sql, text_id_sql
from clickprint.data.store import gather


def staged(
    engine: Engine, files: Files, columns: Sequence[str], room: Path, where: Path
) -> Source:
    """These columns of all files. Raises DataError: unreadable files, columns too few."""
    refuse(where, missing(files, set(columns)))
    return open_source(engine, files, columns, room / "events.parquet")


def number_sql(text: str) -> str:
    """The id in a whole number, of a text or a number; null for anything else."""
    text = f"CAST({text} AS VARCHAR)"
    return f"CASE WHEN {whole_sql(text)} THEN CAST({text} AS BIGINT) END"


def kind_sql(value: str, codes: Mapping[str, int]) -> str:
    """The code of the kind that a value stands for; null for an unknown one."""
    cases = " ".join(f"WHEN {quote(text)} THEN {code}" for text, code in codes.items())
    return f"CAST(CASE CAST({value} AS VARCHAR) {cases} END AS SMALLINT)"


def write(
    out: Path,
    *,
    engine: Engine,
    reader: str,
    kinds: Sequence[Kind],
    source: Source,
    picks: Mapping[str, str],
    reasons: Sequence[Reason],
    texts: Mapping[str, str] | None = None,
    attributes: Mapping[str, AttributeType],
    catalogue: pa.Table | None = None,
    maps: Mapping[str, pa.Table] | None = None,
    rejected: Mapping[str, int] | None = None,
    where: Path,
    progress: Progress,
) -> Dataset:
    """Sifts, orders and stores the rows of `source`.

    - `picks`: SQL over the source's columns for each canonical column, each attribute that only
      the events show, and whatever else `reasons` ask about.
    - `texts`: SQL of the text of columns whose ids are made of texts. They need no pick.
    - `maps`: further maps (id, text) that are there already.
    - `catalogue`: the items. Without it the attributes are those seen in the events: a row where
      an item's values change, known from then on; of several values at one time the smallest.

    Raises what `sift` and `gather` raise.
    """
    texts = texts or {}
    picks = {**picks, **{c: text_id_sql(text) for c, text in texts.items() if c not in picks}}
    progress("look", 0, 0)
    good, expected, bad = sift(engine, select_sql(picks, source.scan), reasons, "events: ")
    bad = source.rejected("events") | bad
    columns = [c for c in COLUMNS if c in picks]
    all_maps: dict[str, str | pa.Table] = dict(maps or {})
    for column, text in texts.items():
        distinct = f"SELECT DISTINCT {text} AS text FROM {source.scan}"
        ids = f"SELECT {text_id_sql('text')} AS id, text FROM ({distinct}) AS t"
        all_maps[column] = f"{ids} WHERE text IS NOT NULL"
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
    """SQL: an item's attributes from the time at which an event showed them first.

    There is a row where they differ from what was shown before.
    """
    values = ", ".join(map(name, attributes))
    ties = ", ".join(f"{name(a)} NULLS LAST" for a in attributes)
    some = " OR ".join(f"{name(a)} IS NOT NULL" for a in attributes)
    turn = f"ROW_NUMBER() OVER (PARTITION BY item, {name('time')} ORDER BY {ties}) AS turn"
    rows = (
        f"SELECT item, {name('time')} AS known_from, {values}, {turn} FROM ({good}) AS g"
        f" WHERE item IS NOT NULL AND ({some})"
    )
    by = "OVER (PARTITION BY item ORDER BY known_from)"
    last = ", ".join(f"LAG({name(a)}) {by} AS {name(f'last {a}')}" for a in attributes)
    before = (
        f"SELECT item, known_from, {values}, LAG(known_from) {by} AS earlier, {last}"
        f" FROM ({rows}) AS r WHERE turn = 1"
    )
    differs = " OR ".join(f"{name(a)} IS DISTINCT FROM {name(f'last {a}')}" for a in attributes)
    return (
        f"SELECT item, known_from, {values} FROM ({before}) AS b"
        f" WHERE earlier IS NULL OR {differs}"
    )
