"""What a landscape is made of, in unit coordinates: x to the right and y downwards, 0..1 over the picture."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from numpy.typing import NDArray

from ganstyle.data.scene_light import Light

Curve = NDArray[Any]
"""Of float32: a polygon, (N, 2) corners (x, y), or a line of heights at even steps of x, (SAMPLES,)."""

SAMPLES = 257


class Material(IntEnum):
    """What a pixel shows; the order is that of every table of colours."""

    SKY = 0
    DISC = 1
    ROCK = 2
    FOREST = 3
    MEADOW = 4
    WATER = 5
    PATH = 6
    LEAF = 7
    NEEDLE = 8
    TRUNK = 9
    WALL = 10
    ROOF = 11
    WINDOW = 12
    STONE = 13
    HULL = 14
    SAIL = 15
    BIRD = 16


@dataclass(frozen=True, eq=False)
class Ridge:
    """One layer of hills: everything between its crest and its base."""

    crest: Curve
    base: float
    haze: float
    mist: float
    """How much of the foot mist hides, 0..1."""
    cover: Material
    """Rock, meadow or forest."""
    snow: float
    offset: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree whose trunk stands at (x, y); lobes are (dx, dy, rx, ry) in tree heights, none for a conifer."""

    x: float
    y: float
    height: float
    tint: float
    lobes: Curve
    tiers: int
    slim: float


@dataclass(frozen=True)
class House:
    """A house whose wall starts at (x, y); `flip` puts the gable to the right."""

    x: float
    y: float
    width: float
    tall: float
    flip: bool
    tint: float


@dataclass(frozen=True)
class Boat:
    """A boat on the water at (x, y), with or without a sail."""

    x: float
    y: float
    length: float
    sail: bool
    flip: bool


@dataclass(frozen=True)
class Stone:
    """A boulder on the ground at (x, y)."""

    x: float
    y: float
    radius: float


Thing = Tree | House | Boat | Stone


@dataclass(frozen=True, eq=False)
class Scene:
    """A landscape, without a size: what `render_photo` and every style draw."""

    light: Light
    horizon: float
    ridges: tuple[Ridge, ...]
    water: Curve | None
    path: Curve | None
    things: tuple[Thing, ...]
    birds: Curve
    clouds: float
    dryness: float
    offset: tuple[float, float]
    seed: int
