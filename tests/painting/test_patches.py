from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.painting.dictionary import build_dictionary
from ganstyle.painting.overlap import LEAST_DISTANCE, blend_patches
from ganstyle.painting.patches import patches_at, patches_of, places, scattered


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("size", "stride_px"), [((9, 13), 4), ((5, 5), 3), ((6, 30), 1)])
def test_patches_cover_every_pixel(size: tuple[int, int], stride_px: int) -> None:
    image, corners = noise(*size), places(size, 5, stride_px)
    covered = torch.zeros(size)
    patches = patches_of(image, 5, stride_px)
    for (row, column), patch in zip(corners.tolist(), patches, strict=True):
        covered[row : row + 5, column : column + 5] += 1
        assert torch.equal(patch, image[0, :, row : row + 5, column : column + 5].flatten())
    assert covered.min() >= 1
    assert len({tuple(each) for each in corners.tolist()}) == len(corners)


def test_a_dictionary_is_the_pictures_own_patches() -> None:
    style = noise(14, 17, 1)
    dictionary = build_dictionary(style, 5, most_atoms=10_000, keep_variance=1.0)
    assert len(dictionary.atoms) == 10 * 13
    whole = dictionary.atoms * dictionary.norms[:, None] + dictionary.means.repeat_interleave(25, dim=1)
    torch.testing.assert_close(whole, patches_at(style, dictionary.places, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(dictionary.atoms.norm(dim=1), torch.ones(130))
    torch.testing.assert_close(dictionary.reduced @ dictionary.basis.T, dictionary.atoms, atol=1e-4, rtol=0)


def test_principal_components_hold_the_wanted_share() -> None:
    style = noise(40, 40, 1)
    smooth = torch.nn.functional.avg_pool2d(style, 5, stride=1)
    dictionary = build_dictionary(smooth, 7, keep_variance=0.95)
    shapes = dictionary.atoms * dictionary.norms[:, None]
    kept = (shapes @ dictionary.basis).square().sum() / shapes.square().sum()
    assert 0.94 < float(kept) < 0.985
    assert dictionary.basis.shape[1] < 147 / 2


def test_no_more_atoms_than_asked_for_and_turned_ones_are_told() -> None:
    style = noise(30, 30, 1)
    dictionary = build_dictionary(style, 5, most_atoms=80, rotations=True, keep_variance=1.0)
    assert len(dictionary.atoms) == 80
    assert sorted(dictionary.turns.unique().tolist()) == [0, 1, 2, 3]
    for number in (1, 25, 45, 79):
        atom = dictionary.atoms[number] * dictionary.norms[number] + dictionary.means[number].repeat_interleave(25)
        row, column = dictionary.places[number].tolist()
        cut = style[0, :, row : row + 5, column : column + 5]
        expected = torch.rot90(cut, int(dictionary.turns[number]), (1, 2)).flatten()
        torch.testing.assert_close(atom, expected, atol=1e-5, rtol=0)
    assert torch.equal(dictionary.places, build_dictionary(style, 5, most_atoms=80, rotations=True).places)
    assert not torch.equal(dictionary.places, build_dictionary(style, 5, most_atoms=80, rotations=True, seed=1).places)


def test_patches_of_one_image_make_that_image() -> None:
    image, corners = noise(12, 15), places((12, 15), 5, 3)
    found = blend_patches(patches_at(image, corners, 5), corners, (12, 15), guess=torch.zeros_like(image))
    torch.testing.assert_close(found, image, atol=1e-6, rtol=0)


def test_a_stray_patch_counts_little_and_rounds_lower_the_sum() -> None:
    """sum |X_n - patch_n|^r falls with each round, and one patch that fits none of the others hardly shows."""
    image, corners = torch.zeros(1, 3, 12, 12), places((12, 12), 6, 2)
    patches = patches_at(image, corners, 6) + 0.05 * torch.randn(
        len(corners), 108, generator=torch.Generator().manual_seed(1)
    )
    patches[5] += 1.5
    start = torch.full_like(image, 0.2)

    def robust(found: Tensor) -> float:
        distances = (patches_at(found, corners, 6) - patches).square().mean(dim=1).sqrt()
        return float(distances.clamp(min=LEAST_DISTANCE).pow(0.8).sum())

    blended = [blend_patches(patches, corners, (12, 12), guess=start, exponent=0.8, rounds=n) for n in (1, 3, 8)]
    plain = blend_patches(patches, corners, (12, 12), guess=start, exponent=2.0, rounds=8)
    assert float(blended[-1].abs().max()) < 0.5 * float(plain.abs().max())
    # Not to the last digit: the window weighs pixels in the mean and not in the sum.
    assert robust(blended[2]) <= 1.01 * robust(blended[1])
    assert robust(blended[1]) <= 1.01 * robust(blended[0])
    assert robust(blended[0]) < robust(start)
    assert robust(blended[2]) < robust(plain)


@pytest.mark.parametrize(("patch_px", "stride_px"), [(9, 5), (13, 8), (21, 13), (5, 5), (5, 1)])
def test_scattered_patches_still_cover_every_pixel(patch_px: int, stride_px: int) -> None:
    size, stream = (60, 83), np.random.default_rng(0)
    regular = places(size, patch_px, stride_px)
    by_px = (patch_px - stride_px) // 2
    moved = scattered(regular, size, patch_px, by_px=by_px, stream=stream)
    assert int((moved - regular).abs().max()) == by_px
    covered = np.zeros(size, bool)
    for top, left in moved.tolist():
        assert 0 <= top <= size[0] - patch_px
        assert 0 <= left <= size[1] - patch_px
        covered[top : top + patch_px, left : left + patch_px] = True
    assert covered.all()
