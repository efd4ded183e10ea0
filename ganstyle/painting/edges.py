"""Where a photo has edges, which carry what it shows."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from ganstyle.painting.blur import gaussian_blur

SIGMA_PX = 1.0  # of the Gaussian before gradients are taken, and of the one after
STRONG = 0.95  # the quantile of gradients that counts as a full edge
LEAST_STRONG = 0.02  # of the range: what is weaker everywhere is noise
MOST_SAMPLES = 1 << 20  # for the quantile


def edge_strength(image: Tensor) -> Tensor:
    """How much of an edge each pixel of an image (1, 3, H, W) in [-1, 1] is: (1, 1, H, W) in 0..1, a little widened."""
    grey = gaussian_blur(image.mean(dim=1, keepdim=True), SIGMA_PX)
    across = F.pad(grey[..., 1:] - grey[..., :-1], (0, 1, 0, 0))
    down = F.pad(grey[..., 1:, :] - grey[..., :-1, :], (0, 0, 0, 1))
    slope = (across.square() + down.square()).sqrt()
    samples = slope.flatten()[:: math.ceil(slope.numel() / MOST_SAMPLES)]
    strong = samples.quantile(STRONG).clamp(min=LEAST_STRONG)
    widened = F.max_pool2d((slope / strong).clamp(max=1), 3, stride=1, padding=1)
    return gaussian_blur(widened, SIGMA_PX).clamp(0, 1)
