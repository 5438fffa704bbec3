"""Files of a form, read safely: JSON, TOML and numpy's .npy.

A file may be damaged or made to do harm. Its size is known before memory is taken, nothing in it
is evaluated, and whatever is wrong with it is told as one error that names the file.
"""

import json
import math
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, runtime_checkable

import numpy as np

from clickprint.core.errors import ConfigError, DataError, first_line

LARGEST_TEXT = 64 << 20  # bytes of a JSON file, of which Python makes ten times as much
LARGEST_TOML = 1 << 20
DEEPEST = 64  # tables and lists inside each other
# Numbers, truth and times; Python objects, texts and records are none of ours.
DTYPE = re.compile(r"[<>=|]?(b1|[iuf][1248]|[US]\d{1,6}|M8\[(s|ms|us|ns)\]|O)")
LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){64}""")
ENTRY = re.compile(
    r"\s*(?:'descr'\s*:\s*'(?P<descr>[^'\\]{1,16})'"
    r"|'fortran_order'\s*:\s*(?P<fortran>True|False)"
    r"|'shape'\s*:\s*\((?P<shape>(?:\s*\d{1,18}L?\s*,)*(?:\s*\d{1,18}L?)?)\s*\))\s*(?:,|$)"
)
MAGIC, HEADER = b"\x93NUMPY", 10_000  # bytes of a header, as numpy allows


# -- JSON and TOML ----------------------------------------------------------------------------


def read_json(path: Path, *, again: str = "", finite: bool = True) -> Any:
    """What a JSON file holds, as `json_of` reads it. Raises DataError."""
    with reading(path, again):
        return json_of(_bytes(path, LARGEST_TEXT), path, again=again, finite=finite)


def json_of(text: str | bytes, where: Path | str, *, again: str = "", finite: bool = True) -> Any:
    """What a JSON text holds: finite numbers, each key once, texts that can be written again.

    - `again`: what to do about a fault, for its message.
    - `finite`: refuse NaN and infinite numbers.
    - A whole number has at most 64 bits, tables and lists are at most 64 deep.

    Raises DataError.
    """
    with reading(where, again):
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        found = json.loads(
            text,
            parse_int=_whole,
            parse_float=_finite if finite else None,
            parse_constant=_no_number if finite else None,
            object_pairs_hook=_once,
        )
        if text.count("{") + text.count("[") > DEEPEST:
            _check_inside([found])
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(found, ensure_ascii=False).encode("utf-8")
        return found


def toml_of(text: str, where: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises ConfigError."""
    try:
        if len(text) > LARGEST_TOML:
            raise ValueError(f"found {len(text):,} characters, expected at most {LARGEST_TOML:,}")
        # The parser takes a time that grows with the square of a key's parts.
        if LONG_KEY.search(text):
            raise ValueError(f"found a key of more than {DEEPEST} parts")
        found = tomllib.loads(text)
        _check_inside(found)
        return found
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{where}: not TOML: {fault}") from None
    except ValueError as fault:
        raise ConfigError(f"{where}: {first_line(fault)}") from None
    except RecursionError:
        raise ConfigError(f"{where}: {_too_deep()}") from None


def _whole(digits: str) -> int:
    value = int(digits) if len(digits) <= 21 else 1 << 65
    if abs(value) >= 1 << 64:
        raise ValueError(f"found the whole number {digits[:24]}…, expected one of 64 bits")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"found {word[:24]}, expected a finite number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return found


def _check_inside(value: Any) -> None:
    """Raises ValueError where tables and lists are too deep, or a whole number too long."""
    level = [value]
    for _ in range(DEEPEST + 1):
        values = [
            v
            for one in level
            for v in (one.values() if isinstance(one, dict) else one)
            if isinstance(v, dict | list | int)
        ]
        if any(type(v) is int and abs(v) >= 1 << 64 for v in values):
            raise ValueError("found a whole number of more than 64 bits")
        level = [v for v in values if isinstance(v, dict | list)]
        if not level:
            return
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"tables and lists are more than {DEEPEST} deep"


