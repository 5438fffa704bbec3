"""Anybody's submission, checked and scored; the Stokman shop's files from first to last stage."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from next_shop import Place

from clickprint.apps.cli.main import main
from clickprint.core.dataset import Dataset
from clickprint.data.adapters.stokman import ACTIONS_FILE, CATALOGUE_FILE, VECTORS_FILE
from clickprint.data.synthetic.stokman import write_stokman

PARAMS = """
log = "stokman"
seed = 1
[logs.stokman]
source = "stokman"
path = "$STOKMAN"
[next]
max_users = 50
linked = true
[windows]
train_windows = 2
[retrievers.history]
k = 20
[retrievers.viewed]
retriever = "history"
roles = ["view", "cart", "like"]
k = 20
[retrievers.open-baskets]
k = 10
[retrievers.popular-in]
k = 20
[retrievers.nearest]
k = 10
[retrievers.popularity]
roles = ["buy"]
half_life = 7
k = 20
[ranker]
trees = 10
threads = 1
[propensity]
trees = 10
threads = 1
[gate]
resamples = 100
[track]
on = false
"""


def write(file: Path, rows: list[tuple[str, list[str]]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(
            [("user_id", "products"), *((user, json.dumps(items)) for user, items in rows)]
        )
    return file


def asked(place: Place, verb: str, file: Path, *words: str) -> int:
    return main(
        ["next", verb, str(file), "--params", str(place.params), "--out", str(place.out), *words]
    )


# -- the tiny shop -----------------------------------------------------------------------------


def test_our_own_submission_has_no_fault(
    next_made: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("submission.csv", "submission.parquet"):
        assert asked(next_made, "check", next_made.out / "predict" / name) == 0
        said = capsys.readouterr().out
        assert (
            "in the form of the task sheet, 20 users of at most 20, at most 5 products each"
            in said
        )
        assert said.count("\n") == 1  # nothing is lost


def test_every_fault_of_a_file_is_told_and_the_command_fails(
    next_made: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(
        tmp_path / "bad.csv",
        [
            ("u1", ["sku-1"]),
            ("u1", [f"sku-{n}" for n in range(6)]),
            *((f"x{n}", []) for n in range(20)),
        ],
    )
    assert asked(next_made, "check", bad) == 1
    said = capsys.readouterr().err
    for fault in (
        "22 users, expected at most 20",
        "repeated user_id: 'u1'",
        "more than 5 products: row 1",
    ):
        assert fault in said
    assert asked(next_made, "check", tmp_path / "none.csv") == 1
    assert "there is no such file" in capsys.readouterr().err


def test_what_only_loses_is_told_and_passes(
    next_made: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "few.csv", [("u1", ["sku-1", "sku-1"]), ("nobody", ["sku-999"])])
    assert asked(next_made, "check", file) == 0
    said = capsys.readouterr().out
    for loss in (
        "2 users, where 20 may be named",
        "a product twice",
        "does not know: 'nobody'",
        "does not know: 'sku-999'",
    ):
        assert loss in said


def test_a_file_is_checked_where_no_log_was_read(
    next_made: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "any.csv", [("anybody", ["anything"])])
    assert (
        main(
            [
                "next",
                "check",
                str(file),
                "--params",
                str(next_made.params),
                "--out",
                str(tmp_path / "empty"),
            ]
        )
        == 0
    )
    assert "not compared with a log: none was read" in capsys.readouterr().out
    assert not (tmp_path / "empty").exists() or not any((tmp_path / "empty").glob("[!.]*"))


def by_hand(place: Place, start: str, end: str, lists: dict[str, list[str]]) -> tuple[float, int]:
    """From the log's own CSV."""
    bought: dict[str, set[str]] = {}
    for line in (place.shop / "events.csv").read_text().splitlines()[1:]:
        time, user, kind, item = line.split(",")
        if kind == "buy" and start <= time[:10] < end:
            bought.setdefault(user, set()).add(item)
    return sum(len(b & set(lists.get(u, ()))) / len(b) for u, b in bought.items()) / len(
        bought
    ), len(bought)


