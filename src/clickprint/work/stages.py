"""A product's stages as one graph, declared once; the digests that tell when a stage is stale.

The code of a stage is every module that its function's module imports, read from the sources:
what is edited there makes the stage anew, what is edited elsewhere does not. Light to import.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec, resolve_name
from pathlib import Path
from re import sub
from typing import Any

from clickprint.core.errors import ConfigError
from clickprint.core.options import plain

WHOLE = "*"  # instead of a key: the whole recipe


# -- code -------------------------------------------------------------------------------------


@cache
def code_digest(*roots: str) -> str:
    """A digest of the source of modules and of everything that they import.

    `roots` are "module" or "module:name". A name that stands in a registry as a text is no
    import: give it as a root where a recipe uses it. A process reads a source once, so what is
    edited while it runs does not count. Raises ConfigError for an unknown module.
    """
    digest = sha256()
    for name, file in modules(*roots).items():
        digest.update(f"{name}\0{_read(file).digest}\0".encode())
    return digest.hexdigest()[:16]


def changed(kept: str, *roots: str) -> bool:
    """Whether the code is another than when `kept` was its digest; True where that is empty."""
    return kept != code_digest(*roots)


def modules(*roots: str) -> dict[str, Path]:
    """The modules that roots consist of, by name, each with its file.

    These are the roots and what they import, inside functions too, as far as it is of the roots'
    own top-level packages. Of packages that a module only lies in, what their `__init__` imports
    when it runs counts, and not what its functions would. Imports for type checkers do not count.
    """
    names = [root.partition(":")[0] for root in roots]
    tops = {name.partition(".")[0]: _top(name.partition(".")[0]) for name in names}
    found: dict[str, Path] = {}
    waiting = [(name, True) for name in names]
    done: set[tuple[str, bool]] = set()
    while waiting:
        name, whole = waiting.pop()
        if (name, whole) in done or (name, True) in done:
            continue
        done.add((name, whole))
        file = _file(name, tops)
        if file is None:
            if name in names:
                raise ConfigError(f"found no module {name}, of which the source is to be read")
            continue
        found[name] = file
        parts = name.split(".")
        waiting += [(".".join(parts[:n]), False) for n in range(1, len(parts))]
        source = _read(file)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for wanted in source.all if whole else source.at_once:
            full = resolve_name(wanted, package) if wanted.startswith(".") else wanted
            if full.partition(".")[0] in tops:
                waiting.append((full, True))
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class _Source:
    """A file's digest, and the names that it imports: all of them, and those when it runs."""

    digest: str
    all: tuple[str, ...]
    at_once: tuple[str, ...]


@cache
def _read(file: Path) -> _Source:
    text = file.read_bytes()
    tree = ast.parse(text)
    every, at_once = (tuple(dict.fromkeys(_imports(tree, inside))) for inside in (True, False))
    return _Source(sha256(text).hexdigest(), every, at_once)


def _imports(node: ast.AST, inside: bool) -> Iterator[str]:
    """The names that a tree imports; `inside`: in functions too. Relative ones begin with dots."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            name = "." * child.level + (child.module or "")
            yield name
            dot = "" if name.endswith(".") else "."  # what is imported may be a module, too
            yield from (f"{name}{dot}{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and _for_type_checkers(child.test):
            yield from _imports(ast.Module(child.orelse, []), inside)
        elif inside or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(child, inside)


def _for_type_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _top(name: str) -> Path | None:
    """The folder of a top-level package, or the file of a top-level module."""
    spec = find_spec(name)
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return None
    file = Path(str(spec.origin))
    return file.parent if file.name == "__init__.py" else file


def _file(name: str, tops: Mapping[str, Path | None]) -> Path | None:
    """The file of a module; None for what is none, such as a class."""
    top, *rest = name.split(".")
    here = tops[top]
    if here is None or here.is_file():
        return here if here and not rest else None
    for file in (here.joinpath(*rest, "__init__.py"), here.joinpath(*rest).with_suffix(".py")):
        if file.is_file() and (rest or file.name == "__init__.py"):
            return file
    return None


# -- the graph --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a product: a function that makes one folder.

    - `run`: where the function stands, "module:function".
    - `about`: one sentence of what it does.
    - `reads`: the stages whose folders it reads.
    - `keys`: what of the recipe it depends on: "next.days", or a whole table; "logs.${log}" is
      the table of `logs` whose name stands at `log`; WHOLE is all of it.
    - `folder`: the name of its folder; empty: its own.
    - `parts`: made part by part, so that an interrupted stage goes on.
    - `cached`: whether DVC keeps a copy.
    - `metrics`: a JSON file in its folder whose numbers DVC compares.
    """

    name: str
    run: str
    about: str = ""
    reads: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    folder: str = ""
    parts: bool = False
    cached: bool = True
    metrics: str = ""

    @property
    def place(self) -> str:
        """The name of its folder."""
        return self.folder or self.name


