"""Arrays (H, W, 3) of 8-bit sRGB -> the bytes of an image file, and files written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import atomic_write
from ganstyle.data.heic import make_heic_known
from ganstyle.data.pixels import to_pil

FORMATS: dict[str, str] = {
    "jpeg": ".jpg",
    "png": ".png",
    "webp": ".webp",
    "tiff": ".tif",
    "bmp": ".bmp",
    "gif": ".gif",
    "avif": ".avif",
    "heic": ".heic",
}
SUFFIX_FORMATS = {suffix: name for name, suffix in FORMATS.items()} | {
    ".jpeg": "jpeg",
    ".jfif": "jpeg",
    ".tiff": "tiff",
    ".heif": "heic",
    ".hif": "heic",
}
# Quality from which JPEG, AVIF and HEIC keep full colour resolution (4:4:4).
FULL_COLOUR_QUALITY = 90
# The longest side in pixels that a format can hold.
LONGEST_SIDES = {"jpeg": 65500, "webp": 16383, "gif": 65535}


def _subsampled(quality: int) -> dict[str, Any]:
    return {"quality": quality, "subsampling": "4:4:4" if quality >= FULL_COLOUR_QUALITY else "4:2:0"}


def _webp(quality: int) -> dict[str, Any]:
    return {"quality": quality}


def _lossless(quality: int) -> dict[str, Any]:
    return {}


def _nothing() -> None:
    pass


def _tiff(quality: int) -> dict[str, Any]:
    return {"compression": "tiff_adobe_deflate"}


OPTIONS: dict[str, Callable[[int], dict[str, Any]]] = {
    "jpeg": _subsampled,
    "png": _lossless,
    "webp": _webp,
    "tiff": _tiff,
    "bmp": _lossless,
    "gif": _lossless,
    "avif": _subsampled,
    "heic": _subsampled,
}
# What must be done before Pillow can write a format, and its own name for it where that is another.
PREPARATIONS: dict[str, Callable[[], None]] = {"heic": make_heic_known}
PILLOW_NAMES = {"heic": "heif"}


def write_image(path: Path, pixels: np.ndarray, *, format: str | None = None, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 RGB to a file that is whole or not there (see `atomic_write`).

    The format is that of the suffix unless it is named. `quality` (1..100) counts for JPEG, WebP, AVIF and HEIC; these
    but WebP keep full colour resolution from 90. GIF is reduced to 256 colours.

    Raises:
        UserError: an unknown format, an image too large for it, or a file that cannot be written.
    """
    path = Path(path)
    name = format_named(format or path.suffix)
    try:
        data = encode_image(pixels, name, quality)
    except UserError as error:
        raise UserError(f"cannot write {path}: {error}") from error
    with atomic_write(path) as file:
        file.write(data)


def encode_image(pixels: np.ndarray, format: str, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of an image file; UserError where the format cannot hold it."""
    name = format_named(format)
    return encode(to_pil(pixels), name, OPTIONS[name](quality))


def encode(image: Image.Image, format: str, options: Mapping[str, Any]) -> bytes:
    """A Pillow image as the bytes of a file, with the options of Pillow's writer of that name in FORMATS.

    Raises:
        UserError: the format cannot hold the image, or its encoder failed.
    """
    size = f"{image.width} x {image.height} px"
    longest = LONGEST_SIDES.get(format)
    if longest and max(image.size) > longest:
        raise UserError(f"{size} does not fit into {format} (at most {longest} px a side): use png or tiff")
    PREPARATIONS.get(format, _nothing)()
    buffer = BytesIO()
    try:
        image.save(buffer, format=PILLOW_NAMES.get(format, format), **options)
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError) as error:
        raise UserError(f"{size} cannot be encoded as {format} ({one_line(error)}): use png or tiff") from error
    return buffer.getvalue()


def format_named(text: str) -> str:
    """The name in FORMATS for a name or a suffix in any case ("JPEG", "jpg", ".JPG"); UserError for an unknown one."""
    name = text.lower().removeprefix(".")
    found = SUFFIX_FORMATS.get(f".{name}", name)
    if found not in FORMATS:
        raise UserError(f"unknown image format '{text}': choose one of {', '.join(FORMATS)}")
    return found
