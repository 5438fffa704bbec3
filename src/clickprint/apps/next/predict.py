"""Stage `predict`: the days after the log's end, by the models of this folder.

OUT/predict/submission.csv, .parquet   the chosen users and their items, as the task sheet asks
OUT/predict/lists.parquet              everybody's list: user, item, rank, score
OUT/predict/users.parquet              everybody's purchase propensity, the expected recall of
                                       their list, and the product of the two
OUT/predict/about.json, examples.json  what it is, and some lists with titles
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.apps.next.candidates import pairs_of
from clickprint.apps.next.train import trained
from clickprint.core.files import write_text
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.core.text import json_text
from clickprint.core.time import DAY, show
from clickprint.data.log import EventLog
from clickprint.data.names import shop_ids
from clickprint.data.split import past_of
from clickprint.recommenders import submission
from clickprint.recommenders.allocation import choose
from clickprint.recommenders.lists import LISTS, readable

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def predict(run: "Run") -> str:
    """The submission for the days after the log's end."""
    done = run.stages.make("predict", partial(_predict, run))
    about = run.stages.json("predict", "about")
    return (
        f"{done}\n{about['users']:,} users, {about['list_length']} items each, from"
        f" {about['from']} to {about['before']}"
    )


def _predict(run: "Run", folder: Path) -> None:
    fitted, cutoff, asked = trained(run), run.windows().cutoff, run.recipe.next
    with run.log() as log:
        past = past_of(log, cutoff)
        plan = fitted.plan(past, pairs_of(run, cutoff), progress=run.at(cutoff))
        chosen = plan.chosen(asked.max_users)
        limits = submission.Limits(asked.max_users, asked.list_length)
        submission.write(as_submission(log, chosen), folder, limits)
        plan.lists.save(folder / "lists.parquet")
        users = {
            "user": plan.lists.users,
            "propensity": plan.propensity,
            "expected": plan.expected,
            "worth": plan.propensity * plan.expected,
        }
        pq.write_table(pa.table(users), folder / "users.parquet", compression="zstd")
        best = choose(plan.propensity, plan.expected, LISTS).tolist()
        write_text(folder / "examples.json", json_text(readable(log, plan, best)))
    about = {
        "from": show(cutoff),
        "before": show(cutoff + asked.days * DAY),
        "users": len(chosen.users),
        "known": len(plan.lists.users),
        "list_length": asked.list_length,
    }
    write_text(folder / "about.json", json_text(about))


def as_submission(log: EventLog, chosen: Recommendations) -> pa.Table:
    """Users and items as the shop calls them, best first."""
    users = shop_ids(log, "user", chosen.users)
    items = shop_ids(log, "item", np.unique(chosen.items[chosen.items != NONE]))
    lists = [[items[i] for i in row if i != NONE] for row in chosen.items.tolist()]
    return submission.of([users[u] for u in chosen.users.tolist()], lists)
