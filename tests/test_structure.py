"""The house: floors, light starts, registries whose every entry is real, tested and explained."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from clickprint.data.adapters import DATASETS
from clickprint.encoders import ENCODERS
from clickprint.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "pyspark", "pandas", "transformers", "mlflow"}


def modules_after(statement: str) -> set[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{statement}\nimport sys\nprint(' '.join(m for m in sys.modules if '.' not in m))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_floors_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("clickprint", HEAVY | {"duckdb", "matplotlib", "numpy", "pyarrow"}),
        ("clickprint.core.past", HEAVY | {"duckdb", "matplotlib"}),
        ("clickprint.metrics.task_metrics", HEAVY | {"duckdb", "matplotlib", "pyarrow"}),
        ("clickprint.data.split", HEAVY | {"matplotlib"}),
        ("clickprint.encoders.joined", HEAVY | {"matplotlib"}),
        ("clickprint.tasks.score", HEAVY | {"matplotlib"}),
        ("clickprint.apps.cli.main", HEAVY | {"duckdb", "matplotlib", "pyarrow", "jinja2"}),
    ],
)
def test_imports_stay_light(package: str, forbidden: set[str]) -> None:
    assert not modules_after(f"import {package}") & forbidden


@pytest.mark.parametrize(
    "registry", [DATASETS, ENCODERS, TASKS], ids=["datasets", "encoders", "tasks"]
)
def test_every_entry_is_real_tested_and_explained(registry: dict[str, str]) -> None:
    documents = "\n".join(p.read_text() for p in (ROOT / "docs").glob("*.md"))
    tests = "\n".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    assert registry
    for name, place in registry.items():
        module, _, attribute = place.partition(":")
        assert callable(getattr(import_module(module), attribute)), place
        assert f"`{name}`" in documents, f"{name} stands in no document"
        assert re.search(rf"\b({name}|{attribute})\b", tests), f"{name} stands in no test"


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    for requirement in wanted:
        name = re.split(r"[<>=\[]", requirement)[0].lower().replace("_", "-")
        assert name in pinned, f"{name} is not pinned"
        assert re.search(r"<\d", requirement), f"{requirement} has no upper bound"
