from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from ganstyle.base.errors import UserError
from ganstyle.networks import segmentation
from ganstyle.networks.segmentation import CLASSES, FILE, check_classes, load_segmentation


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch's hub keeps weights, empty and of this test alone."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).eval()


def saved(path: Path, weights: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
    return path


def test_probabilities_are_those_of_torchvisions_network(tmp_path: Path, published: torch.nn.Module) -> None:
    path = saved(tmp_path / "weights.pth", published.state_dict())
    images = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(1)) * 2 - 1
    torch.manual_seed(9)
    before = torch.get_rng_state()
    network = load_segmentation(path)
    assert torch.equal(before, torch.get_rng_state())
    assert not network.training
    found = network(images)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        scores = published(((images + 1) / 2 - mean[:, None, None]) / deviation[:, None, None])["out"]
    expected = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    assert found.shape == (1, 21, 64, 80)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_other_weights_are_refused(tmp_path: Path, published: torch.nn.Module) -> None:
    weights = dict(published.state_dict())
    weights.popitem()
    path = saved(tmp_path / "other.pth", weights)
    with pytest.raises(UserError, match=r"other\.pth: these are not the weights of LRASPP"):
        load_segmentation(path)
    with pytest.raises(UserError, match="there is no file of weights"):
        load_segmentation(tmp_path / "missing.pth")


def test_the_cache_is_used_when_its_digest_is_right(
    hub: Path, published: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(hub / FILE, published.state_dict())
    with pytest.raises(UserError, match="its SHA-256 begins with"):
        load_segmentation()
    monkeypatch.setattr(segmentation, "DIGEST", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    assert load_segmentation()(torch.zeros(1, 3, 32, 32)).shape == (1, 21, 32, 32)


def test_without_a_network_the_file_and_its_place_are_told(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def offline(url: str) -> Path:
        asked.append(url)
        raise UserError("something about another network") from OSError("no route")

    monkeypatch.setattr(segmentation, "download", offline)
    with pytest.raises(UserError) as caught:
        load_segmentation()
    assert len(asked) == 1
    message = str(caught.value)
    assert "no route" in message
    assert str(hub / FILE) in message
    assert "LRASPP_MobileNet_V3_Large_Weights" in message
    assert "http" not in message
    assert not list(hub.parent.rglob("*.pth"))


def test_classes_are_those_of_pascal_voc() -> None:
    assert len(CLASSES) == 21
    assert CLASSES[0] == "background"
    assert CLASSES[15] == "person"
    check_classes(("person", "background"))
    with pytest.raises(UserError, match=r"unknown class 'persn': did you mean 'person'.*also unknown: dgo"):
        check_classes(("persn", "dog", "dgo"))
    with pytest.raises(UserError, match="no class to keep"):
        check_classes(())
