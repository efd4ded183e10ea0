from __future__ import annotations

import math

import numpy as np
import pytest

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.evaluate.distances import (
    enough_for_frechet,
    frechet_distance,
    kernel_distance,
    kernel_distance_deviation,
    standardise,
)

DRAWS = Draws(seed=7)


def slow_kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Gretton et al. 2012, equation 3, pair by pair; pairs of one index within a set are left out."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(kernel(a, b) for a in x for b in y) / (n * m)
    return within_x + within_y - 2 * between


@pytest.mark.parametrize(("n", "m", "length"), [(2, 2, 1), (5, 9, 4), (12, 3, 17)])
def test_kernel_distance_equals_the_slow_double_loop(n: int, m: int, length: int) -> None:
    stream = DRAWS.stream("loop", n)
    x, y = stream.normal(size=(n, length)), stream.normal(0.5, 2, size=(m, length))
    assert kernel_distance(x, y) == pytest.approx(slow_kernel_distance(x, y), rel=1e-12)


def test_kernel_distance_of_float32_features_is_computed_in_float64() -> None:
    stream = DRAWS.stream("float32")
    x, y = (stream.normal(100, 1, size=(20, 8)).astype(np.float32) for _ in range(2))
    expected = slow_kernel_distance(x.astype(np.float64), y.astype(np.float64))
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_is_unbiased_for_one_distribution() -> None:
    values = []
    for repeat in range(400):
        stream = DRAWS.stream("unbiased", repeat)
        values.append(kernel_distance(stream.normal(size=(10, 5)), stream.normal(size=(15, 5))))
    standard_error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * standard_error
    assert min(values) < 0 < max(values)


def test_kernel_distance_is_far_above_zero_for_other_distributions() -> None:
    stream = DRAWS.stream("other")
    x, near, far = (stream.normal(shift, 1, size=(50, 5)) for shift in (0, 0, 1))
    assert kernel_distance(x, far) > 10 * abs(kernel_distance(x, near))


def test_kernel_distance_is_symmetric() -> None:
    stream = DRAWS.stream("symmetric")
    x, y = stream.normal(size=(6, 3)), stream.normal(size=(8, 3))
    assert kernel_distance(x, y) == pytest.approx(kernel_distance(y, x), rel=1e-12)


@pytest.mark.parametrize("counts", [(1, 5), (5, 1), (0, 5)])
def test_fewer_than_two_images_are_refused(counts: tuple[int, int]) -> None:
    x, y = (np.ones((count, 3)) for count in counts)
    with pytest.raises(UserError, match=f"{counts[0]} and {counts[1]} images.*at least 2"):
        kernel_distance(x, y)


