from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganstyle.networks.blocks import InstanceNorm
from ganstyle.translate.maps import Picture
from ganstyle.translate.moments import Moments, normalised
from ganstyle.translate.tiles import Box


def gathered(images: Tensor, side_px: int) -> Moments:
    moments = Moments()
    for box in Box(0, images.shape[2], 0, images.shape[3]).tiles(side_px):
        moments.add(box.of(images))
    return moments


@pytest.mark.parametrize("side_px", [1, 7, 100])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1000.0])
def test_parts_give_the_moments_of_the_whole(side_px: int, offset: float) -> None:
    images = torch.randn(1, 5, 30, 23, generator=torch.Generator().manual_seed(0)) + offset
    moments = gathered(images, side_px)
    wide = images.double()
    assert moments.count == 30 * 23
    assert torch.allclose(moments.mean, wide.mean(dim=(2, 3))[0], rtol=1e-6, atol=1e-6)
    variance = wide.var(dim=(2, 3), correction=0)[0]
    assert torch.allclose(moments.squares / moments.count, variance, rtol=1e-5)


@pytest.mark.parametrize("value", [0.1, -7.3, 1e4])
def test_a_flat_map_becomes_zeros_to_the_last_digit(value: float) -> None:
    images = torch.full((1, 2, 37, 53), value)
    moments = gathered(images, 11)
    assert (moments.squares == 0).all()
    picture = Picture(torch.arange(37), torch.arange(53), lambda rows, columns: images[:, :, rows][..., columns])
    assert (normalised(picture, moments, 1e-5).read(picture.size.box) == 0).all()


def test_normalising_by_the_own_moments_is_the_instance_norm() -> None:
    images = torch.randn(1, 3, 20, 31, generator=torch.Generator().manual_seed(1)) * 5 - 2
    picture = Picture(torch.arange(20), torch.arange(31), lambda rows, columns: images[:, :, rows][..., columns])
    before = images.clone()
    values = normalised(picture, gathered(images, 8), 1e-5)
    expected = InstanceNorm(3)(images)
    for box in picture.size.box.tiles(9):
        assert torch.allclose(values.read(box), box.of(expected), atol=1e-6)
    assert torch.equal(images, before)
