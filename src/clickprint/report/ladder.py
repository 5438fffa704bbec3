"""A ladder of sizes as tables, files and a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from clickprint.core.files import whole, write_text
from clickprint.core.text import count, csv_text, json_text, short
from clickprint.report import terminal
from clickprint.report.figure import (
    COLOURS,
    SHAPES,
    caption,
    count_axis,
    draw,
    grid_lines,
    log_axis,
    panels,
    power_axis,
    score_axis,
    standalone,
    whisker,
)
from clickprint.report.page import Note, Words
from clickprint.report.table import Grid
from clickprint.tasks.ladder import AGAINST, LOSS, Ladder, Step, exponent, share

if TYPE_CHECKING:  # matplotlib takes half a second: imported where a figure is made
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def show(ladder: Ladder, console: Console | None = None) -> None:
    """Print the ladder, means over seeds, and what it shows, on standard output by default."""
    terminal.show([*grids(ladder), Words(ladder.words()), *map(Note, ladder.notes)], console)


def write(ladder: Ladder, folder: Path) -> None:
    """Write scaling.csv, .json, .svg and .png."""
    write_text(folder / "scaling.csv", csv_text(ladder.rows()))
    write_text(folder / "scaling.json", json_text(ladder.plain()))
    label = f"{ladder.name}: {ladder.metric} against parameters and compute"
    drawn = draw(lambda: picture(ladder), label)
    assert drawn is not None
    write_text(folder / "scaling.svg", standalone(drawn.svg))
    with whole(folder / "scaling.png") as part:
        part.write_bytes(drawn.png)


def grids(ladder: Ladder) -> list[Grid]:
    """What sizes cost, how good they are, and the power laws where there are some."""
    costs = "shape", "trained on", "embeddings", "layers", "FLOPs", "seconds", "epochs", "best"
    quality = "train loss", LOSS, ladder.metric, "over the smaller"
    several = len(ladder.fractions) > 1
    lines: list[tuple[list[str], list[str]]] = []
    for fraction in ladder.fractions:
        before: Step | None = None
        for step in ladder.on(fraction):
            name = f"{step.size:g}" + (f" of {share(fraction)}" if several else "")
            lines.append(([name, *_costs(step)], [name, *_quality(ladder, step, before)]))
            before = step
    found = [
        Grid(ladder.name, ("size", *costs), [a for a, _ in lines]),
        Grid("validation", ("size", *quality), [b for _, b in lines]),
    ]
    laws = []
    for fraction in ladder.fractions:
        known = ladder.laws(fraction)
        for metric in dict.fromkeys(m for m, _ in known):
            name = metric + (f", {share(fraction)}" if several else "")
            cells = [exponent(known[metric, x]) if (metric, x) in known else "–" for x in AGAINST]
            laws.append((name, *cells))
    title = "power laws: exponent and its 95 % interval (in brackets where it holds 0)"
    return [*found, *([Grid(title, ("of", *AGAINST.values()), laws)] if laws else [])]


def _costs(step: Step) -> list[str]:
    return [
        " × ".join(str(v) for v in step.rungs[0].shape.values()),
        f"{step.mean('users'):,.0f}",
        count(step.mean("embedding")),
        count(step.mean("layers")),
        f"{step.mean('flops'):.2g}",
        f"{step.mean('seconds'):,.0f}",
        f"{step.mean('epochs'):.3g}",
        f"{step.mean('best_epoch'):.3g}",
    ]


def _quality(ladder: Ladder, step: Step, before: Step | None) -> list[str]:
    return [
        f"{step.mean('train_loss'):.3f}",
        f"{step.estimate(LOSS).value:.3f}",
        step.estimate(ladder.metric).text(4),
        step.above(before, ladder.metric).text(4) if before else "",
    ]


# -- the picture -----------------------------------------------------------------------------


def picture(ladder: Ladder) -> "Figure":
    """The metric (above) and the loss of the right item (below) against parameters and compute.

    Horizontal axes are logarithmic. A power law is drawn where its interval leaves 0 out.
    """
    across = len(AGAINST)
    drawn, axes = panels(2 * across, across, 2.7, sharex="col", sharey="row")
    for n, metric in enumerate((ladder.metric, LOSS)):
        row = axes[n * across : (n + 1) * across]
        for ax, x in zip(row, AGAINST, strict=True):
            _panel(ax, ladder, metric, x)
        row[0].set_ylabel("loss, right item" if metric == LOSS else short(metric))
        if metric == LOSS:
            row[0].locator_params(axis="y", nbins=4, steps=[1, 2, 2.5, 5, 10])
        else:
            score_axis(row[0].yaxis)
    for ax, text in zip(axes[across:], AGAINST.values(), strict=True):
        ax.set_xlabel(text)
    if len(ladder.fractions) > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        columns = min(len(labels), 5)
        drawn.legend(handles, labels, loc="outside upper left", ncols=columns, handlelength=1.2)
    shown = any(law.shown for f in ladder.fractions for law in ladder.laws(f).values())
    several = len(ladder.steps[0].rungs)
    seeds = f", hollow = each of {several} seeds" if several > 1 else ""
    laws = ", dashed = power law" if shown else ""
    caption(drawn, f"validation; bar = 95 % interval over users{seeds}{laws}")
    return drawn


def _panel(ax: "Axes", ladder: Ladder, metric: str, x: str) -> None:
    for i, fraction in enumerate(ladder.fractions):
        colour, shape = COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)]
        steps = ladder.on(fraction)
        at = np.array([s.mean(x) for s in steps])
        found = [s.estimate(metric) for s in steps]
        for place, each in zip(at, found, strict=True):
            whisker(ax, place, each, colour, upright=True)
        values, label = [e.value for e in found], f"{share(fraction)} of the users"
        line: dict[str, Any] = {"marker": shape, "color": colour, "linewidth": 1}
        ax.plot(at, values, "-", markersize=5, label=label, **line)
        for step in steps:
            if len(step.rungs) > 1:
                seeds = np.array([(getattr(r, x), r.means[metric]) for r in step.rungs])
                hollow: dict[str, Any] = {
                    "markersize": 3.5,
                    "markerfacecolor": "none",
                    "alpha": 0.7,
                }
                ax.plot(*seeds.T, shape, color=colour, **hollow)
        law = ladder.laws(fraction).get((metric, x))
        if law is not None and law.shown:
            places = np.geomspace(at.min(), at.max(), 50)
            ax.plot(places, law(places), color=colour, linewidth=1, linestyle=(0, (3, 3)))
    every = [s.mean(x) for s in ladder.steps]
    if min(every) > 0:
        ax.set_xscale("log")
        log_axis(ax.xaxis, min(every), max(every))
    else:  # layers without a parameter
        count_axis(ax.xaxis)
    if x == "flops":
        power_axis(ax.xaxis)
    grid_lines(ax, "both")
    ax.margins(x=0.08)
