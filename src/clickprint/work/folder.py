"""Folders of runs: claimed for one process, with outputs that know what they were made from."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from clickprint.core.errors import ClickprintError, ConfigError, DataError
from clickprint.core.files import (
    check_file,
    check_own,
    clear,
    note,
    own,
    remove,
    whole,
    write_text,
)
from clickprint.core.forms import read_json
from clickprint.core.seal import PARTS, intact, seal

INPUTS, RECIPE, LOCK, TRAINING = "inputs.json", "recipe.toml", ".lock", "training"
SPILL = ".clickprint-spill-"  # and the number of the process


@runtime_checkable
class HasText(Protocol):
    """A recipe that knows the text of its file."""

    @property
    def text(self) -> str: ...


R = TypeVar("R", bound=HasText)


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder in which a product works.

    `what`: what the folder holds, for its mark and messages: "run", "study".
    """

    folder: Path
    what: str

    def path(self, name: str) -> Path:
        return self.folder / name

    def check(self) -> None:
        """Raises ConfigError where something stands at the folder that is no `what`."""
        check_own(self.folder, self.what)

    def can_write(self, *names: str) -> None:
        """Raises ConfigError where something in the folder that is not ours has one of the names.

        Called before the work, for files that are written after it.
        """
        for name in names:
            check_file(self.path(name))

    @contextmanager
    def lock(self, *, wait: bool = False) -> Iterator[None]:
        """Holds the folder for this process, and makes it ours.

        Raises ConfigError as `check`, and where another process holds it.
        """
        own(self.folder, self.what)
        with locked(self.folder / LOCK, wait=wait):
            yield

    @contextmanager
    def claim(
        self,
        recipe: R | None = None,
        load: Callable[[Path], R] | None = None,
        *,
        fresh: bool = False,
    ) -> Iterator[None]:
        """Holds the folder for a recipe, and removes what an interrupted run left half-written.

        `load` reads the recipe that stands there; comments and order aside it must be this one.
        `fresh` empties the folder first. A new folder goes again where the block refuses before
        anything is made. Raises ConfigError for a folder of something else or of another recipe,
        and where another process holds it.
        """
        new = not self.folder.exists()
        with self._given_back(new), self.lock():
            if fresh:
                self.empty()
            elif recipe is not None and load is not None and self._holds_another(recipe, load):
                raise ConfigError(
                    f"{self.folder} holds the {self.what} of another recipe;"
                    " name another --out, or empty it with --fresh"
                )
            self.sweep()
            if recipe is not None:
                write_text(self.folder / RECIPE, recipe.text)
            yield

    @contextmanager
    def _given_back(self, new: bool) -> Iterator[None]:
        """Removes a new folder after a refusal, where it holds no output: those are folders."""
        try:
            yield
        except ClickprintError:
            if new and not any(entry.is_dir() for entry in self.folder.glob("*")):
                clear(self.folder)
            raise

    def _holds_another(self, recipe: R, load: Callable[[Path], R]) -> bool:
        file = self.folder / RECIPE
        try:
            return file.is_file() and load(file) != recipe
        except ConfigError:
            return True

    def empty(self) -> None:
        """Removes all that clickprint wrote in the folder but the lock; the rest stays."""
        clear(self.folder, keep=(LOCK,))

    def sweep(self) -> None:
        """Removes what an interrupted run left half-written.

        Nothing below `training` goes: a checkpoint's only copy may be there, and the training
        that goes on from it clears up.
        """
        for left in [*self.folder.rglob(".*.clickprint-*")]:
            if TRAINING not in left.relative_to(self.folder).parts:
                remove(left)
        self._sweep_spills()

    def _sweep_spills(self) -> None:
        for left in self.folder.glob(f"{SPILL}*"):
            try:
                os.kill(int(left.name.removeprefix(SPILL)), 0)
            except (ProcessLookupError, ValueError):
                shutil.rmtree(left, ignore_errors=True)
            except PermissionError:  # another user's, alive
                continue

    @contextmanager
    def spill(self) -> Iterator[Path]:
        """A folder of this process for the engine; those of processes that are gone go."""
        self._sweep_spills()
        own = self.folder / f"{SPILL}{os.getpid()}"
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def made(self, name: str) -> str:
        """The digest of what an output folder was made from, as `made`."""
        return made(self.folder / name)

    def make(self, name: str, inputs: str, make: Callable[[Path], None]) -> bool:
        """Makes an output folder whole, unless it was made from these inputs; whether it was.

        Its training's checkpoint is removed afterwards.
        """
        done = make_folder(self.folder / name, inputs, make)
        clear(self.training(inputs))
        return done

    def training(self, inputs: str) -> Path:
        """Where the training of an output keeps its checkpoints."""
        return self.folder / TRAINING / inputs


def cache() -> Path:
    """Where datasets that were read once are kept: CLICKPRINT_CACHE, or ~/.cache/clickprint."""
    if named := os.environ.get("CLICKPRINT_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clickprint"


def digest(*parts: Any) -> str:
    """A short text that is equal for equal parts: what JSON can hold, tuples and paths."""
    return sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:24]


def _plain(part: Any) -> Any:
    if isinstance(part, Path):
        return str(part)
    raise TypeError(f"{type(part).__name__} has no place in a digest")


def stamp(path: Path) -> list[list[Any]]:
    """Names, sizes and change times of a file, or of every file below a folder.

    They tell whether a source is still the same.
    """
    inside = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in inside if file.is_file()]
    return [
        [str(f.relative_to(path.parent)), f.stat().st_size, f.stat().st_mtime_ns] for f in files
    ]


@contextmanager
def locked(file: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a file for this process.

    The system frees it when the process ends, however it ends, so no lock is ever stale. Where
    another process holds it, this raises ConfigError, or waits.
    """
    import fcntl

    file.parent.mkdir(parents=True, exist_ok=True)
    note(file)
    with file.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise ConfigError(
                f"{file.parent}: {holder} is writing here;"
                " wait until it is done, or choose another --out"
            ) from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()}")
        handle.flush()
        yield


def made_from(folder: Path) -> dict[str, str]:
    """Which inputs each output in a folder was made from; empty where nobody says."""
    try:
        found = read_json(folder / INPUTS)
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def write_made_from(folder: Path, inputs: dict[str, str]) -> None:
    write_text(folder / INPUTS, json.dumps(inputs, indent=1, sort_keys=True))


def forget(folder: Path) -> None:
    """Removes what says what a folder was made from.

    Called before outputs in it are replaced one by one, so that a folder of half the old inputs
    and half the new ones is taken for neither.
    """
    for name in (INPUTS, PARTS):
        (folder / name).unlink(missing_ok=True)


def made(folder: Path) -> str:
    """The digest of what an output folder was made from.

    Empty where it is not made, or where a file of it is gone or was changed since.
    """
    found = made_from(folder)
    return str(found["folder"]) if found.keys() == {"folder"} and intact(folder) else ""


def mark_made(folder: Path, inputs: str) -> None:
    """Writes what an output folder was made from, and seals it: the last thing that is written."""
    write_made_from(folder, {"folder": inputs})
    seal(folder)


def make_folder(folder: Path, inputs: str, make: Callable[[Path], None]) -> bool:
    """Makes a folder whole, unless it was made from these inputs; whether it was made now."""
    if made(folder) == inputs:
        return False
    with whole(folder) as part:
        part.mkdir()
        make(part)
        mark_made(part, inputs)
    return True
