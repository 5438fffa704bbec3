"""A ladder of sizes of one model: quality against parameters and compute, in numbers and words."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64

from clickprint.core.rng import RNG
from clickprint.core.text import figure
from clickprint.metrics import compare
from clickprint.metrics.compare import Estimate, Gap
from clickprint.metrics.power_law import FEWEST, PowerLaw, power_law

LOSS = "loss"  # the metric beside the others: −log of the right item's share among all items
AGAINST: Mapping[str, str] = {
    "layers": "parameters of the layers",
    "parameters": "all parameters",
    "flops": "training FLOPs",
}
# Which seeds are drawn in which resample: others in each step, whose seeds have nothing in common.
SEEDS = RNG(0).child("ladder seeds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One model that was trained: what it was, what it cost, how good it is in the validation."""

    size: float
    fraction: float
    seed: int
    shape: Mapping[str, int]  # width, layers, heads: what the model has of them
    users: int  # trained on
    embedding: int  # numbers in tables of vectors
    layers: int  # all other numbers
    flops: float  # of the whole training
    epochs: int
    best_epoch: int
    train_loss: float  # the mean of the epoch whose state was kept
    means: Mapping[str, float]  # metric → its mean over the users who were asked
    replicates: Mapping[str, Float64[np.ndarray, "R"]]  # … in each resample, shared by all rungs
    seconds: float
    code: str = ""  # the digest of the code that made it

    @property
    def parameters(self) -> int:
        return self.embedding + self.layers


@dataclass(frozen=True, eq=False)
class Step:
    """The rungs of one size on one share of the users, one a seed: means over seeds."""

    rungs: tuple[Rung, ...]

    @property
    def size(self) -> float:
        return self.rungs[0].size

    @property
    def fraction(self) -> float:
        return self.rungs[0].fraction

    def mean(self, of: str) -> float:
        """The mean over seeds of a rung's field or property."""
        return float(np.mean([getattr(r, of) for r in self.rungs]))

    def replicates(self, metric: str) -> Float64[np.ndarray, "R"]:
        """The mean over seeds in each resample of users and seeds."""
        drawn = SEEDS.child(f"{self.size} of {self.fraction}")
        return compare.over_seeds(np.stack([r.replicates[metric] for r in self.rungs]), drawn)

    def estimate(self, metric: str) -> Estimate:
        value = float(np.mean([r.means[metric] for r in self.rungs]))
        return Estimate.of(value, self.replicates(metric))

    def above(self, other: "Step", metric: str) -> Gap:
        """How much more than another step, paired by user."""
        return Gap.of(
            self.estimate(metric).value,
            other.estimate(metric).value,
            self.replicates(metric),
            other.replicates(metric),
        )


