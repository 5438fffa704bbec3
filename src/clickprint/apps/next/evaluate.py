"""The rolling evaluation of next purchase: the whole recipe on several windows, each learned from what lies before it alone.

OUT/evaluate/profiles/          the encoders whose profiles are features, fitted before the oldest of all windows
OUT/evaluate/learned/<start>/   pairs.parquet, users.parquet, bought.parquet: what a window teaches, shared by those after it
OUT/evaluate/windows/<start>/   scores.parquet (a row a buyer), about.json
OUT/evaluate/table.{md,csv}, results.json, recall.svg, differences.svg
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.apps.next import figures
from clickprint.apps.next.gate import bins, off
from clickprint.apps.next.recipe import plain
from clickprint.apps.next.stages import (
    FORMAT,
    LOCK,
    PROFILES,
    Run,
    Windows,
    _code,
    _profiler,
    day,
    make_candidates,
    read,
    read_example,
    write_example,
)
from clickprint.apps.next.validate import RANKER, _json, best_baseline, compared, scored, table_csv
from clickprint.apps.rank.table import Grid
from clickprint.apps.scale.figures import alone
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_text
from clickprint.core.time import Time, Window
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.recommenders import funnel
from clickprint.recommenders.evaluate import RESAMPLES, Scores
from clickprint.recommenders.profiler import Profiler
from clickprint.recommenders.windows import bought, rolling
from clickprint.report.figure import draw
from clickprint.tasks.board import figure, gap_text
from clickprint.work.facts import commit
from clickprint.work.folder import digest, locked, make_folder


def evaluate(run: Run, windows: int | None = None) -> str:
    """Scores the windows that were not scored yet, and writes the table of all. Raises ConfigError, DataError."""
    count = run.recipe.evaluate.windows if windows is None else windows
    if count < 1:
        raise ConfigError(f"--windows: found {count}, expected at least 1")
    read(run)
    folder = run.out / "evaluate"
    with locked(run.out / LOCK), run.log() as log:
        log.manifest.need_clock("windows of days")
        span = log.span()
        if span is None:
            raise DataError(log.manifest.name, ["the log has no event"])
        asked = [
            Windows.before(w, span[0], run.recipe)
            for w in rolling(*span, days=run.recipe.next.days, count=count)
        ]
        oldest = min(w.start for each in asked for w in each.learn)
        inputs = _inputs(run, oldest)
        with run.cost("evaluate", inputs):
            make_folder(
                folder / PROFILES, digest(inputs, oldest), partial(_profiler, run, log, oldest)
            )
            for done, each in enumerate(asked):
                run.progress("windows", done, count)
                place = folder / "windows" / day(each.valid.start)
                make_folder(
                    place,
                    digest(inputs, each.json()),
                    partial(_window, run, log, each, folder / "learned", inputs),
                )
            run.progress("windows", count, count)
        scores = [_read(folder / "windows" / day(each.valid.start)) for each in asked]
        return write(run, folder, [s for s, _ in scores], [a for _, a in scores])


def _inputs(run: Run, oldest: Time) -> str:
    """Profiles are fitted before the oldest window, so asking for older windows changes them all."""
    asked = run.recipe.next
    parts = [
        plain(asked),
        list(run.recipe.evaluate.limits),
        asdict(run.recipe.windows),
        oldest if asked.profiles else None,
    ]
    return digest(FORMAT, _code("next"), run.need("read"), *parts)


def _window(
    run: Run, log: EventLog, asked: Windows, learned: Path, inputs: str, part: Path
) -> None:
    taught, profiles = [], Profiler.load(learned.parent / PROFILES / "fitted")
    for window in asked.learn:
        place = learned / day(window.start)
        make_folder(
            place, digest(inputs, window.start), partial(_learn, run, log, window, profiles)
        )
        taught.append(read_example(place))
    start = asked.valid.start
    progress = run.said(start)
    fitted = funnel.fit(
        run.recipe.next, taught, rng=run.rng("fit"), profiles=profiles, progress=progress
    )
    del taught
    past, truth = past_of(log, start), bought(log, asked.valid)
    pairs = make_candidates(run, past)
    plan = fitted.plan(past, pairs, progress=progress)
    found = scored(past, start, truth, pairs, plan, run.recipe.next, run, progress)
    pq.write_table(
        pa.table({"user": found.users, **{f"score {n}": v for n, v in found.values.items()}}),
        part / "scores.parquet",
    )
    calibrated = bins(plan.propensity, np.isin(past.users, truth.users))
    about = {
        "start": start,
        "from": day(start),
        "learned": [day(w.start) for w in asked.learn],
        "buyers": len(truth.users),
    }
    about |= {
        "users": len(past.users),
        "items": float(truth.items.lengths.mean()) if len(truth.users) else 0.0,
        "off": off(calibrated),
    }
    write_text(
        part / "about.json",
        _json(
            {
                **about,
                "bins": [b._asdict() for b in calibrated],
                "candidates": len(pairs) / len(past.users),
            }
        ),
    )


def _learn(run: Run, log: EventLog, window: Window, profiles: Profiler, part: Path) -> None:
    past, truth = past_of(log, window.start), bought(log, window)
    write_example(
        (
            *funnel.example(past, run.recipe.next, make_candidates(run, past, truth), profiles),
            truth,
        ),
        part,
    )


def _read(folder: Path) -> tuple[Scores, dict[str, Any]]:
    """A window that was scored. Raises DataError."""
    try:
        table = pq.read_table(folder / "scores.parquet")
        about = json.loads((folder / "about.json").read_text("utf-8"))
        start: Time = int(about["start"])
        values = {
            n.removeprefix("score "): table.column(n).to_numpy()
            for n in table.column_names
            if n != "user"
        }
        return Scores(start, table.column("user").to_numpy(), values), about
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as fault:
        raise DataError(
            str(folder), [f"cannot be read ({fault!r}); remove it, and it is made again"]
        ) from None


# -- the table --------------------------------------------------------------------------------------------------------------------


def write(
    run: Run, folder: Path, scores: Sequence[Scores], abouts: Sequence[Mapping[str, Any]]
) -> str:
    """table.md, table.csv, results.json and two pictures; what a person is told."""
    lines, gaps = compared(scores, run.recipe.next.users)
    best = best_baseline(lines)
    words = _words(run, lines, gaps, best, abouts)
    grids = _grids(lines, gaps, abouts)
    title = f"Next purchase, rolling: {run.recipe.log}"
    text = "\n\n".join(
        [f"# {title}", "\n".join(f"- {w}" for w in words), *(g.to_markdown() for g in grids)]
    )
    write_text(folder / "table.md", text + "\n")
    write_text(folder / "table.csv", table_csv(scores))
    found = {
        "log": run.recipe.log,
        "commit": commit(),
        "resamples": RESAMPLES,
        "windows": list(abouts),
        "best_bar": best,
        "lines": [{"name": x.name, "kind": x.kind, **x.found._asdict()} for x in lines],
        "pairs": [{"one": p.one, "other": p.other, **p.gap._asdict()} for p in gaps],
        "words": words,
        "recipe": plain(run.recipe.next),
    }
    write_text(folder / "results.json", _json(found))
    kept = [x for x in lines if x.kind != "ceiling"]
    for name, picture in {
        "recall": lambda: figures.against(kept, best),
        "differences": lambda: figures.differences(gaps),
    }.items():
        drawn = draw(picture, f"{title}: {name}")
        if drawn is not None:
            write_text(folder / f"{name}.svg", alone(drawn.svg))
    return "\n".join(
        [*words, f"table: {folder / 'table.md'}", f"picture: {folder / 'recall.svg'}"]
    )


def _words(
    run: Run,
    lines: Sequence[figures.Line],
    gaps: Sequence[figures.Pair],
    best: str,
    abouts: Sequence[Mapping[str, Any]],
) -> list[str]:
    of = {x.name: x.found for x in lines}
    over = {(p.one, p.other): p.gap for p in gaps}
    buyers = sum(a["buyers"] for a in abouts)
    said = [
        f"{len(abouts)} windows of {run.recipe.next.days} days, {abouts[0]['from']} to {abouts[-1]['from']}: {buyers:,} buyers; mean "
        f"recall of {run.recipe.next.products} products over all buyers, intervals over users and windows",
        f"ranker {gap_text(of[RANKER], 4, sign=False)}; best bar, {best}, {gap_text(of[best], 4, sign=False)}: "
        f"{figure(of[RANKER].value / of[best].value, 2) if of[best].value else '–'} times, difference {gap_text(over[RANKER, best], 4)}",
    ]
    behind = [
        p.other
        for p in gaps
        if p.one == RANKER and p.gap.shown < 1 and not p.other.startswith("source ")
    ]
    said.append(
        f"the ranker is not shown to be ahead of {', '.join(behind)}"
        if behind
        else "the ranker is ahead of every bar and method"
    )
    for pair in gaps:
        if pair.other.endswith("by chance alone"):
            verdict = {1: "is better than", 0: "is not shown to differ from", -1: "is worse than"}[
                pair.gap.shown
            ]
            limit = pair.other.removesuffix(" users by chance alone")
            said.append(
                f"choosing {limit} of the users by chance × recall {verdict} choosing by chance alone: {gap_text(pair.gap, 4)}"
            )
    return said


def _grids(
    lines: Sequence[figures.Line],
    gaps: Sequence[figures.Pair],
    abouts: Sequence[Mapping[str, Any]],
) -> list[Grid]:
    order = sorted(lines, key=lambda x: -x.found.value)
    return [
        Grid("mean recall over all buyers", ("lists", "kind", "recall [95 %]"), [
            [(x.name, ""), (figures.KINDS[x.kind][0], ""), (gap_text(x.found, 4, sign=False), "")] for x in order
        ]),
        Grid("paired differences", ("one", "less the other", "difference [95 %]"), [
            [(p.one, ""), (p.other, ""), (gap_text(p.gap, 4), "")] for p in gaps
        ]),
        Grid("windows", ("from", "learned from", "users", "buyers", "items a buyer", "candidates a user", "chances are off by"), [
            [(a["from"], ""), (", ".join(a["learned"]), ""), (f"{a['users']:,}", ""), (f"{a['buyers']:,}", ""),
             (f"{a['items']:.1f}", ""), (f"{a['candidates']:,.0f}", ""), (f"{a['off']:.4f}", "")] for a in abouts
        ]),
    ]  # fmt: skip
