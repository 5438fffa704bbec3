"""Selective state spaces in plain PyTorch: Mamba-1's scan and Mamba-2's.

Mamba-1 has a state a channel, Mamba-2 one decay a head. Exact, and quick enough on a CPU for
histories of hundreds of events. On CUDA the authors' fused kernels do the same in float32 where
their package mamba-ssm is installed; their sums of a step come in another order.
Source: Gu & Dao 2023; Dao & Gu 2024 (the "SSD" form); Mamba4Rec (Liu et al. 2024).
"""

import math
from functools import cache, reduce
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from clickprint.nn.blocks import FeedForward, Hidden

CACHED = 1 << 18  # numbers of a step's states that are worked on at a time, on a CPU
CHUNK = 32  # steps of Mamba-2 that are one matrix product


def selective_scan(
    x: Float[Tensor, "B L E"],
    delta: Float[Tensor, "B L E"],
    a: Float[Tensor, "E N"],
    b: Float[Tensor, "B L N"],
    c: Float[Tensor, "B L N"],
) -> Float[Tensor, "B L E"]:
    """h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t;  y_t = ⟨C_t, h_t⟩.

    One step after the other, all users and channels at once.
    """
    if kernel := _fused(x, "selective_scan_interface", "selective_scan_fn"):
        x, delta, b, c = (t.float().transpose(1, 2).contiguous() for t in (x, delta, b, c))
        return kernel(x, delta, a.float(), b, c).transpose(1, 2)
    kind = reduce(torch.promote_types, (t.dtype for t in (x, delta, a, b, c)))
    with torch.autocast(x.device.type, enabled=False):
        x, delta, a, b, c = (t.to(kind) for t in (x, delta, a, b, c))
        users = max(CACHED // a.numel(), 1) if x.device.type == "cpu" else max(len(x), 1)
        some = zip(*(t.split(users) for t in (x, delta, b, c)), strict=True)
        return torch.cat(
            [_Scan.apply(x, delta, a, b, c, torch.is_grad_enabled()) for x, delta, b, c in some]
        )


class _Scan(torch.autograd.Function):
    """The scan and its gradient by hand.

    A step's state [B, N, E] stays in the cache, and of all steps the states alone are kept.
    Autograd would keep decay, drive and state of all of them, and walk through memory for each.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, keep: bool
    ) -> Tensor:
        length, drive, rates = x.shape[1], delta * x, a.T.contiguous()
        kept = length + 1 if keep else 2  # the first is that before the first step
        states = x.new_zeros(kept, x.shape[0], *rates.shape)
        decay, out = torch.empty_like(states[0]), torch.empty_like(x)
        for t in range(length):
            before, state = states[t % kept], states[(t + 1) % kept]
            torch.mul(delta[:, t, None], rates, out=decay).exp_()
            torch.mul(decay, before, out=state).addcmul_(drive[:, t, None], b[:, t, :, None])
            out[:, t] = (c[:, t, None] @ state)[:, 0]
        if keep:
            ctx.save_for_backward(x, delta, rates, b, c, states)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, delta, rates, b, c, states = ctx.saved_tensors
        drive = delta * x
        to_drive, to_delta, to_b, to_c, to_rates = (
            torch.empty_like(t) for t in (x, x, b, c, rates)
        )
        to_state, work = torch.zeros_like(states[0]), torch.empty_like(states[0])
        to_rates.zero_()
        for t in reversed(range(x.shape[1])):
            to_state.addcmul_(grad[:, t, None], c[:, t, :, None])
            to_c[:, t] = torch.mul(states[t + 1], grad[:, t, None], out=work).sum(-1)
            to_drive[:, t] = (b[:, t, None] @ to_state)[:, 0]
            to_b[:, t] = torch.mul(to_state, drive[:, t, None], out=work).sum(-1)
            to_state.mul_(
                torch.mul(delta[:, t, None], rates, out=work).exp_()
            )  # now that of the state before
            to_exponent = torch.mul(to_state, states[t], out=work)
            to_delta[:, t] = (to_exponent * rates).sum(1)
            to_rates += to_exponent.mul_(delta[:, t, None]).sum(0)
        return to_drive * delta, to_delta + to_drive * x, to_rates.T, to_b, to_c, None


def chunked_scan(
    x: Float[Tensor, "B L H P"],
    delta: Float[Tensor, "B L H"],
    a: Float[Tensor, "H"],
    b: Float[Tensor, "B L N"],
    c: Float[Tensor, "B L N"],
) -> Float[Tensor, "B L H P"]:
    """h_t = exp(Δ_t a) h_{t−1} + Δ_t B_t x_tᵀ;  y_t = C_tᵀ h_t, with one decay a head.

    Inside a chunk a masked matrix product, between chunks a state.
    """
    if not x.shape[1]:
        return x
    if kernel := _fused(x, "triton.ssd_combined", "mamba_chunk_scan_combined"):
        x, delta, b, c = (t.float().contiguous() for t in (x, delta, b, c))
        return kernel(x, delta, a.float(), b[:, :, None], c[:, :, None], chunk_size=CHUNK)
    x, log_decay = x * delta[..., None], a * delta
    batch, length, heads, width = x.shape
    spare = -length % CHUNK
    x, log_decay, b, c = (
        F.pad(t, (*([0, 0] * (t.ndim - 2)), 0, spare)) for t in (x, log_decay, b, c)
    )
    x, log_decay, b, c = (t.unflatten(1, (-1, CHUNK)) for t in (x, log_decay, b, c))
    total = log_decay.cumsum(2)  # B, chunks, CHUNK, H
    apart = total[:, :, :, None] - total[:, :, None]  # from step j (exclusive) to step i
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=x.device).tril()[..., None]
    kernel = torch.exp(apart.masked_fill(~lower, -math.inf)) * (c @ b.transpose(-1, -2))[..., None]
    inside = torch.einsum("zkijh,zkjhp->zkihp", kernel, x)
    to_end = torch.exp(total[:, :, -1:] - total)
    added = torch.einsum("zkjh,zkjn,zkjhp->zkhnp", to_end, b, x)
    state, before = x.new_zeros(batch, heads, b.shape[-1], width), []
    for chunk in range(x.shape[1]):
        before.append(state)
        state = torch.exp(total[:, chunk, -1])[..., None, None] * state + added[:, chunk]
    carried = torch.einsum("zkin,zkhnp,zkih->zkihp", c, torch.stack(before, 1), torch.exp(total))
    return (inside + carried).flatten(1, 2)[:, :length]


class Mamba1(nn.Module):
    """The Mamba-1 mixer: a gated branch with a short causal convolution and a selective scan."""

    def __init__(self, width: int, *, state: int = 16, kernel: int = 4, expand: int = 2) -> None:
        super().__init__()
        inner, self.rank, self.state = expand * width, math.ceil(width / 16), state
        self.enter, self.leave = (
            nn.Linear(width, 2 * inner, bias=False),
            nn.Linear(inner, width, bias=False),
        )
        self.conv = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.select = nn.Linear(inner, self.rank + 2 * state, bias=False)
        self.delta = nn.Linear(self.rank, inner)
        self.log_a = nn.Parameter(
            torch.arange(1, state + 1, dtype=torch.float32).log().repeat(inner, 1)
        )
        self.skip = nn.Parameter(torch.ones(inner))
        nn.init.uniform_(self.delta.weight, -(self.rank**-0.5), self.rank**-0.5)
        _start_delta(self.delta.bias)

    def forward(self, x: Hidden) -> Hidden:
        length = x.shape[1]
        inner, gate = self.enter(x).chunk(2, -1)
        inner = F.silu(self.conv(inner.transpose(1, 2))[..., :length].transpose(1, 2))
        rank, b, c = self.select(inner).split([self.rank, self.state, self.state], -1)
        mixed = (
            selective_scan(inner, F.softplus(self.delta(rank)), -torch.exp(self.log_a), b, c)
            + self.skip * inner
        )
        return self.leave(mixed * F.silu(gate))


class Mamba2(nn.Module):
    """The Mamba-2 mixer: one decay a head, so that the scan is matrix products.

    RMSNorm on the gated output.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int = 64,
        kernel: int = 4,
        expand: int = 2,
        head_width: int = 64,
    ) -> None:
        super().__init__()
        inner = expand * width
        if inner % head_width:
            raise ValueError(f"heads of {head_width} do not divide an inner width of {inner}")
        self.inner, self.state, self.heads = inner, state, inner // head_width
        self.enter = nn.Linear(width, 2 * inner + 2 * state + self.heads, bias=False)
        mixed = inner + 2 * state
        self.conv = nn.Conv1d(mixed, mixed, kernel, groups=mixed, padding=kernel - 1)
        self.delta = nn.Parameter(torch.empty(self.heads))
        self.log_a = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm, self.leave = nn.RMSNorm(inner), nn.Linear(inner, width, bias=False)
        _start_delta(self.delta)

    def forward(self, x: Hidden) -> Hidden:
        length = x.shape[1]
        gate, mixed, delta = self.enter(x).split(
            [self.inner, self.inner + 2 * self.state, self.heads], -1
        )
        mixed = F.silu(self.conv(mixed.transpose(1, 2))[..., :length].transpose(1, 2))
        inner, b, c = mixed.split([self.inner, self.state, self.state], -1)
        inner, delta = inner.unflatten(-1, (self.heads, -1)), F.softplus(delta + self.delta)
        out = chunked_scan(inner, delta, -torch.exp(self.log_a), b, c) + self.skip[:, None] * inner
        return self.leave(self.norm(out.flatten(2) * F.silu(gate)))


