"""Image files <-> arrays (H, W, 3) of 8-bit sRGB, with a record of what the file was. No torch.

The rooms above use this module and never Pillow. A broken file is always `Unreadable`, never another exception and
never a warning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

import numpy as np
from PIL import (  # the unused ones make their formats known to Image.OPEN
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,
    WebPImagePlugin,  # noqa: F401
)
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from ganstyle.base.errors import one_line
from ganstyle.data.encode import FORMATS, SUFFIX_FORMATS, encode_image, write_image
from ganstyle.data.lenience import lenient_pillow
from ganstyle.data.pixels import WHITE, Colour, Unreadable, flatten, from_pil, is_pil, orientation, resize, to_pil, turn
from ganstyle.data.tiff import check_channels, orientation_of, read_tags, read_with_opencv, size_of

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "FORMATS",
    "SUFFIXES",
    "WHITE",
    "Colour",
    "Metadata",
    "Picture",
    "Unreadable",
    "encode_image",
    "from_pil",
    "is_pil",
    "read_image",
    "read_size",
    "resize",
    "to_pil",
    "write_image",
]

SUFFIXES: frozenset[str] = frozenset(SUFFIX_FORMATS)
DEFAULT_MAX_PIXELS = 300_000_000

# Pillow's names of the formats that are read. Its other readers stay shut: some run other programs, none is needed.
READERS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")


@dataclass(frozen=True)
class Metadata:
    """What a file was before it became 8-bit sRGB; what writing it again may need."""

    format: str  # a name in FORMATS
    mode: str  # Pillow's name for the kind of pixels: RGB, CMYK, I;16, ...
    size: tuple[int, int]  # (width, height) in pixels, upright
    has_alpha: bool
    bits: int  # per channel
    icc_converted: bool  # an embedded profile changed the colours; False for none, sRGB or a broken one
    jpeg_tables: tuple[tuple[int, ...], ...] = ()  # quantisation tables, empty for other formats
    jpeg_subsampling: int | None = None  # 0: 4:4:4, 1: 4:2:2, 2: 4:2:0, None: another or not a JPEG


@dataclass(frozen=True)
class Picture:
    """An image as it should be seen: `pixels` is (H, W, 3) uint8 RGB in sRGB, C-contiguous."""

    pixels: np.ndarray
    metadata: Metadata


def read_image(path: Path, *, background: Colour = WHITE, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read an image file upright, in sRGB, without alpha.

    EXIF orientation and embedded ICC profiles are applied, alpha is composed on `background`; of an animation the
    first frame is read. Grey, palette, CMYK, YCbCr, CIELAB, 1-bit and 16-bit files are understood; see `from_pil` for
    the ranges of 32-bit and floating point files. The size is checked in the header, before anything is decoded.
    While a file is being read, Pillow's own limit on pixels is raised to `max_pixels` and its warnings are silent, for
    the whole process (Pillow has no narrower switch).

    Raises:
        Unreadable: one line, without the path: missing, empty, truncated, damaged, too large or not an image.
    """
    with _reading(Path(path), max_pixels) as file:
        image = _opened(file)
        if image is None:
            return _read_rare_tiff(file, background, max_pixels)
        _check_size(image.size, max_pixels)
        return _picture(image, background)


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image file shown upright, from its header alone; Unreadable as `read_image`."""
    with _reading(Path(path), DEFAULT_MAX_PIXELS) as file:
        image = _opened(file)
        if image is None:
            tags = read_tags(file)
            return _upright(size_of(tags), orientation_of(tags))
        if isinstance(image, TiffImageFile):
            return image.size  # Pillow turns these by itself
        if isinstance(image, PngImageFile) and "exif" not in image.info:
            image.info["exif"] = _late_png_exif(file)  # without an entry, Pillow decodes the image to find one
        return _upright(image.size, orientation(image))


def _picture(image: Image.Image, background: Colour) -> Picture:
    mode, bits = image.mode, _bits(image)
    _mend_transparent_colour(image)
    image.load()
    pixels, converted = flatten(image, background)
    pixels = turn(pixels, orientation(image))
    tables, subsampling = _jpeg_settings(image)
    metadata = Metadata(
        format=_format(image),
        mode=mode,
        size=(pixels.shape[1], pixels.shape[0]),
        has_alpha=image.has_transparency_data,
        bits=bits,
        icc_converted=converted,
        jpeg_tables=tables,
        jpeg_subsampling=subsampling,
    )
    return Picture(pixels, metadata)


def _read_rare_tiff(file: BinaryIO, background: Colour, max_pixels: int) -> Picture:
    tags = read_tags(file)
    _check_size(size_of(tags), max_pixels)
    image = read_with_opencv(file, tags)
    pixels, converted = flatten(image, background)
    pixels = turn(pixels, orientation_of(tags))
    metadata = Metadata(
        format="tiff",
        mode=image.mode,
        size=(pixels.shape[1], pixels.shape[0]),
        has_alpha=image.has_transparency_data,
        bits=tags[BITSPERSAMPLE][0],
        icc_converted=converted,
    )
    return Picture(pixels, metadata)


def _opened(file: BinaryIO) -> Image.Image | None:
    """The image, its header read; None for a TIFF of a kind that Pillow does not know.

    `Image.open` is not used, because it checks the size against Pillow's limit before we can tell which it is.
    """
    prefix = file.read(16)
    for name in READERS:
        reader, accepts = Image.OPEN[name]
        if accepts is None or accepts(prefix) is not True:
            continue
        file.seek(0)
        if name != "TIFF":
            return reader(file, "")
        check_channels(read_tags(file))
        file.seek(0)
        try:
            return reader(file, "")
        except SyntaxError:
            return None
    raise Unreadable("not an image, or of a kind that is not read (" + ", ".join(FORMATS) + ")")


def _jpeg_settings(image: Image.Image) -> tuple[tuple[tuple[int, ...], ...], int | None]:
    """Quantisation tables and chroma subsampling of a JPEG; nothing for other formats."""
    if not isinstance(image, JpegImageFile):
        return (), None
    subsampling = JpegImagePlugin.get_sampling(image)
    tables = tuple(tuple(table) for table in image.quantization.values())
    return tables, None if subsampling == -1 else subsampling


def _format(image: Image.Image) -> str:
    name = (image.format or "").lower()
    return name if name in FORMATS else "jpeg"  # MPO, several JPEGs in one file


def _bits(image: Image.Image) -> int:
    """Bits per channel in the file, while its header is at hand (before it is loaded)."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2.get(BITSPERSAMPLE, (1,))[0])
    if image.mode == "1":
        return 1
    return 16 if _png_layout(image).endswith(("16B", "16")) else 8


