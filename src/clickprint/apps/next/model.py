"""A model of next purchases as MLflow loads it: candidates in, ranked lists and chances out. No pickle: JSON and LightGBM's text.

`mlflow.pyfunc.load_model("models:/NAME@champion").predict(frame)` calls `_load_pyfunc`, whose name is MLflow's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from clickprint.core.errors import DataError
from clickprint.core.ids import NONE
from clickprint.core.ragged import starts_of
from clickprint.recommenders.funnel import FittedNext
from clickprint.recommenders.pairs import Pairs

if TYPE_CHECKING:
    import pandas

FITTED = "fitted"
ANSWER = {
    "user": "long",
    "item": "long",
    "rank": "long",
    "score": "double",
    "propensity": "double",
    "expected": "double",
}


def frame(pairs: Pairs, columns: Mapping[str, Float32[np.ndarray, "_"]]) -> "pandas.DataFrame":
    """What a model is asked: a row a pair with all features, those of the user on each of his rows."""
    import pandas

    rows = pairs.rows
    more = {n: c[rows] for n, c in columns.items() if n not in pairs.columns}
    return pandas.DataFrame(
        {"user": pairs.users[rows], "item": pairs.items, **pairs.columns, **more}
    )


def schema(asked: "pandas.DataFrame") -> tuple[dict[str, str], dict[str, str]]:
    """MLflow's names of the types of what is asked and answered."""
    return {n: "long" if n in ("user", "item") else "float" for n in asked.columns}, ANSWER


class Planner:
    """The fitted model behind MLflow's `predict`."""

    def __init__(self, fitted: FittedNext) -> None:
        self.fitted = fitted

    def predict(
        self, asked: "pandas.DataFrame", params: Mapping[str, Any] | None = None
    ) -> "pandas.DataFrame":
        """A row for each place of each user's list, best first: user, item, rank (from 1), score, and, the same on each of his rows,
        the chance that he buys and the recall that his list is expected to have if he does. Raises DataError.
        """
        import pandas

        names = [n for n in asked.columns if n not in ("user", "item")]
        if missing := {"user", "item"} - set(asked.columns):
            raise DataError("candidates", [f"no column {n!r}" for n in sorted(missing)])
        user, item = (asked[n].to_numpy(np.int64) for n in ("user", "item"))
        order = np.lexsort((item, user))
        users, first, counts = np.unique(user[order], return_index=True, return_counts=True)
        columns = {n: asked[n].to_numpy(np.float32)[order] for n in names}
        pairs = Pairs(users, starts_of(counts), item[order], columns)
        found = self.fitted.recommend(pairs, {n: c[first] for n, c in columns.items()})
        row, place = np.nonzero(found.lists.items != NONE)
        answer = {
            "user": users[row],
            "item": found.lists.items[row, place],
            "rank": place.astype(np.int64) + 1,
            "score": found.lists.scores[row, place].astype(np.float64),
            "propensity": found.propensity[row],
            "expected": found.expected[row],
        }
        return pandas.DataFrame(answer)


def _load_pyfunc(path: str) -> Planner:
    return Planner(FittedNext.load(Path(path) / FITTED))
