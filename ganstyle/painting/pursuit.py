"""Non-negative orthogonal matching pursuit of many patches at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import inf

import torch
from torch import Tensor

from ganstyle.painting.dictionary import Dictionary
from ganstyle.painting.patches import without_means

BLOCK = 128  # patches whose scores are computed at a time; with 20,000 atoms two blocks take 20 MB
CHUNK = 1 << 14  # patches whose atoms are solved for at a time
LEAST_NORM = 1e-6  # of an atom; shorter ones are flat
RIDGE = 1e-6  # keeps systems of atoms that are alike solvable


@dataclass(frozen=True)
class Codes:
    """What patches are made of: patch n is its mean plus the sum over s of coefficients[n, s] * atoms[n, s].

    Attributes:
        atoms: (N, S), int64, numbers of atoms in the order in which they were chosen, -1 where there is none.
        coefficients: (N, S), float32, 0 or more; 0 where there is no atom.
        residual: (N,), the length of what the code leaves of a patch in the dictionary's reduced space.
    """

    atoms: Tensor
    coefficients: Tensor
    residual: Tensor


@torch.no_grad()
def pursue(
    patches: Tensor,
    dictionary: Dictionary,
    *,
    atoms_per_patch: int = 3,
    mean_penalty: float = 0.0,
    gain: tuple[float, float] = (0.0, inf),
    tolerance: float = 0.0,
    block: int = BLOCK,
) -> Codes:
    """Code patches by a few atoms each, whose coefficients are all solved for again after each new atom.

    In the reduced space of the dictionary a patch x, its mean taken off, is sum_s c_s a_s with c_s >= 0. Each step
    takes the atom that lowers the squared error |x - sum_s c_s a_s|^2 the most, less `mean_penalty` times the squared
    distance of the atom's own mean from that of the patch, and then solves for all c_s.

    Source: Pati et al. 1993, "Orthogonal matching pursuit"; non-negative as Bruckstein et al. 2008, "On the uniqueness
    of nonnegative sparse solutions to underdetermined systems of equations", section IV. Differs from the papers: the
    penalty, and the gain, c_s over the length that the atom had in its picture. An atom is chosen for what it does
    at a gain within the bounds, and in the end gains are clipped: those of first atoms to both bounds, those of others
    to the upper one.

    Args:
        patches: (N, 3 * p * p), as `patches_of` gives them.
        dictionary: of patches p x p.
        atoms_per_patch: how many atoms at most.
        mean_penalty: 1 counts the distance of means as the error of pixels that it is.
        gain: how much weaker and stronger than in its picture an atom may become.
        tolerance: of the length of a patch without its mean; at a residual below it no more atoms are added.
        block: how many patches are scored against all atoms at a time; bounds the memory, changes nothing else.

    A first atom is always taken, so that flat patches have one for its mean.
    """
    assert atoms_per_patch >= 1, atoms_per_patch
    search = _Search(dictionary, mean_penalty, gain, block)
    found = [_pursue(chunk, search, atoms_per_patch, tolerance) for chunk in patches.split(CHUNK)]
    assert found, "no patches"
    return Codes(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def decode(codes: Codes, dictionary: Dictionary, means: Tensor) -> Tensor:
    """The patches (N, 3 * p * p) that codes stand for, on the given means (N, 3)."""
    weights = codes.coefficients * (codes.atoms >= 0)
    shapes = means.repeat_interleave(dictionary.patch_px**2, dim=1)
    for atoms, weight in zip(codes.atoms.clamp(min=0).T, weights.T, strict=True):
        shapes = shapes.addcmul_(dictionary.atoms[atoms], weight[:, None])
    return shapes


class _Search:
    """Finds the atom that helps most; K atoms, blocks of n patches in a space of d dimensions."""

    def __init__(self, dictionary: Dictionary, mean_penalty: float, gain: tuple[float, float], block: int) -> None:
        self.dictionary, self.block = dictionary, block
        lengths = dictionary.reduced.norm(dim=1)
        self.units = (dictionary.reduced / lengths.clamp(min=LEAST_NORM)[:, None]).T.contiguous()  # (d, K)
        self.lowest, self.highest = (dictionary.norms * lengths * bound for bound in _finite(gain))
        self.low, self.high = (dictionary.norms * bound for bound in _finite(gain))
        # -w |m - m_k|^2 = [m, 1] @ [2 w m_k, -w |m_k|^2] - w |m|^2, of which the last is the same for all atoms.
        weight = mean_penalty * dictionary.patch_px**2
        squares = dictionary.means.square().sum(dim=1)
        self.mean_costs = torch.cat([2 * weight * dictionary.means.T, -weight * squares[None]])  # (4, K)

    def best(self, residuals: Tensor, means: Tensor, taken: Tensor) -> Tensor:
        """For each residual (N, d) the number (N,) of the atom with the highest score; not one of `taken` (N, S)."""
        colours = torch.cat([means, torch.ones_like(means[:, :1])], dim=1)
        blocks = zip(*(each.split(self.block) for each in (residuals, colours, taken)), strict=True)
        return torch.cat([self._best_of_block(*each) for each in blocks])

    def _best_of_block(self, residuals: Tensor, colours: Tensor, taken: Tensor) -> Tensor:
        scores = residuals @ self.units
        lowest = self.lowest if taken.shape[1] == 0 else torch.zeros_like(self.lowest)
        coefficients = scores.clamp(lowest, self.highest)
        # |r|^2 - |r - c u|^2 = c (2 r u - c)
        scores.mul_(2).sub_(coefficients).mul_(coefficients).addmm_(colours, self.mean_costs)
        return scores.scatter_(1, taken, -inf).argmax(dim=1)

    def clipped(self, atoms: Tensor, coefficients: Tensor) -> Tensor:
        """Coefficients (N, S) with gains within the bounds."""
        numbers = atoms.clamp(min=0)
        clipped = torch.minimum(coefficients, self.high[numbers])
        clipped[:, 0] = torch.maximum(clipped[:, 0], self.low[numbers[:, 0]])
        return clipped


def _finite(gain: tuple[float, float]) -> tuple[float, float]:
    """The bounds of gains; infinity times an atom of length 0 would be no number."""
    low, high = gain
    assert 0 <= low <= high, gain
    return low, min(high, 1e12)


def _pursue(patches: Tensor, search: _Search, atoms_per_patch: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Atoms, coefficients and residuals of a chunk of patches."""
    shapes, means = without_means(patches)
    reduced, target = search.dictionary.reduced, shapes @ search.dictionary.basis
    enough = target.norm(dim=1) * tolerance
    atoms = search.best(target, means, target.new_empty((len(target), 0), dtype=torch.long))[:, None]
    coefficients, residuals = _solved(target, reduced[atoms])
    while atoms.shape[1] < atoms_per_patch:
        found = search.best(residuals, means, atoms.clamp(min=0))
        helps = (residuals * reduced[found]).sum(dim=1) > 0
        wanted = helps & (residuals.norm(dim=1) > enough) & (atoms[:, -1] >= 0)
        atoms = torch.cat([atoms, torch.where(wanted, found, -1)[:, None]], dim=1)
        coefficients, residuals = _solved(target, reduced[atoms.clamp(min=0)] * (atoms >= 0)[..., None])
    coefficients = search.clipped(atoms, coefficients) * (atoms >= 0)
    left = target - _mixed(reduced[atoms.clamp(min=0)], coefficients)
    return atoms, coefficients, left.norm(dim=1)


