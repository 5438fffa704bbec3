"""A synthetic shop of any size: the challenge's five kinds of event, exposures, clicks and sessions, with planted structure.

What is planted, and how the best reachable scores are computed: docs/synthetic.md.
"""

from clickprint.data.synthetic.events import batches
from clickprint.data.synthetic.latent import Latent
from clickprint.data.synthetic.oracle import Oracle
from clickprint.data.synthetic.shop import Shop
from clickprint.data.synthetic.write import read, shop_of, write_challenge

__all__ = ["Latent", "Oracle", "Shop", "batches", "read", "shop_of", "write_challenge"]
