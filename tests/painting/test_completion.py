from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from ganstyle.painting.completion import LEAST_ENERGY, complete_patches
from tests.painting.hand_made_codes import dictionary

PATCH = 5
PIXELS = PATCH * PATCH


def made(seed: int = 0) -> Any:
    return dictionary(torch.rand(1, 3, 14, 14, generator=torch.Generator().manual_seed(seed)) * 2 - 1, PATCH)


def some_known(count: int, share: float = 0.6) -> Tensor:
    return torch.rand(count, PIXELS, generator=torch.Generator().manual_seed(2)) < share


def slow_completion(
    patch: np.ndarray, weights: np.ndarray, made: Any, atoms_per_patch: int, penalty: float
) -> np.ndarray:
    """One patch, one atom after the other, with scipy's solver; in float64."""
    atoms = made.atoms.double().numpy().reshape(-1, 3, PIXELS)
    own, total, roots = made.means.double().numpy(), weights.sum(), np.sqrt(weights)
    atom_means = (atoms * weights).sum(axis=2) / total
    seen = ((atoms - atom_means[..., None]) * roots).reshape(len(atoms), -1)
    values = patch.reshape(3, PIXELS)
    mean = (values * weights).sum(axis=1) / total
    target = ((values - mean[:, None]) * roots).ravel()
    chosen: list[int] = []
    residual, coefficients = target, np.zeros(0)
    while len(chosen) < atoms_per_patch:
        best, best_gain = -1, -np.inf
        for number, atom in enumerate(seen):
            energy = atom @ atom
            product = max(0.0, residual @ atom)
            gain = product**2 / energy if energy > LEAST_ENERGY else 0.0
            if not chosen:
                weight = product / energy if energy > LEAST_ENERGY else 0.0
                gain -= penalty * total * ((mean - weight * atom_means[number] - own[number]) ** 2).sum()
            if number not in chosen and gain > best_gain:
                best, best_gain = number, gain
        chosen.append(best)
        coefficients = nnls(seen[chosen].T, target)[0]
        residual = target - coefficients @ seen[chosen]
    whole = np.tensordot(coefficients, atoms[chosen], axes=1)
    return (whole + (mean - coefficients @ atom_means[chosen])[:, None]).ravel()


@pytest.mark.parametrize("atoms_per_patch", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_completion_is_the_plain_loops(atoms_per_patch: int, weighted: bool) -> None:
    library, known = made(), some_known(12).float()
    patches = torch.rand(12, 3 * PIXELS, generator=torch.Generator().manual_seed(1)) * 2 - 1
    weights = known * torch.rand(12, PIXELS, generator=torch.Generator().manual_seed(4)) if weighted else known
    found = complete_patches(
        patches, weights, library, atoms_per_patch=atoms_per_patch, gain=(0, 1e9), mean_penalty=0.2
    )
    for patch, weight, one in zip(patches, weights, found, strict=True):
        expected = slow_completion(patch.double().numpy(), weight.double().numpy(), library, atoms_per_patch, 0.2)
        np.testing.assert_allclose(one.numpy(), expected, atol=5e-4)


def test_a_patch_of_the_picture_is_completed_from_half_of_it() -> None:
    library = made()
    whole = (library.atoms * library.norms[:, None]).unflatten(1, (3, -1)) + library.means[..., None]
    known = torch.zeros(len(whole), PIXELS, dtype=torch.bool)
    known[:, :12] = True
    damaged = torch.where(known[:, None], whole, 9.0).flatten(1)
    found = complete_patches(damaged, known, library, atoms_per_patch=1)
    torch.testing.assert_close(found, whole.flatten(1), atol=1e-4, rtol=0)


def test_what_is_unknown_has_no_influence() -> None:
    library, known = made(), some_known(8)
    patches = torch.rand(8, 3 * PIXELS)
    other = torch.where(known.repeat(1, 3), patches, -patches)
    assert torch.equal(complete_patches(patches, known, library), complete_patches(other, known, library))


def test_gain_is_limited_and_flat_patches_stay_flat() -> None:
    library, known = made(), some_known(4)
    patches = torch.rand(4, 3 * PIXELS, generator=torch.Generator().manual_seed(1)) * 200
    strongest = (library.norms.max() * 0.5 * library.atoms.abs().max()).item()
    found = complete_patches(patches, known, library, atoms_per_patch=1, gain=(0, 0.5))
    means = (patches.unflatten(1, (3, -1)) * known[:, None]).sum(dim=2) / known.sum(dim=1)[:, None]
    assert ((found.unflatten(1, (3, -1)) - means[..., None]).abs() <= 2 * strongest).all()
    flat = complete_patches(torch.full((4, 3 * PIXELS), 0.25), known, library)
    torch.testing.assert_close(flat, torch.full((4, 3 * PIXELS), 0.25))


def test_patches_of_the_wanted_contrast_are_preferred() -> None:
    """Of random texture, the flattest patch is nearest on the average."""
    library, known = made(), some_known(30, 0.4)
    patches = torch.rand(30, 3 * PIXELS, generator=torch.Generator().manual_seed(5)) * 2 - 1
    wanted = library.norms.quantile(0.9).expand(30)
    plain, strong = (
        complete_patches(
            patches, known, library, atoms_per_patch=1, gain=(1.0, 1.0), norms=wanted, norm_penalty=penalty
        )
        for penalty in (0.0, 10.0)
    )
    lengths = [
        (each.unflatten(1, (3, -1)) - each.unflatten(1, (3, -1)).mean(2, keepdim=True)).flatten(1).norm(dim=1)
        for each in (plain, strong)
    ]
    assert (lengths[1] - wanted).abs().mean() < 0.8 * (lengths[0] - wanted).abs().mean()
