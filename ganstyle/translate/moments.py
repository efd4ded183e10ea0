"""Statistics of a map gathered part by part, and normalising by them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganstyle.translate.maps import Map, Pointwise


@dataclass
class Moments:
    """Mean and sum of squared deviations of every channel, gathered over parts; float64 (C,), on the CPU.

    Merging parts is stable where the mean is large against the deviation, unlike sums of squares.
    Source: Chan, Golub and LeVeque 1979, equation 2.1.
    """

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, tile: Tensor) -> None:
        """Gather a part (1, C, H, W).

        Counted from one of its values: the mean of equal values is then that value, to the last digit. A flat map
        must become zeros, as every digit that is left is enlarged 316 times, and by the next norms again.
        """
        wide = tile.to(torch.promote_types(tile.dtype, torch.float32))
        origin = wide[:, :, :1, :1]
        deviations = wide - origin
        shift = deviations.mean(dim=(2, 3), keepdim=True)
        squares = deviations.sub_(shift).square_().sum(dim=(2, 3)).flatten().cpu().double()
        mean = (origin.cpu().double() + shift.cpu().double()).flatten()
        self.merge(Moments(wide[0, 0].numel(), mean, squares))

    def merge(self, other: Moments) -> None:
        """Gather what was gathered elsewhere."""
        count = self.count + other.count
        delta = other.mean - self.mean
        self.squares = self.squares + other.squares + delta.square() * (self.count * other.count / count)
        self.mean = self.mean + delta * (other.count / count)
        self.count = count


def normalised(values: Map, moments: Moments, eps: float) -> Map:
    """A map normalised by statistics of every channel, gathered beforehand or later, before it is read.

    The statistics are read when the map is; in float32, or wider where the values are.
    """

    def apply(tile: Tensor) -> Tensor:
        wide = tile.to(torch.promote_types(tile.dtype, torch.float32))
        variance = moments.squares / moments.count
        shape = (1, -1, 1, 1)
        mean = moments.mean.to(wide.device, wide.dtype).view(shape)
        inverse = torch.rsqrt(variance + eps).to(wide.device, wide.dtype).view(shape)
        return (wide - mean).mul_(inverse).to(tile.dtype)

    return Pointwise(apply, values)
