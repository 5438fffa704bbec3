"""The two ranking protocols: what a recommender may learn from, and who is asked what.

- "leave-one-out": everyone's last event about an item is the test, the one before it the
  validation. It is the field's habit, and no split by time: events of others that are learned
  from may be later than the one that is asked for.
- "window": the two last windows of `horizon_days` days are validation and test. All that was
  before a window is learned from.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories, items_only
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType, Catalogue
from clickprint.core.lookup import positions
from clickprint.core.options import HORIZON, Between, Distinct, NotEmpty, check
from clickprint.core.past import Past, Table
from clickprint.core.recommender import Recommender
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG, mix
from clickprint.core.time import Time, show
from clickprint.data.log import EventLog
from clickprint.data.split import LeaveOneOutPast, anchored, past_of
from clickprint.tasks.ranking import (
    KS,
    METRICS,
    RankingScore,
    RankingTest,
    in_window,
    leave_one_out,
    score,
)

Stage = Literal["validation", "test"]
STAGES: tuple[Stage, ...] = ("validation", "test")
WINDOW_ONLY = ("horizon_days", "roles")
# Who is drawn in which resample: the same for all models and seeds.
RESAMPLED = RNG(0).child("rank score")
FIELDS = ("item", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingPart:
    """The section [ranking] of a recipe: what is asked, and how lists are judged.

    - `protocol`: "leave-one-out" or "window".
    - `horizon_days`, `roles`: for "window" only. Events with one of the roles are right; the
      windows end with the last event of the first role.
    - `ks`: recall, ndcg and mrr are computed at each.
    - `include_seen`: whether items of a user's own history may be recommended.
    - `metric`: stops trainings and compares models, by lists as `include_seen` says.
    """

    protocol: Literal["leave-one-out", "window"]
    horizon_days: Annotated[int, HORIZON] = 14
    roles: Annotated[tuple[Role, ...], NotEmpty(), Distinct()] = (Role.BUY,)
    ks: Annotated[tuple[Annotated[int, Between(1, 10_000)], ...], NotEmpty(), Distinct()] = KS
    include_seen: bool = False
    metric: str = "ndcg@10"

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.metric not in self.metrics:
            yield "metric", f"found {self.metric}, expected one of {', '.join(self.metrics)}"
        for option in fields(self):
            given = getattr(self, option.name) != option.default
            if given and option.name in WINDOW_ONLY and self.protocol != "window":
                yield option.name, "for the protocol 'window' only, leave it out"

    @property
    def items(self) -> str:
        """Which items of a log are the test, in words: whatever else is asked of the same ones."""
        if self.protocol == "leave-one-out":
            return "leave-one-out"
        return f"window of {self.horizon_days} days, {', '.join(sorted(self.roles))}"

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(f"{f.__name__}@{k}" for f in METRICS for k in self.ks)


@dataclass(frozen=True, slots=True)
class Question:
    """One stage of a protocol: the past to learn from, the users who are asked, and their items.

    `items` are those that can be learned; `category` has the category of each, as far as the
    log knows one. `text` says in words what is asked. `given` makes the histories of the users
    who are asked, with these fields.
    """

    part: RankingPart
    past: Past
    test: RankingTest
    items: Int64[np.ndarray, "V"]
    category: Int64[np.ndarray, "V"] | None
    text: str
    given: Callable[[tuple[str, ...]], Histories]
    _requests: dict[tuple[str, ...], Requests] = field(default_factory=dict, repr=False)

    @property
    def empty(self) -> int:
        """How many of the users who are asked have no event about an item."""
        return int((items_only(self.test.given).lengths == 0).sum())

    def requests(self, fields: Collection[str]) -> Requests:
        """The users who are asked, with these fields of their histories. Made once for each."""
        wanted = tuple(fields)
        if wanted not in self._requests:
            self._requests[wanted] = Requests(self.given(wanted), self.test.time)
        return self._requests[wanted]

    def score(self, recommender: Recommender, *, include_seen: bool | None = None) -> RankingScore:
        """How good its lists are; `include_seen` left out: as the part says."""
        seen = self.part.include_seen if include_seen is None else include_seen
        lists = recommender.recommend(
            self.requests(recommender.fields), max(self.part.ks), include_seen=seen
        )
        return score(
            lists,
            self.test,
            ks=self.part.ks,
            rng=RESAMPLED,
            items=self.items,
            category=self.category,
        )

    def metric(self, recommender: Recommender) -> float:
        """The part's metric, by which a training stops."""
        return self.score(recommender).mean(self.part.metric)


