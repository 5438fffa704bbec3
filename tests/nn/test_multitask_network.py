"""The multi-task network.

Windows by brute force, what a state has seen, the loss by hand, and which heads there are.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from clickprint.core.errors import ConfigError
from clickprint.core.ragged import starts_of
from clickprint.nn import multitask
from clickprint.nn.multitask import MultiTaskLoss, MultiTaskTransformer, Windows, asked
from clickprint.nn.next_item import ITEM, TIME, Batch, NextItemLoss

SIZES = {ITEM: 6, "kind": 3}


def some(
    seed: int, users: int = 7, most: int = 9, days: int = 30
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Starts and fields.

    Whole numbers as times, so that events tie and fall on the edges of windows. Somebody has no
    event.
    """
    random = np.random.default_rng(seed)
    lengths = random.integers(0, most + 1, users)
    lengths[users // 2] = 0
    starts = starts_of(lengths)
    times = np.concatenate([np.sort(random.integers(-5, days, n)) for n in lengths])
    return starts, {
        ITEM: random.integers(0, 7, len(times)),
        "kind": random.integers(0, 4, len(times)),
        TIME: times,
    }


def windows(
    starts: np.ndarray,
    fields: dict[str, np.ndarray],
    *,
    horizon: int = 5,
    until: int = 30,
    counts: Sequence[int] = (1, 2, 4),
) -> Windows:
    random = np.random.default_rng(len(fields[ITEM]))
    tastes = [(np.array([-1, 2, 0, 1, -1, 3, -1])[fields[ITEM]], 4), (fields["kind"] - 1, 3)]
    bought = random.random(len(fields[ITEM])) < 0.6
    return Windows(horizon, until, tuple(counts), starts, fields[TIME], bought, tastes)


def label(w: Windows, user: int, after: int, moment: int) -> list[int]:
    """What the user's events behind place `after` and before moment + horizon are, one by one."""
    inside = [e for e in range(after + 1, w.starts[user + 1]) if w.seconds[e] < moment + w.horizon]
    bought = [e for e in inside if w.bought[e]]
    found = [int(len(inside) >= c) for c in w.counts] + [int(len(bought) >= c) for c in w.counts]
    for column, columns in w.tastes:
        found += [int(any(column[e] == c for e in bought)) for c in range(columns)]
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cells", [1 << 22, 20])
def test_labels_of_windows_by_brute_force(
    seed: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the table of counts is made a few columns at a time."""
    monkeypatch.setattr(multitask, "CELLS", cells)
    starts, fields = some(seed)
    w = windows(starts, fields)
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    place = random.permutation(len(user))[: 2 * len(user) // 3]  # in any order, some left out
    moment = w.seconds[place] + random.integers(0, 3, len(place))
    found = w.of(place + 1, np.maximum(w.ends(user[place], moment), place + 1))
    assert w.labels == found.shape[1] == 13
    assert found.tolist() == [label(w, user[p], p, m) for p, m in zip(place, moment, strict=True)]
    assert w.known(np.array([24, 25, 26])).tolist() == [True, True, False], (
        "the window ends no later than the cutoff"
    )


def test_no_windows_have_no_labels() -> None:
    starts, fields = some(0)
    w = windows(starts, fields)
    assert w.of(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0, 13)
    nobody = windows(np.zeros(3, np.int64), {f: v[:0] for f, v in fields.items()})
    assert nobody.of(np.zeros(2, np.int64), np.zeros(2, np.int64)).tolist() == [[0] * 13] * 2
    assert nobody.ends(np.array([0, 1]), np.array([3, 25])).tolist() == [0, 0]


# -- what is trained on ---------------------------------------------------------------------------
@pytest.mark.parametrize(("seed", "now"), list(itertools.product(range(4), [True, False])))
def test_parts_by_brute_force(seed: int, now: bool) -> None:
    """Every event is the number of its place, so what a batch holds can be looked up."""
    starts, fields = some(seed, users=9, most=14)
    fields[ITEM] = np.arange(1, len(fields[ITEM]) + 1)
    random = np.random.default_rng(seed)
    w = Windows(
        5,
        28,
        (1, 3),
        starts,
        fields[TIME],
        random.random(len(fields[TIME])) < 0.5,
        [(fields["kind"] - 1, 3)],
    )
    user, parts = asked(
        fields,
        starts,
        4,
        targets=[ITEM, "kind"],
        until=28,
        windows=w,
        time_since_last=now,
        buckets=3,
    )
    torch.manual_seed(seed)
    seen, gaps, counted, total = [], [], 0.0, 0.0
    drawn, made = torch.get_rng_state(), parts(random.permutation(len(user)))
    for (given, nexts, mask, weights, labels), weight in made:
        assert weight == int(given.lengths.sum())
        after = torch.get_rng_state()
        torch.set_rng_state(drawn)
        share = iter(torch.rand(weight, dtype=torch.float64).tolist())
        torch.set_rng_state(drawn := after)
        assert (TIME in given.fields) == now
        left = labels.tolist()
        for row, size in enumerate(given.lengths.tolist()):
            assert not mask[row, size:].any()
            for at in range(size):
                e = int(given.fields[ITEM][row, at]) - 1
                seen.append(e)
                owner = int(np.searchsorted(starts, e, side="right")) - 1
                newest = e + 1 == starts[owner + 1]
                assert given.fields["kind"][row, at] == fields["kind"][e]
                assert nexts.fields[ITEM][row, at] == (0 if newest else e + 2)
                assert nexts.fields["kind"][row, at] == (0 if newest else fields["kind"][e + 1])
                gap = (max(28 - 5, fields[TIME][e]) if newest else fields[TIME][e + 1]) - fields[
                    TIME
                ][e]
                gaps.append(gap)
                since = int(next(share) * gap)
                assert not now or given.fields[TIME][row, at] == since
                moment = fields[TIME][e] + since
                assert bool(mask[row, at]) == (gap > 0 and moment + 5 <= 28)
                if mask[row, at]:
                    assert left.pop(0) == label(w, owner, e, moment)
                    counted += gap
        assert not left
        assert len(weights) == len(labels)
        total += weights.sum().item()
    assert sorted(seen) == list(range(len(fields[ITEM]))), "each event once"
    assert total == pytest.approx(counted / np.mean([g for g in gaps if g > 0]), rel=1e-5), (
        "1 for the mean gap"
    )


def test_moments_are_the_same_for_the_same_seed_and_reach_the_cutoff_without_windows() -> None:
    starts, fields = (
        np.array([0, 1]),
        {ITEM: np.array([1]), "kind": np.array([1]), TIME: np.array([100])},
    )
    _, parts = asked(
        fields, starts, 4, targets=["kind"], until=1_000_100, windows=None, time_since_last=True
    )
    torch.manual_seed(3)
    first = [int(next(parts(np.array([0])))[0][0].fields[TIME][0, 0]) for _ in range(200)]
    torch.manual_seed(3)
    assert first == [int(next(parts(np.array([0])))[0][0].fields[TIME][0, 0]) for _ in range(200)]
    assert np.allclose(
        np.quantile(first, [0.0, 0.25, 0.5, 0.75, 1.0]), np.linspace(0, 1_000_000, 5), atol=100_000
    )
    (_, _, mask, weights, labels), _ = next(parts(np.array([0])))
    assert not mask.any()
    assert not weights.numel()
    assert not labels.numel()


# -- network --------------------------------------------------------------------------------------
def network(seed: int = 0, **more: Any) -> MultiTaskTransformer:
    torch.manual_seed(seed)
    options = {
        "layers": 2,
        "heads": 2,
        "dropout": 0.0,
        "targets": [ITEM, "kind"],
        "labels": 5,
        "time_since_last": True,
    }
    return MultiTaskTransformer(SIZES, 8, 6, **{**options, **more}).eval()


def batch(seed: int = 0, rows: int = 3, length: int = 6) -> Batch:
    random = torch.Generator().manual_seed(seed)
    fields = {
        n: torch.randint(1, s + 1, (rows, length), generator=random) for n, s in SIZES.items()
    }
    return Batch(
        {**fields, TIME: torch.randint(0, 10**6, (rows, length), generator=random)},
        torch.full((rows,), length),
    )


def test_a_state_sees_its_event_those_before_and_its_own_moment_only() -> None:
    model, given = network(), batch()
    states = model(given)
    for name, at in itertools.product([*SIZES, TIME], range(6)):
        changed = given.fields[name].clone()
        changed[:, at] = changed[:, at] % 3 + (1 if name != TIME else 10**7)
        moved = ~torch.isclose(
            model(Batch({**given.fields, name: changed}, given.lengths)), states, atol=1e-6
        ).all(-1)
        assert not moved[:, :at].any()
        assert moved[:, at].any()
        if name == TIME:
            assert not moved[:, at + 1 :].any(), "how long ago an event was is its own matter"
        elif at < 5:
            assert moved[:, at + 1 :].any()


def test_nothing_says_how_many_events_follow() -> None:
    """A history cut short has the states that it had in the long one."""
    model, given = network(), batch()
    short = Batch({n: v[:, :3] for n, v in given.fields.items()}, torch.full((3,), 3))
    assert torch.allclose(model(short), model(given)[:, :3], atol=1e-6)


def test_last_is_the_newest_state_and_zeros_without_events() -> None:
    model, given = network(), batch()
    given = Batch(given.fields, torch.tensor([6, 2, 0]))
    last = model.last(given)
    states = model(given)
    assert torch.equal(last[:2], torch.stack([states[0, 5], states[1, 1]]))
    assert not last[2].any()
    empty = Batch({n: v[:, :0] for n, v in given.fields.items()}, torch.zeros(3, dtype=torch.long))
    assert model.last(empty).tolist() == [[0.0] * 8] * 3


def test_heads_without_weight_are_not_there() -> None:
    full, bare = network(), network(targets=["kind"], labels=0, time_since_last=False)
    assert set(full.heads) == set(bare.heads) == {"kind"}
    assert full.window is not None
    assert full.window.out_features == 5
    assert bare.window is None
    assert bare.since is None
    assert (full.from_cut, bare.from_cut) == (True, False)
    assert full.items.shape == (7, 8)
    with pytest.raises(ConfigError, match="no target of this training"):
        _ = bare.items
    assert not network(targets=[ITEM]).heads
    assert MultiTaskLoss(targets={ITEM: 0.0, "kind": 2.0}).wanted == ("kind",)


def test_loss_by_hand() -> None:
    model, given = network(), batch(rows=2, length=3)
    given = Batch(given.fields, torch.tensor([3, 2]))
    nexts = {
        ITEM: torch.tensor([[2, 0, 5], [1, 0, 0]]),
        "kind": torch.tensor([[0, 3, 0], [1, 0, 0]]),
    }
    mask = torch.tensor([[False, True, False], [True, False, False]])
    labels = torch.tensor([[1, 0, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=torch.uint8)
    weights = torch.tensor([0.25, 4.0])
    loss = MultiTaskLoss(
        targets={ITEM: 0.5, "kind": 2.0}, windows=3.0, item=NextItemLoss(name="softmax")
    )
    states = model(given).detach().double()
    assert model.window is not None
    wanted = 0.0
    for row, at in [(0, 0), (0, 2), (1, 0)]:
        scores = (model.items.detach().double()[1:] @ states[row, at]).tolist()
        wanted += 0.5 * (math.log(sum(map(math.exp, scores))) - scores[nexts[ITEM][row, at] - 1])
    for row, at in [(0, 1), (1, 0)]:
        scores = model.heads["kind"].double()(states[row, at]).tolist()
        wanted += 2.0 * (math.log(sum(map(math.exp, scores))) - scores[nexts["kind"][row, at]])
    for (row, at), weight, truth in zip(
        [(0, 1), (1, 0)], weights.tolist(), labels.tolist(), strict=True
    ):
        logits = model.window.double()(states[row, at]).tolist()
        wanted += (
            3.0
            * weight
            * sum(math.log1p(math.exp(-z if y else z)) for z, y in zip(logits, truth, strict=True))
        )
    model.float()
    found = loss(model, (given, Batch(nexts, given.lengths), mask, weights, labels))
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    nothing = {n: torch.zeros_like(v) for n, v in nexts.items()}
    assert (
        loss(
            model, (given, Batch(nothing, given.lengths), mask & False, weights[:0], labels[:0])
        ).item()
        == 0
    )


def test_logq_by_hand() -> None:
    """Negatives come from the targets; logits are lowered by the log of their items' shares."""
    states, items = (
        torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
        torch.eye(3).repeat(2, 1),
    )
    targets = torch.tensor([2, 2, 5, 3])
    loss = NextItemLoss(name="sampled", negatives=7, shared=True, logq=True)
    torch.manual_seed(5)
    found = loss.of(states, items, targets).item()
    torch.manual_seed(5)
    drawn = targets[torch.randint(0, 4, (7,))].tolist()
    share = {2: 0.5, 5: 0.25, 3: 0.25}
    wanted = 0.0
    for state, target in zip(states, targets.tolist(), strict=True):
        logit = {i: float(state @ items[i]) - math.log(share[i]) for i in share}
        others = [math.exp(logit[i]) for i in drawn if i != target]
        wanted -= logit[target] - math.log(math.exp(logit[target]) + sum(others))
    assert found == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ConfigError, match=r"logq.*'gbce'"):
        NextItemLoss(name="gbce", logq=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"targets": {ITEM: -1.0, "kind": math.nan}, "windows": math.inf},
            r"(?s)targets.item: found -1.0.*targets.kind: found nan.*windows: found inf",
        ),
        ({"targets": {ITEM: 0.0}, "windows": 0.0}, "targets"),
        ({"targets": {}, "windows": 0.0}, "targets"),
    ],
)
def test_weights_that_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MultiTaskLoss(**options)
