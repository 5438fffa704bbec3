"""A validated model in MLflow: a run, a version in the registry, and the alias of the champion."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickprint.apps.next.features import examples_of
from clickprint.core.lookup import positions
from clickprint.core.options import plain
from clickprint.recommenders.served import frame, schema
from clickprint.work.facts import commit, versions
from clickprint.work.track import Store, store

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run

EXPERIMENT = "next-purchase"
SAMPLE = 5  # users of the example that tells MLflow the columns


def register(
    run: "Run", tracking: Store, folder: Path, metrics: Mapping[str, float], *, promote: bool
) -> dict[str, Any]:
    """A run with everything in `folder`, and a new version of the model."""
    run.progress("tracking", 0, 1)
    recipe, name = run.recipe, run.recipe.model
    about = run.stages.json("train", "about")
    tags = {"log": recipe.log, "fingerprint": about["fingerprint"], "commit": commit()}
    params = {
        "log": recipe.log,
        "seed": recipe.seed,
        "next": plain(recipe.purchase),
        "windows": plain(recipe.windows),
        "best": run.stages.json("tune", "best")["options"],
        "gate": plain(recipe.gate),
    }
    pairs, columns, _ = examples_of(run)[-1]
    some = pairs.take(np.flatnonzero(pairs.lengths)[:SAMPLE])
    rows = positions(pairs.users, some.users)
    with tracking.run(recipe.log) as run_id:
        packages = {f"version.{k}": v for k, v in versions().items()}
        tracking.log(params, metrics, tags | packages, sorted(folder.iterdir()))
        version = tracking.register(
            name,
            run.folder("train"),
            loader="clickprint.recommenders.served",
            columns=schema(frame(some, {n: c[rows] for n, c in columns.items()})),
            needs=["clickprint[recommend,track]"],
            tags={"promoted": str(promote).lower(), "log": recipe.log},
        )
        if promote:
            tracking.promote(name, recipe.track.alias, version)
    run.progress("tracking", 1, 1)
    alias = recipe.track.alias if promote else ""
    return {"run": run_id, "model": name, "version": version, "alias": alias}


def add_files(run: "Run") -> None:
    """The report and the predictions, for the run that the validation began, if there is one."""
    if not run.recipe.track.on or not (run.folder("validate") / "tracked.json").is_file():
        return
    run.progress("tracking", 0, 1)
    with (
        store(run.out, EXPERIMENT) as tracking,
        tracking.run("", run.stages.json("validate", "tracked")["run"]),
    ):
        tracking.files([run.folder("report"), run.folder("predict")])
    run.progress("tracking", 1, 1)
