"""A log as RecBole's atomic files: tab-separated, each column's type in the header.

Source: recbole.io, "Atomic Files".
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as csv

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.files import new_folder, whole
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.core.time import SECOND, Time
from clickprint.data.check import sift
from clickprint.data.engine import Engine, name, quote, select_sql
from clickprint.data.export import RECBOLE
from clickprint.data.log import EventLog
from clickprint.data.split import anchored

Split = Literal["none", "leave-one-out", "time"]
PARTS = ("train", "valid", "test")
LEAST = 3  # events that a user must have for one of them to be held out
# Ours → RecBole's field and type; what is a token is written as the text it was read from.
FIELDS = {
    "user": "user_id:token",
    "item": "item_id:token",
    "time": "timestamp:float",
    "kind": "event:token",
    "session": "session_id:token",
    "scenario": "scenario:token",
    "price": "price:float",
    "quantity": "quantity:float",
}
ATTRIBUTES = {
    AttributeType.CATEGORY: "token",
    AttributeType.PRICE_BUCKET: "token",
    AttributeType.NUMBER: "float",
    AttributeType.CODES: "token_seq",
    AttributeType.TEXT: "token_seq",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did: rows of each file, and the events left out, by reason."""

    rows: dict[str, int]
    left_out: dict[str, int]


def export_recbole(
    log: EventLog,
    folder: Path,
    dataset: str | None = None,
    *,
    split: Split = "none",
    roles: Collection[Role] | None = None,
    horizon_days: int = 14,
    anchor: Role = Role.BUY,
    overwrite: bool = False,
    inputs: str = "",
    progress: Progress = silent,
) -> Exported:
    """Writes DATASET.inter and DATASET.item to `folder`, whole or not at all.

    The folder must be new or empty; with `overwrite` it may be an older export. DATASET is by
    default the folder's name, as RecBole wants it. Interactions are the events about an item
    (with one of `roles`), in the order of (time, user, the rest). A timestamp is in seconds since
    1970, or the position in the user's history where the log has no clock. With a split the
    interactions are in DATASET.train.inter, .valid.inter and .test.inter instead (RecBole's
    benchmark_filename):

    - leave-one-out: each user's last event is test, the one before validation. Users with fewer
      than three events are all in train. Ties in time go by kind, item and the rest.
    - time: train is before the cutoff, valid the window after it, test the window after that, as
      `data.split.split` has them for `horizon_days` and `anchor`. What is later is left out.

    Items are all of the catalogue and of the events, with what was known at the cutoff of a split
    by time, else at the log's end. Tabs, line ends and double quotes in texts become spaces,
    because RecBole reads such files without escapes. Queries and urls are left out.

    - `inputs`: what the export is made from, for the folder's mark.

    Raises ConfigError for a folder that is not empty, a DATASET that is no name of a file and a
    split by time of a log without times, DataError where no event is left.
    """
    folder = Path(folder)
    new_folder(folder, RECBOLE, overwrite=overwrite)
    called, engine, ties = dataset or folder.resolve().name, log.engine, log.manifest.tie_order
    if called in ("", "..") or called != Path(called).name or not called.isprintable():
        raise ConfigError(f"name: found {called!r}, expected the name of a file, without a folder")
    columns = [c for c in FIELDS if c in ties]
    rows, n, left_out = _interactions(log, roles)
    if not n:
        others = [f"{n} events: {why}" for why, n in left_out.items()]
        raise DataError(log.manifest.name, ["no event about an item is left", *others])
    part, cutoff = "0", log.end
    if split == "leave-one-out":
        order = ", ".join(f"{name(c)} DESC NULLS LAST" for c in ties if c != "user")
        user = f"PARTITION BY {name('user')}"
        turn = f"ROW_NUMBER() OVER ({user} ORDER BY {order}) AS turn"
        rows = f"SELECT *, {turn}, COUNT(*) OVER ({user}) AS many FROM ({rows}) AS l"
        part = f"CASE WHEN many < {LEAST} OR turn > 2 THEN 0 WHEN turn = 2 THEN 1 ELSE 2 END"
    elif split == "time":
        train, valid = anchored(log, horizon_days, anchor)
        cutoff, time = train.start, name("time")
        later = (f"{time} >= {valid.end}", f"after the last {anchor.value}")
        rows, n, dropped = sift(engine, rows, [later])
        left_out |= dropped
        part = f"CASE WHEN {time} < {cutoff} THEN 0 WHEN {time} < {valid.start} THEN 1 ELSE 2 END"
    with whole(folder, RECBOLE, inputs=inputs) as new:
        new.mkdir(parents=True)
        files = [f"{called}.inter"] if split == "none" else [f"{called}.{p}.inter" for p in PARTS]
        head, written = [FIELDS[c] for c in columns], {}
        for place, file in enumerate(files):
            progress(f"write {file}", place, len(files) + 1)
            own = f"SELECT * FROM ({rows}) AS p WHERE {part} = {place}"
            written[file] = _write(engine, _inter_sql(log, columns, own), new / file, head)
        assert sum(written.values()) == n
        file, attributes = f"{called}.item", log.manifest.attributes.items()
        progress(f"write {file}", len(files), len(files) + 1)
        head = [FIELDS["item"], *(f"{a}:{ATTRIBUTES[type_]}" for a, type_ in attributes)]
        written[file] = _write(engine, _item_sql(log, cutoff), new / file, head)
    return Exported(written, left_out)


