"""What is where in a photo: torchvision's LRASPP MobileNetV3-Large, for the 20 classes of Pascal VOC and background."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights, lraspp_mobilenet_v3_large

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.tables import did_you_mean
from ganstyle.networks.inception import download
from ganstyle.networks.vgg import IMAGENET_DEVIATION, IMAGENET_MEAN
from ganstyle.networks.weight_files import check_published, hub_file, read_weights

PUBLISHED = LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1
FILE = PUBLISHED.url.rsplit("/", 1)[-1]
DIGEST = FILE.removesuffix(".pth").rsplit("-", 1)[-1]  # how the SHA-256 of the file begins
# person, dog, ..., and `background`, which torchvision writes with underscores.
CLASSES: tuple[str, ...] = tuple(name.strip("_") for name in PUBLISHED.meta["categories"])
SIDE_PX = 520  # of the shorter side, as it was trained


class Segmentation(nn.Module):
    """The probability of each class at each pixel: images (N, 3, H, W) in [-1, 1] to (N, 21, H, W) float32.

    The classes are in the order of `CLASSES` and sum to one. Gradients reach neither images nor weights.
    Source: Howard et al. 2019, "Searching for MobileNetV3", as torchvision has it.

    Args:
        weights: a state dict in torchvision's layout.

    Raises:
        UserError: tensors are missing, too many or of another shape.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        # On no device: building a network of given weights draws no random numbers and fetches none.
        with torch.device("meta"):
            self.network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=len(CLASSES))
        try:
            self.network.load_state_dict(dict(weights), assign=True)
        except RuntimeError as error:
            reason = one_line(error)[:200]
            raise UserError(f"these are not the weights of {PUBLISHED} ({reason})") from error
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION)[:, None, None], persistent=False)
        self.float().requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Probabilities by class; computed in float32 whatever the images' dtype."""
        with torch.autocast(images.device.type, enabled=False):
            scaled = (images.float() + 1) / 2
            scores = self.network((scaled - self.get_buffer("mean")) / self.get_buffer("deviation"))["out"]
            return scores.softmax(dim=1)


def check_classes(names: tuple[str, ...]) -> None:
    """Raise `UserError` for no name, or names that are none of CLASSES: all of them, each with the nearest one."""
    if not names:
        raise UserError(f"no class to keep, expected some of: {', '.join(CLASSES)}")
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        others = f" (also unknown: {', '.join(unknown[1:])})" if unknown[1:] else ""
        raise UserError(f"unknown class '{unknown[0]}'{did_you_mean(unknown[0], CLASSES)}{others}")


def load_segmentation(path: Path | None = None) -> Segmentation:
    """The network with the weights of a file; without one, of the published file in torch's cache or downloaded.

    Raises:
        UserError: a file that cannot be read or holds another network; no file, and none to be had: says what to do.
    """
    found = path or _published_file()
    try:
        return Segmentation(read_weights(found))
    except UserError as error:
        raise error if str(error).startswith(str(found)) else UserError(f"{found}: {error}") from error


def _published_file() -> Path:
    """The published weights where torch keeps downloads, fetched once when they are not there."""
    path = hub_file(FILE)
    if not path.is_file():
        return _downloaded(path)
    check_published(path, DIGEST)
    return path


def _downloaded(path: Path) -> Path:
    try:
        return download(PUBLISHED.url)
    except UserError as error:
        reason = one_line(error.__cause__ or error)[:120]
        raise UserError(
            f"cannot download the weights that find people and things ({reason}): put {FILE}, which is torchvision's "
            f"{PUBLISHED}, at {path}, or give the place of that file"
        ) from error
