"""Scores of translated images against the known truth, image by image; images are uint8 (N, H, W, 3) sRGB."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

REC_709 = np.array([0.2126, 0.7152, 0.0722])  # weights of red, green and blue in luminance
FLAT = 1e-6  # grey levels; below this deviation an image is flat and what is left is rounding


def psnr(images: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, the mean over images of each image's own; infinite where one equals its truth.

    Raises:
        ValueError: not two uint8 arrays of one shape (N, H, W, 3).
    """
    return _mean_over_pairs(_psnr_of_pair, images, truth)


def gradient_correlation(images: np.ndarray, truth: np.ndarray) -> float:
    """Pearson correlation of where the edges are, the mean over images; in [-1, 1], 0 for a flat image.

    Compares magnitudes of Sobel gradients of the luminance (Rec. 709 weights on the sRGB values), over the pixels that
    have all eight neighbours. Raises as `psnr` does, also for sides under 3 px.
    """
    if min(images.shape[1:3]) < 3:
        raise ValueError(f"images of shape {images.shape}; gradients need sides of 3 px or more")
    return _mean_over_pairs(lambda x, y: _pearson(_gradient(x), _gradient(y)), images, truth)


def luminance_correlation(images: np.ndarray, others: np.ndarray) -> float:
    """Pearson correlation of the luminance (Rec. 709 weights on the sRGB values), the mean over images.

    In [-1, 1], 0 for a flat image; below 0 where dark and light are exchanged. Raises as `psnr` does.
    """
    return _mean_over_pairs(lambda x, y: _pearson(_luminance(x), _luminance(y)), images, others)


def _mean_over_pairs(score: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray) -> float:
    for images in (x, y):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or images.size == 0:
            raise ValueError(f"images of type {images.dtype} and shape {images.shape}; expected uint8 (N, H, W, 3)")
    if x.shape != y.shape:
        raise ValueError(f"images of shape {x.shape} cannot be compared with images of shape {y.shape}")
    return float(np.mean([score(one, other) for one, other in zip(x, y, strict=True)]))


def _psnr_of_pair(image: np.ndarray, truth: np.ndarray) -> float:
    error = np.mean((image.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(255**2 / error)) if error > 0 else float("inf")


def _luminance(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) @ REC_709


def _gradient(image: np.ndarray) -> np.ndarray:
    """Magnitude of the Sobel gradient of the luminance: (H, W, 3) -> (H - 2, W - 2)."""
    luminance = _luminance(image)
    across = luminance[:, 2:] - luminance[:, :-2]
    down = luminance[2:] - luminance[:-2]
    horizontal = across[:-2] + 2 * across[1:-1] + across[2:]
    vertical = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return np.hypot(horizontal, vertical)


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    deviation_x, deviation_y = np.sqrt(np.mean(x**2)), np.sqrt(np.mean(y**2))
    if min(deviation_x, deviation_y) < FLAT:
        return 0.0
    return float(np.mean(x * y) / (deviation_x * deviation_y))
