"""What an output keeps of its photo, and how near it is to the truth: one picture beside another, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganstyle.base.errors import UserError
from ganstyle.data.images import read_pixels
from ganstyle.data.pixels import resize, within
from ganstyle.evaluate.image_sets import ImageSet, images_of, key_of, numbers_by_name
from ganstyle.evaluate.perceptual import Distance, grey_lpips, ssim
from ganstyle.evaluate.structure import WINDOW_PX, structure_similarities
from ganstyle.evaluate.truth import gradient_correlation, psnr

LONGEST_PX = 1024  # larger pictures are measured at this longer side

Warn = Callable[[str], None]
# Measures of two pictures, uint8 (H, W, 3) of one size, by name; NaN where one cannot be measured.
Measure = Callable[[np.ndarray, np.ndarray], dict[str, float]]


def beside(
    fake: ImageSet,
    other: Path,
    what: str,
    warn: Warn,
    *,
    device: torch.device,
    advance: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Measures of each output beside the image of the same name in another folder.

    Args:
        fake: the outputs, read again one by one.
        other: a folder of images of the same relative names, of any format. One of another size is resized to the
            output's, bicubic.
        what: a name of MEASURES: `content` (other is the photos) or `truth`.
        warn: told what is left out, and why.
        device: of networks.
        advance: told how many are done, of how many.

    Returns:
        `folder`, `pairs`, and for each measure its mean `value`, its standard `error` (None of one pair alone) and of
        how many `pairs`; pictures too small for a measure, and equal ones for PSNR, are left out of its mean.

    Raises:
        UserError: no image of the same name.
    """
    common = common_names(fake.paths, fake.folder, other, what)
    found, names = images_of(other), fake.names()
    paths = {name: found[number] for name, number in numbers_by_name(found, other).items()}
    if len(paths) < len(found):
        warn(f"{what}: {len(found) - len(paths)} images of {other} share their names and are left out")
    if len(common) < len(fake.paths):
        warn(f"{what}: {len(fake.paths) - len(common)} of {len(fake.paths)} outputs have no image in {other}")
    measure = MEASURES[what](warn, device)
    rows, resized = [], 0
    for number, name in enumerate(common, 1):
        output, partner = read_pixels(fake.paths[names[name]]), read_pixels(paths[name])
        resized += output.shape != partner.shape
        rows.append(measure(output, resize(partner, (output.shape[0], output.shape[1]))))
        advance(number, len(common))
    if resized:
        warn(f"{what}: {resized} images of {other} have another size than their outputs and are resized to theirs")
    means = {name: _mean([row[name] for row in rows]) for name in rows[0]}
    for name, mean in means.items():
        if mean["pairs"] != len(rows):
            warn(f"{what}: {name} is of {mean['pairs']} of {len(rows)} pairs, as it cannot be measured on the others")
    return {"folder": str(other), "pairs": len(rows), **means}


def common_names(outputs: Sequence[Path], folder: Path, other: Path, what: str) -> list[str]:
    """The names of a folder's outputs that are in another folder too; `UserError` where there is none."""
    found = images_of(other)
    partners = numbers_by_name(found, other)
    common = [name for name in numbers_by_name(outputs, folder) if name in partners]
    if not common and {key_of(path, folder) for path in outputs} & {key_of(path, other) for path in found}:
        raise UserError(f"{folder} and {other} have only names that stand for several images: keep one format of each")
    if not common:
        raise UserError(f"{other} has no image of the same name as any in {folder}: {what} is told by names")
    return common


def _mean(values: Sequence[float]) -> dict[str, float | int | None]:
    """The mean of those that are finite, and its standard error."""
    found = np.array([value for value in values if np.isfinite(value)])
    error = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else None
    return {"value": float(found.mean()) if len(found) else None, "error": error, "pairs": len(found)}


def _content(warn: Warn, device: torch.device) -> Measure:
    """Structure similarity, LPIPS on grey where its weights are there, edges, and how much was changed at all."""
    lpips: Distance | None = None
    try:
        lpips = grey_lpips(device)
    except UserError as error:
        warn(f"LPIPS is left out: {error}")

    def measure(output: np.ndarray, photo: np.ndarray) -> dict[str, float]:
        output, photo = _at_most(output), _at_most(photo)
        found = {
            "structure": _structure(output, photo),
            "edges": _edges(output, photo),
            "change": float(np.abs(output.astype(np.float64) - photo).mean() / 255),
        }
        return found if lpips is None else {**found, "lpips": lpips(output, photo)}

    return measure


def _truth(warn: Warn, device: torch.device) -> Measure:
    """PSNR, SSIM and edges."""
    similarity = _ssim(warn, device)

    def measure(output: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        found = {"psnr": psnr(output[None], truth[None]), "edges": _edges(output, truth)}
        return found if similarity is None else {**found, "ssim": similarity(output, truth)}

    return measure


def _ssim(warn: Warn, device: torch.device) -> Distance | None:
    try:
        return ssim(device)
    except UserError as error:
        warn(f"SSIM is left out: {error}")
        return None


def _structure(output: np.ndarray, photo: np.ndarray) -> float:
    if min(output.shape[:2]) < WINDOW_PX:
        return float("nan")
    return float(structure_similarities(output[None], photo[None])[0])


def _edges(output: np.ndarray, other: np.ndarray) -> float:
    return gradient_correlation(output[None], other[None]) if min(output.shape[:2]) > 2 else float("nan")


def _at_most(pixels: np.ndarray) -> np.ndarray:
    return resize(pixels, within((pixels.shape[0], pixels.shape[1]), LONGEST_PX))


MEASURES: Mapping[str, Callable[[Warn, torch.device], Measure]] = {"content": _content, "truth": _truth}
