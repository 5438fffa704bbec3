"""A toy encoder: a profile is the number of a user's events."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clickprint.core.past import Past
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.encoders import state


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """How many events a user has."""

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedLength":
        return FittedLength()

    @staticmethod
    def load(folder: Path) -> "FittedLength":
        return state.read(folder, "length", FittedLength)


@dataclass(frozen=True, slots=True)
class FittedLength:
    def encode(self, past: Past) -> Profiles:
        lengths = past.histories(("time",)).lengths
        return Profiles(past.users, lengths[:, None].astype(np.float16))

    def save(self, folder: Path) -> None:
        state.write(folder, "length", self)
