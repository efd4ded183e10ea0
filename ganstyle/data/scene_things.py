"""What stands in a landscape, painted onto its maps: trees, houses, stones, boats, birds, and their shadows."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import cv2
import numpy as np

from ganstyle.data.scene_land import paint_ground, paint_ridge, paint_sky
from ganstyle.data.scene_maps import Canvas, Map, Maps, smoothstep
from ganstyle.data.scene_parts import Boat, House, Material, Scene, Stone, Thing, Tree

FAR_BANK = 0.02
"""Things that stand closer than this below the horizon belong to the far bank, which water mirrors."""


@functools.singledispatch
def paint_thing(thing: Thing, canvas: Canvas) -> None:
    """Paint one thing."""
    raise AssertionError(type(thing))


@paint_thing.register
def _(thing: Tree, canvas: Canvas) -> None:
    haze, item = float(canvas.haze_at(thing.y)), canvas.new_item()
    width = (0.022 if thing.tiers else 0.028) * thing.height
    top = thing.y - (0.3 if thing.tiers else 0.6) * thing.height
    across = thing.x + np.array((-1.2, 1.2, 0.5, -0.5)) * width
    corners = np.column_stack((across, (thing.y, thing.y, top, top)))
    window, mask = canvas.polygon(corners)
    canvas.paint(window, mask, Material.TRUNK, shade=0.35, haze=haze, item=canvas.new_item())
    if thing.tiers:
        _paint_needles(canvas, thing, haze, item)
    for index, lobe in enumerate(thing.lobes):
        low = 1 - index / max(len(thing.lobes) - 1, 1)
        _paint_lobe(canvas, thing, lobe, haze=haze, item=item, dim=0.22 * low)


def _leaves(canvas: Canvas, height: float, window: tuple[slice, slice]) -> Map:
    """Leaf texture that suits the tree's size."""
    return canvas.leaves[1 if height > 0.3 else 0][window]


def _paint_needles(canvas: Canvas, tree: Tree, haze: float, item: int) -> None:
    """A conifer: tiers that widen downwards, dark under each, ragged at the rim."""
    half, top, bottom = tree.slim * tree.height, tree.y - tree.height, tree.y - 0.07 * tree.height
    window = canvas.window(tree.x - half, top, tree.x + half, bottom)
    leaves = _leaves(canvas, tree.height, window)
    fine = canvas.leaves[0][window]
    across = (canvas.x[window] - tree.x) / half
    down = (canvas.y[window] - top) / (bottom - top)
    sagging = np.clip(down + 0.10 * across**2 - 0.015 * leaves, 0, 1) * tree.tiers
    tier = sagging - np.floor(sagging)
    rim = (0.34 * down + 0.66 * down * (0.35 + 0.65 * tier)) * (1 + 0.10 * leaves + 0.10 * fine) + 0.02
    light = canvas.scene.light.side * across / np.maximum(rim, 0.05)
    shade = np.clip(0.40 + 0.26 * light + 0.22 * (tier - 0.5) + 0.06 * leaves + 0.09 * fine, 0.02, 1)
    crease = np.clip(
        smoothstep(0.35, 0.0, tier) * 0.7 + smoothstep(0.2, -1.4, 0.7 * (leaves + fine) + light) * 0.8, 0, 1
    )
    canvas.paint(
        window,
        np.abs(across) < rim,
        Material.NEEDLE,
        shade=shade,
        haze=haze,
        crease=crease,
        tint=tree.tint,
        item=item,
    )


def _paint_lobe(canvas: Canvas, tree: Tree, lobe: Map, *, haze: float, item: int, dim: float) -> None:
    """One clump of leaves, lit like a ball, its rim ragged by leaves."""
    cx, cy = tree.x + lobe[0] * tree.height, tree.y + lobe[1] * tree.height
    rx, ry = lobe[2] * tree.height, lobe[3] * tree.height
    window = canvas.window(cx - 1.25 * rx, cy - 1.25 * ry, cx + 1.25 * rx, cy + 1.25 * ry)
    leaves = _leaves(canvas, tree.height, window)
    across, down = (canvas.x[window] - cx) / rx, (canvas.y[window] - cy) / ry
    radius = across**2 + down**2
    light = 0.75 * canvas.scene.light.side * across - (0.45 + 0.5 * canvas.scene.light.elevation) * down
    shade = np.clip(0.50 + 0.34 * light + 0.10 * leaves + 0.07 * canvas.leaves[0][window] - dim, 0.02, 1)
    crease = smoothstep(0.35, -1.3, leaves + 1.2 * light - 1.5 * dim)
    mask = radius * (1 + 0.22 * leaves) < 1
    canvas.paint(window, mask, Material.LEAF, shade=shade, haze=haze, crease=crease, tint=tree.tint, item=item)


