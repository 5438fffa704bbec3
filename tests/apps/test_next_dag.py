"""The one graph of stages: dvc.yaml is written from it, and its keys are parameters that exist."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from next_shop import STAGES

from clickprint.apps.cli.main import main
from clickprint.apps.next.graph import STAGES as GRAPH
from clickprint.apps.next.graph import dag
from clickprint.apps.next.recipe import load
from clickprint.work.stages import at_key, modules

ROOT = Path(__file__).resolve().parents[2]
PARAMS = tomllib.loads((ROOT / "recipes/next/params.toml").read_text())


def test_the_committed_file_is_what_the_command_writes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["next", "dag"]) == 0
    assert capsys.readouterr().out == dag() == (ROOT / "dvc.yaml").read_text()


def test_dvc_reads_the_same_stages() -> None:
    yaml = pytest.importorskip("yaml", reason="the DAG needs clickprint[dag]")
    found: dict[str, Any] = yaml.safe_load(dag())["stages"]
    assert list(found) == list(STAGES)
    for stage in GRAPH:
        deps = found[stage.name]["deps"]
        assert {f"runs/next/{GRAPH[name].place}" for name in stage.reads} <= set(deps)
        assert all((ROOT / dep).exists() for dep in deps if not dep.startswith("runs/"))


@pytest.mark.parametrize("stage", list(GRAPH), ids=STAGES)
def test_its_keys_are_parameters(stage: Any) -> None:
    recipe = load(ROOT / "recipes/next/params.toml")
    for key in stage.keys:
        assert at_key(recipe, key) is not None, key
        found: Any = PARAMS
        for part in key.replace("${log}", PARAMS["log"]).split("."):
            assert part in found, key
            found = found[part]


def test_every_parameter_makes_some_stage_stale() -> None:
    keys = {key for stage in GRAPH for key in stage.keys}
    leaves = {f"{table}.{key}" for table in ("next", "evaluate") for key in PARAMS[table]}
    leaves |= set(PARAMS) - {"next", "evaluate"}
    named = {leaf for leaf in leaves if {leaf, leaf.split(".")[0]} & keys}
    named |= {"logs"} if "logs.${log}" in keys else set()
    assert leaves - named == {"evaluate.windows"}  # of `clickprint next evaluate` alone


@pytest.mark.parametrize(
    ("stage", "module"),
    [
        ("read", "clickprint.work.recipe"),
        ("split", "clickprint.recommenders.windows"),
        ("candidates", "clickprint.recommenders.funnel"),
        ("features", "clickprint.recommenders.features"),
        ("tune", "clickprint.recommenders.search"),
        ("validate", "clickprint.recommenders.gate"),
        ("validate", "clickprint.metrics.calibration"),
        ("report", "clickprint.report.slides"),
    ],
)
def test_the_code_of_a_stage_is_what_it_imports(stage: str, module: str) -> None:
    assert module in modules(GRAPH[stage].run)


def test_the_page_is_no_code_of_the_model() -> None:
    assert not {m for m in modules(GRAPH["train"].run) if m.startswith("clickprint.report")}
