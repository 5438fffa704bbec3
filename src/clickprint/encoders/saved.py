"""Profiles from anywhere: who writes the challenge's two files can be scored and joined."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from clickprint.core.errors import DataError
from clickprint.core.options import check
from clickprint.core.past import Past
from clickprint.core.profiles import Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.encoders import state


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """The profiles in a folder (client_ids.npy, embeddings.npy).

    Nobody can check here that they were made of the past alone. `missing`: what a user without a
    profile gets, "error" (a DataError that counts them) or "mean" (the mean of all rows).
    """

    folder: Path
    missing: Literal["error", "mean"] = "error"

    def __post_init__(self) -> None:
        check(self)

    def fit(
        self,
        past: Past,
        *,
        rng: RNG | None = None,
        progress: Progress = silent,
        session: Session = ALONE,
    ) -> "FittedSaved":
        """Reads and validates the files. Raises DataError with every fault."""
        return FittedSaved(Profiles.load(self.folder), self.missing)

    @staticmethod
    def load(folder: Path) -> "FittedSaved":
        """What FittedSaved.save wrote. Raises DataError."""
        return state.read(folder, "saved", FittedSaved)


@dataclass(frozen=True, slots=True)
class FittedSaved:
    """The profiles as they were read."""

    profiles: Profiles
    missing: Literal["error", "mean"]

    def encode(self, past: Past) -> Profiles:
        """The rows of the past's users, in their order.

        Raises DataError where one has none and `missing` is "error".
        """
        there = np.isin(past.users, self.profiles.users)
        if there.all() or self.missing == "error":
            return Profiles(past.users, self.profiles.of(past.users), self.profiles.blocks)
        if not len(self.profiles.users):
            raise DataError(
                "profiles", "there is no row, so there is no mean to give to users without one"
            )
        vectors = np.empty((len(past.users), self.profiles.vectors.shape[1]), np.float16)
        vectors[there] = self.profiles.of(past.users[there])
        vectors[~there] = to_float16(self.profiles.vectors.mean(0, dtype=np.float64))
        return Profiles(past.users, vectors, self.profiles.blocks)

    def save(self, folder: Path) -> None:
        state.write(folder, "saved", self)
