from __future__ import annotations

from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import NormName
from ganstyle.networks.discriminators import DISCRIMINATORS
from ganstyle.networks.patch_discriminator import PatchDiscriminator


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape)).float()


def small(**changes: Any) -> PatchDiscriminator:
    torch.manual_seed(1)
    return PatchDiscriminator(**{"width": 4, "gain": 0.2, **changes})


def plain_discriminator(width: int) -> nn.Sequential:
    """The 70x70 discriminator of the paper, written flat."""
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.InstanceNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
        nn.InstanceNorm2d(4 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * width, 8 * width, 4, stride=1, padding=1),
        nn.InstanceNorm2d(8 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8 * width, 1, 4, stride=1, padding=1),
    )


def test_the_papers_discriminator_written_flat_gives_the_same_scores() -> None:
    discriminator, plain = small(width=6).double(), plain_discriminator(6).double()
    for copy, parameter in zip(plain.parameters(), discriminator.parameters(), strict=True):
        copy.data.copy_(parameter.data)
    images = seeded(2, 3, 48, 56).double()
    assert torch.allclose(discriminator(images), plain(images), rtol=0, atol=1e-6)
    assert plain(images).std() > 0.1


def test_it_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        discriminator = PatchDiscriminator()
        assert discriminator(torch.empty(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    count = sum(parameter.numel() for parameter in discriminator.parameters())
    assert count == sum(into * out * 16 + out for into, out in [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1)])
    assert round(count / 1e6, 3) == 2.765


@pytest.mark.parametrize(("layers", "expected_px"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_receptive_field_by_gradient(layers: int, expected_px: int) -> None:
    discriminator = small(width=2, layers=layers, norm="none").double()
    images = seeded(1, 3, 2 * expected_px, 2 * expected_px).double().requires_grad_()
    scores = discriminator(images)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert images.grad is not None
    seen = images.grad[0].abs().sum(0) > 0
    for side in (seen.any(0).nonzero(), seen.any(1).nonzero()):
        assert int(side.max() - side.min()) + 1 == expected_px
    assert discriminator.receptive_field_px == expected_px


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_the_minimum_gives_one_score_and_a_pixel_less_is_refused(layers: int, norm: NormName) -> None:
    discriminator = small(layers=layers, norm=norm)
    least = discriminator.minimum_px
    scores = discriminator(seeded(1, 3, least, least))
    assert scores.shape == (1, 1, 1, 1)
    assert scores.isfinite().all()
    with pytest.raises(UserError, match=f"needs {least} px on each side") as caught:
        discriminator(seeded(1, 3, least, least - 1))
    assert f"{least - 1} x {least} px" in str(caught.value)
    # The refusal is not over-careful: without the check the convolutions themselves run out of pixels.
    unchecked = nn.Sequential(discriminator.first, discriminator.middle, discriminator.last)
    with pytest.raises((RuntimeError, ValueError)):
        unchecked(seeded(1, 3, least - 1, least - 1))


class Blurred(nn.Module):
    """[1, 2, 1] x [1, 2, 1] / 16 on a reflect-padded input, every second pixel: as the authors of CUT write it."""

    def forward(self, images: Tensor) -> Tensor:
        row = torch.tensor([1.0, 2.0, 1.0], dtype=images.dtype)
        kernel = (row[:, None] * row / 16).expand(images.shape[1], 1, 3, 3)
        padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        return torch.nn.functional.conv2d(padded, kernel, stride=2, groups=images.shape[1])


def test_the_antialiased_discriminator_of_cut_written_flat_gives_the_same_scores() -> None:
    width, discriminator = 6, small(width=6, antialiased=True).double()
    plain = nn.Sequential(
        nn.Conv2d(3, width, 4, stride=1, padding=1),
        nn.LeakyReLU(0.2),
        Blurred(),
        nn.Conv2d(width, 2 * width, 4, stride=1, padding=1),
        nn.InstanceNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        Blurred(),
        nn.Conv2d(2 * width, 4 * width, 4, stride=1, padding=1),
        nn.InstanceNorm2d(4 * width),
        nn.LeakyReLU(0.2),
        Blurred(),
        nn.Conv2d(4 * width, 8 * width, 4, stride=1, padding=1),
        nn.InstanceNorm2d(8 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8 * width, 1, 4, stride=1, padding=1),
    ).double()
    for copy, parameter in zip(plain.parameters(), discriminator.parameters(), strict=True):
        copy.data.copy_(parameter.data)
    images = seeded(2, 3, 48, 57).double()
    assert torch.allclose(discriminator(images), plain(images), rtol=0, atol=1e-6)
    assert plain(images).std() > 0.1


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_antialiased_discriminator_knows_its_sizes(layers: int) -> None:
    discriminator = small(width=2, layers=layers, norm="none", antialiased=True).double()
    side, least = discriminator.receptive_field_px, discriminator.minimum_px
    images = seeded(1, 3, 3 * side, 3 * side).double().requires_grad_()
    scores = discriminator(images)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert images.grad is not None
    seen = (images.grad[0].abs().sum(0) > 0).any(0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == side
    assert min(discriminator(seeded(1, 3, least, least).double()).shape) == 1
    with pytest.raises(UserError, match=f"needs {least} px"):
        discriminator(seeded(1, 3, least - 1, least).double())
    unchecked = nn.Sequential(discriminator.first, discriminator.middle, discriminator.last)
    with pytest.raises((RuntimeError, ValueError)):
        unchecked(seeded(1, 3, least - 1, least - 1).double())


def test_spectral_norm_divides_by_the_largest_singular_value() -> None:
    discriminator, images = small(spectral=True, norm="none"), seeded(2, 3, 32, 32)
    for _ in range(200):  # of power iteration
        discriminator(images)
    for layer in (each for each in discriminator.modules() if isinstance(each, nn.Conv2d)):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=1e-3)
    known = {name: value.clone() for name, value in discriminator.state_dict().items()}
    other = small(spectral=True, norm="none")
    other.load_state_dict(known)
    assert torch.equal(other.eval()(images), discriminator.eval()(images))
    with torch.device("meta"):
        assert PatchDiscriminator(spectral=True)(torch.empty(1, 3, 64, 64)).shape == (1, 1, 6, 6)


def test_channels_double_up_to_eight_times_the_width() -> None:
    widths = [layer.out_channels for layer in small(layers=5).modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [4, 8, 16, 32, 32, 32, 1]


@pytest.mark.parametrize(("norm", "biased"), [("instance", True), ("none", True), ("batch", False)])
def test_convolutions_have_a_bias_unless_the_norm_brings_one(norm: NormName, biased: bool) -> None:
    biases = [layer.bias is not None for layer in small(norm=norm).modules() if isinstance(layer, nn.Conv2d)]
    assert biases == [True, biased, biased, biased, True]


def test_train_and_eval_mode_are_the_same_with_instance_norm() -> None:
    discriminator, images = small(), seeded(2, 3, 33, 40)
    assert torch.equal(discriminator.train()(images), discriminator.eval()(images))


def test_gradients_reach_every_weight_and_every_pixel() -> None:
    discriminator, images = small(), seeded(2, 3, 32, 32).requires_grad_()
    discriminator(images).square().sum().backward()
    weights = {name: weight for name, weight in discriminator.named_parameters() if name.endswith("weight")}
    assert len(weights) == 5
    for name, weight in weights.items():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name
    assert images.grad is not None
    assert (images.grad != 0).all()


def test_other_channel_counts_are_refused() -> None:
    with pytest.raises(UserError, match=r"got a tensor of shape \(1, 4, 32, 32\), expected"):
        small()(torch.zeros(1, 4, 32, 32))


def test_the_table_is_built_from_checked_annotations() -> None:
    assert DISCRIMINATORS["patch"] is PatchDiscriminator
    hints = get_type_hints(PatchDiscriminator.__init__, include_extras=True)
    assert TypeAdapter(hints["layers"]).validate_python(3) == 3
    for name, value in {"width": 0, "layers": 0, "norm": "layer", "initialisation": "he", "gain": -1.0}.items():
        with pytest.raises(ValidationError):
            TypeAdapter(hints[name]).validate_python(value)