# -- numpy ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a .npy file says; `offset` is where the values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int

    @property
    def bytes(self) -> int:
        """Of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


@runtime_checkable
class Readable(Protocol):
    """An open file, also one inside an archive."""

    def read(self, size: int = ..., /) -> bytes: ...


def npy_header(file: Readable) -> Header:
    """The header of a .npy file, which is then read up to its values. Raises ValueError.

    Objects (`O`) pass, for a caller that looks at them; records do not.
    """
    magic = file.read(8)
    if magic[:4] == b"PK\3\4":
        raise ValueError("found an archive of arrays (of np.savez?), expected one array")
    if magic[:6] != MAGIC or magic[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("not a numpy array: it has no such header")
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > HEADER:
        raise ValueError(f"found a header of {length:,} bytes, expected at most {HEADER:,}")
    header = file.read(length)
    if len(header) < length:
        raise ValueError("the file ends in its header")
    entries, text = dict[str, str](), header.decode("latin-1").strip()
    inner, place = text[1:-1], 0
    while text[:1] == "{" and text[-1:] == "}" and (entry := ENTRY.match(inner, place)):
        entries |= {n: v for n, v in entry.groupdict().items() if v is not None}
        place = entry.end()
    if place < len(inner.rstrip()) or len(entries) < 3 or not DTYPE.fullmatch(entries["descr"]):
        raise ValueError(f"found the header {text[:60]!r}, expected that of an array of numbers")
    sizes = entries["shape"].replace("L", "").split(",")
    shape = tuple(int(size) for size in sizes if size.strip())
    if len(shape) > 8:
        raise ValueError(f"found {len(shape)} dimensions, expected at most 8")
    dtype = np.dtype(entries["descr"])
    return Header(shape, dtype, entries["fortran"] == "True", 8 + width + length)


def read_npy(path: Path, form: Any = None, *, mapped: bool = False, again: str = "") -> np.ndarray:
    """The array of a .npy file. Raises DataError.

    - `form`: the type and dimensions that it must have, as `Int64[np.ndarray, "U"]`.
    - `mapped`: a read-only map of the file instead of a copy in memory.
    """
    with reading(path, again):
        need_content(path)
        with path.open("rb") as file:
            header = npy_header(file)
            if header.dtype.hasobject:
                raise ValueError("found Python objects, expected numbers")
            if (size := os.fstat(file.fileno()).st_size) != header.offset + header.bytes:
                told = f"{header.shape} of {header.dtype}"
                raise ValueError(
                    f"found {size:,} bytes, but its header says {told}:"
                    f" {header.offset + header.bytes:,} bytes"
                )
            array = _values(path, file, header, mapped)
        if form is not None and (fault := form_fault(array, form)):
            raise ValueError(fault)
        return array


def _values(path: Path, file: BufferedReader, header: Header, mapped: bool) -> np.ndarray:
    if mapped and header.bytes:
        order: Literal["F", "C"] = "F" if header.fortran else "C"
        # Still mapped, but what is taken from it is no memmap.
        return np.asarray(np.memmap(path, header.dtype, "r", header.offset, header.shape, order))
    array = np.fromfile(file, header.dtype, math.prod(header.shape))
    if array.nbytes != header.bytes:
        raise ValueError("the file was cut while it was read")
    if not mapped:
        array = array.astype(header.dtype.newbyteorder("="), copy=False)
    return array.reshape(header.shape, order="F" if header.fortran else "C")


def form_fault(array: np.ndarray, form: Any) -> str:
    """Why an array is not of a form such as `Int64[np.ndarray, "U"]`; "" where it is."""
    if isinstance(array, form) and array.dtype.isnative:
        return ""
    names, dims = " or ".join(map(str, form.dtypes)), form.dim_str or "no dimension"
    return f"found {array.dtype} {array.shape}, expected {names} [{dims}]"


# -- faults -----------------------------------------------------------------------------------


@contextmanager
def reading(where: Path | str, again: str = "") -> Iterator[None]:
    """What goes wrong inside is raised as one DataError about `where`.

    `again` says what to do about it, and stands at the end of the message.
    """
    try:
        yield
    except OSError as fault:
        said = "not found" if isinstance(fault, FileNotFoundError) else _system(fault)
    except ConfigError as fault:
        said = str(fault)
    except RecursionError:
        said = _too_deep()
    except MemoryError:
        said = "there is no memory for what it holds"
    except UnicodeError:
        said = "not a text in UTF-8"
    except json.JSONDecodeError as fault:
        said = f"not JSON ({fault})"
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, OverflowError) as fault:
        said = f"no {fault}" if isinstance(fault, KeyError) else first_line(fault)
    else:
        return
    raise DataError(where, f"{said}; {again}" if again else said)


def _system(fault: OSError) -> str:
    return f"cannot be read ({fault.strerror or first_line(fault)})"


def need_content(path: Path) -> None:
    """Raises OSError or ValueError where `path` is no file, or an empty one."""
    if path.is_dir():
        raise ValueError("this is a folder, expected a file")
    if path.exists() and not path.is_file():
        raise ValueError("this is no regular file")
    if not path.stat().st_size:
        raise ValueError("the file is empty")


def _bytes(path: Path, most: int) -> bytes:
    need_content(path)
    if (size := path.stat().st_size) > most:
        raise ValueError(f"found {size:,} bytes, expected at most {most:,}")
    return path.read_bytes()
