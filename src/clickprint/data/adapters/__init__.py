"""One module a source, each with a CARD and a `read(…, out, *, engine, progress)` that writes the
canonical form. docs/datasets.md says how to add one.
"""

from collections.abc import Callable
from importlib import import_module

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError
from clickprint.data.adapters.card import Card

DATASETS: dict[str, str] = {
    "amazon_reviews": "clickprint.data.adapters.amazon_reviews:read",
    "amazon_sequences": "clickprint.data.adapters.amazon_sequences:read",
    "challenge": "clickprint.data.adapters.challenge:read",
    "complete_journey": "clickprint.data.adapters.complete_journey:read",
    "diginetica": "clickprint.data.adapters.diginetica:read",
    "movielens": "clickprint.data.adapters.movielens:read",
    "otto": "clickprint.data.adapters.otto:read",
    "recbole": "clickprint.data.adapters.recbole:read",
    "rees46": "clickprint.data.adapters.rees46:read",
    "retailrocket": "clickprint.data.adapters.retailrocket:read",
    "stokman": "clickprint.data.adapters.stokman:read",
    "synthetic": "clickprint.data.synthetic:read",
    "ta_feng": "clickprint.data.adapters.ta_feng:read",
    "table": "clickprint.data.adapters.table:read",
    "taobao": "clickprint.data.adapters.taobao:read",
    "uci_online_retail": "clickprint.data.adapters.uci_online_retail:read",
    "uqabench": "clickprint.data.adapters.uqabench:read",
    "yoochoose": "clickprint.data.adapters.yoochoose:read",
}


def reader(name: str) -> Callable[..., Dataset]:
    """The `read` function of a source.

    Raises ConfigError, with the known names, for an unknown one.
    """
    module, attribute = _place(name)
    read: Callable[..., Dataset] = getattr(import_module(module), attribute)
    return read


def card(name: str) -> Card:
    """The source card of a reader.

    Raises ConfigError, with the known names, for an unknown one.
    """
    found: Card = import_module(_place(name)[0]).CARD
    return found


def _place(name: str) -> tuple[str, str]:
    if name not in DATASETS:
        raise ConfigError(
            f"found no data set {name!r}, expected one of {', '.join(sorted(DATASETS))}"
        )
    module, _, attribute = DATASETS[name].partition(":")
    return module, attribute
