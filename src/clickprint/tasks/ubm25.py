"""The six tasks of RecSys Challenge 2025, for any log.

Source: spec/challenge-protocol.md, "Targets" and "Metrics".
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.past import Past, Table
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.metrics.task_metrics import AUROC, Diversity, MacroAUROC, Novelty
from clickprint.tasks.populations import buyers, everyone
from clickprint.tasks.targets import buys_any, buys_price, price_buckets, stays_away
from clickprint.tasks.task import Metric, Population, Target, Task, TaskSet

NAMES = (
    "churn",
    "conversion",
    "propensity_category",
    "propensity_sku",
    "propensity_new_sku",
    "propensity_price",
)
# What the organisers called the tasks that they kept secret; used only in files of the challenge.
HIDDEN = {"conversion": "hidden1", "propensity_new_sku": "hidden2", "propensity_price": "hidden3"}
TOP = 100  # labels a task, and price buckets


class Labels(NamedTuple):
    """Label values and their popularity, in one order."""

    values: Int64[np.ndarray, "T"]
    popularity: Float64[np.ndarray, "T"]


def ubm25(
    past: Past,
    log: Table,
    train: Window,
    *,
    labels: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    active: Int64[np.ndarray, "A"] | None = None,
    top: int = TOP,
    rng: RNG | None = None,
) -> TaskSet:
    """churn, conversion and four propensities, as far as the log has what they ask about.

    Others are left out, with the reason. The past and the train window are all that is read.

    - `labels`: task → label values and popularity, as label files hold them. Else labels are the
      `top` values most bought in the train window (equal counts: the smaller value first), and a
      label's popularity is its share of the window's purchases.
    - `active`: whom churn is asked of; else users who bought before the window.
    - new_sku: the same over skus outside the past's `top` most bought, popularity among the
      purchases of such skus.
    - price: the catalogue's price bucket, or without one `top` quantile buckets of the price per
      unit, fitted on the past's purchases.
    - `rng`: not used.

    Raises DataError for label files that are not lists of one length.
    """
    asked = everyone(past.users)
    given = _checked(labels or {})
    away: dict[str, tuple[float, Metric]] = {"auroc": (1.0, AUROC())}
    tasks = [
        Task(
            name="churn",
            population=buyers() if active is None else everyone(active),
            target=stays_away(Role.BUY),
            metrics=away,
            about="Of those who bought before: who buys nothing in the window?",
        ),
        Task(
            name="conversion",
            population=asked,
            target=stays_away(Role.BUY),
            metrics=away,
            about="Of all: who buys nothing in the window?",
        ),
    ]
    left_out: dict[str, str] = {}
    for name, make in (
        ("category", _category),
        ("sku", _sku),
        ("new_sku", _new_sku),
        ("price", _price),
    ):
        task = f"propensity_{name}"
        found = make(past, log, train, given.get(task), top)
        if isinstance(found, str):
            left_out[task] = found
        elif len(found.labels.values) < 2:
            left_out[task] = (
                f"{len(found.labels.values)} label(s) in the train window, and a choice needs two"
            )
        else:
            tasks.append(_propensity(task, asked, found))
    return TaskSet(tuple(tasks), left_out)


def most_bought(values: Int64[np.ndarray, "L"], top: int) -> Labels:
    """The `top` most frequent values and their share of all rows that have a value.

    Equal counts: the smaller first; NONE is no value.
    """
    found, counts = np.unique(values[values != NONE], return_counts=True)
    order = np.lexsort((found, -counts))[:top]
    return Labels(found[order].astype(np.int64), counts[order] / max(counts.sum(), 1))


class _Choice(NamedTuple):
    labels: Labels
    target: Callable[[Int64[np.ndarray, "T"]], Target]
    about: str


def _propensity(name: str, asked: Population, choice: _Choice) -> Task:
    metrics: dict[str, tuple[float, Metric]] = {
        "auroc": (0.8, MacroAUROC()),
        "novelty": (0.1, Novelty(tuple(choice.labels.popularity.tolist()))),
        "diversity": (0.1, Diversity()),
    }
    return Task(
        name=name,
        population=asked,
        target=choice.target(choice.labels.values),
        metrics=metrics,
        about=choice.about,
    )


def _category(
    past: Past, log: Table, train: Window, given: Labels | None, top: int
) -> _Choice | str:
    column = _attribute(log, AttributeType.CATEGORY, "category")
    if column is None:
        return "the catalogue has no category"
    labels = given or most_bought(_bought(log, train, column), top)
    return _Choice(
        labels, partial(buys_any, column), f"From which values of {column} will a user buy?"
    )


def _sku(past: Past, log: Table, train: Window, given: Labels | None, top: int) -> _Choice | str:
    labels = given or most_bought(_bought(log, train, "item"), top)
    return _Choice(
        labels, partial(buys_any, "item"), "Which of the most bought items will a user buy?"
    )


def _new_sku(
    past: Past, log: Table, train: Window, given: Labels | None, top: int
) -> _Choice | str:
    labels = given
    if labels is None:
        usual = most_bought(
            past.log.rows(("item",), roles=(Role.BUY,), ordered=False)["item"], top
        ).values
        bought = _bought(log, train, "item")
        labels = most_bought(bought[~np.isin(bought, usual)], top)
    return _Choice(
        labels,
        partial(buys_any, "item"),
        "Which items that were no best-sellers before will a user buy?",
    )


def _price(past: Past, log: Table, train: Window, given: Labels | None, top: int) -> _Choice | str:
    about = "In which price buckets will a user buy?"
    column = _attribute(log, AttributeType.PRICE_BUCKET, "price")
    if column is not None:
        return _Choice(
            given or most_bought(_bought(log, train, column), top),
            partial(buys_any, column),
            about,
        )
    if "price" not in log.manifest.columns:
        return "neither does the catalogue have a price bucket nor the events a price"
    edges = price_edges(past, top)
    labels = given or most_bought(price_buckets(_bought(log, train, "price"), edges), top)
    return _Choice(labels, partial(buys_price, edges), about)


def price_edges(past: Past, buckets: int = TOP) -> Float64[np.ndarray, "E"]:
    """The inner edges of quantile buckets of the past's purchase prices per unit.

    There are fewer where prices repeat, none without a price.
    """
    prices = past.log.rows(("price",), roles=(Role.BUY,), ordered=False)["price"]
    prices = np.sort(prices[np.isfinite(prices)])
    if not len(prices):
        return np.zeros(0)
    edges = np.unique(np.quantile(prices, np.arange(1, buckets) / buckets, method="higher"))
    return edges[edges > prices[0]]  # nothing would lie below an edge at the lowest price


def _bought(log: Table, train: Window, column: str) -> np.ndarray:
    return log.rows(("user", column), roles=(Role.BUY,), window=train, ordered=False)[column]


def _attribute(log: Table, type_: AttributeType, favourite: str) -> str | None:
    """The attribute of this type, the one called `favourite` where there are several.

    An event's own column of that name hides it.
    """
    manifest = log.manifest
    names = [n for n in manifest.of_type(type_) if n not in manifest.columns]
    return favourite if favourite in names else next(iter(names), None)


def _checked(labels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Labels]:
    faults, found = [], {}
    for task, (values, popularity) in labels.items():
        v, p = np.asarray(values), np.asarray(popularity, np.float64)
        if task not in NAMES[2:]:
            faults.append(f"{task}: found labels for it, expected one of {', '.join(NAMES[2:])}")
        elif v.ndim != 1 or v.dtype.kind not in "iu" or p.shape != v.shape:
            found_ = f"values {v.dtype}{v.shape} and popularity {p.shape}"
            faults.append(
                f"{task}: found {found_}, expected two lists of one length, the first of whole"
                " numbers"
            )
        elif len(np.unique(v)) < len(v) or not np.isfinite(p).all() or (p < 0).any():
            faults.append(
                f"{task}: a label stands twice, or a popularity is negative or no number"
            )
        else:
            found[task] = Labels(v.astype(np.int64), p)
    if faults:
        raise DataError("labels", faults)
    return found
