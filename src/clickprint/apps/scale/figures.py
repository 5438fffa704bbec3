"""What a ladder of sizes shows: quality against parameters and compute, a power law where there are rungs enough, and words."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import stats

from clickprint.apps.run.terminal import COLUMNS, _clean
from clickprint.metrics import compare
from clickprint.report.figure import (
    COLOURS,
    GRID,
    INK,
    PAPER,
    SHAPES,
    SOFT,
    _big_numbers,
    _blank,
    _count,
    _grid,
    _log_axis,
    _scores_axis,
    _short,
)
from clickprint.tasks.board import figure

if TYPE_CHECKING:  # matplotlib takes half a second: imported where a figure is made
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS = "loss"  # the metric beside the measure: −log of the right item's share among all items
LAW_RUNGS = 4  # a line through fewer points says nothing about its own error
AGAINST: Mapping[str, str] = {
    "layers": "parameters of the layers",
    "parameters": "all parameters",
    "flops": "training FLOPs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One model that was trained: what it was, what it cost, how good it is in the validation."""

    size: float
    fraction: float
    seed: int
    shape: Mapping[str, int]  # width, layers, heads: what the encoder has of them
    users: int  # trained on
    embedding: int  # numbers in tables of vectors
    layers: int  # all other numbers
    flops: float  # of the whole training
    epochs: int
    best_epoch: int
    train_loss: float  # the mean of the epoch whose state was kept
    means: Mapping[str, float]  # metric → its mean over the users who were asked
    replicates: Mapping[
        str, Float64[np.ndarray, "R"]
    ]  # and the mean in each resample of them, the same users for every rung
    seconds: float

    @property
    def parameters(self) -> int:
        return self.embedding + self.layers


class Estimate(NamedTuple):
    """A mean, and its 95 % interval over users."""

    value: float
    low: float
    high: float


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
        """Of a rung's field or property."""
        return float(np.mean([getattr(r, of) for r in self.rungs]))

    def replicates(self, metric: str) -> Float64[np.ndarray, "R"]:
        """In each resample of users, the mean over seeds."""
        found: np.ndarray = np.mean([r.replicates[metric] for r in self.rungs], axis=0)
        return found

    def estimate(self, metric: str) -> Estimate:
        low, high = compare.intervals(self.replicates(metric))
        return Estimate(
            float(np.mean([r.means[metric] for r in self.rungs])), float(low), float(high)
        )

    def above(self, other: "Step", metric: str) -> Estimate:
        """How much more than another step, paired by user."""
        low, high, _ = compare.difference(self.replicates(metric), other.replicates(metric))
        return Estimate(self.estimate(metric).value - other.estimate(metric).value, low, high)


