"""iALS: its least squares against numpy's, its contract, and what it refuses."""

import numpy as np
import pytest
from rows import ask, counted, of, past_with, tastes
from scipy import sparse

pytest.importorskip("implicit", reason="the extra `als` is not installed")

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.ids import NONE
from clickprint.core.options import OptionsError
from clickprint.core.recommender import HasItemVectors, Recommender
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.encoders import als, encoder, interactions
from clickprint.encoders.als import ALS
from clickprint.testing.encoders import EncoderContract
from clickprint.testing.worlds import BUY, CART, REMOVE, START, VIEW, memory_log

TASTE = {
    "checkerboard": 0.99
}  # who buys of which category; when he does (clockwork) is nothing that counts can tell


class TestItems(EncoderContract):
    encoder = ALS(width=8)
    learns = TASTE
    tolerance = 0.02  # sums over users in another order


class TestCategories(EncoderContract):
    encoder = ALS(
        width=4, column="category", half_life=10, weights={"buy": 3, "cart": 1, "view": 1}
    )
    learns = TASTE
    tolerance = 0.02


def solved(vectors: np.ndarray, confidence: np.ndarray, regularization: float) -> np.ndarray:
    """The definition, row by row.

    Argmin Σ_i c_i (p_i − x·y_i)² + λ|x|², p_i = 1 where c_i was given (0 stands for c = 1, p = 0).
    """
    y = vectors.astype(np.float64)
    out = []
    for c in confidence:
        full = np.where(c > 0, c, 1)
        out.append(
            np.linalg.solve(
                y.T @ (y * full[:, None]) + regularization * np.eye(y.shape[1]),
                y.T @ (full * (c > 0)),
            )
        )
    return np.array(out)


def test_fit_is_alternating_least_squares() -> None:
    rows, recipe = tastes(), ALS(width=3, weights={}, alpha=4, regularization=0.5, iterations=4)
    fitted = recipe.fit(past_with(rows), rng=RNG(2))
    assert fitted.values.tolist() == sorted({i for r in rows for i in r})
    counts = counted(rows, fitted.values)
    confidence = np.where(counts > 0, 1 + 4 * counts, 0)
    random = RNG(2).child("start").generator()
    random.random((len(rows), 3), dtype=np.float32)
    y = random.random((len(fitted.values), 3), dtype=np.float32) * 0.01
    for _ in range(4):
        x = solved(y, confidence, 0.5)
        y = solved(x, confidence.T, 0.5)
    assert fitted.vectors == pytest.approx(y, abs=1e-3)
    assert fitted.user_vectors(ask(rows)) == pytest.approx(solved(y, confidence, 0.5), abs=1e-3)
    assert not fitted.user_vectors(ask(rows))[3].any()


def test_threads_change_no_byte() -> None:
    confidence = sparse.csr_matrix(counted(tastes(300), np.arange(20)), dtype=np.float32)
    found = []
    for threads in (1, 3):
        with als.solver(ALS(width=16)) as model:
            model.num_threads, model.random_state = threads, np.random.default_rng(0)
            model.fit(confidence, show_progress=False)
            found.append(
                (
                    model.item_factors.tobytes(),
                    model.recalculate_user(np.arange(300), confidence).tobytes(),
                )
            )
    assert found[0] == found[1]


def shop(engine: DuckDB, **more: object):
    """Three users; the third only took something out of the basket."""
    return memory_log(
        engine,
        user=[1, 1, 1, 1, 2, 2, 9],
        time=[START + d * DAY for d in (0, 2, 4, 9, 8, 8, 8)],
        kind=[VIEW, CART, BUY, BUY, BUY, REMOVE, REMOVE],
        item=[10, 10, 10, 20, 30, 20, 10],
        catalogue={"item": [10, 20, 30], "category": [5, 5, NONE]},
        price=[1.0, 2.0, np.nan, 3.0, 4.0, 5.0, 6.0],
        **more,
    )


