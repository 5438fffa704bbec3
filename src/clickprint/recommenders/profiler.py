"""Profiles as features: encoders fitted once, before the oldest window that is learned from, so that a column means the same in every
window; of each profile a few principal components.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import whole
from clickprint.core.past import Encoder, Fitted, Past
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.encoders import encoder, load

WIDTH = 8  # columns of a profile that does not say
FILE = "profiler.json"


def encoders(profiles: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Encoder, int]]:
    """name → (encoder, columns): a name of ENCODERS, or any whose options say `encoder`. Raises ConfigError."""
    found: dict[str, tuple[Encoder, int]] = {}
    for name, options in profiles.items():
        width = options.get("width", WIDTH)
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ConfigError(
                f"profiles.{name}.width: found {width!r}, expected a whole number above 0"
            )
        given = {k: v for k, v in options.items() if k not in ("encoder", "width")}
        try:
            found[name] = encoder(options.get("encoder", name), **given), width
        except ConfigError as fault:
            raise ConfigError(f"profiles.{name}: {fault}") from None
    return found


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
        """`past` must end where the oldest window that is learned from starts, or earlier."""
        parts = {}
        for name, (asked, width) in encoders(profiles).items():
            fitted = asked.fit(past, rng=rng.child(name), progress=progress)
            parts[name] = fitted, Projection.of(fitted.encode(past), width)
        return Profiler(parts)

    def users(self, past: Past) -> dict[str, Float32[np.ndarray, "_"]]:
        """`user_<name>_<n>`: a row each of `past.users`, whose histories may be longer than those that were fitted, and new ones."""
        found: dict[str, np.ndarray] = {}
        for name, (fitted, projection) in self.parts.items():
            columns = projection.columns(fitted.encode(past), past.users)
            found |= {f"user_{name}_{n}": columns[:, n] for n in range(columns.shape[1])}
        return found

    def save(self, folder: Path) -> None:
        """A folder, whole or not at all."""
        with whole(Path(folder)) as part:
            part.mkdir(parents=True)
            for n, (fitted, projection) in enumerate(self.parts.values()):
                fitted.save(part / f"encoder-{n}")
                np.savez(part / f"axes-{n}.npz", mean=projection.mean, axes=projection.axes)
            (part / FILE).write_text(
                json.dumps({"format": 1, "names": list(self.parts)}) + "\n", "utf-8"
            )

    @staticmethod
    def load(folder: Path | str) -> "Profiler":
        """What `save` wrote: the same columns. Raises DataError."""
        folder, parts = Path(folder), {}
        try:
            about = json.loads((folder / FILE).read_text("utf-8"))
            if about["format"] != 1:
                raise ValueError(f"format {about['format']}, expected 1")
            for n, name in enumerate(about["names"]):
                with np.load(folder / f"axes-{n}.npz") as axes:
                    projection = Projection(axes["mean"], axes["axes"])
                parts[str(name)] = load(folder / f"encoder-{n}"), projection
        except (OSError, ValueError, KeyError, TypeError, EOFError) as fault:
            raise DataError(
                str(folder), [f"no profiles as features ({fault!r}); make the features again"]
            ) from None
        return Profiler(parts)


@dataclass(frozen=True, slots=True)
class Projection:
    """The first principal components of some profiles, to make a few columns of any from the same encoder."""

    mean: Float64[np.ndarray, "D"]
    axes: Float64[np.ndarray, "D N"]

    @staticmethod
    def of(profiles: Profiles, width: int = WIDTH) -> "Projection":
        """From the covariance, a block of users at a time. An axis' largest part is above 0, so that its sign is one."""
        size, wide = profiles.vectors.shape
        total, square = np.zeros(wide), np.zeros((wide, wide))
        for start in range(0, size, 65_536):
            some = profiles.vectors[start : start + 65_536].astype(np.float64)
            total += some.sum(0)
            square += some.T @ some
        mean = total / max(size, 1)
        _, axes = np.linalg.eigh(square / max(size, 1) - np.outer(mean, mean))
        axes = axes[:, ::-1][:, :width]
        sign = np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
        return Projection(mean, axes * np.where(sign == 0, 1, sign))

    def columns(
        self, profiles: Profiles, users: Int64[np.ndarray, "U"]
    ) -> Float32[np.ndarray, "U N"]:
        """A row each of `users`. Raises DataError for a user without a profile."""
        return ((profiles.of(users).astype(np.float64) - self.mean) @ self.axes).astype(np.float32)
