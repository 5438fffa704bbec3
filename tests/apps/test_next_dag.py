"""The DAG: its stages are the verbs, in their order, with the inputs that the stages themselves know, and parameters that there are."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from clickprint.apps.cli.next_purchase import STAGES
from clickprint.apps.next.stages import FOLDERS, READS

ROOT = Path(__file__).resolve().parent.parent.parent
yaml = pytest.importorskip("yaml", reason="the DAG needs clickprint[dag]")
DAG: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PARAMS = tomllib.loads((ROOT / "recipes" / "next" / "params.toml").read_text())
KEYS = {"candidates", "features", "tune", "train", "validate", "predict", "split", "read"}


def outs(stage: str) -> list[str]:
    return [next(iter(o)) if isinstance(o, dict) else o for o in DAG["stages"][stage]["outs"]]


def test_the_stages_are_the_verbs() -> None:
    assert list(DAG["stages"]) == list(STAGES)
    for name, stage in DAG["stages"].items():
        assert (
            stage["cmd"]
            == f"clickprint next {name} --params recipes/next/params.toml --out runs/next"
        )
        assert outs(name) == [f"runs/next/{FOLDERS.get(name, name)}"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_it_reads(stage: str) -> None:
    made = {d for d in DAG["stages"][stage]["deps"] if d.startswith("runs/")}
    needed = {f"runs/next/{FOLDERS.get(s, s)}" for s in READS[stage]}
    above, todo = set(needed), list(READS[stage])
    while todo:
        here = todo.pop()
        above |= set(outs(here))
        todo += READS[here]
    assert needed <= made <= above, stage
    for dep in set(DAG["stages"][stage]["deps"]) - made:
        assert (ROOT / dep).exists(), dep


@pytest.mark.parametrize("stage", sorted(KEYS))
def test_its_parameters_are_in_the_file(stage: str) -> None:
    (file,) = DAG["stages"][stage]["params"]
    names = file["recipes/next/params.toml"]
    assert names
    for name in names:
        value: Any = PARAMS
        for part in name.replace("${log}", PARAMS["log"]).split("."):
            assert part in value, f"{stage}: {name}"
            value = value[part]


def test_every_parameter_makes_some_stage_stale() -> None:
    named = {
        n
        for s in DAG["stages"].values()
        for part in s.get("params", [])
        for n in part["recipes/next/params.toml"]
    }
    assert {n.split(".")[0] for n in named} == set(PARAMS)
    asked = {n.removeprefix("next.") for n in named if n.startswith("next.")}
    assert asked == set(PARAMS["next"])
