"""Measures of two pictures that need networks trained elsewhere; nothing is downloaded for them."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.models import AlexNet_Weights

from ganstyle.base.errors import UserError
from ganstyle.data.grey import luminance
from ganstyle.data.tensors import to_tensor
from ganstyle.evaluate.distances import enough_for_frechet, frechet_distance
from ganstyle.evaluate.feature_sets import places_of
from ganstyle.networks.inception import Inception
from ganstyle.networks.weight_files import hub_file, is_published

ALEXNET = AlexNet_Weights.IMAGENET1K_V1.url
SSIM_MINIMUM_PX = 11  # its window
LPIPS_MINIMUM_PX = 64  # what AlexNet's strides leave a place of

Distance = Callable[[np.ndarray, np.ndarray], float]


def grey_lpips(device: torch.device) -> Distance:
    """LPIPS of the grey of two pictures, uint8 (H, W, 3) of one size: how differently their content looks, 0 and up.

    On grey, since a style's colours are no loss of content. Source: Zhang et al. 2018, "The Unreasonable
    Effectiveness of Deep Features", on AlexNet, version 0.1, as torchmetrics has it.

    Raises:
        UserError: torchmetrics is not installed, or AlexNet's weights are not in torch's cache, where torchvision
            keeps them; says what is missing.
    """
    if importlib.util.find_spec("torchmetrics") is None:
        raise UserError("torchmetrics is not installed: pip install 'ganstyle[evaluate]'")
    _check_alexnet()
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity  # noqa: PLC0415 - an extra

    network = LearnedPerceptualImagePatchSimilarity(net_type="alex").to(device)

    @torch.no_grad()
    def distance(picture: np.ndarray, other: np.ndarray) -> float:
        if min(picture.shape[:2]) < LPIPS_MINIMUM_PX:
            return math.nan
        found = float(network(_grey(picture, device), _grey(other, device)))
        network.reset()
        return found

    return distance


def ssim(device: torch.device) -> Distance:
    """SSIM of two pictures, uint8 (H, W, 3) of one size, in [-1, 1]; NaN under 11 px.

    Source: Wang et al. 2004, "Image Quality Assessment", equation 13, on levels of 0 to 1, as torchmetrics has it.

    Raises:
        UserError: torchmetrics is not installed.
    """
    if importlib.util.find_spec("torchmetrics") is None:
        raise UserError("torchmetrics is not installed: pip install 'ganstyle[evaluate]'")
    from torchmetrics.functional.image import (  # noqa: PLC0415 - an extra
        structural_similarity_index_measure as similarity,
    )

    def measure(picture: np.ndarray, other: np.ndarray) -> float:
        if min(picture.shape[:2]) < SSIM_MINIMUM_PX:
            return math.nan
        one, two = ((to_tensor(each, device) + 1) / 2 for each in (picture, other))
        found = similarity(one, two, data_range=1.0)
        assert isinstance(found, Tensor)
        return float(found)

    return measure


def single_image_frechet(inception: Inception, device: torch.device) -> Distance:
    """SIFID of two pictures, uint8 (H, W, 3) of any sizes: how differently they look up close, 0 and up.

    The Fréchet distance of features at all places, 192 values each, just before Inception's second pooling.
    Not a number for pictures with fewer such places than values (under about 80 px a side).
    Source: Shaham et al. 2019, "SinGAN", section 4.2, at the pictures' own sizes as its authors' code has it.
    Differs from the paper: the Inception of FID instead of torchvision's, which that code takes.
    """
    inception = inception.to(device)

    def distance(picture: np.ndarray, other: np.ndarray) -> float:
        rows, others = (places_of(stem_maps(inception, to_tensor(each, device))) for each in (picture, other))
        if not all(enough_for_frechet(len(each), each.shape[1]) for each in (rows, others)):
            return math.nan
        return max(frechet_distance(rows, others), 0.0)

    return distance


@torch.no_grad()
def stem_maps(inception: Inception, images: Tensor) -> Tensor:
    """The maps just before the second pooling: images (N, 3, H, W) in [-1, 1], 15 px or more, to (N, 192, h, w)."""
    return inception.maps_of((images.float() + 1) * 127.5, last="Conv2d_4a_3x3")


def _grey(pixels: np.ndarray, device: torch.device) -> Tensor:
    return to_tensor(np.repeat(luminance(pixels)[..., None], 3, axis=2), device)


def _check_alexnet() -> None:
    """Raise `UserError` unless torchvision would find AlexNet's weights, whole, without downloading them."""
    path = hub_file(ALEXNET.rsplit("/", 1)[-1])
    if not path.is_file():
        raise UserError(f"AlexNet's weights are not here: put {ALEXNET} at {path}")
    digest = path.stem.rsplit("-", 1)[-1]
    if not is_published(path, digest):
        raise UserError(f"{path}: its SHA-256 does not begin with the {digest} of its name; get {ALEXNET} again")
