"""What a ranking table shows: quality with and without seen items, what lists are like, costs, and paired differences, in words too."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clickprint.apps.run.terminal import COLUMNS, _clean
from clickprint.apps.scale.figures import alone
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_text
from clickprint.core.rng import RNG
from clickprint.metrics import compare
from clickprint.report.figure import (
    COLOURS,
    SOFT,
    _blank,
    _count,
    _grid,
    _names,
    _scores_axis,
    _whisker,
    draw,
)
from clickprint.tasks.board import Estimate, Gap, figure, gap_text
from clickprint.tasks.ranking import RESAMPLES, RankingScore

if TYPE_CHECKING:  # matplotlib takes half a second: imported where a figure is made
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS: Mapping[str, bool] = {
    "unseen": False,
    "seen": True,
}  # whether items of the history may be given again
SAID: Mapping[str, str] = {
    "unseen": "items of the history are not given again",
    "seen": "items of the history may be given again",
}
ABOUT: Mapping[str, str] = {
    "coverage": "share of the catalogue that is in any list",
    "surprise": "mean −log2 of the share of users who had an item",
    "spread": "share of a list's pairs of different categories",
}
USERS = 16_384  # at a time


@dataclass(frozen=True, eq=False)
class Unit:
    """One model and seed that was scored: unit.json, and each metric of each user in both forms."""

    about: Mapping[str, Any]
    users: Int64[np.ndarray, "U"]
    values: Mapping[str, np.ndarray]  # form → metric × user
    seconds: float  # of the fit; NaN where nothing was fitted, or nothing is known

    def score(self, form: str, rng: RNG) -> RankingScore:
        """As tasks.ranking.score gave it."""
        values = {
            m: np.asarray(v) for m, v in zip(self.about["metrics"], self.values[form], strict=True)
        }
        lists = {k: float("nan") if v is None else v for k, v in self.about["lists"][form].items()}
        return RankingScore(self.users, values, lists, rng)


@dataclass(frozen=True, eq=False)
class Line:
    """A model of the table: its units, one a seed."""

    name: str
    kind: Literal["encoder", "bar"]
    of: str
    units: tuple[Unit, ...]

    def mean(self, form: str, metric: str) -> float:
        """Over seeds, of the means over users."""
        return float(np.mean([u.about["means"][form][metric] for u in self.units]))

    def deviation(self, form: str, metric: str) -> float:
        """Of the seeds' means, with n − 1; NaN for one seed."""
        found = [u.about["means"][form][metric] for u in self.units]
        return float(np.std(found, ddof=1)) if len(found) > 1 else float("nan")

    def lists(self, form: str, key: str) -> float:
        """What lists are like, the mean over seeds; NaN where it is not known."""
        found = [u.about["lists"][form].get(key) for u in self.units]
        return float(np.mean([np.nan if v is None else v for v in found]))

    @property
    def parameters(self) -> int | None:
        found = self.units[0].about["parameters"]
        return None if found is None else sum(found.values())

    @property
    def epochs(self) -> list[int]:
        """The epochs whose state was kept, a number a seed; empty for a bar."""
        return [u.about["best_epoch"] for u in self.units if "best_epoch" in u.about]

    @property
    def seconds(self) -> float:
        """Of a seed's fit."""
        return float(np.mean([u.seconds for u in self.units]))


