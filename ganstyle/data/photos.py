"""Photos that are to be made into others: read with all that their files say, written so that nothing is lost unsaid.

`read_image` is for looking at a picture; here the depth, the alpha, the profile and the metadata are kept too.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE

from ganstyle.base.errors import UserError
from ganstyle.base.files import atomic_write
from ganstyle.data.beside import source_of
from ganstyle.data.colour import deep_to_srgb
from ganstyle.data.deep import Deep, read_deep
from ganstyle.data.encode import format_named
from ganstyle.data.images import DEFAULT_MAX_PIXELS
from ganstyle.data.metadata import Keeping, Source, note_in
from ganstyle.data.named_colours import profile_by_exif, profile_named
from ganstyle.data.opening import bits_of, check_size, mend_transparent_colour, opened, reading
from ganstyle.data.photo_encoding import encode_photo
from ganstyle.data.pixels import Unreadable, orientation, resize, straight, turn, within
from ganstyle.data.tiff import orientation_of, read_tags, read_with_opencv, size_of

__all__ = ["Keeping", "Photo", "Source", "Unreadable", "encode_photo", "read_photo", "read_provenance", "write_photo"]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo to be made into another: upright pixels in sRGB, and all that its file says beside them."""

    pixels: np.ndarray  # (H, W, 3) uint8 or uint16, sRGB, upright, C-contiguous, writable
    alpha: np.ndarray | None  # (H, W) of the same dtype, not multiplied into the pixels
    source: Source


def read_photo(path: Path, *, longest_px: int | None = None, max_pixels: int = DEFAULT_MAX_PIXELS) -> Photo:
    """Read a photo upright and in sRGB, its alpha apart, at the depth that it has.

    PNG and TIFF of 16 bits a channel give uint16, everything else uint8. Where nothing is seen (alpha 0) the pixels
    are white, whatever the file hides there.

    Args:
        path: the file.
        longest_px: the longer side is at most this; a photo is never enlarged. A JPEG is decoded smaller at once.
        max_pixels: larger ones are refused before anything is decoded.

    Raises:
        Unreadable: one line, without the path: missing, empty, truncated, damaged, too large or not an image.
    """
    with reading(Path(path), max_pixels) as file:
        status = os.fstat(file.fileno())
        photo = _read(file, longest_px, max_pixels)
    return replace(photo, source=replace(photo.source, times_ns=(status.st_atime_ns, status.st_mtime_ns)))


def write_photo(
    path: Path, photo: Photo, pixels: np.ndarray, *, format: str | None = None, keeping: Keeping | None = None
) -> list[str]:
    """Write what a photo became, (H, W, 3) uint8 or uint16 sRGB of its size, with what its file said.

    The file is whole or not there (see `atomic_write`); its pixels, its profile and its metadata agree. Unless metadata
    is not kept, it gets the times of the photo's own file. The format is that of the suffix unless it is named.

    Returns:
        A line on each thing that could not be kept.

    Raises:
        UserError: an unknown format, an image too large for it, or a file that cannot be written.
    """
    path, keeping = Path(path), keeping or Keeping()
    name = format_named(format or path.suffix)
    try:
        data, lines = encode_photo(pixels, photo.alpha, photo.source, format=name, keeping=keeping)
    except UserError as error:
        raise UserError(f"cannot write {path}: {error}") from error
    except MemoryError as error:
        raise UserError(f"cannot write {path}: too large for the memory of this machine") from error
    except struct.error as error:  # a place beyond 4 GB
        raise UserError(f"cannot write {path}: too large for {name}: use png") from error
    with atomic_write(path) as file:
        file.write(data)
        file.flush()
        if keeping.metadata and photo.source.times_ns is not None:
            with suppress(OSError):  # some file systems keep no times, and the picture is good without
                os.utime(file.name, ns=photo.source.times_ns)
    return lines


def read_provenance(path: Path) -> dict[str, str] | None:
    """The note that `write_photo` left in a file on how it was made; None where there is none.

    Where the photo's own file named the program that made it, the note has it as `source_software`. Raises Unreadable
    as `read_photo`.
    """
    with reading(Path(path), DEFAULT_MAX_PIXELS) as file:
        image = opened(file)
        source = source_of(image, file, size=(0, 0), grey=False, icc_converted=False)
        return note_in(source.xmp, dict(source.texts))


