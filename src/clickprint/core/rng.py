"""Randomness is passed, never set: one seed, and named child streams that do not depend on call order."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np


@dataclass(frozen=True, slots=True)
class RNG:
    """A seed and the path of names below it. Equal seed and path: equal numbers, on every machine."""

    seed: int = 0
    path: tuple[str, ...] = ()

    def child(self, name: str) -> "RNG":
        """The stream called `name` below this one; siblings are independent."""
        return RNG(self.seed, (*self.path, name))

    def integer(self) -> int:
        """A seed in [0, 2**63) for libraries that want one number (torch, DuckDB)."""
        text = "\0".join((str(self.seed), *self.path)).encode()
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") >> 1

    def generator(self) -> np.random.Generator:
        """A fresh numpy generator at the start of this stream."""
        return np.random.default_rng(self.integer())
