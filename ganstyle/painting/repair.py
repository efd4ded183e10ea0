"""Fill the damaged part of a photo from its own whole patches: scratches, spots, small objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.painting.dictionary import Dictionary, build_dictionary
from ganstyle.painting.filling import grow, peel, recode, whole_patches

MISSING = 0.1  # from this weight on a pixel is missing: lossy files leave less than that beside a mask
LEAST_KNOWN = 0.5  # of the pixels that become one at half the size, for it to be known
MOST_LEVELS = 7
MOST_CUT_OUT = 4.0  # times as many patches are cut out as are wanted, where the mask takes most

Watch = Callable[[int, int], None]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class RepairSettings:
    """How a photo is repaired.

    Attributes:
        patch_px: the side of a patch: large ones keep structures, small ones find more that fits.
        atoms_per_patch: how many patches of the photo one is mixed of, across narrow damage.
        rounds: how often the fill of narrow damage is coded and put back.
        most_atoms: how many of the photo's patches are looked at, at most.
        stride_px: from patch to patch when it is coded.
        margin: how far around the damage patches are taken from, in sides of its box.
        seed: of the patches that are looked at where there are more.
    """

    patch_px: int = 9
    atoms_per_patch: int = 3
    rounds: int = 2
    most_atoms: int = 6_000
    stride_px: int = 2
    margin: float = 1.5
    seed: int = 0


@torch.no_grad()
def repair(
    image: Tensor, mask: Tensor, *, settings: RepairSettings | None = None, watch: Watch = lambda done, of: None
) -> Tensor:
    """Fill what a mask shows from the photo's undamaged patches.

    Holes that a patch fits into are filled one by one from coarse to fine, each with patches copied to where they
    continue best what is known, and what the coarser size tells. Narrower damage (scratches, spots) is then filled with
    mixtures of patches, found by a pursuit on the pixels around it.

    Args:
        image: the photo (1, 3, H, W) in [-1, 1].
        mask: (1, 1, H, W) in 0..1, 1 where the photo is missing; below MISSING it is left as it is, bit for bit.
        settings: how; None for the defaults.
        watch: called with how many pieces of the damage are filled, and of how many.

    Returns the repaired photo (1, 3, H, W).

    Raises:
        UserError: the mask is of another size, empty or everywhere, or leaves no whole patch.
    """
    settings = settings or RepairSettings()
    missing = mask >= MISSING
    _check(image, missing)
    filled = torch.where(missing, _mean_colour(image, missing), image)  # what lies under the mask tells nothing
    narrow, wide = _pieces(missing, settings.patch_px)
    jobs = [*((piece, _wide_filled) for piece in wide), *((piece, _narrow_filled) for piece in narrow)]
    for done, (piece, fill) in enumerate(jobs, 1):
        box = _around(piece, settings)
        part, hole = filled[..., *box], piece[..., *box]
        filled[..., *box] = torch.where(hole, fill(part, hole, missing[..., *box], settings).clamp(-1, 1), part)
        watch(done, len(jobs))
    return filled


def _check(image: Tensor, missing: Tensor) -> None:
    (height, width), size = image.shape[-2:], missing.shape[-2:]
    if size != (height, width):
        raise UserError(f"the mask is {size[1]} x {size[0]} px and the photo {width} x {height} px: make them alike")
    if not missing.any():
        raise UserError("the mask is empty: paint white what is to be repaired")
    if missing.all():
        raise UserError("the mask covers the whole photo: leave something to repair it from")


def _pieces(missing: Tensor, patch_px: int) -> tuple[list[Tensor], list[Tensor]]:
    """All narrow damage as one mask, if there is any, and each wide hole as one of its own, the smallest first.

    Wide is where a whole patch fits into the damage, with what lies around it.
    """
    damage, square = missing[0, 0].cpu().numpy().astype(np.uint8), np.ones((patch_px, patch_px), np.uint8)
    wide = cv2.dilate(cv2.morphologyEx(damage, cv2.MORPH_OPEN, square), square) & damage
    found, labels = cv2.connectedComponents(wide)
    areas = np.bincount(labels.ravel(), minlength=found)[1:]
    holes = [_mask(labels == number, missing) for number in 1 + np.argsort(areas, kind="stable")]
    narrow = (damage > 0) & (wide == 0)
    return [_mask(narrow, missing)] if narrow.any() else [], holes


def _mean_colour(image: Tensor, missing: Tensor) -> Tensor:
    known = (~missing).float()
    return (image * known).sum(dim=(2, 3), keepdim=True) / known.sum()


def _mask(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(array)[None, None].to(like.device)


def _around(piece: Tensor, settings: RepairSettings) -> Box:
    """The damage with a margin, from which it is repaired."""
    ends = []
    for axis, side in ((1, piece.shape[-2]), (0, piece.shape[-1])):
        found = piece[0, 0].any(dim=axis).nonzero()[:, 0]
        first, last = int(found[0]), int(found[-1]) + 1
        margin = max(6 * settings.patch_px, round(settings.margin * (last - first)))
        ends.append(slice(max(0, first - margin), min(side, last + margin)))
    return ends[0], ends[1]


def _pyramid(part: Tensor, hole: Tensor, unknown: Tensor, patch_px: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """A part, its hole and all that is unknown, halved until the hole is a patch wide or few whole patches are left."""
    levels = [(part, hole, unknown)]
    while len(levels) < MOST_LEVELS and _half_width_px(hole) > patch_px / 2:
        part, hole, unknown = _halved(part, hole, unknown)
        if min(part.shape[-2:]) < 3 * patch_px or whole_patches(unknown, patch_px).sum() < 2 * patch_px**2:
            break
        levels.append((part, hole, unknown))
    return levels


def _halved(part: Tensor, hole: Tensor, unknown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Half the size, known pixels averaged; unknown is what has little known in it."""
    known = (~unknown).float()
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    mean = F.avg_pool2d(part * known, 2, ceil_mode=True) / share.clamp(min=1e-6)
    mean = torch.where(share > 0, mean, F.avg_pool2d(part, 2, ceil_mode=True))
    lost = share < LEAST_KNOWN
    return mean, lost & (F.max_pool2d(hole.float(), 2, ceil_mode=True) > 0), lost


