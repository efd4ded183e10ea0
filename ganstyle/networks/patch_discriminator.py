"""PatchGAN: images in, a map of scores out, one for each patch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from annotated_types import Interval
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import IMAGE_CHANNELS, NormName, named, needs_bias, normalisation, require_rgb
from ganstyle.networks.initialise import InitialisationName, initialise

KERNEL_PX = 4
NEGATIVE_SLOPE = 0.2
MOST_WIDENINGS = 8


def receptive_field_px(convolutions: Sequence[nn.Conv2d]) -> int:
    """The side of the square of pixels that one score of a chain of convolutions depends on."""
    side = 1
    for convolution in reversed(convolutions):
        side = (side - 1) * convolution.stride[0] + convolution.kernel_size[0]
    return side


def minimum_px(convolutions: Sequence[nn.Conv2d]) -> int:
    """The smallest square input for which a chain of convolutions gives at least one score."""
    side = 1
    for convolution in reversed(convolutions):
        padding = convolution.padding[0]
        assert isinstance(padding, int), "a padding given by name has no size"
        side = (side - 1) * convolution.stride[0] + convolution.kernel_size[0] - 2 * padding
    return side


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of an image (PatchGAN; Isola et al. 2017, appendix 6.1.2).

    Takes RGB images (N, 3, H, W) in [-1, 1]; gives scores (N, 1, h, w) without a bound, high for real ones. `layers`
    counts the convolutions of stride 2: with 3 each score sees 70x70 px, with 1, 2 and 4 it sees 16, 34 and 142.
    `receptive_field_px` and `minimum_px` hold these sizes. Channels double with each layer up to 8 times `width`.
    The first weights come from torch's global generator, see `initialise`.

    Raises:
        UserError: the input is not (N, 3, H, W), or a side is below `minimum_px`.
    """

    def __init__(
        self,
        *,
        width: Annotated[int, Interval(ge=1, le=512)] = 64,
        layers: Annotated[int, Interval(ge=1, le=8)] = 3,
        norm: NormName = "instance",
        initialisation: InitialisationName = "normal",
        gain: Annotated[float, Interval(gt=0, le=10)] = 0.02,
    ) -> None:
        super().__init__()
        widths = [width * min(2**layer, MOST_WIDENINGS) for layer in range(layers + 1)]
        strides = [2] * (layers - 1) + [1]
        self.first = named(
            conv=nn.Conv2d(IMAGE_CHANNELS, width, KERNEL_PX, stride=2, padding=1),
            relu=nn.LeakyReLU(NEGATIVE_SLOPE),
        )
        stages = zip(pairwise(widths), strides, strict=True)
        self.middle = nn.Sequential(*(self._stage(*pair, stride, norm) for pair, stride in stages))
        self.last = nn.Conv2d(widths[-1], 1, KERNEL_PX, padding=1)
        convolutions = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]
        self.receptive_field_px = receptive_field_px(convolutions)
        self.minimum_px = minimum_px(convolutions)
        initialise(self, initialisation, gain)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, stride: int, norm: NormName) -> nn.Sequential:
        return named(
            conv=nn.Conv2d(in_channels, out_channels, KERNEL_PX, stride=stride, padding=1, bias=needs_bias(norm)),
            norm=normalisation(norm, out_channels),
            relu=nn.LeakyReLU(NEGATIVE_SLOPE),
        )

    def forward(self, images: Tensor) -> Tensor:
        """The scores of the patches of images in [-1, 1]."""
        require_rgb(images)
        height, width = images.shape[2:]
        if min(height, width) < self.minimum_px:
            raise UserError(
                f"got images of {width} x {height} px, this discriminator needs {self.minimum_px} px on each side: "
                "use a larger crop or fewer layers"
            )
        scores: Tensor = self.last(self.middle(self.first(images)))
        return scores
