"""How far the style of an image is from that of another: distances between the distributions of their feature maps.

Each loss gathers statistics of maps, is built with the target's, and compares others with these. All are relative: what
differs, divided by the energy E|x|^2 of the target's features. So they are numbers without a unit, about 1 for what is
quite different, and the same weights suit layers and networks of any magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ganstyle.losses.moments import LEAST_ENERGY, energy_of, moments, spread_of, sum_of_products, total_weight
from ganstyle.losses.quantiles import SortedDistance, orthonormal_axes

Statistics = tuple[Tensor, ...]
# Of the mean energy of a channel: variances below it are noise of float32.
LEAST_VARIANCE = 1e-4


class StyleLoss(Protocol):
    """What an objective needs of a style loss.

    `additive`: the statistics of an image are the sums of those of its parts.
    """

    additive: ClassVar[bool]

    @classmethod
    def gather(cls, maps: Tensor, weight: Tensor | None = None) -> Statistics:
        """The statistics of maps (1, C, h, w); weight (1, 1, h, w) >= 0 tells how much each place counts."""

    @classmethod
    def combine(cls, parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
        """The statistics of several images together, each counting by its weight whatever its size."""

    def __init__(self, target: Statistics) -> None: ...

    def __call__(self, statistics: Statistics) -> Tensor:
        """A scalar, 0 where they are those of the target."""


class Gram(nn.Module):
    """Squared distance of Gram matrices G = E[x x'], over that of the target to zero.

    Source: Gatys et al. 2016, "Image Style Transfer Using Convolutional Neural Networks", equations 3 and 4. Differs
    from the paper: divided by the target's |G|^2 in place of 4 N^2 M^2.
    """

    additive: ClassVar[bool] = True

    def __init__(self, target: Statistics) -> None:
        super().__init__()
        products, total = target
        self.target = products / total
        self.factor = 1 / self.target.square().sum().clamp(min=LEAST_ENERGY)

    @classmethod
    def gather(cls, maps: Tensor, weight: Tensor | None = None) -> Statistics:
        """Sum of w x x' (C, C), and of w."""
        return sum_of_products(maps, weight), total_weight(maps, weight)

    @classmethod
    def combine(cls, parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
        """The mean of Gram matrices."""
        return weighted_sums(parts, weights)

    def forward(self, statistics: Statistics) -> Tensor:
        """|G - T|^2 / |T|^2."""
        products, total = statistics
        return (products / total - self.target).square().sum() * self.factor


class MeanVariance(nn.Module):
    """Squared distance of the means and of the deviations of each channel, over E|x|^2.

    It is the Wasserstein-2 distance of Gaussians whose channels are independent.

    Source: Li et al. 2017, "Demystifying Neural Style Transfer", equation 12; Huang and Belongie 2017, equation 13.
    Differs from the papers: divided by the target's energy.
    """

    additive: ClassVar[bool] = True

    def __init__(self, target: Statistics) -> None:
        super().__init__()
        mean, variance = self._moments(target)
        energy = energy_of(mean, variance.sum())
        self.least = LEAST_VARIANCE * energy / len(mean)
        self.mean = mean
        self.deviation = (variance + self.least).sqrt()
        self.factor = 1 / energy

    @classmethod
    def gather(cls, maps: Tensor, weight: Tensor | None = None) -> Statistics:
        """Sums of w x (C,), of w x^2 (C,), and of w."""
        return (*moments(maps, weight), total_weight(maps, weight))

    @classmethod
    def combine(cls, parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
        """The moments of all pixels together."""
        return weighted_sums(parts, weights)

    def forward(self, statistics: Statistics) -> Tensor:
        """(|m - m_t|^2 + |s - s_t|^2) / E|x_t|^2."""
        mean, variance = self._moments(statistics)
        deviation = (variance + self.least).sqrt()
        distance = (mean - self.mean).square().sum() + (deviation - self.deviation).square().sum()
        return distance * self.factor

    @staticmethod
    def _moments(statistics: Statistics) -> tuple[Tensor, Tensor]:
        sums, squares, total = statistics
        mean = sums / total
        return mean, (squares / total - mean.square()).clamp(min=0)


class Wasserstein2(nn.Module):
    """Squared Wasserstein-2 distance of the Gaussians with the means and covariances of the features, over E|x|^2.

    |m - m_t|^2 + tr(S + T - 2 (T^1/2 S T^1/2)^1/2), with a little added to the diagonals of S and T; computed in
    float64, whose matrices cost little beside the convolutions (512 channels: 30 ms on a core).

    Source: Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions", equation 4.
    """

    additive: ClassVar[bool] = True

    def __init__(self, target: Statistics) -> None:
        super().__init__()
        mean, covariance = _gaussian(target)
        trace = covariance.trace()
        energy = energy_of(mean, trace)
        least = LEAST_VARIANCE * energy / len(mean)
        values, vectors = torch.linalg.eigh(covariance)
        self._least = least
        self._mean, self._trace = mean, values.clamp(min=0).sum() + len(mean) * least
        self._root = (vectors * (values.clamp(min=0) + least).sqrt()) @ vectors.T
        self._factor = 1 / energy

    @classmethod
    def gather(cls, maps: Tensor, weight: Tensor | None = None) -> Statistics:
        """Sums of w x (C,), of w x x' (C, C), and of w."""
        return spread_of(maps, weight), sum_of_products(maps, weight), total_weight(maps, weight)

    @classmethod
    def combine(cls, parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
        """The moments of all pixels together."""
        return weighted_sums(parts, weights)

    def forward(self, statistics: Statistics) -> Tensor:
        """The distance, as float32 where the statistics are."""
        mean, covariance = _gaussian(statistics)
        # Of an image that is the target, both ends of the sum are equal up to rounding; below 0 it means nothing.
        trace = covariance.trace() + len(mean) * self._least
        root_trace = _RootTrace.apply(covariance, self._root, self._least)
        distance = (mean - self._mean).square().sum() + trace + self._trace - 2 * root_trace
        return (distance * self._factor).to(statistics[0])


class SlicedWasserstein(nn.Module):
    """Squared Wasserstein-2 distance of the features along random axes, mean over these, over the target's energy.

    The axes are orthonormal, as many as channels, and stay the same, as an optimiser with memory needs.

    Source: Heitz et al. 2021, "A Sliced Wasserstein Loss for Neural Texture Synthesis", equations 5 to 8. Differs from
    the paper: fixed orthonormal axes; other pixel counts are compared by their quantiles; divided by the energy.
    """

    additive: ClassVar[bool] = False

    def __init__(self, target: Statistics) -> None:
        super().__init__()
        self.distance = SortedDistance(*target, axes=orthonormal_axes(len(target[0])).to(target[0]))

    @classmethod
    def gather(cls, maps: Tensor, weight: Tensor | None = None) -> Statistics:
        """All features (C, n), and their weights (n,) where there are some."""
        return _points(maps, weight)

    @classmethod
    def combine(cls, parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
        """All features together."""
        return _all_points(parts, weights)

    def forward(self, statistics: Statistics) -> Tensor:
        """The mean over axes of E(x - x_t)^2 of sorted projections, over that of x_t."""
        return self.distance(*statistics)


class Histogram(nn.Module):
    """Squared distance of the features from themselves with the target's histogram in each channel, over E|x|^2.

    Source: Risser et al. 2017, "Stable and Controllable Neural Texture Synthesis and Style Transfer Using Histogram
    Losses", equation 8. Differs from the paper: exact quantiles in place of 256 bins; divided by the energy.
    """

    additive: ClassVar[bool] = False

    def __init__(self, target: Statistics) -> None:
        super().__init__()
        self.distance = SortedDistance(*target)

    @classmethod
    def gather(cls, maps: Tensor, weight: Tensor | None = None) -> Statistics:
        """All features (C, n), and their weights (n,) where there are some."""
        return _points(maps, weight)

    @classmethod
    def combine(cls, parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
        """All features together."""
        return _all_points(parts, weights)

    def forward(self, statistics: Statistics) -> Tensor:
        """E|x - R(x)|^2 / E|x_t|^2, R(x) having the target's histograms."""
        return self.distance(*statistics)


STYLE_LOSSES: dict[str, type[StyleLoss]] = {
    "gram": Gram,
    "mean-variance": MeanVariance,
    "wasserstein": Wasserstein2,
    "sliced": SlicedWasserstein,
    "histogram": Histogram,
}


def weighted_sums(parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
    """Sums of additive statistics, each brought to a total weight of its own weight; the total is their last one."""
    scaled = [[each * (weight / part[-1]) for each in part] for part, weight in zip(parts, weights, strict=True)]
    return tuple(torch.stack(same).sum(dim=0) for same in zip(*scaled, strict=True))


def _points(maps: Tensor, weight: Tensor | None) -> Statistics:
    points = maps.flatten(2)[0]
    return (points,) if weight is None else (points, weight.flatten())


def _all_points(parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
    if len(parts) == 1:
        return parts[0]
    shares = []
    for (points, *given), weight in zip(parts, weights, strict=True):
        own = given[0] if given else points.new_ones(points.shape[1])
        shares.append(own * (weight / own.sum()))
    return torch.cat([part[0] for part in parts], dim=1), torch.cat(shares)


def _gaussian(statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Mean (C,) and covariance (C, C), float64; on the CPU where the device has no float64."""
    sums, products, total = (each.cpu().double() if each.device.type == "mps" else each.double() for each in statistics)
    mean = sums / total
    return mean, products / total - mean[:, None] * mean


class _RootTrace(torch.autograd.Function):
    """tr (A S A)^1/2 of covariances S with something on their diagonal, with its gradient A (A S A)^-1/2 A / 2.

    Differentiating the eigenvectors would divide by differences of eigenvalues, which may be equal.
    """

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, root: Tensor, least: Tensor) -> Tensor:
        steady = covariance + least * torch.eye(len(root), dtype=root.dtype, device=root.device)
        values, vectors = torch.linalg.eigh(root @ steady @ root)
        roots = values.clamp(min=least.square()).sqrt()  # what is smaller comes from rounding
        ctx.save_for_backward(root @ vectors, roots)
        return roots.sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        axes, roots = ctx.saved_tensors
        return (axes / roots) @ axes.T * (gradients[0] / 2), None, None
