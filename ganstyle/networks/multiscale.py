"""PatchGANs that see an image at several sizes."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import NormName
from ganstyle.networks.initialise import InitialisationName
from ganstyle.networks.patch_discriminator import PatchDiscriminator


class MultiscaleDiscriminator(nn.Module):
    """Scores patches of an image at its size, at half of it, and so on (Wang et al. 2018, pix2pixHD, section 3.2).

    Takes RGB images (N, 3, H, W) in [-1, 1] of at least `minimum_px`; gives one map of scores (N, 1, h, w) for each
    scale, the largest first, as (1 / scales, scores). Each scale has a PatchGAN of its own; `width`, `layers`,
    `norm`, `antialiased`, `spectral` and the first weights are as in `PatchDiscriminator`.

    Raises:
        UserError: a side is below `minimum_px`.
    """

    def __init__(
        self,
        *,
        scales: Annotated[int, Interval(ge=1, le=5)] = 3,
        width: Annotated[int, Interval(ge=1, le=512)] = 64,
        layers: Annotated[int, Interval(ge=1, le=8)] = 3,
        norm: NormName = "instance",
        antialiased: bool = False,
        spectral: bool = False,
        initialisation: InitialisationName = "normal",
        gain: Annotated[float, Interval(gt=0, le=10)] = 0.02,
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            PatchDiscriminator(
                width=width,
                layers=layers,
                norm=norm,
                antialiased=antialiased,
                spectral=spectral,
                initialisation=initialisation,
                gain=gain,
            )
            for _ in range(scales)
        )
        # Of a side n, half is (n + 1) // 2: the least that leaves m is 2 m - 1.
        first = self.scales[0]
        assert isinstance(first, PatchDiscriminator)
        self.minimum_px = (first.minimum_px - 1) * 2 ** (scales - 1) + 1

    def forward(self, images: Tensor) -> list[tuple[float, Tensor]]:
        """The scores of the patches of images in [-1, 1], by scale."""
        height, width = images.shape[-2:]
        if min(height, width) < self.minimum_px:
            raise UserError(
                f"got images of {width} x {height} px, this discriminator needs {self.minimum_px} px on each side: "
                "use a larger crop, fewer scales or fewer layers"
            )
        maps = []
        for number, judge in enumerate(self.scales):
            if number > 0:
                images = F.avg_pool2d(images, 3, stride=2, padding=1, count_include_pad=False)
            maps.append((1 / len(self.scales), judge(images)))
        return maps
