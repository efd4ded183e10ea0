"""The composition of a landscape that all renderings share: what stands where, and in which light."""

from __future__ import annotations

import cv2
import numpy as np

from ganstyle.data.scene_light import draw_light
from ganstyle.data.scene_parts import SAMPLES, Boat, Curve, House, Material, Ridge, Scene, Stone, Thing, Tree


def draw_scene(stream: np.random.Generator) -> Scene:
    """Compose a landscape from the draws of `stream`: sky, light, hills, water, trees, houses and what else fits."""
    light = draw_light(stream)
    horizon = float(stream.uniform(0.5, 0.68))
    water, path = _draw_water(stream, horizon)
    ridges = _draw_ridges(stream, horizon)
    things = _draw_things(stream, horizon=horizon, water=water, path=path)
    birds = stream.uniform((0.0, 0.0, 0.5), (1.0, 1.0, 1.0), (int(stream.integers(3, 8)), 3))
    birds = np.column_stack(
        (stream.uniform(0.2, 0.8) + 0.22 * (birds[:, 0] - 0.5), 0.1 + 0.12 * birds[:, 1], 0.022 * birds[:, 2])
    )
    return Scene(
        light=light,
        horizon=horizon,
        ridges=ridges,
        water=water,
        path=path,
        things=things,
        birds=(birds if stream.random() < 0.3 else birds[:0]).astype(np.float32),
        clouds=float(stream.uniform(0.25, 0.75)) if stream.random() < 0.6 else 0.0,
        dryness=float(stream.beta(0.8, 1.1)),
        offset=(float(stream.random()), float(stream.random())),
        seed=int(stream.integers(2**31)),
    )


def _draw_ridges(stream: np.random.Generator, horizon: float) -> tuple[Ridge, ...]:
    count = int(stream.integers(1, 5))
    tallest = stream.uniform(0.16, 0.42) * (0.75 + 0.1 * count)
    snow = float(stream.uniform(0.3, 0.65)) if stream.random() < 0.35 else 0.0
    mist, ridges = float(stream.uniform(0.35, 0.95)), []
    for index in range(count):
        nearness = (index + 1) / count
        height = tallest * (1 - 0.62 * nearness + 0.3 / count) * stream.uniform(0.8, 1.15)
        cover = Material.ROCK
        if index == count - 1:
            cover = (Material.ROCK, Material.MEADOW, Material.FOREST)[int(stream.choice(3, p=(0.25, 0.25, 0.5)))]
        crest = horizon - height * _crest(stream, peaked=cover is Material.ROCK and (nearness < 0.8 or count < 3))
        if cover is not Material.ROCK:
            crest = horizon - 0.03 - 0.55 * (horizon - crest)
        ridges.append(
            Ridge(
                crest=crest.astype(np.float32),
                base=horizon,
                haze=float(0.68 * (1 - nearness) ** 0.8 + 0.06),
                mist=mist * (1 if nearness < 1 else 0.3),
                cover=cover,
                snow=snow if index == 0 and count > 1 else 0.0,
                offset=(float(stream.random()), float(stream.random())),
            )
        )
    return tuple(ridges)


def _crest(stream: np.random.Generator, *, peaked: bool) -> Curve:
    """Heights of a crest, about 0.1..1: a few peaks, or rolling hills, roughened."""
    x = np.linspace(0, 1, SAMPLES)
    heights = np.full(SAMPLES, 0.12)
    for _ in range(int(stream.integers(2, 6))):
        centre, spread, height = stream.uniform(-0.1, 1.1), stream.uniform(0.12, 0.4), stream.uniform(0.4, 1.0)
        distance = np.abs(x - centre) / spread
        peak = np.maximum(0, 1 - distance) ** 1.25 if peaked else np.exp(-2 * distance**2)
        heights = np.maximum(heights, height * peak) if peaked else heights + 0.6 * height * peak
    for octave in range(2, 6 if peaked else 3):
        knots = 3 * 2**octave
        rough = np.interp(x, np.linspace(0, 1, knots), stream.uniform(-1, 1, knots))
        heights += (0.30 if peaked else 0.12) * 0.5 ** (octave - 1) * rough
    return np.clip(heights, 0.06, 1.1).astype(np.float32)


