"""What a generator's encoder sees, by layer, against the same layers run one after the other."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import UPSAMPLINGS
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.recompute import recompute

LAYERS = ("image", "down_1", "down_2", "block_1", "block_3")


def images(*size: int, count: int = 2, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, 3, *size))).float()


def small(**changes: Any) -> ResNetGenerator:
    torch.manual_seed(1)
    return ResNetGenerator(**{"width": 4, "blocks": 3, "gain": 0.3, **changes})


def plain_features(generator: ResNetGenerator, shown: Tensor) -> dict[str, Tensor]:
    """All layers by torch's own functions, with the generator's weights, for sizes that fit."""
    state = generator.state_dict()

    def convolved(maps: Tensor, name: str, **options: Any) -> Tensor:
        return F.conv2d(maps, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    def reflected(maps: Tensor, pad_px: int) -> Tensor:
        return F.pad(maps, (pad_px,) * 4, mode="reflect")

    found = {"image": reflected(shown, 3)}
    maps = F.instance_norm(convolved(found["image"], "stem.conv")).relu()
    for number in range(len(generator.downs)):
        antialiased = hasattr(generator.downs[number], "blur")
        stride = 1 if antialiased else 2
        maps = found[f"down_{number + 1}"] = convolved(maps, f"downs.{number}.conv", stride=stride, padding=1)
        maps = F.instance_norm(maps).relu()
        if antialiased:
            taps = torch.tensor([1.0, 2.0, 1.0]) / 4
            channels = maps.shape[1]
            filters = torch.outer(taps, taps).expand(channels, 1, 3, 3)
            maps = F.conv2d(reflected(maps, 1), filters, stride=2, groups=channels)
    for number in range(len(generator.blocks)):
        hidden = F.instance_norm(convolved(reflected(maps, 1), f"blocks.{number}.first.conv")).relu()
        maps = maps + F.instance_norm(convolved(reflected(hidden, 1), f"blocks.{number}.second.conv"))
        found[f"block_{number + 1}"] = maps
    return found


@pytest.mark.parametrize(("upsample", "halvings"), list(product(UPSAMPLINGS, [1, 2])))
def test_features_equal_the_layers_one_after_the_other(upsample: str, halvings: int) -> None:
    generator = small(upsample=upsample, halvings=halvings)
    expected = plain_features(generator, images(16, 24))
    assert generator.layer_names == tuple(expected)
    found = generator.features(images(16, 24), generator.layer_names)
    assert list(found) == list(expected)
    channels = generator.feature_channels(generator.layer_names)
    for layer, maps in found.items():
        torch.testing.assert_close(maps, expected[layer], rtol=1e-4, atol=1e-5)
        assert maps.shape[1] == channels[layer]


@pytest.mark.parametrize("size", [(1, 1), (5, 30), (16, 16), (17, 19)])
@pytest.mark.parametrize("upsample", list(UPSAMPLINGS))
def test_one_pass_gives_the_translation_and_the_features(upsample: str, size: tuple[int, int]) -> None:
    generator = small(upsample=upsample)
    translated, found = generator.translate(images(*size), LAYERS)
    assert torch.equal(translated, generator(images(*size)))
    assert list(found) == list(LAYERS)
    for layer, maps in generator.features(images(*size), LAYERS).items():
        assert torch.equal(maps, found[layer]), layer


def test_sizes_that_do_not_fit_are_extended_as_for_the_translation() -> None:
    shown = images(17, 19)
    extended = F.pad(F.pad(shown, (0, 1, 0, 0), mode="reflect"), (0, 0, 0, 3), mode="reflect")
    generator = small()
    expected = plain_features(generator, extended)
    for layer, maps in generator.features(shown, LAYERS).items():
        torch.testing.assert_close(maps, expected[layer], rtol=1e-4, atol=1e-5)


def test_a_generator_without_halvings_or_asked_for_nothing() -> None:
    generator = small(halvings=0)
    assert generator.layer_names == ("image", "block_1", "block_2", "block_3")
    assert generator.features(images(8, 8), []) == {}
    translated, found = generator.translate(images(8, 8), [])
    assert torch.equal(translated, generator(images(8, 8)))
    assert found == {}


def test_nothing_deeper_than_the_deepest_is_computed() -> None:
    generator = small()

    def arithmetic(*layers: str) -> int:
        with FlopCounterMode(display=False) as counter:
            generator.features(images(16, 16), layers)
        return counter.get_total_flops()

    macs = 2 * 16 * 16 * 3 * 4 * 49
    first, second = 2 * 8 * 8 * 4 * 8 * 9, 2 * 4 * 4 * 8 * 16 * 9
    block = 2 * 2 * 4 * 4 * 16 * 16 * 9
    assert arithmetic("image") == 0
    assert arithmetic("down_1") == 2 * (macs + first)
    assert arithmetic("down_2", "image") == 2 * (macs + first + second)
    assert arithmetic("block_1", "block_2", "down_1") == 2 * (macs + first + second + 2 * block)


def test_an_unknown_layer_is_refused_with_the_nearest_name() -> None:
    generator = small()
    for ask in (generator.features, generator.translate):
        with pytest.raises(UserError, match="unknown layer 'block_9': did you mean 'block_3'"):
            ask(images(8, 8), ["image", "block_9"])
    with pytest.raises(UserError, match="unknown layer 'dwon_1': did you mean 'down_1'"):
        generator.feature_channels(["dwon_1"])


def test_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"expected \(N, 3, H, W\)"):
        small().features(torch.zeros(1, 1, 8, 8), ["image"])


@pytest.mark.parametrize("upsample", list(UPSAMPLINGS))
def test_recomputing_changes_no_gradient(upsample: str) -> None:
    found = []
    for recomputes in (False, True):
        generator = small(upsample=upsample)
        if recomputes:
            recompute(generator)
        shown = images(16, 16).requires_grad_(True)
        translated, features = generator.train().translate(shown, LAYERS)
        maps = [translated, *features.values(), *generator.features(translated, LAYERS).values()]
        torch.stack([each.square().mean() for each in maps]).sum().backward()
        assert shown.grad is not None
        found.append([shown.grad, *(each.grad for each in generator.parameters())])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert torch.equal(one, other)


def test_recomputing_keeps_less() -> None:
    def kept(recomputes: bool) -> int:
        generator = small(blocks=6).train()
        if recomputes:
            recompute(generator)
        count = 0

        def note(tensor: Tensor) -> Tensor:
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            generator.translate(images(32, 32), LAYERS)
        return count

    assert kept(True) < 0.6 * kept(False)


def test_the_layers_are_not_in_the_state() -> None:
    assert {name.split(".")[0] for name in small().state_dict()} == {"stem", "downs", "blocks", "ups", "head"}
