"""Whole networks against their papers' formulas, written out row by row."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clickprint.encoders.gru4rec import GRU4Rec
from clickprint.encoders.hstu import HSTU
from clickprint.encoders.mamba4rec import Mamba4Rec
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec
from clickprint.encoders.transformerpp import TransformerPP
from clickprint.nn.mamba import Mamba1
from clickprint.nn.next_item import Batch, NextItem

WIDTH, ITEMS, LENGTH, EVENTS = 8, 9, 6, 5
HISTORY, FIVE = HistorySpec(length=LENGTH), torch.tensor([EVENTS])
Layer = Callable[[Any, Tensor], Tensor]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        yield


def network(recipe: Any) -> NextItem:
    """Its network, with weights that are not small."""
    made: NextItem = recipe.model({"item": ITEMS}).eval()
    for weight in made.parameters():
        weight.normal_(std=0.4 if weight.ndim > 1 else 0.8)
    made.embed["item"].weight[0] = 0
    return made


def norm(x: Tensor, of: Any = None, *, eps: float = 1e-5) -> Tensor:
    """LN, with the weights of a norm or without."""
    out = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt()
    return out if of is None else out * of.weight + of.bias


def rms(x: Tensor, of: Any) -> Tensor:
    square = (x**2).mean(-1, keepdim=True)
    return x / (square + torch.finfo(torch.float32).eps).sqrt() * of.weight


def attention(of: Any, query: Tensor, source: Tensor, turn: Any = None) -> Tensor:
    """softmax(QKᵀ / √d) V of each row and head over the rows up to it; then the output map."""
    turn = turn or (lambda vector, place: vector)
    width = WIDTH // of.heads
    out = torch.zeros(len(query), WIDTH)
    for i in range(len(query)):
        for h in range(of.heads):
            part = slice(h * width, (h + 1) * width)
            q = turn(of.query(query[i])[part], i)
            near = range(i + 1)
            k = torch.stack([turn(of.key(source[j])[part], j) for j in near])
            v = torch.stack([of.value(source[j])[part] for j in near])
            out[i, part] = torch.softmax(k @ q / width**0.5, 0) @ v
    return of.out(out)


def sasrec(block: Any, x: Tensor) -> Tensor:
    """Kang & McAuley as they run it: the residual of both parts is the normalised input."""
    query = norm(x, block.norm_query)
    y = norm(query + attention(block.attention, query, x), block.norm_ffn)
    return y + block.ffn.down(block.ffn.up(y).relu())


def post(block: Any, x: Tensor) -> Tensor:
    """Vaswani et al.: each norm after its residual."""
    x = norm(x + attention(block.attention, x, x), block.norms[0])
    return norm(x + block.ffn.down(block.ffn.up(x).relu()), block.norms[1])


def swiglu(ffn: Any, x: Tensor) -> Tensor:
    gate = ffn.gate(x)
    return ffn.down(gate * torch.sigmoid(gate) * ffn.up(x))


def ligr(block: Any, x: Tensor) -> Tensor:
    one = norm(x, block.norms[0])
    x = x + torch.sigmoid(block.gates[0](x)) * attention(block.attention, one, one)
    return x + torch.sigmoid(block.gates[1](x)) * swiglu(block.ffn, norm(x, block.norms[1]))


def transformerpp(block: Any, x: Tensor) -> Tensor:
    """RMSNorm before, rotary places, SwiGLU."""

    def turn(vector: Tensor, place: int) -> Tensor:
        half = len(vector) // 2
        angles = torch.tensor([place * 10_000 ** (-i / half) for i in range(half)])
        pairs = torch.complex(vector[:half], vector[half:]) * torch.exp(1j * angles)
        return torch.cat([pairs.real, pairs.imag])

    one = rms(x, block.norms[0])
    x = x + attention(block.attention, one, one, turn)
    return x + swiglu(block.ffn, rms(x, block.norms[1]))


def mamba1(of: Mamba1, x: Tensor) -> Tensor:
    """Gu & Dao: h = exp(Δ A) h + Δ B u, y = C h + D u, gated; A = −exp(its logarithm)."""
    inner, gate = of.enter(x).chunk(2, -1)
    kernel = of.conv.weight[:, 0]
    state, rows = torch.zeros(inner.shape[1], of.state), []
    for t in range(len(x)):
        u = of.conv.bias.clone()
        for back in range(kernel.shape[1]):
            if back <= t:
                u += kernel[:, -1 - back] * inner[t - back]
        u = F.silu(u)
        rank, b, c = of.select(u).split([of.rank, of.state, of.state])
        delta = torch.log1p(torch.exp(of.delta(rank)))
        decay = torch.exp(delta[:, None] * -torch.exp(of.log_a))
        state = decay * state + delta[:, None] * b * u[:, None]
        rows.append((state @ c + of.skip * u) * F.silu(gate[t]))
    return of.leave(torch.stack(rows))


def mamba4rec(block: Any, x: Tensor) -> Tensor:
    """Liu et al.: a norm after the mixer and after the feed-forward part."""
    mixed = mamba1(block.mixer, x)
    x = norm(mixed + x if block.residual else mixed, block.norms[0], eps=1e-12)
    return norm(x + block.ffn.down(F.gelu(block.ffn.up(x))), block.norms[1], eps=1e-12)


def gru(layer: Any, x: Tensor) -> Tensor:
    """Cho et al.'s gates, as torch orders them."""
    of, state, rows = layer.gru, torch.zeros(layer.gru.hidden_size), []
    for t in range(len(x)):
        given = (of.weight_ih_l0 @ x[t] + of.bias_ih_l0).chunk(3)
        kept = (of.weight_hh_l0 @ state + of.bias_hh_l0).chunk(3)
        reset, update = (torch.sigmoid(given[i] + kept[i]) for i in (0, 1))
        state = (1 - update) * torch.tanh(given[2] + reset * kept[2]) + update * state
        rows.append(state)
    return layer.out(torch.stack(rows))


