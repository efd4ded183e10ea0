"""Which network describes images for scores, and what such scores may be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ganstyle.base.errors import UserError
from ganstyle.data.tensors import to_tensor
from ganstyle.networks import inception
from ganstyle.networks.features import RandomFeatures
from ganstyle.networks.inception import Inception
from ganstyle.networks.vgg import Vgg, VggStatistics, vgg_layout
from ganstyle.networks.weight_files import read_weights, weights_digest

BATCH = 8
WITHIN = "these scores compare only within this project, and only with others on the same network and real images"


@dataclass(frozen=True)
class Describer:
    """Describes images by the features of a fixed network: uint8 (N, H, W, 3) to float64 (N, D).

    Args:
        name: what people call the network.
        statement: one line on what scores on it compare with.
        published: whether scores on it are those that publications report; then features are used as they are, else
            they are first standardised by the real images' (see `standardise`).
        minimum_px: the smallest side that it takes.
        network: tensors (N, 3, H, W) in [-1, 1] to features (N, D).
        device: where the network is.
    """

    name: str
    statement: str
    published: bool
    minimum_px: int
    network: nn.Module
    device: torch.device

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the network's kind and weights; scores of other fingerprints do not compare."""
        tensors = chain(self.network.named_parameters(), self.network.named_buffers())
        return f"{self.name} {weights_digest(tensors)}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Describe each image by one row, a few at a time."""
        starts = range(0, len(images), BATCH)
        rows = [self.network(to_tensor(images[start : start + BATCH], self.device)).cpu() for start in starts]
        return torch.cat(rows).double().numpy()


def describer(weights: str, device: torch.device) -> Describer:
    """The network that describes images for scores.

    Args:
        weights: `auto` (Inception if its weights are already on this machine and torch-fidelity is installed, else
            the fixed random network), `inception` (downloaded once), `random`, or the path of a file: Inception's,
            torchvision's VGG-19 or the light VGG-19.
        device: where it computes.

    Raises:
        UserError: the file is missing or holds another network, or there is no network to download it.
    """
    if weights == "random":
        return _random(device)
    if weights == "inception":
        inception.check_installed()
        return _from_file(inception.cached_file() or inception.download(), device)
    if weights == "auto":
        path = inception.cached_file() if inception.is_installed() else None
        return _random(device) if path is None else _from_file(path, device)
    return _from_file(Path(weights).expanduser(), device)


def _random(device: torch.device) -> Describer:
    network = RandomFeatures()
    statement = (
        f"scores are made with a fixed random network: {WITHIN}; the weights 'inception' give those of publications"
    )
    return _describer("random network", statement, network, device, minimum_px=network.minimum_px)


def _from_file(path: Path, device: torch.device) -> Describer:
    weights = read_weights(path)
    if inception.is_inception(weights):
        return _inception(path, Inception(weights), device)
    layout = vgg_layout(weights)
    if layout is None:
        raise UserError(
            f"{path} holds another network (its first tensor is '{next(iter(weights), 'none')}'); "
            "expected the Inception of FID, torchvision's VGG-19 or the light VGG-19"
        )
    statement = f"scores are made with {layout.name}, not with the Inception of publications: {WITHIN}"
    network = VggStatistics(Vgg(layout, weights))
    return _describer(layout.name, statement, network, device, minimum_px=layout.minimum_px)


def _inception(path: Path, network: Inception, device: torch.device) -> Describer:
    if inception.is_published(path):
        statement = "scores are KID and FID on Inception as published"
        return _describer("Inception", statement, network, device, minimum_px=1, published=True)
    statement = f"scores are made with an Inception of other weights than the published ones: {WITHIN}"
    return _describer("Inception", statement, network, device, minimum_px=1)


def _describer(
    name: str, statement: str, network: nn.Module, device: torch.device, *, minimum_px: int, published: bool = False
) -> Describer:
    return Describer(name, statement, published, minimum_px, network.to(device).eval(), device)