def _interactions(
    log: EventLog, roles: Collection[Role] | None
) -> tuple[str, int, dict[str, int]]:
    """SQL of the events about an item with a wanted role, their number, the others by reason."""
    reasons = [
        (f"kind = {code}", f"{kind.name}: not asked for")
        for code, kind in enumerate(log.manifest.kinds)
        if roles is not None and kind.role not in roles
    ]
    picks = ", ".join(map(name, log.manifest.tie_order))
    events = f"SELECT {picks} FROM {log.events}"
    return sift(log.engine, events, [*reasons, ("item IS NULL", "about no item")])


def _inter_sql(log: EventLog, columns: Sequence[str], rows: str) -> str:
    """SQL: the fields of interactions as texts, in order."""
    picks, joins = {}, []
    for column in columns:
        value = f"e.{name(column)}"
        if column in log.texts:
            text, join = _text_of(log, column, value)
            joins.append(join)
        elif column == "kind":
            kinds = enumerate(log.manifest.kinds)
            cases = " ".join(f"WHEN {code} THEN {_literal(k.name)}" for code, k in kinds)
            text = f"CASE e.kind {cases} END"
        elif column == "time" and log.manifest.time == "clock":
            whole_ = f"CAST(({value} - {value} % {SECOND}) / {SECOND} AS BIGINT)"
            exact = f"CAST({value} AS DECIMAL(19, 0)) * CAST('0.000001' AS DECIMAL(7, 6))"
            text = (
                f"CASE WHEN {value} % {SECOND} = 0 THEN CAST({whole_} AS VARCHAR)"
                f" ELSE CAST({exact} AS VARCHAR) END"
            )
        else:
            text = f"CAST({value} AS VARCHAR)"
        picks[FIELDS[column]] = text
    ties = sorted(log.manifest.tie_order, key=lambda c: c != "time")
    order = ", ".join(f"e.{name(c)} NULLS FIRST" for c in ties)
    source = f"({rows}) AS e{''.join(joins)}"
    return f"{select_sql(picks, source)} ORDER BY {order}"


def _item_sql(log: EventLog, cutoff: Time | None) -> str:
    """SQL: every item and its attributes as texts, ordered by item."""
    every = (
        f"SELECT item FROM {log.items} UNION SELECT item FROM {log.events} WHERE item IS NOT NULL"
    )
    words = log.manifest.of_type(AttributeType.TEXT, AttributeType.CODES)
    picks, joins = {}, [f" LEFT JOIN ({log.known(cutoff)}) AS k ON i.item = k.item"]
    for column in ("item", *log.manifest.attributes):
        value = "i.item" if column == "item" else f"k.{name(column)}"
        if column in log.texts:
            value, join = _text_of(log, column, value)
            joins.append(join)
        elif column in words:
            value = _plain(value)
        picks[column] = f"CAST({value} AS VARCHAR)"
    source = f"({every}) AS i{''.join(joins)}"
    return f"{select_sql(picks, source)} ORDER BY i.item"


def _text_of(log: EventLog, column: str, value: str) -> tuple[str, str]:
    """SQL: the text that an id was made of, or the id; and the join that it needs."""
    map_ = name(f"t {column}")
    text = f"COALESCE({_plain(f'{map_}.text')}, CAST({value} AS VARCHAR))"
    return text, f" LEFT JOIN {log.texts[column]} AS {map_} ON {value} = {map_}.id"


def _plain(text: str) -> str:
    """SQL: a text without what would end a field, a line, or start a quotation."""
    return f"translate({text}, chr(9) || chr(10) || chr(13) || chr(34), '    ')"


def _literal(text: str) -> str:
    return quote(text.translate(dict.fromkeys(map(ord, '\t\n\r"'), " ")))


def _write(engine: Engine, sql: str, path: Path, head: Sequence[str]) -> int:
    """Writes texts as tab-separated lines under a header; their number. Null is an empty field."""
    rows = 0
    form = pa.schema([(h, pa.string()) for h in head])
    with path.open("wb") as file:
        file.write(("\t".join(head) + "\n").encode())
        options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        with csv.CSVWriter(file, form, write_options=options) as writer:
            for batch in engine.batches(sql):
                table = pa.Table.from_batches([batch]).rename_columns(list(head))
                writer.write_table(table.cast(form))
                rows += batch.num_rows
    return rows
