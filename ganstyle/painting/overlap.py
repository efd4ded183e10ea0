"""Patches that overlap, put together to one image."""

from __future__ import annotations

import torch
from torch import Tensor

from ganstyle.painting.patches import patches_at

LEAST_DISTANCE = 0.02  # root mean square over a patch; nearer ones do not count for more
EDGE_WEIGHT = 0.1  # of a patch's outermost pixels; its middle has 1


@torch.no_grad()
def blend_patches(
    patches: Tensor,
    places: Tensor,
    size: tuple[int, int],
    *,
    guess: Tensor,
    exponent: float = 0.8,
    rounds: int = 5,
) -> Tensor:
    """The image that is nearest to all of its patches, where those that do not agree with it count little.

    Minimises sum_n |X_n - patch_n|^r over images X, whose patches are X_n, by iteratively re-weighted least squares:
    a weight of |X_n - patch_n|^(r - 2) for each patch, then the weighted mean at each pixel, again and again.

    Source: Kwatra et al. 2005, "Texture optimization for example-based synthesis", eq. 2 and section 3.1. Differs from
    the paper: distances are floored at `LEAST_DISTANCE`, and in each patch pixels weigh less towards its edges, so that
    the grid of patches does not show.

    Args:
        patches: (N, 3 * p * p).
        places: (N, 2), top-left corners, in any order; the same one may come up more than once.
        size: height and width of the image.
        guess: (1, 3, H, W), the image that the first weights are found from; kept where there is no patch.
        exponent: r; 2 is the plain mean.
        rounds: how often it is weighted.
    """
    patch_px = round((patches.shape[1] / 3) ** 0.5)
    index = _pixels_of(places, patch_px, size[1])
    window = _window(patch_px).to(patches)
    image = guess
    for _ in range(rounds):
        distances = (patches_at(image, places, patch_px) - patches).square().mean(dim=1).sqrt()
        weights = distances.clamp(min=LEAST_DISTANCE) ** (exponent - 2)
        image = _weighted_mean(patches, index, (weights / weights.mean())[:, None] * window, image)
    return image


def _pixels_of(places: Tensor, patch_px: int, width: int) -> Tensor:
    """The flat numbers (N, p * p) of the pixels of each patch."""
    steps = torch.arange(patch_px, device=places.device)
    offsets = (steps[:, None] * width + steps).flatten()
    return (places[:, :1] * width + places[:, 1:]) + offsets


def _window(patch_px: int) -> Tensor:
    """Weights (p * p,) that fall from 1 in the middle to `EDGE_WEIGHT` at the edges."""
    distances = (torch.arange(patch_px) - (patch_px - 1) / 2).abs() / max(1.0, (patch_px - 1) / 2)
    profile = 1 - (1 - EDGE_WEIGHT) * distances**2
    return torch.outer(profile, profile).flatten()


def _weighted_mean(patches: Tensor, index: Tensor, weights: Tensor, guess: Tensor) -> Tensor:
    """The mean of patches (N, 3 * p * p) at each pixel by weights (N, p * p); the guess where nothing weighs."""
    height, width = guess.shape[-2:]
    flat, totals = index.flatten(), patches.new_zeros(height * width)
    totals.index_add_(0, flat, weights.flatten())
    channels: list[Tensor] = []
    for channel in patches.unflatten(1, (3, -1)).unbind(1):
        sums = torch.zeros_like(totals).index_add_(0, flat, (channel * weights).flatten())
        channels.append(torch.where(totals > 0, sums / totals.clamp(min=1e-12), guess[0, len(channels)].flatten()))
    return torch.stack(channels).view(1, 3, height, width)
