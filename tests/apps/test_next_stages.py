"""Every stage of next purchase: what it writes, when it is stale, and what a killed one leaves."""

import csv
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from next_shop import EVIL, STAGES, Place, files, leftovers

from clickprint.apps.next.candidates import pairs_of
from clickprint.apps.next.features import examples_of
from clickprint.apps.next.graph import STAGES as GRAPH
from clickprint.apps.next.run import Run
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ClickprintError, ConfigError, DataError
from clickprint.core.recommendations import Recommendations
from clickprint.core.time import show
from clickprint.data.names import shop_ids
from clickprint.data.split import past_of
from clickprint.work.folder import made_from
from forks import python

LEARN, VALID, CUTOFF = ("2024-03-16", "2024-03-19"), "2024-03-22", "2024-03-25"
NO_TRACKING = ("on = true", "on = false")


def stale(run: Run) -> list[str]:
    """The stages whose folders are not of these parameters."""
    found = []
    for stage in STAGES:
        try:
            if made_from(run.folder(stage)) != {"folder": run.stages.inputs(stage)}:
                found.append(stage)
        except ConfigError:
            found.append(stage)
    return found


# -- what each writes --------------------------------------------------------------------------


def test_read_and_split(next_made: Place) -> None:
    dataset = Dataset.open(next_made.out / "data")
    with (next_made.shop / "events.csv").open(encoding="utf-8") as file:
        assert dataset.manifest.events == sum(1 for _ in file) - 1
    found = json.loads((next_made.out / "split/windows.json").read_text("utf-8"))
    at = [f"{d} 00:00:00" for d in (*LEARN, VALID, CUTOFF)]
    assert found == {
        "train": [at[0:2], at[1:3]],
        "valid": at[2:4],
        "predict": "2024-03-25 00:00:00",
        "asked": 2,
    }
    assert (
        json.loads((next_made.out / "split/overview.json").read_text("utf-8"))["fingerprint"]
        == dataset.manifest.fingerprint
    )


def test_candidates_and_features(next_made: Place) -> None:
    run = next_made.run()
    windows = run.windows()
    assert sorted(p.name for p in (next_made.out / "candidates").iterdir()) == [
        *LEARN,
        VALID,
        CUTOFF,
        "inputs.json",
        "parts.json",
    ]
    assert sorted(p.name for p in (next_made.out / "features").iterdir()) == [
        *LEARN,
        "inputs.json",
        "parts.json",
        "profiles",
    ]
    with run.log() as log:
        for start in windows.starts:
            past, pairs = past_of(log, start), pairs_of(run, start)
            np.testing.assert_array_equal(pairs.users, past.users)
            assert set(pairs.columns) == {
                f"{name}_{what}" for name in ("history", "popular") for what in ("rank", "score")
            }
            if start in (windows.valid.start, windows.cutoff):
                assert (pairs.lengths >= 5).all()  # nobody's list is short
            else:  # buyers alone teach
                truth = next(
                    e[2]
                    for e, w in zip(examples_of(run), windows.train, strict=True)
                    if w.start == start
                )
                assert set(pairs.users[pairs.lengths > 0].tolist()) == set(
                    truth.users.tolist()
                ) & set(past.users.tolist())
    for (pairs, columns, truth), window in zip(examples_of(run), windows.train, strict=True):
        assert {"history_rank", "popular_score"} < set(pairs.columns)
        assert all(len(c) == len(pairs.users) for c in columns.values())
        rows = [
            r
            for r in csv.DictReader((next_made.shop / "events.csv").open(encoding="utf-8"))
            if r["kind"] == "buy"
            and show(window.start) <= r["time"].replace("T", " ") < show(window.end)
        ]
        assert len(truth.users) == len({r["user"] for r in rows})
        assert len(truth.items.values) == len({(r["user"], r["item"]) for r in rows})


