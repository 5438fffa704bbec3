"""The house: floors, walls, light starts, and registries whose every entry is real."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from clickprint.data.adapters import DATASETS
from clickprint.encoders import ENCODERS
from clickprint.recommenders import RECOMMENDERS
from clickprint.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = {"torch", "pyspark", "pandas", "transformers", "mlflow"}
LINES = {"next": 1_500, "cli": 900}  # what a product may have that is no ordinary one
REGISTRIES = {
    "clickprint.data": DATASETS,
    "clickprint.encoders": ENCODERS,
    "clickprint.recommenders": RECOMMENDERS,
    "clickprint.tasks": TASKS,
}


@cache
def modules() -> Mapping[str, ast.Module]:
    """Every module of ours by its name."""
    files = {file: file.relative_to(SOURCE).with_suffix("") for file in SOURCE.rglob("*.py")}
    return {
        ".".join(name.parts).removesuffix(".__init__"): ast.parse(file.read_text())
        for file, name in files.items()
    }


@cache
def floors() -> Mapping[str, int]:
    """Package → its floor, counted from below, as the lint contract has it."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers")
    return {
        package: floor
        for floor, names in enumerate(reversed(layers))
        for package in names.split(" | ")
    }


def imports(name: str, tree: ast.Module, *, inside: bool) -> Iterator[str]:
    """The modules of ours that a module imports, `inside` functions too or not."""
    for node in ast.walk(tree) if inside else tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "clickprint":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else str(node.module)


def test_the_floors_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_no_private_name_is_imported() -> None:
    found = [
        f"{name} imports {alias.name} of {node.module}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clickprint")
        for alias in node.names
        if re.match(r"_(?!_)", alias.name)
    ]
    assert not found


def test_no_modules_import_each_other_in_a_circle() -> None:
    """What is left when modules that import nothing that is left are taken away, is a circle."""
    left = {
        name: set(imports(name, tree, inside=False)) - {name} for name, tree in modules().items()
    }
    while done := {name for name, used in left.items() if not used & left.keys()}:
        left = {name: used for name, used in left.items() if name not in done}
    assert not left


def test_a_product_is_small() -> None:
    products = [folder for folder in (SOURCE / "clickprint" / "apps").iterdir() if folder.is_dir()]
    sizes = {
        folder.name: sum(len(file.read_text().splitlines()) for file in folder.rglob("*.py"))
        for folder in products
    }
    assert not {name: size for name, size in sizes.items() if size > LINES.get(name, 400)}


def texts_that_name_modules() -> Iterator[tuple[str, str]]:
    """(module, text) for every text in it that is the name of a module, or of a thing in one."""
    for name, tree in modules().items():
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.fullmatch(r"clickprint(\.\w+)+(:\w+)?", text):
                yield name, text


def test_modules_that_texts_name_are_not_above() -> None:
    """Registries and stages name modules in texts, which the lint does not see."""
    faults = []
    for name, text in texts_that_name_modules():
        module = text.partition(":")[0]
        own, other = name.split(".")[1:3], module.split(".")[1:3]
        known = {module, module.rpartition(".")[0]} & modules().keys()
        assert known, f"{name}: {text} is no module, and nothing in one"
        if own[0] == other[0] == "apps":
            allowed = own[1] in ("cli", other[1])
        else:
            allowed = own[0] == other[0] or floors()[own[0]] > floors()[other[0]]
        faults += [] if allowed else [f"{name} names {text}"]
    assert not faults


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


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("clickprint", HEAVY | {"duckdb", "matplotlib", "numpy", "pyarrow"}),
        ("clickprint.core.past", HEAVY | {"duckdb", "matplotlib"}),
        ("clickprint.metrics.task_metrics", HEAVY | {"duckdb", "matplotlib", "pyarrow"}),
        ("clickprint.data.split", HEAVY | {"matplotlib"}),
        ("clickprint.encoders.joined", HEAVY | {"matplotlib"}),
        ("clickprint.recommenders", HEAVY | {"matplotlib"}),
        ("clickprint.tasks.score", HEAVY | {"matplotlib"}),
        ("clickprint.report.page, clickprint.report.figure", HEAVY | {"duckdb", "matplotlib"}),
        ("clickprint.work.stages, clickprint.work.track", HEAVY | {"duckdb", "matplotlib"}),
        ("clickprint.apps.cli.main", HEAVY | {"duckdb", "matplotlib", "pyarrow", "jinja2"}),
    ],
)
def test_imports_stay_light(package: str, forbidden: set[str]) -> None:
    assert not modules_after(f"import {package}") & forbidden


@pytest.mark.parametrize("package", REGISTRIES)
def test_every_entry_is_real_tested_and_explained(package: str) -> None:
    documents = "\n".join(p.read_text() for p in (ROOT / "docs").glob("*.md"))
    tests = "\n".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    assert REGISTRIES[package]
    floor = floors()[package.split(".")[1]]
    for name, place in REGISTRIES[package].items():
        module, _, attribute = place.partition(":")
        assert callable(getattr(import_module(module), attribute)), place
        assert module.startswith(package) or floors()[module.split(".")[1]] < floor, place
        assert f"`{name}`" in documents, f"{name} stands in no document"
        assert re.search(rf"\b({re.escape(name)}|{attribute})\b", tests), f"{name}: no test"


def test_a_registry_has_each_thing_once() -> None:
    for registry in REGISTRIES.values():
        assert len(set(registry.values())) == len(registry)


def first_sentences() -> Iterator[tuple[str, str]]:
    """(where, first sentence) of every docstring; all of its first paragraph where none ends."""
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                where = f"{name}:{node.name}" if not isinstance(node, ast.Module) else name
                yield where, re.split(r"(?<=[.!?:])\s", text)[0]


def test_a_docstring_begins_with_a_short_sentence() -> None:
    """At most twenty words, so that a newcomer understands it without the rest of the file."""
    assert not [
        f"{where}: {text}"
        for where, text in first_sentences()
        if text and (len(text.split()) > 20 or text[-1] not in ".!?:`…")
    ]


def test_the_nouns_are_where_the_document_says() -> None:
    """A row: | **Noun · Noun** | what it is | `file.py`, `folder/` |. A class is defined there."""
    rows = re.findall(
        r"^\| \*\*(.+?)\*\* \|.*\| (.*) \|$", (ROOT / "docs" / "nouns.md").read_text(), re.M
    )
    assert len(rows) >= 12
    for nouns, where in rows:
        places = [SOURCE / "clickprint" / place for place in re.findall(r"`([\w/.]+)`", where)]
        assert all(place.exists() for place in places), f"{nouns}: {where}"
        files = [f for p in places for f in (p.glob("*.py") if p.is_dir() else [p])]
        defined = {name for file in files for name in definitions(file)}
        for noun in re.findall(r"\b[A-Z]\w+", nouns):
            assert noun in defined, f"{noun} is not defined in {where}"


def definitions(file: Path) -> Iterator[str]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        targets = [node.target] if isinstance(node, ast.AnnAssign) else []
        targets += node.targets if isinstance(node, ast.Assign) else []
        yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("document", ["conventions.md", "architecture.md"])
def test_the_documents_name_every_floor(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    assert not [package for package in floors() if f"`{package}`" not in text]


def test_constraints_pin_every_dependency() -> None:
    project = PROJECT["project"]
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
