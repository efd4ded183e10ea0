from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ganstyle.base.errors import UserError
from ganstyle.data.tensors import to_pixels, to_tensor
from ganstyle.networks.blocks import BatchNorm, InstanceNorm
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.translate import exact as module
from ganstyle.translate.exact import exact_memory, exact_tensor, picture_of_images, run_exact, translate_exact
from ganstyle.translate.store import Store, in_memory
from ganstyle.translate.tiles import Box

CPU = torch.device("cpu")
UPSAMPLINGS = ("transposed", "resize", "antialiased")
# Odd ones, strips, one pixel, smaller than any tile.
SIZES = ((1, 1), (5, 61), (40, 3), (33, 27), (24, 40))
TILES = (11, 16, 100)
# A hundredth of a level of an 8-bit picture. As much is lost in float32 where flat maps are normalised.
TOLERANCE = 1e-4


def generator(gain: float = 0.3, seed: int = 0, **options: object) -> ResNetGenerator:
    """A small network with weights as large as trained ones and with biases: its outputs reach -1 and 1."""
    torch.manual_seed(seed)
    network = ResNetGenerator(**{"width": 4, "blocks": 2, "gain": gain, **options})  # type: ignore[arg-type]
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.5)
        if isinstance(layer, BatchNorm):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return network.eval().requires_grad_(False)


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def furthest(network: ResNetGenerator, images: Tensor, tile_px: int) -> float:
    """The largest difference from the whole image's output."""
    result = exact_tensor(network, images, device=CPU, tile_px=tile_px)
    assert result.shape == images.shape
    return float((result - network(images)).abs().max())


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
def test_any_size_and_tile_give_the_whole_images_result(upsample: str, halvings: int) -> None:
    network = generator(upsample=upsample, halvings=halvings, width=3, blocks=1)
    for seed, (height, width) in enumerate(SIZES):
        images = noise(height, width, seed)
        for tile_px in TILES:
            assert furthest(network, images, tile_px) < TOLERANCE, (height, width, tile_px)


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_tiles_of_a_few_pixels(upsample: str) -> None:
    assert furthest(generator(upsample=upsample), noise(7, 10), 1) < TOLERANCE


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_other_norms(norm: str, upsample: str) -> None:
    network = generator(gain=0.1, norm=norm, upsample=upsample, dropout=0.5)
    for tile_px in (5, 16):
        assert furthest(network, noise(21, 34), tile_px) < TOLERANCE


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_nine_blocks_with_large_weights_that_saturate(upsample: str) -> None:
    network = generator(gain=2.0, upsample=upsample, blocks=9)
    images = noise(40, 60)
    assert (network(images).abs() > 0.9999).any()
    assert furthest(network, images, 16) < TOLERANCE


def constant(height: int, width: int) -> Tensor:
    return torch.tensor([0.3, -0.7, 0.9]).view(1, 3, 1, 1).expand(1, 3, height, width).contiguous()


def gradient(height: int, width: int) -> Tensor:
    return torch.linspace(-1, 1, width).expand(1, 3, height, width).contiguous()


