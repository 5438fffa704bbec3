"""The predictions of next purchase: from the log's end, by the model of this folder.

OUT/predict/submission.csv, .parquet   the chosen users and their products, in the form of the task sheet
OUT/predict/lists.parquet              the list of everybody: user, item, rank, score
OUT/predict/users.parquet              everybody's chance to buy, the expected recall of his list, and their product
OUT/predict/about.json, examples.json  what it is, and some lists with titles
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.apps.next.examples import LISTS, examples, outside
from clickprint.apps.next.stages import Run, pairs_of, read_json
from clickprint.core.files import write_text
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.core.time import DAY, show
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.recommenders.allocation import choose
from clickprint.recommenders.funnel import FittedNext
from clickprint.recommenders.submission import Limits, of, write


def predict(run: Run) -> str:
    """The submission for the days after the log's end."""
    done = run.make("predict", lambda part: _predict(run, part))
    about = read_json(run.folder("predict") / "about.json")
    return f"{done}\n{about['users']:,} users, {about['products']} products each, from {about['from']} to {about['before']}"


def _predict(run: Run, part: Path) -> None:
    fitted, cutoff = FittedNext.load(run.folder("train") / "fitted"), run.windows().cutoff
    with run.log() as log:
        past = past_of(log, cutoff)
        plan = fitted.plan(past, pairs_of(run, cutoff), progress=run.said(cutoff))
        chosen = plan.chosen(run.recipe.next.users)
        write(
            submission(log, chosen), part, Limits(run.recipe.next.users, run.recipe.next.products)
        )
        plan.lists.save(part / "lists.parquet")
        worth = {
            "user": plan.lists.users,
            "propensity": plan.propensity,
            "expected": plan.expected,
            "worth": plan.propensity * plan.expected,
        }
        pq.write_table(pa.table(worth), part / "users.parquet", compression="zstd")
        best = choose(plan.propensity, plan.expected, LISTS)
        write_text(
            part / "examples.json",
            json.dumps(examples(log, plan, best.tolist()), indent=1, ensure_ascii=False) + "\n",
        )
    about = {
        "from": show(cutoff),
        "before": show(cutoff + run.recipe.next.days * DAY),
        "users": len(chosen.users),
        "known": len(plan.lists.users),
        "products": run.recipe.next.products,
    }
    write_text(part / "about.json", json.dumps(about, indent=1) + "\n")


def submission(log: EventLog, chosen: Recommendations) -> pa.Table:
    """Users and products as the shop calls them, best first."""
    users = outside(log, "user", chosen.users)
    items = outside(log, "item", np.unique(chosen.items[chosen.items != NONE]))
    return of(
        [users[u] for u in chosen.users.tolist()],
        [[items[i] for i in row.tolist() if i != NONE] for row in chosen.items],
    )
