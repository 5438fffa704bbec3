"""The contrastive encoder.

Which pairs there are, what each tower may read, what it learns, and what it refuses.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clickprint.core.errors import DataError
from clickprint.core.histories import Histories
from clickprint.core.options import OptionsError
from clickprint.core.past import Past
from clickprint.core.ragged import starts_of
from clickprint.core.recommender import Recommender
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.encoders import encoder, load, sequence
from clickprint.encoders.contrastive import (
    Contrastive,
    Pairs,
    cut_times,
    hold_out,
    metric_on,
    share_below,
    vectors,
)
from clickprint.encoders.sequence import SECOND, HistorySpec
from clickprint.metrics.labels import auroc
from clickprint.nn.contrastive import TwoTowers, TwoTowersLoss
from clickprint.nn.next_item import TIME, Batch
from clickprint.nn.train import Training
from clickprint.testing.encoders import EncoderContract
from clickprint.testing.worlds import START, memory_log

SMALL = Contrastive(
    width=16,
    layers=1,
    heads=2,
    inner=16,
    horizon_days=7,
    cuts=3,
    history=HistorySpec(length=20, all_events=True, fields=("kind", "gap")),
    training=Training(epochs=8, batch=64, lr=0.01),
)
DAYS = DAY // SECOND
KNOWS = {"clockwork": 0.99, "checkerboard": 0.95}


class TestContrastive(EncoderContract):
    encoder = Contrastive(
        width=16,
        layers=1,
        heads=2,
        inner=16,
        horizon_days=7,
        cuts=3,
        history=HistorySpec(length=20, all_events=True, fields=("kind", "gap")),
        training=Training(epochs=8, batch=64, lr=0.01, patience=4),
    )
    learns = KNOWS
    tolerance = 0.02  # float16 of sums in another order
    anonymous = False  # users are held out and drawn by their place among the users


class TestSearches(EncoderContract):
    """What was searched for, as code vectors."""

    encoder = replace(
        SMALL,
        history=HistorySpec(length=20, all_events=True, fields=("kind", "query_codes")),
        training=Training(epochs=1),
    )
    tolerance = 0.02
    anonymous = False


def some_events(seed: int, users: int = 9, most: int = 12, days: int = 40) -> Histories:
    """Random histories of whole hours (so that events fall on the cuts), some of them empty."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, most + 1, users)
    lengths[users // 2] = 0
    starts = starts_of(lengths)
    time = np.concatenate(
        [np.sort(random.integers(0, days * 4, n)) * (DAY // 4) for n in lengths]
    ).astype(np.int64)
    fields = {
        TIME: time,
        "item": random.integers(1, 9, len(time)),
        "gap": random.integers(1, 5, len(time)),
    }
    return Histories(np.arange(users) * 5, starts, fields)


def numbers(events: Histories) -> dict[str, np.ndarray]:
    return {**events.fields, TIME: events.fields[TIME] // SECOND}


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_those_of_brute_force(seed: int) -> None:
    events, horizon = some_events(seed), 5 * DAYS
    cuts = np.array([35, 28, 21, 3, -2]) * DAYS
    pairs = Pairs.of(events, cuts, horizon)
    found = {
        (int(u), int(c)): (list(range(first, at)), list(range(at, end)))
        for u, c, first, at, end in zip(
            pairs.users, pairs.cuts, pairs.first, pairs.at, pairs.end, strict=True
        )
    }
    wanted = {}
    for u, c in itertools.product(range(len(events)), cuts.tolist()):
        mine = range(events.starts[u], events.starts[u + 1])
        before = [e for e in mine if events.fields[TIME][e] < c * SECOND]
        after = [e for e in mine if c * SECOND <= events.fields[TIME][e] < (c + horizon) * SECOND]
        if before:
            wanted[u, c] = (before, after)
    assert found == wanted
    assert len(found) == len(pairs), "none twice"
    assert np.array_equal(pairs.active, [bool(after) for _, after in found.values()])


@pytest.mark.parametrize("seed", range(4))
def test_no_tower_reads_what_is_not_its_own(seed: int) -> None:
    """Every event is the number of its place, so what a batch holds can be looked up."""
    events, horizon, length = some_events(seed, most=30), 5 * DAYS, 6
    named = Histories(
        events.users, events.starts, {**events.fields, "item": np.arange(1, events.events + 1)}
    )
    pairs = Pairs.of(named, np.array([35, 21, 14]) * DAYS, horizon)
    past, future, users = pairs.part(numbers(named), length)
    assert torch.equal(users, torch.from_numpy(pairs.users))
    seconds = numbers(named)[TIME]
    owner = np.repeat(np.arange(len(named)), named.lengths)
    for p in range(len(pairs)):
        before, after = (
            b.fields["item"][p, : int(b.lengths[p])].numpy() - 1 for b in (past, future)
        )
        cut = pairs.cuts[p]
        all_before = [
            e for e in range(named.events) if owner[e] == pairs.users[p] and seconds[e] < cut
        ]
        all_after = [
            e
            for e in range(named.events)
            if owner[e] == pairs.users[p] and cut <= seconds[e] < cut + horizon
        ]
        assert before.tolist() == all_before[-length:], "the newest of the past"
        assert after.tolist() == all_after[:length], "the oldest of the future"
        assert past.fields[TIME][p, : len(before)].tolist() == (cut - seconds[before]).tolist()
        assert future.fields[TIME][p, : len(after)].tolist() == (seconds[after] - cut).tolist()
        assert (past.fields["item"][p, len(before) :] == 0).all()
        assert (past.fields["gap"][p, : len(before)].numpy() == named.fields["gap"][before]).all()
        assert future.fields["gap"][p, : len(after)].tolist() == (
            [0, *named.fields["gap"][after[1:]].tolist()] if len(after) else []
        )


def test_the_cuts_end_a_horizon_before_the_cutoff() -> None:
    cuts = cut_times(100 * DAY + 3, Contrastive(horizon_days=14, cuts=3, every_days=10))
    assert cuts.tolist() == [86 * DAYS, 76 * DAYS, 66 * DAYS]


def test_an_epoch_draws_anew_and_each_pair_once() -> None:
    pairs = Pairs.of(some_events(0, users=40), np.array([30, 20]) * DAYS, 5 * DAYS)
    few, more = pairs.epochs(10, RNG(0)), pairs.epochs(10_000, RNG(0))
    assert len(few(0)) == len(set(few(0).tolist())) == 10
    assert few(0).tolist() != few(1).tolist()
    assert few(1).tolist() == pairs.epochs(10, RNG(0))(1).tolist()
    assert sorted(more(2).tolist()) == list(range(len(pairs)))


# -- network --------------------------------------------------------------------------------------
def towers(seed: int = 0, buckets: int = 3) -> TwoTowers:
    torch.manual_seed(seed)
    return TwoTowers(
        {"item": 8, "gap": 5},
        8,
        6,
        layers=1,
        heads=2,
        inner=8,
        dropout=0.0,
        length_buckets=buckets,
    )


def test_loss_by_brute_force() -> None:
    """Positives are rows with a future; negatives other users' futures, the same user's neither.

    The head is asked about every row.
    """
    events = some_events(3, users=12)
    pairs = Pairs.of(events, np.array([35, 28, 21]) * DAYS, 5 * DAYS)
    past, future, users = pairs.part(numbers(events), 6)
    model = towers().train()
    loss = TwoTowersLoss(temperature=0.3, active=0.7)(model, (past, future, users)).item()
    left, right, logit = (t.detach().double().numpy() for t in model(past, future))
    assert np.allclose(np.linalg.norm(left, axis=1), 1)
    assert np.allclose(np.linalg.norm(right, axis=1), 1)
    has = pairs.active
    wanted = 0.7 * sum(np.log1p(np.exp(-z if y else z)) for z, y in zip(logit, has, strict=True))
    some = np.flatnonzero(has)
    assert 4 < len(some) < len(pairs), "rows of both sorts"
    assert len(set(pairs.users[some].tolist())) < len(some), "a user twice"
    for i in some:
        others = [j for j in some if pairs.users[j] != pairs.users[i]]
        for query, keys in ((left[i], right), (right[i], left)):
            scores = {j: np.exp(query @ keys[j] / 0.3) for j in (i, *others)}
            wanted -= np.log(scores[i] / sum(scores.values())) / 2
    assert loss == pytest.approx(wanted, rel=1e-5)


def test_without_any_future_only_the_head_learns() -> None:
    events = some_events(3)
    pairs = Pairs.of(events, np.array([1000]) * DAYS, DAYS)
    assert len(pairs)
    assert not pairs.active.any()
    model = towers().train()
    TwoTowersLoss()(model, pairs.part(numbers(events), 6)).backward()
    assert model.active.weight.grad is not None
    assert model.active.weight.grad.abs().sum() > 0
    assert model.from_future.weight.grad is None


def test_pieces_padding_and_company_change_nothing() -> None:
    events = some_events(5, users=15)
    pairs = Pairs.of(events, np.array([33, 30]) * DAYS, 6 * DAYS)
    past, future, _ = pairs.part(numbers(events), 6)
    whole = towers(buckets=1).train()(past, future)
    cut = towers(buckets=4).train()(past, future)
    for a, b in zip(whole, cut, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    alone, beside, _ = pairs.only(np.array([2])).part(numbers(events), 6)
    for a, b in zip(towers().eval()(alone, beside), whole, strict=True):
        assert torch.allclose(a[0], b[2], atol=1e-6)


def test_how_long_ago_is_seen() -> None:
    """The same events, a week later: another vector, and none for who did nothing."""
    model = towers().eval()
    item, gap = torch.tensor([[3, 4], [3, 4], [0, 0]]), torch.ones(3, 2, dtype=torch.long)
    ago = torch.tensor([[2, 1], [9, 8], [0, 0]]) * DAYS
    with torch.no_grad():
        found = model.last(Batch({"item": item, "gap": gap, TIME: ago}, torch.tensor([2, 2, 0])))
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert (found[2] == 0).all()


# -- measure --------------------------------------------------------------------------------------
def test_share_below_by_brute_force() -> None:
    random = np.random.default_rng(0)
    scores = random.integers(0, 4, (7, 7)).astype(np.float32)
    wanted = [auroc(np.arange(7) == i, scores[i]) for i in range(7)]
    assert share_below(scores) == pytest.approx(np.mean(wanted))
    assert share_below(np.eye(3, dtype=np.float32)) == 1
    assert share_below(np.ones((3, 3), np.float32)) == 0.5


def shoppers(
    users: int = 60, days: int = 60, active: float = 0.6, seed: int = 0
) -> dict[str, np.ndarray]:
    """Everybody buys his own item every few days; some stop."""
    random = np.random.default_rng(seed)
    user, day = (
        a.ravel() for a in np.meshgrid(np.arange(users), np.arange(0, days, 3), indexing="ij")
    )
    keeps = (random.random(users) < active)[user] | (day < 20)
    user, day = user[keeps], day[keeps]
    return {
        "time": START + day * DAY + (user % 5) * 1000,
        "user": user,
        "kind": np.zeros(len(user), np.int64),
        "item": user,
    }


def the_past(
    engine: DuckDB, days: int = 60, users: Sequence[int] | None = None, **arrays: np.ndarray
) -> Past:
    log = memory_log(engine, **(arrays or shoppers()))
    return past_of(log, START + days * DAY, None if users is None else np.array(users))


def test_patience_holds_users_out_and_measures_them() -> None:
    recipe = replace(
        SMALL,
        training=Training(epochs=6, patience=2, lr=0.01),
    )
    with DuckDB(threads=1) as engine:
        past = the_past(engine, **shoppers(users=150))
        histories = past.histories(("item", TIME, "kind"))
        fitted = recipe.fit(past, rng=RNG(2))
        assert fitted.curve is not None
        assert len(fitted.curve.metrics) >= 1
        pairs = Pairs.of(histories, cut_times(past.cutoff, recipe), 7 * DAYS)
        out = hold_out(pairs, recipe, RNG(2).child("held out"))
        assert out is not None
        gone = set(pairs.users[out].tolist())
        assert len(gone) == 15
        assert not gone & set(pairs.users[~out].tolist()), "nobody is in both"
        events = sequence.chosen(recipe.history, histories)
        last = pairs.only(out & (pairs.cuts == pairs.cuts.max()))
        found = metric_on(last, events, recipe)(fitted)
        assert found == pytest.approx(fitted.curve.best, abs=1e-6)
        held = events.take(last.users)
        asked = Pairs.of(held, last.cuts[:1], 7 * DAYS)
        left, right, logit = vectors(fitted, asked, held)
        some = np.flatnonzero(asked.active)
        own = [
            np.mean([left[i] @ right[j] < left[i] @ right[i] for j in some if j != i])
            for i in some
        ]
        assert found == pytest.approx(np.mean(own) + auroc(asked.active, logit), abs=1e-3)


def test_too_few_to_measure_by_trains_all_epochs() -> None:
    recipe = replace(
        SMALL,
        training=Training(epochs=3, patience=1),
    )
    with DuckDB(threads=1) as engine:
        fitted = recipe.fit(the_past(engine, **shoppers(users=12)), rng=RNG(0))
    assert fitted.curve is not None
    assert (fitted.curve.epoch, fitted.curve.metrics) == (3, [])


# -- refused --------------------------------------------------------------------------------------
def refused(said: str, recipe: Contrastive = SMALL, days: int = 60, **arrays: np.ndarray) -> None:
    with DuckDB(threads=1) as engine, pytest.raises(DataError, match=said):
        recipe.fit(the_past(engine, days, **arrays), rng=RNG(0))


def test_a_past_shorter_than_a_horizon() -> None:
    refused("no user has an event more than 7 days before the cutoff", days=5)


def test_one_user_has_nobody_to_be_told_from() -> None:
    refused("fewer than two users", **shoppers(users=1, active=1.0))


def test_nobody_active() -> None:
    refused(
        "fewer than two users",
        **{n: v[shoppers()["time"] < START + 9 * DAY] for n, v in shoppers().items()},
    )


def test_nobody_at_all() -> None:
    with DuckDB(threads=1) as engine, pytest.raises(DataError, match="no user has an event"):
        SMALL.fit(the_past(engine, users=[999]), rng=RNG(0))


def test_histories_without_a_cutoff() -> None:
    with DuckDB(threads=1) as engine:
        past = the_past(engine)
        fitted = SMALL.fit(past, rng=RNG(0))
        histories, profiles = past.histories(("item", TIME, "kind")), fitted.encode(past)
        bare = Histories(histories.users, histories.starts, histories.fields)
        assert np.array_equal(
            fitted.user_vectors(Requests(histories)).astype(np.float16), profiles.vectors
        )
        with pytest.raises(DataError, match="cut"):
            fitted.user_vectors(Requests(bare))
        times = np.full(len(bare), past.cutoff)
        timed = fitted.user_vectors(Requests(bare, times))
        assert np.array_equal(timed.astype(np.float16), profiles.vectors)
        assert not isinstance(fitted, Recommender)


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"cuts": 0, "horizon_days": -1}, ["horizon_days", "cuts"]),
        ({"width": 12, "heads": 4}, ["heads"]),
        ({"held_out": 1.0}, ["held_out"]),
        ({"loss": {"temperature": 0}}, ["loss.temperature"]),
        ({"loss": {"active": -1.0}}, ["loss.active"]),
        ({"history": {"fields": ["age"]}}, ["history.fields"]),
        ({"history": {"fields": ["time"]}}, ["history.fields"]),
    ],
)
def test_options_that_are_refused(options: dict, paths: list[str]) -> None:
    with pytest.raises(OptionsError) as fault:
        encoder("contrastive", **options)
    assert [f.path for f in fault.value.faults] == paths


def test_a_saved_one_of_another_encoder(tmp_path: Path) -> None:
    with DuckDB(threads=1) as engine:
        fitted = SMALL.fit(the_past(engine), rng=RNG(0))
    fitted.save(tmp_path / "fitted")
    assert load(tmp_path / "fitted").recipe == SMALL
    (tmp_path / "fitted" / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match="fit and save it again"):
        load(tmp_path / "fitted")
