"""Which part of a photo takes its style from which part of the pictures: by masks that people drew, or found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.data.label_masks import named, nearest_colour, read_label_mask
from ganstyle.data.pixels import Colour
from ganstyle.painting.clusters import cluster_jointly
from ganstyle.painting.objective import Region

if TYPE_CHECKING:
    from ganstyle.networks.vgg import Vgg

COUNT = 5
MOST_REGIONS = 16
LEAST_SHARE = 0.02  # of a picture; less is missing there
LEAST_RATIO = 0.25  # between what is of a kind in the photo and in a picture; a sky is not painted from a corner
LEAST_MARKED = 1e-3  # of a mask; less is a slip of the brush


def mask_regions(
    mask: Path,
    style_masks: Sequence[Path],
    *,
    size: tuple[int, int] | None = None,
    style_sizes: Sequence[tuple[int, int]] | None = None,
    feather_px: float | None = None,
) -> list[Region]:
    """The regions that people drew: what has one colour in the photo's mask takes from what has it in the pictures'.

    A mask in greys is one soft region, white, and the rest; see `read_label_mask`. Of several pictures each may lack
    some colours, if another one has them. Tensors are on the CPU, in the masks' own sizes or those given.

    Args:
        mask: the photo's.
        style_masks: one for each style picture.
        size: (height, width) of the photo; its mask must have its proportions.
        style_sizes: the same of each style picture.
        feather_px: softness of edges, as in `ganstyle.data.masks.feather`.

    Raises:
        UserError: a mask cannot be read or has another shape, or a colour is in no picture's mask.
    """
    sizes: Sequence[tuple[int, int] | None] = style_sizes or [None] * len(style_masks)
    labels = read_label_mask(mask, size=size, feather_px=feather_px)
    styles = [
        read_label_mask(path, size=each, feather_px=feather_px) for path, each in zip(style_masks, sizes, strict=True)
    ]
    wanted = [colour for colour, share in labels.items() if share.mean() >= LEAST_MARKED]
    _check_colours(mask, style_masks, wanted, styles)
    return [Region(_tensor(labels[colour]), tuple(_of_colour(each, colour) for each in styles)) for colour in wanted]


def joint_regions(
    vgg: Vgg, content: Tensor, styles: Sequence[Tensor], *, count: int = COUNT, seed: int = 0
) -> list[Region]:
    """Regions found in the photo and the pictures jointly, so that sky takes from sky; no segmentation is needed.

    What the photo has too little of is no region of its own; where a picture has too little of a kind, another kind
    of it takes its place, so that every region has a part of each picture. See `cluster_jointly` and `_partners`.

    Args:
        vgg: tells what places look like; with relu3_1 and relu4_1.
        content: the photo, (1, 3, H, W) in [-1, 1].
        styles: pictures, the same, of any sizes.
        count: of regions, at most; 3 to 6 suit most pictures.
        seed: of the search.

    Returns the regions, their masks at the sizes of the pictures; those of the photo sum to one.

    Raises:
        UserError: a count outside of 1 to `MOST_REGIONS`.
    """
    if not 1 <= count <= MOST_REGIONS:
        raise UserError(f"{count} regions: expected 1 to {MOST_REGIONS}; 3 to 6 suit most pictures")
    found = cluster_jointly(vgg, [content, *styles], count=count, seed=seed)
    photo, *pictures = found.shares
    distances = torch.cdist(found.centres, found.centres)
    kept = [kind for kind, share in enumerate(_areas(photo)) if share >= LEAST_SHARE]
    photo = _merged(photo, kept, distances)
    partners = [_partners(_areas(photo), _areas(each), kept, distances) for each in pictures]
    return [
        Region(photo[:, [kind]], tuple(each[:, [own[kind]]] for each, own in zip(pictures, partners, strict=True)))
        for kind in kept
    ]


def _areas(shares: Tensor) -> Tensor:
    return shares.mean(dim=(0, 2, 3)).cpu()


def _merged(shares: Tensor, kept: Sequence[int], distances: Tensor) -> Tensor:
    """Shares (1, K, H, W) in which kinds that are not kept belong to the most similar kept one."""
    merged = torch.zeros_like(shares)
    for kind in range(shares.shape[1]):
        to = kind if kind in kept else min(kept, key=lambda other: float(distances[kind, other]))
        merged[:, to] += shares[:, kind]
    return merged


def _partners(areas: Tensor, own: Tensor, kept: Sequence[int], distances: Tensor) -> dict[int, int]:
    """For each kind of the photo the kind in one picture that it takes from, always one with a part of it.

    Itself, if both have about as much of it; else the nearest of which there is enough and from which no other takes,
    so that a painting's sky is used for a sky that looks quite different, and not for a roof of the same red; else
    the nearest of which there is enough; else the most frequent one. Large kinds choose first.
    """
    enough = {kind: _enough(own, float(areas[kind])) for kind in kept}
    partners = {kind: kind for kind in kept if kind in enough[kind] and own[kind] * LEAST_RATIO <= areas[kind]}
    for kind in sorted(set(kept) - set(partners), key=lambda each: -float(areas[each])):
        free = [other for other in enough[kind] if other not in partners.values()]
        choice = free or enough[kind] or [int(own.argmax())]
        partners[kind] = min(choice, key=lambda other: float(distances[kind, other]))
    return partners


def _enough(own: Tensor, area: float) -> list[int]:
    """The kinds of which a picture has enough to paint such an area of the photo."""
    return [kind for kind, share in enumerate(own) if share >= max(LEAST_SHARE, LEAST_RATIO * area)]


def _of_colour(labels: Mapping[Colour, np.ndarray], colour: Colour) -> Tensor:
    """The mask of a colour in a picture's labels; an empty one where it is not there."""
    found = nearest_colour(colour, list(labels))
    return _tensor(np.zeros_like(next(iter(labels.values()))) if found is None else labels[found])


def _check_colours(
    mask: Path, style_masks: Sequence[Path], wanted: Sequence[Colour], styles: Sequence[Mapping[Colour, np.ndarray]]
) -> None:
    had = [colour for labels in styles for colour, share in labels.items() if share.mean() >= LEAST_MARKED]
    missing = [colour for colour in wanted if nearest_colour(colour, had) is None]
    if missing:
        names = ", ".join(path.name for path in style_masks)
        raise UserError(
            f"{mask}: {named(missing)} of it is in no picture's mask ({names}: {named(dict.fromkeys(had))}); "
            "paint that colour where its style shall come from"
        )


def _tensor(weight: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(weight))[None, None]
