"""Lists that people can read: users and items as the shop calls them, items with their titles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.ids import NONE
from clickprint.core.items import AttributeKind
from clickprint.data.engine import name
from clickprint.data.log import EventLog
from clickprint.recommenders.funnel import Plan
from clickprint.recommenders.pairs import Bought

SHOWN = 10  # items of a list
LISTS = 3


def outside(log: EventLog, column: str, ids: Int64[np.ndarray, "N"]) -> dict[int, str]:
    """What the shop calls these ids; the number itself where ids are the shop's own."""
    found = {int(i): str(int(i)) for i in ids}
    if column in log.texts and len(found):
        asked = log.engine.keep(pa.table({"asked": np.array(list(found), np.int64)}))
        table = log.engine.table(
            f"SELECT id, text FROM {log.texts[column]} JOIN {asked} ON id = asked"
        )
        log.engine.drop(asked)
        found |= dict(
            zip(table.column("id").to_pylist(), table.column("text").to_pylist(), strict=True)
        )
    return found


def titles(log: EventLog, items: Int64[np.ndarray, "N"]) -> dict[int, str]:
    """Each item's title as known at the end of the log: the attribute `title`, or else the first text; the shop's id without one."""
    called = outside(log, "item", items)
    attributes = log.manifest.attributes
    texts = [n for n, kind in attributes.items() if kind is AttributeKind.TEXT]
    if not texts or not len(called):
        return called
    title = name("title" if "title" in texts else texts[0])
    table = log.engine.table(
        f"SELECT item, {title} AS title FROM ({log.known(log.end)}) AS k WHERE item IN ({', '.join(map(str, called))})"
    )
    pairs = zip(table.column("item").to_pylist(), table.column("title").to_pylist(), strict=True)
    return called | {item: f"{text} ({called[item]})" for item, text in pairs if text}


def examples(
    log: EventLog, plan: Plan, rows: Sequence[int], truth: Bought | None = None
) -> list[dict[str, Any]]:
    """The lists of the users at these places; with `truth` also what they bought, and which of the list's items."""
    users = plan.lists.users[list(rows)]
    lists = [items[items != NONE] for items in plan.lists.items[list(rows)]]
    bought = [_bought(truth, int(u)) for u in users] if truth is not None else []
    called, said = (
        outside(log, "user", users),
        titles(log, np.unique(np.concatenate([*lists, *bought, np.zeros(0, np.int64)]))),
    )
    found = []
    for n, row in enumerate(rows):
        one: dict[str, Any] = {
            "user": called[int(users[n])],
            "propensity": float(plan.propensity[row]),
            "expected": float(plan.expected[row]),
            "list": [
                {"title": said[int(i)], "bought": bool(bought) and int(i) in bought[n]}
                for i in lists[n][:SHOWN]
            ],
        }
        if truth is not None:
            one["bought"] = [said[int(i)] for i in bought[n][:SHOWN]]
            one["items"] = len(bought[n])
            one["recall"] = float(np.isin(bought[n], lists[n]).mean()) if len(bought[n]) else None
        found.append(one)
    return found


def _bought(truth: Bought, user: int) -> Int64[np.ndarray, "N"]:
    at = int(np.searchsorted(truth.users, user))
    return (
        truth.items[at]
        if at < len(truth.users) and truth.users[at] == user
        else np.zeros(0, np.int64)
    )


def telling(plan: Plan, recall: Mapping[int, float]) -> list[int]:
    """Places of buyers whose lists show the span: the best recall, the middle one, the worst; equal ones by chance, the likeliest first."""
    rows = [r for r, u in enumerate(plan.lists.users.tolist()) if u in recall]
    rows.sort(key=lambda r: (-recall[int(plan.lists.users[r])], -plan.propensity[r], r))
    if not rows:
        return []
    return list(dict.fromkeys([rows[0], rows[len(rows) // 2], rows[-1]]))[:LISTS]
