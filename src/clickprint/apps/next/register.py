"""Models in MLflow: the champion, and a validated model's run and version in the registry."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickprint.apps.next.features import examples_of
from clickprint.core.lookup import positions
from clickprint.core.options import plain
from clickprint.data.split import LogPast
from clickprint.recommenders.funnel import FittedNext
from clickprint.recommenders.gate import Rivalry, rivalry
from clickprint.recommenders.pairs import Bought, Pairs
from clickprint.recommenders.served import frame, schema
from clickprint.work.facts import commit, versions
from clickprint.work.pipeline import read_json
from clickprint.work.track import Store, store

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run

EXPERIMENT = "next-purchase"
WITHOUT = "say [track] on = false in the parameters"
SAMPLE = 5  # users of the example that tells MLflow the columns


@contextmanager
def tracking(run: "Run") -> Iterator[Store | None]:
    """The store of runs and models; None where the parameters want none."""
    if not run.recipe.track.on:
        yield None
        return
    with store(run.out, EXPERIMENT, without=WITHOUT) as found:
        yield found


def champion_of(
    run: "Run", models: Store, fitted: FittedNext, past: LogPast, pairs: Pairs, bought: Bought
) -> Rivalry | None:
    """The present champion on the same window; None where there is none."""
    with tempfile.TemporaryDirectory(dir=run.out, prefix=".clickprint-champion-") as folder:
        found = models.registered(run.recipe.model, run.recipe.track.alias, Path(folder))
        if found is None:
            return None
        return rivalry(
            FittedNext.load(found.folder / "fitted"),
            read_json(found.folder / "about.json"),
            fitted,
            past,
            pairs,
            bought,
            log=run.recipe.log,
            rng=run.rng("candidates"),
            progress=run.at(past.cutoff),
        )


def register(
    run: "Run", models: Store, folder: Path, metrics: Mapping[str, float], *, promote: bool
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
    with models.run(recipe.log) as run_id:
        packages = {f"version.{k}": v for k, v in versions().items()}
        models.log(params, metrics, tags | packages, sorted(folder.iterdir()))
        version = models.register(
            name,
            run.folder("train"),
            loader="clickprint.recommenders.served",
            columns=schema(frame(some, {n: c[rows] for n, c in columns.items()})),
            needs=["clickprint[recommend,track]"],
            tags={"promoted": str(promote).lower(), "log": recipe.log},
        )
        if promote:
            models.promote(name, recipe.track.alias, version)
    run.progress("tracking", 1, 1)
    alias = recipe.track.alias if promote else ""
    return {"run": run_id, "model": name, "version": version, "alias": alias}


def add_files(run: "Run") -> None:
    """The report and the predictions, for the run that the validation began, if there is one."""
    if not run.recipe.track.on or not (run.folder("validate") / "tracked.json").is_file():
        return
    run.progress("tracking", 0, 1)
    run_id = run.stages.json("validate", "tracked")["run"]
    with tracking(run) as models:
        assert models is not None
        with models.run("", run_id):
            models.files([run.folder("report"), run.folder("predict")])
    run.progress("tracking", 1, 1)
