"""The challenge's .npy files.

Some were saved with dtype object, that is, as a pickle; they are read without running it.
"""

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.ids import NONE

LARGEST_FILE = 256 << 20


def integers(path: Path) -> Int64[np.ndarray, "T"]:
    """A one-dimensional .npy of whole numbers within int64, of any whole dtype or of dtype object.

    Raises DataError.
    """
    found = _array(path)
    if found.dtype.kind == "O":
        found = _of_objects(path, found, int)
    if found.dtype.kind == "u" and found.size and found.max() > np.iinfo(np.int64).max:
        raise DataError(path, f"found {found.max()}, which does not fit in int64")
    if found.dtype.kind not in "iu":
        raise DataError(path, f"found dtype {found.dtype}, expected whole numbers")
    found = found.astype(np.int64)
    if (found == NONE).any():
        raise DataError(path, f"found {NONE}, which stands for no id")
    return found


def floats(path: Path) -> Float64[np.ndarray, "T"]:
    """A one-dimensional .npy of finite numbers. Raises DataError."""
    found = _array(path)
    if found.dtype.kind == "O":
        found = _of_objects(path, found, float)
    if found.dtype.kind not in "iuf":
        raise DataError(path, f"found dtype {found.dtype}, expected numbers")
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise DataError(
            path, f"found {(~np.isfinite(found)).sum()} values that are NaN or infinite"
        )
    return found


def _array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(path, "not found")
    if not path.stat().st_size:
        raise DataError(path, "the file is empty")
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = header(file)
            if dtype == np.dtype(object):
                return _unpickled(path, file, shape)
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as fault:
        raise DataError(path, f"not a numpy array ({str(fault).splitlines()[0]})") from None
    if found.ndim != 1:
        raise DataError(path, f"found {found.ndim} dimensions, expected 1")
    return found


class _Inert:
    """Stands in for what a pickled array names: it only remembers what it was given."""

    def __init__(self, *given: Any) -> None:
        self.given = given
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert): ...


class _Type(_Inert): ...


def _scalar(kind: Any = None, raw: Any = None) -> int | float:
    """A numpy number from its dtype's name and its bytes."""
    name = kind.given[0] if isinstance(kind, _Type) and kind.given else None
    if (
        name not in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
        or not isinstance(raw, bytes)
        or len(raw) != int(name[1])
    ):
        raise pickle.UnpicklingError(f"a number of type {name!r}")
    number: int | float = np.frombuffer(raw, "<" + name)[0].item()
    return number


def _reconstruct(*given: Any) -> _Array:
    return _Array()


_NAMES: dict[str, Callable[..., Any]] = {
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "ndarray": _Array,
    "dtype": _Type,
}
_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")


# What the pickles of arrays of numbers are made of (protocols 2 to 5); none of these runs anything
# by itself but REDUCE.
_OPCODES = """
PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
BINUNICODE SHORT_BINUNICODE SHORT_BINBYTES BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS
MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET
"""


class _Reader(pickle._Unpickler):
    """Reads a pickle of an array of numbers, and nothing else.

    Every name that the pickle can call is one of ours above, which keep what they are given; numpy
    never sees its bytes. The pure Python reader is used because the C one allocates whatever
    memory index a file claims.
    """

    dispatch = {
        getattr(pickle, o)[0]: pickle._Unpickler.dispatch[getattr(pickle, o)[0]]
        for o in _OPCODES.split()
    }

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if module in _MODULES and name in _NAMES:
            return _NAMES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def load_build(self) -> None:
        state = self.stack.pop()  # type: ignore[attr-defined]
        if not isinstance(self.stack[-1], _Inert):  # type: ignore[attr-defined]
            raise pickle.UnpicklingError("it sets the state of something that is no array")
        self.stack[-1].__setstate__(state)  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]


def _unpickled(path: Path, file: io.BufferedReader, shape: tuple[int, ...]) -> np.ndarray:
    """The array of objects after a .npy header, or DataError."""
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(
            path,
            f"a pickled array of {path.stat().st_size} bytes; expected at most {LARGEST_FILE}, or"
            " a plain int64 array",
        )
    try:
        found = _Reader(io.BytesIO(file.read())).load()
    except pickle.UnpicklingError as fault:
        raise DataError(
            path, f"a pickle that is more than an array of numbers ({fault}); it was not run"
        ) from None
    except (
        AttributeError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        struct.error,
    ) as fault:
        # What a damaged pickle, or an operation not listed above, makes Python's own reader
        # stumble over.
        raise DataError(path, f"a damaged pickle ({type(fault).__name__}: {fault})") from None
    values = (
        found.state[4]
        if isinstance(found, _Array) and isinstance(found.state, tuple) and len(found.state) == 5
        else None
    )
    if not isinstance(values, list) or len(shape) != 1 or len(values) != shape[0]:
        raise DataError(path, "a pickle that is not a one-dimensional array of numbers")
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _of_objects(path: Path, found: np.ndarray, kind: type) -> np.ndarray:
    """Whole numbers or floats from an array of Python numbers."""
    strange = sorted(
        {type(v).__name__ for v in found.tolist()} - ({"int"} if kind is int else {"int", "float"})
    )
    if strange:
        raise DataError(
            path,
            f"found values of type {', '.join(strange)}, expected"
            f" {'whole numbers' if kind is int else 'numbers'}",
        )
    try:
        return np.array(found.tolist(), np.int64 if kind is int else np.float64)
    except OverflowError:
        raise DataError(path, "found a whole number that does not fit in int64") from None
