"""Translating a picture of any size in the memory of a tile: the norms' statistics come from a reduced picture.

The reduced picture is translated by exact tiles, which gives mean and variance of every norm. With these fixed, an
output depends on its surroundings only. Each tile is computed from all that it depends on (with nine blocks and two
halvings about 90 px on either side), so that tiles meet without a seam and there is nothing to blend; their size
changes the time and the memory, not the result. What differs from the whole picture's result is the statistics: of
textures that the reduction has smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import repeat

import cv2
import numpy as np
import torch
from torch import nn

from ganstyle.networks.blocks import InstanceNorm, ResidualBlock
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.translate.exact import (
    Autocast,
    exact_memory,
    first_width,
    picture_of_pixels,
    require_known,
    run_exact,
    tile_memory,
    writing,
)
from ganstyle.translate.maps import Map, Picture, Remembered, Sum
from ganstyle.translate.moments import Moments, normalised
from ganstyle.translate.stages import branch, extended, follow
from ganstyle.translate.tiles import DEFAULT_THUMBNAIL_TILE_PX, Box, Tiling

# The reduced picture has as many pixels as four tiles: its statistics are the better the larger it is.
THUMBNAIL_TILES = 4
# The share of all time that is shown for the reduced picture.
STATISTICS_SHARE = 0.1


class Given:
    """Normalises by statistics that are known, so that nothing is kept and all is computed where it is read.

    Args:
        moments: of every norm, in the network's order.
    """

    def __init__(self, moments: Iterable[Moments]) -> None:
        self.moments: Iterator[Moments] = iter(moments)

    def normalise(self, norm: InstanceNorm, values: Map) -> Map:
        """By the next statistics."""
        return normalised(values, next(self.moments), norm.eps)

    def residual(self, block: ResidualBlock, values: Map) -> Map:
        """The block's input is computed once for its convolutions and for the sum."""
        source = Remembered(values)
        return Sum(source, branch(block, source, self))


def reduced(pixels: np.ndarray, most: int) -> np.ndarray:
    """uint8 or uint16 (H, W, 3) made smaller by averaging to at most so many pixels; itself when it has no more."""
    height, width = pixels.shape[:2]
    factor = math.sqrt(most / (height * width))
    if factor >= 1:
        return pixels
    smaller = (max(1, int(width * factor)), max(1, int(height * factor)))
    return np.asarray(cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA))


@torch.no_grad()
def translate_thumbnail(
    generator: nn.Module,
    pixels: np.ndarray,
    *,
    device: torch.device,
    tile_px: int = DEFAULT_THUMBNAIL_TILE_PX,
    autocast: Autocast = nullcontext,
    progress: Callable[[float], None] = lambda _: None,
) -> np.ndarray:
    """Translate uint8 or uint16 (H, W, 3) of any size; memory is bounded by the tile, beside the input and the result.

    Args:
        generator: in eval mode, on the device.
        pixels: the picture; with no more pixels than four tiles the result is the exact one.
        device: where it computes.
        tile_px: the side of a tile without its surroundings; halved when the memory runs out.
        autocast: makes the context of every layer's call.
        progress: called after every tile with the share of the work that is done.

    Raises:
        UserError: an unknown network, or no memory for the smallest tile.
    """
    network = require_known(generator)
    moments = _statistics(
        network,
        reduced(pixels, THUMBNAIL_TILES * tile_px**2),
        device=device,
        tile_px=tile_px,
        autocast=autocast,
        progress=lambda share: progress(STATISTICS_SHARE * share),
    )
    values = follow(network, picture_of_pixels(pixels, network, device), Given(moments))
    result, whole = np.empty_like(pixels, order="C"), Box(0, pixels.shape[0], 0, pixels.shape[1])
    tiling = Tiling(
        tile_px=tile_px,
        channels=first_width(network),
        device=device,
        total=values.work * whole.area,
        progress=lambda share: progress(STATISTICS_SHARE + (1 - STATISTICS_SHARE) * share),
    )
    with autocast():
        tiling.run(values, whole, writing(result))
    return result


def _statistics(
    network: ResNetGenerator,
    pixels: np.ndarray,
    *,
    device: torch.device,
    tile_px: int,
    autocast: Autocast,
    progress: Callable[[float], None],
) -> list[Moments]:
    """Of every norm, for a picture that is small enough for its maps to be kept in memory."""
    picture = picture_of_pixels(pixels, network, device)
    return run_exact(
        network,
        picture,
        whole=picture.size.box,
        visit=lambda *_: None,
        device=device,
        tile_px=tile_px,
        autocast=autocast,
        progress=progress,
    )


def surroundings_px(generator: ResNetGenerator) -> int:
    """How far an output sees on either side, in pixels of the picture."""
    side_px = generator.minimum_px
    while True:
        picture: Picture = extended(2 * side_px + 1, 2 * side_px + 1, generator, lambda *_: torch.empty(0))
        values = follow(generator, picture, Given(repeat(Moments())))
        needed = values.needs(Box(side_px, side_px + 1, side_px, side_px + 1))
        if needed.top > 0:
            return side_px - needed.top
        side_px *= 2


def thumbnail_memory(generator: nn.Module, tile_px: int) -> int:
    """Bytes on the device for a tile with its surroundings, or for the reduced picture's maps where they are more."""
    network = require_known(generator)
    side_px = tile_px + 2 * surroundings_px(network)
    maps = exact_memory(network, 2 * tile_px, 2 * tile_px, tile_px)
    return max(tile_memory(network, side_px), maps.host + maps.device)
