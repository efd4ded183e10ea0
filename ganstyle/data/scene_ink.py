"""The scene as an ink-wash painting: contours become brush strokes, surfaces washes on bare paper, leaves dabs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ganstyle.data.scene_maps import Map, Maps, dabs, fractal, smoothstep
from ganstyle.data.scene_parts import Material, Scene
from ganstyle.data.scene_photo import oversampling
from ganstyle.data.scene_things import rasterize

PAPER = np.array((0.965, 0.930, 0.850), np.float32)
INK = np.array((0.095, 0.09, 0.10), np.float32)
VERMILION = np.array((0.78, 0.22, 0.13), np.float32)

# How each material is painted: ink of its lit side, ink of its shaded side, ink of its texture strokes, contour weight,
# strength of its colour wash, and that colour at tint 0 and at tint 1.
BLUE, OCHRE, GREEN, RUST, BARE = (
    (0.50, 0.62, 0.68),
    (0.80, 0.66, 0.42),
    (0.60, 0.66, 0.50),
    (0.78, 0.42, 0.25),
    (1, 1, 1),
)
BRUSH: dict[Material, tuple[float, float, float, float, float, tuple[float, ...], tuple[float, ...]]] = {
    Material.SKY: (0.0, 0.0, 0.0, 0.0, 0.0, BLUE, BLUE),
    Material.DISC: (0.0, 0.0, 0.0, 0.0, 0.0, BLUE, BLUE),
    Material.ROCK: (0.03, 0.30, 0.42, 1.0, 0.45, BLUE, BARE),
    Material.FOREST: (0.30, 0.62, 0.45, 0.2, 0.3, BLUE, BLUE),
    Material.MEADOW: (0.0, 0.17, 0.45, 0.8, 0.5, GREEN, OCHRE),
    Material.WATER: (0.0, 0.0, 0.26, 0.7, 0.42, BLUE, BLUE),
    Material.PATH: (0.0, 0.03, 0.0, 0.7, 0.0, OCHRE, OCHRE),
    Material.LEAF: (0.16, 0.50, 0.55, 0.15, 0.5, GREEN, RUST),
    Material.NEEDLE: (0.42, 0.80, 0.40, 0.15, 0.3, BLUE, BLUE),
    Material.TRUNK: (0.80, 0.95, 0.0, 0.6, 0.0, BARE, BARE),
    Material.WALL: (0.0, 0.20, 0.0, 1.0, 0.0, OCHRE, OCHRE),
    Material.ROOF: (0.38, 0.62, 0.45, 1.0, 0.35, RUST, BLUE),
    Material.WINDOW: (0.75, 0.9, 0.0, 0.0, 0.0, BARE, BARE),
    Material.STONE: (0.03, 0.45, 0.45, 1.0, 0.0, BARE, BARE),
    Material.HULL: (0.75, 0.9, 0.0, 0.8, 0.2, RUST, RUST),
    Material.SAIL: (0.0, 0.12, 0.0, 0.5, 0.1, OCHRE, OCHRE),
    Material.BIRD: (0.9, 0.9, 0.0, 0.0, 0.0, BARE, BARE),
}
LIT, SHADED, TEXTURE, CONTOUR, WASH = (
    np.array([BRUSH[material][column] for material in Material], np.float32) for column in range(5)
)
LOG_PIGMENT = np.log(np.array([BRUSH[material][5:] for material in Material], np.float32))
LOG_INK = np.log(INK)
# Small things need a finer brush.
FINENESS = np.ones(len(Material), np.float32)
FINENESS[[Material.WALL, Material.ROOF, Material.HULL, Material.SAIL, Material.TRUNK]] = 0.55
REACH, POOL = np.full(len(Material), 0.012, np.float32), np.full(len(Material), 0.14, np.float32)
REACH[Material.ROCK], POOL[Material.ROCK] = 0.05, 0.42
POOL[[Material.SKY, Material.SAIL]] = 0


@dataclass(frozen=True)
class Strokes:
    """The contours of a scene: how far each pixel is from the nearest, in picture widths, and what that one is like."""

    distance: Map
    weight: Map
    shade: Map
    haze: Map
    breadth: Map
    own: NDArray[np.bool_]
    """Whether the pixel lies on the thing that the contour belongs to."""


def render_ink(scene: Scene, size_px: int) -> NDArray[np.uint8]:
    """The scene in ink on paper: uint8 (size_px, size_px, 3), RGB."""
    size = size_px * oversampling(size_px)
    maps, backdrop = rasterize(scene, size)
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(steps, steps)
    blotches = 1 + np.float32(0.15) * fractal(0.5 * x, 0.5 * y)
    strokes = _strokes(scene, maps)
    ink = _washes(maps) * blotches + _pooling(maps, strokes)
    if scene.water is not None:
        _mirror(scene, ink, maps, _washes(backdrop))
    ink = np.maximum(ink, _lines(strokes, x, y, line_px=max(0.0085 * size, 1.25 * size / size_px)))
    picture = _on_paper(ink, _colour_wash(maps) * blotches, _sky_wash(scene, maps) * blotches, maps)
    picture[maps.material == Material.DISC] = PAPER if scene.light.moon else PAPER * VERMILION
    small = cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return (np.clip(small * _fibres(size_px)[..., None], 0, 1) * 255 + 0.5).astype(np.uint8)


def _on_paper(ink: Map, colour: Map, sky: Map, maps: Maps) -> Map:
    """What the paper reflects through ink and colour: every layer takes a power of its own transmittance."""
    planes = []
    for channel in range(3):
        first, second = LOG_PIGMENT[:, 0, channel], LOG_PIGMENT[:, 1, channel]
        absorbed = colour * (first.take(maps.material) + maps.tint * (second - first).take(maps.material))
        absorbed += ink * LOG_INK[channel] + sky * LOG_PIGMENT[Material.WATER, 0, channel]
        planes.append(PAPER[channel] * cv2.exp(absorbed))
    return cv2.merge(planes)


def _washes(maps: Maps) -> Map:
    """Ink of the washes in three tones, and of the texture strokes in them; mist leaves paper bare."""
    light = maps.shade * (1 - 0.5 * maps.shadow)
    steps = 0.5 * smoothstep(0.60, 0.50, light) + 0.5 * smoothstep(0.38, 0.28, light)
    lit, shaded = LIT.take(maps.material), SHADED.take(maps.material)
    snow = (maps.material == Material.ROCK) * maps.tint
    wash = (lit + steps * (shaded - lit)) * (1 - 0.85 * snow)
    touches = smoothstep(0.25, 0.6, maps.crease) * TEXTURE.take(maps.material)
    return (wash + touches) * np.clip(1 - 1.15 * maps.haze, 0, 1)


def _colour_wash(maps: Maps) -> Map:
    """How strong the colour of each material's wash is."""
    return WASH.take(maps.material) * np.clip(1 - 0.8 * maps.haze, 0, 1)


