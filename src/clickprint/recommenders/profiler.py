"""Profiles as features of a ranker: a few principal components of each encoder's.

Encoders are fitted once, before the oldest window that is trained on, so that a column means the
same in every window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clickprint.core.options import Between, Faults
from clickprint.core.past import Encoder, Fitted, Past
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.encoders import ENCODERS, encoder, load, state
from clickprint.encoders.projection import principal_axes

COMPONENTS = 8  # columns of a profile that does not say


def profile_encoder(
    name: str, options: Mapping[str, Any], faults: Faults
) -> tuple[Encoder, int] | None:
    """The encoder of a table of options and its number of columns; None where there is a fault.

    `encoder` names one of ENCODERS (default: the table's name); `components` is ours.
    """
    path, of, before = f"profiles.{name}", options.get("encoder", name), len(faults)
    components = options.get("components", COMPONENTS)
    components = faults.value(components, Annotated[int, Between(1, 2_048)], f"{path}.components")
    if not faults.known(of, ENCODERS, f"{path}.encoder"):
        return None
    rest = {k: v for k, v in options.items() if k not in ("encoder", "components")}
    made = faults.attempt(path, lambda: encoder(of, **rest))
    return (made, components) if made is not None and len(faults) == before else None


@dataclass(frozen=True, slots=True)
class Profiler:
    """Fitted encoders and what reduces their profiles."""

    parts: Mapping[str, tuple[Fitted, "Projection"]]

    @staticmethod
    def fit(
        past: Past,
        profiles: Mapping[str, Mapping[str, Any]],
        *,
        rng: RNG,
        progress: Progress = silent,
    ) -> "Profiler":
        """From a past that ends where the oldest window that is trained on starts, or earlier.

        Raises OptionsError.
        """
        parts, faults = {}, Faults()
        for name, options in profiles.items():
            if (made := profile_encoder(name, options, faults)) is not None:
                fitted = made[0].fit(past, rng=rng.child(name), progress=progress)
                parts[name] = fitted, Projection.of(fitted.encode(past), made[1])
        faults.refuse("")
        return Profiler(parts)

    def users(self, past: Past) -> dict[str, Float32[np.ndarray, "_"]]:
        """`user_<name>_<n>`: a row each of `past.users`, who may be others than at fit."""
        found: dict[str, np.ndarray] = {}
        for name, (fitted, projection) in self.parts.items():
            columns = projection.columns(fitted.encode(past), past.users)
            found |= {f"user_{name}_{n}": columns[:, n] for n in range(columns.shape[1])}
        return found

    def save(self, folder: Path) -> None:
        """A folder, whole or not at all."""
        state.write(Path(folder), "profiler", self)

    @staticmethod
    def load(folder: Path | str) -> "Profiler":
        """What `save` wrote: the same columns. Raises DataError."""
        return state.read(Path(folder), "profiler", Profiler, load=load)


@dataclass(frozen=True, slots=True)
class Projection:
    """The first principal components of some profiles: a few columns of any by that encoder."""

    mean: Float64[np.ndarray, "D"]
    axes: Float64[np.ndarray, "D N"]

    @staticmethod
    def of(profiles: Profiles, width: int = COMPONENTS) -> "Projection":
        """From the covariance, a block of users at a time."""
        size, wide = profiles.vectors.shape
        total, square = np.zeros(wide), np.zeros((wide, wide))
        for start in range(0, size, 65_536):
            some = profiles.vectors[start : start + 65_536].astype(np.float64)
            total += some.sum(0)
            square += some.T @ some
        mean = total / max(size, 1)
        covariance = square / max(size, 1) - np.outer(mean, mean)
        return Projection(mean, principal_axes(covariance, width))

    def columns(
        self, profiles: Profiles, users: Int64[np.ndarray, "U"]
    ) -> Float32[np.ndarray, "U N"]:
        """A row each of `users`. Raises DataError for a user without a profile."""
        return ((profiles.of(users).astype(np.float64) - self.mean) @ self.axes).astype(np.float32)
