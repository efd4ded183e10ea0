"""From the colours of a file to sRGB and back: ICC profiles, CMYK, CIELAB; with 16 bits for profiles of curves."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from ganstyle.data.shapers import LEVELS, Shaper, shaper_of, through

# Photoshop's defaults; without NOCACHE a transform must not be shared between threads.
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE
# Without the shortcuts that cost a level or two: what the 16-bit way is held against.
EXACT_FLAGS = FLAGS | ImageCms.Flags.NOOPTIMIZE

# (mode of the image, colour space of its profile) -> the mode that the profile takes; other pairs are wrong profiles.
PAIRS = {("L", "GRAY"): "L", ("L", "RGB"): "RGB", ("RGB", "RGB"): "RGB", ("CMYK", "CMYK"): "CMYK"}

# Large pictures go through in strips of about this many pixels, or their copies would fill the memory.
STRIP_PX = 1 << 20

# (h, w, 3) values -> (h, w, 3) values of the same dtype.
Convert = Callable[[np.ndarray], np.ndarray]

_BROKEN = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


class _ToSrgb(NamedTuple):
    transform: ImageCms.ImageCmsTransform
    mode: str  # that it takes
    changes: bool  # False: the profile is sRGB itself
    exact: ImageCms.ImageCmsTransform  # slower, to be held against


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """An L, RGB, CMYK or LAB image as RGB in sRGB, and whether its ICC profile changed the colours.

    Relative colorimetric with black point compensation. A profile that is broken, or made for another kind of image,
    is set aside: then grey and RGB values stay as they are and CMYK becomes (255 - C)(255 - K) / 255 and so on.
    """
    if image.mode == "LAB":
        return _applied(_lab_to_srgb(), image), False
    found = _profile_to_srgb(profile, image.mode) if profile else None
    if found is None or not found.changes:
        return image.convert("RGB"), False
    return _applied(found.transform, image.convert(found.mode)), True


def from_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray | None:
    """(H, W, 3) uint8 or uint16 sRGB in the colours of an ICC profile, in the same dtype.

    Relative colorimetric with black point compensation, as `to_srgb`; colours that the profile cannot hold are
    clipped. A profile that is sRGB itself gives the pixels back as they are (the same array).

    Returns None for a profile that cannot be written to: broken, not for RGB, for input alone; with uint16 also one
    that is not made of curves and a matrix (then 8 bits may do).
    """
    convert = _FROM_SRGB[pixels.dtype](profile)
    return None if convert is None else _in_strips(convert, pixels)


def deep_to_srgb(values: np.ndarray, profile: bytes) -> np.ndarray | None:
    """(H, W) grey or (H, W, 3) RGB uint16 values of an ICC profile as (H, W, 3) uint16 sRGB.

    As `to_srgb`: a profile that is broken, or made for another kind of image, is set aside, and one that is sRGB
    itself changes nothing (RGB comes back as the same array). Returns None for a profile that counts, but is not made
    of curves and a matrix, and so needs `to_srgb` and its 8 bits.
    """
    mode = "L" if values.ndim == 2 else "RGB"
    convert = _deep_to_srgb(profile, mode)
    if convert is None:
        return None
    if mode == "RGB":
        return _in_strips(convert, values)
    table = convert(_greys(LEVELS))[0]  # a grey has 65536 values, whatever the profile
    return _in_strips(lambda strip: np.take(table, strip, axis=0), values)


def _in_strips(convert: Convert, values: np.ndarray) -> np.ndarray:
    if convert is _unchanged:
        return values
    rows = max(1, STRIP_PX // max(1, values.shape[1]))
    result = np.empty((*values.shape[:2], 3), values.dtype)
    for top in range(0, len(values), rows):
        result[top : top + rows] = convert(values[top : top + rows])
    return result


def _unchanged(values: np.ndarray) -> np.ndarray:
    return values


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    return transform.apply(image)


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB", INTENT, FLAGS)


@lru_cache(maxsize=1)
def _srgb_shaper() -> Shaper:
    shaper = shaper_of(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert shaper is not None
    return shaper


@lru_cache(maxsize=16)
def _profile_to_srgb(profile: bytes, mode: str) -> _ToSrgb | None:
    """The transform and the mode it takes; None where the profile is of no use for pixels of this mode."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        taken = PAIRS.get((mode, source.profile.xcolor_space.strip()))
        if taken is None:
            return None
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, taken, "RGB", INTENT, FLAGS)
        exact = ImageCms.buildTransform(source, srgb, taken, "RGB", INTENT, EXACT_FLAGS)
    except _BROKEN:
        return None
    return _ToSrgb(transform, taken, changes=taken != "RGB" or _differs(transform, _grid()), exact=exact)


@lru_cache(maxsize=16)
def _levels_from_srgb(profile: bytes) -> Convert | None:
    """The way from sRGB to a profile with 8 bits."""
    found = _profile_to_srgb(profile, "RGB")
    if found is None or not found.changes:
        return None if found is None else _unchanged
    try:
        srgb, target = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(srgb, target, "RGB", "RGB", INTENT, FLAGS)
    except _BROKEN:
        return None
    return lambda pixels: np.asarray(_applied(transform, Image.fromarray(pixels)))


@lru_cache(maxsize=16)
def _deep_from_srgb(profile: bytes) -> Convert | None:
    """The way from sRGB to a profile with 16 bits, where the way back from it is known to be right."""
    levels, back = _levels_from_srgb(profile), _deep_to_srgb(profile, "RGB")
    if levels is None or levels is _unchanged:
        return levels
    shaper = None if back is None else shaper_of(profile)
    return None if shaper is None else through(_srgb_shaper(), shaper)


@lru_cache(maxsize=16)
def _deep_to_srgb(profile: bytes, mode: str) -> Convert | None:
    """The way of a profile's RGB values (three equal ones for grey) to sRGB with 16 bits."""
    found = _profile_to_srgb(profile, mode)
    if found is None or not found.changes:
        return _unchanged
    shaper = shaper_of(profile)
    if shaper is None:
        return None
    convert = through(shaper, _srgb_shaper())
    grid = _grid() if mode == "RGB" else _greys(256).astype(np.uint8)
    ours = np.rint(convert(grid.astype(np.uint16) * 257) / 257)
    # Tables for the printing trade come beside curves in some profiles, and then they are what counts.
    return None if _differs(found.exact, grid, found.mode, ours) else convert


def _grid() -> np.ndarray:
    """All colours of 18 levels a channel, (18, 324, 3) uint8."""
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(len(steps), -1, 3)


def _greys(levels: int) -> np.ndarray:
    """Each grey once, (1, levels, 3) uint16."""
    return np.repeat(np.arange(levels, dtype=np.uint16), 3).reshape(1, levels, 3)


def _differs(
    transform: ImageCms.ImageCmsTransform, colours: np.ndarray, mode: str = "RGB", expected: np.ndarray | None = None
) -> bool:
    """Whether (h, w, 3) uint8 colours become other than expected (than they are, if nothing else is), past rounding."""
    found = np.asarray(_applied(transform, Image.fromarray(colours).convert(mode))).astype(np.int32)
    return bool(np.abs(found - (colours if expected is None else expected)).max() > 1)


_FROM_SRGB: dict[np.dtype, Callable[[bytes], Convert | None]] = {
    np.dtype(np.uint8): _levels_from_srgb,
    np.dtype(np.uint16): _deep_from_srgb,
}
