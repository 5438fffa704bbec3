"""The challenge's steps by command: on the reference case, and on a small directory of ours."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clickprint.apps.challenge import stages as challenge
from clickprint.apps.cli.main import main
from clickprint.core.profiles import Profiles
from clickprint.data.engine import DuckDB
from clickprint.data.synthetic import shop_of, write_challenge

SIX = ["churn", "hidden1", "propensity_category", "propensity_sku", "hidden2", "hidden3"]


@pytest.fixture
def log(golden: Path, tmp_path: Path) -> Path:
    shutil.copytree(golden / "log", tmp_path / "log", copy_function=shutil.copyfile)
    for folder in (tmp_path / "log", *(p for p in (tmp_path / "log").rglob("*") if p.is_dir())):
        folder.chmod(0o755)
    return tmp_path / "log"


def test_split_baseline_validate_on_the_reference_case(
    golden: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["challenge", "split", str(log)]) == 0
    told = capsys.readouterr().out
    assert (
        "end 2022-09-17 22:54:32, training window from 2022-08-21 00:00:00,"
        " validation window from 2022-09-04 00:00:00" in told
    )
    assert pq.read_metadata(log / "target" / "train_target.parquet").num_rows == 736
    assert pq.read_metadata(log / "target" / "validation_target.parquet").num_rows == 701
    out = log.parent / "baseline"
    assert main(["challenge", "baseline", str(log), "--out", str(out)]) == 0
    assert "33 relevant clients without an event are left out" in capsys.readouterr().out
    expected = golden / "expected"
    # The organisers' rows in the organisers' order, which is the order of training.
    np.testing.assert_array_equal(
        np.load(out / "client_ids.npy"), np.load(expected / "client_ids.npy")
    )
    ours, theirs = np.load(out / "embeddings.npy"), np.load(expected / "embeddings.npy")
    assert ours.dtype == np.float16
    assert ours.shape == theirs.shape == (1919, 320)
    # Where counts tie, which value is among the ten most frequent depends on the reader: few
    # columns may differ.
    assert (ours != theirs).any(axis=0).sum() <= 25
    assert main(["challenge", "validate", str(log), str(out)]) == 1
    said = (
        "client_ids.npy: not the relevant clients: 33 of them are missing and 0 others are there"
    )
    assert capsys.readouterr().out == f"{said}\n"
    assert main(["challenge", "validate", str(log), str(out), "--any-clients"]) == 0
    # All of them, in the same order, then the ones without an event, as zeros.
    every = log.parent / "every"
    assert main(["challenge", "baseline", str(log), "--out", str(every), "--all-clients"]) == 0
    assert main(["challenge", "validate", str(log), str(every)]) == 0
    profiles = Profiles.load(every)
    np.testing.assert_array_equal(profiles.users[:1919], np.load(expected / "client_ids.npy"))
    np.testing.assert_array_equal(profiles.vectors[:1919], ours)
    assert not profiles.vectors[1919:].any()
    assert (np.diff(profiles.users[1919:]) > 0).all()


@pytest.mark.golden
def test_all_six_scores_of_the_reference_case(golden: Path, log: Path) -> None:
    """Minutes. Every epoch within 0.002, every score within 0.001."""
    scores = log.parent / "scores.json"
    profiles = log.parent / "profiles"
    profiles.mkdir()
    for file in ("client_ids.npy", "embeddings.npy"):
        shutil.copyfile(golden / "expected" / file, profiles / file)
    assert main(["challenge", "split", str(log)]) == 0
    words = [
        "challenge",
        "score",
        str(log),
        str(profiles),
        "--tasks",
        *SIX,
        "--scores",
        str(scores),
        "--any-clients",
        "--accelerator",
        "cpu",
    ]
    assert main([*words, "--log-name", "gold"]) == 0
    found, expected = (
        json.loads(f.read_text()) for f in (scores, golden / "expected" / "scores.json")
    )
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=0.001)
    epochs = [
        json.loads(line) for line in (log.parent / "gold.epochs.jsonl").read_text().splitlines()
    ]
    secret = {
        "conversion": "hidden1",
        "propensity_new_sku": "hidden2",
        "propensity_price": "hidden3",
    }
    theirs = [
        json.loads(line)
        for line in (golden / "expected" / "epochs.jsonl").read_text().splitlines()
    ]
    wanted = {(secret.get(e["task"], e["task"]), e["epoch"]): e["score"] for e in theirs}
    assert {(e["task"], e["epoch"]): e["score"] for e in epochs} == pytest.approx(
        wanted, abs=0.002
    )


# -- a directory of our own -------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory, split, and beside it profiles of two columns.

    The probe's size is fixed, so its users are few.
    """
    folder = tmp_path_factory.mktemp("challenge") / "data"
    write_challenge(folder, shop_of(users=110, items=120, categories=6, days=50, rate=3.0, seed=2))
    assert main(["challenge", "split", str(folder)]) == 0
    relevant = np.load(folder / "input" / "relevant_clients.npy")
    Profiles(
        relevant[::-1].copy(),
        np.random.default_rng(0).normal(size=(len(relevant), 2)).astype(np.float16),
    ).save(folder.parent / "profiles")
    return folder


