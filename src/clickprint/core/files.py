"""Files are written whole or not at all: to a temporary name beside the target, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path for a file or folder; on a clean exit it takes `path`'s place, else it is removed.

    A folder that stands at `path` is replaced. What a killed process left behind is removed by the next call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    _remove(part)
    try:
        yield part
        if path.is_dir() and not path.is_symlink():
            _remove(old)
            os.replace(path, old)
        os.replace(part, path)
        _remove(old)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
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
