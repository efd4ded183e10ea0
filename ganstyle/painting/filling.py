"""Three ways to fill a hole with patches: peeled from its border, grown piece by piece, and coded as a whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ganstyle.painting.completion import complete_patches
from ganstyle.painting.dictionary import Dictionary
from ganstyle.painting.overlap import blend_patches
from ganstyle.painting.patches import means_of, patches_at, places
from ganstyle.painting.pursuit import decode, pursue

LEAST_KNOWN = 0.5  # of a patch, for it to be completed; less where none has so much
GUIDE_WEIGHT = 0.1  # of a pixel that only a coarser size tells, against 1 of a known one
LEAST_WEIGHT = 1e-3  # of a pixel that nothing tells
COPY_GAIN = (1.0, 1.2)  # how strong a copied patch becomes; fainter ones would wash texture out
MEAN_PENALTY, NORM_PENALTY = 1.0, 2.0  # without the latter, sand has half of its grain


def peel(image: Tensor, missing: Tensor, dictionary: Dictionary, *, atoms_per_patch: int) -> Tensor:
    """Fill narrow damage from its border inwards, a third of a patch at a time, with means of completed patches.

    Args:
        image: (1, 3, H, W).
        missing: (1, 1, H, W) bool.
        dictionary: of whole patches.
        atoms_per_patch: of which each patch is mixed.

    Returns the image (1, 3, H, W), filled.
    """
    side, left = dictionary.patch_px, missing
    depth_px = max(1, side // 3)
    while left.any():
        reached = F.max_pool2d((~left).float(), 2 * depth_px + 1, stride=1, padding=depth_px) > 0
        corners = corners_of(left & reached, side, stride_px=1)
        known = ~patches_at(left, corners, side)
        shares = known.float().mean(dim=1)
        enough = shares >= min(LEAST_KNOWN, float(shares.max()))
        corners, known, shares = corners[enough], known[enough], shares[enough]
        patches = complete_patches(patches_at(image, corners, side), known, dictionary, atoms_per_patch=atoms_per_patch)
        mean, covered = _averaged(patches, corners, shares**2, image.shape[-2:])
        ring = left & reached & covered
        image, left = torch.where(ring, mean, image), left & ~ring
    return image


def grow(image: Tensor, missing: Tensor, unknown: Tensor, dictionary: Dictionary, *, guide: Tensor | None) -> Tensor:
    """Fill a wide hole with patches of the picture, one piece after the other, so that its texture stays sharp.

    Patches that lie around the border of the hole are completed by one atom each; those that are known best come first,
    and of those that overlap only one at a time.

    Source: Criminisi et al. 2004, "Region filling and object removal by exemplar-based image inpainting", section 3.
    Differs from the paper: the order follows what is known alone (its confidence term), not the edges, which the
    guide tells; brightness and contrast of a patch may change a little.

    Args:
        image: (1, 3, H, W).
        missing: the hole (1, 1, H, W) bool.
        unknown: the hole and other damage, which is left as it is, (1, 1, H, W) bool.
        dictionary: of whole patches.
        guide: what a coarser size tells of the hole (1, 3, H, W); None where there is none.

    Returns the image (1, 3, H, W), the hole filled.
    """
    side, left = dictionary.patch_px, missing
    image = image if guide is None else torch.where(missing, guide, image)
    trust = torch.where(missing & (guide is not None), GUIDE_WEIGHT, (~unknown).float().clamp(min=LEAST_WEIGHT))
    confidence = (~unknown).float()
    while left.any():
        corners = _front(left, side)
        corners = corners[_apart(corners, patches_at(confidence, corners, side).mean(dim=1), side)]
        patches = patches_at(image, corners, side)
        known = patches_at(confidence, corners, side)
        completed = complete_patches(
            patches,
            patches_at(trust, corners, side),
            dictionary,
            atoms_per_patch=1,
            gain=COPY_GAIN,
            mean_penalty=MEAN_PENALTY,
            norms=_lengths(patches, known > 0),
            norm_penalty=NORM_PENALTY,
        )
        pasted, covered = _averaged(completed, corners, known.new_ones(len(known)), image.shape[-2:])
        sure, _ = _averaged(
            known.mean(dim=1)[:, None].expand_as(patches), corners, known.new_ones(len(known)), image.shape[-2:]
        )
        new = left & covered
        image, left = torch.where(new, pasted, image), left & ~new
        trust, confidence = torch.where(new, 1.0, trust), torch.where(new, sure[:, :1], confidence)
    return image


def recode(image: Tensor, missing: Tensor, dictionary: Dictionary, *, atoms_per_patch: int, stride_px: int) -> Tensor:
    """Code the patches that touch the hole by whole ones and put them back there, so that they agree.

    Args:
        image: (1, 3, H, W), its hole filled somehow.
        missing: (1, 1, H, W) bool.
        dictionary: of whole patches.
        atoms_per_patch: of which each patch is mixed.
        stride_px: from patch to patch.

    Returns the image (1, 3, H, W), the hole filled anew.
    """
    corners = corners_of(missing, dictionary.patch_px, stride_px)
    patches = patches_at(image, corners, dictionary.patch_px)
    codes = pursue(patches, dictionary, atoms_per_patch=atoms_per_patch)
    coded = decode(codes, dictionary, means_of(patches))
    return torch.where(missing, blend_patches(coded, corners, (image.shape[-2], image.shape[-1]), guess=image), image)


def whole_patches(missing: Tensor, patch_px: int) -> Tensor:
    """Whether the patch that starts at each pixel misses nothing, (H - p + 1, W - p + 1) bool."""
    if min(missing.shape[-2:]) < patch_px:  # then there is none
        return missing.new_zeros(1, 1)
    return ~_touched(missing, patch_px)


def corners_of(missing: Tensor, patch_px: int, stride_px: int) -> Tensor:
    """Top-left corners (N, 2) of the patches that miss something."""
    height, width = missing.shape[-2:]
    corners = places((height, width), patch_px, stride_px, device=missing.device)
    return corners[_touched(missing, patch_px)[corners[:, 0], corners[:, 1]]]


def _touched(missing: Tensor, patch_px: int) -> Tensor:
    return F.max_pool2d(missing.float(), patch_px, stride=1)[0, 0] > 0


def _front(left: Tensor, patch_px: int) -> Tensor:
    """Top-left corners (N, 2) of the patches in whose middle a missing pixel lies beside a known one."""
    beside = left & (F.max_pool2d((~left).float(), 3, stride=1, padding=1) > 0)
    corners = beside[0, 0].nonzero() - patch_px // 2
    last = torch.tensor(left.shape[-2:], device=left.device) - patch_px
    return torch.minimum(corners.clamp(min=0), last)


def _apart(corners: Tensor, trust: Tensor, patch_px: int) -> Tensor:
    """The numbers of the patches that come first and do not overlap, the most trusted first."""
    left, chosen = trust.argsort(descending=True, stable=True), []
    while len(left):
        chosen.append(left[0])
        far = (corners[left] - corners[left[0]]).abs().amax(dim=1) >= patch_px
        left = left[far]
    return torch.stack(chosen)


def _lengths(patches: Tensor, known: Tensor) -> Tensor:
    """How long patches (N, 3 * p * p) are without their means, told by their known pixels (N, p * p)."""
    weights = known[:, None] / known.sum(dim=1).clamp(min=1)[:, None, None]
    values = patches.unflatten(1, (3, -1))
    means = (values * weights).sum(dim=2, keepdim=True)
    return ((values - means).square() * weights).sum(dim=(1, 2)).mul(known.shape[1]).sqrt()


def _averaged(patches: Tensor, corners: Tensor, weights: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """The weighted mean (1, 3, H, W) of patches at their corners, and where there is one (1, 1, H, W)."""
    height, width = size
    steps = torch.arange(round((patches.shape[1] / 3) ** 0.5), device=patches.device)
    index = ((corners[:, 0, None, None] + steps[:, None]) * width + corners[:, 1, None, None] + steps).flatten()
    values = (patches.unflatten(1, (3, -1)) * weights[:, None, None]).transpose(0, 1).flatten(1)
    sums = patches.new_zeros(3, height * width).index_add_(1, index, values)
    counts = patches.new_zeros(height * width).index_add_(0, index, weights.repeat_interleave(len(steps) ** 2))
    mean = (sums / counts.clamp(min=1e-12)).unflatten(1, (height, width))[None]
    return mean, (counts > 0).unflatten(0, (height, width))[None, None]