def test_what_events_count() -> None:
    recipe = ALS(width=2, alpha=2, half_life=2, weights={"buy": 3, "cart": 1})
    with DuckDB(threads=1) as engine:
        past = past_of(shop(engine), START + 10 * DAY)
        fitted = recipe.fit(past, rng=RNG(0))
        of_items = fitted.confidences(
            past.histories(("item", "kind", "time")),
            interactions.weights_at_fit(recipe, past, past.histories(fitted.fields)),
        )
        by_category = ALS(width=2, column="category").fit(past, rng=RNG(0))
        found = by_category.confidences(
            past.histories(("category", "kind")),
            interactions.weights_at_fit(
                by_category.recipe, past, past.histories(by_category.fields)
            ),
        )
        profiles = fitted.encode(past)
        alone = fitted.encode(past_of(shop(engine), START + 10 * DAY, np.array([2, 77])))
    once = np.array([[1 * 0.5**4 + 3 * 0.5**3, 3 * 0.5**0.5, 0], [0, 0, 3 * 0.5], [0, 0, 0]])
    assert of_items.toarray() == pytest.approx(np.where(once > 0, 1 + 2 * once, 0))
    assert found.toarray().tolist() == [[1 + 1 + 1 + 3 + 3], [0], [0]], (
        "an item without a category has none; removing is not choosing"
    )
    assert profiles.users.tolist() == [1, 2, 9]
    assert profiles.vectors[:2].astype(float) == pytest.approx(
        solved(fitted.vectors, of_items.toarray(), 1)[:2], abs=2e-3
    )
    assert not profiles.vectors[2].any()
    assert alone.vectors[0].tobytes() == profiles.vectors[1].tobytes()
    assert not alone.vectors[1].any()


def test_histories_fade_from_their_end() -> None:
    rows = [[3, 3], [5, 3]]  # days 0 and 1, days 2 and 3
    fitted = ALS(width=2, half_life=1, weights={}).fit(past_with(rows), rng=RNG(0))
    assert fitted.now == 3 * DAY

    def confidences(requests: Requests) -> np.ndarray:
        return fitted.confidences(
            requests.histories, interactions.weights_of(fitted, requests)
        ).toarray()

    faded = np.array([[1 + 1 / 8 + 1 / 4, 0], [2, 1.5]])
    assert confidences(ask(rows)) == pytest.approx(faded)
    older = np.where(faded > 0, 1 + (faded - 1) / 4, 0)
    for requests in (
        Requests(of(rows, cutoff=5 * DAY)),
        Requests(of(rows), time=np.full(2, 5 * DAY)),
    ):
        assert confidences(requests) == pytest.approx(older)
        vectors = fitted.user_vectors(requests)
        assert vectors == pytest.approx(solved(fitted.vectors, older, 1), abs=1e-3)
    apart = confidences(Requests(of(rows), time=np.array([3, 5]) * DAY))
    assert apart == pytest.approx(np.stack([faded[0], older[1]]))


def test_it_ranks_a_users_taste_first() -> None:
    rows = tastes()
    fitted = ALS(width=4, weights={}).fit(past_with(rows), rng=RNG(1))
    scores = fitted.user_vectors(ask(rows)) @ fitted.vectors.T
    for seen in (True, False):
        lists = fitted.recommend(ask(rows), 5, include_seen=seen)
        for u in (0, 1, 8, 33):
            left = [i for i in range(20) if seen or i not in rows[u]]
            wanted = sorted(left, key=lambda i: (-scores[u, i], i))[:5]
            assert lists.items[u].tolist() == wanted
    assert (fitted.recommend(ask(rows), 5).items[[0, 2, 4]] < 10).all()
    assert (fitted.recommend(ask(rows), 5).items[[1, 5, 7]] >= 10).all()
    assert fitted.recommend(ask([[], [999, NONE]]), 3).items.tolist() == [[0, 1, 2]] * 2, (
        "of whom nothing is known: all equal, the smaller id"
    )


