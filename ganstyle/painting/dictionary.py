"""The dictionary of a picture: its own patches, without their means and of unit length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.painting.patches import patches_at, without_means

LEAST_NORM = 1e-6  # of a patch; below it is flat, and its atom is zero
PCA_SAMPLES = 8_000  # patches from which the principal components are found


@dataclass(frozen=True)
class Dictionary:
    """Atoms of a picture; K atoms of D = 3 * p * p values, d principal components.

    Attributes:
        patch_px: the side p of a patch.
        atoms: (K, D), of unit length and mean 0 in each channel; zero where the patch is flat.
        means: (K, 3), the mean colour that was taken off.
        norms: (K,), the length that the patch had without its mean.
        basis: (D, d), orthonormal columns: the principal components that hold the wanted share of the variance.
        reduced: (K, d), the atoms in that basis.
        places: (K, 2), int64, top-left corners in the picture of this level.
        turns: (K,), int64, by how many quarters (counter-clockwise, as `torch.rot90`) the patch was turned.
    """

    patch_px: int
    atoms: Tensor
    means: Tensor
    norms: Tensor
    basis: Tensor
    reduced: Tensor
    places: Tensor
    turns: Tensor


@torch.no_grad()
def build_dictionary(
    style: Tensor,
    patch_px: int,
    *,
    most_atoms: int = 20_000,
    rotations: bool = False,
    seed: int = 0,
    keep_variance: float = 0.95,
) -> Dictionary:
    """The patches of a picture as atoms: all of them, or `most_atoms` drawn evenly.

    Args:
        style: the picture (1, 3, H, W) in [-1, 1], no side below `patch_px`.
        patch_px: the side of a patch.
        most_atoms: how many atoms at most; they take about 16 * p * p bytes each.
        rotations: with all patches turned by quarters as well; then each quarter has a fourth of the atoms.
        seed: of the draw.
        keep_variance: the share of the patches' variance that the principal components hold.
    """
    quarters = range(4) if rotations else range(1)
    corners = _drawn_corners(style, patch_px, most_atoms // len(quarters), seed)
    upright = patches_at(style, corners, patch_px)
    squares = upright.unflatten(1, (3, patch_px, patch_px))
    patches = torch.cat([torch.rot90(squares, quarter, (2, 3)).flatten(1) for quarter in quarters])
    shapes, means = without_means(patches)
    norms = shapes.norm(dim=1)
    basis = _principal_components(shapes, keep_variance, seed)
    atoms = shapes.div_(norms.clamp(min=LEAST_NORM)[:, None])
    return Dictionary(
        patch_px=patch_px,
        atoms=atoms,
        means=means,
        norms=norms,
        basis=basis,
        reduced=atoms @ basis,
        places=corners.repeat(len(quarters), 1),
        turns=torch.arange(len(quarters), device=style.device).repeat_interleave(len(corners)),
    )


def _drawn_corners(style: Tensor, patch_px: int, most: int, seed: int) -> Tensor:
    """All top-left corners of patches, or one drawn from each of `most` equal runs of them, in their order."""
    rows, columns = (side - patch_px + 1 for side in style.shape[-2:])
    count = rows * columns
    assert rows > 0 < columns, (style.shape, patch_px)
    chosen = torch.arange(count)
    if count > most > 0:
        jitter = torch.from_numpy(Draws(seed).stream(f"atoms, {patch_px} px").random(most))
        chosen = ((torch.arange(most) + jitter) * (count / most)).long().clamp(max=count - 1)
    return torch.stack([chosen // columns, chosen % columns], dim=1).to(style.device)


def _principal_components(shapes: Tensor, keep_variance: float, seed: int) -> Tensor:
    """The fewest orthonormal directions (D, d) that hold a share of the energy of shapes (K, D); at least one."""
    samples = shapes
    if len(shapes) > PCA_SAMPLES:
        drawn = Draws(seed).stream("samples of principal components").permutation(len(shapes))[:PCA_SAMPLES]
        samples = shapes[torch.from_numpy(drawn).to(shapes.device)]
    values, vectors = torch.linalg.eigh(samples.T @ samples)
    shares = values.flip(0).clamp(min=0).cumsum(0)
    kept = int((shares < keep_variance * shares[-1]).sum()) + 1
    return vectors.flip(1)[:, :kept].contiguous()
