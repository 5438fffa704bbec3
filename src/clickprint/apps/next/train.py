"""Stage `train`: OUT/model/fitted/, and about.json, which says what it was trained on."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clickprint.apps.next.features import examples_of, load_profiles
from clickprint.core.dataset import Dataset
from clickprint.core.files import write_text
from clickprint.core.text import json_text
from clickprint.core.time import show
from clickprint.recommenders import funnel
from clickprint.recommenders.funnel import FittedNext

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def train(run: "Run") -> str:
    """The ranker and the purchase propensity, from the windows before the one for validation."""
    return run.stages.make("train", partial(_train, run))


def _train(run: "Run", folder: Path) -> None:
    windows, purchase = run.windows().train, run.recipe.purchase
    tuned = replace(purchase.ranker, **run.stages.json("tune", "best")["options"])
    fitted = funnel.fit(
        replace(purchase, ranker=tuned, train_windows=len(windows)),
        examples_of(run),
        rng=run.rng("fit"),
        profiles=load_profiles(run.folder("features")),
        progress=run.progress,
    )
    fitted.save(folder / "fitted")
    about = {
        "log": run.recipe.log,
        "fingerprint": Dataset.open(run.folder("read")).manifest.fingerprint,
        "train": [[show(w.start), show(w.end)] for w in windows],
        "until": show(max(w.end for w in windows)),
    }
    write_text(folder / "about.json", json_text(about))


def trained(run: "Run") -> FittedNext:
    """The models that were trained. Raises DataError."""
    return FittedNext.load(run.folder("train") / "fitted")
