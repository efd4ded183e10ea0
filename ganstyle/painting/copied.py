"""What was copied word for word into a sparsely coded result: runs of patches that lie together in the picture too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganstyle.painting.patches import patches_at, without_means

if TYPE_CHECKING:
    from ganstyle.painting.pursuit import Codes
    from ganstyle.painting.sparse import CodedLevel

# A patch is a copy where the result correlates so much with its main atom, and there is something to see. Pieces that
# people recognise lie above 0.7, since overlapping patches are averaged; strokes on a photo that is still itself below.
LEAST_LIKENESS = 0.7
LEAST_CONTRAST = 0.02  # deviation of a patch, in [-1, 1]; below, it is flat
# A run counts from so many patches' area on: shorter ones are strokes, which is what is wanted.
LEAST_PATCHES = 6.0
# From here on people see pieces of the picture and not its manner: a share of the result, or of one run alone.
WARN_SHARE, WARN_RUN_SHARE = 0.12, 0.05

Box = tuple[int, int, int, int]  # top, left, height, width in px
Array = np.ndarray

# Where the pixel (row, column) of a patch turned by so many quarters (torch.rot90 over rows and columns) lies in the
# patch as it was; `last` is the index of its last row.
UNTURNED: tuple[Callable[[Array, Array, int], tuple[Array, Array]], ...] = (
    lambda row, column, last: (row, column),
    lambda row, column, last: (column, last - row),
    lambda row, column, last: (last - row, last - column),
    lambda row, column, last: (last - column, row),
)


@dataclass(frozen=True)
class Sources:
    """The main atom of every patch on the grid of patches, and where in the picture it was cut out.

    Attributes:
        patch_px: the side of a patch.
        size: (height, width) of the result at this level.
        rows: the top of each row of patches, ascending (R,).
        columns: the left of each column of patches, ascending (C,).
        atoms: the main atom's number (R, C); -1 where there is no patch or it has no atom.
        places: top and left of that atom in the picture (R, C, 2).
        turns: its quarter turns (R, C).
        likeness: the correlation of the result with the main atom there, -1 to 1; 0 where it is flat (R, C).
        spacing_px: how far apart atoms were cut out of the picture, about.
    """

    patch_px: int
    size: tuple[int, int]
    rows: Array
    columns: Array
    atoms: Array
    places: Array
    turns: Array
    likeness: Array
    spacing_px: float

    def of_pixels(self) -> tuple[Array, Array]:
        """Where each pixel of the result comes from: (H, W, 2) rows and columns of the picture, and (H, W) whether.

        Each pixel follows the main atom of the patch whose centre is nearest.
        """
        down, across = (
            _nearest(starts + (self.patch_px - 1) / 2, side)
            for starts, side in zip((self.rows, self.columns), self.size, strict=True)
        )
        cells = np.ix_(down, across)
        rows = np.clip(np.arange(self.size[0]) - self.rows[down], 0, self.patch_px - 1)
        columns = np.clip(np.arange(self.size[1]) - self.columns[across], 0, self.patch_px - 1)
        inside = np.meshgrid(rows, columns, indexing="ij")
        moved = unturned(self.turns[cells], inside[0], inside[1], self.patch_px)
        return self.places[cells] + moved, self.atoms[cells] >= 0

    def origins(self) -> Array:
        """Where the result's first pixel would come from if it belonged to each patch's run, (R, C, 2).

        Patches that were copied as one piece agree in this.
        """
        down, across = np.meshgrid(-self.rows, -self.columns, indexing="ij")
        return np.asarray(self.places + unturned(self.turns, down, across, self.patch_px))


@dataclass(frozen=True)
class Run:
    """Patches that lie beside each other in the result as they do in the picture.

    Attributes:
        box: what it covers of the result at this level.
        source: about what it covers of the picture.
        patches: how many there are.
        area_px: how many pixels they cover together.
    """

    box: Box
    source: Box
    patches: int
    area_px: int


@dataclass(frozen=True)
class Copied:
    """What was copied word for word at one level.

    Attributes:
        share: the part of the result that runs cover, 0 to 1.
        runs: those that count, the largest first.
        mask: where they are, (H, W) bool.
    """

    share: float
    runs: Sequence[Run]
    mask: Array

    @property
    def largest_px(self) -> int:
        """The side of a square as large as the largest run, in pixels of this level; 0 where there is none."""
        return round(sqrt(self.runs[0].area_px)) if self.runs else 0


def main_atoms(codes: Codes) -> Array:
    """Of each patch the atom with the largest coefficient (N,), -1 for none."""
    weights = torch.where(codes.atoms >= 0, codes.coefficients, 0)
    weight, largest = weights.max(dim=1, keepdim=True)
    return torch.where(weight > 0, codes.atoms.gather(1, largest), -1)[:, 0].cpu().numpy()


def sources_of(level: CodedLevel, image: Tensor) -> Sources:
    """The main atoms of a coded level on its grid of patches, and how much the result (1, 3, H, W) is like them."""
    chosen = main_atoms(level.codes)
    places = level.dictionary.places.cpu().numpy().astype(np.int64)
    top_left = level.places.cpu().numpy()
    (rows, row), (columns, column) = (np.unique(top_left[:, axis], return_inverse=True) for axis in (0, 1))
    atoms = np.full((len(rows), len(columns)), -1, np.int64)
    likeness = np.zeros(atoms.shape, np.float32)
    atoms[row, column], likeness[row, column] = chosen, _likeness(level, image, chosen)
    turns = level.dictionary.turns.cpu().numpy()[atoms] * (atoms >= 0)
    return Sources(
        level.patch_px,
        (int(level.size[0]), int(level.size[1])),
        rows,
        columns,
        atoms,
        np.where(atoms[..., None] >= 0, places[atoms], 0),
        turns,
        likeness,
        _spacing_px(places),
    )


def _likeness(level: CodedLevel, image: Tensor, chosen: Array) -> Array:
    """The correlation (N,) of each patch of the result with its main atom, as Sources has it."""
    small = F.interpolate(image, level.size, mode="area").to(level.dictionary.atoms)
    shapes, _ = without_means(patches_at(small, level.places.to(small.device), level.patch_px))
    atoms = level.dictionary.atoms[torch.from_numpy(chosen).clamp(min=0).to(small.device)]
    lengths = shapes.norm(dim=1)
    seen = lengths >= LEAST_CONTRAST * shapes.shape[1] ** 0.5
    alike = (shapes * atoms).sum(dim=1) / lengths.clamp(min=1e-6)
    return torch.where(seen, alike, 0.0).cpu().numpy()


def copied_runs(sources: Sources, *, likeness: float = LEAST_LIKENESS, least_patches: float = LEAST_PATCHES) -> Copied:
    """Find the runs: patches beside each other that come from one piece of the picture, linked as far as that goes.

    Two neighbours belong to one run where the result looks like the main atom of both, and the second atom lies in the
    picture where the first one's piece goes on, turned alike, to within the distance at which atoms were cut out.

    Args:
        sources: of one level.
        likeness: the correlation with its main atom from which a patch is a copy.
        least_patches: the area from which a run counts, in areas of one patch.
    """
    labels = _linked(sources, likeness)
    mask, runs = np.zeros(sources.size, bool), []
    least_px = least_patches * sources.patch_px**2
    for number in _large(labels, sources, least_px):
        run, covered = _run(sources, *np.nonzero(labels == number))
        if run.area_px >= least_px:
            runs.append(run)
            top, left, height, width = run.box
            mask[top : top + height, left : left + width] |= covered
    runs.sort(key=lambda run: run.area_px, reverse=True)
    return Copied(float(mask.mean()), runs, mask)


def copied_warning(copied: Copied) -> str | None:
    """One line where so much was copied that people see pieces of the picture; None where all is well."""
    largest = copied.runs[0].area_px / copied.mask.size if copied.runs else 0.0
    if copied.share < WARN_SHARE and largest < WARN_RUN_SHARE:
        return None
    return (
        f"{copied.share:.0%} of the result is copied from the picture word for word, {largest:.0%} in one piece: "
        "give --content-weight 2 or so, or --protect MASK for what must stay, or lower --strength"
    )


def unturned(turns: Array, rows: Array, columns: Array, patch_px: int) -> Array:
    """Where pixels of turned patches lie in the patches as they were cut out, (..., 2); see UNTURNED."""
    found = np.zeros((*turns.shape, 2), np.int64)
    for turn in np.unique(turns):
        moved = np.stack(UNTURNED[turn](rows, columns, patch_px - 1), axis=-1)
        found = np.where((turns == turn)[..., None], moved, found)
    return found


def _spacing_px(places: Array) -> float:
    """The side of the square that each place has for itself; several turns of one place count once."""
    extent = np.ptp(places, axis=0) + 1
    return float(sqrt(extent.prod() / len(np.unique(places, axis=0))))


def _nearest(centres: Array, side_px: int) -> Array:
    """The number of the centre nearest to each pixel of a side."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, np.arange(side_px))


