"""Masks: where a photo is translated and where it is kept, from pictures that people drew."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np

from ganstyle.base.errors import UserError
from ganstyle.data.folders import find_images
from ganstyle.data.images import SUFFIXES, Unreadable, read_image

FEATHER = 0.01  # of the shorter side
ASPECT_TOLERANCE = 0.02
# The deviation with which blurring is done: wide ones on a reduced picture, where they are so wide in its pixels.
# Linear interpolation back is then right to a thousandth.
WORKING_SIGMA_PX = 6.0
MOST_NAMED = 3  # photos in one message
FLAT_LEVELS = 4  # the colours of an alpha mask, with what rounding and lossy files make of one
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


class Masks:
    """The masks of photos: white is translated, black kept, grey mixed.

    A mask may be smaller or larger than its photo, but must have its shape. Where a mask is of one colour and partly
    transparent, what is opaque is translated.

    Args:
        place: one mask for all photos, or a folder: the mask of `root/sub/a.jpg` is `place/sub/a.*`, any image's
            suffix; where several photos share a stem, `a.jpg.png` or `a.jpg` is the one of `a.jpg`.
        root: the folder of the photos; None where they are single files.
        feather_px: how soft the edges get, the deviation of a Gaussian in the photo's pixels; None for a hundredth of
            its shorter side.

    Raises:
        UserError: no such place, no image in it, or a single mask that cannot be read.
    """

    def __init__(self, place: Path, root: Path | None = None, feather_px: float | None = None) -> None:
        check_feather(feather_px)
        self.place, self.root, self.feather_px = place, root, feather_px
        self._single = None if place.is_dir() else _read(_existing(place))
        self._paths = _by_stem(place) if place.is_dir() else {}

    def weight(self, source: Path, size: tuple[int, int]) -> np.ndarray:
        """Of the translation at each pixel of a photo: float32 (H, W) in 0..1.

        Args:
            source: the photo's path; it is not read.
            size: (height, width) of the photo's pixels, upright.

        Raises:
            UserError: the photo has no mask, several, or one that cannot be read or has another shape.
        """
        if self._single is not None:
            path, mask = self.place, self._single
        else:
            path = self._path_of(source)
            mask = _read(path)
        _check_aspect(path, mask, size)
        return feather(mask.astype(np.float32) / 255, size, self.feather_px)

    def check(self, sources: Sequence[Path]) -> None:
        """Raise one `UserError` for all photos that have no mask, or several; no photo is read, and no mask."""
        if self._single is not None:
            return
        problems = [problem for source in sources if (problem := self._problem(source))]
        if problems:
            named = [*problems[:MOST_NAMED], *([f"{len(problems) - MOST_NAMED} more"] * (len(problems) > MOST_NAMED))]
            raise UserError(f"{len(problems)} of {len(sources)} photos lack a mask of their own: {'; '.join(named)}")

    def _problem(self, source: Path) -> str | None:
        try:
            self._path_of(source)
        except UserError as error:
            return str(error)
        return None

    def _path_of(self, source: Path) -> Path:
        relative = self._relative(source)
        # The whole name first: `a.jpg.png` is made for `a.jpg` and for no other photo of that stem.
        found = self._paths.get(_key(relative)) or self._paths.get(_key(relative.with_suffix("")), [])
        same = [path for path in found if path.name == relative.name]
        if len(same or found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(f"several masks for {relative}: {names} in {found[0].parent}; leave one")
        if not found:
            expected = self.place / relative.with_suffix(".png")
            raise UserError(f"no mask for {relative}: expected {expected}, or another image's suffix there")
        return (same or found)[0]

    def _relative(self, source: Path) -> PurePath:
        if self.root is not None and source.is_relative_to(self.root):
            return source.relative_to(self.root)
        return PurePath(source.name)


def feather(weight: np.ndarray, size: tuple[int, int], feather_px: float | None) -> np.ndarray:
    """Weights, float32 (h, w) in 0..1, at another `size` (height, width), blurred by a Gaussian.

    Args:
        weight: of any size; resized with antialiasing.
        size: of the result.
        feather_px: the Gaussian's deviation in pixels of the result; None for a hundredth of its shorter side.
    """
    sigma_px = FEATHER * min(size) if feather_px is None else min(feather_px, max(size))
    shrink = max(1.0, sigma_px / WORKING_SIGMA_PX)
    height, width = (max(1, round(side / shrink)) for side in size)
    working = _resized(weight, (height, width))
    if sigma_px > 0:
        across, down = sigma_px * width / size[1], sigma_px * height / size[0]
        working = cv2.GaussianBlur(working, (0, 0), sigmaX=across, sigmaY=down, borderType=cv2.BORDER_REFLECT)
    result = _resized(working, size)
    return np.clip(result, 0, 1, out=result)


def check_feather(feather_px: float | None) -> None:
    """Raise `UserError` for what is no width of an edge."""
    if feather_px is not None and not (math.isfinite(feather_px) and feather_px >= 0):
        raise UserError(f"a feather of {feather_px:g} px: expected 0 (hard edges) or more")


def _resized(weight: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Averaged where it shrinks, linear where it grows (cubic would leave 0..1); always another array."""
    if weight.shape == size:
        return weight.copy()
    smaller = size[0] <= weight.shape[0] and size[1] <= weight.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(weight, (size[1], size[0]), interpolation=method))


