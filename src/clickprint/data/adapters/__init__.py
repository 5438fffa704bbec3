"""One module a source, with a CARD and a `read(…, out, *, engine, progress)`.

`read` writes the canonical form. docs/datasets.md says how to add a source.
"""

from collections.abc import Callable

from clickprint.core.dataset import Dataset
from clickprint.core.registry import lookup
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
    """The `read` function of a source. Raises ConfigError, with the known names, for another."""
    read: Callable[..., Dataset] = lookup(DATASETS, name, "data set")
    return read


def card(name: str) -> Card:
    """The source card of a reader. Raises ConfigError, with the known names, for another."""
    cards = {known: place.replace(":read", ":CARD") for known, place in DATASETS.items()}
    found: Card = lookup(cards, name, "data set")
    return found
