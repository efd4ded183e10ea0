"""Image files opened without danger: what kind they are, how large, how stored; nothing decoded yet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

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
from ganstyle.data.encode import FORMATS
from ganstyle.data.heic import is_heic, open_heic
from ganstyle.data.lenience import lenient_pillow
from ganstyle.data.pixels import Unreadable
from ganstyle.data.tiff import check_channels, read_tags

# Pillow's names of the formats that are read. Its other readers stay shut: some run other programs, none is needed.
READERS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
OTHER_NAMES = {"mpo": "jpeg", "heif": "heic"}  # MPO: several JPEGs in one file


def opened(file: BinaryIO) -> Image.Image | None:
    """The image, its header read; None for a TIFF of a kind that Pillow does not know.

    `Image.open` is not used, because it checks the size against Pillow's limit before we can tell which it is.
    """
    prefix = file.read(16)
    if is_heic(file):
        return open_heic(file)
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


def jpeg_settings(image: Image.Image) -> tuple[tuple[tuple[int, ...], ...], int | None]:
    """Quantisation tables and chroma subsampling of a JPEG; nothing for other formats."""
    if not isinstance(image, JpegImageFile):
        return (), None
    subsampling = JpegImagePlugin.get_sampling(image)
    # By component, not by number: a file may number them as it likes. The last counts for all that follow.
    tables = [tuple(image.quantization[component[3]]) for component in image.layer]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    return tuple(tables), None if subsampling == -1 else subsampling


def format_of(image: Image.Image) -> str:
    """The name in FORMATS of what an image was read from."""
    name = (image.format or "").lower()
    return OTHER_NAMES.get(name, name)


def bits_of(image: Image.Image) -> int:
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


def mend_transparent_colour(image: Image.Image) -> None:
    """Bring a PNG's transparent colour to the 8 bits to which Pillow brings the pixels, but not this colour."""
    layout, key = _png_layout(image), image.info.get("transparency")
    if isinstance(key, tuple) and layout.endswith("16B"):
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif isinstance(key, int) and layout in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if layout == "L;2" else 17)


def upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(width, height) as it is shown for an EXIF orientation."""
    return (size[1], size[0]) if orientation in (5, 6, 7, 8) else size


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse (width, height) that is nothing or more than `max_pixels`: Unreadable."""
    width, height = size
    if width < 1 or height < 1:
        raise Unreadable(f"damaged: {width} x {height} px")
    if width * height > max_pixels:
        found, limit = width * height / 1e6, max_pixels / 1e6
        raise Unreadable(
            f"too large: {width} x {height} px is {found:.4g} megapixels; the limit is {limit:.4g} megapixels"
        )


@contextmanager
def reading(path: Path, max_pixels: int) -> Iterator[BinaryIO]:
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


# What to say of an error; the first that applies, and its own words for all others.
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (FileNotFoundError, "no such file: was it moved or deleted?"),
    (PermissionError, "no permission to read it"),
    (MemoryError, "too large for the memory of this machine"),
    (Image.DecompressionBombError, "too large: {}"),
    (KeyError, "damaged: it lacks an entry that is needed ({})"),
)


def _reason(error: Exception) -> str:
    text = one_line(error)
    for kind, words in REASONS:
        if isinstance(error, kind):
            return words.format(text)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    cut = isinstance(error, EOFError | struct.error) or "trunc" in text.lower()
    return f"truncated: {text}" if cut else f"damaged: {text}"
