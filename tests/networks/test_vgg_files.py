from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.networks import vgg_files
from ganstyle.networks.vgg import STYLE_LAYERS, Vgg
from ganstyle.networks.vgg_files import FEATURES, load_features
from ganstyle.networks.vgg_layouts import CAFFE_MEAN, LIGHT, POOLINGS, TORCHVISION, TORCHVISION_16, Layout
from tests.networks.foreign_weights import light_weights

FULL_19 = "relu5_4"


def weights_of(layout: Layout, deepest: str = "relu5_1") -> dict[str, Tensor]:
    """Random weights in a layout; the light one's entrance too."""
    if layout is LIGHT:
        return light_weights()
    stream, found = torch.Generator().manual_seed(0), {}
    for key, shape in layout.shapes(deepest).items():
        found[f"{key}.weight"] = torch.randn(shape, generator=stream) * (2 / shape[1] / 9) ** 0.5
        found[f"{key}.bias"] = torch.randn(shape[0], generator=stream) * 0.1
    return found


def saved(path: Path, weights: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def image(height: int = 33, width: int = 40) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_torchvisions_files_are_torchvisions_networks(tmp_path: Path) -> None:
    """VGG-16 as torchvision builds and normalises it, to its last layer."""
    from torchvision.models.vgg import cfgs, make_layers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make_layers(cfgs["D"]).eval()
    path = saved(tmp_path / "v.pth", {f"features.{name}": each for name, each in network.state_dict().items()})
    vgg = load_features("vgg16", path, padding="zeros")
    assert (vgg.name, len(vgg.layers), vgg.layers[-1]) == ("VGG-16", 13, "relu5_3")
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    maps, expected = ((image() + 1) / 2 - mean[:, None, None]) / deviation[:, None, None], []
    for layer in network[:30]:
        maps = layer(maps)
        if isinstance(layer, torch.nn.ReLU):
            expected.append(maps.clone())
    for one, other in zip(expected, vgg(image(), vgg.layers).values(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vgg19-caffe", "vgg16-caffe"])
def test_caffe_networks_get_blue_green_red_without_the_mean(name: str, tmp_path: Path) -> None:
    layout = FEATURES[name].layouts[1]  # a dump with the original's own names
    vgg = load_features(weights=saved(tmp_path / "vgg_conv.pth", weights_of(layout)))
    assert vgg.name == layout.name
    levels = (image() + 1) / 2 * 255
    expected = levels.flip(1) - torch.tensor(CAFFE_MEAN)[:, None, None]
    torch.testing.assert_close(vgg.entrance(image()), expected, rtol=1e-5, atol=1e-3)


def test_one_layout_of_two_kinds_is_told_by_name_or_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "v.pth", weights_of(TORCHVISION))
    assert load_features(weights=path).name == "VGG-19"
    assert load_features("vgg19-caffe", path).name == "Caffe VGG-19"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(FEATURES, "vgg19-caffe", replace(FEATURES["vgg19-caffe"], digest=digest))
    assert load_features(weights=path).name == "Caffe VGG-19"
    assert load_features("vgg19", path).name == "VGG-19"


def test_a_file_may_end_early_and_then_lacks_those_layers(tmp_path: Path) -> None:
    whole = load_features(weights=saved(tmp_path / "whole.pth", weights_of(TORCHVISION, FULL_19)))
    assert whole.layers[-1] == FULL_19
    cut = load_features(weights=saved(tmp_path / "cut.pth", weights_of(TORCHVISION)))
    assert cut.layers[-1] == "relu5_1"
    with pytest.raises(ValueError, match="expected some of relu1_1"):
        cut(image(), [FULL_19])


def test_what_a_file_is_not_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "light.pth", {"epoch": 1, "model": light_weights()})  # type: ignore[dict-item]
    assert load_features(weights=path).name == "light VGG-19"
    for name in ("vgg19", "vgg16", "vgg19-caffe"):
        with pytest.raises(UserError, match=r"light\.pth: its tensors .* are not those of") as caught:
            load_features(name, path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="unknown features 'vgg9': did you mean"):
        load_features("vgg9", path)
    with pytest.raises(UserError, match="unknown pooling"):
        load_features(weights=path, pooling="min")
    with pytest.raises(UserError, match="not those of vgg19-light, vgg19"):
        load_features(weights=saved(tmp_path / "other.pth", {"a": torch.zeros(2)}))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_without_a_file_the_light_one_is_fetched_once_and_checked(
    server: str, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "served" / "5SE.pth", {"epoch": 1, "model": light_weights()})  # type: ignore[dict-item]
    right = hashlib.sha256(path.read_bytes()).hexdigest()

    def published(digest: str, name: str = "5SE.pth") -> None:
        monkeypatch.setitem(
            FEATURES, "vgg19-light", replace(FEATURES["vgg19-light"], url=f"{server}/{name}", digest=digest)
        )

    for digest, name in (("0" * 64, "5SE.pth"), (right, "nothing.pth")):
        published(digest, name)
        with pytest.raises(
            UserError, match=r"cannot download vgg19_light\.pth .*: put http.* or name a file with --weights"
        ):
            load_features()
        assert not list(hub.glob("*"))
    published(right)
    assert load_features().name == "light VGG-19"
    path.unlink()
    assert load_features().name == "light VGG-19"  # from the cache
    (hub / "vgg19_light.pth").write_bytes(b"half")
    with pytest.raises(UserError, match="delete it and try again"):
        load_features()


def test_another_published_file_that_is_there_serves(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(hub / FEATURES["vgg16"].file, weights_of(TORCHVISION_16))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(FEATURES, "vgg16", replace(FEATURES["vgg16"], digest=digest))
    assert load_features().name == "VGG-16"


def test_every_published_file_has_an_address_and_a_digest() -> None:
    assert next(iter(FEATURES)) == vgg_files.USUAL
    for each in FEATURES.values():
        assert each.url.startswith("https://")
        assert len(each.digest) in (8, 64)
        assert each.digest in each.file or len(each.digest) == 64


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_of_four_values(pooling: str) -> None:
    maps = torch.rand(1, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    for ceil in (False, True):
        found = POOLINGS[pooling].pool(maps, ceil)
        assert found.shape == (1, 2, 3 if ceil else 2, 3)
        for row in range(found.shape[2]):
            part = maps[0, 1, 2 * row : 2 * row + 2, 2:4]
            slow = {"max": part.max(), "average": part.mean(), "l2": part.square().mean().sqrt()}[pooling]
            assert float(found[0, 1, row, 1]) == pytest.approx(float(slow), rel=1e-5)


@pytest.mark.parametrize("pooling", ["average", "l2"])
def test_other_poolings_have_a_gradient_everywhere(pooling: str) -> None:
    picture = torch.zeros(1, 3, 32, 32, requires_grad=True)
    maps = Vgg(LIGHT, light_weights(), pooling=pooling, padding="replicate")(picture)
    torch.stack([each.square().mean() for each in maps.values()]).sum().backward()
    assert picture.grad is not None
    assert picture.grad.isfinite().all()


@pytest.mark.parametrize("padding", ["own", "zeros", "replicate"])
def test_a_value_sees_as_far_as_is_said(padding: str) -> None:
    vgg = Vgg(LIGHT, light_weights(), padding=padding).double()
    picture = torch.rand(1, 3, 16, 352, dtype=torch.float64) * 2 - 1
    picture = picture.expand(1, 3, 16, 352).repeat(1, 1, 2, 1)
    poked = picture.clone()
    poked[..., 176] += 0.5
    before, after = vgg(picture, vgg.layers), vgg(poked, vgg.layers)
    for layer in vgg.layers:
        changed = torch.nonzero((before[layer] - after[layer]).abs().amax(dim=(0, 1, 2)) > 0).flatten()
        stride, reach = vgg.stride_px(layer), vgg.reach_px(layer)
        assert before[layer].shape[3] == -(-352 // stride)
        first, last = int(changed[0]) * stride, (int(changed[-1]) + 1) * stride - 1
        assert first - reach <= 176 <= last + reach  # values that change lie within the reach
        assert 176 - first <= reach + stride
        assert last - 176 <= reach + stride


def test_what_is_held_for_the_gradient(tmp_path: Path) -> None:
    vgg = load_features(weights=saved(tmp_path / "light.pth", light_weights()))
    picture, held = image(256, 256).requires_grad_(), {}

    def keep(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vgg(picture, STYLE_LAYERS)["relu5_1"].sum()
    weights = sum(each.numel() * 4 for each in vgg.parameters())
    per_pixel = (sum(held.values()) - weights) / 256**2
    assert per_pixel == pytest.approx(vgg.bytes_per_pixel("relu5_1"), rel=0.15)
    assert vgg.bytes_per_pixel("relu1_1") < vgg.bytes_per_pixel("relu3_1")


def test_replicated_borders_show_no_edge() -> None:
    """A flat picture has flat maps."""
    flat = torch.full((1, 3, 48, 48), 0.3)
    vgg = Vgg(LIGHT, light_weights(), padding="replicate")
    for maps in vgg(flat).values():
        assert float(maps.amax(dim=(2, 3)).sub(maps.amin(dim=(2, 3))).max()) < 1e-4
    assert vgg(torch.zeros(1, 3, 1, 1))["relu5_1"].shape == (1, 128, 1, 1)
