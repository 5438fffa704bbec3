"""TwHIN-like vectors.

The loss and a user's vector against their definitions, a world whose answer is known, and what is
refused.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rows import ask, of, past_with, tastes

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.options import OptionsError
from clickprint.core.recommender import HasItemVectors, Recommender
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.encoders import encoder, interactions
from clickprint.encoders.graph import TwHIN
from clickprint.nn.graph import Edges, Graph, edge_loss
from clickprint.nn.train import Training
from clickprint.testing.encoders import EncoderContract
from clickprint.testing.worlds import BUY, CART, KINDS, REMOVE, START, VIEW, memory_log

QUICK = Training(epochs=3, batch=64, lr=0.05)
TASTE = {"checkerboard": 0.99}  # who buys of which category


class TestTwHIN(EncoderContract):
    encoder = TwHIN(width=8, training=QUICK)
    learns = TASTE
    anonymous = False  # edges are shuffled by their user's place


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def test_loss_is_its_definition() -> None:
    torch.manual_seed(0)
    model = Graph(5, 6, 2, 4, temperature=0.5)
    torch.nn.init.normal_(model.relation.weight)
    left, right, relation = [0, 0, 1, 2, 4], [3, 1, 3, 2, 5], [0, 1, 1, 0, 1]
    weight = [1.0, 2.0, 0.5, 3.0, 1.0]
    edges = Edges(
        torch.tensor(left), torch.tensor(right), torch.tensor(relation), torch.tensor(weight)
    )
    u, i, r = (
        t.weight.detach().numpy().astype(float) for t in (model.left, model.right, model.relation)
    )

    def probability(a: int, b: int) -> float:
        cosine = float(unit(u[left[a]]) @ unit(i[right[b]] + r[relation[b]]))
        return 1 / (1 + math.exp(-cosine / 0.5))

    wanted = 0.0
    for a in range(5):
        others = [b for b in range(5) if left[b] != left[a] and right[b] != right[a]]
        wanted -= weight[a] * (
            math.log(probability(a, a))
            + np.mean([math.log(1 - probability(a, b)) for b in others])
        )
    assert edge_loss(model, edges).item() == pytest.approx(wanted, rel=1e-5)


def test_a_batch_without_negatives_has_a_loss() -> None:
    model = Graph(2, 3, 1, 4)
    edges = Edges(torch.tensor([1, 1]), torch.tensor([0, 2]), torch.tensor([0, 0]), torch.ones(2))
    loss = edge_loss(model, edges)
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def shop(engine: DuckDB, **more: object):
    """Four users.

    The third only took something out of the basket, the fourth was only shown something that
    nobody had.
    """
    return memory_log(
        engine,
        user=[1, 1, 1, 1, 2, 2, 9, 10],
        time=[START + d * DAY for d in (0, 2, 4, 9, 8, 8, 8, 8)],
        kind=[VIEW, CART, BUY, BUY, BUY, REMOVE, REMOVE, 5],
        item=[10, 10, 10, 20, 30, 20, 10, 40],
        kinds=(*KINDS, Kind("shown", Role.EXPOSE)),
        price=np.ones(8),
        **more,
    )


def test_a_profile_leads_from_all_edges_to_the_users_own() -> None:
    recipe = TwHIN(width=4, half_life=2, weights={"buy": 3, "cart": 1}, training=QUICK)
    with DuckDB(threads=1) as engine:
        past = past_of(shop(engine), START + 10 * DAY)
        fitted = recipe.fit(past, rng=RNG(0))
        profiles = fitted.encode(past)
        alone = fitted.encode(past_of(shop(engine), START + 10 * DAY, np.array([2, 77])))
    assert fitted.relations == ("buy", "cart")
    assert fitted.values.tolist() == [10, 20, 30]
    buy, cart = (unit(fitted.vectors + fitted.moves[r]).astype(float) for r in (0, 1))
    middle = (buy[0] + cart[0] + buy[1] + buy[2]) / 4
    assert fitted.middle == pytest.approx(middle, abs=1e-6)
    weights = np.array([1 * 0.5**4, 3 * 0.5**3, 3 * 0.5**0.5])
    own = (
        weights[0] * (cart[0] - middle)
        + weights[1] * (buy[0] - middle)
        + weights[2] * (buy[1] - middle)
    )
    assert profiles.users.tolist() == [1, 2, 9, 10]
    assert profiles.vectors[0].astype(float) == pytest.approx(own, abs=2e-3)
    assert profiles.vectors[1].astype(float) == pytest.approx(
        3 * 0.5 * (buy[2] - middle), abs=2e-3
    )
    assert not profiles.vectors[2:].any()
    assert alone.vectors[0].tobytes() == profiles.vectors[1].tobytes()
    assert not alone.vectors[1].any()


def test_a_profile_is_the_first_step_from_zero() -> None:
    """Of gradient descent on the loss of the user's edges, with all edges as negatives."""
    fitted = TwHIN(width=4, training=QUICK, weights={}).fit(past_with(tastes()), rng=RNG(0))
    pairs = [(u, i) for u, row in enumerate(tastes()) for i in set(row)]
    ends = torch.from_numpy(unit(fitted.vectors + fitted.moves[0]))
    at = {int(i): n for n, i in enumerate(fitted.values)}
    everything = ends[[at[i] for _, i in pairs]]
    for u in (0, 1, 7):
        x = torch.zeros(4, requires_grad=True)
        own = ends[[at[i] for i in tastes()[u]]]
        (
            torch.nn.functional.softplus(-own @ x)
            + torch.nn.functional.softplus(everything @ x).mean()
        ).sum().backward()
        assert fitted.user_vectors(ask(tastes()))[u] == pytest.approx(
            -2 * x.grad.numpy(), abs=1e-5
        )


