from __future__ import annotations

import math

import numpy as np
import pytest

from ganstyle.base.draws import Draws
from ganstyle.evaluate.structure import structure_similarities, structure_similarity


def noise(*shape: int, purpose: str = "images") -> np.ndarray:
    return Draws(seed=1).stream(purpose).integers(0, 256, size=shape, dtype=np.uint8)


def smooth(count: int, size: int = 32, purpose: str = "smooth") -> np.ndarray:
    """Waves of 8 px and more, grey levels from about 40 to 215."""
    stream = Draws(seed=2).stream(purpose)
    down, across = np.mgrid[:size, :size] * 2 * np.pi / size
    waves = [np.sin(stream.integers(1, 5) * down + stream.integers(1, 5) * across + stream.random()) for _ in range(3)]
    image = 127.5 + 29 * sum(waves)
    return np.repeat(np.stack([np.roll(image, shift, axis=1) for shift in range(count)])[..., None], 3, axis=3).astype(
        np.uint8
    )


def slow_similarity(image: np.ndarray, other: np.ndarray) -> float:
    """Window by window, pixel by pixel, with the noise's variance added to both variances and to the covariance."""

    def grey(pixel: np.ndarray) -> float:
        return 0.2126 * float(pixel[0]) + 0.7152 * float(pixel[1]) + 0.0722 * float(pixel[2])

    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * 1.5**2)) for i in range(-5, 6) for j in range(-5, 6)}
    total, noise_variance, values = sum(weights.values()), 2.55**2, []
    for row in range(5, image.shape[0] - 5):
        for column in range(5, image.shape[1] - 5):
            window = [
                (w / total, grey(image[row + i, column + j]), grey(other[row + i, column + j]))
                for (i, j), w in weights.items()
            ]
            mean_x, mean_y = sum(w * x for w, x, _ in window), sum(w * y for w, _, y in window)
            variance_x = sum(w * (x - mean_x) ** 2 for w, x, _ in window)
            variance_y = sum(w * (y - mean_y) ** 2 for w, _, y in window)
            covariance = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in window)
            noisy = math.sqrt((variance_x + noise_variance) * (variance_y + noise_variance))
            values.append((covariance + noise_variance) / noisy)
    return sum(values) / len(values)


def test_it_equals_the_slow_loop_over_windows() -> None:
    images = np.concatenate([noise(1, 13, 15, 3), smooth(1)[:, :13, :15], noise(1, 13, 15, 3, purpose="third")])
    others = np.concatenate([noise(1, 13, 15, 3, purpose="others"), 255 - smooth(1)[:, :13, :15], images[2:] // 2])
    expected = [slow_similarity(x, y) for x, y in zip(images, others, strict=True)]
    assert expected[1] < 0 < expected[2]
    np.testing.assert_allclose(structure_similarities(images, others), expected, rtol=1e-9, atol=1e-12)
    assert structure_similarity(images, others) == pytest.approx(np.mean(expected))


def test_an_image_keeps_its_own_structure_at_any_brightness_and_contrast() -> None:
    for images in (smooth(2), noise(2, 32, 32, 3)):
        np.testing.assert_allclose(structure_similarities(images, images), 1)
        darker = (images * 0.5 + 20).astype(np.uint8)
        assert (structure_similarities(images, darker) > 0.97).all()
        np.testing.assert_allclose(structure_similarities(images, darker), structure_similarities(darker, images))


def test_unrelated_images_keep_none_and_inverted_ones_less() -> None:
    images = noise(3, 64, 64, 3)
    assert np.abs(structure_similarities(images, noise(3, 64, 64, 3, purpose="other"))).max() < 0.05
    assert (structure_similarities(images, 255 - images) < -0.9).all()


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_flat_answer_keeps_little_though_flat_places_match_flat_places(level: int) -> None:
    flat = np.full((2, 32, 32, 3), level, np.uint8)
    np.testing.assert_allclose(structure_similarities(flat, np.full_like(flat, 30)), 1)
    for images in (smooth(2), noise(2, 32, 32, 3)):
        assert (structure_similarities(images, flat) < 0.35).all()
        assert np.isfinite(structure_similarities(flat, images)).all()


def test_what_cannot_be_compared_is_refused() -> None:
    images = noise(2, 12, 12, 3)
    for bad in (images[:1], images[:, :11], images.astype(np.float32)):
        with pytest.raises(ValueError, match="expected uint8"):
            structure_similarities(bad, images)
    for small in (images[:0], images[:, :10], images[..., :1], images[0]):
        with pytest.raises(ValueError, match="sides of 11 px or more"):
            structure_similarities(small, small)
