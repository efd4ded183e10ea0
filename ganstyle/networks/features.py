"""Fixed image features for scores that need no downloaded weights."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional as F

from ganstyle.base.draws import stream_seed

BIAS_RANGE = 0.25  # inputs are in [-1, 1]; biases this wide let some filters answer only to strong edges


def draw_weights(seed: int, width: int, scales: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The convolutions of `RandomFeatures`: for each scale weights (width, inputs, 3, 3) and biases (width,), float32.

    One PCG64 stream draws uniform numbers, scale by scale, weights before biases. The weights have He's variance,
    2 / fan-in. Every second filter is then made to sum to zero over its nine places for each input: such a filter sees
    edges and strokes but no flat colour, so that texture counts as much as colour.
    """
    stream = np.random.Generator(np.random.PCG64(stream_seed("random features", seed)))
    drawn = []
    inputs = 3
    for _ in range(scales):
        limit = np.sqrt(6 / (inputs * 9))
        # Only uniform numbers: their stream is the bit generator's own, so no numpy or LAPACK version changes it.
        weight = (stream.random((width, inputs, 3, 3)) * 2 - 1) * limit
        weight[1::2] -= weight[1::2].mean(axis=(2, 3), keepdims=True)
        bias = (stream.random(width) * 2 - 1) * BIAS_RANGE
        drawn.append((weight.astype(np.float32), bias.astype(np.float32)))
        inputs = width
    return drawn


class RandomFeatures(nn.Module):
    """Features of a fixed random convolutional network: (N, 3, H, W) in [-1, 1] -> (N, 2 * width * scales) float32.

    At each scale: 3x3 convolution (reflection padding), ReLU, then the mean and the standard deviation of each channel
    over the image; average pooling halves the image between scales. So a feature tells how much of a colour or of a
    kind of stroke there is and how unevenly it is spread, not where.

    Scores on such features compare only within this project and for the same seed, width and scales: they are not the
    FID or KID of publications, which use Inception features. The weights are drawn again each time, the same on every
    machine, never trained and never saved; building one takes nothing from torch's own random generator.

    Raises:
        ValueError: other than three channels, or a side under `minimum_px`.
    """

    def __init__(
        self,
        seed: int = 0,
        width: Annotated[int, Interval(ge=1, le=512)] = 32,
        scales: Annotated[int, Interval(ge=1, le=8)] = 4,
    ) -> None:
        super().__init__()
        self.scales = scales
        for scale, (weight, bias) in enumerate(draw_weights(seed, width, scales)):
            self.register_buffer(f"weight_{scale}", torch.from_numpy(weight), persistent=False)
            self.register_buffer(f"bias_{scale}", torch.from_numpy(bias), persistent=False)
        self.eval()

    @property
    def minimum_px(self) -> int:
        """The smallest side that leaves two pixels, which reflection needs, at the coarsest scale."""
        return 2**self.scales

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Describe each image by one row; computed in float32 whatever the images' dtype."""
        self._check(images)
        features = []
        with torch.autocast(images.device.type, enabled=False):
            maps = images.float()
            for scale in range(self.scales):
                if scale > 0:
                    maps = F.avg_pool2d(maps, 2)
                maps = F.relu(self._convolve(maps, scale))
                deviation, mean = torch.std_mean(maps, dim=(2, 3), correction=0)
                features += [mean, deviation]
        return torch.cat(features, dim=1)

    def _convolve(self, maps: Tensor, scale: int) -> Tensor:
        padded = F.pad(maps, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.get_buffer(f"weight_{scale}"), self.get_buffer(f"bias_{scale}"))

    def _check(self, images: Tensor) -> None:
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < self.minimum_px:
            raise ValueError(
                f"images of shape {shape}; expected (N, 3, H, W) with sides of {self.minimum_px} px or more"
            )
