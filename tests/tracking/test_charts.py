from __future__ import annotations

import math
import re

import numpy as np
import pytest

from ganstyle.base.draws import Draws
from ganstyle.tracking.charts import EXTENT, MOST_POINTS, Chart, charts, short_number, smooth, ticks


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def series(chart: Chart, index: int = 0) -> dict[str, list[float]]:
    return chart.hover["series"][index]  # type: ignore[index]


def test_names_are_grouped_by_what_stands_before_the_slash() -> None:
    points = [(0, 1.0), (10, 2.0)]
    drawn = charts({"generator/a": points, "learning_rate": points, "discriminator/b": points, "generator/c/d": points})
    assert [chart.title for chart in drawn] == ["generator", "learning_rate", "discriminator"]
    assert [line.name for line in drawn[0].lines] == ["a", "c/d"]
    assert [line.name for line in drawn[1].lines] == ["learning_rate"]
    assert charts({}) == []


def test_points_lie_where_the_ticks_say() -> None:
    chart = charts({"x": [(0, 0.0), (50, 3.0), (100, 4.0)]})[0]
    heights = {float(tick.text): tick.percent / 100 * EXTENT for tick in chart.value_ticks}
    across = {float(tick.text): tick.percent / 100 * EXTENT for tick in chart.step_ticks}
    drawn = places(chart.lines[0].logged)
    assert drawn[0] == pytest.approx((across[0], heights[0]), abs=0.1)
    assert drawn[2] == pytest.approx((across[100], heights[4]), abs=0.1)
    assert drawn[1] == pytest.approx((500, heights[3]), abs=0.1)
    assert heights[4] < heights[0] == EXTENT


def test_values_that_are_not_finite_are_left_out() -> None:
    chart = charts({"x": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)], "x/y": [(0, -math.inf)]})[0]
    assert series(chart)["steps"] == [0, 3]
    assert chart.lines[1].logged == chart.lines[1].smoothed == ""


def test_steps_are_put_in_order_and_one_point_is_a_dot() -> None:
    assert series(charts({"x": [(5, 1.0), (2, 3.0)]})[0])["logged"] == [3, 1]
    dot = places(charts({"x": [(5, 1.0)]})[0].lines[0].smoothed)
    assert len(dot) == 2
    assert dot[0] == dot[1]


@pytest.mark.parametrize("count", [1, 2, 24, 50, 51, 333])
def test_smoothing_equals_the_slow_mean_over_neighbours(count: int) -> None:
    values = Draws(seed=0).stream("smooth").normal(size=count)
    reach = count // 50
    for index, smoothed in enumerate(smooth(values)):
        near = [values[other] for other in range(count) if abs(other - index) <= reach]
        assert smoothed == pytest.approx(sum(near) / len(near))


def test_many_points_are_averaged_in_blocks_and_none_is_lost() -> None:
    count = 3 * MOST_POINTS + 7
    values = Draws(seed=0).stream("many").random(count)
    shown = series(charts({"x": list(enumerate(values.tolist()))})[0])
    assert len(shown["steps"]) <= MOST_POINTS
    sizes = [4] * (count // 4) + [count % 4]
    assert np.average(shown["logged"], weights=sizes) == pytest.approx(values.mean(), rel=1e-4)


def test_one_wild_value_does_not_flatten_the_rest() -> None:
    points = [(step, 1.0 + step % 2) for step in range(1000)]
    wild = charts({"x": [*points[:40], (40, 1e6)]})[0]
    assert all(0 <= y <= EXTENT for _, y in places(wild.lines[0].logged))
    calm = charts({"x": [*points[:400], (400, 90.0)]})[0]
    assert max(float(tick.text.replace(",", "")) for tick in calm.value_ticks) < 30


@pytest.mark.parametrize("value", [0.0, 5.0, -2.0, 1e-9, 1e9])
def test_a_constant_has_room_around_it(value: float) -> None:
    chart = charts({"x": [(0, value), (9, value)]})[0]
    assert all(0 <= y <= EXTENT for _, y in places(chart.lines[0].logged))
    assert len(chart.value_ticks) >= 2


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
    chart = charts({"x": [(1, 0.5), (3, 0.7)]})[0]
    assert [tick.text for tick in chart.step_ticks] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (1500, "1,500"), (20000, "20k"), (2.5e6, "2.5M"), (3e9, "3G"), (2e-5, "2e-05"), (-12000, "-12k")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text
