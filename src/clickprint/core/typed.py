"""Values from outside (TOML, the command line) read by the annotations of what they are for. Faults are collected, each with its path."""

import inspect
import tomllib
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from clickprint.core.errors import ConfigError


def read_text(path: Path | str, there: str) -> str:
    """The text of a recipe. `there`: which ones come with clickprint. Raises ConfigError."""
    path = Path(path)
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; {there}") from None
    except OSError as fault:
        raise ConfigError(f"{path}: cannot be read ({fault.strerror}); {there}") from None
    except UnicodeDecodeError as fault:
        raise ConfigError(
            f"{path}: not UTF-8 (byte {fault.start}); expected a TOML file in UTF-8"
        ) from None


def toml(text: str, where: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{where}: not TOML: {fault}") from None


def refuse(where: str, faults: Sequence[str]) -> None:
    """Raises ConfigError with all faults, where there are some."""
    if faults:
        head = f"{where}: " if len(faults) == 1 else f"{where}: {len(faults)} faults\n  - "
        raise ConfigError(head + "\n  - ".join(faults))


def part(kind: type, raw: dict[str, Any], path: str, faults: list[str]) -> Any:
    """A dataclass from a table; None where it has a fault."""
    before = len(faults)
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    unknown(raw, names, f"{path}.", faults)
    values = {n: fit(raw[n], hints[n], f"{path}.{n}", faults) for n in names if n in raw}
    missing = [
        f.name
        for f in fields(kind)
        if f.default is MISSING and f.default_factory is MISSING and f.name not in raw
    ]
    faults += [f"{path}.{n}: missing" for n in missing]
    return kind(**values) if len(faults) == before else None


def options(
    function: Callable[..., Any],
    known: Sequence[str],
    raw: Mapping[str, Any],
    path: str,
    faults: list[str],
    *,
    check: bool,
) -> dict[str, Any]:
    """Keyword options of a class or a function, read by its annotations. `check` calls it, for its own faults with the values."""
    before = len(faults)
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters
    unknown(raw, known, f"{path}.", faults)
    values = {n: fit(raw[n], hints.get(n, Any), f"{path}.{n}", faults) for n in known if n in raw}
    faults += [
        f"{path}.{n}: missing"
        for n in known
        if parameters[n].default is inspect.Parameter.empty and n not in raw
    ]
    if check and len(faults) == before:
        made = {n: _inner(hints.get(n), v, f"{path}.{n}", faults) for n, v in values.items()}
        try:
            if len(faults) == before:
                function(**made)
        except ConfigError as fault:
            faults.append(f"{path}.{fault}")
    return values


def _inner(hint: Any, found: Any, path: str, faults: list[str]) -> Any:
    """A table of options inside the options as their dataclass, as encoders.encoder makes it; anything else as it is."""
    if not (is_dataclass(hint) and isinstance(hint, type) and isinstance(found, dict)):
        return found
    try:
        return part(hint, found, path, faults)
    except ConfigError as fault:
        faults.append(f"{path}.{fault}")


def fit(found: Any, hint: Any, path: str, faults: list[str]) -> Any:
    """`found` as what `hint` says, or a fault."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        tries: list[list[str]] = []
        for arm in args:
            here: list[str] = []
            value = fit(found, arm, path, here)
            if not here:
                return value
            tries.append(here)
        faults.append(f"{path}: found {show(found)}, expected {_expected(hint)}")
        return None
    if origin is Literal:
        ok = any(found == a and type(found) is type(a) for a in args)
        return found if ok else _wrong(found, hint, path, faults)
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = [e.value for e in hint]
        return hint(found) if found in values else _wrong(found, hint, path, faults)
    if origin in (tuple, list, Sequence) or (
        isinstance(origin, type) and origin is not dict and issubclass(origin, Sequence)
    ):
        if not isinstance(found, list | tuple):
            return _wrong(found, hint, path, faults)
        inner = args[0] if args else Any
        if origin is tuple and args and args[-1] is not Ellipsis:
            if len(found) != len(args):
                return _wrong(found, hint, path, faults)
            return tuple(
                fit(v, a, f"{path}[{i}]", faults)
                for i, (v, a) in enumerate(zip(found, args, strict=True))
            )
        return tuple(fit(v, inner, f"{path}[{i}]", faults) for i, v in enumerate(found))
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(found, dict):
            return _wrong(found, hint, path, faults)
        return {
            k: fit(v, args[1] if len(args) > 1 else Any, f"{path}.{k}", faults)
            for k, v in found.items()
        }
    if hint is float:
        number = (
            isinstance(found, int | float)
            and not isinstance(found, bool)
            and abs(found) < float("inf")
        )
        return float(found) if number else _wrong(found, hint, path, faults)
    if hint is int:
        return (
            found
            if isinstance(found, int) and not isinstance(found, bool)
            else _wrong(found, hint, path, faults)
        )
    if hint in (bool, str, types.NoneType):
        return found if isinstance(found, hint) else _wrong(found, hint, path, faults)
    if hint is Path:
        return (
            Path(found)
            if isinstance(found, str | Path) and str(found)
            else _wrong(found, hint, path, faults)
        )
    return found  # an annotation that recipes need not know: the class itself checks


def _wrong(found: Any, hint: Any, path: str, faults: list[str]) -> None:
    faults.append(f"{path}: found {show(found)}, expected {_expected(hint)}")


def _expected(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_expected(a) for a in args)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(repr(e.value) for e in hint)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"a list of {len(args)} values"
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        Path: "a path",
        types.NoneType: "nothing",
    }
    if hint in names:
        return names[hint]
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "a table"
    return f"a list, each {_expected(args[0])}" if args else "a list"


def show(found: object) -> str:
    text = repr(found)
    return f"{type(found).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def unknown(
    raw: Mapping[str, Any], known: Collection[str], prefix: str, faults: list[str]
) -> None:
    faults += [f"{prefix}{key}: {_known(key, known)}" for key in raw if key not in known]


def unknown_name(found: object, known: Collection[str]) -> str:
    return f"{found!r} is {_known(found, known)}"


def _known(found: object, known: Collection[str]) -> str:
    names = sorted(known)
    near = get_close_matches(str(found), names, 1)
    return f"unknown; known: {', '.join(names) or 'none'}" + (
        f" (did you mean {near[0]}?)" if near else ""
    )