def _solved(target: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (N, S) >= 0 of atoms (N, S, d) nearest to targets (N, d), and what they leave (N, d)."""
    products = torch.einsum("nsd,nd->ns", atoms, target)
    coefficients = nonnegative_least_squares(atoms @ atoms.mT, products)
    return coefficients, target - _mixed(atoms, coefficients)


def _mixed(atoms: Tensor, coefficients: Tensor) -> Tensor:
    return torch.einsum("nsd,ns->nd", atoms, coefficients)


def nonnegative_least_squares(gram: Tensor, products: Tensor) -> Tensor:
    """The c >= 0 (N, S) that minimise c' G c - 2 b' c for G (N, S, S) and b (N, S).

    Exact: for a few variables every set of them that may be positive is tried, 2^S - 1 in all.
    """
    number = products.shape[1]
    best, lowest = torch.zeros_like(products), products.new_zeros(len(products))
    identity = torch.eye(number, device=gram.device, dtype=gram.dtype)
    for chosen in product((0.0, 1.0), repeat=number):
        if not any(chosen):
            continue
        free = products.new_tensor(chosen)
        system = gram * free[:, None] * free + identity * (1 - free + RIDGE)
        found = torch.linalg.solve_ex(system, products * free)[0]
        cost = -(products * found).sum(dim=1)  # as G c = b on the free ones
        better = (found >= 0).all(dim=1) & (cost < lowest)
        best = torch.where(better[:, None], found, best)
        lowest = torch.where(better, cost, lowest)
    return best
