"""PatchGAN: images in, a map of scores out, one for each patch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, NamedTuple

from annotated_types import Interval
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import IMAGE_CHANNELS, BlurDown, NormName, named, needs_bias, normalisation, require_rgb
from ganstyle.networks.initialise import InitialisationName, initialise

KERNEL_PX = 4
NEGATIVE_SLOPE = 0.2
MOST_WIDENINGS = 8


class Window(NamedTuple):
    """What one value of a layer's map sees of the map before: a square, how far apart, and the padding."""

    kernel_px: int
    stride_px: int
    padding_px: int
    least_px: int = 1  # the smallest side that the layer takes


def windows_of(network: nn.Module) -> list[Window]:
    """The windows of a chain's convolutions and blurs, in order."""
    found = (_window(layer) for layer in network.modules())
    return [window for window in found if window is not None]


def receptive_field_px(windows: Sequence[Window]) -> int:
    """The side of the square of pixels that one score of a chain depends on."""
    side = 1
    for window in reversed(windows):
        side = (side - 1) * window.stride_px + window.kernel_px
    return side


def minimum_px(windows: Sequence[Window]) -> int:
    """The smallest square input for which a chain gives at least one score."""
    side = 1
    for window in reversed(windows):
        side = max((side - 1) * window.stride_px + window.kernel_px - 2 * window.padding_px, window.least_px)
    return side


def _window(layer: nn.Module) -> Window | None:
    if isinstance(layer, BlurDown):
        return Window(3, 2, 1, least_px=2)  # reflection needs more than it pads
    if not isinstance(layer, nn.Conv2d):
        return None
    padding = layer.padding[0]
    assert isinstance(padding, int), "a padding given by name has no size"
    return Window(layer.kernel_size[0], layer.stride[0], padding)


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of an image (PatchGAN; Isola et al. 2017, appendix 6.1.2).

    Takes RGB images (N, 3, H, W) in [-1, 1]; gives scores (N, 1, h, w) without a bound, high for real ones. `layers`
    counts the convolutions of stride 2: with 3 each score sees 70x70 px, with 1, 2 and 4 it sees 16, 34 and 142.
    `receptive_field_px` and `minimum_px` hold these sizes. Channels double with each layer up to 8 times `width`.
    With `antialiased` a convolution of stride 1 and a blur take the place of each of stride 2, as in CUT (Park et al.
    2020). With `spectral` every weight is divided by its largest singular value (Miyato et al. 2018), which usually
    takes the place of the norm. The first weights come from torch's global generator, see `initialise`.

    Raises:
        UserError: the input is not (N, 3, H, W), or a side is below `minimum_px`.
    """

    def __init__(
        self,
        *,
        width: Annotated[int, Interval(ge=1, le=512)] = 64,
        layers: Annotated[int, Interval(ge=1, le=8)] = 3,
        norm: NormName = "instance",
        antialiased: bool = False,
        spectral: bool = False,
        initialisation: InitialisationName = "normal",
        gain: Annotated[float, Interval(gt=0, le=10)] = 0.02,
    ) -> None:
        super().__init__()
        widths = [width * min(2**layer, MOST_WIDENINGS) for layer in range(layers + 1)]
        self.first = named(
            conv=nn.Conv2d(IMAGE_CHANNELS, width, KERNEL_PX, stride=1 if antialiased else 2, padding=1),
            relu=nn.LeakyReLU(NEGATIVE_SLOPE),
            **_blur(antialiased),
        )
        *halving, (narrow, wide) = pairwise(widths)
        stages = [_stage(*pair, norm=norm, halves=True, antialiased=antialiased) for pair in halving]
        self.middle = nn.Sequential(*stages, _stage(narrow, wide, norm=norm, halves=False, antialiased=antialiased))
        self.last = nn.Conv2d(widths[-1], 1, KERNEL_PX, padding=1)
        windows = windows_of(self)
        self.receptive_field_px = receptive_field_px(windows)
        self.minimum_px = minimum_px(windows)
        initialise(self, initialisation, gain)
        if spectral:
            for layer in [each for each in self.modules() if isinstance(each, nn.Conv2d)]:
                spectral_norm(layer)

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


def _stage(in_channels: int, out_channels: int, *, norm: NormName, halves: bool, antialiased: bool) -> nn.Sequential:
    stride = 2 if halves and not antialiased else 1
    return named(
        conv=nn.Conv2d(in_channels, out_channels, KERNEL_PX, stride=stride, padding=1, bias=needs_bias(norm)),
        norm=normalisation(norm, out_channels),
        relu=nn.LeakyReLU(NEGATIVE_SLOPE),
        **_blur(halves and antialiased),
    )


def _blur(wanted: bool) -> dict[str, nn.Module]:
    return {"blur": BlurDown()} if wanted else {}
