from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.evaluate.describers import Describer, describer
from ganstyle.evaluate.distances import frechet_distance, kernel_distance
from ganstyle.evaluate.protocols import PROTOCOLS
from ganstyle.networks.inception import Inception
from tests.networks.foreign_weights import inception_weights

DRAWS = Draws(seed=5)
CPU = torch.device("cpu")
SIDE = 299


class Seen(Inception):
    """Tells the levels that the network would see, at a few places, instead of describing them."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def of_levels(self, levels: torch.Tensor) -> torch.Tensor:
        assert levels.dtype == torch.float32
        return levels.flatten(1)


def seen() -> Describer:
    return Describer("Inception", "as published", True, 1, Seen(), CPU)


def images(height: int, width: int) -> np.ndarray:
    return DRAWS.stream("images", height).integers(0, 256, size=(2, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(40, 31), (450, 610)])
def test_clean_fid_resizes_as_pillow_does_in_float(height: int, width: int) -> None:
    pictures = images(height, width)
    found = PROTOCOLS["clean-fid"].features(seen(), pictures).reshape(2, 3, SIDE, SIDE)
    for picture, levels in zip(pictures, found, strict=True):
        for channel in range(3):
            whole = Image.fromarray(picture[..., channel].astype(np.float32))
            expected = np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).clip(0, 255)
            assert np.abs(levels[channel] - expected).max() < 1e-2
    assert height > SIDE or found.min() == 0
    assert np.abs(found - found.round()).max() > 0.4  # clipped, not rounded


@pytest.mark.parametrize(("height", "width"), [(40, 31), (450, 610)])
def test_cut_gives_the_network_the_values_of_pytorch_fid(height: int, width: int) -> None:
    pictures = images(height, width)
    found = PROTOCOLS["cut"].features(seen(), pictures).reshape(2, 3, SIDE, SIDE)
    as_read = torch.from_numpy(pictures).permute(0, 3, 1, 2).double() / 255
    expected = 2 * slow_bilinear(as_read.numpy()) - 1
    assert np.abs((found - 128) / 128 - expected).max() < 1e-4


def slow_bilinear(pictures: np.ndarray) -> np.ndarray:
    """(N, 3, H, W) at 299 x 299 from the two nearest rows and columns, pixel centres half a pixel in."""

    def weights(length: int) -> np.ndarray:
        table = np.zeros((SIDE, length))
        for place in range(SIDE):
            centre = max((place + 0.5) * length / SIDE - 0.5, 0)
            low = min(int(centre), length - 1)
            high = min(low + 1, length - 1)
            table[place, low] += 1 - (centre - low)
            table[place, high] += centre - low
        return table

    return weights(pictures.shape[2]) @ pictures @ weights(pictures.shape[3]).T


def test_torch_fidelity_is_the_library_on_its_defaults() -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid", reason="needs torch-fidelity (the extra 'evaluate')")
    stream = DRAWS.stream("features")
    fake, real = stream.normal(0.5, 1, size=(30, 8)), stream.normal(size=(40, 8))
    found = PROTOCOLS["torch-fidelity"].distances(fake, real)
    published = kid.kid_features_to_metric(
        torch.from_numpy(fake), torch.from_numpy(real), kid_subset_size=30, verbose=False
    )
    assert found["kid"] == published["kernel_inception_distance_mean"]
    assert found["kid_deviation_of_subsets"] == published["kernel_inception_distance_std"] > 0
    assert found["fid"] == pytest.approx(frechet_distance(fake, real), rel=1e-6)
    assert found["kid"] == pytest.approx(kernel_distance(fake, real), abs=3 * found["kid_deviation_of_subsets"])


def test_levels_at_the_networks_size_are_described_as_the_published_network_does(tmp_path: Path) -> None:
    torch.save(inception_weights(), tmp_path / "inception.pth")
    describe = describer(str(tmp_path / "inception.pth"), CPU)
    pixels = images(SIDE, SIDE)[:1]
    expected = PROTOCOLS["torch-fidelity"].features(describe, pixels)
    for name in ("clean-fid", "ganstyle"):
        assert PROTOCOLS[name].features(describe, pixels) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    shifted = PROTOCOLS["cut"].features(describe, pixels)
    assert shifted == pytest.approx(expected, rel=0.2, abs=0.01)
    assert not np.array_equal(shifted, expected)


@pytest.mark.parametrize("name", ["cut", "clean-fid", "torch-fidelity"])
def test_published_protocols_refuse_other_networks(name: str) -> None:
    with pytest.raises(UserError, match=f"--protocol {name} is made with Inception as published, and here is random"):
        PROTOCOLS[name].check(describer("random", CPU), name)
    PROTOCOLS["ganstyle"].check(describer("random", CPU), "ganstyle")