def test_new_users_lie_with_their_like() -> None:
    """Two tastes.

    Users who were not there in training are told apart, and are ranked the items of their taste.
    """
    fitted = TwHIN(width=8, training=Training(epochs=20, batch=64, lr=0.02), weights={}).fit(
        past_with(tastes(200)), rng=RNG(0)
    )
    strangers = tastes(100, seed=9)
    states = fitted.user_vectors(ask(strangers))
    like = np.sign(states @ states[0])
    there = [u for u in range(100) if u != 3]
    assert (like[there] == np.where(np.array(there) % 2 == 0, 1, -1)).all()
    lists = fitted.recommend(ask(strangers), 5)
    assert ((lists.items[there] >= 10) == (np.array(there) % 2 == 1)[:, None]).mean() > 0.99


def test_ranking_is_by_cosine_with_the_heaviest_relation() -> None:
    with DuckDB(threads=1) as engine:
        past = past_of(shop(engine), START + 10 * DAY)
        fitted = TwHIN(width=4, weights={"view": 1, "cart": 1, "buy": 3}, training=QUICK).fit(
            past, rng=RNG(0)
        )
    assert fitted.relations == ("view", "cart", "buy")
    assert fitted.fields == ("item", "kind")
    rows = of([[10], [20, 30], [], [999, NONE]])
    kind = np.array([BUY, BUY, VIEW, BUY, BUY])
    given = Requests(replace(rows, fields={**rows.fields, "kind": kind}))
    buy, view = (unit(fitted.vectors + fitted.moves[r]) for r in (2, 0))
    vectors = fitted.user_vectors(given)
    assert vectors[0] == pytest.approx(3 * (buy[0] - fitted.middle), abs=1e-5)
    assert vectors[1] == pytest.approx(
        3 * (buy[1] - fitted.middle) + view[2] - fitted.middle, abs=1e-5
    )
    scores = vectors @ buy.T
    found = fitted.recommend(given, 3)
    unseen = fitted.recommend(given, 3, include_seen=False)
    for u, row in enumerate([[10], [20, 30], [], []]):
        order = sorted(range(3), key=lambda i: (-scores[u, i], i))
        assert found.items[u].tolist() == [10 * i + 10 for i in order]
        assert [i for i in unseen.items[u].tolist() if i != NONE] == [
            10 * i + 10 for i in order if 10 * i + 10 not in row
        ]


