from __future__ import annotations

from itertools import pairwise, product
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import NormName, UpsamplingName
from ganstyle.networks.generators import GENERATORS, ResNetGenerator
from ganstyle.networks.sizes import extend
from ganstyle.networks.unet import UNetGenerator

UPSAMPLES = get_args(UpsamplingName)


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape)).float()


def small(**changes: Any) -> ResNetGenerator:
    """A small network whose weights are large enough that every part of it shows in the output."""
    torch.manual_seed(1)
    return ResNetGenerator(**{"width": 4, "blocks": 2, "gain": 0.3, **changes})


class AddedTo(nn.Module):
    """A residual connection, as plain as can be."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.layers(images)


class PlainBlur(nn.Module):
    """The blurs of the anti-aliased layout as convolutions with fixed filters."""

    def __init__(self, filter_1d: list[int]) -> None:
        super().__init__()
        taps = torch.tensor(filter_1d, dtype=torch.float64)
        self.filter = torch.outer(taps, taps) / taps.sum() ** 2

    def filters(self, images: Tensor) -> Tensor:
        return self.filter.expand(images.shape[1], 1, -1, -1)


class PlainBlurDown(PlainBlur):
    def forward(self, images: Tensor) -> Tensor:
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.filters(images), stride=2, groups=images.shape[1])


class PlainBlurUp(PlainBlur):
    def forward(self, images: Tensor) -> Tensor:
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
        filters = 4 * self.filters(images)
        return F.conv_transpose2d(padded, filters, stride=2, padding=2, groups=images.shape[1])[:, :, 1:-1, 1:-1]


def followed(convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(channels), nn.ReLU()]


def plain_generator(width: int, blocks: int, *, antialiased: bool = False) -> nn.Sequential:
    """The paper's generator (or CUT's) written as one flat list of torch's own layers."""
    layers = [nn.ReflectionPad2d(3), *followed(nn.Conv2d(3, width, 7), width)]
    for narrow in (width, 2 * width):
        stride = 1 if antialiased else 2
        layers += followed(nn.Conv2d(narrow, 2 * narrow, 3, stride=stride, padding=1), 2 * narrow)
        layers += [PlainBlurDown([1, 2, 1])] if antialiased else []
    wide = 4 * width
    for _ in range(blocks):
        first = [nn.ReflectionPad2d(1), *followed(nn.Conv2d(wide, wide, 3), wide)]
        layers.append(AddedTo(*first, nn.ReflectionPad2d(1), nn.Conv2d(wide, wide, 3), nn.InstanceNorm2d(wide)))
    for wide, narrow in pairwise((4 * width, 2 * width, width)):
        if antialiased:
            layers += [PlainBlurUp([1, 3, 3, 1]), *followed(nn.Conv2d(wide, narrow, 3, padding=1), narrow)]
        else:
            convolution = nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1)
            layers += followed(convolution, narrow)
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


@pytest.mark.parametrize("antialiased", [False, True])
def test_the_papers_generator_written_flat_gives_the_same_images_and_gradients(antialiased: bool) -> None:
    generator = small(width=6, blocks=3, upsample="antialiased" if antialiased else "transposed").double()
    plain = plain_generator(6, 3, antialiased=antialiased).double()
    parameters = list(zip(plain.parameters(), generator.parameters(), strict=True))
    for copy, parameter in parameters:
        copy.data.copy_(parameter.data)
    images = seeded(2, 3, 32, 40).double()
    result, expected = generator(images), plain(images)
    assert torch.allclose(result, expected, rtol=0, atol=1e-6)
    assert expected.std() > 0.1
    result.square().mean().backward()
    expected.square().mean().backward()
    for copy, parameter in parameters:
        assert copy.grad is not None
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, copy.grad, rtol=0, atol=1e-6)


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet_9_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        count = parameter_count(ResNetGenerator())
    outer = [(3, 64, 7), (64, 128, 3), (128, 256, 3), (256, 128, 3), (128, 64, 3), (64, 3, 7)]
    convolutions = outer + [(256, 256, 3)] * 18
    assert count == sum(into * out * kernel**2 + out for into, out, kernel in convolutions)
    assert round(count / 1e6, 3) == 11.378


