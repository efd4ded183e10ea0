"""Masks of several regions: pictures of flat colours, each of which is a region."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from ganstyle.base.errors import UserError
from ganstyle.data.images import read_image
from ganstyle.data.masks import BLACK, WHITE, Masks, feather
from ganstyle.data.pixels import Colour, Unreadable

COLOURED, LEAST_COLOURED = 40, 1e-3  # levels between a pixel's channels, and the share of such pixels
FLAT_LEVELS = 12  # between a pixel and those around it, where lossy files left a flat colour flat
LEAST_FLAT = 0.5  # of all pixels; a photo has less
SAME_LEVELS = 40  # of a channel, between two shades of one label
LEAST_LABEL = 5e-4  # of all pixels
MOST_LABELS = 16


def read_label_mask(
    path: Path, *, size: tuple[int, int] | None = None, feather_px: float | None = None
) -> dict[Colour, np.ndarray]:
    """The regions of a mask: colour -> where it is, float32 (H, W) in 0..1; they sum to one at each pixel.

    A mask in greys is one soft region: white as it is, black the rest (read as `Masks`, alpha included). In another
    each flat colour is a region; transparent is black. Blended pixels of smooth edges and the noise of lossy files
    take the nearest flat one's, so regions need a core that is three pixels wide.

    Args:
        path: an image file.
        size: (height, width) of the result, whose proportions the mask must have; None for its own.
        feather_px: the softness of edges, in pixels of the result, as in `feather`.

    Raises:
        UserError: it cannot be read, has other proportions than `size`, or is no picture of a few flat colours.
    """
    try:
        pixels = read_image(path, background=BLACK).pixels
    except Unreadable as error:
        raise UserError(f"{path}: the mask cannot be read ({error}); save it again as PNG") from error
    size = size or (pixels.shape[0], pixels.shape[1])
    white = Masks(path, feather_px=feather_px).weight(path, size)  # checks the proportions for both kinds
    if (np.ptp(pixels, axis=2) > COLOURED).mean() < LEAST_COLOURED:
        return {WHITE: white, BLACK: 1 - white}
    colours, labels = _flat_colours(path, pixels)
    shares = [feather((labels == number).astype(np.float32), size, feather_px) for number in range(len(colours))]
    return dict(zip(colours, shares, strict=True))


def nearest_colour(colour: Colour, colours: Iterable[Colour]) -> Colour | None:
    """The one of some colours that is the same label as another; None where none is."""
    same = [each for each in colours if _apart(each, colour) <= SAME_LEVELS]
    return min(same, key=lambda each: _apart(each, colour), default=None)


def named(colours: Iterable[Colour]) -> str:
    """Colours as people write them: #ff0000, #000000."""
    return ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours)


def _apart(one: Colour, other: Colour) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _flat_colours(path: Path, pixels: np.ndarray) -> tuple[list[Colour], np.ndarray]:
    """The colours, most frequent first, and the number of each pixel's, (H, W)."""
    window = np.ones((3, 3), np.uint8)
    flat = (cv2.dilate(pixels, window) - cv2.erode(pixels, window)).max(axis=2) <= FLAT_LEVELS
    if flat.mean() < LEAST_FLAT:
        raise UserError(f"{path}: no mask of flat colours: expected areas of one colour each, without shading")
    labels, colours = np.full(flat.shape, -1, np.int32), list[Colour]()
    left = flat.copy()
    while left.mean() >= LEAST_LABEL:
        if len(colours) == MOST_LABELS:
            raise UserError(f"{path}: more than {MOST_LABELS} colours in the mask: expected a few flat ones")
        colour = _most_frequent(pixels[left])
        own = left & (np.abs(pixels.astype(np.int16) - np.array(colour, np.int16)).max(axis=2) <= SAME_LEVELS)
        labels[own] = len(colours)
        colours.append(colour)
        left &= ~own
    return colours, _spread(labels)


def _most_frequent(pixels: np.ndarray) -> Colour:
    """Of (N, 3) pixels: the mean of the fullest of boxes of eight levels a side."""
    boxes = (pixels.astype(np.int32) >> 3) @ np.array([1 << 10, 1 << 5, 1], np.int32)
    fullest = pixels[boxes == np.bincount(boxes).argmax()]
    red, green, blue = (round(float(value)) for value in fullest.mean(axis=0))
    return red, green, blue


def _spread(labels: np.ndarray) -> np.ndarray:
    """Pixels without a label (-1) take the nearest one's."""
    missing = (labels < 0).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    by_number = np.empty(nearest.max() + 1, labels.dtype)
    by_number[nearest[missing == 0]] = labels[missing == 0]
    return by_number[nearest]
