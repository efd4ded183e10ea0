"""Several discriminators as one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Several(nn.Module):
    """Discriminators that judge the same images, each with a weight: gives all their maps of scores.

    Images (N, 3, H, W) in [-1, 1] to a list of (weight, scores (N, 1, h, w)): a discriminator that itself gives
    several maps has their weights multiplied by its own. The loss of several maps is the sum of each weight times the
    mean loss of its map; weights are absolute.

    Args:
        members: (weight, discriminator), in the order in which their maps are given.
    """

    def __init__(self, members: Sequence[tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.weights = tuple(weight for weight, _ in members)
        self.members = nn.ModuleList(member for _, member in members)
        self.minimum_px: int = max(member.minimum_px for _, member in members)  # type: ignore[type-var,assignment]

    def forward(self, images: Tensor) -> list[tuple[float, Tensor]]:
        """The weighted maps of all members."""
        maps: list[tuple[float, Tensor]] = []
        for weight, member in zip(self.weights, self.members, strict=True):
            scores = member(images)
            given = [(1.0, scores)] if isinstance(scores, Tensor) else scores
            maps += [(weight * each, scored) for each, scored in given]
        return maps
