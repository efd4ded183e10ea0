from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganstyle.methods.passes import Passes
from ganstyle.networks.blocks import BatchNorm

ONE, OTHER = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)


class Maps(nn.Module):
    """Several maps of scores, and features by name."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.calls = norm, 0

    def forward(self, images: Tensor) -> list[tuple[float, Tensor]]:
        self.calls += 1
        return [(0.5, images * 2), (2.0, images[:, :, :2])]

    def named(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return images + 1, {"half": images[:, :1]}


@pytest.mark.parametrize(("norm", "calls"), [(nn.Identity(), 1), (BatchNorm(3), 2)])
def test_several_maps_with_their_weights_for_each_batch(norm: nn.Module, calls: int) -> None:
    network = Maps(norm)
    found = Passes(network)(network, ONE, OTHER)
    assert network.calls == calls
    assert len(found) == 2
    for images, scores in zip((ONE, OTHER), found, strict=True):
        assert [weight for weight, _ in scores] == [0.5, 2.0]
        assert torch.equal(scores[0][1], images * 2)
        assert torch.equal(scores[1][1], images[:, :, :2])


def test_whatever_is_called_may_give_tensors_in_anything() -> None:
    network = Maps(nn.Identity())
    found: list[Any] = Passes(network)(network.named, ONE, OTHER)
    for images, (moved, features) in zip((ONE, OTHER), found, strict=True):
        assert torch.equal(moved, images + 1)
        assert torch.equal(features["half"], images[:, :1])
