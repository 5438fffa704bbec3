"""Layers against their formulas, and what every causal layer has to keep."""

import pytest
import torch
from torch.nn import functional as F

from clickprint.nn import mamba, masks
from clickprint.nn.blocks import (
    Attention,
    HSTUBlock,
    LiGRBlock,
    PostNormBlock,
    SASRecBlock,
    TransformerPPBlock,
)
from clickprint.nn.mamba import Mamba1, Mamba2, MambaBlock, chunked_scan, selective_scan
from clickprint.nn.positions import rotate

WIDTH = 8
BLOCKS = {
    "sasrec": lambda: SASRecBlock(WIDTH, 2),
    "post": lambda: PostNormBlock(WIDTH, 2, inner=12),
    "ligr": lambda: LiGRBlock(WIDTH, 2),
    "transformer++": lambda: TransformerPPBlock(WIDTH, 2, inner=12, layers=3),
    "hstu": lambda: HSTUBlock(WIDTH, 2, query_width=3, value_width=4, length=70, by_time=False),
    "mamba1": lambda: MambaBlock(Mamba1(WIDTH), WIDTH),
    "mamba2": lambda: MambaBlock(Mamba2(WIDTH, state=5, head_width=4), WIDTH, residual=False),
}


@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_the_future_and_the_padding_change_nothing(name: str) -> None:
    torch.manual_seed(0)
    block = BLOCKS[name]().eval()
    x = torch.randn(3, 67, WIDTH)
    whole = block(x)
    changed = x.clone()
    changed[:, 40:] = torch.randn(3, 27, WIDTH)
    assert torch.allclose(whole[:, :40], block(changed)[:, :40], atol=1e-5)
    assert torch.allclose(whole[1:2, :40], block(x[1:2, :40]), atol=1e-5), "one at a time, trimmed"
    assert not torch.allclose(whole[:, 41:], block(changed)[:, 41:], atol=1e-2)