@dataclass(frozen=True, eq=False)
class Ranking:
    """What was scored in one stage, in the recipe's order. `measure`, with `seen` items or not, is what models are compared by."""

    name: str
    stage: str
    measure: str
    seen: bool
    lines: tuple[Line, ...]
    rng: RNG
    seeds: int = 1  # of the recipe

    def __post_init__(self) -> None:
        first = self.lines[0].units[0]
        if any(
            not np.array_equal(u.users, first.users) for line in self.lines for u in line.units
        ):
            raise DataError(
                self.name,
                [
                    "models were asked about other users; remove the folder's units of other data and call again"
                ],
            )

    @property
    def form(self) -> str:
        return "seen" if self.seen else "unseen"

    @property
    def metrics(self) -> list[str]:
        return list(self.lines[0].units[0].about["metrics"])

    def line(self, name: str) -> Line:
        """A model by its name. Raises ConfigError."""
        for line in self.lines:
            if line.name == name:
                return line
        raise ConfigError(
            f"found no model {name!r} in the table, expected one of {', '.join(x.name for x in self.lines)}"
        )

    def best(self, kind: str, form: str = "") -> Line | None:
        """The encoder, or the bar, with the highest measure (the first of equal ones); None where there is none."""
        found = [x for x in self.lines if x.kind == kind]
        return max(found, key=lambda x: x.mean(form or self.form, self.measure), default=None)

    @cached_property
    def _replicates(self) -> dict[tuple[str, str], Float64[np.ndarray, "M R"]]:
        """(model, form) → the mean over seeds and users in each resample of users; RankingScore.replicates, for all at once.

        Nobody who is asked lacks an item that is right, so no value is NaN. Memory holds USERS users' values at a time.
        """
        users, keys = self.lines[0].units[0].users, [(x, f) for x in self.lines for f in FORMS]
        sums = np.zeros((RESAMPLES, len(keys) * len(self.metrics) + 1))
        for start in range(0, len(users), USERS):
            rows = slice(start, start + USERS)
            weights = compare.resample_weights(
                users[rows], RESAMPLES, self.rng.child("users").integer()
            )
            columns = [np.mean([u.values[f][:, rows] for u in x.units], axis=0) for x, f in keys]
            sums += compare.weighted_sums(
                np.concatenate([*columns, np.ones((1, len(users[rows])))]).T, weights
            )
        number = sums[:, -1:]
        means = np.where(number > 0, sums[:, :-1] / np.maximum(number, 1), np.nan).T
        parts = np.split(means, len(keys))
        return {(x.name, f): part for (x, f), part in zip(keys, parts, strict=True)}

    def replicates(self, line: Line, form: str, metric: str) -> Float64[np.ndarray, "R"]:
        found: np.ndarray = self._replicates[line.name, form][self.metrics.index(metric)]
        return found

    def estimate(self, line: Line, form: str, metric: str) -> Estimate:
        """The mean over seeds, and its 95 % interval over users."""
        low, high = compare.intervals(self.replicates(line, form, metric))
        return Estimate(line.mean(form, metric), float(low), float(high))

    def above(self, one: Line, other: Line, form: str = "", metric: str = "") -> Gap:
        """How much `one` is above `other` on the same users; the mean over seeds of each."""
        form, metric = form or self.form, metric or self.measure
        found = compare.difference(
            self.replicates(one, form, metric), self.replicates(other, form, metric)
        )
        return Gap(one.mean(form, metric) - other.mean(form, metric), *found)

    def ordered(self, form: str = "") -> list[Line]:
        """The best first; equal ones in the recipe's order."""
        return sorted(self.lines, key=lambda x: -x.mean(form or self.form, self.measure))

    def mark(self, line: Line, form: str = "") -> str:
        """`baseline`, `best bar`, `encoder`, `best encoder`."""
        return f"best {line.kind}" if line is self.best(line.kind, form) else line.kind

    # -- words ------------------------------------------------------------------------------------------------------------------

    def words(self) -> list[str]:
        """What the table shows, plainly: also that a bar wins."""
        return [self._said(form) for form in sorted(FORMS, key=lambda f: f != self.form)]

    def _said(self, form: str) -> str:
        encoder, baseline = self.best("encoder", form), self.best("bar", form)
        where = f"{SAID[form]}: "
        if encoder is None or baseline is None:
            best = self.ordered(form)[0]
            return f"{where}{best.name} is best by {self.measure}, {figure(best.mean(form, self.measure))}"
        gap = self.above(encoder, baseline, form)
        verdict = {1: "is above", -1: "is below", 0: "is not shown to differ from"}[gap.shown]
        wins = f"; the bar {baseline.name} wins" if gap.shown < 0 else ""
        return f"{where}the best encoder, {encoder.name}, {verdict} the best bar, {baseline.name}, by {self.measure} {gap_text(gap, 4)}{wins}"

    def notes(self) -> list[str]:
        """What the table rests on."""
        about = self.lines[0].units[0].about
        empty = f", {about['empty']:,} of them without a history" if about["empty"] else ""
        said = [
            f"{about['data']}, fingerprint {about['fingerprint']}; {about['said']}: {about['asked']:,} users are asked{empty}"
        ]
        few = [
            f"{x.name} {len(x.units)}"
            for x in self.lines
            if x.units[0].about["seed"] is not None and len(x.units) < self.seeds
        ]
        said += [f"of {self.seeds} seeds are here only: {', '.join(few)}"] if few else []
        kept = [
            x.name
            for x in self.lines
            if self.stage == "test" and x.units[0].about.get("epochs") == 0
        ]
        said += (
            [
                f"not trained again for the test (refit = false), so without seconds here: {', '.join(kept)}"
            ]
            if kept
            else []
        )
        said.append(
            f"intervals are 95 % over users, {RESAMPLES:,} shared resamples; sd: of the seeds' means"
        )
        if self.stage == "validation" and self.best("encoder"):
            said.append(
                f"an encoder that stops early stopped where {self.measure} of these very items was best ({SAID[self.form]})"
            )
        return said

    # -- tables -----------------------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """A row for each model, form and metric; what lists are like has no interval."""
        out = []
        for line in self.lines:
            of = {"model": line.name, "kind": line.kind, "of": line.of, "seeds": len(line.units)}
            for form in FORMS:
                for metric in self.metrics:
                    found = self.estimate(line, form, metric)
                    out.append(
                        {
                            **of,
                            "form": form,
                            "metric": metric,
                            **found._asdict(),
                            "sd": line.deviation(form, metric),
                        }
                    )
                out += [
                    {**of, "form": form, "metric": key, "value": line.lists(form, key)}
                    for key in ABOUT
                ]
        return out

    def to_csv(self) -> str:
        text = io.StringIO()
        heads = ["model", "kind", "of", "seeds", "form", "metric", "value", "low", "high", "sd"]
        writer = csv.DictWriter(text, heads, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: "" if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
            for row in self.rows()
        )
        return text.getvalue()

    def to_plain(self) -> dict[str, Any]:
        """What the JSON file holds: models with their seeds, rows, every pair's difference; a number that is none is null."""
        models = [
            {
                "model": x.name,
                "mark": self.mark(x),
                "parameters": x.parameters,
                "seconds": x.seconds,
                "units": [{**u.about, "seconds": u.seconds} for u in x.units],
            }
            for x in self.lines
        ]
        pairs = [
            {
                "model": a.name,
                "other": b.name,
                "form": form,
                "metric": self.measure,
                **self.above(a, b, form)._asdict(),
            }
            for form in FORMS
            for i, a in enumerate(self.lines)
            for b in self.lines[i + 1 :]
        ]
        plain = {
            "name": self.name,
            "stage": self.stage,
            "measure": self.measure,
            "form": self.form,
            "models": models,
            "rows": self.rows(),
        }
        found: dict[str, Any] = _finite(
            {**plain, "pairs": pairs, "words": self.words(), "notes": self.notes()}
        )
        return found

    def tables(self) -> "list[Grid]":
        """What the terminal and the Markdown file show."""
        return [
            *(self._quality(form) for form in sorted(FORMS, key=lambda f: f != self.form)),
            self._lists(),
            self._costs(),
        ]

    def _quality(self, form: str) -> "Grid":
        rows = []
        for x in self.ordered(form):
            found = [self.estimate(x, form, m) for m in self.metrics]
            half = ["" if np.isnan(e.low) else f"±{figure((e.high - e.low) / 2)}" for e in found]
            rows.append(
                (
                    (x.name, self.mark(x, form)),
                    *((figure(e.value), h) for e, h in zip(found, half, strict=True)),
                )
            )
        return Grid(SAID[form], ("model", *self.metrics), rows)

    def _lists(self) -> "Grid":
        rows = [
            (
                (x.name, ""),
                *(
                    (figure(x.lists(f, k), 2 if k == "surprise" else 4), "")
                    for f in FORMS
                    for k in ABOUT
                ),
            )
            for x in self.ordered()
        ]
        heads = [k if f == "unseen" else f"{k}, seen" for f in FORMS for k in ABOUT]
        return Grid("what lists are like", ("model", *heads), rows)

    def _costs(self) -> "Grid":
        baseline, encoder = self.best("bar"), self.best("encoder")
        rows = []
        for x in self.ordered():
            gaps = [
                "" if y is None or x is y else gap_text(self.above(x, y), 4)
                for y in (baseline, encoder)
            ]
            epochs = ", ".join(map(str, x.epochs))
            size = "" if x.parameters is None else _count(x.parameters)
            seconds = "" if np.isnan(x.seconds) else f"{x.seconds:,.0f}"
            cells = [
                str(len(x.units)),
                figure(x.deviation(self.form, self.measure)),
                size,
                epochs,
                seconds,
                *gaps,
            ]
            rows.append(((x.name, self.mark(x)), *((c, "") for c in cells)))
        heads = (
            "model",
            "seeds",
            "sd",
            "parameters",
            "epochs",
            "seconds",
            "over the best bar",
            "over the best encoder",
        )
        return Grid(f"{self.measure}, {SAID[self.form]}", heads, rows)

    def to_markdown(self) -> str:
        parts = [f"# {self.name}: {self.stage}", *(g.to_markdown() for g in self.tables())]
        parts += [
            "\n".join(
                f"- {line}"
                for line in [
                    *self.words(),
                    *self.notes(),
                    *(f"{k}: {v}" for k, v in ABOUT.items()),
                ]
            )
        ]
        return _clean("\n\n".join(parts)) + "\n"


