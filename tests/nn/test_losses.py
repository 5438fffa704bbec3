"""Losses against their formulas, one row and one candidate at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from clickprint.nn import losses

SEEDS = st.integers(0, 10_000)


def world(seed: int, n: int = 4, v: int = 7, d: int = 3, k: int = 5) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    states, items = torch.randn(n, d, generator=random), torch.randn(v, d, generator=random)
    targets, negatives = (
        torch.randint(v, (n,), generator=random),
        torch.randint(v, (n, k), generator=random),
    )
    return states, items, targets, negatives


@given(SEEDS)
def test_full_softmax(seed: int) -> None:
    states, items, targets, _ = world(seed)
    each = []
    for s, t in zip(states, targets, strict=True):
        exp = [math.exp(float(s @ i)) for i in items]
        each.append(-math.log(exp[t] / sum(exp)))
    assert losses.full_softmax(states, items, targets).item() == pytest.approx(
        sum(each) / len(each), rel=1e-4
    )


@given(SEEDS, st.booleans(), st.booleans())
def test_sampled_softmax(seed: int, shared: bool, corrected: bool) -> None:
    states, items, targets, negatives = world(seed)
    log_q = torch.log_softmax(torch.arange(7.0), 0) if corrected else None
    drawn = negatives[0] if shared else negatives
    each = []
    for row, (s, t) in enumerate(zip(states, targets.tolist(), strict=True)):

        def score(item: int, s: torch.Tensor = s) -> float:
            return float(s @ items[item]) / 0.5 - (float(log_q[item]) if log_q is not None else 0)

        others = [j for j in (negatives[0] if shared else negatives[row]).tolist() if j != t]
        each.append(-math.log(math.exp(score(t)) / sum(math.exp(score(j)) for j in [t, *others])))
    found = losses.sampled_softmax(states, items, targets, drawn, temperature=0.5, log_q=log_q)
    assert found.item() == pytest.approx(sum(each) / len(each), rel=1e-3, abs=1e-5)


def test_sampling_every_item_once_is_the_full_softmax() -> None:
    states, items, targets, _ = world(3)
    everything = torch.arange(len(items))
    assert torch.allclose(
        losses.sampled_softmax(states, items, targets, everything),
        losses.full_softmax(states, items, targets),
        atol=1e-6,
    )


def test_an_accidental_hit_has_no_gradient_as_a_negative() -> None:
    states, items, targets, _ = world(1)
    items.requires_grad_()
    losses.sampled_softmax(states[:1], items, targets[:1], targets[:1][:, None]).backward()
    assert items.grad is not None
    assert torch.equal(items.grad, torch.zeros_like(items))


@given(SEEDS, st.sampled_from([0.0, 0.75, 1.0]))
def test_gbce(seed: int, calibration: float) -> None:
    states, items, targets, negatives = world(seed)
    alpha = 5 / 6
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    each = []
    for s, t, row in zip(states, targets.tolist(), negatives.tolist(), strict=True):
        true = 1 / (1 + math.exp(-float(s @ items[t])))
        rest = sum(math.log(1 - 1 / (1 + math.exp(-float(s @ items[j])))) for j in row if j != t)
        each.append(-(beta * math.log(true) + rest))
    found = losses.gbce(states, items, targets, negatives, calibration=calibration)
    assert found.item() == pytest.approx(sum(each) / len(each), rel=1e-3, abs=1e-5)
    if calibration == 0.0:
        assert beta == pytest.approx(1.0)  # plain BCE


def test_gbce_of_more_negatives_than_there_are_items() -> None:
    """All other items, or none: β is as with all of them, and nothing is divided by zero."""
    states, items, targets, negatives = world(0)
    many = negatives.repeat(1, 20)
    each = F.softplus(-(states * items[targets]).sum(-1)) + torch.where(
        many == targets[:, None], 0, F.softplus((states[:, None] * items[many]).sum(-1))
    ).sum(-1)
    assert losses.gbce(states, items, targets, many, calibration=1.0).item() == pytest.approx(
        each.mean().item(), rel=1e-4
    )
    one = losses.gbce(
        states[:1],
        items[:1],
        torch.zeros(1, dtype=torch.long),
        torch.zeros(1, 3, dtype=torch.long),
    )
    assert one.item() == pytest.approx(F.softplus(-(states[0] @ items[0])).item(), rel=1e-4)


@given(SEEDS)
def test_info_nce_both_ways(seed: int) -> None:
    left, right, *_ = world(seed, n=4, v=4)
    same = torch.zeros(4, 4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = same[2, 2] = True  # the diagonal is never taken out
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (left, right))
    total = 0.0
    for i in range(4):
        for one, other in ((a, b), (b, a)):
            exp = {
                j: math.exp(float(one[i] @ other[j]) / 0.2)
                for j in range(4)
                if j == i or not same[i, j]
            }
            total -= math.log(exp[i] / sum(exp.values()))
    found = losses.info_nce(left, right, temperature=0.2, same=same)
    assert found.item() == pytest.approx(total / 8, rel=1e-3, abs=1e-5)
    assert losses.info_nce(left, right, temperature=0.2).item() >= found.item() - 1e-6


@given(SEEDS)
def test_set_contrastive(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scores, positive = (
        torch.randn(3, 5, generator=random),
        torch.rand(3, 5, generator=random) < 0.4,
    )
    part = torch.rand(3, 5, generator=random) < 0.8
    each = []
    for s, p, t in zip(scores.tolist(), positive.tolist(), part.tolist(), strict=True):
        total = sum(math.exp(x / 0.3) for x, there in zip(s, t, strict=True) if there)
        each += [
            -math.log(math.exp(x / 0.3) / total)
            for x, yes, there in zip(s, p, t, strict=True)
            if yes and there
        ]
    found = losses.set_contrastive(scores, positive, part, temperature=0.3).item()
    assert found == pytest.approx(sum(each) / max(len(each), 1), rel=1e-3, abs=1e-4)
    assert losses.set_contrastive(scores, torch.zeros_like(positive)).item() == 0


@given(SEEDS)
def test_staged(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scores, shown = torch.randn(3, 5, generator=random), torch.rand(3, 5, generator=random) < 0.7
    chosen = shown & (torch.rand(3, 5, generator=random) < 0.5)
    each = []
    for s, f, c in zip(scores.tolist(), shown.tolist(), chosen.tolist(), strict=True):
        rest = sum(math.exp(x) for x, there, yes in zip(s, f, c, strict=True) if there and not yes)
        each += [
            -math.log(math.exp(x) / (math.exp(x) + rest))
            for x, yes in zip(s, c, strict=True)
            if yes
        ]
    assert losses.staged(scores, chosen, shown).item() == pytest.approx(
        sum(each) / max(len(each), 1), rel=1e-3, abs=1e-5
    )


def test_a_candidate_that_cannot_be_is_nobodys_loss() -> None:
    """A score of −∞ beside the others changes nothing and gives no NaN."""
    scores = torch.tensor([[1.0, 2.0, -torch.inf]])
    positive, all_ = torch.tensor([[True, False, False]]), torch.ones(1, 3, dtype=torch.bool)
    assert (
        losses.set_contrastive(scores, positive).item()
        == losses.set_contrastive(scores[:, :2], positive[:, :2]).item()
    )
    assert (
        losses.staged(scores, positive, all_).item()
        == losses.staged(scores[:, :2], positive[:, :2], all_[:, :2]).item()
    )


def test_multi_label() -> None:
    logits, targets = (
        torch.tensor([[0.0, 2.0], [-1.0, 0.5]]),
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    )
    each = [
        [math.log(2), math.log(1 + math.exp(2))],
        [math.log(1 + math.exp(-1)), math.log(1 + math.exp(-0.5))],
    ]
    assert losses.multi_label(logits, targets).item() == pytest.approx(
        sum(map(sum, each)) / 4, rel=1e-5
    )
    weighed = losses.multi_label(logits, targets, torch.tensor([3.0, 1.0])).item()
    assert weighed == pytest.approx((sum(map(sum, each)) + 2 * math.log(2)) / 4, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.full_softmax, losses.sampled_softmax, losses.gbce])
def test_half_precision_states_give_a_finite_float32_loss(loss) -> None:
    states, items, targets, negatives = world(0)
    more = () if loss is losses.full_softmax else (negatives,)
    found = loss(states.bfloat16() * 30, items.bfloat16(), targets, *more)
    assert found.dtype == torch.float32
    assert torch.isfinite(found)


@pytest.mark.parametrize(("rows", "many"), [(1, 1), (200, 5), (130, 70), (0, 3)])
def test_dot_with_is_its_slow_twin(rows: int, many: int) -> None:
    random = torch.Generator().manual_seed(rows)
    chosen = torch.randint(50, (rows, many), generator=random)
    grad = torch.randn(rows, many, generator=random)
    found = []
    for way in (losses.dot_with, lambda s, i, c: torch.einsum("nd,nkd->nk", s, i[c])):
        random.manual_seed(7)
        states, items = (
            torch.randn(rows, 6, generator=random).requires_grad_(),
            torch.randn(50, 6, generator=random).requires_grad_(),
        )
        out = way(states, items, chosen)
        out.backward(grad)
        found.append((out, states.grad, items.grad))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_dot_with_gives_the_same_bytes_each_time() -> None:
    states, items, _, negatives = world(0, n=300, v=9, k=40)
    grads = []
    for _ in range(3):
        leaf = items.clone().requires_grad_()
        losses.dot_with(states, leaf, negatives).square().sum().backward()
        assert leaf.grad is not None
        grads.append(leaf.grad)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])
