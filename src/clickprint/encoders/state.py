"""How a fitted encoder is kept, without pickle.

fitted.json says which encoder it is and holds what it learned; its arrays are .npy files, and
encoders inside it have folders of their own. parts.json names all files (core.seal). The types of
the fitted class are the schema: what is read must be of them, ranges and dimensions included.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from clickprint.core.errors import DataError
from clickprint.core.files import whole
from clickprint.core.forms import read_json, read_npy, reading
from clickprint.core.options import Faults, plain
from clickprint.core.past import Fitted
from clickprint.core.seal import check_seal, seal

FORMAT = 2  # 2: sealed, arrays stand where they are used
FILE = "fitted.json"
AGAIN = "fit and save it again"
T = TypeVar("T")


@runtime_checkable
class Agrees(Protocol):
    """A fitted thing that knows what in it may not fit together."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Paths and what is wrong there; nothing where all agrees."""
        ...


def write(
    folder: Path,
    encoder: str,
    state: Any,
    files: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Writes the folder: whole or not at all.

    - `state`: a dataclass or mapping, with arrays and fitted encoders anywhere in it.
    - `files`: further files, each with what writes it.
    """
    with whole(folder) as part:
        part.mkdir()
        told = _put(state, part, "")
        for name, write_file in (files or {}).items():
            write_file(part / name)
        text = json.dumps({"format": FORMAT, "encoder": encoder, "state": told}, indent=1)
        (part / FILE).write_text(text + "\n", "utf-8")
        seal(part)


def read(
    folder: Path,
    encoder: str,
    form: Callable[..., T],
    *,
    load: Callable[[Path], Fitted] | None = None,
    files: Mapping[str, Callable[[Path], Any]] | None = None,
) -> T:
    """The state that `write` was given, as a `form`.

    - `load`: reads the encoders inside.
    - `files`: fields that stand in further files, each with what reads it from the folder.

    Raises DataError for a folder that holds no fitted encoder or another one, for a part that was
    changed, and for a state that is not of the form, with every fault.
    """
    path = folder / FILE
    raw = read_json(path, again=AGAIN)
    with reading(path, AGAIN):
        found, of, state = raw["format"], raw["encoder"], raw["state"]
        if found != FORMAT:
            raise ValueError(f"found format {str(found)[:24]}, expected {FORMAT}")
        if of != encoder:
            raise ValueError(f"found a fitted {str(of)[:60]!r}, expected {encoder!r}")
    check_seal(folder, again=AGAIN)
    with reading(path, AGAIN):
        faults = Faults()
        given = {name: read_field(folder) for name, read_field in (files or {}).items()}
        made = faults.read(form, _taken(state, folder, load), "state", **given)
        faults.refuse("")
        assert made is not None
        problems = made.problems() if isinstance(made, Agrees) else ()
        if said := [f"state.{at}: {problem}; {AGAIN}" for at, problem in problems]:
            raise DataError(path, said)
    return made


def as_class(fitted: T, kind: type[T]) -> T:
    """The same fields as those of another class, which can do more with them."""
    return kind(**{f.name: getattr(fitted, f.name) for f in fields(fitted)})  # type: ignore[arg-type]


def _put(value: Any, folder: Path, path: str) -> Any:
    """A value as JSON holds it; its arrays and fitted encoders are written beside."""
    if isinstance(value, np.ndarray):
        np.save(folder / f"{path}.npy", value, allow_pickle=False)
        return {"array": f"{path}.npy"}
    if path and isinstance(value, Fitted):
        value.save(folder / path)
        return {"fitted": path}
    inside: Iterable[tuple[Any, Any]]
    if is_dataclass(value) and not isinstance(value, type):
        inside = [(f.name, getattr(value, f.name)) for f in fields(value) if f.compare]
    elif isinstance(value, Mapping):
        inside = value.items()
    elif isinstance(value, list | tuple):
        return [_put(v, folder, _inner(path, i)) for i, v in enumerate(value)]
    else:
        return plain(value)
    return {str(name): _put(v, folder, _inner(path, name)) for name, v in inside}


def _inner(path: str, name: Any) -> str:
    """The name of a file that holds what stands at `name` inside `path`.

    A letter that is odd in a file's name is written as its number.
    """
    plain_name = re.sub(r"[^\w-]", lambda odd: f"+{ord(odd[0])}+", str(name))
    return f"{path}.{plain_name}" if path else plain_name


def _taken(raw: Any, folder: Path, load: Callable[[Path], Fitted] | None) -> Any:
    """The way back from `_put`."""
    match raw:
        case {"array": str(name), **rest} if not rest:
            array = read_npy(_inside(folder, name), again=AGAIN)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(folder / name, f"found values that are no numbers; {AGAIN}")
            return array
        case {"fitted": str(name), **rest} if not rest and load is not None:
            return load(_inside(folder, name))
        case dict():
            return {name: _taken(value, folder, load) for name, value in raw.items()}
        case list():
            return [_taken(value, folder, load) for value in raw]
    return raw


def _inside(folder: Path, name: str) -> Path:
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ValueError(f"found {name[:60]!r}, expected the name of a file in the folder")
    return folder / name
