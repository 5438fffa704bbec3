"""Where and when a token stands: learned places, rotation by any index, HSTU's bias."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

TIME_BUCKETS = 128  # and one more: HSTU's table has 129 entries
BUCKET_WIDTH = 0.301  # of the logarithm of the seconds between two events


class LearnedPositions(nn.Module):
    """One learned vector a place, from the newest event backwards or the oldest onwards.

    Places beyond the table are refused.
    """

    def __init__(self, length: int, width: int, *, deviation: float = 0.02) -> None:
        super().__init__()
        self.table = nn.Embedding(length, width)
        nn.init.trunc_normal_(self.table.weight, std=deviation, a=-2 * deviation, b=2 * deviation)

    def forward(self, places: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        """The vectors of these places. Raises IndexError for a place outside the table."""
        return self.table(places)


def rotate(
    x: Float[Tensor, "*B L D"],
    index: Int[Tensor, "*#B L"] | Float[Tensor, "*#B L"],
    *,
    base: float = 10_000.0,
) -> Float[Tensor, "*B L D"]:
    """RoPE: pairs (x_i, x_{i + D/2}) turned by index · base^(−2i/D).

    So ⟨rotate(q, m), rotate(k, n)⟩ depends on m − n only. `index` is a token's place, or its
    session (TBGRecall's sw-RoPE): whatever distance is to be counted in. Raises ValueError for odd
    D.
    """
    width = x.shape[-1]
    if width % 2:
        raise ValueError(f"rotation needs an even width, found {width}")
    turns = base ** (-torch.arange(0, width, 2, device=x.device, dtype=torch.float32) / width)
    angle = index[..., None].to(torch.float32) * turns
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., : width // 2], x[..., width // 2 :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def time_bucket(seconds: Float[Tensor, "*B"] | Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """HSTU's bucket of a time difference: ⌊ln(max(1, |x|)) / 0.301⌋, at most 128."""
    logarithm = seconds.abs().clamp(min=1).to(torch.float64).log()
    return (logarithm / BUCKET_WIDTH).floor().clamp(max=TIME_BUCKETS).long()


class RelativeBias(nn.Module):
    """HSTU's bias of the attention of i to j: by place, and by time.

    A learned number for i − j, and one for the bucket of r_i − t_j, where r_i is when row i is
    asked: the time of the next event, and for the newest event the time of the request. Shared by
    the heads. Without times only the places count. Source: spec/sequential-encoders.md 5.1.
    """

    def __init__(self, length: int, *, by_time: bool = True, deviation: float = 0.02) -> None:
        super().__init__()
        self.length = length
        self.place = nn.Parameter(torch.empty(2 * length - 1).normal_(std=deviation))
        self.time = (
            nn.Parameter(torch.empty(TIME_BUCKETS + 1).normal_(std=deviation)) if by_time else None
        )

    def forward(
        self,
        length: int,
        seconds: Int[Tensor, "B L"] | None = None,
        asked: Int[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "#B L L"]:
        """The bias of a batch padded to `length`: `seconds` of events, and when each is asked."""
        if length > self.length:
            raise ValueError(f"this bias was made for {self.length} places, found {length}")
        place = torch.arange(length, device=self.place.device)
        bias = self.place[place[:, None] - place[None, :] + self.length - 1][None]
        if self.time is None or seconds is None or asked is None:
            return bias
        return bias + self.time[time_bucket(asked[:, :, None] - seconds[:, None, :])]
