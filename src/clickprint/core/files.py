"""Files are written whole or not at all: to a temporary name beside the target, then renamed."""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path for a file or folder, which replaces `path` on a clean exit.

    After an error the temporary one is removed. A folder at `path` is replaced in one step where
    the system can exchange two names (Linux). Elsewhere `path` is absent for a moment; `restore`
    brings the old one back after a crash. The next call removes what a killed process left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = _beside(path)
    restore(path)
    try:
        yield part
        if not path.is_dir() or path.is_symlink():
            os.replace(part, path)
        elif not _exchange(part, path):
            remove(old)
            os.replace(path, old)
            os.replace(part, path)
        remove(old)
    finally:
        remove(part)


def _beside(path: Path) -> tuple[Path, Path]:
    """The names of a new and of an old version, beside `path`."""
    return path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")


def _exchange(one: Path, other: Path) -> bool:
    """Swaps what two names stand for, in one step; False where the system cannot."""
    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    swap = getattr(library, "renameat2", None)
    if swap is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if swap(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    fault = ctypes.get_errno()
    # What file systems say that cannot exchange names.
    if fault in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(fault, os.strerror(fault), str(one), None, str(other))


def restore(path: Path) -> None:
    """Puts a folder back that a killed `whole` was replacing, and removes what it left beside."""
    part, old = _beside(path)
    if old.exists() and not path.exists():
        os.replace(old, path)
    remove(part)
    remove(old)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, "utf-8")


def write_array(path: Path, values: np.ndarray) -> None:
    """A .npy file, never a pickle."""
    with whole(path) as part, part.open("wb") as file:
        np.save(file, values, allow_pickle=False)
