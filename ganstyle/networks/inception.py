"""The Inception network of FID and KID as published, from its weights in a file."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ganstyle.base.errors import UserError, one_line
from ganstyle.networks.weight_files import download as download_file
from ganstyle.networks.weight_files import hub_file
from ganstyle.networks.weight_files import is_published as begins_with

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
FILE = "weights-inception-2015-12-05-6726825d.pth"
OTHER_NAMES = ("pt_inception-2015-12-05-6726825d.pth",)  # the same file, as pytorch-fid keeps it
DIGEST = "6726825d"  # how the SHA-256 of the published file begins


class Inception(nn.Module):
    """The 2048 features of FID and KID: images (N, 3, H, W) in [-1, 1] to (N, 2048) float32.

    The images are rounded to 8 bits, as those of files are, and resized to 299 x 299 px as TensorFlow 1 did it.
    Source: Heusel et al. 2017; the network of 2015-12-05 in torch-fidelity's port, which agrees with the original.

    Args:
        weights: a state dict in the layout of that port.

    Raises:
        UserError: torch-fidelity is not installed, or tensors are missing or too many.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = _network(weights)
        self.eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Describe each image by one row; computed in float32 whatever the images' dtype."""
        pixels = images.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        with torch.autocast(images.device.type, enabled=False):
            return self.network(pixels)[0]

    @torch.no_grad()
    def of_levels(self, levels: Tensor) -> Tensor:
        """Describe images that are resized already: float levels 0 to 255, (N, 3, 299, 299), not rounded."""
        assert levels.shape[1:] == (3, SIDE_PX, SIDE_PX), levels.shape
        with torch.autocast(levels.device.type, enabled=False):
            return self.maps_of(levels.float()).flatten(1)

    def maps_of(self, levels: Tensor, last: str = "AvgPool") -> Tensor:
        """What the layer of that name gives for levels 0 to 255, (N, 3, H, W), resized by the caller."""
        maps = (levels - 128) / 128
        for name in LAYERS[: LAYERS.index(last) + 1]:
            maps = self.network.get_submodule(name)(maps)
        return maps


LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)
SIDE_PX = 299


def published_distances(fake: np.ndarray, real: np.ndarray, *, subsets: int, subset_size: int) -> dict[str, float]:
    """KID and FID of features (N, D) and (M, D) by torch-fidelity itself, KID on its random subsets.

    Gives `kid`, `kid_deviation_of_subsets` and `fid`; raises `UserError` where torch-fidelity is missing.
    """
    check_installed()
    from torch_fidelity import metric_fid, metric_kid  # noqa: PLC0415 - an extra

    one, other = torch.from_numpy(fake), torch.from_numpy(real)
    kid = metric_kid.kid_features_to_metric(one, other, kid_subset_size=subset_size, kid_subsets=subsets, verbose=False)
    statistics = (metric_fid.fid_features_to_statistics(each) for each in (one, other))
    fid = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    return {
        "kid": kid["kernel_inception_distance_mean"],
        "kid_deviation_of_subsets": kid["kernel_inception_distance_std"],
        "fid": fid["frechet_inception_distance"],
    }


def is_installed() -> bool:
    """Whether torch-fidelity, which brings the network, is there."""
    return importlib.util.find_spec("torch_fidelity") is not None


def check_installed() -> None:
    """Raise `UserError` where torch-fidelity is missing."""
    if not is_installed():
        raise UserError("Inception needs torch-fidelity: pip install 'ganstyle[evaluate]'")


def is_inception(weights: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is the FID Inception; torchvision's has the same names but 1000 classes."""
    head, stem = weights.get("fc.weight"), weights.get("Conv2d_1a_3x3.conv.weight")
    return head is not None and stem is not None and tuple(head.shape) == (1008, 2048)


def is_published(path: Path) -> bool:
    """Whether a file is, byte for byte, the one that published scores are made with."""
    return begins_with(path, DIGEST)


def cached_file() -> Path | None:
    """The weights in torch's hub cache, where torch-fidelity and pytorch-fid put them; None when they are not there."""
    found = [path for name in (FILE, *OTHER_NAMES) if (path := hub_file(name)).is_file()]
    return found[0] if found else None


def download(url: str = URL) -> Path:
    """Fetch the weights (95 MB) into torch's hub cache, checked by the digest in the address.

    Raises:
        UserError: no network, or something else came; says which file to put where.
    """
    name = url.rsplit("/", 1)[-1]
    path = hub_file(name)
    advice = f"put {url} at {path}, give its place (evaluate.weights=PATH, --weights PATH), or use random for it"
    download_file(url, path, name.removesuffix(".pth").rsplit("-", 1)[-1], advice)
    return path


def _network(weights: Mapping[str, Tensor]) -> nn.Module:
    check_installed()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: PLC0415 - an extra

    # The constructor reads weights by itself, from a file that it would trust: it gets those that were read safely.
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)
    buffer.seek(0)
    try:
        with torch.random.fork_rng(devices=[]):
            return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=buffer)
    except RuntimeError as error:
        reason = one_line(error)[:200]
        raise UserError(
            f"these are not all weights of the Inception of FID ({reason}); give the file of {URL}"
        ) from error
