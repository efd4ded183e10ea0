"""Patches of which only some pixels are known, completed by a pursuit that looks at these alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganstyle.painting.pursuit import nonnegative_least_squares

if TYPE_CHECKING:
    from ganstyle.painting.dictionary import Dictionary

BLOCK = 128  # patches at a time; with 5,000 atoms about 20 MB
LEAST_ENERGY = 0.05  # of an atom: with less of it on known pixels it says nothing


@torch.no_grad()
def complete_patches(
    patches: Tensor,
    weights: Tensor,
    dictionary: Dictionary,
    *,
    atoms_per_patch: int = 2,
    gain: tuple[float, float] = (0.0, 1.5),
    mean_penalty: float = 0.1,
    norms: Tensor | None = None,
    norm_penalty: float = 0.0,
) -> Tensor:
    """Complete patches by non-negative orthogonal matching pursuit on their known pixels.

    A patch is m + sum_i c_i a_i with a colour m of its own and c_i >= 0: each step takes the atom that lowers the
    weighted squared error the most, and solves all c_i and m again. The first atom pays for the distance of m from the
    mean that it had in its picture.

    Source: Elad 2010, "Sparse and Redundant Representations", 15.4 (inpainting: the pursuit on the known rows alone).
    Differs from the book: c_i are not negative and bounded, the mean is solved for with them, pixels have weights.

    Args:
        patches: (N, 3 * p * p), a channel after the other; what has no weight may hold anything finite.
        weights: (N, p * p), 0 where a pixel is unknown, some above 0 in each row.
        dictionary: of patches p x p.
        atoms_per_patch: how many atoms at most, 1 to 4.
        gain: how strong an atom may become, in times of what it was in its picture; the lower bound is for patches of
            one atom.
        mean_penalty: what the squared distance of means counts, against the squared error.
        norms: (N,), how long each patch should be without its mean; without it, flat atoms win where texture is random,
            since half of its squared difference from any other texture is its own energy.
        norm_penalty: what the squared distance of the first atom's norm from that counts.

    Returns completed patches (N, 3 * p * p): all pixels are the code's, also those that were known.
    """
    assert (weights.sum(dim=1) > 0).all(), "a patch without a known pixel"
    bounds = (gain[0] if atoms_per_patch == 1 else 0.0, gain[1])
    found = []
    for block in torch.arange(len(patches), device=patches.device).split(BLOCK):
        pursuit = _Pursuit(patches[block], weights[block], dictionary, bounds)
        costs = pursuit.norm_costs(norms[block]) * norm_penalty if norms is not None else 0.0
        found.append(pursuit.run(atoms_per_patch, mean_penalty, costs))
    return torch.cat([*found, patches[:0]])


class _Pursuit:
    """The pursuit of one block of patches; P pixels, K atoms, N patches, and S atoms of each so far."""

    def __init__(self, patches: Tensor, weights: Tensor, dictionary: Dictionary, gain: tuple[float, float]) -> None:
        self.dictionary = dictionary
        self.lowest, self.highest = (bound * dictionary.norms for bound in gain)  # (K,), of coefficients
        self.weights = weights.to(patches)[:, None]  # (N, 1, P)
        self.roots = self.weights.sqrt()
        self.counts = self.weights.sum(dim=2)  # (N, 1)
        values = patches.unflatten(1, (3, -1))
        self.means = (values * self.weights).sum(dim=2) / self.counts  # (N, 3), of known pixels
        self.target = (values - self.means[..., None]) * self.roots  # (N, 3, P)

    def norm_costs(self, norms: Tensor) -> Tensor:
        """The squared distance, for the weights of known pixels, of each atom's norm from the wanted one (N, K)."""
        share = self.counts / self.weights.shape[2]
        return (self.dictionary.norms - norms[:, None]).square_() * share

    def run(self, atoms_per_patch: int, mean_penalty: float, first_costs: Tensor | float) -> Tensor:
        atom_means, energies = self._seen()
        coefficients, gains = self._gains(self.target, energies, self.lowest)
        chosen = gains.sub_(self._mean_costs(atom_means, coefficients), alpha=mean_penalty).sub_(first_costs)
        atoms = chosen.argmax(dim=1)[:, None]
        weights, residual = self._solve(atoms)
        while atoms.shape[1] < atoms_per_patch:
            _, gains = self._gains(residual, energies, torch.zeros_like(self.lowest))
            atoms = torch.cat([atoms, gains.scatter_(1, atoms, 0.0).argmax(dim=1)[:, None]], dim=1)
            weights, residual = self._solve(atoms)
        return self._completed(atoms, weights)

    def _seen(self) -> tuple[Tensor, Tensor]:
        """The weighted means (N, 3, K) of atoms, and their weighted energies about these (N, K)."""
        atoms = self.dictionary.atoms.unflatten(1, (3, -1))
        means = torch.stack([self.weights[:, 0] @ channel.T for channel in atoms.unbind(1)], dim=1)
        means /= self.counts[..., None]
        energies = self.weights[:, 0] @ atoms.square().sum(dim=1).T
        return means, energies - self.counts * means.square().sum(dim=1)

    def _gains(self, residual: Tensor, energies: Tensor, lowest: Tensor) -> tuple[Tensor, Tensor]:
        """The best coefficient of each atom alone, within its bounds, and by how much it lowers the error (N, K)."""
        products = (residual * self.roots).flatten(1) @ self.dictionary.atoms.T
        best = products / energies.clamp(min=LEAST_ENERGY)
        best = torch.where(energies > LEAST_ENERGY, best, 0.0).clamp_(lowest, self.highest)
        return best, best * (2 * products - best * energies)

    def _mean_costs(self, atom_means: Tensor, coefficients: Tensor) -> Tensor:
        """The squared distance, over known pixels, of each patch's mean under an atom and that atom's own (N, K)."""
        means = self.means[..., None] - coefficients[:, None] * atom_means  # (N, 3, K)
        return (means - self.dictionary.means.T).square_().sum(dim=1) * self.counts

    def _solve(self, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (N, S) >= 0 of these atoms, and what they leave of the target (N, 3, P)."""
        seen = self._atoms_seen(atoms).flatten(2)  # (N, S, 3 P)
        coefficients = nonnegative_least_squares(seen @ seen.mT, (seen @ self.target.flatten(1)[..., None])[..., 0])
        coefficients = coefficients.clamp(self.lowest[atoms], self.highest[atoms])
        residual = self.target - (coefficients[:, None] @ seen)[:, 0].unflatten(1, (3, -1))
        return coefficients, residual

    def _atoms_seen(self, atoms: Tensor) -> Tensor:
        """Atoms without their weighted mean, times the roots of the weights, (N, S, 3, P)."""
        whole = self.dictionary.atoms[atoms].unflatten(2, (3, -1))
        return (whole - self._means_of(whole)[..., None]) * self.roots[:, None]

    def _means_of(self, whole: Tensor) -> Tensor:
        return (whole * self.weights[:, None]).sum(dim=3) / self.counts[:, None]

    def _completed(self, atoms: Tensor, coefficients: Tensor) -> Tensor:
        whole = self.dictionary.atoms[atoms].unflatten(2, (3, -1))  # (N, S, 3, P)
        weights = coefficients[..., None]
        means = self.means - (self._means_of(whole) * weights).sum(dim=1)
        return ((whole * weights[..., None]).sum(dim=1) + means[..., None]).flatten(1)
