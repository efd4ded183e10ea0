from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.networks.vgg import RepeatingConv2d
from ganstyle.networks.vgg_files import FEATURES, load_features
from ganstyle.networks.vgg_layouts import LIGHT, TORCHVISION
from tests.networks.foreign_weights import light_weights


def saved(path: Path, weights: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
    return path


def shared_layout() -> dict[str, Tensor]:
    """What torchvision's and a Caffe VGG-19 in PyTorch's format have in common: names and shapes up to relu5_1."""
    found = {}
    for key, shape in TORCHVISION.shapes().items():
        found[f"{key}.weight"], found[f"{key}.bias"] = torch.zeros(shape), torch.zeros(shape[0])
    return found


def test_a_caffe_file_in_the_cache_is_not_taken_for_torchvisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = saved(tmp_path / "checkpoints" / FEATURES["vgg19-caffe"].file, shared_layout())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(FEATURES, "vgg19-caffe", replace(FEATURES["vgg19-caffe"], digest=digest))
    assert load_features().name == "Caffe VGG-19"


def test_a_caffe_file_saved_anew_is_told_by_its_classifier(tmp_path: Path) -> None:
    """In these networks the dropout comes before each linear layer, so that those are the second and the fifth."""
    caffe = saved(tmp_path / "caffe.pth", {**shared_layout(), "classifier.1.weight": torch.zeros(1)})
    usual = saved(tmp_path / "usual.pth", {**shared_layout(), "classifier.0.weight": torch.zeros(1)})
    assert (load_features(weights=caffe).name, load_features(weights=usual).name) == ("Caffe VGG-19", "VGG-19")
    assert not load_features(weights=caffe).note
    assert not load_features(weights=usual).note


def test_a_file_that_could_be_either_is_noted_unless_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "features.pth", shared_layout())
    vgg = load_features(weights=path)
    assert vgg.name == "VGG-19"
    assert vgg.note == (
        f"{path} could be torchvision's or a Caffe network: it is taken for VGG-19; "
        "--features vgg19-caffe takes it for the other"
    )
    assert not load_features("vgg19", path).note
    assert not load_features("vgg19-caffe", path).note
    assert not load_features(weights=saved(tmp_path / "light.pth", light_weights())).note


@pytest.mark.parametrize("shape", [(2, 3), (512, 512, 3, 3)])
def test_a_layer_of_which_a_part_is_missing_or_foreign_is_not_there(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = saved(tmp_path / "cut.pth", {**shared_layout(), "features.30.weight": torch.zeros(shape)})
    assert load_features(weights=path).layers[-1] == "relu5_1"
    weights = light_weights()
    del weights["conv51.bias"]
    with pytest.raises(UserError, match="are not those of"):
        load_features(weights=saved(tmp_path / "short.pth", weights))
    assert not LIGHT.fits(weights)


def test_a_whole_convolution_behind_the_usual_ones_is_a_layer(tmp_path: Path) -> None:
    more = {"features.30.weight": torch.zeros(512, 512, 3, 3), "features.30.bias": torch.zeros(512)}
    path = saved(tmp_path / "more.pth", {**shared_layout(), **more})
    assert load_features(weights=path).layers[-1] == "relu5_2"


def test_a_repeated_border_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = RepeatingConv2d(3, 4, 3, padding=1, padding_mode="replicate").double()
    maps = torch.rand(2, 3, 5, 1, dtype=torch.float64)
    padded = torch.nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
    torch.testing.assert_close(ours(maps), torch.nn.functional.conv2d(padded, ours.weight, ours.bias))
