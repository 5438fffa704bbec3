"""Requests, the promises of what recommends, and the session of a training."""

from pathlib import Path

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.core.histories import Histories
from clickprint.core.ragged import Ragged
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import (
    HasItemVectors,
    ItemVectors,
    Ranker,
    Recommender,
    Recommends,
)
from clickprint.core.requests import Requests
from clickprint.core.session import ALONE, Session


def histories(cutoff: int | None = 99) -> Histories:
    """Users 5, 3 and 8 with two, no and one event."""
    fields = {"time": np.array([10, 20, 30])}
    return Histories(np.array([5, 3, 8]), np.array([0, 2, 2, 3]), fields, cutoff)


def asked() -> Requests:
    return Requests(
        histories(),
        np.array([100, 200, 300]),
        {"city": np.array([1, 2, 3]), "words": np.zeros((3, 2))},
        Ragged(np.array([0, 1, 1, 3]), np.array([7, 8, 9])),
    )


def test_users_and_times_are_of_the_histories() -> None:
    assert asked().users.tolist() == [5, 3, 8]
    assert asked().times.tolist() == [100, 200, 300]
    assert Requests(histories()).times.tolist() == [99, 99, 99]
    assert len(Requests(histories())) == 3


def test_nobody_knows_when() -> None:
    with pytest.raises(DataError) as raised:
        _ = Requests(histories(None)).times
    assert raised.value.where == "requests"


def test_requests_are_taken_whole_and_in_order() -> None:
    some = asked().take(np.array([2, 0]))
    assert some.users.tolist() == [8, 5]
    assert some.histories.ragged("time")[1].tolist() == [10, 20]
    assert some.times.tolist() == [300, 100]
    assert some.context["city"].tolist() == [3, 1]
    assert some.context["words"].shape == (2, 2)
    assert some.candidates is not None
    assert [some.candidates[row].tolist() for row in range(2)] == [[8, 9], [7]]
    bare = Requests(histories()).take(np.array([1]))
    assert (bare.time, dict(bare.context), bare.candidates) == (None, {}, None)


@pytest.mark.parametrize(
    ("name", "rows", "given"),
    [
        ("time", 2, {"time": np.array([1, 2])}),
        ("context.city", 1, {"context": {"city": np.array([1])}}),
        ("candidates", 1, {"candidates": Ragged(np.array([0, 1]), np.array([7]))}),
    ],
)
def test_a_part_has_a_row_a_request(name: str, rows: int, given: dict) -> None:
    with pytest.raises(DataError) as raised:
        Requests(histories(), **given)
    (problem,) = raised.value.problems
    assert problem.startswith(f"{name}: found {rows} rows")


def test_all_faults_come_at_once() -> None:
    with pytest.raises(DataError) as raised:
        Requests(histories(), None, {"a": np.zeros((2, 1)), "b": np.zeros((1, 1))})
    assert [p.partition(":")[0] for p in raised.value.problems] == ["context.a", "context.b"]


class Popular:
    fields = ("item",)
    items = np.array([1, 2])

    def recommend(self, requests, k, *, include_seen=True, allowed=None) -> Recommendations: ...

    def rank(self, requests) -> Ragged: ...

    def item_vectors(self) -> ItemVectors: ...


class Recipe:
    recommends, stochastic = True, False

    def fit(self, past, *, rng, progress=None, session=ALONE) -> Popular: ...


PROMISES = {
    Recommender: ("fields", "items", "recommend"),
    Ranker: ("fields", "rank"),
    HasItemVectors: ("item_vectors",),
    Recommends: ("recommends", "stochastic", "fit"),
}


@pytest.mark.parametrize("promise", PROMISES)
def test_what_lacks_a_part_of_a_promise_does_not_keep_it(promise: type) -> None:
    whole = Recipe if promise is Recommends else Popular
    assert isinstance(whole(), promise)
    for lacking in PROMISES[promise]:
        parts = {name: vars(whole)[name] for name in PROMISES[promise] if name != lacking}
        assert not isinstance(type("Part", (), parts)(), promise), lacking
    assert not isinstance(object(), promise)


def test_a_session_names_checkpoints_by_their_key(tmp_path: Path) -> None:
    session = Session(checkpoints=tmp_path, key="sasrec")
    first = session.checkpoint("a")
    assert first is not None
    assert first.parent == tmp_path
    assert first == session.checkpoint("a") != session.checkpoint("b")
    assert ALONE.checkpoint("a") is None


def test_a_training_inside_another_has_a_key_of_its_own_and_no_metric() -> None:
    session = Session(key="joined", accelerator="cpu", metric=lambda fitted: 1.0)
    inner = session.inner("sasrec")
    assert inner.key != session.key
    assert inner.key != session.inner("other").key
    assert (inner.metric, inner.accelerator) == (None, "cpu")
    assert ALONE.inner("sasrec") == ALONE
