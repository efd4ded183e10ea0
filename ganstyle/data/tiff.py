"""TIFF files that Pillow does not open: floating point RGB, 64-bit floats. Through OpenCV, for want of better."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    EXTRASAMPLES,
    ICCPROFILE,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    ImageFileDirectory_v2,
)

from ganstyle.data.pixels import ORIENTATION, Unreadable, to_levels, unit_to_levels

BIG_TIFF = (b"\x2b\x00", b"\x00\x2b")  # bytes 2 and 3 of a file with 64-bit places, by byte order
MOST_CHANNELS = 4  # RGB and alpha, or CMYK
GREY_OR_RGB = (1, 2)  # photometric interpretations: black is zero, RGB
FLOATING_POINT = 3  # sample format
PREMULTIPLIED = 1  # kind of extra sample

_quiet = threading.Lock()


def read_tags(file: BinaryIO) -> Any:
    """The tags of a TIFF file's first image, by number; nothing is decoded."""
    file.seek(0)
    start = file.read(8)
    if start[2:4] in BIG_TIFF:  # BigTIFF has a longer start
        start += file.read(8)
        # Pillow knows these by the place of the number in little-endian files alone; the order of bytes is told apart.
        tags = ImageFileDirectory_v2(b"II\x2b\x00" + start[4:], prefix=start[:2])
    else:
        tags = ImageFileDirectory_v2(start)
    file.seek(tags.next)
    tags.load(file)
    return tags


def check_channels(tags: Any) -> None:
    """Refuse more channels than colours and alpha: which of them to show is not for us to guess."""
    channels = tags.get(SAMPLESPERPIXEL, 1)
    if channels > MOST_CHANNELS:
        raise Unreadable(f"{channels} channels: only grey, RGB, CMYK and alpha can be read")


def size_of(tags: Any) -> tuple[int, int]:
    """(width, height) as stored, in pixels."""
    return int(tags[IMAGEWIDTH]), int(tags[IMAGELENGTH])


def orientation_of(tags: Any) -> int:
    """The EXIF orientation, 1 where there is none."""
    return int(tags.get(ORIENTATION, 1))


def read_with_opencv(file: BinaryIO, tags: Any) -> Image.Image:
    """Grey, RGB or RGBA as an 8-bit Pillow image, as stored (not turned), its ICC profile in `info`.

    Floating point values must lie in 0..1 and are read as sRGB values; 16-bit integers are scaled. Raises Unreadable
    for every other kind.
    """
    check_channels(tags)
    channels, bits = tags.get(SAMPLESPERPIXEL, 1), tags.get(BITSPERSAMPLE, (1,))[0]
    floating = tags.get(SAMPLEFORMAT, (1,))[0] == FLOATING_POINT
    known = (floating and bits in (32, 64)) or (not floating and bits == 16)
    if not known or channels not in (1, 3, 4) or tags.get(PHOTOMETRIC_INTERPRETATION) not in GREY_OR_RGB:
        kind = "floating point" if floating else "integer"
        count = "1 channel" if channels == 1 else f"{channels} channels"
        raise Unreadable(f"a TIFF with {count} of {bits}-bit {kind} values cannot be read: save it as PNG")
    values = _decoded(file)
    if values.ndim == 3:
        values = values[..., [2, 1, 0, 3][: values.shape[2]]]  # OpenCV keeps blue first
    premultiplied = channels == 4 and tags.get(EXTRASAMPLES, (0,))[0] == PREMULTIPLIED
    image = Image.fromarray(_levels(_straight(values) if premultiplied else values))
    image.info["icc_profile"] = tags.get(ICCPROFILE)
    return image


def _decoded(file: BinaryIO) -> np.ndarray:
    file.seek(0)
    data = bytearray(file.read())
    _forget_orientation(data)
    with silent_opencv():
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise Unreadable("damaged: its pixels cannot be decoded")
    return values


def _forget_orientation(data: bytearray) -> None:
    """Set the orientation tag to upright: whether OpenCV turns a TIFF depends on its version."""
    order, big = "<" if data.startswith(b"II") else ">", bytes(data[2:4]) in BIG_TIFF
    (directory,) = struct.unpack_from(f"{order}Q", data, 8) if big else struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, directory)
    start, step, value = (directory + 8, 20, 12) if big else (directory + 2, 12, 8)
    for place in range(start, start + count * step, step):
        if struct.unpack_from(f"{order}H", data, place)[0] == ORIENTATION:
            struct.pack_into(f"{order}H", data, place + value, 1)


def _straight(values: np.ndarray) -> np.ndarray:
    """RGBA with the alpha divided out of the colours; colours without any alpha stay 0."""
    alpha = values[..., 3:].astype(np.float64)
    highest = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    colours = np.divide(values[..., :3] * highest, alpha, out=np.zeros(values[..., :3].shape), where=alpha > 0)
    return np.concatenate([np.minimum(colours, highest), alpha], axis=-1).astype(values.dtype)


def _levels(values: np.ndarray) -> np.ndarray:
    return unit_to_levels(values) if values.dtype.kind == "f" else to_levels(values, 65535)


@contextmanager
def silent_opencv() -> Iterator[None]:
    """OpenCV tells of damaged files on the error stream; its switch is the process's, so one file at a time."""
    with _quiet:
        before = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(before)
