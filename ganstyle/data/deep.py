"""Pictures of 16 bits a channel, which Pillow would cut to 8: PNG and TIFF files <-> uint16 arrays, as stored.

Profiles are for `colour`, turning upright is for the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ganstyle.base.errors import one_line
from ganstyle.data.deep_png import encode_png, read_png
from ganstyle.data.deep_tiff import read_tiff
from ganstyle.data.deep_tiff_encode import encode_tiff
from ganstyle.data.exif import with_blocks
from ganstyle.data.lenience import lenient_pillow
from ganstyle.data.pixels import Unreadable

# How a file starts -> what reads it: (values, alpha), or None for one that is not of 16 bits.
Reader = Callable[[BinaryIO], tuple[np.ndarray, np.ndarray | None] | None]
READERS: dict[bytes, Reader] = {
    b"\x89PNG": read_png,
    b"II*\0": read_tiff,
    b"MM\0*": read_tiff,
    b"II+\0": read_tiff,
    b"MM\0+": read_tiff,
}
# Callers have looked at the size; Pillow would count a strip's bytes as pixels.
UNLIMITED = 1 << 40


@dataclass(frozen=True)
class Deep:
    """A picture of 16 bits a channel as its file stores it: not turned upright, no profile applied."""

    values: np.ndarray  # (H, W) grey or (H, W, 3) RGB, uint16, black is 0, C-contiguous and writable
    alpha: np.ndarray | None  # (H, W) uint16, not multiplied into the values


def read_deep(file: BinaryIO) -> Deep | None:
    """The pixels of a 16-bit PNG or TIFF; None for every other file, after a look at its header alone.

    PNG: grey or RGB, with alpha or a transparent colour. TIFF: the first image, grey or RGB with or without alpha,
    unsigned integers of 16 bits, or of 12 (scaled), in strips or tiles, whatever the byte order; associated alpha is
    divided out. Not read here, and so None: CMYK, CIELAB, palettes, floating point, 32 bits. The size is not limited
    here: check it in the header first. The place in the file is anywhere afterwards.

    Raises:
        Unreadable: truncated or damaged; one line, without the path.
    """
    file.seek(0)
    reader = READERS.get(file.read(4))
    try:
        with lenient_pillow(UNLIMITED):
            found = reader(file) if reader else None
    except Unreadable:
        raise
    except MemoryError as error:
        raise Unreadable("too large for the memory of this machine") from error
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise Unreadable(f"damaged: {one_line(error)}") from error
    return None if found is None else Deep(*found)


def _tiff(
    values: np.ndarray, alpha: np.ndarray | None, *, dpi: tuple[float, float] | None, **blocks: bytes | None
) -> bytes:
    return with_blocks(encode_tiff(values, alpha, dpi=dpi), **blocks)


ENCODERS: dict[str, Callable[..., bytes]] = {"png": encode_png, "tiff": _tiff}


def encode_deep(
    values: np.ndarray,
    alpha: np.ndarray | None,
    format: str,
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    iptc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """(H, W) grey or (H, W, 3) RGB uint16, and straight (H, W) uint16 alpha or None, as the bytes of a PNG or TIFF.

    `format` is "png" or "tiff", compressed without loss. `icc` is a profile, `exif` what Pillow's `Exif.tobytes()`
    gives (or EXIF data without its first six bytes), `xmp` a packet, `iptc` captions (TIFF alone holds them), `dpi`
    pixels an inch across and down.
    """
    assert iptc is None or format == "tiff", format
    assert values.dtype == np.uint16, values.dtype
    assert values.ndim == 2 or values.shape[2] == 3, values.shape
    assert alpha is None or (alpha.dtype, alpha.shape) == (values.dtype, values.shape[:2]), alpha.shape
    blocks = {"icc": icc, "exif": exif, "xmp": xmp} | ({"iptc": iptc} if iptc else {})
    return ENCODERS[format](values, alpha, dpi=dpi, **blocks)
