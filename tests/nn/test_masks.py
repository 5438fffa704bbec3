"""Masks against their definitions, cell by cell."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clickprint.nn import masks


@given(st.integers(0, 7))
def test_causal(length: int) -> None:
    mask = masks.causal(length)
    assert all(bool(mask[i, j]) == (j <= i) for i in range(length) for j in range(length))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_padding_is_seen_by_nobody_and_no_row_is_empty(lengths: list[int]) -> None:
    mask = masks.padded(masks.causal(5), torch.tensor(lengths))
    for b, n in enumerate(lengths):
        for i in range(5):
            assert mask[b, i].any()
            for j in range(5):
                assert bool(mask[b, i, j]) == ((j <= i and j < n) or i == j)


# Sessions as lists of how many items each has; a context token stands before them.
SESSIONS = st.lists(st.integers(0, 3), min_size=1, max_size=4)


def tokens(sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    sessions = [s for s, n in enumerate(sizes) for _ in range(n + 1)]
    context = [place == 0 for n in sizes for place in range(n + 1)]
    return torch.tensor([sessions]), torch.tensor([context])


@given(SESSIONS)
def test_session(sizes: list[int]) -> None:
    sessions, context = tokens(sizes)
    mask = masks.session(sessions, context)[0]
    s, c = sessions[0].tolist(), context[0].tolist()
    for i in range(len(s)):
        for j in range(len(s)):
            earlier, own = s[j] < s[i], i == j
            context_of_item = s[j] == s[i] and c[j] and not c[i]
            assert bool(mask[i, j]) == (earlier or own or context_of_item), (i, j)


@given(SESSIONS, st.randoms())
def test_items_of_a_session_are_exchangeable_and_later_sessions_unseen(
    sizes: list[int], random
) -> None:
    """Attention under the mask: permuting items inside sessions leaves context outputs.

    Changing a session leaves the earlier ones.
    """
    sessions, context = tokens(sizes)
    torch.manual_seed(random.randrange(1000))
    x = torch.randn(sessions.shape[1], 4)
    mask = masks.session(sessions, context)[0]

    def attend(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax((x @ x.T).masked_fill(~mask, -torch.inf), -1) @ x

    order = list(range(len(x)))
    for s in set(sessions[0].tolist()):
        items = [i for i in order if sessions[0, i] == s and not context[0, i]]
        shuffled = random.sample(items, len(items))
        for i, j in zip(items, shuffled, strict=True):
            order[i] = j
    is_context = context[0]
    assert torch.allclose(attend(x)[is_context], attend(x[order])[is_context], atol=1e-5)
    changed = x.clone()
    last = sessions[0] == sessions[0].max()
    changed[last] += 1
    assert torch.equal(attend(x)[~last], attend(changed)[~last])


@pytest.mark.parametrize(("base", "blocks", "size"), [(0, 1, 2), (3, 0, 2), (3, 2, 2), (2, 3, 1)])
def test_block_causal(base: int, blocks: int, size: int) -> None:
    mask = masks.block_causal(base, blocks, size)
    block = [0] * base + [b + 1 for b in range(blocks) for _ in range(size)]
    assert len(mask) == len(block)
    assert all(
        bool(mask[i, j]) == (block[j] <= block[i])
        for i in range(len(block))
        for j in range(len(block))
    )


@pytest.mark.parametrize(("length", "conditions"), [(0, 2), (4, 0), (4, 3)])
def test_group_query(length: int, conditions: int) -> None:
    mask = masks.group_query(length, conditions)
    for i in range(length + conditions):
        for j in range(length + conditions):
            wanted = j <= i if i < length else (j < length or j == i)
            assert bool(mask[i, j]) == wanted


@given(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=5))
def test_candidate_group(base: int, groups: list[int]) -> None:
    mask = masks.candidate_group(base, torch.tensor(groups, dtype=torch.long))
    for i in range(base + len(groups)):
        for j in range(base + len(groups)):
            both = i >= base and j >= base and groups[i - base] == groups[j - base]
            assert bool(mask[i, j]) == (j < base or both)
