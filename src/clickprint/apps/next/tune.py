"""Stage `tune`: the ranker's options, as the parameters give them or as a search found them.

OUT/tune/study.db    every trial, from which a search that was killed goes on
OUT/tune/trials.csv  options and recall of each trial
OUT/tune/best.json   the options that are taken, and what each option matters
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clickprint.apps.next.features import examples_of
from clickprint.core.files import write_text
from clickprint.core.text import csv_text, json_text
from clickprint.recommenders.search import Trials

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def tune(run: "Run") -> str:
    """The options of the ranker."""
    return run.stages.make_in_place("tune", partial(_tune, run))


def _tune(run: "Run", folder: Path, inputs: str) -> None:
    part, found = run.recipe.tune, Trials()
    if part.trials:
        found = part.run(
            run.recipe.ranker,
            examples_of(run),
            run.recipe.next.list_length,
            study=folder / "study.db",
            name=inputs,
            rng=run.rng("tune"),
            fit_rng=run.rng("fit").child("ranker"),
            progress=run.progress,
        )
    rows = [{"trial": n, "value": t.recall, **t.options} for n, t in enumerate(found.trials)]
    write_text(folder / "trials.csv", csv_text(rows, ["trial", "value", *part.space]))
    best = {
        "options": found.best.options if found.best else {},
        "value": found.best.recall if found.best else None,
        "first": found.trials[0].recall if found.trials else None,
        "trials": len(found.trials),
        "importance": found.importance,
    }
    write_text(folder / "best.json", json_text(best))
