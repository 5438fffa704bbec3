"""The multi-task Transformer.

Its contract, what it learns of days and of next events, and what it refuses.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.options import OptionsError
from clickprint.core.ragged import starts_of
from clickprint.core.recommender import Recommender
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import HistoriesPast, past_of
from clickprint.encoders import encoder, load, multitask
from clickprint.encoders.multitask import MultiTask, most_frequent
from clickprint.encoders.sequence import HistorySpec
from clickprint.metrics.labels import auroc
from clickprint.nn import train
from clickprint.nn.multitask import MultiTaskLoss
from clickprint.nn.next_item import NextItemLoss
from clickprint.nn.train import Training
from clickprint.testing.encoders import EncoderContract
from clickprint.testing.worlds import START, memory_log

TOLERANCE = 0.02  # float16 of sums in another order


class TestMultiTask(EncoderContract):
    encoder = MultiTask(
        width=16,
        layers=1,
        heads=2,
        horizon_days=7,
        top=8,
        history=HistorySpec(length=20, all_events=True, fields=("kind", "gap")),
        training=Training(epochs=3, batch=32, lr=0.01),
        length_buckets=1,
    )
    learns = {"clockwork": 0.99, "checkerboard": 0.99}  # noqa: RUF012
    tolerance = TOLERANCE
    anonymous = False  # rows are shuffled by their place among the users


class TestBare(EncoderContract):
    encoder = MultiTask(
        width=8,
        layers=1,
        heads=1,
        time_since_last=False,
        chunks_per_user=2,
        history=HistorySpec(
            length=5, all_events=True, fields=("kind", "url", "price_band", "category")
        ),
        loss=MultiTaskLoss(targets={"category": 1.0, "price_band": 0.5}, windows=0.0),
        training=Training(epochs=2, batch=16, patience=2),
    )
    tolerance = TOLERANCE
    anonymous = False


def small(**more: Any) -> MultiTask:
    spec = HistorySpec(length=8, all_events=True, fields=("kind",))
    options = {
        "roles": (),
        "width": 8,
        "layers": 1,
        "heads": 1,
        "horizon_days": 4,
        "history": spec,
        "top": 3,
        "counts": (1, 2),
    }
    loss = MultiTaskLoss(targets={"item": 1.0, "kind": 1.0})
    return MultiTask(**{**options, "loss": loss, "training": Training(epochs=2, batch=16), **more})


def walks(lengths: list[int], seed: int = 0) -> Histories:
    """Each user goes around a circle of six items, an event a day.

    Until the day before the cutoff; a third of the events are views.
    """
    random = np.random.default_rng(seed)
    starts = starts_of(np.array(lengths, np.int64))
    item = np.concatenate(
        [(random.integers(6) + np.arange(n)) % 6 * 10 - 20 for n in lengths]
        + [np.zeros(0, np.int64)]
    ).astype(np.int64)
    time = np.concatenate(
        [50 * DAY - DAY * np.arange(n, 0, -1) for n in lengths] + [np.zeros(0, np.int64)]
    ).astype(np.int64)
    kind = (random.random(len(item)) < 1 / 3).astype(np.int16)
    return Histories(
        np.arange(len(lengths)) * 3 - 5,
        starts,
        {"item": item, "time": time, "kind": kind},
        cutoff=50 * DAY,
    )


# -- what it learns -------------------------------------------------------------------------------
def test_it_ranks_the_next_item_and_is_the_same_after_loading(tmp_path: Path) -> None:
    histories = walks([9, 0, 3] * 20)
    fitted = small(
        width=16, time_since_last=False, training=Training(epochs=25, batch=20, lr=0.02)
    ).fit(HistoriesPast(histories), rng=RNG(0))
    lists = fitted.recommend(Requests(histories), 2)
    some = histories.lengths > 0
    last = histories.fields["item"][histories.starts[1:][some] - 1]
    assert (lists.items[some, 0] == ((last + 20) // 10 + 1) % 6 * 10 - 20).mean() > 0.95
    fitted.save(tmp_path / "fitted")
    again = load(tmp_path / "fitted")
    assert (
        again.user_vectors(Requests(histories)).tobytes()
        == fitted.user_vectors(Requests(histories)).tobytes()
    )
    assert np.array_equal(again.recommend(Requests(histories), 2).items, lists.items)
    assert not fitted.user_vectors(Requests(histories))[~some].any()


def lapsing(users: int = 200) -> Histories:
    """Everyone comes daily and stops for ever at a day of their own.

    So silence alone says who comes back. Events are all the same.
    """
    random = np.random.default_rng(0)
    last = random.integers(10, 61, users)
    starts = starts_of(np.full(users, 8))
    time = np.concatenate([(day - np.arange(8)[::-1]) * DAY for day in last]).astype(np.int64)
    fields = {"item": np.full(len(time), 4), "time": time, "kind": np.zeros(len(time), np.int16)}
    return Histories(np.arange(users), starts, fields, cutoff=60 * DAY + 1)


@pytest.mark.parametrize("now", [True, False])
def test_only_with_now_does_a_vector_know_how_long_ago_the_newest_event_was(now: bool) -> None:
    histories = lapsing()
    fitted = small(time_since_last=now, training=Training(epochs=8, batch=20, lr=0.01)).fit(
        HistoriesPast(histories), rng=RNG(0)
    )
    silence = (histories.cutoff or 0) - histories.fields["time"][histories.starts[1:] - 1]
    x = np.c_[fitted.user_vectors(Requests(histories)), np.ones(len(histories))].astype(np.float64)
    some = np.arange(len(x)) % 2 == 0
    weights = np.linalg.lstsq(x[some], (silence[some] < 2 * DAY).astype(float), rcond=1e-6)[0]
    found = auroc(silence[~some] < 2 * DAY, (x[~some] @ weights).astype(np.float32))
    assert found > 0.95 if now else 0.4 < found < 0.6


def test_windows_alone_are_learned_and_rank_nothing() -> None:
    """Every other user only has events of kind 1.

    Which kind the next days hold is all that is asked.
    """
    histories = walks([12] * 80)
    kind = np.repeat(np.arange(80) % 2, 12).astype(np.int16)
    recipe = small(
        loss=MultiTaskLoss(targets={}, windows=1.0),
        counts=(),
        tastes=("kind",),
        training=Training(epochs=10, batch=16, lr=0.02),
    )
    fitted = recipe.fit(
        HistoriesPast(replace(histories, fields={**histories.fields, "kind": kind})), rng=RNG(0)
    )
    assert fitted.curve is not None
    assert fitted.curve.loss[-1] < fitted.curve.loss[0] / 5
    assert not recipe.recommends
    assert not isinstance(fitted, Recommender), "no item was a target"


def test_the_labels_are_the_most_bought_values() -> None:
    item = np.array([7, 7, 7, 5, 5, -2, -2, NONE, 9, 9, 1])
    kind = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1], np.int16)
    events = Histories(
        np.array([1]), np.array([0, 11]), {"item": item, "time": np.arange(11), "kind": kind}
    )
    spec = HistorySpec(length=8, all_events=True, fields=("kind",), min_count=2)
    known, columns = most_frequent(small(history=spec), events, "item", [1])
    assert known.tolist() == [-2, 5, 7, 9], "1 is too rare to be known"
    assert columns.tolist() == [-1, 0, 1, 2, -1], (
        "−2 and 5 twice, the smaller one first; 7 once; 9 never"
    )
    assert most_frequent(small(history=spec), events, "item", None)[1].tolist() == [
        -1,
        1,
        2,
        0,
        -1,
    ]


def test_only_what_has_a_role_is_bought() -> None:
    """By the log's own kinds; where none has the role, every kind is."""
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            time=START + DAY * np.arange(8),
            user=[1] * 8,
            kind=[0, 1, 2, 3] * 2,
            item=[3] * 8,
        )
        past = past_of(log, START + 9 * DAY)
        for roles, wanted in (
            (("buy",), [0]),
            (("cart", "view"), [1, 3]),
            (("like",), [0, 1, 2, 3, 4]),
            ((), None),
        ):
            assert multitask.bought(small(roles=roles), past) == wanted


