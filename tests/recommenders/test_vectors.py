"""Retrieval by vectors against brute force, and the graph against looking at all."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.ids import NONE
from clickprint.core.items import Catalogue
from clickprint.core.options import OptionsError
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.encoders import encoder
from clickprint.recommenders.blocks import Choice
from clickprint.recommenders.retrievers.vectors import Encoded, Nearest, Search
from clickprint.testing.funnel import ask
from clickprint.testing.worlds import START, memory_log

CUTOFF = START + 20 * DAY
EVENTS = [  # user, item, day
    (1, 10, 1), (1, 11, 5), (1, 12, 9), (2, 12, 2), (2, 12, 3), (3, 13, 19), (3, 10, 21),
    (4, 14, 21),
]  # fmt: skip
VECTORS = {
    10: (1.0, 0.0),
    11: (0.0, 2.0),
    12: (1.0, 1.0),
    13: (0.0, 0.0),
    15: (-1.0, 0.5),
    16: (3.0, 3.0),
}


@pytest.fixture
def small() -> Iterator[EventLog]:
    users, items, days = (np.array(c) for c in zip(*EVENTS, strict=True))
    with DuckDB(threads=1) as engine:
        yield memory_log(
            engine,
            user=users,
            item=items,
            time=START + days * DAY,
            kind=np.zeros(len(users), np.int64),
        )


def bringing(log: EventLog, vectors: dict[int, tuple[float, ...]]) -> EventLog:
    return replace(
        log, item_vectors=(np.array(list(vectors)), np.array(list(vectors.values()), np.float32))
    )


def rows(found: Recommendations) -> dict[int, list[int]]:
    return {
        int(u): [int(i) for i in its if i != NONE]
        for u, its in zip(found.users, found.items, strict=True)
    }


def unit(v) -> np.ndarray:
    v = np.asarray(v, np.float64)
    return v / np.linalg.norm(v)


def test_nearest_is_the_cosine_to_the_decayed_mean(small: EventLog) -> None:
    past = past_of(bringing(small, VECTORS), CUTOFF)
    listed = {i for _, i, d in EVENTS if d < 20}
    recipe = Nearest(half_life=4, length=2, roles=())
    found = rows(ask(recipe, past, 9))
    known = {i: unit(v) for i, v in VECTORS.items() if i in listed and any(v)}
    assert found.pop(3) == []  # of their item nothing is known
    for user in (1, 2):
        had = [(i, d) for u, i, d in EVENTS if u == user and d < 20 and i in known][-2:]
        state = unit(sum(0.5 ** ((20 - d) / 4) * known[i] for i, d in had))
        scores = {i: np.float32(v @ state) for i, v in known.items()}
        assert found[user] == sorted(scores, key=lambda i: (-round(float(scores[i]), 6), i)), user
    assert found.keys() == {1, 2}  # 4 came later


def test_an_item_that_is_not_listed_yet_is_no_candidate(small: EventLog) -> None:
    past = past_of(bringing(small, VECTORS | {99: (1.0, 0.0)}), CUTOFF)
    found = ask(Nearest(roles=()), past, 9)
    assert 99 not in found.items


def test_a_sentence_encoder_goes_before_what_the_source_brings(
    small: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def told(catalogue: Catalogue, model: str) -> tuple[np.ndarray, np.ndarray]:
        asked.append(model)
        return np.array([10, 11]), np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)

    monkeypatch.setattr("clickprint.recommenders.retrievers.vectors.sentence_vectors", told)
    fitted = Nearest(roles=(), sentences="some/model").fit(
        past_of(bringing(small, VECTORS), CUTOFF), rng=RNG(0)
    )
    assert asked == ["some/model"]
    assert fitted.items.tolist() == [10]
    np.testing.assert_allclose(fitted.search.vectors, [[0.6, 0.8]])


def test_vectors_that_are_no_numbers_say_nothing(small: EventLog) -> None:
    past = past_of(bringing(small, {10: (np.nan, np.inf), 11: (0.0, 1.0), 12: (0.0, 1.0)}), CUTOFF)
    assert 10 not in Nearest(roles=()).fit(past, rng=RNG(0)).items
    assert rows(ask(Nearest(roles=()), past, 2))[1] == [11, 12]  # equal: the smaller first


def test_a_log_without_vectors_and_texts_says_so(small: EventLog) -> None:
    past = past_of(
        replace(small, manifest=replace(small.manifest, attributes={}), item_vectors=None), CUTOFF
    )
    with pytest.raises(ConfigError, match="neither texts nor categories"):
        Nearest().fit(past, rng=RNG(0))


def test_the_encoders_candidates_are_what_it_would_recommend(past: LogPast) -> None:
    made = encoder("als", width=6)
    recipe = Encoded(encoder="als", options={"width": 6})
    found = ask(recipe, past, 3)
    fitted = made.fit(past, rng=RNG(0))
    items, vectors = fitted.item_vectors()
    states = fitted.encode(past).vectors.astype(np.float32)
    for row, user in enumerate(past.users):
        if not states[row].any():
            assert (found.items[row] == NONE).all()
            continue
        scores = (states[row] @ vectors.T).astype(np.float64)
        best = items[np.lexsort((items, -np.round(scores, 5)))][:3]
        assert found.items[row].tolist() == best.tolist(), user


def test_sequence_encoders_give_their_candidates_too(past: LogPast) -> None:
    recipe = Encoded(encoder="sasrec", options={"width": 8, "training": {"epochs": 1}})
    search = recipe.fit(past, rng=RNG(0)).search
    assert search.vectors.shape == (len(search.items), 8)
    found = ask(recipe, past, 4)
    assert np.isin(found.items[found.items != NONE], search.items).all()
    assert found.items.tobytes() == ask(recipe, past, 4).items.tobytes()


def test_an_encoder_without_item_vectors_is_refused(past: LogPast) -> None:
    with pytest.raises(ConfigError, match="counts"):
        Encoded(encoder="counts").fit(past, rng=RNG(0))


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (
            lambda: Nearest(roles=("buys",), length=0, half_life=0, search="lsh"),
            ["roles[0]", "length", "half_life", "search"],
        ),
        (lambda: Encoded(encoder="als", search=""), ["search"]),
        (lambda: Encoded(encoder="nobody"), ["options"]),
        (lambda: Encoded(encoder="als", options={"depth": 1}), ["options"]),
    ],
)
def test_wrong_options_are_told_at_once(make: Any, wrong: list[str]) -> None:
    with pytest.raises(OptionsError) as fault:
        make()
    assert [f.path for f in fault.value.faults] == wrong


# -- the graph ------------------------------------------------------------------------------------
def test_the_graph_finds_what_looking_at_all_finds() -> None:
    pytest.importorskip("faiss", reason="faiss is not installed (extra `ann`)")
    draw = np.random.default_rng(0)
    items = np.sort(draw.choice(10**9, 3_000, replace=False))
    vectors, states = (draw.normal(size=(n, 16)).astype(np.float32) for n in (3_000, 50))
    states[7] = 0
    exact, graph = (
        Search.of(items, vectors, how)(Choice(items, 50), states, 20) for how in ("exact", "hnsw")
    )
    assert (exact.items[7] == NONE).all()
    assert (graph.items[7] == NONE).all()
    shared = [
        len(np.intersect1d(a, b)) / 20
        for n, (a, b) in enumerate(zip(exact.items, graph.items, strict=True))
        if n != 7
    ]
    assert np.mean(shared) >= 0.95
    again = Search.of(items, vectors, "hnsw")(Choice(items, 50), states, 20)
    assert again.items.tobytes() == graph.items.tobytes()
    best = np.flatnonzero(exact.items[:, 0] == graph.items[:, 0])
    assert np.allclose(exact.scores[best, 0], graph.scores[best, 0], atol=1e-4)


def test_more_asked_than_there_are_and_no_item_at_all() -> None:
    asked = np.array([[1, -1]], np.float32)
    two, none = np.array([4, 5]), np.zeros(0, np.int64)
    found = Search.of(two, np.eye(2, dtype=np.float32), "exact")(Choice(two, 1), asked, 5)
    assert found.items.tolist() == [[4, 5]]
    empty = Search.of(none, np.zeros((0, 2), np.float32), "hnsw")(Choice(none, 1), asked, 2)
    assert empty.items.shape == (1, 0)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"clickprint\[ann\]"):
        Search.of(np.arange(3), np.eye(3, dtype=np.float32), "hnsw")