def test_the_score_is_the_mean_recall_over_all_buyers(
    next_made: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = {f"u{n}": [f"sku-{(7 * n + k) % 40}" for k in range(5)] for n in range(20)}
    file = write(tmp_path / "mine.csv", list(lists.items()))
    windows = json.loads((next_made.out / "split" / "windows.json").read_text())
    start, end = (t[:10] for t in windows["valid"])
    for words, days in (
        ((), (start, end)),
        (("--start", "2024-03-10"), ("2024-03-10", "2024-03-13")),
    ):
        value, buyers = by_hand(next_made, *days, lists)
        assert asked(next_made, "score", file, *words) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{value:.4f}: mean recall of {buyers} buyers")
    data = str(next_made.out / "data")
    assert asked(next_made, "score", file, "--data", data, "--start", "2024-03-10") == 0
    assert capsys.readouterr().out.startswith(f"{value:.4f}")
    assert asked(next_made, "score", file, "--data", data) == 1
    assert "--start: not given" in capsys.readouterr().err
    assert asked(next_made, "score", file, "--start", "soon") == 1
    assert "--start" in capsys.readouterr().err
    assert asked(next_made, "score", file, "--start", "2030-01-01") == 1
    assert "nobody bought" in capsys.readouterr().err


def test_a_score_of_what_was_predicted_later_is_told_to_be_too_good(
    next_made: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(next_made, "score", next_made.out / "predict" / "submission.csv") == 0
    assert "by a log that holds this window: the score is too good" in capsys.readouterr().out


def test_a_broken_rule_scores_nothing(
    next_made: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "twice.csv", [("u1", ["sku-1"]), ("u1", ["sku-2"])])
    assert asked(next_made, "score", file) == 0
    said = capsys.readouterr().out
    assert said.startswith("0.0000: mean recall")
    assert "too good" not in said
    assert "- repeated user_id: 'u1'" in said


# -- the Stokman shop --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stokman(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("lightgbm", "pptx", "scipy"):
        pytest.importorskip(package, reason="next purchase needs clickprint[recommend]")
    folder = tmp_path_factory.mktemp("stokman")
    write_stokman(folder / "raw", users=150, actions=6_000, seed=3)
    (folder / "params.toml").write_text(PARAMS)
    return folder


def metrics_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "out" / "validate" / "metrics.json").read_text())


def command(folder: Path, *words: str) -> int:
    return main(
        ["next", *words, "--params", str(folder / "params.toml"), "--out", str(folder / "out")]
    )


def test_the_stokman_files_from_the_first_stage_to_the_last(
    stokman: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOKMAN", str(stokman / "raw"))
    assert command(stokman, "all", "--threads", "1") == 0
    found = pq.read_table(stokman / "out" / "predict" / "submission.parquet").to_pylist()
    assert len(found) == 50  # exactly as many as are asked for
    actions, items = (pq.read_table(stokman / "raw" / f) for f in (ACTIONS_FILE, CATALOGUE_FILE))
    users = set(actions.column("user_id").to_pylist())
    products = {p for row in actions.column("products").to_pylist() for p in row or ()} | set(
        items.column("product_id").to_pylist()
    )
    assert {r["user_id"] for r in found} <= users - {None, "/*"}
    assert {p for r in found for p in r["products"]} <= products - {None, "/*"}
    assert all(len(r["products"]) == len(set(r["products"])) == 25 for r in found)
    assert (stokman / "out" / "report" / "slides.pptx").stat().st_size > 10_000
    capsys.readouterr()
    assert command(stokman, "check", str(stokman / "out" / "predict" / "submission.csv")) == 0
    assert "50 users of at most 50, at most 25 products each" in capsys.readouterr().out
    results = json.loads((stokman / "out" / "validate" / "results.json").read_text())
    values = {line["label"]: line["value"] for line in results["lines"]}
    assert values["ranker"] > values["popularity"]
    assert metrics_of(stokman)["recall_50_users_by_product"] <= values["ranker"]
    assert values["ranker"] <= values["ceiling union"]
    assert Dataset.open(stokman / "out" / "data").manifest.rejected  # every quirk was in it


def test_no_folder_and_damaged_files_of_stokman_are_one_error(
    stokman: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ("--params", str(stokman / "params.toml"), "--out", str(tmp_path / "out"))
    monkeypatch.delenv("STOKMAN", raising=False)
    assert main(["next", "all", *out]) == 1
    assert "STOKMAN" in capsys.readouterr().err
    raw = tmp_path / "raw"
    write_stokman(raw, users=20, actions=600)
    (raw / VECTORS_FILE).write_bytes((raw / VECTORS_FILE).read_bytes()[:-40])
    pq.write_table(pq.read_table(raw / ACTIONS_FILE).drop_columns(["date"]), raw / ACTIONS_FILE)
    (raw / CATALOGUE_FILE).unlink()
    monkeypatch.setenv("STOKMAN", str(raw))
    assert main(["next", "all", *out]) == 1
    said = capsys.readouterr().err
    for fault in ("no column 'date'", f"{CATALOGUE_FILE}: not found", VECTORS_FILE):
        assert fault in said
    assert not (tmp_path / "out" / "data").exists()
