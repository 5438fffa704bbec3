"""A ranking table as words, tables, files and a picture."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from clickprint.core.files import write_text
from clickprint.core.text import count, csv_text, figure, json_text, printable
from clickprint.metrics.compare import by_chance
from clickprint.report import terminal
from clickprint.report.figure import (
    COLOURS,
    Row,
    caption,
    dashed_line,
    draw,
    interval_rows,
    panels,
    standalone,
)
from clickprint.report.page import Heading, Note, Words
from clickprint.report.table import Cell, Grid
from clickprint.tasks.ranking import RESAMPLES
from clickprint.tasks.ranking_table import FORMS, ModelScores, RankingTable

if TYPE_CHECKING:  # matplotlib takes half a second: imported where a figure is made
    from matplotlib.figure import Figure

IN_WORDS: Mapping[str, str] = {
    "exclude_seen": "items of the history left out",
    "include_seen": "items of the history may be recommended",
}
LISTS: Mapping[str, str] = {
    "coverage": "share of the catalogue that is in any list",
    "novelty": "mean −log2 of the share of users who had an item",
    "category_diversity": "share of a list's pairs of different categories",
}


# -- words -----------------------------------------------------------------------------------


def words(table: RankingTable) -> list[str]:
    """What the table shows, plainly: also that a baseline wins."""
    return [f"{IN_WORDS[form]}: {_verdict(table, form)}" for form in table.forms]


def _verdict(table: RankingTable, form: str) -> str:
    network, baseline = table.best("network", form), table.best("baseline", form)
    if network is None or baseline is None:
        best = table.ordered(form)[0]
        return f"{best.name} is best by {table.metric}, {figure(best.mean(form, table.metric))}"
    gap = table.gap(network, baseline, form)
    verdict = {1: "is above", -1: "is below", 0: "is not shown to differ from"}[gap.shown]
    wins = f"; the baseline {baseline.name} wins" if gap.shown < 0 else ""
    return (
        f"the best network, {network.name}, {verdict} the best baseline, {baseline.name}, by"
        f" {table.metric} {gap.text(4)}{wins}"
    )


def notes(table: RankingTable) -> list[str]:
    """What the table rests on."""
    about = table.first.about
    empty = f", {about['empty']:,} of them without a history" if about["empty"] else ""
    lines = [
        f"{about['data']}, fingerprint {about['fingerprint']}; {about['text']}:"
        f" {about['asked']:,} users are asked{empty}"
    ]
    few = [
        f"{m.name} {len(m.seeds)}"
        for m in table.models
        if m.stochastic and len(m.seeds) < table.seeds
    ]
    lines += [f"of {table.seeds} seeds are here only: {', '.join(few)}"] if few else []
    kept = [m.name for m in table.models if m.seeds[0].about.get("epochs") == 0]
    if kept and table.stage == "test":
        why = "not trained again for the test (refit = false), so without seconds here"
        lines.append(f"{why}: {', '.join(kept)}")
    for m in table.models:
        if search := m.seeds[0].about.get("search"):
            best = ", ".join(f"{k} = {v}" for k, v in search["options"].items())
            edge = ", ".join(_at_an_end(search))
            lines.append(
                f"{m.name}: {best}, the best of {len(search['tried'])} settings by {table.metric}"
                f" on validation{'; at the end of what was tried: ' * bool(edge)}{edge}"
            )
    if table.other_code:
        lines.append(f"made by another version of the code: {', '.join(table.other_code)}")
    lines.append(
        f"intervals are 95 % over users and seeds, {RESAMPLES:,} shared resamples; sd: of the"
        " seeds' means"
    )
    alone = [m.name for m in table.models if m.stochastic and len(m.seeds) == 1]
    if alone:
        lines.append(f"of one seed, so over users alone: {', '.join(alone)}")
    if compared := by_chance(sum(len(_rivals(table, m)) for m in table.models)):
        lines.append(f"{compared}; best of its type is who is best in this very table")
    lines += table.tested
    if short := [m.name for m in table.models if table.stage == "validation" and m.cut_short]:
        lines.append(
            f"the best epoch is the last that training.epochs allows, so more may be better:"
            f" {', '.join(short)}"
        )
    if table.stage == "validation" and table.best("network"):
        lines.append(
            f"a network that stops early stopped where {table.metric} of these very items was"
            f" best ({IN_WORDS[table.form]})"
        )
    return lines


def _at_an_end(search: Mapping[str, Any]) -> list[str]:
    """Options whose best value is the lowest or highest of several that were tried."""
    found = []
    for option, best in search["options"].items():
        values = {t[option] for t in search["tried"]}
        numbers = all(isinstance(v, int | float) for v in values)
        if numbers and len(values) > 1 and best in (min(values), max(values)):
            found.append(option)
    return found


# -- tables ----------------------------------------------------------------------------------


def rows(table: RankingTable) -> list[dict[str, Any]]:
    """A row for each model, form and metric; what lists are like has no interval."""
    out = []
    for model in table.models:
        of = {"model": model.name, "type": model.type, "recommender": model.recommender}
        for form in FORMS:
            key = {**of, "seeds": len(model.seeds), "form": form}
            for metric in table.metrics:
                found = table.estimate(model, form, metric)._asdict()
                sd = model.deviation(form, metric)
                out.append({**key, "metric": metric, **found, "sd": sd})
                without, _ = model.learned(form, metric)
                if table.stage == "test" and not isnan(without):
                    out.append({**key, "metric": f"{metric}, without", "value": without})
            out += [{**key, "metric": k, "value": model.lists(form, k)} for k in LISTS]
    return out


def plain(table: RankingTable) -> dict[str, Any]:
    """What the JSON file holds: models with their seeds, rows, and every pair's gap."""
    return {
        "name": table.name,
        "stage": table.stage,
        "metric": table.metric,
        "form": table.form,
        "models": [
            {
                "model": m.name,
                "mark": _mark(table, m),
                "parameters": m.parameters,
                "seconds": m.seconds,
                "units": [{**s.about, "seconds": s.seconds} for s in m.seeds],
            }
            for m in table.models
        ],
        "rows": rows(table),
        "pairs": [
            {
                "model": a.name,
                "other": b.name,
                "form": form,
                "metric": table.metric,
                **table.gap(a, b, form)._asdict(),
            }
            for form in FORMS
            for i, a in enumerate(table.models)
            for b in table.models[i + 1 :]
        ],
        "words": words(table),
        "notes": notes(table),
    }