def test_validate(next_made: Place) -> None:
    folder = next_made.out / "validate"
    results, metrics = (
        json.loads((folder / f"{n}.json").read_text("utf-8")) for n in ("results", "metrics")
    )
    values = {x["label"]: x["value"] for x in results["lines"]}
    assert {
        "personal frequency",
        "last basket",
        "popularity",
        "category popularity",
        "TIFU-KNN",
        "UP-CF",
        "ranker",
    } < set(values)
    (chosen,) = (x["value"] for x in results["lines"] if (x["users"], x["by"]) == (20, "product"))
    assert chosen <= values["ranker"] <= values["ceiling union"]
    assert metrics["recall"] == values["ranker"]
    assert metrics["recall_20_users_by_product"] == chosen
    assert metrics["recall_best_rival"] == values[results["best_rival"]]
    assert metrics["recall_best_rival"] == max(
        x["value"]
        for x in results["lines"]
        if x["type"] in ("baseline", "next-basket", "retriever")
    )
    for line in (x for x in results["lines"] if x["type"] == "retriever"):
        assert line["value"] <= values[f"ceiling {line['name']}"]
    assert results["chosen"] == 20
    assert sum(size for size, _, _ in results["bins"]) == results["users"] == 90
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        told = {r["label"]: float(r["value"]) for r in csv.DictReader(file)}
    assert told["ranker"] == pytest.approx(values["ranker"])
    assert any(
        EVIL in item["title"]
        for one in json.loads((folder / "examples.json").read_text("utf-8"))
        for item in one["list"]
    )


def test_predict(next_made: Place) -> None:
    folder = next_made.out / "predict"
    table = pq.read_table(folder / "submission.parquet").to_pydict()
    with (folder / "submission.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["user_id", "products"] == list(table)
    assert [r[0] for r in rows[1:]] == table["user_id"]
    assert len(set(table["user_id"])) == 20
    assert all(
        len(p) == len(set(p)) == 5 and all(i.startswith("sku-") for i in p)
        for p in table["products"]
    )
    users = pq.read_table(folder / "users.parquet").to_pydict()
    assert len(users["user"]) == 90
    best = sorted(zip(users["worth"], users["user"], strict=True), key=lambda x: (-x[0], x[1]))[
        :20
    ]
    lists = Recommendations.load(folder / "lists.parquet")
    run = next_made.run()
    with run.log() as log:
        called = shop_ids(log, "user", lists.users)
    assert [called[u] for _, u in best] == table["user_id"]


# -- what runs again ---------------------------------------------------------------------------


def test_a_second_call_does_nothing(next_made: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = {
        p: p.stat().st_mtime_ns
        for p in next_made.out.rglob("*")
        if p.is_file() and "ml" not in p.relative_to(next_made.out).parts[0]
    }
    assert next_made.command("all") == 0
    assert capsys.readouterr().out.count("up to date") == len(STAGES)
    assert {p: p.stat().st_mtime_ns for p in before if p.name != ".lock"} == {
        p: t for p, t in before.items() if p.name != ".lock"
    }


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        (
            "trees = 8\nleaves = 4\nmin_leaf = 5\n[propensity]",
            "trees = 9\nleaves = 4\nmin_leaf = 5\n[propensity]",
            "tune",
        ),
        ("leaves = 4\nmin_leaf = 5\n[tune]", "leaves = 5\nmin_leaf = 5\n[tune]", "train"),
        ("k = 8", "k = 9", "candidates"),
        ("half_lives = [7]", "half_lives = [8]", "features"),
        ("history_days = 7", "history_days = 8", "split"),
        ("seed = 3", "seed = 4", "candidates"),
        ("\ndays = 3", "\ndays = 4", "split"),
        ("max_users = 20", "max_users = 21", "train"),
        ("trials = 0", "trials = 1", "tune"),
        ("coverage = 0.01", "coverage = 0.02", "validate"),
        ("shares = [0.1, 0.3]", "shares = [0.1]", "validate"),
        ("stride_days = 0", "stride_days = 1", "split"),
        ("windows = 2\nshares", "windows = 3\nshares", ""),  # of the rolling evaluation alone
        ("[features]", "# a word\n[features]", ""),
    ],
)
def test_a_parameter_makes_what_depends_on_it_stale(
    next_copy: Place, old: str, new: str, first: str
) -> None:
    assert stale(next_copy.run()) == []
    expected: list[str] = []
    for stage in GRAPH:  # in order: each after those that it reads
        if stage.name == first or set(stage.reads) & set(expected):
            expected.append(stage.name)
    assert stale(next_copy.run((old, new))) == expected


def test_what_depends_on_a_parameter_is_made_again_and_nothing_else(next_copy: Place) -> None:
    run = next_copy.run(("max_users = 20", "max_users = 7"), NO_TRACKING)
    kept = files(next_copy.out / "features")
    stages = STAGES[:-1]
    assert next_copy.made(*stages, run=run) == ["train", "validate", "predict"]
    assert next_copy.made(*stages, run=run) == []
    assert files(next_copy.out / "features") == kept
    assert pq.read_table(next_copy.out / "predict/submission.parquet").num_rows == 7
    assert not (next_copy.out / "validate/tracked.json").exists()


