"""From coarse to fine: the sizes at which a picture is optimised, one after the other, and how many times at each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

COARSEST_PX = 128  # about: the longer side where the large forms of a style settle
# Evaluations, the coarsest scale first; further scales get the last one's.
ITERATIONS = (80, 50, 40)

Size = tuple[int, int]


class Scale(NamedTuple):
    """One step of the pyramid: (height, width), and the evaluations made there."""

    size: Size
    iterations: int


def pyramid(size: Size, *, least_px: int, iterations: Sequence[int] | None = None) -> list[Scale]:
    """The scales from coarse to fine, each twice the one before, the last one of the whole size.

    Args:
        size: height and width of the result.
        least_px: no side becomes shorter, which leaves out coarse scales of very oblong pictures.
        iterations: as many scales as it has numbers, the coarsest first; the usual ones by default.
    """
    wanted = len(iterations) if iterations is not None else 1 + max(0, round(math.log2(max(size) / COARSEST_PX)))
    halvings = [halved for halved in range(wanted) if halved == 0 or min(size) / 2**halved >= least_px]
    sizes = [scaled(size, 0.5**halved) for halved in reversed(halvings)]
    # Where coarse scales are left out, the first evaluations go with the first scale there is.
    counts = list(iterations) if iterations is not None else _usual(wanted)
    return [Scale(each, count) for each, count in zip(sizes, _fitted(counts, len(sizes)), strict=True)]


def scaled(size: Size, factor: float, *, least_px: int = 1) -> Size:
    """A size times a factor, rounded; no side shorter than `least_px`."""
    return max(least_px, round(size[0] * factor)), max(least_px, round(size[1] * factor))


def style_size(style: Size, photo: Size, *, style_scale: float, least_px: int) -> Size:
    """The size at which a picture lends its style to a photo: as many pixels as that has, times `style_scale` squared.

    Areas are compared and not sides, so that the strokes on an oblong photo are not those of its longer side. A
    picture is never enlarged, which would add nothing but blur, unless a side would fall short of `least_px`. The
    factor is rounded to steps of a quarter octave, so that photos of about the same size share the picture's targets.
    """
    wanted = style_scale * math.sqrt(photo[0] * photo[1] / (style[0] * style[1]))
    factor = 2 ** (round(4 * math.log2(wanted)) / 4)
    factor = max(min(factor, 1.0), least_px / min(style))
    return scaled(style, factor, least_px=least_px)


def resized(images: Tensor, size: Size) -> Tensor:
    """Images (N, 3, H, W) at another size: bicubic, antialiased when it shrinks them, and in [-1, 1]."""
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)


def resized_mask(mask: Tensor, size: Size) -> Tensor:
    """A soft mask (1, 1, H, W) in 0..1 at another size; bilinear, antialiased when it shrinks it."""
    if tuple(mask.shape[2:]) == size:
        return mask
    return F.interpolate(mask, size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def _usual(count: int) -> list[int]:
    return [ITERATIONS[min(number, len(ITERATIONS) - 1)] for number in range(count)]


def _fitted(counts: Sequence[int], scales: int) -> list[int]:
    """The numbers of the finest scales, those of scales left out are dropped, but the first scale has the most."""
    kept = list(counts[-scales:])
    kept[0] = max(counts[: len(counts) - scales + 1])
    return kept
