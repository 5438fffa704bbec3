"""The sequence encoders.

Each keeps the contract, learns what can be known, ranks items, and is refused when its files are
damaged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType, Catalogue
from clickprint.core.options import OptionsError
from clickprint.core.past import Past
from clickprint.core.recommender import HasItemVectors, Recommender, Recommends
from clickprint.core.registry import lookup
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.core.time import DAY
from clickprint.data.codes import PLACES
from clickprint.data.engine import DuckDB
from clickprint.data.split import HistoriesPast, past_of
from clickprint.data.texts import item_vectors
from clickprint.encoders import ENCODERS, encoder, load, sequence
from clickprint.encoders.autoencoder import AutoEncoder
from clickprint.encoders.gru4rec import GRU4Rec
from clickprint.encoders.hstu import HSTU
from clickprint.encoders.mamba4rec import Mamba4Rec
from clickprint.encoders.multitask import MultiTask
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec
from clickprint.encoders.transformerpp import TransformerPP
from clickprint.nn import next_item
from clickprint.nn.multitask import MultiTaskLoss
from clickprint.nn.next_item import NextItemLoss
from clickprint.nn.train import LearningCurve, Training
from clickprint.testing.encoders import EncoderContract
from clickprint.testing.worlds import BUY, START, memory_log

QUICK = Training(epochs=3, batch=32, lr=0.01)
SHORT = HistorySpec(length=10)
TOLERANCE = 0.02  # float16 of sums in another order


class TestSASRec(EncoderContract):
    encoder = SASRec(width=8, history=SHORT, training=QUICK)
    tolerance = TOLERANCE
    anonymous = False  # rows are shuffled by their place among the users


class TestLiGR(EncoderContract):
    encoder = SASRec(
        width=8,
        block="ligr",
        history=SHORT,
        training=QUICK,
        loss=NextItemLoss(name="sampled", negatives=8),
    )
    tolerance = TOLERANCE
    anonymous = False


class TestHSTU(EncoderContract):
    encoder = HSTU(width=8, layers=1, history=SHORT, training=QUICK)
    tolerance = TOLERANCE
    anonymous = False


class TestGRU4Rec(EncoderContract):
    encoder = GRU4Rec(width=8, hidden=12, history=SHORT, training=QUICK)
    tolerance = TOLERANCE
    anonymous = False


class TestMamba4Rec(EncoderContract):
    encoder = Mamba4Rec(width=8, state=4, history=SHORT, training=QUICK)
    tolerance = TOLERANCE
    anonymous = False


class TestSearches(EncoderContract):
    """Events about no item, and what was searched for, as code vectors."""

    encoder = SASRec(
        width=8,
        history=HistorySpec(length=10, all_events=True, fields=("kind", "query_codes")),
        training=QUICK,
    )
    tolerance = TOLERANCE
    anonymous = False


class TestTransformerPP(EncoderContract):
    encoder = TransformerPP(width=8, layers=1, history=SHORT, training=QUICK)
    tolerance = TOLERANCE
    anonymous = False


RECIPES = {
    "sasrec": lambda **more: SASRec(width=16, **more),
    "hstu": lambda **more: HSTU(
        width=16,
        layers=1,
        loss=NextItemLoss(name="sampled", negatives=20, temperature=0.1),
        **more,
    ),
    "gru4rec": lambda **more: GRU4Rec(width=16, **more),
    "mamba4rec": lambda **more: Mamba4Rec(width=16, state=4, **more),
    "transformer++": lambda **more: TransformerPP(width=16, layers=1, **more),
}
ITEMS = np.array([7, -3, 1000, 42, 5, 11, 900, 8])  # a circle that everyone walks


def walks(users: int = 80, seed: int = 0, **more: np.ndarray) -> Histories:
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 16, users)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    item = np.concatenate(
        [ITEMS[(random.integers(8) + np.arange(n)) % 8] for n in lengths]
    ).astype(np.int64)
    time = np.arange(len(item), dtype=np.int64) * 3_600_000_000
    return Histories(np.arange(users) * 3 - 40, starts, {"item": item, "time": time, **more})


@pytest.mark.parametrize("name", RECIPES)
def test_it_learns_the_circle_and_ranks_it(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name](
        history=HistorySpec(length=10), training=Training(epochs=40, batch=40, lr=0.01)
    )
    histories = walks()
    fitted = recipe.fit(HistoriesPast(histories), rng=RNG(1))
    lists = fitted.recommend(Requests(histories), 3)
    last = histories.starts[1:] - 1
    given = histories.lengths > 0
    place = {int(i): p for p, i in enumerate(ITEMS)}
    wanted = np.array(
        [ITEMS[(place[int(histories.fields["item"][e])] + 1) % 8] for e in last[given]]
    )
    assert (lists.items[given, 0] == wanted).mean() > 0.95
    fitted.save(tmp_path / "fitted")
    again = load(tmp_path / "fitted")
    assert np.array_equal(again.recommend(Requests(histories), 3).items, lists.items)
    assert (
        again.user_vectors(Requests(histories)).tobytes()
        == fitted.user_vectors(Requests(histories)).tobytes()
    )


@pytest.mark.parametrize("name", ENCODERS)
def test_what_ranks_items_says_so_and_what_does_not_has_nothing_of_it(name: str) -> None:
    """By the network alone: a fitted encoder of profiles has neither lists nor item vectors."""
    recipe: Any = lookup(ENCODERS, name, "encoder")
    if not issubclass(recipe, sequence.SequenceEncoder):
        return
    made = recipe(width=8)
    assert isinstance(made, sequence.SequenceRecipe)
    network = made.model(dict.fromkeys(("item", *made.history.fields), 3))
    values = {f: np.arange(3) for f in ("item", *made.history.fields)}
    fitted = sequence.fitted_class(network)(made, values, network)
    ranks = name not in ("autoencoder", "contrastive")
    assert (isinstance(made, Recommends) and made.recommends) == ranks
    assert isinstance(fitted, Recommender) == isinstance(fitted, HasItemVectors) == ranks
    assert isinstance(fitted, sequence.Trained)


def test_seen_items_are_left_out_and_short_lists_end_in_none() -> None:
    histories = walks(30)
    fitted = RECIPES["sasrec"](training=QUICK).fit(HistoriesPast(histories), rng=RNG(0))
    lists = fitted.recommend(Requests(histories), 20, include_seen=False)
    assert lists.items.shape == (30, 8), "no longer than the catalogue"
    for u in range(30):
        had = set(histories.fields["item"][histories.starts[u] : histories.starts[u + 1]].tolist())
        shown = {i for i in lists.items[u].tolist() if i != NONE}
        assert shown == set(ITEMS.tolist()) - had
    assert set(fitted.recommend(Requests(histories), 20).items.ravel().tolist()) == set(
        ITEMS.tolist()
    )


def test_events_about_nothing_and_rare_or_new_items() -> None:
    histories = walks(40)
    item = histories.fields["item"].copy()
    item[::5] = NONE
    item[3] = 123_456
    odd = Histories(histories.users, histories.starts, {**histories.fields, "item": item})
    recipe = RECIPES["sasrec"](history=HistorySpec(min_count=2), training=QUICK)
    fitted = recipe.fit(HistoriesPast(odd), rng=RNG(0))
    assert 123_456 not in fitted.values["item"]
    assert NONE not in fitted.values["item"]
    without = sequence.items_only(odd)
    assert (without.fields["item"] != NONE).all()
    assert without.events == (item != NONE).sum()
    assert np.array_equal(
        fitted.user_vectors(Requests(odd)), fitted.user_vectors(Requests(without))
    )


def test_patience_holds_out_last_items_and_stops() -> None:
    histories = walks(60)
    kept, asked, held = sequence.hold_out(histories)
    some = histories.lengths >= 3
    assert np.array_equal(asked.users, histories.users[some])
    assert np.array_equal(held.values, histories.fields["item"][histories.starts[1:][some] - 1])
    assert (held.lengths == 1).all()
    assert np.array_equal(kept.lengths, histories.lengths - some)
    recipe = RECIPES["sasrec"](training=Training(epochs=60, batch=40, lr=0.01, patience=9))
    fitted = recipe.fit(
        HistoriesPast(kept),
        rng=RNG(0),
        session=Session(metric=sequence.last_item_metric(asked, held, include_seen=True)),
    )
    assert fitted.curve is not None
    assert fitted.curve.best > 0.9
    assert fitted.curve.epoch == fitted.curve.best_epoch + 9 < 60


@contextmanager
def past_with(histories: Histories) -> Iterator[Past]:
    """The past of a log of these events; bought, where they do not say what was done."""
    time, user = START + histories.fields["time"], np.repeat(histories.users, histories.lengths)
    kind = histories.fields.get("kind", np.full(len(user), BUY))
    with DuckDB(threads=1) as engine:
        yield past_of(
            memory_log(engine, time=time, user=user, kind=kind, item=histories.fields["item"]),
            int(time.max()) + 1,
        )


def pairs_log() -> tuple[Histories, np.ndarray]:
    """Everyone has two items, the second is named by the first; nobody has three."""
    first = np.random.default_rng(0).integers(0, 8, 200)
    items = np.stack([first, 8 + (first * 3) % 8], 1).reshape(-1).astype(np.int64)
    return Histories(
        np.arange(200), np.arange(0, 401, 2), {"item": items, "time": np.arange(400) * DAY}
    ), first


def test_with_nobody_to_hold_out_all_epochs_are_trained() -> None:
    """A measure of nobody would be 0 each time, and the first epoch the best one."""
    histories, _ = pairs_log()

    recipe = SASRec(width=16, training=Training(epochs=40, patience=5, lr=0.01, batch=64))
    with past_with(histories) as past:
        fitted = recipe.fit(past, rng=RNG(0))
    assert fitted.curve is not None
    assert fitted.curve.epoch == 40
    assert fitted.curve.metrics == []
    lists = fitted.recommend(Requests(histories.but_last(1)), 1).items[:, 0]
    assert (lists == histories.fields["item"][1::2]).all()


def test_held_out_is_what_came_before_the_last_item() -> None:
    """Events about no item stay before the held-out event, and go behind it."""
    item = np.array([1, NONE, 2, NONE, 3, NONE, 4, NONE, NONE], np.int64)
    kind = np.arange(9)
    histories = Histories(
        np.array([5, 6, 7]),
        np.array([0, 6, 8, 9]),
        {"item": item, "time": np.arange(9) * DAY, "kind": kind},
    )
    kept, asked, held = sequence.hold_out(histories)
    assert asked.users.tolist() == [5]
    assert held.values.tolist() == [3]
    assert kept.starts.tolist() == [0, 4, 6, 7]
    assert kept.fields["kind"].tolist() == [0, 1, 2, 3, 6, 7, 8]


def test_events_about_no_item_are_learned_with_patience_too() -> None:
    histories = walks(60)
    n = histories.events
    item, kind = np.full(2 * n, NONE, np.int64), np.tile([4, 0], n)
    item[1::2] = histories.fields["item"]
    both = Histories(
        histories.users,
        2 * histories.starts,
        {"item": item, "time": np.arange(2 * n) * DAY, "kind": kind},
    )

    spec = HistorySpec(all_events=True, fields=("kind",))
    with past_with(both) as past:
        for patience in (0, 2):
            recipe = SASRec(width=8, history=spec, training=Training(epochs=2, patience=patience))
            fitted = recipe.fit(past, rng=RNG(0))
            assert fitted.values["kind"].tolist() == [0, 4], patience


def shopping(users: int = 60, seed: int = 0, **more: np.ndarray) -> Histories:
    """Everyone buys the pairs (1, 2), (3, 4), (5, 6), (7, 8) in turn, each at one moment.

    Some buy once or never.
    """
    random = np.random.default_rng(seed)
    trips = random.integers(0, 8, users)
    starts = np.concatenate([[0], np.cumsum(2 * trips)]).astype(np.int64)
    pair = np.concatenate([(random.integers(4) + np.arange(n)) % 4 for n in trips])
    item = (2 * np.repeat(pair, 2) + np.tile([1, 2], len(pair))).astype(np.int64)
    time = np.repeat(np.arange(len(pair), dtype=np.int64), 2) * 86_400_000_000
    return Histories(np.arange(users), starts, {"item": item, "time": time, **more})


def test_baskets_have_no_order() -> None:
    histories = shopping()
    recipe = RECIPES["sasrec"](
        history=HistorySpec(length=10, basket_targets=True),
        training=Training(epochs=40, batch=20, lr=0.01),
    )
    lists = (
        recipe.fit(HistoriesPast(histories), rng=RNG(1)).recommend(Requests(histories), 2).items
    )
    some = histories.lengths > 0
    newest = histories.fields["item"][histories.starts[1:][some] - 1]
    wanted = np.stack([newest % 8 + 1, newest % 8 + 2], axis=1)
    assert (np.sort(lists[some], axis=1) == wanted).all()


def test_a_basket_is_held_out_whole() -> None:
    histories = shopping()
    kept, asked, held = sequence.hold_out(histories, baskets=True)
    some = histories.lengths >= 4
    assert np.array_equal(asked.users, histories.users[some])
    assert np.array_equal(kept.lengths, histories.lengths - 2 * some)
    assert (held.lengths == 2).all()
    assert np.array_equal(
        held.values.reshape(-1, 2)[:, 1], histories.fields["item"][histories.starts[1:][some] - 1]
    )
    recipe = RECIPES["sasrec"](
        history=HistorySpec(basket_targets=True),
        training=Training(epochs=60, batch=20, lr=0.01, patience=9),
    )
    measure = sequence.last_item_metric(asked, held, include_seen=True)
    fitted = recipe.fit(HistoriesPast(kept), rng=RNG(0), session=Session(metric=measure))
    assert fitted.curve is not None
    assert fitted.curve.best == pytest.approx(
        1.0
    )  # both items of every held-out basket are before all others


def test_without_a_second_moment_there_is_no_next_basket() -> None:
    once = shopping()
    together = Histories(
        once.users, once.starts, once.fields | {"time": np.zeros(once.events, np.int64)}
    )
    with pytest.raises(DataError, match="basket_targets"):
        RECIPES["sasrec"](history=HistorySpec(basket_targets=True)).fit(
            HistoriesPast(together), rng=RNG(0)
        )


@pytest.mark.parametrize("name", ["autoencoder", "contrastive", "multitask"])
def test_only_who_predicts_the_next_event_has_baskets(name: str) -> None:
    with pytest.raises(OptionsError) as fault:
        encoder(name, history={"basket_targets": True, "fields": ["kind", "gap"]})
    assert [f.path for f in fault.value.faults] == ["history.basket_targets"]


def test_parts_of_users_are_read_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = walks(40)
    hours = HistorySpec(length=4, fields=("gap", "hour"))
    fitted = RECIPES["hstu"](history=hours, training=QUICK).fit(
        HistoriesPast(histories), rng=RNG(0)
    )
    events = sequence.chosen(fitted.recipe.history, histories)
    slow = np.zeros((40, 16), np.float32)
    for rows, part in next_item.last_states(fitted.network, fitted.numbers(events), events.starts):
        slow[rows] = part.numpy()
    parts = list(fitted.stream(Requests(histories), users=7))
    assert [(rows.start, rows.stop) for rows, _ in parts] == [
        (a, min(a + 7, 40)) for a in range(0, 40, 7)
    ]
    assert np.allclose(np.concatenate([part for _, part in parts]), slow, atol=1e-5)
    assert np.allclose(fitted.user_vectors(Requests(histories)), slow, atol=1e-5)
    whole = fitted.recommend(Requests(histories), 3, include_seen=False)
    monkeypatch.setattr(sequence.FittedNextItem.read, "__defaults__", (7,))
    assert np.array_equal(
        fitted.recommend(Requests(histories), 3, include_seen=False).items, whole.items
    )
    assert fitted.user_vectors(Requests(histories.take(np.arange(0)))).shape == (0, 16)
    assert not list(fitted.stream(Requests(histories.take(np.arange(0)))))


def test_a_history_much_longer_than_the_model_is_its_newest_part() -> None:
    histories = walks(20)
    fitted = RECIPES["gru4rec"](history=HistorySpec(length=6), training=QUICK).fit(
        HistoriesPast(histories), rng=RNG(0)
    )
    long = Histories(
        np.array([1]),
        np.array([0, 100_000]),
        {"item": np.resize(ITEMS, 100_000), "time": np.arange(100_000)},
    )
    assert np.allclose(
        fitted.user_vectors(Requests(long)), fitted.user_vectors(Requests(long.last(6)))
    )


@pytest.mark.parametrize("lengths", [[], [0, 0], [1, 1, 0]])
def test_nothing_to_learn_is_said(lengths: list[int]) -> None:
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    some = Histories(
        np.arange(len(lengths)),
        starts,
        {"item": np.ones(starts[-1], np.int64), "time": np.zeros(starts[-1], np.int64)},
    )
    with pytest.raises(DataError, match="no next item to learn"):
        RECIPES["sasrec"]().fit(HistoriesPast(some), rng=RNG(0))


@pytest.mark.parametrize("name", RECIPES)
def test_options_come_from_a_recipe_file(name: str) -> None:
    made = encoder(
        name,
        width=24,
        training={"epochs": 7, "betas": [0.8, 0.9]},
        history={"length": 9, "fields": ["kind"]},
    )
    assert (made.width, made.training.epochs, made.training.betas, made.history.fields) == (
        24,
        7,
        (0.8, 0.9),
        ("kind",),
    )
    assert name in ENCODERS


@pytest.mark.parametrize(
    ("name", "options", "path"),
    [
        ("sasrec", {"block": "round"}, "block"),
        ("sasrec", {"width": 10, "heads": 3}, "heads"),
        ("hstu", {"width": 10, "heads": 3}, "heads"),
        ("mamba4rec", {"mixer": 3}, "mixer"),
        ("sasrec", {"training": {"epochs": -1}}, "training.epochs"),
        ("sasrec", {"training": {"epoch": 1}}, "training.epoch"),
        ("sasrec", {"training": {"lr": "fast"}}, "training.lr"),
        ("sasrec", {"history": {"length": 0}}, "history.length"),
        ("sasrec", {"history": {"fields": ["item"]}}, "history.fields"),
        ("sasrec", {"training": 3}, "training"),
        ("sasrec", {"heads": 0}, "heads"),
        ("sasrec", {"width": 4096}, "width"),
        ("sasrec", {"width": 0}, "width"),
        ("gru4rec", {"layers": -1}, "layers"),
        ("gru4rec", {"hidden": -1}, "hidden"),
        ("hstu", {"dropout": 2.0}, "dropout"),
        ("hstu", {"dropout": 1.0}, "dropout"),
        ("hstu", {"length_buckets": 0}, "length_buckets"),
        ("transformer++", {"width": 6, "heads": 2}, "heads"),
        ("mamba4rec", {"mixer": 2, "width": 48}, "head_width"),
        ("sasrec", {"loss": {"name": "sofmax"}}, "loss.name"),
        ("sasrec", {"loss": {"name": "sampled", "negatives": 0}}, "loss.negatives"),
        ("sasrec", {"loss": {"temperature": -1.0}}, "loss.temperature"),
        ("sasrec", {"loss": {"name": "gbce", "temperature": 0.05}}, "loss.temperature"),
        ("sasrec", {"loss": {"name": "gbce", "calibration": 2.0}}, "loss.calibration"),
        ("sasrec", {"loss": {"name": "softmax", "shared": True}}, "loss.shared"),
    ],
)
def test_options_that_are_refused(name: str, options: dict, path: str) -> None:
    with pytest.raises(OptionsError) as fault:
        encoder(name, **options)
    assert [f.path for f in fault.value.faults] == [path]


def test_item_vectors_start_from_what_the_catalogue_says() -> None:
    rng = np.random.default_rng(0)
    titles = [" ".join(rng.choice(["red", "blue", "lamp", "chair", "wood"], 2)) for _ in range(30)]
    table = pa.table(
        {
            "item": pa.array(range(30), pa.int64()),
            "known_from": pa.nulls(30, pa.int64()),
            "title": [*titles[:-1], None],
        }
    )
    catalogue = Catalogue(table, {"title": AttributeType.TEXT})
    items, vectors = item_vectors(catalogue, 8)
    starts = np.arange(0, 121, 4)
    histories = Histories(
        np.arange(30), starts, {"item": np.tile(np.arange(30), 4)[:120], "time": np.arange(120)}
    )
    still = Training(epochs=1, batch=8, lr=1e-12)
    recipe = SASRec(width=8, history=HistorySpec(length=3, init_from_text=True), training=still)
    random = SASRec(width=8, history=HistorySpec(length=3), training=still)
    found = (
        recipe.fit(HistoriesPast(histories, catalogue), rng=RNG(0))
        .network.items[1:]
        .detach()
        .numpy()
    )
    other = random.fit(HistoriesPast(histories), rng=RNG(0)).network.items[1:].detach().numpy()
    assert np.allclose(np.linalg.norm(found, axis=1), np.linalg.norm(other, axis=1), atol=1e-6)
    assert np.allclose(
        found[:-1] / np.linalg.norm(found[:-1], axis=1, keepdims=True),
        vectors[items][:-1],
        atol=1e-4,
    )
    assert np.allclose(found[-1], other[-1], atol=1e-6)  # nothing is said of the last item
    with pytest.raises(ConfigError, match="catalogue"):
        recipe.fit(HistoriesPast(histories), rng=RNG(0))


def named_log(users: int = 120) -> tuple[Histories, np.ndarray]:
    """Ninety items, each of one of three families by the second word of its name; and the names.

    A user has some items of one family, then that family's own last item. The words' first place
    says nothing.
    """
    random = np.random.default_rng(0)
    names = np.stack(
        [random.integers(0, 256, 93) * PLACES, np.repeat([7, 8, 9], 31) * PLACES + 1], 1
    ).astype(np.int32)
    family = random.integers(0, 3, users)
    rows = [
        [*(31 * f + random.integers(0, 20, random.integers(1, 4))), 31 * f + 30] for f in family
    ]
    item = np.concatenate(rows).astype(np.int64)
    starts = np.cumsum([0, *map(len, rows)])
    return Histories(
        np.arange(users),
        starts,
        {"item": item, "time": np.arange(len(item)) * DAY, "name": names[item]},
    ), names


def test_a_code_vector_says_what_an_item_is_that_nobody_had(tmp_path: Path) -> None:
    histories, names = named_log()
    recipe = SASRec(
        width=16,
        history=HistorySpec(length=5, fields=("name",)),
        training=Training(epochs=30, batch=32, lr=0.01),
    )
    fitted = recipe.fit(HistoriesPast(histories), rng=RNG(0))
    new = np.array([25, 56, 87])  # the last ten of a family are never had
    assert not np.isin(new, histories.fields["item"]).any()
    asked = Histories(
        np.arange(3),
        np.arange(4),
        {"item": new, "time": np.zeros(3, np.int64), "name": names[new]},
    )
    assert fitted.recommend(Requests(asked), 1).items[:, 0].tolist() == [30, 61, 92]
    fitted.save(tmp_path / "f")
    again = load(tmp_path / "f")
    assert np.array_equal(
        again.user_vectors(Requests(asked)), fitted.user_vectors(Requests(asked))
    )
    bare = Histories(
        asked.users, asked.starts, {**asked.fields, "name": np.full((3, 1), -1, np.int32)}
    )
    assert (
        np.unique(fitted.user_vectors(Requests(bare)), axis=0).shape[0] == 1
    )  # without their names they are all nothing


def test_some_encoders_read_code_vectors_and_do_not_say_them() -> None:
    histories, _ = named_log(20)
    cut = replace(histories, cutoff=10**15)
    spec = HistorySpec(length=5, fields=("name",))
    with pytest.raises(ConfigError, match="name holds code vectors"):
        AutoEncoder(history=spec).fit(HistoriesPast(cut), rng=RNG(0))
    loss = MultiTaskLoss(targets={"item": 1.0, "name": 1.0})
    with pytest.raises(ConfigError, match="name holds code vectors"):
        MultiTask(history=spec, loss=loss, counts=(1,), roles=()).fit(
            HistoriesPast(cut), rng=RNG(0)
        )
    read = MultiTask(
        width=8,
        history=spec,
        loss=MultiTaskLoss(targets={"item": 1.0}),
        counts=(1,),
        roles=(),
        training=Training(epochs=1),
    )
    assert np.isfinite(read.fit(HistoriesPast(cut), rng=RNG(0)).user_vectors(Requests(cut))).all()


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=4), st.booleans())
def test_an_event_is_asked_at_the_next_one_and_the_newest_at_the_request(
    gaps: list[list[int]], baskets: bool
) -> None:
    """Row by row, with baskets and without, with the request's time and without."""
    seconds = [np.cumsum(g, dtype=np.int64) for g in gaps]
    starts = np.append(0, np.cumsum([len(g) for g in gaps])).astype(np.int64)
    time = np.concatenate(seconds) * 1_000_000
    events = Histories(np.arange(len(gaps)), starts, {"item": time, "time": time})
    times = np.arange(len(gaps), dtype=np.int64) * 7_000_000 + 100_000_000
    for request in (times, None):
        wanted = []
        for row, own in enumerate(seconds):
            for place, now in enumerate(own):
                later = [t for t in own[place + 1 :] if t > now or not baskets]
                last = now if request is None else request[row] // 1_000_000
                wanted.append(later[0] if later else last)
        assert sequence.asked_at(events, request, baskets=baskets).tolist() == wanted


