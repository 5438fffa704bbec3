"""Layers that turn histories into states. In and out: x [B L D].

Padding stands at the right, so a causal layer needs no mask for it: what comes after a row's end
is never seen by what is before. Nothing at a place depends on a later one.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.nn.positions import RelativeBias, rotate

Hidden = Float[Tensor, "B L D"]
Mask = Bool[Tensor, "#B L L"] | None
Index = Int[Tensor, "#B L"] | None


class Attention(nn.Module):
    """Softmax attention of several heads, causal unless a mask is given.

    - `rope`: queries and keys are turned by an index.
    - `keys`: attends to something else than the queries' own input (the first SASRec normalises
      its queries only).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dropout: float = 0.0,
        rope: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.heads, self.dropout, self.rope = heads, dropout, rope
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width, bias=bias) for _ in range(4)
        )

    def forward(
        self, x: Hidden, *, keys: Hidden | None = None, mask: Mask = None, index: Index = None
    ) -> Hidden:
        source = x if keys is None else keys
        q, k, v = (
            self._split(m(t))
            for m, t in ((self.query, x), (self.key, source), (self.value, source))
        )
        if self.rope:
            place = torch.arange(x.shape[1], device=x.device)[None] if index is None else index
            q, k = rotate(q, place[:, None]), rotate(k, place[:, None])
        dropout = self.dropout if self.training else 0.0
        allowed = None if mask is None else mask[:, None]
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=allowed, dropout_p=dropout, is_causal=mask is None
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Hidden) -> Float[Tensor, "B H L d"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear maps with an activation and dropout between them.

    The activation "swiglu" has a third map as its gate.
    """

    def __init__(
        self,
        width: int,
        inner: int,
        *,
        dropout: float = 0.0,
        activation: str = "relu",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.activation: nn.Module = {"relu": nn.ReLU, "gelu": nn.GELU, "swiglu": nn.SiLU}[
            activation
        ]()
        self.up, self.down = nn.Linear(width, inner, bias=bias), nn.Linear(inner, width, bias=bias)
        self.gate = nn.Linear(width, inner, bias=bias) if activation == "swiglu" else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Hidden) -> Hidden:
        inner = self.activation(self.up(x) if self.gate is None else self.gate(x))
        return self.down(self.dropout(inner if self.gate is None else inner * self.up(x)))


class SASRecBlock(nn.Module):
    """The layer of SASRec as its authors run it. Kang & McAuley, 2018.

    q = LN(x); h = q + attention(q, x); y = LN(h); y + FFN(y). Differs: the heads' outputs pass a
    linear map, as in RecTools, whose figures are the published ones; the authors' add them as
    they are.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        inner: int | None = None,
        dropout: float = 0.2,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=dropout)
        self.ffn = FeedForward(width, inner or width, dropout=dropout, activation=activation)
        self.norm_query, self.norm_ffn = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Hidden, *, mask: Mask = None, index: Index = None) -> Hidden:
        query = self.norm_query(x)
        x = self.norm_ffn(query + self.attention(query, keys=x, mask=mask, index=index))
        return x + self.dropout(self.ffn(x))


class PostNormBlock(nn.Module):
    """The first Transformer's layer: LN(x + attention(x)), LN(· + FFN(·)); UQABench's SASRec."""

    def __init__(
        self, width: int, heads: int, *, inner: int, dropout: float = 0.1, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=dropout)
        self.ffn = FeedForward(width, inner, dropout=dropout, activation=activation)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Hidden, *, mask: Mask = None, index: Index = None) -> Hidden:
        x = self.norms[0](x + self.dropout(self.attention(x, mask=mask, index=index)))
        return self.norms[1](x + self.dropout(self.ffn(x)))


