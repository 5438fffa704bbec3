"""Next purchase as MLflow serves it: candidates in, lists and purchase propensities out.

`mlflow.pyfunc.load_model("models:/NAME@champion").predict(frame)` calls `_load_pyfunc`, whose name
is MLflow's. No pickle: JSON and LightGBM's text.
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

IDS = ("user", "item")
ANSWER = {
    "user": "long",
    "item": "long",
    "rank": "long",
    "score": "double",
    "propensity": "double",
    "expected": "double",
}


def frame(pairs: Pairs, columns: Mapping[str, Float32[np.ndarray, "_"]]) -> "pandas.DataFrame":
    """What a model is asked: a row a pair, with all features of the pair and of its user."""
    import pandas

    rows = pairs.rows
    more = {n: c[rows] for n, c in columns.items() if n not in pairs.columns}
    ids = {"user": pairs.users[rows], "item": pairs.items}
    return pandas.DataFrame({**ids, **pairs.columns, **more})


def schema(asked: "pandas.DataFrame") -> tuple[dict[str, str], dict[str, str]]:
    """MLflow's names of the types of what is asked and answered."""
    return {n: "long" if n in IDS else "float" for n in asked.columns}, ANSWER


class Planner:
    """The fitted model behind MLflow's `predict`."""

    def __init__(self, fitted: FittedNext) -> None:
        self.fitted = fitted

    def predict(
        self, asked: "pandas.DataFrame", params: Mapping[str, Any] | None = None
    ) -> "pandas.DataFrame":
        """A row for each place of each user's list, best first.

        - `user`, `item`, `rank` (from 1), `score`
        - `propensity`: that the user buys; the same on each of their rows
        - `expected`: the recall that their list is expected to have if they do

        Raises DataError.
        """
        import pandas

        if missing := [n for n in IDS if n not in asked.columns]:
            raise DataError("candidates", [f"no column {n!r}" for n in missing])
        user, item = (asked[n].to_numpy(np.int64) for n in IDS)
        order = np.lexsort((item, user))
        users, first, counts = np.unique(user[order], return_index=True, return_counts=True)
        names = [n for n in asked.columns if n not in IDS]
        columns = {n: asked[n].to_numpy(np.float32)[order] for n in names}
        pairs = Pairs(users, starts_of(counts), item[order], columns)
        found = self.fitted.recommend(pairs, {n: c[first] for n, c in columns.items()})
        row, place = np.nonzero(found.lists.items != NONE)
        return pandas.DataFrame(
            {
                "user": users[row],
                "item": found.lists.items[row, place],
                "rank": place.astype(np.int64) + 1,
                "score": found.lists.scores[row, place].astype(np.float64),
                "propensity": found.propensity[row],
                "expected": found.expected[row],
            }
        )


def _load_pyfunc(path: str) -> Planner:
    return Planner(FittedNext.load(Path(path) / "fitted"))
