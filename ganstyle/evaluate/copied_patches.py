"""How much of a picture is pasted from another one word for word; told from the pictures alone, whatever made them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganstyle.base.draws import stream_seed
from ganstyle.data.tensors import to_tensor

PATCH_PX = 16
ALIKE = 0.98  # correlation from which a patch counts as found
FLAT = 0.02  # of tensors in [-1, 1]: patches that deviate less look alike wherever they are from
SLACK_PX = 1  # neighbours that were copied as one piece lie in the other picture as they do here, to within this
MOST_PATCHES = 4096
STRIP_PLACES = 2048
DIRECTIONS, SAMPLE = 64, 8192


@dataclass(frozen=True)
class Found:
    """Which patches of a grid were found in the other picture, and where.

    Attributes:
        stride_px: from one patch of the grid to the next.
        alike: whether each was found, (R, C) bool.
        shifts: from a patch to its best place, (R, C, 2) in pixels; without meaning where it was not found.
    """

    stride_px: int
    alike: np.ndarray
    shifts: np.ndarray


def copied_places(found: Found, patch_px: int = PATCH_PX) -> np.ndarray:
    """Which pixels of what the grid covers belong to copied patches, (H, W) bool."""
    step = -(-patch_px // found.stride_px)  # to the next patch that shares no pixel with this one
    copied = np.zeros_like(found.alike)
    for axis in (0, 1):
        first, second = _ends(found.alike, axis, step)
        shift_first, shift_second = _ends(found.shifts, axis, step)
        linked = first & second & (np.abs(shift_first - shift_second).max(axis=-1) <= SLACK_PX)
        for end in _ends(copied, axis, step):
            np.logical_or(end, linked, out=end)
    rows, columns = found.alike.shape
    covered = np.zeros([(count - 1) * found.stride_px + patch_px for count in (rows, columns)], bool)
    for row, column in np.argwhere(copied) * found.stride_px:
        covered[row : row + patch_px, column : column + patch_px] = True
    return covered


class PatchSearch:
    """Looks for the patches of pictures at every place of one other picture; exact.

    Args:
        other: where to look, uint8 (H, W, 3); no side under `patch_px`.
        patch_px: the side of patches.
        device: where it computes.
    """

    def __init__(self, other: np.ndarray, *, patch_px: int = PATCH_PX, device: torch.device | str = "cpu") -> None:
        self.patch_px, self.device = patch_px, device
        self.image = to_tensor(other, device)
        self.basis = _basis(self.image, patch_px)
        self.across = other.shape[1] - patch_px + 1
        # One block for all: many small ones between passing large ones would leave memory in pieces.
        places = self.across * (other.shape[0] - patch_px + 1)
        self.bounds = torch.empty(places, self.basis.shape[1] + 1, device=device)
        for strip, part in self._strips():
            self.bounds[strip] = _bounding(_units(part, patch_px, 1)[0], self.basis)

    def copied_share(self, picture: np.ndarray) -> float:
        """The part of a picture, uint8 (H, W, 3) of any size, that consists of pieces of the other, 0 to 1.

        A patch (its mean colour removed) is found where its correlation with a patch of the other picture, at any
        place but not turned nor resized, is over 0.98. It counts as copied only where the whole patch above, below,
        left or right of it is found too, just there where the piece goes on. Flat patches never count. A piece of less
        than two patches is no copy; of larger ones half a patch at a ragged border may be missed.
        """
        return float(copied_places(self.find(picture), self.patch_px).mean())

    def find(self, picture: np.ndarray) -> Found:
        """The best place for each patch of a grid over a picture, among those that correlate over 0.98.

        The grid's patches overlap by half where that makes no more than `MOST_PATCHES`, else they lie side by side.
        """
        stride_px = _stride(picture.shape[:2], self.patch_px)
        patches, textured = _units(to_tensor(picture, self.device), self.patch_px, stride_px)
        bounding = _bounding(patches, self.basis)
        best = torch.where(textured, ALIKE, torch.inf)  # flat patches are never bettered
        places = torch.full_like(best, -1, dtype=torch.long)
        for strip, part in self._strips():
            # Only patches that could find something better here are compared in full.
            near = torch.nonzero((bounding @ self.bounds[strip].T).amax(dim=1) > best)[:, 0]
            if len(near):
                correlations, indices = (patches[near] @ _units(part, self.patch_px, 1)[0].T).max(dim=1)
                better = correlations > best[near]
                best[near[better]], places[near[better]] = correlations[better], indices[better] + strip.start
        return self._on_grid(places, picture.shape[:2], stride_px)

    def _strips(self) -> Iterator[tuple[slice, Tensor]]:
        """Some rows of places at a time: their numbers, and the pixels (1, 3, h, W) that they need."""
        down = self.image.shape[2] - self.patch_px + 1
        rows = max(1, STRIP_PLACES // self.across)
        for top in range(0, down, rows):
            end = min(top + rows, down)
            yield slice(top * self.across, end * self.across), self.image[:, :, top : end + self.patch_px - 1]

    def _on_grid(self, places: Tensor, size: tuple[int, ...], stride_px: int) -> Found:
        rows, columns = ((side - self.patch_px) // stride_px + 1 for side in size)
        found = places.cpu().numpy().reshape(rows, columns)
        there = np.stack(np.divmod(found, self.across), axis=-1)
        here = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1) * stride_px
        return Found(stride_px, found >= 0, there - here)


def _stride(size: tuple[int, ...], patch_px: int) -> int:
    half = max(1, patch_px // 2)
    count = np.prod([(side - patch_px) // half + 1 for side in size])
    return half if count <= MOST_PATCHES else patch_px


def _units(image: Tensor, patch_px: int, stride_px: int) -> tuple[Tensor, Tensor]:
    """The patches of (1, 3, H, W), row by row, as (N, 3 * patch_px ** 2) units, and which are textured; see `_unit`."""
    return _unit(F.unfold(image, patch_px, stride=stride_px)[0].T)


def _unit(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Patches (N, D) without their mean colours, of length one, and which are textured; flat ones become zero."""
    colours = patches.unflatten(1, (3, -1))
    centred = (colours - colours.mean(dim=2, keepdim=True)).flatten(1)
    lengths = centred.norm(dim=1, keepdim=True)
    textured = lengths > FLAT * centred.shape[1] ** 0.5
    return centred * torch.where(textured, 1 / lengths, 0), textured[:, 0]


