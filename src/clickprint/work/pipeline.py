"""The folders of a graph of stages: which are stale, how they are made, and what that cost.

A stage writes one folder of the workspace, and knows what it was made from: its parameters, the
folders that it reads, and the code that it imports. OUT/facts/ has seconds and peak memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from clickprint.core import forms
from clickprint.core.errors import ConfigError
from clickprint.core.files import clear, write_text
from clickprint.core.progress import Progress, silent
from clickprint.work.facts import Facts
from clickprint.work.folder import (
    Workspace,
    digest,
    forget,
    made,
    made_from,
    make_folder,
    mark_made,
)
from clickprint.work.stages import Graph

SOURCE = "source.txt"  # in the folder of a stage with outside files: which ones it read
REMAKE = "remove its folder, and the stage makes it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a stage reads beside other stages: files, which may be gone once it is made.

    - `named`: which files, as a short text.
    - `state`: called for what tells that they are the same.
    """

    named: str
    state: Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One folder of stages.

    - `command`: what to type for a stage, with {stage}; `all` is every stage.
    - `roots`: of a stage, the code that the recipe names.
    - `outside`: of a stage, the files that it reads.
    """

    graph: Graph
    work: Workspace
    recipe: Any
    command: str
    roots: Mapping[str, Sequence[str]] = field(default_factory=dict)
    outside: Mapping[str, Outside] = field(default_factory=dict)
    progress: Progress = silent

    def folder(self, stage: str) -> Path:
        """A stage's folder."""
        return self.work.path(self.graph[stage].place)

    def json(self, stage: str, name: str) -> Any:
        """What a stage wrote to NAME.json. Raises DataError."""
        return read_json(self.folder(stage) / f"{name}.json")

    def inputs(self, stage: str) -> str:
        """What a stage's folder is made from, as a short text.

        Raises ConfigError where a folder that it reads is missing or of other inputs.
        """
        read = {name: self.need(name) for name in self.graph[stage].reads}
        outside = self.outside.get(stage)
        more = [outside.named, outside.state()] if outside else None
        roots = self.roots.get(stage, ())
        return self.graph.digest(stage, self.recipe, read, roots=roots, more=more)

    def need(self, stage: str) -> str:
        """The inputs of a stage that was run. Raises ConfigError, which names the command."""
        folder, outside = self.folder(stage), self.outside.get(stage)
        found = made(folder)
        call, every = (self.command.format(stage=name) for name in (stage, "all"))
        call = f"call `{call}`, or `{every}`"
        if not found:
            state = "changed since it was made" if made_from(folder) else "not made yet"
            raise ConfigError(f"{folder}: {state}; {call}")
        if outside is not None:
            file = folder / SOURCE
            if not file.is_file() or file.read_text("utf-8") != outside.named:
                raise ConfigError(f"{folder}: made from other files or options; {call}")
        elif found != self.inputs(stage):
            raise ConfigError(f"{folder}: made from other parameters, data or code; {call}")
        return found

    def make(self, stage: str, make: Callable[[Path], None]) -> str:
        """A stage's folder, whole, unless it is there and of these inputs; what happened."""

        def whole(part: Path) -> None:
            make(part)
            if outside := self.outside.get(stage):
                write_text(part / SOURCE, outside.named)

        def once(folder: Path, inputs: str) -> None:
            make_folder(folder, inputs, whole)

        return self._made(stage, once)

    def make_in_place(self, stage: str, make: Callable[[Path, str], None]) -> str:
        """The same for a stage that goes on in its folder; it is called with the inputs, too.

        What was finished and then changed is made from the start.
        """

        def on(folder: Path, inputs: str) -> None:
            if made_from(folder) == {"folder": inputs}:
                clear(folder)
            self._go_on(folder, inputs, make)

        return self._made(stage, on)

    def make_parts(self, stage: str, parts: Mapping[str, Callable[[Path], None]]) -> str:
        """The same for a folder of folders, made in this order.

        Of those that are there, equal inputs are kept and other names are removed.
        """

        def each(folder: Path, inputs: str) -> None:
            for done, (name, make) in enumerate(parts.items()):
                self.progress(stage, done, len(parts))
                make_folder(folder / name, digest(inputs, name), make)
            self.progress(stage, len(parts), len(parts))
            for stray in [p for p in folder.iterdir() if p.name not in parts]:
                clear(stray)

        return self._made(stage, partial(self._go_on, make=each))

    @staticmethod
    def _go_on(folder: Path, inputs: str, make: Callable[[Path, str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        forget(folder)
        make(folder, inputs)
        mark_made(folder, inputs)

    def _made(self, stage: str, make: Callable[[Path, str], None]) -> str:
        self.work.check()
        folder, inputs = self.folder(stage), self.inputs(stage)
        with self.work.lock():
            if made(folder) == inputs:
                return f"{folder}: up to date"
            with self.cost(stage, inputs):
                make(folder, inputs)
        return str(folder)

    @contextmanager
    def cost(self, name: str, inputs: str) -> Iterator[None]:
        """Seconds and peak memory of the block, to OUT/facts/.

        What an earlier call of the same inputs spent before it was killed is added up.
        """
        file = self.work.path("facts") / f"{name}.json"
        if Facts.read(file).get("inputs") != inputs:
            file.unlink(missing_ok=True)
        command = self.command.format(stage=name)
        with Facts.of(file, inputs=inputs, command=command).stage(name):
            yield


def read_json(file: Path) -> Any:
    """What a stage wrote. Raises DataError."""
    return forms.read_json(file, again=REMAKE, finite=False)
