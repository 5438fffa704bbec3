"""The ranker learns what is planted, gives the same bytes again, and is calibrated."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.options import OptionsError
from clickprint.core.ragged import starts_of
from clickprint.core.rng import RNG
from clickprint.core.seal import seal
from clickprint.recommenders.pairs import Pairs
from clickprint.recommenders.ranker import FittedLambdaMART, IsotonicCurve, LambdaMART, _sampled

QUICK = LambdaMART(trees=30, leaves=7, min_leaf=5)


def window(seed: int, users: int = 150, each: int = 12) -> tuple[Pairs, np.ndarray]:
    """Pairs are bought more often where `good` is high; `noise` and `user` say nothing."""
    draw = np.random.default_rng(seed)
    good, noise = draw.random((2, users * each), np.float32)
    columns = {
        "noise": noise,
        "good": good,
        "user": np.repeat(draw.random(users, np.float32), each),
    }
    items = np.tile(np.arange(each), users)
    pairs = Pairs(np.arange(users), starts_of(np.full(users, each)), items, columns)
    return pairs, draw.random(users * each) < good**3


def share_of_best(scores: np.ndarray, pairs: Pairs, bought: np.ndarray) -> float:
    """How often the first of a list was bought."""
    first = pairs.top(scores, 1).items[:, 0] + pairs.starts[:-1]
    return float(bought[first].mean())


@pytest.mark.parametrize("objective", ["lambdarank", "binary"])
def test_it_learns_the_planted_order(objective: str) -> None:
    fitted = LambdaMART(trees=30, leaves=7, min_leaf=5, objective=objective).fit(
        [window(0), window(1)], rng=RNG(0)
    )
    pairs, bought = window(2)
    learned, best = (
        share_of_best(s, pairs, bought)
        for s in (fitted.score(pairs), pairs.columns["good"].astype(float))
    )
    assert best - 0.08 < learned
    assert learned > share_of_best(pairs.columns["noise"].astype(float), pairs, bought) + 0.3
    importance = fitted.trees.importance
    assert next(iter(importance)) == "good"
    assert sum(importance.values()) == pytest.approx(1)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    one, two, other = (QUICK.fit([window(0)], rng=RNG(s)) for s in (3, 3, 4))
    assert one == two
    assert one.trees.model != other.trees.model


def test_saved_and_loaded_scores_the_same(tmp_path: Path) -> None:
    pairs, bought = window(1)
    fitted = QUICK.fit([window(0)], rng=RNG(0))
    fitted = fitted.calibrated(fitted.score(pairs), bought)
    fitted.save(tmp_path / "ranker")
    loaded = FittedLambdaMART.load(tmp_path / "ranker")
    scores = fitted.score(pairs)
    assert loaded.score(pairs).tobytes() == scores.tobytes()
    assert loaded.propensity(scores).tobytes() == fitted.propensity(scores).tobytes()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("fitted.json", '"format": 2', '"format": 1'),
        ("fitted.json", '"threads": 1', '"threads": 0'),
        ("fitted.json", '"recipe"', '"recipes"'),
        ("fitted.json", '"array": "curve.at.npy"', '"array": "curve.none.npy"'),
        ("model.txt", "end of trees", "end of tree"),
        ("model.txt", "num_class=1", "num_class=2"),
        ("model.txt", "left_child=", "left_child=7 "),
        ("model.txt", "right_child=1 ", "right_child=0 "),
        ("model.txt", "split_feature=", "split_feature=9 "),
        ("model.txt", "leaf_value=", "leaf_value=nan"),
        ("model.txt", "num_cat=0", "num_cat=9"),
        ("model.txt", "Tree=1\n", "Tree=x\n"),
    ],
)
def test_a_folder_that_does_not_add_up_is_refused(
    trained: Path, tmp_path: Path, file: str, old: str, new: str
) -> None:
    """Sealed again, so that not its digests refuse it. LightGBM itself would end the process."""
    folder = Path(shutil.copytree(trained, tmp_path / "r"))
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    for sealed in (False, True):
        if sealed:
            seal(folder)
        with pytest.raises(DataError) as fault:
            FittedLambdaMART.load(folder)
        assert fault.value.where.startswith(str(folder))
        assert "Type-check" not in str(fault.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 0.9])
def test_a_model_that_was_cut_is_refused(trained: Path, tmp_path: Path, share: float) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "r"))
    content = (folder / "model.txt").read_bytes()
    trees = content.index(b"end of trees")
    (folder / "model.txt").write_bytes(content[: int(trees * share)])
    seal(folder)
    with pytest.raises(DataError):
        FittedLambdaMART.load(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a calibrated ranker."""
    folder, (pairs, bought) = tmp_path_factory.mktemp("ranker") / "r", window(1)
    fitted = QUICK.fit([window(0)], rng=RNG(0))
    fitted.calibrated(fitted.score(pairs), bought).save(folder)
    return folder


