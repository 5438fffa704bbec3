"""Registries: plain dicts of a name and its class, "module:Class", imported when asked for."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from clickprint.core.errors import ConfigError

# A library that may be missing → the extra of this package that brings it.
EXTRAS = {
    "implicit": "als",
    "threadpoolctl": "als",
    "faiss": "ann",
    "lightgbm": "recommend",
    "sentence_transformers": "llm",
    "torch": "probe",
    "safetensors": "probe",
    "scipy": "probe",
}


def lookup(registry: Mapping[str, str], name: str, what: str) -> Any:
    """The class of this name; its module is imported now. `what` says of what, as in "encoder".

    Raises ConfigError for an unknown name, with the known ones, and for a missing library, with
    the extra that brings it.
    """
    if name not in registry:
        near = get_close_matches(str(name), registry, 1)
        raise ConfigError(
            f"found no {what} {name!r}, expected one of {', '.join(sorted(registry))}"
            + (f" (did you mean {near[0]}?)" if near else "")
        )
    module, _, attribute = registry[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as fault:
        missing = (fault.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        raise ConfigError(
            f"{name} needs {missing}, which is not installed;"
            f" pip install 'clickprint[{EXTRAS[missing]}]'"
        ) from None
