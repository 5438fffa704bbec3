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
from clickprint.data.adapters.staging import workplace
from clickprint.data.adapters.table import read_mapping
from clickprint.data.adapters.zipped import found, unpacked
from clickprint.data.check import arrow_schema, blaming, is_text, refuse, sift
from clickprint.data.engine import Engine, entries_sql, json_records_sql, name, unnested_sql

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
    dropped=(
        (
            "lines that are no JSON object, not UTF-8 or longer than 16 MiB; lines without a list"
            " of events, or with an empty one"
        ),
        (
            "events without an item, a readable time or a known type; ids that are no whole"
            " numbers within int64"
        ),
    ),
    notes=(
        (
            "a session is all that a user did in the weeks of its file, so user = session, and"
            " session says nothing more; sessions of the test file are other users"
        ),
        "there is no catalogue and there are no prices",
        "Kaggle's test file is cut: what came after a random moment is what was to be predicted",
        "of a key that stands twice in an object the first one counts",
    ),
)


def read(
    path: Path, out: Path, *, test: bool = False, engine: Engine, progress: Progress = silent
) -> Dataset:
    """The training sessions (a file, the folder or zip that holds it) in the canonical form at
    `out`; `test` reads the test file's too.

    Raises DataError with every fault of every file, and where no event can be used.
    """
    path, out = Path(path), Path(out)
    with (
        unpacked(path, out) as place,
        workplace(out.with_name(f"{out.name}.json")) as room,
        blaming(path),
    ):
        files = found(place, _patterns("train"), path)
        if test:
            files = [*files, *(f for f in found(place, _patterns("test"), path) if f not in files)]
        lines = [f for f in files if f.suffix != ".parquet"]
        tables = [f for f in files if f.suffix == ".parquet"]
        faults, rejected, parts = [], dict[str, int](), []
        if tables:
            faults = missing(Files(paths=tuple(tables), format="parquet"), ("session", *COLUMNS))
        refuse(path, faults)
        if lines:
            progress("read lines", 0, 0)
            staged, rejected = _events(engine, lines, room, path)
            parts.append(_table("events", [staged], "milliseconds", False))
        forms: dict[tuple[str, bool], list[Path]] = {}
        for one in tables:
            (latest,) = engine.one(f"SELECT MAX(TRY_CAST(ts AS BIGINT)) FROM {engine.scan([one])}")
            numbered = not is_text(arrow_schema(one).field("type").type)
            forms.setdefault(
                (
                    "seconds" if latest is not None and latest < SECONDS else "milliseconds",
                    numbered,
                ),
                [],
            ).append(one)
        parts += [
            _table(f"{unit} {place}", files, unit, numbered)
            for place, ((unit, numbered), files) in enumerate(forms.items())
        ]
        return read_mapping(
            TableMapping(
                where=path, name="otto", query="text", tables=tuple(parts), kinds=KINDS, items=None
            ),
            out,
            engine=engine,
            reader="otto",
            rejected=rejected,
            progress=progress,
        )


def _patterns(part: str) -> tuple[str, ...]:
    names = (f"otto-recsys-{part}.jsonl", f"{part}.jsonl")
    return (*names, *(f"{n}.gz" for n in names), f"{part}.parquet", f"{part}_parquet/*.parquet")


def _table(key: str, paths: list[Path], unit: str, numbered: bool) -> EventTable:
    values = {str(place) if numbered else kind.name: kind for place, kind in enumerate(KINDS)}
    session = Id("session", "number")
    return EventTable(
        key=key,
        name="events",
        files=Files(paths=tuple(paths), format="parquet"),
        ids={"user": session, "item": Id("aid", "number")},
        time=Clock("ts", unit),
        kinds=Kinds(column="type", values=values),
        numbers={},
    )


def _events(
    engine: Engine, paths: list[Path], room: Path, where: Path
) -> tuple[Path, dict[str, int]]:
    """The lines' events as a Parquet file of texts, and what was left out by reason."""
    target = room / "lines.parquet"
    good, rejected = jsonlines.objects(engine, paths, target, where, "sessions: ")
    rows = jsonlines.fields(good, ("session", "events"))
    listed = (
        f"CASE WHEN {name('events sort')} = 'ARRAY' THEN {json_records_sql('events', COLUMNS)} END"
    )
    rows = (
        f"SELECT {jsonlines.id_sql('session')} AS session, {listed} AS events FROM ({rows}) AS f"
    )
    good, _, bad = sift(
        engine,
        rows,
        [(f"{entries_sql('events')} = 0", "no list of events, or an empty one")],
        "sessions: ",
    )
    each = unnested_sql(good, ["session"], "events", "event")
    picks = ", ".join(f"event.{name(c)} AS {name(c)}" for c in COLUMNS)
    staged = room / "events.parquet"
    engine.write(f"SELECT session, {picks} FROM ({each}) AS e", staged)
    target.unlink()
    return staged, rejected | bad
