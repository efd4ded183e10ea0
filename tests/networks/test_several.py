from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganstyle.networks.patch_discriminator import PatchDiscriminator
from ganstyle.networks.several import Several

PICTURES = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1


class TwoMaps(nn.Module):
    minimum_px = 4

    def forward(self, images: Tensor) -> list[tuple[float, Tensor]]:
        return [(0.5, images[:, :1]), (0.25, images[:, 1:2, :2])]


def test_every_map_with_its_weight() -> None:
    one, other = PatchDiscriminator(width=2, layers=1), PatchDiscriminator(width=2, layers=2)
    several = Several([(2.0, one), (0.5, TwoMaps()), (1.0, other)])
    found = several(PICTURES)
    wanted = [(2.0, one(PICTURES)), (0.25, PICTURES[:, :1]), (0.125, PICTURES[:, 1:2, :2]), (1.0, other(PICTURES))]
    assert [weight for weight, _ in found] == [weight for weight, _ in wanted]
    for (_, got), (_, want) in zip(found, wanted, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("order", [(1, 3), (3, 1)])
def test_the_largest_minimum_counts(order: tuple[int, int]) -> None:
    members = [PatchDiscriminator(width=2, layers=layers) for layers in order]
    several = Several([(1.0, member) for member in members])
    assert several.minimum_px == max(member.minimum_px for member in members)
    least = torch.zeros(1, 3, several.minimum_px, several.minimum_px)
    assert all(scores.numel() > 0 for _, scores in several(least))


def test_all_members_are_trained_and_saved() -> None:
    several = Several([(1.0, PatchDiscriminator(width=2, layers=1)), (1.0, PatchDiscriminator(width=2, layers=1))])
    names = {name.split(".")[1] for name, _ in several.named_parameters()}
    assert names == {"0", "1"}
    assert {name.split(".")[1] for name in several.state_dict()} == names