def flat_with_an_edge(height: int, width: int) -> Tensor:
    images = constant(height, width)
    images[..., width // 2 :] *= -0.5
    return images


@pytest.mark.parametrize("picture", [constant, gradient, flat_with_an_edge])
@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_flat_and_smooth_pictures(picture: Callable[[int, int], Tensor], upsample: str) -> None:
    # Deviations near zero are enlarged 316 times by a norm: any noise of the statistics would show.
    network = generator(gain=1.0, upsample=upsample)
    for tile_px in (7, 16):
        assert furthest(network, picture(37, 52), tile_px) < TOLERANCE


def test_differences_at_tile_borders_are_no_larger_than_elsewhere() -> None:
    network, images = generator(gain=1.0), noise(128, 128)
    whole, border = network(images), torch.zeros(128, 128, dtype=torch.bool)
    differences = torch.empty(128, 128)

    def visit(box: Box, tile: Tensor) -> None:
        differences[box.top : box.bottom, box.left : box.right] = (tile - box.of(whole)).abs().amax(dim=(0, 1))
        for edge in (box.top, box.bottom - 1):
            border[edge, box.left : box.right] = True
        for edge in (box.left, box.right - 1):
            border[box.top : box.bottom, edge] = True

    run(network, images, visit, tile_px=32)
    assert 0.05 < border.float().mean() < 0.5
    assert differences[border].mean() < 1.2 * differences[~border].mean() + 1e-8
    assert differences[border].max() < 2 * differences[~border].max() + 1e-8


def run(network: ResNetGenerator, images: Tensor, visit: Callable[[Box, Tensor], None], *, tile_px: int) -> None:
    picture = picture_of_images(images, network, CPU)
    run_exact(
        network,
        picture,
        whole=picture.size.box,
        visit=visit,
        device=CPU,
        tile_px=tile_px,
        scratch=None,
        autocast=torch.enable_grad,
        progress=lambda _: None,
    )


def test_pixels() -> None:
    network = generator(gain=1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (45, 62, 3), dtype=np.uint8)
    expected = to_pixels(network(to_tensor(pixels)))[0]
    for view, wanted in ((pixels, expected), (pixels.copy(), expected)):
        view.flags.writeable = False
        result = translate_exact(network, view, device=CPU, tile_px=16)
        assert result.dtype == np.uint8
        assert result.shape == view.shape
        different = result.astype(int) - wanted
        assert np.abs(different).max() <= 1  # where a value lies half-way between two levels
        assert (different != 0).mean() < 0.001


def test_16_bit_pixels() -> None:
    network = generator(gain=1.0)
    pixels = np.random.default_rng(0).integers(0, 65536, (45, 62, 3), dtype=np.uint16)
    expected = to_pixels(network(to_tensor(pixels)), np.uint16)[0]
    result = translate_exact(network, pixels, device=CPU, tile_px=16)
    assert result.dtype == np.uint16
    assert np.abs(result.astype(int) - expected).max() <= TOLERANCE * 65535 / 2
    assert len(np.unique(result)) > 2000, "not 8 bits made wider"


class Pictures(TorchFunctionMode):
    """Notes how many values every floating-point tensor of three channels has that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_function__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        result = function(*given, **(named or {}))
        if isinstance(result, Tensor) and result.is_floating_point() and 3 in (result.shape[1:2] + result.shape[-1:]):
            self.sizes.append(result.numel())
        return result


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_no_floating_point_copy_of_the_whole_picture_is_made(dtype: type) -> None:
    network = generator()
    pixels: np.ndarray = np.zeros((300, 310, 3), dtype)
    with Pictures() as made:
        translate_exact(network, pixels, device=CPU, tile_px=32)
    assert len(made.sizes) > 100
    assert max(made.sizes) < pixels.size / 20
    with Pictures() as made:
        to_pixels(network(to_tensor(pixels)))
    assert max(made.sizes) >= pixels.size, "what the test looks for"


def test_statistics_are_those_of_the_norms_inputs() -> None:
    network, images, inputs = generator(), noise(24, 32), list[Tensor]()
    norms = [each for each in network.modules() if isinstance(each, InstanceNorm)]
    handles = [each.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for each in norms]
    network(images)
    for handle in handles:
        handle.remove()
    picture = picture_of_images(images, network, CPU)
    moments = run_exact(
        network,
        picture,
        whole=picture.size.box,
        visit=lambda *_: None,
        device=CPU,
        tile_px=10,
        scratch=None,
        autocast=torch.no_grad,
        progress=lambda _: None,
    )
    assert len(moments) == len(inputs) == 9
    for each, values in zip(moments, inputs, strict=True):
        wide = values.double()
        assert torch.allclose(each.mean, wide.mean(dim=(2, 3))[0], atol=1e-5)
        assert torch.allclose(each.squares / each.count, wide.var(dim=(2, 3), correction=0)[0], rtol=1e-4)


def test_maps_on_disk_give_the_same_and_leave_no_trace(tmp_path: Path) -> None:
    network, images = generator(), noise(40, 30)
    seen: list[float] = []

    def progress(share: float) -> None:
        seen.append(share)
        assert list(tmp_path.iterdir()) == []

    kept = exact_tensor(network, images, device=CPU, tile_px=16, scratch=tmp_path, progress=progress)
    assert torch.equal(kept, exact_tensor(network, images, device=CPU, tile_px=16))
    assert seen == sorted(seen)
    assert seen[0] > 0
    assert seen[-1] == pytest.approx(1)


def test_an_error_on_the_way_leaves_no_trace_on_disk(tmp_path: Path) -> None:
    def stop(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exact_tensor(generator(), noise(40, 30), device=CPU, tile_px=16, scratch=tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_out_of_memory_on_a_tile_makes_it_smaller_and_goes_on() -> None:
    network, images = generator(), noise(150, 140)
    expected, failed = network(images), []

    def refuse(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given[0].numel() > 4 * 80 * 80:
            failed.append(given[0].shape)
            raise torch.OutOfMemoryError("CUDA out of memory")

    for layer in network.modules():
        layer.register_forward_pre_hook(refuse)
    result = exact_tensor(network, images, device=CPU, tile_px=256)
    assert 1 <= len(failed) <= 3
    assert (result - expected).abs().max() < TOLERANCE


def largest_input(height: int, width: int) -> int:
    """The most values that any layer is given."""
    network, sizes = generator(), [0]
    for layer in network.modules():
        layer.register_forward_pre_hook(lambda _, given: sizes.append(given[0].numel()))
    exact_tensor(network, noise(height, width), device=CPU, tile_px=32)
    return max(sizes)


def test_layers_see_tiles_only_however_large_the_picture() -> None:
    small, large = largest_input(128, 128), largest_input(256, 256)
    assert large == small
    assert large < 4 * (32 + 12) ** 2  # a tile and its surroundings, in the first layer's channels


# How often a convolution is computed, where it is not once.
TIMES = {
    "transposed": {"stem.conv": 2, "ups.1.conv": 2},
    "resize": {"stem.conv": 2, "ups.1.conv": 2},
    "antialiased": {"stem.conv": 3, "downs.0.conv": 2, "downs.1.conv": 2, "ups.1.conv": 2},
}


def computed_values(network: ResNetGenerator, translate: Callable[[], Tensor]) -> dict[str, int]:
    """How many values each convolution gives meanwhile."""
    counts: dict[str, int] = {}

    def count(name: str, output: Tensor) -> None:
        counts[name] = counts.get(name, 0) + output.numel()

    layers = {name: each for name, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.ConvTranspose2d)}
    handles = [
        each.register_forward_hook(lambda _, __, output, name=name: count(name, output))
        for name, each in layers.items()
    ]
    translate()
    for handle in handles:
        handle.remove()
    assert len(counts) == len(layers)
    return counts


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_deep_layers_are_computed_once(upsample: str) -> None:
    network, images = generator(upsample=upsample), noise(256, 256)
    whole = computed_values(network, lambda: network(images))
    one_tile = computed_values(network, lambda: exact_tensor(network, images, device=CPU, tile_px=10_000))
    assert one_tile == {name: count * TIMES[upsample].get(name, 1) for name, count in whole.items()}
    tiles = computed_values(network, lambda: exact_tensor(network, images, device=CPU, tile_px=128))
    # The rest is what surrounds the tiles.
    assert all(count <= tiles[name] < 1.15 * count for name, count in one_tile.items())
    assert tiles != one_tile


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@pytest.mark.parametrize("halvings", [0, 2])
def test_the_estimate_is_what_is_kept(upsample: str, halvings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[Store] = []

    def store(_: object) -> Store:
        stores.append(Store(in_memory))
        return stores[-1]

    network = generator(upsample=upsample, halvings=halvings)
    estimate = exact_memory(network, 37, 42, 16)
    with monkeypatch.context() as patch:
        patch.setattr(module, "Store", lambda how: Store(how) if how is module.imagined else store(how))
        exact_tensor(network, noise(37, 42), device=CPU, tile_px=16)
    assert [each.peak_bytes for each in stores] == [estimate.host]
    assert exact_memory(network, 37, 42, 512).device > exact_memory(network, 37, 42, 256).device > 0


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_192_bytes_a_pixel_are_kept_of_the_usual_network(upsample: str) -> None:
    with torch.device("meta"):
        network = ResNetGenerator(width=64, upsample=upsample).eval()  # type: ignore[arg-type]
    assert exact_memory(network, 4000, 6000, 256).host == 192 * 24_000_000


def test_mixed_precision_is_that_of_the_whole() -> None:
    network, images = generator(), noise(32, 48)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(images)
    result = exact_tensor(
        network, images, device=CPU, tile_px=16, autocast=lambda: torch.autocast("cpu", torch.bfloat16)
    )
    assert result.dtype == torch.float32
    single = (result - network(images)).abs().mean()
    mixed = (result - expected).abs().mean()
    assert 1e-5 < mixed < 0.05
    assert single > 1e-5  # the context was used


def test_unknown_networks_and_layers() -> None:
    with pytest.raises(UserError, match=r"not those of this model \(Identity\): use --tile none"):
        exact_tensor(nn.Identity(), noise(8, 8), device=CPU)
    network = generator()
    network.stem.append(nn.Softmax(dim=1))
    with pytest.raises(UserError, match=r"unknown layer Softmax; use --tile none"):
        exact_tensor(network, noise(8, 8), device=CPU)
    for odd in (nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, (1, 3), padding=1), nn.ConvTranspose2d(4, 4, 4, stride=2)):
        network.stem[-1] = odd.eval()
        with pytest.raises(UserError, match=r"changes sizes in another way; use --tile none"):
            exact_tensor(network, noise(8, 8), device=CPU)
    network.stem[-1] = nn.Upsample(scale_factor=2.0, mode="bilinear")
    with pytest.raises(UserError, match=r"changes sizes in another way"):
        exact_tensor(network, noise(8, 8), device=CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_on_a_gpu(upsample: str) -> None:
    device = torch.device("cuda")
    network = generator(upsample=upsample).to(device)
    images = noise(150, 201)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        result = exact_tensor(network, images, device=device, tile_px=64)
        expected = network(images.to(device)).cpu()
    assert (result - expected).abs().max() < 1e-3
