"""From a past to profiles. An encoder is a frozen dataclass; its name stands in ENCODERS and its module is imported when asked for."""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.past import Encoder, Fitted

Made = TypeVar("Made")

ENCODERS = {
    "counts": "clickprint.encoders.counts:Counts",
    "decay": "clickprint.encoders.decay:Decay",
    "joined": "clickprint.encoders.joined:Joined",
    "saved": "clickprint.encoders.saved:Saved",
    "sasrec": "clickprint.encoders.sasrec:SASRec",
    "hstu": "clickprint.encoders.hstu:HSTU",
    "gru4rec": "clickprint.encoders.gru4rec:GRU4Rec",
    "mamba4rec": "clickprint.encoders.mamba4rec:Mamba4Rec",
    "transformer++": "clickprint.encoders.transformerpp:TransformerPP",
    "autoencoder": "clickprint.encoders.autoencoder:AutoEncoder",
    "contrastive": "clickprint.encoders.contrastive:Contrastive",
    "multitask": "clickprint.encoders.multitask:MultiTask",
    "als": "clickprint.encoders.als:ALS",
    "twhin": "clickprint.encoders.graph:TwHIN",
    "random": "clickprint.encoders.controls:Random",
    "constant": "clickprint.encoders.controls:Constant",
}


def encoder(name: str, **options: Any) -> Encoder:
    """The encoder of this name with these options. Lists stand for tuples, texts for paths, so that options can come from TOML.

    Raises ConfigError for a name or an option that is not known, and for a value that the option does not take.
    """
    kind = _class(name)
    given, problems = _given(kind, name, options)
    if problems:
        raise ConfigError("; ".join(problems))
    try:
        made: Encoder = kind(**given)
    except ConfigError as fault:
        raise ConfigError(f"{name}: {fault}") from None
    return made


def of_options(kind: Callable[..., Made], options: Mapping[str, Any]) -> Made:
    """A recipe's dataclass from options as JSON or TOML give them. Raises ConfigError."""
    given, problems = _given(kind, getattr(kind, "__name__", ""), options)
    if problems:
        raise ConfigError("; ".join(problems))
    return kind(**given)


def _given(kind: Any, name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options as the types that the dataclass declares, a table for a dataclass inside it; and every fault."""
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    problems = [
        f"{option!r} is not an option of {name!r}; it has {', '.join(known) or 'none'}"
        for option in options
        if option not in known
    ]
    given: dict[str, Any] = {}
    for option, value in options.items():
        if option not in known:
            continue
        if is_dataclass(hints[option]) and isinstance(value, Mapping):
            inner, faults = _given(hints[option], f"{name}.{option}", value)
            problems += faults
            try:
                given[option] = hints[option](**inner)
            except ConfigError as fault:
                problems.append(f"{name}.{option}: {fault}")
            continue
        try:
            given[option] = _coerce(value, hints[option])
        except TypeError:
            problems.append(f"{name}.{option}: found {value!r}, expected {_show(hints[option])}")
    problems += [
        f"{name}.{f.name} is missing, expected {_show(hints[f.name])}"
        for f in fields(kind)
        if f.name not in options and _needed(f)
    ]
    return given, problems


def load(folder: Path | str) -> Fitted:
    """The fitted encoder that `save` wrote into `folder`. Raises DataError."""
    folder = Path(folder)
    path = folder / "fitted.json"
    try:
        name = json.loads(path.read_text("utf-8"))["encoder"]
        kind = _class(name)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(
            str(path), [f"not a fitted encoder ({fault!r}); fit and save it again"]
        ) from None
    except ConfigError as fault:
        raise DataError(str(path), [str(fault)]) from None
    fitted: Fitted = kind.load(folder)
    return fitted


def _class(name: str) -> Any:
    if name not in ENCODERS:
        raise ConfigError(
            f"found no encoder {name!r}, expected one of {', '.join(sorted(ENCODERS))}"
        )
    module, _, attribute = ENCODERS[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as fault:
        if (fault.name or "").startswith("clickprint"):
            raise
        extra = "als" if fault.name in ("implicit", "threadpoolctl") else "probe"
        raise ConfigError(
            f"{name} needs {fault.name}, which is not installed; pip install 'clickprint[{extra}]'"
        ) from None


def _needed(field: Field) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _coerce(value: Any, hint: Any) -> Any:
    """The value as the type that an option is declared with. Raises TypeError."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        for choice in args:
            try:
                return _coerce(value, choice)
            except TypeError:
                continue
        raise TypeError
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_coerce(v, args[0]) for v in value)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {_coerce(k, args[0]): _coerce(v, args[1]) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str) and value:
        return Path(value)
    if (
        not isinstance(hint, type)
        or not isinstance(value, hint)
        or (isinstance(value, bool) and hint is not bool)
    ):
        raise TypeError
    return value


def _show(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_show(a) for a in args)
    if origin is tuple:
        return f"a list of {_show(args[0])}"
    if origin is not None:
        return f"a table of {_show(args[-1])}"
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        Path: "a path",
        type(None): "nothing",
    }
    return names.get(hint, getattr(hint, "__name__", str(hint)))
