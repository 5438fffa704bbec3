"""Files are written whole or not at all, and nothing is replaced or removed but what we wrote.

A file or folder is written to a temporary name beside its target, then renamed. A folder of ours
holds a hidden file, its mark: what the folder is, and the paths in it that clickprint wrote. What
a mark does not name is left alone.

FOLDER/.clickprint   {"clickprint": 1, "what": "dataset", "whole": true, "inputs": "9f2c…"}
                     events/part-2017-01-01.parquet
                     …
"""

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np
from jaxtyping import Shaped

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.forms import json_of

MARK = ".clickprint"
LARGEST = 256 << 20  # bytes of a mark
SHOWN = 3  # names in a message


# -- writing ----------------------------------------------------------------------------------


@contextmanager
def whole(path: Path, what: str = "", *, inputs: str = "") -> Iterator[Path]:
    """A temporary path for a file or folder, which replaces `path` on a clean exit.

    - `what`: what the folder is, for its mark; a folder of something else is never replaced.
    - `inputs`: what the folder is made from, for its mark.

    After an error the temporary one is removed. A folder at `path` is replaced in one step where
    the system can exchange two names (Linux). Elsewhere `path` is absent for a moment; `restore`
    brings the old one back after a crash. The next call removes what a killed process left. A link
    stands for what it points to. Raises ConfigError where something at `path` is not ours.
    """
    named, path = path, _real(path)
    part, old = beside(path, "part"), beside(path, "old")
    restore(path)
    _check(path, named, what)
    above = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        _check(path, named, what)
        if part.is_dir():
            if path.is_file():
                raise ConfigError(f"{named} is a file; name a folder")
            if not _within_temporary(path):
                _seal(part, what, inputs)
        elif path.is_dir() and part.exists():
            raise ConfigError(f"{named} is a folder; name a file, or move the folder away")
        note(path)
        if not path.is_dir():
            os.replace(part, path)
        elif not _exchange(part, path):
            remove(old)
            os.replace(path, old)
            os.replace(part, path)
        remove(old)
    finally:
        remove(part)
        if not path.exists():
            with suppress(OSError):  # something else is in it
                for folder in above:
                    folder.rmdir()


def beside(path: Path, purpose: str) -> Path:
    """The name of a temporary file or folder beside a path; nobody else has such names."""
    return path.with_name(f".{path.name}.clickprint-{purpose}")


def temporary(name: str) -> bool:
    """Whether a file or folder is one of our temporary ones."""
    return name.startswith(".") and "clickprint-" in name


