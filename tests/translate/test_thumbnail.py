from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.data.images import read_image
from ganstyle.data.tensors import to_pixels, to_tensor
from ganstyle.networks.blocks import InstanceNorm
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.translate.exact import translate_exact
from ganstyle.translate.thumbnail import reduced, surroundings_px, thumbnail_memory, translate_thumbnail
from ganstyle.translate.tiles import Box

CPU = torch.device("cpu")
UPSAMPLINGS = ("transposed", "resize", "antialiased")
PHOTOS = Path(__file__).resolve().parents[2] / "../shared/data/photo2ink/testA"


def generator(**options: object) -> ResNetGenerator:
    torch.manual_seed(0)
    network = ResNetGenerator(**{"width": 4, "blocks": 2, "gain": 0.3, **options})  # type: ignore[arg-type]
    return network.eval().requires_grad_(False)


def picture(height: int, width: int) -> np.ndarray:
    """Colours that change slowly, and noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
    return np.clip(smooth + random.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)


def with_statistics_of(network: nn.Module, small: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The slow obvious way: both pictures as wholes, and the second one's norms take the first one's statistics."""
    inputs: dict[InstanceNorm, Tensor] = {}

    def remember(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, InstanceNorm)
        inputs[norm] = given[0]

    def replace(norm: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> Tensor:
        assert isinstance(norm, InstanceNorm)
        variance, mean = torch.var_mean(inputs[norm], dim=(2, 3), correction=0, keepdim=True)
        return (given[0] - mean) / torch.sqrt(variance + norm.eps)

    norms = [each for each in network.modules() if isinstance(each, InstanceNorm)]
    handles = [norm.register_forward_pre_hook(remember) for norm in norms]
    network(to_tensor(small))
    for handle in handles:
        handle.remove()
    handles = [norm.register_forward_hook(replace) for norm in norms]
    result = to_pixels(network(to_tensor(pixels)))[0]
    for handle in handles:
        handle.remove()
    return result


def differs(result: np.ndarray, expected: np.ndarray) -> tuple[int, float]:
    """The largest difference in levels, and the share of values that differ."""
    difference = np.abs(result.astype(int) - expected.astype(int))
    return int(difference.max()), float((difference > 0).mean())


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@pytest.mark.parametrize(("height", "width"), [(83, 122), (9, 301)])
def test_the_whole_with_the_reduced_pictures_statistics(upsample: str, height: int, width: int) -> None:
    network, pixels, tile_px = generator(upsample=upsample), picture(height, width), 16
    small = reduced(pixels, 4 * tile_px**2)
    assert small.shape[0] * small.shape[1] <= 4 * tile_px**2 < height * width
    result = translate_thumbnail(network, pixels, device=CPU, tile_px=tile_px)
    most, share = differs(result, with_statistics_of(network, small, pixels))
    assert most <= 1  # rounding: no seam is left
    assert share < 0.001


def test_16_bit_pixels_give_what_8_bit_ones_give() -> None:
    network, pixels = generator(gain=1.0), picture(83, 122)
    deep = translate_thumbnail(network, pixels.astype(np.uint16) * 257, device=CPU, tile_px=16)
    assert deep.dtype == np.uint16
    assert len(np.unique(deep)) > 2000, "not 8 bits made wider"
    # The reduced picture's levels are rounded to 8 bits or to 16, which moves the statistics a little.
    assert np.abs(deep / 257 - translate_thumbnail(network, pixels, device=CPU, tile_px=16)).mean() < 1


@pytest.mark.parametrize("options", [{}, {"halvings": 0}, {"norm": "none"}, {"norm": "batch"}, {"halvings": 3}])
def test_a_picture_of_four_tiles_is_exact(options: dict[str, object]) -> None:
    network, pixels = generator(**options), picture(50, 60)
    result = translate_thumbnail(network, pixels, device=CPU, tile_px=32)
    most, share = differs(result, translate_exact(network, pixels, device=CPU))
    assert most <= 1
    assert share < 0.001


def test_out_of_memory_makes_the_tile_smaller_and_changes_nothing() -> None:
    network, pixels = generator(), picture(300, 290)
    expected = translate_thumbnail(network, pixels, device=CPU, tile_px=128)
    failed = []

    def refuse(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given[0].numel() > 4 * 150 * 150:
            failed.append(given[0].shape)
            raise torch.OutOfMemoryError("CUDA out of memory")

    for layer in network.modules():
        layer.register_forward_pre_hook(refuse)
    result = translate_thumbnail(network, pixels, device=CPU, tile_px=128)
    assert failed
    assert differs(result, expected)[0] <= 1


def largest_input(side_px: int) -> int:
    """The most values that any layer is given."""
    network, sizes = generator(), [0]
    for layer in network.modules():
        layer.register_forward_pre_hook(lambda _, given: sizes.append(given[0].numel()))
    translate_thumbnail(network, picture(side_px, side_px), device=CPU, tile_px=32)
    return max(sizes)


def test_a_tile_computes_each_layer_once_however_many_blocks() -> None:
    network, pixels, calls = generator(blocks=4), picture(100, 100), list[str]()
    for name, layer in network.named_modules():
        layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    translate_exact(network, pixels, device=CPU, tile_px=50)
    for_statistics = calls.count("blocks.0.first.conv")
    calls.clear()
    translate_thumbnail(network, pixels, device=CPU, tile_px=50)
    assert calls.count("blocks.0.first.conv") == for_statistics + 4


def test_memory_is_bounded_by_the_tile() -> None:
    reach_px = surroundings_px(generator())
    assert largest_input(192) == largest_input(256) <= 4 * (32 + 2 * reach_px) ** 2
    small, large = thumbnail_memory(generator(), 128), thumbnail_memory(generator(), 512)
    assert 0 < small < large


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@pytest.mark.parametrize(("halvings", "blocks"), [(0, 1), (1, 2), (2, 3)])
def test_an_output_sees_no_further_than_its_surroundings(upsample: str, halvings: int, blocks: int) -> None:
    network = generator(upsample=upsample, halvings=halvings, blocks=blocks, norm="none")
    for weights in network.parameters():
        weights.fill_(0.02)  # every path through the network counts
    reach_px = surroundings_px(network)
    network.head[-1] = nn.Identity()  # where it saturates no input counts
    side_px = 4 * (reach_px // 4) + 16  # beyond its reach on either side, and a multiple of the halvings
    centre = slice(side_px, side_px + 1)
    images = torch.rand(1, 3, 2 * side_px, 2 * side_px).requires_grad_()
    network(images)[0, :, centre, centre].sum().backward()
    assert images.grad is not None
    rows = images.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    seen_px = int(max(side_px - rows.min(), rows.max() - side_px))
    assert 3 < seen_px <= reach_px <= seen_px + 8 * 2**halvings


def test_surroundings_of_the_usual_network() -> None:
    with torch.device("meta"):
        network = ResNetGenerator(width=64).eval()
    assert 80 <= surroundings_px(network) <= 100


def test_reduced() -> None:
    pixels = picture(60, 90)
    assert reduced(pixels, 5400) is pixels
    small = reduced(pixels, 60 * 90 // 9)
    assert small.shape == (20, 30, 3)
    expected = pixels.reshape(20, 3, 30, 3, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 0.5 + 1e-6
    assert reduced(picture(2, 1000), 100).shape == (1, 223, 3)
    deep = reduced(pixels.astype(np.uint16) * 257, 60 * 90 // 9)
    assert deep.dtype == np.uint16
    assert np.abs(deep - 257 * expected).max() <= 0.5 + 1e-6


def test_progress() -> None:
    shares: list[float] = []
    translate_thumbnail(generator(), picture(70, 80), device=CPU, tile_px=16, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] == pytest.approx(1)


def test_unknown_network() -> None:
    with pytest.raises(UserError, match=r"not those of this model \(Identity\): use --tile none"):
        translate_thumbnail(nn.Identity(), picture(8, 8), device=CPU)


def test_a_photo_is_nearer_to_the_exact_result_than_tiles_of_their_own() -> None:
    photos = sorted(PHOTOS.glob("*.jpg"))
    if not photos:
        pytest.skip("the photo2ink pictures are not here")
    pixels, network, tile_px = read_image(photos[0]).pixels, generator(gain=0.02), 64
    exact = translate_exact(network, pixels, device=CPU).astype(float)
    thumbnail = translate_thumbnail(network, pixels, device=CPU, tile_px=tile_px)
    alone = np.empty_like(pixels)
    for box in Box(0, pixels.shape[0], 0, pixels.shape[1]).tiles(tile_px):
        part = slice(box.top, box.bottom), slice(box.left, box.right)
        alone[part] = to_pixels(network(to_tensor(pixels[part])))[0]
    assert 0 < np.abs(thumbnail - exact).mean() < 0.5 * np.abs(alone - exact).mean()
