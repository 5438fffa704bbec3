"""Epochs go to the server that is configured, else to lines; runs and models to a store."""

import json
import sys
import types
from pathlib import Path

import pytest

from clickprint.core.errors import ConfigError
from clickprint.work.track import LONGEST, flattened, store, tracked


def test_epochs_go_to_the_server_that_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With mlflow's own names, so that what is sent can be seen without a server."""
    sent: list[object] = []

    class Run:
        info = types.SimpleNamespace(run_id="1")

        def __init__(self, **named: object) -> None: ...

        def __enter__(self) -> "Run":
            return self

        def __exit__(self, *fault: object) -> None: ...

    client = types.SimpleNamespace(get_experiment_by_name=lambda name: name)
    mlflow = types.ModuleType("mlflow")
    mlflow.__dict__.update(
        MlflowClient=lambda: client,
        set_tracking_uri=lambda uri: None,
        set_experiment=lambda name: sent.append(name),
        start_run=Run,
        log_params=lambda values: sent.append(values),
        log_metrics=lambda values, step: sent.append((step, values)),
        exceptions=types.SimpleNamespace(MlflowException=RuntimeError),
        pyfunc=types.ModuleType("mlflow.pyfunc"),
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.pyfunc", mlflow.pyfunc)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere:5000")
    with tracked(tmp_path / "e.jsonl", "mine", {"data": "d"}) as log:
        log("churn", 2, {"auroc": 0.5, "score": 0.5})
    assert sent == ["mine", {"data": "d"}, (2, {"churn/auroc": 0.5, "churn/score": 0.5})]
    assert not (tmp_path / "e.jsonl").exists()


def test_epochs_on_a_real_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed (the extra `track`)")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv(
        "MLFLOW_ALLOW_FILE_STORE", "true"
    )  # the small client has no database; real servers need none of this
    with tracked(tmp_path / "e.jsonl", "mine", {"data": "d"}) as log:
        log("churn", 0, {"auroc": 0.5})
        log("churn", 1, {"auroc": 0.6})
    (run,) = mlflow.search_runs(experiment_names=["mine"], output_format="list")
    assert run.data.metrics == {"churn/auroc": 0.6}
    assert run.data.params == {"data": "d"}


def test_lines_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("a", "b"):
        with tracked(tmp_path / "deep" / "e.jsonl", name, {}) as log:
            log("churn", 0, {"auroc": 0.5})
    lines = [json.loads(line) for line in (tmp_path / "deep" / "e.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["a", "b"]
    assert lines[0] == {"name": "a", "task": "churn", "epoch": 0, "auroc": 0.5}


def test_runs_and_files_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("mlflow", "alembic", "sqlalchemy"):
        pytest.importorskip(package, reason="needs clickprint[track]")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("y")
    with store(tmp_path / "out", "shop") as found:
        with found.run("first") as run_id:
            params = {"ranker": {"leaves": 3}, "long": "a" * 2 * LONGEST}
            files = [tmp_path / "note.txt", tmp_path / "more"]
            found.log(params, {"recall": 0.5}, {"kind": "x"}, files)
            found.epoch("churn", 1, {"loss": 2.0})
        with found.run(run_id=run_id) as again:
            assert again == run_id
        run = found.client.get_run(run_id)
        assert run.data.params == {"ranker.leaves": "3", "long": "a" * LONGEST}
        assert run.data.metrics == {"recall": 0.5, "churn/loss": 2.0}
        assert {f.path for f in found.client.list_artifacts(run_id)} == {"note.txt", "more"}
        assert found.registered("no-model", "champion", tmp_path) is None
    assert (tmp_path / "out" / "mlflow.db").is_file()


def test_a_store_without_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with (
        pytest.raises(ConfigError, match=r"clickprint\[track\].*on = false"),
        store(tmp_path / "out", "shop", without="say on = false"),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_tables_inside_tables() -> None:
    assert flattened({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": "1", "d": "[1]"}
