"""TaskContract: what every task promises.

Subclass it in a test file, set `task`, and pytest runs it.

class TestReturns(TaskContract):
    task = RETURNS
    by_hand = (([(8.0, Role.VIEW)], [False]), ([(6.0, Role.VIEW)], [True]))
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped

from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.past import Past, Table
from clickprint.core.time import DAY, Window
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.tasks.rows import Rows
from clickprint.tasks.task import Task
from clickprint.testing.worlds import START, memory_log

TRAIN = Window(START + 28 * DAY, START + 42 * DAY)
VALID = Window(START + 42 * DAY, START + 56 * DAY)
KINDS = tuple(Kind(r.value, r) for r in Role)
Events = Mapping[str, np.ndarray]


class TaskContract:
    """A subclass sets `task`, or overrides `make` where the task depends on a log.

    Where the log below has not what the task asks about, it overrides `events` too (28 days of
    past, two windows of 14 days from `TRAIN.start`).

    `by_hand`: what one user does in a window, as (days after its start, role) or (days, role,
    {column: value}), and the row of answers that follows from it alone.
    """

    task: Task
    by_hand: Sequence[tuple[Sequence[tuple], Sequence[float | bool]]] = ()

    def make(self, past: Past, log: Table, train: Window) -> Task:
        """The task, made for a log."""
        return self.task

    def events(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The columns of a log with every role and column of core.events, in no order."""
        n = 3_000
        return {
            "time": START + rng.integers(0, 56 * DAY, n),
            "user": rng.integers(0, 80, n) * 5 + 3,
            "kind": rng.choice(
                len(KINDS), n, p=[0.05, 0.05, 0.2, 0.1, 0.15, 0.05, 0.05, 0.25, 0.05, 0.05]
            ),
            "item": rng.integers(0, 40, n),
            "session": rng.integers(0, 400, n),
            "scenario": rng.integers(0, 4, n),
            "query": rng.integers(0, 20, n),
            "url": rng.integers(0, 25, n),
            "price": rng.integers(1, 500, n) / 8,
            "quantity": rng.integers(1, 4, n).astype(np.float64),
        }

    def log(self, engine: Engine, events: Events) -> EventLog:
        """A log of these events; items have a category and a price bucket."""
        items = np.arange(40)
        catalogue = {"item": items, "category": items % 8, "price_bucket": items % 10}
        return memory_log(engine, **{**events, "kinds": KINDS, "catalogue": catalogue})  # type: ignore[arg-type]

    def test_the_population_looks_only_before_the_window(self) -> None:
        with DuckDB(threads=1) as engine:
            log, events, task = self._world(engine)
            asked = task.population(log, TRAIN)
            assert asked.ndim == 1, f"{task.name}: a population is a list of users"
            assert asked.dtype == np.int64, f"{task.name}: users are int64, found {asked.dtype}"
            assert len(asked) == len(np.unique(asked)) > 0, (
                f"{task.name}: its population is empty, or has a user twice"
            )
            before = events["time"] < TRAIN.start
            for name, other in {
                "without them": _only(events, before),
                "with others": _elsewhere(events, ~before),
            }.items():
                found = task.population(self.log(engine, other), TRAIN)
                assert np.array_equal(np.sort(found), np.sort(asked)), (
                    f"{task.name}: its population changes {name}, the events from the window's"
                    " start on"
                )

    def test_the_target_has_the_form_that_its_loss_needs(self) -> None:
        with DuckDB(threads=1) as engine:
            log, _, task = self._world(engine)
            users = log.users()
            found = [task.target(log, window, users) for window in (TRAIN, VALID)]
            for truth in found:
                assert truth.ndim == 2, (
                    f"{task.name}: a target has a row a user and a column a label, found shape"
                    f" {truth.shape}"
                )
                assert len(truth) == len(users), (
                    f"{task.name}: found {len(truth)} rows for {len(users)} users"
                )
                assert truth.shape[1], f"{task.name}: no label"
                kind = "b" if task.loss.name == "bce" else "f"
                assert truth.dtype.kind == kind, (
                    f"{task.name}: the loss {task.loss.name} cannot be trained on {truth.dtype}"
                )
                assert np.isfinite(truth).all(), f"{task.name}: a target is not a finite number"
            assert found[0].shape == found[1].shape, (
                f"{task.name}: the two windows have other labels"
            )

    def test_a_users_answer_does_not_depend_on_the_others(self) -> None:
        with DuckDB(threads=1) as engine:
            log, _, task = self._world(engine)
            users = np.concatenate([log.users(), [-1, 10**15]])  # two whom the log does not know
            truth = task.target(log, TRAIN, users)
            order = np.random.default_rng(1).permutation(len(users))
            _same(
                task.target(log, TRAIN, users[order]),
                truth[order],
                f"{task.name}: the order of users changes their answers",
            )
            some = order[: len(order) // 3]
            _same(
                task.target(log, TRAIN, users[some]),
                truth[some],
                f"{task.name}: asking fewer users changes their answers",
            )
            known = np.isin(users, log.users())
            assert (truth[~known] == truth[~known][:1]).all(), (
                f"{task.name}: two users without events have different answers"
            )

    def test_the_target_looks_at_nothing_after_the_window(self) -> None:
        with DuckDB(threads=1) as engine:
            log, events, task = self._world(engine)
            users, after = log.users(), events["time"] >= TRAIN.end
            truth = task.target(log, TRAIN, users)
            for other in (_only(events, ~after), _elsewhere(events, after)):
                _same(
                    task.target(self.log(engine, other), TRAIN, users),
                    truth,
                    f"{task.name}: events after the window change its target",
                )

    def test_the_target_looks_at_the_window(self) -> None:
        with DuckDB(threads=1) as engine:
            log, events, task = self._world(engine)
            inside = (events["time"] >= TRAIN.start) & (events["time"] < TRAIN.end)
            users = log.users()
            empty = task.target(self.log(engine, _only(events, ~inside)), TRAIN, users)
            assert not np.array_equal(empty, task.target(log, TRAIN, users)), (
                f"{task.name}: its target is the same with and without the window's events"
            )

    def test_the_same_log_has_the_same_answers(self) -> None:
        """Twice, whatever the order of rows, and through a table that remembers."""
        with DuckDB(threads=1) as engine:
            log, events, task = self._world(engine)
            asked, users = task.population(log, TRAIN), log.users()
            truth = task.target(log, TRAIN, users)
            shuffled = self.log(
                engine, _only(events, np.random.default_rng(2).permutation(len(events["time"])))
            )
            for table in (log, shuffled, Rows(log)):
                assert np.array_equal(np.sort(task.population(table, TRAIN)), np.sort(asked)), (
                    f"{task.name}: its population is another now"
                )
                _same(
                    task.target(table, TRAIN, users),
                    truth,
                    f"{task.name}: its target is another the second time",
                )

    def test_the_metrics_can_be_trusted(self) -> None:
        """A weight each, and the truth itself scores best.

        A resample that draws everybody once is the metric.
        """
        with DuckDB(threads=1) as engine:
            log, _, task = self._world(engine)
            truth = task.target(log, VALID, task.population(log, TRAIN))
        assert task.metrics, f"{task.name}: no metrics, so no score"
        right, wrong = truth.astype(np.float32), truth[::-1].astype(np.float32)
        once = np.ones((1, len(truth)), np.float32)
        for name, (weight, metric) in task.metrics.items():
            assert np.isfinite(weight), f"{task.name}: the weight of {name} is {weight}"
            for prediction in (right, wrong):
                value, again = metric(truth, prediction), metric.resample(truth, prediction, once)
                assert np.isclose(value, again, atol=1e-6).all(), (
                    f"{task.name}: {name} is {value}, but {again} when all are drawn once"
                )
        assert task.score(truth, right)["score"] >= task.score(truth, wrong)["score"], (
            f"{task.name}: the truth scores below other answers"
        )

    def test_answers_by_hand(self) -> None:
        with DuckDB(threads=1) as engine:
            world, _, task = self._world(engine)
            for events, expected in self.by_hand:
                columns = {
                    c: np.array([_value(c, event) for event in events])
                    for c in ("time", "user", "kind", "item", *world.manifest.columns)
                }
                found = task.target(self.log(engine, columns), TRAIN, np.array([7]))
                assert np.allclose(found, [expected]), (
                    f"{task.name}: {events} gives {found[0].tolist()}, expected {list(expected)}"
                )

    def _world(self, engine: Engine) -> tuple[EventLog, Events, Task]:
        events = self.events(np.random.default_rng(0))
        log = self.log(engine, events)
        return log, events, self.make(past_of(log, TRAIN.start), log, TRAIN)


def _only(events: Events, rows: Shaped[np.ndarray, "N"]) -> dict[str, np.ndarray]:
    return {c: v[rows] for c, v in events.items()}


def _elsewhere(events: Events, rows: Shaped[np.ndarray, "N"]) -> dict[str, np.ndarray]:
    """Some rows happen to other users, who may be new, in another order of things."""
    rng = np.random.default_rng(3)
    who = rng.permutation(events["user"][rows])
    who[: len(who) // 4] += 1_000_000
    other = {c: v.copy() for c, v in events.items()}
    other["user"][rows] = who
    other["kind"][rows] = rng.permutation(events["kind"][rows])
    return other


def _value(column: str, event: tuple) -> int | float:
    given = event[2] if len(event) > 2 else {}
    plain = {
        "time": TRAIN.start + round(event[0] * DAY),
        "user": 7,
        "kind": [k.role for k in KINDS].index(event[1]),
    }
    missing = np.nan if column in ("price", "quantity") else NONE
    return {**plain, **given}.get(column, missing)


def _same(
    found: Shaped[np.ndarray, "..."], expected: Shaped[np.ndarray, "..."], message: str
) -> None:
    assert found.dtype == expected.dtype, message
    assert np.array_equal(found, expected), message
