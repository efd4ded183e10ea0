from __future__ import annotations

import numpy as np
import pytest
import torch

from ganstyle.base.draws import Draws
from ganstyle.evaluate.feature_sets import (
    places_of,
    relative_distance,
    relative_sliced_distance,
    squared_sliced_distance,
)


def features(count: int, channels: int, purpose: str) -> np.ndarray:
    stream = Draws(seed=3).stream(purpose)
    return stream.standard_normal((count, channels)) @ stream.standard_normal((channels, channels)) + 2


def test_rows_are_the_values_at_each_place() -> None:
    maps = torch.rand(1, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    rows = places_of(maps)
    assert rows.dtype == np.float64
    expected = [maps[0, :, row, column].numpy() for row in range(3) for column in range(4)]
    np.testing.assert_array_equal(rows, expected)


def test_of_many_places_the_same_ones_are_drawn() -> None:
    maps = torch.arange(2 * 40 * 50.0).view(1, 2, 40, 50)
    rows = places_of(maps, most=300)
    assert rows.shape == (300, 2)
    assert len(np.unique(rows[:, 0])) == 300
    np.testing.assert_array_equal(rows[:, 1] - rows[:, 0], 2000)
    np.testing.assert_array_equal(places_of(maps * 3, most=300), rows * 3)


def test_the_relative_distance_equals_its_formula() -> None:
    one, other = features(400, 4, "one"), features(300, 4, "other")
    covariance, covariance_other = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(covariance @ covariance_other).real)
    squared = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(covariance + covariance_other) - 2 * roots.sum()
    length = sum(float(row @ row) for row in other) / 300
    assert relative_distance(one, other) == pytest.approx(np.sqrt(squared / length), rel=1e-9)
    # All features at zero are as far away as they are long.
    assert relative_distance(np.zeros((10, 4)), other) == pytest.approx(1, rel=1e-2)


def slow_squared_wasserstein(x: np.ndarray, y: np.ndarray) -> float:
    """Of values on a line: mass is moved in order, piece by piece."""
    x, y, total = sorted(x), sorted(y), 0.0
    left_x, left_y, i, j = 1 / len(x), 1 / len(y), 0, 0
    while i < len(x) and j < len(y):
        moved = min(left_x, left_y)
        total += moved * (x[i] - y[j]) ** 2
        left_x, left_y = left_x - moved, left_y - moved
        if left_x < 1e-12:
            i, left_x = i + 1, 1 / len(x)
        if left_y < 1e-12:
            j, left_y = j + 1, 1 / len(y)
    return total


@pytest.mark.parametrize(("count", "others"), [(40, 40), (40, 20), (15, 60)])
def test_along_a_line_the_sliced_distance_is_the_distance(count: int, others: int) -> None:
    x, y = features(count, 1, "x"), features(others, 1, "y") * 1.5
    assert squared_sliced_distance(x, y) == pytest.approx(slow_squared_wasserstein(x[:, 0], y[:, 0]), rel=1e-9)


def test_a_shift_is_as_far_as_it_is_long_on_average_over_directions() -> None:
    x, shift = features(200, 6, "x"), Draws(seed=3).stream("shift").standard_normal(6)
    assert squared_sliced_distance(x + shift, x, directions=4000) == pytest.approx(shift @ shift, rel=0.1)


def test_slices_see_what_mean_and_covariance_do_not() -> None:
    stream = Draws(seed=3).stream("corners")
    corners = stream.integers(0, 2, (4000, 2)) * 2.0 - 1
    cloud = stream.standard_normal((4000, 2))
    cloud = (cloud - cloud.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(cloud, rowvar=False))).T
    cloud = cloud @ np.linalg.cholesky(np.cov(corners, rowvar=False)).T + corners.mean(0)
    assert relative_distance(corners, cloud) < 1e-6
    assert relative_sliced_distance(corners, cloud) > 0.1
    assert relative_sliced_distance(cloud, cloud) == 0


def test_silent_features_give_numbers() -> None:
    silent = np.zeros((20, 3))
    assert relative_distance(silent, silent) == 0
    assert np.isfinite(relative_sliced_distance(features(20, 3, "x"), silent))
