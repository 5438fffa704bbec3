"""A synthetic shop of any size, with planted structure.

It has the challenge's five kinds of event, exposures, clicks and sessions. What is planted, and
how the best reachable scores are computed: docs/synthetic.md.
"""

from clickprint.data.adapters.card import Card
from clickprint.data.synthetic.events import batches
from clickprint.data.synthetic.latent import Latent
from clickprint.data.synthetic.oracle import Oracle
from clickprint.data.synthetic.shop import Shop
from clickprint.data.synthetic.write import read, shop_of, write_challenge

CARD = Card(
    title="a made-up shop of any size, whose best reachable scores are known",
    files={},
    licence="yours",
    where=(
        "nothing to get: it is made by `clickprint read synthetic --out DIR`; docs/synthetic.md"
        " says what is planted"
    ),
)

__all__ = ["CARD", "Latent", "Oracle", "Shop", "batches", "read", "shop_of", "write_challenge"]