def question(log: EventLog, part: RankingPart, stage: Stage) -> Question:
    """The question of one stage.

    Raises DataError where nobody is asked or nothing happened before the window, ConfigError for
    a window of a log without a clock.
    """
    made = (_left_out if part.protocol == "leave-one-out" else _in_window)(log, part, stage)
    if not len(made.test.users):
        raise DataError(
            log.manifest.name, f"nobody is asked anything in the {stage} ({made.text})"
        )
    return made


def _left_out(log: EventLog, part: RankingPart, stage: Stage) -> Question:
    last, what = (2, "the item before the last") if stage == "validation" else (1, "the last item")
    past = LeaveOneOutPast(log, last)

    def asked(fields: tuple[str, ...]) -> RankingTest:
        return leave_one_out(past.whole(fields), back=last - 1)

    return Question(
        part,
        past,
        asked(FIELDS),
        *_items(log, past),
        f"leave-one-out, {what}",
        lambda fields: asked(fields).given,
    )


def _in_window(log: EventLog, part: RankingPart, stage: Stage) -> Question:
    first, second = anchored(log, part.horizon_days, part.roles[0])
    window = first if stage == "validation" else second
    past = past_of(log, window.start)
    if not len(past.users):
        raise DataError(
            log.manifest.name,
            f"nothing happened before {show(window.start)}, so there is nothing to learn",
        )
    asked = past.histories(FIELDS).of(log.users(roles=part.roles, window=window))
    test = in_window(asked, log, window, roles=part.roles)
    return Question(
        part,
        past,
        test,
        *_items(log, past),
        f"what users did ({', '.join(part.roles)}) in {window}",
        lambda fields: past.histories(fields).of(test.users),
    )


def _items(
    log: EventLog, past: Past
) -> tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V"] | None]:
    """The items that can be learned, and their categories.

    The category is the attribute whose name says so, or else the first of that type.
    """
    values = past.histories(FIELDS).fields["item"]
    items = np.unique(values[values != NONE])
    names = [n for n, t in log.manifest.attributes.items() if t is AttributeType.CATEGORY]
    if not names:
        return items, None
    name = next((n for n in names if n.startswith("categor")), names[0])
    table = past.catalogue.table
    at = positions(table.column("item").to_numpy(), items)
    category = table.column(name).fill_null(NONE).to_numpy().astype(np.int64)
    return items, np.where(at >= 0, category[at] if len(category) else NONE, NONE)


# -- shares of the users ---------------------------------------------------------------------


def nested(users: Int64[np.ndarray, "U"], fraction: float, rng: RNG) -> Bool[np.ndarray, "U"]:
    """Which users are in a share of them: round(fraction · U), at least one.

    The users of a smaller share are all in a larger one. Who is in a share depends on their ids,
    not on their order.
    """
    if fraction >= 1:
        return np.ones(len(users), bool)
    keys = mix(users.astype(np.uint64) ^ np.uint64(rng.integer()))
    order = np.lexsort((users, keys))
    chosen = np.zeros(len(users), bool)
    chosen[order[: max(1, round(fraction * len(users)))]] = True
    return chosen


@dataclass(frozen=True, slots=True)
class PastShare:
    """A past of which only some users are learned from; it has histories, and no log."""

    whole: Past
    users: Int64[np.ndarray, "U"] = field(repr=False)
    _histories: dict[tuple[str, ...], Histories] = field(default_factory=dict, repr=False)

    @property
    def cutoff(self) -> Time:
        return self.whole.cutoff

    @property
    def log(self) -> Table:
        raise ConfigError("a share of the users has no log of its own; their histories are read")

    @property
    def catalogue(self) -> Catalogue:
        return self.whole.catalogue

    def histories(self, fields: Collection[str]) -> Histories:
        """The users' histories, as the whole past has them."""
        wanted = tuple(fields)
        if wanted not in self._histories:
            self._histories[wanted] = self.whole.histories(wanted).of(self.users)
        return self._histories[wanted]

    def at(self, earlier: Time) -> "PastShare":
        return PastShare(self.whole.at(earlier), self.users)
