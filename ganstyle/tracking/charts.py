"""Curves of numbers over steps, laid out for inline SVG; no text or picture is made here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

EXTENT = 1000  # both sides of the drawing's own coordinates, stretched to whatever place the page gives it
MOST_POINTS = 500  # more cannot be told apart on a screen
SMOOTHING_SHARE = 25  # a smoothed value is the mean over about one 25th of the points, centred on it

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, in percent from the left or the top, and what it says."""

    percent: float
    text: str


@dataclass(frozen=True)
class Line:
    """One curve: SVG paths of the logged and the smoothed values, empty when there is no finite value."""

    name: str
    colour: int
    logged: str
    smoothed: str


@dataclass(frozen=True)
class Chart:
    """Curves that share their axes; `hover` is what the page's script needs to tell values under the pointer."""

    title: str
    lines: list[Line]
    step_ticks: list[Tick]
    value_ticks: list[Tick]
    hover: dict[str, object]


@dataclass(frozen=True)
class _Series:
    name: str
    steps: np.ndarray
    values: np.ndarray
    smoothed: np.ndarray


def charts(curves: Mapping[str, Points]) -> list[Chart]:
    """One chart for each prefix before the "/", in order of first appearance; a name without one is its own chart."""
    groups: dict[str, dict[str, Points]] = {}
    for name, points in curves.items():
        prefix, _, rest = name.partition("/")
        groups.setdefault(prefix, {})[rest or name] = points
    return [_chart(title, group) for title, group in groups.items()]


def _chart(title: str, group: Mapping[str, Points]) -> Chart:
    series = [_series(name, points) for name, points in group.items()]
    low_step, high_step = _step_range(series)
    low, high = _value_range(series)
    lines = []
    for colour, one in enumerate(series):
        across = (one.steps - low_step) / (high_step - low_step) * EXTENT
        lines.append(
            Line(
                name=one.name,
                colour=colour,
                logged=_path(across, _heights(one.values, low, high)),
                smoothed=_path(across, _heights(one.smoothed, low, high)),
            )
        )
    return Chart(
        title=title,
        lines=lines,
        step_ticks=[
            Tick(100 * (at - low_step) / (high_step - low_step), short_number(at))
            for at in ticks(low_step, high_step)
            if at == round(at)
        ],
        value_ticks=[Tick(100 * (high - at) / (high - low), short_number(at)) for at in ticks(low, high)],
        hover={"low": low_step, "high": high_step, "series": [_hover(one) for one in series]},
    )


def _series(name: str, points: Points) -> _Series:
    """Finite points in order of their steps, averaged in blocks when there are too many, and smoothed."""
    finite = sorted((step, value) for step, value in points if math.isfinite(value))
    together = math.ceil(len(finite) / MOST_POINTS) or 1
    blocks = [np.array(finite[i : i + together], np.float64).mean(axis=0) for i in range(0, len(finite), together)]
    steps, values = np.array(blocks, np.float64).reshape(-1, 2).T
    return _Series(name, steps, values, smooth(values))


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred running mean over about one 25th of the values; at the ends, over those of them that exist."""
    reach = len(values) // (2 * SMOOTHING_SHARE)
    return np.array([values[max(index - reach, 0) : index + reach + 1].mean() for index in range(len(values))])


def _step_range(series: Sequence[_Series]) -> tuple[float, float]:
    steps = np.concatenate([one.steps for one in series])
    return _widened(float(steps.min()), float(steps.max())) if len(steps) else (0.0, 1.0)


def _value_range(series: Sequence[_Series]) -> tuple[float, float]:
    """Room for every smoothed value and for all but the most extreme logged ones, from 0 where none is negative."""
    smoothed = np.concatenate([one.smoothed for one in series])
    if not len(smoothed):
        return 0.0, 1.0
    logged = np.concatenate([one.values for one in series])
    low = min(float(smoothed.min()), float(np.quantile(logged, 0.01)))
    high = max(float(smoothed.max()), float(np.quantile(logged, 0.99)))
    if logged.min() >= 0:
        return _widened(0.0, 1.04 * high)
    margin = 0.04 * (high - low)
    return _widened(low - margin, high + margin)


def _widened(low: float, high: float) -> tuple[float, float]:
    """The same range, or one around a single value."""
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    reach = abs(high) / 2 or 1.0
    return low - reach, high + reach


def _heights(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Distance from the top; values outside the range are drawn at its edge."""
    return np.clip((high - values) / (high - low), 0, 1) * EXTENT


def _path(across: np.ndarray, down: np.ndarray) -> str:
    places = [f"{x:.1f} {y:.1f}" for x, y in zip(across, down, strict=True)]
    if len(places) == 1:
        places *= 2  # a line to the same place is drawn as a dot, a lone move is not drawn at all
    return "M" + "L".join(places) if places else ""


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Up to `most` round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    exponent = math.floor(math.log10((high - low) / most))
    spacings = [factor * 10.0 ** (exponent + shift) for shift in (0, 1) for factor in (1, 2, 5)]
    for spacing in spacings:
        first, last = math.ceil(low / spacing - 1e-9), math.floor(high / spacing + 1e-9)
        if last - first < most:
            break
    return [index * spacing for index in range(first, last + 1)]


def short_number(value: float) -> str:
    """A number in at most four significant digits: 0.25, 1,500, 20k, 2e-05."""
    for size, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= size:
            return f"{value / unit:.4g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _hover(one: _Series) -> dict[str, object]:
    return {
        "name": one.name,
        "steps": [round(float(step)) for step in one.steps],
        "logged": [float(f"{value:.5g}") for value in one.values],
        "smoothed": [float(f"{value:.5g}") for value in one.smoothed],
    }