def _half_width_px(missing: Tensor) -> float:
    """How far the innermost missing pixel is from a known one, in steps to the eight neighbours."""
    return float(cv2.distanceTransform(missing[0, 0].cpu().numpy().astype(np.uint8), cv2.DIST_C, 3).max())


def _narrow_filled(part: Tensor, hole: Tensor, unknown: Tensor, settings: RepairSettings) -> Tensor:
    """Narrow damage filled by what lies around it, then coded anew so that patches agree."""
    dictionary, atoms_per_patch = _whole_dictionary(part, unknown, settings), settings.atoms_per_patch
    part = peel(part, hole, dictionary, atoms_per_patch=atoms_per_patch)
    for _ in range(settings.rounds):
        part = recode(part, hole, dictionary, atoms_per_patch=atoms_per_patch, stride_px=settings.stride_px)
    return part


def _wide_filled(part: Tensor, hole: Tensor, unknown: Tensor, settings: RepairSettings) -> Tensor:
    """A wide hole filled by copies, from the coarsest size to its own; coding them anew would only blur them."""
    guide: Tensor | None = None
    for level in reversed(_pyramid(part, hole, unknown, settings.patch_px)):
        picture, hole, unknown = level
        if guide is not None:
            guide = F.interpolate(guide, picture.shape[-2:], mode="bicubic", align_corners=False)
        guide = grow(picture, hole, unknown, _whole_dictionary(picture, unknown, settings), guide=guide)
    assert guide is not None, "a pyramid has a level"
    return guide


def _whole_dictionary(part: Tensor, unknown: Tensor, settings: RepairSettings) -> Dictionary:
    """The dictionary of the patches that miss nothing."""
    side = settings.patch_px
    whole = whole_patches(unknown, side)
    if not whole.any():
        raise UserError(f"the mask leaves no whole piece of {side} x {side} px: paint less, or use smaller patches")
    # Patches that are not whole are cut out too, and left out then.
    most = round(settings.most_atoms * min(MOST_CUT_OUT, whole.numel() / int(whole.sum())))
    made = build_dictionary(part, side, most_atoms=most, seed=settings.seed)
    kept = whole[made.places[:, 0], made.places[:, 1]].nonzero()[:, 0]
    if len(kept) == 0:  # whole patches so few that none was drawn
        raise UserError(f"the mask leaves hardly a piece of {side} x {side} px: paint less, or use smaller patches")
    return replace(
        made,
        atoms=made.atoms[kept],
        means=made.means[kept],
        norms=made.norms[kept],
        reduced=made.reduced[kept],
        places=made.places[kept],
        turns=made.turns[kept],
    )
