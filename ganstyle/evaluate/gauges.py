"""What a few fixed images and their translations tell of a generator's health, measured without any network.

Images are uint8 (N, H, W, 3) sRGB. Large ones are looked at in part, so that it costs a few milliseconds at any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from ganstyle.evaluate.truth import FLAT, REC_709, gradient_correlation, luminance_correlation

SIDE_PX = 128  # more pixels a side than these change no verdict
TILE_PX = 32  # holds the periods of 2 and 4 px whole, and leaves frequencies between them to compare with
BESIDE = (-3, -2, 2, 3)  # steps to frequencies beside one: the window spreads every frequency over one step each way
ALIKE = 0.95  # images that correlate as much are one image to the eye: nothing can be said of their translations

PLACES = np.arange(TILE_PX)
HANN = np.sin(np.pi * PLACES / TILE_PX) ** 2
FOURIER = (HANN[:, None] * np.exp(-2j * np.pi * np.outer(PLACES, PLACES) / TILE_PX)).astype(np.complex64)
VISIBLE = float(HANN.sum()) ** 4  # the power of a chequered pattern of plus and minus one grey level
# Of two opposite frequencies one is enough: they have the same power.
STRIDE_FREQUENCIES = [
    (down, across)
    for down, across in product(range(0, TILE_PX, TILE_PX // 4), repeat=2)
    if (0, 0) < (down, across) <= (-down % TILE_PX, -across % TILE_PX)
]


def gauge(
    images: np.ndarray,
    translations: np.ndarray,
    cycled: np.ndarray | None = None,
    target: np.ndarray | None = None,
) -> dict[str, float]:
    """All gauges by name; one that has no meaning for these images is left out.

    Each is the mean over images; what it means, its range and its unit stand at the function that measures it. Beside
    those, `edge_change` is one minus `gradient_correlation`: 0 where edges stay in their places, 1 where none does.

    Args:
        images: the fixed images, (N, H, W, 3).
        translations: of each image, in the same order.
        cycled: the images translated and brought back.
        target: real images (M, H, W, 3) of the domain translated into, whose own faults are no faults of translations.

    Raises:
        ValueError: not uint8 arrays of these shapes.
    """
    numbers = _change(images, translations) | _faults(translations, [images] if target is None else [images, target])
    if len(images) > 1:
        numbers["likeness"] = likeness(_thinned(translations), _thinned(images))
    if cycled is not None:
        numbers["cycle_correlation"] = luminance_correlation(_thinned(cycled), _thinned(images))
        numbers["cycle_error"] = mean_difference(_thinned(cycled), _thinned(images))
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def _change(images: np.ndarray, translations: np.ndarray) -> dict[str, float]:
    return {
        "luminance_correlation": luminance_correlation(_thinned(translations), _thinned(images)),
        "change": mean_difference(_thinned(translations), _thinned(images)),
        "edge_change": 1 - gradient_correlation(_middle(translations), _middle(images)),
    }


def _faults(translations: np.ndarray, real: Sequence[np.ndarray]) -> dict[str, float]:
    thinned = [_thinned(each) for each in real]
    return {
        "contrast": contrast(_thinned(translations), thinned),
        "clipped": clipped(_thinned(translations), thinned),
        "checkerboard": checkerboard(_middle(translations), [_middle(each) for each in real]),
    }


def mean_difference(images: np.ndarray, others: np.ndarray) -> float:
    """Mean absolute difference of all values; 0 for equal images, 1 between black and white.

    `change` of images and their translations, `cycle_error` of images and those brought back.
    """
    return float(np.mean(np.abs(images.astype(np.float32) - others))) / 255


def likeness(translations: np.ndarray, images: np.ndarray) -> float:
    """How much more alike translations of different images are than the images; 0 as alike, 1 all the same picture.

    With r the mean correlation of luminance over all pairs of pictures: (r of translations - r of images) / (1 - r of
    images); below 0 where translations differ more. NaN where the images themselves are alike. For two images or more.
    """
    one, other = np.triu_indices(len(images), 1)
    among_images = luminance_correlation(images[one], images[other])
    if among_images > ALIKE:
        return math.nan
    return (luminance_correlation(translations[one], translations[other]) - among_images) / (1 - among_images)


def contrast(translations: np.ndarray, real: Sequence[np.ndarray]) -> float:
    """Deviation of the luminance over a translation's pixels, relative to the least of the sets of real images.

    0 for flat translations, about 1 for healthy ones. NaN where a set of real images is flat.
    """
    least = min(_deviation(each) for each in real)
    return _deviation(translations) / least if least > FLAT else math.nan


def _deviation(images: np.ndarray) -> float:
    return float(np.mean((images @ REC_709).std(axis=(1, 2))))


def clipped(translations: np.ndarray, real: Sequence[np.ndarray]) -> float:
    """Share of values at the ends of the range, 0-1 or 254-255, beyond that of the set of real images with the most.

    In [-1, 1]; about 0 or below for healthy translations, 1 where everything is saturated and nothing real was.
    """
    return _share_at_ends(translations) - max(_share_at_ends(each) for each in real)


def _share_at_ends(images: np.ndarray) -> float:
    return float(np.mean((images <= 1) | (images >= 254)))


def checkerboard(translations: np.ndarray, real: Sequence[np.ndarray]) -> float:
    """How far the frequencies of a generator's strides stand out in translations more than in real images, in dB.

    Those frequencies are the periods of 2 and 4 px down, across and both. Each one's prominence is its power over that
    of the frequencies beside it in the same pictures; what is given is the largest by which a prominence exceeds 0 and
    that of the same frequency in real images, where JPEG can leave some. About 0 for healthy translations. A pattern
    of less than one grey level does not stand out. NaN for images of less than 32 px.
    """
    if min(translations.shape[1:3]) < TILE_PX:
        return math.nan
    known = np.maximum(0, np.max([_prominences(each) for each in real], axis=0))
    return float(np.max(_prominences(translations) - known))


def _prominences(images: np.ndarray) -> np.ndarray:
    """Of every stride's frequency, in dB."""
    power = _power(images)
    return np.array([10 * math.log10(_prominence(power, *frequency)) for frequency in STRIDE_FREQUENCIES])


