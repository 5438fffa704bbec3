"""The checks of spec/shared-contracts.md that need whole layers.

Those of one function stand beside its tests.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from clickprint.nn.blocks import Attention, HSTUBlock

WIDTH = 8


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(-50, 50))
@torch.no_grad()
def test_a_constant_added_to_all_sessions_changes_nothing(sizes: list[int], shift: int) -> None:
    """TBGRecall's sw-RoPE: attention under the session mask, turned by the session's number."""
    torch.manual_seed(0)
    attention = Attention(WIDTH, 2, rope=True)
    index = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[None]
    x = torch.randn(1, index.shape[1], WIDTH)
    found = attention(x, index=index + shift)
    assert torch.allclose(found, attention(x, index=index), atol=1e-5)
    if len(sizes) > 1:
        assert not torch.allclose(attention(x, index=index * 3), found, atol=1e-5)


@torch.no_grad()
def test_hstu_divides_by_its_own_length_however_long_the_batch_is() -> None:
    """What is mixed scales with 1/n, n is the model's length; padding moves no real row."""
    torch.manual_seed(0)
    short, long = (
        HSTUBlock(WIDTH, 2, query_width=4, value_width=4, length=n, by_time=False) for n in (6, 24)
    )
    own = {n: v for n, v in short.state_dict().items() if not n.startswith("bias")}
    long.load_state_dict({**long.state_dict(), **own})
    mixed = []
    for block in (short.eval(), long.eval()):
        block.bias.place.zero_()
        x = torch.randn(2, 6, WIDTH, generator=torch.Generator().manual_seed(1))
        norms, true = [], F.layer_norm
        torch.nn.functional.layer_norm = lambda v, *more, norms=norms, true=true, **kw: (
            norms.append(v),
            true(v, *more, **kw),
        )[1]
        try:
            block(x)
        finally:
            torch.nn.functional.layer_norm = true
        mixed.append(norms[1])
    assert mixed[0].abs().max() > 1e-5
    assert torch.allclose(mixed[0], mixed[1] * 4, rtol=1e-4, atol=1e-9)
    padded = torch.cat([x, torch.randn(2, 9, WIDTH)], 1)
    assert torch.allclose(long(padded)[:, :6], long(x), atol=1e-6)