@paint_thing.register
def _(thing: House, canvas: Canvas) -> None:
    haze, light = float(canvas.haze_at(thing.y)), canvas.scene.light
    mirror = -1.0 if thing.flip else 1.0
    # The gable looks to the left and the long wall to the front, unless flipped.
    gable_light, wall_light = 0.5 - 0.4 * mirror * light.side, 0.55 + 0.2 * mirror * light.side
    wall, rise = thing.tall * 0.62, thing.tall * 0.45

    def face(corners: list[tuple[float, float]], material: Material, shade: float, *, crease: float = 0.0) -> None:
        points = np.array(corners, np.float32) * (mirror * thing.width, -thing.width) + (thing.x, thing.y)
        window, mask = canvas.polygon(points)
        texture: Map | float = crease
        if material is Material.ROOF:
            rows = np.sin((canvas.y[window] - thing.y) * (2 * np.pi * 4.5 / (rise * thing.width)))
            texture = np.clip(0.45 * rows, 0, 1)
        canvas.paint(window, mask, material, shade=shade, haze=haze, crease=texture, tint=thing.tint)

    face([(-0.5, 0), (-0.18, 0), (-0.18, wall), (-0.34, wall + rise), (-0.5, wall)], Material.WALL, gable_light)
    face([(-0.18, 0), (0.5, 0), (0.5, wall), (-0.18, wall)], Material.WALL, wall_light)
    low, high = wall + 0.5 * rise, wall + 1.4 * rise
    face([(0.2, low), (0.28, low), (0.28, high), (0.2, high)], Material.WALL, 0.4)
    roof = [(-0.36, wall + rise), (0.40, wall + rise), (0.56, wall - 0.03), (-0.2, wall - 0.03)]
    face(roof, Material.ROOF, 0.45 + 0.2 * mirror * light.side + 0.2 * light.elevation)
    eave = [(-0.36, wall + rise), (-0.32, wall + rise), (-0.51, wall - 0.05), (-0.56, wall - 0.03)]
    face(eave, Material.ROOF, 0.25)
    for left in (-0.04, 0.28):
        right, low, high = left + 0.1, 0.3 * wall, 0.75 * wall
        face([(left, low), (right, low), (right, high), (left, high)], Material.WINDOW, 0.3)
    face([(-0.39, 0), (-0.29, 0), (-0.29, 0.6 * wall), (-0.39, 0.6 * wall)], Material.WINDOW, 0.2)


@paint_thing.register
def _(thing: Stone, canvas: Canvas) -> None:
    rx, ry = thing.radius, 0.62 * thing.radius
    window = canvas.window(thing.x - 1.2 * rx, thing.y - 1.5 * ry, thing.x + 1.2 * rx, thing.y + 0.45 * ry)
    leaves = canvas.leaves[1][window]
    across, down = (canvas.x[window] - thing.x) / rx, (canvas.y[window] - thing.y + 0.35 * ry) / ry
    light = canvas.scene.light.side * across - 0.8 * down
    shade = np.clip(0.5 + 0.4 * light + 0.12 * leaves, 0.05, 1)
    crease = smoothstep(-0.2, -0.9, light + 0.3 * leaves)
    mask = (np.abs(across) ** 2.5 + np.abs(down) ** 2.5) * (1 + 0.12 * leaves) < 1
    mask &= canvas.y[window] < thing.y + 0.25 * ry
    canvas.paint(window, mask, Material.STONE, shade=shade, haze=float(canvas.haze_at(thing.y)), crease=crease)


