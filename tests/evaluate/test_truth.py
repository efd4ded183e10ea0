from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from ganstyle.base.draws import Draws
from ganstyle.evaluate.truth import gradient_correlation, luminance_correlation, psnr

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def noise(*shape: int, purpose: str = "images") -> np.ndarray:
    return Draws(seed=1).stream(purpose).integers(0, 256, size=shape, dtype=np.uint8)


def slow_luminance(image: np.ndarray) -> list[list[float]]:
    return [[0.2126 * float(p[0]) + 0.7152 * float(p[1]) + 0.0722 * float(p[2]) for p in row] for row in image]


def slow_gradient(image: np.ndarray) -> list[float]:
    luminance = np.array(slow_luminance(image))
    values = []
    for i in range(1, len(luminance) - 1):
        for j in range(1, len(luminance[0]) - 1):
            around = luminance[i - 1 : i + 2, j - 1 : j + 2]
            values.append(math.hypot(float((around * SOBEL).sum()), float((around * SOBEL.T).sum())))
    return values


def test_psnr_equals_the_slow_loop_over_images() -> None:
    x, truth = noise(3, 5, 4, 3), noise(3, 5, 4, 3, purpose="truth")
    each = []
    for image, other in zip(x, truth, strict=True):
        pairs = zip(image.ravel().tolist(), other.ravel().tolist(), strict=True)
        each.append(10 * math.log10(255**2 / (sum((p - q) ** 2 for p, q in pairs) / image.size)))
    assert psnr(x, truth) == pytest.approx(sum(each) / 3, rel=1e-12)


def test_psnr_of_an_error_of_one_level_and_of_the_truth_itself() -> None:
    truth = np.full((2, 4, 4, 3), 100, np.uint8)
    assert psnr(truth + np.uint8(1), truth) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(truth, truth + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(truth, truth) == math.inf


def test_gradient_correlation_equals_the_slow_loop() -> None:
    x, truth = noise(2, 7, 9, 3), noise(2, 7, 9, 3, purpose="truth")
    each = [np.corrcoef(slow_gradient(a), slow_gradient(b))[0, 1] for a, b in zip(x, truth, strict=True)]
    assert gradient_correlation(x, truth) == pytest.approx(np.mean(each), rel=1e-9)


def test_gradient_correlation_sees_edges_whatever_their_polarity() -> None:
    x = noise(2, 16, 16, 3)
    assert gradient_correlation(x, x) == pytest.approx(1)
    assert gradient_correlation(255 - x, x) == pytest.approx(1)
    assert abs(gradient_correlation(noise(2, 64, 64, 3), noise(2, 64, 64, 3, purpose="other"))) < 0.1


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (37, 141, 203)])
def test_a_flat_image_correlates_with_nothing(colour: tuple[int, int, int]) -> None:
    flat = np.broadcast_to(np.array(colour, np.uint8), (2, 9, 9, 3))
    for correlation in (gradient_correlation, luminance_correlation):
        assert correlation(flat, noise(2, 9, 9, 3)) == 0
        assert correlation(noise(2, 9, 9, 3), flat) == 0


def test_a_flat_image_counts_as_zero_in_the_mean() -> None:
    x = noise(2, 9, 9, 3)
    half = x.copy()
    half[1] = 90
    assert gradient_correlation(half, x) == pytest.approx(0.5)
    assert luminance_correlation(half, x) == pytest.approx(0.5)


def test_luminance_correlation_equals_the_slow_loop_and_tells_an_inversion() -> None:
    x, y = noise(2, 6, 5, 3), noise(2, 6, 5, 3, purpose="other")
    pairs = [(np.ravel(slow_luminance(a)), np.ravel(slow_luminance(b))) for a, b in zip(x, y, strict=True)]
    each = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    assert luminance_correlation(x, y) == pytest.approx(np.mean(each), rel=1e-9)
    assert luminance_correlation(255 - x, x) == pytest.approx(-1)


@pytest.mark.parametrize("score", [psnr, gradient_correlation, luminance_correlation])
def test_images_that_cannot_be_compared_are_refused(score: Callable[[np.ndarray, np.ndarray], float]) -> None:
    x = noise(2, 8, 8, 3)
    for bad in (x[:1], x[:, :4], x.astype(np.float32)):
        with pytest.raises(ValueError, match="shape"):
            score(bad, x)
    with pytest.raises(ValueError, match="shape"):
        score(x[:0], x[:0])


def test_gradients_need_three_pixels() -> None:
    with pytest.raises(ValueError, match="3 px"):
        gradient_correlation(noise(1, 2, 8, 3), noise(1, 2, 8, 3))
