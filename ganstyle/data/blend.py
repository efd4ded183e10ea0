"""Mixing a photo with its translation: by a weight in linear light, or the photo's colours in the translation's light.

All of it works in strips of rows, so that a picture of 100 megapixels needs no gigabytes beside itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

STRIP_PX = 1 << 18  # float32 copies of so many pixels stay in the processor's cache, or nearly

# Ottosson 2020, "A perceptual color space for image processing": linear sRGB -> cone responses, and their cube roots
# -> Oklab (lightness, green to red, blue to yellow).
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
FROM_CONES, FROM_OKLAB = np.linalg.inv(TO_CONES), np.linalg.inv(TO_OKLAB)
GAMUT_SLACK = 1e-6  # float32 rounding of colours that lie on the gamut's surface, such as white
CHROMA_STEPS = 12  # chroma is reduced to within 1/4096 of itself, less than a level of 8 bits

# Strips of the photo, the translation and, for a blend, the weight -> a strip of the result.
Strip = Callable[[slice], np.ndarray]


def blend(original: np.ndarray, translated: np.ndarray, weight: float | np.ndarray) -> np.ndarray:
    """`weight` of the translation and the rest of the photo, mixed in linear light.

    Mixed in linear light a half is what half of the light of each gives; mixed as sRGB values edges turn dark.

    Args:
        original: (H, W, 3) uint8 or uint16, sRGB.
        translated: of the same shape and dtype.
        weight: a number, or float32 (H, W), in 0..1; 0 gives exactly the photo and 1 exactly the translation.

    Returns the same shape and dtype, another array.
    """
    _check(original, translated)
    given = np.asarray(weight, np.float32)
    assert given.min() >= 0, "a weight below 0, or not a number"
    assert given.max() <= 1, "a weight above 1"
    weights = np.broadcast_to(given, original.shape[:2])

    def mixed(rows: slice) -> np.ndarray:
        share = weights[rows, :, None]
        light = to_linear(original[rows]) * (1 - share) + to_linear(translated[rows]) * share
        return from_linear(light, original.dtype)

    return _in_strips(mixed, original)


def keep_colours(original: np.ndarray, translated: np.ndarray) -> np.ndarray:
    """The translation's lightness with the hue and chroma of the photo, in Oklab.

    Oklab and not CIELAB: its hues stay what they are when the lightness changes, where CIELAB's blues turn violet, and
    its white is that of sRGB. A colour that sRGB does not have at that lightness (the photo's blue in a near white)
    gets less chroma at the same lightness and hue; so what is white or black in the translation stays white or black.
    What is grey in the photo is grey in the result.

    Args:
        original: (H, W, 3) uint8 or uint16, sRGB.
        translated: of the same shape and dtype.

    Returns the same shape and dtype, another array.
    """
    _check(original, translated)

    def recoloured(rows: slice) -> np.ndarray:
        colours = oklab(original[rows])
        colours[..., 0] = oklab(translated[rows])[..., 0]
        result = from_linear(_light_within_gamut(colours), original.dtype)
        # Of a grey, rounding may bring one channel of 16 bits to the next level.
        grey = (original[rows] == original[rows, :, :1]).all(axis=-1, keepdims=True)
        return np.where(grey, result[..., 1:2], result)

    return _in_strips(recoloured, original)


def oklab(pixels: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 or uint16 sRGB as float32 Oklab: lightness in 0..1, and the two colour axes."""
    cones = to_linear(pixels) @ TO_CONES.T.astype(np.float32)
    return np.cbrt(cones, out=cones) @ TO_OKLAB.T.astype(np.float32)


def to_linear(pixels: np.ndarray) -> np.ndarray:
    """Turn sRGB values, uint8 or uint16, into float32 linear light in 0..1 (IEC 61966-2-1)."""
    return np.take(_linear_table(pixels.dtype), pixels)


def from_linear(light: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Turn linear light into sRGB values of a dtype, uint8 or uint16, rounded; what lies outside of 0..1 is clipped."""
    return ENCODERS[dtype](np.clip(light, 0, 1))


@cache
def _linear_table(dtype: np.dtype) -> np.ndarray:
    values = np.arange(np.iinfo(dtype).max + 1) / np.iinfo(dtype).max
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _encoded(light: np.ndarray) -> np.ndarray:
    """Linear light in 0..1 by the curve of sRGB, in the same floating point type."""
    # From 0.0031308 on the power lies above the line, and below it under it.
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


@cache
def _levels_table() -> np.ndarray:
    """uint8 levels of 65536 steps of light; even in the shadows a level has twenty steps."""
    return np.rint(_encoded(np.arange(65536) / 65535) * 255).astype(np.uint8)


def _to_levels(light: np.ndarray) -> np.ndarray:
    return np.take(_levels_table(), (light * 65535 + 0.5).astype(np.uint16))


def _to_deep(light: np.ndarray) -> np.ndarray:
    return (_encoded(light) * 65535 + 0.5).astype(np.uint16)


ENCODERS: dict[np.dtype, Callable[[np.ndarray], np.ndarray]] = {
    np.dtype(np.uint8): _to_levels,
    np.dtype(np.uint16): _to_deep,
}


def _light_within_gamut(colours: np.ndarray) -> np.ndarray:
    """Oklab (..., 3) as linear light in sRGB's gamut, chroma reduced where it must be, up to GAMUT_SLACK."""
    light = _light(colours)
    outside = ~_inside(light)
    if outside.any():
        light[outside] = _light(_reduced(colours[outside]))
    return light


def _reduced(colours: np.ndarray) -> np.ndarray:
    """Oklab (N, 3) outside of the gamut with the most chroma that is inside, found by halving."""
    reduced, low, step = colours.copy(), np.zeros((len(colours), 1), np.float32), np.float32(1)
    for _ in range(CHROMA_STEPS):
        step /= 2
        reduced[:, 1:] = colours[:, 1:] * (low + step)
        low[_inside(_light(reduced))] += step
    reduced[:, 1:] = colours[:, 1:] * low
    return reduced


def _light(colours: np.ndarray) -> np.ndarray:
    """Oklab (..., 3) as linear light, also outside of the gamut."""
    roots = colours @ FROM_OKLAB.T.astype(np.float32)
    return roots * roots * roots @ FROM_CONES.T.astype(np.float32)


def _inside(light: np.ndarray) -> np.ndarray:
    inside = (light >= -GAMUT_SLACK) & (light <= 1 + GAMUT_SLACK)
    return np.asarray(inside.all(axis=-1))


def _check(original: np.ndarray, translated: np.ndarray) -> None:
    assert original.shape == translated.shape, (original.shape, translated.shape)
    assert original.dtype == translated.dtype, (original.dtype, translated.dtype)
    assert original.dtype in ENCODERS, original.dtype


def _in_strips(strip: Strip, like: np.ndarray) -> np.ndarray:
    """An array like another one, made a few rows at a time."""
    result = np.empty(like.shape, like.dtype)
    rows = max(1, STRIP_PX // max(1, like.shape[1]))
    for top in range(0, len(like), rows):
        part = slice(top, top + rows)
        result[part] = strip(part)
    return result
