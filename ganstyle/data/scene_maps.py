"""A scene as maps of pixels: which material is where, how it is lit, how much air lies before it.

Both renderings colour the same maps, so that a picture and its painted twin show the same scene.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ganstyle.base.draws import Draws
from ganstyle.data.scene_parts import Curve, Material, Scene

Map = NDArray[Any]
"""Of float32: the stubs of numpy lose the precision in arithmetic, so it is not spelled out."""
TILE = 256


@dataclass
class Maps:
    """Maps (size, size) of a scene; float32 ones are about 0..1.

    material: a `Material`. item: the number of the thing; contours run where it changes. shade: light on the surface
    (clouds in the sky). haze: air before it. crease: dark texture (gaps between leaves, clefts, tufts, ripples). tint:
    its hue (autumn, dry grass, snow, roof colours). shadow: cast on the ground.
    """

    material: NDArray[np.uint8]
    item: NDArray[np.int32]
    shade: Map
    haze: Map
    crease: Map
    tint: Map
    shadow: Map

    def rows(self, stop: int) -> Maps:
        """A copy of the first rows."""
        return Maps(
            material=self.material[:stop].copy(),
            item=self.item[:stop].copy(),
            shade=self.shade[:stop].copy(),
            haze=self.haze[:stop].copy(),
            crease=self.crease[:stop].copy(),
            tint=self.tint[:stop].copy(),
            shadow=self.shadow[:stop].copy(),
        )


@functools.cache
def noise_tile(slope: float, low: int, high: int) -> Map:
    """Periodic noise (TILE, TILE) of mean 0 and deviation 1: amplitude frequency**-slope between two waves per tile."""
    white = np.fft.fft2(Draws(0).stream("scene noise").standard_normal((TILE, TILE)))
    waves = np.fft.fftfreq(TILE, 1 / TILE)
    frequency = np.hypot(waves[:, None], waves[None, :])
    amplitude = np.where((frequency >= low) & (frequency <= high), np.maximum(frequency, 1) ** -slope, 0)
    tile = np.fft.ifft2(white * amplitude).real
    return (tile / tile.std()).astype(np.float32)


def fractal(u: Map, v: Map) -> Map:
    """Cloud-like noise at (u, v), in tiles; mean 0, deviation 1."""
    return _sampled(noise_tile(1.7, 3, 90), u, v)


def dabs(u: Map, v: Map) -> Map:
    """Noise of one grain size, about 32 blobs a tile, at (u, v); mean 0, deviation 1."""
    return _sampled(noise_tile(0.0, 24, 44), u, v)


def _sampled(tile: Map, u: Map, v: Map) -> Map:
    return cv2.remap(tile, u * TILE, v * TILE, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def smoothstep(low: float, high: float, value: Map) -> Map:
    """0 below `low`, 1 above `high`, smooth between; runs downwards when low > high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


class Canvas:
    """The maps while they are painted, from far to near, and the grids that painting needs."""

    def __init__(self, scene: Scene, size: int) -> None:
        self.scene, self.size = scene, size
        self.maps = Maps(
            np.zeros((size, size), np.uint8),
            np.zeros((size, size), np.int32),
            *(np.zeros((size, size), np.float32) for _ in range(5)),
        )
        steps = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x, self.y = np.meshgrid(steps, steps)
        shift = np.float32(scene.offset[0])
        self.leaves = (dabs(self.x * 1.1 + shift, self.y * 1.1), dabs(self.x * 0.45 + shift, self.y * 0.45))
        self.items = 0

    def paint(
        self,
        window: tuple[slice, slice],
        mask: NDArray[np.bool_],
        material: Material,
        *,
        shade: Map | float,
        haze: Map | float,
        crease: Map | float = 0.0,
        tint: Map | float = 0.0,
        item: int | None = None,
    ) -> None:
        """Cover the masked pixels of a window; maps given as arrays have the shape of the mask."""
        if item is None:
            item = self.new_item()
        self.maps.material[window][mask] = material
        self.maps.item[window][mask] = item
        maps = self.maps
        for target, value in ((maps.shade, shade), (maps.haze, haze), (maps.crease, crease), (maps.tint, tint)):
            target[window][mask] = value[mask] if isinstance(value, np.ndarray) else value
        self.maps.shadow[window][mask] = 0

    def new_item(self) -> int:
        """A number for the next thing."""
        self.items += 1
        return self.items

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """The pixels of a box in unit coordinates, cut to the picture (it may be empty)."""
        low = np.clip(np.floor(np.array((top, left)) * self.size).astype(int), 0, self.size)
        high = np.clip(np.ceil(np.array((bottom, right)) * self.size).astype(int), 0, self.size)
        return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))

    def polygon(self, corners: Curve) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
        """The window of a polygon (N, 2) in unit coordinates and its mask there."""
        (left, top), (right, bottom) = corners.min(0), corners.max(0)
        window = self.window(left, top, right + 1 / self.size, bottom + 1 / self.size)
        mask = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), np.uint8)
        if mask.size:
            corner = np.array((window[1].start, window[0].start))
            points = np.round((corners * self.size - 0.5 - corner) * 16).astype(np.int32)
            cv2.fillPoly(mask, [points], 1, shift=4)
        return window, mask.astype(bool)

    def haze_at(self, y: float | Map) -> float | Map:
        """The air before something that stands on the ground at height y."""
        depth = (y - self.scene.horizon) / (1 - self.scene.horizon)
        return 0.20 * np.clip(1 - depth, 0, 1) ** 3
