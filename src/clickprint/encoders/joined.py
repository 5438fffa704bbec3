"""Several profiles as one: each block normalised, reduced to its share, and put side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool, Float16, Float64

from clickprint.core.errors import DataError
from clickprint.core.options import Faults, NotEmpty, check
from clickprint.core.past import Encoder, Fitted, Past
from clickprint.core.profiles import MAX_WIDTH, Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.data.features import log_counts
from clickprint.encoders import encoder, load, state
from clickprint.encoders.projection import principal_axes
from clickprint.encoders.ranges import Width

ROWS = 16_384  # rows at a time in float64
KNOTS = 129  # quantiles that are remembered of a column
LIMIT = 10.0  # deviations; what is farther away counts as this far


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """The blocks side by side, in the order given.

    - `blocks`: names of encoders, or a table name → options of the encoder of that name
      (`encoder = "…"` among them names another one), or name → Encoder. Profiles.blocks names
      their columns, so that each can be left out.
    - `width`: columns, shared out evenly; what narrow blocks leave goes to the wide ones. A block
      wider than its share is replaced by its principal components, which costs scores where
      columns are sparse and independent (docs/encoders.md).
    - `normalise`: "standard" (log(1 + x) with x's sign, less the mean, in deviations, at most 10)
      or "quantile" (the share of users below, from −1 to 1).
    - `rows`: each user's part of each block gets the same length.

    A row of zeros in a block means that nothing is known of the user: it gets the block's mean,
    and where such rows are there at fit a last column says so. Columns that never differ are
    dropped. Source: the winners' ensembles, spec/universal-profiles.md 1.8.
    """

    blocks: tuple[str, ...] | Mapping[str, Any] = ("counts", "decay")
    width: Width = MAX_WIDTH
    normalise: Literal["standard", "quantile"] = "standard"
    rows: bool = False

    def __post_init__(self) -> None:
        check(self, self.problems())
        self.encoders()

    def problems(self) -> Iterator[tuple[str, str]]:
        names = list(self.blocks)
        if not names or len(set(names)) < len(names) or len(names) > self.width:
            yield (
                "blocks",
                f"found {names}, expected different names, one or more, at most one a column of"
                " width",
            )

    def encoders(self) -> dict[str, Encoder]:
        """The blocks' encoders by name, in order. Raises ConfigError."""
        faults, found = Faults(), dict[str, Any]()
        for name in self.blocks:
            given = self.blocks[name] if isinstance(self.blocks, Mapping) else {}
            path = f"blocks.{name}"
            if isinstance(given, Encoder):
                found[name] = given
            elif isinstance(given, Mapping):
                options = {k: v for k, v in given.items() if k != "encoder"}
                of = given.get("encoder", name)
                found[name] = faults.attempt(path, lambda: encoder(of, **options))  # noqa: B023
            else:
                faults.add(path, f"found {given!r}, expected a table of options")
        faults.refuse("")
        return found

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedJoined":
        """Fits every block and learns its normalisation from the past's users."""
        encoders = self.encoders()
        fitted, scales, made = {}, [], []
        for done, (name, block) in enumerate(encoders.items()):
            progress(f"block {name}", done, len(encoders))
            fitted[name] = block.fit(
                past, rng=rng.child(name), progress=progress, session=session.inner(name)
            )
            vectors = fitted[name].encode(past).vectors
            scales.append(Scale.fit(vectors, self.normalise))
            made.append(vectors)
        widths = shares([s.width for s in scales], self.width)
        blocks = tuple(
            Part(name, fitted[name], scale.reduce(vectors, width), self.rows)
            for name, scale, vectors, width in zip(fitted, scales, made, widths, strict=True)
        )
        return FittedJoined(blocks)

    @staticmethod
    def load(folder: Path) -> "FittedJoined":
        """What FittedJoined.save wrote. Raises DataError."""
        return state.read(folder, "joined", FittedJoined, load=load)


@dataclass(frozen=True, slots=True)
class Prefitted:
    """An encoder that was fitted already, as a block that is not fitted twice."""

    fitted: Fitted

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> Fitted:
        return self.fitted


def shares(wanted: list[int], width: int) -> list[int]:
    """How many of `width` columns each block gets: at most what it wants, otherwise evenly."""
    given, left = [0] * len(wanted), width
    for turn, i in enumerate(sorted(range(len(wanted)), key=lambda i: (wanted[i], -i))):
        given[i] = min(wanted[i], left // (len(wanted) - turn))
        left -= given[i]
    return given


@dataclass(frozen=True, slots=True)
class Scale:
    """How a block's columns become numbers of one size.

    - `absent`: whether a last column tells users without a row from others.
    - `kept`: which columns; `mean`, `deviation`, `knots`: where they lie.
    - `axes`: which axes replace them; no column: none do.
    """

    normalise: Literal["standard", "quantile"]
    absent: bool
    kept: Bool[np.ndarray, "W"]
    mean: Float64[np.ndarray, "D"]
    deviation: Float64[np.ndarray, "D"]
    knots: Float64[np.ndarray, "K D"]
    axes: Float64[np.ndarray, "D R"]

    @staticmethod
    def fit(
        vectors: Float16[np.ndarray, "U W"], normalise: Literal["standard", "quantile"]
    ) -> "Scale":
        """Learns from the rows that are not all zero; with none, everything is dropped."""
        known = vectors.any(1)
        rows = np.flatnonzero(known)
        total, squares = np.zeros(vectors.shape[1]), np.zeros(vectors.shape[1])
        # Near the mean, so that no digits are lost in the squares.
        shift = log_counts(vectors[rows[0]].astype(np.float64)) if len(rows) else total
        for start in range(0, len(rows), ROWS):
            x = log_counts(vectors[rows[start : start + ROWS]].astype(np.float64)) - shift
            total, squares = total + x.sum(0), squares + (x * x).sum(0)
        mean = total / max(len(rows), 1)
        deviation = np.sqrt(np.maximum(squares / max(len(rows), 1) - mean**2, 0))
        kept = deviation > 1e-6
        knots = np.zeros((0, int(kept.sum())))
        if normalise == "quantile":
            knots = (
                np.stack([_knots(vectors[rows, c]) for c in np.flatnonzero(kept)], 1)
                if kept.any()
                else knots
            )
        axes = np.zeros((int(kept.sum()), 0))
        return Scale(
            normalise,
            bool(len(rows) < len(vectors)),
            kept,
            (mean + shift)[kept],
            deviation[kept],
            knots,
            axes,
        )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Paths of what does not fit together, and what is wrong with it."""
        if len(self.mean) != self.kept.sum():
            yield "mean", f"found {len(self.mean)}, expected one of {self.kept.sum()} kept columns"
        if (self.deviation <= 0).any():
            yield "deviation", "found 0 or less"
        knots = KNOTS if self.normalise == "quantile" and len(self.mean) else 0
        if len(self.knots) != knots:
            yield "knots", f"found {len(self.knots)}, expected {knots} for {self.normalise!r}"

    @property
    def width(self) -> int:
        """Columns that `apply` makes."""
        return (self.axes.shape[1] if self.axes.size else len(self.mean)) + self.absent

    def reduce(self, vectors: Float16[np.ndarray, "U W"], width: int) -> "Scale":
        """The same with at most `width` columns: those, or the first principal axes."""
        if self.width <= width:
            return self
        covariance, n = np.zeros((len(self.mean), len(self.mean))), 0
        for start in range(0, len(vectors), ROWS):
            # Rows of unknown users are zero, the mean.
            x = self.apply(vectors[start : start + ROWS])[:, : len(self.mean)]
            covariance, n = covariance + x.T @ x, n + len(x)
        axes = principal_axes(covariance / max(n, 1), max(width - self.absent, 1))
        return replace(self, axes=np.ascontiguousarray(axes), absent=self.absent and width > 1)

    def apply(self, vectors: Float16[np.ndarray, "B W"]) -> Float64[np.ndarray, "B R"]:
        """The rows, normalised."""
        known = vectors.any(1)
        x = vectors[:, self.kept].astype(np.float64)
        if self.normalise == "quantile":
            for c in range(x.shape[1]):
                below, upto = (
                    np.searchsorted(self.knots[:, c], x[:, c], side) for side in ("left", "right")
                )
                x[:, c] = (below + upto) / len(self.knots) - 1
        else:
            x = np.clip((log_counts(x) - self.mean) / self.deviation, -LIMIT, LIMIT)
        x[np.logical_not(known)] = 0
        if self.axes.size:
            x = x @ self.axes
        return np.concatenate([x, np.logical_not(known)[:, None]], 1) if self.absent else x


def _knots(column: Float16[np.ndarray, "U"]) -> Float64[np.ndarray, "K"]:
    """Quantiles that are values of the column."""
    return np.quantile(column.astype(np.float64), np.linspace(0, 1, KNOTS), method="lower")


@dataclass(frozen=True, slots=True)
class Part:
    """One fitted block and its scale."""

    name: str
    fitted: Fitted
    scale: Scale
    rows: bool

    def vectors(self, past: Past) -> Float16[np.ndarray, "U R"]:
        raw = self.fitted.encode(past).vectors
        if raw.shape[1] != len(self.scale.kept):
            known = f"{self.name} makes {raw.shape[1]} columns"
            raise DataError("joined", f"{known}, but it was fitted to {len(self.scale.kept)}")
        out = np.empty((len(raw), self.scale.width), np.float16)
        for start in range(0, len(raw), ROWS):
            x = self.scale.apply(raw[start : start + ROWS])
            if self.rows:
                x *= np.sqrt(x.shape[1]) / np.maximum(
                    np.linalg.norm(x, axis=1, keepdims=True), 1e-9
                )
            out[start : start + ROWS] = to_float16(x)
        return out


@dataclass(frozen=True, slots=True)
class FittedJoined:
    """The fitted blocks, in order."""

    parts: Annotated[tuple[Part, ...], NotEmpty()]

    def problems(self) -> Iterator[tuple[str, str]]:
        """See encoders.state.Agrees."""
        for n, part in enumerate(self.parts):
            for path, problem in part.scale.problems():
                yield f"parts[{n}].scale.{path}", problem
        if (width := sum(p.scale.width for p in self.parts)) > MAX_WIDTH:
            yield "parts", f"found {width} columns, expected at most {MAX_WIDTH}"

    def encode(self, past: Past) -> Profiles:
        made = [part.vectors(past) for part in self.parts]
        blocks = tuple(
            (part.name, vectors.shape[1]) for part, vectors in zip(self.parts, made, strict=True)
        )
        return Profiles(past.users, np.concatenate(made, 1), blocks)

    def save(self, folder: Path) -> None:
        """Writes each block into a folder of its own below `folder`."""
        state.write(folder, "joined", self)
