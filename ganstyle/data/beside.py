"""What an open image file holds beside its pixels, as blocks of bytes; nothing in it is believed or changed here."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ganstyle.base.errors import printable
from ganstyle.data import exif as exifs
from ganstyle.data.exif import ICC_TAG, IPTC_TAG, XMP_TAG, BrokenExif
from ganstyle.data.metadata import PIXEL_TAGS, Source
from ganstyle.data.named_colours import unknown_colours
from ganstyle.data.opening import bits_of, format_of, jpeg_settings
from ganstyle.data.png_blocks import IPTC_RESOURCE, is_raw_profile, png_info, raw_profiles

EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
XMP_NAMES = {"xml:com.adobe.xmp", "xmp"}  # of texts of a PNG, and Pillow's own


def source_of(
    image: Image.Image | None, file: BinaryIO, *, size: tuple[int, int], grey: bool, icc_converted: bool
) -> Source:
    """All that the file says beside the pixels. An `image` of None is a TIFF that Pillow does not open."""
    if image is None:
        found: dict[str, Any] = {"format": "tiff", "mode": "RGB", "bits": 16} | _of_tiff({}, file)
    else:
        tables, subsampling = jpeg_settings(image)
        found = {
            "format": format_of(image),
            "mode": image.mode,
            "bits": bits_of(image),
            "dpi": _dpi(image.info.get("dpi")),
            "icc": image.info.get("icc_profile") or None,
            "jpeg_tables": tables,
            "jpeg_subsampling": subsampling,
            "progressive": bool(image.info.get("progressive")),
            "lossless": _is_lossless_webp(file) if image.format == "WEBP" else False,
            "lost": tuple(_lost(image, file)),
        }
        reader = next((reader for kind, reader in READERS if isinstance(image, kind)), _of_info)
        more = reader(image.info, file)
        found |= more | {"lost": (*found["lost"], *more.get("lost", ()))}
    return Source(size=size, grey=grey, icc_converted=icc_converted, **found)


def _of_info(info: Mapping[Any, Any], file: BinaryIO) -> dict[str, Any]:
    photoshop = info.get("photoshop")
    return {
        "exif": _as_bytes(info.get("exif")),
        "xmp": _as_bytes(info.get("xmp")),
        "iptc": _as_bytes(photoshop.get(IPTC_RESOURCE)) if isinstance(photoshop, dict) else None,
        "comment": _as_bytes(info.get("comment")),
    }


def _of_png(info: Mapping[Any, Any], file: BinaryIO) -> dict[str, Any]:
    """What stands in front of the pixels and behind them: Pillow knows the latter only where it has decoded them."""
    behind, is_damaged = png_info(file)
    info = behind | dict(info)
    raw, unknown = raw_profiles(info)
    found = {name: data or raw.get(name) for name, data in _of_info(info, file).items()}
    texts = tuple((str(name), str(words)) for name, words in info.items() if _is_text(name, words))
    lost = ["some of its texts cannot be read: left out"] if is_damaged else []
    lost += [f"its raw profile '{printable(name[:40])}' is left out: of a kind that is not known" for name in unknown]
    return {**found, "texts": texts, "lost": lost}


def _of_tiff(info: Mapping[Any, Any], file: BinaryIO) -> dict[str, Any]:
    """The blocks that are tags of a TIFF's first directory, and the rest of it as EXIF."""
    try:
        exif = exifs.parse(file, without=PIXEL_TAGS - {XMP_TAG, IPTC_TAG, ICC_TAG})
    except BrokenExif:
        return {}
    tags = {tag: exif.main.pop(tag, None) for tag in (XMP_TAG, IPTC_TAG, ICC_TAG)}
    xmp, iptc, icc = (None if value is None else value.data for value in tags.values())
    return {"exif": exifs.serialise(exif), "xmp": xmp, "iptc": iptc, "icc": icc}


READERS: tuple[tuple[type[Image.Image], Callable[[Mapping[Any, Any], BinaryIO], dict[str, Any]]], ...] = (
    (TiffImageFile, _of_tiff),
    (PngImageFile, _of_png),
)


def _is_text(name: Any, words: Any) -> bool:
    if not isinstance(name, str) or not isinstance(words, str):
        return False
    return name.lower() not in XMP_NAMES and not is_raw_profile(name)


def _as_bytes(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return value if isinstance(value, bytes) and value else None


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(each) for each in value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    usable = all(math.isfinite(each) and 1 <= each < 65535 for each in (across, down))
    return (across, down) if usable else None


def _is_lossless_webp(file: BinaryIO) -> bool:
    """Whether the first picture of a WebP is stored without loss, by the name of its chunk."""
    place = 12
    while True:
        file.seek(place)
        header = file.read(8)
        if len(header) < 8:
            return False
        name, length = struct.unpack("<4sI", header)
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        # A frame of an animation holds chunks of its own, 16 bytes in.
        place += 8 + (16 if name == b"ANMF" else length + length % 2)


def _lost(image: Image.Image, file: BinaryIO) -> list[str]:
    """What is not read at all, or not as it was meant."""
    lines = []
    colours = unknown_colours(image, file)
    if colours is not None:
        lines.append(f"its colours are {colours}, which is not known here: they are taken for sRGB")
    if _has_more_pictures(image):
        lines.append("only the first of its pictures is kept (it holds further frames, pages or a gain map)")
    markers = getattr(image, "applist", ())
    if any(name == "APP1" and data.startswith(EXTENDED_XMP) for name, data in markers):
        lines.append("the part of its XMP data that goes beyond one JPEG marker is left out")
    depth = image.info.get("bit_depth", 8)
    if isinstance(depth, int) and depth > 8:
        lines.append(f"its {depth} bits a channel became 8")
    return lines


def _has_more_pictures(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False) or image.info.get("mp") or image.info.get("depth_images"))
    except Exception:  # looking for a next frame meets damage that has not hurt the first
        return False
