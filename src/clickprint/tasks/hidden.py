"""Tasks that nobody designed for: drawn at random from one log, so no recipe can name them.

They measure whether a profile generalises. They are judged by the train window alone: what happens
in the validation window decides nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
from jaxtyping import Int64, Shaped

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.items import CATEGORICAL
from clickprint.core.lookup import pair_keys, pairs_of_keys, positions_in_any_order
from clickprint.core.past import Past, Table
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.metrics.task_metrics import AUROC, MacroAUROC, Spearman
from clickprint.tasks.populations import active_in, as_active_as, buyers, everyone, lapsed, touched
from clickprint.tasks.rows import Rows
from clickprint.tasks.targets import (
    activity,
    buys_any,
    comes_back,
    count_at_least,
    spend,
    spends_at_least,
    stays_away,
    variety_at_least,
)
from clickprint.tasks.task import Metric, Population, Target, Task, TaskSet, bce, mse

ATTEMPTS = 40  # draws a task, before giving up
# Two tasks of one population whose answers correlate more than this, either way, are one task.
LIKE = 0.95
SIZES = (1, 2, 5, 10, 20, 50, 100)  # labels
RECENT = 28  # days of the past that a population may count in, so that its rows fit in memory
PEOPLE = 50  # users that a task asks, at least
VALUES = 300  # labels are drawn from so many of the most met values
# Of what is asked, in the order of WHAT.
WEIGHTS = (0.44, 0.1, 0.06, 0.12, 0.08, 0.08, 0.04, 0.08)
WHAT = ["any", "back", "away", "count", "variety", "activity", "spend", "over"]


@dataclass(frozen=True, slots=True)
class Draw:
    """One drawn task in words.

    What is asked, of which events and values, in how many days, of whom.
    """

    what: str
    role: Role | None
    days: int
    who: str
    column: str = ""
    values: tuple[int, ...] = field(default=(), repr=False)
    level: float = 0.0

    @property
    def name(self) -> str:
        """What, of which events, how many values or how much, horizon, population, digest.

        As in `any_buy_category20_h7_buyers_1f2a3b`.
        """
        kept = repr(
            (self.what, self.role, self.days, self.who, self.column, self.values, self.level)
        )
        size = f"{len(self.values)}" if self.values else f"{self.level:g}" if self.level else ""
        digest = blake2b(kept.encode(), digest_size=3).hexdigest()
        parts = [
            self.what,
            str(self.role or "event"),
            f"{self.column}{size}",
            f"h{self.days}",
            self.who,
            digest,
        ]
        return "_".join(p for p in parts if p)

    @property
    def about(self) -> str:
        did = "does anything" if self.role is None else "has an event of role " + self.role
        values = f"{len(self.values)} value{'s' if len(self.values) > 1 else ''} of {self.column}"
        ask = {
            "any": f"with which of {values} a user {did}",
            "back": f"who {did}",
            "away": f"who never {did}",
            "count": f"who {did} at least {self.level:g} times",
            "variety": f"who {did} with at least {self.level:g} values of {self.column}",
            "activity": f"how often a user {did}",
            "spend": "how much a user spends",
            "over": f"who spends at least {self.level:g}",
        }[self.what]
        return f"Hidden, asked of {self.who}: {ask}, in {self.days} days."

    def target(self) -> Target:
        roles = () if self.role is None else (self.role,)
        make: Mapping[str, Callable[[], Target]] = {
            "any": lambda: buys_any(self.column, self.values, roles, days=self.days),
            "back": lambda: comes_back(*roles, days=self.days),
            "away": lambda: stays_away(*roles, days=self.days),
            "count": lambda: count_at_least(int(self.level), *roles, days=self.days),
            "variety": lambda: variety_at_least(
                int(self.level), self.column, *roles, days=self.days
            ),
            "activity": lambda: activity(*roles, days=self.days),
            "spend": lambda: spend(self.days, roles),
            "over": lambda: spends_at_least(self.level, self.days, roles),
        }
        return make[self.what]()

    def task(self, population: Population) -> Task:
        """The value that a board scores."""
        loss = mse if self.what in ("activity", "spend") else bce
        metric: dict[str, tuple[float, Metric]] = {
            "auroc": (1.0, MacroAUROC() if len(self.values) > 1 else AUROC())
        }
        if loss is mse:
            metric = {"spearman": (1.0, Spearman())}
        return Task(
            name=self.name,
            population=population,
            target=self.target(),
            loss=loss,
            metrics=metric,
            about=self.about,
        )


def sample(
    past: Past, log: Table, train: Window, *, count: int = 50, rng: RNG | None = None
) -> TaskSet:
    """`count` distinct tasks, drawn from what happened in the train window.

    Each has an attribute, role, horizon (3 days to the window's), population and question of its
    own. The same log, window and stream `rng` give the same tasks.

    - Each can be learned from the train window: of at least 50 users asked, 5 to 20 (a hundredth
      of them) or more are positive and as many negative, and 3 to 5 of every label; in a
      regression as many are above zero.
    - Two tasks asked of the same users are not nearly one: their answers correlate at most 0.95,
      either way round, and of a column's labels they share at most half.

    Raises DataError, with the reasons, where the log does not yield that many.
    """
    if count < 1:
        raise ConfigError(f"hidden tasks: found a count of {count}, expected at least 1")
    shop = _Shop(Rows(log), past.users, train)
    generator = (rng or RNG()).child("hidden").generator()
    tasks: dict[str, Task] = {}
    refused: Counter[str] = Counter()
    for _ in range(count * ATTEMPTS):
        try:
            who = shop.pick_population(generator)
            task = shop.judged(shop.draw(generator, who)).task(shop.populations[who])
            tasks[task.name] = task
        except _Refused as reason:
            refused[str(reason)] += 1
        if len(tasks) == count:
            return TaskSet(tuple(tasks.values()), {})
    reasons = "; ".join(f"{n} draws refused: {reason}" for reason, n in refused.most_common(5))
    raise DataError(
        log.manifest.name,
        f"found {len(tasks)} distinct hidden tasks, expected {count} ({reasons}); ask for fewer,"
        " or take a longer or larger log",
    )


class _Refused(Exception):
    """A draw that makes no task of this log."""


class _Shop:
    """What can be asked of a log, and what was asked already."""

    def __init__(self, rows: Rows, users: Int64[np.ndarray, "U"], train: Window) -> None:
        self.rows, self.users, self.train = rows, users, train
        self.longest = max(round((train.end - train.start) / DAY), 1)
        self.roles = [
            r
            for r in Role
            if any(k.role is r for k in rows.manifest.kinds)
            and len(rows.users(roles=(r,), window=train))
        ]
        if not self.roles:
            raise DataError(
                rows.manifest.name,
                "nothing happened in the train window, so there is nothing to ask",
            )
        manifest = rows.manifest
        own = [c for c in manifest.columns if c in ("url", "query", "scenario")]
        attributes = [a for a in manifest.of_type(*CATEGORICAL) if a not in manifest.columns]
        self.columns = ["item", *own, *attributes]
        self.usual: dict[str, Population] = {
            "everyone": everyone(users),
            "buyers": buyers(),
            "active7": active_in(7),
            f"active{RECENT}": active_in(RECENT),
            "heavy": as_active_as(0.5, 1, days=RECENT),
            "light": as_active_as(0, 0.5, days=RECENT),
            "lapsed14": lapsed(14),
        }
        self.populations: dict[str, Population] = {}
        self._asked: dict[str, np.ndarray] = {}
        self._values: dict[tuple[Role, str], np.ndarray] = {}
        self._taken: dict[bytes, list[tuple[Draw, np.ndarray]]] = {}

    def pick_population(self, generator: np.random.Generator) -> str:
        """The name of a population, drawn.

        `populations` then holds it. Raises _Refused where it is too small.
        """
        who = str(generator.choice([*self.usual, "met"]))
        if who != "met":
            self.populations[who] = self.usual[who]
        else:
            role, column, values = self._met(generator)
            value = int(values[generator.integers(min(20, len(values)))])
            who = f"{role}-{column}-{value}"
            self.populations[who] = touched(column, value, role, days=RECENT)
        if len(self._users(who)) < PEOPLE:
            raise _Refused(f"fewer than {PEOPLE} users are in its population")
        return who

    def draw(self, generator: np.random.Generator, who: str) -> Draw:
        """A question for `who`, not yet judged.

        Where events have no price, questions of money become questions of values.
        """
        what = str(generator.choice(WHAT, p=WEIGHTS))
        days = int(generator.integers(min(3, self.longest), self.longest + 1))
        role = self.roles[int(generator.integers(len(self.roles)))]
        if what in ("back", "away", "count", "activity"):
            anything = len(self.roles) > 1 and generator.random() < 0.25
            draw = Draw(what, None if anything else role, days, who)
            return (
                replace(draw, level=self._level(generator, draw, _count_of))
                if what == "count"
                else draw
            )
        if what in ("spend", "over") and "price" in self.rows.manifest.columns:
            draw = Draw(what, Role.BUY, days, who)
            return (
                replace(draw, level=self._level(generator, draw, _money_of))
                if what == "over"
                else draw
            )
        role, column, values = self._met(generator)
        what = "variety" if what == "variety" else "any"
        if what == "variety":
            return Draw(
                what, role, days, who, column=column, level=float(generator.integers(2, 6))
            )
        size = min(int(generator.choice(SIZES)), len(values))
        return Draw(
            what,
            role,
            days,
            who,
            column=column,
            values=tuple(sorted(generator.choice(values, size, replace=False).tolist())),
        )

    def judged(self, draw: Draw) -> Draw:
        """The draw, less the labels that too few have in the train window. Raises _Refused."""
        users = self._users(draw.who)
        least = min(max(len(users) // 100, 5), 20)
        answers = draw.target()(self.rows, self.train, users)
        if answers.shape[1] > 1:
            positive = answers.sum(axis=0)
            kept = (positive >= max(3, least // 4)) & (len(users) - positive >= max(3, least // 4))
            draw = replace(
                draw, values=tuple(v for v, k in zip(draw.values, kept.tolist(), strict=True) if k)
            )
            answers = answers[:, kept]
        one: np.ndarray = np.asarray(
            answers.any(axis=1) if answers.shape[1] > 1 else answers.sum(axis=1)
        )
        if not least <= np.count_nonzero(one) or (
            answers.dtype == bool and answers.shape[1] == 1 and len(users) - one.sum() < least
        ):
            raise _Refused("too few users have one of the answers")
        key = blake2b(users.tobytes(), digest_size=16).digest()
        for other, answered in self._taken.setdefault(key, []):
            if len(draw.values) > 1 and len(other.values) > 1:
                shared = (
                    len(set(draw.values) & set(other.values)) if draw.column == other.column else 0
                )
                if shared > min(len(draw.values), len(other.values)) / 2:
                    raise _Refused("half of its labels are another task's")
            elif len(draw.values) < 2 and len(other.values) < 2 and _alike(one, answered):
                raise _Refused("nearly another task")
        self._taken[key].append((draw, one))
        return draw

    def _users(self, who: str) -> Int64[np.ndarray, "P"]:
        if who not in self._asked:
            asked = self.populations[who](self.rows, self.train)
            self._asked[who] = self.users[positions_in_any_order(asked, self.users) >= 0]
        return self._asked[who]

    def _met(self, generator: np.random.Generator) -> tuple[Role, str, Int64[np.ndarray, "V"]]:
        """A role and a column, drawn among those with values that many users met, and these.

        Raises _Refused.
        """
        pairs = [(r, c) for r in self.roles for c in self.columns]
        for n in generator.permutation(len(pairs)):
            values = self._frequent(*pairs[n])
            if len(values):
                return *pairs[n], values
        raise _Refused("no value of any column was met by three users")

    def _frequent(self, role: Role, column: str) -> Int64[np.ndarray, "V"]:
        """The values of `column` that at least three users met in the train window.

        At most `VALUES`, most users first.
        """
        key = role, column
        if key not in self._values:
            found = self.rows.rows(
                ("user", column), roles=(role,), window=self.train, ordered=False
            )
            row = positions_in_any_order(self.users, found["user"])
            known = (row >= 0) & (found[column] != NONE)
            values, which = np.unique(found[column][known], return_inverse=True)
            size = len(self.users)
            pairs = np.unique(pair_keys(which, row[known], size))
            met = np.bincount(pairs_of_keys(pairs, size)[0], minlength=len(values))
            order = np.lexsort((values, -met))[:VALUES]
            self._values[key] = values[order][met[order] >= 3].astype(np.int64)
        return self._values[key]

    def _level(
        self, generator: np.random.Generator, draw: Draw, measure: Callable[[Draw], Target]
    ) -> float:
        """A random quantile, in two digits, of the amounts above zero in the train window."""
        amounts = np.expm1(
            measure(draw)(self.rows, self.train, self.users)[:, 0].astype(np.float64)
        )
        amounts = amounts[amounts > 1e-6]
        level = (
            float(f"{np.quantile(amounts, generator.uniform(0.2, 0.9)):.2g}")
            if len(amounts)
            else 0.0
        )
        return level if draw.what == "over" else max(float(round(level)), 2.0)


def _count_of(draw: Draw) -> Target:
    return replace(draw, what="activity").target()


def _money_of(draw: Draw) -> Target:
    return replace(draw, what="spend").target()


def _alike(a: Shaped[np.ndarray, "P"], b: Shaped[np.ndarray, "P"]) -> bool:
    x, y = (v.astype(np.float64) - v.mean() for v in (a, b))
    return bool(abs(x @ y) > LIKE * np.sqrt((x @ x) * (y @ y)))