def _sky_wash(scene: Scene, maps: Maps) -> Map:
    """A blue-grey wash where the sky is deep, bare paper where it is bright, and clouds left out of it."""
    rows = (np.arange(len(maps.item), dtype=np.float32)[:, None] + 0.5) / len(maps.item)
    top, low = np.mean(scene.light.sky_top), np.mean(scene.light.sky_low)
    tone = top + (low - top) * np.clip(rows / scene.horizon, 0, 1) ** 1.3
    depth = np.clip(1.55 - 2.0 * tone, 0.0, 1.0).astype(np.float32)
    clouds = smoothstep(0.06, 0.5, maps.shade)
    if scene.light.disc is not None and scene.light.moon:
        # A bare moon shows only against a wash.
        x, y, radius = scene.light.disc
        distance = np.hypot(rows.T - x, rows - y)
        clouds = clouds * (1 - 0.8 * cv2.exp((radius - distance) / 0.05).clip(0, 1))
    return (maps.material == Material.SKY) * depth * (1 - clouds)


def _strokes(scene: Scene, maps: Maps) -> Strokes:
    """Contours lie on the nearer thing's side of every change of thing."""
    item, size = maps.item, len(maps.item)
    edge = np.zeros(item.shape, bool)
    for axis in (0, 1):
        ahead = np.diff(item, axis=axis)
        first = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        second = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        edge[first] |= ahead < 0
        edge[second] |= ahead > 0
    edge &= CONTOUR[maps.material] > 0
    distance, label = cv2.distanceTransformWithLabels(
        (~edge).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(int(label.max()) + 1, np.int64)
    source[label[edge]] = np.flatnonzero(edge)
    nearest = source[label]
    # A ruled line along the horizon would look like a map's: shores and fields fade out towards it.
    level = (maps.material.ravel()[nearest] == Material.WATER) | (maps.material.ravel()[nearest] == Material.MEADOW)
    fading = np.where(level, np.clip((nearest // size - scene.horizon * size) * (12 / size), 0.25, 1), 1)
    return Strokes(
        distance=distance,
        weight=CONTOUR[maps.material].ravel()[nearest] * fading.astype(np.float32),
        shade=maps.shade.ravel()[nearest],
        haze=maps.haze.ravel()[nearest],
        breadth=FINENESS[maps.material].ravel()[nearest],
        own=item.ravel()[nearest] == item,
    )


def _lines(strokes: Strokes, x: Map, y: Map, *, line_px: float) -> Map:
    """Brush strokes along the contours: broad and wet on the shaded side, thin and dry on the lit side and far away."""
    pressure = 1.25 - 0.8 * strokes.shade + 0.2 * fractal(0.8 * x, 0.8 * y)
    half = 0.62 * line_px * np.clip(pressure * (1.15 - 0.6 * strokes.haze), 0.45, 1.6) * strokes.breadth
    body = smoothstep(0.35, -0.35, (strokes.distance - half) / (0.5 * line_px))
    dry = smoothstep(-1.9, -0.6, dabs(1.3 * x, 1.3 * y) + 2.2 * (pressure - 0.75))
    return body * (0.35 + 0.65 * dry) * strokes.weight * np.clip(1.02 - 0.95 * strokes.haze, 0.1, 1)


def _pooling(maps: Maps, strokes: Strokes) -> Map:
    """Pigment gathers along the inner side of a contour, deeply on rock, where it also models the slope."""
    depth = cv2.exp(-strokes.distance / (REACH * len(maps.item)).take(maps.material))
    amount = POOL.take(maps.material) * (1 - 0.7 * (maps.material == Material.ROCK) * maps.tint)
    return strokes.own * depth * amount * np.clip(1 - maps.haze, 0, 1) * strokes.weight


def _mirror(scene: Scene, ink: Map, maps: Maps, backdrop: Map) -> None:
    """A pale, broken echo of the washes above, in level strokes."""
    size, top = len(ink), int(scene.horizon * len(ink))
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(top, size, dtype=np.float32))
    depth = (y - top) / (size - top)
    row = np.clip(top - 1 - 0.92 * (y - top), 0, top - 1)
    echo = cv2.remap(cv2.blur(backdrop, (size // 24 | 1, size // 64 | 1)), x, row, cv2.INTER_LINEAR)
    broken = smoothstep(-0.6, 0.5, dabs(x / size * 0.25, 0.5 / (depth + 0.12)))
    water = maps.material[top:] == Material.WATER
    ink[top:] += water * (0.34 * echo * (0.35 + 0.65 * broken) + 0.5 * maps.shadow[top:])


def _fibres(size_px: int) -> Map:
    """Paper texture around 1: faint fibres and cloudiness, the same for every sheet."""
    steps = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px
    x, y = np.meshgrid(steps, steps)
    return 1 + 0.010 * fractal(0.7 * x, 0.5 * y) + 0.004 * dabs(2.0 * x, 0.9 * y)
