"""A discriminator of single pixels: images in, a score for each pixel out."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval
from torch import Tensor, nn

from ganstyle.networks.blocks import IMAGE_CHANNELS, NormName, needs_bias, normalisation, require_rgb
from ganstyle.networks.initialise import InitialisationName, initialise
from ganstyle.networks.patch_discriminator import NEGATIVE_SLOPE


class PixelDiscriminator(nn.Module):
    """Scores every pixel by its colour alone (the 1x1 discriminator of Isola et al. 2017, section 3.2.2).

    Takes RGB images (N, 3, H, W) in [-1, 1] of any size; gives scores (N, 1, H, W). It says nothing of shapes: a style
    of colours is learned with it, not one of strokes. The first weights come from torch's global generator, see
    `initialise`.
    """

    minimum_px = 1

    def __init__(
        self,
        *,
        width: Annotated[int, Interval(ge=1, le=512)] = 64,
        norm: NormName = "instance",
        initialisation: InitialisationName = "normal",
        gain: Annotated[float, Interval(gt=0, le=10)] = 0.02,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(IMAGE_CHANNELS, width, 1),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv2d(width, 2 * width, 1, bias=needs_bias(norm)),
            normalisation(norm, 2 * width),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv2d(2 * width, 1, 1, bias=needs_bias(norm)),
        )
        initialise(self, initialisation, gain)

    def forward(self, images: Tensor) -> Tensor:
        """The scores of the pixels of images in [-1, 1]."""
        require_rgb(images)
        scores: Tensor = self.layers(images)
        return scores
