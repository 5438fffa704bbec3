"""Tasks of one's own, as plain values: copy one, change a word, pass it to `score`."""

import numpy as np

from clickprint.core.events import Role
from clickprint.core.past import Past, Table
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.metrics.task_metrics import AUROC, Spearman
from clickprint.tasks.populations import buyers, everyone, lapsed
from clickprint.tasks.rows import Rows
from clickprint.tasks.targets import comes_back, count_at_least, spend, spends_at_least
from clickprint.tasks.task import Task, TaskSet, mse

RETURNS = Task(
    name="returns_in_7_days",
    population=everyone(),
    target=comes_back(days=7),
    metrics={"auroc": (1.0, AUROC())},
    about="Who does anything at all in the window's first seven days?",
)

BUYS_TWICE = Task(
    name="buys_twice",
    population=buyers(),
    target=count_at_least(2, Role.BUY),
    metrics={"auroc": (1.0, AUROC())},
    about="Of those who bought before: who buys at least twice in the window?",
)

WON_BACK = Task(
    name="won_back",
    population=lapsed(14, Role.BUY),
    target=comes_back(Role.BUY),
    metrics={"auroc": (1.0, AUROC())},
    about="Of the buyers who bought nothing for fourteen days: who buys again?",
)

SPEND = Task(
    name="spend_next_window",
    population=everyone(),
    target=spend(),
    loss=mse,
    metrics={"spearman": (1.0, Spearman())},
    about=(
        "How much does a user spend in the window (its logarithm: lifetime value, one window"
        " ahead)?"
    ),
)


def buys_over(amount: int | float) -> Task:
    """Whether a user's purchases in the window reach `amount`, in the log's own money."""
    return Task(
        name=f"buys_over_{amount:g}",
        population=everyone(),
        target=spends_at_least(amount),
        metrics={"auroc": (1.0, AUROC())},
        about=f"Who spends at least {amount:g} in the window?",
    )


def examples(past: Past, log: Table, train: Window, *, rng: RNG | None = None) -> TaskSet:
    """The tasks above that this log can be asked.

    The amount of `buys_over` is half of the buyers' in the train window, in two digits. A task
    that has one answer only in the train window is left out, with the reason. `rng` is not used.
    """
    rows = Rows(log)
    tasks, left_out = [RETURNS, BUYS_TWICE, WON_BACK], {}
    if "price" in log.manifest.columns:
        bought = np.expm1(spend()(rows, train, rows.users(roles=(Role.BUY,), window=train)))
        middle = float(np.median(bought)) if len(bought) else 0.0
        tasks += [SPEND] + ([buys_over(float(f"{middle:.2g}"))] if middle > 0 else [])
    else:
        left_out = dict.fromkeys((SPEND.name, "buys_over"), "the events have no price")
    asked = {}
    for task in tasks:
        users = np.intersect1d(past.users, task.population(rows, train))
        truth = task.target(rows, train, users)
        if not len(users) or (truth == truth[:1]).all():
            left_out[task.name] = (
                f"all {len(users)} users of its population have the same answer in the train"
                " window"
            )
        else:
            asked[task.name] = task
    return TaskSet(tuple(asked.values()), left_out)
