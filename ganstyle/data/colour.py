"""From the colours of a file to sRGB: ICC profiles, CMYK, CIELAB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

# Photoshop's defaults; without NOCACHE a transform must not be shared between threads.
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE

# (mode of the image, colour space of its profile) -> the mode that the profile takes; other pairs are wrong profiles.
PAIRS = {("L", "GRAY"): "L", ("L", "RGB"): "RGB", ("RGB", "RGB"): "RGB", ("CMYK", "CMYK"): "CMYK"}


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """An L, RGB, CMYK or LAB image as RGB in sRGB, and whether its ICC profile changed the colours.

    Relative colorimetric with black point compensation. A profile that is broken, or made for another kind of image,
    is set aside: then grey and RGB values stay as they are and CMYK becomes (255 - C)(255 - K) / 255 and so on.
    """
    if image.mode == "LAB":
        return _applied(_lab_to_srgb(), image), False
    found = _profile_to_srgb(profile, image.mode) if profile else None
    if found is None:
        return image.convert("RGB"), False
    transform, mode = found
    return _applied(transform, image.convert(mode)), True


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    return transform.apply(image)


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB", INTENT, FLAGS)


@lru_cache(maxsize=16)
def _profile_to_srgb(profile: bytes, mode: str) -> tuple[ImageCms.ImageCmsTransform, str] | None:
    """The transform and the mode it takes; None where the pixels are to be used as they are."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        taken = PAIRS.get((mode, source.profile.xcolor_space.strip()))
        if taken is None:
            return None
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, taken, "RGB", INTENT, FLAGS)
        return None if _changes_nothing(transform, taken) else (transform, taken)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a grid of colours comes back as it was, within rounding: many profiles are sRGB itself."""
    if mode != "RGB":
        return False
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(len(steps), -1, 3)
    changed = np.asarray(transform.apply(Image.fromarray(grid)))
    return bool(np.abs(changed.astype(np.int16) - grid.astype(np.int16)).max() <= 1)
