"""From a reader's name to a dataset. What was read once is kept in the cache."""

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import beside, new_folder, whole
from clickprint.core.forms import toml_of
from clickprint.core.options import Faults
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import DATASETS, reader
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.store import DATASET
from clickprint.work.folder import cache, digest, locked, stamp
from clickprint.work.stages import code_digest

# Parameters of readers that their caller gives; everything else in a signature is an option.
GIVEN = ("out", "engine", "progress")
# Where the options of a reader that takes any stand.
DIALS = {"synthetic": "clickprint.data.synthetic:shop_of"}


def place(text: str) -> Any:
    """What "module:name" stands for. Raises ImportError and AttributeError."""
    module, _, name = text.partition(":")
    return getattr(import_module(module), name)


def takes_path(name: str) -> bool:
    """Whether a reader reads files that are named by a path."""
    return next(iter(inspect.signature(reader(name)).parameters)) != "out"


def option_names(name: str) -> list[str]:
    """The options of a reader: its parameters without its path and what the caller gives."""
    first = next(iter(inspect.signature(reader(name)).parameters))
    skip = {*GIVEN, first} if takes_path(name) else {*GIVEN}
    parameters = inspect.signature(_dials(name)).parameters.values()
    return [p.name for p in parameters if p.name not in skip and p.kind is not p.VAR_KEYWORD]


def options_of(name: str, given: Mapping[str, Any], path: str, faults: Faults) -> dict[str, Any]:
    """The options of a reader, checked; every fault with its path."""
    before, dials = len(faults), _dials(name)
    skip = set(inspect.signature(dials).parameters) - set(option_names(name))
    found = faults.options(dials, given, path, skip=skip)
    if name in DIALS and len(faults) == before:
        faults.attempt(path, lambda: dials(**found))
    return found


def options_in(name: str, given: Sequence[str]) -> dict[str, Any]:
    """The values of `--set key=value …`; what is no TOML value is a text."""
    options: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            known = ", ".join(option_names(name)) or "none"
            raise ConfigError(
                f"--set: found {text!r}, expected key=value; options of {name}: {known}"
            )
        try:
            options[key] = toml_of(f"value = {value}", "--set")["value"]
        except ConfigError:
            options[key] = value
    return options


def _dials(name: str) -> Callable[..., Any]:
    """The function whose keyword parameters are a reader's options."""
    found: Callable[..., Any] = place(DIALS[name]) if name in DIALS else reader(name)
    return found


def fetcher(name: str) -> Callable[[Path], Path] | None:
    """What brings a source's files to a folder; None where only a person can get them."""
    module = import_module(DATASETS[name].partition(":")[0])
    found: Callable[[Path], Path] | None = getattr(module, "fetch", None)
    return found


def needs_path(name: str) -> bool:
    """Whether a person has to say where a reader's files are."""
    return takes_path(name) and fetcher(name) is None


def fetched(name: str, fetch: Callable[[Path], Path], progress: Progress = silent) -> Path:
    """A source's files, fetched once to the cache."""
    folder = cache() / "sources" / name
    with locked(folder.with_suffix(".lock"), wait=True):
        progress(f"fetch {name}", 0, 0)
        return fetch(folder)


def dataset(
    name: str,
    path: Path | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Dataset:
    """The log that a reader reads, in the canonical form, in `out` or else in the cache.

    It is read once for equal options, files and code. `overwrite`: read it again, and replace a
    dataset of others in `out`. Raises ConfigError for an unknown name or option, a path that is
    missing or not wanted, or something else in `out`, and what the reader raises.
    """
    read = reader(name)
    path, options = _checked(name, path, options or {}, progress)
    arguments = [] if path is None else [path]
    with ExitStack() as stack:
        key = digest(
            name,
            str(path and path.resolve()),
            path and [stamp(f) for f in read_files(name, path)],
            options,
            code_digest(DATASETS[name]),
        )
        if out is None:
            out = cache() / "datasets" / f"{name}-{key}"
            stack.enter_context(locked(out.with_suffix(".lock"), wait=True))
        if new_folder(out, DATASET, inputs=key, overwrite=overwrite):
            with suppress(DataError):  # one that is damaged is read again
                return Dataset.open(out)
        given = {"engine": engine or stack.enter_context(DuckDB()), "progress": progress}
        taken = inspect.signature(read).parameters
        given = {k: v for k, v in given.items() if k in taken}
        with whole(out, DATASET, inputs=key) as part:
            read(*arguments, part, **given, **options)
    return Dataset.open(out)


def append(
    folder: Path,
    name: str,
    path: Path | None,
    options: Mapping[str, Any],
    *,
    engine: Engine,
    progress: Progress = silent,
) -> Dataset:
    """Adds the log that a reader reads to the dataset in a folder, by data.append.

    Raises ConfigError as `dataset` does and where another process appends, and what
    `data.append.append` raises.
    """
    from clickprint.data.append import append as add

    folder = Path(folder).resolve()
    Dataset.open(folder)  # where there is none, no lock is left
    path, options = _checked(name, path, options, progress)
    with locked(beside(folder, "lock")):
        return add(folder, name, path, options, engine=engine, progress=progress)


def _checked(
    name: str, path: Path | None, options: Mapping[str, Any], progress: Progress
) -> tuple[Path | None, dict[str, Any]]:
    """A reader's path (fetched, where it can be and none is named) and its options."""
    faults = Faults()
    found = options_of(name, options, name, faults)
    faults.refuse("")
    if takes_path(name):
        if path is None and (fetch := fetcher(name)) is not None:
            path = fetched(name, fetch, progress)
        if path is None:
            raise ConfigError(f"{name} reads files: name their path")
        path = expanded(path)
        if not path.exists():
            raise ConfigError(f"{path}: there is nothing here for {name} to read")
    elif path is not None:
        raise ConfigError(f"{name} reads no files, but a path was named: {path}")
    return path, found


def expanded(path: Path) -> Path:
    """A path with its environment variables filled in, unless it is there as it is written.

    Raises ConfigError for a variable that is not set.
    """
    if path.exists():
        return path
    found = os.path.expandvars(path)
    if missing := re.search(r"\$\{?\w+\}?", found):
        raise ConfigError(
            f"{path}: the environment variable {missing[0]} is not set;"
            " set it to the folder that has the data"
        )
    return Path(found).expanduser()


def read_files(name: str, path: Path) -> tuple[Path, ...]:
    """What a reader reads at `path`: the folder, or the mapping and every file that it names."""
    if name != "table":
        return (path,)
    from clickprint.data.adapters.table import files

    return files(path)