# -- training -------------------------------------------------------------------------------------
def test_the_window_after_the_cutoff_is_not_asked_about() -> None:
    """Of histories that end at their cutoff nothing is known of the last `horizon_days`.

    Older windows hold what came later.
    """
    histories = walks([6] * 20)
    recipe = small(
        horizon_days=7,
        loss=MultiTaskLoss(targets={"kind": 0.0}, windows=1.0),
        time_since_last=False,
    )
    fitted = recipe.fit(HistoriesPast(histories), rng=RNG(0))
    assert fitted.curve is not None
    assert fitted.curve.loss == [0.0, 0.0], "six days before the cutoff no window of seven ends"
    assert (
        small(horizon_days=5, loss=recipe.loss, time_since_last=False)
        .fit(HistoriesPast(histories), rng=RNG(0))
        .curve.loss[0]
        > 0
    )  # type: ignore[union-attr]


def test_who_is_held_out_is_measured_and_not_trained_on() -> None:
    histories = walks([7] * 210)
    recipe = small(training=Training(epochs=2, batch=128, patience=9))
    held = multitask.held_out(histories, RNG(0))
    kind = histories.fields["kind"].copy()
    for row in held:
        kind[histories.starts[row] : histories.starts[row + 1]] ^= 1
    changed = replace(histories, fields={**histories.fields, "kind": kind})
    first, second = (recipe.fit(HistoriesPast(h), rng=RNG(0)).curve for h in (histories, changed))
    assert first is not None
    assert second is not None
    assert first.loss == second.loss
    assert first.metrics != second.metrics
    assert all(m < 0 for _, m in first.metrics)


