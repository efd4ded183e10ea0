"""What a photo is optimised for at each size: the pictures as they serve it, and their statistics, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.base.tables import pick
from ganstyle.painting.colour import COLOURS
from ganstyle.painting.objective import Objective, Region, Targets, Weights
from ganstyle.painting.pyramid import Size, resized, resized_mask, style_size
from ganstyle.painting.vgg_settings import VggSettings

if TYPE_CHECKING:
    from ganstyle.networks.vgg import Vgg

MOST_KNOWN = 8  # targets that are kept: more than a photo has scales


@dataclass(frozen=True)
class Subject:
    """A photo and the pictures as they serve it.

    Args:
        content: the photo (1, 3, H, W).
        styles: the pictures with their colours prepared; below full strength the photo itself is the last.
        shares: how much each of them counts.
        regions: with a mask for each of the pictures.
        same_style: whether the pictures are as they came, so that another photo of this size has the same targets.
    """

    content: Tensor
    styles: list[Tensor]
    shares: list[float]
    regions: list[Region] | None
    same_style: bool


class Targeting:
    """Makes objectives for photos; the pictures' statistics are shared by all photos that ask for the same.

    Below full strength the statistics to reach lie between the photo's own and the pictures': the photo is one more
    picture that counts for the rest. So a strength near 0 asks for the photo as it is, at any size.

    Args:
        features: tell style and content.
        styles: the pictures, each (1, 3, h, w) in [-1, 1].
        settings: how much of what.

    Raises:
        UserError: no pictures, or settings that do not go with the features or the pictures.
    """

    def __init__(self, features: Vgg, styles: Sequence[Tensor], settings: VggSettings) -> None:
        if not styles:
            raise UserError("no picture to take the style from: give at least one")
        self.weights: Weights = settings.weights(features.layers)
        self._features, self._settings, self._styles = features, settings, list(styles)
        self._shares = settings.shares(len(styles))
        self._known: dict[tuple[Size, ...], Targets] = {}

    def subject(self, content: Tensor, regions: Sequence[Region] | None) -> Subject:
        """A photo with the pictures as they serve it."""
        strength = self._settings.strength
        before = pick(COLOURS, "treatment of colours", self._settings.colours).before
        styles = [before(style, content) for style in self._styles]
        as_they_came = all(one is other for one, other in zip(styles, self._styles, strict=True))
        parts = list(regions) if regions else None
        if strength == 1:
            return Subject(content, styles, self._shares, parts, same_style=as_they_came and parts is None)
        shares = [*(share * strength for share in self._shares), 1 - strength]
        if parts is not None:
            parts = [Region(part.content, (*part.styles, part.content)) for part in parts]
        return Subject(content, [*styles, content], shares, parts, same_style=False)

    def objective(self, subject: Subject, size: Size, *, tile_px: int | None = None) -> Objective:
        """What the photo at that size is optimised for."""
        with torch.no_grad():
            sizes = self._style_sizes(subject, size)
            regions = _resized_regions(subject.regions, size, sizes)
            return Objective(
                self._features,
                resized(subject.content, size),
                self._targets(subject, sizes, regions, tile_px),
                weights=self.weights,
                regions=regions,
                tile_px=tile_px,
            )

    def _style_sizes(self, subject: Subject, size: Size) -> tuple[Size, ...]:
        scale, least_px = self._settings.style_scale, self._features.minimum_px
        return tuple(
            size if style is subject.content else style_size(_size(style), size, style_scale=scale, least_px=least_px)
            for style in subject.styles
        )

    def _targets(
        self, subject: Subject, sizes: tuple[Size, ...], regions: list[Region] | None, tile_px: int | None
    ) -> Targets:
        if subject.same_style and sizes in self._known:
            return self._known[sizes]
        targets = Targets(
            self._features,
            [resized(style, size) for style, size in zip(subject.styles, sizes, strict=True)],
            weights=self.weights,
            style_weights=subject.shares,
            regions=regions,
            tile_px=tile_px,
        )
        if subject.same_style:
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]  # the oldest
            self._known[sizes] = targets
        return targets


def _resized_regions(regions: list[Region] | None, size: Size, sizes: Sequence[Size]) -> list[Region] | None:
    if regions is None:
        return None
    return [
        Region(
            resized_mask(region.content, size),
            tuple(resized_mask(mask, each) for mask, each in zip(region.styles, sizes, strict=True)),
        )
        for region in regions
    ]


def _size(image: Tensor) -> Size:
    return image.shape[2], image.shape[3]
