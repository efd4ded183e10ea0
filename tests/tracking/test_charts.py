from __future__ import annotations

import math
import re

import numpy as np
import pytest

from ganstyle.base.draws import Draws
from ganstyle.tracking.charts import (
    DRAWN_POINTS,
    EXTENT,
    MOST_POINTS,
    Chart,
    Panel,
    Points,
    charts,
    short_number,
    short_numbers,
    smooth,
    ticks,
)


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def series(chart: Chart, index: int = 0) -> dict[str, list[float]]:
    return chart.data["series"][index]  # type: ignore[index]


def chart_of(lines: dict[str, Points]) -> Chart:
    (chart,) = charts([Panel("x", lines)])
    return chart


def test_all_charts_share_one_range_of_steps() -> None:
    panels = [Panel("losses", {"x": [(0, 1.0), (10, 2.0)], "y": []}), Panel("scores", {"z": [(5, 1.0), (20, 3.0)]})]
    losses, scores = charts(panels)
    assert (losses.panel, scores.panel) == tuple(panels)
    assert [line.name for line in losses.lines] == ["x", "y"]
    assert [(chart.data["low"], chart.data["high"]) for chart in (losses, scores)] == [(0, 20), (0, 20)]
    assert [x for x, _ in places(losses.lines[0].logged)] == [0, EXTENT / 2]
    assert [x for x, _ in places(scores.lines[0].logged)] == [EXTENT / 4, EXTENT]
    assert losses.step_ticks == scores.step_ticks
    assert charts([]) == []


def test_steps_are_told_once_for_curves_that_share_them() -> None:
    chart = chart_of({"a": [(1, 1.0), (2, 2.0)], "b": [(1, 5.0), (2, 6.0)], "c": [(1, 5.0)], "d": [(1, 5.0)]})
    assert [series(chart, index)["steps"] for index in range(4)] == [[1, 2], None, [1], None]


def test_points_lie_where_the_ticks_say() -> None:
    chart = chart_of({"x": [(0, 0.0), (50, 3.0), (100, 4.0)]})
    heights = {float(tick.text): tick.percent / 100 * EXTENT for tick in chart.value_ticks}
    across = {float(tick.text): tick.percent / 100 * EXTENT for tick in chart.step_ticks}
    drawn = places(chart.lines[0].logged)
    assert drawn[0] == pytest.approx((across[0], heights[0]), abs=0.1)
    assert drawn[2] == pytest.approx((across[100], heights[4]), abs=0.1)
    assert drawn[1] == pytest.approx((500, heights[3]), abs=0.1)
    assert heights[4] < heights[0] == EXTENT


def test_values_that_are_not_finite_are_left_out() -> None:
    chart = chart_of({"x": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0), (4, 1e200)], "y": [(0, -math.inf)]})
    assert series(chart)["steps"] == [0, 3]
    assert chart.lines[1].logged == chart.lines[1].smoothed == ""


def test_steps_are_put_in_order_and_one_point_is_a_dot() -> None:
    assert series(chart_of({"x": [(5, 1.0), (2, 3.0)]}))["logged"] == [3, 1]
    dot = places(chart_of({"x": [(5, 1.0)]}).lines[0].smoothed)
    assert len(dot) == 2
    assert dot[0] == dot[1]


@pytest.mark.parametrize("count", [1, 2, 24, 50, 51, 333])
def test_smoothing_equals_the_slow_mean_over_neighbours(count: int) -> None:
    values = Draws(seed=0).stream("smooth").normal(size=count)
    reach = count // 50
    for index, smoothed in enumerate(smooth(values)):
        near = [values[other] for other in range(count) if abs(other - index) <= reach]
        assert smoothed == pytest.approx(sum(near) / len(near))


def _height(chart: Chart, value: float) -> float:
    """Where a value lies, from two marks of the axis."""
    low, high = chart.value_ticks[0], chart.value_ticks[-1]
    share = (value - float(low.text)) / (float(high.text) - float(low.text))
    return (low.percent + share * (high.percent - low.percent)) / 100 * EXTENT


