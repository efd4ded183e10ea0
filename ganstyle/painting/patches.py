"""Square patches of an image, and where they lie."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def places(size: tuple[int, int], patch_px: int, stride_px: int, *, device: torch.device | str | None = None) -> Tensor:
    """Top-left corners (N, 2), int64, of the patches p x p of an image (height, width), row by row.

    They lie `stride_px` apart; one more row and column end at the border where the stride does not, so that every
    pixel is covered (given a stride of at most `patch_px`).
    """
    assert min(size) >= patch_px, (size, patch_px)
    rows, columns = (
        torch.tensor(sorted({*range(0, side - patch_px + 1, stride_px), side - patch_px}), device=device)
        for side in size
    )
    return torch.cartesian_prod(rows, columns).view(-1, 2)


def scattered(
    corners: Tensor, size: tuple[int, int], patch_px: int, *, by_px: int, stream: np.random.Generator
) -> Tensor:
    """Corners (N, 2) moved at random by up to `by_px` each way, those at the border along it alone.

    Every pixel stays covered where `by_px` is at most half of what neighbours overlap.
    """
    last = torch.tensor([side - patch_px for side in size], device=corners.device)
    moves = torch.from_numpy(stream.integers(-by_px, by_px + 1, tuple(corners.shape))).to(corners)
    at_border = (corners == 0) | (corners == last)
    moved = torch.minimum((corners + moves).clamp(min=0), last)
    return torch.where(at_border, corners, moved)


def patches_of(image: Tensor, patch_px: int, stride_px: int) -> Tensor:
    """All patches (N, 3 * p * p) of an image (1, 3, H, W) at `places`, in the same order."""
    height, width = image.shape[-2:]
    return patches_at(image, places((height, width), patch_px, stride_px, device=image.device), patch_px)


def patches_at(image: Tensor, corners: Tensor, patch_px: int) -> Tensor:
    """The patches (N, C * p * p) of an image (1, C, H, W) at top-left corners (N, 2), a channel after the other."""
    windows = image[0].unfold(1, patch_px, 1).unfold(2, patch_px, 1)
    return windows[:, corners[:, 0], corners[:, 1]].transpose(0, 1).flatten(1)


def means_of(patches: Tensor) -> Tensor:
    """The mean colour (N, 3) of each patch (N, 3 * p * p)."""
    return patches.unflatten(1, (3, -1)).mean(dim=2)


def without_means(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Patches (N, 3 * p * p) less the mean of each of their channels, and these means (N, 3)."""
    means = means_of(patches)
    return (patches.unflatten(1, (3, -1)) - means[..., None]).flatten(1), means
