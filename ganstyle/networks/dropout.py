"""Dropout whose masks are a pure function of the sample, the layer and the place in the image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ganstyle.networks.keyed import BITS, KeyedLayer, random_bits


class SampleDropout(KeyedLayer):
    """Sets elements of (N, C, H, W) to zero with probability `p` in train mode, and divides the others by 1 - p.

    The mask of row i is what `KeyedLayer` says. Two passes of a network over the same sample share a mask when they
    have the same i // n, as its first and its cycled pass do.

    Without keys it is torch's own dropout. Source: Srivastava et al. 2014.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        assert 0 <= p < 1, p
        self.p = p

    @property
    def draws(self) -> bool:
        """Whether it drops anything."""
        return self.p > 0

    def forward(self, images: Tensor) -> Tensor:
        """The images with some elements dropped; themselves in eval mode."""
        if not self.training or self.p == 0:
            return images
        if self.keys is None:
            return F.dropout(images, self.p)
        kept = random_bits(self.keys, images.shape, self.place) >= round(self.p * 2**BITS)
        return images * kept.to(images.dtype) * (1 / (1 - self.p))

    def extra_repr(self) -> str:
        """What `print` shows inside the brackets."""
        return f"p={self.p}"