@paint_thing.register
def _(thing: Boat, canvas: Canvas) -> None:
    mirror, haze = (-1.0 if thing.flip else 1.0), float(canvas.haze_at(thing.y))

    def part(corners: list[tuple[float, float]], material: Material, shade: float) -> None:
        points = np.array(corners, np.float32) * (mirror * thing.length, -thing.length) + (thing.x, thing.y)
        window, mask = canvas.polygon(points)
        canvas.paint(window, mask, material, shade=shade, haze=haze, tint=0.3)

    below = np.array([(-0.5, 0.0), (0.5, 0.0), (0.34, 0.13), (-0.36, 0.13)]) * thing.length + (thing.x, thing.y)
    window, mask = canvas.polygon(below)
    canvas.maps.shadow[window][mask] = 0.8
    if thing.sail:
        part([(-0.03, 0.1), (0.0, 0.1), (0.0, 0.98), (-0.03, 0.98)], Material.HULL, 0.3)
        part([(0.02, 0.16), (0.36, 0.2), (0.22, 0.5), (0.02, 0.94)], Material.SAIL, 0.75)
        part([(-0.05, 0.18), (-0.3, 0.2), (-0.05, 0.84)], Material.SAIL, 0.5)
    part([(-0.5, 0.15), (-0.36, -0.03), (0.32, -0.03), (0.52, 0.17), (0.3, 0.1), (-0.3, 0.1)], Material.HULL, 0.35)


def paint_shadows(canvas: Canvas, things: Iterable[Thing]) -> None:
    """Soft shadows on the ground, on the side away from the light, the longer the lower the sun."""
    light, size = canvas.scene.light, canvas.size
    shadow = np.zeros((size, size), np.uint8)
    for thing in things:
        if isinstance(thing, Boat):
            continue
        wide, tall = _extent(thing)
        reach = tall * (0.25 + 0.35 * (1 - light.elevation))
        centre = (thing.x - light.side * 0.6 * reach) * size, (thing.y + 0.04 * wide) * size
        axes = (0.5 * wide + 0.6 * reach) * size, max(0.12 * wide + 0.03 * tall, 0.004) * size
        box = (centre, (2 * axes[0], 2 * axes[1]), 0.0)
        cv2.ellipse(shadow, box, 255, -1)
    blur = size // 48 | 1
    soft = cv2.blur(cv2.blur(shadow, (blur, blur // 2 | 1)), (blur, blur // 2 | 1)).astype(np.float32) / 255
    ground = (canvas.maps.material == Material.MEADOW) | (canvas.maps.material == Material.PATH)
    canvas.maps.shadow[ground] = soft[ground] * min(1.0, 0.25 + light.direct)


def _extent(thing: Thing) -> tuple[float, float]:
    """Width and height of a thing above the ground."""
    if isinstance(thing, Tree):
        return (1.5 * thing.slim if thing.tiers else 0.5) * thing.height, thing.height
    if isinstance(thing, House):
        return 1.0 * thing.width, thing.tall * thing.width
    assert isinstance(thing, Stone)
    return 2 * thing.radius, thing.radius


def paint_birds(canvas: Canvas) -> None:
    """A few birds in the sky, two wing strokes each."""
    mask = np.zeros((canvas.size, canvas.size), np.uint8)
    wing = np.array([(-1.0, -0.35), (-0.5, -0.42), (0, 0.0), (0.5, -0.42), (1.0, -0.35)])
    thickness = max(1, round(canvas.size * 0.0045))
    for x, y, span in canvas.scene.birds:
        points = np.round((wing * span + (x, y)) * canvas.size * 16).astype(np.int32)
        cv2.polylines(mask, [points], False, 1, thickness, shift=4)
    everywhere = slice(0, canvas.size), slice(0, canvas.size)
    sky = mask.astype(bool) & (canvas.maps.material == Material.SKY)
    if sky.any():
        canvas.paint(everywhere, sky, Material.BIRD, shade=0.2, haze=0.1)


def rasterize(scene: Scene, size: int) -> tuple[Maps, Maps]:
    """The maps (size, size) of a scene, and those of its part above the horizon without what stands in front."""
    canvas = Canvas(scene, size)
    paint_sky(canvas)
    for ridge in scene.ridges:
        paint_ridge(canvas, ridge)
    paint_birds(canvas)
    paint_ground(canvas)
    far = [thing for thing in scene.things if thing.y < scene.horizon + FAR_BANK]
    for thing in far:
        paint_thing(thing, canvas)
    backdrop = canvas.maps.rows(int(scene.horizon * size) + 1)
    near = scene.things[len(far) :]
    paint_shadows(canvas, near)
    for thing in near:
        paint_thing(thing, canvas)
    return canvas.maps, backdrop