def _read(file: BinaryIO, longest_px: int | None, max_pixels: int) -> Photo:
    image = opened(file)
    size = size_of(read_tags(file)) if image is None else image.size
    check_size(size, max_pixels)
    if image is None or bits_of(image) > 8:
        deep = read_deep(file)
        photo = None if deep is None else _deep_photo(deep, image, file, longest_px)
        if photo is not None:
            return photo
        file.seek(0)
        image = opened(file)
    if image is None:
        return _rare_tiff(file, longest_px)
    return _plain_photo(image, file, longest_px)


def _plain_photo(image: Image.Image, file: BinaryIO, longest_px: int | None) -> Photo:
    size, mode, bits = image.size, image.mode, bits_of(image)
    if longest_px is not None and isinstance(image, JpegImageFile):
        image.draft(None, within(size, longest_px))
    mend_transparent_colour(image)
    image.load()
    profile = profile_named(image, file)
    image.info["icc_profile"] = profile
    pixels, alpha, converted = straight(image)
    found = orientation(image)
    source = source_of(image, file, size=size, grey=_is_grey(image), icc_converted=converted)
    return _photo(pixels, alpha, replace(source, mode=mode, bits=bits, icc=profile), found, longest_px)


def _deep_photo(deep: Deep, image: Image.Image | None, file: BinaryIO, longest_px: int | None) -> Photo | None:
    """A photo of 16 bits; None where its profile cannot be applied with so many."""
    grey = deep.values.ndim == 2
    source = source_of(image, file, size=deep.values.shape[1::-1], grey=grey, icc_converted=False)
    source = replace(source, icc=source.icc or profile_by_exif(source.exif))
    pixels = deep_to_srgb(deep.values, source.icc) if source.icc else deep.values
    if pixels is None:
        return None
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    found = orientation_of(read_tags(file)) if source.format == "tiff" else _png_orientation(source)
    source = replace(source, bits=16, icc_converted=source.icc is not None and pixels is not deep.values)
    return _photo(pixels, deep.alpha, source, found, longest_px)


def _rare_tiff(file: BinaryIO, longest_px: int | None) -> Photo:
    """A TIFF that Pillow does not open: floating point colours."""
    tags = read_tags(file)
    image = read_with_opencv(file, tags)
    pixels, alpha, converted = straight(image)
    source = source_of(None, file, size=image.size, grey=_is_grey(image), icc_converted=converted)
    source = replace(source, mode=image.mode, bits=tags[BITSPERSAMPLE][0])
    return _photo(pixels, alpha, source, orientation_of(tags), longest_px)


def _photo(
    pixels: np.ndarray, alpha: np.ndarray | None, source: Source, orientation: int, longest_px: int | None
) -> Photo:
    """Reduced, turned upright, white where nothing is seen."""
    pixels, alpha = _reduced(pixels, alpha, longest_px)
    pixels = _writable(turn(pixels, orientation))
    if alpha is not None:
        alpha = _writable(turn(alpha, orientation))
        pixels[alpha == 0] = np.iinfo(pixels.dtype).max
    swapped = orientation in (5, 6, 7, 8)
    return Photo(pixels, alpha, replace(source, size=source.size[::-1] if swapped else source.size))


def _writable(values: np.ndarray) -> np.ndarray:
    return values if values.flags.writeable and values.flags.owndata else values.copy()


def _reduced(
    pixels: np.ndarray, alpha: np.ndarray | None, longest_px: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    height, width = within(pixels.shape[:2], longest_px)
    if (height, width) == pixels.shape[:2]:
        return pixels, alpha
    if pixels.dtype == np.uint16:
        return _reduced_deep(pixels, alpha, (width, height))
    if alpha is None:
        return resize(pixels, (height, width)), None
    # Pillow weighs the colours by their alpha meanwhile: what is hidden does not bleed into what is seen.
    both = Image.fromarray(np.dstack([pixels, alpha])).resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(both)
    return values[..., :3], values[..., 3]


def _reduced_deep(
    pixels: np.ndarray, alpha: np.ndarray | None, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """As `_reduced` for uint16, by the mean over the area of each new pixel."""
    if alpha is None:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), None
    weight = alpha.astype(np.float32)
    seen = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    colours = cv2.resize(pixels * weight[..., None], size, interpolation=cv2.INTER_AREA)
    colours = np.divide(colours, seen[..., None], out=np.zeros_like(colours), where=seen[..., None] > 0)
    return (np.minimum(colours, 65535) + 0.5).astype(np.uint16), (seen + 0.5).astype(np.uint16)


def _is_grey(image: Image.Image) -> bool:
    """Whether the image can hold nothing but grey."""
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F"))


def _png_orientation(source: Source) -> int:
    carrier = Image.new("L", (1, 1))
    if source.exif:
        carrier.info["exif"] = source.exif
    return orientation(carrier)
