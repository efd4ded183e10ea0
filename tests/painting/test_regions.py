from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganstyle.base.errors import UserError
from ganstyle.networks.vgg import Vgg, load_vgg
from ganstyle.painting.guided import follow_edges
from ganstyle.painting.regions import _partners, joint_regions, mask_regions
from tests.networks.foreign_weights import light_weights

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Vgg:
    path = tmp_path_factory.mktemp("weights") / "light.pth"
    torch.save({"epoch": 1, "model": light_weights()}, path)
    return load_vgg(path)


def scene(height: int, width: int, *, horizon: float = 0.5, seed: int = 0) -> Tensor:
    """A smooth bright sky above rough dark ground, (1, 3, height, width)."""
    picture = torch.full((1, 3, height, width), 0.5)
    picture[:, 2] = 0.8
    ground = round(horizon * height)
    noise = torch.rand(1, 1, height - ground, width, generator=torch.Generator().manual_seed(seed))
    picture[:, :, ground:] = noise * torch.tensor([0.8, 0.9, 0.1])[:, None, None] - 0.8
    return picture


def test_sky_takes_from_sky(vgg: Vgg) -> None:
    regions = joint_regions(vgg, scene(96, 120), [scene(80, 70, horizon=0.3, seed=1)], count=2)
    assert len(regions) == 2
    sky, ground = sorted(regions, key=lambda each: -float(each.content[..., :10, :].mean()))
    assert sky.content.shape == (1, 1, 96, 120)
    assert sky.styles[0].shape == (1, 1, 80, 70)
    for region, above, below in ((sky, 1, 0), (ground, 0, 1)):
        assert float(region.content[..., :36, :].mean()) == pytest.approx(above, abs=0.1)
        assert float(region.content[..., 60:, :].mean()) == pytest.approx(below, abs=0.1)
        assert float(region.styles[0][..., :12, :].mean()) == pytest.approx(above, abs=0.15)
        assert float(region.styles[0][..., 40:, :].mean()) == pytest.approx(below, abs=0.15)


def test_the_photos_regions_sum_to_one_and_each_has_a_part_of_every_picture(vgg: Vgg) -> None:
    styles = [scene(60, 90, horizon=0.8, seed=1), torch.zeros(1, 3, 40, 40)]
    regions = joint_regions(vgg, scene(70, 64), styles, count=4, seed=3)
    assert 1 <= len(regions) <= 4
    torch.testing.assert_close(sum(each.content for each in regions), torch.ones(1, 1, 70, 64), atol=1e-5, rtol=0)
    for region in regions:
        assert all(mask.shape[2:] == style.shape[2:] for mask, style in zip(region.styles, styles, strict=True))
        assert all(mask.min() >= 0 and mask.max() <= 1.00001 and mask.mean() > 0.01 for mask in region.styles)


def test_the_same_seed_gives_the_same_regions(vgg: Vgg) -> None:
    one, other = (joint_regions(vgg, scene(64, 64), [scene(50, 60, seed=1)], count=3, seed=5) for _ in range(2))
    assert len(one) == len(other)
    assert all(torch.equal(a.content, b.content) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("shape", [(5, 7), (8, 300)])
def test_flat_tiny_and_oblong_pictures_have_regions(vgg: Vgg, shape: tuple[int, int]) -> None:
    for photo in (torch.zeros(1, 3, *shape), scene(*shape)):
        regions = joint_regions(vgg, photo, [torch.ones(1, 3, 6, 6)], count=3)
        assert regions
        assert all(mask.isfinite().all() for each in regions for mask in (each.content, *each.styles))


@pytest.mark.parametrize("count", [0, 17])
def test_too_few_or_too_many_regions(vgg: Vgg, count: int) -> None:
    with pytest.raises(UserError, match="expected 1 to 16"):
        joint_regions(vgg, scene(20, 20), [scene(20, 20)], count=count)


def partners(areas: list[float], own: list[float], places: list[float]) -> dict[int, int]:
    line = torch.tensor(places, dtype=torch.float32)[:, None]
    kept = [kind for kind, area in enumerate(areas) if area]
    return _partners(torch.tensor(areas), torch.tensor(own), kept, torch.cdist(line, line))


def test_a_missing_kind_takes_the_nearest_that_no_other_takes() -> None:
    assert partners([0.4, 0.6, 0.0], [0.5, 0.5, 0.0], [0, 1, 2]) == {0: 0, 1: 1}
    # Kind 0 is missing in the picture: 1 is nearer, but taken; 2 is free.
    assert partners([0.4, 0.6, 0.0], [0.0, 0.5, 0.5], [0, 1, 9]) == {0: 2, 1: 1}
    # Nothing is free: the nearest.
    assert partners([0.3, 0.3, 0.4], [0.0, 0.5, 0.5], [0, 1, 9]) == {0: 1, 1: 1, 2: 2}
    # A hundredth of a picture is no sky, and half of a picture is no roof.
    assert partners([0.5, 0.05, 0.45], [0.03, 0.47, 0.5], [0, 1, 2])[0] == 1


def test_masks_follow_the_edges_of_the_picture() -> None:
    picture = torch.full((1, 3, 60, 80), -0.5)
    picture[..., 33:] = 0.6
    small = F.interpolate(picture, (30, 40), mode="bilinear", antialias=True)
    coarse = torch.zeros(1, 2, 30, 40)
    coarse[:, 0] = torch.linspace(1.4, -0.6, 40).clamp(0, 1)  # fades over the edge
    coarse[:, 1] = 1 - coarse[:, 0]
    found = follow_edges(coarse, picture, small, radius_px=5, noise=0.05)
    plain = F.interpolate(coarse, (60, 80), mode="bilinear")
    step, before = ((each[0, 0, 30, 31] - each[0, 0, 30, 34]).item() for each in (found, plain))
    assert step > 3 * before
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 60, 80), atol=1e-4, rtol=0)


