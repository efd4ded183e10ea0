"""Masks that follow the edges of their picture: a guided filter whose arithmetic is done on a small copy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def follow_edges(shares: Tensor, guide: Tensor, small: Tensor, *, radius_px: int, noise: float) -> Tensor:
    """Coarse masks at the size of a picture, with edges where the picture has them.

    Near each place a mask is taken for a linear function of the picture's colours; the functions are found on the
    small copy and applied to the picture itself. Source: He, Sun and Tang 2013, "Guided image filtering", eq. 19-21
    (colour guide); He and Sun 2015, "Fast guided filter".

    Args:
        shares: (1, K, h, w), of the small copy's size.
        guide: the picture, (1, 3, H, W) in [-1, 1].
        small: its small copy, (1, 3, h, w).
        radius_px: of the square windows, in pixels of the small copy.
        noise: deviation of colours up to which a window is taken for flat.

    Returns (1, K, H, W), in about the range of the shares; where they sum to one, so do these.
    """
    slopes, offsets = _linear_functions(shares, small, radius_px, noise)
    size = guide.shape[2:]
    slopes = F.interpolate(slopes.flatten(1, 2), size, mode="bilinear", align_corners=False).unflatten(1, (-1, 3))
    offsets = F.interpolate(offsets, size, mode="bilinear", align_corners=False)
    return (slopes * guide[:, None]).sum(dim=2) + offsets


def _linear_functions(shares: Tensor, small: Tensor, radius_px: int, noise: float) -> tuple[Tensor, Tensor]:
    """Slopes (1, K, 3, h, w) and offsets (1, K, h, w), each averaged over the windows that hold a place."""
    mean, mean_share = _box(small, radius_px), _box(shares, radius_px)
    products = _box((small[:, :, None] * small[:, None]).flatten(1, 2), radius_px).unflatten(1, (3, 3))
    covariance = (products - mean[:, :, None] * mean[:, None]).permute(0, 3, 4, 1, 2)
    covariance = covariance + noise**2 * torch.eye(3, device=small.device, dtype=small.dtype)
    joint = _box((shares[:, :, None] * small[:, None]).flatten(1, 2), radius_px).unflatten(1, (-1, 3))
    joint = joint - mean_share[:, :, None] * mean[:, None]
    slopes = torch.linalg.solve(covariance, joint.permute(0, 3, 4, 2, 1)).permute(0, 4, 3, 1, 2)
    offsets = mean_share - (slopes * mean[:, None]).sum(dim=2)
    return _box(slopes.flatten(1, 2), radius_px).unflatten(1, (-1, 3)), _box(offsets, radius_px)


def _box(maps: Tensor, radius_px: int) -> Tensor:
    """The mean over a square window; at the border over the part of it that is inside."""
    side = 2 * radius_px + 1
    return F.avg_pool2d(maps, side, stride=1, padding=radius_px, count_include_pad=False)
