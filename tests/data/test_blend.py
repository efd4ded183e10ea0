from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ganstyle.data import blend as module
from ganstyle.data.blend import blend, from_linear, keep_colours, oklab, to_linear

DTYPES = [np.uint8, np.uint16]


def noise(dtype: type, *, seed: int, height: int = 37, width: int = 41) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def slow_linear(pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float64) / np.iinfo(pixels.dtype).max
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def slow_values(light: np.ndarray) -> np.ndarray:
    """sRGB values in 0..1, not rounded."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light.clip(0.003) ** (1 / 2.4) - 0.055)


def slow_oklab(pixels: np.ndarray) -> np.ndarray:
    """Written out as in Ottosson's text, in float64."""
    r, g, b = np.moveaxis(slow_linear(pixels), -1, 0)
    l = np.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)  # noqa: E741
    m = np.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    s = np.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    lightness = 0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s
    green_red = 1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s
    blue_yellow = 0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s
    return np.stack([lightness, green_red, blue_yellow], axis=-1)


def hue_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """In radians, of Oklab colours."""
    angles = np.arctan2(one[..., 2], one[..., 1]) - np.arctan2(other[..., 2], other[..., 1])
    return np.abs((angles + np.pi) % (2 * np.pi) - np.pi)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", ["number", "map"])