@pytest.mark.parametrize("name", [n for n in BLOCKS if not n.startswith("mamba")])
def test_a_causal_mask_is_what_no_mask_means(name: str) -> None:
    torch.manual_seed(0)
    block = BLOCKS[name]().eval()
    x = torch.randn(2, 6, WIDTH)
    assert torch.allclose(block(x), block(x, mask=masks.causal(6)[None]), atol=1e-6)
    assert not torch.allclose(
        block(x), block(x, mask=torch.ones(1, 6, 6, dtype=torch.bool)), atol=2e-5
    )


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    block = BLOCKS[name]().train()
    (block(torch.randn(4, 9, WIDTH)) ** 2)[:, -1, : WIDTH // 2].sum().backward()
    for where, parameter in block.named_parameters():
        assert parameter.grad is not None, where
        assert torch.isfinite(parameter.grad).all(), where
        assert parameter.grad.abs().sum() > 0 or where.endswith("key.bias"), (
            where
        )  # a key's bias cancels in the softmax


@torch.no_grad()
def test_attention_head_by_head() -> None:
    torch.manual_seed(0)
    attention = Attention(6, 3, rope=True).eval()
    x, index = torch.randn(1, 5, 6), torch.tensor([[0, 0, 1, 1, 4]])
    q, k, v = (m(x)[0] for m in (attention.query, attention.key, attention.value))
    out = []
    for h in range(3):
        s = slice(2 * h, 2 * h + 2)
        scores = rotate(q[:, s], index[0]) @ rotate(k[:, s], index[0]).T / 2**0.5
        out.append(torch.softmax(scores.masked_fill(~masks.causal(5), -torch.inf), -1) @ v[:, s])
    assert torch.allclose(
        attention(x, index=index)[0], attention.out(torch.cat(out, -1)), atol=1e-5
    )
    with pytest.raises(ValueError, match=r"3 heads.*width.*\b8$"):
        Attention(8, 3)


@torch.no_grad()
def test_hstu_row_by_row() -> None:
    torch.manual_seed(0)
    block = HSTUBlock(WIDTH, 2, query_width=3, value_width=4, length=10, by_time=True).eval()
    x, lengths = torch.randn(2, 5, WIDTH), torch.tensor([5, 2])
    seconds = torch.tensor([[3, 50, 60, 5000, 5001], [7, 9, 0, 0, 0]])
    asked = torch.tensor([[50, 60, 5000, 5001, 9000], [9, 80, 0, 0, 0]])
    found = block(x, seconds=seconds, asked=asked)
    bias = block.bias(5, seconds, asked)
    for b in range(2):
        normed = F.layer_norm(x[b], (WIDTH,), eps=1e-6)
        u, v, q, k = F.silu(normed @ block.project.weight.T).split([8, 8, 6, 6], -1)
        for i in range(int(lengths[b])):
            mixed = torch.zeros(8)
            for h in range(2):
                for j in range(i + 1):
                    weight = (
                        F.silu(q[i, 3 * h : 3 * h + 3] @ k[j, 3 * h : 3 * h + 3] + bias[b, i, j])
                        / 10
                    )
                    mixed[4 * h : 4 * h + 4] += weight * v[j, 4 * h : 4 * h + 4]
            wanted = x[b, i] + block.out(F.layer_norm(mixed, (8,), eps=1e-6) * u[i])
            assert torch.allclose(found[b, i], wanted, atol=1e-5)


@torch.no_grad()
def test_ligr_is_its_formula() -> None:
    torch.manual_seed(0)
    block = LiGRBlock(WIDTH, 2).eval()
    x = torch.randn(2, 4, WIDTH)
    h = x + torch.sigmoid(block.gates[0](x)) * block.attention(block.norms[0](x))
    n = block.norms[1](h)
    wanted = h + torch.sigmoid(block.gates[1](h)) * block.ffn.down(
        F.silu(block.ffn.gate(n)) * block.ffn.up(n)
    )
    assert torch.allclose(block(x), wanted, atol=1e-6)


def test_selective_scan_is_its_recurrence() -> None:
    torch.manual_seed(0)
    x, delta = torch.randn(2, 5, 3, dtype=torch.float64), torch.rand(2, 5, 3, dtype=torch.float64)
    a, b, c = -torch.rand(3, 4, dtype=torch.float64), *torch.randn(2, 2, 5, 4, dtype=torch.float64)
    found = selective_scan(x, delta, a, b, c)
    for u in range(2):
        for e in range(3):
            h = [0.0] * 4
            for t in range(5):
                h = [
                    float(torch.exp(delta[u, t, e] * a[e, n])) * h[n]
                    + float(delta[u, t, e] * b[u, t, n] * x[u, t, e])
                    for n in range(4)
                ]
                assert found[u, t, e].item() == pytest.approx(
                    sum(float(c[u, t, n]) * h[n] for n in range(4)), abs=1e-10
                )


def steps(
    x: torch.Tensor, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor
) -> torch.Tensor:
    """The scan's slow twin, whose gradient is autograd's."""
    state, out = torch.zeros(len(x), *a.shape, dtype=x.dtype), []
    for t in range(x.shape[1]):
        state = (
            torch.exp(delta[:, t, :, None] * a) * state
            + (delta[:, t] * x[:, t])[..., None] * b[:, t, None]
        )
        out.append((state * c[:, t, None]).sum(-1))
    return torch.stack(out, 1) if out else x * 0


@pytest.mark.parametrize("cached", [1, 40, 1 << 18])  # one user at a time, three, all
@pytest.mark.parametrize(("users", "length"), [(7, 6), (1, 1), (4, 0), (0, 3)])
def test_the_scans_gradient_is_that_of_its_slow_twin(
    users: int, length: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mamba, "CACHED", cached)
    torch.manual_seed(0)
    kind = torch.float64
    given = [
        torch.randn(users, length, 3, dtype=kind),
        torch.rand(users, length, 3, dtype=kind),
        -torch.rand(3, 4, dtype=kind),
    ]
    given += [torch.randn(users, length, 4, dtype=kind), torch.randn(users, length, 4, dtype=kind)]
    weights, gradients = torch.randn(users, length, 3, dtype=kind), []
    for scan in (selective_scan, steps):
        inputs = [t.clone().requires_grad_() for t in given]
        out = scan(*inputs)
        (out * weights).sum().backward()
        gradients.append(
            [
                out.detach(),
                *(t.grad if t.grad is not None else torch.zeros_like(t) for t in inputs),
            ]
        )
    for found, wanted in zip(*gradients, strict=True):
        assert torch.allclose(found, wanted, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(selective_scan(*given), gradients[0][0])
    only = [t.clone().requires_grad_(i == 2) for i, t in enumerate(given)]  # of the rates alone
    (selective_scan(*only) * weights).sum().backward()
    assert only[2].grad is not None
    assert torch.equal(only[2].grad, gradients[0][3])


def test_the_scan_is_float32_where_training_is_bfloat16() -> None:
    torch.manual_seed(0)
    mixer, x = Mamba1(WIDTH, state=4), torch.randn(2, 9, WIDTH)
    exact = mixer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = mixer(x)
    rough.float().sum().backward()
    assert torch.allclose(rough.float(), exact, atol=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 100])
def test_chunked_scan_is_its_recurrence(length: int) -> None:
    torch.manual_seed(0)
    x, delta = (
        torch.randn(2, length, 3, 4, dtype=torch.float64),
        torch.rand(2, length, 3, dtype=torch.float64),
    )
    a, (b, c) = (
        -torch.rand(3, dtype=torch.float64),
        torch.randn(2, 2, length, 5, dtype=torch.float64),
    )
    found = chunked_scan(x, delta, a, b, c)
    assert found.shape == x.shape
    state = torch.zeros(2, 3, 5, 4, dtype=torch.float64)
    for t in range(length):
        drive = torch.einsum("bn,bhp,bh->bhnp", b[:, t], x[:, t], delta[:, t])
        state = (a * delta[:, t]).exp()[..., None, None] * state + drive
        assert torch.allclose(
            found[:, t], torch.einsum("bn,bhnp->bhp", c[:, t], state), atol=1e-10
        )


@pytest.mark.parametrize(
    "mixer",
    [Mamba1(WIDTH, state=4), Mamba2(WIDTH, state=4, head_width=8)],
    ids=["mamba-1", "mamba-2"],
)
def test_the_fused_kernels_are_called_as_they_are_written(
    mixer: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mamba-ssm's own layouts, checked by its documented formulas, since a kernel needs a GPU.

    Out and gradients are those without it.
    """
    called = []

    def selective_scan_fn(
        u, delta, A, B, C
    ):  # the package's names: u and delta B × D × L, A D × N, B and C B × N × L
        called.append("selective_scan_fn")
        assert all(t.is_contiguous() and t.dtype == torch.float32 for t in (u, delta, A, B, C))
        h, out = torch.zeros(len(u), *A.shape), []
        for t in range(u.shape[2]):
            h = (
                torch.exp(delta[:, :, t, None] * A) * h
                + delta[:, :, t, None] * B[:, None, :, t] * u[:, :, t, None]
            )
            out.append(torch.einsum("bdn,bn->bd", h, C[:, :, t]))
        return torch.stack(out, 2)

    def mamba_chunk_scan_combined(
        x, dt, A, B, C, chunk_size
    ):  # x B × L × H × P, dt B × L × H, A H, B and C B × L × G × N
        called.append("mamba_chunk_scan_combined")
        assert chunk_size & (chunk_size - 1) == 0
        h, out = torch.zeros(len(x), *x.shape[2:], B.shape[-1]), []
        for t in range(x.shape[1]):
            drive = torch.einsum("bhp,bn,bh->bhpn", x[:, t], B[:, t, 0], dt[:, t])
            h = torch.exp(dt[:, t] * A)[..., None, None] * h + drive
            out.append(torch.einsum("bhpn,bn->bhp", h, C[:, t, 0]))
        return torch.stack(out, 1)

    def outcome() -> list[torch.Tensor]:
        mixer.zero_grad()
        out = mixer(x)
        (out * weights).sum().backward()
        return [out.detach(), *(p.grad.clone() for p in mixer.parameters())]

    torch.manual_seed(0)
    x, weights = torch.randn(2, 3, 37, WIDTH)
    plain = outcome()
    kernels = {f.__name__: f for f in (selective_scan_fn, mamba_chunk_scan_combined)}
    monkeypatch.setattr(mamba, "_fused", lambda x, module, name: kernels[name])
    for found, wanted in zip(outcome(), plain, strict=True):
        assert torch.allclose(found, wanted, atol=1e-4, rtol=1e-4)
    assert len(called) == 1


def test_without_a_gpu_or_the_package_the_plain_scan_runs() -> None:
    assert mamba._fused(torch.zeros(1, 1), "selective_scan_interface", "selective_scan_fn") is None
    assert mamba._of_package("selective_scan_interface", "no_such_function") is None


def test_mamba2_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="heads of 64 do not divide"):
        Mamba2(8)
