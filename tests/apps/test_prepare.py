"""prepare: stages are what the parts below say, and a kill in any of them changes no byte."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clickprint.apps.cli.main import main
from clickprint.apps.prepare.stages import STAGES, prepare, summary
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.profiles import Profiles
from clickprint.core.seal import parts_of
from clickprint.core.time import Window
from clickprint.data import synthetic
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.purchases import most_bought, price_edges
from clickprint.data.split import past_of, split
from clickprint.data.targets import GROUP_ROWS, write_rows
from clickprint.encoders.counts import Counts
from clickprint.tasks import ubm25
from clickprint.testing.worlds import random_log
from clickprint.work.resources import Tables
from clickprint.work.stages import code_digest, modules
from forks import python

ONE = Tables(threads=1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepare") / "shop"
    synthetic.read(folder, users=150, items=80, categories=6, days=60)
    return folder


@pytest.fixture(scope="module")
def done(shop: Path) -> Path:
    out = shop.parent / "done"
    prepare(shop, out, horizon_days=7, days=(1, 7), top=3, resources=ONE)
    return out


def contents(out: Path) -> dict[str, bytes]:
    """Every file but those that tell what it took, and from which source."""
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.name not in ("prepared.json", ".lock", "inputs.json", "parts.json")
    }


def test_the_stages_are_what_the_parts_say(shop: Path, done: Path) -> None:
    with DuckDB(threads=1) as engine:
        log = EventLog.open(Dataset.open(shop), engine)
        past, train, valid = split(log, horizon_days=7)
        told = json.loads((done / "split" / "split.json").read_text())
        assert (Window(*told["train"]), Window(*told["valid"])) == (train, valid)
        profiles = Counts(days=(1, 7), top=3).fit(past).encode(past)
        found = Profiles.load(done / "features")
        assert np.array_equal(found.users, past.users)
        assert np.array_equal(found.vectors, profiles.vectors)
        assert found.blocks == profiles.blocks
        histories = Histories.open(done / "histories")
        assert list(histories.fields) == [
            "time",
            "kind",
            "item",
            "url",
            "query",
            "category",
            "price_bucket",
        ]
        expected = past.histories(histories.fields)
        for field, values in histories.fields.items():
            assert np.array_equal(values, expected.fields[field])
        assert (histories.cutoff, histories.fingerprint) == (
            train.start,
            Dataset.open(shop).manifest.fingerprint,
        )
        for name, window in (("train", train), ("valid", valid)):
            rows = pq.read_table(done / "targets" / f"{name}.parquet")
            same = log.rows(
                ["user", "time", "item", "category", "price_bucket"],
                roles=(Role.BUY,),
                window=window,
            )
            assert len(rows) > 20
            for column, values in same.items():
                assert np.array_equal(rows.column(column).to_numpy(), values), column


def test_labels_are_those_of_the_tasks(shop: Path, done: Path) -> None:
    with DuckDB(threads=1) as engine:
        log = EventLog.open(Dataset.open(shop), engine)
        past, train, _ = split(log, horizon_days=7)
        for task, choose in (
            ("category", ubm25._category),
            ("sku", ubm25._sku),
            ("new_sku", ubm25._new_sku),
            ("price", ubm25._price),
        ):
            labels = choose(past, log, train, None, 100).labels
            folder = done / "targets" / "labels"
            assert np.load(folder / f"propensity_{task}.npy").tolist() == labels.values.tolist()
            assert (
                np.load(folder / f"popularity_propensity_{task}.npy").tolist()
                == labels.popularity.tolist()
            )


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_event_prices(seed: int) -> None:
    """Where the catalogue has no buckets, prices are cut at quantiles of the past's purchases."""
    with DuckDB(threads=1) as engine:
        log = random_log(engine, np.random.default_rng(seed), events=400)
        first, last = log.span() or (0, 0)
        train = Window((first + last) // 2, last + 1)
        past = past_of(log, train.start)
        edges = price_edges(past.log, 9)
        assert edges.tolist() == ubm25.price_edges(past, 9).tolist()
        values, shares = most_bought(log, "price", train, 5, edges=edges)
        bought = log.rows(["price"], roles=(Role.BUY,), window=train)["price"]
        expected = ubm25.most_bought(ubm25.price_buckets(bought, edges), 5)
        assert (values.tolist(), shares.tolist()) == (
            expected.values.tolist(),
            expected.popularity.tolist(),
        )
        assert price_edges(past.log.before(first), 9).tolist() == []
        assert most_bought(past.log.before(first), "item", None, 5)[0].tolist() == []


def test_what_is_there_stays_and_what_changed_is_made_again(
    shop: Path, done: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    before = {stage: (out / stage / "inputs.json").stat().st_ino for stage in STAGES}

    def made(**options: object) -> set[str]:
        prepare(
            shop, out, **{"horizon_days": 7, "days": (1, 7), "top": 3, "resources": ONE, **options}
        )
        now = {stage: (out / stage / "inputs.json").stat().st_ino for stage in STAGES}
        changed = {s for s in STAGES if now[s] != before[s]}
        before.update(now)
        return changed

    assert made() == set()
    assert made(top=2) == {"features"}
    assert made(top=2, fields=("item",)) == {"histories"}
    assert list(Histories.open(out / "histories").fields) == ["item"]
    (out / "targets" / "inputs.json").write_text("{")
    assert made(top=2, fields=("item",)) == {"targets"}
    assert made() == {"features", "histories"}
    assert contents(out) == contents(done)
    assert made(horizon_days=6) == set(STAGES)


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("clickprint.encoders.counts", {"features"}),
        ("clickprint.data.targets", {"targets"}),
        ("clickprint.apps.prepare.job", set(STAGES)),
        ("clickprint.apps.prepare.stages", set()),
        ("clickprint.tasks.task", set()),
    ],
)
def test_edited_code_makes_the_stages_anew_that_import_it(
    shop: Path,
    done: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    stages: set[str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    before = {stage: (out / stage / "inputs.json").read_bytes() for stage in STAGES}
    monkeypatch.setattr(
        "clickprint.work.stages.code_digest",
        lambda *roots: code_digest(*roots) + ("edited" if module in modules(*roots) else ""),
    )
    assert prepare(shop, out, horizon_days=7, days=(1, 7), top=3, resources=ONE)
    # What reads a stage that was made anew is made anew, too.
    changed = {s for s in STAGES if (out / s / "inputs.json").read_bytes() != before[s]}
    assert changed == stages
    assert contents(out) == contents(done)


def test_facts(done: Path) -> None:
    facts = json.loads((done / "prepared.json").read_text())
    assert list(facts["stages"]) == list(STAGES)
    assert all(
        stage["seconds"] > 0 and stage["peak_mib"] > 10 for stage in facts["stages"].values()
    )
    assert (
        facts["stages"]["histories"]["events"] == facts["stages"]["split"]["past_events"] > 1_000
    )
    assert facts["stages"]["features"]["users"] == facts["stages"]["split"]["users"] > 80
    assert facts["options"]["top"] == 3


def nan(file: Path) -> None:
    np.save(file, np.full_like(np.load(file), np.nan))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def other(file: Path) -> None:
    """The same size, another last byte."""
    file.write_bytes(file.read_bytes()[:-1] + b"#")


@pytest.mark.parametrize(
    ("file", "damage", "made"),
    [
        ("prepared.json", Path.unlink, set()),
        ("prepared.json", cut, set()),
        ("features/embeddings.npy", nan, {"features"}),
        ("features/embeddings.npy", cut, {"features"}),
        ("features/fitted/parts.json", Path.unlink, {"features"}),
        ("histories/parts.json", Path.unlink, {"histories"}),
        ("split/split.json", other, {"split"}),
        ("targets/labels/propensity_sku.npy", Path.unlink, {"targets"}),
    ],
)
def test_what_is_gone_or_changed_is_made_anew(
    file: str,
    damage: Callable[[Path], object],
    made: set[str],
    shop: Path,
    done: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(done, tmp_path / "out")
    damage(tmp_path / "out" / file)
    said = list[str]()
    options = {"horizon_days": 7, "days": (1, 7), "top": 3, "resources": ONE}
    facts = prepare(
        shop, tmp_path / "out", **options, progress=lambda stage, *given: said.append(stage)
    )
    assert {stage for stage in STAGES if f"{stage}: is there" not in said} == made
    assert contents(tmp_path / "out") == contents(done)
    told = json.loads((done / "prepared.json").read_text())["stages"]
    keys = ("users", "events", "past_events", "train_rows")
    assert all(facts["stages"][s].get(k) == told[s].get(k) for s in STAGES for k in keys)
    assert summary(facts, tmp_path).splitlines()[-1] == str(tmp_path)


def start(shop: Path, out: Path) -> subprocess.Popen[str]:
    words = ["prepare", str(shop), "--out", str(out), "--threads", "1"]
    words += ["--horizon-days", "7", "--days", "1", "7", "--top", "3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [python(), "-m", "clickprint.apps.cli.main", *words]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def test_killed_in_every_stage(shop: Path, done: Path, tmp_path: Path) -> None:
    """One folder, killed in one stage after the other, ends with the bytes of an unkilled one."""
    out = tmp_path / "out"
    said_inside = {
        "split": "split",
        "features": "features: counts",
        "targets": "targets",
        "histories": "histories",
    }
    for stage, inside in said_inside.items():
        with start(shop, out) as process:
            assert process.stderr
            while (line := process.stderr.readline()) and line.strip() != inside:
                pass
            process.send_signal(signal.SIGKILL)
            said = process.stderr.read()
        assert process.returncode == -signal.SIGKILL
        assert f"{stage} done" not in said, "the stage was over before it could be killed"
        assert not (out / stage / "inputs.json").exists()
    with start(shop, out) as process:
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert [stage for stage in STAGES if f"{stage}: is there" in said] == list(STAGES[:-1])
    assert contents(out) == contents(done)


def test_shards(shop: Path, done: Path, tmp_path: Path) -> None:
    """Partitioned by user: the same vectors and histories, in pieces."""
    facts = prepare(
        shop, tmp_path / "out", horizon_days=7, days=(1, 7), top=3, shards=3, resources=ONE
    )
    whole, histories = Profiles.load(done / "features"), Histories.open(done / "histories")
    users = 0
    for shard in range(3):
        part = Profiles.load(tmp_path / "out" / "features" / f"shard={shard}")
        assert ((part.users % 3 + 3) % 3 == shard).all()
        assert np.array_equal(part.vectors, whole.of(part.users))
        some = Histories.open(tmp_path / "out" / "histories" / f"shard={shard}")
        same = histories.of(some.users)
        assert np.array_equal(some.starts, same.starts)
        assert all(np.array_equal(some.fields[f], same.fields[f]) for f in histories.fields)
        users += len(part.users)
    assert users == len(whole.users) == facts["stages"]["features"]["users"]
    assert (
        facts["stages"]["targets"]["train_rows"]
        == pq.read_metadata(done / "targets" / "train.parquet").num_rows
    )
    for file in (done / "targets" / "labels").iterdir():
        assert (
            tmp_path / "out" / "targets" / "labels" / file.name
        ).read_bytes() == file.read_bytes()


def test_a_named_population_is_whom_shards_are_made_of(shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop, tmp_path / "shop")
    everyone = Dataset.open(shop).users
    # In no order, and one of whom nothing is known.
    asked = np.append(everyone[3:20][::-1], [999_999_999])
    np.save(tmp_path / "shop" / "population.npy", asked)
    manifest = Dataset.open(shop).manifest
    parts = manifest.parts | parts_of(tmp_path / "shop", ["population.npy"])
    (tmp_path / "shop" / "manifest.json").write_text(replace(manifest, parts=parts).to_json())
    prepare(
        tmp_path / "shop",
        tmp_path / "out",
        horizon_days=7,
        days=(7,),
        top=3,
        shards=3,
        resources=ONE,
    )
    prepare(tmp_path / "shop", tmp_path / "whole", horizon_days=7, days=(7,), top=3, resources=ONE)
    whole = Profiles.load(tmp_path / "whole" / "features")
    assert np.array_equal(whole.users, np.sort(asked))
    shards = [Profiles.load(tmp_path / "out" / "features" / f"shard={k}") for k in range(3)]
    assert np.array_equal(np.sort(np.concatenate([s.users for s in shards])), whole.users)
    for s in shards:
        assert np.array_equal(s.vectors, whole.of(s.users))
    found = [Histories.open(tmp_path / "out" / "histories" / f"shard={k}").users for k in range(3)]
    assert set(np.concatenate(found).tolist()) <= set(asked.tolist())


def test_the_command(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "prepare",
                str(shop),
                "--out",
                str(tmp_path / "o"),
                "--fields",
                "item",
                "time",
                "--top",
                "1",
                "--threads",
                "1",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "past before 2022-" in said
    assert [line.split()[0] for line in said.splitlines()[1:5]] == list(STAGES)
    assert sorted(Histories.open(tmp_path / "o" / "histories").fields) == ["item", "time"]


def test_refusals(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json"):
        prepare(tmp_path, tmp_path / "o")
    with pytest.raises(ConfigError, match="fields of histories: found colour"):
        prepare(shop, tmp_path / "o", fields=("colour",), resources=ONE)
    with pytest.raises(ConfigError, match="shards: found 0"):
        prepare(shop, tmp_path / "o", shards=0)
    with pytest.raises(DataError, match=r"too short.*\b40 days"):
        prepare(shop, tmp_path / "o", horizon_days=40, resources=ONE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"prepared log \(thesis\.txt\)"):
        prepare(shop, tmp_path / "mine")
    with pytest.raises(ConfigError, match="is a file"):
        prepare(shop, tmp_path / "mine" / "thesis.txt")


def test_rows_do_not_depend_on_the_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DuckDB(threads=1) as engine:
        sql = f"SELECT range AS v FROM range({GROUP_ROWS * 2 + 5})"
        pieces = DuckDB.batches
        sizes = (1_000, 50_000, GROUP_ROWS)
        for size in sizes:
            monkeypatch.setattr(
                DuckDB, "batches", lambda self, sql, rows=size: pieces(self, sql, rows)
            )
            assert write_rows(engine, sql, tmp_path / f"{size}.parquet") == GROUP_ROWS * 2 + 5
        assert len({(tmp_path / f"{size}.parquet").read_bytes() for size in sizes}) == 1
        assert write_rows(engine, "SELECT 1 AS v WHERE 1 = 0", tmp_path / "none.parquet") == 0
    assert pq.ParquetFile(tmp_path / "1000.parquet").num_row_groups == 3
    assert pq.read_table(tmp_path / "none.parquet").column_names == ["v"]