class Law(NamedTuple):
    """y = factor · x^exponent, by least squares in logarithms; the exponent's 95 % interval by Student's t over the rungs."""

    factor: float
    exponent: float
    low: float
    high: float
    rungs: int

    @property
    def shown(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def __call__(self, x: Float64[np.ndarray, "N"]) -> Float64[np.ndarray, "N"]:
        return self.factor * x**self.exponent


def power_law(x: Sequence[float], y: Sequence[float]) -> Law | None:
    """The power law through these points; None where there are fewer than LAW_RUNGS different x, or a value is not above 0.

    The interval is of how the rungs scatter about the line, with rungs − 2 degrees of freedom: it holds what users, seeds and a wrong form
    of the law add, but four rungs make it wide, and it says nothing about sizes outside the ladder.
    """
    points = np.array([x, y], np.float64)
    if len(set(x)) < LAW_RUNGS or not (np.isfinite(points) & (points > 0)).all():
        return None
    at, value = np.log(points)
    found = stats.linregress(at, value)
    half = float(stats.t.ppf(0.975, len(at) - 2) * found.stderr)
    slope = float(found.slope)
    return Law(float(np.exp(found.intercept)), slope, slope - half, slope + half, len(at))


@dataclass(frozen=True, eq=False)
class Study:
    """All rungs of a ladder. `measure` is a metric of their scores, higher is better."""

    name: str
    measure: str
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The smallest size first within a fraction, the largest fraction first."""
        keys = sorted({(-r.fraction, r.size) for r in self.rungs})
        return tuple(
            Step(tuple(r for r in self.rungs if (-r.fraction, r.size) == key)) for key in keys
        )

    @property
    def fractions(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys(s.fraction for s in self.steps))

    def ladder(self, fraction: float) -> tuple[Step, ...]:
        """The steps on this share of the users, the smallest first."""
        return tuple(s for s in self.steps if s.fraction == fraction)

    def laws(self, fraction: float) -> dict[tuple[str, str], Law]:
        """(metric, against what) → the power law, where there is one."""
        ladder = self.ladder(fraction)
        found = {
            (metric, x): power_law(
                [s.mean(x) for s in ladder], [s.estimate(metric).value for s in ladder]
            )
            for metric in (self.measure, LOSS)
            for x in AGAINST
        }
        return {key: law for key, law in found.items() if law is not None}

    def enough(self, fraction: float) -> Step:
        """The smallest step that no larger one is shown to be better than (paired, 95 %)."""
        ladder = self.ladder(fraction)
        return next(
            s
            for i, s in enumerate(ladder)
            if not any(above.above(s, self.measure).low > 0 for above in ladder[i + 1 :])
        )

    def words(self) -> list[str]:
        """What the ladder shows, plainly: also that larger is not better."""
        return [line for f in self.fractions for line in self._said(f)] + self._said_of_data()

    def _said(self, fraction: float) -> list[str]:
        ladder = self.ladder(fraction)
        where = "" if len(self.fractions) == 1 else f"with {share(fraction)} of the users: "
        if len(ladder) == 1:
            return [f"{where}one size was trained, so nothing is shown about size"]
        last, enough = ladder[-1], self.enough(fraction)
        best = max(ladder, key=lambda s: (s.estimate(self.measure).value, -s.size))
        if enough is last:
            gap = last.above(ladder[0], self.measure)
            said = [
                f"{where}larger is better up to the largest size: {number(last.size)} over {number(ladder[0].size)} {between(gap)}"
            ]
        else:
            gap = last.above(enough, self.measure)
            verdict = "worse" if gap.high < 0 else "not shown to be better"
            said = [
                f"{where}larger is not better beyond size {number(enough.size)}: the largest, {number(last.size)}, is {verdict} "
                f"({between(gap)}); the highest {self.measure} has size {number(best.size)}"
            ]
        if not self.laws(fraction):
            said.append(
                f"{where}no power law is fitted: {len(ladder)} sizes, and {LAW_RUNGS} are needed, with all values above 0"
            )
        return said

    def _said_of_data(self) -> list[str]:
        if len(self.fractions) < 2:
            return []
        said = []
        for more, less in zip(self.fractions, self.fractions[1:], strict=False):
            one, other = self.ladder(more)[-1], self.ladder(less)[-1]
            gap = one.above(other, self.measure)
            verdict = (
                "more users are better"
                if gap.low > 0
                else "more users are worse"
                if gap.high < 0
                else "more users show no difference"
            )
            said.append(
                f"the largest size with {share(more)} of the users over {share(less)}: {between(gap)}, {verdict}"
            )
        return said

    # -- tables -----------------------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """A row a rung, each value plain: what the CSV and the JSON hold."""
        out = []
        for r in (rung for step in self.steps for rung in step.rungs):
            row: dict[str, Any] = {
                "size": r.size,
                "fraction": r.fraction,
                "seed": r.seed,
                **r.shape,
                "users": r.users,
            }
            row |= {
                "embedding": r.embedding,
                "layer_parameters": r.layers,
                "parameters": r.parameters,
                "flops": r.flops,
            }
            row |= {
                "epochs": r.epochs,
                "best_epoch": r.best_epoch,
                "seconds": r.seconds,
                "train_loss": r.train_loss,
            }
            for metric, mean in r.means.items():
                low, high = (float(v) for v in compare.intervals(r.replicates[metric]))
                row |= {metric: mean, f"{metric} low": low, f"{metric} high": high}
            out.append(row)
        return out

    def to_csv(self) -> str:
        rows = self.rows()
        text = io.StringIO()
        writer = csv.DictWriter(
            text,
            list(dict.fromkeys(k for row in rows for k in row)),
            restval="",
            lineterminator="\n",
        )
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_plain(self) -> dict[str, Any]:
        """What the JSON file holds; a number that is none is null."""
        laws = [
            {"fraction": f, "metric": metric, "against": x, **law._asdict()}
            for f in self.fractions
            for (metric, x), law in self.laws(f).items()
        ]
        rows = [
            {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
            for row in self.rows()
        ]
        return {
            "name": self.name,
            "measure": self.measure,
            "rungs": rows,
            "laws": laws,
            "words": self.words(),
            "notes": list(self.notes),
        }


def number(value: float) -> str:
    return f"{value:g}"


def share(fraction: float) -> str:
    return "all" if fraction == 1 else f"{100 * fraction:.3g} %"


def between(gap: Estimate) -> str:
    """`+.0031 [.0012, .0050]`"""
    return f"{figure(gap.value, sign=True)} [{figure(gap.low)}, {figure(gap.high)}]"


def exponent(law: Law) -> str:
    text = f"{figure(law.exponent, 3, sign=True)} [{figure(law.low, 3)}, {figure(law.high, 3)}]"
    return text if law.shown else f"({text})"


# -- on the terminal --------------------------------------------------------------------------------------------------------------


def show(study: Study, console: Console | None = None) -> None:
    """Prints the ladder, means over seeds, and what it shows (on standard output by default)."""
    console = console or Console(highlight=False)
    if console.width > COLUMNS or not console.is_terminal:
        console.width = COLUMNS
    costs = ("shape", "trained on", "embeddings", "layers", "FLOPs", "seconds", "epochs", "best")
    quality = ("train loss", LOSS, study.measure, "over the smaller")
    for title, heads, cells in ((study.name, costs, _costs), ("validation", quality, _quality)):
        table = Table(
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            title=_clean(title),
            title_justify="left",
            title_style="bold",
        )
        for head in ("size", *heads):
            table.add_column(head, justify="right", no_wrap=True)
        for fraction in study.fractions:
            before: Step | None = None
            for step in study.ladder(fraction):
                name = number(step.size) + (
                    f" of {share(fraction)}" if len(study.fractions) > 1 else ""
                )
                table.add_row(name, *cells(study, step, before))
                before = step
            table.add_section()
        console.print(table)
    if any(study.laws(f) for f in study.fractions):
        console.print(_laws(study))
    for line in study.words():
        console.print(Text(f"• {_clean(line)}"))
    for line in study.notes:
        console.print(Text(_clean(line), style="dim"))


def _laws(study: Study) -> Table:
    """The exponents of the power laws."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        title_style="bold",
    )
    table.title = "power laws: exponent and its 95 % interval (in brackets where it holds 0)"
    table.add_column("of", no_wrap=True)
    for said in AGAINST.values():
        table.add_column(said, justify="right", no_wrap=True)
    for fraction in study.fractions:
        laws = study.laws(fraction)
        for metric in dict.fromkeys(m for m, _ in laws):
            name = metric + (f", {share(fraction)}" if len(study.fractions) > 1 else "")
            table.add_row(
                name, *(exponent(laws[metric, x]) if (metric, x) in laws else "–" for x in AGAINST)
            )
    return table


