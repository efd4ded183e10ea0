"""Sparse codes made by hand, with the atoms where the test wants them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ganstyle.painting.dictionary import Dictionary
from ganstyle.painting.pursuit import Codes
from ganstyle.painting.sparse import CodedLevel


def dictionary(picture: Tensor, patch_px: int, *, stride_px: int = 1, turns: Sequence[int] = (0,)) -> Dictionary:
    """Every patch of a picture (1, 3, H, W), turned by each of the quarters, one after the other."""
    height, width = picture.shape[-2:]
    places = [
        (top, left)
        for top in range(0, height - patch_px + 1, stride_px)
        for left in range(0, width - patch_px + 1, stride_px)
    ]
    cut = [
        torch.rot90(picture[0, :, top : top + patch_px, left : left + patch_px], turn, (1, 2))
        for turn in turns
        for top, left in places
    ]
    patches = torch.stack(cut)
    means = patches.mean(dim=(2, 3))
    atoms = (patches - means[..., None, None]).flatten(1)
    norms = atoms.norm(dim=1)
    units = atoms / norms.clamp(min=1e-6)[:, None]
    return Dictionary(
        patch_px=patch_px,
        atoms=units,
        means=means,
        norms=norms,
        basis=torch.eye(units.shape[1]),
        reduced=units,
        places=torch.tensor(places).repeat(len(turns), 1),
        turns=torch.tensor(turns).repeat_interleave(len(places)),
    )


def grid(size: tuple[int, int], patch_px: int, stride_px: int) -> Tensor:
    rows, columns = (sorted({*range(0, side - patch_px + 1, stride_px), side - patch_px}) for side in size)
    return torch.tensor([(top, left) for top in rows for left in columns])


def level(
    made: Dictionary, size: tuple[int, int], places: Tensor, atoms: Tensor, coefficients: Tensor | None = None
) -> CodedLevel:
    """A coded level whose patches at `places` are made of `atoms` (N,) or (N, S)."""
    atoms = atoms[:, None] if atoms.dim() == 1 else atoms
    weights = (atoms >= 0).float() if coefficients is None else coefficients
    codes = Codes(atoms=atoms, coefficients=weights, residual=torch.zeros(len(atoms)))
    return CodedLevel(level=1, patch_px=made.patch_px, dictionary=made, codes=codes, places=places, size=size)


def number_of(made: Dictionary, place: tuple[int, int], turn: int = 0) -> int:
    """The number of the atom that was cut out there."""
    here = (made.places == torch.tensor(place)).all(dim=1) & (made.turns == turn)
    return int(here.nonzero()[0, 0])
