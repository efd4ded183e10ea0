"""What is told of a discriminator that gives several maps of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.losses.adversarial import ADVERSARIAL, LeastSquares
from ganstyle.methods.method import Judge
from ganstyle.train.probe import Probe, Probed

A, B = (np.random.default_rng(seed).integers(40, 216, (2, 8, 8, 3), dtype=np.uint8) for seed in (0, 1))


class TwoMaps(nn.Module):
    """A map of pixels and a map of means, whose weights are 0.5 and 1.5."""

    def forward(self, images: Tensor) -> list[tuple[float, Tensor]]:
        return [(0.5, images[:, :1]), (1.5, images.mean(dim=(1, 2, 3), keepdim=True) + 0.3)]


class Constant(nn.Module):
    """Every map says one thing of everything."""

    def forward(self, images: Tensor) -> list[tuple[float, Tensor]]:
        return [(1.0, torch.full_like(images[:, :1], value)) for value in (0.0, 1.0)]


def nothing(*_: Any, **__: Any) -> dict[str, float]:
    return {}


def probe(discriminator: nn.Module, loss: str = "least_squares") -> Probed:
    judges = {"b": Judge(discriminator, ADVERSARIAL[loss]())}
    return Probe({"ab": nn.Identity()}, judges, lambda: {"a": A, "b": B}, device=torch.device("cpu"), gauge=nothing)()


def slow_maps(pixels: np.ndarray) -> list[np.ndarray]:
    images = pixels / 127.5 - 1
    return [images[..., 0].ravel(), images.mean(axis=(1, 2, 3)) + 0.3]


def test_means_loss_and_spread_equal_the_slow_way() -> None:
    told, (real, fake) = probe(TwoMaps()), (slow_maps(B), slow_maps(A))
    weights = (0.25, 0.75)
    want = {"judged/b_real": 0.0, "judged/b_fake": 0.0}
    want |= {"health/discriminator_loss_b": 0.0, "health/discriminator_spread_b": 0.0}
    for weight, reals, fakes in zip(weights, real, fake, strict=True):
        want["judged/b_real"] += weight * reals.mean()
        want["judged/b_fake"] += weight * fakes.mean()
        want["health/discriminator_loss_b"] += weight * 0.5 * (((reals - 1) ** 2).mean() + (fakes**2).mean()) / 0.25
        want["health/discriminator_spread_b"] += weight * np.std([*reals, *fakes])
    assert {name: told.scalars[name] for name in want} == pytest.approx(want, abs=1e-6)
    for name, maps in {"judged/b_real": real, "judged/b_fake": fake}.items():
        np.testing.assert_allclose(told.distributions[name], np.concatenate(maps), atol=1e-6)


def test_the_loss_is_that_of_training_over_the_sum_of_the_weights() -> None:
    images = [torch.from_numpy(each).permute(0, 3, 1, 2).float() / 127.5 - 1 for each in (B, A)]
    loss = LeastSquares().discriminator(*(TwoMaps()(each) for each in images))
    found = probe(TwoMaps()).scalars["health/discriminator_loss_b"]
    assert found == pytest.approx(float(loss) / (0.25 * 2), rel=1e-5)


def test_maps_that_say_one_thing_each_are_not_spread() -> None:
    assert probe(Constant()).scalars["health/discriminator_spread_b"] == 0


def test_where_chance_says_nothing_there_is_no_share_of_it() -> None:
    assert ADVERSARIAL["wasserstein"]().chance is None
    told = probe(TwoMaps(), "wasserstein").scalars
    assert "health/discriminator_loss_b" not in told
    assert "health/discriminator_spread_b" in told
