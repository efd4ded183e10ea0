"""Images of sizes that a network takes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def extend(images: Tensor, *, bottom: int, right: int) -> Tensor:
    """Images (N, C, H, W) made larger at the bottom and the right, by reflection where they are large enough for it.

    A side shorter than what it lacks repeats its last row or column instead.
    """
    height, width = images.shape[2:]
    images = F.pad(images, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return F.pad(images, (0, 0, 0, bottom), mode="reflect" if bottom < height else "replicate")
