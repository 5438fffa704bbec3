"""Networks that others wrote, with our weights: equal to 1e-5.

RecTools' SASRec, LiGR and HSTU (`make parity` installs them into build/parity) and the Mamba
mixers of transformers. Run by `make parity`, not by the suite.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.encoders.hstu import HSTU
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec
from clickprint.nn.blocks import Attention
from clickprint.nn.mamba import Mamba1, Mamba2
from clickprint.nn.next_item import Batch, NextItem

pytestmark = pytest.mark.parity
WIDTH, HEADS, LENGTH, ITEMS, LAYERS = 16, 2, 7, 30, 2
CLOSE = 1e-5


@pytest.fixture(scope="module")
def rectools() -> Iterator[Any]:
    """RecTools' transformers, from build/parity."""
    where = str(Path(__file__).parents[2] / "build" / "parity")
    sys.path.append(where)
    import rectools.models.nn.transformers as transformers
    from rectools.models.nn.transformers import hstu, ligr, net_blocks, torch_backbone

    assert hstu, (ligr, net_blocks, torch_backbone)
    yield transformers
    sys.path.remove(where)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        yield


def drawn(module: nn.Module) -> None:
    """Weights that are not small, so that nothing is equal by being nearly nothing."""
    for weight in module.parameters():
        weight.normal_(std=0.4 if weight.ndim > 1 else 1.0)


def put(ours: Any, weight: Tensor, bias: Tensor | None = None) -> None:
    """Copies weights into one of ours, of the same shape."""
    ours.weight.copy_(weight)
    assert (ours.bias is None) == (bias is None)
    if bias is not None:
        ours.bias.copy_(bias)


def put_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    maps = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
    for own, weight, bias in zip((ours.query, ours.key, ours.value), *maps, strict=True):
        put(own, weight, bias)
    put(ours.out, theirs.out_proj.weight, theirs.out_proj.bias)


def put_norms(ours: Any, *theirs: nn.LayerNorm) -> None:
    for own, norm in zip(ours, theirs, strict=True):
        put(own, norm.weight, norm.bias)
        assert own.eps == norm.eps


def backbone(rectools: Any, layers: nn.Module, *, hstu: bool = False) -> Any:
    """Their network around these layers: places from the newest event, causal, padding unseen.

    HSTU's hides padding by itself, and items enter times √width.
    """
    places = rectools.net_blocks.LearnableInversePositionalEncoding(
        True, LENGTH, WIDTH, use_scale_factor=hstu
    )
    made = rectools.torch_backbone.TransformerTorchBackbone(
        HEADS, 0.0, nn.Identity(), places, layers, nn.Identity(), use_key_padding_mask=not hstu
    )
    drawn(made)
    return made.eval()


def histories(lengths: list[int]) -> tuple[Batch, Tensor]:
    """Users of so many events: padded at the right, as ours are, and at the left, as theirs."""
    items = [torch.randint(1, ITEMS + 1, (n,)) for n in lengths]
    right = nn.utils.rnn.pad_sequence(items, batch_first=True)
    left = torch.stack([F.pad(i, (LENGTH - len(i), 0)) for i in items])
    return Batch({"item": right}, torch.tensor(lengths)), left


def put_tables(ours: NextItem, theirs: Any, *, onwards: bool = False) -> Tensor:
    """Item vectors, drawn, and places; theirs are counted from the newest event."""
    table = ours.embed["item"].weight
    table[1:].normal_()
    assert ours.positions is not None
    places = theirs.pos_encoding_layer.pos_emb.weight
    ours.positions.table.weight.copy_(places.flip(0) if onwards else places)
    return table


def compared(ours: NextItem, theirs: Any, table: Tensor, lengths: list[int]) -> None:
    """The states of all events of users of these lengths."""
    given, left = histories(lengths)
    wanted, found = theirs.encode_sessions({"x": left}, table.clone()), ours.eval()(given)
    for row, n in enumerate(lengths):
        assert torch.allclose(found[row, :n], wanted[row, LENGTH - n :], atol=CLOSE, rtol=0)
        assert found[row, :n].abs().mean() > 0.1


def test_sasrec_is_rectools(rectools: Any) -> None:
    theirs = backbone(
        rectools,
        rectools.sasrec.SASRecTransformerLayers(LAYERS, WIDTH, HEADS, 0.0),
    )
    recipe = SASRec(width=WIDTH, layers=LAYERS, heads=HEADS, history=HistorySpec(length=LENGTH))
    ours = recipe.model({"item": ITEMS})
    table = put_tables(ours, theirs)
    for own, block in zip(ours.layers, theirs.transformer_layers.transformer_blocks, strict=True):
        put_attention(own.attention, block.multi_head_attn)
        put_norms((own.norm_query, own.norm_ffn), block.q_layer_norm, block.ff_layer_norm)
        inner = block.feed_forward
        put(own.ffn.up, inner.ff_linear_1.weight, inner.ff_linear_1.bias)
        put(own.ffn.down, inner.ff_linear_2.weight, inner.ff_linear_2.bias)
    last = theirs.transformer_layers.last_layernorm
    ours.norm.eps = last.eps  # theirs is 1e-8, which is another network by less than 1e-5
    put_norms((ours.norm,), last)
    compared(ours, theirs, table, [LENGTH, 4, 1])