class MambaBlock(nn.Module):
    """Mamba4Rec's layer: LN(dropout(mixer(x)) + x), then LN(· + FFN(·)).

    With one layer the paper leaves the first residual out.
    """

    def __init__(
        self, mixer: nn.Module, width: int, *, dropout: float = 0.2, residual: bool = True
    ) -> None:
        super().__init__()
        self.mixer, self.residual = mixer, residual
        self.ffn = FeedForward(width, 4 * width, dropout=dropout, activation="gelu")
        self.norms = nn.ModuleList(
            [nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)]
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Hidden) -> Hidden:
        mixed = self.dropout(self.mixer(x))
        x = self.norms[0](mixed + x if self.residual else mixed)
        return self.norms[1](x + self.dropout(self.ffn(x)))


def _fused(x: Tensor, module: str, name: str) -> Any:
    """The function of mamba-ssm that does it where `x` is, or None."""
    return _of_package(module, name) if x.is_cuda and x.shape[1] else None


@cache
def _of_package(module: str, name: str) -> Any:
    try:
        return getattr(import_module(f"mamba_ssm.ops.{module}"), name)
    except (ImportError, AttributeError):
        return None


@torch.no_grad()
def _start_delta(bias: Tensor, low: float = 1e-3, high: float = 0.1) -> None:
    """The bias whose softplus is spread over [low, high] by its logarithm."""
    delta = torch.exp(
        torch.rand_like(bias) * (math.log(high) - math.log(low)) + math.log(low)
    ).clamp(min=1e-4)
    bias.copy_(delta + torch.log(-torch.expm1(-delta)))
