"""A task is a value: whom we ask, what is true, how an answer is trained and marked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int64, Shaped

from clickprint.core.past import Table
from clickprint.core.time import Window

Population = Callable[[Table, Window], Int64[np.ndarray, "U"]]
Target = Callable[[Table, Window, Int64[np.ndarray, "U"]], Shaped[np.ndarray, "U T"]]


@runtime_checkable
class Metric(Protocol):
    """A metric of one task: a number from what is true and what was predicted.

    And the same number in many resamples of the users.
    """

    def __call__(
        self,
        truth: Shaped[np.ndarray, "U T"],
        prediction: Float32[np.ndarray, "U T"],
        *,
        live: bool = False,
    ) -> float:
        """`prediction` is a probability for `bce`, a value for `mse`.

        `live` leaves out labels without a positive or a negative.
        """
        ...

    def resample(
        self,
        truth: Shaped[np.ndarray, "U T"],
        prediction: Float32[np.ndarray, "U T"],
        weights: Float32[np.ndarray, "R U"],
        *,
        live: bool = False,
    ) -> Float[np.ndarray, "R"]:
        """The mark in each resample r, in which user u counts weights[r, u] times."""
        ...


@dataclass(frozen=True, slots=True)
class Loss:
    """What the probe's last layer is trained with.

    `bce`: logits, sigmoid, many labels; `mse`: values as they are.
    """

    name: Literal["bce", "mse"]


bce = Loss("bce")
mse = Loss("mse")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One question about every user of a population, learned in one window and scored in the next.

    - `population(table, window)`: called once, with the train window; it may look only before it.
    - `target(table, window, users)`: called for both windows; T columns, bool for `bce` and float
      for `mse`.
    - `metrics`: name → (weight, metric); the score is the weighted sum.
    - `about`: one sentence for boards and reports.
    """

    name: str
    population: Population
    target: Target
    loss: Loss = bce
    metrics: Mapping[str, tuple[float, Metric]]
    version: int = 1
    about: str = ""  # one sentence for boards and reports

    def score(
        self, truth: np.ndarray, prediction: np.ndarray, *, live: bool = False
    ) -> dict[str, float]:
        """Every mark by name, and their weighted sum as `score`."""
        found = {
            name: float(metric(truth, prediction, live=live))
            for name, (_, metric) in self.metrics.items()
        }
        return {
            **found,
            "score": sum(weight * found[name] for name, (weight, _) in self.metrics.items()),
        }

    def resample(
        self, truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray, *, live: bool = False
    ) -> np.ndarray:
        """The score in each resample of the users."""
        parts = [
            weight * metric.resample(truth, prediction, weights, live=live)
            for weight, metric in self.metrics.values()
        ]
        return np.sum(parts, axis=0)


class TaskSet(NamedTuple):
    """Tasks that a log can be asked, and why others of the set cannot be: name → reason."""

    tasks: tuple[Task, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Controls:
    """What a score has to be read beside: a probe that scores whom it trained on rewards width.

    - `floor`: the score of random vectors of the profile's width, by the same probe: the mean of
      a few draws, whose differences are in the replicates.
    - `held_out`: the live score on one half of the users by a probe that learned from the other.

    NaN where it could not be made.
    """

    floor: float
    held_out: float
    floor_replicates: Float[np.ndarray, "R"] = field(repr=False)
    held_out_replicates: Float[np.ndarray, "R"] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TaskScore:
    """How one profile did on one task under one probe.

    `question` is a digest of users, targets, loss and metrics of both windows: only scores with
    equal questions may be compared. `replicates` are the score, and the score over live labels, in
    resamples of the users; resample r weighs a user by (seed, r, user id) alone, so every profile
    in every run shares it.
    `controls`: of the quick probe; None for the official one, and where they were not asked for.
    """

    task: str
    probe: Literal["official", "quick"]
    question: str
    users: int
    labels: int
    degenerate: int  # labels without a positive, or without a negative, in the validation window
    score: float
    live: float
    metrics: dict[str, float]
    live_metrics: dict[str, float]
    epochs: tuple[dict[str, float], ...]  # the official probe's epochs; empty for the quick one
    best_epoch: int  # -1 for the quick probe
    hidden: bool
    about: str
    replicates: Float[np.ndarray, "R"] = field(repr=False)
    live_replicates: Float[np.ndarray, "R"] = field(repr=False)
    controls: Controls | None = None
