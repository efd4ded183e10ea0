"""The photo-like rendering of a scene: sunlight and shade, air, reflections, grain."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ganstyle.base.draws import Draws
from ganstyle.data.scene_maps import Map, Maps, dabs, smoothstep
from ganstyle.data.scene_parts import Material, Scene
from ganstyle.data.scene_things import rasterize

# Reflectance of each material, as RGB at tint 0 and at tint 1 (dry, autumn, snow, another paint).
ALBEDO = np.zeros((len(Material), 2, 3), np.float32)
for _material, _first, _second in (
    (Material.ROCK, (0.36, 0.35, 0.34), (1.00, 1.02, 1.05)),
    (Material.FOREST, (0.19, 0.30, 0.16), (0.42, 0.34, 0.14)),
    (Material.MEADOW, (0.30, 0.43, 0.14), (0.66, 0.54, 0.27)),
    (Material.WATER, (0.10, 0.20, 0.24), (0.10, 0.20, 0.24)),
    (Material.PATH, (0.62, 0.54, 0.42), (0.70, 0.60, 0.46)),
    (Material.LEAF, (0.24, 0.38, 0.11), (0.78, 0.36, 0.08)),
    (Material.NEEDLE, (0.15, 0.29, 0.16), (0.24, 0.31, 0.13)),
    (Material.TRUNK, (0.28, 0.20, 0.14), (0.34, 0.26, 0.18)),
    (Material.WALL, (0.86, 0.80, 0.70), (0.78, 0.66, 0.50)),
    (Material.ROOF, (0.52, 0.22, 0.14), (0.34, 0.30, 0.30)),
    (Material.WINDOW, (0.10, 0.11, 0.13), (0.14, 0.11, 0.09)),
    (Material.STONE, (0.50, 0.48, 0.45), (0.50, 0.48, 0.45)),
    (Material.HULL, (0.34, 0.18, 0.10), (0.34, 0.18, 0.10)),
    (Material.SAIL, (0.92, 0.89, 0.82), (0.92, 0.89, 0.82)),
    (Material.BIRD, (0.12, 0.12, 0.14), (0.12, 0.12, 0.14)),
):
    ALBEDO[_material] = _first, _second
SUN, MOON = (1.0, 0.93, 0.78), (0.95, 0.95, 0.90)


def oversampling(size_px: int) -> int:
    """How many times finer than the picture to draw, so that edges come out smooth and small pictures crisp."""
    return 3 if size_px < 80 else 2 if size_px <= 1024 else 1


def render_photo(scene: Scene, size_px: int) -> NDArray[np.uint8]:
    """The scene as a camera would see it: uint8 (size_px, size_px, 3), RGB."""
    size = size_px * oversampling(size_px)
    maps, backdrop = rasterize(scene, size)
    picture = _lit(scene, maps, size)
    if scene.water is not None:
        _reflect(scene, picture, maps, _lit(scene, backdrop, size))
    return _develop(scene, cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA))


def _lit(scene: Scene, maps: Maps, size: int) -> Map:
    """Colours of all but water: reflectance times light, then air, with the sky behind."""
    light = scene.light
    brightness = (1.45 * light.direct) * maps.shade * (1 - 0.75 * maps.shadow)
    kept = (1 - 0.42 * maps.crease) * (1 - maps.haze)
    planes = []
    for channel in range(3):
        first, second = ALBEDO[:, 0, channel], ALBEDO[:, 1, channel]
        albedo = first.take(maps.material) + maps.tint * (second - first).take(maps.material)
        lighting = light.ambient[channel] + brightness * light.sun[channel]
        planes.append(albedo * lighting * kept + maps.haze * light.haze[channel])
    stop = min(maps.material.shape[0], int(scene.horizon * size) + 1)
    behind = maps.material[:stop] <= Material.DISC
    for plane, sky in zip(planes, _sky(scene, maps, size, stop), strict=True):
        np.copyto(plane[:stop], sky, where=behind)
    return cv2.merge(planes)


def _sky(scene: Scene, maps: Maps, size: int, stop: int) -> Iterator[Map]:
    """The sky's red, green and blue, (stop, size) each: a gradient, clouds, and the glow of the sun or the moon."""
    light = scene.light
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size
    fall = np.clip(steps[:stop, None] / scene.horizon, 0, 1) ** 1.3
    cloud = 0.92 * maps.shade[:stop] * (maps.material[:stop] == Material.SKY)
    glow: Map = np.zeros((stop, size), np.float32)
    disc: Map = glow
    if light.disc is not None:
        x, y, radius = light.disc
        distance = np.hypot(steps[None, :] - x, steps[:stop, None] - y)
        glow = (0.30 if light.moon else 0.62) * np.exp(np.maximum(distance - radius, 0) * np.float32(-1 / 0.11))
        disc = smoothstep(radius, radius - 1.5 / size, distance) * (1 - 0.25 * cloud)
    core = MOON if light.moon else tuple(0.65 * SUN[c] + 0.35 * light.sun[c] for c in range(3))
    for channel in range(3):
        plane = light.sky_top[channel] + fall * (light.sky_low[channel] - light.sky_top[channel])
        bright = min(1.0, 0.55 + 0.5 * light.sun[channel] * (0.5 + 0.6 * light.direct))
        dull = 0.45 * light.ambient[channel] + 0.52 * plane
        plane = plane + cloud * (dull + maps.tint[:stop] * (bright - dull) - plane)
        plane += glow * (0.5 * core[channel] + 0.5 * light.sun[channel] - plane)
        yield plane + disc * (core[channel] - plane)


def _reflect(scene: Scene, picture: Map, maps: Maps, backdrop: Map) -> None:
    """Mirror what stands above the horizon, broken by ripples; near water shows more of its own colour."""
    size, top = picture.shape[0], int(scene.horizon * picture.shape[0])
    water = maps.material[top:] == Material.WATER
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(top, size, dtype=np.float32))
    depth = (y - top) / (size - top)
    ripple = dabs(x / size * 0.3 * (1.3 - depth), 0.75 / (depth + 0.12)) * (0.004 + 0.022 * depth) * size
    row = np.abs(top - 1 - 0.92 * (y - top) + ripple)
    mirrored = cv2.remap(
        backdrop, x + 0.35 * ripple, np.minimum(row, top), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    deep = ALBEDO[Material.WATER, 0] * (
        np.array(scene.light.ambient) + 0.7 * scene.light.direct * np.array(scene.light.sun)
    )
    share = (0.14 + 0.34 * depth)[..., None]
    colour = mirrored * (1 - share) * 0.97 + deep.astype(np.float32) * share
    crest = (maps.crease[top:] * 0.16)[..., None]
    colour = colour * (1 - 0.7 * maps.shadow[top:, :, None]) + crest * (
        np.array(scene.light.sky_low, np.float32) - 0.35
    )
    picture[top:] = np.where(water[..., None], colour, picture[top:])


def _develop(scene: Scene, picture: Map) -> NDArray[np.uint8]:
    """Vignette, a gentle contrast curve and grain."""
    size = picture.shape[0]
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    vignette = 1 - 0.28 * (steps[:, None] ** 2 + steps[None, :] ** 2)
    picture = np.clip(picture * vignette[..., None], 0, 1.2)
    picture = picture - 0.06 * np.sin(2 * np.pi * np.minimum(picture, 1.0))
    grain = Draws(scene.seed).stream("grain").standard_normal((size, size, 1), dtype=np.float32)
    return (np.clip(picture + 0.009 * grain, 0, 1) * 255 + 0.5).astype(np.uint8)