def grids(table: RankingTable) -> list[Grid]:
    """What the terminal and the Markdown file show."""
    learned = [_learned(table)] if table.stage == "test" else []
    return [*(_quality(table, f) for f in table.forms), *learned, _lists(table), _costs(table)]


def _mark(table: RankingTable, model: ModelScores, form: str = "") -> str:
    return f"best {model.type}" if model is table.best(model.type, form) else model.type


def _quality(table: RankingTable, form: str) -> Grid:
    lines = []
    for model in table.ordered(form):
        found = [table.estimate(model, form, m) for m in table.metrics]
        cells = [Cell(figure(e.value), f"±{figure(e.half)}") for e in found]
        lines.append((Cell(model.name, _mark(table, model, form)), *cells))
    return Grid(IN_WORDS[form], ("model", *table.metrics), lines)


def _learned(table: RankingTable) -> Grid:
    """Published figures are mostly of models that learned nothing of the validation's items."""
    at = table.metric[table.metric.index("@") :]
    metrics = [m for m in table.metrics if m.endswith(at)]
    lines = [
        (m.name, *(figure(v) for name in metrics for v in m.learned(table.form, name)))
        for m in table.ordered()
    ]
    heads = [f"{m}, {how}" for m in metrics for how in ("without", "with")]
    title = f"learned without and with the validation's items; {IN_WORDS[table.form]}"
    return Grid(title, ("model", *heads), lines)


