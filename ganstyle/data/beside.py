"""What an open image file holds beside its pixels, as blocks of bytes; nothing in it is believed or changed here."""

from __future__ import annotations

import math
import struct
from typing import Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ganstyle.data import exif as exifs
from ganstyle.data.exif import BrokenExif
from ganstyle.data.metadata import INTEROP_INDEX, PIXEL_TAGS, Source
from ganstyle.data.opening import bits_of, format_of, jpeg_settings, late_png_exif

IPTC_RESOURCE = 0x0404
XMP_TAG, IPTC_TAG, ICC_TAG = 700, 33723, 34675
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
# Texts of a PNG that are other blocks in disguise; they are read as what they are.
DISGUISED = ("raw profile type", "xml:com.adobe.xmp", "xmp")


def source_of(
    image: Image.Image | None, file: BinaryIO, *, size: tuple[int, int], grey: bool, icc_converted: bool
) -> Source:
    """All that the file says beside the pixels. An `image` of None is a TIFF that Pillow does not open."""
    if image is None:
        found: dict[str, Any] = {"format": "tiff", "mode": "RGB", "bits": 16} | _of_tiff(file)
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
            "lost": tuple(_lost(image)),
        }
        found |= _of_tiff(file) if isinstance(image, TiffImageFile) else _of_info(image, file)
    return Source(size=size, grey=grey, icc_converted=icc_converted, **found)


def names_adobe_rgb(exif: Any) -> bool:
    """Whether EXIF alone says that the colours are Adobe RGB: what cameras write in place of a profile (DCF 2.0)."""
    if not isinstance(exif, bytes):
        return False
    try:
        index = exifs.parse(exif).interop.get(INTEROP_INDEX)
    except BrokenExif:
        return False
    return exifs.text_of(index) == "R03"


def _of_info(image: Image.Image, file: BinaryIO) -> dict[str, Any]:
    info = image.info
    photoshop = info.get("photoshop")
    exif = info.get("exif")
    texts: tuple[tuple[str, str], ...] = ()
    if isinstance(image, PngImageFile):
        exif = exif or late_png_exif(file) or _raw_profile(info)
        texts = tuple((str(name), str(words)) for name, words in info.items() if _is_text(name, words))
    return {
        "exif": exif,
        "xmp": _as_bytes(info.get("xmp")),
        "iptc": _as_bytes(photoshop.get(IPTC_RESOURCE)) if isinstance(photoshop, dict) else None,
        "comment": _as_bytes(info.get("comment")),
        "texts": texts,
    }


def _of_tiff(file: BinaryIO) -> dict[str, Any]:
    """The blocks that are tags of a TIFF's first directory, and the rest of it as EXIF."""
    try:
        exif = exifs.parse(file, without=PIXEL_TAGS - {XMP_TAG, IPTC_TAG, ICC_TAG})
    except BrokenExif:
        return {}
    tags = {tag: exif.main.pop(tag, None) for tag in (XMP_TAG, IPTC_TAG, ICC_TAG)}
    xmp, iptc, icc = (None if value is None else value.data for value in tags.values())
    return {"exif": exifs.serialise(exif), "xmp": xmp, "iptc": iptc, "icc": icc}


def _is_text(name: Any, words: Any) -> bool:
    return isinstance(name, str) and isinstance(words, str) and not name.lower().startswith(DISGUISED)


def _raw_profile(info: dict[Any, Any]) -> bytes | None:
    """EXIF as some programs hide it in a PNG: hexadecimal digits after three lines of a text."""
    for name in ("Raw profile type exif", "Raw profile type APP1"):
        try:
            data = bytes.fromhex("".join(info[name].split("\n")[3:]))
        except (KeyError, ValueError, AttributeError):
            continue
        if data.startswith(exifs.PREFIX):
            return data
    return None


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


def _lost(image: Image.Image) -> list[str]:
    """What is not read at all."""
    lines = []
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