def _basis(image: Tensor, patch_px: int) -> Tensor:
    """The directions (D, d) in which the patches of a picture vary most, from a sample of them."""
    height, width = (side - patch_px + 1 for side in image.shape[2:])
    stream = np.random.Generator(np.random.PCG64(stream_seed("copied patches")))
    chosen = stream.integers(height * width, size=min(SAMPLE, height * width))
    windows = image[0].unfold(1, patch_px, 1).unfold(2, patch_px, 1)  # a view: (3, height, width, p, p)
    rows, columns = (torch.from_numpy(each).to(image.device) for each in np.divmod(chosen, width))
    sample, _ = _unit(windows[:, rows, columns].transpose(0, 1).flatten(1))
    _, vectors = torch.linalg.eigh((sample.T @ sample).cpu())  # not every device has it
    return vectors[:, -DIRECTIONS:].to(image.device)


def _bounding(units: Tensor, basis: Tensor) -> Tensor:
    """Shorter vectors whose products are never less than those of the units, (N, d + 1).

    By Cauchy and Schwarz, what two units have outside of the basis adds at most the product of its lengths.
    """
    inside = units @ basis
    outside = (1 - inside.square().sum(dim=1, keepdim=True)).clamp(min=0).sqrt()
    return torch.cat([inside, outside], dim=1)


def _ends(values: np.ndarray, axis: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of each value that has another one `step` further along an axis, and of these others."""
    before = (slice(None),) * axis
    return values[(*before, slice(None, -step))], values[(*before, slice(step, None))]
