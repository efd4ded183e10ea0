"""What a photo became, as the bytes of a file: depth, alpha, grey, profile and metadata that agree with each other."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo, putchunk

from ganstyle.data import exif as exifs
from ganstyle.data.colour import from_srgb
from ganstyle.data.deep import encode_deep
from ganstyle.data.encode import OPTIONS, encode
from ganstyle.data.grey import luminance
from ganstyle.data.metadata import HOLDS, ORIENTATION, Blocks, Keeping, Source, blocks_to_write
from ganstyle.data.pixels import WHITE, compose
from ganstyle.data.profiles import grey_levels, is_grey, srgb, srgb_grey

QUALITY = 95
DEEP_FORMATS = {"png", "tiff"}
OPAQUE_FORMATS = {"jpeg", "bmp"}
GREY_FORMATS = {"jpeg", "png", "tiff"}  # the others hold grey as colours, or take no profile for it
GREY_ALPHA_FORMATS = {"png", "tiff"}  # the others hold grey with alpha as colours
SRGB_IN_WORDS = "the colours are sRGB now"


def encode_photo(
    pixels: np.ndarray, alpha: np.ndarray | None, source: Source, *, format: str, keeping: Keeping
) -> tuple[bytes, list[str]]:
    """(H, W, 3) uint8 or uint16 sRGB, with (H, W) alpha or None, as a file of a format in FORMATS.

    Returns the bytes, and a line on each thing that could not be kept. Raises UserError as `encode`.
    """
    assert alpha is None or alpha.shape == pixels.shape[:2], (pixels.shape, alpha.shape)
    lines = list(source.lost)
    pixels = _of_depth(pixels, source, format, lines)
    pixels, alpha = _of_alpha(pixels, alpha, format, lines)
    values, icc, became_srgb = _of_profile(pixels, source, format, keeping, lines)
    size = (pixels.shape[1], pixels.shape[0])
    blocks, more = blocks_to_write(source, keeping, format=format, size=size, became_srgb=became_srgb)
    if icc is not None:
        blocks.parts["ICC"] = icc
    if values.dtype == np.uint16:
        return DEEP_FILES[format](values, alpha, blocks), lines + more
    options = OPTIONS_OF_PHOTOS.get(format, _plain)(format, source, keeping.quality)
    return FILES.get(format, _file)(_image(values, alpha, format), format, options, blocks), lines + more


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """uint16 as uint8, rounded; uint8 as it is."""
    if values.dtype == np.uint8:
        return values
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _of_depth(pixels: np.ndarray, source: Source, format: str, lines: list[str]) -> np.ndarray:
    if pixels.dtype == np.uint16 and format in DEEP_FORMATS:
        return pixels
    if source.bits > 8:
        reason = f": {format} holds no more" if format not in DEEP_FORMATS else ""
        lines.append(f"its {source.bits} bits a channel became 8{reason}")
    return to_eight_bits(pixels)


def _of_alpha(
    pixels: np.ndarray, alpha: np.ndarray | None, format: str, lines: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    if alpha is None:
        return pixels, None
    alpha = to_eight_bits(alpha) if pixels.dtype == np.uint8 else alpha
    if alpha.dtype != pixels.dtype:
        alpha = alpha.astype(np.uint16) * 257
    if format in OPAQUE_FORMATS:
        if (alpha != 255).any():
            lines.append(f"its transparency is left out: composed on white, as {format} cannot hold it")
        return compose(pixels, alpha, WHITE), None
    if format == "gif":
        if ((alpha > 0) & (alpha < 255)).any():
            lines.append("its transparency has two levels only: gif cannot hold more")
        alpha = np.where(alpha >= 128, 255, 0).astype(np.uint8)
    return pixels, alpha


def _of_profile(
    pixels: np.ndarray, source: Source, format: str, keeping: Keeping, lines: list[str]
) -> tuple[np.ndarray, bytes | None, bool]:
    """The values to write, the profile in which they are, and whether they are sRGB whatever the source was."""
    if keeping.grey and source.grey:
        return _of_grey_profile(pixels, source, format, lines)
    if "ICC" not in HOLDS[format]:
        if source.icc_converted:
            lines.append(f"its colour profile is left out, as {format} cannot hold it: {SRGB_IN_WORDS}")
        return pixels, None, True
    if source.mode in ("CMYK", "LAB"):
        lines.append(f"its colours were {source.mode}: {SRGB_IN_WORDS}")
        return pixels, srgb(), True
    if source.icc is None:
        return pixels, None, True
    values = from_srgb(pixels, source.icc)
    if values is not None:
        return values, source.icc, False
    reason = "for grey alone" if is_grey(source.icc) else "one that cannot be written to"
    lines.append(f"its colour profile is {reason}: {SRGB_IN_WORDS}")
    return pixels, srgb(), True


def _of_grey_profile(
    pixels: np.ndarray, source: Source, format: str, lines: list[str]
) -> tuple[np.ndarray, bytes | None, bool]:
    grey = luminance(pixels)
    if source.icc is None or "ICC" not in HOLDS[format]:
        return grey, None, True
    if format not in GREY_FORMATS:
        lines.append("its colour profile is left out: the greys are those of sRGB now")
        return grey, None, True
    levels = grey_levels(grey, source.icc) if is_grey(source.icc) and grey.dtype == np.uint8 else None
    if levels is not None:
        return levels, source.icc, False
    lines.append("its colour profile is replaced: the greys are those of sRGB now")
    return grey, srgb_grey(), True


def _image(values: np.ndarray, alpha: np.ndarray | None, format: str) -> Image.Image:
    if alpha is None:
        return Image.fromarray(np.ascontiguousarray(values))
    if values.ndim == 2 and format not in GREY_ALPHA_FORMATS:
        values = np.repeat(values[..., None], 3, axis=-1)
    return Image.fromarray(np.dstack([values, alpha]))


def _plain(format: str, source: Source, quality: int | None) -> dict[str, Any]:
    return OPTIONS[format](quality or QUALITY)


def _jpeg(format: str, source: Source, quality: int | None) -> dict[str, Any]:
    """The tables and the subsampling of the source, where it was a JPEG: as fine as it was, and no finer."""
    if quality is not None or not source.jpeg_tables:
        return _plain(format, source, quality)
    return {
        "qtables": [list(table) for table in source.jpeg_tables],
        # Where Pillow has no name for the source's, nothing is thrown away.
        "subsampling": source.jpeg_subsampling or 0,
        "progressive": source.progressive,
    }


def _webp(format: str, source: Source, quality: int | None) -> dict[str, Any]:
    return {"lossless": True} if quality is None and source.lossless else _plain(format, source, quality)


OPTIONS_OF_PHOTOS: dict[str, Callable[[str, Source, int | None], dict[str, Any]]] = {"jpeg": _jpeg, "webp": _webp}


def _file(image: Image.Image, format: str, options: dict[str, Any], blocks: Blocks) -> bytes:
    """A file of a format for which Pillow takes every block by a name of its own."""
    names = {"ICC": "icc_profile", "EXIF": "exif", "XMP": "xmp", "comment": "comment"}
    options |= {names[name]: data for name, data in blocks.parts.items() if name in names}
    if "EXIF" in blocks.parts:
        options["exif"] = exifs.PREFIX + blocks.parts["EXIF"]
    if blocks.dpi is not None:
        options["dpi"] = blocks.dpi
    return encode(image, format, options)


def _jpeg_file(image: Image.Image, format: str, options: dict[str, Any], blocks: Blocks) -> bytes:
    iptc = blocks.parts.get("IPTC")
    if iptc is not None:
        resource = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(iptc)) + iptc
        resource += bytes(len(iptc) % 2)  # resources have even lengths
        options["extra"] = b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource
    return _file(image, format, options, blocks)


def _png_file(image: Image.Image, format: str, options: dict[str, Any], blocks: Blocks) -> bytes:
    return _with_texts(_file(image, format, options | {"pnginfo": _packet(blocks)}, blocks), blocks.texts)


def _packet(blocks: Blocks) -> PngInfo:
    chunks = PngInfo()
    if "XMP" in blocks.parts:
        chunks.add_itxt("XML:com.adobe.xmp", blocks.parts["XMP"].decode("utf-8"))
    return chunks


def _with_texts(png: bytes, texts: dict[str, str]) -> bytes:
    """A PNG with more texts, right behind its header."""
    chunks, written = PngInfo(), BytesIO()
    for name, words in texts.items():
        chunks.add_text(name, words)
    for kind, data, *_ in chunks.chunks:
        putchunk(written, kind, data)
    return png[:33] + written.getvalue() + png[33:]


def _avif_file(image: Image.Image, format: str, options: dict[str, Any], blocks: Blocks) -> bytes:
    """Without the tag of the orientation: Pillow would write the whole EXIF data anew to take it out."""
    if "EXIF" in blocks.parts:
        exif = exifs.parse(blocks.parts["EXIF"])
        exif.main.pop(ORIENTATION, None)
        blocks.parts["EXIF"] = exifs.serialise(exif)
    return _file(image, format, options, blocks)


def _tiff_file(image: Image.Image, format: str, options: dict[str, Any], blocks: Blocks) -> bytes:
    """Written by Pillow without metadata; the tags are added as they are."""
    return exifs.with_blocks(_file(image, format, options, Blocks(dpi=blocks.dpi)), **_tags(blocks))


def _tags(blocks: Blocks) -> dict[str, bytes]:
    """What a TIFF holds, by the names in `exif.with_blocks`."""
    return {name.lower(): data for name, data in blocks.parts.items() if name in ("EXIF", "XMP", "IPTC", "ICC")}


FILES: dict[str, Callable[[Image.Image, str, dict[str, Any], Blocks], bytes]] = {
    "jpeg": _jpeg_file,
    "png": _png_file,
    "avif": _avif_file,
    "tiff": _tiff_file,
}


def _deep_png(values: np.ndarray, alpha: np.ndarray | None, blocks: Blocks) -> bytes:
    return _with_texts(encode_deep(values, alpha, "png", **_tags(blocks), dpi=blocks.dpi), blocks.texts)


def _deep_tiff(values: np.ndarray, alpha: np.ndarray | None, blocks: Blocks) -> bytes:
    return encode_deep(values, alpha, "tiff", **_tags(blocks), dpi=blocks.dpi)


DEEP_FILES: dict[str, Callable[[np.ndarray, np.ndarray | None, Blocks], bytes]] = {
    "png": _deep_png,
    "tiff": _deep_tiff,
}