NETWORKS: dict[str, tuple[Any, Layer]] = {
    "sasrec": (SASRec(width=WIDTH, layers=2, heads=2, history=HISTORY), sasrec),
    "post": (SASRec(width=WIDTH, layers=2, heads=2, block="post", history=HISTORY), post),
    "ligr": (SASRec(width=WIDTH, layers=2, heads=2, block="ligr", history=HISTORY), ligr),
    "scaled": (SASRec(width=WIDTH, scale=True, history=HISTORY), sasrec),
    "transformer++": (TransformerPP(width=WIDTH, layers=2, history=HISTORY), transformerpp),
    "mamba4rec": (Mamba4Rec(width=WIDTH, state=3, history=HISTORY), mamba4rec),
    "mamba4rec, 2": (Mamba4Rec(width=WIDTH, layers=2, state=3, history=HISTORY), mamba4rec),
    "gru4rec": (GRU4Rec(width=WIDTH, hidden=5, history=HISTORY), gru),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_its_paper(name: str) -> None:
    """Item vectors and places enter, layers follow, and a last norm where the paper has one."""
    recipe, layer = NETWORKS[name]
    made, items = network(recipe), torch.randint(1, ITEMS + 1, (EVENTS,))
    x = made.embed["item"].weight[items]
    if name == "scaled":
        x = x * WIDTH**0.5
    if made.positions is not None:  # the newest event stands at place 0
        x = x + made.positions.table.weight[torch.arange(EVENTS - 1, -1, -1)]
    if name.startswith("mamba4rec"):
        x = norm(x, made.norm_input, eps=1e-12)
    for block in made.layers:
        x = layer(block, x)
    if name in ("sasrec", "scaled", "transformer++", "gru4rec"):
        x = norm(x, made.norm)
    found = made(Batch({"item": items[None]}, torch.tensor([EVENTS])))[0]
    assert torch.allclose(found, x, atol=1e-5)
    assert (made.positions is None) == (name[:5] in ("trans", "mamba", "gru4r"))


def test_hstu_is_its_paper() -> None:
    """Items times √d, places from the oldest; SiLU instead of softmax, over a fixed n; unit."""
    recipe = HSTU(width=WIDTH, heads=2, query_width=3, value_width=4, history=HISTORY)
    made, items = network(recipe), torch.randint(1, ITEMS + 1, (EVENTS,))
    seconds = torch.tensor([5, 9, 9, 4_000, 90_000])
    asked = torch.tensor([9, 9, 4_000, 90_000, 10**7])
    x = made.embed["item"].weight[items] * WIDTH**0.5
    x = x + made.positions.table.weight[:EVENTS]
    for block in made.layers:
        u, v, q, k = F.silu(block.project(norm(x, eps=1e-6))).split([8, 8, 6, 6], -1)
        mixed = torch.zeros(EVENTS, 8)
        for i in range(EVENTS):
            for j in range(i + 1):
                gap = max(1, abs(int(asked[i] - seconds[j])))
                bias = block.bias.place[i - j + LENGTH - 1]
                bias = bias + block.bias.time[min(int(np.log(gap) / 0.301), 128)]
                for h in range(2):
                    at, over = slice(3 * h, 3 * h + 3), slice(4 * h, 4 * h + 4)
                    mixed[i, over] += F.silu(q[i, at] @ k[j, at] + bias) / LENGTH * v[j, over]
        x = x + block.out(norm(mixed, eps=1e-6) * u)
    found = made(
        Batch(
            {"item": items[None], "time": seconds[None], "asked": asked[None]},
            torch.tensor([EVENTS]),
        )
    )[0]
    assert torch.allclose(found, x / x.norm(dim=1, keepdim=True), atol=1e-5)
    table = made.embed["item"].weight[1:]
    assert torch.allclose(made.items[1:], table / table.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("name", ["gru4rec", "mamba4rec", "transformer++", "hstu"])
def test_what_follows_changes_no_state(name: str) -> None:
    """Also not where it stands: only SASRec's places are counted from the newest event."""
    hstu = HSTU(width=WIDTH, by_time=False, history=HISTORY)
    made = network(hstu if name == "hstu" else NETWORKS[name][0])
    items = torch.randint(1, ITEMS + 1, (1, EVENTS))
    whole = made(Batch({"item": items}, torch.tensor([EVENTS])))
    part = made(Batch({"item": items[:, :3]}, torch.tensor([3])))
    assert torch.allclose(whole[:, :3], part, atol=1e-5)


def test_items_are_hidden_from_the_loss_in_training_alone() -> None:
    """A fifth of the numbers, the others larger; the states are those of the whole vectors."""
    recipe = SASRec(width=64, dropout=0.0, item_dropout=0.2, history=HISTORY)
    made = recipe.model({"item": 500})
    table, given = made.embed["item"].weight, Batch({"item": torch.arange(1, 6)[None]}, FIVE)
    assert torch.equal(made.eval().items, table)
    states = made(given)
    hidden = made.train().items[1:] == 0
    assert hidden.float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.allclose(made.items.sum(), table.sum(), atol=0.2 * table.abs().sum() ** 0.5 + 1)
    kept = made.items / table
    assert torch.allclose(kept[kept > 0], torch.tensor(1 / 0.8))
    assert torch.allclose(made(given), states)


def test_weights_start_as_the_papers_say() -> None:
    """Transformer++'s output maps are smaller by √(2 layers); Mamba's A starts at −1 … −N."""
    wide = TransformerPP(width=256, layers=8, heads=2).model({"item": 1})
    for layer in wide.layers:
        ratio = layer.attention.query.weight.std() / layer.attention.out.weight.std()
        assert ratio.item() == pytest.approx(4, rel=0.05)
        ffn = layer.ffn.down.weight.std() * (3 * layer.ffn.down.in_features) ** 0.5
        assert ffn.item() == pytest.approx(1 / 4, rel=0.05)
    mixer = Mamba1(16, state=5)
    assert torch.allclose(-mixer.log_a.exp(), -torch.arange(1.0, 6).expand(32, 5))
    delta = F.softplus(mixer.delta.bias)
    assert 1e-4 <= delta.min() <= delta.max() <= 0.1 + 1e-6
    items = SASRec(width=64).model({"item": 5_000}).embed["item"].weight
    assert items[1:].std().item() == pytest.approx(0.02, rel=0.01)
    assert not items[0].any()
