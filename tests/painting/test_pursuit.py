from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.painting.dictionary import Dictionary, build_dictionary
from ganstyle.painting.patches import patches_of, places, without_means
from ganstyle.painting.pursuit import Codes, decode, nonnegative_least_squares, pursue

PATCH_PX = 5


def noise(height: int, width: int, seed: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def whole(style: Tensor, most_atoms: int = 300) -> Dictionary:
    """A dictionary in which nothing is lost to principal components."""
    return build_dictionary(style, PATCH_PX, most_atoms=most_atoms, keep_variance=1.0)


def slow_code(
    patch: np.ndarray, dictionary: Dictionary, count: int, mean_penalty: float
) -> tuple[list[int], np.ndarray]:
    """Non-negative orthogonal matching pursuit of one patch (3 * p * p), as the textbook has it, in float64."""
    optimize = pytest.importorskip("scipy.optimize", reason="needs scipy")
    atoms, means = dictionary.reduced.double().numpy(), dictionary.means.double().numpy()
    colours = patch.reshape(3, -1)
    target = (colours - colours.mean(axis=1, keepdims=True)).ravel() @ dictionary.basis.double().numpy()
    penalty = mean_penalty * PATCH_PX**2 * ((means - colours.mean(axis=1)) ** 2).sum(axis=1)
    chosen: list[int] = []
    residual, coefficients = target, np.zeros(0)
    for _ in range(count):
        products = atoms @ residual
        lengths = np.linalg.norm(atoms, axis=1)
        gains = np.maximum(products / np.maximum(lengths, 1e-6), 0) ** 2 - penalty
        gains[chosen] = -np.inf
        best = int(gains.argmax())
        if chosen and products[best] <= 0:
            break
        chosen.append(best)
        coefficients, _ = optimize.nnls(atoms[chosen].T, target)
        residual = target - coefficients @ atoms[chosen]
    return chosen, coefficients


@pytest.mark.parametrize("mean_penalty", [0.0, 0.5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_batched_codes_are_those_of_a_plain_loop(count: int, mean_penalty: float) -> None:
    dictionary = whole(noise(30, 30, 1))
    patches = patches_of(noise(20, 20, 2), PATCH_PX, 3)
    codes = pursue(patches, dictionary, atoms_per_patch=count, mean_penalty=mean_penalty, block=7)
    for number, patch in enumerate(patches.double().numpy()):
        chosen, coefficients = slow_code(patch, dictionary, count, mean_penalty)
        found = codes.atoms[number]
        assert [int(each) for each in found if each >= 0] == chosen
        np.testing.assert_allclose(codes.coefficients[number, : len(chosen)].numpy(), coefficients, atol=1e-5)
        assert (codes.coefficients[number, len(chosen) :] == 0).all()


def test_planted_atoms_are_found_again() -> None:
    dictionary = whole(noise(40, 40, 3), most_atoms=400)
    draw = torch.Generator().manual_seed(4)
    planted = torch.stack([torch.randperm(len(dictionary.atoms), generator=draw)[:3] for _ in range(60)])
    weights = torch.rand(60, 3, generator=draw) + 0.5
    patches = (weights[..., None] * dictionary.atoms[planted]).sum(dim=1)
    codes = pursue(patches, dictionary, atoms_per_patch=3)
    exact = [set(found) == set(wanted) for found, wanted in zip(codes.atoms.tolist(), planted.tolist(), strict=True)]
    assert sum(exact) >= 54  # greedy choice may begin with another atom that is near to a sum of two
    found = torch.tensor(exact)
    order, wanted = codes.atoms[found].sort(dim=1), planted[found].sort(dim=1)
    assert torch.equal(order.values, wanted.values)
    torch.testing.assert_close(
        codes.coefficients[found].gather(1, order.indices), weights[found].gather(1, wanted.indices), atol=1e-3, rtol=0
    )
    assert float(codes.residual[found].max()) < 1e-3


def test_all_coefficients_are_solved_again_after_each_atom() -> None:
    """After two atoms that are not orthogonal the first has another coefficient than alone."""
    dictionary, patches = whole(noise(30, 30, 1)), patches_of(noise(20, 20, 2), PATCH_PX, 3)
    one, two = (pursue(patches, dictionary, atoms_per_patch=count) for count in (1, 2))
    assert torch.equal(one.atoms[:, 0], two.atoms[:, 0])
    assert float((one.coefficients[:, 0] - two.coefficients[:, 0]).abs().max()) > 0.05
    assert bool((two.residual <= one.residual + 1e-5).all())


def test_gains_are_clipped_and_a_flat_patch_gets_the_contrast_of_its_atom() -> None:
    dictionary = whole(noise(30, 30, 1))
    flat = torch.zeros(4, 3 * PATCH_PX**2)
    codes = pursue(flat, dictionary, atoms_per_patch=2, gain=(0.7, 1.5))
    gains = codes.coefficients[:, 0] / dictionary.norms[codes.atoms[:, 0]]
    torch.testing.assert_close(gains, torch.full((4,), 0.7))
    loud = 100 * patches_of(noise(9, 9, 5), PATCH_PX, 2)
    codes = pursue(loud, dictionary, atoms_per_patch=3, gain=(0.0, 1.5))
    used = codes.atoms >= 0
    assert float((codes.coefficients / dictionary.norms[codes.atoms.clamp(min=0)])[used].max()) <= 1.5 + 1e-5


def test_decoding_is_the_sum_of_atoms_on_the_means() -> None:
    dictionary = whole(noise(20, 20, 1))
    codes = Codes(torch.tensor([[3, 7], [5, -1]]), torch.tensor([[0.5, 2.0], [1.0, 9.0]]), torch.zeros(2))
    means = torch.tensor([[0.1, 0.2, 0.3], [0.0, -0.5, 0.5]])
    spread = means.repeat_interleave(PATCH_PX**2, dim=1)
    expected = [0.5 * dictionary.atoms[3] + 2 * dictionary.atoms[7], dictionary.atoms[5]]
    torch.testing.assert_close(decode(codes, dictionary, means), torch.stack(expected) + spread)


def test_a_pictures_own_patches_are_coded_by_themselves() -> None:
    style = noise(16, 16, 1)
    dictionary, patches = whole(style), patches_of(style, PATCH_PX, 1)
    codes = pursue(patches, dictionary, atoms_per_patch=1)
    assert torch.equal(dictionary.places[codes.atoms[:, 0]], places((16, 16), PATCH_PX, 1))
    decoded = decode(codes, dictionary, without_means(patches)[1])
    torch.testing.assert_close(decoded, patches, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_least_squares_without_negatives(size: int) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="needs scipy")
    draw = np.random.default_rng(size)
    atoms, targets = draw.normal(size=(50, size, 9)), draw.normal(size=(50, 9))
    gram, products = atoms @ atoms.transpose(0, 2, 1), np.einsum("nsd,nd->ns", atoms, targets)
    found = nonnegative_least_squares(torch.from_numpy(gram), torch.from_numpy(products))
    expected = [optimize.nnls(each.T, target)[0] for each, target in zip(atoms, targets, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
