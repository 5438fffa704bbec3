"""A graph of left and right nodes whose edges are of several relations, as vectors.

Source: El-Kishky et al., TwHIN, KDD 2022 (an edge is scored by the product of a node and another
one moved by its relation), in the form of the RecSys Challenge 2025's fourth team: only directions
count, and the other edges of a batch are the negatives.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clickprint.nn.losses import NEVER


@dataclass(frozen=True, slots=True)
class Edges:
    """Edge b goes from `left[b]` to `right[b]`, is of `relation[b]` and counts `weight[b]`."""

    left: Int[Tensor, "B"]
    right: Int[Tensor, "B"]
    relation: Int[Tensor, "B"]
    weight: Float[Tensor, "B"]


class Graph(nn.Module):
    """The vectors: of left nodes, right nodes and relations."""

    def __init__(
        self, left: int, right: int, relations: int, width: int, *, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.left, self.right, self.relation = (
            nn.Embedding(left, width),
            nn.Embedding(right, width),
            nn.Embedding(relations, width),
        )
        for table in (self.left, self.right):
            nn.init.normal_(table.weight, std=width**-0.5)
        nn.init.zeros_(self.relation.weight)

    def forward(self, edges: Edges) -> Float[Tensor, "B B"]:
        """How well each edge's left node (row) goes with each edge's right end (column).

        The cosine over the temperature.
        """
        return (
            F.normalize(self.left(edges.left), dim=-1)
            @ self.ends(edges.right, edges.relation).T
            / self.temperature
        )

    def ends(self, right: Int[Tensor, "B"], relation: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        """Where edges point to: unit vectors."""
        return F.normalize(self.right(right) + self.relation(relation), dim=-1)


def edge_loss(model: nn.Module, edges: Edges) -> Float[Tensor, ""]:
    """Binary cross entropy, summed over the edges by their weight.

    Each edge is true; the mean of what it would be with the right ends of the batch's other edges
    is false. Edges with the same left or the same right node are no negatives of each other.
    """
    scores = model(edges).float()
    taboo = (edges.left[:, None] == edges.left) | (edges.right[:, None] == edges.right)
    negatives = F.softplus(scores.masked_fill(taboo, NEVER)).sum(1) / (~taboo).sum(1).clamp(min=1)
    return (edges.weight * (F.softplus(-scores.diagonal()) + negatives)).sum()
