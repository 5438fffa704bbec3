"""A stage is stale when a module that it imports was edited, and not when another one was."""

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from clickprint.core.errors import ConfigError
from clickprint.work import stages
from clickprint.work.stages import (
    WHOLE,
    Graph,
    Stage,
    at_key,
    changed,
    code_digest,
    dvc_yaml,
    modules,
    sources,
)

NAMES = count()
FILES = {
    "__init__.py": """
        from {top}.version import VERSION
        def __getattr__(name):
            from {top} import everything
            return getattr(everything, name)
        """,
    "version.py": "VERSION = 1",
    "everything.py": "import {top}.unrelated",
    "unrelated.py": "",
    "apps/__init__.py": "",
    "apps/make.py": """
        import json
        from typing import TYPE_CHECKING
        from {top}.low.named import thing
        if TYPE_CHECKING:
            from {top}.low.typed import Hint
        def run():
            from ..low import late
            import {top}.low.plain
            class Inside:
                import {top}.low.classy
        """,
    "low/__init__.py": """
        from .at_once import x
        REGISTRY = {{"a": "{top}.low.registered:Class"}}
        def f():
            import {top}.low.lazy
        """,
    "low/named.py": "thing = 1",
    "low/late.py": "from . import deep",
    "low/deep.py": "",
    "low/plain.py": "",
    "low/classy.py": "",
    "low/at_once.py": "x = 1",
    "low/lazy.py": "",
    "low/typed.py": "Hint = int",
    "low/registered.py": "class Class: ...",
}
IMPORTED = (
    "__init__.py",
    "version.py",
    "apps/__init__.py",
    "apps/make.py",
    "low/__init__.py",
    "low/named.py",
    "low/late.py",
    "low/deep.py",
    "low/plain.py",
    "low/classy.py",
    "low/at_once.py",
)
# `from ..low import late` names the package itself, so what its functions import counts, too.
BY_NAME = ("low/lazy.py",)
NOT_IMPORTED = ("everything.py", "unrelated.py", "low/typed.py", "low/registered.py")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / f"shop{next(NAMES)}"
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text.format(top=folder.name)))
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    assert not [name for name in sys.modules if name.startswith(folder.name)]  # nothing is run


def edit(file: Path) -> None:
    """Edits a source, and reads it as the next process will."""
    file.write_text(file.read_text() + "\n# edited\n")
    stages._read.cache_clear()
    code_digest.cache_clear()


@pytest.mark.parametrize("file", [*IMPORTED, *BY_NAME])
def test_what_is_imported_counts(package: Path, file: str) -> None:
    root = f"{package.name}.apps.make:run"
    before = code_digest(root)
    assert not changed(before, root)
    edit(package / file)
    assert changed(before, root)


@pytest.mark.parametrize("file", NOT_IMPORTED)
def test_what_is_not_imported_does_not_count(package: Path, file: str) -> None:
    root = f"{package.name}.apps.make:run"
    before = code_digest(root)
    edit(package / file)
    assert code_digest(root) == before


def test_what_is_edited_while_a_process_runs_does_not_count(package: Path) -> None:
    """What it makes is made by the code that it has read."""
    root = f"{package.name}.apps.make:run"
    before = code_digest(root)
    file = package / "low" / "deep.py"
    file.write_text(file.read_text() + "x = 1\n")
    assert code_digest(root) == before
    assert code_digest(root, f"{package.name}.low.late") == code_digest(root)


def test_of_a_package_around_only_what_it_imports_when_it_runs_counts(package: Path) -> None:
    found = modules(f"{package.name}.low.named")
    names = {name.removeprefix(f"{package.name}.") for name in found}
    assert names == {package.name, "version", "low", "low.named", "low.at_once"}


def test_a_registered_class_counts_where_a_recipe_names_it(package: Path) -> None:
    roots = (f"{package.name}.apps.make:run", f"{package.name}.low.registered:Class")
    before = code_digest(*roots)
    edit(package / "low/registered.py")
    assert changed(before, *roots)
    assert changed("", *roots)


def test_a_module_of_ones_own_and_one_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"own{next(NAMES)}"
    (tmp_path / f"{name}.py").write_text("import json\n")
    assert list(modules(f"{name}:TASKS")) == [name]
    for wrong in (f"{name}.inside", "no_such_module_anywhere", "clickprint.no_such_module"):
        with pytest.raises(ConfigError, match=wrong):
            code_digest(wrong)


