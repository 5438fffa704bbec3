"""Randomness is passed, never set: one seed, and named child streams.

A stream does not depend on the order of calls.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from jaxtyping import UInt64


@dataclass(frozen=True, slots=True)
class RNG:
    """A seed and the path of names below it.

    Equal seed and path: equal numbers, on every machine.
    """

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


GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's step from one state to the next


def mix(x: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """The finaliser of splitmix64, in place; gives `x` back.

    For numbers that depend on what they are for, not on who was drawn before.

    Source: Steele, Lea and Flood 2014. Whole numbers wrap at 2**64.
    """
    scratch = np.empty_like(x)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        np.right_shift(x, np.uint64(shift), out=scratch)
        np.bitwise_xor(x, scratch, out=x)
        if factor != 1:
            np.multiply(x, np.uint64(factor), out=x)
    return x
