"""Which lists are shown to people, and what their table says."""

import numpy as np

from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.recommenders.funnel import Plan
from clickprint.recommenders.lists import list_grid, telling
from clickprint.recommenders.pairs import Bought


def plan(propensity: list[float]) -> Plan:
    size = len(propensity)
    lists = Recommendations(
        np.arange(size), np.ones((size, 1), np.int64), np.zeros((size, 1), np.float32)
    )
    return Plan(lists, np.array(propensity), np.full(size, 0.5))


def bought(*users: int) -> Bought:
    return Bought(
        np.array(users), Ragged(np.arange(len(users) + 1), np.ones(len(users), np.int64))
    )


def test_the_best_the_middle_and_the_worst_buyer_are_shown() -> None:
    recall = np.array([0.0, 0.5, 1.0, 0.2, 0.5])
    found = telling(plan([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), bought(0, 1, 2, 3, 9), recall)
    assert found == [2, 3, 0]  # user 9 is not known, users 4 and 5 bought nothing


def test_of_equal_recall_the_likelier_buyer_comes_first() -> None:
    assert telling(plan([0.1, 0.9, 0.5]), bought(0, 1, 2), np.zeros(3)) == [1, 2, 0]
    assert telling(plan([0.1, 0.9]), bought(1), np.zeros(1)) == [1]
    assert telling(plan([0.1]), bought(7), np.zeros(1)) == []


def test_a_list_as_a_table() -> None:
    one = {
        "list": [{"title": "a", "bought": True}, {"title": "b", "bought": False}],
        "bought": ["a", "c"],
    }
    assert [[cell.text for cell in row] for row in list_grid(one, "user 1").cells] == [
        ["1", "a", "bought"],
        ["2", "b", ""],
        ["", "c", "bought, not among these"],
    ]
