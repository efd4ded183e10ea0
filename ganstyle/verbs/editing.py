"""What is done with a translation before it is written: how much of it counts, where, and in whose colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganstyle.base.errors import UserError
from ganstyle.data.blend import blend, keep_colours
from ganstyle.data.masks import Masks

# The weight of a translation at each pixel of a photo, float32 (H, W) in 0..1, from its path and its pixels.
Weight = Callable[[Path, np.ndarray], np.ndarray]
# Raises UserError for photos with which a weight cannot be had.
Check = Callable[[Sequence[Path]], None]


@dataclass(frozen=True)
class Edit:
    """Makes of a photo and its translation what is written.

    Args:
        strength: 0 is the photo, 1 the translation; between them they are mixed in linear light.
        match_colours: the translation takes the photo's hues and chroma.
        weights: where the translation counts; several are multiplied.
        checks: see `check`.
    """

    strength: float = 1.0
    match_colours: bool = False
    weights: tuple[Weight, ...] = ()
    checks: tuple[Check, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UserError(f"--strength {self.strength:g}: expected 0 (the photo) to 1 (the translation)")

    def check(self, sources: Sequence[Path]) -> None:
        """Raise `UserError`, before anything is computed, for what cannot be done with these photos."""
        for each in self.checks:
            each(sources)

    def __call__(self, source: Path, photo: np.ndarray, translated: np.ndarray) -> np.ndarray:
        """Both are uint8 or uint16 (H, W, 3) of one size and dtype, and so is the result."""
        if self.strength == 1 and not self.match_colours and not self.weights:
            return translated
        if self.match_colours:
            translated = keep_colours(photo, translated)
        weight: float | np.ndarray = self.strength
        for each in self.weights:
            weight = weight * each(source, photo)
        return blend(photo, translated, weight)


def edit_named(
    source: Path,
    *,
    strength: float,
    match_colours: bool,
    mask: Path | None,
    keep: str | None,
    segmentation: Path | None,
    feather_px: float | None,
    device: str,
) -> Edit:
    """What people ask for in words.

    Args:
        source: the photo, or the folder of photos.
        strength: of `Edit`.
        match_colours: of `Edit`.
        mask: see `Masks`.
        keep: classes of things that are left as in the photo, with commas between them; see `Segments`.
        segmentation: the weights of the network that finds them; None for the published ones.
        feather_px: how soft the edges of masks and things get.
        device: where that network computes, as `ganstyle.verbs.models.load` takes it.

    Raises:
        UserError: one of them cannot be, or goes with another that is missing.
    """
    if keep is None and segmentation is not None:
        raise UserError("--segmentation goes with --keep: name what to keep, such as --keep person")
    if keep is None and mask is None and feather_px is not None:
        raise UserError("--feather goes with --mask or --keep")
    weights: list[Weight] = []
    checks: list[Check] = []
    if mask is not None:
        masks = Masks(mask, source if source.is_dir() else None, feather_px)
        weights.append(_masked(masks))
        checks.append(masks.check)
    if keep is not None:
        weights.append(_keeping(keep, segmentation, feather_px, device))
    return Edit(strength, match_colours, tuple(weights), tuple(checks))


def _masked(masks: Masks) -> Weight:
    return lambda path, photo: masks.weight(path, (photo.shape[0], photo.shape[1]))


def _keeping(names: str, weights: Path | None, feather_px: float | None, device: str) -> Weight:
    from ganstyle.networks.segmentation import load_segmentation  # noqa: PLC0415 - imports torch
    from ganstyle.train.hardware import available_device  # noqa: PLC0415
    from ganstyle.translate.segments import Segments, named_classes  # noqa: PLC0415

    classes = named_classes(names)
    segments = Segments(classes, load_segmentation(weights), available_device(device), feather_px)
    return lambda _, photo: segments.weight(photo)
