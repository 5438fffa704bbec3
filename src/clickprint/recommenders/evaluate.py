"""Next purchase compared: recall of every buyer by each contender, with intervals.

A contender is one way to make lists (a baseline, a retriever, the ranker, …) or a ceiling: what no
ranking of the candidates can exceed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Float64, Int64

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.files import whole
from clickprint.core.forms import json_of, reading
from clickprint.core.options import read
from clickprint.core.parquet import need_columns, read_table
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import Recommends
from clickprint.core.rng import RNG
from clickprint.core.time import Time
from clickprint.recommenders.blocks import asked
from clickprint.recommenders.funnel import POPULAR, NextPurchase, Plan, most_popular
from clickprint.recommenders.pairs import Bought, Pairs, fill
from clickprint.recommenders.retrievers.baskets import TIFUKNN, UPCF
from clickprint.recommenders.retrievers.history import History
from clickprint.recommenders.retrievers.popular import PopularIn

DEPTHS = (10, 25, 50, 100)  # candidates of each retriever at which the union's ceiling is told
SHARES = (0.1, 0.3)

Type = Literal["baseline", "next-basket", "retriever", "ceiling", "ranker", "chosen"]


@dataclass(frozen=True, slots=True)
class Contender:
    """What is compared.

    - `type`: `baseline` and `next-basket` are rivals; `retriever` shows its own order, filled with
      popular items; `ceiling` counts all candidates as shown; `ranker` shows everyone their list;
      `chosen` shows the lists of the best users alone.
    - `name`: of a rival or a retriever; a ceiling has its retriever's, or `union`.
    - `depth`: how many candidates of each retriever count in a ceiling; None: all.
    - `users`, `share`: how many users are chosen, or which share of the known users.
    - `by`: what users are chosen by, purchase propensity × expected recall or propensity alone.
    """

    type: Type
    name: str = ""
    depth: int | None = None
    users: int | None = None
    share: float | None = None
    by: Literal["product", "propensity"] | None = None

    @property
    def label(self) -> str:
        """What tables call it."""
        if self.type == "ranker":
            return "ranker"
        if self.type == "chosen":
            count = f"{100 * self.share:g} % of" if self.share is not None else f"{self.users:,}"
            return f"{count} users by propensity {'× recall' if self.by == 'product' else 'alone'}"
        if self.type in ("retriever", "ceiling"):
            return f"{self.type} {self.name}" + (f" at {self.depth}" if self.depth else "")
        return self.name


RANKER = Contender("ranker")


def rivals(past: Past) -> dict[Contender, Recommends]:
    """The naive baselines and next-basket methods that the log allows."""
    found: dict[Contender, Recommends] = {
        Contender("baseline", "popularity"): POPULAR,
        Contender("baseline", "last basket"): History(roles=(Role.BUY, Role.VIEW), last=1),
        Contender("baseline", "personal frequency"): History(),
    }
    if "category" in past.log.manifest.attributes:
        found[Contender("baseline", "category popularity")] = PopularIn()
    return found | {
        Contender("next-basket", "TIFU-KNN"): TIFUKNN(),
        Contender("next-basket", "UP-CF"): UPCF(),
    }


def shown(
    past: Past, users: Int64[np.ndarray, "B"], k: int, *, rng: RNG, progress: Progress = silent
) -> dict[Contender, Recommendations]:
    """What each rival shows to these users (some of `past.users`, sorted): k items each.

    A list that is too short is filled with the most popular items.
    """
    recipes = rivals(past)
    popular = most_popular(past)
    lists = {}
    for n, (rival, recipe) in enumerate(recipes.items()):
        progress("baselines", n, len(recipes))
        fitted = recipe.fit(past, rng=rng.child(rival.name))
        lists[rival] = fill(fitted.recommend(asked(past, fitted, users), k), popular, k)
    return lists


@dataclass(frozen=True, slots=True)
class Scores:
    """Recall of each buyer of one window by each contender. `start`: when the window starts."""

    start: Time
    users: Int64[np.ndarray, "B"]
    values: Mapping[Contender, Float64[np.ndarray, "_"]]

    def __post_init__(self) -> None:
        if faults := [
            f"{c.label}: {len(v)} values of {len(self.users)} buyers"
            for c, v in self.values.items()
            if len(v) != len(self.users)
        ]:
            raise DataError("scores", faults)

    def save(self, file: Path) -> None:
        """A Parquet file with a row a buyer and a column a contender, whole or not at all."""
        columns = {c.label: v for c, v in self.values.items()}
        about = {"start": self.start, "contenders": [asdict(c) for c in self.values]}
        table = pa.table({"user": self.users, **columns})
        with whole(Path(file)) as part:
            pq.write_table(table.replace_schema_metadata({"scores": json.dumps(about)}), part)

    @staticmethod
    def load(file: Path) -> "Scores":
        """What `save` wrote. Raises DataError."""
        again = "remove its folder, and it is made again"
        table = read_table(file, again=again)
        need_columns(table, file, "user", again=again)
        with reading(file, again):
            told = json_of((table.schema.metadata or {})[b"scores"], file, again=again)
            about = read(_Told, told)
            values = {c: table.column(c.label).to_numpy() for c in about.contenders}
            return Scores(about.start, table.column("user").to_numpy(), values)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the file of scores says beside its rows; see Scores."""

    start: Time
    contenders: tuple[Contender, ...]


