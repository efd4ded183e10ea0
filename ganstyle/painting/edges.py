"""Where a photo has edges, which carry what it shows."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA_PX = 1.0  # of the Gaussian before gradients are taken, and of the one after
STRONG = 0.95  # the quantile of gradients that counts as a full edge
LEAST_STRONG = 0.02  # of the range: what is weaker everywhere is noise
MOST_SAMPLES = 1 << 20  # for the quantile


def edge_strength(image: Tensor) -> Tensor:
    """How much of an edge each pixel of an image (1, 3, H, W) in [-1, 1] is: (1, 1, H, W) in 0..1, a little widened."""
    grey = _blurred(image.mean(dim=1, keepdim=True))
    across = F.pad(grey[..., 1:] - grey[..., :-1], (0, 1, 0, 0))
    down = F.pad(grey[..., 1:, :] - grey[..., :-1, :], (0, 0, 0, 1))
    slope = (across.square() + down.square()).sqrt()
    samples = slope.flatten()[:: math.ceil(slope.numel() / MOST_SAMPLES)]
    strong = samples.quantile(STRONG).clamp(min=LEAST_STRONG)
    widened = F.max_pool2d((slope / strong).clamp(max=1), 3, stride=1, padding=1)
    return _blurred(widened).clamp(0, 1)


def _blurred(maps: Tensor) -> Tensor:
    """By a Gaussian, borders replicated; maps (1, 1, H, W)."""
    radius = math.ceil(3 * SIGMA_PX)
    steps = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-steps.square() / (2 * SIGMA_PX**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(maps, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