@dataclass(frozen=True, slots=True)
class Graph:
    """The stages of a product, each after those that it reads."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        assert len(set(names)) == len(names), "two stages of one name"
        for n, stage in enumerate(self.stages):
            assert set(stage.reads) <= set(names[:n]), f"{stage.name} reads what is made later"

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __getitem__(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def digest(
        self,
        name: str,
        recipe: Any,
        read: Mapping[str, str],
        *,
        roots: Iterable[str] = (),
        more: Any = None,
    ) -> str:
        """What a stage's folder is made from, as a short text.

        It covers the stage's code and that of `roots` (classes that the recipe names), the values
        at its keys in `recipe` (a dataclass or tables), the digests of the stages that it reads,
        and `more`, such as the state of files.
        """
        from clickprint.work.folder import digest

        stage = self[name]
        return digest(
            name,
            code_digest(stage.run, *roots),
            [at_key(recipe, key) for key in stage.keys],
            [read[other] for other in stage.reads],
            plain(more),
        )


def at_key(recipe: Any, key: str) -> Any:
    """What stands at a dotted key of a recipe, as JSON has it; None where nothing does."""
    found = recipe
    if key != WHOLE:
        filled = sub(r"\$\{([\w.]+)\}", lambda name: str(at_key(recipe, name[1])), key)
        for name in filled.split("."):
            inside = isinstance(found, Mapping)
            found = found.get(name) if inside else getattr(found, name, None)
    return plain(found)


# -- DVC --------------------------------------------------------------------------------------


def dvc_yaml(
    graph: Graph,
    command: str,
    *,
    params: str,
    out: str,
    source: str = "src",
    variables: Sequence[str] = (),
    head: Sequence[str] = (),
) -> str:
    """The text of a dvc.yaml that makes the stages of a graph.

    `command` has {stage}, {params} and {out}. A stage depends on the folders that it reads, on
    its keys in `params`, and on the folders of the source that it imports (in `source`; below
    `apps`, on files). `variables` are keys that other keys name. `head`: comments.
    """
    lines = [f"# {line}" for line in head]
    if variables:
        lines += ["vars:", *(f"  - {params}:{name}" for name in variables), ""]
    lines.append("stages:")
    for stage in graph:
        run = command.format(stage=stage.name, params=params, out=out)
        lines += [f"  {stage.name}:", f"    cmd: {run}", "    deps:"]
        lines += [f"      - {out}/{graph[other].place}" for other in stage.reads]
        lines += [f"      - {params}"] if WHOLE in stage.keys else []
        lines += [f"      - {path}" for path in sources(stage.run, source=source)]
        if keys := [key for key in stage.keys if key != WHOLE]:
            lines += ["    params:", f"      - {params}:", *(f"          - {key}" for key in keys)]
        options = [
            *([] if stage.cached else ["          cache: false"]),
            *(["          persist: true"] if stage.parts else []),
        ]
        colon = ":" if options else ""
        lines += ["    outs:", f"      - {out}/{stage.place}{colon}", *options, ""]
    told = [f"  - {out}/{stage.place}/{stage.metrics}" for stage in graph if stage.metrics]
    return "\n".join([*lines, *(["metrics:", *told] if told else [])]).rstrip() + "\n"


def sources(*roots: str, source: str = "src") -> list[str]:
    """Where the code of a stage lies: folders of the top-level package, below `apps` files."""
    found = set()
    for name, file in modules(*roots).items():
        top, *inside = name.split(".")
        if inside[:1] != ["apps"] and (len(inside) > 1 or (file.name == "__init__.py" and inside)):
            found.add(f"{source}/{top}/{inside[0]}")
        elif file.name != "__init__.py" or not inside:
            found.add(f"{source}/{file.relative_to(file.parents[max(len(inside), 1)])}")
    return sorted(found)