def _png_layout(image: Image.Image) -> str:
    """Pillow's name for how a PNG stores its pixels (`RGB;16B`, `L;4`); empty for other formats."""
    if not isinstance(image, PngImageFile) or not image.tile:
        return ""
    layout = image.tile[0].args
    return layout if isinstance(layout, str) else str(layout[0])  # type: ignore[index]


def _mend_transparent_colour(image: Image.Image) -> None:
    """Bring a PNG's transparent colour to the 8 bits to which Pillow brings the pixels, but not this colour."""
    layout, key = _png_layout(image), image.info.get("transparency")
    if isinstance(key, tuple) and layout.endswith("16B"):
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif isinstance(key, int) and layout in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if layout == "L;2" else 17)


def _late_png_exif(file: BinaryIO) -> bytes | None:
    """The EXIF data of a PNG wherever it stands; the other chunks are skipped."""
    file.seek(8)
    while len(header := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", header)
        if name == b"eXIf":
            return b"Exif\0\0" + file.read(length)
        file.seek(length + 4, 1)
    return None


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in (5, 6, 7, 8) else size


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise Unreadable(f"damaged: {width} x {height} px")
    if width * height > max_pixels:
        found, limit = width * height / 1e6, max_pixels / 1e6
        raise Unreadable(
            f"too large: {width} x {height} px is {found:.4g} megapixels; the limit is {limit:.4g} megapixels"
        )


@contextmanager
def _reading(path: Path, max_pixels: int) -> Iterator[BinaryIO]:
    """An open image file; whatever goes wrong with it in the block is told as Unreadable."""
    try:
        _check_is_file(path)
        with path.open("rb") as file, lenient_pillow(max_pixels):
            yield file
    except Unreadable:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise Unreadable(_reason(error)) from error


def _check_is_file(path: Path) -> None:
    """Before opening: opening a pipe would wait for somebody to write into it."""
    status = path.stat()
    if S_ISDIR(status.st_mode):
        raise Unreadable("a folder, not a file")
    if not S_ISREG(status.st_mode):
        raise Unreadable("a device or a pipe, not a file")
    if status.st_size == 0:
        raise Unreadable("empty file")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file: was it moved or deleted?"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {one_line(error)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = one_line(error)
    cut = isinstance(error, EOFError | struct.error) or "trunc" in text.lower()
    return f"truncated: {text}" if cut else f"damaged: {text}"
