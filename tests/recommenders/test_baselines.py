"""The baselines: each against its definition, user by user."""

from dataclasses import is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.options import OptionsError
from clickprint.core.recommendations import Recommendations
from clickprint.core.registry import lookup
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.split import HistoriesPast
from clickprint.recommenders import RECOMMENDERS, baselines, recommender
from clickprint.recommenders.baselines import EASE, ItemKNN, OwnItems, Popularity

HISTORIES = st.lists(
    st.lists(st.sampled_from([3, 10, 20, 30, 40, NONE]), max_size=6), min_size=1, max_size=6
)


def of(rows: list[list[int]]) -> Histories:
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    item = np.array([i for r in rows for i in r], np.int64)
    return Histories(
        np.arange(len(rows)) * 7, starts, {"item": item, "time": np.arange(len(item)) * DAY}
    )


def fitted_to(recipe: Any, histories: Histories) -> Any:
    return recipe.fit(HistoriesPast(histories), rng=RNG(0))


def recommended(
    recipe: Any, histories: Histories, k: int, *, to: Histories | None = None, **more: Any
) -> Recommendations:
    return fitted_to(recipe, histories).recommend(
        Requests(histories if to is None else to), k, **more
    )


def ranked(scores: dict[int, float], k: int, out: set[int]) -> list[int]:
    return sorted((i for i in scores if i not in out), key=lambda i: (-scores[i], i))[:k]


def check(baseline: object, rows: list[list[int]], scores_of: object, k: int = 3) -> None:
    histories = of(rows)
    for seen in (True, False):
        lists = recommended(baseline, histories, k, include_seen=seen)
        for u, row in enumerate(rows):
            own = [i for i in row if i != NONE]
            wanted = ranked(scores_of(own), k, set() if seen else set(own))
            assert [i for i in lists.items[u].tolist() if i != NONE] == wanted, (u, seen)


@settings(deadline=None)
@given(HISTORIES)
def test_popularity(rows: list[list[int]]) -> None:
    every = [i for r in rows for i in r if i != NONE]
    check(Popularity(), rows, lambda own: {i: every.count(i) for i in every})


def test_popularity_fades() -> None:
    histories = of([[3, 3, 3, 10], [10]])
    assert recommended(Popularity(), histories, 1).items.ravel().tolist() == [3, 3]
    assert recommended(Popularity(half_life=1), histories, 1).items.ravel().tolist() == [10, 10]


@settings(deadline=None)
@given(HISTORIES)
def test_own_items_by_frequency(rows: list[list[int]]) -> None:
    every = [i for r in rows for i in r if i != NONE]
    most = max((every.count(i) for i in every), default=1)
    check(
        OwnItems(),
        rows,
        lambda own: {i: own.count(i) + every.count(i) / (2 * most) for i in every},
    )


@settings(deadline=None)
@given(HISTORIES)
def test_own_items_by_recency(rows: list[list[int]]) -> None:
    every = [i for r in rows for i in r if i != NONE]
    most = max((every.count(i) for i in every), default=1)

    def scores(own: list[int]) -> dict[int, float]:
        last = {i: 1 + p for p, i in enumerate(own)}
        return {i: max(last.get(i, 0), every.count(i) / (2 * most)) for i in every}

    check(OwnItems(by="recency"), rows, scores)


def test_item_knn_is_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[3, 10, 10], [3, 20], [10, 20, 30], [3, 10, 40], [40], []]
    had = {i: {u for u, r in enumerate(rows) if i in r} for i in (3, 10, 20, 30, 40)}

    def like(i: int, j: int) -> float:
        return 0 if i == j else len(had[i] & had[j]) / ((len(had[i]) * len(had[j])) ** 0.5 + 2)

    near = {
        i: sorted((j for j in had if like(i, j) > 0), key=lambda j: (-like(i, j), j))[:2]
        for i in had
    }
    for cells in (baselines.CELLS, 4):  # all at once, and an item or two at a time
        monkeypatch.setattr(baselines, "CELLS", cells)
        check(
            ItemKNN(neighbours=2, shrink=2),
            rows,
            lambda own: {j: sum(like(i, j) for i in set(own) if j in near[i]) for j in had},
            k=5,
        )


