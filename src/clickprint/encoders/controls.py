"""Controls: profiles that know nothing. What does not beat them has learned nothing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt64

from clickprint.core.errors import DataError
from clickprint.core.options import check
from clickprint.core.past import Past
from clickprint.core.profiles import Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import GOLDEN, RNG, mix
from clickprint.core.session import ALONE, Session
from clickprint.encoders import state
from clickprint.encoders.ranges import Width

USERS = 65_536  # at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Random:
    """A vector of normal numbers for each user, of the seed and the user's id alone.

    So a user has the same vector in any subset and on any past; other ids give other vectors.
    """

    width: Width = 64

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedRandom":
        return FittedRandom(rng.child("random").integer(), self.width)

    @staticmethod
    def load(folder: Path) -> "FittedRandom":
        """What FittedRandom.save wrote. Raises DataError."""
        raw = state.read(folder, "random")
        try:
            return FittedRandom(int(raw["seed"]), int(raw["width"]))
        except (KeyError, TypeError, ValueError) as fault:
            raise DataError(folder, f"not a fitted `random` ({fault!r})") from None


@dataclass(frozen=True, slots=True)
class FittedRandom:
    """The seed and the width."""

    seed: int
    width: int

    def encode(self, past: Past) -> Profiles:
        """Hashes (seed, id, column) to two uniform numbers, and those to a normal one.

        By Box and Muller; no stream, hence no order.
        """
        vectors = np.empty((len(past.users), self.width), np.float16)
        column = np.arange(self.width, dtype=np.uint64)
        for start in range(0, len(past.users), USERS):
            some = slice(start, start + USERS)
            user = _step(past.users[some].astype(np.uint64) ^ np.uint64(self.seed))
            key = _step(user[:, None] + column)
            radius = np.sqrt(-2 * np.log(_uniform(key) + 2.0**-54))
            vectors[some] = to_float16(radius * np.cos(2 * np.pi * _uniform(~key)))
        return Profiles(past.users, vectors)

    def save(self, folder: Path) -> None:
        state.write(folder, "random", {"seed": self.seed, "width": self.width})


def _uniform(key: UInt64[np.ndarray, "B D"]) -> Float64[np.ndarray, "B D"]:
    """The uniform number in [0, 1) that splitmix64 gives in a state."""
    return (_step(key) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _step(x: np.ndarray) -> np.ndarray:
    """The number that splitmix64 gives in the state x, modulo 2**64."""
    return mix(x + GOLDEN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """The same one number for everybody."""

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedConstant":
        return FittedConstant()

    @staticmethod
    def load(folder: Path) -> "FittedConstant":
        """What FittedConstant.save wrote. Raises DataError."""
        state.read(folder, "constant")
        return FittedConstant()


@dataclass(frozen=True, slots=True)
class FittedConstant:
    """Nothing."""

    def encode(self, past: Past) -> Profiles:
        return Profiles(past.users, np.ones((len(past.users), 1), np.float16))

    def save(self, folder: Path) -> None:
        state.write(folder, "constant", {})
