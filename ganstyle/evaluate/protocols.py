"""How images become features, and features scores: ours, and those of publications."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganstyle.base.errors import UserError
from ganstyle.data.pixels import resize
from ganstyle.evaluate.describers import Describer
from ganstyle.evaluate.distances import frechet_distance, kernel_distance
from ganstyle.networks.inception import SIDE_PX, Inception, published_distances

Distances = Callable[[np.ndarray, np.ndarray], dict[str, float]]
SUBSETS, SUBSET_SIZE = 100, 1000


@dataclass(frozen=True)
class Protocol:
    """A way from images to scores.

    Args:
        resize: what is done to an image before the network, in words.
        statement: what scores by it compare with, and in what they differ.
        features: uint8 images (N, H, W, 3) of one size to features (N, D), by a describer.
        distances: features of outputs and of real images to scores by name.
        published: whether it needs Inception with its published weights.
    """

    resize: str
    statement: str
    features: Callable[[Describer, np.ndarray], np.ndarray]
    distances: Distances
    published: bool = True

    def check(self, describe: Describer, name: str) -> None:
        """Raise `UserError` where a published protocol has another network."""
        if self.published and not describe.published:
            raise UserError(
                f"--protocol {name} is made with Inception as published, and here is {describe.name}: give "
                "--weights inception or its file, or leave --protocol out"
            )


def _resized(describe: Describer, images: np.ndarray) -> np.ndarray:
    return describe(np.stack([resize(image, (SIDE_PX, SIDE_PX)) for image in images]))


def _as_they_are(describe: Describer, images: np.ndarray) -> np.ndarray:
    return describe(images)


def _bilinear(describe: Describer, images: np.ndarray) -> np.ndarray:
    """Without antialiasing, in float, as pytorch-fid's network does it by itself."""
    levels = F.interpolate(_levels(images), (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)
    # Our network takes (x - 128) / 128 of levels, and pytorch-fid 2 x / 255 - 1: at x * 256 / 255 they are the same.
    return _of_levels(describe, levels * (256 / 255))


def _clean(describe: Describer, images: np.ndarray) -> np.ndarray:
    """Antialiased bicubic in float, clipped and not rounded, as clean-fid 0.1.35 does it by Pillow."""
    resized = F.interpolate(_levels(images), (SIDE_PX, SIDE_PX), mode="bicubic", antialias=True, align_corners=False)
    return _of_levels(describe, resized.clamp(0, 255))


def _levels(images: np.ndarray) -> Tensor:
    """Levels 0 to 255, (N, 3, H, W) float32 on the CPU."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def _of_levels(describe: Describer, levels: Tensor) -> np.ndarray:
    network = describe.network
    assert isinstance(network, Inception), type(network).__name__
    return np.asarray(network.of_levels(levels.to(describe.device)).cpu().double().numpy())


def _both(fake: np.ndarray, real: np.ndarray) -> dict[str, float]:
    return {"kid": kernel_distance(fake, real), "fid": frechet_distance(fake, real)}


def _fid_alone(fake: np.ndarray, real: np.ndarray) -> dict[str, float]:
    return {"fid": frechet_distance(fake, real)}


def _by_torch_fidelity(fake: np.ndarray, real: np.ndarray) -> dict[str, float]:
    return published_distances(fake, real, subsets=SUBSETS, subset_size=min(SUBSET_SIZE, len(fake), len(real)))


ANTIALIASED = f"antialiased bicubic to {SIDE_PX} x {SIDE_PX} px"
OURS = "ganstyle"
# Of all but ours: how images are read differs where files hold rotations, colour profiles or alpha. Here they are read
# upright, in sRGB, on white; the published code takes the values as they stand.
PROTOCOLS: Mapping[str, Protocol] = {
    OURS: Protocol(
        f"{ANTIALIASED}, rounded to 8 bits",
        "KID over all pairs, unbiased for given features; FID with covariances divided by n - 1",
        _resized,
        _both,
        published=False,
    ),
    "cut": Protocol(
        f"bilinear to {SIDE_PX} x {SIDE_PX} px without antialiasing, not rounded",
        "pytorch-fid's FID, which the authors of CUT report; they compare real test images with outputs at 256 x 256 "
        "px, and their numbers hold only for such folders",
        _bilinear,
        _fid_alone,
    ),
    "clean-fid": Protocol(
        f"{ANTIALIASED}, not rounded",
        "clean-fid's mode 'clean', on the port of its Inception that torch-fidelity publishes; KID over all pairs, "
        "which is what clean-fid's 100 random subsets estimate",
        _clean,
        _both,
    ),
    "torch-fidelity": Protocol(
        f"bilinear to {SIDE_PX} x {SIDE_PX} px as TensorFlow 1 did it, inside the network",
        f"torch-fidelity's own FID and KID, by {SUBSETS} subsets of {SUBSET_SIZE} images, of all images where there "
        "are fewer (it refuses these by default); the interval is of KID over all pairs",
        _as_they_are,
        _by_torch_fidelity,
    ),
}
