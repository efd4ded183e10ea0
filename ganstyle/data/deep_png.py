"""PNG files of 16 bits a channel <-> uint16 arrays. Pillow would cut them to 8 bits, so OpenCV decodes the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import cv2
import numpy as np
from PIL.PngImagePlugin import putchunk

from ganstyle.data.pixels import Unreadable
from ganstyle.data.tiff import silent_opencv

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Numbers of channels by colour type: grey, RGB, grey with alpha, RGB with alpha.
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
COLOUR_TYPES = {channels: kind for kind, channels in CHANNELS.items()}
OPAQUE = 65535
# The low bytes of photos are noise: more effort costs seconds and wins a few per cent.
EFFORT = 3
STRIP_BYTES = 1 << 22
INCH_M = 0.0254


def read_png(file: BinaryIO) -> tuple[np.ndarray, np.ndarray | None] | None:
    """(H, W) or (H, W, 3) uint16 values and their alpha, if any; None for a PNG that is not of 16 bits."""
    file.seek(0)
    if file.read(8) != SIGNATURE or file.read(8)[4:] != b"IHDR":
        return None
    width, height, bits, kind = struct.unpack(">IIBB", file.read(10))
    if bits != 16 or kind not in CHANNELS:
        return None
    essence, key = _essence(file)
    with silent_opencv():
        found = cv2.imdecode(np.frombuffer(essence, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.shape[:2] != (height, width) or found.dtype != np.uint16:
        raise Unreadable("damaged: its pixels cannot be decoded")
    values, alpha = _separated(found, CHANNELS[kind])
    return values, _keyed(values, key) if alpha is None and key else alpha


def encode_png(
    values: np.ndarray,
    alpha: np.ndarray | None,
    *,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
) -> bytes:
    """The bytes of a PNG file; see `encode_deep`."""
    height, width = values.shape[:2]
    channels = (1 if values.ndim == 2 else 3) + (alpha is not None)
    file = BytesIO()
    file.write(SIGNATURE)
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0))
    if icc:
        putchunk(file, b"iCCP", b"ICC Profile\0\0", zlib.compress(icc))
    if dpi:
        putchunk(file, b"pHYs", struct.pack(">IIB", *(round(each / INCH_M) for each in dpi), 1))
    if exif:
        putchunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    if xmp:
        putchunk(file, b"iTXt", b"XML:com.adobe.xmp", bytes(5), xmp)
    for packed in _packed(values, alpha):
        putchunk(file, b"IDAT", packed)
    putchunk(file, b"IEND")
    return file.getvalue()


def _essence(file: BinaryIO) -> tuple[bytearray, bytes | None]:
    """The file with its pixels alone, and its transparent colour.

    What OpenCV makes of the rest (transparent colours, frames of an animation) depends on its version.
    """
    file.seek(8)
    kept, key = bytearray(SIGNATURE), None
    while len(header := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", header)
        if name == b"IEND":
            break
        if name not in (b"IHDR", b"IDAT", b"tRNS"):
            file.seek(length + 4, 1)
            continue
        chunk = file.read(length + 4)
        if len(chunk) < length + 4:
            raise Unreadable("truncated: the file ends within its pixels")
        # OpenCV's decoder would find this too, but tell it on the error stream.
        if zlib.crc32(memoryview(chunk)[:length], zlib.crc32(name)) != int.from_bytes(chunk[length:], "big"):
            raise Unreadable(f"damaged: the checksum of its {name.decode()} chunk is wrong")
        if name == b"tRNS":
            key = chunk[:length]
        else:
            kept += header + chunk
    return kept + struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND")), key


def _separated(found: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """OpenCV's array (blue first; grey with alpha as four channels) as values and alpha."""
    if channels == 1:
        return found if found.ndim == 2 else np.ascontiguousarray(found[..., 0]), None
    if channels == 3 and found.shape[2] == 3:
        blue = found[..., 0].copy()  # exchanged in place: such pictures may fill half of the memory
        found[..., 0] = found[..., 2]
        found[..., 2] = blue
        return found, None
    alpha = np.ascontiguousarray(found[..., -1])
    return np.ascontiguousarray(found[..., 0] if channels == 2 else found[..., 2::-1]), alpha


def _keyed(values: np.ndarray, key: bytes) -> np.ndarray:
    """Alpha that is nothing where all channels have the transparent colour's values."""
    colour = struct.unpack(">H" if values.ndim == 2 else ">3H", key)
    planes = np.moveaxis(np.atleast_3d(values), -1, 0)
    hidden = np.ones(values.shape[:2], bool)
    for plane, value in zip(planes, colour, strict=True):
        hidden &= plane == value
    return np.where(hidden, np.uint16(0), np.uint16(OPAQUE))


def _packed(values: np.ndarray, alpha: np.ndarray | None) -> Iterator[bytes]:
    """The rows, each with its filter in front, as pieces of one zlib stream (RFC 2083, section 6)."""
    packer = zlib.compressobj(EFFORT, strategy=zlib.Z_FILTERED)
    rows = max(1, STRIP_BYTES // (8 * values.shape[1]))
    for top in range(0, len(values), rows):
        strip = np.atleast_3d(values[top : top + rows])
        if alpha is not None:
            strip = np.dstack([strip, alpha[top : top + rows]])
        yield packer.compress(_filtered(strip).tobytes())
    yield packer.flush()


def _filtered(strip: np.ndarray) -> np.ndarray:
    """(rows, W, C) values as rows of bytes, each the difference from the pixel to its left (filter type 1, Sub)."""
    height, width, channels = strip.shape
    data = strip.astype(">u2").view(np.uint8).reshape(height, width, 2 * channels)
    rows = np.empty((height, 1 + 2 * channels * width), np.uint8)
    rows[:, 0] = 1
    pixels = rows[:, 1:].reshape(height, width, 2 * channels)
    pixels[:, 0] = data[:, 0]
    np.subtract(data[:, 1:], data[:, :-1], out=pixels[:, 1:])
    return rows
