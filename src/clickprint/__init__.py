"""clickprint: one log of what shoppers did, one profile per shopper, every prediction a shop needs."""

__version__ = "0.1.0"
