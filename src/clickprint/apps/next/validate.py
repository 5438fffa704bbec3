"""Stage `validate`: the models on the window after those that they were trained on.

OUT/validate/results.json   everything that the report shows
OUT/validate/metrics.json   the few numbers that runs are compared by
OUT/validate/table.csv      mean recall of each contender with its interval
OUT/validate/gate.json      whether the model becomes the champion, and why not
OUT/validate/examples.json  some lists with titles
OUT/validate/tracked.json   the run and the version in MLflow
"""

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from clickprint.apps.next.candidates import pairs_of
from clickprint.apps.next.register import champion_of, register, tracking
from clickprint.apps.next.train import trained
from clickprint.core.errors import DataError
from clickprint.core.files import write_text
from clickprint.core.text import csv_text, json_text
from clickprint.core.time import show
from clickprint.data.split import past_of
from clickprint.metrics.calibration import equal_count_bins, expected_calibration_error
from clickprint.metrics.ranking import coverage
from clickprint.recommenders.comparison import Comparison, best_words
from clickprint.recommenders.evaluate import RANKER, ceilings, scored
from clickprint.recommenders.gate import RAILS, Rivalry
from clickprint.recommenders.lists import readable, telling
from clickprint.recommenders.windows import bought

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
        shares, rng = run.recipe.evaluate.shares, run.rng("bars")
        scores = scored(
            past, truth, pairs, plan, fitted.recipe, shares, rng=rng, progress=progress
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
            "coverage": coverage(lists.items, known),
            "seconds": seconds,
        }
        write_text(folder / "results.json", json_text(found))
        write_text(folder / "table.csv", csv_text(comparison.rows()))
        rows = telling(plan, truth, scores.values[RANKER])
        write_text(folder / "examples.json", json_text(readable(log, plan, rows, truth)))
        numbers = {rail.name: found[rail.name] for rail in RAILS}
        with tracking(run) as models:
            recall = truth.recall(lists, asked.list_length)
            other = models and champion_of(run, models, fitted, past, pairs, truth)
            if not other:  # what everyone is shown: a limit of users is no fault of the ranker's
                best, recall = comparison.best_rival(), scores.values[RANKER]
                other = Rivalry(scores.values[best], best.label)
            gate = run.recipe.gate.verdict(numbers, scores.users, recall, other)
            metrics = comparison.metrics() | {
                "calibration_error": numbers["calibration_error"],
                "coverage": numbers["coverage"],
                "seconds_1000_users": seconds,
                "buyers": len(truth.users),
                "promoted": int(gate.promoted),
            }
            write_text(folder / "gate.json", json_text(run.recipe.gate.to_json(numbers, gate)))
            write_text(folder / "metrics.json", json_text(metrics))
            if models is not None:
                tracked = register(run, models, folder, metrics, promote=gate.promoted)
                write_text(folder / "tracked.json", json_text(tracked))
