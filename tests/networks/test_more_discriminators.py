"""The pixel and the multi-scale discriminator."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.discriminators import DISCRIMINATORS
from ganstyle.networks.multiscale import MultiscaleDiscriminator
from ganstyle.networks.pixel_discriminator import PixelDiscriminator


def images(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_both_are_in_the_table() -> None:
    assert DISCRIMINATORS["pixel"] is PixelDiscriminator
    assert DISCRIMINATORS["multiscale"] is MultiscaleDiscriminator


def test_a_pixel_is_judged_by_its_colour_alone() -> None:
    discriminator = PixelDiscriminator(width=3, norm="none", gain=0.5)
    given = images(5, 7)
    scores = discriminator(given)
    assert scores.shape == (2, 1, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    mixed = discriminator(given.flatten(2)[:, :, order].view_as(given))
    torch.testing.assert_close(mixed.flatten(1), scores.flatten(1)[:, order])
    assert scores.std() > 0.01


def test_the_pixel_discriminator_against_sums_written_out() -> None:
    torch.manual_seed(0)
    discriminator, given = PixelDiscriminator(width=2, gain=0.5).double(), images(4, 4).double()
    convolutions = [each for each in discriminator.layers if isinstance(each, nn.Conv2d)]
    first, second, third = ((each.weight[:, :, 0, 0], _biases(each)) for each in convolutions)
    maps = F.leaky_relu(torch.einsum("oc,nchw->nohw", first[0], given) + first[1], 0.2)
    maps = torch.einsum("oc,nchw->nohw", second[0], maps) + second[1]
    mean, variance = maps.mean((2, 3), keepdim=True), maps.var((2, 3), correction=0, keepdim=True)
    maps = F.leaky_relu((maps - mean) / (variance + 1e-5).sqrt(), 0.2)
    expected = torch.einsum("oc,nchw->nohw", third[0], maps) + third[1]
    torch.testing.assert_close(discriminator(given), expected)


def _biases(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias[:, None, None]


def test_each_scale_judges_the_mean_of_neighbours() -> None:
    torch.manual_seed(0)
    discriminator, given = MultiscaleDiscriminator(scales=2, width=2, layers=1, gain=0.5), images(24, 17)
    (large_weight, large), (small_weight, small) = discriminator(given)
    assert large_weight == small_weight == 0.5
    assert torch.equal(large, discriminator.scales[0](given))
    halved = torch.empty(2, 3, 12, 9)
    for row in range(12):
        for column in range(9):
            part = given[:, :, max(0, 2 * row - 1) : 2 * row + 2, max(0, 2 * column - 1) : 2 * column + 2]
            halved[:, :, row, column] = part.mean((2, 3))
    torch.testing.assert_close(small, discriminator.scales[1](halved))


@pytest.mark.parametrize(("scales", "layers", "antialiased"), [(1, 2, False), (2, 1, True), (3, 2, False)])
def test_the_smallest_crop_gives_scores_at_every_scale(scales: int, layers: int, antialiased: bool) -> None:
    discriminator = MultiscaleDiscriminator(scales=scales, width=2, layers=layers, antialiased=antialiased)
    least = discriminator.minimum_px
    assert all(min(scores.shape) >= 1 for _, scores in discriminator(images(least, least)))
    with pytest.raises(UserError, match=f"needs {least} px"):
        discriminator(images(least, least - 1))