def test_features_that_do_not_fit_or_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 2\)"):
        kernel_distance(np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(ValueError, match="NaN"):
        kernel_distance(np.full((4, 3), np.nan), np.ones((4, 3)))


def test_deviation_agrees_with_the_spread_over_fresh_samples() -> None:
    def draw(repeat: int) -> tuple[np.ndarray, np.ndarray]:
        stream = DRAWS.stream("spread", repeat)
        return stream.normal(size=(60, 4)), stream.normal(0.7, 1, size=(60, 4))

    true_spread = np.std([kernel_distance(*draw(repeat)) for repeat in range(300)], ddof=1)
    estimates = [kernel_distance_deviation(*draw(i), DRAWS.stream("bootstrap", i)) for i in range(15)]
    assert np.mean(estimates) == pytest.approx(true_spread, rel=0.25)


def test_deviation_equals_the_slow_bootstrap() -> None:
    stream = DRAWS.stream("slow bootstrap")
    x, y = stream.normal(size=(6, 3)), stream.normal(size=(5, 3))

    def mean_kernel(a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray, *, within: bool) -> float:
        pairs = [(p, q) for p in i for q in j if not (within and p == q)]
        return float(np.mean([(a[p] @ b[q] / 3 + 1) ** 3 for p, q in pairs]))

    fast = kernel_distance_deviation(x, y, DRAWS.stream("same"), resamples=20)
    again = DRAWS.stream("same")
    slow = []
    for _ in range(20):
        i, j = again.integers(6, size=6), again.integers(5, size=5)
        within = mean_kernel(x, x, i, i, within=True) + mean_kernel(y, y, j, j, within=True)
        slow.append(within - 2 * mean_kernel(x, y, i, j, within=False))
    assert fast == pytest.approx(np.std(slow, ddof=1), rel=1e-9)


def test_deviation_of_two_images_a_side_is_finite() -> None:
    stream = DRAWS.stream("two")
    deviation = kernel_distance_deviation(stream.normal(size=(2, 3)), stream.normal(size=(2, 3)), stream)
    assert np.isfinite(deviation)


@pytest.mark.parametrize(("n", "m", "length"), [(30, 40, 5), (200, 9, 8), (4, 6, 12), (2, 2, 1)])
def test_frechet_distance_equals_the_formula_with_a_matrix_root(n: int, m: int, length: int) -> None:
    linalg = pytest.importorskip("scipy.linalg", reason="needs scipy")
    stream = DRAWS.stream("frechet", n)
    mixing = stream.normal(size=(length, length))
    x, y = stream.normal(size=(n, length)) @ mixing, stream.normal(0.5, 2, size=(m, length))
    covariance_x, covariance_y = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(y.T))
    root = np.real(linalg.sqrtm(covariance_x @ covariance_y))
    shift = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    expected = shift + np.trace(covariance_x) + np.trace(covariance_y) - 2 * np.trace(root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_frechet_distance_of_independent_features_equals_the_formula_of_one_dimension() -> None:
    """Without covariances it is, feature by feature, the squared differences of means and of deviations."""
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], np.float64)
    x, y = signs * [1, 2, 3] + [0, 5, 1], signs * [4, 2, 1] + [1, 1, 1]
    bessel = 8 / 7  # the covariance divides by one less than the number of images
    assert frechet_distance(x, y) == pytest.approx(1 + 16 + 0 + (9 + 0 + 4) * bessel, rel=1e-12)


def test_frechet_distance_to_itself_is_zero_also_with_too_few_images() -> None:
    for count in (50, 5):
        x = DRAWS.stream("itself", count).normal(100, 1, size=(count, 20)).astype(np.float32)
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_refuses_what_the_kernel_distance_does() -> None:
    with pytest.raises(UserError, match=r"1 and 5 images.*at least 2"):
        frechet_distance(np.ones((1, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(np.full((4, 3), np.nan), np.ones((4, 3)))


def test_enough_for_frechet_is_where_the_covariance_can_have_full_rank() -> None:
    for count in range(2, 12):
        features = DRAWS.stream("rank", count).normal(size=(count, 6))
        full = np.linalg.matrix_rank(np.cov(features.T)) == 6
        assert enough_for_frechet(count, 6) == full


def limited(z: float) -> float:
    return z / math.sqrt(1 + z * z / 9)


def test_standardise_measures_in_deviations_of_the_reference_alone() -> None:
    reference = np.array([[0.0, 10.0], [2.0, 14.0]], np.float32)  # means 1 and 12, deviations 1 and 2
    scaled = standardise(reference)(np.array([[4.0, 8.0], [1.0, 14.0]]))
    assert scaled.dtype == np.float64
    np.testing.assert_allclose(scaled, [[limited(3), limited(-2)], [0, limited(1)]])


def test_standardise_hardly_changes_the_reference_beyond_its_scale_and_limits_the_rest() -> None:
    reference = DRAWS.stream("scale").normal([5, -3, 0], [1, 2, 1.5], size=(2000, 3))
    scale = standardise(reference)
    np.testing.assert_allclose(scale(reference).mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(scale(reference).std(axis=0), 1, atol=0.15)
    np.testing.assert_allclose(scale(reference + 1e9), 3, rtol=1e-6)
    np.testing.assert_allclose(scale(reference - 1e9), -3, rtol=1e-6)


def test_a_feature_that_hardly_varies_does_not_rule() -> None:
    reference = np.array([[0.0, 1.0, 0.0], [8.0, 1.0, 1e-6]])  # deviations 4, 0, 5e-7: median of the varying 2
    scaled = standardise(reference)(np.array([[4.0, 2.0, 1.0]]))
    np.testing.assert_allclose(scaled, [[0.0, limited(1), limited(1)]], atol=1e-5)
    np.testing.assert_allclose(standardise(np.ones((3, 2)))(np.array([[1.0, 3.0]])), [[0.0, limited(2)]])
