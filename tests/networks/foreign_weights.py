"""Random weights in the layouts that foreign files have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

LIGHT_CONVOLUTIONS = ["11", "12", "21", "22", "31", "32", "33", "34", "41", "42", "43", "44", "51"]
LIGHT_WIDTHS = {"1": 16, "2": 32, "3": 64, "4": 128, "5": 128}
LIGHT_FILE = Path(__file__).resolve().parents[3] / "shared/weights/vgg19_light.pth"


def torchvision_features() -> nn.Sequential:
    """VGG-19 without its classifier, as torchvision builds it; index 29 is relu5_1."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_layers(cfgs["E"]).eval()


def light_weights(seed: int = 0) -> dict[str, Tensor]:
    """The names and shapes of the light VGG-19, auxiliary heads included."""
    stream = torch.Generator().manual_seed(seed)
    weights = {"conv0.weight": torch.randn(3, 3, 1, 1, generator=stream)}
    weights["conv0.bias"] = torch.randn(3, generator=stream)
    inputs = 3
    for each in LIGHT_CONVOLUTIONS:
        width = LIGHT_WIDTHS[each[0]]
        weights[f"conv{each}.weight"] = torch.randn(width, inputs, 3, 3, generator=stream) * (2 / inputs / 9) ** 0.5
        weights[f"conv{each}.bias"] = torch.randn(width, generator=stream) * 0.1
        inputs = width
    weights["conv11_aux.weight"], weights["conv11_aux.bias"] = torch.zeros(64, 16, 1, 1), torch.zeros(64)
    return weights


def inception_weights() -> dict[str, Tensor]:
    """Untrained weights of the Inception of FID; skips where torch-fidelity is missing."""
    reason = "needs torch-fidelity (the extra 'evaluate')"
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason=reason)

    class Untrained(module.FeatureExtractorInceptionV3):
        def load_state_dict(self, state: object) -> None:
            pass

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        torch.manual_seed(0)
        return dict(Untrained("inception", ["2048"]).state_dict())


def real_light_file() -> Path:
    """The real light VGG-19; skips where it is missing."""
    if not LIGHT_FILE.is_file():
        pytest.skip(f"needs {LIGHT_FILE.name} in ../shared/weights, and it is not there")
    return LIGHT_FILE
