"""uint16 arrays -> the bytes of TIFF files of 16 bits a channel."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from PIL import TiffTags
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PREDICTOR,
    RESOLUTION_UNIT,
    ROWSPERSTRIP,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    X_RESOLUTION,
    Y_RESOLUTION,
    ImageFileDirectory_v2,
)

from ganstyle.data.deep_tiff import DIFFERENCES, RGB, STRAIGHT, STRIP_BYTES, put

BLACK_IS_ZERO = 1  # photometric interpretation
DEFLATED = 8  # compression
INCH = 2  # resolution unit
EFFORT = 3  # of deflate, as for PNG


def encode_tiff(
    values: np.ndarray,
    alpha: np.ndarray | None,
    *,
    dpi: tuple[float, float] | None,
) -> bytes:
    """The bytes of a TIFF file in deflated strips, without metadata but the resolution; see `encode_deep`."""
    height, width = values.shape[:2]
    colours = 1 if values.ndim == 2 else 3
    channels = colours + (alpha is not None)
    rows = max(1, STRIP_BYTES // (2 * channels * width))
    strips = list(_packed(values, alpha, rows))
    tags = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    put(tags, IMAGEWIDTH, width)
    put(tags, IMAGELENGTH, height)
    put(tags, BITSPERSAMPLE, (16,) * channels, TiffTags.SHORT)
    put(tags, COMPRESSION, DEFLATED, TiffTags.SHORT)
    put(tags, PHOTOMETRIC_INTERPRETATION, RGB if colours == 3 else BLACK_IS_ZERO, TiffTags.SHORT)
    put(tags, SAMPLESPERPIXEL, channels, TiffTags.SHORT)
    put(tags, ROWSPERSTRIP, rows)
    put(tags, STRIPBYTECOUNTS, tuple(len(strip) for strip in strips))
    # Counted from the end of the tags: Pillow adds where that is.
    put(tags, STRIPOFFSETS, tuple(int(end) for end in np.cumsum([0, *map(len, strips[:-1])])))
    put(tags, PREDICTOR, DIFFERENCES, TiffTags.SHORT)
    if alpha is not None:
        put(tags, EXTRASAMPLES, STRAIGHT, TiffTags.SHORT)
    if dpi:
        put(tags, X_RESOLUTION, dpi[0], TiffTags.RATIONAL)
        put(tags, Y_RESOLUTION, dpi[1], TiffTags.RATIONAL)
        put(tags, RESOLUTION_UNIT, INCH, TiffTags.SHORT)
    return b"".join([b"II*\0\x08\0\0\0", tags.tobytes(8), *strips])


def _packed(values: np.ndarray, alpha: np.ndarray | None, rows: int) -> Iterator[bytes]:
    """Deflated strips of differences between neighbours in a row (TIFF 6.0, section 14)."""
    for top in range(0, len(values), rows):
        strip = np.atleast_3d(values[top : top + rows])
        if alpha is not None:
            strip = np.dstack([strip, alpha[top : top + rows]])
        differences = np.diff(strip, axis=1, prepend=np.uint16(0)).astype("<u2")
        yield zlib.compress(differences.tobytes(), EFFORT)