def test_of_this_package() -> None:
    found = modules("clickprint.encoders.counts:Counts")
    assert "clickprint.data.features" in found
    assert not [name for name in found if name.startswith(("clickprint.tasks", "clickprint.apps"))]
    assert "clickprint.api" not in found


# -- the graph --------------------------------------------------------------------------------


@pytest.fixture
def graph(package: Path) -> Graph:
    run = f"{package.name}.apps.make:run"
    return Graph(
        (
            Stage(name="read", run=run, keys=("log", "logs.${log}"), folder="data", cached=False),
            Stage(name="split", run=run, reads=("read",), keys=("next.days",), parts=True),
            Stage(name="other", run=f"{package.name}.unrelated:x"),
            Stage(name="report", run=run, reads=("split",), keys=(WHOLE,), metrics="m.json"),
        )
    )


RECIPE = {"log": "b", "logs": {"a": {"x": 1}, "b": {"x": 2}}, "next": {"days": 3, "k": 1}}


def test_keys() -> None:
    assert at_key(RECIPE, "next.days") == 3
    assert at_key(RECIPE, "logs.${log}") == {"x": 2}
    assert at_key(RECIPE, "next.no.such") is None
    assert at_key(RECIPE, WHOLE) == RECIPE
    assert at_key(Stage(name="a", run="b", keys=("c",)), "keys") == ["c"]


def test_the_digest_of_a_stage(graph: Graph, package: Path) -> None:
    def digest(name: str = "split", **change: object) -> str:
        told = {"recipe": RECIPE, "read": {"read": "1", "split": "2"}, **change}
        return graph.digest(name, told.pop("recipe"), told.pop("read"), **told)  # type: ignore[arg-type]

    first = digest()
    assert first == digest()
    assert first == digest(recipe={**RECIPE, "log": "a"})
    assert first == digest(recipe={**RECIPE, "next": {"days": 3, "k": 2}})
    assert first != digest(recipe={**RECIPE, "next": {"days": 4, "k": 1}})
    assert first != digest(read={"read": "0"})
    assert first != digest(roots=(f"{package.name}.unrelated",))
    assert first != digest(more=["stamp"])
    assert digest("read") != digest("read", recipe={**RECIPE, "log": "a"})
    edit(package / "low/deep.py")
    assert first != digest()


def test_order(graph: Graph) -> None:
    assert graph["read"].place == "data"
    assert [stage.name for stage in graph] == ["read", "split", "other", "report"]
    for wrong in (graph.stages[::-1], graph.stages * 2):
        with pytest.raises(AssertionError):
            Graph(wrong)


def test_the_file_of_dvc(graph: Graph, package: Path) -> None:
    text = dvc_yaml(
        graph,
        "shop {stage} --params {params} --out {out}",
        params="p.toml",
        out="runs/x",
        source="src",
        variables=("log",),
        head=("written from the graph",),
    )
    top = f"src/{package.name}"
    own = f"      - {top}/__init__.py\n      - {top}/apps/make.py\n      - {top}/low\n"
    assert text.startswith("# written from the graph\nvars:\n  - p.toml:log\n\nstages:\n  read:\n")
    assert (
        "  split:\n    cmd: shop split --params p.toml --out runs/x\n    deps:\n"
        f"      - runs/x/data\n{own}      - {top}/version.py\n"
        "    params:\n      - p.toml:\n          - next.days\n"
        "    outs:\n      - runs/x/split:\n          persist: true\n"
    ) in text
    assert "      - runs/x/data:\n          cache: false\n" in text
    report = text[text.index("  report:") :]
    assert "      - p.toml\n" in report
    assert "params:" not in report
    assert text.endswith(
        "    outs:\n      - runs/x/report\n\nmetrics:\n  - runs/x/report/m.json\n"
    )


def test_every_source_of_a_stage_lies_in_what_dvc_watches() -> None:
    watched = [f"{path}" for path in sources("clickprint.apps.prepare.stages")]
    for name, file in modules("clickprint.apps.prepare.stages").items():
        top = file.parents[name.count(".") + (file.name == "__init__.py") - 1]
        inside = f"src/{top.name}/{file.relative_to(top)}" if name != top.name else ""
        if file.name != "__init__.py":
            assert any(inside == w or inside.startswith(f"{w}/") for w in watched), inside