def test_few_users_at_a_time_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ALS(width=3, weights={}).fit(past_with(tastes()), rng=RNG(0))
    monkeypatch.setattr(interactions, "USERS", 7)
    pieces = ALS(width=3, weights={}).fit(past_with(tastes()), rng=RNG(0))
    assert pieces.vectors.tobytes() == whole.vectors.tobytes()
    assert (
        pieces.user_vectors(ask(tastes())).tobytes() == whole.user_vectors(ask(tastes())).tobytes()
    )


def test_one_user_and_rare_values() -> None:
    one = ALS(width=3, weights={}).fit(past_with([[4, 4, 4, 8]]), rng=RNG(0))
    assert np.isfinite(one.user_vectors(ask([[4], []]))).all()
    assert ALS(width=3, min_count=2, weights={}).fit(
        past_with([[4, 4], [8]]), rng=RNG(0)
    ).values.tolist() == [4]


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"width": 0}, ["width"]),
        ({"iterations": 0}, ["iterations"]),
        ({"alpha": 0}, ["alpha"]),
        ({"regularization": -1.0}, ["regularization"]),
        ({"half_life": -1}, ["half_life"]),
        ({"weights": {"bought": 3}}, ["weights.bought"]),
        ({"weights": {"buy": -3}}, ["weights.buy"]),
        ({"weights": {"buy": float("nan")}}, ["weights.buy"]),
        ({"weights": {"buy": 0}}, ["weights"]),
        ({"weights": {"buy": "3"}}, ["weights.buy"]),
        ({"factors": 3}, ["factors"]),
        ({"width": 0, "min_count": 0, "half_life": 1e9}, ["width", "half_life", "min_count"]),
    ],
)
def test_options_that_are_refused(options: dict, paths: list[str]) -> None:
    with pytest.raises(OptionsError) as fault:
        encoder("als", **options)
    assert [f.path for f in fault.value.faults] == paths


def test_logs_that_are_refused() -> None:
    with DuckDB(threads=1) as engine:
        past = past_of(shop(engine), START + 10 * DAY)
        for column, fault, said in (
            ("colour", ConfigError, "colour"),
            ("price", ConfigError, "'price' holds numbers"),
            ("url", ConfigError, "url"),
        ):
            with pytest.raises(fault, match=said):
                ALS(column=column).fit(past, rng=RNG(0))
        with pytest.raises(DataError, match=r"'item'.*\b1 or more"):
            ALS(weights={"like": 1}).fit(past, rng=RNG(0))
        with pytest.raises(DataError, match=r"'item'.*\b3 or more"):
            ALS(min_count=3, weights={"buy": 1}).fit(past, rng=RNG(0))
        with pytest.raises(DataError, match="nothing to learn"):
            ALS().fit(past_of(shop(engine), START), rng=RNG(0))
        fitted = ALS(width=2, column="category").fit(past, rng=RNG(0))
    with pytest.raises(DataError, match="nothing to learn"):
        ALS(weights={}).fit(past_with([]), rng=RNG(0))
    assert not isinstance(fitted, Recommender | HasItemVectors), "it knows no items"
    assert not fitted.recipe.recommends


def test_what_cannot_be_solved_is_said() -> None:
    with pytest.raises(ConfigError, match="raise regularization"):
        ALS(width=3, regularization=1e-30, weights={}).fit(past_with([[4, 4, 8], [9]]), rng=RNG(0))
    with (
        pytest.raises(ValueError, match="row"),
        als.solver(ALS()) as model,
    ):  # a fault that regularization does not mend
        model.recalculate_user(np.arange(2), sparse.csr_matrix((1, 3), dtype=np.float32))


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    ALS(width=2, iterations=3, weights={}).fit(
        past_with(tastes()), rng=RNG(0), progress=lambda *what: told.append(what)
    )
    assert told == [("als", n, 3) for n in range(4)]


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "implicit.als", None)
    with pytest.raises(ConfigError, match=r"pip install 'clickprint\[als\]'"):
        ALS(weights={}).fit(past_with([[1, 2]]), rng=RNG(0))