def score(small: Path, scores: Path, *words: str) -> int:
    return main(
        [
            "challenge",
            "score",
            str(small),
            str(small.parent / "profiles"),
            "--scores",
            str(scores),
            "--accelerator",
            "cpu",
            *words,
        ]
    )


def test_scores_are_written_as_the_organisers_write_them(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text('{"propensity_sku": 0.5, "hidden1": 0.25, "placeholder": -1}')
    assert score(small, scores, "--tasks", "hidden1", "--threads", "1", "--log-name", "mine") == 0
    text = scores.read_text()
    found = json.loads(text)
    assert list(found) == ["propensity_sku", "hidden1", "placeholder"]
    assert (found["propensity_sku"], found["placeholder"]) == (0.5, -1)  # kept; last, as theirs
    assert 0.3 < found["hidden1"] < 0.8
    assert found["hidden1"] != 0.25
    assert round(found["hidden1"], 4) == found["hidden1"]
    assert text == json.dumps(found)  # one line, no newline at the end
    epochs = [
        json.loads(line) for line in (tmp_path / "mine.epochs.jsonl").read_text().splitlines()
    ]
    assert [(e["name"], e["task"], e["epoch"]) for e in epochs] == [
        ("mine", "hidden1", 0),
        ("mine", "hidden1", 1),
        ("mine", "hidden1", 2),
    ]
    assert round(max(e["score"] for e in epochs), 4) == found["hidden1"]
    assert f"hidden1                 {found['hidden1']:.4f}" in capsys.readouterr().out
    # The plain name is the same task, so the same score under the other name.
    Path(tmp_path / "plain").mkdir()
    assert (
        score(
            small,
            tmp_path / "plain" / "scores.json",
            "--tasks",
            "conversion",
            "--threads",
            "1",
        )
        == 0
    )
    assert json.loads((tmp_path / "plain" / "scores.json").read_text()) == {
        "conversion": found["hidden1"],
        "placeholder": -1,
    }


def test_two_processes_give_the_same_scores(small: Path, tmp_path: Path) -> None:
    """--devices shares tasks out; a network is never split."""
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    words = ["--tasks", "churn", "hidden1", "--threads"]
    assert score(small, one, *words, "1", "--devices", "1") == 0
    assert score(small, two, *words, "2", "--devices", "2") == 0  # two threads, one a process
    assert json.loads(one.read_text()) == json.loads(two.read_text())


def questions(small: Path, tasks: list[str]) -> Mapping[str, challenge.Question]:
    with DuckDB() as engine:
        return challenge._questions(small, engine, Profiles.load(small.parent / "profiles"), tasks)


def test_the_order_of_the_rows_is_the_order_of_training(small: Path) -> None:
    users = np.load(small.parent / "profiles" / "client_ids.npy")
    active = np.load(small / "target" / "active_clients.npy")
    found = questions(small, ["churn", "conversion"])
    np.testing.assert_array_equal(found["conversion"].users, users)
    np.testing.assert_array_equal(found["churn"].users, users[np.isin(users, active)])


def test_targets_are_those_of_the_target_files(small: Path) -> None:
    """The slow way: row by row."""
    found = questions(small, ["conversion", "propensity_price", "propensity_sku"])
    users = np.load(small.parent / "profiles" / "client_ids.npy").tolist()
    for window, side in (("train", "train"), ("validation", "valid")):
        rows = pq.read_table(small / "target" / f"{window}_target.parquet").to_pylist()
        buyers = {r["client_id"] for r in rows}
        assert getattr(found["conversion"], side)[:, 0].tolist() == [
            u not in buyers for u in users
        ]
        for column in ("price", "sku"):
            bought = {(r["client_id"], r[column]) for r in rows}
            labels = np.load(small / "target" / f"propensity_{column}.npy").tolist()
            assert getattr(found[f"propensity_{column}"], side).tolist() == [
                [(u, v) in bought for v in labels] for u in users
            ]


def test_without_label_files_the_rule_stands_in(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the label files are made by the rule, taking them away changes no question."""
    whole = questions(
        small,
        [
            "churn",
            "propensity_sku",
            "propensity_category",
            "propensity_new_sku",
            "propensity_price",
        ],
    )
    assert capsys.readouterr().err == ""
    bare = tmp_path / "data"
    shutil.copytree(small, bare)
    shutil.copytree(small.parent / "profiles", tmp_path / "profiles")
    for file in (bare / "target").glob("*.npy"):
        file.unlink()
    rule = questions(bare, list(whole))
    assert "target/active_clients.npy" in capsys.readouterr().err
    assert {t: q.digest for t, q in rule.items()} == {t: q.digest for t, q in whole.items()}


def test_every_fault_of_the_profiles_is_told(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users = np.load(small / "input" / "relevant_clients.npy")
    good = np.zeros((len(users), 3), np.float16)
    cases: dict[str, tuple[object, object, list[str]]] = {
        "ids missing": (None, good, ["client_ids.npy: not found"]),
        "ids junk": (b"junk", good, ["client_ids.npy: not a numpy array"]),
        "ids empty": (b"", good, ["client_ids.npy: the file is empty"]),
        "ids 2-D": (users[:, None], good, ["client_ids.npy: found 2 dimensions"]),
        "ids int32": (users.astype(np.int32), good, ["client_ids.npy: found dtype int32"]),
        "ids twice": (np.append(users[1:], users[-1]), good, ["client_ids.npy: 1 of"]),
        "ids others": (
            users + 1_000_000_000_000,
            good,
            ["client_ids.npy: not the relevant clients"],
        ),
        "vectors missing": (users, None, ["embeddings.npy: not found"]),
        "vectors junk": (users, b"\x93NUMPY\x01\x00junk", ["embeddings.npy: found a header of"]),
        "vectors empty": (users, b"", ["embeddings.npy: the file is empty"]),
        "vectors 1-D": (users, good[:, 0], ["embeddings.npy: found 1 dimensions"]),
        "vectors wide": (
            users,
            np.zeros((len(users), 2049), np.float16),
            ["embeddings.npy: found 2049 columns"],
        ),
        "vectors float32": (
            users,
            good.astype(np.float32),
            ["embeddings.npy: found dtype float32"],
        ),
        "vectors NaN": (users, good + np.float16("nan"), ["embeddings.npy: found"]),
        "vectors infinite": (users, good + np.float16("inf"), ["embeddings.npy: found 0 NaN and"]),
        "lengths": (
            users,
            good[1:],
            [f"client_ids.npy has {len(users)} rows and embeddings.npy has {len(users) - 1}"],
        ),
        "both": (
            users[:, None],
            good.astype(np.float64),
            ["client_ids.npy: found 2", "embeddings.npy: found dtype float64"],
        ),
    }
    for name, (ids, vectors, messages) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, content in (("client_ids.npy", ids), ("embeddings.npy", vectors)):
            if isinstance(content, bytes):
                (folder / file).write_bytes(content)
            elif content is not None:
                np.save(folder / file, content)
        assert main(["challenge", "validate", str(small), str(folder)]) == 1, name
        said = capsys.readouterr()
        lines = said.out.splitlines()
        assert len(lines) == len(messages), (name, lines)
        assert all(line.startswith(m) for line, m in zip(lines, messages, strict=True)), (
            name,
            lines,
        )
        assert said.err == ""
        words = [
            "challenge",
            "score",
            str(small),
            str(folder),
            "--tasks",
            "churn",
            "--scores",
            str(tmp_path / "s.json"),
        ]
        assert main(words) == 1
        assert messages[0] in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"\xff", "UTF-8"),
        (b"[0.5]", "found list"),
        (b"3", "found int"),
        (b'{"churn": "0.5"}', "churn: found '0.5'"),
        (b'{"churn": true}', "churn: found True"),
        (b'{"churn": 7}', "churn: found 7"),
        (b'{"churn": -0.5}', "churn: found -0.5"),
        (b'{"churn": NaN}', "found NaN"),
        (b'{"churn": null, "sku": []}', "2 problems"),
        (b'{"churn": {"score": 1}}', "churn: found {"),
    ],
)
def test_a_scores_file_of_something_else_is_left_alone(
    small: Path, tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores.json"
    scores.write_bytes(content)
    assert score(small, scores, "--tasks", "churn") == 1
    said = capsys.readouterr().err
    assert message in said or message == "2 problems"
    assert "Traceback" not in said
    assert scores.read_bytes() == content


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["churn", "chrun"], "'chrun' is unknown"),
        (["hidden4"], "'hidden4' is unknown"),
        (["conversion", "hidden1"], "conversion and hidden1 are one task"),
        (["placeholder"], "'placeholder' is unknown"),
    ],
)
def test_tasks_that_are_none(
    small: Path, tmp_path: Path, tasks: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(small, tmp_path / "scores.json", "--tasks", *tasks) == 1
    assert message in capsys.readouterr().err


def test_unsplit_or_damaged_directories(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(small, copy)
    shutil.copytree(small.parent / "profiles", tmp_path / "profiles")
    (copy / "target" / "train_target.parquet").unlink()
    assert score(copy, tmp_path / "s.json", "--tasks", "churn") == 1
    assert "clickprint challenge split" in capsys.readouterr().err
    (copy / "input" / "product_buy.parquet").write_bytes(b"junk")
    assert main(["challenge", "baseline", str(copy), "--out", str(tmp_path / "b")]) == 1
    assert "product_buy.parquet" in capsys.readouterr().err
    (copy / "input" / "relevant_clients.npy").write_bytes(b"junk")
    assert main(["challenge", "validate", str(copy), str(tmp_path / "profiles")]) == 1
    assert "relevant_clients.npy: not a numpy array" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "s.json").exists()


def test_a_server_without_mlflow_is_an_error(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere:5000")
    monkeypatch.setitem(
        sys.modules, "mlflow", None
    )  # what an import sees where it is not installed
    assert score(small, tmp_path / "scores.json", "--tasks", "churn") == 1
    said = capsys.readouterr().err
    assert "pip install 'clickprint[track]'" in said
    assert not (tmp_path / "scores.json").exists()