def test_the_guided_filter_is_its_formula_in_numpy() -> None:
    stream = np.random.default_rng(0)
    guide, share = stream.random((3, 9, 11)), stream.random((9, 11))
    slopes, offsets = np.zeros((9, 11, 3)), np.zeros((9, 11))
    window = lambda i, j: np.s_[..., max(0, i - 2) : i + 3, max(0, j - 2) : j + 3]  # noqa: E731
    for i, j in np.ndindex(9, 11):
        colours, values = guide[window(i, j)].reshape(3, -1), share[window(i, j)].ravel()
        covariance = np.cov(colours, ddof=0) + 0.1**2 * np.eye(3)
        joint = (colours * values).mean(axis=1) - colours.mean(axis=1) * values.mean()
        slopes[i, j] = np.linalg.solve(covariance, joint)
        offsets[i, j] = values.mean() - slopes[i, j] @ colours.mean(axis=1)
    expected = np.zeros((9, 11))
    for i, j in np.ndindex(9, 11):
        mean = slopes.transpose(2, 0, 1)[window(i, j)].reshape(3, -1).mean(axis=1)
        expected[i, j] = mean @ guide[:, i, j] + offsets[window(i, j)].mean()
    picture = torch.from_numpy(guide)[None]
    found = follow_edges(torch.from_numpy(share)[None, None], picture, picture, radius_px=2, noise=0.1)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-9)


def mask(path: Path, left: tuple[int, ...], right: tuple[int, ...], height: int = 30, width: int = 40) -> Path:
    values = np.zeros((height, width, 3), np.uint8)
    values[:, : width // 2], values[:, width // 2 :] = left, right
    Image.fromarray(values).save(path)
    return path


def test_regions_by_colours_that_people_drew(tmp_path: Path) -> None:
    photo = mask(tmp_path / "photo.png", RED, BLUE)
    style = mask(tmp_path / "style.png", BLUE, (240, 6, 3), 20, 60)
    regions = mask_regions(photo, [style], feather_px=0)
    assert [tuple(each.content.shape) for each in regions] == [(1, 1, 30, 40)] * 2
    red, blue = sorted(regions, key=lambda each: -float(each.content[..., 0, 0]))
    for region, left in ((red, 1.0), (blue, 0.0)):
        assert region.content[..., :20].unique().tolist() == [left]
        assert region.styles[0][..., 30:].unique().tolist() == [left]
        assert region.styles[0][..., :30].unique().tolist() == [1 - left]


def test_masks_are_brought_to_the_pictures_sizes(tmp_path: Path) -> None:
    paths = [mask(tmp_path / f"{name}.png", RED, BLUE) for name in "ab"]
    (first, _) = mask_regions(paths[0], paths[1:], size=(60, 80), style_sizes=[(15, 20)])
    assert first.content.shape[2:] == (60, 80)
    assert first.styles[0].shape[2:] == (15, 20)
    with pytest.raises(UserError, match=r"b\.png: the mask is 40 x 30 px .* another shape"):
        mask_regions(paths[0], paths[1:], size=(60, 80), style_sizes=[(20, 20)])


def test_pictures_may_share_the_colours(tmp_path: Path) -> None:
    photo = mask(tmp_path / "photo.png", RED, BLUE)
    styles = [mask(tmp_path / "one.png", RED, GREEN), mask(tmp_path / "two.png", GREEN, BLUE)]
    red, blue = sorted(mask_regions(photo, styles), key=lambda each: -float(each.content[..., 0, 0]))
    assert [bool(each.any()) for each in red.styles] == [True, False]
    assert [bool(each.any()) for each in blue.styles] == [False, True]
    with pytest.raises(UserError, match=r"photo\.png: #0000ff of it is in no picture's mask \(one\.png"):
        mask_regions(photo, styles[:1])


def test_grey_masks_are_two_regions(tmp_path: Path) -> None:
    paths = [tmp_path / "photo.png", tmp_path / "style.png"]
    for path in paths:
        assert cv2.imwrite(str(path), np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1)))
    white, black = mask_regions(paths[0], paths[1:])
    torch.testing.assert_close(white.content + black.content, torch.ones(1, 1, 30, 40))
    assert white.content[..., -1].mean() > 0.9
