"""The light of a landscape: the hour, where the sun stands, and the colours of sky, sunlight, shade and air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """Light and air; colours are RGB in 0..1, `side` is -1 for light from the left and 1 for light from the right."""

    sky_top: Colour
    sky_low: Colour
    sun: Colour
    ambient: Colour
    haze: Colour
    side: float
    elevation: float
    direct: float
    disc: tuple[float, float, float] | None
    """Centre and radius of a visible sun or moon."""
    moon: bool


@dataclass(frozen=True)
class Hour:
    """What the light of one time of day has in common."""

    sky_top: Colour
    sky_low: Colour
    sun: Colour
    ambient: Colour
    elevation: tuple[float, float]
    direct: float
    disc_chance: float
    moon_chance: float


NOON = Hour((0.24, 0.46, 0.78), (0.72, 0.83, 0.93), (1.0, 0.97, 0.90), (0.42, 0.48, 0.56), (0.6, 0.9), 0.75, 0.0, 0.0)
MORNING = Hour((0.38, 0.56, 0.78), (0.90, 0.88, 0.82), (1.0, 0.92, 0.76), (0.44, 0.47, 0.52), (0.3, 0.5), 0.7, 0.5, 0.0)
GOLDEN = Hour(
    (0.36, 0.48, 0.68), (0.98, 0.78, 0.50), (1.0, 0.74, 0.44), (0.42, 0.40, 0.44), (0.12, 0.3), 0.85, 0.8, 0.0
)
DUSK = Hour(
    (0.22, 0.26, 0.46), (0.90, 0.56, 0.48), (0.95, 0.55, 0.42), (0.36, 0.34, 0.44), (0.06, 0.2), 0.5, 0.85, 0.45
)
OVERCAST = Hour(
    (0.62, 0.67, 0.72), (0.82, 0.84, 0.85), (0.80, 0.80, 0.80), (0.52, 0.55, 0.58), (0.5, 0.8), 0.3, 0.0, 0.0
)
HOURS = (NOON, MORNING, GOLDEN, DUSK, OVERCAST)


def draw_light(stream: np.random.Generator) -> Light:
    """An hour of the day, its hues varied, the sun or the moon somewhere that fits it."""
    hour = HOURS[int(stream.choice(len(HOURS), p=(0.28, 0.2, 0.22, 0.16, 0.14)))]
    elevation, side = float(stream.uniform(*hour.elevation)), float(stream.choice((-1.0, 1.0)))
    top, low = _vary(stream, hour.sky_top), _vary(stream, hour.sky_low)
    x = 0.5 + side * float(stream.uniform(0.05, 0.36))
    disc = (x, float(np.clip(0.52 - 0.9 * elevation, 0.1, 0.5)), float(stream.uniform(0.032, 0.055)))
    seen, moon = stream.random() < hour.disc_chance, stream.random() < hour.moon_chance
    return Light(
        sky_top=top,
        sky_low=low,
        sun=_vary(stream, hour.sun),
        ambient=_vary(stream, hour.ambient),
        haze=_mixed(low, top, 0.35),
        side=side,
        elevation=elevation,
        direct=hour.direct,
        disc=disc if seen else None,
        moon=bool(moon),
    )


def _vary(stream: np.random.Generator, colour: Colour) -> Colour:
    red, green, blue = np.clip(np.array(colour) * stream.normal(1, 0.035, 3) * stream.normal(1, 0.04), 0, 1)
    return float(red), float(green), float(blue)


def _mixed(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (1 - share) * np.array(first) + share * np.array(second)
    return float(red), float(green), float(blue)
