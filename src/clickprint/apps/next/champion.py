"""The registered champion, on the window that a new model is validated on."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickprint.core.options import plain
from clickprint.core.time import parse
from clickprint.data.split import LogPast
from clickprint.recommenders.funnel import FittedNext, Plan, candidates
from clickprint.recommenders.gate import Rivalry
from clickprint.recommenders.pairs import Bought, Pairs
from clickprint.work.pipeline import read_json

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run
    from clickprint.work.track import Store


def champion_of(
    run: "Run",
    store: "Store | None",
    past: LogPast,
    pairs: Pairs,
    bought: Bought,
    fitted: FittedNext,
) -> Rivalry:
    """What the registered champion's lists, of its own candidates, find for each buyer."""
    if store is None:
        return Rivalry()
    with tempfile.TemporaryDirectory(dir=run.out, prefix=".champion-") as folder:
        found = store.registered(run.recipe.model, run.recipe.track.alias, Path(folder))
        if found is None:
            return Rivalry()
        champion = FittedNext.load(found.folder / "fitted")
        about = read_json(found.folder / "about.json")
        if unfair := _unfair(champion, about, run):
            return Rivalry(unfair=f"champion {found.version}: {unfair}")
        plan = _plan(champion, fitted, run, past, pairs)
    chosen = plan.chosen(run.recipe.next.max_users)
    return Rivalry(bought.recall(chosen, run.recipe.next.list_length))


def _unfair(champion: FittedNext, about: Mapping[str, Any], run: "Run") -> str:
    """Why the champion cannot be compared on this window; empty where it can."""
    theirs, ours = champion.recipe, run.recipe.next
    if about["log"] != run.recipe.log:
        return f"it is of the log {about['log']}; give this model another name in [track] model"
    if (theirs.days, theirs.list_length) != (ours.days, ours.list_length):
        return (
            f"it predicts {theirs.list_length} items in {theirs.days} days, this model"
            f" {ours.list_length} in {ours.days}"
        )
    if parse(about["until"]) > run.windows().valid.start:
        return (
            f"it was trained until {about['until']}, so it knows the validation window; validate"
            " on a later one"
        )
    return ""


def _plan(
    champion: FittedNext, fitted: FittedNext, run: "Run", past: LogPast, pairs: Pairs
) -> Plan:
    recipe, progress = champion.recipe, run.at(past.cutoff)
    same = recipe.seed == fitted.recipe.seed
    if not same or plain(recipe.retrievers) != plain(fitted.recipe.retrievers):
        rng = replace(run.rng("candidates"), seed=recipe.seed)
        pairs = candidates(past, recipe, rng=rng, progress=progress)
    return champion.plan(past, pairs, progress=progress)
