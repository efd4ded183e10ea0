"""Image files <-> arrays (H, W, 3) of 8-bit sRGB, with a record of what the file was. No torch.

The rooms above use this module and never Pillow. A broken file is always `Unreadable`, never another exception and
never a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from ganstyle.base.errors import UserError
from ganstyle.data.encode import FORMATS, SUFFIX_FORMATS, encode_image, write_image
from ganstyle.data.named_colours import profile_named
from ganstyle.data.opening import (
    bits_of,
    check_size,
    format_of,
    jpeg_settings,
    mend_transparent_colour,
    opened,
    reading,
    upright,
)
from ganstyle.data.pixels import WHITE, Colour, Unreadable, flatten, from_pil, is_pil, orientation, resize, to_pil, turn
from ganstyle.data.png_blocks import EXIF_CHUNK, png_info
from ganstyle.data.tiff import orientation_of, read_tags, read_with_opencv, size_of

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "FORMATS",
    "SUFFIXES",
    "WHITE",
    "Colour",
    "Metadata",
    "Picture",
    "Unreadable",
    "encode_image",
    "from_pil",
    "is_pil",
    "read_image",
    "read_size",
    "resize",
    "to_pil",
    "write_image",
]

SUFFIXES: frozenset[str] = frozenset(SUFFIX_FORMATS)
DEFAULT_MAX_PIXELS = 300_000_000


@dataclass(frozen=True)
class Metadata:
    """What a file was before it became 8-bit sRGB; what writing it again may need."""

    format: str  # a name in FORMATS
    mode: str  # Pillow's name for the kind of pixels: RGB, CMYK, I;16, ...
    size: tuple[int, int]  # (width, height) in pixels, upright
    has_alpha: bool
    bits: int  # per channel
    icc_converted: bool  # an embedded profile changed the colours; False for none, sRGB or a broken one
    jpeg_tables: tuple[tuple[int, ...], ...] = ()  # quantisation tables, empty for other formats
    jpeg_subsampling: int | None = None  # 0: 4:4:4, 1: 4:2:2, 2: 4:2:0, None: another or not a JPEG


@dataclass(frozen=True)
class Picture:
    """An image as it should be seen: `pixels` is (H, W, 3) uint8 RGB in sRGB, C-contiguous."""

    pixels: np.ndarray
    metadata: Metadata


def read_image(path: Path, *, background: Colour = WHITE, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read an image file upright, in sRGB, without alpha.

    EXIF orientation and embedded ICC profiles are applied, alpha is composed on `background`; of an animation the
    first frame is read. Grey, palette, CMYK, YCbCr, CIELAB, 1-bit and 16-bit files are understood; see `from_pil` for
    the ranges of 32-bit and floating point files. The size is checked in the header, before anything is decoded.
    While a file is being read, Pillow's own limit on pixels is raised to `max_pixels` and its warnings are silent, for
    the whole process (Pillow has no narrower switch).

    Raises:
        Unreadable: one line, without the path: missing, empty, truncated, damaged, too large or not an image.
    """
    with reading(Path(path), max_pixels) as file:
        image = opened(file)
        if image is None:
            return _read_rare_tiff(file, background, max_pixels)
        check_size(image.size, max_pixels)
        return _picture(image, file, background)


def read_pixels(path: Path) -> np.ndarray:
    """The pixels of `read_image`, (H, W, 3) uint8, of a file that a person named: `UserError` with its path."""
    try:
        return read_image(path).pixels
    except Unreadable as error:
        raise UserError(f"{path}: {error}") from error


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image file shown upright, from its header alone; Unreadable as `read_image`."""
    with reading(Path(path), DEFAULT_MAX_PIXELS) as file:
        image = opened(file)
        if image is None:
            tags = read_tags(file)
            return upright(size_of(tags), orientation_of(tags))
        if isinstance(image, TiffImageFile):
            return image.size  # Pillow turns these by itself
        if isinstance(image, PngImageFile) and "exif" not in image.info:
            found, _ = png_info(file, {EXIF_CHUNK})
            image.info["exif"] = found.get("exif")  # without an entry, Pillow decodes the image to find one
        return upright(image.size, orientation(image))


def _picture(image: Image.Image, file: BinaryIO, background: Colour) -> Picture:
    mode, bits = image.mode, bits_of(image)
    mend_transparent_colour(image)
    image.load()
    image.info["icc_profile"] = profile_named(image, file)
    pixels, converted = flatten(image, background)
    pixels = turn(pixels, orientation(image))
    tables, subsampling = jpeg_settings(image)
    metadata = Metadata(
        format=format_of(image),
        mode=mode,
        size=(pixels.shape[1], pixels.shape[0]),
        has_alpha=image.has_transparency_data,
        bits=bits,
        icc_converted=converted,
        jpeg_tables=tables,
        jpeg_subsampling=subsampling,
    )
    return Picture(pixels, metadata)


def _read_rare_tiff(file: BinaryIO, background: Colour, max_pixels: int) -> Picture:
    tags = read_tags(file)
    check_size(size_of(tags), max_pixels)
    image = read_with_opencv(file, tags)
    pixels, converted = flatten(image, background)
    pixels = turn(pixels, orientation_of(tags))
    metadata = Metadata(
        format="tiff",
        mode=image.mode,
        size=(pixels.shape[1], pixels.shape[0]),
        has_alpha=image.has_transparency_data,
        bits=tags[BITSPERSAMPLE][0],
        icc_converted=converted,
    )
    return Picture(pixels, metadata)