def _linked(sources: Sources, likeness: float) -> Array:
    """A number for each patch, the same for those of one run; 0 for those in none (R, C).

    Patches and the links between them become the pixels of one picture, whose connected parts OpenCV finds.
    """
    copies = (sources.atoms >= 0) & (sources.likeness >= likeness)
    drawn = np.zeros((2 * len(sources.rows) - 1, 2 * len(sources.columns) - 1), np.uint8)
    drawn[::2, ::2] = copies
    drawn[1::2, ::2] = _links(sources, copies, axis=0)
    drawn[::2, 1::2] = _links(sources, copies, axis=1)
    return np.asarray(cv2.connectedComponents(drawn, connectivity=4)[1][::2, ::2])


def _links(sources: Sources, copies: Array, axis: int) -> Array:
    """Whether each patch and the next one along an axis (0: the one below) come from one piece of the picture."""
    slack_px = ceil(sources.spacing_px) - 1
    apart = np.abs(np.diff(sources.origins(), axis=axis)).max(axis=-1) <= slack_px
    same = np.diff(sources.turns, axis=axis) == 0
    both = copies[1:] & copies[:-1] if axis == 0 else copies[:, 1:] & copies[:, :-1]
    near = np.diff((sources.rows, sources.columns)[axis]) <= sources.patch_px
    return np.asarray(both & same & apart & (near[:, None] if axis == 0 else near[None]))


def _large(labels: Array, sources: Sources, least_px: float) -> Array:
    """The numbers of the runs whose patches could cover so many pixels."""
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return np.flatnonzero((counts > 1) & (counts * sources.patch_px**2 >= least_px))


def _run(sources: Sources, down: Array, across: Array) -> tuple[Run, Array]:
    """The run of these cells of the grid, and which pixels of its box it covers."""
    tops, lefts, side = sources.rows[down], sources.columns[across], sources.patch_px
    box = _box(tops, lefts, side)
    covered = np.zeros(box[2:], bool)
    for top, left in zip(tops - box[0], lefts - box[1], strict=True):
        covered[top : top + side, left : left + side] = True
    places = sources.places[down, across]
    return Run(box, _box(places[:, 0], places[:, 1], side), len(down), int(covered.sum())), covered


def _box(tops: Array, lefts: Array, side: int) -> Box:
    top, left = int(tops.min()), int(lefts.min())
    return top, left, int(tops.max()) + side - top, int(lefts.max()) + side - left