def test_resnet_9_takes_49_6_gmac_at_256_px() -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ResNetGenerator()(torch.empty(1, 3, 256, 256))
    # (side of the map that the kernel visits, channels in, channels out, kernel side, how often)
    convolutions = [(256, 3, 64, 7, 2), (128, 64, 128, 3, 2), (64, 128, 256, 3, 2), (64, 256, 256, 3, 18)]
    macs = sum(side**2 * into * out * kernel**2 * times for side, into, out, kernel, times in convolutions)
    assert counter.get_total_flops() == 2 * macs
    assert round(macs / 1e9, 1) == 49.6


@pytest.mark.parametrize(("norm", "biased"), [("instance", True), ("none", True), ("batch", False)])
def test_convolutions_have_a_bias_unless_the_norm_brings_one(norm: NormName, biased: bool) -> None:
    convolutions = {
        name: layer.bias is not None
        for name, layer in small(norm=norm).named_modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    }
    assert len(convolutions) == 1 + 2 + 4 + 2 + 1
    assert convolutions.pop("head.conv")
    assert set(convolutions.values()) == {biased}


@pytest.mark.parametrize("upsample", UPSAMPLES)
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (5, 3), (7, 64), (33, 31), (40, 64)])
def test_every_size_comes_back(size: tuple[int, int], upsample: UpsamplingName) -> None:
    for halvings in (0, 1, 2, 3):
        translated = small(upsample=upsample, halvings=halvings, blocks=1)(seeded(1, 3, *size))
        assert translated.shape == (1, 3, *size)
        assert translated.isfinite().all()
        assert translated.abs().max() <= 1


def in_sequence(generator: ResNetGenerator, images: Tensor) -> Tensor:
    for part in (generator.stem, generator.downs, generator.blocks, generator.ups, generator.head):
        images = part(images)
    return images


@pytest.mark.parametrize("upsample", UPSAMPLES)
@pytest.mark.parametrize("size", [(8, 8), (32, 20)])
def test_sizes_that_fit_pass_untouched(size: tuple[int, int], upsample: UpsamplingName) -> None:
    generator, images = small(upsample=upsample), seeded(2, 3, *size)
    assert torch.equal(generator(images), in_sequence(generator, images))


def test_other_sizes_are_mirrored_at_the_bottom_and_the_right_and_cropped() -> None:
    generator, images = small(), seeded(1, 3, 33, 30)
    rows, columns = [*range(33), 31, 30, 29], [*range(30), 28, 27]
    expected = in_sequence(generator, images[:, :, rows][:, :, :, columns])[:, :, :33, :30]
    assert torch.equal(generator(images), expected)


def test_a_single_pixel_is_a_flat_image() -> None:
    generator, images = small(norm="none"), seeded(1, 3, 1, 1)
    assert torch.equal(generator(images), in_sequence(generator, images.expand(1, 3, 8, 8))[:, :, :1, :1])


def test_extend_reflects_one_side_and_repeats_the_other() -> None:
    images = torch.tensor([[1.0, 2.0, 3.0]]).expand(1, 3, 1, 3)
    assert extend(images, bottom=1, right=2)[0, 0].tolist() == [[1, 2, 3, 2, 1]] * 2
    assert extend(images, bottom=0, right=3)[0, 0].tolist() == [[1, 2, 3, 3, 3, 3]]


@pytest.mark.parametrize("upsample", UPSAMPLES)
def test_train_and_eval_mode_are_the_same_with_instance_norm(upsample: UpsamplingName) -> None:
    generator, images = small(upsample=upsample), seeded(2, 3, 17, 23)
    assert torch.equal(generator.train()(images), generator.eval()(images))


