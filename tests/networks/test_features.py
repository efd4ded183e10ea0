from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.networks.features import RandomFeatures


def images(count: int = 2, height: int = 20, width: int = 27, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def weights_by_hand(seed: int, width: int, scales: int) -> list[np.ndarray]:
    """Every weight and bias in turn, from the bit generator's raw 64-bit numbers alone."""
    text = f"str:random features\x1fint:{seed}"
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") // 2
    bits = np.random.PCG64(key)

    def uniform(count: int) -> np.ndarray:
        raw = [int(number) >> 11 for number in bits.random_raw(count)]
        return np.array([number / 2**53 for number in raw]) * 2 - 1

    drawn = []
    for inputs in [3] + [width] * (scales - 1):
        weight = uniform(width * inputs * 9).reshape(width, inputs, 9) * np.sqrt(2 / (inputs * 9)) * np.sqrt(3)
        for index in range(1, width, 2):
            weight[index] -= weight[index].sum(axis=1, keepdims=True) / 9
        drawn += [weight.reshape(width, inputs, 3, 3), uniform(width) / 4]
    return drawn


@pytest.mark.parametrize(("seed", "width", "scales"), [(0, 32, 4), (1, 8, 3)])
def test_weights_are_those_drawn_by_numpy_alone(seed: int, width: int, scales: int) -> None:
    by_hand = weights_by_hand(seed, width, scales)
    buffers = [buffer.numpy() for buffer in RandomFeatures(seed=seed, width=width, scales=scales).buffers()]
    assert [buffer.shape for buffer in buffers] == [array.shape for array in by_hand]
    for buffer, array in zip(buffers, by_hand, strict=True):
        np.testing.assert_allclose(buffer, array, atol=1e-7)


def test_weights_have_hes_variance_and_every_second_filter_sees_no_flat_colour() -> None:
    weight = RandomFeatures(width=256).get_buffer("weight_1").double()
    assert float(weight[::2].var()) == pytest.approx(2 / (256 * 9), rel=0.02)
    assert float(weight[1::2].sum(dim=(2, 3)).abs().max()) < 1e-6
    assert float(weight[::2].sum(dim=(2, 3)).abs().mean()) > 0.01


def test_features_equal_the_slow_network() -> None:
    """Loops over pixels on small images, with explicit reflection."""
    network = RandomFeatures(width=3, scales=2)
    pictures = images(1, 7, 6)
    maps = pictures[0].double().numpy()
    expected: list[float] = []
    for scale in range(2):
        if scale == 1:
            height, width = maps.shape[1] // 2, maps.shape[2] // 2
            maps = maps[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2).mean(axis=(2, 4))
        weight = network.get_buffer(f"weight_{scale}").double().numpy()
        bias = network.get_buffer(f"bias_{scale}").double().numpy()
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="reflect")
        filtered = np.zeros((3, *maps.shape[1:]))
        for place in np.ndindex(*filtered.shape):
            channel, i, j = place
            filtered[place] = max((padded[:, i : i + 3, j : j + 3] * weight[channel]).sum() + bias[channel], 0)
        maps = filtered
        expected += [*maps.mean(axis=(1, 2)), *maps.std(axis=(1, 2))]
    np.testing.assert_allclose(network(pictures)[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (64, 96), (200, 16)])
def test_any_size_gives_one_finite_row_an_image(height: int, width: int) -> None:
    features = RandomFeatures()(images(3, height, width))
    assert features.shape == (3, 2 * 32 * 4)
    assert features.dtype == torch.float32
    assert features.isfinite().all()


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 4, 32, 32), (3, 32, 32), (1, 3, 15, 32), (1, 3, 32, 8)])
def test_other_shapes_are_refused_with_what_was_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\) with sides of 16 px or more"):
        RandomFeatures()(torch.zeros(shape))


def test_it_is_frozen_never_saved_and_draws_nothing_from_torch() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    network = RandomFeatures()
    assert torch.equal(before, torch.get_rng_state())
    assert not network.training
    assert list(network.parameters()) == []
    assert network.state_dict() == {}
    assert not network(images().requires_grad_()).requires_grad
    evaluated = network(images())
    assert torch.equal(network.train()(images()), evaluated)


def test_the_seed_decides_the_features() -> None:
    assert torch.equal(RandomFeatures(seed=4)(images()), RandomFeatures(seed=4)(images()))
    assert not torch.allclose(RandomFeatures(seed=4)(images()), RandomFeatures(seed=5)(images()))


def test_an_image_is_described_alone() -> None:
    network, batch = RandomFeatures(), images(4)
    alone = torch.cat([network(batch[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(network(batch), alone, rtol=1e-5, atol=1e-6)


def test_half_precision_input_is_described_in_float32_under_autocast_too() -> None:
    network, batch = RandomFeatures(), images().bfloat16()
    expected = network(batch.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network(batch), expected)


def test_strokes_count_as_well_as_colour() -> None:
    """Thin dark lines that leave the mean colour as it was change the features about as much as another colour does."""
    network = RandomFeatures()
    flat = torch.zeros(1, 3, 32, 32)
    striped = torch.where(torch.arange(32) % 4 == 0, -0.6, 0.2).expand(1, 3, 32, 32)
    assert abs(float(striped.mean())) < 1e-6
    by_strokes = (network(striped) - network(flat)).norm()
    by_colour = (network(flat + torch.tensor([0.4, 0.0, -0.4]).view(1, 3, 1, 1)) - network(flat)).norm()
    assert by_strokes > 0.5 * by_colour
    sizes = [(network(flat + level) - network(flat)).norm() for level in (0.1, 0.3, 0.9)]
    assert all(nearer < farther for nearer, farther in pairwise(sizes))
