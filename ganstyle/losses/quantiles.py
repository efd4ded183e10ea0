"""Distances between distributions along axes, by their quantiles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.losses.moments import LEAST_ENERGY


def orthonormal_axes(count: int) -> Tensor:
    """Random orthonormal axes (count, count), one a row; the same ones each time."""
    drawn = Draws(seed=0).stream("axes of a sliced distance", count).standard_normal((count, count))
    axes, triangle = np.linalg.qr(drawn)
    # Without the signs some orientations would come more often than others.
    return torch.from_numpy(axes * np.sign(np.diag(triangle))).float()


class SortedDistance(nn.Module):
    """Squared Wasserstein-2 distance to a target along axes, summed over these, over the target's energy.

    Along an axis it is the mean of (x - q(t))^2, t being the rank of x in 0..1 and q the target's quantiles; gradients
    go to x alone. Pixel counts may differ: quantiles are interpolated.

    Args:
        points: the target's features (C, n).
        weight: how much each of them counts (n,), some above 0.
        axes: (D, C), orthonormal; the channels themselves by default.
    """

    def __init__(self, points: Tensor, weight: Tensor | None = None, *, axes: Tensor | None = None) -> None:
        super().__init__()
        self.axes = axes
        values, order = self._projected(points.detach()).sort(dim=1)
        if weight is not None:
            levels = middle_ranks(weight[order])
            values = torch.stack([evenly(*each) for each in zip(values, levels, strict=True)])
        self.values = values.contiguous()  # quantiles at even levels
        self.factor = 1 / values.square().mean(dim=1).sum().clamp(min=LEAST_ENERGY)
        self._last: Tensor = values

    def forward(self, points: Tensor, weight: Tensor | None = None) -> Tensor:
        """The distance of features (C, n), each counting by its weight (n,)."""
        values, order = self._projected(points).sort(dim=1)
        if weight is None:
            return (values - self._at_even(points.shape[1])).square().mean(dim=1).sum() * self.factor
        shares = weight[order] / weight.sum()
        wanted = interpolated(self.values, middle_ranks(weight[order]))
        return ((values - wanted).square() * shares).sum() * self.factor

    def _projected(self, points: Tensor) -> Tensor:
        return points if self.axes is None else self.axes @ points

    def _at_even(self, count: int) -> Tensor:
        """The target's quantiles at the ranks of `count` values; an optimiser asks for the same ones again."""
        if self._last.shape[1] != count:
            ranks = (torch.arange(count, device=self.values.device, dtype=self.values.dtype) + 0.5) / count
            self._last = interpolated(self.values, ranks.expand(len(self.values), -1))
        return self._last


def middle_ranks(weight: Tensor) -> Tensor:
    """The rank in 0..1 of the middle of each of the values that are in order, from their weights (D, n)."""
    ends = weight.double().cumsum(dim=1) if weight.device.type != "mps" else weight.cumsum(dim=1)
    return ((ends - weight / 2) / ends[:, -1:]).to(weight)


def interpolated(values: Tensor, ranks: Tensor) -> Tensor:
    """Quantiles at ranks (D, n) in 0..1, from those at even levels (k + 1/2) / K, (D, K)."""
    last = values.shape[1] - 1
    place = (ranks * (last + 1) - 0.5).clamp(0, last)
    low = place.long().clamp(max=max(last - 1, 0))
    high = (low + 1).clamp(max=last)
    return torch.lerp(values.gather(1, low), values.gather(1, high), place - low)


def evenly(values: Tensor, ranks: Tensor) -> Tensor:
    """Quantiles at even levels of values in order (n,) with these ranks (n,); as many as values."""
    levels = (torch.arange(len(values), device=values.device, dtype=values.dtype) + 0.5) / len(values)
    high = torch.searchsorted(ranks.contiguous(), levels).clamp(1, max(len(values) - 1, 1))
    high = high.clamp(max=len(values) - 1)
    low = (high - 1).clamp(min=0)
    width = (ranks[high] - ranks[low]).clamp(min=torch.finfo(values.dtype).tiny)
    return torch.lerp(values[low], values[high], ((levels - ranks[low]) / width).clamp(0, 1))
