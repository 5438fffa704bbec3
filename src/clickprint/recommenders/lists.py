"""Some users' lists for people to read: users and items as the shop calls them, with titles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clickprint.core.ids import NONE
from clickprint.core.lookup import positions
from clickprint.data.log import EventLog
from clickprint.data.names import shop_ids, titles
from clickprint.recommenders.funnel import Plan
from clickprint.recommenders.pairs import Bought
from clickprint.report.table import Grid

ITEMS, LISTS = 10, 3  # that are shown


def readable(
    log: EventLog, plan: Plan, rows: Sequence[int], truth: Bought | None = None
) -> list[dict[str, Any]]:
    """The lists of the users at these rows; with `truth` also what they bought."""
    users = plan.lists.users[list(rows)]
    lists = [items[items != NONE] for items in plan.lists.items[list(rows)]]
    nothing = np.zeros(0, np.int64)
    at = positions(truth.users, users) if truth is not None else np.full(len(users), -1)
    bought = [truth.items[n] if truth is not None and n >= 0 else nothing for n in at.tolist()]
    called = shop_ids(log, "user", users)
    titled = titles(log, np.unique(np.concatenate([*lists, *bought, nothing])))
    found: list[dict[str, Any]] = []
    for row, user, shown, had in zip(rows, users.tolist(), lists, bought, strict=True):
        one: dict[str, Any] = {
            "user": called[user],
            "propensity": float(plan.propensity[row]),
            "expected": float(plan.expected[row]),
            "list": [
                {"title": titled[item], "bought": item in had} for item in shown[:ITEMS].tolist()
            ],
        }
        if truth is not None:
            one |= {
                "bought": [titled[item] for item in had[:ITEMS].tolist()],
                "items": len(had),
                "recall": float(np.isin(had, shown).mean()) if len(had) else None,
            }
        found.append(one)
    return found


def telling(plan: Plan, truth: Bought, recall: np.ndarray) -> list[int]:
    """Rows of buyers whose lists show the span: the best recall, the middle one, the worst.

    Of equal ones the user with the highest propensity comes first.
    """
    at = positions(truth.users, plan.lists.users)
    rows = np.flatnonzero(at >= 0)
    order = rows[np.lexsort((rows, -plan.propensity[rows], -recall[at[rows]]))].tolist()
    if not order:
        return []
    return list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]]))[:LISTS]


def list_grid(one: Mapping[str, Any], title: str) -> Grid:
    """A list of `readable` as a table: its items, and what else the user bought."""
    rows = [
        (str(n), item["title"], "bought" if item["bought"] else "")
        for n, item in enumerate(one["list"], 1)
    ]
    shown = {item["title"] for item in one["list"]}
    missed = [t for t in one.get("bought", ()) if t not in shown]
    rows += [("", text, "bought, not among these") for text in missed]
    return Grid(title, ("place", "item", ""), rows, align="l")
