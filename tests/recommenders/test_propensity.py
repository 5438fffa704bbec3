"""Purchase propensity: a known one is found, calibration against a grid, and files."""

from pathlib import Path

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.core.options import OptionsError
from clickprint.core.rng import RNG
from clickprint.core.seal import seal
from clickprint.recommenders.propensity import FittedPropensity, Propensity, platt

SMALL = Propensity(trees=40, leaves=6, min_leaf=20)


def world(seed: int, users: int = 1500) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Users who buy with probability .1, or .6 where `lively` is above 0; `noise` says nothing."""
    draw = np.random.default_rng(seed)
    lively = draw.normal(size=users).astype(np.float32)
    truth = np.where(lively > 0, 0.6, 0.1)
    noise = draw.normal(size=users).astype(np.float32)
    noise[::7] = np.nan
    return {"noise": noise, "lively": lively}, draw.random(users) < truth, truth


@pytest.fixture(scope="module")
def fitted() -> FittedPropensity:
    return SMALL.fit([world(n)[:2] for n in range(2)], rng=RNG(1))


def test_a_known_propensity_is_found(fitted: FittedPropensity) -> None:
    columns, bought, truth = world(9)
    found = fitted.calibrated(*world(5)[:2]).of(columns)
    assert ((found > 0) & (found < 1)).all()
    assert np.abs(found - truth).mean() < 0.08
    for low, high in ((0, 0.3), (0.3, 1)):
        some = (found >= low) & (found < high)
        assert abs(found[some].mean() - bought[some].mean()) < 0.04
    assert next(iter(fitted.trees.importance)) == "lively"
    assert sum(fitted.trees.importance.values()) == pytest.approx(1)


def test_calibration_mends_other_base_rates_and_keeps_the_order(fitted: FittedPropensity) -> None:
    columns, _, truth = world(7, 4000)
    rare = np.random.default_rng(3).random(4000) < truth / 4
    before, after = fitted.of(columns), fitted.calibrated(columns, rare).of(columns)
    assert abs(before.mean() - rare.mean()) > 0.1
    assert abs(after.mean() - rare.mean()) < 0.002
    assert (np.diff(after[np.argsort(before, kind="stable")]) >= -1e-12).all()


def test_platt_is_the_best_line_of_a_grid() -> None:
    draw = np.random.default_rng(0)
    odds = draw.normal(1, 2, 300)
    truth = draw.random(300) < 1 / (1 + np.exp(-(0.5 * odds - 1)))
    slope, shift = platt(odds, truth)
    yes, no = truth.sum(), (~truth).sum()
    target = np.where(truth, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(a: float, b: float) -> float:
        p = 1 / (1 + np.exp(-(a * odds + b)))
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).mean())

    assert all(
        loss(slope, shift) <= loss(slope + a, shift + b) + 1e-12
        for a in (-0.01, 0, 0.01)
        for b in (-0.01, 0, 0.01)
    )


@pytest.mark.parametrize("all_of", [True, False])
def test_everybody_or_nobody_buys(all_of: bool) -> None:
    slope, shift = platt(np.linspace(-2, 2, 50), np.full(50, all_of))
    found = 1 / (1 + np.exp(-(slope * np.linspace(-2, 2, 50) + shift)))
    assert slope > 0
    assert np.isfinite(shift)
    assert (found > 0.9).all() if all_of else (found < 0.1).all()


def test_an_order_that_is_wrong_is_not_turned_round() -> None:
    odds = np.linspace(-2, 2, 100)
    assert platt(odds, odds < 0)[0] == 0.01
    assert platt(np.zeros(10), np.arange(10) < 5) == pytest.approx(
        (platt(np.zeros(10), np.arange(10) < 5)[0], 0), abs=1e-6
    )
    with pytest.raises(DataError, match="nothing to calibrate on"):
        platt(np.zeros(0), np.zeros(0, bool))


def test_same_seed_same_bytes(fitted: FittedPropensity) -> None:
    again, other = (SMALL.fit([world(n)[:2] for n in range(2)], rng=RNG(s)) for s in (1, 2))
    assert again.trees.model == fitted.trees.model
    assert other.trees.model != fitted.trees.model


def test_what_is_saved_is_loaded(fitted: FittedPropensity, tmp_path: Path) -> None:
    columns, bought, _ = world(9)
    ready = fitted.calibrated(columns, bought)
    ready.save(tmp_path / "m")
    assert (
        FittedPropensity.load(tmp_path / "m").of(columns).tobytes() == ready.of(columns).tobytes()
    )
    assert FittedPropensity.load(tmp_path / "m") == ready
    text = (tmp_path / "m" / "fitted.json").read_text()
    for bad in (
        "",
        "[]",
        text.replace('"format": 2', '"format": 1'),
        text.replace('"slope"', '"sloop"'),
        text.replace('"shift": ', '"shift": 1e'),
    ):
        (tmp_path / "m" / "fitted.json").write_text(bad)
        seal(tmp_path / "m")
        with pytest.raises(DataError):
            FittedPropensity.load(tmp_path / "m")
    with pytest.raises(DataError):
        FittedPropensity.load(tmp_path / "none")


def test_what_cannot_be_learned(fitted: FittedPropensity) -> None:
    columns, bought, _ = world(1)
    with pytest.raises(DataError, match="no window"):
        SMALL.fit([], rng=RNG(0))
    with pytest.raises(DataError, match="window 1 has other columns"):
        SMALL.fit([(columns, bought), ({"noise": columns["noise"]}, bought)], rng=RNG(0))
    with pytest.raises(DataError, match=r"window 0, noise: .*\b1500\b.*\b3\b"):
        SMALL.fit([(columns, bought[:3])], rng=RNG(0))
    with pytest.raises(DataError, match="nobody bought"):
        SMALL.fit([(columns, bought & False)], rng=RNG(0))
    with pytest.raises(DataError, match="no column 'lively'"):
        fitted.of({"noise": columns["noise"]})
    assert fitted.of({n: c[:0] for n, c in columns.items()}).tolist() == []


@pytest.mark.parametrize(
    "options",
    [{"trees": 0, "leaves": 1}, {"lr": 0.0}, {"row_fraction": 1.5}, {"l2": -1.0}],
)
def test_options_out_of_range(options: dict) -> None:
    with pytest.raises(OptionsError) as fault:
        Propensity(**options)
    assert [f.path for f in fault.value.faults] == list(options)
