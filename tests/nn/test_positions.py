"""Rotation depends on differences only; HSTU's bias is its table, looked up."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clickprint.nn.positions import LearnedPositions, RelativeBias, rotate, time_bucket


@given(st.integers(0, 500), st.integers(0, 500), st.integers(-300, 300))
def test_rotation_counts_differences_only(m: int, n: int, shift: int) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 8, dtype=torch.float64)
    here = rotate(q, torch.tensor([m])) @ rotate(k, torch.tensor([n])).T
    there = rotate(q, torch.tensor([m + shift])) @ rotate(k, torch.tensor([n + shift])).T
    assert torch.allclose(here, there, atol=1e-4)  # angles are computed in float32


def test_rotation_is_a_rotation() -> None:
    x = torch.randn(2, 3, 5, 6)
    turned = rotate(x, torch.arange(5))
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[..., 0, :], x[..., 0, :])
    angle = 2 * 10_000 ** (-2 / 6)  # the second pair (1, 4) of the third token
    wanted = x[0, 0, 2, 1] * math.cos(angle) - x[0, 0, 2, 4] * math.sin(angle)
    assert turned[0, 0, 2, 1].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_rotation_by_session_gives_one_session_one_angle() -> None:
    x = torch.ones(1, 4, 4)
    turned = rotate(x, torch.tensor([[0, 1, 1, 2]]))
    assert torch.equal(turned[0, 1], turned[0, 2])
    assert not torch.equal(turned[0, 2], turned[0, 3])


def test_rotation_refuses_an_odd_width() -> None:
    with pytest.raises(ValueError, match="even width, found 3"):
        rotate(torch.zeros(1, 2, 3), torch.arange(2))


@given(st.integers(-(10**12), 10**12))
def test_time_bucket(seconds: int) -> None:
    assert time_bucket(torch.tensor([seconds])).item() == min(
        int(math.log(max(1, abs(seconds))) / 0.301), 128
    )


def test_bias_is_its_definition() -> None:
    torch.manual_seed(1)
    bias = RelativeBias(6)
    seconds = torch.tensor([[0, 60, 4000, 4000], [5, 9, 0, 0]])
    asked = torch.tensor([[60, 4000, 4000, 90_000], [9, 700, 0, 0]])
    found = bias(4, seconds, asked)
    for b, length in enumerate((4, 2)):
        for i in range(length):
            for j in range(length):
                gap = abs(int(asked[b, i] - seconds[b, j]))
                bucket = min(int(math.log(max(1, gap)) / 0.301), 128)
                wanted = bias.place[i - j + 5] + bias.time[bucket]
                assert found[b, i, j].item() == pytest.approx(wanted.item(), abs=1e-6)


def test_bias_without_times_is_the_places_alone() -> None:
    bias = RelativeBias(5, by_time=False)
    assert bias.time is None
    assert bias(3).shape == (1, 3, 3)
    assert torch.equal(bias(3)[0, 2], bias.place[torch.tensor([6, 5, 4])])
    with pytest.raises(ValueError, match="made for 5 places, found 6"):
        bias(6)


def test_learned_positions_refuse_what_is_beyond() -> None:
    table = LearnedPositions(4, 8)
    assert table(torch.tensor([[0, 3]])).shape == (1, 2, 8)
    assert table.table.weight.abs().max() <= 0.04
    with pytest.raises(IndexError):
        table(torch.tensor([4]))
