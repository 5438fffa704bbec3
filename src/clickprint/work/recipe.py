"""The parts that the recipes of several products share, and how a recipe's file is read.

One dialect: `seed` in the recipe of one result (run, next); `seeds` in the recipe of a table that
repeats everything for each of them (rank, scale).
"""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

from clickprint.core.dataset import Dataset
from clickprint.core.forms import toml_of
from clickprint.core.options import (
    Between,
    Distinct,
    Faults,
    Matches,
    NotEmpty,
    read,
    read_text,
)
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import DATASETS
from clickprint.data.engine import Engine
from clickprint.work.folder import stamp
from clickprint.work.source import (
    dataset,
    expanded,
    needs_path,
    options_of,
    read_files,
    takes_path,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")  # because it becomes a file name
NAME_OR_NOTHING = re.compile(r"|[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
NAME_EXPECTED = "a name of letters, digits and _.+- (64 at most)"
Name = Annotated[str, Matches(NAME, NAME_EXPECTED)]
Seed = Annotated[int, Between(0, 2**63 - 1)]
Seeds = Annotated[tuple[Seed, ...], NotEmpty(), Distinct()]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPart:
    """Where the log comes from: a reader and its options, or the folder of a dataset.

    - `source`: the name of a reader.
    - `path`: the files that it reads; $VARIABLES are filled in.
    - `folder`: a dataset that `clickprint read` made, instead of a source.
    - `options`: the reader's; in a recipe they stand beside `source`.
    """

    source: str = ""
    path: str = ""
    folder: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read_options(cls, raw: Any, path: str, faults: Faults) -> "DataPart | None":
        before = len(faults)
        if not isinstance(raw, Mapping):
            faults.add(path, f"found {raw!r}, expected a table")
            return None
        own = {k: v for k, v in raw.items() if k in ("source", "folder", "path")}
        named = {k: faults.value(v, str, f"{path}.{k}") for k, v in own.items()}
        if len(faults) > before:
            return None
        source, folder = named.get("source", ""), named.get("folder", "")
        if bool(source) == bool(folder):
            faults.add(
                path,
                "expected either source (the name of a reader)"
                " or folder (of a dataset that `clickprint read` made)",
            )
        elif folder:
            faults.unknown(raw, ("folder",), path)
        elif faults.known(source, DATASETS, f"{path}.source"):
            if named.get("path") and not takes_path(source):
                faults.add(f"{path}.path", f"{source} reads no files")
            if not named.get("path") and needs_path(source):
                faults.add(f"{path}.path", f"missing; {source} reads files: name their folder")
            options = {k: v for k, v in raw.items() if k not in own}
            named["options"] = options_of(source, options, path, faults)
        return cls(**named) if len(faults) == before else None

    def at(self, path: Path) -> "DataPart":
        """The same data elsewhere."""
        if self.folder:
            return DataPart(folder=str(path))
        return DataPart(source=self.source, path=str(path), options=self.options)

    def open(
        self, engine: Engine, *, out: Path | None = None, progress: Progress = silent
    ) -> Dataset:
        """The dataset: in the folder that was named, in `out`, or else in the cache.

        Raises DataError and ConfigError.
        """
        if self.folder:
            found = Dataset.open(expanded(Path(self.folder)))
            if out is None:
                return found
            shutil.copytree(found.folder, out, dirs_exist_ok=True)
            return Dataset.open(out)
        path = Path(self.path) if self.path else None
        return dataset(self.source, path, self.options, out=out, engine=engine, progress=progress)

    def stamp(self) -> Any:
        """What tells that the files are the same: their names, sizes and times of change."""
        if not (named := self.folder or self.path):
            return None
        path = expanded(Path(named))
        if self.folder or not path.is_file():
            return stamp(path)
        return [stamp(file) for file in read_files(self.source, path)]

    def code(self) -> tuple[str, ...]:
        """The modules that make the dataset."""
        return ("clickprint.core.dataset",) if self.folder else (DATASETS[self.source],)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPart:
    """MLflow: OUT/mlflow.db, or the server of MLFLOW_TRACKING_URI.

    - `on`: whether runs and models are tracked.
    - `model`: the registered model's name; empty: the product's own.
    - `alias`: of the model that won.
    """

    on: bool = True
    model: Annotated[str, Matches(NAME_OR_NOTHING, NAME_EXPECTED)] = ""
    alias: Name = "champion"


@runtime_checkable
class Recipe(Protocol):
    """A recipe's dataclass: its options, and the text that they were read from."""

    @property
    def text(self) -> str: ...


R = TypeVar("R", bound=Recipe)


def load(form: Callable[..., R], path: Path | str, *, hint: str) -> R:
    """The recipe in a TOML file.

    `hint` says which recipes come with clickprint. Raises ConfigError with every fault.
    """
    return parse(form, read_text(path, hint), where=str(path))


def parse(form: Callable[..., R], text: str, *, where: str = "recipe") -> R:
    """The recipe in a TOML text; `where` names the file. Raises ConfigError with every fault."""
    return read(form, toml_of(text, where), where=where, text=text)
