"""The funnel: candidates, examples, plans a block at a time, who is chosen, what is saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.core.ids import NONE
from clickprint.core.options import OptionsError
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import Ranker
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.recommenders import funnel
from clickprint.recommenders.funnel import (
    FittedNext,
    NextPurchase,
    Plan,
    candidates,
    example,
    fit,
    profiler,
    retrievers,
    spread,
)
from clickprint.recommenders.pairs import Bought, union
from clickprint.recommenders.propensity import FittedPropensity, Propensity
from clickprint.recommenders.ranker import FittedLambdaMART, LambdaMART
from clickprint.recommenders.windows import bought
from clickprint.testing.funnel import ask
from clickprint.testing.worlds import START

RECIPE = NextPurchase(
    days=5,
    list_length=3,
    max_users=4,
    retrievers={
        "history": {"k": 6},
        "lately": {"retriever": "history", "half_life": 2, "k": 4},
        "popular": {"retriever": "popularity", "roles": ["buy"], "half_life": 7, "k": 4},
    },
    profiles={"counts": {"components": 2}},
    ranker=LambdaMART(trees=8, leaves=4, min_leaf=2),
    propensity=Propensity(trees=8, leaves=4, min_leaf=2),
)


def made(log: EventLog, day: int, of: Bought | None = None):
    past = past_of(log, START + day * DAY)
    users = None if of is None else np.intersect1d(of.users, past.users)
    profiles = profiler(past_of(log, START + 10 * DAY), RECIPE, rng=RNG(7))
    return past, candidates(past, RECIPE, rng=RNG(1), users=users), profiles


@pytest.fixture(scope="module")
def fitted(log: EventLog) -> FittedNext:
    examples = []
    for day in (10, 15, 20):
        truth = bought(log, Window(START + day * DAY, START + (day + 5) * DAY))
        past, pairs, profiles = made(log, day, truth)
        examples.append((*example(past, RECIPE, pairs, profiles), truth))
    return fit(RECIPE, examples, rng=RNG(2), profiles=profiles)


def test_candidates_are_the_union_of_the_sources(past: LogPast) -> None:
    pairs = candidates(past, RECIPE, rng=RNG(1))
    found = {n: ask(made, past, k) for n, (made, k) in retrievers(RECIPE).items()}
    wanted = union(found)
    assert np.array_equal(pairs.items, wanted.items)
    assert {n: c.tobytes() for n, c in pairs.columns.items()} == {
        n: c.tobytes() for n, c in wanted.columns.items()
    }
    assert {n.removesuffix("_rank") for n in pairs.columns if n.endswith("_rank")} == {
        "history",
        "lately",
        "popular",
    }


def test_some_users_get_what_they_get_among_all(past: LogPast) -> None:
    everybody, some = (
        candidates(past, RECIPE, rng=RNG(1)),
        candidates(past, RECIPE, rng=RNG(1), users=past.users[::3]),
    )
    assert np.array_equal(some.users, past.users)
    rows = np.arange(0, len(past.users), 3)
    one, two = everybody.take(rows), some.take(rows)
    assert np.array_equal(one.items, two.items)
    assert {n: c.tobytes() for n, c in one.columns.items()} == {
        n: c.tobytes() for n, c in two.columns.items()
    }
    assert (np.delete(some.lengths, rows) == 0).all()


def test_without_the_popular_source_no_list_is_empty_all_the_same(past: LogPast) -> None:
    pairs = candidates(
        past, NextPurchase(list_length=2, retrievers={"history": {"k": 1}}), rng=RNG(1)
    )
    assert (pairs.lengths >= 2).all()
    assert set(pairs.columns) == {"history_rank", "history_score"}


def test_an_item_that_is_not_known_yet_is_no_candidate(log: EventLog, past: LogPast) -> None:
    early = past_of(log, START + 3 * DAY)
    known = {i for i in early.histories(("item",)).fields["item"].tolist() if i != NONE}
    known |= set(early.catalogue.table.column("item").to_pylist())
    assert set(candidates(early, RECIPE, rng=RNG(1)).items.tolist()) <= known
    assert (
        not set(candidates(past, RECIPE, rng=RNG(1)).items.tolist()) <= known
    )  # later there are more


def test_an_example_has_features_profiles_and_every_user(log: EventLog) -> None:
    truth = bought(log, Window(START + 20 * DAY, START + 25 * DAY))
    past, pairs, profiles = made(log, 20, truth)
    found, columns = example(past, RECIPE, pairs, profiles)
    assert np.array_equal(found.users, past.users)
    assert {"user_counts_0", "user_counts_1", "pair_buys", "history_rank"} <= set(found.columns)
    assert np.array_equal(found.columns["user_counts_0"], columns["user_counts_0"][found.rows])
    assert np.array_equal(
        spread(found.take(np.flatnonzero(found.lengths)), past.users).starts, found.starts
    )


def test_plans_are_the_same_in_blocks_and_at_once(
    log: EventLog, fitted: FittedNext, monkeypatch: pytest.MonkeyPatch
) -> None:
    past, pairs, profiles = made(log, 25)
    whole = fitted.plan(past, pairs)
    monkeypatch.setattr(funnel, "PAIRS", 7)
    blocks = fitted.plan(past, pairs)
    found, columns = example(past, RECIPE, pairs, profiles)
    once = fitted.recommend(found, columns)
    for other in (blocks, once):
        assert other.lists.items.tobytes() == whole.lists.items.tobytes()
        assert other.propensity.tobytes() == whole.propensity.tobytes()
        assert np.allclose(other.expected, whole.expected)
    assert (
        (whole.propensity >= 0)
        & (whole.propensity <= 1)
        & (whole.expected >= 0)
        & (whole.expected <= 1)
    ).all()
    assert (whole.lists.items[:, 0] != NONE).all()


def test_saved_and_loaded_plans_the_same(
    log: EventLog, fitted: FittedNext, tmp_path: Path
) -> None:
    past, pairs, _ = made(log, 25)
    fitted.save(tmp_path / "model")
    loaded = FittedNext.load(tmp_path / "model")
    one, two = fitted.plan(past, pairs), loaded.plan(past, pairs)
    assert one.lists.items.tobytes() == two.lists.items.tobytes()
    assert (one.propensity.tobytes(), one.expected.tobytes()) == (
        two.propensity.tobytes(),
        two.expected.tobytes(),
    )
    assert (loaded.recipe.days, loaded.found) == (5, fitted.found)
    for broken in (
        "next.json",
        "ranker/model.txt",
        "propensity/model.txt",
        "profiles/fitted.json",
    ):
        other = tmp_path / broken.replace("/", "-")
        fitted.save(other)
        (other / broken).write_text("{")
        with pytest.raises(DataError, match="again"):
            FittedNext.load(other)


def test_the_ranker_scores_given_candidates_as_the_plan_does(
    log: EventLog, fitted: FittedNext
) -> None:
    past, pairs, profiles = made(log, 25)
    ranker = fitted.at(past, rng=RNG(1))
    assert isinstance(ranker, Ranker)
    found, _ = example(past, RECIPE, pairs, profiles)
    wanted = fitted.ranker.score(found)
    shuffled = np.random.default_rng(0).permutation(len(past.users))
    histories = past.histories(ranker.fields).take(shuffled)
    given = Ragged(pairs.starts, pairs.items).take(shuffled)
    asked = Requests(histories, candidates=given)
    scores = ranker.rank(asked)
    assert np.array_equal(scores.starts, given.starts)
    assert scores.values.tobytes() == Ragged(pairs.starts, wanted).take(shuffled).values.tobytes()
    # Candidates in another order, and one that nobody knows.
    some = Ragged(np.array([0, 3]), np.array([pairs.items[2], 123_456, pairs.items[0]]))
    first = Requests(past.histories(ranker.fields).take(np.array([0])), candidates=some)
    assert ranker.rank(first).values.tolist() == [wanted[2], -np.inf, wanted[0]]
    with pytest.raises(DataError, match="candidates"):
        ranker.rank(Requests(histories))


def test_one_window_is_enough_and_windows_without_a_buyer_are_not(log: EventLog) -> None:
    truth = bought(log, Window(START + 20 * DAY, START + 25 * DAY))
    past, pairs, profiles = made(log, 20, truth)
    one = (*example(past, RECIPE, pairs, profiles), truth)
    assert fit(RECIPE, [one], rng=RNG(2), profiles=profiles).plan(
        *made(log, 25)[:2]
    ).propensity.shape == (12,)
    nobody = Bought(np.zeros(0, np.int64), truth.items.take(np.zeros(0, np.int64)))
    with pytest.raises(DataError, match="bought"):
        fit(RECIPE, [(one[0], one[1], nobody)], rng=RNG(2), profiles=profiles)


def test_who_is_chosen() -> None:
    lists = Recommendations(
        np.array([1, 2, 3, 4]), np.arange(8).reshape(4, 2), np.zeros((4, 2), np.float32)
    )
    plan = Plan(lists, np.array([0.9, 0.5, 0.5, 0.1]), np.array([0.1, 0.8, 0.8, 0.9]))
    assert plan.chosen(3).users.tolist() == [
        2,
        3,
        1,
    ]  # .4, .4, .09; equal ones: the smaller user first
    assert plan.chosen(2, by="propensity").users.tolist() == [1, 2]
    assert plan.chosen(9).users.tolist() == [2, 3, 1, 4]
    assert plan.chosen(0).users.tolist() == []


def test_all_wrong_options_are_told_at_once() -> None:
    with pytest.raises(OptionsError) as fault:
        NextPurchase(days=0, list_length=0, max_users=0, train_windows=0, stride_days=-1)
    assert {f.path for f in fault.value.faults} == {
        "days",
        "list_length",
        "max_users",
        "train_windows",
        "stride_days",
    }
    with pytest.raises(OptionsError) as fault:
        NextPurchase(
            retrievers={"nobody": {}, "history": {"k": 0}, "popularity": {"half": 1}},
            profiles={"x": {}, "counts": {"components": 0}, "decay": {"depth": 3}},
        )
    assert {f.path for f in fault.value.faults} == {
        "retrievers.nobody.retriever",
        "retrievers.history.k",
        "retrievers.popularity.half",
        "profiles.x.encoder",
        "profiles.counts.components",
        "profiles.decay.depth",
    }
    with pytest.raises(OptionsError) as fault:
        NextPurchase(retrievers={})
    assert [f.path for f in fault.value.faults] == ["retrievers"]


def test_what_calibrates_was_not_learned_from(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both models: those of the early windows are calibrated on the newest, and it is not theirs.

    The final models learn from all windows.
    """
    windows: dict[type, list[int]] = {LambdaMART: [], Propensity: []}
    scored, given = [], []

    def counting(kind: type) -> None:
        fit = kind.fit

        def counted(self: Any, examples: Any, **more: Any) -> Any:
            windows[kind].append(len(examples))
            return fit(self, examples, **more)

        monkeypatch.setattr(kind, "fit", counted)

    counting(LambdaMART), counting(Propensity)
    score, line = FittedLambdaMART.score, FittedLambdaMART.calibrated
    chance = FittedPropensity.calibrated

    def scoring(self: Any, pairs: Any, **more: Any) -> Any:
        scored.append((windows[LambdaMART][-1], len(pairs), score(self, pairs, **more)))
        return scored[-1][-1]

    def by_pairs(self: Any, scores: Any, truth: Any) -> Any:
        given.append(("ranker", windows[LambdaMART][-1], scores))
        return line(self, scores, truth)

    def by_people(self: Any, columns: Any, truth: Any) -> Any:
        given.append(("propensity", windows[Propensity][-1], truth))
        return chance(self, columns, truth)

    monkeypatch.setattr(FittedLambdaMART, "score", scoring)
    monkeypatch.setattr(FittedLambdaMART, "calibrated", by_pairs)
    monkeypatch.setattr(FittedPropensity, "calibrated", by_people)
    examples = []
    for day in (10, 15, 20):
        truth = bought(log, Window(START + day * DAY, START + (day + 5) * DAY))
        past, pairs, profiles = made(log, day, truth)
        examples.append((*example(past, RECIPE, pairs, profiles), truth))
    fit(RECIPE, examples, rng=RNG(2), profiles=profiles)
    pairs, _, truth = examples[-1]
    assert windows == {LambdaMART: [2, 3], Propensity: [2, 3]}
    ((learned, size, scores),) = scored
    assert (learned, size) == (2, len(pairs))
    (_, final, some), (_, early, who) = given
    assert (final, early) == (3, 2)
    assert set(some) <= set(scores)
    assert np.array_equal(who, np.isin(pairs.users, truth.users))