def test_ligr_is_rectools(rectools: Any) -> None:
    theirs = backbone(rectools, rectools.ligr.LiGRLayers(LAYERS, WIDTH, HEADS, 0.0))
    recipe = SASRec(
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        block="ligr",
        history=HistorySpec(length=LENGTH),
    )
    ours = recipe.model({"item": ITEMS})
    table = put_tables(ours, theirs)
    for own, block in zip(ours.layers, theirs.transformer_layers.transformer_blocks, strict=True):
        put_attention(own.attention, block.multi_head_attn)
        put_norms(own.norms, block.layer_norm_1, block.layer_norm_2)
        put(own.gates[0], block.gating_linear_1.weight, block.gating_linear_1.bias)
        put(own.gates[1], block.gating_linear_2.weight, block.gating_linear_2.bias)
        inner = block.feed_forward
        put(own.ffn.gate, inner.ff_linear_1.weight)
        put(own.ffn.up, inner.ff_linear_3.weight)
        put(own.ffn.down, inner.ff_linear_2.weight)
    compared(ours, theirs, table, [LENGTH, 4, 1])


def test_hstu_is_rectools(rectools: Any) -> None:
    """Full histories: their places are counted from the newest event, ours from the oldest."""
    query, value = 5, 6
    theirs = backbone(
        rectools,
        rectools.hstu.STULayers(LAYERS, WIDTH, HEADS, value, query, LENGTH, True, True),
        hstu=True,
    )
    recipe = HSTU(
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        query_width=query,
        value_width=value,
        history=HistorySpec(length=LENGTH),
    )
    ours = recipe.model({"item": ITEMS}).eval()
    table = put_tables(ours, theirs, onwards=True)
    for own, block in zip(ours.layers, theirs.transformer_layers.stu_blocks, strict=True):
        for norm in (block.norm_input, block.norm_attn_output):  # ours have no weights
            norm.weight.fill_(1)
            norm.bias.zero_()
        put(own.project, block.uvqk_proj.T)
        put(own.out, block.output_mlp.weight, block.output_mlp.bias)
        own.bias.place.copy_(block.rel_attn.pos_weights.flip(0))  # theirs are of j − i
        own.bias.time.copy_(block.rel_attn.time_weights)
    given, left = histories([LENGTH, LENGTH])
    times = torch.from_numpy(np.random.default_rng(0).integers(0, 10**7, (2, LENGTH + 1)))
    times = times.sort(1).values
    clock = {"time": times[:, :-1], "asked": times[:, 1:]}
    found = ours(Batch({**given.fields, **clock}, given.lengths))
    wanted = theirs.encode_sessions({"x": left, "unix_ts": times}, table.clone())
    assert torch.allclose(found, F.normalize(wanted, dim=-1), atol=CLOSE, rtol=0)


def test_mamba_1_is_that_of_transformers() -> None:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    ours = Mamba1(WIDTH, state=4)
    drawn(ours)
    ours.log_a.copy_(torch.rand_like(ours.log_a))
    config = MambaConfig(hidden_size=WIDTH, state_size=4, time_step_rank=ours.rank)
    theirs = MambaMixer(config, layer_idx=0).eval()
    put(theirs.in_proj, ours.enter.weight)
    put(theirs.conv1d, ours.conv.weight, ours.conv.bias)
    put(theirs.x_proj, ours.select.weight)
    put(theirs.dt_proj, ours.delta.weight, ours.delta.bias)
    put(theirs.out_proj, ours.leave.weight)
    theirs.A_log.copy_(ours.log_a)
    theirs.D.copy_(ours.skip)
    x = torch.randn(2, LENGTH, WIDTH)
    assert torch.allclose(ours(x), theirs(x), atol=CLOSE, rtol=CLOSE)


def test_mamba_2_is_that_of_transformers() -> None:
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    ours = Mamba2(WIDTH, state=4, head_width=8)
    drawn(ours)
    ours.log_a.copy_(torch.rand_like(ours.log_a))
    config = Mamba2Config(
        hidden_size=WIDTH,
        state_size=4,
        num_heads=ours.heads,
        head_dim=8,
        n_groups=1,
        layer_norm_epsilon=torch.finfo(torch.float32).eps,
    )
    theirs = Mamba2Mixer(config, layer_idx=0).eval()
    put(theirs.in_proj, ours.enter.weight)
    put(theirs.conv1d, ours.conv.weight, ours.conv.bias)
    put(theirs.out_proj, ours.leave.weight)
    theirs.norm.weight.copy_(ours.norm.weight)
    for own, name in ((ours.delta, "dt_bias"), (ours.log_a, "A_log"), (ours.skip, "D")):
        getattr(theirs, name).copy_(own)
    x = torch.randn(2, LENGTH, WIDTH)
    assert torch.allclose(ours(x), theirs(x), atol=CLOSE, rtol=CLOSE)
