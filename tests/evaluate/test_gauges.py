from __future__ import annotations

import cmath
import itertools
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from ganstyle.base.draws import Draws
from ganstyle.data.images import read_image
from ganstyle.evaluate.gauges import (
    BESIDE,
    checkerboard,
    clipped,
    contrast,
    gauge,
    likeness,
    mean_difference,
)

PHOTO2INK = Path(__file__).resolve().parents[2] / "../shared/data/photo2ink"
ALL = {
    "luminance_correlation",
    "change",
    "edge_change",
    "contrast",
    "clipped",
    "checkerboard",
    "likeness",
    "cycle_error",
    "cycle_correlation",
}


def noise(*shape: int, purpose: str = "images") -> np.ndarray:
    return Draws(seed=1).stream(purpose).integers(0, 256, size=shape, dtype=np.uint8)


def landscapes(count: int, height: int, width: int, *, purpose: str = "landscapes") -> np.ndarray:
    """Random images whose amplitude falls with the frequency, as in photographs; values from 30 to 225."""
    white = Draws(seed=1).stream(purpose).standard_normal((count, height, width, 3))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))[:, :, None]
    shaped = np.fft.ifft2(np.fft.fft2(white, axes=(1, 2)) / np.maximum(frequency, 1 / width), axes=(1, 2)).real
    least, most = shaped.min(axis=(1, 2, 3), keepdims=True), shaped.max(axis=(1, 2, 3), keepdims=True)
    return np.rint(30 + 195 * (shaped - least) / (most - least)).astype(np.uint8)


def pattern(height: int, width: int, amplitude: float, *, down: int, across: int) -> np.ndarray:
    """A wave of so many grey levels with periods in px, 0 for none; (H, W, 1)."""
    rows = [math.cos(2 * math.pi * row / down) if down else 1.0 for row in range(height)]
    columns = [math.cos(2 * math.pi * column / across) if across else 1.0 for column in range(width)]
    return amplitude * np.outer(rows, columns)[:, :, None]


def added(images: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(images + pattern), 0, 255).astype(np.uint8)


# Formulas.


def test_the_mean_difference_equals_the_slow_loop() -> None:
    x, y = noise(2, 5, 4, 3), noise(2, 5, 4, 3, purpose="other")
    differences = [abs(p - q) for p, q in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)]
    assert mean_difference(x, y) == pytest.approx(statistics.mean(differences) / 255, rel=1e-6)
    assert mean_difference(x, x) == 0
    assert mean_difference(np.zeros_like(x), np.full_like(x, 255)) == 1


def slow_luminance(image: np.ndarray) -> list[float]:
    return [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in image.reshape(-1, 3).tolist()]


def test_likeness_equals_the_slow_loop_over_pairs() -> None:
    images, translations = landscapes(3, 9, 8), landscapes(3, 9, 8, purpose="translations")
    means = []
    for pictures in (translations, images):
        pairs = itertools.combinations(range(3), 2)
        each = [np.corrcoef(slow_luminance(pictures[i]), slow_luminance(pictures[j]))[0, 1] for i, j in pairs]
        assert len(each) == 3
        means.append(statistics.mean(each))
    assert likeness(translations, images) == pytest.approx((means[0] - means[1]) / (1 - means[1]), rel=1e-6)


def test_likeness_is_0_for_the_images_themselves_and_1_for_one_picture() -> None:
    images = landscapes(4, 32, 32)
    assert likeness(images, images) == pytest.approx(0)
    assert likeness(np.repeat(images[:1], 4, axis=0), images) == pytest.approx(1)
    assert math.isnan(likeness(images, np.repeat(images[:1], 4, axis=0)))


def test_contrast_equals_the_slow_deviations_relative_to_the_least() -> None:
    translations, images, target = noise(2, 5, 4, 3), landscapes(2, 5, 4), landscapes(3, 6, 7, purpose="target")
    deviations = [
        statistics.mean(statistics.pstdev(slow_luminance(image)) for image in pictures)
        for pictures in (translations, images, target)
    ]
    assert contrast(translations, [images, target]) == pytest.approx(deviations[0] / min(deviations[1:]), rel=1e-9)
    assert contrast(np.full_like(translations, 77), [images, target]) == pytest.approx(0, abs=1e-9)
    assert math.isnan(contrast(translations, [images, np.full_like(target, 200)]))


def test_clipped_counts_values_at_the_ends_beyond_the_real_images() -> None:
    translations = np.array([0, 1, 2, 100, 253, 254], np.uint8).reshape(1, 1, 2, 3)
    images = np.array([0, 255, 2, 3, 253, 254], np.uint8).reshape(1, 1, 2, 3)
    grey = np.full((2, 4, 4, 3), 100, np.uint8)
    assert clipped(translations, [grey]) == pytest.approx(3 / 6)
    assert clipped(grey, [images]) == pytest.approx(-3 / 6)
    assert clipped(translations, [grey, images]) == pytest.approx(0)


def slow_power(image: np.ndarray, down: int, across: int) -> float:
    """Of the luminance of one 32 px image at one frequency."""
    window = [math.sin(math.pi * place / 32) ** 2 for place in range(32)]
    transformed = 0j
    for (row, column), value in zip(itertools.product(range(32), repeat=2), slow_luminance(image), strict=True):
        wave = cmath.exp(-2j * math.pi * (down * row + across * column) / 32)
        transformed += window[row] * window[column] * (value - 127.5) * wave
    return abs(transformed) ** 2


