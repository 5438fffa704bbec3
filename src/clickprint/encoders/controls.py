"""Controls: profiles that know nothing. What does not beat them has learned nothing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.past import Past
from clickprint.core.profiles import MAX_WIDTH, Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import GOLDEN, RNG, mix
from clickprint.core.session import ALONE, Session
from clickprint.encoders import state


@dataclass(frozen=True, kw_only=True, slots=True)
class Random:
    """A vector of normal numbers for each user, that depends on the seed and the user's id alone.

    So a user has the same vector in any subset and on any past; other ids give other vectors.
    """

    width: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH:
            raise ConfigError(f"width: found {self.width}, expected 1 to {MAX_WIDTH}")

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
            raise DataError(str(folder), [f"not a fitted `random` ({fault!r})"]) from None


@dataclass(frozen=True, slots=True)
class FittedRandom:
    """The seed and the width."""

    seed: int
    width: int

    def encode(self, past: Past) -> Profiles:
        """Hashes (seed, id, column) to two uniform numbers, and those to a normal one (Box and Muller): no stream, hence no order."""
        vectors = np.empty((len(past.users), self.width), np.float16)
        column = np.arange(self.width, dtype=np.uint64)
        for start in range(0, len(past.users), 65_536):
            key = _step(
                _step(past.users[start : start + 65_536].astype(np.uint64) ^ np.uint64(self.seed))[
                    :, None
                ]
                + column
            )
            radius = np.sqrt(
                -2 * np.log((_step(key) >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54)
            )
            vectors[start : start + 65_536] = to_float16(
                radius
                * np.cos(
                    2 * np.pi * ((_step(~key) >> np.uint64(11)).astype(np.float64) * 2.0**-53)
                )
            )
        return Profiles(past.users, vectors)

    def save(self, folder: Path) -> None:
        state.write(folder, "random", {"seed": self.seed, "width": self.width})


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
