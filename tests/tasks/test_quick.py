"""The quick probe: against a slow twin, in worlds whose answers are known, and at the edges of
what it may be given.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.events import Role
from clickprint.data.engine import DuckDB
from clickprint.metrics.labels import auroc
from clickprint.metrics.task_metrics import MacroAUROC
from clickprint.tasks import quick
from clickprint.tasks.task import bce, mse


def some(users: int, columns: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts that say something of rare labels."""
    rng = np.random.default_rng(seed)
    vectors = rng.poisson(rng.gamma(0.5, 2, (1, columns)), (users, columns)).astype(np.float16)
    chance = 1 / (
        1
        + np.exp(
            3
            - np.log1p(vectors[:, :3].astype(float)) @ rng.normal(1, 1, (min(3, columns), labels))
        )
    )
    return vectors, rng.random((users, labels)) < chance


def slow(vectors: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each label alone: every penalty, every user left out in turn, refitted in float64."""
    x = np.sign(vectors.astype(float)) * np.log1p(np.abs(vectors.astype(float)))
    spread = x.std(axis=0)
    x = np.clip((x - x.mean(axis=0)) / np.where(spread > 1e-6, spread, np.inf), -3, 3)
    x -= x.mean(axis=0)
    users = len(x)
    everyone = np.arange(users)
    fitted = []
    for y in target.T.astype(float):
        errors = []
        for penalty in quick.PENALTIES * users:
            gone = [_fit(x[everyone != u], y[everyone != u], penalty) for u in everyone]
            errors.append(
                sum(
                    (y[u] - x[u] @ slope - level) ** 2
                    for u, (slope, level) in zip(everyone, gone, strict=True)
                )
            )
        slope, level = _fit(x, y, quick.PENALTIES[int(np.argmin(errors))] * users)
        fitted.append(x @ slope + level)
    return np.array(fitted).T


def _fit(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    middle = x.mean(axis=0)
    slope = np.linalg.solve(
        (x - middle).T @ (x - middle) + penalty * np.eye(x.shape[1]),
        (x - middle).T @ (y - y.mean()),
    )
    return slope, float(y.mean() - middle @ slope)


def test_it_is_its_slow_twin() -> None:
    vectors, target = some(60, 5, 3)
    vectors[:, 4] = 7  # a constant column
    found = quick.fit_predict(vectors, target.astype(np.float32), loss=mse)
    np.testing.assert_allclose(found, slow(vectors, target), atol=2e-4)


def test_probabilities_keep_the_order_of_the_regression_and_the_share_of_positives() -> None:
    vectors, target = some(3_000, 12, 6)
    line = quick.fit_predict(vectors, target.astype(np.float32), loss=mse)
    chance = quick.fit_predict(vectors, target, loss=bce)
    assert chance.dtype == np.float32
    assert ((chance > 0) & (chance < 1)).all()
    assert (line < 0).any(), "the test must have what a plain cut at 0 would tie"
    for t in range(6):
        assert auroc(target[:, t], chance[:, t]) == pytest.approx(
            auroc(target[:, t], line[:, t]), abs=1e-6
        )
        assert len(np.unique(chance[:, t])) >= 0.99 * len(np.unique(line[:, t]))
    np.testing.assert_allclose(chance.mean(axis=0), target.mean(axis=0), rtol=0.1)
    assert (chance.mean(axis=0) <= target.mean(axis=0) * 1.0001).all()


def test_dice_cannot_be_foreseen() -> None:
    """Labels that know nothing of the vectors: what is learned of one draw says nothing of the
    next.
    """
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4_000, 30)).astype(np.float16)
    train, valid = rng.random((2, 4_000, 8)) < 0.3
    assert 0.45 < MacroAUROC()(valid, quick.fit_predict(vectors, train, loss=bce)) < 0.55


def test_clockwork_is_certain() -> None:
    """Who bought every week goes on; the number of purchases in the past says so."""
    from clickprint.testing.worlds import clockwork

    with DuckDB(threads=1) as engine:
        world = clockwork(engine)
        bought = world.past.log.rows(("user",), roles=(Role.BUY,))["user"]
    vectors = np.bincount(bought, minlength=len(world.past.users)).astype(np.float16)[:, None]
    assert MacroAUROC()(world.truth, quick.fit_predict(vectors, world.truth, loss=bce)) > 0.99


def test_a_curve_of_a_column_is_found_through_its_logarithm() -> None:
    rng = np.random.default_rng(0)
    x = rng.exponential(50, (2_000, 1)) * rng.choice([-1, 1], (2_000, 1))
    y = np.sign(x) * np.log1p(np.abs(x)) * 3 + 1
    found = quick.fit_predict(x.astype(np.float16), y.astype(np.float32), loss=mse)
    np.testing.assert_allclose(found, y, atol=0.2)


def test_rare_values_of_noise_do_not_steer_rare_labels() -> None:
    """A column that few users have must not buy the few positives of the train window."""
    rng = np.random.default_rng(1)
    users = 3_000
    real = rng.normal(size=(users, 1))
    noise = (rng.random((users, 300)) < 0.003) * 50.0
    vectors = np.hstack([real, noise]).astype(np.float16)
    chance = 0.01 * np.exp(real)
    train, valid = rng.random((2, users, 1)) < chance
    assert auroc(valid[:, 0], quick.fit_predict(vectors, train, loss=bce)[:, 0]) > 0.72


@settings(max_examples=40, deadline=None)
@given(
    users=st.integers(1, 30),
    columns=st.integers(0, 40),
    labels=st.integers(1, 4),
    seed=st.integers(0, 100),
    scale=st.sampled_from([0.0, 1e-7, 1.0, 65504.0]),
    rate=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_it_answers_whatever_it_is_given(
    users: int, columns: int, labels: int, seed: int, scale: float, rate: float
) -> None:
    """More columns than users, no columns, all columns constant, one user, labels all alike, the
    largest floats.
    """
    rng = np.random.default_rng(seed)
    vectors = (rng.uniform(-1, 1, (users, columns)) * scale).astype(np.float16)
    target = rng.random((users, labels)) < rate
    chance = quick.fit_predict(vectors, target, loss=bce)
    assert chance.shape == target.shape
    assert ((chance > 0) & (chance < 1)).all()
    assert np.isfinite(quick.fit_predict(vectors, target.astype(np.float32), loss=mse)).all()


def test_the_same_bytes_twice_and_for_any_chunking(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, target = some(5_000, 20, 5)
    first = quick.fit_predict(vectors, target, loss=bce)
    assert first.tobytes() == quick.fit_predict(vectors, target, loss=bce).tobytes()
    made = quick.design(vectors)
    assert first.tobytes() == made.fit_predict(target, loss=bce).tobytes(), (
        "a design serves many targets"
    )
    assert made.fit_predict(target[:, 2:3], loss=bce)[:, 0] == pytest.approx(first[:, 2], abs=1e-5)
    monkeypatch.setattr(quick, "_ROWS", 300)
    monkeypatch.setattr(quick, "JUDGES", 5_000)
    np.testing.assert_allclose(quick.fit_predict(vectors, target, loss=bce), first, atol=1e-4)


def test_some_of_many_users_judge_the_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, target = some(4_000, 10, 2)
    everyone = quick.fit_predict(vectors, target, loss=bce)
    monkeypatch.setattr(quick, "JUDGES", 1_500)
    np.testing.assert_allclose(quick.fit_predict(vectors, target, loss=bce), everyone, atol=0.05)


def test_progress_and_wrong_shapes() -> None:
    vectors, target = some(300, 4, 1)
    calls: list[tuple[str, int, int]] = []
    quick.fit_predict(
        vectors, target, loss=bce, name="probe", progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == ("probe", 600, 600)
    assert all(name == "probe" and 0 < done <= total for name, done, total in calls)
    with pytest.raises(ValueError, match="at least one"):
        quick.design(vectors[:0])
    with pytest.raises(ValueError, match="300 users"):
        quick.design(vectors).fit_predict(target[:20], loss=bce)
    with pytest.raises(ValueError, match="a label"):
        quick.fit_predict(vectors, target[:, :0], loss=bce)
