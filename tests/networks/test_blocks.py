from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import (
    NORMS,
    UPSAMPLINGS,
    BatchNorm,
    BlurDown,
    BlurUp,
    InstanceNorm,
    NormName,
    ResidualBlock,
    UpsamplingName,
    needs_bias,
    normalisation,
    normalise_by_moments,
    require_rgb,
)


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def slow_instance_norm(images: Tensor) -> Tensor:
    result = torch.empty(images.shape, dtype=torch.float64)
    for n in range(images.shape[0]):
        for c in range(images.shape[1]):
            values = images[n, c].numpy(force=True).astype(np.float64)
            result[n, c] = torch.from_numpy((values - values.mean()) / np.sqrt(values.var() + 1e-5))
    return result


def test_the_choices_are_the_tables() -> None:
    assert set(get_args(NormName)) == set(NORMS)
    assert set(get_args(UpsamplingName)) == set(UPSAMPLINGS)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_keeps_its_digits_where_the_mean_is_large(memory_format: torch.memory_format) -> None:
    images = (seeded(2, 5, 33, 31) + 100).to(memory_format=memory_format)
    difference = InstanceNorm(5)(images).double() - slow_instance_norm(images)
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize("autocast", [False, True])
def test_instance_norm_takes_statistics_of_bfloat16_in_float32(autocast: bool) -> None:
    images = (seeded(2, 3, 64, 64) + 10).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        result = InstanceNorm(3)(images)
    assert result.dtype == torch.bfloat16
    # Rounding the result to 8 bits is all that may be lost; bfloat16 statistics would be off by percents.
    assert torch.allclose(result.double(), slow_instance_norm(images.float()), rtol=2**-8, atol=1e-6)


def test_instance_norm_keeps_float64() -> None:
    images = seeded(1, 2, 4, 4).double()
    assert torch.allclose(InstanceNorm(2)(images), slow_instance_norm(images), rtol=0, atol=1e-12)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("images", [torch.full((1, 3, 9, 7), 0.3), torch.full((2, 3, 1, 1), -5.0), seeded(1, 3, 1, 1)])
def test_instance_norm_makes_zeros_of_flat_images_and_single_pixels(images: Tensor, train: bool) -> None:
    images = images.clone().requires_grad_()
    result = InstanceNorm(3).train(train)(images)
    result.square().sum().backward()
    assert result.abs().max() < 1e-3
    assert images.grad is not None
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mean", [0, 100])
def test_the_formula_for_compilers_against_the_slow_one(memory_format: torch.memory_format, mean: float) -> None:
    images = (seeded(2, 5, 33, 31) + mean).to(memory_format=memory_format)
    difference = normalise_by_moments(images, 1e-5).double() - slow_instance_norm(images)
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize("images", [torch.full((1, 3, 9, 7), 0.3), torch.full((2, 3, 1, 1), -5.0)])
def test_the_formula_for_compilers_makes_zeros_of_flat_images(images: Tensor) -> None:
    images = images.clone().requires_grad_()
    result = normalise_by_moments(images, 1e-5)
    result.square().sum().backward()
    assert result.abs().max() < 1e-3
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_the_formula_for_compilers_has_the_gradient_of_the_norm() -> None:
    weights = seeded(2, 3, 6, 5, seed=1).double()
    gradients = []
    for norm in (InstanceNorm(3), lambda x: normalise_by_moments(x, 1e-5)):
        images = seeded(2, 3, 6, 5).double().requires_grad_()
        (norm(images) * weights).sum().backward()
        assert images.grad is not None
        gradients.append(images.grad)
    assert torch.allclose(gradients[0], gradients[1], rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_instance_norm_is_the_eager_one(dtype: torch.dtype) -> None:
    norm, compiled = InstanceNorm(3), InstanceNorm(3)
    compiled.compile(dynamic=False, fullgraph=True)
    large = (seeded(2, 3, 20, 12) + 100).contiguous(memory_format=torch.channels_last)
    for images in (seeded(2, 3, 8, 9), large, torch.full((1, 3, 4, 4), 0.3), seeded(1, 3, 1, 1)):
        expected, result = norm(images.to(dtype)), compiled(images.to(dtype))
        assert result.dtype == dtype
        assert torch.allclose(result.float(), expected.float(), rtol=2**-7 if dtype == torch.bfloat16 else 0, atol=1e-3)


def test_instance_norm_has_neither_parameters_nor_buffers() -> None:
    assert not InstanceNorm(4).state_dict()


def test_instance_norm_refuses_other_channels() -> None:
    with pytest.raises(AssertionError, match="6 channels in a norm of 3"):
        InstanceNorm(3)(seeded(1, 6, 4, 4))


def test_batch_norm_against_numpy() -> None:
    images = seeded(3, 2, 5, 4) * 2 + 7
    values = images.numpy().astype(np.float64)
    mean, variance = values.mean((0, 2, 3), keepdims=True), values.var((0, 2, 3), keepdims=True)
    expected = torch.from_numpy((values - mean) / np.sqrt(variance + 1e-5))
    assert torch.allclose(BatchNorm(2)(images).double(), expected, rtol=0, atol=1e-5)


def test_batch_norm_takes_statistics_of_bfloat16_in_float32() -> None:
    images = (seeded(2, 3, 32, 32) + 10).bfloat16()
    norm = BatchNorm(3)
    result = norm(images)
    expected = BatchNorm(3)(images.float())
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, expected.bfloat16())
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, 0.1 * images.float().mean((0, 2, 3)), rtol=1e-5)