def _draw_water(stream: np.random.Generator, horizon: float) -> tuple[Curve | None, Curve | None]:
    """A lake, a sea or a river, or else perhaps a path."""
    draw = stream.random()
    if draw < 0.34:
        return _lake(stream, horizon, near=float(stream.uniform(0.35, 0.75))), None
    if draw < 0.46:
        return _lake(stream, horizon, near=float(stream.uniform(0.9, 1.3))), None
    if draw < 0.68:
        return _ribbon(stream, horizon, width=float(stream.uniform(0.16, 0.3))), None
    if draw < 0.9:
        return None, _ribbon(stream, horizon, width=float(stream.uniform(0.07, 0.12)))
    return None, None


def _lake(stream: np.random.Generator, horizon: float, *, near: float) -> Curve:
    """From the horizon to a near shore, which lies `near` of the way down on average."""
    x = np.linspace(-0.02, 1.02, 65)
    tilt, swing, phase = stream.uniform(-0.45, 0.45), stream.uniform(0.05, 0.16), stream.uniform(0, 6.28)
    reach = near + tilt * (x - 0.5) + swing * np.sin(stream.uniform(3, 7) * x + phase) + 0.03 * np.sin(23 * x + phase)
    shore = horizon + (1.02 - horizon) * np.clip(reach, 0.12, 1.05)
    top = np.array([[1.02, horizon], [-0.02, horizon]])
    return np.concatenate((np.column_stack((x, shore)), top)).astype(np.float32)


def _ribbon(stream: np.random.Generator, horizon: float, *, width: float) -> Curve:
    """A winding band from the horizon to the lower edge, in perspective; `width` is its half width at the bottom."""
    down = np.linspace(0, 1, 61) ** 1.6
    start, end = stream.uniform(0.25, 0.75), stream.uniform(0.15, 0.85)
    wave = stream.uniform(0.1, 0.22) * np.sin(stream.uniform(4, 7.5) * down**0.5 + stream.uniform(0, 6.28))
    centre = start + (end - start) * down + wave * (0.25 + down) * (1 - 0.5 * down)
    half = width * (0.03 + 0.97 * down**1.15)
    y = horizon + (1.03 - horizon) * down
    edges = np.column_stack((centre - half, y)), np.column_stack((centre + half, y))[::-1]
    return np.concatenate(edges).astype(np.float32)


def inside(polygon: Curve | None, x: float, y: float, *, margin: float = 0.0) -> bool:
    """Whether (x, y) lies in the polygon or closer to it than `margin`; never in None."""
    return polygon is not None and cv2.pointPolygonTest(polygon, (float(x), float(y)), True) > -margin


def scale_at(y: float, horizon: float) -> float:
    """How large things at the height y of the picture look: 1 at the lower edge, small at the horizon."""
    return float(0.12 + 0.88 * (y - horizon) / (1 - horizon))


def _draw_things(
    stream: np.random.Generator, *, horizon: float, water: Curve | None, path: Curve | None
) -> tuple[Thing, ...]:
    """Trees, houses, stones and a boat, each on what it can stand on, from far to near."""
    things: list[Thing] = []
    taken: list[tuple[float, float, float]] = []

    def free(x: float, y: float, half: float) -> bool:
        feet = [(x - half, y), (x, y), (x + half, y), (x, y + 0.02)]
        wet = any(inside(water, fx, fy, margin=0.008) for fx, fy in feet)
        trodden = any(inside(path, fx, fy, margin=0.004) for fx, fy in feet)
        return not wet and not trodden and all(abs(x - tx) > half + th or abs(y - ty) > 0.06 for tx, ty, th in taken)

    for x, y, width in _house_sites(stream, horizon):
        if free(x, y, 0.75 * width):
            tall, flip, tint = stream.uniform(0.42, 0.6), stream.random() < 0.5, stream.random()
            things.append(House(x, y, width, float(tall), bool(flip), float(tint)))
            taken.append((x, y, 0.75 * width))
    family, autumn = stream.integers(0, 4), float(stream.uniform(0, 1) ** 2)
    for x, y in _tree_sites(stream, horizon):
        height = scale_at(y, horizon) * stream.uniform(0.28, 0.5) + 0.015
        if free(x, y, 0.10 * height):
            things.append(
                _draw_tree(stream, x, y, height, kind=int(family if stream.random() < 0.8 else 0), autumn=autumn)
            )
    for x, y in stream.uniform((0.0, horizon + 0.08), (1.0, 0.98), (int(stream.integers(0, 5)), 2)):
        radius = 0.045 * scale_at(y, horizon) * stream.uniform(0.6, 1.4)
        if free(x, y, radius):
            things.append(Stone(float(x), float(y), float(radius)))
    things += _draw_boats(stream, horizon, water)
    return tuple(sorted(things, key=lambda thing: thing.y))


