from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.losses.moments import sum_of_products
from ganstyle.losses.quantiles import orthonormal_axes
from ganstyle.losses.style import STYLE_LOSSES, Gram, Histogram, SlicedWasserstein, Wasserstein2, _RootTrace

ADDITIVE = [name for name, loss in STYLE_LOSSES.items() if loss.additive]


def maps(seed: int, *, channels: int = 5, height: int = 6, width: int = 7) -> Tensor:
    """Like features: skewed, correlated, none below zero."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator)
    values = torch.randn(1, channels, height, width, generator=generator)
    return (torch.einsum("oi,nihw->nohw", mixing, values) + 0.3).relu()


def a_mask(seed: int, height: int = 6, width: int = 7) -> Tensor:
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed))


def rows(values: Tensor) -> np.ndarray:
    """(places, channels) in float64."""
    return values[0].double().flatten(1).T.numpy()


def distance(name: str, values: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    loss = STYLE_LOSSES[name]
    return float(loss(loss.gather(target))(loss.gather(values, weight)))


def energy(target: np.ndarray) -> float:
    return float(np.mean([np.sum(row**2) for row in target]))


def test_there_are_five() -> None:
    assert list(STYLE_LOSSES) == ["gram", "mean-variance", "wasserstein", "sliced", "histogram"]
    assert ADDITIVE == ["gram", "mean-variance", "wasserstein"]


def test_gram_is_the_loop_over_pairs_of_channels() -> None:
    one, other = rows(maps(1)), rows(maps(2, height=4))
    difference = total = 0.0
    for i in range(5):
        for j in range(5):
            wanted = np.mean([row[i] * row[j] for row in other])
            difference += (np.mean([row[i] * row[j] for row in one]) - wanted) ** 2
            total += wanted**2
    assert distance("gram", maps(1), maps(2, height=4)) == pytest.approx(difference / total, rel=1e-4)


def test_mean_variance_is_that_of_each_channel() -> None:
    one, other = rows(maps(1)), rows(maps(2, height=4))
    expected = sum(
        (one[:, c].mean() - other[:, c].mean()) ** 2 + (one[:, c].std() - other[:, c].std()) ** 2 for c in range(5)
    )
    assert distance("mean-variance", maps(1), maps(2, height=4)) == pytest.approx(expected / energy(other), rel=1e-3)


def test_wasserstein_is_the_distance_of_gaussians() -> None:
    one, other = rows(maps(1, height=20)), rows(maps(2, height=30))
    s, t = np.cov(one.T, bias=True), np.cov(other.T, bias=True)
    # Of a product of covariances, which is not symmetric, the eigenvalues are real and not negative.
    roots = np.sqrt(np.linalg.eigvals(s @ t).real.clip(0)).sum()
    expected = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * roots
    found = distance("wasserstein", maps(1, height=20), maps(2, height=30))
    assert found == pytest.approx(expected / energy(other), rel=1e-3)


def test_wasserstein_of_independent_channels_is_mean_variance() -> None:
    signs = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1]])  # no correlation
    one = (signs * torch.tensor([[2.0], [0.5]]) + 3)[None, :, None]
    other = (signs * torch.tensor([[1.0], [1.5]]) + 4)[None, :, None]
    expected = distance("mean-variance", one, other)
    assert distance("wasserstein", one, other) == pytest.approx(expected, rel=1e-3)


def test_the_gradient_of_the_root_is_that_of_its_value() -> None:
    generator = torch.Generator().manual_seed(3)
    factor, other = (torch.randn(4, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    root, least = other @ other.T, torch.tensor(1e-3, dtype=torch.float64)

    def trace(half: Tensor) -> Tensor:
        return _RootTrace.apply(half @ half.T, root, least)

    assert torch.autograd.gradcheck(trace, factor.requires_grad_())
    # Equal eigenvalues, at which the derivatives of eigenvectors are infinite.
    same = torch.eye(4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(_RootTrace.apply(same, torch.eye(4, dtype=torch.float64), least), same)
    torch.testing.assert_close(gradient, torch.eye(4, dtype=torch.float64) / 2 / (1 + 1e-3) ** 0.5)


@pytest.mark.parametrize("target", [torch.full((1, 5, 6, 7), 2.0), torch.zeros(1, 5, 6, 7)])
@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_flat_and_empty_maps_give_finite_gradients(name: str, target: Tensor) -> None:
    loss = STYLE_LOSSES[name]
    matched = loss(loss.gather(target))
    for values in (torch.full((1, 5, 6, 7), 2.0), torch.zeros(1, 5, 6, 7), maps(1)):
        values.requires_grad_()
        found = matched(loss.gather(values))
        (gradient,) = torch.autograd.grad(found, values)
        assert found.isfinite()
        assert gradient.isfinite().all()


def sorted_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Along each column: the mean squared difference of what has the same rank; as many rows in both."""
    return sum(
        np.mean([(a - b) ** 2 for a, b in zip(sorted(x), sorted(y), strict=True)])
        for x, y in zip(one.T, other.T, strict=True)
    )


def test_histogram_pairs_values_by_rank() -> None:
    one, other = maps(1), maps(2)
    expected = sorted_distance(rows(one), rows(other)) / energy(rows(other))
    assert distance("histogram", one, other) == pytest.approx(expected, rel=1e-4)


