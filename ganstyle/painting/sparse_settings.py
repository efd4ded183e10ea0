"""What can be set of style transfer by patches, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, MinLen
from torch import Tensor

from ganstyle.painting.dictionary import Dictionary
from ganstyle.painting.pursuit import Codes

PatchSide = Annotated[int, Ge(3), Le(63)]


@dataclass(frozen=True)
class SparseSettings:
    """How a photo is represented by patches of a picture; plain values, as they stand in a recipe.

    Args:
        size_px: the longer side of the result at most; None for the photo's own size.
        strength: from 0, the photo as it is, to 1, all of the picture's strokes; alike at any size.
        atoms_per_patch: how many patches of the picture one of the photo is mixed of, at most.
        patch_sizes_px: of the coarser levels, the largest first.
        finest_sizes_px: of the finest level, whose strokes the largest ones are not.
        levels: of the pyramid; by default each is about half as large as the next, the coarsest about 96 px.
        rounds: how often a level is coded and put together with each patch size.
        stride: from patch to patch, in sides of a patch.
        most_atoms: of a dictionary.
        rotations: patches of the picture turned by quarters as well.
        dictionary: `patches` of the picture, or atoms `learned` of them, for study.
        content_weight: what the photo's edges count, against patches.
        flat_weight: what the photo counts where it has no edges.
        protected_weight: what it counts where a mask protects it.
        least_gain: at full strength the first atom keeps at least so much of the contrast that it has in the picture.
        most_gain: no atom gets more than so many times its contrast.
        own_mean: how much of a patch's mean colour stays the photo's; the rest is that of its atoms.
        style_scale: how large the strokes are: the picture's size relative to the photo's.
        seed: of the patches that are drawn where a picture has more than `most_atoms`.
    """

    size_px: Annotated[int, Ge(1)] | None = None
    strength: Annotated[float, Ge(0), Le(1)] = 1.0
    atoms_per_patch: Annotated[int, Ge(1), Le(8)] = 2
    patch_sizes_px: Annotated[tuple[PatchSide, ...], MinLen(1)] = (21, 13, 9)
    finest_sizes_px: Annotated[tuple[PatchSide, ...], MinLen(1)] = (13, 9)
    levels: Annotated[int, Ge(1), Le(8)] | None = None
    rounds: Annotated[int, Ge(1)] = 2
    stride: Annotated[float, Gt(0), Le(1)] = 0.6
    most_atoms: Annotated[int, Ge(1)] = 12_000
    rotations: bool = False
    dictionary: Literal["patches", "learned"] = "patches"
    content_weight: Annotated[float, Ge(0)] = 0.6
    flat_weight: Annotated[float, Ge(0)] = 0.05
    protected_weight: Annotated[float, Ge(0)] = 3.0
    least_gain: Annotated[float, Ge(0)] = 0.9
    most_gain: Annotated[float, Gt(0)] = 1.5
    own_mean: Annotated[float, Ge(0), Le(1)] = 0.4
    style_scale: Annotated[float, Gt(0)] = 1.0
    seed: int = 0


class SparseMoment(NamedTuple):
    """Where a transfer stands: levels from coarse to fine, patch sizes and rounds count from 1."""

    level: int
    levels: int
    patch_px: int
    round: int
    rounds: int
    done: int  # of all rounds
    of: int
    image: Callable[[], Tensor]  # the picture so far, (1, 3, h, w)


@dataclass(frozen=True)
class CodedLevel:
    """The last codes of one level and patch size."""

    level: int  # 1 is the coarsest
    patch_px: int
    dictionary: Dictionary
    codes: Codes
    places: Tensor  # (N, 2), of the patches in the result of this level
    size: tuple[int, int]  # height, width of this level


@dataclass(frozen=True)
class SparseStylized:
    """A photo with another look.

    Attributes:
        image: (1, 3, H, W) in [-1, 1].
        facts: how it was made, in plain values; `stopped_at` says where Ctrl-C ended it, and is not there otherwise.
        layers: the last codes of each level and patch size, coarse to fine, where they were kept.
    """

    image: Tensor
    facts: dict[str, Any]
    layers: list[CodedLevel] = field(default_factory=list)