def test_no_norm_changes_nothing() -> None:
    images = seeded(1, 3, 4, 4)
    assert torch.equal(normalisation("none", 3)(images), images)


def test_only_a_norm_with_a_shift_of_its_own_takes_the_bias_away() -> None:
    assert {name: needs_bias(name) for name in get_args(NormName)} == {"instance": True, "batch": False, "none": True}


def reflected(index: int, size: int) -> int:
    index = abs(index)
    return index if index < size else 2 * (size - 1) - index


def slow_blur_down(image: np.ndarray) -> np.ndarray:
    """The blur as written in the paper: every output pixel is a sum over a 3x3 neighbourhood of a mirrored image."""
    height, width = image.shape
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    result = np.zeros(((height + 1) // 2, (width + 1) // 2))
    for y, x in np.ndindex(result.shape):
        for dy in range(3):
            for dx in range(3):
                row, column = reflected(2 * y + dy - 1, height), reflected(2 * x + dx - 1, width)
                result[y, x] += weights[dy, dx] * image[row, column]
    return result


def slow_blur_up(image: np.ndarray) -> np.ndarray:
    """Every replicate-padded pixel spreads a 4x4 stamp over a canvas of twice the size; the padding is cut off."""
    height, width = image.shape
    padded = np.pad(image, 1, mode="edge")
    stamp = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    canvas = np.zeros((2 * height + 6, 2 * width + 6))
    for y, x in np.ndindex(padded.shape):
        canvas[2 * y : 2 * y + 4, 2 * x : 2 * x + 4] += padded[y, x] * stamp
    return canvas[3 : 3 + 2 * height, 3 : 3 + 2 * width]


@pytest.mark.parametrize("size", [(2, 2), (6, 8), (7, 5), (2, 9)])
def test_blur_down_against_the_slow_formula(size: tuple[int, int]) -> None:
    images = seeded(2, 3, *size).double()
    expected = np.stack([[slow_blur_down(channel) for channel in image] for image in images.numpy()])
    assert torch.allclose(BlurDown()(images), torch.from_numpy(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
def test_blur_up_against_the_slow_formula(size: tuple[int, int]) -> None:
    images = seeded(2, 3, *size).double()
    expected = np.stack([[slow_blur_up(channel) for channel in image] for image in images.numpy()])
    assert torch.allclose(BlurUp()(images), torch.from_numpy(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("upsample", get_args(UpsamplingName))
def test_stages_halve_and_double(upsample: UpsamplingName) -> None:
    down, up = UPSAMPLINGS[upsample].down(3, 6, "instance"), UPSAMPLINGS[upsample].up(6, 3, "instance")
    halved = down(seeded(2, 3, 8, 12))
    assert halved.shape == (2, 6, 4, 6)
    assert up(halved).shape == (2, 3, 8, 12)


def test_resized_up_repeats_pixels_before_a_reflect_padded_convolution() -> None:
    stage = UPSAMPLINGS["resize"].up(2, 1, "none")
    images = seeded(1, 2, 3, 3)
    enlarged = np.pad(images.numpy()[0].repeat(2, axis=1).repeat(2, axis=2), ((0, 0), (1, 1), (1, 1)), mode="reflect")
    convolution = stage.get_submodule("conv")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    weight, bias = convolution.weight.numpy(force=True)[0], convolution.bias.numpy(force=True)[0]
    expected = [[(enlarged[:, y : y + 3, x : x + 3] * weight).sum() + bias for x in range(6)] for y in range(6)]
    assert torch.allclose(stage(images)[0, 0], torch.tensor(expected).clamp(min=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_residual_block_adds_two_reflect_padded_convolutions(norm: NormName) -> None:
    block = ResidualBlock(4, norm, 0.0).double()
    images = seeded(2, 4, 5, 6).double()
    plain = nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(4, 4, 3),
        nn.InstanceNorm2d(4) if norm == "instance" else nn.Identity(),
        nn.ReLU(),
        nn.ReflectionPad2d(1),
        nn.Conv2d(4, 4, 3),
        nn.InstanceNorm2d(4) if norm == "instance" else nn.Identity(),
    ).double()
    for copy, parameter in zip(plain.parameters(), block.parameters(), strict=True):
        copy.data.copy_(parameter.data)
    assert torch.allclose(block(images), images + plain(images), rtol=0, atol=1e-12)


def inputs_of_second_convolution(block: ResidualBlock, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = block.second.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    block(images)
    handle.remove()
    return seen[0]


def test_dropout_acts_between_the_convolutions_in_train_mode_only() -> None:
    block = ResidualBlock(4, "instance", 0.25)
    images = seeded(2, 4, 32, 32)
    kept = inputs_of_second_convolution(block.eval(), images)
    torch.manual_seed(0)
    dropped = inputs_of_second_convolution(block.train(), images)
    survivors = dropped != 0
    assert torch.allclose(dropped[survivors], kept[survivors] / 0.75)
    assert 1 - survivors[kept > 0].double().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(kept, F.relu(block.first(images)))


def test_no_dropout_draws_nothing_in_train_mode() -> None:
    block = ResidualBlock(4, "instance", 0.0).train()
    images = seeded(1, 4, 8, 8)
    state = torch.get_rng_state()
    assert torch.equal(block(images), block.eval()(images))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 4, 8, 8), (3, 8, 8)])
def test_other_shapes_are_refused_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"expected \(N, 3, H, W\)") as caught:
        require_rgb(torch.zeros(shape))
    assert str(shape) in str(caught.value)
    assert "\n" not in str(caught.value)
