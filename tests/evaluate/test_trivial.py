from __future__ import annotations

import numpy as np
import pytest

from ganstyle.base.draws import Draws
from ganstyle.evaluate.trivial import TRIVIAL, colour_match, mean_colour, mean_image


def images(count: int, low: int, high: int, purpose: str, size: int = 24) -> np.ndarray:
    return Draws(seed=2).stream(purpose).integers(low, high, size=(count, size, size, 3), dtype=np.uint8)


PHOTOS = images(3, 0, 256, "photos")
STYLE = images(5, 90, 151, "style")
STYLE[..., 2] -= 40


def test_the_table_holds_three_answers_of_the_photos_shape() -> None:
    assert list(TRIVIAL) == ["mean_colour", "mean_image", "colour_match"]
    for answer in TRIVIAL.values():
        result = answer(PHOTOS, STYLE)
        assert result.shape == PHOTOS.shape
        assert result.dtype == np.uint8
        assert result.flags.writeable


def test_mean_colour_is_the_mean_over_all_style_pixels() -> None:
    expected = np.rint([np.mean([float(v) for v in STYLE[..., channel].ravel()]) for channel in range(3)])
    assert (mean_colour(PHOTOS, STYLE) == expected).all()


def test_mean_image_is_the_mean_over_the_style_images_at_each_pixel() -> None:
    result = mean_image(PHOTOS, STYLE)
    for place in np.ndindex(24, 24, 3):
        mean = sum(int(one[place]) for one in STYLE) / len(STYLE)
        assert abs(float(result[0][place]) - mean) <= 0.5
    assert (result == result[0]).all()


def test_mean_image_refuses_another_size() -> None:
    with pytest.raises(ValueError, match="another size"):
        mean_image(PHOTOS[:, :8], STYLE)


def test_colour_match_takes_the_styles_mean_and_deviation_for_each_photo() -> None:
    result = colour_match(PHOTOS, STYLE).astype(np.float64)
    np.testing.assert_allclose(result.mean(axis=(1, 2)), np.tile(STYLE.mean(axis=(0, 1, 2)), (3, 1)), atol=0.1)
    np.testing.assert_allclose(result.std(axis=(1, 2)), np.tile(STYLE.std(axis=(0, 1, 2)), (3, 1)), rtol=0.02)


def test_colour_match_equals_the_plain_formula() -> None:
    photo = PHOTOS[1].astype(np.float64)
    matched = (photo - photo.mean(axis=(0, 1))) / photo.std(axis=(0, 1)) * STYLE.std(axis=(0, 1, 2))
    expected = np.clip(np.rint(matched + STYLE.mean(axis=(0, 1, 2))), 0, 255)
    difference = np.abs(colour_match(PHOTOS, STYLE)[1] - expected)
    assert difference.max() <= 1  # a half may be rounded either way
    assert (difference > 0).mean() < 0.001


def test_colour_match_clips_instead_of_wrapping() -> None:
    style = np.zeros((1, 24, 24, 3), np.uint8)
    style[:, :12] = 255
    photo = np.zeros((1, 24, 24, 3), np.uint8)
    photo[:, :1] = 255
    result = colour_match(photo, style)
    assert (result[:, :1] == 255).all()
    assert (result[:, 1:] < 128).all()


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_flat_photo_becomes_the_styles_mean_colour(level: int) -> None:
    flat = np.full((2, 24, 24, 3), level, np.uint8)
    assert (colour_match(flat, STYLE) == mean_colour(flat, STYLE)).all()


def test_a_style_of_its_own_changes_nothing() -> None:
    np.testing.assert_array_equal(colour_match(PHOTOS[:1], PHOTOS[:1]), PHOTOS[:1])
