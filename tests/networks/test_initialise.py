from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from ganstyle.networks.initialise import INITIALISATIONS, InitialisationName, initialise


def layers() -> list[nn.Conv2d | nn.ConvTranspose2d | nn.Linear]:
    return [nn.Conv2d(32, 64, 3), nn.ConvTranspose2d(64, 32, 3), nn.Linear(200, 120)]


def fans(layer: nn.Module) -> int:
    """Inputs of one output plus outputs of one input, of a stride-1 layer."""
    if isinstance(layer, nn.Linear):
        return layer.in_features + layer.out_features
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    return (layer.in_channels + layer.out_channels) * layer.kernel_size[0] * layer.kernel_size[1]


def assert_drawn_from_normal(values: Tensor, mean: float, deviation: float) -> None:
    """Mean, deviation and the share within one deviation, each within five standard errors."""
    values, error = values.detach().double().flatten(), 5 / math.sqrt(values.numel())
    assert float(values.mean()) == pytest.approx(mean, abs=deviation * error)
    assert float(values.std()) == pytest.approx(deviation, rel=error)
    share = ((values - mean).abs() < deviation).double().mean()
    assert float(share) == pytest.approx(math.erf(math.sqrt(0.5)), abs=error)


def test_the_choices_are_the_table() -> None:
    assert set(get_args(InitialisationName)) == set(INITIALISATIONS)


@pytest.mark.parametrize("gain", [0.02, 0.5])
def test_normal_weights_have_the_gain_as_their_deviation(gain: float) -> None:
    torch.manual_seed(0)
    for layer in layers():
        initialise(layer, "normal", gain)
        assert_drawn_from_normal(layer.weight, 0, gain)


@pytest.mark.parametrize("gain", [0.02, 1.0])
def test_xavier_weights_depend_on_the_fans(gain: float) -> None:
    torch.manual_seed(0)
    for layer in layers():
        initialise(layer, "xavier", gain)
        assert_drawn_from_normal(layer.weight, 0, gain * math.sqrt(2 / fans(layer)))


@pytest.mark.parametrize("name", get_args(InitialisationName))
def test_scales_of_norms_are_near_one_and_every_bias_is_zero(name: InitialisationName) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4096)
    nn.init.ones_(norm.bias)
    network = nn.Sequential(*layers(), norm, nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 3, 1, bias=False))
    initialise(network, name, 0.02)
    assert_drawn_from_normal(norm.weight, 1, 0.02)
    biases = [parameter for key, parameter in network.named_parameters() if key.endswith("bias")]
    assert len(biases) == 4
    assert not any(bias.any() for bias in biases)


def test_the_same_seed_draws_the_same_weights() -> None:
    one, same, other = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
    for layer, seed in ((one, 5), (same, 5), (other, 6)):
        torch.manual_seed(seed)
        initialise(layer, "normal", 0.02)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
