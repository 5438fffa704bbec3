"""Public data come as a file, a folder or a zip of either: unpacking, and finding the files."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from clickprint.core.errors import DataError
from clickprint.data.adapters.staging import workplace
from clickprint.data.check import blaming

# RuntimeError: a password, or a method that zipfile does not know.
Broken = (BadZipFile, OSError, EOFError, RuntimeError, zlib.error)


@contextmanager
def opened(path: Path, out: Path, purpose: str = "") -> Iterator[tuple[Path, Path]]:
    """Where a source's files are, and an empty folder for what is needed while they are read.

    A .zip is unpacked beside `out`; both folders are removed again. `purpose` keeps the second
    apart from another of the same reading. Errors of the engine are raised as errors of `path`.
    Raises DataError for a damaged zip.
    """
    room = out.with_name(f"{out.name}.{purpose}") if purpose else out
    with unpacked(path, out) as place, workplace(room) as empty, blaming(path):
        yield place, empty


@contextmanager
def unpacked(path: Path, out: Path) -> Iterator[Path]:
    """`path`, or for a .zip a folder beside `out` that holds its files for a while.

    Raises DataError for a damaged zip.
    """
    if path.suffix.lower() != ".zip" or not path.is_file():
        yield path
        return
    with workplace(out.with_name(f"{out.name}.zip")) as room:
        try:
            with ZipFile(path) as packed:
                packed.extractall(room)
        except Broken as fault:
            said = f"not a whole zip file ({fault}); copy or download it again"
            raise DataError(path, said) from None
        yield room


def found(path: Path, patterns: Sequence[str], asked: Path | None = None) -> list[Path]:
    """The files of a source: `path` itself, or those in it that the first fitting pattern names.

    Looked for in the folder and in those right below. `asked` is what messages name (a zip rather
    than where it is unpacked). Raises DataError when there is none.
    """
    where, expected = asked or path, " or ".join(patterns)
    if path.is_file():
        return [path]
    if not path.is_dir():
        said = f"not found; expected {expected}, a folder or a .zip that holds it"
        raise DataError(where, said)
    for pattern in patterns:
        for glob in (pattern, f"*/{pattern}"):
            if files := sorted(p for p in path.glob(glob) if _is_data(p)):
                return files
    raise DataError(where, f"holds {holds(path)}; expected {expected}")


def holds(folder: Path) -> str:
    """The first names in a folder, for a message."""
    return ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"


def _is_data(path: Path) -> bool:
    hidden = path.name.startswith(".") or path.parent.name == "__MACOSX"
    return path.is_file() and not hidden
