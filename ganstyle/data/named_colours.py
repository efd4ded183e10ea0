"""Colours that a file names without a profile: Adobe RGB in EXIF, code points (nclx) in HEIC and AVIF."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from ganstyle.data import exif as exifs
from ganstyle.data.exif import BrokenExif
from ganstyle.data.metadata import COLOUR_SPACE, INTEROP_INDEX, PIXEL_TAGS, SRGB
from ganstyle.data.profiles import adobe_rgb, display_p3

ADOBE_INDEX = "R03"
ADOBE_SPACE = 2  # as some cameras write it; the standard knows sRGB (1) and uncalibrated (65535) alone


class CodePoints(NamedTuple):
    """Primaries and transfer characteristics by their numbers in ITU-T H.273."""

    primaries: int
    transfer: int

    def __str__(self) -> str:
        primaries = PRIMARIES.get(self.primaries, f"of primaries {self.primaries}")
        return f"{primaries} with {TRANSFERS.get(self.transfer, f'transfer {self.transfer}')}"


PRIMARIES = {1: "BT.709", 4: "BT.470 M", 8: "film", 9: "BT.2020", 10: "XYZ", 11: "DCI-P3", 12: "Display P3"}
TRANSFERS = {1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 8: "linear light", 13: "sRGB", 16: "PQ", 18: "HLG"}
# BT.709, unspecified, and the old television standards: what is shown as sRGB everywhere.
NEAR_SRGB_PRIMARIES, NEAR_SRGB_TRANSFERS = {1, 2, 5, 6, 7}, {1, 2, 6, 13, 14, 15}
PROFILES: dict[CodePoints, Callable[[], bytes]] = {CodePoints(12, 13): display_p3}


def profile_named(image: Image.Image, file: BinaryIO) -> bytes | None:
    """The profile of a loaded image: that in its file, or that of the colours which the file names otherwise."""
    if image.info.get("icc_profile"):
        return bytes(image.info["icc_profile"])
    points = _code_points(image, file)
    if points in PROFILES:
        return PROFILES[points]()
    return profile_by_exif(file if isinstance(image, TiffImageFile) else image.info.get("exif"))


def profile_by_exif(exif: Any) -> bytes | None:
    """Adobe RGB where EXIF alone names it: what cameras write in place of a profile (DCF 2.0).

    `exif` is a block of bytes or a TIFF file; anything else names nothing.
    """
    if not exif or isinstance(exif, str):
        return None
    try:
        found = exifs.parse(exif, without=PIXEL_TAGS)
        space = exifs.number_of(found, found.photo.get(COLOUR_SPACE))
    except (BrokenExif, struct.error):
        return None
    index = exifs.text_of(found.interop.get(INTEROP_INDEX))
    is_adobe = space == ADOBE_SPACE or (index == ADOBE_INDEX and space != SRGB)
    return adobe_rgb() if is_adobe else None


def unknown_colours(image: Image.Image, file: BinaryIO) -> str | None:
    """What a file without a profile names its colours, where they are taken for sRGB though they are not."""
    points = None if image.info.get("icc_profile") else _code_points(image, file)
    if points is None or points in PROFILES:
        return None
    is_near = points.primaries in NEAR_SRGB_PRIMARIES and points.transfer in NEAR_SRGB_TRANSFERS
    return None if is_near else str(points)


def _code_points(image: Image.Image, file: BinaryIO) -> CodePoints | None:
    reader = CODE_POINTS.get(image.format or "")
    return None if reader is None else reader(image, file)


def _of_heif(image: Image.Image, file: BinaryIO) -> CodePoints | None:
    found = image.info.get("nclx_profile")
    if not isinstance(found, dict):
        return None
    return CodePoints(int(found.get("color_primaries", 2)), int(found.get("transfer_characteristics", 2)))


def _of_avif(image: Image.Image, file: BinaryIO) -> CodePoints | None:
    """The first that stand among the properties of its items, which are those of the picture; Pillow tells of none."""
    file.seek(0)
    boxes = memoryview(file.read())
    for name, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):  # the first has a version in front
        boxes = next((content[skipped:] for found, content in _boxes(boxes) if found == name), boxes[:0])
    for name, content in _boxes(boxes):
        if name == b"colr" and content[:4] == b"nclx" and len(content) >= 8:
            return CodePoints(*struct.unpack_from(">HH", content, 4))
    return None


CODE_POINTS: dict[str, Callable[[Image.Image, BinaryIO], CodePoints | None]] = {"HEIF": _of_heif, "AVIF": _of_avif}


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The name and the content of each box (ISO/IEC 14496-12, section 4.2); ends where none can be."""
    while len(data) >= 8:
        length, name = struct.unpack_from(">I4s", data)
        start = 8
        if length == 1 and len(data) >= 16:
            (length,), start = struct.unpack_from(">Q", data, 8), 16
        length = length or len(data)
        if length < start:
            return
        yield name, data[start:length]
        data = data[length:]
