"""The multi-task Transformer: its contract, what it learns of days and of next events, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.ragged import starts_of
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
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
        history=HistorySpec(length=20, everything=True, fields=("kind", "gap")),
        training=Training(epochs=3, batch=32, lr=0.01),
        pieces=1,
    )
    learns = {"clockwork": 0.99, "checkerboard": 0.99}  # noqa: RUF012
    tolerance = TOLERANCE
    anonymous = False  # rows are shuffled by their place among the users


class TestBare(EncoderContract):
    encoder = MultiTask(
        width=8,
        layers=1,
        heads=1,
        now=False,
        stretches=2,
        history=HistorySpec(
            length=5, everything=True, fields=("kind", "url", "price_band", "category")
        ),
        loss=MultiTaskLoss(targets={"category": 1.0, "price_band": 0.5}, windows=0.0),
        training=Training(epochs=2, batch=16, patience=2),
    )
    tolerance = TOLERANCE
    anonymous = False


def small(**more: Any) -> MultiTask:
    spec = HistorySpec(length=8, everything=True, fields=("kind",))
    options = {
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
    """Each user goes around a circle of six items, an event a day, until the day before the cutoff; a third of the events are views."""
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


# ------------------------------------------------------------------------------------------------------------- what it learns
def test_it_ranks_the_next_item_and_is_the_same_after_loading(tmp_path: Path) -> None:
    histories = walks([9, 0, 3] * 20)
    fitted = small(
        width=16, now=False, training=Training(epochs=25, batch=20, lr=0.02)
    ).fit_histories(histories, rng=RNG(0))
    lists = fitted.recommend(histories, 2)
    some = histories.lengths > 0
    last = histories.fields["item"][histories.starts[1:][some] - 1]
    assert (lists.items[some, 0] == ((last + 20) // 10 + 1) % 6 * 10 - 20).mean() > 0.95
    fitted.save(tmp_path / "fitted")
    again = load(tmp_path / "fitted")
    assert again.states(histories).tobytes() == fitted.states(histories).tobytes()
    assert np.array_equal(again.recommend(histories, 2).items, lists.items)
    assert not fitted.states(histories)[~some].any()


def lapsing(users: int = 200) -> Histories:
    """Everyone comes daily and stops for ever at a day of his own, so silence alone says who comes back. Events are all the same."""
    random = np.random.default_rng(0)
    last = random.integers(10, 61, users)
    starts = starts_of(np.full(users, 8))
    time = np.concatenate([(day - np.arange(8)[::-1]) * DAY for day in last]).astype(np.int64)
    fields = {"item": np.full(len(time), 4), "time": time, "kind": np.zeros(len(time), np.int16)}
    return Histories(np.arange(users), starts, fields, cutoff=60 * DAY + 1)


@pytest.mark.parametrize("now", [True, False])
def test_only_with_now_does_a_vector_know_how_long_ago_the_newest_event_was(now: bool) -> None:
    histories = lapsing()
    fitted = small(now=now, training=Training(epochs=8, batch=20, lr=0.01)).fit_histories(
        histories, rng=RNG(0)
    )
    silence = (histories.cutoff or 0) - histories.fields["time"][histories.starts[1:] - 1]
    x = np.c_[fitted.states(histories), np.ones(len(histories))].astype(np.float64)
    some = np.arange(len(x)) % 2 == 0
    weights = np.linalg.lstsq(x[some], (silence[some] < 2 * DAY).astype(float), rcond=1e-6)[0]
    found = auroc(silence[~some] < 2 * DAY, (x[~some] @ weights).astype(np.float32))
    assert found > 0.95 if now else 0.4 < found < 0.6


def test_windows_alone_are_learned_and_rank_nothing() -> None:
    """Every other user only has events of kind 1; which kind the next days hold is all that is asked."""
    histories = walks([12] * 80)
    kind = np.repeat(np.arange(80) % 2, 12).astype(np.int16)
    recipe = small(
        loss=MultiTaskLoss(targets={}, windows=1.0),
        counts=(),
        tastes=("kind",),
        training=Training(epochs=10, batch=16, lr=0.02),
    )
    fitted = recipe.fit_histories(
        replace(histories, fields={**histories.fields, "kind": kind}), rng=RNG(0)
    )
    assert fitted.curve is not None
    assert fitted.curve.loss[-1] < fitted.curve.loss[0] / 5
    with pytest.raises(ConfigError, match="the next item was no target"):
        fitted.recommend(histories, 2)


def test_the_labels_are_the_most_bought_values() -> None:
    item = np.array([7, 7, 7, 5, 5, -2, -2, NONE, 9, 9, 1])
    kind = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1], np.int16)
    events = Histories(
        np.array([1]), np.array([0, 11]), {"item": item, "time": np.arange(11), "kind": kind}
    )
    spec = HistorySpec(length=8, everything=True, fields=("kind",), least=2)
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
        past, seen = past_of(log, START + 9 * DAY), []
        fit_histories = MultiTask.fit_histories

        def spied(self: MultiTask, histories: Histories, **more: Any) -> Any:
            seen.append(more["bought"])
            return fit_histories(self, histories, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MultiTask, "fit_histories", spied)
            for roles in (("buy",), ("cart", "view"), ("like",)):
                small(roles=roles).fit(past, rng=RNG(0))
    assert seen == [[0], [1, 3], [0, 1, 2, 3, 4]]


# ------------------------------------------------------------------------------------------------------------------- training
def test_the_window_after_the_cutoff_is_not_asked_about() -> None:
    """Of histories that end at their cutoff nothing is known of the last `horizon_days`; older windows hold what came later."""
    histories = walks([6] * 20)
    recipe = small(
        horizon_days=7, loss=MultiTaskLoss(targets={"kind": 0.0}, windows=1.0), now=False
    )
    fitted = recipe.fit_histories(histories, rng=RNG(0))
    assert fitted.curve is not None
    assert fitted.curve.loss == [0.0, 0.0], "six days before the cutoff no window of seven ends"
    assert (
        small(horizon_days=5, loss=recipe.loss, now=False)
        .fit_histories(histories, rng=RNG(0))
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
    first, second = (recipe.fit_histories(h, rng=RNG(0)).curve for h in (histories, changed))
    assert first is not None
    assert second is not None
    assert first.loss == second.loss
    assert first.measures != second.measures
    assert all(m < 0 for _, m in first.measures)


def test_a_killed_training_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories, recipe = walks([9] * 40), small(training=Training(epochs=3, batch=16))
    whole = recipe.fit_histories(histories, rng=RNG(0))

    def killed(_what: str, _done: int, _all: int, calls: list[int] = []) -> None:  # noqa: B006
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "SAVE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        recipe.fit_histories(histories, rng=RNG(0), checkpoint=tmp_path / "at", progress=killed)
    again = recipe.fit_histories(histories, rng=RNG(0), checkpoint=tmp_path / "at")
    assert again.states(histories).tobytes() == whole.states(histories).tobytes()
    with pytest.raises(DataError, match="another training"):
        recipe.fit_histories(histories, bought=[1], rng=RNG(0), checkpoint=tmp_path / "at")


# -------------------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize("lengths", [[], [0, 0], [1, 1, 0]])
def test_nothing_to_learn_is_said(lengths: list[int]) -> None:
    with pytest.raises(DataError, match="no user has two events"):
        small().fit_histories(walks(lengths), rng=RNG(0))


def test_histories_that_do_not_fit_are_refused() -> None:
    histories = walks([4, 4])
    spec = HistorySpec(fields=("kind", "url", "price_band"), everything=True)
    with pytest.raises(
        ConfigError, match="these histories have no field url, price; they have item, time, kind"
    ):
        small(history=spec).fit_histories(histories, rng=RNG(0))
    priced = replace(histories, fields={**histories.fields, "price": np.ones(8)})
    with pytest.raises(ConfigError, match="price: found numbers, expected ids"):
        small(history=HistorySpec(fields=("kind", "price"), everything=True)).fit_histories(
            priced, rng=RNG(0)
        )
    fitted = small().fit_histories(histories, rng=RNG(0))
    with pytest.raises(ConfigError, match="needs histories with a cutoff"):
        fitted.states(replace(histories, cutoff=None))
    with DuckDB(threads=1) as engine:
        past = past_of(memory_log(engine, time=[START], user=[1], kind=[0], item=[3]), START + DAY)
        with pytest.raises(ConfigError, match="found colour"):
            small(history=HistorySpec(fields=("kind", "colour"))).fit(past, rng=RNG(0))


@pytest.mark.parametrize("lengths", [[2], [2, 0, 1], [30, 2]])
def test_few_or_long_histories_are_learned(lengths: list[int]) -> None:
    histories = walks(lengths)
    assert np.isfinite(small().fit_histories(histories, rng=RNG(0)).states(histories)).all()
    uncut = replace(histories, cutoff=None)
    assert np.isfinite(small(now=False).fit_histories(uncut, rng=RNG(0)).states(uncut)).all()


def test_options_come_from_a_recipe_file() -> None:
    made = encoder(
        "multitask",
        width=24,
        history={"length": 9, "fields": ["kind", "category"]},
        tastes=["category"],
        loss={
            "targets": {"item": 1, "category": 0.5},
            "windows": 2,
            "item": {"kind": "sampled", "negatives": 9},
        },
    )
    assert isinstance(made, MultiTask)
    assert made.loss == MultiTaskLoss(
        targets={"item": 1.0, "category": 0.5},
        windows=2.0,
        item=NextItemLoss(kind="sampled", negatives=9),
    )
    assert made.tastes == ("category",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"loss": {"targets": {"colour": 1}}},
            "loss.targets: 'colour' is not read; expected some of item, kind, hour, weekday, gap",
        ),
        ({"loss": {"targets": {"time": 1}}}, "loss.targets: 'time' is not read"),
        (
            {"loss": {"targets": {"item": -1}}},
            "multitask.loss: targets.item: found -1.0, expected a number, 0 or more",
        ),
        ({"loss": {"windows": "many"}}, "multitask.loss.windows: found 'many', expected a number"),
        ({"tastes": ["category"]}, "tastes: 'category' is not read"),
        ({"tastes": [], "counts": []}, "nothing to say of a window"),
        ({"counts": [0]}, "counts: found"),
        ({"roles": ["steal"]}, "roles: found 'steal', expected some of expose, click"),
        ({"width": 12, "heads": 4}, "heads: 4 do not divide a width of 12 into even parts"),
        (
            {"width": 0, "heads": 0, "dropout": 2.0},
            "width: found 0.*heads: found 0.*dropout: found 2.0",
        ),
        ({"horizon_days": 0, "top": 0}, "horizon_days: found 0.*top: found 0"),
        ({"history": {"fields": ["age", "kind", "gap"]}}, "leave the field age out"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        encoder("multitask", **options)
