"""Our own tasks keep the contract, and the contract bites: each broken task is caught by the
promise that it breaks.
"""

from dataclasses import replace

import numpy as np
import pytest

from clickprint.core.events import Role
from clickprint.core.past import Past, Table
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.metrics.task_metrics import AUROC, R2
from clickprint.tasks import task_set
from clickprint.tasks.examples import BUYS_TWICE, RETURNS, SPEND, WON_BACK, buys_over
from clickprint.tasks.hidden import Draw
from clickprint.tasks.populations import as_active_as, everyone
from clickprint.tasks.targets import buys_price, variety_at_least
from clickprint.tasks.task import Task, mse
from clickprint.testing.tasks import TaskContract


class TestReturns(TaskContract):
    task = RETURNS
    by_hand = (
        ([(8.0, Role.VIEW)], [False]),
        ([(6.99, Role.VIEW)], [True]),
        ([(7.0, Role.BUY)], [False]),
        ([(-0.01, Role.BUY)], [False]),
        ([(0.0, Role.EXPOSE)], [True]),
    )


class TestBuysTwice(TaskContract):
    task = BUYS_TWICE
    by_hand = (
        ([(1.0, Role.BUY), (1.0, Role.BUY)], [True]),
        ([(1.0, Role.BUY), (1.0, Role.CART)], [False]),
        ([(1.0, Role.BUY), (14.0, Role.BUY)], [False]),
    )


