from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.losses.style import STYLE_LOSSES
from ganstyle.networks.vgg import LIGHT, Vgg
from ganstyle.painting.footprint import Choice, choose, needed_bytes
from ganstyle.painting.objective import Objective, Region, Targets, Weights
from ganstyle.painting.tiling import tiles_of
from tests.networks.foreign_weights import light_weights

ADDITIVE = [name for name, loss in STYLE_LOSSES.items() if loss.additive]
VGG = Vgg(LIGHT, light_weights())


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def two_regions(height: int, width: int) -> list[Region]:
    across = torch.linspace(0, 1, width).expand(1, 1, height, width).contiguous()
    down = torch.linspace(0, 1, 70)[:, None].expand(1, 1, 70, 60).contiguous()
    return [Region(across, (down,)), Region(1 - across, (1 - down,))]


def evaluated(
    weights: Weights, height: int, width: int, tile_px: int | None, regions: list[Region] | None = None
) -> tuple[Tensor, Tensor]:
    targets = Targets(VGG, [picture(70, 60, 1)], weights=weights, regions=regions, tile_px=tile_px)
    content = picture(height, width, 2)
    objective = Objective(VGG, content, targets, weights=weights, regions=regions, tile_px=tile_px)
    return objective(picture(height, width, 3))


@pytest.mark.parametrize("name", ADDITIVE)
@pytest.mark.parametrize(("height", "width"), [(130, 97), (33, 200), (64, 64)])
def test_tiles_give_the_loss_and_gradient_of_the_whole(name: str, height: int, width: int) -> None:
    weights = Weights(style_loss=name, tv=0.1)
    for regions in (None, two_regions(height, width)):
        loss, gradient = evaluated(weights, height, width, None, regions)
        for tile_px in (16, 50, 500):
            tiled, tiled_gradient = evaluated(weights, height, width, tile_px, regions)
            torch.testing.assert_close(tiled, loss, rtol=1e-4, atol=0)
            assert float((tiled_gradient - gradient).norm() / gradient.norm()) < 1e-4


@pytest.mark.parametrize("height", [17, 96, 100, 257])
@pytest.mark.parametrize("tile_px", [None, 1, 40, 64, 1000])
def test_cores_cover_a_picture_once(height: int, tile_px: int | None) -> None:
    seen = torch.zeros(height, 70)
    for tile in tiles_of(height, 70, tile_px=tile_px, reach_px=70, stride_px=16):
        seen[slice(*tile.rows.core), slice(*tile.columns.core)] += 1
        assert tile.rows.core[0] % 16 == tile.rows.outer[0] % 16 == 0
        assert tile.rows.outer[0] == max(0, tile.rows.core[0] - 80)
    assert (seen == 1).all()


def test_a_loss_that_does_not_add_up_has_no_tiles() -> None:
    with pytest.raises(
        UserError, match=r"'sliced' needs the whole picture.*'gram' or 'mean-variance' or 'wasserstein'"
    ):
        evaluated(Weights(style_loss="sliced"), 64, 64, 32)
    with pytest.raises(UserError, match=r"content loss 'self-similarity' needs the whole picture.*'features'"):
        evaluated(Weights(content_loss="self-similarity"), 64, 64, 32)
    with pytest.raises(UserError, match="did you mean 'wasserstein'"):
        evaluated(Weights(style_loss="waserstein"), 64, 64, None)


@pytest.mark.parametrize("content_loss", ["features", "self-similarity"])
def test_the_gradient_is_the_slope_of_the_loss(content_loss: str) -> None:
    weights, vgg = Weights(content_loss=content_loss, tv=0.1), Vgg(LIGHT, light_weights()).double()
    targets = Targets(vgg, [picture(70, 60, 1).double()], weights=weights)
    objective = Objective(vgg, picture(40, 50, 2).double(), targets, weights=weights)
    image, direction = picture(40, 50, 3).double(), picture(40, 50, 4).double()
    slope = (objective(image + 1e-6 * direction)[0] - objective(image - 1e-6 * direction)[0]) / 2e-6
    assert float((objective(image)[1] * direction).sum()) == pytest.approx(float(slope), rel=1e-3)


def test_a_region_without_style_is_refused() -> None:
    regions = [Region(torch.ones(1, 1, 64, 64), (torch.zeros(1, 1, 70, 60),))]
    with pytest.raises(UserError, match="region 1 has no part of the style pictures"):
        evaluated(Weights(), 64, 64, None, regions)


def test_memory_chooses_the_optimiser_and_the_tiles() -> None:
    weights = Weights()

    def needed(choice: Choice) -> int:
        return needed_bytes(VGG, 2048, 2048, weights=weights, **choice._asdict())

    wished = [Choice("lbfgs", None), Choice("adam", None), Choice("lbfgs", 1024), Choice("adam", 256)]
    for choice in wished:
        found = choose(VGG, 2048, 2048, weights=weights, free_bytes=needed(choice))
        assert found == choice
    assert choose(VGG, 2048, 2048, weights=weights, free_bytes=None) == wished[0]
    assert choose(VGG, 512, 512, weights=weights, free_bytes=10**10, tile="on").tile_px == 512
    with pytest.raises(
        UserError, match=r"2048x2048 px need about \d+\.\d GB, 0\.2 GB are free: use --size \d+ or less"
    ):
        choose(VGG, 2048, 2048, weights=weights, free_bytes=200_000_000)