@dataclass(frozen=True, eq=False)
class Ladder:
    """All rungs; `metric` (higher is better) is what sizes are compared by."""

    name: str
    metric: str
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The largest fraction first, and the smallest size first within a fraction."""
        keys = sorted({(-r.fraction, r.size) for r in self.rungs})
        return tuple(
            Step(tuple(r for r in self.rungs if (-r.fraction, r.size) == key)) for key in keys
        )

    @property
    def fractions(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys(s.fraction for s in self.steps))

    def on(self, fraction: float) -> tuple[Step, ...]:
        """The steps on this share of the users, the smallest first."""
        return tuple(s for s in self.steps if s.fraction == fraction)

    def laws(self, fraction: float) -> dict[tuple[str, str], PowerLaw]:
        """(metric, against what) → the power law, where there is one."""
        steps = self.on(fraction)
        found = {
            (m, x): power_law([s.mean(x) for s in steps], [s.estimate(m).value for s in steps])
            for m in (self.metric, LOSS)
            for x in AGAINST
        }
        return {key: law for key, law in found.items() if law is not None}

    def enough(self, fraction: float) -> Step:
        """The smallest step that no larger one is shown to be better than (paired, 95 %)."""
        steps = self.on(fraction)
        return next(
            s
            for i, s in enumerate(steps)
            if not any(above.above(s, self.metric).low > 0 for above in steps[i + 1 :])
        )

    def words(self) -> list[str]:
        """What the ladder shows, plainly: also that larger is not better."""
        lines = [line for f in self.fractions for line in self._of_sizes(f)]
        for more, fewer in zip(self.fractions, self.fractions[1:], strict=False):
            gap = self.on(more)[-1].above(self.on(fewer)[-1], self.metric)
            verdict = {1: "are better", -1: "are worse", 0: "show no difference"}[gap.shown]
            lines.append(
                f"the largest size with {share(more)} of the users over {share(fewer)}:"
                f" {gap.text(4)}, more users {verdict}"
            )
        sizes = [len(self.on(f)) for f in self.fractions]
        pairs = sum(n * (n - 1) // 2 for n in sizes) + len(sizes) - 1
        return [*lines, compare.by_chance(pairs)] if pairs > 1 else lines

    def _of_sizes(self, fraction: float) -> list[str]:
        steps, enough = self.on(fraction), self.enough(fraction)
        where = "" if len(self.fractions) == 1 else f"with {share(fraction)} of the users: "
        if len(steps) == 1:
            return [f"{where}one size was trained, so nothing is shown about size"]
        last, best = steps[-1], max(steps, key=lambda s: (s.estimate(self.metric).value, -s.size))
        if enough is last:
            gap = last.above(steps[0], self.metric)
            lines = [
                f"{where}larger is better up to the largest size: {last.size:g} over"
                f" {steps[0].size:g} {gap.text(4)}"
            ]
        else:
            gap = last.above(enough, self.metric)
            verdict = "worse" if gap.shown < 0 else "not shown to be better"
            lines = [
                f"{where}larger is not better beyond size {enough.size:g}: the largest,"
                f" {last.size:g}, is {verdict} ({gap.text(4)}); the highest {self.metric} has size"
                f" {best.size:g}"
            ]
        if not self.laws(fraction):
            lines.append(
                f"{where}no power law is fitted: {len(steps)} sizes, and {FEWEST} are needed, with"
                " all values above 0"
            )
        return lines

    def rows(self) -> list[dict[str, Any]]:
        """A row a rung, each value plain."""
        out = []
        for r in (rung for step in self.steps for rung in step.rungs):
            row = {"size": r.size, "fraction": r.fraction, "seed": r.seed, **r.shape}
            row |= {"users": r.users, "embedding": r.embedding, "layer_parameters": r.layers}
            row |= {"parameters": r.parameters, "flops": r.flops, "epochs": r.epochs}
            row |= {"best_epoch": r.best_epoch, "seconds": r.seconds, "train_loss": r.train_loss}
            for metric, mean in r.means.items():
                found = Estimate.of(mean, r.replicates[metric])
                row |= {metric: mean, f"{metric} low": found.low, f"{metric} high": found.high}
            out.append(row)
        return out

    def plain(self) -> dict[str, Any]:
        """What the JSON file holds."""
        laws = [
            {"fraction": f, "metric": metric, "against": x, **law._asdict()}
            for f in self.fractions
            for (metric, x), law in self.laws(f).items()
        ]
        return {
            "name": self.name,
            "metric": self.metric,
            "rungs": self.rows(),
            "laws": laws,
            "words": self.words(),
            "notes": list(self.notes),
        }


def share(fraction: float) -> str:
    return "all" if fraction == 1 else f"{100 * fraction:.3g} %"


def exponent(law: PowerLaw) -> str:
    """The exponent and its interval, in brackets where that holds 0."""
    bounds = f"[{figure(law.low, 3)}, {figure(law.high, 3)}]"
    text = f"{figure(law.exponent, 3, sign=True)} {bounds}"
    return text if law.shown else f"({text})"
