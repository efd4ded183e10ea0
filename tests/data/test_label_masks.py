from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data.label_masks import named, nearest_colour, read_label_mask

RED, BLUE, BLACK, WHITE = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)


def thirds(height: int = 30, width: int = 60) -> np.ndarray:
    values = np.zeros((height, width, 3), np.uint8)
    values[:, 20:40], values[:, 40:] = RED, BLUE
    return values


def saved(path: Path, values: np.ndarray, **settings: Any) -> Path:
    Image.fromarray(values).save(path, **settings)
    return path


def test_each_flat_colour_is_a_region(tmp_path: Path) -> None:
    found = read_label_mask(saved(tmp_path / "mask.png", thirds()), feather_px=0)
    assert set(found) == {BLACK, RED, BLUE}
    for colour, share in found.items():
        assert share.dtype == np.float32
        np.testing.assert_array_equal(share, (thirds() == colour).all(axis=2))


@pytest.mark.parametrize("feather_px", [0, 2, None])
def test_regions_sum_to_one_at_any_size(tmp_path: Path, feather_px: float | None) -> None:
    path = saved(tmp_path / "mask.png", thirds())
    for size in ((15, 30), (61, 122)):
        found = read_label_mask(path, size=size, feather_px=feather_px)
        np.testing.assert_allclose(sum(found.values()), np.ones(size), atol=1e-5)
        assert found[RED][:, size[1] // 2].min() > 0.9


def test_lossy_files_and_smooth_edges_give_the_same_regions(tmp_path: Path) -> None:
    large = cv2.resize(thirds(), (240, 120), interpolation=cv2.INTER_NEAREST)
    smooth = cv2.GaussianBlur(large, (0, 0), 1.0)
    exact = read_label_mask(saved(tmp_path / "mask.png", large), feather_px=0)
    found = read_label_mask(saved(tmp_path / "mask.jpg", smooth, quality=85), feather_px=0)
    assert len(found) == 3
    for colour, share in found.items():
        wanted = nearest_colour(colour, exact)
        assert wanted is not None
        # Half red and half blue is violet: not a label of its own, and the edges stay where they are.
        assert np.abs(share - exact[wanted]).sum(axis=1).max() <= 4


def test_grey_is_one_soft_mask_and_the_rest(tmp_path: Path) -> None:
    values = np.tile(np.linspace(0, 255, 40).round().astype(np.uint8), (30, 1))
    found = read_label_mask(saved(tmp_path / "mask.png", values), feather_px=0)
    assert list(found) == [WHITE, BLACK]
    np.testing.assert_allclose(found[WHITE], values / 255, atol=1e-6)
    np.testing.assert_allclose(found[WHITE] + found[BLACK], 1, atol=1e-6)


def test_transparent_is_black(tmp_path: Path) -> None:
    values = np.dstack([thirds(), np.full((30, 60), 255, np.uint8)])
    values[:, 40:, 3] = 0
    found = read_label_mask(saved(tmp_path / "mask.png", values), feather_px=0)
    assert set(found) == {BLACK, RED}
    assert found[BLACK][:, 40:].min() == 1


def test_a_mask_of_another_shape_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", thirds())
    with pytest.raises(UserError, match="another shape"):
        read_label_mask(path, size=(60, 60))


def test_photos_are_no_masks(tmp_path: Path) -> None:
    stream = np.random.default_rng(0)
    noise = stream.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="flat colours"):
        read_label_mask(saved(tmp_path / "noise.png", noise))
    patches = stream.integers(0, 256, (10, 10, 3), dtype=np.uint8).repeat(12, axis=0).repeat(12, axis=1)
    with pytest.raises(UserError, match="more than 16 colours"):
        read_label_mask(saved(tmp_path / "patches.png", patches))


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"mask\.png: the mask cannot be read"):
        read_label_mask(tmp_path / "mask.png")


def test_shades_of_one_colour_are_one_label() -> None:
    assert nearest_colour((250, 10, 5), [BLACK, RED, BLUE]) == RED
    assert nearest_colour((128, 0, 0), [BLACK, RED, BLUE]) is None
    assert named([RED, BLACK]) == "#ff0000, #000000"
