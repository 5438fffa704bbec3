"""Controls: profiles that know nothing. What does not beat them has learned nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from clickprint.core.options import Between, check
from clickprint.core.past import Past
from clickprint.core.profiles import Profiles, random_profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.encoders import state
from clickprint.encoders.ranges import Width


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
        return state.read(folder, "random", FittedRandom)


@dataclass(frozen=True, slots=True)
class FittedRandom:
    """The seed and the width."""

    seed: Annotated[int, Between(0, 2**64 - 1)]
    width: Width

    def encode(self, past: Past) -> Profiles:
        """See core.profiles.random_profiles."""
        return random_profiles(past.users, self.width, self.seed)

    def save(self, folder: Path) -> None:
        state.write(folder, "random", self)


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
        return state.read(folder, "constant", FittedConstant)


@dataclass(frozen=True, slots=True)
class FittedConstant:
    """Nothing."""

    def encode(self, past: Past) -> Profiles:
        return Profiles(past.users, np.ones((len(past.users), 1), np.float16))

    def save(self, folder: Path) -> None:
        state.write(folder, "constant", self)
