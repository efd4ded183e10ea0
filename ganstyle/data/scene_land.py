"""The land of a scene painted onto its maps: sky, mountains, woods, meadows, paths and water."""

from __future__ import annotations

import cv2
import numpy as np

from ganstyle.data.scene_maps import Canvas, Map, dabs, fractal, smoothstep
from ganstyle.data.scene_parts import SAMPLES, Material, Ridge


def paint_sky(canvas: Canvas) -> None:
    """Clouds (shade: how thick; tint: how lit from the sun's side) and the sun or the moon."""
    scene, maps = canvas.scene, canvas.maps
    stop = int(scene.horizon * canvas.size) + 1
    x, y = canvas.x[:stop], canvas.y[:stop]
    if scene.clouds:
        depth = 0.34 / (scene.horizon + 0.12 - y)
        u, v = x * 0.35 * depth**0.5 + scene.offset[0], 0.42 * depth + scene.offset[1]
        density = fractal(u, v)
        toward = fractal(u + np.float32(0.014 * scene.light.side), v - np.float32(0.012))
        level = 1.1 - 1.3 * scene.clouds
        maps.shade[:stop] = smoothstep(level, level + 0.9, density) * np.clip(1.15 - 0.5 * depth + 0.35, 0, 1)
        maps.tint[:stop] = np.clip(0.55 + 0.8 * (density - toward), 0, 1)
    if scene.light.disc:
        cx, cy, radius = scene.light.disc
        window = canvas.window(cx - radius, cy - radius, cx + radius, cy + radius)
        disc = np.hypot(canvas.x[window] - cx, canvas.y[window] - cy) < radius
        canvas.paint(window, disc, Material.DISC, shade=0.0, haze=0.0)


def paint_ridge(canvas: Canvas, ridge: Ridge) -> None:
    """Rock with clefts that run down from its crest, a grassy hill or a wood; mist gathers at the foot."""
    top, stop = int((ridge.crest.min() - 0.05) * canvas.size), int(ridge.base * canvas.size) + 1
    window = slice(max(top, 0), stop), slice(0, canvas.size)
    x, y = canvas.x[window], canvas.y[window]
    crest = np.interp(canvas.x[0], np.linspace(0, 1, SAMPLES), ridge.crest).astype(np.float32)
    if ridge.cover is Material.FOREST:
        _paint_wood(canvas, ridge, window, crest)
        return
    below = y - crest
    paint = _rock if ridge.cover is Material.ROCK else _hill
    shade, crease, tint = paint(canvas, ridge, x, below, crest)
    haze = _misty(ridge, below, crest)
    canvas.paint(window, below > 0, ridge.cover, shade=shade, haze=haze, crease=crease, tint=tint)


def _misty(ridge: Ridge, below: Map, crest: Map) -> Map:
    """Air before a ridge, the thicker the nearer to its foot."""
    foot = np.clip(below / np.maximum(ridge.base - crest, 0.02), 0, 1)
    return ridge.haze + (0.97 - ridge.haze) * ridge.mist * foot**1.5


def _slope(canvas: Canvas, crest: Map, share: float) -> Map:
    """How much the crest falls to the right, smoothed over a share of the picture: (1, size)."""
    width = int(canvas.size * share) | 1
    return cv2.blur(np.gradient(crest)[None].astype(np.float32) * canvas.size, (width, 1))


def _rock(canvas: Canvas, ridge: Ridge, x: Map, below: Map, crest: Map) -> tuple[Map, Map, Map]:
    side = canvas.scene.light.side
    bend = fractal(0.4 * x + ridge.offset[1], 0.5 * below + ridge.offset[0])
    # Lower ridges have finer clefts, or they would look like polished stone.
    fine = float(np.clip(0.2 / (ridge.base - float(crest.min())), 0.9, 2.2))
    u = fine * 0.6 * x + 0.02 * bend + ridge.offset[0]
    v = fine * 0.24 * below + 0.005 * bend + ridge.offset[1]
    relief = fractal(u, v)
    lit = relief - fractal(u + np.float32(0.012 * fine * side), v)
    slope = _slope(canvas, crest, 0.04)
    shade = np.clip(0.5 + 0.65 * lit + 0.32 * side * slope * np.exp(-6 * below), 0, 1)
    crease = smoothstep(-0.15, -0.8, lit) * smoothstep(0.75, 0.35, shade)
    height = 1 - (below + crest - crest.min()) / max(ridge.base - float(crest.min()), 0.02)
    tint = smoothstep(1 - ridge.snow, 1.15 - ridge.snow, height + 0.07 * relief) if ridge.snow else 0 * height
    return shade, crease * (1 - 0.6 * tint), tint


