from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.networks.vgg import LAYERS, LIGHT, STYLE_LAYERS, Vgg, VggStatistics, load_vgg, vgg_layout
from tests.networks.foreign_weights import (
    LIGHT_CONVOLUTIONS,
    light_weights,
    real_light_file,
    torchvision_features,
)


def images(count: int = 2, height: int = 33, width: int = 40) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def light() -> Vgg:
    return Vgg(LIGHT, light_weights())


def test_the_usual_layout_gives_the_maps_of_torchvisions_network(tmp_path: Path) -> None:
    features = torchvision_features()
    path = tmp_path / "vgg19.pth"
    weights = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    torch.save({**weights, "classifier.0.weight": torch.zeros(3)}, path)
    network, batch = load_vgg(path), images(1)
    assert network.name == "VGG-19"

    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    maps = ((batch + 1) / 2 - mean[:, None, None]) / deviation[:, None, None]
    expected = []
    for index, layer in enumerate(features[:30]):
        maps = layer(maps)
        if isinstance(layer, torch.nn.ReLU):
            expected.append((index, maps.clone()))
    assert [index for index, _ in expected][::4] == [1, 11, 20, 29]
    found = network(batch, LAYERS)
    assert list(found) == list(LAYERS)
    for (_, one), other in zip(expected, found.values(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def slow_light_maps(weights: dict[str, Tensor], batch: Tensor) -> dict[str, np.ndarray]:
    """The light network's formula in numpy, for one image: (C, H, W) in float64 by layer."""
    arrays = {name: tensor.double().numpy() for name, tensor in weights.items()}
    maps = (batch[0].double().numpy() + 1) / 2
    maps = np.einsum("oi,ihw->ohw", arrays["conv0.weight"][:, :, 0, 0], maps) + arrays["conv0.bias"][:, None, None]
    found = {}
    for each in LIGHT_CONVOLUTIONS:
        if each.endswith("1") and each != "11":
            height, width = maps.shape[1:]
            rows = [maps[:, i : i + 2].max(axis=1) for i in range(0, height, 2)]
            pooled = np.stack(rows, axis=1)
            maps = np.stack([pooled[:, :, j : j + 2].max(axis=2) for j in range(0, width, 2)], axis=2)
        windows = sliding_window_view(np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="reflect"), (3, 3), axis=(1, 2))
        maps = np.einsum("oiyx,ihwyx->ohw", arrays[f"conv{each}.weight"], windows, optimize=True)
        maps = np.maximum(maps + arrays[f"conv{each}.bias"][:, None, None], 0)
        found[f"relu{each[0]}_{each[1]}"] = maps
    return found


@pytest.mark.parametrize(("height", "width"), [(17, 20), (33, 47)])
def test_the_light_layout_equals_the_formula_in_numpy(height: int, width: int) -> None:
    batch, weights = images(1, height, width), light_weights()
    expected = slow_light_maps(weights, batch)
    found = Vgg(LIGHT, weights)(batch, LAYERS)
    assert list(found) == list(expected) == list(LAYERS)
    for layer, maps in expected.items():
        np.testing.assert_allclose(found[layer][0].numpy(), maps, rtol=1e-3, atol=1e-4 * np.abs(maps).max())


def test_only_the_asked_layers_are_computed() -> None:
    network, batch = light(), images()
    network.convolutions["relu3_2"].register_forward_hook(lambda *_: pytest.fail("deeper than asked"))
    found = network(batch, ["relu3_1", "relu1_2"])
    assert list(found) == ["relu1_2", "relu3_1"]
    assert found["relu3_1"].shape == (2, 64, 9, 10)


def test_gradients_reach_the_images_and_never_the_weights() -> None:
    network, batch = light(), images().requires_grad_()
    network(batch)["relu5_1"].square().mean().backward()
    assert batch.grad is not None
    assert batch.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_building_one_draws_no_random_numbers() -> None:
    weights = light_weights()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert not Vgg(LIGHT, weights).training
    assert torch.equal(before, torch.get_rng_state())


def test_wrong_images_and_layers_are_refused() -> None:
    for shape in [(2, 1, 32, 32), (3, 32, 32), (1, 3, 16, 32)]:
        with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\) with sides of 17 px or more"):
            light()(torch.zeros(shape))
    assert light()(torch.zeros(1, 3, 17, 17))["relu5_1"].shape == (1, 128, 2, 2)
    for layers in (["relu1_1", "relu6_1"], []):
        with pytest.raises(ValueError, match="expected some of relu1_1, relu1_2"):
            light()(images(), layers)


def test_other_networks_are_told_in_one_line(tmp_path: Path) -> None:
    short = {name: tensor for name, tensor in light_weights().items() if name != "conv34.bias"}
    wide = {**light_weights(), "conv51.weight": torch.zeros(512, 128, 3, 3)}
    bare = {name: tensor for name, tensor in light_weights().items() if not name.startswith("conv0.")}
    for weights in (short, wide, bare, {"model.1.weight": torch.zeros(2)}, {}):
        assert vgg_layout(weights) is None
        path = tmp_path / "other.pth"
        torch.save(weights, path)
        with pytest.raises(UserError, match=r"other\.pth: not a VGG-19 \(its first tensor is '") as caught:
            load_vgg(path)
        assert "\n" not in str(caught.value)


def test_statistics_are_the_mean_and_deviation_of_each_channel() -> None:
    network, batch = light(), images()
    rows = VggStatistics(network)(batch)
    assert rows.shape == (2, 736)
    expected: list[float] = []
    for maps in network(batch[1:]).values():
        flat = maps[0].double().flatten(1).numpy()
        expected += [*flat.mean(axis=1), *flat.std(axis=1)]
    np.testing.assert_allclose(rows[1].numpy(), expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(VggStatistics(network)(batch), rows)


def test_the_real_light_weights_are_recognised() -> None:
    network = load_vgg(real_light_file())
    assert network.name == "light VGG-19"
    found = network(images(2, 64, 64))
    assert [tuple(maps.shape[1:]) for maps in found.values()] == [
        (16, 64, 64),
        (32, 32, 32),
        (64, 16, 16),
        (128, 8, 8),
        (128, 4, 4),
    ]
    assert list(found) == list(STYLE_LAYERS)
    for maps in found.values():
        assert maps.isfinite().all()
        assert 0.05 < float((maps > 0).float().mean()) < 0.95
