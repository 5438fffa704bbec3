"""One file a format, each with a `read(…, out, *, engine, watch)` that writes the canonical form. docs/datasets.md says how to add one."""

from collections.abc import Callable
from importlib import import_module

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError

DATASETS: dict[str, str] = {
    "challenge": "clickprint.data.adapters.challenge:read",
    "complete_journey": "clickprint.data.adapters.complete_journey:read",
    "synthetic": "clickprint.data.synthetic:read",
    "table": "clickprint.data.adapters.table:read",
}


def reader(name: str) -> Callable[..., Dataset]:
    """The `read` function of a format. Raises ConfigError, with the known names, for an unknown one."""
    if name not in DATASETS:
        raise ConfigError(f"found the data set {name!r}, expected one of {', '.join(sorted(DATASETS))}")
    module, _, attribute = DATASETS[name].partition(":")
    read: Callable[..., Dataset] = getattr(import_module(module), attribute)
    return read
