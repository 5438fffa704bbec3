"""What the tests of readers of text files share: a file is spoiled in its bytes, and either an
error says so or its rows are counted.
"""

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.data.engine import Engine

Expected = str | Mapping[str, int]  # a message, or rejected rows and unread values by reason
Case = tuple[Callable[[bytes], bytes | None], Expected]  # None: the file is removed


def replace(old: str, new: str | bytes) -> Callable[[bytes], bytes]:
    def edit(raw: bytes) -> bytes:
        assert old.encode() in raw
        return raw.replace(old.encode(), new if isinstance(new, bytes) else new.encode(), 1)

    return edit


def everywhere(old: str, new: str) -> Callable[[bytes], bytes]:
    def edit(raw: bytes) -> bytes:
        assert old.encode() in raw
        return raw.replace(old.encode(), new.encode())

    return edit


def add(line: str) -> Callable[[bytes], bytes]:
    return lambda raw: raw + line.encode() + b"\n"


def first_line_again(raw: bytes) -> bytes:
    return raw + raw.splitlines(keepends=True)[0]


def half_packed(raw: bytes) -> bytes:
    return gzip.compress(raw)[:-12]


def judge(
    read: Callable[..., Dataset], path: Path, file: Path, case: Case, good: int, engine: Engine
) -> None:
    """Spoils `file` and reads `path`, which has `good` events when nothing is wrong: the error or
    the counts must be the case's.
    """
    spoil, expected = case
    raw = spoil(file.read_bytes())
    if raw is None:
        file.unlink()
    else:
        file.write_bytes(raw)
    out = path.parent / "made" / "out"
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            read(path, out, engine=engine)
        assert not [*out.parent.glob("*"), *out.parent.glob(".*")]
        return
    made = read(path, out, engine=engine)
    assert made.manifest.rejected | made.manifest.unread == expected
    assert made.manifest.events == good
    assert [p.name for p in [*out.parent.glob("*"), *out.parent.glob(".*")]] == ["out"]
