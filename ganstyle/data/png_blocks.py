"""What a PNG says beside its pixels, wherever it stands: EXIF, texts, and texts that are other blocks in disguise."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from PIL.PngImagePlugin import PngStream

from ganstyle.data.exif import PREFIX

SIGNATURE_BYTES, CHECKSUM_BYTES = 8, 4
EXIF_CHUNK = b"eXIf"
TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})

# As ImageMagick and ExifTool hide blocks for which PNG had no place: three lines, then hexadecimal digits.
RAW_PROFILE = "raw profile type "
RAW_KINDS = {"exif", "app1", "xmp", "iptc", "8bim"}
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
TIFF_STARTS = (PREFIX, b"II*\0", b"MM\0*")
PHOTOSHOP_PREFIX, RESOURCE = b"Photoshop 3.0\0", b"8BIM"
IPTC_RESOURCE = 0x0404
IPTC_START = b"\x1c"  # of each of its entries


def png_info(
    file: BinaryIO, chunks: Collection[bytes] = TEXT_CHUNKS | {EXIF_CHUNK}
) -> tuple[dict[str | tuple[int, int], Any], bool]:
    """EXIF data and texts of a PNG by Pillow's names for them, and whether some cannot be read; the rest is skipped.

    Pillow itself stops at the pixels until it has decoded them. Raises nothing for a damaged file: its end is where
    no further chunk is found, or where one is too large, or all of them together are.
    """
    file.seek(SIGNATURE_BYTES)
    stream = PngStream(file)
    while (found := _next(stream)) is not None:
        name, start, length = found
        if name in chunks:
            try:
                stream.call(name, start, length)
            except (OSError, ValueError, SyntaxError):  # cut off, too large, packed in an unknown way
                return stream.im_info, True
        file.seek(start + length + CHECKSUM_BYTES)
    return stream.im_info, False


def raw_profiles(info: Mapping[Any, Any]) -> tuple[dict[str, bytes], list[str]]:
    """The blocks (exif, xmp, iptc) in a PNG's texts of raw profiles, and the names of such texts of no known kind."""
    texts = {name[len(RAW_PROFILE) :].lower(): words for name, words in info.items() if is_raw_profile(name)}
    data = {kind: _unhexed(words) for kind, words in texts.items() if kind in RAW_KINDS}
    found = {
        "exif": _first(_exif(data.get(kind, b"")) for kind in ("exif", "app1")),
        "xmp": _first((data.get("xmp", b""), _behind(XMP_PREFIX, data.get("app1", b"")))),
        "iptc": _first(_iptc(data.get(kind, b"")) for kind in ("iptc", "8bim")),
    }
    return {name: block for name, block in found.items() if block}, sorted(set(texts) - RAW_KINDS)


def is_raw_profile(name: Any) -> bool:
    """Whether a text's name says that it is a block in disguise."""
    return isinstance(name, str) and name.lower().startswith(RAW_PROFILE)


def _next(stream: PngStream) -> tuple[bytes, int, int] | None:
    """The next chunk's name, place and length; None at the end, or where none can be."""
    try:
        return stream.read()
    except (SyntaxError, struct.error):
        return None


def _unhexed(words: Any) -> bytes:
    with suppress(ValueError, AttributeError):
        return bytes.fromhex("".join(words.split("\n")[3:]))
    return b""


def _first(blocks: Iterable[bytes]) -> bytes:
    return next((block for block in blocks if block), b"")


def _exif(data: bytes) -> bytes:
    return data if data.startswith(TIFF_STARTS) else b""


def _behind(prefix: bytes, data: bytes) -> bytes:
    return data[len(prefix) :] if data.startswith(prefix) else b""


def _iptc(data: bytes) -> bytes:
    """IPTC data as it is, or among Photoshop's image resources."""
    if data.startswith(IPTC_START):
        return data
    place = len(PHOTOSHOP_PREFIX) if data.startswith(PHOTOSHOP_PREFIX) else 0
    with suppress(struct.error, IndexError):
        while data.startswith(RESOURCE, place):
            (number,) = struct.unpack_from(">H", data, place + 4)
            place += 6 + (data[place + 6] + 2) // 2 * 2  # a name with its length in front, of even length together
            (length,) = struct.unpack_from(">I", data, place)
            if number == IPTC_RESOURCE:
                return data[place + 4 : place + 4 + length]
            place += 4 + length + length % 2
    return b""