def test_the_request_of_a_newest_event_is_read_where_time_is() -> None:
    """HSTU with times: another moment of asking is another state; without times it is not."""
    histories = walks(40)
    hours = histories.fields["time"][histories.starts[1:] - 1] + 3_600_000_000
    for by_time in (True, False):
        recipe = RECIPES["hstu"](by_time=by_time, training=Training(epochs=0))
        fitted = recipe.fit(HistoriesPast(histories), rng=RNG(0))
        if by_time:
            with torch.no_grad():
                fitted.network.layers[0].bias.time.normal_(std=5)
        soon, late = (fitted.user_vectors(Requests(histories, t)) for t in (hours, 9 * hours))
        assert np.allclose(soon, late, atol=1e-4) != by_time


def test_training_reads_when_a_state_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest event that is read is asked at the time of the item that it is to predict."""
    histories, seen = walks(40), []

    def spy(network: Any, rows: Any, parts: Any, *_: Any, **more: Any) -> LearningCurve:
        seen.extend(parts(np.arange(len(histories))))
        return LearningCurve(done=True)

    monkeypatch.setattr(sequence, "train", spy)
    RECIPES["hstu"](training=QUICK).fit(HistoriesPast(histories), rng=RNG(0))
    second = histories.fields["time"] // 1_000_000
    after = dict(zip(second[:-1].tolist(), second[1:].tolist(), strict=True))
    for (part, _), _ in seen:
        for time, asked in zip(part.fields["time"], part.fields["asked"], strict=True):
            assert [after[t] for t in time[time > 0].tolist()] == asked[time > 0].tolist()
    assert len(seen) == 4
