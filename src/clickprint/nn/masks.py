"""Who may look at whom: True where row i (the query) may attend to column j (the key).

Masks broadcast over heads. Source: spec/shared-contracts.md; TBGRecall 4.2 (session), OnePiece 3.1
and 3.2 (candidate groups, block-causal), LUM step 2 (group query).
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def causal(length: int, *, device: torch.device | str | None = None) -> Bool[Tensor, "L L"]:
    """Each token sees itself and what came before it."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def real(lengths: Int[Tensor, "B"], length: int) -> Bool[Tensor, "B L"]:
    """Which places hold a token, in rows that are padded at the right."""
    return torch.arange(length, device=lengths.device) < lengths[:, None]


def padded(mask: Bool[Tensor, "*#B L L"], lengths: Int[Tensor, "B"]) -> Bool[Tensor, "B L L"]:
    """The mask without the columns of padding.

    Nobody sees a padding row; it sees itself, so that no softmax is over nothing.
    """
    length = mask.shape[-1]
    own = torch.eye(length, dtype=torch.bool, device=mask.device)
    return (mask & real(lengths, length)[:, None, :]) | own


def session(sessions: Int[Tensor, "B L"], context: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L L"]:
    """TBGRecall's: everyone sees itself and all tokens of earlier sessions.

    An item also sees its own session's context token. Items of one session do not see each other,
    and a context token sees none of its own items, so items inside a session are exchangeable and
    every context output predicts its session.

    - `sessions`: the number of each token's session.
    - `context`: which tokens are context tokens.
    """
    query, key = sessions[:, :, None], sessions[:, None, :]
    own_context = (query == key) & context[:, None, :] & ~context[:, :, None]
    own = torch.eye(sessions.shape[1], dtype=torch.bool, device=sessions.device)
    return (key < query) | own_context | own


def block_causal(
    base: int, blocks: int, size: int, *, device: torch.device | str | None = None
) -> Bool[Tensor, "L L"]:
    """OnePiece's reasoning: `base` tokens see each other (both ways) and no block.

    Block j sees the base, the blocks before it, and itself. L = base + blocks · size.
    """
    place = torch.arange(base + blocks * size, device=device)
    block = torch.where(place < base, 0, (place - base) // max(size, 1) + 1)
    return block[None, :] <= block[:, None]


def group_query(
    length: int, conditions: int, *, device: torch.device | str | None = None
) -> Bool[Tensor, "L L"]:
    """LUM's: a causal sequence, and conditions after it.

    Each condition sees the sequence and itself, never another condition.
    """
    place = torch.arange(length + conditions, device=device)
    query, key = place[:, None], place[None, :]
    return torch.where(query < length, key <= query, (key < length) | (key == query))


def candidate_group(base: int, groups: Int[Tensor, "C"]) -> Bool[Tensor, "L L"]:
    """OnePiece's setwise ranking: candidates see the base and their own group.

    `base` tokens see each other and no candidate, so groups can be scored apart or together.
    `groups` is each candidate's group; L = base + C.
    """
    group = torch.cat([torch.full((base,), -1, dtype=groups.dtype, device=groups.device), groups])
    place = torch.arange(len(group), device=groups.device)
    return (place[None, :] < base) | (group[:, None] == group[None, :])
