from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.patch_projection import PatchProjection, heads_for

CHANNELS = {"image": 3, "block_1": 5}
PLACES = {"image": torch.tensor([[0, 7, 23], [11, 2, 3]]), "block_1": torch.tensor([[5, 0], [1, 4]])}


def maps() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(3)
    return {"image": torch.randn(2, 3, 4, 6, generator=random), "block_1": torch.randn(2, 5, 2, 3, generator=random)}


def heads(width: int = 8, gain: float = 1.0) -> PatchProjection:
    torch.manual_seed(0)
    return PatchProjection(CHANNELS, width=width, gain=gain)


def test_equals_taking_each_place_by_row_and_column() -> None:
    projection, features = heads(), maps()
    found = projection(features, PLACES)
    assert list(found) == ["image", "block_1"]
    for layer, places in PLACES.items():
        state = {name: value.double() for name, value in projection.heads[layer].state_dict().items()}
        width = features[layer].shape[3]
        for image in range(2):
            for number, place in enumerate(places[image].tolist()):
                pixel = features[layer][image, :, place // width, place % width].double()
                hidden = (state["0.weight"] @ pixel + state["0.bias"]).clamp(min=0)
                projected = state["2.weight"] @ hidden + state["2.bias"]
                expected = projected / projected.norm()
                torch.testing.assert_close(found[layer][image, number].double(), expected, rtol=1e-4, atol=1e-5)


def test_every_patch_has_unit_length_though_the_first_weights_are_small() -> None:
    torch.manual_seed(0)
    found = PatchProjection(CHANNELS)(maps(), PLACES)
    for layer, patches in found.items():
        assert patches.shape == (2, PLACES[layer].shape[1], 256)
        torch.testing.assert_close(patches.norm(dim=-1), torch.ones(patches.shape[:2]))


def test_half_precision_gives_float32_of_unit_length() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = heads()(maps(), PLACES)
    for patches in found.values():
        assert patches.dtype == torch.float32
        torch.testing.assert_close(patches.norm(dim=-1), torch.ones(patches.shape[:2]))


def test_only_the_places_taken_get_a_gradient() -> None:
    features = {layer: each.requires_grad_(True) for layer, each in maps().items()}
    random = torch.Generator().manual_seed(1)
    found = heads()(features, PLACES)
    torch.stack([(each * torch.randn(each.shape, generator=random)).sum() for each in found.values()]).sum().backward()
    for layer, places in PLACES.items():
        gradient = features[layer].grad
        assert gradient is not None
        touched = gradient.abs().sum(dim=1).flatten(1) > 0
        for image in range(2):
            assert set(touched[image].nonzero().flatten().tolist()) <= set(places[image].tolist())
        assert touched.any()


def test_the_first_weights_are_xaviers_by_their_gain() -> None:
    torch.manual_seed(0)
    projection = PatchProjection({"block_1": 200}, width=300, gain=0.02)
    state = projection.heads["block_1"].state_dict()
    assert state["0.weight"].std().item() == pytest.approx(0.02 * np.sqrt(2 / 500), rel=0.02)
    assert state["2.weight"].std().item() == pytest.approx(0.02 * np.sqrt(2 / 600), rel=0.02)
    assert not state["0.bias"].any()
    assert not state["2.bias"].any()


def test_the_heads_have_their_sizes_before_any_image() -> None:
    generator = ResNetGenerator(width=4, blocks=2)
    projection = heads_for(generator, ["image", "down_2", "block_2"], width=6)
    shapes = {name: tuple(value.shape) for name, value in projection.state_dict().items() if name.endswith("weight")}
    assert shapes == {
        "heads.image.0.weight": (6, 3),
        "heads.image.2.weight": (6, 6),
        "heads.down_2.0.weight": (6, 16),
        "heads.down_2.2.weight": (6, 6),
        "heads.block_2.0.weight": (6, 16),
        "heads.block_2.2.weight": (6, 6),
    }


def test_a_layer_that_there_is_not_is_one_clear_line() -> None:
    with pytest.raises(UserError) as error:
        heads_for(ResNetGenerator(width=4, blocks=3), ["image", "block_5"], width=6)
    assert str(error.value) == (
        "method.nce_layers: unknown layer 'block_5': did you mean 'block_3'? "
        "(image, down_1, down_2, block_1, block_2, block_3); choose others, or a generator with more blocks or halvings"
    )
