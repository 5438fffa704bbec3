"""Public data come as a file, a folder or a zip of either: finding the files, unpacking where it
must be.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from clickprint.core.errors import DataError
from clickprint.data.adapters.staging import workplace

Broken = (
    BadZipFile,
    OSError,
    EOFError,
    RuntimeError,
    zlib.error,
)  # RuntimeError: a password, or a method that zipfile does not know


@contextmanager
def unpacked(path: Path, out: Path) -> Iterator[Path]:
    """`path`; of a .zip a folder beside `out` that holds its files, and is removed again.

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
            raise DataError(
                path, f"not a whole zip file ({fault}); copy or download it again"
            ) from None
        yield room


def found(path: Path, patterns: Sequence[str], asked: Path | None = None) -> list[Path]:
    """The files of a source:

    `path` itself, or those of the first pattern that matches in this folder or the folders right
    below.

    `asked` is what messages name (a zip rather than where it is unpacked). Raises DataError when
    there is none.
    """
    where = str(asked or path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            where, f"not found; expected {' or '.join(patterns)}, a folder or a .zip that holds it"
        )
    for pattern in patterns:
        for glob in (pattern, f"*/{pattern}"):
            files = sorted(
                p
                for p in path.glob(glob)
                if p.is_file() and p.parent.name != "__MACOSX" and not p.name.startswith(".")
            )
            if files:
                return files
    there = ", ".join(sorted(p.name for p in path.iterdir())[:10]) or "nothing"
    raise DataError(where, f"holds {there}; expected {' or '.join(patterns)}")
