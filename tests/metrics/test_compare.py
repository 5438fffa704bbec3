"""Resamples: shared by everyone, fair, and cheap without a visible price. Borda counts by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clickprint.core.rng import RNG
from clickprint.metrics.compare import (
    Estimate,
    Gap,
    borda,
    by_chance,
    difference,
    intervals,
    over_seeds,
    place_intervals,
    places,
    resample_weights,
    resampled_auroc,
    resampled_mean,
    weighted_mean,
    weighted_sums,
)
from clickprint.metrics.labels import degenerate, macro_auroc
from clickprint.metrics.task_metrics import AUROC, R2, Diversity, MacroAUROC, Novelty, Spearman


def world(users: int, rates: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels at these rates, and probabilities that know something about them.

    The second label's scores are full of ties.
    """
    generator = np.random.default_rng(seed)
    truth = generator.random((users, len(rates))) < np.array(rates)
    logits = generator.normal(size=truth.shape) + truth
    logits[:, 1] = np.round(logits[:, 1])
    return truth, torch.sigmoid(torch.from_numpy(logits.astype(np.float32))).numpy()


def repeated(
    mark: object, truth: np.ndarray, score: np.ndarray, weights: np.ndarray, live: bool
) -> np.ndarray:
    """The slow twin: every user is there as often as the resample says."""
    rows = [np.repeat(np.arange(len(truth)), w) for w in weights.astype(int)]
    return np.array([mark(truth[r], score[r], live=live) for r in rows])  # type: ignore[operator]


# ---- weights


@given(
    hnp.arrays(
        np.int64, st.integers(1, 40), elements=st.integers(-(2**63), 2**63 - 1), unique=True
    ),
    st.integers(0, 2**64),
    st.randoms(use_true_random=False),
)
def test_a_weight_depends_on_seed_resample_and_user_alone(
    users: np.ndarray, seed: int, random: object
) -> None:
    weights = resample_weights(users, 9, seed)
    order = list(range(len(users)))
    random.shuffle(order)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(resample_weights(users[order], 9, seed), weights[:, order])
    np.testing.assert_array_equal(resample_weights(users[:1], 3, seed), weights[:3, :1])


def test_weights_never_change() -> None:
    """Recorded once: boards of different versions and machines must share their resamples."""
    recorded = [
        [1, 0, 1, 1, 1],
        [0, 1, 1, 2, 1],
        [2, 0, 0, 1, 1],
        [3, 0, 1, 1, 2],
        [2, 2, 0, 2, 3],
    ]
    assert resample_weights(np.array([0, 1, -1, 2**63 - 1, 4711]), 5, 7).tolist() == recorded


def test_weights_are_poisson_and_unrelated() -> None:
    weights = resample_weights(np.arange(20_000), 24, 1)
    share = [float((weights == k).mean()) for k in range(5)]
    assert share == pytest.approx([0.3679, 0.3679, 0.1839, 0.0613, 0.0153], abs=0.003)
    assert weights.var() == pytest.approx(1, abs=0.01)
    assert np.abs(np.corrcoef(weights) - np.eye(24)).max() < 0.04  # 5.6 deviations
    neighbours = weights - 1
    assert abs((neighbours[:, 1:] * neighbours[:, :-1]).mean()) < 0.01
    assert (
        resample_weights(np.arange(2_000), 4, 1) != resample_weights(np.arange(2_000), 4, 2)
    ).mean() > 0.5


def test_weighted_sums_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, weights = (
        np.random.default_rng(0).random((50, 3)),
        resample_weights(np.arange(50), 6, 0),
    )
    monkeypatch.setattr("clickprint.metrics.compare._ROWS", 7)
    np.testing.assert_allclose(weighted_sums(columns, weights), weights @ columns, rtol=1e-6)
    np.testing.assert_array_equal(resample_weights(np.arange(50), 6, 0), weights)


@pytest.mark.parametrize("size", [0, 1, 40_000])
def test_a_resampled_mean_is_the_weighted_mean_of_all_weights(size: int) -> None:
    values, users = np.random.default_rng(0).random(size), np.arange(size) * 3
    whole = weighted_mean(values, resample_weights(users, 9, seed=4))
    assert resampled_mean(values, users, 9, seed=4).tobytes() == whole.tobytes()


def test_weighted_mean_of_nobody_is_nan() -> None:
    found = weighted_mean(np.array([1.0, 3.0]), np.array([[1, 1], [0, 2], [0, 0]], np.float32))
    np.testing.assert_array_equal(found, [2, 3, np.nan])


# ---- AUROC


