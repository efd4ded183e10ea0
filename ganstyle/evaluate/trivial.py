"""Answers that need no learning; a model is worth something only where it beats them.

Each takes photos (N, H, W, 3) and style images (M, H, W, 3), uint8, and returns one uint8 answer for each photo.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def mean_colour(photos: np.ndarray, style_images: np.ndarray) -> np.ndarray:
    """One flat colour for every photo: the mean over all pixels of the style images."""
    mean, _ = _statistics(style_images)
    return np.broadcast_to(_to_uint8(mean), photos.shape).copy()


def mean_image(photos: np.ndarray, style_images: np.ndarray) -> np.ndarray:
    """The same image for every photo: the mean of all style images, pixel by pixel.

    Raises:
        ValueError: the photos have another size than the style images.
    """
    if photos.shape[1:] != style_images.shape[1:]:
        raise ValueError(f"photos of shape {photos.shape} have another size than style images of {style_images.shape}")
    return np.broadcast_to(_to_uint8(style_images.mean(axis=0, dtype=np.float64)), photos.shape).copy()


def colour_match(photos: np.ndarray, style_images: np.ndarray) -> np.ndarray:
    """Each photo with the mean and the deviation of each RGB channel taken from all style pixels.

    After Reinhard et al. 2001, "Color Transfer between Images", in RGB. A channel that is flat in the photo becomes the
    style's mean.
    """
    target_mean, target_deviation = _statistics(style_images)
    answers = np.empty_like(photos)
    for index, photo in enumerate(photos):
        mean, deviation = _statistics(photo[None])
        # Rounding can leave a tiny deviation in a flat channel, which would be blown up to noise.
        gain = np.where(deviation > 1e-3, target_deviation / np.maximum(deviation, 1e-3), 0.0)
        answers[index] = _to_uint8((photo - mean) * gain + target_mean)
    return answers


TRIVIAL: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean_colour": mean_colour,
    "mean_image": mean_image,
    "colour_match": colour_match,
}


def _statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels, an image at a time to spare memory."""
    means = np.array([image.mean(axis=(0, 1), dtype=np.float64) for image in images])
    squares = np.array([np.mean(image.astype(np.float64) ** 2, axis=(0, 1)) for image in images])
    mean = means.mean(axis=0)
    return mean, np.sqrt(np.maximum(squares.mean(axis=0) - mean**2, 0))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
