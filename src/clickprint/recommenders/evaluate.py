"""What the funnel is worth: recall of every buyer of a window for bars, sources, ceilings, the ranker and the choice of users; and of
several windows together, with intervals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import Time
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.metrics.compare import difference, intervals, resample_weights, weighted_mean
from clickprint.recommenders.blocks import PastSubset
from clickprint.recommenders.funnel import Plan, NextPurchase, candidates, example, profiler
from clickprint.recommenders.pairs import Bought, Pairs, Retriever, fill
from clickprint.recommenders.retrievers.baskets import TIFUKNN, UPCF
from clickprint.recommenders.retrievers.history import Own
from clickprint.recommenders.retrievers.popular import Popular, PopularIn

DEPTHS = (10, 25, 50, 100)  # candidates a source at which the ceiling of the union is told
SHARES = (0.1, 0.3)  # of the known users: limits beside the recipe's
RESAMPLES = 1_000


def baselines(past: Past) -> dict[str, Retriever]:
    """The naive bars and next-basket methods that the log allows: personal frequency, the last basket with what was viewed in it,
    popularity everywhere and in the categories that a user likes, TIFU-KNN, UP-CF.
    """
    found: dict[str, Retriever] = {
        "popularity": Popular(),
        "last basket": Own(roles=("buy", "view"), last=1),
        "personal frequency": Own(),
    }
    if "category" in past.log.manifest.attributes:
        found["category popularity"] = PopularIn()
    return found | {"TIFU-KNN": TIFUKNN(), "UP-CF": UPCF()}


def shown(
    past: Past, users: Int64[np.ndarray, "B"], k: int, *, rng: RNG, progress: Progress = silent
) -> dict[str, Recommendations]:
    """What each bar shows to these users (some of `past.users`, sorted), filled with popularity to k."""
    asked = baselines(past)
    popular = Popular().best(past)
    lists = {}
    for n, (name, baseline) in enumerate(asked.items()):
        progress("bars", n, len(asked))
        lists[name] = fill(
            baseline.fit(past, rng=rng.child(name)).retrieve(PastSubset(past, users), k),
            popular,
            k,
        )
    return lists


@dataclass(frozen=True, slots=True)
class Scores:
    """Of the buyers of one window: name → the recall of each. `start`: when the window does."""

    start: Time
    users: Int64[np.ndarray, "B"]
    values: Mapping[str, Float64[np.ndarray, "_"]]

    def __post_init__(self) -> None:
        if faults := [
            f"{n}: {len(v)} values of {len(self.users)} buyers"
            for n, v in self.values.items()
            if len(v) != len(self.users)
        ]:
            raise DataError("scores", faults)


def score(
    start: Time,
    bought: Bought,
    pairs: Pairs,
    popular: Int64[np.ndarray, "V"],
    recipe: NextPurchase,
    *,
    lists: Mapping[str, Recommendations] | None = None,
    plan: Plan | None = None,
    depths: Sequence[int] = DEPTHS,
    shares: Sequence[float] = SHARES,
) -> Scores:
    """The recall of each buyer at `recipe.products`, 0 for one without a list. Names:

    `bar/<name>` of `lists`; `source/<name>`, its own order filled with `popular` (best first); `ceiling/<name>` and `ceiling/union`, what
    is among the candidates; `ceiling/union@<k>`, with k of each source; and of the advice `ranker` (every user is shown his list),
    `product@<n>` and `propensity@<n>` (the best n users alone are), n being the recipe's users and these shares of the known users.
    """
    k = recipe.products
    values = {f"bar/{name}": bought.recall(some, k) for name, some in (lists or {}).items()}
    names = [
        n.removesuffix("_rank")
        for n in pairs.columns
        if n.endswith("_rank") and n.removesuffix("_rank") in recipe.sources
    ]
    ranks = {n: pairs.columns[f"{n}_rank"] for n in names}
    for name, rank in ranks.items():
        there = ~np.isnan(rank)
        own = pairs.where(there)
        values[f"source/{name}"] = bought.recall(
            fill(own.top(-rank[there].astype(np.float64), k), popular, k), k
        )
        values[f"ceiling/{name}"] = bought.found(own)
    for depth in depths:
        values[f"ceiling/union@{depth}"] = bought.found(
            pairs.where(within(ranks, depth, len(pairs)))
        )
    values["ceiling/union"] = bought.found(pairs)
    if plan is not None:
        values["ranker"] = bought.recall(plan.lists, k)
        for limit in dict.fromkeys(
            [recipe.users, *(int(share * len(pairs.users)) for share in shares)]
        ):
            values[f"product@{limit}"] = bought.recall(plan.chosen(limit), k)
            values[f"propensity@{limit}"] = bought.recall(plan.chosen(limit, by="propensity"), k)
    return Scores(start, bought.users, values)


def within(ranks: Mapping[str, Float32[np.ndarray, "_"]], depth: int, size: int) -> np.ndarray:
    """Which pairs are among the first `depth` of some source."""
    found = np.zeros(size, bool)
    for rank in ranks.values():
        found |= rank <= depth  # NaN is not
    return found


# ------------------------------------------------------------------------------------------------------------ several windows
@dataclass(frozen=True, slots=True)
class Line:
    """The mean of one name over all buyers of all windows, its 95 % interval, and how much more it is than the name compared with."""

    name: str
    mean: float
    low: float
    high: float
    windows: list[float]  # the mean of each window; NaN where it lacks the name
    more: float
    more_low: float
    more_high: float
    share: float  # of the resamples in which it is more


def table(
    scores: Sequence[Scores], *, against: str, resamples: int = RESAMPLES, seed: int = 0
) -> list[Line]:
    """A line each name that every window has, in their order. Every buyer of every window counts the same.

    Intervals: users and windows are both resampled (Poisson weights, multiplied: Owen & Eckles 2012), so that a user who bought in
    several windows, and a window that was easy, are drawn as one; all names share the resamples, so differences are paired. Raises
    DataError without a window or with a user twice in one, ConfigError where no window has `against`.
    """
    if not scores:
        raise DataError("scores", ["no window"])
    names = [n for n in scores[0].values if all(n in s.values for s in scores)]
    if against not in names:
        raise ConfigError(f"against: found {against!r}, expected one of {', '.join(names)}")
    if twice := [n for n, s in enumerate(scores) if len(np.unique(s.users)) < len(s.users)]:
        raise DataError("scores", [f"window {n} has a user twice" for n in twice])
    users = np.concatenate([s.users for s in scores])
    window = np.repeat(np.arange(len(scores)), [len(s.users) for s in scores])
    known, place = np.unique(users, return_inverse=True)
    whole = {n: np.concatenate([s.values[n] for s in scores]) for n in names}
    drawn: dict[str, list[np.ndarray]] = {n: [] for n in names}
    by_window = resample_weights(np.arange(len(scores)), resamples, seed + 1)
    of_user = resample_weights(known, resamples, seed)
    for at in range(0, resamples, 100):
        some = slice(at, min(at + 100, resamples))
        weights = of_user[some][:, place] * by_window[some][:, window]
        for n in names:
            drawn[n].append(weighted_mean(whole[n], weights))
    replicates = {n: np.concatenate(parts) for n, parts in drawn.items()}
    lines = []
    for n in names:
        low, high = intervals(replicates[n])
        gap = difference(replicates[n], replicates[against])
        mean = float(whole[n].mean()) if len(users) else float("nan")
        other = float(whole[against].mean()) if len(users) else float("nan")
        each = [float(s.values[n].mean()) if len(s.users) else float("nan") for s in scores]
        lines.append(
            Line(
                n, mean, float(low), float(high), each, mean - other, gap.low, gap.high, gap.share
            )
        )
    return lines


# ------------------------------------------------------------------------------------------------------------ leaks
Made = tuple[Pairs, Mapping[str, Float32[np.ndarray, "_"]]]


def audit(log: EventLog, cutoff: Time, make: Callable[[EventLog], Made]) -> list[str]:
    """The names of what knows more than happened before the cutoff: `make` is called with the log and with the log cut there, and every
    column of pairs (`pair/<name>`) and of users (`user/<name>`), and the candidates (`candidates`), must come out the same to the byte.
    """
    (pairs, users), (fewer, theirs) = make(log), make(log.before(cutoff))
    found = (
        []
        if same(pairs.starts, fewer.starts)
        and same(pairs.items, fewer.items)
        and same(pairs.users, fewer.users)
        else ["candidates"]
    )
    for prefix, one, two in (("pair", pairs.columns, fewer.columns), ("user", users, theirs)):
        found += [
            f"{prefix}/{n}"
            for n in dict.fromkeys([*one, *two])
            if n not in one or n not in two or not same(one[n], two[n])
        ]
    return found


def made_by(recipe: NextPurchase, cutoff: Time, *, rng: RNG) -> Callable[[EventLog], Made]:
    """What the recipe makes at the cutoff of a log: for `audit`."""

    def make(log: EventLog) -> Made:
        past = past_of(log, cutoff)
        return example(
            past, recipe, candidates(past, recipe, rng=rng), profiler(past, recipe, rng=rng)
        )

    return make


def same(one: np.ndarray, two: np.ndarray) -> bool:
    """Equal to the byte, NaN too."""
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
