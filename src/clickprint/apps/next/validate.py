"""Stage `validate`: the models on the window after those that they were trained on.

OUT/validate/results.json   everything that the report shows
OUT/validate/metrics.json   the few numbers that runs are compared by
OUT/validate/table.csv      mean recall of each contender with its interval
OUT/validate/gate.json      whether the model becomes the champion, and why not
OUT/validate/examples.json  some lists with titles
OUT/validate/tracked.json   the run and the version in MLflow
"""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from clickprint.apps.next.candidates import pairs_of
from clickprint.apps.next.champion import champion_of
from clickprint.apps.next.register import EXPERIMENT, register
from clickprint.apps.next.train import trained
from clickprint.apps.next.words import best_words
from clickprint.core.errors import DataError
from clickprint.core.files import write_text
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.core.text import csv_text, json_text
from clickprint.core.time import show
from clickprint.data.split import past_of
from clickprint.metrics.calibration import equal_count_bins, expected_calibration_error
from clickprint.recommenders.evaluate import RANKER, Comparison, Contender, ceilings, scored
from clickprint.recommenders.gate import RAILS, Verdict
from clickprint.recommenders.lists import readable, telling
from clickprint.recommenders.windows import bought
from clickprint.work.track import store

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def validate(run: "Run") -> str:
    """How good the models are, beside all that they must beat; whether they are the champion."""
    done = run.stages.make("validate", partial(_validate, run))
    found, gate = run.stages.json("validate", "results"), run.stages.json("validate", "gate")
    words = f"recall of {found['buyers']:,} buyers: {best_words(found)}"
    promoted = f"gate: {'promoted' if gate['promoted'] else 'not promoted'}"
    return "\n".join([done, words, promoted, *(f"  - {r}" for r in gate["reasons"])])


def _validate(run: "Run", folder: Path) -> None:
    valid, fitted, asked = run.windows().valid, trained(run), run.recipe.next
    progress = run.at(valid.start)
    with run.log() as log:
        past, truth = past_of(log, valid.start), bought(log, valid)
        if not len(truth.users):
            nobody = f"nobody bought in {valid}, so there is nothing to validate on"
            raise DataError(log.manifest.name, [nobody])
        pairs = pairs_of(run, valid.start)
        begun = perf_counter()
        plan = fitted.plan(past, pairs, progress=progress)
        seconds = (perf_counter() - begun) * 1_000 / max(len(past.users), 1)
        scores = scored(
            past,
            truth,
            pairs,
            plan,
            fitted.recipe,
            rng=run.rng("bars"),
            shares=run.recipe.evaluate.shares,
            progress=progress,
        )
        lists = plan.chosen(asked.max_users)
        bins = equal_count_bins(plan.propensity, np.isin(plan.lists.users, truth.users))
        known = len(fitted.recipe.features.fit(past).items)
        comparison = Comparison.of([scores])
        found = comparison.to_json(asked.max_users) | {
            "log": run.recipe.log,
            "window": [show(valid.start), show(valid.end)],
            "buyers": len(truth.users),
            "users": len(pairs.users),
            "items": known,
            "chosen": len(lists.users),
            "ceilings": ceilings(pairs, truth, fitted.recipe),
            "bins": bins,
            "calibration_error": expected_calibration_error(bins),
            "coverage": coverage(lists, known),
            "seconds": seconds,
        }
        write_text(folder / "results.json", json_text(found))
        write_text(folder / "table.csv", csv_text(comparison.rows()))
        rows = telling(plan, truth, scores.values[RANKER])
        write_text(folder / "examples.json", json_text(readable(log, plan, rows, truth)))
        on = run.recipe.track.on
        with store(run.out, EXPERIMENT) if on else nullcontext() as tracking:
            numbers = {rail.name: found[rail.name] for rail in RAILS}
            rivalry = champion_of(run, tracking, past, pairs, truth, fitted)
            recall = truth.recall(lists, asked.list_length)
            gate = run.recipe.gate.verdict(numbers, scores.users, recall, rivalry)
            write_text(folder / "gate.json", json_text(_gate(run, numbers, gate)))
            metrics = _metrics(comparison, found, gate)
            write_text(folder / "metrics.json", json_text(metrics))
            if tracking is not None:
                tracked = register(run, tracking, folder, metrics, promote=gate.promoted)
                write_text(folder / "tracked.json", json_text(tracked))


def coverage(lists: Recommendations, known: int) -> float:
    """The share of the known items that are in any list."""
    return len(np.unique(lists.items[lists.items != NONE])) / max(known, 1)


def _gate(run: "Run", numbers: Mapping[str, float], gate: Verdict) -> dict[str, Any]:
    return {
        "promoted": gate.promoted,
        "reasons": list(gate.reasons),
        "rails": [
            {"name": rail.name, "found": value, "limit": limit, "kept": kept}
            for rail, value, limit, kept in run.recipe.gate.rails(numbers)
        ],
        "gap": gate.gap and gate.gap._asdict(),
        "model": run.recipe.model if run.recipe.track.on else "",
    }


def _metrics(
    comparison: Comparison, found: Mapping[str, Any], gate: Verdict
) -> dict[str, float | int]:
    chosen = [c for c in comparison.replicates if c.type == "chosen"]
    return {
        "recall": comparison.mean(RANKER),
        "recall_best_baseline": comparison.mean(comparison.best_baseline()),
        "recall_ceiling": comparison.mean(Contender("ceiling", "union")),
        **{f"recall_{_count(c)}_users_by_{c.by}": comparison.mean(c) for c in chosen},
        "calibration_error": found["calibration_error"],
        "coverage": found["coverage"],
        "seconds_1000_users": found["seconds"],
        "buyers": found["buyers"],
        "promoted": int(gate.promoted),
    }


def _count(chosen: Contender) -> str:
    """`3000`, `10pct`; MLflow takes no other signs."""
    if chosen.share is None:
        return str(chosen.users)
    return f"{100 * chosen.share:g}pct".replace(".", "_")