class Grid(NamedTuple):
    """A table of texts; a cell has a second, paler part."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[tuple[str, str]]]

    def to_markdown(self) -> str:
        lines = [list(self.heads), ["---", *("---:" for _ in self.heads[1:])]]
        lines += [
            [" ".join(p for p in cell if p).replace("|", "\\|") for cell in row]
            for row in self.rows
        ]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _finite(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {k: _finite(v) for k, v in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(v) for v in found]
    return None if isinstance(found, float) and not np.isfinite(found) else found


def show(ranking: Ranking, console: Console | None = None) -> None:
    """Prints the table, and what it shows (on standard output by default)."""
    console = console or Console(highlight=False)
    if console.width > COLUMNS or not console.is_terminal:
        console.width = COLUMNS
    console.print(Text(_clean(f"{ranking.name}: {ranking.stage}"), style="bold"))
    for grid in ranking.tables():
        table = Table(
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            title=_clean(grid.title),
            title_justify="left",
        )
        for place, head in enumerate(grid.heads):
            table.add_column(
                head.replace("@", "\n@").replace("over the ", "over the\n").replace(", ", ",\n"),
                justify="right" if place else "left",
            )
        for row in grid.rows:
            cells = [
                Text(_clean(a)).append(f"\n{_clean(b)}" if b else "", style="dim") for a, b in row
            ]
            table.add_row(*cells)
        console.print(table)
    for line in ranking.words():
        console.print(Text(f"• {_clean(line)}"))
    for line in ranking.notes():
        console.print(Text(_clean(line), style="dim"))


def write(ranking: Ranking, base: Path) -> None:
    """BASE.md, .csv, .json and .svg."""
    write_text(base.with_suffix(".md"), ranking.to_markdown())
    write_text(base.with_suffix(".csv"), ranking.to_csv())
    write_text(
        base.with_suffix(".json"),
        json.dumps(ranking.to_plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )
    drawn = draw(
        lambda: picture(ranking),
        f"{ranking.name}, {ranking.stage}: {ranking.measure} of each model",
    )
    assert drawn is not None
    write_text(base.with_suffix(".svg"), alone(drawn.svg))


def picture(ranking: Ranking) -> "Figure":
    """The measure of each model with its interval, in both forms; the dashed line is the best bar's."""
    order = ranking.ordered()
    drawn = _blank(1.0 + 0.26 * len(order))
    drawn.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    panels = drawn.subplots(1, len(FORMS), squeeze=False)[0]
    for place, (ax, form) in enumerate(
        zip(panels, sorted(FORMS, key=lambda f: f != ranking.form), strict=True)
    ):
        _panel(ax, ranking, order, form, names=place == 0)
    seeds = "; hollow = each seed" if ranking.seeds > 1 else ""
    said = f"{ranking.measure}, {ranking.stage}; blue = encoders, grey = bars; band = 95 % interval over users{seeds}; dashed = best bar"
    drawn.supxlabel(said, fontsize=8.5, color=SOFT)
    return drawn


def _panel(ax: "Axes", ranking: Ranking, order: Sequence[Line], form: str, *, names: bool) -> None:
    baseline = ranking.best("bar", form)
    if baseline is not None:
        ax.axvline(
            baseline.mean(form, ranking.measure), color=SOFT, linewidth=1, linestyle=(0, (3, 3))
        )
    for y, line in enumerate(order):
        colour = COLOURS[0] if line.kind == "encoder" else COLOURS[7]
        found = ranking.estimate(line, form, ranking.measure)
        _whisker(ax, y, found, colour)
        ax.plot([found.value], [y], "o", color=colour, markersize=5)
        if len(line.units) > 1:
            each = [u.about["means"][form][ranking.measure] for u in line.units]
            ax.plot(
                each,
                [y] * len(each),
                "o",
                color=colour,
                markersize=3.5,
                markerfacecolor="none",
                alpha=0.7,
            )
    _names(ax, [x.name for x in order], show=names)
    _scores_axis(ax.xaxis)
    _grid(ax)
    ax.set_title(SAID[form], fontsize=8.5)
