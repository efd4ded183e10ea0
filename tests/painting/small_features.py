"""A VGG in small, with random weights: what the stylizer needs of one, at a few milliseconds an evaluation."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


class SmallFeatures(nn.Module):
    name, kind, minimum_px, layers = "small", "small", 8, LAYERS

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        widths = (3, 6, 8, 8)
        self.convolutions = nn.ModuleDict()
        for layer, (narrow, wide) in zip(LAYERS, pairwise(widths), strict=True):
            made = nn.Conv2d(narrow, wide, 3, padding=1, padding_mode="replicate", bias=False)
            made.weight.data = torch.randn(wide, narrow, 3, 3, generator=generator) / (9 * narrow) ** 0.5
            self.convolutions[layer] = made
        self.requires_grad_(False)

    def forward(self, images: Tensor, layers: Collection[str] = LAYERS) -> dict[str, Tensor]:
        found = {}
        for layer, convolution in self.convolutions.items():
            if layer != LAYERS[0]:
                images = F.avg_pool2d(images, 2)
            images = F.relu(convolution(images))
            if layer in layers:
                found[layer] = images
        return found

    def stride_px(self, layer: str) -> int:
        return 2 ** LAYERS.index(layer)

    def reach_px(self, layer: str) -> int:
        return (1, 4, 10)[LAYERS.index(layer)]

    def bytes_per_pixel(self, deepest: str) -> float:
        return 200.0


def picture(height: int, width: int, *, seed: int = 0) -> Tensor:
    """Soft blobs of colour, (1, 3, height, width) in [-1, 1]."""
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(-1, 1)