def test_sliced_pairs_projections_by_rank() -> None:
    one, other, axes = maps(1), maps(2), orthonormal_axes(5).double().numpy()
    np.testing.assert_allclose(axes @ axes.T, np.eye(5), atol=1e-6)
    expected = sorted_distance(rows(one) @ axes.T, rows(other) @ axes.T) / energy(rows(other))
    assert distance("sliced", one, other) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["sliced", "histogram"])
def test_other_pixel_counts_are_compared_by_quantiles(name: str) -> None:
    one, other = maps(1), maps(2)
    doubled = other.repeat_interleave(3, dim=3)
    # Three times each value is the same distribution; interpolating between its quantiles blurs it a little.
    assert distance(name, other, doubled) < 1e-3 * distance(name, one, other)
    assert distance(name, one, doubled) == pytest.approx(distance(name, one, other), rel=0.02)
    single = maps(2, height=1, width=1)
    assert distance(name, one, single) > 0
    assert distance(name, single, single) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_each_is_zero_at_its_target_and_grows_from_there(name: str) -> None:
    one, other = maps(1), maps(2)
    assert distance(name, one, one) == pytest.approx(0, abs=2e-6)
    mixtures = [distance(name, one + share * (other - one), one) for share in (0.25, 0.5, 1.0)]
    assert 1e-4 < mixtures[0] < mixtures[1] < mixtures[2]


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_the_scale_of_a_networks_maps_does_not_matter(name: str) -> None:
    one, other = maps(1), maps(2)
    assert distance(name, 100 * one, 100 * other) == pytest.approx(distance(name, one, other), rel=1e-3)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_a_mask_of_zeros_and_ones_cuts_out(name: str) -> None:
    one, other, mask = maps(1), maps(2), torch.zeros(1, 1, 6, 7)
    mask[..., 1:4, 2:6] = 1
    assert distance(name, one, other, mask) == pytest.approx(distance(name, one[..., 1:4, 2:6], other), rel=2e-3)
    loss = STYLE_LOSSES[name]
    cut, masked = loss(loss.gather(other[..., 1:4, 2:6])), loss(loss.gather(other, mask))
    assert float(masked(loss.gather(one))) == pytest.approx(float(cut(loss.gather(one))), rel=0.1)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_a_weight_of_two_is_the_place_twice(name: str) -> None:
    one, other, weight = maps(1), maps(2), torch.ones(1, 1, 6, 7)
    weight[..., 3:, :] = 2
    twice = torch.cat([one, one[..., 3:, :]], dim=2)
    assert distance(name, one, other, weight) == pytest.approx(distance(name, twice, other), rel=0.03)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_gradients_are_those_of_the_value(name: str) -> None:
    # Without equal values, between which a rank is arbitrary.
    one, other = ((maps(seed) + a_mask(seed)).double() for seed in (1, 2))
    weight = a_mask(4).double()
    loss = STYLE_LOSSES[name]
    target = loss(loss.gather(other))
    direction = torch.randn(one.shape, generator=torch.Generator().manual_seed(5)).double()

    def value(step: float) -> Tensor:
        return target(loss.gather(one + step * direction, weight))

    values = one.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(target(loss.gather(values, weight)), values)
    slope = (value(1e-6) - value(-1e-6)) / 2e-6
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-4)


def test_products_have_their_gradient_with_and_without_a_mask() -> None:
    values = maps(1, channels=3, height=2, width=3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sum_of_products(x, None), values)
    assert torch.autograd.gradcheck(lambda x: sum_of_products(x, a_mask(2, 2, 3).double()), values)


@pytest.mark.parametrize("name", ADDITIVE)
def test_statistics_of_parts_add_up(name: str) -> None:
    one, mask, loss = maps(1), a_mask(2), STYLE_LOSSES[name]
    for weight in (None, mask):
        whole = loss.gather(one, weight)
        parts = [loss.gather(one[..., s], None if weight is None else weight[..., s]) for s in (slice(3), slice(3, 7))]
        for total, *each in zip(whole, *parts, strict=True):
            torch.testing.assert_close(sum(each), total)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_several_pictures_count_by_their_weights_whatever_their_size(name: str) -> None:
    loss, one, small, large = STYLE_LOSSES[name], maps(1), maps(2), maps(3, height=30, width=20)
    alone = loss(loss.combine([loss.gather(small)], [0.3]))
    assert float(alone(loss.gather(one))) == pytest.approx(distance(name, one, small), rel=1e-4)
    both = loss(loss.combine([loss.gather(small), loss.gather(large)], [1.0, 3.0]))
    # The same as one picture that holds the small one once and, at the same number of pixels, the large one thrice.
    grown = torch.cat([small.repeat(1, 1, 1, 100)[0].flatten(1), large.repeat(1, 1, 1, 21)[0].flatten(1)], dim=1)
    weight = torch.cat([torch.full((4200,), 1.0), torch.full((12600,), 1.0)])[None, None, None]
    expected = loss(loss.gather(grown[None, :, None], weight))
    assert float(both(loss.gather(one))) == pytest.approx(float(expected(loss.gather(one))), rel=0.02)


def test_sliced_and_histogram_tell_what_a_gaussian_does_not() -> None:
    """The same means and covariances, another distribution."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(1, 4, 50, 50, generator=generator)
    signs = normal.sign()
    assert distance("wasserstein", signs, normal) < 0.01
    assert distance("sliced", signs, normal) > 2 * distance("wasserstein", signs, normal)
    assert distance("histogram", signs, normal) > 0.1
    assert {loss.additive for loss in (SlicedWasserstein, Histogram)} == {False}
    assert {loss.additive for loss in (Gram, Wasserstein2)} == {True}
