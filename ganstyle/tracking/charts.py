"""Curves of numbers over steps, laid out for inline SVG; no text or picture is made here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

EXTENT = 1000  # both sides of the drawing's own coordinates, stretched to whatever place the page gives it
MOST_POINTS = 2000  # of a curve, for those who zoom in
DRAWN_POINTS = 500  # of the whole curve: more cannot be told apart on a screen
SMOOTHING_SHARE = 25  # a smoothed value is the mean over about one 25th of the points, centred on it
MOST = 1e100  # sums of larger values are no numbers any more
LEAST = 1e-100  # values nearer to zero are drawn as zero: between them there is no room for marks

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Panel:
    """What one chart is to show: curves that share a unit, by name; panels of one section stand together."""

    title: str
    lines: Mapping[str, Points]
    section: str = ""
    note: str = ""


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
    """A panel as it is drawn; `data` is what the page's script needs to tell values and to zoom."""

    panel: Panel
    lines: list[Line]
    step_ticks: list[Tick]
    value_ticks: list[Tick]
    data: dict[str, object]


@dataclass(frozen=True)
class _Series:
    name: str
    steps: np.ndarray
    values: np.ndarray
    smoothed: np.ndarray


def charts(panels: Sequence[Panel]) -> list[Chart]:
    """Every panel drawn over the same range of steps, so that charts can be read across."""
    drawn = [[_series(name, points) for name, points in panel.lines.items()] for panel in panels]
    steps = _step_range([one for series in drawn for one in series])
    return [_chart(panel, series, *steps) for panel, series in zip(panels, drawn, strict=True)]


def _chart(panel: Panel, series: Sequence[_Series], low_step: float, high_step: float) -> Chart:
    low, high = _value_range(series)
    lines = []
    for colour, one in enumerate(series):
        across, values, smoothed = (_blocks(each, DRAWN_POINTS) for each in (one.steps, one.values, one.smoothed))
        across = (across - low_step) / (high_step - low_step) * EXTENT
        logged, mean = (_path(across, _heights(each, low, high)) for each in (values, smoothed))
        lines.append(Line(name=one.name, colour=colour, logged=logged, smoothed=mean))
    step_marks = [at for at in ticks(low_step, high_step) if at == round(at)]
    value_marks = ticks(low, high)
    return Chart(
        panel=panel,
        lines=lines,
        step_ticks=_ticks(step_marks, [100 * (at - low_step) / (high_step - low_step) for at in step_marks]),
        value_ticks=_ticks(value_marks, [100 * (high - at) / (high - low) for at in value_marks]),
        data={"low": low_step, "high": high_step, "series": _data(series)},
    )


def _series(name: str, points: Points) -> _Series:
    """Finite points in order of their steps, averaged in blocks when there are too many, and smoothed."""
    known = ((step, value) for step, value in points if math.isfinite(value) and abs(value) < MOST)
    finite = sorted((step, value if abs(value) > LEAST else 0.0) for step, value in known)
    steps, values = np.array(finite, np.float64).reshape(-1, 2).T
    steps, values = _blocks(steps, MOST_POINTS), _blocks(values, MOST_POINTS)
    return _Series(name, steps, values, smooth(values))


def _blocks(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many values: means over neighbours, each block as long as the others but for the last."""
    length = math.ceil(len(values) / most) or 1
    whole = len(values) - len(values) % length
    rest = values[whole:]
    return np.concatenate(
        [values[:whole].reshape(-1, length).mean(axis=1), rest.mean(keepdims=True) if len(rest) else rest]
    )


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred running mean over about one 25th of the values; at the ends, over those of them that exist."""
    window = np.ones(2 * (len(values) // (2 * SMOOTHING_SHARE)) + 1)
    if len(window) == 1:
        return values.copy()
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _step_range(series: Sequence[_Series]) -> tuple[float, float]:
    steps = np.concatenate([one.steps for one in series]) if series else np.array([])
    return _widened(float(steps.min()), float(steps.max())) if len(steps) else (0.0, 1.0)


def _value_range(series: Sequence[_Series]) -> tuple[float, float]:
    """Room for every smoothed value and for all but the most extreme logged ones, from 0 where none is negative."""
    smoothed = np.concatenate([one.smoothed for one in series]) if series else np.array([])
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
    places = [f"{x:.1f} {y:.1f}" for x, y in zip(across.tolist(), down.tolist(), strict=True)]
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


def _ticks(marks: Sequence[float], percents: Sequence[float]) -> list[Tick]:
    return [Tick(percent, text) for percent, text in zip(percents, short_numbers(marks), strict=True)]


def short_numbers(values: Sequence[float]) -> list[str]:
    """Numbers with as few significant digits, four or more, as tell them apart."""
    for digits in range(4, 16):
        texts = [short_number(value, digits) for value in values]
        if len(set(texts)) == len(texts):
            break
    return texts if values else []


def short_number(value: float, digits: int = 4) -> str:
    """A number in at most so many significant digits, four or more: 0.25, 1,500, 20k, 2e-05."""
    for size, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= size:
            return f"{value / unit:.{digits}g}{letter}"
    return f"{value:,.{digits - 4}f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def _data(series: Sequence[_Series]) -> list[dict[str, object]]:
    """The points of each curve; steps that are those of the curve before it are not told again."""
    told, before = [], None
    for one in series:
        steps = one.steps.round().astype(int).tolist()
        told.append(
            {
                "name": one.name,
                "steps": None if steps == before else steps,
                "logged": [float(f"{value:.5g}") for value in one.values.tolist()],
                "smoothed": [float(f"{value:.5g}") for value in one.smoothed.tolist()],
            }
        )
        before = steps
    return told