def slow_prominence(image: np.ndarray, down: int, across: int) -> float:
    visible = slow_power(128.5 + pattern(32, 32, 1, down=2, across=2).repeat(3, axis=2) - 1, 16, 16)
    beside = [slow_power(image, down + step, across) for step in BESIDE if down]
    beside += [slow_power(image, down, across + step) for step in BESIDE if across]
    usual = math.exp(statistics.mean(math.log(power) for power in beside))
    return 10 * math.log10((slow_power(image, down, across) + visible) / (usual + visible))


def test_the_checkerboard_equals_slow_fourier_sums() -> None:
    translation, image = landscapes(1, 32, 32), landscapes(1, 32, 32, purpose="other")
    every = [each for each in itertools.product((0, 8, 16, 24), repeat=2) if each != (0, 0)]
    known = {each: max(0.0, slow_prominence(image[0], *each)) for each in every}
    slow = max(slow_prominence(translation[0], *each) - known[each] for each in every)
    assert checkerboard(translation, [image]) == pytest.approx(slow, abs=1e-3)


@pytest.mark.parametrize(("down", "across"), [(2, 0), (0, 2), (2, 2), (4, 0), (0, 4), (4, 4), (2, 4), (4, 2)])
def test_a_pattern_of_any_stride_stands_out_by_its_power_over_one_grey_level(down: int, across: int) -> None:
    flat = np.full((2, 70, 100, 3), 120, np.uint8)
    # A wave of period 4 shares its power between two frequencies, each of half the amplitude.
    halves = (down == 4) + (across == 4)
    expected = 10 * math.log10((20 / 2**halves) ** 2 + 1)
    assert checkerboard(added(flat, pattern(70, 100, 20, down=down, across=across)), [flat]) == pytest.approx(expected)


def test_what_is_in_the_images_or_in_their_target_is_no_checkerboard() -> None:
    images, target = landscapes(2, 64, 64), landscapes(3, 64, 64, purpose="target")
    grid = pattern(64, 64, 8, down=4, across=0)
    assert checkerboard(added(images, grid), [images, target]) > 7
    assert checkerboard(added(images, grid), [added(images, grid), target]) == pytest.approx(0)
    assert checkerboard(added(images, grid), [images, added(target, grid)]) < 3


# All of them.


def test_all_gauges_are_given_and_finite() -> None:
    images, target = landscapes(4, 40, 50), landscapes(2, 40, 50, purpose="target")
    numbers = gauge(images, 255 - images, images, target)
    assert set(numbers) == ALL
    assert all(type(number) is float and math.isfinite(number) for number in numbers.values())
    assert numbers["luminance_correlation"] == pytest.approx(-1)
    assert numbers["edge_change"] == pytest.approx(0)
    assert numbers["cycle_error"] == 0
    assert numbers["cycle_correlation"] == pytest.approx(1)


def test_one_image_has_no_likeness_and_a_way_without_return_no_cycle() -> None:
    images = landscapes(1, 40, 50)
    assert set(gauge(images, images)) == ALL - {"likeness", "cycle_error", "cycle_correlation"}


def test_what_has_no_meaning_is_left_out() -> None:
    small = landscapes(2, 16, 16)
    assert set(gauge(small, small, small)) == ALL - {"checkerboard"}
    flat = np.full((2, 40, 40, 3), 90, np.uint8)
    assert set(gauge(flat, flat, flat)) == ALL - {"contrast"}


def test_large_images_are_judged_as_small_ones() -> None:
    images, target = landscapes(4, 300, 280), landscapes(4, 300, 280, purpose="target")
    for translations, name, low, high in (
        (255 - images, "luminance_correlation", -1.0, -0.99),
        (images, "change", 0.0, 0.0),
        (np.repeat(images[:1], 4, axis=0), "likeness", 0.99, 1.01),
        (added(images, pattern(300, 280, 20, down=2, across=2)), "checkerboard", 12.0, 40.0),
        (np.full_like(images, 4), "contrast", 0.0, 0.01),
        (np.where(images > 120, 255, 0).astype(np.uint8), "clipped", 0.99, 1.0),
    ):
        assert low <= gauge(images, translations, images, target)[name] <= high, name


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    images = landscapes(2, 32, 32)
    with pytest.raises(ValueError, match="shape"):
        gauge(images, images[:1])
    with pytest.raises(ValueError, match="shape"):
        gauge(images, images, images[:1])


# Real photographs.


def photos(folder: str, count: int, side: int) -> np.ndarray:
    place = PHOTO2INK / folder
    if not place.is_dir():
        pytest.skip(f"needs the photographs of {PHOTO2INK}, which are not there")
    pixels = [read_image(path).pixels for path in sorted(place.glob("*.jpg"))[:count]]
    crops = []
    for each in pixels:
        top, left = (each.shape[0] - side) // 2, (each.shape[1] - side) // 2
        crops.append(each[top : top + side, left : left + side])
    return np.stack(crops)


def test_real_photographs_have_no_fault_of_their_own() -> None:
    a, b = photos("trainA", 8, 128), photos("trainB", 8, 128)
    numbers = gauge(a[:4], a[4:], None, b[:4])
    assert numbers["checkerboard"] < 6
    assert numbers["contrast"] > 0.5
    assert numbers["clipped"] < 0.1
    assert abs(numbers["likeness"]) < 0.5
