"""OTTO: five weeks of 14.6 million sessions of a German shop, clicks, baskets and orders (RecSys
challenge on Kaggle, 2022).
"""

from pathlib import Path

from clickprint.core.dataset import Dataset
from clickprint.core.events import Kind, Role
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import jsonlines
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.columns import missing
from clickprint.data.adapters.mapping import Clock, EventTable, Files, Id, Kinds, TableMapping
from clickprint.data.adapters.table import read_mapping
from clickprint.data.adapters.zipped import found, opened
from clickprint.data.check import arrow_schema, is_text, refuse, sift
from clickprint.data.engine import (
    Engine,
    entries_sql,
    json_records_sql,
    name,
    select_sql,
    unnested_sql,
)

KINDS = (Kind("clicks", Role.CLICK), Kind("carts", Role.CART), Kind("orders", Role.BUY))
COLUMNS = ("aid", "ts", "type")
SECONDS = 100_000_000_000  # times below are seconds: as milliseconds they would be of 1973
CARD = Card(
    title=(
        "OTTO: 12.9 million sessions of four weeks with 220 million clicks, baskets and orders,"
        " and a test week, 2022"
    ),
    files={
        "otto-recsys-train.jsonl": (
            'or train.jsonl; a line is {"session": 1, "events": [{"aid": 2, "ts": 3, "type":'
            ' "clicks"}]}, ts in milliseconds, type one of clicks, carts, orders; also .gz'
        ),
        "otto-recsys-test.jsonl": (
            "or test.jsonl: the same of the week after; read with the option test"
        ),
        "train.parquet, test.parquet": (
            "as Kaggle's notebooks share them: session, aid, ts (seconds or milliseconds), type (a"
            " name, or 0, 1, 2); also several in a folder train_parquet or test_parquet"
        ),
    },
    licence="CC BY 4.0 (OTTO)",
    where=(
        "https://www.kaggle.com/datasets/otto/recsys-dataset"
        " (https://github.com/otto-de/recsys-dataset)"
    ),
    dropped="""
        - lines that are no JSON object, not UTF-8 or longer than 16 MiB; lines without a list of
          events, or with an empty one
        - events without an item, a readable time or a known type; ids that are no whole numbers
          within int64
    """,
    notes="""
        - a session is all that a user did in the weeks of its file, so user = session, and session
          says nothing more; sessions of the test file are other users
        - there is no catalogue and there are no prices
        - Kaggle's test file is cut: what came after a random moment is what was to be predicted
        - of a key that stands twice in an object the first one counts
    """,
)


def read(
    path: Path, out: Path, *, test: bool = False, engine: Engine, progress: Progress = silent
) -> Dataset:
    """The training sessions (a file, its folder or zip) in the canonical form at `out`.

    `test` reads the test file's sessions too. Raises DataError with every fault of every file, and
    where no event can be used.
    """
    path, out = Path(path), Path(out)
    with opened(path, out, "json") as (place, room):
        files = found(place, _patterns("train"), path)
        if test:
            files = [*files, *(f for f in found(place, _patterns("test"), path) if f not in files)]
        lines = [f for f in files if f.suffix != ".parquet"]
        tables = tuple(f for f in files if f.suffix == ".parquet")
        if tables:
            everything = Files(paths=tables, format="parquet")
            refuse(path, missing(everything, ("session", *COLUMNS)))
        made, rejected = list[EventTable](), dict[str, int]()
        if lines:
            progress("read lines", 0, 0)
            staged, rejected = _events(engine, lines, room, path)
            made.append(_table("events", [staged], "milliseconds", False))
        forms: dict[tuple[str, bool], list[Path]] = {}
        for table in tables:
            forms.setdefault(_form(engine, table), []).append(table)
        for place_, ((unit, numbered), alike) in enumerate(forms.items()):
            made.append(_table(f"{unit} {place_}", alike, unit, numbered))
        return read_mapping(
            TableMapping(where=path, name="otto", tables=tuple(made), kinds=KINDS),
            out,
            engine=engine,
            reader="otto",
            rejected=rejected,
            progress=progress,
        )


def _patterns(part: str) -> tuple[str, ...]:
    names = (f"otto-recsys-{part}.jsonl", f"{part}.jsonl")
    return (*names, *(f"{n}.gz" for n in names), f"{part}.parquet", f"{part}_parquet/*.parquet")


def _form(engine: Engine, table: Path) -> tuple[str, bool]:
    """The unit of a Parquet file's times, and whether its types of event are numbers."""
    (latest,) = engine.one(f"SELECT MAX(TRY_CAST(ts AS BIGINT)) FROM {engine.scan([table])}")
    unit = "seconds" if latest is not None and latest < SECONDS else "milliseconds"
    return unit, not is_text(arrow_schema(table).field("type").type)


def _table(key: str, paths: list[Path], unit: str, numbered: bool) -> EventTable:
    values = {str(code) if numbered else kind.name: kind for code, kind in enumerate(KINDS)}
    return EventTable(
        key=key,
        name="events",
        files=Files(paths=tuple(paths), format="parquet"),
        ids={"user": Id("session", "number"), "item": Id("aid", "number")},
        time=Clock("ts", unit),
        kinds=Kinds(column="type", values=values),
    )


def _events(
    engine: Engine, paths: list[Path], room: Path, where: Path
) -> tuple[Path, dict[str, int]]:
    """The lines' events as a Parquet file of texts, and what was left out by reason."""
    target, staged, prefix = room / "lines.parquet", room / "events.parquet", "sessions: "
    good, rejected = jsonlines.objects(engine, paths, target, where, prefix)
    rows = jsonlines.fields(good, ("session", "events"))
    records = json_records_sql("events", COLUMNS)
    listed = f"CASE WHEN {name('events sort')} = 'ARRAY' THEN {records} END"
    picks = {"session": jsonlines.id_sql("session"), "events": listed}
    nothing = (f"{entries_sql('events')} = 0", "no list of events, or an empty one")
    good, _, bad = sift(engine, select_sql(picks, f"({rows}) AS f"), [nothing], prefix)
    each = unnested_sql(good, ["session"], "events", "event")
    columns = {"session": "session", **{c: f"event.{name(c)}" for c in COLUMNS}}
    engine.write(select_sql(columns, f"({each}) AS e"), staged)
    target.unlink()
    return staged, rejected | bad