def test_a_killed_training_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories, recipe = walks([9] * 40), small(training=Training(epochs=3, batch=16))
    whole = recipe.fit(HistoriesPast(histories), rng=RNG(0))

    def killed(_what: str, _done: int, _all: int, calls: list[int] = []) -> None:  # noqa: B006
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "SAVE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        recipe.fit(
            HistoriesPast(histories),
            rng=RNG(0),
            progress=killed,
            session=Session(checkpoints=tmp_path / "at"),
        )
    again = recipe.fit(
        HistoriesPast(histories), rng=RNG(0), session=Session(checkpoints=tmp_path / "at")
    )
    assert (
        again.user_vectors(Requests(histories)).tobytes()
        == whole.user_vectors(Requests(histories)).tobytes()
    )


# -- refusals -------------------------------------------------------------------------------------
@pytest.mark.parametrize("lengths", [[], [0, 0], [1, 1, 0]])
def test_nothing_to_learn_is_said(lengths: list[int]) -> None:
    with pytest.raises(DataError, match="no user has two events"):
        small().fit(HistoriesPast(walks(lengths)), rng=RNG(0))


def test_histories_that_do_not_fit_are_refused() -> None:
    histories = walks([4, 4])
    spec = HistorySpec(fields=("kind", "url", "price_band"), all_events=True)
    with pytest.raises(ConfigError, match="url"):
        small(history=spec).fit(HistoriesPast(histories), rng=RNG(0))
    priced = replace(histories, fields={**histories.fields, "price": np.ones(8)})
    with pytest.raises(ConfigError, match="price: found numbers"):
        small(history=HistorySpec(fields=("kind", "price"), all_events=True)).fit(
            HistoriesPast(priced), rng=RNG(0)
        )
    fitted = small().fit(HistoriesPast(histories), rng=RNG(0))
    with pytest.raises(DataError, match="cut"):
        fitted.user_vectors(Requests(replace(histories, cutoff=None)))
    with DuckDB(threads=1) as engine:
        past = past_of(memory_log(engine, time=[START], user=[1], kind=[0], item=[3]), START + DAY)
        with pytest.raises(ConfigError, match="colour"):
            small(history=HistorySpec(fields=("kind", "colour"))).fit(past, rng=RNG(0))


@pytest.mark.parametrize("lengths", [[2], [2, 0, 1], [30, 2]])
def test_few_or_long_histories_are_learned(lengths: list[int]) -> None:
    histories = walks(lengths)
    assert np.isfinite(
        small().fit(HistoriesPast(histories), rng=RNG(0)).user_vectors(Requests(histories))
    ).all()
    uncut = replace(histories, cutoff=None)
    assert np.isfinite(
        small(time_since_last=False)
        .fit(HistoriesPast(uncut), rng=RNG(0))
        .user_vectors(Requests(uncut))
    ).all()


def test_options_come_from_a_recipe_file() -> None:
    made = encoder(
        "multitask",
        width=24,
        history={"length": 9, "fields": ["kind", "category"]},
        tastes=["category"],
        loss={
            "targets": {"item": 1, "category": 0.5},
            "windows": 2,
            "item": {"name": "sampled", "negatives": 9},
        },
    )
    assert isinstance(made, MultiTask)
    assert made.loss == MultiTaskLoss(
        targets={"item": 1.0, "category": 0.5},
        windows=2.0,
        item=NextItemLoss(name="sampled", negatives=9),
    )
    assert made.tastes == ("category",)


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"loss": {"targets": {"colour": 1}}}, ["loss.targets"]),
        ({"loss": {"targets": {"time": 1}}}, ["loss.targets"]),
        ({"loss": {"targets": {"item": -1}}}, ["loss.targets.item"]),
        ({"loss": {"windows": "many"}}, ["loss.windows"]),
        ({"tastes": ["category"]}, ["tastes"]),
        ({"tastes": [], "counts": []}, ["loss.windows"]),
        ({"counts": [0]}, ["counts[0]"]),
        ({"roles": ["steal"]}, ["roles[0]"]),
        ({"width": 12, "heads": 4}, ["heads"]),
        ({"width": 0, "heads": 0, "dropout": 2.0}, ["width", "dropout", "heads"]),
        ({"horizon_days": 0, "top": 0}, ["horizon_days", "top"]),
        ({"history": {"fields": ["age", "kind", "gap"]}}, ["history.fields"]),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(OptionsError) as fault:
        encoder("multitask", **options)
    assert [f.path for f in fault.value.faults] == paths