def test_ease_solves_its_least_squares() -> None:
    random = np.random.default_rng(0)
    rows = [
        random.choice([3, 10, 20, 30, 40], random.integers(1, 5), replace=False).tolist()
        for _ in range(40)
    ]
    items = [3, 10, 20, 30, 40]
    x = np.array([[i in r for i in items] for r in rows], float)
    # Column by column: ridge regression on the other columns.
    b = np.zeros((5, 5))
    for j in range(5):
        rest = [i for i in range(5) if i != j]
        b[rest, j] = np.linalg.solve(
            x[:, rest].T @ x[:, rest] + 4 * np.eye(4), x[:, rest].T @ x[:, j]
        )
    found = recommended(EASE(l2=4), of(rows), 5)
    for u in range(40):
        scores = dict(zip(found.items[u].tolist(), found.scores[u].tolist(), strict=True))
        assert [scores[i] for i in items] == pytest.approx((x @ b)[u], abs=1e-5)


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: OwnItems(by="size"), "by"),
        (lambda: Popularity(half_life=-30), "half_life"),
        (lambda: Popularity(roles=("sell",)), "roles[0]"),
        (lambda: ItemKNN(neighbours=0), "neighbours"),
        (lambda: ItemKNN(shrink=-100), "shrink"),
        (lambda: EASE(l2=-250), "l2"),
        (lambda: EASE(l2=0), "l2"),
        (lambda: EASE(items=40_001), "items"),
    ],
)
def test_what_is_refused(make: Any, path: str) -> None:
    with pytest.raises(OptionsError) as fault:
        make()
    assert [f.path for f in fault.value.faults] == [path]


def test_ease_ranks_the_items_that_most_users_had() -> None:
    """The rest is as if the log had it not; of equally many users the smaller item."""
    rows = [[3, 10], [3, 10, 30], [3, 20], [10, 20, 40], [40, 40, 40, 3]]
    kept = [[i for i in r if i in (3, 10, 20)] for r in rows]
    few, same = (recommended(EASE(items=3, l2=2), of(r), 3) for r in (rows, kept))
    assert set(few.items.ravel().tolist()) == {3, 10, 20}
    assert few.items.tolist() == same.items.tolist()
    np.testing.assert_allclose(few.scores, same.scores, atol=1e-6)


def test_new_users_and_new_items_are_nothing() -> None:
    known, strangers = of([[3, 10], [3, 20]]), of([[], [999]])
    for recipe in (ItemKNN(), EASE(), OwnItems(), Popularity()):
        found = recommended(recipe, known, 2, to=strangers)
        assert found.items[0].tolist() == found.items[1].tolist()
    assert recommended(Popularity(), known, 2, to=strangers).items[0].tolist() == [3, 10]


def test_users_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = of([[3, 10], [20], [3, 30, 40], [10, 40]])
    whole = recommended(ItemKNN(), rows, 3)
    monkeypatch.setattr(baselines, "CELLS", 5)
    pieces = recommended(ItemKNN(), rows, 3)
    assert np.array_equal(whole.items, pieces.items)
    assert torch.allclose(torch.from_numpy(whole.scores), torch.from_numpy(pieces.scores))


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("recipe", [Popularity(), OwnItems(), ItemKNN()])
def test_only_what_is_allowed(recipe: Any, seen: bool) -> None:
    rows = of([[3, 10, 3], [20, 3], [3, 30, 40], []])
    every = recommended(recipe, rows, 9, include_seen=seen)
    items = np.array([3, 10, 20, 30, 40])
    each = np.random.default_rng(0).random((4, 5)) < 0.5
    for allowed in (each[0], each):
        found = recommended(recipe, rows, 9, include_seen=seen, allowed=allowed)
        for row in range(4):
            good = items[np.broadcast_to(allowed, (4, 5))[row]]
            wanted = [i for i in every.items[row].tolist() if i in good]
            assert [i for i in found.items[row].tolist() if i != NONE] == wanted


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_every_name_is_of_a_recipe(name: str) -> None:
    assert is_dataclass(lookup(RECOMMENDERS, name, "recommender"))


def test_a_recipe_by_its_name() -> None:
    assert recommender("popularity", half_life=3) == Popularity(half_life=3)
    for name, options in (("popular", {}), ("ease", {"wide": 1}), ("counts", {})):
        with pytest.raises(ConfigError, match=name):
            recommender(name, **options)