class LiGRBlock(nn.Module):
    """eSASRec's layer: pre-norm, SwiGLU, each branch weighed by a gate of its input.

    x + σ(W x) · branch(LN x), the SwiGLU without biases. Source: spec/sequential-encoders.md 5.3.
    """

    def __init__(
        self, width: int, heads: int, *, inner: int | None = None, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=dropout)
        self.ffn = FeedForward(
            width, inner or 4 * width, dropout=dropout, activation="swiglu", bias=False
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.gates = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Hidden, *, mask: Mask = None, index: Index = None) -> Hidden:
        x = x + self.gates[0](x).sigmoid() * self.dropout(
            self.attention(self.norms[0](x), mask=mask, index=index)
        )
        return x + self.gates[1](x).sigmoid() * self.dropout(self.ffn(self.norms[1](x)))


class TransformerPPBlock(nn.Module):
    """Transformer++: RMSNorm before, rotary positions, SwiGLU, no biases.

    Output maps start smaller by √(2 layers).
    """

    def __init__(
        self, width: int, heads: int, *, inner: int, layers: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=dropout, rope=True, bias=False)
        self.ffn = FeedForward(width, inner, activation="swiglu", bias=False)
        self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            for out in (self.attention.out, self.ffn.down):
                out.weight /= (2 * layers) ** 0.5

    def forward(self, x: Hidden, *, mask: Mask = None, index: Index = None) -> Hidden:
        x = x + self.dropout(self.attention(self.norms[0](x), mask=mask, index=index))
        return x + self.dropout(self.ffn(self.norms[1](x)))


class GRULayers(nn.Module):
    """GRU4Rec's: recurrent layers, and a linear map back where they are wider.

    Hidasi et al., 2016; UQABench's has a norm after it.
    """

    def __init__(
        self, width: int, hidden: int, *, layers: int = 1, dropout: float = 0.1, bias: bool = True
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(
            width,
            hidden,
            layers,
            bias=bias,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.out = nn.Linear(hidden, width) if hidden != width else nn.Identity()

    def forward(self, x: Hidden) -> Hidden:
        return self.out(self.gru(x)[0])


class HSTUBlock(nn.Module):
    """HSTU's layer: SiLU attention without softmax, gated.

    [U V Q K] = SiLU(LN(x) W); A = SiLU(Q Kᵀ + bias) / n · mask;
    y = x + W_o dropout(LN(A V) · U) + b. The norms have no weights. `n` is a constant (the longest
    history), not the batch's padding: outputs do not depend on who else is in the batch.
    Source: Zhai et al., 2024, equations 1 to 3, as their code runs them.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        query_width: int,
        value_width: int,
        length: int,
        by_time: bool,
        relative: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.heads, self.length, self.widths = (
            heads,
            length,
            (value_width, value_width, query_width, query_width),
        )
        self.project = nn.Linear(width, heads * sum(self.widths), bias=False)
        nn.init.normal_(self.project.weight, std=0.02)
        self.out = nn.Linear(heads * value_width, width)
        nn.init.xavier_uniform_(self.out.weight)
        self.bias = RelativeBias(length, by_time=by_time) if relative else None
        self.timed = by_time and relative  # whether it reads times
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Hidden,
        *,
        mask: Mask = None,
        seconds: Int[Tensor, "B L"] | None = None,
        asked: Int[Tensor, "B L"] | None = None,
    ) -> Hidden:
        length = x.shape[1]
        parts = F.silu(self.project(F.layer_norm(x, x.shape[-1:], eps=1e-6))).split(
            [self.heads * w for w in self.widths], -1
        )
        u, (v, q, k) = (
            parts[0],
            (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts[1:]),
        )
        scores = q @ k.transpose(-1, -2)
        if self.bias is not None:
            scores = scores + self.bias(length, seconds, asked)[:, None]
        weights = F.silu(scores) / self.length
        allowed = (
            torch.ones(1, length, length, dtype=torch.bool, device=x.device).tril()
            if mask is None
            else mask
        )
        mixed = (weights * allowed[:, None] @ v).transpose(1, 2).flatten(2)
        return x + self.out(self.dropout(F.layer_norm(mixed, mixed.shape[-1:], eps=1e-6) * u))
