"""Folders that commands share: the cache, locks, and outputs that know what they were made from."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from clickprint.core.errors import ConfigError
from clickprint.core.files import whole, write_text

INPUTS = "inputs.json"


def cache() -> Path:
    """Where datasets that were read once are kept: CLICKPRINT_CACHE, or ~/.cache/clickprint."""
    named = os.environ.get("CLICKPRINT_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clickprint"


def digest(*parts: Any) -> str:
    """A short text that is equal for equal parts (whatever JSON can hold; paths and tuples too)."""
    return sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:24]


def _plain(part: Any) -> Any:
    if isinstance(part, Path):
        return str(part)
    raise TypeError(f"{type(part).__name__} has no place in a digest")


def stamp(path: Path) -> list[list[Any]]:
    """Names, sizes and change times of a file, or of every file below a folder: what tells that a source is still the same."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
    return [[str(f.relative_to(path.parent)), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


@contextmanager
def locked(file: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds `file` for this process. The system frees it when the process ends, however it ends, so no lock is ever stale.

    Raises ConfigError when another process holds it, or waits for it.
    """
    import fcntl

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise ConfigError(f"{file.parent}: {holder} is writing here; wait until it is done, or choose another --out") from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()}")
        handle.flush()
        yield


@contextmanager
def spill(folder: Path) -> Iterator[Path]:
    """A folder of this process for the engine; those of processes that are gone are removed."""
    for left in folder.glob(".spill-*"):
        try:
            os.kill(int(left.name.removeprefix(".spill-")), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:  # another user's, alive
            continue
    own = folder / f".spill-{os.getpid()}"
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def made_from(folder: Path) -> dict[str, str]:
    """Which inputs each output in a folder was made from; empty where nobody says."""
    try:
        found = json.loads((folder / INPUTS).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_made_from(folder: Path, inputs: dict[str, str]) -> None:
    write_text(folder / INPUTS, json.dumps(inputs, indent=1, sort_keys=True))


def make_folder(folder: Path, inputs: str, make: Callable[[Path], None]) -> bool:
    """Makes a folder whole, unless it stands there and was made from these inputs; whether it was made."""
    if made_from(folder) == {"folder": inputs}:
        return False
    with whole(folder) as part:
        part.mkdir()
        make(part)
        write_made_from(part, {"folder": inputs})
    return True