def test_a_kind_that_was_not_there_at_fit_has_no_edges() -> None:
    with DuckDB(threads=1) as engine:
        fitted = TwHIN(width=4, training=QUICK).fit(
            past_of(shop(engine), START + 10 * DAY), rng=RNG(0)
        )
        liked = memory_log(
            engine, user=[5], time=[START], kind=[0], item=[10], kinds=(Kind("heart", Role.LIKE),)
        )
        assert not fitted.encode(past_of(liked, START + DAY)).vectors.any()


def test_histories_fade_and_end_at_their_cutoff() -> None:
    fitted = TwHIN(width=3, half_life=1, training=QUICK, weights={}).fit(
        past_with([[3, 5], [5, 9]]), rng=RNG(0)
    )
    assert fitted.now == 3 * DAY
    found = fitted.user_vectors(Requests(of([[3, 9]], cutoff=2 * DAY)))
    ends = unit(fitted.vectors + fitted.moves[0])
    assert found[0] == pytest.approx(ends[0] / 4 + ends[2] / 2 - 0.75 * fitted.middle, abs=1e-5)


def test_few_users_at_a_time_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = TwHIN(width=3, training=QUICK, weights={})
    whole = recipe.fit(past_with(tastes()), rng=RNG(0))
    monkeypatch.setattr(interactions, "USERS", 7)
    pieces = recipe.fit(past_with(tastes()), rng=RNG(0))
    assert pieces.vectors.tobytes() == whole.vectors.tobytes()
    assert (
        pieces.user_vectors(ask(tastes())).tobytes() == whole.user_vectors(ask(tastes())).tobytes()
    )


def test_one_user_and_rare_values() -> None:
    one = TwHIN(width=3, training=QUICK, weights={}).fit(past_with([[4, 4, 4, 8]]), rng=RNG(0))
    assert np.isfinite(one.user_vectors(ask([[4], []]))).all()
    alone = TwHIN(width=3, min_count=2, training=QUICK, weights={}).fit(
        past_with([[4, 4], [8]]), rng=RNG(0)
    )
    assert alone.values.tolist() == [4]
    assert not alone.user_vectors(ask([[4]])).any(), (
        "the only edge there is leads nowhere else than all edges do"
    )


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"width": 0}, "width"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": 1, "min_count": 0}, "min_count"),
        ({"half_life": -1}, "half_life"),
        ({"weights": {"bought": 3}}, "weights.bought"),
        ({"training": {"epochs": -1}}, "training.epochs"),
        ({"negatives": 3}, "negatives"),
    ],
)
def test_options_that_are_refused(options: dict, path: str) -> None:
    with pytest.raises(OptionsError) as fault:
        encoder("twhin", **options)
    assert [f.path for f in fault.value.faults] == [path]


def test_logs_that_are_refused() -> None:
    with DuckDB(threads=1) as engine:
        past = past_of(shop(engine), START + 10 * DAY)
        for column, said in (("colour", "colour"), ("price", "'price' holds numbers")):
            with pytest.raises(ConfigError, match=said):
                TwHIN(column=column).fit(past, rng=RNG(0))
        with pytest.raises(DataError, match=r"'item'.*\b1 or more"):
            TwHIN(weights={"like": 1}).fit(past, rng=RNG(0))
        with pytest.raises(DataError, match="nothing to learn"):
            TwHIN().fit(past_of(shop(engine), START), rng=RNG(0))
        kinds = TwHIN(width=2, column="kind", training=QUICK).fit(past, rng=RNG(0))
    with pytest.raises(DataError, match="nothing to learn"):
        TwHIN(weights={}).fit(past_with([[NONE], []]), rng=RNG(0))
    assert not isinstance(kinds, Recommender | HasItemVectors), "it knows no items"


def test_carts_are_edges_of_their_own() -> None:
    """What was carted and bought is two edges, and each relation moves where it points to."""
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            user=[1, 1, 2, 3],
            time=[START + d for d in range(4)],
            kind=[CART, BUY, CART, BUY],
            item=[7, 7, 8, 9],
        )
        fitted = TwHIN(width=4, training=QUICK).fit(past_of(log, START + DAY), rng=RNG(0))
    assert set(fitted.relations) == {"view", "search", "cart", "buy"}
    at = {r: i for i, r in enumerate(fitted.relations)}
    assert fitted.moves[at["cart"]].any()
    assert not fitted.moves[at["view"]].any(), "no edge, nothing learned"
