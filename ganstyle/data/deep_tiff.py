"""TIFF files of 16 bits a channel -> uint16 arrays, a strip or a tile at a time.

Pillow would cut colour to 8 bits, and OpenCV leaves out planes, alpha beside grey, and what is associated. So Pillow
only unpacks here: each strip is handed to it as a small TIFF of its own, of plain bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import Any, BinaryIO

import numpy as np
from PIL import TiffTags
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    FILLORDER,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    ROWSPERSTRIP,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from ganstyle.data.pixels import Unreadable
from ganstyle.data.tiff import PREMULTIPLIED, read_tags, size_of

WHITE_IS_ZERO, RGB = 0, 2  # photometric interpretations; 1 is grey
COLOURS = {WHITE_IS_ZERO: 1, 1: 1, RGB: 3}  # channels of colour by photometric interpretation
UNSIGNED = (1, 4)  # sample formats: integers, undefined
STRAIGHT = 2  # kind of extra sample
NO_ALPHA = 0
UNPACKED = 1  # compression
DEFLATED = (8, 32946)
PACKED_BY_LIBTIFF = (5, 32773, 34925, 50000)  # LZW, PackBits, LZMA, Zstandard
DIFFERENCES = 2  # predictor
SEPARATE = 2  # planar configuration
FORWARD = 1  # fill order
OPAQUE = 65535
STRIP_BYTES = 1 << 20
LARGEST_TILE_PX = 1 << 24  # tiles may be larger than a small picture, but a small file must not ask for all memory


@dataclass(frozen=True)
class _Piece:
    """A strip or a tile, or a part of a strip: where its bytes lie, and where its pixels belong."""

    start: int
    length: int  # in bytes, as packed
    plane: int
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class _Layout:
    """How a file of one image of 12 or 16 bits a channel holds its pixels."""

    order: str  # of bytes, as in struct: < or >
    width: int
    height: int
    bits: int
    photometric: int
    extra: tuple[int, ...]  # kinds of the channels after the colours
    compression: int
    differences: bool
    planes: int  # 1: the channels of a pixel lie side by side
    tiled: bool
    piece: tuple[int, int]  # width and height of a tile or strip
    starts: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def channels(self) -> int:
        return COLOURS[self.photometric] + len(self.extra)


def read_tiff(file: BinaryIO) -> tuple[np.ndarray, np.ndarray | None] | None:
    """(H, W) or (H, W, 3) uint16 values and their alpha, if any; None for a TIFF of another kind."""
    tags = read_tags(file)
    if not _is_deep(tags):
        return None
    layout = _layout_of(tags)
    _check_count(layout)
    whole = np.empty((layout.height, layout.width, layout.channels), np.uint16)
    for piece in _pieces(layout):
        _place(whole, piece, _samples(_bytes(file, layout, piece), layout, piece))
    colours = COLOURS[layout.photometric]
    if layout.photometric == WHITE_IS_ZERO:
        np.invert(whole[..., :1], out=whole[..., :1])
    kind = layout.extra[0] if layout.extra else NO_ALPHA
    alpha = None if kind == NO_ALPHA else np.ascontiguousarray(whole[..., colours])
    if alpha is not None and kind == PREMULTIPLIED:
        _divide(whole, alpha)
    return np.ascontiguousarray(whole[..., 0] if colours == 1 else whole[..., :3]), alpha


def _is_deep(tags: Any) -> bool:
    """Whether the kind of pixels is ours."""
    channels, photometric = int(tags.get(SAMPLESPERPIXEL, 1)), tags.get(PHOTOMETRIC_INTERPRETATION)
    bits = set(tags.get(BITSPERSAMPLE, (1,)))
    return (
        {IMAGEWIDTH, IMAGELENGTH} <= set(tags)
        and ({TILEOFFSETS, TILEWIDTH, TILELENGTH} <= set(tags) or STRIPOFFSETS in tags)
        and tags.get(COMPRESSION, UNPACKED) in (UNPACKED, *DEFLATED, *PACKED_BY_LIBTIFF)
        and photometric in COLOURS
        and bits in ({12}, {16})
        and 0 <= channels - COLOURS[photometric] <= 1
        and set(tags.get(SAMPLEFORMAT, (1,))) <= set(UNSIGNED)
        and tags.get(FILLORDER, FORWARD) == FORWARD
        and tags.get(PREDICTOR, 1) in ((1, DIFFERENCES) if bits == {16} else (1,))
    )


def _layout_of(tags: Any) -> _Layout:
    width, height = size_of(tags)
    photometric, tiled = int(tags[PHOTOMETRIC_INTERPRETATION]), STRIPOFFSETS not in tags
    channels, compression = int(tags.get(SAMPLESPERPIXEL, 1)), int(tags.get(COMPRESSION, UNPACKED))
    extra = tuple(tags.get(EXTRASAMPLES, (STRAIGHT,)))[: channels - COLOURS[photometric]]
    piece = (tags[TILEWIDTH], tags[TILELENGTH]) if tiled else (width, min(height, tags.get(ROWSPERSTRIP, height)))
    starts = _numbers(tags[TILEOFFSETS if tiled else STRIPOFFSETS])
    lengths = _numbers(tags.get(TILEBYTECOUNTS if tiled else STRIPBYTECOUNTS, ()))
    if min(width, height, *piece) < 1 or piece[0] * piece[1] > max(width * height, LARGEST_TILE_PX):
        raise Unreadable(f"damaged: {width} x {height} px in strips or tiles of {piece[0]} x {piece[1]}")
    return _Layout(
        order=tags._endian,
        width=width,
        height=height,
        bits=int(tags[BITSPERSAMPLE][0]),
        photometric=photometric,
        extra=extra,
        compression=compression,
        differences=compression != UNPACKED and tags.get(PREDICTOR, 1) == DIFFERENCES,
        planes=channels if tags.get(PLANAR_CONFIGURATION, 1) == SEPARATE else 1,
        tiled=tiled,
        piece=piece,
        starts=starts,
        lengths=lengths if lengths or compression != UNPACKED else (0,) * len(starts),
    )


def _check_count(layout: _Layout) -> None:
    """Before anything is made: a small file may speak of a tile for each of a hundred million pixels."""
    width, height = layout.piece
    count = layout.planes * -(-layout.height // height) * -(-layout.width // width)
    told = min(len(layout.starts), len(layout.lengths))
    if told < count:
        raise Unreadable(f"damaged: {told} of {count} strips or tiles are there")


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (int(value),)


def _pieces(layout: _Layout) -> Iterator[_Piece]:
    """All strips or tiles in the order of the file; strips that are not packed are cut into handy ones."""
    width, height = layout.piece
    tops, lefts = range(0, layout.height, height), range(0, layout.width, width)
    places = product(range(layout.planes), tops, lefts)
    for (plane, top, left), start, length in zip(places, layout.starts, layout.lengths, strict=False):
        rows = height if layout.tiled else min(height, layout.height - top)
        whole = _Piece(start, length, plane, left, top, width, rows)
        yield from _cut(whole, layout) if layout.compression == UNPACKED else (whole,)


def _cut(piece: _Piece, layout: _Layout) -> Iterator[_Piece]:
    row = _row_bytes(piece, layout)
    rows = max(1, STRIP_BYTES // row)
    for top in range(0, piece.height, rows):
        height = min(rows, piece.height - top)
        start = piece.start + top * row
        yield _Piece(start, height * row, piece.plane, piece.left, piece.top + top, piece.width, height)


def _row_bytes(piece: _Piece, layout: _Layout) -> int:
    return (piece.width * layout.channels // layout.planes * layout.bits + 7) // 8


def _bytes(file: BinaryIO, layout: _Layout, piece: _Piece) -> np.ndarray:
    """The unpacked (rows, bytes) of a piece."""
    row = _row_bytes(piece, layout)
    if layout.compression in PACKED_BY_LIBTIFF:
        return _unpacked(file, piece, layout.compression, row)
    data = _stored(file, piece)
    plain = data if layout.compression == UNPACKED else _inflated(data, row * piece.height)
    return np.frombuffer(plain, np.uint8).reshape(piece.height, row)


def _stored(file: BinaryIO, piece: _Piece) -> bytes:
    file.seek(piece.start)
    data = file.read(piece.length)
    if len(data) < piece.length:
        raise Unreadable("truncated: the file ends within its pixels")
    return data


def _inflated(data: bytes, length: int) -> bytes:
    """What a zlib stream begins with. Not by libtiff, which tells of a damaged one on the error stream."""
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(data, length + 1)
    if len(plain) < length or (len(plain) == length and not unpacker.eof):
        raise Unreadable("damaged: a strip or tile holds too few pixels")
    return plain[:length]


def _unpacked(file: BinaryIO, piece: _Piece, compression: int, row: int) -> np.ndarray:
    """What Pillow makes of one strip as a picture of its own: (rows, bytes), as if they were 8-bit grey."""
    tags = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    numbers = {IMAGEWIDTH: row, IMAGELENGTH: piece.height, ROWSPERSTRIP: piece.height, STRIPBYTECOUNTS: piece.length}
    codes = {BITSPERSAMPLE: 8, COMPRESSION: compression, PHOTOMETRIC_INTERPRETATION: 1, SAMPLESPERPIXEL: 1}
    for tag, number in (numbers | {STRIPOFFSETS: 0}).items():
        put(tags, tag, number)
    for tag, number in codes.items():
        put(tags, tag, number, TiffTags.SHORT)
    # One expression, because some files are a single strip, of which each name would keep a copy.
    small = BytesIO(b"".join([b"II*\0\x08\0\0\0", tags.tobytes(8), _stored(file, piece)]))
    # Not Image.open, which would hold the bytes of a strip against a limit that is meant for pixels.
    return np.asarray(TiffImageFile(small, ""))


def _samples(rows: np.ndarray, layout: _Layout, piece: _Piece) -> np.ndarray:
    """(rows, bytes) as (H, W, C) uint16, 12 bits scaled to 16."""
    count = piece.width * layout.channels // layout.planes
    samples = SAMPLES[layout.bits](rows, layout.order, count).reshape(piece.height, piece.width, -1)
    if not layout.differences:
        return samples
    return np.cumsum(samples, axis=1, dtype=np.uint16)


def _of_16_bits(rows: np.ndarray, order: str, count: int) -> np.ndarray:
    return np.ascontiguousarray(rows).view(f"{order}u2")


def _of_12_bits(rows: np.ndarray, order: str, count: int) -> np.ndarray:
    """Two samples in three bytes, the high bits first; each row begins with a new byte."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 3))).astype(np.uint16)
    first, middle, last = padded[:, 0::3], padded[:, 1::3], padded[:, 2::3]
    samples = np.stack([first << 4 | middle >> 4, (middle & 15) << 8 | last], axis=-1).reshape(len(rows), -1)
    return (samples << 4 | samples >> 8)[:, :count]


SAMPLES: dict[int, Callable[[np.ndarray, str, int], np.ndarray]] = {12: _of_12_bits, 16: _of_16_bits}


def _place(whole: np.ndarray, piece: _Piece, samples: np.ndarray) -> None:
    """Put a piece where it belongs; tiles may stand out at the right and at the bottom."""
    channels = slice(piece.plane, piece.plane + samples.shape[2])
    target = whole[piece.top : piece.top + piece.height, piece.left : piece.left + piece.width, channels]
    target[:] = samples[: target.shape[0], : target.shape[1]]


def _divide(whole: np.ndarray, alpha: np.ndarray) -> None:
    """Divide alpha out of the colours, in place; colours without any alpha become 0."""
    for row, weight in zip(whole[..., :-1], alpha[..., None], strict=True):
        divisor = np.maximum(weight, 1).astype(np.uint32)
        row[:] = np.where(weight > 0, (np.minimum(row, weight) * np.uint32(OPAQUE) + divisor // 2) // divisor, 0)


def put(tags: Any, tag: int, value: Any, kind: int = TiffTags.LONG) -> None:
    """Set a tag of a directory that is to be written, its type with it: Pillow's guess may be a shorter one."""
    tags.tagtype[tag] = kind
    tags[tag] = value
