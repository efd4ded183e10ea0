from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data.masks import Masks, feather


def saved(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def left_white(height: int = 30, width: int = 40) -> np.ndarray:
    values = np.zeros((height, width), np.uint8)
    values[:, : width // 2] = 255
    return values


def test_white_is_translated_black_kept_and_grey_mixed(tmp_path: Path) -> None:
    values = left_white()
    values[:10] = 128
    mask = Masks(saved(tmp_path / "mask.png", values), feather_px=0)
    found = mask.weight(Path("anything.jpg"), (30, 40))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values / 255, atol=1e-6)


def test_one_mask_is_resized_to_each_photo(tmp_path: Path) -> None:
    masks = Masks(saved(tmp_path / "mask.png", left_white()), feather_px=0)
    for size in ((300, 400), (15, 20), (301, 400)):
        found = masks.weight(Path("a.jpg"), size)
        assert found.shape == size
        assert (found[:, : size[1] // 2 - 10] == 1).all()
        assert (found[:, size[1] // 2 + 10 :] == 0).all()


def test_shrinking_averages(tmp_path: Path) -> None:
    values = (np.indices((40, 40)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = Masks(saved(tmp_path / "mask.png", values), feather_px=0).weight(Path("a.jpg"), (10, 10))
    np.testing.assert_allclose(found, 0.5, atol=1e-3)


@pytest.mark.parametrize("sigma_px", [0.8, 3.0, 17.0])
def test_the_feather_is_a_gaussian_of_that_width(sigma_px: float) -> None:
    weight = np.zeros((200, 240), np.float32)
    weight[60:130, 90:200] = 1
    whole = cv2.GaussianBlur(weight.astype(np.float64), (255, 255), sigma_px, borderType=cv2.BORDER_REFLECT)
    assert np.abs(feather(weight, (200, 240), sigma_px) - whole).max() < 0.02


def test_the_feather_is_a_hundredth_of_the_shorter_side_unless_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", left_white(300, 400))
    one = Masks(path).weight(Path("a.jpg"), (300, 400))
    assert np.array_equal(one, Masks(path, feather_px=3.0).weight(Path("a.jpg"), (300, 400)))
    assert 0 < one[150, 203] < one[150, 197] < 1
    assert one.min() == 0
    assert one.max() == 1


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_feather_that_is_no_width(tmp_path: Path, wrong: float) -> None:
    with pytest.raises(UserError, match="expected 0"):
        Masks(saved(tmp_path / "mask.png", left_white()), feather_px=wrong)


def test_a_photos_mask_has_its_sub_folder_and_stem(tmp_path: Path) -> None:
    masks, root = tmp_path / "masks", tmp_path / "photos"
    saved(masks / "a.png", np.zeros((6, 8), np.uint8))
    saved(masks / "sub/a.webp", np.full((6, 8), 255, np.uint8))
    found = Masks(masks, root, feather_px=0)
    assert found.weight(root / "a.jpg", (6, 8)).max() == 0
    assert found.weight(root / "sub/a.jpg", (6, 8)).min() == 1
    assert Masks(masks, None, 0).weight(Path("/elsewhere/a.jpg"), (6, 8)).max() == 0


def test_the_whole_name_comes_before_the_stem(tmp_path: Path) -> None:
    for name, level in (("a.png", 0), ("a.jpg.png", 255), ("b.png", 0), ("b.bmp", 255)):
        saved(tmp_path / "masks" / name, np.full((6, 8), level, np.uint8))
    masks = Masks(tmp_path / "masks", tmp_path, feather_px=0)
    assert masks.weight(tmp_path / "a.jpg", (6, 8)).min() == 1
    assert masks.weight(tmp_path / "a.webp", (6, 8)).max() == 0
    assert masks.weight(tmp_path / "b.bmp", (6, 8)).min() == 1
    with pytest.raises(UserError, match=r"several masks for b\.jpg: b\.bmp, b\.png"):
        masks.weight(tmp_path / "b.jpg", (6, 8))


def test_names_that_are_composed_differently_are_one(tmp_path: Path) -> None:
    saved(tmp_path / "masks" / unicodedata.normalize("NFD", "Tür.png"), np.zeros((6, 8), np.uint8))
    masks = Masks(tmp_path / "masks", tmp_path)
    assert masks.weight(tmp_path / unicodedata.normalize("NFC", "Tür.jpg"), (6, 8)).max() == 0


def test_a_photo_without_a_mask_names_the_path(tmp_path: Path) -> None:
    saved(tmp_path / "masks/other.png", left_white())
    with pytest.raises(UserError) as caught:
        Masks(tmp_path / "masks", tmp_path).weight(tmp_path / "sub/a.jpg", (6, 8))
    assert str(tmp_path / "masks/sub/a.png") in str(caught.value)


def test_all_masks_that_are_missing_are_told_at_once(tmp_path: Path) -> None:
    root, place = tmp_path / "photos", tmp_path / "masks"
    for name in ("a.png", "sub/b.png", "two.png", "two.bmp"):
        saved(place / name, left_white())
    masks = Masks(place, root)
    masks.check([root / "a.jpg", root / "sub/b.jpg"])
    with pytest.raises(UserError) as caught:
        masks.check([root / name for name in ("a.jpg", "two.jpg", "c.jpg", "sub/a.jpg", "sub/d.jpg", "e.jpg")])
    assert str(caught.value) == (
        f"5 of 6 photos lack a mask of their own: several masks for two.jpg: two.bmp, two.png in {place}; leave one; "
        f"no mask for c.jpg: expected {place / 'c.png'}, or another image's suffix there; "
        f"no mask for sub/a.jpg: expected {place / 'sub/a.png'}, or another image's suffix there; 2 more"
    )
    Masks(place / "a.png").check([root / "any.jpg"])


def test_the_alpha_of_a_mask_of_one_colour_counts(tmp_path: Path) -> None:
    values = np.zeros((30, 40, 4), np.uint8)
    values[:, :20] = (250, 250, 250, 255)
    values[:, 20:25] = (250, 250, 250, 128)
    found = Masks(saved(tmp_path / "mask.png", values), feather_px=0).weight(Path("a.jpg"), (30, 40))
    np.testing.assert_allclose(found, values[..., 3] / 255, atol=0.01)


def test_the_alpha_of_a_mask_with_greys_hides_only(tmp_path: Path) -> None:
    values = np.zeros((30, 40, 4), np.uint8)
    values[..., 3] = 255
    values[:, :20, :3] = 255
    values[:10] = (255, 255, 255, 0)
    found = Masks(saved(tmp_path / "mask.png", values), feather_px=0).weight(Path("a.jpg"), (30, 40))
    expected = left_white() / 255
    expected[:10] = 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_opaque_mask_with_alpha_is_read_by_its_grey(tmp_path: Path) -> None:
    values = np.full((30, 40, 4), (0, 0, 0, 255), np.uint8)
    assert Masks(saved(tmp_path / "mask.png", values)).weight(Path("a.jpg"), (30, 40)).max() == 0


def test_another_shape_is_told(tmp_path: Path) -> None:
    masks = Masks(saved(tmp_path / "mask.png", left_white(300, 400)))
    assert masks.weight(Path("a.jpg"), (300, 406)).shape == (300, 406)
    with pytest.raises(UserError, match="400 x 300 px and the photo 300 x 400 px"):
        masks.weight(Path("a.jpg"), (400, 300))
    small = Masks(saved(tmp_path / "small.png", left_white(8, 10)))  # 10 x 7.5, rounded
    assert small.weight(Path("a.jpg"), (300, 400)).shape == (300, 400)


def test_masks_are_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(left_white(40, 30)).save(tmp_path / "mask.png", exif=exif)
    found = Masks(tmp_path / "mask.png", feather_px=0).weight(Path("a.jpg"), (30, 40))
    assert (found[:15] == 1).all()
    assert (found[15:] == 0).all()


def test_places_without_masks_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such mask"):
        Masks(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no masks in it"):
        Masks(tmp_path / "empty")
    broken = tmp_path / "broken/a.png"
    broken.parent.mkdir()
    broken.write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read"):
        Masks(broken)
    with pytest.raises(UserError, match="cannot be read"):
        Masks(broken.parent, tmp_path).weight(tmp_path / "a.jpg", (6, 8))