def test_many_points_are_averaged_in_blocks_and_none_is_lost() -> None:
    count = 3 * MOST_POINTS + 7
    values = Draws(seed=0).stream("many").random(count)
    chart = chart_of({"x": list(enumerate(values.tolist()))})
    shown = series(chart)
    assert len(shown["steps"]) <= MOST_POINTS
    sizes = [4] * (count // 4) + [count % 4]
    assert np.average(shown["logged"], weights=sizes) == pytest.approx(values.mean(), rel=1e-4)
    slow = [values[start : start + 4].mean() for start in range(0, count, 4)]
    assert shown["logged"] == pytest.approx(slow, rel=1e-4)
    assert shown["steps"][:2] == [2, 6]  # 1.5 and 5.5, to even
    drawn = places(chart.lines[0].logged)
    assert DRAWN_POINTS / 2 < len(drawn) <= DRAWN_POINTS
    assert drawn[0][1] == pytest.approx(_height(chart, np.mean(slow[:4])), abs=1.5)


def test_one_wild_value_does_not_flatten_the_rest() -> None:
    points = [(step, 1.0 + step % 2) for step in range(1000)]
    wild = chart_of({"x": [*points[:40], (40, 1e6)]})
    assert all(0 <= y <= EXTENT for _, y in places(wild.lines[0].logged))
    calm = chart_of({"x": [*points[:400], (400, 90.0)]})
    assert max(float(tick.text.replace(",", "")) for tick in calm.value_ticks) < 30


@pytest.mark.parametrize("value", [0.0, 5.0, -2.0, 1e-9, 1e9])
def test_a_constant_has_room_around_it(value: float) -> None:
    chart = chart_of({"x": [(0, value), (9, value)]})
    assert all(0 <= y <= EXTENT for _, y in places(chart.lines[0].logged))
    assert len(chart.value_ticks) >= 2


@pytest.mark.parametrize("values", [(5e-324, 5e-324), (0.0, 5e-324), (-5e-324, 5e-324), (1e-300, 3e-300)])
def test_values_next_to_zero_are_drawn_as_zero(values: tuple[float, float]) -> None:
    chart = chart_of({"x": list(enumerate(values))})
    assert series(chart)["logged"] == series(chart)["smoothed"] == [0, 0]
    assert [tick.text for tick in chart.value_ticks] == [tick.text for tick in chart_of({"x": [(0, 0.0)]}).value_ticks]


def test_very_small_values_have_marks() -> None:
    assert len(chart_of({"x": [(0, 2e-100), (1, 9e-100)]}).value_ticks) >= 2


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 2000), (-3.7, 12.2), (1e-6, 3e-5), (99, 101), (-1e9, 5), (0, 0.6)]
)
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    marks = ticks(low, high)
    spacing = marks[1] - marks[0]
    assert 2 <= len(marks) <= 6
    assert low - 1e-9 * spacing <= marks[0] < low + spacing
    assert high - spacing < marks[-1] <= high + 1e-6 * spacing
    assert np.allclose(np.diff(marks), spacing)
    leading = spacing / 10 ** math.floor(math.log10(spacing) + 1e-9)
    assert min(abs(leading - round_number) for round_number in (1, 2, 5)) < 1e-6


def test_steps_are_marked_at_whole_numbers_only() -> None:
    chart = chart_of({"x": [(1, 0.5), (3, 0.7)]})
    assert [tick.text for tick in chart.step_ticks] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (1500, "1,500"), (20000, "20k"), (2.5e6, "2.5M"), (3e9, "3G"), (2e-5, "2e-05"), (-12000, "-12k")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text


def test_numbers_on_an_axis_differ() -> None:
    assert short_numbers([120_300, 120_310, 120_320]) == ["120.3k", "120.31k", "120.32k"]
    assert short_numbers([0.1, 0.2]) == ["0.1", "0.2"]
    assert short_numbers([]) == []