def test_all_wrong_options_are_told_at_once() -> None:
    wrong = {
        "objective": "best",
        "trees": 0,
        "leaves": 1,
        "lr": 2.0,
        "column_fraction": 0.0,
        "negatives": -1,
        "threads": 0,
    }
    with pytest.raises(OptionsError) as fault:
        LambdaMART(**wrong)
    assert {f.path for f in fault.value.faults} == set(wrong)


def test_examples_that_cannot_teach() -> None:
    pairs, bought = window(0, users=5)
    other = Pairs(pairs.users, pairs.starts, pairs.items, {"good": pairs.columns["good"]})
    for examples, told in (
        ([], "no window to learn from"),
        ([(pairs, np.zeros(len(pairs), bool))], "no candidate was bought"),
        ([(pairs, bought), (other, bought)], "window 1 has other columns"),
        ([(pairs, bought[1:])], "60 values of 59 labels"),
    ):
        with pytest.raises(DataError, match=told):
            QUICK.fit(examples, rng=RNG(0))


def test_a_missing_feature_is_named_and_no_pairs_have_no_scores() -> None:
    fitted = QUICK.fit([window(0)], rng=RNG(0))
    pairs, _ = window(1, users=2)
    with pytest.raises(DataError, match="no column 'good'"):
        fitted.score(
            Pairs(
                pairs.users,
                pairs.starts,
                pairs.items,
                {"noise": pairs.columns["noise"], "user": pairs.columns["user"]},
            )
        )
    assert fitted.score(pairs.where(np.zeros(len(pairs), bool))).shape == (0,)
    with pytest.raises(ConfigError, match="calibrate"):
        fitted.propensity(np.zeros(1))


def test_propensities_rise_and_are_near_the_known_ones() -> None:
    scores = np.random.default_rng(0).random(20_000)
    curve = IsotonicCurve.of(scores, np.random.default_rng(1).random(20_000) < scores**2)
    at = np.linspace(0.05, 0.95, 19)
    assert np.abs(curve(at) - at**2).max() < 0.06
    assert (np.diff(curve(np.linspace(-1, 2, 300))) >= 0).all()
    with pytest.raises(DataError, match="nothing to calibrate"):
        IsotonicCurve.of(np.zeros(0), np.zeros(0, bool))


def test_negatives_are_drawn_and_what_was_bought_is_kept() -> None:
    pairs, bought = window(0)
    bought[pairs.rows == 3] = False  # he bought nothing: he teaches nothing
    kept, labels = _sampled(pairs, bought, 2, RNG(0))
    assert 3 not in kept.users
    assert labels.sum() == bought.sum()
    lengths, hits = kept.lengths, np.bincount(kept.rows, labels, len(kept.users))
    assert (lengths - hits <= 2).all()
    assert (np.sort(kept.items[labels]) == np.sort(pairs.items[bought])).all()