@pytest.mark.parametrize("live", [False, True])
def test_everyone_once_is_the_mark(live: bool) -> None:
    truth, score = world(400, [0.05, 0.3, 0.9, 0.0, 1.0])
    found = resampled_auroc(truth, score, np.ones((2, 400), np.float32), live=live)
    assert found == pytest.approx([macro_auroc(truth, score, live=live)] * 2, abs=1e-6)


@pytest.mark.parametrize("live", [False, True])
def test_near_the_slow_twin(live: bool) -> None:
    """What first order leaves out is far below the width of the interval."""
    truth, score = world(3_000, [0.02, 0.1, 0.5, 0.9, 0.0])
    weights = resample_weights(np.arange(3_000), 60, 3)
    slow = repeated(MacroAUROC(), truth, score, weights, live)
    fast = MacroAUROC().resample(truth, score, weights, live=live)
    assert np.corrcoef(slow, fast)[0, 1] > 0.995
    assert np.abs(slow - fast).max() < 0.1 * slow.std() + 1e-4
    assert fast.std() == pytest.approx(slow.std(), rel=0.05)


def test_labels_that_a_resample_leaves_without_a_positive() -> None:
    """Label 0 has one positive, user 0: what nobody was drawn for keeps its area among everyone.

    Label 1 is perfect. Nobody at all is drawn in the last resample.
    """
    truth = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], bool)
    score = np.array([[0.5, 0.9], [0.6, 0.8], [0.4, 0.2], [0.3, 0.1]], np.float32)
    weights = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [2, 1, 0, 0], [0] * 4])
    # Of label 0's negatives user 1 is above the positive, and users 2 and 3 are below it.
    alone = np.array([2 / 3, 2 / 3, 1, 0, np.nan])
    for live in (False, True):
        assert resampled_auroc(
            truth, score, weights.astype(np.float32), live=live
        ) == pytest.approx((alone + 1) / 2, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("rate", [0.002, 0.01, 0.05])
def test_intervals_hold_the_estimates_of_rare_labels(rate: float, live: bool) -> None:
    """Not because they are moved there: the resamples lie around the estimate by themselves.

    The rarest labels are the best predicted, so leaving them out would pull the mean down.
    """
    beside = []
    for world_ in range(8):
        generator = np.random.default_rng(world_)
        rates = rate * np.geomspace(1, 20, 60)
        truth = generator.random((500, 60)) < rates
        lift = np.linspace(3, 0, 60)
        logits = generator.normal(size=truth.shape) + lift * truth
        score = (1 / (1 + np.exp(-logits))).astype(np.float32)
        weights = resample_weights(np.arange(500), 100, world_)
        found = resampled_auroc(truth, score, weights, live=live)
        low, high = intervals(found)
        value = macro_auroc(truth, score, live=live)
        assert low <= value <= high
        beside.append((found.mean() - value) / found.std())
    assert abs(np.mean(beside)) < 0.5


@pytest.mark.parametrize("mark", [Spearman(), R2()])
def test_a_resample_without_anything_to_explain_keeps_the_columns_value(
    mark: Spearman | R2,
) -> None:
    """One of twenty users spends: a third of the resamples leave that user out."""
    truth = np.zeros((20, 1))
    truth[0] = 5
    prediction = np.linspace(1, 0, 20, dtype=np.float32)[:, None]
    weights = resample_weights(np.arange(20), 50, 0)
    found, value = mark.resample(truth, prediction, weights), mark(truth, prediction)
    assert set(found[weights[:, 0] == 0].tolist()) == {value}
    low, high = intervals(found)
    assert low <= value <= high


def test_more_labels_than_a_block() -> None:
    truth, score = world(300, [0.1] * 37)
    weights = resample_weights(np.arange(300), 5, 0)
    single = [resampled_auroc(truth[:, [t]], score[:, [t]], weights) for t in range(37)]
    np.testing.assert_allclose(
        resampled_auroc(truth, score, weights), np.mean(single, axis=0), atol=1e-6
    )


@given(
    hnp.arrays(bool, (8, 2)),
    hnp.arrays(np.float32, (8, 2), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    st.integers(0, 99),
)
def test_always_a_share(truth: np.ndarray, score: np.ndarray, seed: int) -> None:
    weights = resample_weights(np.arange(8), 6, seed)
    weights[:, 0] += 1  # somebody is drawn
    found = resampled_auroc(truth, score, weights)
    assert ((found >= 0) & (found <= 1)).all()
    lively = resampled_auroc(truth, score, weights, live=True)
    assert ((lively >= found - 1e-9) | np.isnan(lively)).all()
    assert np.isnan(lively).tolist() == [bool(degenerate(truth).all())] * 6


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Normal scores one deviation apart: the area is Φ(1/√2) = .7602.

    95 % of intervals should hold it; 200 shops allow 90 to 99 %.
    """
    held = 0
    for shop in range(200):
        generator = np.random.default_rng(shop)
        truth = generator.random((400, 1)) < 0.15
        score = (generator.normal(size=(400, 1)) + truth).astype(np.float32)
        low, high = intervals(
            resampled_auroc(truth, score, resample_weights(np.arange(400), 100, shop))
        )
        held += bool(low <= 0.7602 <= high)
    assert 0.90 <= held / 200 <= 0.99


@pytest.mark.parametrize("mark", [Novelty(tuple(float(x) for x in range(1, 15))), Diversity()])
def test_means_over_users_are_exact(mark: Novelty | Diversity) -> None:
    truth, score = world(200, [0.1] * 14)
    score = (score / 500).astype(np.float32)
    weights = resample_weights(np.arange(200), 12, 2)
    np.testing.assert_allclose(
        mark.resample(truth, score, weights),
        repeated(mark, truth, score, weights, False),
        rtol=1e-5,
    )


def test_marks_refuse_what_does_not_fit() -> None:
    truth, score = world(20, [0.5, 0.5])
    with pytest.raises(ValueError, match=r"AUROC.*found 2.*MacroAUROC"):
        AUROC()(truth, score)
    with pytest.raises(ValueError, match="popularity of 3 labels, but 2"):
        Novelty((1.0, 2.0, 3.0))(truth, score)
    one = AUROC()(truth[:, :1], score[:, :1])
    assert one == MacroAUROC()(truth[:, :1], score[:, :1])
    assert AUROC().resample(
        truth[:, :1], score[:, :1], np.ones((1, 20), np.float32)
    ) == pytest.approx([one], abs=1e-6)


# ---- intervals, differences, boards


def test_intervals_by_hand() -> None:
    low, high = intervals(
        np.array([np.arange(101.0), np.r_[np.nan, np.arange(100.0)], np.full(101, np.nan)])
    )
    np.testing.assert_allclose(low, [2.5, 2.475, np.nan])
    np.testing.assert_allclose(high, [97.5, 96.525, np.nan])


def test_difference_is_paired() -> None:
    """b swings far more than it lies below a: only paired is the difference certain."""
    b = np.linspace(0, 1, 200)
    found = difference(b + 0.01, b)
    assert found == pytest.approx((0.01, 0.01, 1.0))
    assert difference(b, b) == (0, 0, 0.5)
    assert difference(np.array([1.0, np.nan, 0.0]), np.array([0.0, 5.0, 1.0])).share == 0.5
    assert np.isnan(difference(np.array([np.nan]), np.array([1.0]))).all()


def test_borda_by_hand() -> None:
    """Three profiles, two tasks. Task 1: a > b > c. Task 2: b = c > a."""
    points, ranks = borda(np.array([[0.9, 0.1], [0.8, 0.5], [0.7, 0.5]]))
    assert points.tolist() == [2 + 0, 1 + 1.5, 0 + 1.5]
    assert ranks.tolist() == [2, 1, 3]


def test_an_unknown_score_is_last() -> None:
    assert places(np.array([np.nan, 0.1, -5.0, np.nan])).tolist() == [3, 1, 2, 3]


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.integers(0, 3).map(float),
    )
)
def test_borda_gives_away_all_points(scores: np.ndarray) -> None:
    profiles, tasks = scores.shape
    points, ranks = borda(scores)
    assert points.sum() == pytest.approx(tasks * profiles * (profiles - 1) / 2)
    assert ranks.tolist() == [1 + int((points > p).sum()) for p in points]
    np.testing.assert_allclose(borda(scores[::-1])[0], points[::-1])


def test_place_intervals() -> None:
    """a always wins; b and c change places in half of the resamples. Places are whole."""
    turn = np.tile([1.0, 0.0], 50)
    replicates = np.stack([np.full(100, 2.0), turn, 1 - turn])[:, None, :].repeat(2, axis=1)
    low, high = place_intervals(np.array([1, 2, 3]), replicates)
    assert (low.tolist(), high.tolist()) == ([1, 2, 2], [1, 3, 3])
    assert low.dtype == high.dtype == np.int64
    # Three of forty resamples: between two places a percentile would be a part of one.
    few = np.r_[np.full(37, 2.0), np.zeros(3)]
    both = np.stack([few, np.ones(40)])[:, None]
    low, high = place_intervals(np.array([2, 1]), both)
    assert (low.tolist(), high.tolist()) == ([1, 1], [2, 2])
    np.testing.assert_allclose(borda(replicates)[1][:, 0], borda(replicates[:, :, 0])[1])


def test_seeds_vary_beside_users() -> None:
    """The spread over resamples is that of a mean of independent seeds and users."""
    draw = np.random.default_rng(0)
    spread = [
        over_seeds(draw.normal(0, 3, (5, 1)) + draw.normal(0, 1, (1, 400)), RNG(n)).var()
        for n in range(400)
    ]
    assert np.mean(spread) == pytest.approx(1 + 9 / 5, rel=0.1)
    alone = draw.normal(size=(1, 7))
    assert over_seeds(alone, RNG(0)).tolist() == alone[0].tolist()
    same = np.tile(draw.normal(size=7), (3, 1))
    np.testing.assert_allclose(over_seeds(same, RNG(0)), same[0])


class TestNouns:
    def test_an_interval_holds_its_estimate(self):
        found = Estimate.of(0.9, np.linspace(0.6, 0.8, 201))
        assert (found.low, found.high) == pytest.approx((0.605, 0.9))
        gap = Gap.of(0.5, 0.6, np.full(9, 0.7), np.full(9, 0.6))
        assert (gap.low, gap.high, gap.shown) == (pytest.approx(-0.1), pytest.approx(0.1), 0)
        assert np.isnan(Estimate.of(np.nan, np.full(3, 0.5))).all()

    def test_an_estimate_of_replicates(self):
        found = Estimate.of(0.7, np.linspace(0.6, 0.8, 201))
        assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.605, 0.795))
        assert found.half == pytest.approx(0.095)
        assert found.text() == ".7000 [.6050, .7950]"
        bare = Estimate.of(0.7, np.zeros(0))
        assert np.isnan([bare.low, bare.high, bare.half]).all()
        assert bare.text(2, sign=True) == "+.70"

    @pytest.mark.parametrize(
        ("low", "high", "shown"), [(0.1, 0.3, 1), (-0.3, -0.1, -1), (-0.1, 0.1, 0), (0.0, 0.2, 0)]
    )
    def test_a_gap_is_shown_where_its_interval_leaves_out_zero(self, low, high, shown):
        gap = Gap((low + high) / 2, low, high, 0.9)
        assert gap.shown == shown
        assert gap.reversed() == Gap(-gap.value, -high, -low, pytest.approx(0.1))
        assert gap.reversed().shown == -shown

    def test_a_gap_without_resamples_is_not_shown(self):
        assert Gap(0.3, np.nan, np.nan, np.nan).shown == 0

    def test_gaps_as_text(self):
        assert Gap(0.083, 0.061, 0.104, 1).text() == "+.083 [.061, .104]"
        assert Gap(0.083, np.nan, np.nan, np.nan).text() == "+.083"
        assert Gap(-0.5, -0.6, -0.4, 0).text(1, sign=False) == "−.5 [−.6, −.4]"

    def test_a_gap_pairs_resamples(self):
        rng = np.random.default_rng(0)
        base = rng.normal(size=500)
        gap = Gap.of(1.0, 0.5, base + 1.0, base + 0.5)
        assert (gap.value, gap.low, gap.high, gap.share) == pytest.approx((0.5, 0.5, 0.5, 1))


def test_a_share_is_at_most_one_and_at_least_nothing() -> None:
    """Where a resample has only those that are sorted well, or badly, the line goes beyond."""
    truth = np.array([[True], [True], [False], [False]])
    score = np.array([[0.9], [0.2], [0.1], [0.3]], np.float32)  # three of four pairs are right
    weights = np.array([[2, 0, 2, 0], [0, 2, 0, 2]], np.float32)
    assert resampled_auroc(truth, score, weights).tolist() == [1.0, pytest.approx(0.25)]
    weights = np.array([[0, 2, 0, 2]], np.float32)
    assert resampled_auroc(truth, 1 - score, weights[:, [1, 0, 3, 2]]).tolist() == [0.0]


@pytest.mark.parametrize(("differences", "numbers"), [(0, []), (1, []), (40, ["40", "2.0"])])
def test_how_many_differences_are_shown_by_chance(differences: int, numbers: list[str]) -> None:
    words = by_chance(differences)
    assert bool(words) == bool(differences)
    assert [w.strip(",") for w in words.split() if w[0].isdigit() and w != "95"] == numbers
    assert ("one comparison:" in words) == (differences > 1)