def _costs(study: Study, step: Step, before: Step | None) -> list[str]:
    return [
        " × ".join(str(v) for v in step.rungs[0].shape.values()),
        f"{step.mean('users'):,.0f}",
        _count(step.mean("embedding")),
        _count(step.mean("layers")),
        f"{step.mean('flops'):.2g}",
        f"{step.mean('seconds'):,.0f}",
        f"{step.mean('epochs'):.3g}",
        f"{step.mean('best_epoch'):.3g}",
    ]


def _quality(study: Study, step: Step, before: Step | None) -> list[str]:
    found = step.estimate(study.measure)
    return [
        f"{step.mean('train_loss'):.3f}",
        f"{step.estimate(LOSS).value:.3f}",
        f"{figure(found.value)} [{figure(found.low)}, {figure(found.high)}]",
        between(step.above(before, study.measure)) if before else "",
    ]


# -- the picture ------------------------------------------------------------------------------------------------------------------


def picture(study: Study) -> "Figure":
    """The measure (above) and the loss of the right item (below) against parameters and compute, their axes logarithmic.

    A power law is drawn where its exponent's interval leaves 0 out.
    """
    drawn = _blank(5.4)
    drawn.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    grid = drawn.subplots(2, len(AGAINST), sharex="col", sharey="row", squeeze=False)
    for row, metric in zip(grid, (study.measure, LOSS), strict=True):
        for ax, x in zip(row, AGAINST, strict=True):
            _panel(ax, study, metric, x)
        row[0].set_ylabel(_short(metric if metric != LOSS else "loss, right item"))
        (_scores_axis if metric != LOSS else _plain_axis)(row[0].yaxis)
    for ax, said in zip(grid[-1], AGAINST.values(), strict=True):
        ax.set_xlabel(said)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if len(study.fractions) > 1:
        drawn.legend(
            handles, labels, loc="outside upper left", ncols=min(len(labels), 5), handlelength=1.2
        )
    laws = (
        ", dashed = power law"
        if any(law.shown for f in study.fractions for law in study.laws(f).values())
        else ""
    )
    seeds = (
        f", hollow = each of {len(study.steps[0].rungs)} seeds"
        if len(study.steps[0].rungs) > 1
        else ""
    )
    drawn.supxlabel(
        f"validation; bar = 95 % interval over users{seeds}{laws}", fontsize=8.5, color=SOFT
    )
    return drawn