class TestWonBack(TaskContract):
    task = WON_BACK

    def events(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Few, so that some stay away."""
        return {c: v[::8] for c, v in super().events(rng).items()}


class TestSpend(TaskContract):
    task = SPEND
    by_hand = (
        ([(1.0, Role.BUY, {"price": 4.5, "quantity": 2.0})], [np.log(10)]),
        (
            [(1.0, Role.BUY, {"price": 3.0}), (2.0, Role.BUY), (3.0, Role.CART, {"price": 5.0})],
            [np.log(4)],
        ),
        ([(1.0, Role.BUY, {"price": -3.0})], [0.0]),
    )


class TestBuysOver(TaskContract):
    task = buys_over(100)
    by_hand = (
        ([(1.0, Role.BUY, {"price": 50.0, "quantity": 2.0})], [True]),
        ([(1.0, Role.BUY, {"price": 99.99})], [False]),
    )


class TestVariety(TaskContract):
    task = replace(BUYS_TWICE, name="variety", target=variety_at_least(2, "item", Role.BUY))
    by_hand = (
        ([(1.0, Role.BUY, {"item": 3}), (2.0, Role.BUY, {"item": 3})], [False]),
        ([(1.0, Role.BUY, {"item": 3}), (2.0, Role.BUY, {"item": 4})], [True]),
    )


class TestPrices(TaskContract):
    task = replace(BUYS_TWICE, name="prices", target=buys_price([1.0, 2.0], [2]))
    by_hand = (
        ([(1.0, Role.BUY, {"price": 2.0})], [True]),
        ([(1.0, Role.BUY, {"price": 1.99})], [False]),
        ([(1.0, Role.BUY)], [False]),
    )


PROMISES = [p for p in dir(TaskContract) if p.startswith("test_")]


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize(
    "name", ["churn", "propensity_category", "propensity_new_sku", "propensity_price"]
)
def test_the_six_tasks_keep(name: str, promise: str) -> None:
    class Contract(TaskContract):
        def make(self, past: Past, log: Table, train: Window) -> Task:
            return next(
                t
                for t in task_set("ubm25", past, log, train, rng=RNG(), top=10).tasks
                if t.name == name
            )

    getattr(Contract(), promise)()


DRAWS = [
    Draw("any", Role.CART, 6, "", "category", (5, 2)),
    Draw("back", None, 3, ""),
    Draw("away", Role.BUY, 9, ""),
    Draw("count", Role.VIEW, 14, "", level=4.0),
    Draw("variety", Role.BUY, 9, "", "price_bucket", level=3.0),
    Draw("activity", None, 5, ""),
    Draw("spend", Role.BUY, 13, ""),
    Draw("over", Role.BUY, 13, "", level=40.0),
]


@pytest.mark.parametrize("draw", DRAWS, ids=[d.what for d in DRAWS])
def test_what_hidden_tasks_ask_keeps(draw: Draw) -> None:
    class Contract(TaskContract):
        task = draw.task(as_active_as(0.2, 1, days=28))

    Contract().test_the_target_has_the_form_that_its_loss_needs()
    Contract().test_a_users_answer_does_not_depend_on_the_others()
    Contract().test_the_target_looks_at_nothing_after_the_window()
    Contract().test_the_metrics_can_be_trusted()


def _late(table: Table, window: Window) -> np.ndarray:
    return table.users(window=Window(window.start - DAY, window.start + DAY // 24))


def _twice(table: Table, window: Window) -> np.ndarray:
    return np.repeat(everyone()(table, window), 2)


def _peeks(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    return WON_BACK.target(table, Window(window.end - DAY // 2, window.end + DAY // 2), users)


def _sorts(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    return BUYS_TWICE.target(table, window, np.sort(users))


def _compares(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    spent = SPEND.target(table, window, users)
    return spent > spent.mean()


def _looks_back(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    return BUYS_TWICE.target(table, Window(window.start - 20 * DAY, window.start), users)


def _guesses(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    return RETURNS.target(table, window, users) ^ (
        np.random.default_rng().random((len(users), 1)) < 0.5
    )


def _first_row_wins(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    rows = table.rows(("user", "item"), roles=(Role.BUY,), window=window, ordered=False)
    seen, first = np.unique(rows["user"], return_index=True)
    wanted = seen[rows["item"][first] < 20]
    return np.isin(users, wanted)[:, None]


def _flat(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    return RETURNS.target(table, window, users)[:, 0]


def _grows(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    return np.repeat(RETURNS.target(table, window, users), 1 + (window.start // DAY) % 100, axis=1)


def _infinite(table: Table, window: Window, users: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(SPEND.target(table, window, users))


class _Backwards(AUROC):
    def __call__(self, truth: np.ndarray, prediction: np.ndarray, *, live: bool = False) -> float:
        return 1 - super().__call__(truth, prediction, live=live)

    def resample(
        self, truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray, *, live: bool = False
    ) -> np.ndarray:
        return 1 - super().resample(truth, prediction, weights, live=live)


class _Forgetful(AUROC):
    def resample(
        self, truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray, *, live: bool = False
    ) -> np.ndarray:
        return np.zeros(len(weights))


def returns(**parts: object) -> Task:
    return replace(RETURNS, **parts)


def twice(**parts: object) -> Task:
    return replace(BUYS_TWICE, **parts)


# A test of the contract → tasks that break it, and words of what it says.
BROKEN_BY_TEST: dict[str, list[tuple[Task, str]]] = {
    "test_the_population_looks_only_before_the_window": [
        (returns(population=_late), "from the window's start on"),
        (returns(population=_twice), "a user twice"),
        (returns(population=lambda *_: np.array([], np.int64)), "empty"),
        (returns(population=lambda *_: np.array([3, 8], np.int32)), "int64"),
    ],
    "test_the_target_has_the_form_that_its_loss_needs": [
        (returns(target=_flat), "found shape"),
        (returns(loss=mse), "cannot be trained on bool"),
        (replace(SPEND, target=_infinite), "not a finite number"),
        (returns(target=_grows), "other labels"),
        (returns(target=lambda t, w, u: np.zeros((3, 1), bool)), "3 rows for"),
    ],
    "test_a_users_answer_does_not_depend_on_the_others": [
        (twice(target=_sorts), "order of users"),
        (twice(target=_compares), "asking fewer users"),
    ],
    "test_the_target_looks_at_nothing_after_the_window": [
        (returns(target=_peeks), "events after the window"),
    ],
    "test_the_target_looks_at_the_window": [
        (twice(target=_looks_back), "with and without the window's events"),
    ],
    "test_the_same_log_has_the_same_answers": [
        (returns(target=_guesses), "the second time"),
        (returns(target=_first_row_wins), "the second time"),
    ],
    "test_the_metrics_can_be_trusted": [
        (twice(metrics={}), "no metrics"),
        (twice(metrics={"auroc": (float("nan"), AUROC())}), "weight"),
        (twice(metrics={"auroc": (1.0, _Backwards())}), "below other answers"),
        (twice(metrics={"auroc": (1.0, _Forgetful())}), "drawn once"),
        (replace(SPEND, metrics={"r2": (-1.0, R2())}), "below other answers"),
    ],
}
BROKEN = [(test, *case) for test, cases in BROKEN_BY_TEST.items() for case in cases]


@pytest.mark.parametrize(
    ("promise", "broken", "message"), BROKEN, ids=[f"{p[5:]}: {m}" for p, _, m in BROKEN]
)
def test_a_broken_task_is_caught(promise: str, broken: Task, message: str) -> None:
    class Contract(TaskContract):
        task = broken

    with pytest.raises(AssertionError, match=message):
        getattr(Contract(), promise)()


def test_a_wrong_answer_by_hand_is_caught() -> None:
    class Contract(TaskContract):
        task = RETURNS
        by_hand = (([(8.0, Role.VIEW)], [True]),)

    with pytest.raises(AssertionError, match="expected"):
        Contract().test_answers_by_hand()
