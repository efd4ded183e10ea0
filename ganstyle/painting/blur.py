"""A Gaussian blur of maps on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Maps (N, C, h, w) blurred by a Gaussian whose deviation is so many of their values; the border is replicated."""
    reach = round(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(maps.shape[1], 1, 1, -1)
    across = F.conv2d(F.pad(maps, (reach, reach, 0, 0), mode="replicate"), weights, groups=maps.shape[1])
    padded = F.pad(across, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(padded, weights.transpose(2, 3), groups=maps.shape[1])