def _panel(ax: "Axes", study: Study, metric: str, x: str) -> None:
    for i, fraction in enumerate(study.fractions):
        colour, shape = COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)]
        ladder = study.ladder(fraction)
        at = np.array([s.mean(x) for s in ladder])
        found = [s.estimate(metric) for s in ladder]
        for place, each in zip(at, found, strict=True):
            if np.isfinite(each.low):
                ax.plot(
                    [place, place],
                    [each.low, each.high],
                    color=colour,
                    linewidth=2.2,
                    alpha=0.55,
                    solid_capstyle="butt",
                )
        label = f"{share(fraction)} of the users"
        ax.plot(
            at,
            [e.value for e in found],
            "-",
            marker=shape,
            color=colour,
            markersize=5,
            linewidth=1,
            label=label,
        )
        for step in ladder:
            if len(step.rungs) > 1:
                values = [(getattr(r, x), r.means[metric]) for r in step.rungs]
                ax.plot(
                    *np.array(values).T,
                    shape,
                    color=colour,
                    markersize=3.5,
                    markerfacecolor="none",
                    alpha=0.7,
                )
        law = study.laws(fraction).get((metric, x))
        if law is not None and law.shown:
            places = np.geomspace(at.min(), at.max(), 50)
            ax.plot(places, law(places), color=colour, linewidth=1, linestyle=(0, (3, 3)))
    every = [s.mean(x) for s in study.steps]
    if min(every) > 0:
        ax.set_xscale("log")
        _log_axis(ax.xaxis, min(every), max(every))
    else:  # layers without a parameter
        _big_numbers(ax.xaxis)
    if x == "flops":
        _powers(ax.xaxis)
    _grid(ax, "both")
    ax.margins(x=0.08)


def _plain_axis(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))


def _powers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{v:.0e}".replace("e+", "e").replace("e0", "e"))
    )


def alone(svg: str) -> str:
    """A page's <svg> element (plots.draw) as a file of its own: no variables of the page, on white."""
    for variable, colour in (
        ("currentColor", INK),
        ("var(--soft)", SOFT),
        ("var(--grid)", GRID),
        ("var(--paper)", PAPER),
    ):
        svg = svg.replace(variable, colour)
    style = "<style>*{stroke-linejoin:round;stroke-linecap:butt}text{font-family:'DejaVu Sans',sans-serif}</style>"
    head, _, rest = svg.partition(">")
    head = head.replace(
        "<svg ",
        f'<svg xmlns="http://www.w3.org/2000/svg" style="background:white" fill="{INK}" ',
        1,
    )
    return f"{head}>{style}{rest}\n"
