from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from ganstyle.base.draws import Draws
from ganstyle.evaluate import copied_patches
from ganstyle.evaluate.copied_patches import ALIKE, Found, PatchSearch, copied_places


def texture(height: int, width: int, purpose: str) -> np.ndarray:
    """Soft blotches of 3 px and more, in three colours that go their own ways."""
    noise = Draws(seed=5).stream(purpose).standard_normal((height, width, 3))
    soft = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(127 + 60 * soft / soft.std(), 0, 255).astype(np.uint8)


def pasted(height: int = 192, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A picture a quarter of which is a piece of another one, not on any grid; and the other."""
    picture, other = texture(height, width, "picture"), texture(130, 170, "other")
    picture[5 : 5 + height // 2, 9 : 9 + width // 2] = other[20 : 20 + height // 2, 31 : 31 + width // 2]
    return picture, other


def unit(patch: np.ndarray) -> np.ndarray:
    centred = patch.astype(np.float64) - patch.mean(axis=(0, 1))
    return centred.ravel() / np.linalg.norm(centred)


def slow_find(picture: np.ndarray, other: np.ndarray, patch_px: int, stride_px: int) -> Found:
    """Every patch against every place, one by one."""
    height, width = picture.shape[:2]
    tops, lefts = range(0, height - patch_px + 1, stride_px), range(0, width - patch_px + 1, stride_px)
    alike, shifts = np.zeros((len(tops), len(lefts)), bool), np.zeros((len(tops), len(lefts), 2), int)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            patch, best = unit(picture[top : top + patch_px, left : left + patch_px]), ALIKE
            for down in range(other.shape[0] - patch_px + 1):
                for across in range(other.shape[1] - patch_px + 1):
                    correlation = patch @ unit(other[down : down + patch_px, across : across + patch_px])
                    if correlation > best:
                        best, alike[row, column] = correlation, True
                        shifts[row, column] = down - top, across - left
    return Found(stride_px, alike, shifts)


def test_it_finds_what_a_loop_over_all_places_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, other = texture(26, 33, "picture"), texture(30, 28, "other")
    picture[3:19, 5:25] = other[10:26, 6:26]
    picture[20:, 26:] = np.clip(other[0:6, 0:7] * 0.9 + 12, 0, 255)  # darker, and too small to be a copy
    expected = slow_find(picture, other, 6, 3)
    assert 8 < expected.alike.sum() < expected.alike.size / 2
    monkeypatch.setattr(copied_patches, "STRIP_PLACES", 60)  # several strips, also a thin last one
    found = PatchSearch(other, patch_px=6).find(picture)
    np.testing.assert_array_equal(found.alike, expected.alike)
    np.testing.assert_array_equal(found.shifts[found.alike], expected.shifts[expected.alike])


def test_shorter_vectors_bound_the_correlations() -> None:
    image = torch.from_numpy(texture(40, 40, "bound")).permute(2, 0, 1)[None].float() / 127.5 - 1
    patches, textured = copied_patches._units(image, 8, 4)
    assert textured.all()
    np.testing.assert_allclose(patches.norm(dim=1).numpy(), 1, rtol=1e-5)
    short = copied_patches._bounding(patches, copied_patches._basis(image, 8)[:, -10:])
    assert short.shape == (81, 11)
    assert (short @ short.T >= patches @ patches.T - 1e-5).all()
    assert (short @ short.T - patches @ patches.T).max() > 0.01


@pytest.mark.parametrize("most", [4096, 10])
def test_a_pasted_quarter_is_about_a_quarter(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, other = pasted()
    monkeypatch.setattr(copied_patches, "MOST_PATCHES", most)  # with few, patches lie side by side
    assert PatchSearch(other).copied_share(picture) == pytest.approx(0.25, abs=0.04 if most > 10 else 0.08)
    brighter = np.clip(picture * 0.8 + 30, 0, 255).astype(np.uint8)
    assert PatchSearch(other).copied_share(brighter) == pytest.approx(0.25, abs=0.04 if most > 10 else 0.08)


def test_all_of_a_picture_is_in_itself_and_nothing_in_a_foreign_one() -> None:
    picture = texture(64, 80, "picture")
    assert PatchSearch(picture).copied_share(picture) == 1
    assert PatchSearch(texture(70, 64, "other")).copied_share(picture) == 0
    assert PatchSearch(picture[:, ::-1]).copied_share(picture) == 0


def test_flat_places_and_lone_patches_are_no_copies() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    flat[:, 32:] += Draws(seed=5).stream("faint").integers(0, 4, (64, 32, 1), dtype=np.uint8)
    assert PatchSearch(flat).copied_share(flat) == 0
    picture, other = texture(64, 64, "picture"), texture(64, 64, "other")
    picture[8:24, 8:24] = other[30:46, 17:33]
    found = PatchSearch(other).find(picture)
    assert found.alike.sum() == 1
    np.testing.assert_array_equal(found.shifts[found.alike], [[22, 9]])
    assert PatchSearch(other).copied_share(picture) == 0


def test_shuffled_patches_of_a_picture_are_no_pieces_of_it() -> None:
    other = texture(64, 64, "other")
    tiles = [other[top : top + 16, left : left + 16] for top in range(0, 64, 16) for left in range(0, 64, 16)]
    order = [5, 0, 10, 15, 2, 13, 8, 7, 12, 1, 14, 3, 6, 11, 4, 9]
    rows = [np.concatenate([tiles[each] for each in order[start : start + 4]], axis=1) for start in range(0, 16, 4)]
    picture = np.concatenate(rows)
    search = PatchSearch(other)
    assert search.find(picture).alike.sum() == 16
    assert search.copied_share(picture) == 0


def test_neighbours_must_go_on_where_the_piece_does() -> None:
    alike, shifts = np.ones((3, 4), bool), np.zeros((3, 4, 2), int)
    shifts[:, 2:] = (7, 3)  # another piece on the right, from elsewhere
    shifts[2, 3] = (40, 40)
    alike[0, :2] = False
    expected = np.zeros((12, 16), bool)
    expected[4:, :8] = expected[:, 8:12] = expected[:8, 12:] = True
    np.testing.assert_array_equal(copied_places(Found(4, alike, shifts), 4), expected)
    shifts[2, 3] = (8, 2)  # a pixel off is the same piece, resampled
    expected[8:, 12:] = True
    np.testing.assert_array_equal(copied_places(Found(4, alike, shifts), 4), expected)
