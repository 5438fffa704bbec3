"""From a past to what each user will have next. RECOMMENDERS names all that recommends."""

from typing import Any

from clickprint.core.errors import ConfigError
from clickprint.core.options import read
from clickprint.core.recommender import Recommends
from clickprint.core.registry import lookup
from clickprint.encoders import ENCODERS

RECOMMENDERS: dict[str, str] = {
    **ENCODERS,
    "popularity": "clickprint.recommenders.baselines:Popularity",
    "own-items": "clickprint.recommenders.baselines:OwnItems",
    "item-knn": "clickprint.recommenders.baselines:ItemKNN",
    "ease": "clickprint.recommenders.baselines:EASE",
    "tifu-knn": "clickprint.recommenders.retrievers.baskets:TIFUKNN",
    "up-cf": "clickprint.recommenders.retrievers.baskets:UPCF",
    "history": "clickprint.recommenders.retrievers.history:History",
    "open-baskets": "clickprint.recommenders.retrievers.history:OpenBaskets",
    "repurchase": "clickprint.recommenders.retrievers.repurchase:Repurchase",
    "co-visits": "clickprint.recommenders.retrievers.covisits:CoVisits",
    "popular-in": "clickprint.recommenders.retrievers.popular:PopularIn",
    "nearest": "clickprint.recommenders.retrievers.vectors:Nearest",
    "encoded": "clickprint.recommenders.retrievers.vectors:Encoded",
}


def recommender(name: str, **options: Any) -> Recommends:
    """The recipe of this name with these options, given as TOML has them.

    Raises ConfigError for an unknown name or option, and for a recipe whose fitted form ranks no
    items (an encoder without such a loss).
    """
    made = read(lookup(RECOMMENDERS, name, "recommender"), options, where=name)
    if not isinstance(made, Recommends) or not made.recommends:
        raise ConfigError(f"{name}: with these options it recommends no items")
    return made