def _hill(canvas: Canvas, ridge: Ridge, x: Map, below: Map, crest: Map) -> tuple[Map, Map, Map]:
    side = canvas.scene.light.side
    patches = fractal(0.45 * x + ridge.offset[0], 0.9 * below + ridge.offset[1])
    shrubs = dabs(1.3 * x + ridge.offset[1], 1.9 * below + ridge.offset[0])
    shade = np.clip(0.55 + 0.12 * patches + 0.5 * side * _slope(canvas, crest, 0.1) * np.exp(-5 * below), 0.05, 1)
    return shade, smoothstep(1.1, 1.8, shrubs + 0.6 * patches), np.clip(canvas.scene.dryness + 0.2 * patches, 0, 1)


def _paint_wood(canvas: Canvas, ridge: Ridge, window: tuple[slice, slice], crest: Map) -> None:
    """Rows of firs, one before the other, each dark at its tops and lost in mist at its feet."""
    y, item = canvas.y[window], canvas.new_item()
    gap = float(np.clip((ridge.base - crest).mean() / 3, 0.022, 0.05))
    side, rows = canvas.scene.light.side, int(np.clip((ridge.base - crest).max() / gap, 1, 6))
    for row in range(rows):
        tops = crest + row * gap + np.float32(0.006) * fractal(canvas.x[:1] * 2, 0 * canvas.x[:1] + 0.3 * row)[0]
        across, spike = _firs(canvas.x[0], count=44 - 3 * row, shift=ridge.offset[0] + 0.37 * row)
        below = y - (tops - np.float32(0.9 * gap) * spike)
        depth = np.clip(below / (2.2 * gap), 0, 1)
        shade = np.clip(0.56 + 0.22 * side * across - 0.5 * depth, 0.03, 1)
        crease = np.clip(smoothstep(0.35, 1.0, np.abs(across))[None] * 0.8 + 0.4 * depth, 0, 1)
        haze = ridge.haze + (0.25 + 0.6 * ridge.mist) * depth**1.5 * (1 - row / rows)
        canvas.paint(
            window,
            (below > 0) & (y < ridge.base),
            Material.FOREST,
            shade=shade,
            haze=haze,
            crease=crease,
            tint=0.25 * canvas.scene.dryness,
            item=item,
        )


def _firs(x: Map, *, count: int, shift: float) -> tuple[Map, Map]:
    """A row of pointed tops: where on its tree each column is, -1..1, and how high the tree is there, 0..1."""
    wander = fractal(x[None] * 0.8 + shift, 0 * x[None] + shift)[0]
    place = x * count + 0.5 * wander + 10 * shift
    tree = np.floor(place)
    across = 2 * (place - tree) - 1
    tall = 0.45 + 0.55 * np.abs(np.sin(tree * 12.9898 + shift * 78.233))
    return across.astype(np.float32), (tall * (1 - np.abs(across)) ** 0.9).astype(np.float32)


def paint_ground(canvas: Canvas) -> None:
    """The meadow with its tufts, then path and water on it."""
    scene = canvas.scene
    window = slice(int(scene.horizon * canvas.size), canvas.size), slice(0, canvas.size)
    x, y = canvas.x[window], canvas.y[window]
    depth = np.clip((y - scene.horizon) / (1 - scene.horizon), 0, 1)
    far = 1 / (depth + 0.16)
    u, v = (x - 0.5) * far * 0.3 + scene.offset[0], far * 0.35 + scene.offset[1]
    patches, blades = fractal(u, v), dabs(3.1 * (x - 0.5) * far**0.6, 1.3 * far)
    tufts = dabs(1.9 * (x - 0.5) * far**0.6 + scene.offset[1], 0.42 * far)
    shade = np.clip(0.68 + 0.10 * patches + (0.03 + 0.04 * depth) * blades, 0, 1)
    crease = smoothstep(1.25, 2.1, tufts + 0.4 * patches) * (0.3 + 0.7 * depth)
    tint = np.clip(scene.dryness + 0.22 * patches, 0, 1)
    canvas.paint(
        window, y >= scene.horizon, Material.MEADOW, shade=shade, haze=canvas.haze_at(y), crease=crease, tint=tint
    )
    if scene.path is not None:
        window, mask = canvas.polygon(scene.path)
        canvas.paint(window, mask, Material.PATH, shade=0.7, haze=canvas.haze_at(canvas.y[window]), tint=scene.dryness)
    if scene.water is not None:
        window, mask = canvas.polygon(scene.water)
        depth = np.maximum(canvas.y[window] - scene.horizon, 0) / (1 - scene.horizon)
        far = 1 / (depth + 0.12)
        ripples = dabs((canvas.x[window] - 0.5) * 0.35 * far**0.5 + scene.offset[0], far * 0.9)
        crease = smoothstep(0.9, 1.7, ripples) * smoothstep(0.05, 0.3, depth)
        canvas.paint(window, mask, Material.WATER, shade=0.5, haze=0.0, crease=crease)