def _within_temporary(path: Path) -> bool:
    return any(temporary(name) for name in path.parts)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


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
    path = _real(path)
    part, old = beside(path, "part"), beside(path, "old")
    if old.exists() and not path.exists():
        os.replace(old, path)
    remove(part)
    remove(old)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it: for temporary ones only."""
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
        try:
            np.save(file, values, allow_pickle=False)
        except OSError as fault:  # numpy says how many items were written, but not why
            code = fault.errno or errno.ENOSPC
            raise OSError(code, os.strerror(code), str(path)) from None


def new_array(
    path: Path, dtype: type[np.generic], shape: tuple[int, ...]
) -> Shaped[np.ndarray, "..."]:
    """A .npy file of zeros, mapped: what is written to the array is in the file.

    Its room on the disk is taken at once: a process that writes to a mapped file on a full disk
    would be ended by the system.
    """
    values = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return values


# -- whose a folder is ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """What the mark of a folder says.

    - `what`: what the folder is: "dataset", "run"; empty for a part of one.
    - `whole`: it was written at once; otherwise clickprint goes on working in it.
    - `inputs`: what it was made from, where that was told.
    - `lines`: the paths that clickprint wrote, escaped.
    """

    folder: Path
    what: str
    whole: bool
    inputs: str
    lines: frozenset[str]

    def names(self, path: Path) -> bool:
        """Whether clickprint wrote this path."""
        return _line(path.relative_to(self.folder)) in self.lines

    def above(self) -> frozenset[str]:
        """The folders that these paths lie in, as lines."""
        cuts = (line.split("/")[:-1] for line in self.lines)
        return frozenset("/".join(cut[:n]) for cut in cuts for n in range(1, len(cut) + 1))


def mark_of(folder: Path) -> Mark | None:
    """The mark of a folder; None where it has none, so that it is not ours."""
    file = folder / MARK
    try:
        size = file.stat()
        if not S_ISREG(size.st_mode) or size.st_size > LARGEST:
            return None
        head, *lines = [line for line in file.read_text("ascii").split("\n") if line]
        told = json_of(head, file)
        if told["clickprint"] == 1:
            kept = frozenset(lines)
            return Mark(folder, str(told["what"]), bool(told["whole"]), str(told["inputs"]), kept)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, DataError):
        pass
    return None


def own(folder: Path, what: str) -> None:
    """Makes a folder ours in which clickprint goes on working; it is new, empty, or ours already.

    Raises ConfigError as `check_own`.
    """
    check_own(folder, what)
    folder = _real(folder)
    folder.mkdir(parents=True, exist_ok=True)
    note(folder)
    if mark_of(folder) is None:
        _append(folder / MARK, _head(what, whole=False, inputs=""))


def check_own(folder: Path, what: str) -> None:
    """Raises ConfigError where a folder cannot be a `what`: it holds something else."""
    real = _real(folder)
    _check_above(folder, real)
    if (owner := _owner(real)) is not None and owner.whole:
        raise ConfigError(f"{folder} is inside {_called(owner)}; name another folder")
    if not real.is_dir():
        if real.exists():
            raise ConfigError(f"{folder} is a file; name another --out")
        return
    mark = mark_of(real)
    if mark is None and (strange := foreign(real)):
        holds = f"something that is no {what} ({_some(strange)})"
        raise ConfigError(f"{folder} holds {holds}; name another --out")
    if mark is not None and (mark.whole or mark.what != what):
        raise ConfigError(f"{folder} is {_kind(mark)}, no {what}; name another --out")


def note(path: Path, *, inside: bool = False) -> None:
    """Says in the mark of the folder above, if there is one, that clickprint writes this path.

    `inside`: another library writes this folder for us, so that all in it is ours.
    """
    path = _real(path)
    owner = None if _within_temporary(path) else _owner(path)
    if owner is not None:
        line = _line(path.relative_to(owner.folder)) + "/" * inside
        if line not in owner.lines:
            _append(owner.folder / MARK, line)


def foreign(folder: Path) -> list[str]:
    """What in a folder clickprint did not write, as paths in it; all that is in one not ours."""
    mark = mark_of(folder)
    if mark is None:
        names = sorted(p.name for p in folder.iterdir())
        return [name for name in names if name != MARK and not temporary(name)]
    found = (path for path, ours in _entries(folder, mark) if not ours)
    return [path.relative_to(folder).as_posix() for path in found]


def clear(path: Path, *, keep: Collection[str] = ()) -> None:
    """Removes what clickprint wrote: a file, or all in a folder, and the folder if it is empty.

    What is not ours stays. `keep` are names in the folder that stay too, and the folder with them.
    """
    path = _real(path)
    owner, mark = _owner(path), mark_of(path)
    if owner is not None and _line(path.relative_to(owner.folder)) not in (
        owner.lines | owner.above()
    ):
        return
    if not path.is_dir():
        if owner is not None:
            path.unlink(missing_ok=True)
        return
    if (mark := mark or owner) is None:
        return
    for entry, ours in _entries(path, mark):
        top = entry.relative_to(path).parts[0]
        if not ours or top in keep or (keep and top == MARK):
            continue
        if temporary(entry.name):
            remove(entry)
        elif entry.is_dir() and not entry.is_symlink():
            with suppress(OSError):  # something in it is not ours
                entry.rmdir()
        else:
            entry.unlink(missing_ok=True)
    if not keep:
        with suppress(OSError):
            path.rmdir()


def new_file(path: Path, *, overwrite: bool = False, sources: Iterable[Path] = ()) -> None:
    """Refuses a place that a user named for a file, before the work is done.

    Raises ConfigError for a folder, a place inside a dataset or run, a file of the `sources` that
    are read, and, without `overwrite`, for any file that is there.
    """
    real = _real(path)
    _check_above(path, real)
    if real.is_dir():
        raise ConfigError(f"{path} is a folder; name a file")
    if (owner := _owner(real)) is not None:
        raise ConfigError(f"{path} is inside {_called(owner)}; name a place outside of it")
    if not real.exists():
        return
    _check_regular(path, real)
    for source in map(_real, sources):
        if source in real.parents or (source.exists() and real.samefile(source)):
            raise ConfigError(f"{path} is a file that is read; name another one to write")
    if not overwrite:
        raise ConfigError(f"{path} is there already; replace it with --overwrite, or name another")


def new_folder(path: Path, what: str, *, inputs: str = "", overwrite: bool = False) -> bool:
    """Refuses a place that a user named for a folder that is written at once, before the work.

    Gives whether it is there already, made from these inputs, so that there is nothing to do.
    Raises ConfigError for a file, a place inside a dataset, a folder that is no `what` or has
    things in it that are not ours, and, without `overwrite`, for one made from other inputs.
    """
    real = _real(path)
    _check_above(path, real)
    if (owner := _owner(real)) is not None and owner.whole:
        raise ConfigError(f"{path} is inside {_called(owner)}; name another folder")
    if real.exists() and not real.is_dir():
        raise ConfigError(f"{path} is a file; name a folder")
    _check(real, path, what)
    mark = mark_of(real)
    if overwrite or mark is None:
        return False
    if not inputs or mark.inputs != inputs:
        said = "of other inputs or options" if inputs else "already"
        raise ConfigError(f"{path} is there {said}; replace it with --overwrite, or name another")
    return True


def check_file(path: Path) -> None:
    """Raises ConfigError where `write_text` and its like would refuse to write a file."""
    real = _real(path)
    if real.is_dir():
        raise ConfigError(f"{path} is a folder, expected a file or nothing; move it away")
    _check(real, path, "")


def _check(path: Path, named: Path, what: str) -> None:
    """Refuses to replace what is not ours."""
    if _within_temporary(path):
        return
    if not path.is_dir():
        if path.exists():
            _check_regular(named, path)
            owner = _owner(path)
            if owner is not None and not owner.whole and not owner.names(path):
                said = f"in {_called(owner)}, but clickprint did not write it; move it away"
                raise ConfigError(f"{named} is {said}")
        return
    mark = mark_of(path)
    if mark is not None and (not mark.whole or mark.what != what):
        expected = f"no {what}" if what else "which is not replaced by this"
        raise ConfigError(f"{named} is {_kind(mark)}, {expected}; name another folder")
    if strange := foreign(path):
        said = f"{_some(strange)}, which clickprint did not write"
        raise ConfigError(f"{named} holds {said}; name another folder, or move that away")


def _check_regular(named: Path, path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{named} is no regular file; name another one")


def _check_above(named: Path, path: Path) -> None:
    """Refuses a place below a file."""
    above = next(folder for folder in path.parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"{named} is below {above}, which is a file; name another place")


def _owner(path: Path) -> Mark | None:
    """The mark of the nearest folder above a path."""
    return next((mark for above in path.parents if (mark := mark_of(above))), None)


def _entries(folder: Path, mark: Mark) -> Iterator[tuple[Path, bool]]:
    """What is in a folder, the deepest first and its mark last, and whether it is ours."""
    above = mark.above()
    for path in sorted(folder.iterdir(), key=lambda p: (p.name == MARK, p.name)):
        line = _line(path.relative_to(mark.folder))
        if temporary(path.name) or (path.name == MARK and folder == mark.folder):
            yield path, True
        elif not path.is_dir() or path.is_symlink():
            yield path, line in mark.lines
        elif f"{line}/" in mark.lines:
            yield from ((below, True) for below in sorted(path.rglob("*"), reverse=True))
            yield path, True
        elif line in mark.lines or line in above:
            yield from _entries(path, mark_of(path) or mark)
            yield path, True
        else:
            yield path, False


def _seal(folder: Path, what: str, inputs: str) -> None:
    """Writes the mark of a folder that is finished: all that is in it is ours."""
    file = folder / MARK
    file.unlink(missing_ok=True)  # that of a folder that was copied
    inside = (_line(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    _append(file, _head(what, whole=True, inputs=inputs), *inside)


def _append(file: Path, *lines: str) -> None:
    """Adds lines in one step; what a full disk cut before them stays a line of its own."""
    with file.open("ab", buffering=0) as mark:
        data = "".join(f"\n{line}" for line in (*lines, "")).encode("ascii")
        if mark.tell() == 0:
            data = data[1:]
        if mark.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


def _head(what: str, *, whole: bool, inputs: str) -> str:
    return json.dumps({"clickprint": 1, "what": what, "whole": whole, "inputs": inputs})


def _line(path: Path) -> str:
    """A path in a folder as a line: in ASCII, without line ends."""
    return path.as_posix().encode("unicode_escape").decode("ascii")


def _called(mark: Mark) -> str:
    return f"{mark.folder}, {_kind(mark)}"


def _kind(mark: Mark) -> str:
    return f"a {mark.what}" if mark.what else "a part of what clickprint made"


def _some(names: Iterable[str]) -> str:
    first, *more = list(names)[: SHOWN + 1]
    shown = [first, *more][:SHOWN]
    return ", ".join(shown) + (", …" if len(more) >= SHOWN else "")
