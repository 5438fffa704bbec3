"""What a folder holds, file by file, so that a part that is cut, changed or gone is noticed.

FOLDER/parts.json   {"format": 1, "parts": {"fitted.json": {"bytes": 812, "digest": "9f2c…"}, …}}
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from re import compile as pattern
from typing import Annotated

from clickprint.core.errors import DataError
from clickprint.core.files import MARK, write_text
from clickprint.core.forms import MAGIC, read_json, reading
from clickprint.core.options import AtLeast, Matches, OneOf, read

PARTS = "parts.json"
SIGNS = {".npy": (MAGIC, b""), ".parquet": (b"PAR1", b"PAR1")}  # first and last bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A file's size, and the first 128 bits of the SHA-256 of its bytes."""

    bytes: Annotated[int, AtLeast(0)]
    digest: Annotated[str, Matches(pattern("[0-9a-f]{32}"), "32 hexadecimal digits")]

    @staticmethod
    def of(path: Path) -> "Part":
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()[:32]
            return Part(file.tell(), digest)


@dataclass(frozen=True, slots=True)
class _Seal:
    format: Annotated[int, OneOf(1)]
    parts: dict[str, Part]


def parts_of(
    folder: Path, names: Iterable[str] | None = None, *, beside: str = PARTS
) -> dict[str, Part]:
    """The files in a folder by their path in it, with `/`.

    - `names`: of these only; otherwise of all but the manifest, `beside`. Of a folder inside that
      is sealed itself its seal counts, which names its files.
    """
    chosen = _inside(folder, beside) if names is None else names
    return {name: Part.of(folder / name) for name in chosen}


def part_faults(
    folder: Path, parts: Mapping[str, Part], *, whole: bool = True, beside: str = PARTS
) -> list[str]:
    """What is wrong with the files that a manifest names.

    - Always: a file that is not there, has another size, or does not begin (Parquet: and end) as
      its form does.
    - `whole`: also other content, and files that are not named.
    """
    faults = [
        f"{name}: {said}"
        for name, part in parts.items()
        if (said := _fault(folder, name, part, whole))
    ]
    if whole:
        more = [name for name in _inside(folder, beside) if name not in parts]
        faults += [f"{name}: {beside} does not name this file" for name in more]
    return faults


def seal(folder: Path) -> None:
    """Writes parts.json, which names all files that are in the folder now."""
    parts = {name: asdict(part) for name, part in parts_of(folder).items()}
    write_text(folder / PARTS, json.dumps({"format": 1, "parts": parts}, indent=1) + "\n")


def check_seal(folder: Path, *, whole: bool = True, again: str = "") -> None:
    """Raises DataError with every fault of a sealed folder, as `part_faults` finds them."""
    parts = _sealed(folder, again)
    if faults := part_faults(folder, parts, whole=whole):
        raise DataError(folder, [f"{fault}; {again}" if again else fault for fault in faults])


def intact(folder: Path) -> bool:
    """Whether a folder is sealed, and each file in it is as it was then.

    Of files that were not written since the seal the size and the form are compared, of others
    the content: this is quick for what nobody touched.
    """
    try:
        parts, time = _sealed(folder, ""), (folder / PARTS).stat().st_mtime_ns
        if part_faults(folder, parts, whole=False):
            return False
        inner = [folder / name for name in parts if PurePosixPath(name).name == PARTS]
        return all(intact(path.parent) for path in inner) and all(
            Part.of(folder / name) == part
            for name, part in parts.items()
            if (folder / name).stat().st_mtime_ns >= time
        )
    except (OSError, DataError):
        return False


def _sealed(folder: Path, again: str) -> dict[str, Part]:
    """The files that a folder's seal names. Raises DataError."""
    raw = read_json(folder / PARTS, again=again)
    with reading(folder / PARTS, again):
        return read(_Seal, raw).parts


def _inside(folder: Path, beside: str) -> list[str]:
    """The files below a folder, in order; of a sealed one inside only its seal."""
    found = list[str]()
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            inner = [PARTS] if (path / PARTS).is_file() else _inside(path, "")
            found += [f"{path.name}/{name}" for name in inner]
        elif path.name not in (beside, MARK):
            found.append(path.name)
    return found


def _fault(folder: Path, name: str, part: Part, whole: bool) -> str:
    """Why a file is not the part that a manifest names; "" where it is."""
    path = folder / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return "not a path inside the folder"
    if not path.is_file():
        return "not a file" if path.exists() else "not found"
    if (size := path.stat().st_size) != part.bytes:
        return f"found {size:,} bytes, expected {part.bytes:,}"
    first, last = SIGNS.get(path.suffix, (b"", b""))
    with path.open("rb") as file:
        starts = file.read(len(first)) == first
        file.seek(max(size - len(last), 0))
        ends = file.read() == last if last else True
    if not (starts and ends):
        return f"the content is no {path.suffix[1:]}"
    if whole and Part.of(path).digest != part.digest:
        return "the content is another than when it was written"
    return ""
