from __future__ import annotations

import hashlib
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.data.grey import luminance
from ganstyle.evaluate import perceptual
from ganstyle.evaluate.perceptual import grey_lpips, single_image_frechet, stem_maps
from ganstyle.networks.inception import Inception
from tests.networks.foreign_weights import inception_weights

CPU = torch.device("cpu")


def picture(height: int = 80, width: int = 96, purpose: str = "picture") -> np.ndarray:
    return Draws(seed=6).stream(purpose).integers(0, 256, (height, width, 3), dtype=np.uint8)


def alexnet_features() -> nn.Sequential:
    """AlexNet's convolutions, untrained, as torchvision builds them."""
    widths, layers, inputs = [(64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)], [], 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for number, (outputs, size, stride, padding) in enumerate(widths):
            layers += [nn.Conv2d(inputs, outputs, size, stride, padding), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(3, 2)] if number in (0, 1, 4) else []
            inputs = outputs
    return nn.Sequential(*layers)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of downloads; whoever tries to fetch something fails."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("a download"))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_lpips_equals_its_formula_on_grey(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lpips = pytest.importorskip("torchmetrics.functional.image.lpips", reason="needs torchmetrics")
    content = b"not really AlexNet"
    name = f"alexnet-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (hub / name).write_bytes(content)
    monkeypatch.setattr(perceptual, "ALEXNET", f"https://example.org/{name}")
    features = alexnet_features()
    monkeypatch.setattr(torchvision.models, "alexnet", lambda **_: SimpleNamespace(features=features))

    one, other = picture(), picture(purpose="other")
    greys = [torch.from_numpy(luminance(each)).float() / 127.5 - 1 for each in (one, other)]
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    maps = torch.stack([(grey[None] - shift[:, None, None]) / scale[:, None, None] for grey in greys])
    weights = torch.load(Path(lpips.__file__).parent / "lpips_models/alex.pth", map_location="cpu", weights_only=True)
    expected, block = 0.0, 0
    for layer in features:
        maps = layer(maps.clone()).detach()
        if isinstance(layer, nn.ReLU):
            lengths = np.sqrt((maps.double().numpy() ** 2).sum(axis=1, keepdims=True))
            unit = maps.numpy() / lengths
            squared = (unit[0] - unit[1]) ** 2
            expected += float((weights[f"lin{block}.model.1.weight"].numpy()[0] * squared).sum(axis=0).mean())
            block += 1
    assert block == 5
    distance = grey_lpips(CPU)
    assert distance(one, other) == pytest.approx(expected, rel=1e-4)
    assert distance(one, one) == 0
    assert distance(one, other) == pytest.approx(expected, rel=1e-4)
    assert distance(one, np.repeat(luminance(one)[..., None], 3, axis=2)) == pytest.approx(0, abs=1e-6)
    assert math.isnan(distance(one[:63], other[:63]))


def test_lpips_without_its_weights_says_where_to_put_them(hub: Path) -> None:
    with pytest.raises(UserError, match=r"put https://.*alexnet-owt-7be5be79.pth at .*checkpoints") as caught:
        grey_lpips(CPU)
    assert "\n" not in str(caught.value)
    (hub / "alexnet-owt-7be5be79.pth").write_bytes(b"half a file")
    with pytest.raises(UserError, match="its SHA-256 does not begin with the 7be5be79 of its name"):
        grey_lpips(CPU)


def test_lpips_without_torchmetrics_says_so(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"ganstyle\[evaluate\]"):
        grey_lpips(CPU)


def test_the_stem_gives_the_maps_before_the_second_pooling() -> None:
    inception = Inception(inception_weights())
    inception.network.features_list = ["192"]  # the port tells the mean of these maps once pooled
    images = torch.from_numpy(picture(299, 299)).permute(2, 0, 1)[None].float() / 127.5 - 1
    maps = stem_maps(inception, images)
    assert maps.shape == (1, 192, 71, 71)
    torch.testing.assert_close(F.max_pool2d(maps, 3, 2).mean(dim=(2, 3)), inception(images), rtol=1e-4, atol=1e-5)


def test_sifid_is_the_frechet_distance_of_places() -> None:
    inception = Inception(inception_weights())
    one, other = picture(100, 120), picture(120, 90, purpose="other") // 2
    rows = []
    for each in (one, other):
        maps = stem_maps(inception, torch.from_numpy(each).permute(2, 0, 1)[None].float() / 127.5 - 1)
        rows.append(maps[0].flatten(1).T.double().numpy())
    covariances = [np.cov(each, rowvar=False) for each in rows]
    roots = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0)).sum()
    shift = rows[0].mean(axis=0) - rows[1].mean(axis=0)
    expected = shift @ shift + np.trace(covariances[0] + covariances[1]) - 2 * roots
    sifid = single_image_frechet(inception, CPU)
    assert sifid(one, other) == pytest.approx(expected, rel=1e-3)
    assert sifid(one, one) == pytest.approx(0, abs=1e-6 * expected)
    assert math.isnan(sifid(one, other[:60, :60]))
