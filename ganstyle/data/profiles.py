"""The ICC profiles that are written: sRGB, its grey, and those of colours that a file names without a profile."""

from __future__ import annotations

import struct
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

D50 = (0.9642, 1.0, 0.8249)
# Adobe RGB (1998), annex C: the primaries' XYZ under D50, red, green, blue; and its gamma.
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
ADOBE_GAMMA = 563 / 256
# SMPTE EG 432-1 with the white of sRGB, adapted to D50.
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
# IEC 61966-2-1 as a curve of ICC type 3: ((x + 0.055) / 1.055) ** 2.4 from 0.04045, below it x / 12.92.
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


@cache
def srgb() -> bytes:
    """The sRGB profile of littleCMS; the date in it is taken out, so that equal pictures are equal files."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    profile[84:100] = bytes(16)  # the checksum, which is over the rest
    return bytes(profile)


@cache
def srgb_grey() -> bytes:
    """Grey with the curve of sRGB."""
    return _profile("sRGB grey", b"GRAY", {b"kTRC": _srgb_curve()})


@cache
def adobe_rgb() -> bytes:
    """Adobe RGB (1998)."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(ADOBE_GAMMA * 256)) + bytes(2)
    return _matrix_profile("Adobe RGB (1998) compatible", ADOBE_RGB, curve)


@cache
def display_p3() -> bytes:
    """The colours of Apple's displays and phones, with the curve of sRGB."""
    return _matrix_profile("Display P3 compatible", DISPLAY_P3, _srgb_curve())


def is_grey(profile: bytes) -> bool:
    """Whether a profile is one of grey pictures."""
    return profile[16:20] == b"GRAY"


def grey_levels(luminance: np.ndarray, profile: bytes) -> np.ndarray | None:
    """(H, W) uint8 grey of sRGB in the levels of a grey profile; None where it cannot be written to."""
    try:
        target = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(srgb_grey())),
            target,
            "L",
            "L",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
        ramp = np.asarray(transform.apply(Image.fromarray(np.arange(256, dtype=np.uint8)[None])))[0]
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return ramp[luminance]


def _srgb_curve() -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(number * 65536) for number in SRGB_CURVE))


def _matrix_profile(name: str, primaries: tuple[tuple[float, ...], ...], curve: bytes) -> bytes:
    tags = {tag: _xyz(primary) for tag, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return _profile(name, b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def _profile(name: str, space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A display profile of version 4 with these tags and those that every profile has."""
    tags = tags | {b"wtpt": _xyz(D50), b"desc": _words(name), b"cprt": _words("No copyright, use freely")}
    start, index, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, data in sorted(tags.items()):
        index += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x04200000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s28x", 2000, 1, 1, 0, 0, 0, b"acsp") + _xyz(D50)[8:]
    return header.ljust(128, b"\0") + index + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _words(text: str) -> bytes:
    words = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(words), 28) + words
