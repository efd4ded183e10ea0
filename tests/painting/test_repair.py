from __future__ import annotations

from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.data.images import read_image
from ganstyle.data.tensors import to_pixels, to_tensor
from ganstyle.evaluate.truth import psnr
from ganstyle.painting.dictionary import build_dictionary
from ganstyle.painting.filling import grow, whole_patches
from ganstyle.painting.repair import RepairSettings, _pieces, repair

SIDE = 72
PHOTO = Path(__file__).parents[3] / "shared" / "data" / "photo2ink" / "testA" / "0036.jpg"  # a snake on sand
FAST = RepairSettings(patch_px=7, most_atoms=2500)


def texture(side: int = SIDE) -> np.ndarray:
    """Waves and squares of several sizes in colour, uint8."""
    y, x = np.mgrid[:side, :side].astype(float)
    waves = np.sin(2 * np.pi * (x * 0.11 + y * 0.05)) * np.sin(2 * np.pi * (y * 0.09 - x * 0.02))
    squares = ((x // 8 + y // 8) % 2) * 2 - 1
    planes = [0.6 * waves + 0.2 * x / side, 0.5 * waves + 0.2 * squares, 0.4 * squares - 0.3 * x / side]
    return np.rint((np.stack(planes, -1).clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def smooth(side: int = SIDE) -> np.ndarray:
    y, x = np.mgrid[:side, :side] / side
    planes = [np.sin(2 * x + y), np.cos(2 * y) - 0.4, x * y * 1.6 - 0.8]
    return np.rint((np.stack(planes, -1).clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def scratches(side: int = SIDE) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    cv2.line(mask, (5, 3), (side - 8, side - 12), 255, 3)
    cv2.line(mask, (3, side - 20), (side - 3, side // 2), 255, 2)
    cv2.circle(mask, (side - 20, 15), 3, 255, -1)
    return mask


def hole(side: int = SIDE) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[26:44, 30:50] = 255
    return mask


def as_mask(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask)[None, None] / 255


def repaired(pixels: np.ndarray, mask: np.ndarray, settings: RepairSettings = FAST) -> np.ndarray:
    damaged = np.where(mask[..., None] > 0, np.uint8(255), pixels)
    return to_pixels(repair(to_tensor(damaged), as_mask(mask), settings=settings))[0]


def psnr_inside(result: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    inside = mask > 0
    return psnr(result[inside][None, None], truth[inside][None, None])


def grain(pixels: np.ndarray) -> np.ndarray:
    """What is finer than a few pixels."""
    return pixels - cv2.GaussianBlur(pixels.astype(float), (0, 0), 2)


@pytest.mark.parametrize(("pixels", "mask"), [(texture(), scratches()), (smooth(), scratches()), (texture(), hole())])
def test_damage_is_filled_better_than_by_telea(pixels: np.ndarray, mask: np.ndarray) -> None:
    damaged = np.where(mask[..., None] > 0, np.uint8(255), pixels)
    telea = cv2.inpaint(damaged, mask, 5, cv2.INPAINT_TELEA)
    assert psnr_inside(repaired(pixels, mask), pixels, mask) > psnr_inside(telea, pixels, mask) + 3


def test_outside_of_the_mask_the_photo_is_the_same_bit_for_bit() -> None:
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = as_mask(scratches())
    before = image.clone()
    found = repair(image, mask, settings=FAST)
    outside = (mask == 0).expand_as(image)
    assert torch.equal(found[outside], image[outside])
    assert not torch.equal(found, image)
    assert torch.equal(image, before)
    assert found.abs().max() <= 1


def test_what_lies_under_the_mask_has_no_influence() -> None:
    pixels, mask = texture(), scratches() | hole()
    black = np.where(mask[..., None] > 0, np.uint8(0), pixels)
    white = np.where(mask[..., None] > 0, np.uint8(255), pixels)
    one, other = (repair(to_tensor(each), as_mask(mask), settings=FAST) for each in (black, white))
    assert torch.equal(one, other)


def test_a_wide_hole_keeps_the_contrast_of_random_texture() -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(SIDE, SIDE)), (0, 0), 1)
    pixels = np.repeat((noise * 150 + 128).clip(0, 255)[..., None], 3, axis=-1).astype(np.uint8)
    mask = hole()
    inside = repaired(pixels, mask)[mask > 0].std()
    assert 0.65 < inside / pixels.std() < 1.35


def test_a_mask_is_cut_into_narrow_damage_and_wide_holes() -> None:
    damage = scratches()
    damage[:] = 0
    damage[10:13] = 255
    damage[30:50, 20:35] = 255
    damage[60:70, 50:60] = 255
    damage[11:50, 24:26] = 255  # a scratch that ends in the larger hole
    narrow, wide = _pieces(as_mask(damage) > 0, 9)
    assert len(narrow) == 1
    assert [int(each.sum()) for each in wide] == sorted(int(each.sum()) for each in wide)
    assert len(wide) == 2
    everything = torch.stack([*narrow, *wide]).sum(dim=0)
    assert torch.equal(everything, (as_mask(damage) > 0).long())
    assert narrow[0][0, 0, 10:13].all()
    assert narrow[0][0, 0, 15:20, 24:26].all()
    assert wide[1][0, 0, 30:50, 20:35].all()
    assert wide[0][0, 0, 60:70, 50:60].all()


def test_stripes_grow_through_a_hole_that_is_wider_than_a_patch() -> None:
    x = torch.arange(60.0)
    whole = torch.sin(2 * torch.pi * x / 12).expand(1, 3, 60, 60) * 0.8
    missing = torch.zeros(1, 1, 60, 60, dtype=torch.bool)
    missing[..., 20:42, 20:42] = True
    dictionary = build_dictionary(whole[..., :20, :], 7)
    found = grow(torch.where(missing, 0.0, whole), missing, missing, dictionary, guide=None)
    torch.testing.assert_close(found, whole, atol=0.02, rtol=0)


def test_whole_patches_are_those_without_a_missing_pixel() -> None:
    missing = torch.rand(1, 1, 14, 11, generator=torch.Generator().manual_seed(0)) < 0.03
    found = whole_patches(missing, 4)
    assert found.any()
    for top, left in product(range(11), range(8)):
        assert bool(found[top, left]) != bool(missing[0, 0, top : top + 4, left : left + 4].any())
    assert not whole_patches(missing[..., :3], 4).any()


def test_progress_is_told_and_results_are_the_same_again() -> None:
    pixels, mask = to_tensor(texture()), as_mask(scratches() | hole())
    told: list[tuple[int, int]] = []
    one = repair(pixels, mask, settings=FAST, watch=lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]
    assert torch.equal(one, repair(pixels, mask, settings=FAST))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((SIDE, SIDE), np.uint8), "the mask is empty: paint white"),
        (np.full((SIDE, SIDE), 20, np.uint8), "the mask is empty"),
        (np.full((SIDE, SIDE), 255, np.uint8), "covers the whole photo"),
        (np.zeros((SIDE, SIDE - 1), np.uint8), "the mask is 71 x 72 px and the photo 72 x 72 px"),
    ],
)
def test_masks_that_cannot_be_used_are_told(mask: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=words):
        repair(to_tensor(texture()), as_mask(mask), settings=FAST)


def test_a_mask_that_leaves_no_whole_patch_is_told() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[::6] = 255
    with pytest.raises(UserError, match="no whole piece of 7 x 7 px"):
        repair(to_tensor(texture()), as_mask(mask), settings=FAST)
    assert repair(to_tensor(texture()), as_mask(mask), settings=RepairSettings(patch_px=5)).isfinite().all()


def test_damage_at_the_border_and_flat_photos_are_filled() -> None:
    mask = np.zeros((40, 30), np.uint8)
    mask[:12, :12] = mask[30:, 28:] = 255
    flat = np.full((40, 30, 3), 90, np.uint8)
    assert (repaired(flat, mask) == 90).all()
    result = repair(to_tensor(texture()[:40, :30]), as_mask(mask), settings=FAST)
    assert result.isfinite().all()


@pytest.mark.skipif(not PHOTO.exists(), reason=f"{PHOTO} is missing")
def test_an_object_on_sand_disappears_and_the_sand_stays_rough() -> None:
    pixels = read_image(PHOTO).pixels
    mask = np.zeros(pixels.shape[:2], np.uint8)
    height, width = pixels.shape[:2]
    axes = (round(0.23 * width), round(0.16 * height))
    cv2.ellipse(mask, (round(0.43 * width), round(0.54 * height)), axes, 0, 0, 360, 255, -1)
    result = repaired(pixels, mask, RepairSettings())
    inside, sand = result[mask > 0].astype(float), pixels[:80].reshape(-1, 3).astype(float)
    assert np.abs(inside.mean(axis=0) - sand.mean(axis=0)).max() < 12
    assert 0.6 < inside.std() / sand.std() < 1.4
    fine, coarse = (grain(each) for each in (result, pixels))
    assert 0.65 < fine[mask > 0].std() / coarse[:80].std() < 1.35
