"""Generators: images in, images of the same size out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from ganstyle.base.tables import pick
from ganstyle.networks.blocks import (
    IMAGE_CHANNELS,
    UPSAMPLINGS,
    NormName,
    ResidualBlock,
    UpsamplingName,
    named,
    needs_bias,
    normalisation,
    require_rgb,
)
from ganstyle.networks.initialise import InitialisationName, initialise
from ganstyle.networks.recompute import run_parts
from ganstyle.networks.sizes import extend
from ganstyle.networks.unet import UNetGenerator

STEM_PX = 3  # the padding of the first convolution


class ResNetGenerator(nn.Module):
    """The residual generator of Johnson et al. 2016 as CycleGAN uses it (Zhu et al. 2017, appendix 7.2).

    Takes and gives RGB images (N, 3, H, W) in [-1, 1] of any size from 1x1. Sizes that the halvings do not fit are
    extended at the bottom and the right, and the result is cropped; sizes that fit (a multiple of 2^halvings, at
    least `minimum_px`) pass untouched. `torch.export` takes dynamic sizes that fit, not others.

    Every halving doubles the channels. `upsample` chooses both ways: "antialiased" blurs when it halves, too, as CUT
    does (Park et al. 2020); the others halve by convolutions of stride 2. The first weights come from torch's global
    generator, see `initialise`.

    Raises:
        UserError: the input has another shape than (N, 3, H, W).
    """

    def __init__(
        self,
        *,
        width: Annotated[int, Interval(ge=1, le=512)] = 64,
        blocks: Annotated[int, Interval(ge=1, le=64)] = 9,
        halvings: Annotated[int, Interval(ge=0, le=5)] = 2,
        norm: NormName = "instance",
        upsample: UpsamplingName = "transposed",
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        initialisation: InitialisationName = "normal",
        gain: Annotated[float, Interval(gt=0, le=10)] = 0.02,
    ) -> None:
        super().__init__()
        resampling = UPSAMPLINGS[upsample]
        widths = [width * 2**halving for halving in range(halvings + 1)]
        steps = list(pairwise(widths))
        self.stem = named(
            conv=nn.Conv2d(IMAGE_CHANNELS, width, 7, padding=STEM_PX, padding_mode="reflect", bias=needs_bias(norm)),
            norm=normalisation(norm, width),
            relu=nn.ReLU(),
        )
        self.downs = nn.Sequential(*(resampling.down(narrow, wide, norm) for narrow, wide in steps))
        self.blocks = nn.Sequential(*(ResidualBlock(widths[-1], norm, dropout) for _ in range(blocks)))
        self.ups = nn.Sequential(*(resampling.up(wide, narrow, norm) for narrow, wide in reversed(steps)))
        self.head = named(
            conv=nn.Conv2d(width, IMAGE_CHANNELS, 7, padding=3, padding_mode="reflect"),
            tanh=nn.Tanh(),
        )
        self.recomputes = False  # see `recompute`
        self._channels = {"image": IMAGE_CHANNELS}
        self._channels |= {f"down_{number}": wide for number, (_, wide) in enumerate(steps, start=1)}
        self._channels |= {f"block_{number}": widths[-1] for number in range(1, blocks + 1)}
        self.multiple_px = 2**halvings
        # Reflection needs more pixels than it pads: 4 for a 7x7 convolution, 2 for a 3x3 at the smallest size.
        self.minimum_px = max(4, 2 * self.multiple_px)
        initialise(self, initialisation, gain)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers that `features` gives: `image`, `down_1` and further, `block_1` and further."""
        return tuple(self._channels)

    def feature_channels(self, layers: Collection[str]) -> dict[str, int]:
        """The channels of each layer's map; `UserError` for a layer that there is not."""
        return {layer: pick(self._channels, "layer", layer) for layer in layers}

    def forward(self, images: Tensor) -> Tensor:
        """Translate images in [-1, 1]; the result has their size."""
        parts = (self.stem, *self.downs, *self.blocks, *self.ups)
        features = run_parts(parts, self._fitting(images), recomputes=self.recomputes and self.training)
        return self._finished(features, images)

    def features(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """What the encoder makes of images (N, 3, H, W), by layer; nothing deeper than the deepest is computed.

        `image` is what the first convolution sees, padded by reflection; `down_1` what the first halving's convolution
        gives, before its norm; `block_1` what the first residual block gives.
        """
        _, found = self._encoded(images, layers)
        return {layer: found[layer] for layer in layers}

    def translate(self, images: Tensor, layers: Collection[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The translation of images, and their `features`, in one pass."""
        features, found = self._encoded(images, (*layers, self.layer_names[-1]))
        features = run_parts(self.ups, features, recomputes=self.recomputes and self.training)
        return self._finished(features, images), {layer: found[layer] for layer in layers}

    def _encoded(self, images: Tensor, layers: Collection[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """What the deepest of these layers gives, and by name all layers on the way there."""
        self.feature_channels(layers)
        recomputes = self.recomputes and self.training
        left, found = set(layers), {}
        features = self._fitting(images)
        if "image" in left:
            found["image"] = F.pad(features, (STEM_PX, STEM_PX, STEM_PX, STEM_PX), mode="reflect")
        if left - found.keys():
            features = run_parts([self.stem], features, recomputes=recomputes)
        for number, down in enumerate(self.downs, start=1):
            if left <= found.keys():
                return features, found
            convolution, *rest = down.children()
            features = found[f"down_{number}"] = run_parts([convolution], features, recomputes=recomputes)
            features = run_parts(rest, features, recomputes=recomputes)
        for number, block in enumerate(self.blocks, start=1):
            if left <= found.keys():
                break
            features = found[f"block_{number}"] = run_parts([block], features, recomputes=recomputes)
        return features, found

    def _fitting(self, images: Tensor) -> Tensor:
        """Images of a size that the halvings fit."""
        require_rgb(images)
        height, width = images.shape[2:]
        return extend(images, bottom=self._lacking_px(height), right=self._lacking_px(width))

    def _finished(self, features: Tensor, images: Tensor) -> Tensor:
        """The translation, of the images' own size."""
        height, width = images.shape[2:]
        translated: Tensor = self.head(features)
        return translated[:, :, :height, :width]

    def _lacking_px(self, side_px: int) -> int:
        """What a side lacks to be a multiple of `multiple_px` and no smaller than `minimum_px`, itself a multiple."""
        return max(self.minimum_px - side_px, -side_px % self.multiple_px)


GENERATORS: dict[str, Callable[..., nn.Module]] = {"resnet": ResNetGenerator, "unet": UNetGenerator}
