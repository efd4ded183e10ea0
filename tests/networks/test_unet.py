"""The U-Net generator against the authors' nesting, written plainly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.keyed import keyed_layers
from ganstyle.networks.recompute import recompute
from ganstyle.networks.unet import UNetGenerator

Weights = dict[str, Tensor]


def small(**changes: object) -> UNetGenerator:
    torch.manual_seed(1)
    return UNetGenerator(**{"width": 2, "halvings": 5, "gain": 0.3, **changes})  # type: ignore[arg-type]


def images(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1


def nested(weights: Weights, features: Tensor, depth: int, deepest: int) -> Tensor:
    """What the authors' block at a depth gives for its input, which its LeakyReLU changes in place."""
    if depth > 0:
        features = F.leaky_relu(features, 0.2)
    down = F.conv2d(features, weights[f"downs.{depth}.conv.weight"], weights.get(f"downs.{depth}.conv.bias"), 2, 1)
    if 0 < depth < deepest:
        down = F.instance_norm(down)
    inner = down if depth == deepest else nested(weights, down, depth + 1, deepest)
    name = f"ups.{depth - 1}" if depth > 0 else "head"
    up = F.conv_transpose2d(F.relu(inner), weights[f"{name}.conv.weight"], weights.get(f"{name}.conv.bias"), 2, 1)
    return torch.tanh(up) if depth == 0 else torch.cat([features, F.instance_norm(up)], dim=1)


@pytest.mark.parametrize("halvings", [2, 3, 5, 6])
def test_it_gives_the_picture_of_the_authors_nesting(halvings: int) -> None:
    generator = small(halvings=halvings).double()
    side = 2 ** (halvings + 1)
    given = images(side, 2 * side).double()
    expected = nested(dict(generator.state_dict()), given, 0, halvings - 1)
    assert expected.std() > 0.01
    torch.testing.assert_close(generator(given), expected, rtol=0, atol=1e-9)


def test_it_has_the_parameters_of_the_authors() -> None:
    with torch.device("meta"):
        generators = {halvings: UNetGenerator(halvings=halvings, norm="batch") for halvings in (7, 8)}
    counts = {halvings: sum(each.numel() for each in one.parameters()) for halvings, one in generators.items()}
    assert {halvings: round(count / 1e6, 3) for halvings, count in counts.items()} == {7: 41.829, 8: 54.414}


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (33, 64), (64, 31)])
def test_any_size_keeps_its_size(size: tuple[int, int]) -> None:
    made = small()(images(*size))
    assert made.shape == (2, 3, *size)
    assert made.isfinite().all()


def test_sizes_that_do_not_fit_are_extended_and_cropped() -> None:
    generator, given = small(), images(64, 96)
    part = given[:, :, :40, :]
    extended = torch.cat([part, part[:, :, 15:39].flip(2)], dim=2)
    assert torch.equal(generator(part), generator(extended)[:, :, :40])


def test_features_are_what_the_way_down_gives() -> None:
    generator, given = small(), images(64, 64)
    found = generator.features(given, ["image", "down_1", "down_3"])
    assert torch.equal(found["image"], given)
    first = generator.downs[0].get_submodule("conv")(given)
    assert torch.equal(found["down_1"], first)
    second = F.instance_norm(generator.downs[1].get_submodule("conv")(F.leaky_relu(first, 0.2)))
    third = generator.downs[2].get_submodule("conv")(F.leaky_relu(second, 0.2))
    torch.testing.assert_close(found["down_3"], third, rtol=1e-5, atol=1e-5)
    assert {name: each.shape[1] for name, each in found.items()} == generator.feature_channels(found)
    translated, same = generator.translate(given, ["down_3", "image"])
    assert torch.equal(translated, generator(given))
    assert all(torch.equal(same[name], found[name]) for name in same)
    assert list(same) == ["down_3", "image"]
    with pytest.raises(UserError, match="did you mean 'down_3'"):
        generator.features(given, ["downs_3"])


def test_nothing_deeper_than_the_deepest_layer_is_computed() -> None:
    generator, seen = small(), []
    for down in generator.downs:
        down.get_submodule("conv").register_forward_hook(lambda *_: seen.append(1))
    generator.features(images(64, 64), ["down_2"])
    assert len(seen) == 2


def test_dropout_is_where_the_authors_have_it() -> None:
    with torch.device("meta"):
        generator = UNetGenerator(dropout=0.5)
    places = [number for number, up in enumerate(generator.ups, start=1) if keyed_layers([up])]
    assert places == [4, 5, 6]
    trained = small(halvings=6, dropout=0.5).train()
    assert not torch.equal(trained(images(64, 64)), trained(images(64, 64)))
    assert torch.equal(trained.eval()(images(64, 64)), trained(images(64, 64)))


def test_recomputing_changes_no_gradient() -> None:
    gradients = []
    for again in (False, True):
        generator = small().train()
        if again:
            recompute(generator)
        generator(images(32, 32)).square().sum().backward()
        gradients.append([weight.grad for weight in generator.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_gradients_reach_every_weight(norm: str) -> None:
    generator = small(norm=norm).train()
    generator(images(64, 64)).square().sum().backward()
    missing = [name for name, weight in generator.named_parameters() if weight.grad is None or not weight.grad.any()]
    # In front of a norm that takes the mean off, a bias changes nothing.
    assert [name for name in missing if not name.endswith("conv.bias")] == []


def test_other_shapes_are_refused() -> None:
    with pytest.raises(UserError, match=r"expected \(N, 3, H, W\)"):
        small()(torch.zeros(1, 4, 64, 64))


def test_biases_are_where_the_authors_have_them() -> None:
    def biased(norm: str) -> list[bool]:
        kinds = nn.Conv2d | nn.ConvTranspose2d
        return [each.bias is not None for each in small(norm=norm).modules() if isinstance(each, kinds)]

    assert all(biased("instance"))
    assert biased("batch") == [False] * 9 + [True]
