"""How much of an image's content its translation keeps, told without trained weights; uint8 (N, H, W, 3) sRGB."""

from __future__ import annotations

import cv2
import numpy as np

from ganstyle.evaluate.truth import REC_709

WINDOW_PX = 11
SIGMA_PX = 1.5
NOISE_VARIANCE = (0.01 * 255) ** 2  # grey levels squared; the size of the smallest constant of SSIM


def structure_similarity(images: np.ndarray, others: np.ndarray) -> float:
    """The mean over images of `structure_similarities`."""
    return float(structure_similarities(images, others).mean())


def structure_similarities(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How well each image keeps the local structure of the other, (N,) in [-1, 1], the mean over all places.

    1 for the same image, also at another brightness or contrast; near 0 for an unrelated or a flat one; below 0 where
    dark and light are exchanged. At each place that has a whole window around it: the correlation of luminance (Rec.
    709 weights on the sRGB values) in a window of 11 x 11 px, weighted by a Gaussian of 1.5 px.

    Source: the structure term of SSIM, Wang et al. 2004, "Image Quality Assessment", equation 10.
    Differs from the paper: (s_xy + C) / (sqrt(s_x^2 + C) sqrt(s_y^2 + C)), which is the correlation if both had the
    same faint noise of variance C on them; (s_xy + C) / (s_x s_y + C) would call a flat image the best answer.

    Raises:
        ValueError: not two uint8 arrays of one shape (N, H, W, 3), or sides under 11 px.
    """
    _check(images, others)
    return np.array([_similarity(x, y) for x, y in zip(images, others, strict=True)])


def _similarity(image: np.ndarray, other: np.ndarray) -> float:
    x, y = image @ REC_709, other @ REC_709
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = np.maximum(_windowed(x * x) - mean_x**2, 0)  # rounding can leave less than nothing
    variance_y = np.maximum(_windowed(y * y) - mean_y**2, 0)
    covariance = _windowed(x * y) - mean_x * mean_y
    noisy_x, noisy_y = variance_x + NOISE_VARIANCE, variance_y + NOISE_VARIANCE
    return float(np.mean((covariance + NOISE_VARIANCE) / np.sqrt(noisy_x * noisy_y)))


def _windowed(values: np.ndarray) -> np.ndarray:
    """Weighted mean around each place that has a whole window: (H, W) -> (H - 10, W - 10)."""
    margin = WINDOW_PX // 2
    blurred = cv2.GaussianBlur(values, (WINDOW_PX, WINDOW_PX), SIGMA_PX)
    return blurred[margin:-margin, margin:-margin]


def _check(images: np.ndarray, others: np.ndarray) -> None:
    shape = images.shape
    if shape != others.shape or {images.dtype, others.dtype} != {np.dtype(np.uint8)}:
        raise ValueError(f"images of shape {shape}, {images.dtype}, and {others.shape}, {others.dtype}; expected uint8")
    if len(shape) != 4 or shape[3] != 3 or shape[0] == 0 or min(shape[1:3]) < WINDOW_PX:
        raise ValueError(f"images of shape {shape}; expected (N, H, W, 3) with sides of {WINDOW_PX} px or more")
