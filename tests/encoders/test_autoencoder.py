"""The auto-encoder: its contract, what it learns, when it stops, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.options import OptionsError
from clickprint.core.recommender import Recommender
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import HistoriesPast, past_of
from clickprint.encoders import autoencoder, encoder, load
from clickprint.encoders.autoencoder import AutoEncoder
from clickprint.encoders.derived import derive
from clickprint.encoders.sequence import HistorySpec
from clickprint.nn.autoencoder import Reconstruction
from clickprint.nn.train import Training
from clickprint.testing.encoders import CUTOFF, EncoderContract
from clickprint.testing.worlds import memory_log, random_arrays

QUICK = Training(epochs=6, batch=32, lr=0.02)
TOLERANCE = 0.02  # float16 of sums in another order


class TestAutoEncoder(EncoderContract):
    encoder = AutoEncoder(
        width=16,
        history=HistorySpec(length=32, all_events=True, fields=("kind", "weekday", "gap")),
        training=QUICK,
        length_buckets=1,
    )
    tolerance = TOLERANCE
    anonymous = False  # rows are shuffled by their place among the users
    learns = {"clockwork": 0.99, "checkerboard": 0.99}  # noqa: RUF012


class TestDeep(EncoderContract):
    encoder = AutoEncoder(
        width=4,
        hidden=6,
        layers=2,
        word_dropout=0.3,
        chunks_per_user=2,
        history=HistorySpec(
            length=4, all_events=True, fields=("kind", "url", "hour", "age", "price_band")
        ),
        loss=Reconstruction(full=10, negatives=4),
        training=Training(epochs=2, batch=16),
    )
    tolerance = TOLERANCE
    anonymous = False


def some(lengths: list[int], seed: int = 0) -> Histories:
    """Views and purchases of six items; a third of the events are about none."""
    random = np.random.default_rng(seed)
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    n = int(starts[-1])
    item = np.where(random.random(n) < 1 / 3, NONE, random.integers(-3, 3, n))
    time = np.arange(n) * (DAY // 3)
    return Histories(
        np.arange(len(lengths)) * 3 - 5,
        starts,
        {"item": item, "time": time, "kind": random.integers(0, 2, n).astype(np.int16)},
    )


def small(**more: object) -> AutoEncoder:
    spec = HistorySpec(length=4, all_events=True, fields=("kind", "weekday"))
    return AutoEncoder(
        **{"width": 8, "history": spec, "training": Training(epochs=2, batch=16), **more}
    )  # type: ignore[arg-type]


def test_a_tenth_is_held_out_unless_that_is_too_few() -> None:
    histories = some([0, 3] * 220)
    held = autoencoder.held_out(histories, RNG(1))
    assert len(held) == 22
    assert (np.diff(held) > 0).all()
    assert (histories.lengths[held] > 0).all()
    assert np.array_equal(held, autoencoder.held_out(histories, RNG(1)))
    assert not np.array_equal(held, autoencoder.held_out(histories, RNG(2)))
    assert not len(autoencoder.held_out(some([0, 3] * 199), RNG(1)))


def test_it_stops_when_held_out_users_are_reconstructed_no_better() -> None:
    training = Training(epochs=40, batch=64, lr=0.2, patience=2)
    curve = small(width=2, training=training).fit(HistoriesPast(some([7] * 200)), rng=RNG(0)).curve
    assert curve is not None
    assert curve.epoch == curve.best_epoch + 2 < 40
    assert curve.best == max(m for _, m in curve.metrics) < 0
    few = (
        small(training=Training(epochs=4, batch=64, patience=1))
        .fit(HistoriesPast(some([7] * 199)), rng=RNG(0))
        .curve
    )
    assert few is not None
    assert few.epoch == 4, "of too few users nobody is held out"
    assert not few.metrics


def test_who_is_held_out_is_not_trained_on() -> None:
    """His events may be anything: but for which values there are, the network is the same."""
    recipe, histories = small(training=Training(epochs=2, batch=128, patience=9)), some([9] * 210)
    held = autoencoder.held_out(histories, RNG(0))
    kind = histories.fields["kind"].copy()
    for row in held:
        kind[histories.starts[row] : histories.starts[row + 1]] ^= 1
    other = Histories(histories.users, histories.starts, {**histories.fields, "kind": kind})
    first, second = (recipe.fit(HistoriesPast(h), rng=RNG(0)).curve for h in (histories, other))
    assert first is not None
    assert second is not None
    assert first.loss == second.loss
    assert first.metrics != second.metrics


def test_stretches_say_how_much_of_a_history_is_trained_on() -> None:
    """With one stretch of four the oldest five of nine events may be anything."""
    histories = some([9] * 30)
    kind, old = histories.fields["kind"].copy(), np.tile(np.arange(9) < 5, 30)
    kind[old] ^= 1
    other = Histories(histories.users, histories.starts, {**histories.fields, "kind": kind})
    for stretches, same in ((1, True), (0, False)):
        one, two = (
            small(chunks_per_user=stretches)
            .fit(HistoriesPast(h), rng=RNG(0))
            .user_vectors(Requests(histories))
            for h in (histories, other)
        )
        assert np.array_equal(one, two) == same


def test_it_gives_vectors_and_no_items(tmp_path: Path) -> None:
    histories = some([5, 0, 1, 12])
    fitted = small().fit(HistoriesPast(histories), rng=RNG(0))
    states = fitted.user_vectors(Requests(histories))
    assert states.shape == (4, 8)
    assert not states[1].any()
    assert states[[0, 2, 3]].any(1).all()
    assert not isinstance(fitted, Recommender), "it gives user vectors"
    fitted.save(tmp_path / "fitted")
    assert (
        load(tmp_path / "fitted").user_vectors(Requests(histories)).tobytes() == states.tobytes()
    )


def test_a_long_history_is_its_newest_part() -> None:
    fitted = small(chunks_per_user=1).fit(HistoriesPast(some([1_000_000, 2, 3])), rng=RNG(0))
    long = some([300_000], seed=3)
    assert np.allclose(
        fitted.user_vectors(Requests(long)), fitted.user_vectors(Requests(long.last(4)))
    )


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    recipe, histories = small(training=Training(epochs=4, batch=128, patience=3)), some([6] * 220)
    wanted = recipe.fit(HistoriesPast(histories), rng=RNG(0)).user_vectors(Requests(histories))

    def killed(stage: str, done: int, total: int) -> None:
        if "epoch 3" in stage and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipe.fit(
            HistoriesPast(histories),
            rng=RNG(0),
            progress=killed,
            session=Session(checkpoints=tmp_path / "part"),
        )
    assert (
        recipe.fit(
            HistoriesPast(histories), rng=RNG(0), session=Session(checkpoints=tmp_path / "part")
        )
        .user_vectors(Requests(histories))
        .tobytes()
        == wanted.tobytes()
    )


@pytest.mark.parametrize("lengths", [[], [0, 0, 0]])
def test_no_event_at_all_is_said(lengths: list[int]) -> None:
    with pytest.raises(DataError, match="no user has an event"):
        small().fit(HistoriesPast(some(lengths)), rng=RNG(0))


def test_events_about_nothing_alone() -> None:
    histories = some([3, 2])
    nothing = Histories(
        histories.users, histories.starts, {**histories.fields, "item": np.full(5, NONE)}
    )
    assert (
        small()
        .fit(HistoriesPast(nothing), rng=RNG(0))
        .user_vectors(Requests(nothing))
        .any(1)
        .all()
    ), "their kinds and days are enough"
    with pytest.raises(DataError, match="no user has an event"):
        small(history=HistorySpec(fields=("kind",))).fit(HistoriesPast(nothing), rng=RNG(0))


def test_one_event_is_a_sequence() -> None:
    one = some([1])
    assert np.isfinite(
        small().fit(HistoriesPast(one), rng=RNG(0)).user_vectors(Requests(one))
    ).all()


def test_fields_that_are_not_there_or_hold_numbers() -> None:
    histories = some([3, 2])
    with pytest.raises(ConfigError, match="url"):
        small(history=HistorySpec(fields=("url", "kind", "query"))).fit(
            HistoriesPast(histories), rng=RNG(0)
        )
    priced = Histories(
        histories.users, histories.starts, {**histories.fields, "price": np.ones(5)}
    )
    with pytest.raises(ConfigError, match=r"price: .*numbers.*price_band"):
        small(history=HistorySpec(fields=("price",))).fit(HistoriesPast(priced), rng=RNG(0))
    with pytest.raises(ConfigError, match="age"):
        small(history=HistorySpec(fields=("age",))).fit(HistoriesPast(histories), rng=RNG(0))
    with DuckDB(threads=1) as engine:
        past = past_of(memory_log(engine, **random_arrays(np.random.default_rng(0))), CUTOFF)
        with pytest.raises(ConfigError, match="scenario"):
            small(history=HistorySpec(fields=("scenario",))).fit(past, rng=RNG(0))


def test_item_vectors_start_from_texts() -> None:
    with DuckDB(threads=1) as engine:
        past = past_of(memory_log(engine, **random_arrays(np.random.default_rng(0))), CUTOFF)
        spec = HistorySpec(length=4, fields=("kind",))
        bare, said = (
            small(history=replace(spec, init_from_text=texts), training=QUICK)
            .fit(past, rng=RNG(0))
            .encode(past)
            for texts in (False, True)
        )
    assert not np.array_equal(bare.vectors, said.vectors)


def test_age_counts_from_the_cutoff() -> None:
    """⌊2 log2(1 + days)⌋."""
    days = np.array([0, 0.4, 0.5, 1, 3, 7, 100])
    time = (10**6 * DAY - days * DAY).astype(np.int64)[::-1]
    histories = Histories(
        np.array([1]), np.array([0, 7]), {"item": np.arange(7), "time": time}, 10**6 * DAY
    )
    assert derive(histories, ("age",)).fields["age"].tolist() == [13, 6, 4, 2, 1, 0, 0]


def test_options_come_from_a_recipe_file() -> None:
    made = encoder(
        "autoencoder",
        width=24,
        loss={"full": 5},
        history={"length": 9, "fields": ["kind"]},
        training={"patience": 2},
    )
    assert made == AutoEncoder(
        width=24,
        loss=Reconstruction(full=5),
        history=HistorySpec(length=9, fields=("kind",)),
        training=Training(patience=2),
    )


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"width": 0, "layers": 0}, ["width", "layers"]),
        ({"width": 4096}, ["width"]),
        ({"hidden": -1}, ["hidden"]),
        ({"word_dropout": 1.5}, ["word_dropout"]),
        ({"chunks_per_user": -1}, ["chunks_per_user"]),
        ({"loss": {"negatives": 0}}, ["loss.negatives"]),
        ({"loss": {"kind": "mse"}}, ["loss.kind"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
def test_options_that_are_refused(options: dict, paths: list[str]) -> None:
    with pytest.raises(OptionsError) as fault:
        encoder("autoencoder", **options)
    assert [f.path for f in fault.value.faults] == paths
