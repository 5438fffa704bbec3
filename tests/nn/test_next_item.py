"""The next-item model.

Batches and trimming, the loss of a whole batch, ranking with ties, and that it learns what can be
known.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clickprint.core.ragged import Ragged
from clickprint.core.rng import RNG
from clickprint.nn import topk
from clickprint.nn.blocks import GRULayers, HSTUBlock, LiGRBlock, SASRecBlock, TransformerPPBlock
from clickprint.nn.mamba import Mamba1, Mamba2, MambaBlock
from clickprint.nn.next_item import (
    Batch,
    EventEmbedding,
    NextItem,
    NextItemLoss,
    last_states,
    next_basket,
    shifted,
)
from clickprint.nn.topk import best, top
from clickprint.nn.train import Training, shuffled, train

WIDTH, LENGTH, ITEMS = 16, 12, 8


def model_of(layer: nn.Module, **more: Any) -> NextItem:
    return NextItem({"item": ITEMS}, WIDTH, LENGTH, [layer], **more)


def hstu() -> HSTUBlock:
    return HSTUBlock(WIDTH, 2, query_width=8, value_width=8, length=LENGTH, by_time=True)


MODELS = {
    "sasrec": lambda: model_of(SASRecBlock(WIDTH, 2)),
    "ligr": lambda: model_of(LiGRBlock(WIDTH, 2)),
    "transformer++": lambda: model_of(
        TransformerPPBlock(WIDTH, 2, inner=24, layers=1), positions="none"
    ),
    "hstu": lambda: model_of(hstu(), scale=True, unit=True, norm=False),
    "gru4rec": lambda: model_of(GRULayers(WIDTH, 24), positions="none"),
    "mamba4rec": lambda: model_of(
        MambaBlock(Mamba1(WIDTH, state=4), WIDTH, residual=False), positions="none"
    ),
    "mamba2": lambda: model_of(
        MambaBlock(Mamba2(WIDTH, state=4, head_width=8), WIDTH), positions="none"
    ),
}


def cycles(users: int = 60, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Everyone walks 1 → 2 → … → 8 → 1 from a start of their own: what comes next is certain."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 20, users)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    walk = np.concatenate(
        [(random.integers(ITEMS) + np.arange(n)) % ITEMS + 1 for n in lengths]
    ).astype(np.int64)
    hour = np.arange(len(walk)) * 3600
    return {"item": walk, "time": hour, "asked": hour + 3600}, starts


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_a_cycle(name: str) -> None:
    torch.manual_seed(0)
    model, (fields, starts) = MODELS[name](), cycles()
    kind = (
        NextItemLoss(name="sampled", negatives=6, temperature=0.1)
        if name == "hstu"
        else NextItemLoss()
    )
    train(
        model,
        shuffled(len(starts) - 1, RNG(1)),
        shifted(fields, starts, LENGTH, 2),
        kind,
        Training(epochs=40, batch=32, lr=0.01),
        rng=RNG(1),
    )
    right = total = 0
    for rows, states in last_states(model, fields, starts, tokens=64):
        given = starts[1:][rows] > starts[:-1][rows]
        top, _ = best(states, model.items, 1)
        now = fields["item"][np.maximum(starts[1:][rows] - 1, 0)]
        right += int((top[:, 0] == now % ITEMS + 1)[given].sum())
        total += int(given.sum())
    assert right >= 0.95 * total


@pytest.mark.parametrize("name", MODELS)
def test_batch_is_one_at_a_time_and_no_event_is_zeros(name: str) -> None:
    torch.manual_seed(0)
    model, (fields, starts) = MODELS[name]().eval(), cycles(9)
    starts = np.concatenate([starts, starts[-1:]])  # and somebody without events
    found = np.zeros((len(starts) - 1, WIDTH), np.float32)
    seen = []
    for rows, states in last_states(model, fields, starts, tokens=40):
        found[rows] = states.numpy()
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(starts) - 1))
    assert not found[-1].any()
    for row in range(len(starts) - 1):
        keep = min(starts[row + 1] - starts[row], LENGTH)
        alone = Batch.of(fields, np.array([starts[row + 1] - keep]), np.array([keep]))
        with torch.no_grad():
            assert np.allclose(model.last(alone)[0].numpy(), found[row], atol=1e-5)


def test_pieces_hold_every_pair_once() -> None:
    fields, starts = cycles(20)
    rows = np.arange(20)
    histories = [fields["item"][starts[u] : starts[u + 1]][-LENGTH - 1 :].tolist() for u in rows]
    wanted = sorted(pair for h in histories for pair in pairwise(h))
    for pieces in (1, 3, 50):
        found = []
        for (before, target), weight in shifted(fields, starts, LENGTH, pieces)(rows):
            asked = target.fields["item"] > 0
            assert asked.sum() == weight
            assert (before.fields["item"][asked] > 0).all()
            assert (
                before.fields["item"].shape
                == target.fields["item"].shape
                == (len(before.lengths), int(before.lengths.max()))
            )
            found += zip(
                before.fields["item"][asked].tolist(),
                target.fields["item"][asked].tolist(),
                strict=True,
            )
        assert sorted(found) == wanted
    assert list(shifted(fields, starts, LENGTH)(np.array([], np.int64))) == []


def baskets(
    users: int = 25, seed: int = 0
) -> tuple[dict[str, np.ndarray], np.ndarray, list[list[list[int]]]]:
    """Up to six baskets of one to four items a user; 0 is an event about no item.

    The last basket of one user and the first of the next may be of one moment.
    """
    random = np.random.default_rng(seed)
    lists = [
        [
            sorted(random.integers(0, ITEMS + 1, random.integers(1, 5)).tolist())
            for _ in range(random.integers(0, 7))
        ]
        for _ in range(users)
    ]
    flat = np.array([i for user in lists for basket in user for i in basket], np.int64)
    time = np.array(
        [t for user in lists for t, basket in enumerate(user) for _ in basket], np.int64
    )
    starts = np.concatenate([[0], np.cumsum([sum(map(len, user)) for user in lists])]).astype(
        np.int64
    )
    return {"item": flat, "time": time * 60}, starts, lists


@pytest.mark.parametrize("length", [3, 50])
def test_each_event_predicts_an_item_of_the_next_basket(length: int) -> None:
    """Against a loop over users, events and draws."""
    fields, starts, lists = baskets()
    pairs: dict[int, list[tuple[int, list[int]]]] = {}
    for user, of in enumerate(lists):
        pairs[user] = [(item, nxt) for now, nxt in pairwise(of) for item in now][-length:]
    drawn: dict[tuple[int, int], list[int]] = {}
    torch.manual_seed(0)
    for pieces in [1, 3] * 100:
        rows = np.arange(len(lists))
        users = []
        for (before, target), weight in next_basket(fields, starts, length, pieces)(rows):
            assert int((target.fields["item"] > 0).sum()) == weight
            assert before.lengths.tolist() == target.lengths.tolist()
            for row in range(len(before.lengths)):
                n = int(before.lengths[row])
                items = before.fields["item"][row, :n].tolist()
                (user,) = [
                    u
                    for u in pairs
                    if u not in users and n == len(pairs[u]) and items == [i for i, _ in pairs[u]]
                ][:1]
                users.append(user)
                for place, item in enumerate(target.fields["item"][row, :n].tolist()):
                    drawn.setdefault((user, place), []).append(item)
        assert sorted(users) == [u for u in pairs if pairs[u]]
    for user, of in pairs.items():
        for place, (_, nxt) in enumerate(of):
            found = drawn[user, place]
            assert set(found) == set(nxt)
            for item in set(nxt):  # evenly among the events: four deviations of 200 draws
                share = nxt.count(item) / len(nxt)
                assert (
                    abs(found.count(item) / len(found) - share)
                    <= 4 * (share * (1 - share) / len(found)) ** 0.5
                )


def test_where_every_moment_has_one_event_the_next_basket_is_the_next_event() -> None:
    fields, starts = cycles(20)
    rows = np.arange(20)
    for one, other in zip(
        shifted(fields, starts, LENGTH, 3)(rows),
        next_basket(fields, starts, LENGTH, 3)(rows),
        strict=True,
    ):
        assert one[1] == other[1]
        for a, b in zip(one[0], other[0], strict=True):
            assert torch.equal(a.fields["item"], b.fields["item"])
            assert torch.equal(a.lengths, b.lengths)
    nothing = {"item": np.zeros(0, np.int64), "time": np.zeros(0, np.int64)}
    assert list(next_basket(nothing, np.zeros(4, np.int64), LENGTH)(np.arange(3))) == []


@pytest.mark.parametrize("kind", ["softmax", "sampled", "gbce"])
def test_the_loss_of_pieces_is_the_loss_of_the_batch(kind: str) -> None:
    torch.manual_seed(0)
    model, (fields, starts) = MODELS["sasrec"]().eval(), cycles(20)
    loss = NextItemLoss(name=kind, negatives=4000)  # so many that the draw hardly matters
    sums = []
    for pieces in (1, 4):
        torch.manual_seed(3)
        sums.append(
            sum(
                float(loss(model, part).detach())
                for part, _ in shifted(fields, starts, LENGTH, pieces)(np.arange(20))
            )
        )
    assert sums[0] == pytest.approx(sums[1], rel=1e-5 if kind == "softmax" else 0.02)


@given(
    st.lists(
        st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]), min_size=5, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 7),
    st.data(),
)
def test_best_is_a_stable_sort(rows: list[list[float]], k: int, data: st.DataObject) -> None:
    items = torch.cat([torch.zeros(1, 5), torch.eye(5)])
    seen = [data.draw(st.lists(st.integers(1, 5), unique=True)) for _ in rows]
    ragged = Ragged(
        np.cumsum([0, *map(len, seen)]).astype(np.int64),
        np.array([i for s in seen for i in s], np.int64),
    )
    found, scores = best(torch.tensor(rows), items, k, ragged)
    for row, (values, out) in enumerate(zip(rows, seen, strict=True)):
        left = sorted((i for i in range(1, 6) if i not in out), key=lambda i: (-values[i - 1], i))
        wanted = (left + [0] * 5)[: min(k, 5)]
        got = found[row].tolist()
        assert got == wanted
        assert all(
            s == (values[i - 1] if i else -np.inf) for i, s in zip(got, scores[row], strict=True)
        )


def test_what_is_no_number_is_never_the_best() -> None:
    scores = torch.tensor([[0.0, torch.nan, 1.0, 2.0, -1.0]])
    found, values = top(scores, 4)
    assert found.tolist() == [[3, 2, 4, 0]]
    assert values.tolist() == [[2, 1, -1, -np.inf]]
    assert scores[0, 0] == 0  # what was given is left alone


def test_best_takes_users_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    states, items = torch.randn(23, 4), torch.randn(31, 4)
    whole = best(states, items, 5)
    monkeypatch.setattr(topk, "CELLS", 100)
    pieces = best(states, items, 5)
    assert np.array_equal(whole[0], pieces[0])
    assert np.allclose(whole[1], pieces[1])


def test_more_fields_are_added_and_times_reach_the_layers_that_want_them() -> None:
    torch.manual_seed(0)
    layer = hstu()
    model = NextItem({"item": ITEMS, "kind": 3}, WIDTH, LENGTH, [layer]).eval()
    fields, starts = cycles(5)
    fields["kind"] = np.arange(len(fields["item"])) % 3 + 1

    def states(**changed: np.ndarray) -> np.ndarray:
        return torch.cat([s for _, s in last_states(model, {**fields, **changed}, starts)]).numpy()

    assert np.allclose(states(), states(kind=fields["kind"]))
    assert not np.allclose(states(), states(kind=4 - fields["kind"]), atol=1e-4)
    layer.bias.time.data[:] = torch.randn(129) * 5
    for name in ("time", "asked"):
        assert not np.allclose(states(), states(**{name: fields[name] ** 2}), atol=1e-4)


def test_an_events_vector_is_the_sum_over_its_fields() -> None:
    """One value a field, or several: then their sum over the root of how many there may be.

    0 is nothing, and padding stays nothing.
    """
    torch.manual_seed(0)
    embed = EventEmbedding({"item": 4, "name": 9}, 3, deviation=0.5)
    fields = {
        "item": np.array([1, 4, 0, 2]),
        "name": np.array([[1, 5, 9], [2, 0, 0], [3, 3, 0], [0, 0, 0]], np.int32),
    }
    batch = Batch.of(fields, np.array([0, 1]), np.array([1, 3]))
    assert batch.fields["name"].shape == (2, 3, 3)
    found = embed(batch.fields, {"item": 2.0})
    item, name = (embed[f].weight.detach() for f in ("item", "name"))
    for row, (first, length) in enumerate(((0, 1), (1, 3))):
        for place in range(3):
            wanted = torch.zeros(3)
            if place < length:
                wanted = 2 * item[fields["item"][first + place]]
                wanted = wanted + sum(name[v] for v in fields["name"][first + place]) / 3**0.5
            assert torch.allclose(found[row, place], wanted, atol=1e-6)
    assert not item[0].any()
    assert not name[0].any()
    assert embed(Batch.of(fields, np.array([0]), np.array([0])).fields).shape == (1, 0, 3)
