"""ICC profiles of curves and a matrix, with 16 bits a channel (Pillow's littleCMS has 8). No Pillow, no files.

Most profiles of photos are of this kind (Adobe RGB, Display P3, ProPhoto RGB): each channel's curve gives its light,
and a matrix turns the lights into XYZ under D50. See ICC.1:2022, annex F.3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

D50 = (0.9642, 1.0, 0.8249)  # XYZ of the white under which profiles meet
LEVELS = 1 << 16
# Entries of the tables from light back to values: enough for less than a level of error but in the deepest shadows.
FINE = 1 << 18

RGB_CURVES = (b"rTRC", b"gTRC", b"bTRC")
RGB_COLUMNS = (b"rXYZ", b"gXYZ", b"bXYZ")
GREY_CURVE = b"kTRC"

# A parametric curve of each type from its own numbers as (g, a, b, c, d, e, f) of the longest type:
# (a x + b)^g + e from x = d on, c x + f below.
PARAMETERS: dict[int, tuple[int, Callable[..., tuple[float, ...]]]] = {
    0: (1, lambda g: (g, 1, 0, 0, 0, 0, 0)),
    1: (3, lambda g, a, b: (g, a, b, 0, -b / a, 0, 0)),
    2: (4, lambda g, a, b, c: (g, a, b, 0, -b / a, c, c)),
    3: (5, lambda g, a, b, c, d: (g, a, b, c, d, 0, 0)),
    4: (7, lambda *numbers: numbers),
}


@dataclass(frozen=True)
class Shaper:
    """A profile of three curves and a matrix; a grey one has three equal curves."""

    lights: tuple[np.ndarray, ...]  # for each channel the light of each 16-bit value, (65536,) float32, rising
    matrix: np.ndarray  # (3, 3): lights to XYZ


def shaper_of(profile: bytes) -> Shaper | None:
    """The curves and the matrix of an ICC profile for RGB or grey; None when it has none, or they are broken."""
    try:
        tags = _tags(profile)
        if GREY_CURVE in tags:
            return Shaper((_lights(tags[GREY_CURVE]),) * 3, np.diag(D50))
        matrix = np.array([struct.unpack_from(">3i", tags[name], 8) for name in RGB_COLUMNS]).T / 65536
        np.linalg.inv(matrix)
        return Shaper(tuple(_lights(tags[name]) for name in RGB_CURVES), matrix)
    except (KeyError, ValueError, ZeroDivisionError, struct.error, np.linalg.LinAlgError):
        return None


def through(source: Shaper, target: Shaper) -> Callable[[np.ndarray], np.ndarray]:
    """The way of (h, w, 3) uint16 values of one profile to those of another; what does not fit is clipped."""
    matrix = (np.linalg.inv(target.matrix) @ source.matrix).astype(np.float32)
    tables = [_values(lights) for lights in target.lights]

    def convert(values: np.ndarray) -> np.ndarray:
        lights = matrix @ np.stack([curve[values[..., i]].ravel() for i, curve in enumerate(source.lights)])
        places = np.sqrt(np.clip(lights, 0, 1, out=lights), out=lights)
        nearest = np.rint(np.multiply(places, FINE, out=places), out=places).astype(np.int32)
        result = np.empty(values.shape, np.uint16)
        for channel, table in enumerate(tables):
            result[..., channel] = table[nearest[channel]].reshape(values.shape[:2])
        return result

    return convert


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """The tags that a shaper needs, by name."""
    (count,) = struct.unpack_from(">I", profile, 128)
    wanted = {*RGB_CURVES, *RGB_COLUMNS, GREY_CURVE}
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count))
    return {name: profile[start : start + length] for name, start, length in entries if name in wanted}


@lru_cache(maxsize=32)
def _lights(tag: bytes) -> np.ndarray:
    """The light of each 16-bit value by a curve (sections 10.6 and 10.18), (65536,) float32; ValueError if broken."""
    with np.errstate(all="ignore"):
        lights = CURVES[tag[:4]](tag, np.linspace(0, 1, LEVELS))
    if not np.isfinite(lights).all() or (np.diff(lights) < 0).any() or lights[-1] <= lights[0]:
        raise ValueError("the curve does not rise")
    return lights.astype(np.float32)


@lru_cache(maxsize=32)
def _table_of(lights: bytes) -> np.ndarray:
    rising = np.frombuffer(lights, np.float32)
    wanted = np.linspace(0, 1, FINE + 1) ** 2
    return np.rint(np.interp(wanted, rising, np.arange(LEVELS))).astype(np.uint16)


def _values(lights: np.ndarray) -> np.ndarray:
    """The 16-bit value of each light, at the place of the light's square root: shadows need the finer steps."""
    return _table_of(lights.tobytes())


def _sampled(tag: bytes, values: np.ndarray) -> np.ndarray:
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return values
    samples = np.frombuffer(tag, ">u2", count, 12)
    if count == 1:
        return values ** (samples[0] / 256)
    return np.interp(values, np.linspace(0, 1, count), samples / (LEVELS - 1))


def _parametric(tag: bytes, values: np.ndarray) -> np.ndarray:
    (kind,) = struct.unpack_from(">H", tag, 8)
    count, ordered = PARAMETERS[kind]
    g, a, b, c, d, e, f = ordered(*(number / 65536 for number in struct.unpack_from(f">{count}i", tag, 12)))
    return np.where(values >= d, np.maximum(a * values + b, 0) ** g + e, c * values + f)


CURVES: dict[bytes, Callable[[bytes, np.ndarray], np.ndarray]] = {b"curv": _sampled, b"para": _parametric}