def _lists(table: RankingTable) -> Grid:
    pairs = [(form, key) for form in FORMS for key in LISTS]
    lines = [
        (m.name, *(figure(m.lists(f, k), 2 if k == "novelty" else 4) for f, k in pairs))
        for m in table.ordered()
    ]
    heads = [k + (", with seen" if FORMS[f] else "") for f, k in pairs]
    return Grid("what lists are like", ("model", *heads), lines)


def _rivals(table: RankingTable, model: ModelScores) -> list[ModelScores]:
    """Whom a model is compared with: the best baseline and the best network, but itself."""
    both = table.best("baseline"), table.best("network")
    return [r for r in both if r is not None and r is not model]


def _costs(table: RankingTable) -> Grid:
    rivals = table.best("baseline"), table.best("network")
    lines = [
        (
            Cell(m.name, _mark(table, m)),
            str(len(m.seeds)),
            figure(m.deviation(table.form, table.metric)),
            "" if m.parameters is None else count(m.parameters),
            ", ".join(map(str, m.epochs)),
            f"{m.seconds:,.0f}" if m.seconds >= 0 else "",
            *(table.gap(m, r).text(4) if r in _rivals(table, m) else "" for r in rivals),
        )
        for m in table.ordered()
    ]
    heads = "seeds", "sd", "parameters", "epochs", "seconds"
    over = "over the best baseline", "over the best network"
    return Grid(f"{table.metric}, {IN_WORDS[table.form]}", ("model", *heads, *over), lines)


def markdown(table: RankingTable) -> str:
    parts = [f"# {table.name}: {table.stage}", *(g.to_markdown() for g in grids(table))]
    lines = [*words(table), *notes(table), *(f"{k}: {v}" for k, v in LISTS.items())]
    return printable("\n\n".join([*parts, "\n".join(f"- {line}" for line in lines)])) + "\n"


def show(table: RankingTable, console: Console | None = None) -> None:
    """Print the table and what it shows, on standard output by default."""
    head = Heading(f"{table.name}: {table.stage}")
    terminal.show([head, *grids(table), Words(words(table)), *map(Note, notes(table))], console)


def write(table: RankingTable, base: Path) -> None:
    """Write BASE.md, .csv, .json and .svg."""
    heads = "model", "type", "recommender", "seeds", "form", "metric", "value", "low", "high", "sd"
    write_text(base.with_suffix(".md"), markdown(table))
    write_text(base.with_suffix(".csv"), csv_text(rows(table), heads))
    write_text(base.with_suffix(".json"), json_text(plain(table)))
    label = f"{table.name}, {table.stage}: {table.metric} of each model"
    drawn = draw(lambda: picture(table), label)
    assert drawn is not None
    write_text(base.with_suffix(".svg"), standalone(drawn.svg))


def picture(table: RankingTable) -> "Figure":
    """The metric of each model with its interval, in both forms; dashed: the best baseline."""
    order = table.ordered()
    drawn, axes = panels(len(FORMS), len(FORMS), 1.0 + 0.26 * len(order))
    for ax, form in zip(axes, table.forms, strict=True):
        baseline = table.best("baseline", form)
        if baseline is not None:
            dashed_line(ax, baseline.mean(form, table.metric))
        found = [
            Row(
                m.name,
                table.estimate(m, form, table.metric),
                COLOURS[0] if m.type == "network" else COLOURS[7],
                each=m.each(form, table.metric) if len(m.seeds) > 1 else (),
            )
            for m in order
        ]
        interval_rows(ax, found, names=form == table.form)
        ax.set_title(IN_WORDS[form], fontsize=8.5)
    seeds = "; hollow = each seed" if table.seeds > 1 else ""
    caption(
        drawn,
        f"{table.metric}, {table.stage}; blue = networks, grey = baselines; band = 95 % interval"
        f" over users{seeds}; dashed = best baseline",
    )
    return drawn
