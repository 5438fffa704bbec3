"""The challenge's .npy files. Some are pickles, which are read without being run."""

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.forms import npy_header, read_npy, reading
from clickprint.core.ids import NONE
from clickprint.data.check import need_file

LARGEST_FILE = 256 << 20


def integers(path: Path) -> Int64[np.ndarray, "T"]:
    """A list of whole numbers within int64 in a .npy file, of a whole dtype or of dtype object.

    Raises DataError.
    """
    values = _array(path, int)
    if values.dtype.kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
        raise DataError(path, f"found {values.max()}, which does not fit in int64")
    if values.dtype.kind not in "iu":
        raise DataError(path, f"found dtype {values.dtype}, expected whole numbers")
    values = values.astype(np.int64)
    if (values == NONE).any():
        raise DataError(path, f"found {NONE}, which stands for no id")
    return values


def floats(path: Path) -> Float64[np.ndarray, "T"]:
    """A list of finite numbers in a .npy file. Raises DataError."""
    values = _array(path, float)
    if values.dtype.kind not in "iuf":
        raise DataError(path, f"found dtype {values.dtype}, expected numbers")
    values = values.astype(np.float64)
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(path, f"found {bad} values that are NaN or infinite")
    return values


def _array(path: Path, number: type) -> np.ndarray:
    need_file(path, "a .npy file")
    with reading(path), path.open("rb") as file:
        header = npy_header(file)
        if header.dtype.hasobject:
            return _of_objects(path, _unpickled(path, file, header.shape), number)
    array = read_npy(path)
    if array.ndim != 1:
        raise DataError(path, f"found {array.ndim} dimensions, expected 1")
    return array


class _Inert:
    """Stands in for what a pickled array names: it only remembers what it was given."""

    def __init__(self, *given: Any) -> None:
        self.given = given
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert): ...


class _Type(_Inert): ...


NUMBERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")


def _scalar(dtype: Any = None, raw: Any = None) -> int | float:
    """A numpy number from its dtype's name and its bytes."""
    name = dtype.given[0] if isinstance(dtype, _Type) and dtype.given else None
    if name not in NUMBERS or not isinstance(raw, bytes) or len(raw) != int(name[1]):
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


# What the pickles of arrays of numbers are made of (protocols 2 to 5). None of these runs anything
# by itself but REDUCE.
_OPCODES = """
PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD NONE NEWTRUE NEWFALSE
BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE SHORT_BINBYTES BINBYTES
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS
MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET
"""
_CODES = [getattr(pickle, opcode)[0] for opcode in _OPCODES.split()]


class _Reader(pickle._Unpickler):
    """Reads a pickle of an array of numbers, and nothing else.

    Every name that the pickle can call is one of ours above, which keep what they are given; numpy
    never sees its bytes. The pure Python reader is used because the C one allocates whatever
    memory index a file claims.
    """

    dispatch = {code: pickle._Unpickler.dispatch[code] for code in _CODES}  # noqa: RUF012

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


# What a damaged pickle, or an operation that is not listed above, makes Python's reader raise.
_DAMAGE = (
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    struct.error,
)


def _unpickled(path: Path, file: io.BufferedReader, shape: tuple[int, ...]) -> list:
    """The objects of an array after a .npy header. Raises DataError."""
    if (size := path.stat().st_size) > LARGEST_FILE:
        most = f"expected at most {LARGEST_FILE}, or a plain int64 array"
        raise DataError(path, f"a pickled array of {size} bytes; {most}")
    try:
        array = _Reader(io.BytesIO(file.read())).load()
    except pickle.UnpicklingError as fault:
        said = f"a pickle that is more than an array of numbers ({fault}); it was not run"
        raise DataError(path, said) from None
    except _DAMAGE as fault:
        raise DataError(path, f"a damaged pickle ({type(fault).__name__}: {fault})") from None
    state = array.state if isinstance(array, _Array) else ()
    values = state[4] if isinstance(state, tuple) and len(state) == 5 else None
    if not isinstance(values, list) or len(shape) != 1 or len(values) != shape[0]:
        raise DataError(path, "a pickle that is not a one-dimensional array of numbers")
    return values


def _of_objects(path: Path, values: list, number: type) -> np.ndarray:
    """Whole numbers (int) or floats from Python numbers."""
    allowed = {"int"} if number is int else {"int", "float"}
    if strange := sorted({type(v).__name__ for v in values} - allowed):
        expected = "whole numbers" if number is int else "numbers"
        raise DataError(path, f"found values of type {', '.join(strange)}, expected {expected}")
    try:
        return np.array(values, np.int64 if number is int else np.float64)
    except OverflowError:
        raise DataError(path, "found a whole number that does not fit in int64") from None