def test_new_rows_in_the_files_of_a_table_are_read(next_copy: Place, tmp_path: Path) -> None:
    shop = Path(shutil.copytree(next_copy.shop, tmp_path / "shop"))
    place = Place(shop, next_copy.params, tmp_path / "other")
    run = place.run(("\ndays = 3", "\ndays = 3"))
    assert place.made("read", "split", run=run) == ["read", "split"]
    with (shop / "events.csv").open("a", encoding="utf-8") as file:
        file.write("2024-03-30T12:00:00,u1,buy,sku-1\n")
    assert place.made("read", "split", run=run) == ["read", "split"]
    assert show(run.windows().cutoff) == "2024-03-31 00:00:00"


def test_folders_of_windows_that_are_no_more_go(next_copy: Place) -> None:
    run = next_copy.run(("train_windows = 2", "train_windows = 1"))
    for stage in ("split", "candidates", "features"):
        run.perform(stage)
    assert sorted(p.name for p in (next_copy.out / "features").iterdir()) == [
        LEARN[1],
        "inputs.json",
        "parts.json",
        "profiles",
    ]


# -- called too early --------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_before_its_inputs_says_what_to_call(
    stage: str, next_shop: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(next_shop.shop, next_shop.params, tmp_path / "out")
    assert place.command(stage) == 1
    said = capsys.readouterr().err
    assert "not made yet; call `clickprint next " in said
    assert f"--params {place.params} --out {place.out}`, or `clickprint next all" in said
    assert not place.out.exists() or leftovers(place.out) == []


