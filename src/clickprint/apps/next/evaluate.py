"""The rolling evaluation: the whole recipe on several windows, each trained on what lies before.

OUT/evaluate/profiles/         the encoders whose profiles are features, fitted before all windows
OUT/evaluate/trained/<start>/  what a window teaches, shared by the windows after it
OUT/evaluate/windows/<start>/  scores.parquet (a row a buyer), about.json
OUT/evaluate/                  table.md, table.csv, results.json, recall.svg, differences.svg
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickprint.apps.next.candidates import make_candidates
from clickprint.apps.next.features import fit_profiles, load_profiles
from clickprint.apps.next.recipe import WINDOWS
from clickprint.apps.next.split import windows_of
from clickprint.core.errors import ConfigError
from clickprint.core.files import write_text
from clickprint.core.options import plain
from clickprint.core.text import csv_text, json_text
from clickprint.core.time import Time, Window
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.metrics.calibration import equal_count_bins, expected_calibration_error
from clickprint.recommenders import funnel
from clickprint.recommenders.comparison import (
    METRIC,
    RESAMPLES,
    TYPES,
    Comparison,
    best_words,
    lines_of,
    pairs_of,
    verdict_words,
)
from clickprint.recommenders.evaluate import Scores, scored
from clickprint.recommenders.examples import load_example, save_example
from clickprint.recommenders.windows import Windows, bought, day
from clickprint.report.comparison import lines_grid, lines_picture, pairs_grid, pairs_picture
from clickprint.report.figure import draw, standalone
from clickprint.report.table import Grid
from clickprint.work.facts import commit
from clickprint.work.folder import digest, make_folder
from clickprint.work.pipeline import read_json
from clickprint.work.stages import code_digest

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def evaluate(run: "Run", windows: int | None = None) -> str:
    """Score the windows that were not scored yet, and write the table of all.

    Raises ConfigError, DataError.
    """
    count = run.recipe.evaluate.windows if windows is None else windows
    if not WINDOWS.holds(count):
        raise ConfigError(f"--windows: found {count}, expected {WINDOWS.expected}")
    run.perform("read")
    folder = run.out / "evaluate"
    with run.stages.work.lock(), run.log() as log:
        asked = windows_of(run, log, count)
        oldest = min(each.train[0].start for each in asked)
        inputs = _inputs(run, oldest)
        with run.stages.cost("evaluate", inputs):
            profiles = partial(fit_profiles, run, log, oldest)
            make_folder(folder / "profiles", digest(inputs, oldest), profiles)
            for done, each in enumerate(asked):
                run.progress("windows", done, count)
                make = partial(_window, run, log, each, folder, inputs)
                own = digest(inputs, each.to_json())
                make_folder(folder / "windows" / day(each.valid.start), own, make)
            run.progress("windows", count, count)
        places = [folder / "windows" / day(each.valid.start) for each in asked]
        scores = [Scores.load(place / "scores.parquet") for place in places]
        abouts = [read_json(place / "about.json") for place in places]
        return write(run, folder, scores, abouts)


def _inputs(run: "Run", oldest: Time) -> str:
    """Profiles are fitted before the oldest window, so older windows change them all."""
    recipe = run.recipe
    roots = [name for names in run.stages.roots.values() for name in names]
    return digest(
        run.stages.need("read"),
        code_digest("clickprint.apps.next.evaluate", *roots),
        plain(recipe.purchase),
        plain(recipe.evaluate.shares),
        plain(recipe.windows),
        oldest if recipe.profiles else None,
    )


def _window(
    run: "Run", log: EventLog, asked: Windows, above: Path, inputs: str, folder: Path
) -> None:
    taught, profiles, purchase = [], load_profiles(above), run.recipe.purchase
    for window in asked.train:
        place = above / "trained" / day(window.start)
        make_folder(place, digest(inputs, window.start), partial(_teach, run, log, window, above))
        taught.append(load_example(place))
    start = asked.valid.start
    progress = run.at(start)
    fitted = funnel.fit(purchase, taught, rng=run.rng("fit"), profiles=profiles, progress=progress)
    del taught
    past, truth = past_of(log, start), bought(log, asked.valid)
    pairs = make_candidates(run, past)
    plan = fitted.plan(past, pairs, progress=progress)
    shares, rng = run.recipe.evaluate.shares, run.rng("bars")
    scores = scored(past, truth, pairs, plan, purchase, shares, rng=rng, progress=progress)
    scores.save(folder / "scores.parquet")
    bins = equal_count_bins(plan.propensity, np.isin(past.users, truth.users))
    about = {
        "from": day(start),
        "train": [day(w.start) for w in asked.train],
        "users": len(past.users),
        "buyers": len(truth.users),
        "items": float(truth.items.lengths.mean()) if len(truth.users) else 0.0,
        "candidates": len(pairs) / len(past.users),
        "calibration_error": expected_calibration_error(bins),
        "bins": bins,
    }
    write_text(folder / "about.json", json_text(about))


def _teach(run: "Run", log: EventLog, window: Window, above: Path, folder: Path) -> None:
    past, truth = past_of(log, window.start), bought(log, window)
    pairs = make_candidates(run, past, truth)
    known = funnel.example(past, run.recipe.purchase, pairs, load_profiles(above))
    save_example((*known, truth), folder)


# -- the table --------------------------------------------------------------------------------


def write(
    run: "Run", folder: Path, scores: Sequence[Scores], abouts: Sequence[Mapping[str, Any]]
) -> str:
    """table.md, table.csv, results.json and two pictures; what a person is told."""
    recipe, found = run.recipe, Comparison.of(scores)
    users = recipe.next.max_users
    told = found.to_json(users)
    lines, pairs = list(lines_of(told).values()), pairs_of(told)
    buyers = sum(a["buyers"] for a in abouts)
    words = [
        f"{len(abouts)} windows of {recipe.next.days} days, {abouts[0]['from']} to"
        f" {abouts[-1]['from']}: {buyers:,} buyers; mean recall of {recipe.next.list_length} items"
        " over all buyers, intervals over users and windows",
        best_words(told),
        *verdict_words(found.hypotheses(users)),
    ]
    grids = [
        lines_grid(METRIC, "recall", lines, TYPES),
        pairs_grid(pairs),
        _windows_grid(abouts),
    ]
    title = f"Next purchase, rolling: {recipe.log}"
    listed = "\n".join(f"- {w}" for w in words)
    text = "\n\n".join([f"# {title}", listed, *(g.to_markdown() for g in grids)])
    write_text(folder / "table.md", text + "\n")
    write_text(folder / "table.csv", csv_text(found.rows()))
    told |= {
        "log": recipe.log,
        "commit": commit(),
        "resamples": RESAMPLES,
        "windows": list(abouts),
        "words": words,
        "recipe": plain(recipe.purchase),
    }
    write_text(folder / "results.json", json_text(told))
    kept = [line for line in lines if line.type != "ceiling"]
    for name, picture in {
        "recall": partial(lines_picture, kept, TYPES, METRIC, dashed=told["best_rival"]),
        "differences": partial(pairs_picture, pairs, "recall"),
    }.items():
        if (drawn := draw(picture, f"{title}: {name}")) is not None:
            write_text(folder / f"{name}.svg", standalone(drawn.svg))
    files = [f"table: {folder / 'table.md'}", f"picture: {folder / 'recall.svg'}"]
    return "\n".join([*words, *files])


def _windows_grid(abouts: Sequence[Mapping[str, Any]]) -> Grid:
    texts = {
        "from": "{from}",
        "trained on": "{trained}",
        "users": "{users:,}",
        "buyers": "{buyers:,}",
        "items a buyer": "{items:.1f}",
        "candidates a user": "{candidates:,.0f}",
        "calibration error": "{calibration_error:.4f}",
    }
    each = [{**a, "trained": ", ".join(a["train"])} for a in abouts]
    rows = [[text.format(**a) for text in texts.values()] for a in each]
    return Grid("windows", list(texts), rows, align="llr")