def _house_sites(stream: np.random.Generator, horizon: float) -> list[tuple[float, float, float]]:
    """A hamlet: up to four houses near each other, as (x, y, width)."""
    if stream.random() < 0.35:
        return []
    x, y = stream.uniform(0.15, 0.85), horizon + (1 - horizon) * stream.uniform(0.06, 0.55)
    sites = []
    for _ in range(int(stream.integers(1, 5))):
        near = float(np.clip(y + stream.normal(0, 0.035), horizon + 0.02, 0.92))
        width = 0.30 * scale_at(near, horizon) * stream.uniform(0.8, 1.15)
        sites.append((float(np.clip(x + stream.normal(0, 0.22), 0.1, 0.9)), near, float(width)))
    return sites


def _tree_sites(stream: np.random.Generator, horizon: float) -> list[tuple[float, float]]:
    """Groves on the far edge and in the fields, and now and then a large tree at one side in front."""
    depth = 1 - horizon
    sites = []
    for _ in range(int(stream.integers(1, 5))):
        x, y, spread = (
            stream.uniform(0, 1),
            horizon + depth * stream.uniform(0.02, 0.5) ** 1.3,
            stream.uniform(0.03, 0.12),
        )
        for _ in range(int(stream.integers(2, 8))):
            sites.append(
                (x + stream.normal(0, spread), float(np.clip(y + stream.normal(0, 0.02), horizon + 0.005, 0.95)))
            )
    for _ in range(int(stream.integers(0, 3))):
        side = stream.uniform(0.02, 0.24)
        sites.append((float(side if stream.random() < 0.5 else 1 - side), horizon + depth * stream.uniform(0.5, 0.95)))
    return sites


def _draw_tree(stream: np.random.Generator, x: float, y: float, height: float, *, kind: int, autumn: float) -> Tree:
    """A conifer (kind 0, 1), a round tree (2) or a mix of round and slim ones (3)."""
    lobes = np.zeros((0, 4))
    conifer = kind <= 1 or (kind == 3 and stream.random() < 0.2)
    if not conifer and kind == 3 and stream.random() < 0.5:
        lobes = np.array([[0, -0.55, 0.13, 0.42]])
    elif not conifer:
        count = int(stream.integers(6, 10))
        angle, reach = stream.uniform(0, 6.28, count), stream.uniform(0.3, 1.0, count)
        radius = stream.uniform(0.13, 0.2, count)
        lobes = np.column_stack(
            (0.22 * reach * np.cos(angle), -0.64 + 0.2 * reach * np.sin(angle), radius, 0.85 * radius)
        )
        lobes = lobes[np.argsort(-lobes[:, 1])]
    tint = float(np.clip(autumn * (0.0 if conifer else 1.0) + stream.normal(0, 0.12), -0.3, 1))
    return Tree(
        x=float(x),
        y=float(y),
        height=float(height * (1.15 if conifer else 0.95)),
        tint=tint,
        lobes=lobes.astype(np.float32),
        tiers=int(stream.integers(4, 7)) if conifer else 0,
        slim=float(stream.uniform(0.17, 0.24)),
    )


def _draw_boats(stream: np.random.Generator, horizon: float, water: Curve | None) -> list[Boat]:
    boats: list[Boat] = []
    for x, down in stream.uniform((0.12, 0.08), (0.88, 0.6), (8, 2)):
        y = horizon + (1 - horizon) * down
        length = 0.26 * scale_at(y, horizon)
        ends = ((x - 0.6 * length, y), (x + 0.6 * length, y), (x, y + 0.15 * length))
        if len(boats) < 2 and all(inside(water, ex, ey, margin=-0.01) for ex, ey in ends) and stream.random() < 0.4:
            boats.append(
                Boat(float(x), float(y), float(length), bool(stream.random() < 0.6), bool(stream.random() < 0.5))
            )
    return boats