def test_blending_is_the_formula_in_linear_light(dtype: type, weight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRIP_PX", 41 * 5)  # the last strip is a shorter one
    photo, drawing = noise(dtype, seed=0), noise(dtype, seed=1)
    share = 0.3 if weight == "number" else np.random.default_rng(2).random(photo.shape[:2], np.float32)
    wide = np.broadcast_to(share, photo.shape[:2])[..., None].astype(np.float64)
    expected = slow_values((1 - wide) * slow_linear(photo) + wide * slow_linear(drawing)) * np.iinfo(dtype).max

    mixed = blend(photo, drawing, share)
    assert mixed.dtype == dtype
    # Half a level is rounding; the table of 8 bits and float32 of 16 bits add a little in the shadows.
    assert np.abs(mixed - expected).max() < 0.6


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_none_and_one_are_the_photo_and_the_translation_exactly(dtype: type) -> None:
    levels: np.ndarray = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    photo = np.stack([levels, levels[::-1], levels], axis=-1)[None]
    drawing = np.stack([levels[::-1], levels, np.roll(levels, 7)], axis=-1)[None]
    ones = np.ones(photo.shape[:2], np.float32)
    for none, one in ((0.0, 1.0), (0 * ones, ones)):
        assert np.array_equal(blend(photo, drawing, none), photo)
        assert np.array_equal(blend(photo, drawing, one), drawing)
    assert np.array_equal(blend(photo, photo, 0.37), photo)


def test_half_of_black_and_white_has_half_of_the_light() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert (blend(black, white, 0.5) == 188).all()  # the mean of sRGB values would be 128


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_weights_outside_of_their_range_are_our_mistake(weight: float) -> None:
    picture = noise(np.uint8, seed=0)
    with pytest.raises(AssertionError):
        blend(picture, picture, weight)


def test_pictures_that_do_not_fit_are_our_mistake() -> None:
    with pytest.raises(AssertionError):
        blend(noise(np.uint8, seed=0), noise(np.uint8, seed=0, width=40), 0.5)
    with pytest.raises(AssertionError):
        keep_colours(noise(np.uint8, seed=0), noise(np.uint16, seed=0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_level_survives_linear_light(dtype: type) -> None:
    levels: np.ndarray = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    np.testing.assert_allclose(to_linear(levels), slow_linear(levels), rtol=1e-6)
    assert np.array_equal(from_linear(to_linear(levels), levels.dtype), levels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_oklab_is_that_of_its_author(dtype: type) -> None:
    pixels = noise(dtype, seed=3)
    np.testing.assert_allclose(oklab(pixels), slow_oklab(pixels), atol=2e-6)
    white: np.ndarray = np.full((1, 3), np.iinfo(dtype).max, dtype)
    red: np.ndarray = np.array([[np.iinfo(dtype).max, 0, 0]], dtype)
    np.testing.assert_allclose(oklab(white), [[1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(oklab(red), [[0.627955, 0.224863, 0.125846]], atol=1e-5)  # published


@pytest.mark.parametrize("dtype", DTYPES)
def test_colours_are_the_photos_and_lightness_the_translations(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRIP_PX", 41 * 5)
    photo, drawing = noise(dtype, seed=4), noise(dtype, seed=5)
    result = keep_colours(photo, drawing)
    assert result.dtype == dtype

    wanted, found = slow_oklab(photo), slow_oklab(result)
    wanted[..., 0] = slow_oklab(drawing)[..., 0]
    slack = 0.004 if dtype == np.uint8 else 0.002  # a rounded level; near black even one of 16 bits is much in Oklab
    bright = wanted[..., 0] > 0.15
    assert bright.mean() > 0.9
    assert np.abs(found - wanted)[bright][..., 0].max() < slack

    chroma, kept = np.hypot(wanted[..., 1], wanted[..., 2]), np.hypot(found[..., 1], found[..., 2])
    coloured = bright & (kept > 0.05)
    assert coloured.mean() > 0.5
    assert hue_difference(found, wanted)[coloured].max() < (0.1 if dtype == np.uint8 else 0.02)
    assert (kept <= chroma + 0.01)[bright].all()
    whole = np.abs(kept - chroma) < 0.01
    assert 0.2 < whole[bright].mean() < 0.95
    # What was reduced was reduced no more than needed: it lies on the surface of the gamut.
    highest = np.iinfo(dtype).max
    at_surface = (result.min(axis=-1) <= 0.01 * highest) | (result.max(axis=-1) >= 0.99 * highest)
    assert at_surface[bright & ~whole].mean() > 0.99


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_grey_photo_gives_a_grey_result(dtype: type) -> None:
    photo = np.repeat(noise(dtype, seed=6, height=200, width=200)[..., :1], 3, axis=-1)
    result = keep_colours(photo, noise(dtype, seed=7, height=200, width=200))
    assert (np.ptp(result.astype(np.int32), axis=-1) == 0).all()
    assert result.std() > 0.1 * np.iinfo(dtype).max


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_photo_on_itself_stays_as_it_is(dtype: type) -> None:
    photo = noise(dtype, seed=8)
    found = keep_colours(photo, photo).astype(np.int64)
    assert np.abs(found - photo).max() <= (1 if dtype == np.uint8 else 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_white_and_black_of_the_translation_stay(dtype: type) -> None:
    photo = noise(dtype, seed=9)
    drawing: np.ndarray = np.zeros((37, 41, 3), dtype)
    drawing[:20] = np.iinfo(dtype).max
    found = keep_colours(photo, drawing).astype(np.int64)
    assert np.abs(found - drawing).max() <= (1 if dtype == np.uint8 else 40)


@pytest.mark.parametrize("work", [lambda a, b: blend(a, b, 0.5), keep_colours], ids=["blend", "keep_colours"])
def test_large_pictures_take_little_memory_beside_the_result(work: object) -> None:
    photo = noise(np.uint8, seed=10, height=2400, width=2000)
    keep_colours(photo[:8], photo[:8])  # the tables are made
    tracemalloc.start()
    try:
        work(photo, photo[::-1])  # type: ignore[operator]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < photo.nbytes + 48 * module.STRIP_PX * 3  # float32 of the whole would be four times the picture alone
    assert peak < 4 * photo.nbytes


def test_pictures_of_no_rows_and_of_one_pixel_work() -> None:
    assert blend(np.zeros((0, 4, 3), np.uint8), np.zeros((0, 4, 3), np.uint8), 0.5).shape == (0, 4, 3)
    pixel = np.array([[[200, 30, 40]]], np.uint8)
    assert np.abs(keep_colours(pixel, pixel).astype(int) - pixel).max() <= 1