def scored(
    past: Past,
    bought: Bought,
    pairs: Pairs,
    plan: Plan,
    recipe: NextPurchase,
    shares: Sequence[float] = SHARES,
    *,
    rng: RNG,
    progress: Progress = silent,
) -> Scores:
    """Recall of each buyer after the cutoff of `past` by every contender."""
    buyers = np.intersect1d(bought.users, past.users)
    lists = shown(past, buyers, recipe.list_length, rng=rng, progress=progress)
    popular = most_popular(past)
    start = past.cutoff
    return score(start, bought, pairs, popular, recipe, lists=lists, plan=plan, shares=shares)


def score(
    start: Time,
    bought: Bought,
    pairs: Pairs,
    popular: Int64[np.ndarray, "V"],
    recipe: NextPurchase,
    *,
    lists: Mapping[Contender, Recommendations] | None = None,
    plan: Plan | None = None,
    depths: Sequence[int] = DEPTHS,
    shares: Sequence[float] = SHARES,
) -> Scores:
    """Recall of each buyer at `recipe.list_length`, 0 for a buyer without a list.

    - `pairs`: the candidates; each retriever's own order, and each ceiling, is filled with
      `popular`, best first.
    - `lists`: what rivals show.
    - `plan`: the ranker's lists; the chosen are `recipe.max_users` users, and these `shares` of
      the known users.
    """
    k = recipe.list_length
    values = {rival: bought.recall(some, k) for rival, some in (lists or {}).items()}
    ranks = ranks_of(pairs, recipe)
    for name, rank in ranks.items():
        there = ~np.isnan(rank)
        own = pairs.where(there)
        best = fill(own.top(-rank[there].astype(np.float64), k), popular, k)
        values[Contender("retriever", name)] = bought.recall(best, k)
        values[Contender("ceiling", name)] = ceiling(bought, own, popular, k)
    for depth in depths:
        kept = pairs.where(within(ranks, depth, len(pairs)))
        values[Contender("ceiling", "union", depth)] = ceiling(bought, kept, popular, k)
    values[Contender("ceiling", "union")] = ceiling(bought, pairs, popular, k)
    if plan is not None:
        values[RANKER] = bought.recall(plan.lists, k)
        limits = [(recipe.max_users, Contender("chosen", users=recipe.max_users))]
        limits += [(int(x * len(pairs.users)), Contender("chosen", share=x)) for x in shares]
        for users, chosen in limits:
            for by in ("product", "propensity"):
                values[replace(chosen, by=by)] = bought.recall(plan.chosen(users, by=by), k)
    return Scores(start, bought.users, values)


def ceiling(
    bought: Bought, pairs: Pairs, popular: Int64[np.ndarray, "V"], k: int
) -> Float64[np.ndarray, "B"]:
    """What no list of k made of these candidates can exceed, of each buyer.

    Fewer candidates than k are filled with popular items, as the lists are.
    """
    filled = fill(pairs.top(np.zeros(len(pairs)), k), popular, k)
    return np.maximum(bought.found(pairs), bought.recall(filled, k))


def ranks_of(pairs: Pairs, recipe: NextPurchase) -> dict[str, Float32[np.ndarray, "_"]]:
    """Retriever → each pair's place in its list, from 1; NaN where it lacks the pair."""
    found = {name: pairs.columns.get(f"{name}_rank") for name in recipe.retrievers}
    return {name: rank for name, rank in found.items() if rank is not None}


def within(
    ranks: Mapping[str, Float32[np.ndarray, "_"]], depth: int, size: int
) -> Bool[np.ndarray, "_"]:
    """Which pairs are among the first `depth` of some retriever."""
    found = np.zeros(size, bool)
    for rank in ranks.values():
        found |= rank <= depth  # NaN is not
    return found


class Depth(NamedTuple):
    """The candidates that the first `k` of some retrievers give."""

    k: int
    candidates: float
    """A user, the mean."""
    recall: float
    """The share of a buyer's items that are among them, the mean over buyers."""


def ceilings(pairs: Pairs, bought: Bought, recipe: NextPurchase) -> dict[str, list[Depth]]:
    """Each retriever, and their `union`, at several depths up to its longest list."""
    ranks = ranks_of(pairs, recipe)
    users = max(len(pairs.users), 1)
    found: dict[str, list[Depth]] = {}
    for name, some in {**{n: {n: r} for n, r in ranks.items()}, "union": ranks}.items():
        longest = [int(np.nanmax(r)) for r in some.values() if not np.isnan(r).all()]
        most = max(longest, default=0)
        for k in [*(k for k in DEPTHS if k < most), *([most] if most else [])]:
            kept = pairs.where(within(some, k, len(pairs)))
            recall = float(bought.found(kept).mean())
            found.setdefault(name, []).append(Depth(k, len(kept) / users, recall))
    return found
