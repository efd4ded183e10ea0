"""The U-Net generator: images in, images of the same size out, fine detail past the bottleneck."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ganstyle.base.tables import pick
from ganstyle.networks.blocks import IMAGE_CHANNELS, NormName, named, needs_bias, normalisation, require_rgb
from ganstyle.networks.dropout import SampleDropout
from ganstyle.networks.initialise import InitialisationName, initialise
from ganstyle.networks.recompute import run_parts
from ganstyle.networks.sizes import extend

KERNEL_PX = 4
NEGATIVE_SLOPE = 0.2
MOST_WIDENINGS = 8
FIRST_DROPPED = 4  # the first depth, from 0, whose way up has dropout, where there is any


class UNetGenerator(nn.Module):
    """The U-Net of Isola et al. 2017 (appendix 6.1.1), as the authors of CycleGAN offer it.

    Takes and gives RGB images (N, 3, H, W) in [-1, 1] of any size from 1x1. Sizes that are no multiple of 2^halvings
    are extended at the bottom and the right, and the result is cropped. At 128 px the authors halve seven times, at
    256 px eight times: down to one pixel.

    Every depth halves by a convolution, and doubles by a transposed one what it got back from below, beside its own
    input. Channels double with each depth up to 8 times `width`. Dropout acts on the way up, from the fifth depth to
    the last but one. The first weights come from torch's global generator, see `initialise`.

    Raises:
        UserError: the input has another shape than (N, 3, H, W).
    """

    def __init__(
        self,
        *,
        width: Annotated[int, Interval(ge=1, le=512)] = 64,
        halvings: Annotated[int, Interval(ge=2, le=10)] = 8,
        norm: NormName = "instance",
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        initialisation: InitialisationName = "normal",
        gain: Annotated[float, Interval(gt=0, le=10)] = 0.02,
    ) -> None:
        super().__init__()
        widths = [IMAGE_CHANNELS, *(width * min(2**depth, MOST_WIDENINGS) for depth in range(halvings))]
        deepest = halvings - 1
        # By depth, the outermost first.
        self.downs = nn.ModuleList(
            _down(outer, inner, "none" if depth in (0, deepest) else norm, bias=needs_bias(norm), first=depth == 0)
            for depth, (outer, inner) in enumerate(pairwise(widths))
        )
        self.ups = nn.ModuleList(
            _up(
                inner if depth == deepest else 2 * inner,
                outer,
                norm,
                dropout=dropout if FIRST_DROPPED <= depth < deepest else 0.0,
            )
            for depth, (outer, inner) in enumerate(pairwise(widths))
            if depth > 0
        )
        self.head = named(
            relu=nn.ReLU(),
            conv=nn.ConvTranspose2d(2 * widths[1], IMAGE_CHANNELS, KERNEL_PX, stride=2, padding=1),
            tanh=nn.Tanh(),
        )
        self.recomputes = False  # see `recompute`
        self.multiple_px = self.minimum_px = 2**halvings
        self._channels = {"image": IMAGE_CHANNELS}
        self._channels |= {f"down_{number}": inner for number, inner in enumerate(widths[1:], start=1)}
        initialise(self, initialisation, gain)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers that `features` gives: `image`, `down_1` and further."""
        return tuple(self._channels)

    def feature_channels(self, layers: Collection[str]) -> dict[str, int]:
        """The channels of each layer's map; `UserError` for a layer that there is not."""
        return {layer: pick(self._channels, "layer", layer) for layer in layers}

    def forward(self, images: Tensor) -> Tensor:
        """Translate images in [-1, 1]; the result has their size."""
        return self.translate(images, ())[0]

    def features(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """What the way down makes of images (N, 3, H, W), by layer; nothing deeper than the deepest is computed.

        `image` is what the first convolution sees; `down_1` what it gives, `down_2` what the second one gives before
        its norm, and so on.
        """
        self.feature_channels(layers)
        found, _ = self._descended(images, set(layers))
        return {layer: found[layer] for layer in layers}

    def translate(self, images: Tensor, layers: Collection[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The translation of images, and their `features`, in one pass."""
        self.feature_channels(layers)
        found, maps = self._descended(images, {self.layer_names[-1]})
        features = maps.pop()
        for up in reversed(self.ups):
            features = torch.cat([maps.pop(), run_parts([up], features, recomputes=self._recomputing)], dim=1)
        translated: Tensor = self.head(features)
        height, width = images.shape[2:]
        return translated[:, :, :height, :width], {layer: found[layer] for layer in layers}

    @property
    def _recomputing(self) -> bool:
        return self.recomputes and self.training

    def _descended(self, images: Tensor, wanted: set[str]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The layers down to the deepest wanted one by name, and what each depth gives the next."""
        require_rgb(images)
        height, width = images.shape[2:]
        features = extend(images, bottom=-height % self.multiple_px, right=-width % self.multiple_px)
        found, maps = {"image": features}, []
        for number, down in enumerate(self.downs, start=1):
            if wanted <= found.keys():
                break
            parts = dict(down.named_children())
            norm = parts.pop("norm")
            features = found[f"down_{number}"] = run_parts(parts.values(), features, recomputes=self._recomputing)
            features = norm(features)
            maps.append(features)
        return found, maps


def _down(outer: int, inner: int, norm: NormName, *, bias: bool, first: bool) -> nn.Sequential:
    activation = {} if first else {"relu": nn.LeakyReLU(NEGATIVE_SLOPE)}
    return named(
        **activation,
        conv=nn.Conv2d(outer, inner, KERNEL_PX, stride=2, padding=1, bias=bias),
        norm=normalisation(norm, inner),
    )


def _up(inner: int, outer: int, norm: NormName, *, dropout: float) -> nn.Sequential:
    return named(
        relu=nn.ReLU(),
        conv=nn.ConvTranspose2d(inner, outer, KERNEL_PX, stride=2, padding=1, bias=needs_bias(norm)),
        norm=normalisation(norm, outer),
        dropout=SampleDropout(dropout),
    )