def _prominence(power: np.ndarray, down: int, across: int) -> float:
    # Upright and level edges make a ridge of each axis: a frequency on an axis is compared along that axis alone.
    beside = [power[(down + step) % TILE_PX, across] for step in BESIDE if down]
    beside += [power[down, (across + step) % TILE_PX] for step in BESIDE if across]
    # The geometric mean of both sides is the value between them where power falls as a power of the frequency.
    usual = math.exp(np.mean(np.log(np.maximum(beside, 1e-9))))
    return float(power[down, across] + VISIBLE) / (usual + VISIBLE)


def _power(images: np.ndarray) -> np.ndarray:
    """Mean power of the luminance by frequency (32, 32) over tiles of 32 px."""
    rows, columns = images.shape[1] // TILE_PX, images.shape[2] // TILE_PX
    # No eye sees a pattern of 2 px in colour alone.
    luminance = (images[:, : rows * TILE_PX, : columns * TILE_PX] @ REC_709).astype(np.float32) - 127.5
    tiles = luminance.reshape(len(images), rows, TILE_PX, columns, TILE_PX)
    spectra = np.einsum("nrycx,yd,xa->nrcda", tiles, FOURIER, FOURIER, optimize=True)
    power: np.ndarray = np.mean(spectra.real**2 + spectra.imag**2, axis=(0, 1, 2))
    return power


def _thinned(images: np.ndarray) -> np.ndarray:
    """Every so many pixels, for what is measured on each pixel alone."""
    step = max(1, math.ceil(min(images.shape[1:3]) / SIDE_PX))
    return images[:, ::step, ::step]


def _middle(images: np.ndarray) -> np.ndarray:
    """The middle, for what needs neighbouring pixels."""
    height, width = (min(side, SIDE_PX) for side in images.shape[1:3])
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]
