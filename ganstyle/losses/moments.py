"""Sums over the places of feature maps that add up over the parts of an image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_ENERGY = 1e-12  # where everything is divided by it: of a target that is zero everywhere


def total_weight(maps: Tensor, weight: Tensor | None) -> Tensor:
    """The number of places of maps (1, C, h, w), or the sum of their weights (1, 1, h, w); a scalar."""
    return maps.new_tensor(float(maps[0, 0].numel())) if weight is None else weight.sum()


def spread_of(maps: Tensor, weight: Tensor | None) -> Tensor:
    """The sum of w x over all places, (C,)."""
    return (maps if weight is None else maps * weight).sum(dim=(0, 2, 3))


def moments(maps: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The sums of w x and of w x^2 over all places, (C,) each."""
    weighted = maps if weight is None else maps * weight
    return weighted.sum(dim=(0, 2, 3)), (weighted * maps).sum(dim=(0, 2, 3))


def sum_of_products(maps: Tensor, weight: Tensor | None) -> Tensor:
    """The sum of w x x' over all places, (C, C)."""
    return _SumOfProducts.apply(maps, weight)


def energy_of(mean: Tensor, trace: Tensor) -> Tensor:
    """E|x|^2 of features with this mean and this trace of their covariance; never 0."""
    energy = mean.square().sum() + trace
    return energy.clamp(min=LEAST_ENERGY)


class _SumOfProducts(torch.autograd.Function):
    """Keeps the maps alone for its gradient, w (G + G') x: autograd would keep a weighted copy of them as well."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor | None) -> Tensor:
        ctx.save_for_backward(maps, weight)
        flat = _flat(maps)
        return (flat if weight is None else flat * weight.reshape(1, -1)) @ flat.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        maps, weight = ctx.saved_tensors
        gradient = ((gradients[0] + gradients[0].T) @ _flat(maps)).view(maps.shape)
        return (gradient if weight is None else gradient.mul_(weight)), None


def _flat(maps: Tensor) -> Tensor:
    """(C, h w), without a copy for maps that lie channel by channel."""
    return maps.flatten(2)[0]
