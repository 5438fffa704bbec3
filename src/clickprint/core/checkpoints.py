"""Where trainings keep what a killed one goes on from: a folder that the caller of `fit` may set,
since recipes know no folders.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path

_FOLDER: ContextVar[Path | None] = ContextVar("checkpoints", default=None)


@contextmanager
def checkpoints(folder: Path) -> Iterator[None]:
    """Trainings inside keep a checkpoint each in `folder`, and go on from one that is there.

    Who sets it removes it, when all is done.
    """
    before = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(before)


def place(key: str) -> Path | None:
    """Where the training that `key` names keeps its checkpoint;

    None outside of `checkpoints`, and for one without a name.
    """
    folder = _FOLDER.get()
    return folder / sha256(key.encode()).hexdigest()[:24] if folder and key else None