def _existing(place: Path) -> Path:
    if not place.exists():
        raise UserError(f"{place}: there is no such mask or folder of masks")
    return place


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """The masks in a folder by their relative path without the last suffix."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in find_images(folder):
        found[_key(path.relative_to(folder).with_suffix(""))].append(path)
    if not found:
        raise UserError(f"{folder}: no masks in it; expected images ({', '.join(sorted(SUFFIXES))})")
    return dict(found)


def _key(relative: PurePath) -> str:
    """One spelling of names that some systems compose and others do not (an umlaut as one character or as two)."""
    return unicodedata.normalize("NFC", relative.as_posix())


def _read(path: Path) -> np.ndarray:
    """A mask as uint8 (H, W): 255 is translated."""
    try:
        picture = read_image(path, background=BLACK)
        if not picture.metadata.has_alpha:
            return _grey(picture.pixels)
        return _grey_or_alpha(picture.pixels, read_image(path, background=WHITE).pixels)
    except Unreadable as error:
        raise UserError(f"{path}: the mask cannot be read ({error}); save it again as PNG") from error


def _grey_or_alpha(on_black: np.ndarray, on_white: np.ndarray) -> np.ndarray:
    """The alpha of a mask whose opaque part is of one colour, else its grey on black (transparent is kept).

    The two are the mask on two backgrounds; they differ by what of the background is seen.
    """
    alpha = 255 - _grey(on_white - np.minimum(on_black, on_white))
    opaque = on_black[alpha >= 128].astype(np.float32) / alpha[alpha >= 128, None].astype(np.float32) * 255
    is_flat = len(opaque) == 0 or np.ptp(opaque, axis=0).max() <= FLAT_LEVELS
    return alpha if is_flat and alpha.min() < 255 else _grey(on_black)


def _grey(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def _check_aspect(path: Path, mask: np.ndarray, size: tuple[int, int]) -> None:
    """The mask, brought to the photo's height or width, must meet the other side; rounded sides of small ones may."""
    (height, width), (mask_height, mask_width) = size, mask.shape
    off = abs(width / height * mask_height / mask_width - 1)
    off_px = min(abs(width * mask_height / height - mask_width), abs(height * mask_width / width - mask_height))
    if off > ASPECT_TOLERANCE and off_px > 1:
        raise UserError(
            f"{path}: the mask is {mask_width} x {mask_height} px and the photo {width} x {height} px, "
            "another shape; make the mask for this photo, at any size of the same proportions"
        )