def test_an_image_does_not_depend_on_the_others_of_its_batch() -> None:
    generator, images = small().double(), seeded(3, 3, 16, 16).double()
    alone = torch.cat([generator(image[None]) for image in images])
    assert torch.allclose(generator(images), alone, rtol=0, atol=1e-12)


def test_dropout_changes_the_result_in_train_mode_only() -> None:
    generator, images = small(dropout=0.5), seeded(1, 3, 16, 16)
    torch.manual_seed(0)
    assert not torch.equal(generator.train()(images), generator(images))
    assert torch.equal(generator.eval()(images), generator(images))
    assert torch.equal(generator(images), small(dropout=0.0)(images))


def test_autocast_stays_near_float32() -> None:
    generator, images = small(), seeded(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = generator(images)
    assert narrow.dtype == torch.bfloat16
    assert (narrow.float() - generator(images)).abs().mean() < 0.02


def test_channels_last_gives_the_same_images() -> None:
    generator, images = small(), seeded(2, 3, 32, 24)
    expected = generator(images)
    result = generator.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert torch.allclose(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("upsample", "norm"), list(product(UPSAMPLES, get_args(NormName))))
def test_gradients_reach_every_weight_and_every_pixel(upsample: UpsamplingName, norm: NormName) -> None:
    # Weights that keep the size of what passes, or tanh saturates without a norm.
    generator = small(upsample=upsample, norm=norm, dropout=0.1, initialisation="xavier", gain=1.0)
    images = seeded(2, 3, 18, 17).requires_grad_()
    generator(images).square().sum().backward()
    weights = {name: weight for name, weight in generator.named_parameters() if name.endswith("weight")}
    assert len(weights) >= 10
    for name, weight in weights.items():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name
    assert all(parameter.grad is not None for parameter in generator.parameters())
    assert images.grad is not None
    assert (images.grad != 0).all()


def test_the_same_seed_builds_the_same_generator() -> None:
    one, same = small().state_dict(), small().state_dict()
    torch.manual_seed(2)
    other = ResNetGenerator(width=4, blocks=2, gain=0.3).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["stem.conv.weight"], other["stem.conv.weight"])


def test_state_dict_names_read_like_the_network() -> None:
    names = set(small(blocks=1).state_dict())
    layers = ["stem.conv", "downs.0.conv", "downs.1.conv", "blocks.0.first.conv", "blocks.0.second.conv"]
    layers += ["ups.0.conv", "ups.1.conv", "head.conv"]
    assert names == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def test_other_channel_counts_are_refused() -> None:
    with pytest.raises(UserError, match=r"got a tensor of shape \(1, 1, 16, 16\), expected"):
        small()(torch.zeros(1, 1, 16, 16))


def test_the_table_is_built_from_checked_annotations() -> None:
    assert {"resnet": ResNetGenerator, "unet": UNetGenerator} == GENERATORS
    hints = get_type_hints(ResNetGenerator.__init__, include_extras=True)
    assert TypeAdapter(hints["width"]).validate_python(64) == 64
    wrong = {"width": 0, "blocks": 0, "halvings": 6, "norm": "layer", "upsample": "x", "dropout": 1.0, "gain": 0.0}
    for name, value in wrong.items():
        with pytest.raises(ValidationError):
            TypeAdapter(hints[name]).validate_python(value)


@pytest.mark.slow
@pytest.mark.parametrize("upsample", UPSAMPLES)
def test_exports_with_dynamic_sizes(upsample: UpsamplingName) -> None:
    generator = small(upsample=upsample).eval()
    height, width = (4 * torch.export.Dim(name, min=4, max=1024) for name in ("height", "width"))
    exported = torch.export.export(generator, (seeded(1, 3, 40, 44),), dynamic_shapes=({2: height, 3: width},))
    images = seeded(1, 3, 64, 16)
    assert torch.allclose(exported.module()(images), generator(images), rtol=0, atol=1e-6)
