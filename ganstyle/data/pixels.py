"""Pillow images <-> arrays of 8-bit sRGB, whatever the mode; resizing. Knows nothing of files."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from ganstyle.data.colour import to_srgb

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)

ORIENTATION = 0x0112
# What shows an image of each EXIF orientation upright: (swap rows and columns, then flip top-bottom, flip left-right).
TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

# The mode in which the colours of each 8-bit mode are kept until they become sRGB.
COLOUR_MODES = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "P": "RGB",
    "PA": "RGB",
    "RGB": "RGB",
    "RGBA": "RGB",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "CMYK": "CMYK",
    "LAB": "LAB",
}
STRAIGHT_ALPHA = {"La": "LA", "RGBa": "RGBA"}


class Unreadable(Exception):
    """An image that cannot be used: one line that says what is wrong, without the path (callers put it in front)."""


def from_pil(image: Image.Image, background: Colour = WHITE) -> np.ndarray:
    """Any Pillow image as (H, W, 3) uint8 RGB in sRGB, C-contiguous and writable.

    EXIF orientation and ICC profile are applied, alpha is composed on `background` (in sRGB values). 16-bit grey is
    scaled (65535 is white). 32-bit integer grey must lie in 0..65535 and is read as 16-bit; floating point grey must
    lie in 0..1 and is read as sRGB values.

    Raises:
        Unreadable: the values lie outside these ranges, or the mode is none of those known.
    """
    image.load()
    pixels, _ = flatten(image, background)
    return turn(pixels, orientation(image))


def is_pil(value: object) -> bool:
    """Whether this is a Pillow image."""
    return isinstance(value, Image.Image)


def to_pil(pixels: np.ndarray) -> Image.Image:
    """(H, W, 3) uint8 RGB as a Pillow image."""
    assert pixels.dtype == np.uint8, pixels.dtype
    assert pixels.ndim == 3, pixels.shape
    assert pixels.shape[2] == 3, pixels.shape
    return Image.fromarray(np.ascontiguousarray(pixels))


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 at another `size` (height, width): bicubic, antialiased when it shrinks; aspect is not kept."""
    height, width = size
    if pixels.shape[:2] == size:
        return pixels.copy()
    return np.array(to_pil(pixels).resize((width, height), Image.Resampling.BICUBIC))


def within(size: tuple[int, int], longest_px: int | None) -> tuple[int, int]:
    """A size with its longer side brought down to `longest_px`, if it is longer."""
    longest = max(size)
    if longest_px is None or longest <= longest_px:
        return size
    return max(1, round(size[0] * longest_px / longest)), max(1, round(size[1] * longest_px / longest))


def flatten(image: Image.Image, background: Colour) -> tuple[np.ndarray, bool]:
    """A loaded image as (H, W, 3) uint8 sRGB, not yet upright, and whether an ICC profile changed its colours."""
    pixels, alpha, converted = straight(image)
    return (pixels if alpha is None else compose(pixels, alpha, background)), converted


def straight(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """As `flatten`, but with the alpha (H, W) uint8 apart, not multiplied into the colours, or None."""
    colours, alpha = _separate(image)
    rgb, converted = to_srgb(colours, image.info.get("icc_profile"))
    return np.array(rgb), alpha, converted


def compose(colours: np.ndarray, alpha: np.ndarray, background: Colour) -> np.ndarray:
    """(H, W, 3) uint8 over one colour, weighted by (H, W) uint8 alpha that is not multiplied into the colours."""
    weight = alpha[..., None].astype(np.uint16)
    blend = colours * weight + np.array(background, np.uint16) * (255 - weight)  # at most 255 * 255: fits
    return ((blend + 127) // 255).astype(np.uint8)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The array shown upright for an EXIF orientation (1..8), C-contiguous."""
    swap, flip_rows, flip_columns = TURNS.get(orientation, TURNS[1])
    if swap:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied; 1 (upright) where the EXIF data is missing or broken."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF data raises nearly anything, and the pixels are still good
        return 1
    return found if found in TURNS else 1


def to_levels(values: np.ndarray, highest: int) -> np.ndarray:
    """Integers in 0..highest scaled to uint8 0..255 and rounded; Unreadable when any lies outside."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > highest:
        raise Unreadable(f"integer values from {low} to {high}: only 0 to {highest} can be read")
    return ((values.astype(np.uint32) * 255 + highest // 2) // highest).astype(np.uint8)


def unit_to_levels(values: np.ndarray) -> np.ndarray:
    """Floating point numbers in 0..1 as uint8 0..255, rounded; Unreadable when any lies outside or is not finite."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN fails every comparison
        raise Unreadable(f"floating point values from {low:g} to {high:g}: only 0 to 1 can be read")
    return (values * 255 + 0.5).astype(np.uint8)


def _separate(image: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    """The colours (mode L, RGB, CMYK or LAB) and the alpha channel (H, W), if there is one."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_grey(image)
    if image.mode in STRAIGHT_ALPHA:
        image = image.convert(STRAIGHT_ALPHA[image.mode])
    if image.mode not in COLOUR_MODES:
        raise Unreadable(f"pixels of mode {image.mode} cannot be read: save it as RGB")
    mode = COLOUR_MODES[image.mode]
    if not image.has_transparency_data:
        return (image if image.mode == mode else image.convert(mode)), None
    whole = image.convert("RGBA")
    # Grey stays grey, because a profile for grey takes nothing else.
    return (image.convert("L") if mode == "L" else whole.convert("RGB")), np.asarray(whole.getchannel("A"))


def _deep_grey(image: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    values = np.asarray(image)
    tags: Any = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if image.mode == "F":
        grey = unit_to_levels(values)
    else:
        bits = min(16, tags.get(BITSPERSAMPLE, (16,))[0])  # 12-bit files come as 16-bit integers
        grey = to_levels(values, 2**bits - 1)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero: Pillow turns only 8-bit values round
        grey = 255 - grey
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.fromarray(grey), alpha