def test_a_stage_after_a_change_says_what_to_call(
    next_copy: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    next_copy.run(
        (
            "trees = 8\nleaves = 4\nmin_leaf = 5\n[propensity]",
            "trees = 9\nleaves = 4\nmin_leaf = 5\n[propensity]",
        )
    )
    assert next_copy.command("predict") == 1
    assert (
        "made from other parameters, data or code; call `clickprint next tune"
        in capsys.readouterr().err
    )
    next_copy.run(('log = "tiny"', 'log = "made"'))
    assert next_copy.command("split") == 1
    assert (
        "made from other files or options; call `clickprint next read" in capsys.readouterr().err
    )


def test_a_log_that_is_too_short_or_has_no_clock(
    next_copy: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    next_copy.run(("history_days = 7", "history_days = 30"))
    assert next_copy.command("split") == 1
    assert (
        "no room before 2024-03-22 00:00:00 for 3 days to train on with 30 days before them"
        in capsys.readouterr().err
    )
    (next_copy.shop.parent / "ordered.toml").write_text(
        (next_copy.shop / "shop.toml").read_text().replace('time = "time"', 'time = "order"')
    )
    shutil.copy(next_copy.shop.parent / "ordered.toml", next_copy.shop / "ordered.toml")
    place = Place(next_copy.shop, next_copy.params, next_copy.out.parent / "ordered")
    place.run(("/shop.toml", "/ordered.toml"))
    assert place.command("read") == 0
    assert place.command("split") == 1
    assert "windows of days needs a clock" in capsys.readouterr().err


# -- stopped -----------------------------------------------------------------------------------


class Stopped(Exception):
    """What stands for the moment at which a stage dies."""


@pytest.mark.parametrize("stage", ["read", "candidates", "features", "train"])
def test_a_stopped_stage_leaves_no_half_file_and_goes_on(stage: str, next_copy: Place) -> None:
    folder = next_copy.run().folder(stage)
    whole = files(folder)
    shutil.rmtree(folder)
    calls: list[str] = []
    for moment in range(1, 200):
        seen = 0

        def progress(what: str, done: int, total: int, moment: int = moment) -> None:
            nonlocal seen
            seen += 1
            calls.append(what)
            if seen == moment:
                raise Stopped

        try:
            next_copy.run(progress=progress).perform(stage)
            break
        except Stopped:
            assert leftovers(next_copy.out) == []
            assert (
                {k: v for k, v in files(folder).items() if k != "inputs.json"}.items()
                <= whole.items()
                if folder.exists()
                else True
            )
            if stage in ("read", "train"):  # whole or not at all
                assert not folder.exists()
    assert moment > 2, "it was never stopped"
    assert files(folder) == whole


def test_what_was_stopped_under_other_parameters_is_not_taken_for_the_old(
    next_copy: Place,
) -> None:
    whole = files(next_copy.out / "candidates")
    done = 0

    def progress(what: str, n: int, total: int) -> None:
        nonlocal done
        done += what == "candidates"
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        next_copy.run(("k = 8", "k = 9"), progress=progress).perform("candidates")
    run = next_copy.run(("k = 8", "k = 8"))
    assert next_copy.made("candidates", run=run) == ["candidates"]
    assert files(next_copy.out / "candidates") == whole


def test_a_killed_process_goes_on(next_copy: Place) -> None:
    whole = files(next_copy.out / "candidates")
    shutil.rmtree(next_copy.out / "candidates")
    words = [
        "next",
        "candidates",
        "--params",
        str(next_copy.params),
        "--out",
        str(next_copy.out),
        "--threads",
        "1",
    ]
    with subprocess.Popen(
        [python(), "-m", "clickprint.apps.cli.main", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        assert process.stderr.readline().startswith("candidates")
        assert process.stderr.readline().startswith(LEARN[0])
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (next_copy.out / "candidates/inputs.json").exists()
    assert next_copy.made("candidates", "features") == ["candidates"]
    assert files(next_copy.out / "candidates") == whole
    assert leftovers(next_copy.out) == []


# -- damaged -----------------------------------------------------------------------------------


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def wrong(file: Path) -> None:
    file.write_text('{"a": 1}')


def broken(file: Path) -> None:
    file.write_text('{"a": ')


@pytest.mark.parametrize(
    ("file", "damage", "stage"),
    [
        ("data/manifest.json", broken, "split"),
        ("split/windows.json", wrong, "features"),
        (f"candidates/{LEARN[0]}/pairs.parquet", truncated, "features"),
        (f"features/{LEARN[1]}/users.parquet", Path.unlink, "train"),
        ("tune/best.json", broken, "train"),
        ("model/fitted/next.json", wrong, "predict"),
        ("split/overview.json", wrong, "report"),
    ],
)
def test_a_changed_input_is_named_and_made_anew(
    file: str,
    damage: Callable[[Path], object],
    stage: str,
    next_copy: Place,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = file.partition("/")[0]
    made = next(s.name for s in GRAPH if s.place == place)
    before = (next_copy.out / file).read_bytes()
    damage(next_copy.out / file)
    assert next_copy.command(stage) == 1
    said = capsys.readouterr().err
    assert str(next_copy.out / place) in said
    assert f"next {made}" in said
    assert "Traceback" not in said
    assert next_copy.command(made) == 0
    assert (next_copy.out / file).read_bytes() == before
    assert next_copy.command(made) == 0
    assert "up to date" in capsys.readouterr().out


def test_fresh_makes_everything_anew(next_copy: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (next_copy.out / "notes.txt").write_text("mine")
    done = list[str]()
    monkeypatch.setattr(Run, "perform", lambda run, stage: done.append(stage) or stage)
    assert next_copy.command("all", "--fresh") == 0
    assert done == [stage.name for stage in GRAPH]
    assert {p.name for p in next_copy.out.iterdir()} == {".clickprint", ".lock", "notes.txt"}


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"time,user,kind,item\n", b"\xff\xfe\x00"])
def test_a_log_that_cannot_be_read_leaves_nothing(
    raw: bytes, next_shop: Place, tmp_path: Path
) -> None:
    shop = Path(shutil.copytree(next_shop.shop, tmp_path / "shop"))
    (shop / "events.csv").write_bytes(raw)
    place = Place(shop, tmp_path / "params.toml", tmp_path / "out")
    with pytest.raises(ClickprintError):
        place.run(("\ndays = 3", "\ndays = 3")).perform("read")
    assert not (place.out / "data").exists()
    assert leftovers(place.out) == []


def test_a_window_in_which_nobody_bought(next_shop: Place, tmp_path: Path) -> None:
    shop = Path(shutil.copytree(next_shop.shop, tmp_path / "shop"))
    lines = (shop / "events.csv").read_text("utf-8").splitlines(keepends=True)
    (shop / "events.csv").write_text(
        "".join(x for x in lines if x < f"{VALID}" or ",buy," not in x or x.startswith("time")),
        "utf-8",
    )
    place = Place(shop, tmp_path / "params.toml", tmp_path / "out")
    run = place.run(NO_TRACKING)
    for stage in ("read", "split", "candidates", "features", "tune", "train"):
        run.perform(stage)
    with pytest.raises(DataError, match="nobody bought in"):
        run.perform("validate")
    assert not (place.out / "validate").exists()
